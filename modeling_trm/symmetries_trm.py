# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Symmetries of puzzles as invertible maps on batches of token grids.

A symmetry renames tokens and moves cells, and nothing else, so a batch of them is two index tables. They are drawn at
random to augment training (arXiv 2510.04871) and may be undone on an answer to vote over several views.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLANK_TOKEN = 1
FIRST_DIGIT_TOKEN = 2


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

    def compose(self, other: "Symmetry") -> "Symmetry":
        """`a.compose(b)(x) == a(b(x))`: `other` acts first."""
        return Symmetry(
            token_map=self.token_map.gather(1, other.token_map),
            cell_index=other.cell_index.gather(1, self.cell_index),
        )


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
