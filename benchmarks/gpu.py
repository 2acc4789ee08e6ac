# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Speed and memory of a training step on a GPU, as JSON:  python -m benchmarks.gpu > benchmarks/results/gpu.json

`--recipes sudoku_extreme` measures some of the cases, where the time of one call is short.

In one run, interleaved, medians, for the paper's models: this project's step as the loop does it (batch, augmentation,
forward, backward, check, optimizers, average), compiled and not, beside a restatement of the official step
(benchmarks/official.py, compiled, on a batch that is there already). `matrix_share` is the model's arithmetic, counted
from its matrix products, over the rate of one large product measured in the same run. `host_milliseconds` is the time
until a step is enqueued: where it is far below `milliseconds_per_step`, CUDA graphs have nothing to win. On a machine
without a GPU everything is small, and the figures mean little: it shows that the script runs.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.cpu import interleaved, peak_memory
from benchmarks.official import as_official
from datasets_scripts.tasks import Puzzles, load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from training.arguments import TrainArguments, build_config, model_arguments, parse_arguments
from training.batches import TrainBatches, first_carry
from training.devices import build_autocast, compile_step, has_bf16, start_accelerator
from training.dry_run import Plan
from training.evaluation.results import describe_run
from training.guards import check_step
from training.meters import Meters
from training.optimizers import ExponentialAverage, build_optimizers
from training.state import TrainState

RECIPES = Path(__file__).parent.parent / "recipes"
# recipe: puzzles per step on one GPU, and the data where the recipe's own would have to be downloaded
CASES = {
    "sudoku_extreme": (768, "hard-sample"),
    "sudoku_extreme_attention": (768, "hard-sample"),
    "maze_hard": (128, "hard-sample"),
    "arc_agi_1": (192, "arc-agi-1"),
}
SMALL = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128, "token_mixer_intermediate_size": 64}
SMALL_BATCH = 4
STEPS, REPEATS = (10, 5) if torch.cuda.is_available() else (1, 3)


def load_case(recipe: str, is_small: bool) -> tuple[TrainArguments, TrmConfig, Puzzles]:
    """Arguments, model and training puzzles of a recipe."""
    batch_size, dataset_config = CASES[recipe]
    command = ["--config", str(RECIPES / f"{recipe}.yaml"), "--dataset_config", dataset_config]
    args, model_args = parse_arguments([TrainArguments, model_arguments()], command)
    args = replace(args, batch_size=SMALL_BATCH if is_small else batch_size)
    puzzles = load_puzzles(args.task, dataset_config, "train", num_augmentations=2 if is_small else 1000)
    processor = puzzles.format.processor
    for name, value in SMALL.items() if is_small else ():
        setattr(model_args, name, value)
    config = build_config(
        model_args,
        vocab_size=len(processor["vocabulary"]),
        seq_len=processor["height"] * processor["width"],
        answer_token_ids=puzzles.format.answer_tokens,
        num_puzzles=puzzles.num_puzzles,
    )
    return args, config, puzzles


class Training:
    """A run, one step at a time, as `training.loop.train` does it."""

    def __init__(self, args: TrainArguments, config: TrmConfig, puzzles: Puzzles, accelerator: Accelerator):
        self.autocast = build_autocast(args, accelerator)
        self.model = TrmForPuzzleSolving(config).to(accelerator.device).train()
        average = ExponentialAverage(self.model, args.ema_decay)
        self.state = TrainState(self.model, average, build_optimizers(self.model, args))
        self.batches = TrainBatches(puzzles, args, config, accelerator)
        self.accelerator, self.meters = accelerator, Meters(accelerator)
        with self.autocast():
            self.state.carry = first_carry(self.model, self.batches(0))

    def step(self) -> None:
        with self.autocast():
            output = self.model(**self.batches(self.state.step), carry=self.state.carry)
        output.loss.backward()
        gradient_norm, _ = check_step(output.loss, self.model, self.accelerator)
        self.update()
        self.model.zero_grad()
        self.state.carry = output.carry
        self.state.step += 1
        self.meters.update(output, gradient_norm)

    def update(self) -> None:
        for optimizer in self.state.optimizers:
            optimizer.step()
        self.state.average.update_parameters(self.model)


