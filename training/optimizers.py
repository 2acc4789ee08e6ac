# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Optimizers, learning-rate schedule and weight averaging of TRM."""

import math
from collections.abc import Iterable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel

from modeling_trm import TrmForPuzzleSolving
from modeling_trm.modeling_trm import TrmPuzzleEmbedding

from .arguments import TrainArguments
from .devices import has_bf16
from .embeddings.table import SignSGD


class AdamATan2(Optimizer):
    """Adam with atan2 in place of the division, so without an epsilon and invariant to the loss's scale.

    Weight decay is decoupled and comes first. Two rules are in use:

    - `official`: what the official TRM code runs (package `adam-atan2` 0.0.3), with the first moment's bias correction
      outside: p -= lr / (1 - b1^t) * atan2(m, sqrt(v / (1 - b2^t)))
    - `published`: arXiv 2407.05872, p -= 1.27 lr * atan2(m / (1 - b1^t), sqrt(v / (1 - b2^t)))

    Args:
        params: parameters or groups, of any floating dtype, with dense gradients.
        lr: learning rate. betas: decay of the moments. weight_decay: relative shrinkage per step is lr * weight_decay.
        rule: `"official"` or `"published"`.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 1.0,
        rule: Literal["official", "published"] = "official",
    ):
        if rule not in ("official", "published"):
            raise ValueError(f"rule={rule!r} must be 'official' or 'published'")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "rule": rule})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter] = {
                        "step": torch.tensor(0.0),
                        "exp_avg": torch.zeros_like(parameter),
                        "exp_avg_sq": torch.zeros_like(parameter),
                    }
            gradients = [cast(Tensor, parameter.grad) for parameter in parameters]
            states = [self.state[parameter] for parameter in parameters]
            first = [state["exp_avg"] for state in states]
            second = [state["exp_avg_sq"] for state in states]
            beta1, beta2 = group["betas"]
            torch._foreach_add_([state["step"] for state in states], 1)
            count = int(states[0]["step"])  # a CPU tensor: no device synchronisation

            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_lerp_(first, gradients, 1 - beta1)
            torch._foreach_mul_(second, beta2)
            torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
            bias1, bias2 = 1 - beta1**count, 1 - beta2**count
            if group["rule"] == "official":
                deviation = torch._foreach_sqrt(second)
                torch._foreach_div_(deviation, math.sqrt(bias2))
                scale = -group["lr"] / bias1
            else:
                first = list(torch._foreach_div(first, bias1))
                deviation = torch._foreach_div(second, bias2)
                torch._foreach_sqrt_(deviation)
                scale = -1.27 * group["lr"]
            angles = [torch.atan2(m, d) for m, d in zip(first, deviation, strict=True)]
            torch._foreach_add_(parameters, angles, alpha=scale)


class Float32Muon(Muon):
    """torch's Muon, its Newton-Schulz iteration in float32: for devices that only emulate bfloat16, torch's dtype.

    There the products in bfloat16 take fifteen times as long.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                momentum = self.state[matrix].setdefault("momentum_buffer", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - group["momentum"])
                update = matrix.grad.lerp(momentum, group["momentum"])
                scale = math.sqrt(max(1, matrix.shape[0] / matrix.shape[1]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                update = orthogonalize(update, group["ns_coefficients"], group["ns_steps"])
                matrix.sub_(update, alpha=group["lr"] * scale)


def orthogonalize(matrix: Tensor, coefficients: tuple[float, float, float], iterations: int) -> Tensor:
    """A matrix [rows, columns] with all singular values brought near 1 (Jordan et al. 2024), in its own dtype.

    Newton-Schulz iteration of degree five, on the smaller side.
    """
    a, b, c = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.mT if is_tall else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(iterations):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if is_tall else wide


def build_optimizers(model: TrmForPuzzleSolving, args: TrainArguments) -> list[Optimizer]:
    """The optimizers in the order they step: puzzle embeddings, then (with Muon) block matrices, then the rest."""
    table = model.model.puzzle_embeddings
    matrices = [matrix for network in model.model.networks for matrix in network.parameters()] if args.use_muon else []
    taken = {id(parameter) for parameter in [*matrices, *([] if table is None else [table.weight])]}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]

    optimizers: list[Optimizer] = []
    if table is not None:
        table.sparse = True  # the gradient holds the rows of the batch alone, as `SignSGD` wants it
        optimizers.append(
            SignSGD(
                [table.weight],
                lr=args.puzzle_embedding_learning_rate,
                weight_decay=args.puzzle_embedding_weight_decay,
            )
        )
    if matrices:
        kind = Muon if has_bf16(model.device) else Float32Muon
        optimizers.append(
            kind(
                matrices,
                lr=args.muon_learning_rate,
                momentum=args.muon_momentum,
                weight_decay=args.muon_weight_decay,
                ns_steps=args.muon_ns_steps,
            )
        )
    options: dict[str, Any] = {
        "lr": args.learning_rate,
        "betas": (args.adam_beta1, args.adam_beta2),
        "weight_decay": args.weight_decay,
    }
    if args.optimizer == "adamw":
        optimizers.append(AdamW(rest, **options))
    else:
        optimizers.append(AdamATan2(rest, **options, rule=args.atan2_rule))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def learning_rate_factor(step: float, warmup_steps: int, total_steps: int, min_ratio: float) -> float:
    """Share of the base learning rate at a step, counted from 1: linear warm-up, then cosine down to `min_ratio`.

    The official rule, also past the end, where the cosine rises again. `min_ratio` 1 is a constant rate.
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


def learning_rates(optimizers: list[Optimizer]) -> dict[str, float]:
    """The current rate of each optimizer, under the name of its recipe field."""

    def name_of(optimizer: Optimizer) -> str:
        if isinstance(optimizer, SignSGD):
            return "puzzle_embedding_learning_rate"
        return "muon_learning_rate" if isinstance(optimizer, Muon) else "learning_rate"

    return {name_of(optimizer): optimizer.param_groups[0]["lr"] for optimizer in optimizers}


class ExponentialAverage(AveragedModel):
    """torch's average of a model's parameters, exponential, starting from their current values.

    Puzzle embeddings are not averaged but shared with the model, as in the official code, which also spares a copy of
    a table that can be gigabytes. torch counts the updates on the device, and waits for it; this class does not.

    Args:
        model: the model being trained.
        decay: share of the old average kept at each update.
        warmup: keep less while the average is young, min(decay, (1 + t) / (10 + t)) at update t.
    """

    def __init__(self, model: TrmForPuzzleSolving, decay: float, warmup: bool = False):
        tables = {name: module for name, module in model.named_modules() if isinstance(module, TrmPuzzleEmbedding)}
        weights = {name: module.weight for name, module in tables.items()}
        for module in tables.values():
            module.weight = nn.Parameter(torch.empty(0))  # while all else is copied
        super().__init__(model)
        for name, module in tables.items():
            module.weight = weights[name]
            cast(TrmPuzzleEmbedding, self.module.get_submodule(name)).weight = weights[name]
        self.n_averaged.fill_(1)
        self.decay, self.warmup = decay, warmup

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        count = int(self.n_averaged)  # on the host
        kept = min(self.decay, (1 + count) / (10 + count)) if self.warmup else self.decay
        both = zip(self.module.parameters(), model.parameters(), strict=True)
        pairs = [(old, new) for old, new in both if old is not new]
        torch._foreach_lerp_([old for old, _ in pairs], [new for _, new in pairs], 1 - kept)
        self.n_averaged += 1
