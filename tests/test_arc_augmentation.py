# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Augmented ARC puzzles: as many as a task admits, no two alike, and sampled by the law of the paper."""

import itertools

import numpy as np
import pytest
import torch
from goldens import golden
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_scripts.arc_agi import Pair, to_canvas, to_grid, to_labels
from datasets_scripts.arc_augmentation import (
    ArcExamples,
    AugmentedTasks,
    augment,
    augmentations,
    canvas_size,
    transform,
    without_ends,
)
from datasets_scripts.sampling import random_order
from datasets_scripts.tasks import load_puzzles
from modeling_trm.symmetries_trm import INVERSE_DIHEDRAL, arc_symmetry


def test_transforms_are_the_official_ones():
    tensors = golden("dihedral")[1]
    grid = tensors["grid"].numpy()
    for number in range(8):
        assert np.array_equal(transform(grid, number), tensors[f"t{number}"])
        assert np.array_equal(transform(grid, INVERSE_DIHEDRAL[number]), tensors[f"inv{number}"])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.data())
def test_symmetries_of_the_canvas_are_those_of_the_grid(height, width, seed, data):
    rng = np.random.RandomState(seed)
    grid = rng.randint(0, 10, (height, width)).astype(np.int8)
    colours = np.concatenate([[0], 1 + rng.permutation(9)])
    number = data.draw(st.integers(0, 7))
    expected = colours[transform(grid, number)]
    top = data.draw(st.integers(0, 30 - expected.shape[0]))
    left = data.draw(st.integers(0, 30 - expected.shape[1]))

    pair = Pair(grid, grid)
    grids = without_ends(torch.tensor(to_canvas(grid))[None], torch.tensor(to_labels(pair.output))[None])
    draw = torch.tensor([number]), torch.tensor(colours)[None]
    moved = augment(grids, canvas_size(grids), *draw, torch.tensor([[top, left]]))
    assert np.array_equal(moved[0, 0], to_canvas(expected, top, left))
    assert torch.equal(moved[0, 0], moved[0, 1])
    symmetry = arc_symmetry(*draw, torch.tensor([height]), torch.tensor([width]), top, left)
    assert torch.equal(symmetry.inverse()(symmetry(grids[:, 0])), grids[:, 0])


@given(st.integers(1, 40).map(lambda n: 72 * n), st.integers(0, 2**31))
def test_a_random_order_is_an_order(size, seed):
    order = random_order(seed, size, torch.arange(size), purpose="test")
    assert order.sort().values.tolist() == list(range(size))
    assert torch.equal(random_order(seed, size, torch.tensor([5, 3]), purpose="test"), order[[5, 3]])


def test_random_orders_are_random():
    first = torch.cat([random_order(seed, 72, torch.arange(1), purpose="test") for seed in range(1440)])
    counts = first.bincount(minlength=72).double()
    assert abs(float(((counts - 20) ** 2 / 20).sum()) - 71) < 5 * (2 * 71) ** 0.5


# Identifiers


def appearance(pairs: list[Pair], dihedral: int, colours: np.ndarray) -> tuple:
    """What an augmented task looks like, whatever the order of its pairs."""

    def key(grid):
        return None if grid is None else (colours[transform(grid, dihedral)]).tolist()

    return tuple(sorted(str((key(pair.input), key(pair.output))) for pair in pairs))


@st.composite
def small_tasks(draw) -> list[Pair]:
    palette = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
    rng = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))

    def grid(side=None):
        shape = (side, side) if side else tuple(rng.randint(1, 3, 2))
        return np.array(palette, dtype=np.int8)[rng.randint(0, len(palette), shape)]

    pairs = [Pair(grid(draw(st.sampled_from([None, 2]))), grid()) for _ in range(draw(st.integers(1, 3)))]
    return [*pairs, Pair(grid(), None)] if draw(st.booleans()) else pairs


