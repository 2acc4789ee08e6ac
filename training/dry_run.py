# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What a run will take, before it is started:  python train.py --config recipes/maze_hard.yaml --dry_run true

Nothing is trained or downloaded: the model is on torch's meta device, where operations have shapes and no numbers, and
its products are counted there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Muon
from torch.utils.flop_counter import FlopCounterMode

from datasets_scripts.tasks import TASKS, PuzzleFormat, nearest
from modeling_trm import TrmConfig, TrmForPuzzleSolving

from .arguments import TrainArguments, build_config_of, option
from .batches import load_splits
from .depth import DepthSchedule
from .embeddings.transfer import PUZZLE_TABLE
from .errors import require, user_errors
from .optimizers import SignSGD, build_optimizers

FLOAT32 = 4  # bytes
EXAMPLES = 2  # rows that are counted; all else is proportional to them


@dataclass
class DryRunArguments:
    """Fields of a dry run."""

    dry_run: bool = option(False, "print what the run would take, and end")
    assumed_processes: int | None = option(None, "dry run: processes, each with a GPU of its own; those there are")
    assumed_teraflops: float = option(100.0, "dry run: 10^12 operations per second that each process sustains")

    def __post_init__(self) -> None:
        count = self.assumed_processes
        require(count is None or count >= 1, f"assumed_processes={count} must be at least 1")
        rate = self.assumed_teraflops
        require(0 < rate < float("inf"), f"assumed_teraflops={rate} must be positive")


@dataclass(frozen=True)
class Stage:
    """Steps of one depth: how many, `depth` by field, and the floating-point operations of one, all processes."""

    steps: int
    depth: dict[str, int]
    operations: int


@dataclass(frozen=True)
class Plan:
    """What a recipe takes.

    Args:
        args, config: the recipe.
        num_processes: how many share the batch.
    """

    args: TrainArguments
    config: TrmConfig
    num_processes: int = 1

    @cached_property
    def model(self) -> TrmForPuzzleSolving:
        with torch.device("meta"):
            return TrmForPuzzleSolving(self.config).train()

    @property
    def num_parameters(self) -> int:
        """All but the table of puzzle embeddings."""
        return self.model.num_parameters() - self.table_size

    @property
    def table_size(self) -> int:
        """Numbers in the table of puzzle embeddings."""
        return sum(weight.numel() for name, weight in self.model.named_parameters() if name == PUZZLE_TABLE)

    @cached_property
    def stages(self) -> list[Stage]:
        schedule = DepthSchedule(self.args.depth_schedule, self.config, self.args.max_steps)
        ends = sorted({round(until * self.args.max_steps) for until, _ in schedule.stages} | {self.args.max_steps})
        starts = [0, *ends[:-1]]
        depths = [schedule.at(start) for start in starts]
        return [
            Stage(end - start, depth, self.args.batch_size * self.operations(depth) // EXAMPLES)
            for start, end, depth in zip(starts, ends, depths, strict=True)
        ]

    @property
    def total_operations(self) -> int:
        return sum(stage.steps * stage.operations for stage in self.stages)

    @property
    def operations_per_step(self) -> float:
        """The mean over the stages."""
        return self.total_operations / self.args.max_steps

    def operations(self, depth: dict[str, int]) -> int:
        """Of a step with `EXAMPLES` puzzles: matrix products, forward and backward, two for each multiplication."""
        with FlopCounterMode(display=False) as counter:
            step_on_meta(self.model, self.config, depth)
        return counter.get_total_flops()

    def hours(self, teraflops: float) -> float:
        """Of training on all processes, at 10^12 operations per second for each."""
        return self.total_operations / (teraflops * 1e12 * self.num_processes) / 3600

    @property
    def weight_bytes(self) -> int:
        """Of each process: weights, gradients, average and moments in float32; of the puzzle embeddings the table."""
        count = 3 * self.num_parameters + self.table_size
        for optimizer in build_optimizers(self.model, self.args):
            moments = 0 if isinstance(optimizer, SignSGD) else 1 if isinstance(optimizer, Muon) else 2
            count += moments * sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])
        return FLOAT32 * count

    @cached_property
    def activation_bytes(self) -> int:
        """Of each process, at the deepest stage: what the backward pass needs of the forward pass, an estimate."""
        rows = self.args.batch_size / self.num_processes
        return max(round(rows * self.bytes_of_an_example(stage.depth)) for stage in self.stages)

    def bytes_of_an_example(self, depth: dict[str, int]) -> float:
        """All that autograd keeps; of compiled networks what their partition into forward and backward keeps; with
        `activation_checkpointing` the input of every layer, and all of one."""
        dtype = torch.bfloat16 if self.args.mixed_precision == "bf16" else torch.float32
        with torch.device("meta"):
            model = TrmForPuzzleSolving(self.config).train().to(dtype)
        calls: list[tuple[nn.Module, Any]] = []

        def record(network: nn.Module, inputs: Any) -> None:
            if torch.is_grad_enabled():
                calls.append((network, inputs))

        hooks = [network.register_forward_pre_hook(record) for network in model.model.networks]
        with kept_for_backward(model) as kept:
            step_on_meta(model, self.config, depth)
        total = sum(kept.values())
        for hook in hooks:
            hook.remove()
        if self.args.activation_checkpointing:
            states = [inputs[0].nbytes for network, inputs in calls for _ in cast(nn.ModuleList, network.layers)]
            total = sum(states) + total // len(states)
        elif self.args.compile != "none":
            inputs_of = dict(calls)
            sizes = {network: kept_when_compiled(model, network, inputs) for network, inputs in inputs_of.items()}
            total = sum(sizes[network] for network, _ in calls)
        return total / EXAMPLES


