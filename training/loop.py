# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The training loop: deep supervision (section 2.4 of the paper), one optimizer step per supervision step."""

import hashlib
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.nn.utils import clip_grads_with_norm_
from tqdm.auto import tqdm
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmProcessor
from modeling_trm.modeling_trm import IGNORE_INDEX
from modeling_trm.solving_trm import NotFiniteError

from .arguments import TrainArguments
from .batches import TrainBatches, first_carry
from .checkpoint import list_checkpoints, load_checkpoint, save_checkpoint, save_model
from .depth import DepthSchedule
from .devices import (
    build_autocast,
    checkpoint_activations,
    compile_network,
    has_bf16,
    hint_at_idle_cores,
    start_accelerator,
)
from .distributed import average_gradients, copy_from_first
from .embeddings.transfer import PUZZLE_TABLE, RECORD_NAME, puzzle_record, start_from
from .errors import UserError, require, user_errors
from .evaluation.arc import evaluate_arc
from .evaluation.scores import evaluate
from .guards import are_finite, check_step, name_culprit
from .meters import Meters, TrainLog, progress_line
from .optimizers import ExponentialAverage, build_optimizers, learning_rate_factor, learning_rates
from .pace import Pace
from .publishing.cards import CARD, RESULTS
from .state import TrainState
from .stopping import Stopper
from .storage import failure_of, write_json