@settings(max_examples=25)
@given(small_tasks(), st.integers(0, 2**31))
def test_every_augmentation_that_a_task_admits_comes_once(pairs, seed):
    used = sorted(
        {int(colour) for pair in pairs for grid in pair if grid is not None for colour in grid.ravel()} - {0}
    )
    admitted = set()
    for images in itertools.permutations(range(1, 10), len(used)):
        colours = np.zeros(10, dtype=int)
        colours[used] = images
        admitted |= {appearance(pairs, dihedral, colours) for dihedral in range(8)}
    dihedral, colours = augmentations(pairs, "x", 10**6, seed)
    shown = [appearance(pairs, int(d), c.numpy()) for d, c in zip(dihedral, colours, strict=True)]
    assert len(shown) == len(set(shown))
    assert set(shown) == admitted
    assert (colours.sort(1).values == torch.arange(10)).all()
    assert (colours[:, 0] == 0).all()
    assert dihedral[0] == 0
    assert colours[0].tolist() == list(range(10))
    fewer = augmentations(pairs, "x", 20, seed)
    assert torch.equal(fewer[0], dihedral[:21])
    assert torch.equal(fewer[1], colours[:21])


@pytest.fixture(scope="module")
def puzzles():
    return load_puzzles("arc-agi", "arc-agi-1", "train", num_augmentations=100)


def test_real_tasks_have_distinct_augmentations_of_all_kinds(puzzles):
    tasks = puzzles.augmented_tasks
    assert tasks.num_puzzles == 1 + int(tasks.first_ids.diff().sum()) == 1 + len(tasks.dihedral)
    counts = tasks.first_ids.diff()
    assert (counts <= 101).all()
    assert (counts == 101).float().mean() > 0.95
    share = tasks.dihedral.bincount(minlength=8) / len(tasks.dihedral)
    assert ((share - 0.125).abs() < 0.01).all()
    for name in tasks.names[:200:10]:
        rows = (puzzles.puzzle_ids == tasks.ids_of([name])).nonzero().squeeze(1)
        pairs = [Pair(to_grid(puzzles.input_ids[r].numpy()), to_grid(puzzles.labels[r].numpy())) for r in rows]
        first = int(tasks.ids_of([name]))
        ids = torch.arange(first, first + int(tasks.counts_of(tasks.ids_of([name]))))
        shown = {appearance(pairs, int(d), c.numpy()) for d, c in zip(*tasks.of(ids), strict=True)}
        assert len(shown) == len(ids)


def test_identifiers_are_a_pure_function_of_seed_and_name(puzzles):
    pairs = {"a": [Pair(np.array([[1, 2, 3, 4]]), None)], "b": [Pair(np.array([[1, 2, 3, 4]]), None)]}
    both, reverse = AugmentedTasks.build(pairs, 50, 7), AugmentedTasks.build(dict(reversed(pairs.items())), 50, 7)
    ids = {name: torch.arange(51) + tasks.ids_of([name]) for tasks in (both,) for name in pairs}
    for name in pairs:
        other = torch.arange(51) + reverse.ids_of([name])
        assert all(torch.equal(x, y) for x, y in zip(both.of(ids[name]), reverse.of(other), strict=True))
    assert not torch.equal(both.of(ids["a"])[1], both.of(ids["b"])[1])
    assert not torch.equal(both.colours, AugmentedTasks.build(pairs, 50, 8).colours)


# Sampling


def examples(puzzles, batch_size: int, seed: int = 0, augment: bool = True) -> ArcExamples:
    return ArcExamples(
        puzzles.input_ids, puzzles.labels, puzzles.puzzle_ids, puzzles.augmented_tasks, batch_size, seed, augment
    )


def test_every_epoch_visits_each_task_once_and_draws_one_of_its_puzzles(puzzles):
    num_rows, tasks = len(puzzles), puzzles.augmented_tasks
    source = examples(puzzles, num_rows)  # a batch is an epoch
    for epoch in range(2):
        batch = source.batch(epoch, slice(0, num_rows))
        ids, sizes = batch["puzzle_ids"].unique_consecutive(return_counts=True)
        task = torch.searchsorted(tasks.first_ids, ids, right=True) - 1
        assert task.sort().values.tolist() == list(range(len(tasks.names)))
        in_data = torch.searchsorted(tasks.first_ids, puzzles.puzzle_ids).bincount()
        assert torch.equal(sizes, in_data[task])
        before, after = ((rows >= 2).sum(1).sort().values for rows in (puzzles.input_ids, batch["input_ids"]))
        assert torch.equal(before, after)  # every pair once


