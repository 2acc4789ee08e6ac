# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The augmented puzzles of ARC tasks, made on the fly.

An augmentation turns or flips the grids of a task (8 ways) and permutes its colours but black. Each is a puzzle of its
own with its own identifier, that is, its own row of the embedding table. Which augmentation belongs to identifier `k`
of a task is a pure function of (seed, task, k); 0 is the task itself. No two identifiers of a task show the same
puzzle: a task of few colours, or with symmetries, has fewer augmentations than asked for, but all that it admits. The
official builder draws at random, compares hashes and gives up after five times as many trials; and it writes all the
puzzles, 7 GiB, to the disk. Hidden outputs play no part, so identifiers are the same with or without solutions.

In training a puzzle's grids also move about on the canvas, but for one example of each puzzle. The official builder
draws these moves once for all, ours anew each epoch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from datasets_scripts.arc_agi import END_TOKEN, NUM_COLOURS, Pair, to_grid
from datasets_scripts.sampling import ExampleSampler, random_order
from datasets_scripts.sudoku import token_grids
from modeling_trm.modeling_trm import IGNORE_INDEX
from modeling_trm.randomness_trm import random_bits
from modeling_trm.symmetries_trm import (
    CANVAS_SIZE,
    FIRST_COLOUR_TOKEN,
    FLIPS_COLUMNS,
    FLIPS_ROWS,
    PAD_TOKEN,
    TRANSPOSES,
    arc_symmetry,
    is_one_of,
)

NUM_DIHEDRAL = 8
ROWS_AT_ONCE = 128  # index tables of more rows do not stay in the cache of a CPU
FIRST_ID = 1  # 0 is nobody's, as in the official code


def transform(grid: np.ndarray, dihedral: int) -> np.ndarray:
    """One of the eight symmetries of the square on a grid [height, width]."""
    rows, columns = (slice(None, None, -1 if dihedral in flips else 1) for flips in (FLIPS_ROWS, FLIPS_COLUMNS))
    flipped = grid[rows, columns]
    return flipped.T if dihedral in TRANSPOSES else flipped


def _product(after: int, before: int) -> int:
    grid = np.arange(6).reshape(2, 3)
    wanted = transform(transform(grid, before), after)
    return next(t for t in range(NUM_DIHEDRAL) if np.array_equal(transform(grid, t), wanted))


# [after, before] -> the dihedral symmetry that does one after the other
PRODUCTS = torch.tensor([[_product(after, before) for before in range(NUM_DIHEDRAL)] for after in range(NUM_DIHEDRAL)])


def task_symmetries(pairs: Sequence[Pair]) -> list[tuple[int, dict[int, int]]]:
    """All (dihedral, colour -> colour) that turn a task into itself, its pairs perhaps in another order."""

    def comparable(grids: Sequence[np.ndarray | None]) -> tuple[list[tuple[int, ...]], np.ndarray]:
        present = [grid for grid in grids if grid is not None]
        return [grid.shape for grid in present], np.concatenate([grid.ravel() for grid in present])

    originals = [comparable(pair) for pair in pairs]
    symmetries = []
    for dihedral in range(NUM_DIHEDRAL):
        # Each state is a set of colour pairs (10 * from + to), and the originals that are already matched.
        states = {(frozenset([0]), frozenset[int]())}
        for pair in pairs:
            shapes, cells = comparable([None if grid is None else transform(grid, dihedral) for grid in pair])
            matches = {
                number: np.flatnonzero(np.bincount(NUM_COLOURS * cells + others, minlength=NUM_COLOURS**2)).tolist()
                for number, (other_shapes, others) in enumerate(originals)
                if shapes == other_shapes
            }
            states = {
                (mapping, matched | {number})
                for before, matched in states
                for number, match in matches.items()
                if number not in matched and _is_bijection(mapping := before.union(match))
            }
        symmetries += [(dihedral, dict(divmod(code, NUM_COLOURS) for code in m)) for m in {m for m, _ in states}]
    return symmetries


