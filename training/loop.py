# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The training loop: deep supervision (section 2.4 of the paper), one optimizer step per supervision step."""

import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from tqdm.auto import tqdm

from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmProcessor
from modeling_trm.modeling_trm import IGNORE_INDEX

from .arc_evaluation import evaluate_arc, write_json
from .arguments import TrainArguments, UserError, require
from .batches import TrainBatches
from .checkpoint import TrainState, load_checkpoint, save_checkpoint, save_model
from .depth import DepthSchedule
from .evaluation import evaluate, start_accelerator
from .metrics import Meters, TrainLog
from .optimizers import build_average, build_optimizers, learning_rate_factor
from .transfer import PUZZLE_TABLE, RECORD_NAME, puzzle_record, start_from

# A run goes on only with the same of these and the same model; the others may change.
FIXED = (
    "task",
    "dataset_config",
    "data_seed",
    "num_train_puzzles",
    "num_augmentations",
    "augment",
    "init_from",
    "freeze_network",
    "seed",
    "batch_size",
    "optimizer",
    "use_muon",
    "depth_schedule",
)


def build_accelerator(args: TrainArguments) -> Accelerator:
    """Accelerate for processes, devices and trackers. Mixed precision is this loop's: see `build_autocast`."""
    trackers = None if args.report_to == "none" else args.report_to
    # Buffers are constants, and broadcasting them at every step would only cost time.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    return start_accelerator(log_with=trackers, project_dir=args.output_dir, kwargs_handlers=[ddp])


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


def computes_short_bf16_on_cpu(model: TrmForPuzzleSolving, args: TrainArguments, accelerator: Accelerator) -> bool:
    """Where attention in plain operations beats the CPU's fused kernel: short bfloat16 sequences."""
    short = model.config.prefix_len + model.config.seq_len <= 256
    return short and accelerator.device.type == "cpu" and build_autocast(args, accelerator) is not nullcontext


def hint_at_idle_cores(accelerator: Accelerator) -> None:
    """`accelerate launch` gives each CPU process one thread unless it is told."""
    share = (os.cpu_count() or 1) // accelerator.num_processes
    if accelerator.device.type == "cpu" and torch.get_num_threads() < share:
        accelerator.print(
            f"computing on {torch.get_num_threads()} of {share} cores per process: to use all, "
            f"accelerate launch --num_cpu_threads_per_process {share} train.py ..."
        )


def compile_network(model: TrmForPuzzleSolving, accelerator: Accelerator) -> None:
    """Compiles the network where it can be: on a CPU that takes a C++ compiler."""
    if accelerator.device.type == "cpu" and not shutil.which(os.environ.get("CXX", "g++")):
        accelerator.print("no C++ compiler (g++) found: the network is not compiled, which takes longer")
        return
    accelerator.print("compiling the network: the first step takes some twenty seconds on a CPU")
    model.model.network.compile(dynamic=False)


