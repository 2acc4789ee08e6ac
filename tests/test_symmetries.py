# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Symmetries agree with the official code and obey the laws of a group."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from modeling_trm.symmetries_trm import (
    Symmetry,
    digit_permutations,
    dihedral_view,
    line_permutations,
    num_sudoku_symmetries,
    random_sudoku_symmetry,
    sudoku_symmetry,
)

GOLDENS = Path(__file__).parent / "fixtures" / "goldens"
BOX_SHAPES = st.sampled_from([(3, 3), (2, 3)])
SEEDS = st.integers(min_value=0, max_value=2**31)


def draw(seed: int, box_shape: tuple[int, int]) -> Symmetry:
    return random_sudoku_symmetry(seed, 0, torch.arange(16), box_shape)


def boards(box_shape: tuple[int, int], dtype: torch.dtype = torch.int8) -> torch.Tensor:
    n = box_shape[0] * box_shape[1]
    return torch.randint(0, n + 2, (16, n * n), generator=torch.Generator().manual_seed(1)).to(dtype)


def test_equals_the_official_shuffle():
    draws = json.loads((GOLDENS / "sudoku_shuffle.json").read_text())["draws"]
    golden = load_file(GOLDENS / "sudoku_shuffle.safetensors")
    symmetry = sudoku_symmetry(
        torch.tensor([d["digit_map"][1:] for d in draws]),
        torch.tensor([d["row_perm"] for d in draws]),
        torch.tensor([d["col_perm"] for d in draws]),
        torch.tensor([d["transpose"] for d in draws]),
    )
    for before, after in (("boards", "out_boards"), ("solutions", "out_solutions")):
        tokens = golden[before].flatten(1).repeat(4, 1) + 1  # draw k is of board k % 6
        assert torch.equal(symmetry(tokens).long(), golden[after].flatten(1) + 1)


@given(SEEDS, BOX_SHAPES)
def test_inverse_undoes_on_both_sides(seed, box_shape):
    symmetry, x = draw(seed, box_shape), boards(box_shape)
    assert torch.equal(symmetry.inverse()(symmetry(x)), x)
    assert torch.equal(symmetry(symmetry.inverse()(x)), x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_keeps_dtype_and_shape(dtype):
    x = boards((3, 3), dtype)
    y = draw(0, (3, 3))(x)
    assert y.dtype == dtype and y.shape == x.shape
    assert torch.equal(y.long(), draw(0, (3, 3))(x.long()))


def test_ignored_labels_move_but_keep_their_value():
    symmetry, x = draw(0, (3, 3)), boards((3, 3))
    ignored = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    y = symmetry(x.masked_fill(ignored, -100))
    assert torch.equal(y == -100, ignored.gather(1, symmetry.cell_index))
    assert torch.equal(y[y != -100], symmetry(x)[y != -100])


def test_pad_and_blank_are_fixed():
    assert (draw(0, (3, 3)).token_map[:, :2] == torch.tensor([0, 1])).all()


def test_the_eight_views_of_a_square_are_all_different_and_begin_with_itself():
    numbers, keys = torch.arange(24).repeat(50), torch.arange(50).repeat_interleave(24)
    views = dihedral_view(3, numbers, keys, size=4, vocab_size=5).cell_index.view(50, 24, 16)
    assert torch.equal(views[:, :8], views[:, 8:16]) and torch.equal(views[:, :8], views[:, 16:])
    assert torch.equal(views[:, 0], torch.arange(16).expand(50, -1))
    assert all(len(of_one.unique(dim=0)) == 8 for of_one in views[:, :8])
    assert len(views[:, 1].unique(dim=0)) == 7  # which comes first depends on the puzzle


@pytest.mark.parametrize(("box_shape", "count"), [((2, 2), 24 * 8 * 8 * 2), ((2, 3), 720 * 48 * 72)])
def test_the_number_of_symmetries_of_a_sudoku(box_shape, count):
    n, device = box_shape[0] * box_shape[1], torch.device("cpu")
    rows, columns = (line_permutations(*shape, device) for shape in (box_shape[::-1], box_shape))
    tables = len(digit_permutations(n, device)) * len(rows) * len(columns)
    assert num_sudoku_symmetries(*box_shape) == count == tables * (2 if box_shape[0] == box_shape[1] else 1)
