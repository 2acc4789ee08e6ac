# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The batches of a run: nothing is stored or remembered, batch t follows from the seed and t."""

from dataclasses import dataclass, replace
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from datasets_scripts.arc_augmentation import ArcExamples
from datasets_scripts.sampling import ExampleSampler
from datasets_scripts.tasks import PAD_TOKEN, Puzzles, load_puzzles
from modeling_trm import TrmCarry, TrmConfig, TrmForPuzzleSolving
from modeling_trm.modeling_trm import IGNORE_INDEX
from modeling_trm.randomness_trm import random_bits, random_integers

from .arguments import TrainArguments
from .errors import require

NOTHING = {"input_ids": PAD_TOKEN, "labels": IGNORE_INDEX}  # outside of a grid


def load_splits(args: TrainArguments) -> dict[str, Puzzles]:
    """The puzzles of a recipe, by split. Raises as [`load_puzzles`]."""
    splits = {
        split: load_puzzles(
            args.task,
            args.dataset_config,
            split,
            data_dir=args.data_dir,
            seed=args.data_seed,
            num_train_puzzles=args.num_train_puzzles,
            num_augmentations=args.num_augmentations,
        )
        for split in ("train", "test")
    }
    return splits | {"test": splits["test"].first(args.num_test_puzzles)}


class SingleExamples:
    """Puzzles of one example each: every epoch visits all of them, each under a new random symmetry."""

    def __init__(self, puzzles: Puzzles, args: TrainArguments, augment: bool, device: torch.device):
        self.sampler = ExampleSampler(len(puzzles), args.batch_size, args.seed)
        self.seed, self.device = args.seed, device
        self.columns = {"input_ids": puzzles.input_ids.to(device), "labels": puzzles.labels.to(device)}
        if puzzles.puzzle_ids is not None:
            self.columns["puzzle_ids"] = puzzles.puzzle_ids.to(device)
        self.random_symmetry = puzzles.format.random_symmetry if augment else None
        message = "augment: only puzzles on a square canvas can be rotated: set --augment false, or make it square"
        require(not args.augment or self.random_symmetry is not None, message)
        self.width = puzzles.format.processor["width"]
        self.has_padding = any(bool((getattr(puzzles, name) == nothing).any()) for name, nothing in NOTHING.items())

    def batch(self, step: int, slots: slice) -> dict[str, Tensor]:
        """The rows of batch `step`, by column."""
        epoch, index = (part[slots] for part in self.sampler.batch(step, self.device))
        batch = {name: column[index] for name, column in self.columns.items()}
        if self.random_symmetry is not None:
            symmetry = self.random_symmetry(self.seed, epoch, index)
            batch |= {name: symmetry(batch[name]) for name in ("input_ids", "labels")}
            if self.has_padding:
                width = self.width
                batch |= {name: to_corner(batch[name], nothing, width) for name, nothing in NOTHING.items()}
        return batch


def to_corner(grids: Tensor, nothing: int, width: int) -> Tensor:
    """Grids [batch, cells] that lie anywhere on a canvas, each in its upper left corner, where all others lie.

    Args:
        nothing: what the cells outside of a grid hold.
        width: of the canvas.
    """
    canvas = grids.view(len(grids), -1, width)
    used = canvas != nothing
    for dim in (1, 2):  # the first row, then the first column, that is used
        first = used.any(3 - dim).int().argmax(1)[:, None, None]
        along = torch.arange(canvas.shape[dim], device=grids.device).view(1, *((-1, 1) if dim == 1 else (1, -1)))
        canvas = canvas.gather(dim, ((along + first) % canvas.shape[dim]).expand_as(canvas))
    return canvas.reshape(grids.shape)


def first_carry(model: TrmForPuzzleSolving, batch: dict[str, Tensor]) -> TrmCarry:
    """The carry that `forward` starts from, laid out as those it returns: it needs no compilation of its own."""
    given = {name: tensor for name, tensor in batch.items() if name != "min_steps"}
    with torch.no_grad():
        carry = model.initial_carry(**given)
    return TrmCarry(**{name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in carry.items()})


