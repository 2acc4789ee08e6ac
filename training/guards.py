# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Numbers that are not finite: a step that has any is skipped before it changes anything, weights are never saved."""

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


@torch.no_grad()
def check_step(loss: Tensor, model: nn.Module, accelerator: Accelerator) -> tuple[Tensor, bool]:
    """The norm of the dense gradients, a scalar on the device, and whether all gradients and the loss are finite.

    The same on all processes, which must call it together. It waits for the device.
    """
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = get_total_norm([gradient for gradient in gradients if not gradient.is_sparse]).to(loss.device)
    rows = [gradient._values().norm() for gradient in gradients if gradient.is_sparse]
    is_bad = ~torch.stack([loss, norm, *rows]).isfinite().all()
    return norm, not accelerator.reduce(is_bad.float())


def name_culprit(loss: Tensor, model: nn.Module) -> str:
    """What was not finite in a step, on any process: if gradients, the last one, for it spreads backwards.

    Large gradients can have a norm that is not finite though all of them are.
    """
    suspects = {f"the gradient of {name}": weight.grad for name, weight in model.named_parameters()} | {
        "the loss": loss
    }
    tensors = {name: tensor for name, tensor in suspects.items() if tensor is not None}
    bad = [name for name, t in tensors.items() if not (t._values() if t.is_sparse else t).isfinite().all()]
    return next(iter(gather_object(bad[-1:])), "the norm of the gradients")


def are_finite(model: nn.Module) -> bool:
    """Whether the weights are; they can grow beyond all bounds in a step whose loss and gradients were finite."""
    return all(bool(weight.isfinite().all()) for weight in model.parameters())
