# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Random symmetries, drawn on the fly: a pure function of (seed, epoch, index).

Random numbers come from a counter instead of a state, so any augmented example can be rebuilt from its key alone,
whatever batch, process or device it was made in. The official builder writes 1,000 augmented copies of every
puzzle to disk instead; the law of one copy is the same.
"""

from functools import cache
from itertools import permutations, product

import torch
from torch import Tensor

from modeling_trm.randomness_trm import random_bits as random_bits
from modeling_trm.randomness_trm import random_integers
from modeling_trm.symmetries_trm import Symmetry, sudoku_symmetry


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
    """
    box_height, box_width = box_shape
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