class OfficialTraining(Training):
    """The official step on one batch, which its data loader would have prepared."""

    def __init__(self, args: TrainArguments, config: TrmConfig, puzzles: Puzzles, accelerator: Accelerator):
        super().__init__(args, config, puzzles, accelerator)
        as_official(self.model, torch.bfloat16 if has_bf16(accelerator.device) else torch.float32)
        self.batch = self.batches(0)

    def step(self) -> None:
        output = self.model(**self.batch, carry=self.state.carry)
        output.loss.backward()
        self.update()
        self.model.zero_grad()
        self.state.carry = output.carry


def trainings(recipe: str, accelerator: Accelerator, is_small: bool) -> dict[str, Training]:
    """The runs to compare, by name."""
    case = load_case(recipe, is_small)
    runs = {
        name: kind(*case, accelerator)
        for name, kind in (("compiled", Training), ("eager", Training), ("official", OfficialTraining))
    }
    for name in ("compiled", "official"):
        compile_step(runs[name].model, whole=accelerator.device.type == "cuda")
    return runs


def count_operations(recipe: str, is_small: bool) -> float:
    """Floating-point operations of the matrix products of a step, forward and backward."""
    args, config, _ = load_case(recipe, is_small)
    return Plan(args, config).operations_per_step


def matrix_rate(device: torch.device, size: int) -> float:
    """Operations per second of one product of `size` x `size` matrices, bfloat16."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = timed({"product": lambda: left @ right}, device)["product"]
    return 2 * size**3 / seconds


def timed(calls: dict[str, Callable[[], Any]], device: torch.device) -> dict[str, float]:
    """Median seconds of each call, from `REPEATS` turns of `STEPS` calls."""

    def several(call: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(STEPS):
                call()
            wait(device)

        return run

    seconds = interleaved({name: several(call) for name, call in calls.items()}, REPEATS)
    return {name: value / STEPS for name, value in seconds.items()}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def host_seconds(step: Callable[[], None], device: torch.device) -> float:
    """Median seconds until a step is handed to the device, which starts it idle."""
    seconds = []
    for _ in range(REPEATS):
        wait(device)
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def memory_of(step: Callable[[], None], device: torch.device) -> int:
    """The most bytes in use during a step, beyond what was before."""
    if device.type != "cuda":
        return peak_memory(step)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    wait(device)
    return torch.cuda.max_memory_allocated(device) - before


def measure(recipe: str, accelerator: Accelerator, rate: float, is_small: bool) -> dict[str, Any]:
    """Figures of one case."""
    device, start = accelerator.device, time.perf_counter()
    runs = trainings(recipe, accelerator, is_small)
    batch_size, operations = len(runs["official"].batch["input_ids"]), count_operations(recipe, is_small)
    for run in runs.values():
        run.step()
    prepared = time.perf_counter() - start
    seconds = timed({name: run.step for name, run in runs.items()}, device)
    return {
        "batch_size": batch_size,
        "teraflop_per_step": operations / 1e12,
        "preparation_seconds": prepared,
        "speedup_over_official": seconds["official"] / seconds["compiled"],
    } | {
        name: {
            "milliseconds_per_step": 1000 * seconds[name],
            "host_milliseconds": 1000 * host_seconds(run.step, device),
            "samples_per_second": batch_size / seconds[name],
            "teraflop_per_second": operations / seconds[name] / 1e12,
            "matrix_share": operations / seconds[name] / rate,
            "peak_mib": memory_of(run.step, device) / 2**20,
        }
        for name, run in runs.items()
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed and memory of a training step.")
    parser.add_argument("--recipes", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    accelerator = start_accelerator()
    device = accelerator.device
    is_small = device.type != "cuda"
    rate = matrix_rate(device, 1024 if is_small else 8192)
    results: dict[str, Any] = {"small": is_small, "matrix_teraflop_per_second": rate / 1e12}
    for recipe in args.recipes:
        torch.compiler.reset()
        results[recipe] = measure(recipe, accelerator, rate, is_small)
        gc.collect()  # compiled models hold themselves
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print(json.dumps(rounded(results) | describe_run(device), indent=2))


if __name__ == "__main__":
    main()
