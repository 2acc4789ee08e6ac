# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What processes tell each other at a step. All must call these functions together; a process alone tells nothing.

A recursive network's gradients are complete only when its backward pass ends, for each application of the weights adds
to them. So DistributedDataParallel would have nothing to send in the meantime, and as it rearranges what it sends
after the first step of every start, an interrupted run would sum in another order. Here one message does.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def num_processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@torch.no_grad()
def copy_from_first(tensors: Iterable[Tensor]) -> None:
    """Gives all processes the values of the first one."""
    if num_processes() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces each gradient by its mean over the processes."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if num_processes() > 1 and gradients:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= num_processes()
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


def all_gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes, equal in shape, joined along the first dimension."""
    if num_processes() == 1:
        return tensor
    gathered = tensor.new_empty(num_processes() * tensor.shape[0], *tensor.shape[1:])
    dist.all_gather(list(gathered.split(len(tensor))), tensor.contiguous())
    return gathered
