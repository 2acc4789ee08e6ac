# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Random symmetries, drawn on the fly: a pure function of (seed, epoch, index).

Random numbers come from a counter instead of a state, so any augmented example can be rebuilt from its key alone,
whatever batch, process or device it was made in. The official builder writes 1,000 augmented copies of every
puzzle to disk instead; the law of one copy is the same.
"""

import math
from functools import cache
from itertools import permutations, product

import torch
from torch import Tensor

from modeling_trm.randomness_trm import random_bits as random_bits
from modeling_trm.randomness_trm import random_integers
from modeling_trm.symmetries_trm import Symmetry, dihedral_symmetry, sudoku_symmetry


def random_order(seed: int, size: int, positions: Tensor, *, purpose: str) -> Tensor:
    """What stands at `positions` (int64 [n]) of a random order of 0 .. size - 1, without making the whole order.

    Four double rounds of a Feistel network over a pair of digits, whose bases are as equal as the divisors of `size`
    allow: a bijection, so no two positions hold the same. A large prime `size` would only be rotated.
    """
    high_base = next(base for base in range(math.isqrt(size), 0, -1) if size % base == 0)
    low_base = size // high_base
    high, low = positions // low_base, positions % low_base
    for double_round in range(4):
        high = (high + random_bits(seed, 2 * double_round, low, 1, purpose=purpose).squeeze(1) % high_base) % high_base
        low = (
            low + random_bits(seed, 2 * double_round + 1, high, 1, purpose=purpose).squeeze(1) % low_base
        ) % low_base
    return high * low_base + low


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


def random_dihedral_symmetry(
    seed: int, epoch: int | Tensor, index: int | Tensor, size: int, vocab_size: int
) -> Symmetry:
    """Rotations and reflections of a square canvas, drawn uniformly; `epoch` and `index` as in `random_bits`."""
    (element,) = random_integers(seed, epoch, index, 8, purpose="augmentation")
    return dihedral_symmetry(element, size, vocab_size)
