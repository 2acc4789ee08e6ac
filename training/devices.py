# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What the machine computes on, and what is compiled for it."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator

from modeling_trm import TrmForPuzzleSolving

from .arguments import TrainArguments
from .errors import require

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


# Environment variables by which `accelerate launch` asks for what a loop has to take part in.
NOT_DONE = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}


def check_launcher(mixed_precision: str) -> None:
    """Refuses what `accelerate launch` was asked for and this code would not do.

    Args:
        mixed_precision: what is computed in; the launcher's "no", its default, leaves it at that.

    Raises:
        UserError: FSDP, DeepSpeed, ..., gradient accumulation, Dynamo, or another mixed precision.
    """
    asked = os.environ.get
    for variable, name in NOT_DONE.items():
        is_asked = asked(variable, "false").lower() in ("true", "1")
        require(not is_asked, f"accelerate launch asks for {name}, for which the model is far too small: leave it out")
    is_accumulating = asked("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1") != "1"
    require(not is_accumulating, "accelerate launch asks for gradient accumulation: give a larger batch_size instead")
    backend = asked("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    require(backend == "no", f"accelerate launch asks for Dynamo ({backend}): here the field `compile` decides")
    precision = asked("ACCELERATE_MIXED_PRECISION", "no")
    require(
        precision in ("no", mixed_precision),
        f"accelerate launch asks for mixed_precision={precision}, the command or its recipe for {mixed_precision}: "
        "make them agree, or leave the launcher's out",
    )


def start_accelerator(**options: Any) -> Accelerator:
    """Accelerate on the best device; where there is only a CPU it must be told, or each process would be alone."""
    keep_freed_memory()
    return Accelerator(mixed_precision="no", cpu=not torch.accelerator.is_available(), **options)


def keep_freed_memory() -> None:
    """Has glibc keep large blocks that are freed for the next tensor.

    It hands them back to the system otherwise, which then clears every page of the next one: half of the CPU's time in
    an evaluation was spent on that. Only the host's memory is concerned.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        if libc.mallopt(M_MMAP_THRESHOLD, 2**31 - 1) or libc.mallopt(
            M_MMAP_THRESHOLD, 2**25
        ):  # old ones allow no more
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def build_autocast(args: TrainArguments, accelerator: Accelerator) -> Callable[[], AbstractContextManager]:
    """The context of the computation; it also casts each weight once per step. float32 where bf16 is only emulated."""
    if args.mixed_precision == "no" or not has_bf16(accelerator.device):
        return nullcontext
    return partial(torch.autocast, accelerator.device.type, torch.bfloat16)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself, which is then faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cpu" or any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)


def compile_step(model: TrmForPuzzleSolving, whole: bool) -> None:
    """Compiles all of a supervision step (on a GPU), or the network only, which takes less time (on a CPU).

    The table of puzzle embeddings stays out of it: Inductor knows no sparse gradients.
    """
    table = model.model.puzzle_embeddings
    if whole and table is not None:
        table.forward = torch.compiler.disable(table.forward)  # type: ignore[method-assign]
    for module in [model] if whole else model.model.networks:
        module.compile(dynamic=False)
    if not whole and model.config.random_initial_states:  # drawn at every step
        model.model.initial_states = torch.compile(model.model.initial_states, dynamic=False)  # type: ignore[method-assign]


def compile_network(
    model: TrmForPuzzleSolving, accelerator: Accelerator, *, whole_step: bool = False, batch_sizes_vary: bool = False
) -> None:
    """Compiles the model, unless it is on a CPU and there is no C++ compiler.

    Args:
        whole_step: all of a supervision step if it is on a GPU: the recursion is unrolled, so that compiling takes
            minutes for many cycles. Otherwise the network alone, once for all its applications.
        batch_sizes_vary: one compilation serves them all, as solving needs.
    """
    if accelerator.device.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        accelerator.print("no C++ compiler (g++) found: the network is not compiled, which takes longer")
        return
    if batch_sizes_vary:
        accelerator.print("compiling the network: the first step of an evaluation takes some twenty seconds")
        for network in model.model.networks:
            network.compile(dynamic=True)
    else:
        accelerator.print("compiling the network: the first step takes some twenty seconds on a CPU, longer on a GPU")
        compile_step(model, whole=whole_step and accelerator.device.type == "cuda")


def checkpoint_activations(model: TrmForPuzzleSolving) -> None:
    """Has the backward pass compute layers anew. transformers before 5.18 knows it by the older name only."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def hint_at_idle_cores(accelerator: Accelerator) -> None:
    """`accelerate launch` gives each CPU process one thread unless it is told."""
    share = (os.cpu_count() or 1) // accelerator.num_processes
    if accelerator.device.type == "cpu" and torch.get_num_threads() < share:
        accelerator.print(
            f"computing on {torch.get_num_threads()} of {share} cores per process: to use all, "
            f"accelerate launch --num_cpu_threads_per_process {share} train.py ..."
        )
