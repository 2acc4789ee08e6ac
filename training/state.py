# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Everything that training changes."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from modeling_trm import TrmCarry, TrmForPuzzleSolving


@dataclass
class TrainState:
    """Everything that training changes.

    Attributes:
        model, average, optimizers: weights and what moves them.
        carry: puzzles being worked on by this process, or `None` before the first step.
        step: optimizer steps done; the order of examples and all random draws follow from it and the seed.
        progress: share of the schedule that is done, see `Pace`; `None` until that has started.
        best_accuracy: highest exact accuracy of the periodic evaluations.
        seconds: time spent training, over all runs.
        device_seconds: the same, times the GPUs, or CPU cores, in use.
    """

    model: TrmForPuzzleSolving
    average: AveragedModel
    optimizers: list[Optimizer]
    carry: TrmCarry | None = None
    step: int = 0
    progress: float | None = None
    best_accuracy: float = -1.0
    seconds: float = 0.0
    device_seconds: float = 0.0

    @property
    def averaged_model(self) -> TrmForPuzzleSolving:
        """The model to evaluate and publish: averaged weights."""
        return cast(TrmForPuzzleSolving, self.average.module)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, average and optimizer moments by name; tensors that two of them share appear once."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        shared = {tensor.data_ptr() for tensor in named.values()}
        for name, tensor in self.average.state_dict().items():
            if tensor.data_ptr() not in shared:
                named[f"average.{name}"] = tensor
        for number, optimizer in enumerate(self.optimizers):
            for index, moments in sorted(optimizer.state_dict()["state"].items()):
                for name, moment in sorted(moments.items()):
                    named[f"optimizer.{number}.{index}.{name}"] = moment
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def load_tensors(self, named: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.model.load_state_dict(with_prefix(named, "model."))
        self.average.load_state_dict({**self.average.state_dict(), **with_prefix(named, "average.")})
        for number, optimizer in enumerate(self.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in with_prefix(named, f"optimizer.{number}.").items():
                index, _, moment = name.partition(".")
                moments.setdefault(int(index), {})[moment] = tensor
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def with_prefix(named: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}