def _is_bijection(mapping: frozenset[int]) -> bool:
    return (
        len({code // NUM_COLOURS for code in mapping}) == len({code % NUM_COLOURS for code in mapping}) == len(mapping)
    )


def augmentations(pairs: Sequence[Pair], name: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The task itself and up to `count` different augmentations of it.

    Returns:
        dihedral, int8 [n], and colour permutations, int8 [n, 10]; n is below count + 1 only if there are no more.
    """
    used = sorted(
        {int(colour) for pair in pairs for grid in pair if grid is not None for colour in np.unique(grid)} - {0}
    )
    unused = [colour for colour in range(1, NUM_COLOURS) if colour not in used]
    symmetries = task_symmetries(pairs)
    size = NUM_DIHEDRAL * math.perm(NUM_COLOURS - 1, len(used))
    positions = torch.arange(min(size, (count + 1) * len(symmetries)))
    codes = random_order(seed, size, positions, purpose=f"augmentations of {name}")
    dihedral = torch.cat([torch.zeros(1, dtype=torch.int64), codes % NUM_DIHEDRAL])
    identity = torch.arange(NUM_COLOURS).unsqueeze(0)
    colours = torch.cat([identity, _colour_permutations(codes // NUM_DIHEDRAL, used, unused)])

    # Of those that show the same puzzle, only the first one counts.
    names = [
        PRODUCTS[dihedral, before] + NUM_DIHEDRAL * _number(colours[:, [mapping[colour] for colour in used]])
        for before, mapping in symmetries
    ]
    puzzle = torch.stack(names).amin(0)  # [codes]
    _, first = np.unique(puzzle.numpy(), return_index=True)
    kept = torch.from_numpy(np.sort(first)[: count + 1])
    return dihedral[kept].to(torch.int8), colours[kept].to(torch.int8)


def _colour_permutations(codes: Tensor, used: list[int], unused: list[int]) -> Tensor:
    """Permutations [n, 10] by number: the digits of a code, to the bases 9, 8, 7, ..., choose images of `used`.

    The colours in `unused` become what remains, in order, and black stays black.
    """
    remaining = torch.arange(1, NUM_COLOURS, dtype=torch.int8).expand(len(codes), -1)
    permutations = torch.zeros(len(codes), NUM_COLOURS, dtype=torch.int64)
    for colour in used:
        count = remaining.shape[1]
        chosen = (codes % count).unsqueeze(1)
        codes = codes // count
        permutations[:, colour] = remaining.gather(1, chosen).squeeze(1).long()
        remaining = remaining[torch.arange(count) != chosen].view(len(codes), count - 1)
    permutations[:, unused] = remaining.long()
    return permutations


def _number(digits: Tensor) -> Tensor:
    """Rows of digits [n, k] as decimal numbers, int64 [n]."""
    return (digits * NUM_COLOURS ** torch.arange(digits.shape[1])).sum(1)


def tasks_of(train: pa.Table, test: pa.Table) -> dict[str, list[Pair]]:
    """All that is known of each task, from the rows of both splits; the outputs asked for are not."""
    tasks: dict[str, list[Pair]] = {}
    for split in (train, test):
        input_ids, labels = (token_grids(split.column(name)) for name in ("input_ids", "labels"))
        for name, question, answer in zip(split.column("task").to_pylist(), input_ids, labels, strict=True):
            output = to_grid(answer) if split is train else None
            tasks.setdefault(name, []).append(Pair(to_grid(question), output))
    return tasks


@dataclass(frozen=True)
class AugmentedTasks:
    """The puzzle identifiers of a config: which task and which augmentation each stands for.

    Attributes:
        names: the tasks.
        first_ids: int64 [tasks + 1]; task `t` has the identifiers `first_ids[t] .. first_ids[t + 1] - 1`, of which the
            first is the task itself.
        dihedral, colours: the augmentation of identifier `FIRST_ID + i`, int8 [n] and [n, 10].
        num_augmentations, seed: what they were made with.
    """

    names: list[str]
    first_ids: Tensor
    dihedral: Tensor
    colours: Tensor
    num_augmentations: int
    seed: int

    @classmethod
    def build(cls, tasks: dict[str, list[Pair]], num_augmentations: int, seed: int) -> "AugmentedTasks":
        """The task itself and up to `num_augmentations` others of each of `tasks`."""
        drawn = [augmentations(pairs, name, num_augmentations, seed) for name, pairs in tasks.items()]
        counts = torch.tensor([0, *(len(dihedral) for dihedral, _ in drawn)])
        dihedral, colours = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return cls(list(tasks), FIRST_ID + counts.cumsum(0), dihedral, colours, num_augmentations, seed)

    @property
    def num_puzzles(self) -> int:
        """Rows that the embedding table needs."""
        return int(self.first_ids[-1])

    def ids_of(self, names: Sequence[str]) -> Tensor:
        """The identifiers of the tasks themselves, int64 [names]."""
        first_id = dict(zip(self.names, self.first_ids.tolist(), strict=False))  # the last is the end
        return torch.tensor([first_id[name] for name in names])

    def counts_of(self, puzzle_ids: Tensor) -> Tensor:
        """How many identifiers the tasks have whose first ones are `puzzle_ids`, int64, of the same shape."""
        return self.first_ids.diff()[torch.searchsorted(self.first_ids, puzzle_ids)]

    def names_of(self, puzzle_ids: Tensor) -> list[str]:
        """The tasks whose first identifiers are `puzzle_ids` [n]."""
        return [self.names[task] for task in torch.searchsorted(self.first_ids, puzzle_ids).tolist()]

    def to(self, device: torch.device | str) -> "AugmentedTasks":
        first_ids, dihedral, colours = (table.to(device) for table in (self.first_ids, self.dihedral, self.colours))
        return replace(self, first_ids=first_ids, dihedral=dihedral, colours=colours)

    def of(self, puzzle_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Dihedral, int64 [batch], and colour permutation, int64 [batch, 10], of identifiers [batch]."""
        index = puzzle_ids - FIRST_ID
        return self.dihedral[index].long(), self.colours[index].long()


class ArcExamples:
    """The paper's training examples: each epoch visits every task once, draws one of its puzzles, takes its pairs.

    Args:
        input_ids, labels: un-augmented pairs, int8 [pairs, 900].
        puzzle_ids: the first identifier of each pair's task, int64 [pairs]; pairs of a task stand together.
        tasks: their augmentations.
        batch_size, seed: as of `ExampleSampler`.
        augment: without it, every task shows itself and does not move.
        device: where the batches are made.
    """

    def __init__(
        self,
        input_ids: Tensor,
        labels: Tensor,
        puzzle_ids: Tensor,
        tasks: AugmentedTasks,
        batch_size: int,
        seed: int,
        augment: bool = True,
        device: torch.device | str = "cpu",
    ):
        _, group, sizes = puzzle_ids.unique_consecutive(return_inverse=True, return_counts=True)
        self.sampler = ExampleSampler(len(group), batch_size, seed, groups=tuple(group.tolist()))
        self.tasks, self.seed, self.augment = tasks.to(device), seed, augment
        self.group, self.group_size = group.to(device), sizes[group].to(device)
        self.place = (torch.arange(len(group)) - (sizes.cumsum(0) - sizes)[group]).to(device)  # in its group
        self.first_id = puzzle_ids.to(device)
        self.num_ids = tasks.counts_of(puzzle_ids).to(device)
        self.grids = without_ends(input_ids, labels).to(device)  # [pairs, 2, 900]
        self.size = canvas_size(self.grids)  # [pairs, 2, 2]

    def batch(self, step: int, slots: slice) -> dict[str, Tensor]:
        """`input_ids` and `labels`, int8 [slots, 900], and `puzzle_ids`, int64 [slots], of batch `step`."""
        epoch, row = (part[slots].split(ROWS_AT_ONCE) for part in self.sampler.batch(step, self.group.device))
        parts = [self._rows(*numbers) for numbers in zip(epoch, row, strict=True)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _rows(self, epoch: Tensor, row: Tensor) -> dict[str, Tensor]:
        """The pairs `row` [n] as they are in `epoch` [n]."""
        draws = random_bits(self.seed, epoch, self.group[row], 2, purpose="puzzle of the epoch")
        moves = random_bits(self.seed, epoch, row, 2, purpose="translation")
        puzzle_ids, size = self.first_id[row], self.size[row]
        if self.augment:
            puzzle_ids = puzzle_ids + draws[:, 0] % self.num_ids[row]
        dihedral, colours = self.tasks.of(puzzle_ids)
        new_size = transformed_size(size, dihedral)
        stays = draws[:, 1] % self.group_size[row] == self.place[row]
        room = CANVAS_SIZE + 1 - new_size.amax(1)  # [slots, 2]
        corner = torch.where(stays[:, None], 0, moves % room) if self.augment else torch.zeros_like(moves)

        canvases = augment(self.grids[row], size, dihedral, colours, corner)
        labels = canvases[:, 1]
        return {
            "input_ids": canvases[:, 0],
            "labels": torch.where(labels == PAD_TOKEN, IGNORE_INDEX, labels),
            "puzzle_ids": puzzle_ids,
        }


def without_ends(input_ids: Tensor, labels: Tensor) -> Tensor:
    """Inputs and outputs, int8 [batch, 2, 900], with nothing around their grids."""
    grids = torch.stack([input_ids, labels], dim=1)
    return torch.where(grids >= FIRST_COLOUR_TOKEN, grids, PAD_TOKEN)


def canvas_size(canvases: Tensor) -> Tensor:
    """Height and width of the grids in the top left corner of canvases [..., 900], int64 [..., 2]."""
    is_colour = canvases.unflatten(-1, (CANVAS_SIZE, CANVAS_SIZE)) >= FIRST_COLOUR_TOKEN
    return torch.stack([is_colour[..., 0].sum(-1), is_colour[..., 0, :].sum(-1)], dim=-1)


def transformed_size(size: Tensor, dihedral: Tensor) -> Tensor:
    """Height and width [batch, ..., 2] of grids after the symmetries `dihedral` [batch]."""
    transposes = is_one_of(dihedral, TRANSPOSES).view(-1, *[1] * (size.ndim - 1))
    return torch.where(transposes, size.flip(-1), size)


def augment(grids: Tensor, size: Tensor, dihedral: Tensor, colours: Tensor, corner: Tensor | None = None) -> Tensor:
    """Canvases of pairs under the augmentation of each, with end tokens.

    Args:
        grids: int8 [batch, 2, 900], tokens of colours in the top left corner, padding around them.
        size: int64 [batch, 2, 2], height and width of both; of 0 where there is no grid.
        dihedral, colours: int64 [batch] and [batch, 10].
        corner: int64 [batch, 2], where the grids are afterwards; in the top left corner if `None`.
    """
    corner = torch.zeros_like(size[:, 0]) if corner is None else corner
    both = torch.arange(len(grids), device=grids.device).repeat_interleave(2)
    symmetry = arc_symmetry(dihedral[both], colours[both], *size.flatten(0, 1).unbind(1), *corner[both].unbind(1))
    canvases = symmetry(grids.flatten(0, 1)).view(-1, 2, CANVAS_SIZE**2)
    return mark_ends(canvases, transformed_size(size, dihedral), corner.unsqueeze(1))


def mark_ends(canvases: Tensor, size: Tensor, corner: Tensor) -> Tensor:
    """Puts end tokens below and right of grids of `size` [..., 2] whose top left corner is at `corner` [..., 2]."""
    line = torch.arange(CANVAS_SIZE, device=canvases.device)
    offset = line - corner.unsqueeze(-1)  # [..., 2, 30]
    inside = (offset >= 0) & (offset < size.unsqueeze(-1))
    at_end = offset == size.unsqueeze(-1)
    is_end = at_end[..., 0, :, None] & inside[..., 1, None, :] | inside[..., 0, :, None] & at_end[..., 1, None, :]
    return canvases.masked_fill(is_end.flatten(-2), END_TOKEN)
