# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The order in which training sees its examples: a pure function of (seed, step).

There is no state to save: to resume after `n` steps, ask for batch `n`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from modeling_trm.randomness_trm import random_bits


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


@lru_cache(maxsize=2)
def _permutation(
    num_examples: int, seed: int, epoch: int, groups: tuple[int, ...] | None, device: torch.device
) -> Tensor:
    """The order of one epoch, int64 [num_examples]."""
    keys = random_bits(seed, epoch, torch.arange(num_examples, device=device), 1, purpose="order")
    order = keys.squeeze(1).argsort(stable=True)
    if groups is None:
        return order
    group_keys = random_bits(seed, epoch, _as_tensor(groups, device), 1, purpose="order of groups").squeeze(1)
    return order[group_keys[order].argsort(stable=True)]


@lru_cache(maxsize=2)
def _as_tensor(groups: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(groups, device=device)


@dataclass(frozen=True)
class ExampleSampler:
    """An endless stream of examples in which each epoch visits every example exactly once, in a new random order.

    Batch `t` holds the positions `t * batch_size .. (t + 1) * batch_size - 1` of the stream, so no example is dropped
    at the end of an epoch: a batch may straddle two (or more, if it is larger than the data).

    With `groups`, the group of each example, the groups come in random order and the examples of one, in random order,
    one after the other. The official sampler does the same, but cuts the last group of a batch off where ours goes on
    in the next batch.

    Raises:
        ValueError: if there are no examples or the batch is empty.
    """

    num_examples: int
    batch_size: int
    seed: int = 0
    groups: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.num_examples < 1 or self.batch_size < 1:
            raise ValueError(f"cannot draw batches of {self.batch_size} from {self.num_examples} examples")

    def batch(self, step: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """The epoch and the index of each example of batch `step` (0, 1, ...): two int64 [batch_size]."""
        start, stop, device = step * self.batch_size, (step + 1) * self.batch_size, torch.device(device)
        epochs = range(start // self.num_examples, (stop - 1) // self.num_examples + 1)
        index = torch.cat([self._slice(epoch, start, stop, device) for epoch in epochs])
        return torch.arange(start, stop, device=device) // self.num_examples, index

    def _slice(self, epoch: int, start: int, stop: int, device: torch.device) -> Tensor:
        """The examples of `epoch` between the stream positions `start` and `stop`."""
        offset = epoch * self.num_examples
        order = _permutation(self.num_examples, self.seed, epoch, self.groups, device)
        return order[max(0, start - offset) : stop - offset]
