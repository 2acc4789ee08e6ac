# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The optimizer of the table of puzzle embeddings, of which a batch touches few rows."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..distributed import all_gather


class SignSGD(Optimizer):
    """Sign of the gradient for puzzle embeddings, with decay of the rows in the batch only (official code).

    The gradient is the sparse one of `nn.Embedding(sparse=True)`: rows that occur several times, on any process, are
    summed before the sign is taken; a row whose gradient is zero still decays; absent rows are untouched. Processes
    exchange the rows and ids of their batches, never the table.

    Args:
        params: embedding tables with sparse gradients. lr: size of each element's step.
        weight_decay: relative shrinkage per step is lr * weight_decay.
    """

    def __init__(self, params: Iterable, lr: float = 1e-4, weight_decay: float = 1.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                ids, rows = all_gather(table.grad._indices()[0]), all_gather(table.grad._values())
                gradient = sum_of_equals(ids, rows)
                kept = table[ids] * (1 - group["lr"] * group["weight_decay"])
                table.index_copy_(0, ids, kept.sub_(gradient.sign(), alpha=group["lr"]))


def sum_of_equals(ids: Tensor, rows: Tensor) -> Tensor:
    """For each row the sum of all rows with the same id, [n, size]. Unlike `coalesce` it keeps the shape, so that the
    host need not wait to learn how many ids there are."""
    ordered, order = ids.sort(stable=True)
    is_new = torch.ones_like(ordered, dtype=torch.bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    place = torch.empty_like(ids)
    place[order] = is_new.cumsum(0) - 1
    total = torch.zeros_like(rows)
    if rows.is_cuda:  # there `index_add_` adds in any order, and the tables of two processes could part
        total.index_put_((place,), rows, accumulate=True)
    else:
        total.index_add_(0, place, rows)
    return total[place]
