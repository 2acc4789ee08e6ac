# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Augmented puzzles are puzzles, every symmetry is equally likely, and each is a pure function of its key."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_trm.randomness_trm import _mix, random_bits, random_integers
from modeling_trm.rules_trm import is_solved_sudoku
from modeling_trm.symmetries_trm import digit_permutations, line_permutations, random_sudoku_symmetry

CPU = torch.device("cpu")
NUM_DRAWS = 40_000
KEYS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
CONFIGS = {"hard-sample": (3, 3), "easy-sample": (3, 3), "mini-6x6": (2, 3)}


def assert_uniform(counts: torch.Tensor) -> None:
    """Chi-square by its normal approximation, at five standard deviations."""
    expected = counts.sum() / len(counts)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    degrees = len(counts) - 1
    assert abs(statistic - degrees) < 5 * math.sqrt(2 * degrees)


def splitmix64(state: int) -> int:
    """The finaliser in Python integers."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


@given(st.lists(KEYS, min_size=1))
def test_mixing_is_splitmix64(words):
    assert [word % 2**64 for word in _mix(torch.tensor(words)).tolist()] == [
        splitmix64(word % 2**64) for word in words
    ]


@given(KEYS, st.integers(0, 10**6), st.integers(0, 10**9), st.integers(1, 9))
def test_bits_are_a_pure_function_of_their_key(seed, epoch, index, num_draws):
    alone = random_bits(seed, epoch, index, num_draws, purpose="test")
    batch = torch.tensor([index + 5, index, 0])
    together = random_bits(seed, torch.full((3,), epoch), batch, num_draws + 3, purpose="test")
    assert torch.equal(alone[0], together[1, :num_draws])
    assert (together >= 0).all()


def test_every_part_of_the_key_matters():
    keys = [(seed, epoch, purpose) for seed in (0, 1, -1, 2**70) for epoch in (0, 1, 2) for purpose in ("a", "b")]
    index = torch.arange(1000)
    bits = torch.stack([random_bits(seed, epoch, index, 3, purpose=purpose) for seed, epoch, purpose in keys])
    assert bits.unique().numel() == bits.numel()


def test_every_bit_is_fair_and_neighbours_are_independent():
    bits = random_bits(0, 0, torch.arange(NUM_DRAWS), 2, purpose="test")
    binary = (bits[:, :, None] >> torch.arange(63)) & 1  # [draws, 2, 63]
    five_sigma = 5 * 0.5 / math.sqrt(NUM_DRAWS)
    assert (binary.double().mean(0) - 0.5).abs().max() < five_sigma
    for difference in (binary[:, 0] ^ binary[:, 1], binary[1:, 0] ^ binary[:-1, 0]):
        assert (difference.double().mean(0) - 0.5).abs().max() < five_sigma


def test_integers_are_uniform():
    highs = (2, 10, 1296)
    draws_of_highs = random_integers(3, 1, torch.arange(NUM_DRAWS), *highs, purpose="test")
    for high, draws in zip(highs, draws_of_highs, strict=True):
        assert_uniform(draws.bincount(minlength=high).double())


@pytest.mark.parametrize(("shape", "num_orders"), [((3, 3), 1296), ((3, 2), 48), ((2, 3), 72)])
def test_line_permutations_are_all_those_that_keep_groups_together(shape, num_orders):
    num_groups, group_size = shape
    orders = line_permutations(num_groups, group_size, CPU)
    assert len(orders) == len(orders.unique(dim=0)) == num_orders
    assert (orders.sort(1).values == torch.arange(num_groups * group_size)).all()
    groups = (orders // group_size).view(num_orders, num_groups, group_size)
    assert (groups == groups[:, :, :1]).all()


def test_digit_permutations_are_all_of_them():
    orders = digit_permutations(6, CPU)
    assert len(orders) == len(orders.unique(dim=0)) == 720
    assert (orders.sort(1).values == torch.arange(1, 7)).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_an_augmented_puzzle_is_a_puzzle_and_its_answer_solves_it(config, sudoku_splits):
    puzzles = sudoku_splits[config]["train"]
    for epoch in range(3):
        symmetry = random_sudoku_symmetry(7, epoch, torch.arange(len(puzzles)), CONFIGS[config])
        question, answer = symmetry(puzzles.input_ids), symmetry(puzzles.labels)
        assert is_solved_sudoku(question, answer).all()
        assert torch.equal(question == 1, (puzzles.input_ids == 1).gather(1, symmetry.cell_index))
        assert not (question == puzzles.input_ids).all(1).any()


@pytest.mark.parametrize("box_shape", [(3, 3), (2, 3)])
def test_every_digit_goes_everywhere_equally_often_and_blank_nowhere(box_shape):
    n = box_shape[0] * box_shape[1]
    token_map = random_sudoku_symmetry(0, 0, torch.arange(NUM_DRAWS), box_shape).token_map
    assert (token_map[:, :2] == torch.tensor([0, 1])).all()
    for token in range(2, n + 2):
        counts = token_map[:, token].bincount(minlength=n + 2)
        assert (counts[:2] == 0).all()
        assert_uniform(counts[2:].double())


@pytest.mark.parametrize("box_shape", [(3, 3), (2, 3)])
def test_every_cell_goes_everywhere_equally_often(box_shape):
    num_cells = (box_shape[0] * box_shape[1]) ** 2
    cell_index = random_sudoku_symmetry(0, 0, torch.arange(NUM_DRAWS), box_shape).cell_index
    for cell in range(0, num_cells, 7):
        assert_uniform(cell_index[:, cell].bincount(minlength=num_cells).double())


def test_the_whole_group_of_the_6x6_grid_is_drawn_uniformly():
    """48 x 72 ways to move cells; transposing would leave the group, for boxes are not square."""
    cell_index = random_sudoku_symmetry(0, 0, torch.arange(NUM_DRAWS), (2, 3)).cell_index
    counts = cell_index.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 48 * 72
    assert_uniform(counts.double())


def test_half_of_the_9x9_grids_are_transposed():
    cell_index = random_sudoku_symmetry(0, 0, torch.arange(NUM_DRAWS)).cell_index
    first_row = cell_index[:, :9] // 9
    transposed = (first_row != first_row[:, :1]).any(1)
    assert_uniform(transposed.long().bincount().double())


@given(st.integers(0, 2**31), st.integers(0, 1000), st.lists(st.integers(0, 10**6), min_size=2, max_size=20))
def test_an_example_does_not_depend_on_its_batch(seed, epoch, indices):
    batch = random_sudoku_symmetry(seed, epoch, torch.tensor(indices))
    alone = random_sudoku_symmetry(seed, epoch, indices[-1])
    assert torch.equal(batch.token_map[-1:], alone.token_map)
    assert torch.equal(batch.cell_index[-1:], alone.cell_index)


def test_epochs_and_seeds_differ():
    index = torch.arange(500)
    views = [random_sudoku_symmetry(seed, epoch, index).cell_index for seed in (0, 1) for epoch in (0, 1)]
    for i in range(4):
        for j in range(i):
            assert (views[i] == views[j]).all(1).sum() <= 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_every_device():
    index = torch.arange(1000)
    here, there = (random_sudoku_symmetry(5, 3, index.to(device)) for device in ("cpu", "cuda"))
    assert torch.equal(here.token_map, there.token_map.cpu())
    assert torch.equal(here.cell_index, there.cell_index.cpu())
