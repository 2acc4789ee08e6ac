# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Symmetries of puzzles as invertible maps on batches of token grids.

A symmetry renames tokens and moves cells, and nothing else, so a batch of them is two index tables. They are drawn at
random to augment training (arXiv 2510.04871) and may be undone on an answer to vote over several views.

The draws come from a counter instead of a state: a pure function of (seed, epoch, index), so any augmented example can
be rebuilt from its key alone, whatever batch, process or device it was made in. The official builder writes 1,000
augmented copies of every puzzle to disk instead; the law of one copy is the same.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from math import factorial

import torch
from torch import Tensor

from .randomness_trm import random_integers

PAD_TOKEN = 0  # of every vocabulary
BLANK_TOKEN = 1
FIRST_DIGIT_TOKEN = 2
CANVAS_SIZE = 30  # of ARC: every grid lies on a square canvas
FIRST_COLOUR_TOKEN = 2
# The eight symmetries of the square, in the official numbering: turns by 0, 90, 180, 270 degrees (anticlockwise),
# flips left-right and up-down, transpose, flip about the other diagonal. Each flips first, then transposes.
FLIPS_ROWS, FLIPS_COLUMNS, TRANSPOSES = (2, 3, 5, 7), (1, 2, 4, 7), (1, 3, 6, 7)
INVERSE_DIHEDRAL = (0, 3, 2, 1, 4, 5, 6, 7)


@dataclass(frozen=True)
class Symmetry:
    """One symmetry per row of a batch.

    Attributes:
        token_map: int64 [batch, vocab], token `t` becomes `token_map[b, t]`; 0, the padding, stays 0.
        cell_index: int64 [batch, seq], cell `i` of the result is cell `cell_index[b, i]` of the original.
    """

    token_map: Tensor
    cell_index: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        """Transform `tokens` [batch, seq] of any integer dtype; the shape and dtype stay.

        Cells move with whatever they hold; negative values (the ignore label -100) are not renamed.
        """
        moved = tokens.gather(1, self.cell_index)
        renamed = self.token_map.to(tokens.dtype).gather(1, moved.clamp(min=0).long())
        return renamed + moved.clamp(max=0)  # where a value is negative, its stand-in 0 became 0

    def inverse(self) -> "Symmetry":
        """The symmetry that undoes this one."""
        return Symmetry(self.token_map.argsort(dim=1), self.cell_index.argsort(dim=1))


def sudoku_symmetry(
    digit_permutation: Tensor, row_permutation: Tensor, column_permutation: Tensor, transpose: Tensor
) -> Symmetry:
    """The Sudoku symmetry that transposes, then moves rows and columns, then renames digits.

    It means what the official `shuffle_sudoku` means by the same draws. Whether rows stay inside their bands and
    columns inside their stacks is up to the caller, as is transposing only grids of square boxes.

    Args:
        digit_permutation: integers [batch, n], digit `d` (1..n) becomes `digit_permutation[b, d - 1]` (1..n).
        row_permutation: integers [batch, n], row `r` of the result was row `row_permutation[b, r]` after transposing.
        column_permutation: [batch, n], the same for columns.
        transpose: bool [batch].
    """
    batch_size, n = digit_permutation.shape
    pad_and_blank = torch.arange(FIRST_DIGIT_TOKEN, device=digit_permutation.device).expand(batch_size, -1)
    token_map = torch.cat([pad_and_blank, digit_permutation.long() + BLANK_TOKEN], dim=1)  # [batch, n + 2]

    row_stride = torch.where(transpose, 1, n)[:, None, None]
    column_stride = torch.where(transpose, n, 1)[:, None, None]
    rows, columns = row_permutation.long()[:, :, None], column_permutation.long()[:, None, :]
    cell_index = (rows * row_stride + columns * column_stride).flatten(1)  # [batch, n * n]
    return Symmetry(token_map, cell_index)


def is_one_of(values: Tensor, members: tuple[int, ...]) -> Tensor:
    """Whether each value is one of `members`, bool, of the same shape."""
    found = torch.zeros_like(values, dtype=torch.bool)
    for member in members:
        found = found | (values == member)
    return found


def arc_symmetry(
    dihedral: Tensor, colours: Tensor, height: Tensor, width: Tensor, top: Tensor | int = 0, left: Tensor | int = 0
) -> Symmetry:
    """Turns a grid that lies in the top left corner of the ARC canvas, renames its colours, and moves it.

    The rest of the canvas moves along cyclically, so that the map is invertible.

    Args:
        dihedral: int64 [batch], 0 to 7, see `TRANSPOSES`.
        colours: integers [batch, 10], colour `c` becomes `colours[b, c]`.
        height, width: int64 [batch], the size of the grid before.
        top, left: int64 [batch] or integers, where the grid's corner is afterwards.
    """
    batch_size, device = len(dihedral), dihedral.device
    fixed = torch.arange(FIRST_COLOUR_TOKEN, device=device).expand(batch_size, -1)
    token_map = torch.cat([fixed, colours.long() + FIRST_COLOUR_TOKEN], dim=1)  # [batch, 12]

    flips_rows, flips_columns, transposes = (
        is_one_of(dihedral, members)[:, None] for members in (FLIPS_ROWS, FLIPS_COLUMNS, TRANSPOSES)
    )
    line, height, width = torch.arange(CANVAS_SIZE, device=device), height[:, None], width[:, None]
    down, right = (line - torch.as_tensor(start, device=device).reshape(-1, 1) for start in (top, left))
    row, column = torch.where(transposes, right, down), torch.where(transposes, down, right)  # [batch, 30], before
    row = torch.where(flips_rows, height - 1 - row, row) % CANVAS_SIZE * CANVAS_SIZE
    column = torch.where(flips_columns, width - 1 - column, column) % CANVAS_SIZE
    by_row, by_column = torch.where(transposes, column, row), torch.where(transposes, row, column)
    return Symmetry(token_map, (by_row[:, :, None] + by_column[:, None, :]).flatten(1))


