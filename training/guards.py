# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Steps whose loss or gradient is not finite change nothing, and the device never waits for the host to say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from .checkpoint import TrainState
from .optimizers import SignSGD


class Verdict(NamedTuple):
    """The culprit of a step on its way to the host: its number, -1 for none, when that has arrived, and the names."""

    step: int
    number: Tensor
    arrival: torch.cuda.Event | None
    names: list[str]


class StepGuard:
    """Wraps the update of every step: where a tensor was not finite, all that it changed is put back, bit for bit.

    The device decides: it keeps copies of weights, average and moments while they are updated, and selects. The host
    hears of it when the next step is under way, and then corrects the counts of steps, which it keeps itself.

    Args:
        state: what updates change.
        accelerator: of the run.

    Attributes:
        skipped: whether the last step was skipped, a scalar on the device.
        streak: steps skipped in a row, as far as the host knows: up to the last step or the one before.
        first_step, culprit: the first of those, counted from 1, and what was not finite first in it.
    """

    def __init__(self, state: TrainState, accelerator: Accelerator):
        self.state, self.accelerator = state, accelerator
        self.skipped = torch.zeros((), dtype=torch.bool, device=accelerator.device)
        self.embedding_optimizers = [optimizer for optimizer in state.optimizers if isinstance(optimizer, SignSGD)]
        self.streak, self.first_step, self.culprit = 0, 0, ""
        self.verdict: Verdict | None = None

    @contextmanager
    def watch(self, loss: Tensor) -> Iterator[Tensor]:
        """The context of an update; gives the norm of the dense gradients, a scalar on the device."""
        self.settle()
        with torch.no_grad():
            norm, culprit, names = self.examine(loss.detach())
            self.skipped = culprit >= 0
            for optimizer in self.embedding_optimizers:
                optimizer.found_inf = self.skipped
            tensors = self.tensors()
            copies = [torch.empty_like(tensor) for tensor in tensors]
            if tensors:  # none, where all but the puzzle embeddings is frozen
                torch._foreach_copy_(copies, tensors)
        yield norm
        with torch.no_grad():
            before = {id(tensor): copy for tensor, copy in zip(tensors, copies, strict=True)}
            for tensor in self.tensors():
                old = before[id(tensor)] if id(tensor) in before else torch.zeros_like(tensor)  # a moment just born
                torch.where(self.skipped, old, tensor, out=tensor)
        self.verdict = Verdict(self.state.step + 1, *send_to_host(culprit), names)

    def settle(self) -> None:
        """Takes note of the last step; waits for it on the device."""
        if self.verdict is None:
            return
        (step, number, arrival, names), self.verdict = self.verdict, None
        if arrival is not None:
            arrival.synchronize()
        if number < 0:
            self.streak = 0
            return
        for count in self.counts():
            count -= 1
        if self.streak == 0:
            self.first_step, self.culprit = step, names[number]
        self.streak += 1

    def is_sound(self) -> bool:
        """Whether the last step was not skipped and the weights are finite, so that they are worth keeping."""
        self.settle()
        return self.streak == 0 and self.weights_are_finite()

    def weights_are_finite(self) -> bool:
        """They can have grown beyond all bounds in a step whose loss and gradients were finite."""
        return all(bool(weight.isfinite().all()) for weight in self.weights())

    def examine(self, loss: Tensor) -> tuple[Tensor, Tensor, list[str]]:
        """The norm of the dense gradients, and the number of the culprit, -1 for none, in the list of all suspects.

        What is not finite spreads from the loss backwards, so that the last suspect is the first culprit.
        """
        gradients = {name: p.grad for name, p in self.state.model.named_parameters() if p.grad is not None}
        sparse = {name: gradient._values() for name, gradient in gradients.items() if gradient.is_sparse}
        dense = {name: gradient for name, gradient in gradients.items() if not gradient.is_sparse}
        norms = list(torch._foreach_norm([*dense.values()])) if dense else []
        norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros((), device=loss.device)
        finite = torch.stack([*(rows.norm() for rows in sparse.values()), *norms, loss]).isfinite()
        culprit = torch.where(finite, -1, torch.arange(len(finite), device=loss.device)).max()
        if self.accelerator.num_processes > 1:
            dist.all_reduce(culprit, dist.ReduceOp.MAX)
        return norm, culprit, [*(f"the gradient of {name}" for name in (*sparse, *dense)), "the loss"]

    def weights(self) -> list[Tensor]:
        """Trained parameters and their averages, without the puzzle embeddings, whose optimizer selects by itself."""
        own = {id(table) for optimizer in self.embedding_optimizers for table in optimizer.param_groups[0]["params"]}
        both = [*self.state.model.parameters(), *self.state.averaged_model.parameters()]
        return [weight for weight in both if weight.requires_grad and id(weight) not in own]

    def moments(self) -> list[Tensor]:
        states = [state for optimizer in self.state.optimizers for state in optimizer.state.values()]
        return [moment for state in states for moment in state.values()]

    def tensors(self) -> list[Tensor]:
        """What the device puts back."""
        return [*self.weights(), *(moment for moment in self.moments() if moment.ndim > 0)]

    def counts(self) -> list[Tensor]:
        """What the host puts back: numbers of steps."""
        return [self.state.average.n_averaged, *(count for count in self.moments() if count.ndim == 0)]


def send_to_host(number: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """The number in the host's memory, and when it has arrived; on devices other than CUDA's, at once."""
    if not number.is_cuda:
        return number.cpu(), None
    host, arrival = number.to("cpu", non_blocking=True), torch.cuda.Event()
    arrival.record()
    return host, arrival