def repose(carry: TrmCarry, cell_index: Tensor) -> TrmCarry:
    """The puzzles in work, posed anew: cell `i` of a row is what cell `cell_index[row, i]` was, and so are its states.

    Symbols keep their names: a model with symbols is indifferent to them, and the states of one without have no
    symmetry to rename them by.

    Args:
        cell_index: int64 [batch, seq], of a [`Symmetry`].
    """
    num_positions, (batch, seq_len) = carry.answer_state.shape[1], cell_index.shape
    prefix = torch.arange(num_positions - seq_len, device=cell_index.device).expand(batch, -1)
    positions = torch.cat((prefix, cell_index + prefix.shape[1]), dim=1)
    rows = torch.arange(batch, device=cell_index.device).unsqueeze(1)
    return replace(
        carry,
        answer_state=carry.answer_state[rows, positions],
        latent_state=carry.latent_state[rows, positions],
        input_ids=carry.input_ids.gather(1, cell_index),
        labels=None if carry.labels is None else carry.labels.gather(1, cell_index),
    )


@dataclass
class TrainBatches:
    """Call it with a step, counted from 0, for the arguments of `TrmForPuzzleSolving.forward`, carry and depth aside.

    Every process computes the same global batch and takes its slice, so the batches do not depend on how many
    processes there are. Puzzles live on the device and are augmented there.
    """

    puzzles: Puzzles
    args: TrainArguments
    config: TrmConfig
    accelerator: Accelerator

    def __post_init__(self) -> None:
        puzzles, args, device = self.puzzles, self.args, self.accelerator.device
        augment = puzzles.format.augment if args.augment is None else args.augment
        self.examples: SingleExamples | ArcExamples
        if puzzles.augmented_tasks is None:
            self.examples = SingleExamples(puzzles, args, augment, device)
        else:
            rows = (puzzles.input_ids, puzzles.labels, cast(Tensor, puzzles.puzzle_ids), puzzles.augmented_tasks)
            self.examples = ArcExamples(*rows, args.batch_size, args.seed, augment, device)
        share = args.batch_size // self.accelerator.num_processes
        first = share * self.accelerator.process_index
        self.slots = slice(first, first + share)
        self.repose_seed = int(random_bits(args.seed, 0, 0, 1, purpose="re-pose"))

    def repose(self, carry: TrmCarry, step: int) -> TrmCarry:
        """The carry that a step starts from: posed anew if the recipe says so, see [`repose`]."""
        if not self.args.repose:
            return carry
        slots = torch.arange(self.slots.start, self.slots.stop, device=self.accelerator.device)
        return repose(carry, self.puzzles.format.random_symmetry(self.repose_seed, step, slots).cell_index)

    def __call__(self, step: int, max_supervision_steps: int | None = None) -> dict[str, Tensor]:
        slots = self.slots
        batch = self.examples.batch(step, slots)
        device = self.accelerator.device
        numbers = torch.arange(slots.start, slots.stop, device=device)
        noise_key = random_bits(self.args.seed, step, numbers, 1, purpose="noise key")[:, 0]
        return batch | {"min_steps": self.min_steps(step, numbers, max_supervision_steps), "noise_key": noise_key}

    def min_steps(self, step: int, slots: Tensor, max_supervision_steps: int | None = None) -> Tensor:
        """Halting exploration: the law of `TrmForPuzzleSolving.draw_min_steps`, keyed by the slot in the batch.

        Returns:
            int64, [slots]: with `halt_exploration_prob` a number from 2 to `max_supervision_steps`, the
            configuration's when `None`; otherwise 0.
        """
        choices = max(1, (max_supervision_steps or self.config.max_supervision_steps) - 1)
        chance, steps = random_integers(self.args.seed, step, slots, 2**24, choices, purpose="exploration")
        return torch.where(chance < self.config.halt_exploration_prob * 2**24, 2 + steps, 0)