def train(
    args: TrainArguments,
    config: TrmConfig,
    processor: TrmProcessor,
    train_puzzles: Puzzles,
    test_puzzles: Puzzles,
    accelerator: Accelerator,
) -> TrainState | None:
    """Trains, or goes on training, and leaves the averaged weights in `args.output_dir`.

    Args:
        args, config: the recipe.
        processor: saved beside the weights.
        train_puzzles, test_puzzles: the data; the latter for the periodic evaluation.
        accelerator: see `build_accelerator`.

    Returns:
        The final state, or `None` if the time limit ended the run before `max_steps`.

    Raises:
        UserError: the recipe does not fit the processes, or an earlier run in the same folder.
    """
    require(
        args.batch_size % accelerator.num_processes == 0,
        f"batch_size={args.batch_size} cannot be divided among {accelerator.num_processes} processes",
    )
    require(
        args.eval_steps is None or bool((test_puzzles.labels != IGNORE_INDEX).any(1).all()),
        "eval_steps is set, but the solutions of the test puzzles are not known: leave it out",
    )
    output_dir = Path(args.output_dir)
    settings = {name: getattr(args, name) for name in FIXED}
    settings["data"] = digest_of(train_puzzles)
    settings["model"] = {name: value for name, value in config.to_dict().items() if name in TrmConfig.__annotations__}
    depth = DepthSchedule(args.depth_schedule, config, args.max_steps)
    torch.manual_seed(args.seed)
    model = TrmForPuzzleSolving(config).to(accelerator.device).train()
    if computes_short_bf16_on_cpu(model, args, accelerator):
        model.set_attn_implementation("eager")
    if args.init_from is not None:
        train_puzzles = start_from(model, args, train_puzzles)
    state = TrainState(model, build_average(model, args.ema_decay, args.ema_warmup), build_optimizers(model, args))
    if load_checkpoint(state, output_dir, accelerator, settings):
        accelerator.print(f"going on from step {state.step} of {args.max_steps}")
    hint_at_idle_cores(accelerator)
    autocast = build_autocast(args, accelerator)
    if args.mixed_precision == "bf16" and not has_bf16(accelerator.device):
        accelerator.print("this device has no bf16 instructions: training in float32, which takes about twice as long")
    if args.compile:
        compile_network(model, accelerator)
    # The optimizer of the puzzle embeddings exchanges their sparse gradients; DDP averages the dense ones.
    model._ddp_params_and_buffers_to_ignore = [PUZZLE_TABLE]
    dense = [parameter for name, parameter in model.named_parameters() if name != PUZZLE_TABLE]
    parallel = model if args.freeze_network else accelerator.prepare(model)
    batches = TrainBatches(train_puzzles, args, config, accelerator)
    log, meters = TrainLog(output_dir / "train_log.jsonl", state.step, accelerator), Meters(accelerator)
    save = partial(save_checkpoint, state, output_dir, accelerator, settings, args.checkpoint_total_limit)

    def publish(folder: Path) -> None:
        save_model(state.averaged_model, processor, folder)
        if train_puzzles.augmented_tasks:
            write_json(puzzle_record(train_puzzles.augmented_tasks), folder / RECORD_NAME)

    start, seconds_before = time.perf_counter(), state.seconds
    progress = tqdm(total=args.max_steps, initial=state.step, unit="step", disable=not accelerator.is_main_process)

    while state.step < args.max_steps:
        factor = learning_rate_factor(state.step + 1, args.warmup_steps, args.max_steps, args.min_learning_rate_ratio)
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

        depth.apply(state.step)
        with autocast():
            output = parallel(**batches(state.step), carry=state.carry)
        output.loss.backward()
        gradients = [parameter.grad for parameter in dense if parameter.grad is not None]
        gradient_norm = get_total_norm(gradients).to(accelerator.device)
        if args.max_grad_norm is not None:
            clip_grads_with_norm_(dense, args.max_grad_norm, gradient_norm)
        for optimizer in state.optimizers:
            optimizer.step()
        model.zero_grad()
        state.average.update_parameters(model)
        state.carry = output.carry
        state.step += 1
        state.seconds = seconds_before + time.perf_counter() - start
        meters.update(output, gradient_norm)
        progress.update()

        is_last, out_of_time = state.step == args.max_steps, False
        if state.step % args.log_steps == 0 or is_last:
            means = meters.report()
            if not (math.isfinite(means["answer_loss"]) and math.isfinite(means["gradient_norm"])):
                progress.close()
                raise UserError(
                    f"the loss or its gradient is not finite at step {state.step}: the same command with a lower "
                    "--learning_rate goes on from the last checkpoint"
                )
            rate, cpu_seconds = args.learning_rate * factor, time.process_time()
            log.write(
                state.step, {**means, "learning_rate": rate, "seconds": state.seconds, "cpu_seconds": cpu_seconds}
            )
            progress.set_postfix_str(
                f"loss {means['answer_loss']:.3f}, exact {means['exact_accuracy']:.1%}, "
                f"steps {means['mean_steps']:.1f}, {means['puzzles_per_second']:.0f} puzzles/s"
            )
            out_of_time = exceeds(time.perf_counter() - start, args.time_limit_minutes, accelerator)
        is_due = args.eval_steps is not None and (state.step % args.eval_steps == 0 or is_last)
        if is_last and args.accumulate_votes:  # the evaluation after training votes for this step
            is_due = False
        if is_due and not out_of_time:
            before = time.perf_counter()
            scores = evaluate_average(state, test_puzzles, args, accelerator, args.eval_examples)
            log.write(state.step, {"eval": scores, "eval_exact_accuracy": scores["exact_accuracy"]})
            progress.write(
                f"step {state.step}: {scores['exact_accuracy']:.1%} of {scores['num_examples']} test puzzles exact, "
                f"{scores['mean_steps']:.1f} steps"
            )
            if scores["exact_accuracy"] > state.best_accuracy:
                state.best_accuracy = scores["exact_accuracy"]
                if accelerator.is_main_process:
                    publish(output_dir / "checkpoints" / "best")
            meters.start += time.perf_counter() - before
        if state.step % args.save_steps == 0 or is_last or out_of_time:
            save()
        if out_of_time and not is_last:
            progress.close()
            accelerator.print(
                f"time limit: stopped at step {state.step} of {args.max_steps}; the same command goes on"
            )
            return None
    progress.close()
    if accelerator.is_main_process:
        publish(output_dir)
    return state


def digest_of(puzzles: Puzzles) -> str:
    """A short name for the contents of a data set."""
    columns = (puzzles.input_ids, puzzles.labels)
    return hashlib.blake2b(b"".join(column.numpy().tobytes() for column in columns), digest_size=8).hexdigest()


def exceeds(seconds: float, limit_minutes: float | None, accelerator: Accelerator) -> bool:
    """Whether any process has run longer than the limit; the same answer on all of them."""
    if limit_minutes is None:
        return False
    over = torch.tensor(float(seconds > 60 * limit_minutes), device=accelerator.device)
    return accelerator.reduce(over).item() > 0


def evaluate_average(
    state: TrainState,
    puzzles: Puzzles,
    args: TrainArguments,
    accelerator: Accelerator,
    max_examples: int | None = None,
    **arc_arguments: Any,
) -> dict:
    """Scores of the averaged weights on the first `max_examples` puzzles; see [`evaluate`] and [`evaluate_arc`]."""
    run: Callable[..., dict] = evaluate
    if puzzles.augmented_tasks:
        votes = state.votes if args.accumulate_votes else None
        run = partial(evaluate_arc, num_votes=args.num_votes, votes=votes, **arc_arguments)
    return run(
        state.averaged_model,
        puzzles.first(max_examples),
        batch_size=args.eval_batch_size,
        accelerator=accelerator,
        autocast=build_autocast(args, accelerator),
        halt_threshold=args.eval_halt_threshold,
        seed=args.seed,
    )