def test_the_stream_does_not_depend_on_the_batch_size_nor_on_the_past(puzzles):
    whole = examples(puzzles, 600).batch(3, slice(0, 600))
    source = examples(puzzles, 200)
    source.batch(40, slice(0, 200))
    parts = [source.batch(step, slice(0, 200)) for step in (9, 10, 11)]
    for name, column in whole.items():
        assert torch.equal(column, torch.cat([part[name] for part in parts]))


@pytest.mark.parametrize("world", [2, 4])
def test_processes_take_slices_of_one_batch(puzzles, world):
    source, share = examples(puzzles, 64), 64 // world
    whole = source.batch(5, slice(0, 64))
    for rank in range(world):
        part = source.batch(5, slice(rank * share, (rank + 1) * share))
        assert all(torch.equal(part[name], whole[name][rank * share : (rank + 1) * share]) for name in whole)


def test_rows_are_the_puzzles_of_their_identifiers(puzzles):
    tasks, batch = puzzles.augmented_tasks, examples(puzzles, 300).batch(2, slice(0, 300))
    dihedral, colours = tasks.of(batch["puzzle_ids"])
    task_of_id = torch.searchsorted(tasks.first_ids, batch["puzzle_ids"], right=True) - 1
    assert (batch["puzzle_ids"] != tasks.first_ids[task_of_id]).float().mean() > 0.9
    for row in range(300):
        shown = [batch[name][row].view(30, 30).numpy() for name in ("input_ids", "labels")]
        corner = np.min([np.argwhere(canvas >= 2).min(0) for canvas in shown], axis=0)
        pair = tuple(to_grid(np.roll(canvas, -corner, (0, 1))).tolist() for canvas in shown)
        candidates = (puzzles.puzzle_ids == tasks.first_ids[task_of_id[row]]).nonzero().squeeze(1)
        expected = [
            tuple(
                colours[row].numpy()[transform(to_grid(column[r].numpy()), int(dihedral[row]))].tolist()
                for column in (puzzles.input_ids, puzzles.labels)
            )
            for r in candidates
        ]
        assert pair in expected
        for grid, canvas in zip(pair, shown, strict=True):
            whole = to_canvas(np.array(grid, dtype=np.int8), *corner)
            assert np.array_equal(np.where(canvas == -100, 0, canvas).ravel(), whole)


def test_one_example_of_each_puzzle_stays_and_the_others_move_about(puzzles):
    num_rows = len(puzzles)
    source = examples(puzzles, num_rows)
    stays, corners = [], []
    for epoch in range(2):
        batch = source.batch(epoch, slice(0, num_rows))
        both = torch.maximum(batch["input_ids"], batch["labels"]).view(-1, 30, 30) >= 2
        top, left = both.any(2).int().argmax(1), both.any(1).int().argmax(1)
        still = (top == 0) & (left == 0)
        _, group = batch["puzzle_ids"].unique_consecutive(return_inverse=True)
        assert (torch.zeros(int(group.max()) + 1).index_add_(0, group, still.float()) >= 1).all()
        stays.append(float(still.float().mean()))
        corners.append(torch.stack([top, left]).float().mean())
    assert all(0.2 < share < 0.45 for share in stays)  # a quarter at least, and grids that cannot move
    assert all(3 < corner < 10 for corner in corners)


def test_augmentations_are_drawn_evenly(puzzles):
    few = puzzles.first(1)
    ids = examples(few, 2020 * len(few)).batch(0, slice(0, 2020 * len(few)))["puzzle_ids"][:: len(few)]
    counts = (ids - 1).bincount(minlength=101).double()
    assert abs(float(((counts - 20) ** 2 / 20).sum()) - 100) < 5 * (2 * 100) ** 0.5


def test_without_augmentation_rows_are_the_data(puzzles):
    batch = examples(puzzles, len(puzzles), augment=False).batch(0, slice(0, len(puzzles)))
    assert set(batch["puzzle_ids"].tolist()) == set(puzzles.puzzle_ids.tolist())
    theirs, ours = (
        torch.cat([x["puzzle_ids"][:, None], x["input_ids"].long(), x["labels"].long()], 1)
        for x in ({**vars(puzzles)}, batch)
    )
    assert sorted(row.numpy().tobytes() for row in theirs) == sorted(row.numpy().tobytes() for row in ours)
