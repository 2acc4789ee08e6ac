# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Every example once an epoch, in an order that is a pure function of (seed, step)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datasets_scripts import sampling
from datasets_scripts.sampling import ExampleSampler

SIZES = st.integers(1, 60)


def stream(sampler: ExampleSampler, num_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    epochs, indices = zip(*(sampler.batch(step) for step in range(num_steps)), strict=True)
    return torch.cat(epochs), torch.cat(indices)


@given(SIZES, SIZES, st.integers(0, 2**63))
def test_each_epoch_visits_every_example_once(num_examples, batch_size, seed):
    num_steps = -(-3 * num_examples // batch_size)
    epochs, indices = stream(ExampleSampler(num_examples, batch_size, seed), num_steps)
    assert len(indices) == num_steps * batch_size
    for epoch in range(3):
        assert indices[epochs == epoch].sort().values.tolist() == list(range(num_examples))
    assert (epochs.diff() >= 0).all()


@given(SIZES, SIZES, st.integers(0, 2**31), st.integers(0, 200))
def test_a_batch_depends_on_nothing_but_seed_and_step(num_examples, batch_size, seed, step):
    sampler = ExampleSampler(num_examples, batch_size, seed)
    for earlier in range(3):
        sampler.batch(earlier)
    expected = sampler.batch(step)
    sampling._permutation.cache_clear()
    resumed = ExampleSampler(num_examples, batch_size, seed).batch(step)
    assert all(torch.equal(a, b) for a, b in zip(expected, resumed, strict=True))


@given(SIZES, st.integers(1, 20), st.integers(1, 20))
def test_the_stream_does_not_depend_on_the_batch_size(num_examples, size_a, size_b):
    a = stream(ExampleSampler(num_examples, size_a), 3 * size_b)
    b = stream(ExampleSampler(num_examples, size_b), 3 * size_a)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_orders_differ_between_epochs_and_seeds():
    orders = [ExampleSampler(1000, 1000, seed).batch(epoch)[1] for seed in (0, 1) for epoch in (0, 1)]
    for i in range(4):
        assert (orders[i] == torch.arange(1000)).sum() < 10
        for j in range(i):
            assert (orders[i] == orders[j]).sum() < 10  # one on average for unrelated orders


def test_every_position_is_equally_likely():
    first = torch.stack([ExampleSampler(10, 10, seed).batch(0)[1] for seed in range(2000)])  # [seeds, 10]
    counts = torch.nn.functional.one_hot(first, 10).sum(0).double()  # [position, example]
    statistic = float(((counts - 200) ** 2 / 200).sum())
    assert abs(statistic - 81) < 5 * (2 * 81) ** 0.5


@pytest.mark.parametrize(("num_examples", "batch_size"), [(0, 4), (4, 0)])
def test_nothing_to_draw_is_an_error(num_examples, batch_size):
    with pytest.raises(ValueError, match="cannot draw"):
        ExampleSampler(num_examples, batch_size)