# A run goes on only with the same of these and the same model; the others may change.
FIXED = (
    "task",
    "dataset_config",
    "data_seed",
    "num_train_puzzles",
    "num_augmentations",
    "augment",
    "repose",
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
    return start_accelerator(log_with=trackers, project_dir=args.output_dir)


def train(
    args: TrainArguments,
    config: TrmConfig,
    processor: TrmProcessor,
    train_puzzles: Puzzles,
    test_puzzles: Puzzles,
    accelerator: Accelerator,
    on_save: Callable[[TrainState, Callable[[Path], None]], None] | None = None,
) -> TrainState | None:
    """Trains, or goes on training, and leaves the averaged weights in `args.output_dir`.

    Args:
        args, config: the recipe.
        processor: saved beside the weights.
        train_puzzles, test_puzzles: the data; the latter for the periodic evaluation.
        accelerator: see `build_accelerator`.
        on_save: with `hub_strategy="every_save"` called with each checkpoint but the last, with a function that writes
            the model as it is then into a folder, at any time.

    Returns:
        The final state, or `None` if the time limit, a signal (SIGTERM, SIGINT, SIGUSR1) or a `finish_minutes` far too
        short for the schedule ended the run, with a checkpoint and, unless a finished model is in the folder, the
        averaged weights so far.

    Raises:
        UserError: the recipe does not fit the processes, or what is in the folder; too many steps in a
            row, or an evaluation, were not finite; the model, or the checkpoint to stop with, could not be written.
    """
    require(
        args.batch_size % accelerator.num_processes == 0,
        f"batch_size={args.batch_size} cannot be divided among {accelerator.num_processes} processes",
    )
    require(
        args.eval_steps is None or bool((test_puzzles.labels != IGNORE_INDEX).any(1).all()),
        "eval_steps is set, but the solutions of the test puzzles are not known: leave it out",
    )
    require(
        not args.repose or train_puzzles.format.random_symmetry is not None,
        "repose=true moves puzzles by the symmetries of their cells, and this task has none",
    )
    output_dir = Path(args.output_dir)
    settings = {name: getattr(args, name) for name in FIXED}
    settings["data"] = digest_of(train_puzzles)
    fields = config.to_dict()
    settings |= {f"model.{name}": fields[name] for name in TrmConfig.__annotations__ if name in fields}
    torch.manual_seed(args.seed)
    model = TrmForPuzzleSolving(config).to(accelerator.device).train()
    schedule = DepthSchedule(args.depth_schedule, config, args.max_steps)
    autocast = build_autocast(args, accelerator)
    if args.init_from is not None and (args.freeze_network or not list_checkpoints(output_dir)):
        train_puzzles = start_from(model, args, train_puzzles)
    accelerator.wait_for_everyone()  # before damaged checkpoints are renamed
    state = TrainState(
        model, ExponentialAverage(model, args.ema_decay, args.ema_warmup), build_optimizers(model, args)
    )
    with autocast():
        resumed = load_checkpoint(state, output_dir, accelerator, settings, args.resume_anyway)
    pace = Pace(args, state, schedule, accelerator)
    if resumed:
        accelerator.print(f"going on from {pace.place}")
    else:
        there = [name for name in (SAFE_WEIGHTS_NAME, CONFIG_NAME, CARD) if (output_dir / name).exists()]
        require(
            not there or args.overwrite,
            f"{output_dir} holds {there[:1]} and no checkpoint to go on from: choose another --output_dir, or train "
            "over what is there with --overwrite true",
        )
    hint_at_idle_cores(accelerator)
    if args.mixed_precision == "bf16" and not has_bf16(accelerator.device):
        accelerator.print("this device has no bf16 instructions: training in float32, which takes about twice as long")
    if args.activation_checkpointing:
        checkpoint_activations(model)
    if args.compile != "none":
        compile_network(model, accelerator, whole_step=args.compile == "step")
        if accelerator.device.type == "cuda":  # where evaluations are large enough to be worth it
            compile_network(state.averaged_model, accelerator, batch_sizes_vary=True)
    # The puzzle embeddings have sparse gradients, which their optimizer exchanges.
    dense = [parameter for name, parameter in model.named_parameters() if name != PUZZLE_TABLE]
    copy_from_first([*dense, *model.buffers()])
    batches = TrainBatches(train_puzzles, args, model.config, accelerator)
    if state.carry is None:
        with autocast():
            state.carry = first_carry(model, batches(state.step))
    log, meters = TrainLog(output_dir / "train_log.jsonl", state.step, accelerator), Meters(accelerator)
    save = partial(save_checkpoint, state, output_dir, accelerator, settings, args)
    stopper = Stopper(accelerator, args.time_limit_minutes)
    weights_dtype = getattr(torch, args.weights_dtype)
    is_finished = (output_dir / RESULTS).exists()

    def tell(line: str) -> None:
        if accelerator.is_main_process:
            progress.write(line)

    def write_model(model: TrmForPuzzleSolving, folder: Path) -> None:
        save_model(model if weights_dtype == torch.float32 else deepcopy(model).to(weights_dtype), processor, folder)
        if train_puzzles.augmented_tasks:
            write_json(puzzle_record(train_puzzles.augmented_tasks), folder / RECORD_NAME)

    def publish(folder: Path) -> None:
        if accelerator.is_main_process:
            write_model(state.averaged_model, folder)

    def leave_unfinished() -> None:
        """What a stop leaves beside the checkpoint, unless a finished model is there."""
        if not is_finished:
            publish(output_dir)

    def record(scores: dict[str, Any]) -> None:
        log.write(state.step, {"eval": scores, "eval_exact_accuracy": scores["exact_accuracy"]})
        tell(
            f"step {state.step}: {scores['exact_accuracy']:.1%} of {scores['num_examples']} test puzzles exact, "
            f"{scores['mean_steps']:.1f} steps"
        )
        if scores["exact_accuracy"] > state.best_accuracy:
            state.best_accuracy = scores["exact_accuracy"]
            failure = failure_of(partial(publish, output_dir / "checkpoints" / "best"), accelerator)
            if failure is not None:
                tell(f"warning: the best model so far could not be written ({failure})")

    start, seconds_before, device_seconds_before = time.perf_counter(), state.seconds, state.device_seconds
    devices = accelerator.num_processes * (torch.get_num_threads() if accelerator.device.type == "cpu" else 1)
    save_is_due, skipped_in_a_row = False, 0
    total = args.max_steps if args.finish_minutes is None else None
    progress = tqdm(total=total, initial=state.step, unit="step", disable=not accelerator.is_main_process)

    while not pace.is_over:
        pace.begin_step()
        factor = learning_rate_factor(
            min(pace.position + 1, args.max_steps), args.warmup_steps, args.max_steps, args.min_learning_rate_ratio
        )
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

        depth = schedule.at(pace.position)
        batch = batches(state.step, depth["max_supervision_steps"])
        with autocast():
            output = model(**batch, carry=batches.repose(state.carry, state.step), **depth)
        output.loss.backward()
        average_gradients(dense)
        gradient_norm, is_finite = check_step(output.loss, model, accelerator)
        state.carry = output.carry
        if is_finite:
            skipped_in_a_row = 0
            if args.max_grad_norm is not None:
                clip_grads_with_norm_(dense, args.max_grad_norm, gradient_norm)
            for optimizer in state.optimizers:
                optimizer.step()
            state.average.update_parameters(model)
        else:  # its states may not be finite either, and the next step would fail as well
            skipped_in_a_row += 1
            state.carry = replace(output.carry, halted=torch.ones_like(output.carry.halted))
            if skipped_in_a_row == args.max_skipped_steps:
                progress.close()
                raise UserError(
                    f"{name_culprit(output.loss, model)} was not finite at step {state.step + 1}, the last of "
                    f"{skipped_in_a_row} such steps in a row (all were skipped): the same command with a lower "
                    "--learning_rate goes on from the last checkpoint"
                )
        model.zero_grad()
        state.step += 1
        pace.end_step()
        seconds = time.perf_counter() - start
        state.seconds = seconds_before + seconds
        state.device_seconds = device_seconds_before + seconds * devices
        meters.update(output, gradient_norm, is_skipped=not is_finite)
        progress.update()

        is_last = pace.is_over
        if (estimate := pace.estimate()) is not None:
            tell(estimate)
        if is_last:
            stopper.limit = float("inf")  # a run that is done is not stopped
        stop_reason = stopper.reason(now=is_last) or pace.stop_reason
        if state.step % args.log_steps == 0 or is_last:
            means = meters.report()
            times = {"seconds": state.seconds, "cpu_seconds": time.process_time()}
            log.write(state.step, {**means, **learning_rates(state.optimizers), "progress": state.progress, **times})
            progress.set_postfix_str(progress_line(means))
        is_due = args.eval_steps is not None and (state.step % args.eval_steps == 0 or is_last)
        if is_due and stop_reason is None:
            before = time.perf_counter()
            try:
                scores = evaluate_average(
                    state, test_puzzles, args, accelerator, args.eval_examples, stopped=stopper.requested
                )
            except UserError:
                progress.close()
                raise
            stop_reason = stopper.reason(now=True)
            if scores:  # it was not cut short
                record(scores)
            meters.start += time.perf_counter() - before
        save_is_due |= state.step % args.save_steps == 0
        must_save = is_last or stop_reason is not None
        if must_save or (save_is_due and is_finite):
            if not (are_finite(model) and are_finite(state.averaged_model)):
                progress.close()
                raise UserError(
                    f"the weights are not finite at step {state.step}, which was not saved: the same command with a "
                    "lower --learning_rate goes on from the last checkpoint"
                )
            save_is_due, failure = False, save()
            if failure is not None:
                kept = [folder.name for folder in list_checkpoints(output_dir)][-1:]
                tell(f"warning: no checkpoint of step {state.step} ({failure}); the last one is {kept or 'missing'}")
                require(stop_reason is None, f"{stop_reason}: stopped at step {state.step} without a checkpoint")
            elif on_save is not None and not is_last:
                on_save(state, partial(write_model, deepcopy(state.averaged_model)))
        if stop_reason is not None:
            progress.close()
            failure = failure_of(leave_unfinished, accelerator)
            if failure is not None:
                accelerator.print(f"warning: the model so far could not be written to {output_dir}: {failure}")
            accelerator.print(f"{stop_reason}: stopped at {pace.place}; the same command goes on")
            return None
    progress.close()
    if weights_dtype != torch.float32:
        with torch.no_grad():  # so that what is written is what is evaluated
            for weight in (*state.averaged_model.parameters(), *state.averaged_model.buffers()):
                weight.copy_(weight.to(weights_dtype))
    failure = failure_of(partial(publish, output_dir), accelerator)
    require(failure is None, f"the model could not be written to {output_dir}: {failure}")
    return state


def digest_of(puzzles: Puzzles) -> str:
    """A short name for the contents of a data set."""
    columns = [puzzles.input_ids, puzzles.labels]
    if puzzles.puzzle_ids is not None:
        columns.append(puzzles.puzzle_ids)
    return hashlib.blake2b(b"".join(column.numpy().tobytes() for column in columns), digest_size=8).hexdigest()


def evaluate_average(
    state: TrainState,
    puzzles: Puzzles,
    args: TrainArguments,
    accelerator: Accelerator,
    max_examples: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    **arc_arguments: Any,
) -> dict:
    """Scores of the averaged weights on the first `max_examples` puzzles; see [`evaluate`] and [`evaluate_arc`].

    Raises:
        UserError: the weights have grown so far that what they compute is not finite.
    """
    run: Callable[..., dict] = evaluate
    if puzzles.augmented_tasks:
        run = partial(evaluate_arc, num_votes=args.num_votes, **arc_arguments)
    with user_errors(f"cannot evaluate step {state.step}, a lower --learning_rate may be the mend: ", NotFiniteError):
        return run(
            state.averaged_model,
            puzzles.first(max_examples),
            batch_size=args.eval_batch_size,
            accelerator=accelerator,
            autocast=build_autocast(args, accelerator),
            stopped=stopped,
            halt_threshold=args.eval_halt_threshold,
            seed=args.seed,
        )
