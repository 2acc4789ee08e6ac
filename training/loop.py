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

import psutil
import torch
from accelerate import Accelerator
from torch.nn.utils import clip_grads_with_norm_
from tqdm.auto import tqdm
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmOutput, TrmProcessor
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
    run = Run(args, config, processor, train_puzzles, test_puzzles, accelerator, on_save)
    stop_reason = None
    with run.progress:
        while stop_reason is None and not run.pace.is_over:
            run.step()
            stop_reason = run.do_what_is_due()
    if stop_reason is not None:
        run.stop(stop_reason)
        return None
    run.finish()
    return run.state


class Run:
    """A run of training: what it needs, one step of it, and what comes between steps. Arguments as of [`train`]."""

    def __init__(
        self,
        args: TrainArguments,
        config: TrmConfig,
        processor: TrmProcessor,
        train_puzzles: Puzzles,
        test_puzzles: Puzzles,
        accelerator: Accelerator,
        on_save: Callable[[TrainState, Callable[[Path], None]], None] | None = None,
    ):
        check_recipe(args, train_puzzles, test_puzzles, accelerator)
        self.args, self.processor, self.test_puzzles, self.accelerator = args, processor, test_puzzles, accelerator
        self.on_save, self.output_dir = on_save, Path(args.output_dir)
        self.settings = fixed_settings(args, config, train_puzzles)
        self.schedule = DepthSchedule(args.depth_schedule, config, args.max_steps)
        self.autocast = build_autocast(args, accelerator)

        torch.manual_seed(args.seed)
        require_memory(config)
        model = TrmForPuzzleSolving(config).to(accelerator.device).train()
        if args.init_from is not None and (args.freeze_network or not list_checkpoints(self.output_dir)):
            train_puzzles = start_from(model, args, train_puzzles)
        self.augmented_tasks = train_puzzles.augmented_tasks
        accelerator.wait_for_everyone()  # before damaged checkpoints are renamed
        average = ExponentialAverage(model, args.ema_decay, args.ema_warmup)
        self.state = state = TrainState(model, average, build_optimizers(model, args))
        with self.autocast():
            resumed = load_checkpoint(state, self.output_dir, accelerator, self.settings, args.resume_anyway)
        self.pace = Pace(args, state, self.schedule, accelerator)
        if resumed:
            accelerator.print(f"going on from {self.pace.place}")
        else:
            check_is_free(self.output_dir, args.overwrite)
        prepare_device(args, state, accelerator)
        # The puzzle embeddings have sparse gradients, which their optimizer exchanges.
        self.dense = [parameter for name, parameter in model.named_parameters() if name != PUZZLE_TABLE]
        copy_from_first([*self.dense, *model.buffers()])
        self.batches = TrainBatches(train_puzzles, args, model.config, accelerator)
        if state.carry is None:
            with self.autocast():
                state.carry = first_carry(model, self.batches(state.step))

        self.log = TrainLog(self.output_dir / "train_log.jsonl", state.step, accelerator)
        self.meters, self.stopper = Meters(accelerator), Stopper(accelerator, args.time_limit_minutes)
        self.holds_finished_model = (self.output_dir / RESULTS).exists()
        self.save_is_due, self.skipped_in_a_row = False, 0
        self.start = time.perf_counter() - state.seconds
        total = args.max_steps if args.finish_minutes is None else None
        is_silent = not accelerator.is_main_process
        self.progress = tqdm(total=total, initial=state.step, unit="step", disable=is_silent)

    def step(self) -> None:
        """One supervision step of the puzzles in work, and one optimizer step."""
        state, model = self.state, self.state.model
        self.pace.begin_step()
        self.set_learning_rates()
        depth = self.schedule.at(self.pace.position)
        batch = self.batches(state.step, depth["max_supervision_steps"])
        with self.autocast():
            output = model(**batch, carry=self.batches.repose(state.carry, state.step), **depth)
        output.loss.backward()
        average_gradients(self.dense)
        gradient_norm, is_finite = check_step(output.loss, model, self.accelerator)
        state.carry = output.carry
        if is_finite:
            self.skipped_in_a_row = 0
            if self.args.max_grad_norm is not None:
                clip_grads_with_norm_(self.dense, self.args.max_grad_norm, gradient_norm)
            for optimizer in state.optimizers:
                optimizer.step()
            state.average.update_parameters(model)
        else:
            self.skip(output)
        model.zero_grad()
        state.step += 1
        self.pace.end_step()
        self.count_seconds()
        self.meters.update(output, gradient_norm, is_skipped=not is_finite)
        self.progress.update()

    def set_learning_rates(self) -> None:
        args, step = self.args, min(self.pace.position + 1, self.args.max_steps)
        factor = learning_rate_factor(step, args.warmup_steps, args.max_steps, args.min_learning_rate_ratio)
        for optimizer in self.state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def skip(self, output: TrmOutput) -> None:
        """Gives up the puzzles in work: their states may not be finite either, and the next step would fail too."""
        self.skipped_in_a_row += 1
        self.state.carry = replace(output.carry, halted=torch.ones_like(output.carry.halted))
        if self.skipped_in_a_row == self.args.max_skipped_steps:
            culprit, step = name_culprit(output.loss, self.state.model), self.state.step + 1
            raise UserError(
                f"{culprit} was not finite at step {step}, the last of {self.skipped_in_a_row} such steps in a row "
                "(all were skipped): the same command with a lower --learning_rate goes on from the last checkpoint"
            )

    def count_seconds(self) -> None:
        threads = torch.get_num_threads() if self.accelerator.device.type == "cpu" else 1
        before, self.state.seconds = self.state.seconds, time.perf_counter() - self.start
        self.state.device_seconds += (self.state.seconds - before) * threads * self.accelerator.num_processes

    def do_what_is_due(self) -> str | None:
        """Reports, evaluates and saves between two steps; why training is to stop here, if it is."""
        step, args, is_last = self.state.step, self.args, self.pace.is_over
        if (estimate := self.pace.estimate()) is not None:
            self.tell(estimate)
        if is_last:
            self.stopper.limit = float("inf")  # a run that is done is not stopped
        stop_reason = self.stopper.reason(now=is_last) or self.pace.stop_reason
        if step % args.log_steps == 0 or is_last:
            self.report()
        if args.eval_steps is not None and (step % args.eval_steps == 0 or is_last) and stop_reason is None:
            before = time.perf_counter()
            scores = evaluate_average(
                self.state, self.test_puzzles, args, self.accelerator, args.eval_examples, self.stopper.requested
            )
            stop_reason = self.stopper.reason(now=True)
            if scores:
                self.record(scores)
            else:
                self.tell(f"the evaluation of step {step} was cut short, and is left out")
            self.meters.start += time.perf_counter() - before
        self.save_is_due |= step % args.save_steps == 0
        if is_last or stop_reason is not None or (self.save_is_due and self.skipped_in_a_row == 0):
            self.save(is_last, stop_reason)
        return stop_reason

    def report(self) -> None:
        state, means = self.state, self.meters.report()
        others = {"progress": state.progress, "seconds": state.seconds, "cpu_seconds": time.process_time()}
        self.log.write(state.step, {**means, **learning_rates(state.optimizers), **others})
        self.progress.set_postfix_str(progress_line(means))

    def record(self, scores: dict[str, Any]) -> None:
        """Notes an evaluation, and keeps the weights if it is the best one."""
        step, accuracy = self.state.step, scores["exact_accuracy"]
        self.log.write(step, {"eval": scores, "eval_exact_accuracy": accuracy})
        number, mean_steps = scores["num_examples"], scores["mean_steps"]
        self.tell(f"step {step}: {accuracy:.1%} of {number} test puzzles exact, {mean_steps:.1f} steps")
        if accuracy > self.state.best_accuracy:
            self.state.best_accuracy = accuracy
            failure = failure_of(partial(self.publish, self.output_dir / "checkpoints" / "best"), self.accelerator)
            if failure is not None:
                self.tell(f"warning: the best model so far could not be written ({failure})")

    def save(self, is_last: bool, stop_reason: str | None) -> None:
        state, accelerator = self.state, self.accelerator
        require(
            are_finite(state.model) and are_finite(state.averaged_model),
            f"the weights are not finite at step {state.step}, which was not saved: the same command with a lower "
            "--learning_rate goes on from the last checkpoint",
        )
        self.save_is_due = False
        failure = save_checkpoint(state, self.output_dir, accelerator, self.settings, self.args)
        if failure is not None:
            kept = [folder.name for folder in list_checkpoints(self.output_dir)][-1:]
            self.tell(f"warning: no checkpoint of step {state.step} ({failure}); the last one is {kept or 'missing'}")
            require(stop_reason is None, f"{stop_reason}: stopped at step {state.step} without a checkpoint")
        elif self.on_save is not None and not is_last:
            self.on_save(state, partial(self.write_model, deepcopy(state.averaged_model)))

    def stop(self, reason: str) -> None:
        """Leaves the averaged weights beside the checkpoint, unless a finished model is there."""
        if not self.holds_finished_model:
            failure = failure_of(partial(self.publish, self.output_dir), self.accelerator)
            if failure is not None:
                where = self.output_dir
                self.accelerator.print(f"warning: the model so far could not be written to {where}: {failure}")
        self.accelerator.print(f"{reason}: stopped at {self.pace.place}; the same command goes on")

    def finish(self) -> None:
        """Leaves the averaged weights, which are then what is evaluated, in their dtype."""
        averaged, dtype = self.state.averaged_model, getattr(torch, self.args.weights_dtype)
        with torch.no_grad():
            for weight in (*averaged.parameters(), *averaged.buffers()):
                weight.copy_(weight.to(dtype))
        failure = failure_of(partial(self.publish, self.output_dir), self.accelerator)
        require(failure is None, f"the model could not be written to {self.output_dir}: {failure}")

    def publish(self, folder: Path) -> None:
        if self.accelerator.is_main_process:
            self.write_model(self.state.averaged_model, folder)

    def write_model(self, model: TrmForPuzzleSolving, folder: Path) -> None:
        dtype = getattr(torch, self.args.weights_dtype)
        save_model(model if dtype == torch.float32 else deepcopy(model).to(dtype), self.processor, folder)
        if self.augmented_tasks:
            write_json(puzzle_record(self.augmented_tasks), folder / RECORD_NAME)

    def tell(self, line: str) -> None:
        if self.accelerator.is_main_process:
            self.progress.write(line)