def step_on_meta(model: TrmForPuzzleSolving, config: TrmConfig, depth: dict[str, int]) -> None:
    """A supervision step and its backward pass with `EXAMPLES` puzzles, all of them new."""
    with torch.device("meta"):
        cells = torch.zeros(EXAMPLES, config.seq_len, dtype=torch.int64)
        rows = torch.zeros(EXAMPLES, dtype=torch.int64)
        puzzle_ids = rows if config.num_puzzles > 1 else None
        output = model(cells, puzzle_ids, labels=cells, min_steps=rows, noise_key=rows, **depth)
        output.loss.backward()


def kept_when_compiled(model: TrmForPuzzleSolving, network: nn.Module, inputs: Any) -> int:
    """Bytes that an application of a network keeps after the partition that Inductor makes, too."""
    state, injection, rotary = inputs
    compiled = torch.compile(network, backend="aot_eager_decomp_partition", dynamic=False)
    with kept_for_backward(model) as kept:
        compiled(state.detach().requires_grad_(), injection.detach(), rotary)
    return sum(kept.values())


@contextmanager
def kept_for_backward(model: TrmForPuzzleSolving) -> Iterator[dict[int, int]]:
    """The bytes of each storage that autograd keeps within this context.

    Not counted are the weights, and the weights of attention, which fused attention computes anew: on the meta device
    there is none.
    """
    length = model.config.prefix_len + model.config.seq_len
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, int] = {}
    alive = []  # or another storage could have the same address

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        is_attention = model.config.token_mixer == "attention" and tensor.shape[-2:] == (length, length)
        if storage._cdata not in weights and not is_attention:
            kept[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def describe(args: TrainArguments, model_args: Any, dry: DryRunArguments) -> str:
    """What the run would take, in lines.

    Raises:
        UserError: as the run itself would.
    """
    count = dry.assumed_processes or int(os.environ.get("WORLD_SIZE", 1))
    require(args.batch_size % count == 0, f"batch_size={args.batch_size} cannot be divided among {count} processes")
    with user_errors("", ValueError, OSError):
        puzzle_format, num_puzzles, data = describe_data(args)
        config = build_config_of(model_args, puzzle_format, num_puzzles)
    plan = Plan(args, config, count)
    table = f" and {plan.table_size:,} in {num_puzzles:,} puzzle embeddings" if plan.table_size else ""
    hours = duration(plan.hours(dry.assumed_teraflops))
    lines = [
        ("model", f"{plan.num_parameters:,} parameters{table}"),
        ("data", data),
        ("step", f"{args.batch_size} puzzles: {shown(plan.operations_per_step, 'FLOP')}"),
        ("training", f"{args.max_steps:,} steps: {shown(plan.total_operations, 'FLOP')}"),
    ]
    if len(plan.stages) > 1:
        for stage in plan.stages:
            named = " ".join(f"{name}={value}" for name, value in stage.depth.items())
            lines.append(("", f"{stage.steps:,} steps with {named}: {shown(stage.operations, 'FLOP')} each"))
    lines += [
        ("memory", f"{shown(plan.weight_bytes, 'B')} per process for weights and optimizer"),
        ("", f"{shown(plan.activation_bytes, 'B')} for the backward pass of {args.batch_size // count} puzzles"),
        ("time", f"{hours} on {count} x {dry.assumed_teraflops:g} TFLOP/s, without evaluations"),
    ]
    if args.finish_minutes is not None:
        lines[-1] = ("time", f"{args.finish_minutes:g} minutes: finish_minutes decides, and the steps follow")
    return "\n".join(f"{name:<10}{text}" for name, text in lines)


def describe_data(args: TrainArguments) -> tuple[PuzzleFormat, int, str]:
    """The format of the puzzles, rows of the puzzle embedding, and a line; what is not here is not fetched or made."""
    task = TASKS[nearest(args.task, TASKS, "task")]
    builder, puzzle_format = task.build(
        args.dataset_config, data_dir=args.data_dir, seed=args.data_seed, num_train_puzzles=args.num_train_puzzles
    )
    config, shape = builder.config, puzzle_format.processor
    grid = f"{shape['height']} x {shape['width']}, {len(shape['vocabulary'])} tokens"
    named = f"{config.description}: {grid}"
    hub = task.hub_dataset(config.name, args.data_dir)
    if hub is not None or config.is_generated:
        most = "all" if args.num_train_puzzles is None else f"at most {args.num_train_puzzles:,}"
        return (
            puzzle_format,
            1 + len(puzzle_format.puzzle_ids),
            f"{named}, {most} training puzzles, {hub or 'generated'}",
        )
    splits = load_splits(args)
    counts = f"{len(splits['train']):,} training and {len(splits['test']):,} test puzzles"
    return puzzle_format, splits["train"].num_puzzles, f"{named}, {counts}"


def shown(value: float, unit: str) -> str:
    """Such as 32.8 TFLOP, in powers of 1000."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 1000:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:,.0f} P{unit}" if value >= 1000 else f"{value:.3g} P{unit}"


def duration(hours: float) -> str:
    return (
        f"{60 * hours:.1f} minutes" if hours < 1 else f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
    )