def dihedral_symmetry(element: Tensor, size: int, vocab_size: int) -> Symmetry:
    """The symmetry of a square canvas that rotates or reflects it; tokens keep their names.

    Args:
        element: integers [batch]: 0 identity, 1 to 3 that many quarter turns counter-clockwise, 4 left and right
            swapped, 5 up and down swapped, 6 transposed, 7 reflected in the other diagonal: the official numbers.
        size: rows and columns of the canvas.
        vocab_size: number of tokens.
    """
    cells = torch.arange(size * size, device=element.device).view(size, size)
    turns = [cells.rot90(quarter_turns) for quarter_turns in range(4)]
    views = torch.stack([*turns, cells.fliplr(), cells.flipud(), cells.T, turns[1].fliplr()]).flatten(1)  # [8, cells]
    token_map = torch.arange(vocab_size, device=element.device).expand(len(element), -1)
    return Symmetry(token_map, views[element])


# Drawn at random


@cache
def digit_permutations(n: int, device: torch.device) -> Tensor:
    """All n! permutations of 1..n, int8 [n!, n]."""
    return torch.tensor(list(permutations(range(1, n + 1))), dtype=torch.int8, device=device)


@cache
def line_permutations(num_groups: int, group_size: int, device: torch.device) -> Tensor:
    """All orders of rows (columns) that keep each band (stack) together, int64 [groups! * size!^groups, n]."""
    orders = [
        [group * group_size + line for group, lines in zip(groups, lines_of_groups, strict=True) for line in lines]
        for groups in permutations(range(num_groups))
        for lines_of_groups in product(permutations(range(group_size)), repeat=num_groups)
    ]
    return torch.tensor(orders, device=device)


def random_sudoku_symmetry(
    seed: int, epoch: int | Tensor, index: int | Tensor, box_shape: tuple[int, int] = (3, 3)
) -> Symmetry:
    """Symmetries drawn uniformly from the whole group of a Sudoku with boxes of `box_shape` = (rows, columns).

    Digits are permuted, bands and rows within them, stacks and columns within them, and grids of square boxes are
    transposed half the time. `epoch` and `index` are as in `random_bits`: int64 [batch] or integers.

    Raises:
        ValueError: for more than nine digits, whose permutations are too many for a table.
    """
    box_height, box_width = box_shape
    if box_height * box_width > 9:
        raise ValueError(f"symmetries are drawn for Sudokus of at most 9 digits, not {box_height * box_width}")
    device = next((x.device for x in (epoch, index) if isinstance(x, torch.Tensor)), torch.device("cpu"))
    digits = digit_permutations(box_height * box_width, device)
    rows = line_permutations(box_width, box_height, device)
    columns = line_permutations(box_height, box_width, device)
    may_transpose = 2 if box_height == box_width else 1
    digit_draw, row_draw, column_draw, transpose_draw = random_integers(
        seed, epoch, index, len(digits), len(rows), len(columns), may_transpose, purpose="augmentation"
    )
    return sudoku_symmetry(
        digits.index_select(0, digit_draw),
        rows.index_select(0, row_draw),
        columns.index_select(0, column_draw),
        transpose_draw == 1,
    )


def num_sudoku_symmetries(box_height: int, box_width: int) -> int:
    """How many symmetries `random_sudoku_symmetry` draws from, the identity among them."""
    n = box_height * box_width
    rows = factorial(box_width) * factorial(box_height) ** box_width
    columns = factorial(box_height) * factorial(box_width) ** box_height
    return factorial(n) * rows * columns * (2 if box_height == box_width else 1)


def random_dihedral_symmetry(
    seed: int, epoch: int | Tensor, index: int | Tensor, size: int, vocab_size: int
) -> Symmetry:
    """Rotations and reflections of a square canvas, drawn uniformly; `epoch` and `index` as in `random_bits`."""
    (element,) = random_integers(seed, epoch, index, 8, purpose="augmentation")
    return dihedral_symmetry(element, size, vocab_size)


def dihedral_view(seed: int, number: int | Tensor, key: Tensor, size: int, vocab_size: int) -> Symmetry:
    """The eight rotations and reflections in turn: the identity for 0, 8, ..., between them the others, all different.

    Which of the seven others comes first is random.

    Args:
        number, key: which view of which puzzle, int64 [batch]; the number may be an integer.
    """
    (first,) = random_integers(seed, 0, key, 7, purpose="views")
    place = torch.as_tensor(number, device=key.device) % 8
    return dihedral_symmetry(torch.where(place == 0, 0, (place + first) % 7 + 1), size, vocab_size)