def check_recipe(
    args: TrainArguments, train_puzzles: Puzzles, test_puzzles: Puzzles, accelerator: Accelerator
) -> None:
    """Raises `UserError` where the recipe does not fit the processes or the puzzles."""
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


def check_is_free(output_dir: Path, overwrite: bool) -> None:
    """Raises `UserError` where a new run would replace a model."""
    there = [name for name in (SAFE_WEIGHTS_NAME, CONFIG_NAME, CARD) if (output_dir / name).exists()]
    require(
        not there or overwrite,
        f"{output_dir} holds {there[:1]} and no checkpoint to go on from: choose another --output_dir, or train "
        "over what is there with --overwrite true",
    )


def prepare_device(args: TrainArguments, state: TrainState, accelerator: Accelerator) -> None:
    """Compiles, and says what could be faster."""
    hint_at_idle_cores(accelerator)
    if args.mixed_precision == "bf16" and not has_bf16(accelerator.device):
        accelerator.print("this device has no bf16 instructions: training in float32, which takes about twice as long")
    if args.activation_checkpointing:
        checkpoint_activations(state.model)
    if args.compile != "none":
        compile_network(state.model, accelerator, whole_step=args.compile == "step")
        if accelerator.device.type == "cuda":  # where evaluations are large enough to be worth it
            compile_network(state.averaged_model, accelerator, batch_sizes_vary=True)


def fixed_settings(args: TrainArguments, config: TrmConfig, puzzles: Puzzles) -> dict[str, Any]:
    """What must be the same when a run goes on, by name."""
    model = config.to_dict()
    settings = {name: getattr(args, name) for name in FIXED} | {"data": digest_of(puzzles)}
    return settings | {f"model.{name}": model[name] for name in TrmConfig.__annotations__ if name in model}


def require_memory(config: TrmConfig) -> None:
    """Raises `UserError` if weights, gradients, average and moments are more than the memory of this machine."""
    with torch.device("meta"):
        num_parameters = TrmForPuzzleSolving(config).num_parameters()
    needed, memory = 4 * 5 * num_parameters, psutil.virtual_memory().total
    require(
        needed <= memory,
        f"a model of {num_parameters:,} parameters takes {needed / 1e9:,.0f} GB to train, and this machine has "
        f"{memory / 1e9:,.0f}: make hidden_size or another size smaller",
    )


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
