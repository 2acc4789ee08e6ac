# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Speed and memory on a CPU, as JSON:  python -m benchmarks.cpu [--repeats 5] [--trained runs/sudoku_easy]

In one run, interleaved, medians: this project's training step and evaluation of the paper's Sudoku model beside a
restatement of the official ones (benchmarks/official.py): eager, the question embedded and both heads evaluated at
every supervision step, no row ever leaving the batch. `_mib` is the peak of the memory in use during one call, beyond
that before it (Linux).
"""

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.official import as_official
from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from training.evaluation.results import describe_run
from training.evaluation.scores import load_model

MIXERS = {"mlp": "none", "attention": "rope"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TRAIN_BATCH, EVAL_BATCH, EVAL_STEPS = 8, 8, 4  # an evaluation costs batch times steps


def autocast(dtype: torch.dtype) -> torch.autocast | nullcontext:
    return torch.autocast("cpu", dtype) if dtype != torch.float32 else nullcontext()


def train_steps(config: TrmConfig, dtype: torch.dtype, batch: dict[str, Tensor]) -> dict[str, Callable[[], None]]:
    """A forward and backward pass, by who does it."""
    official, ours, compiled = (TrmForPuzzleSolving(config).train() for _ in range(3))
    official = as_official(official, dtype)
    compiled.model.network.compile(dynamic=False)

    def step(model: TrmForPuzzleSolving, context: Callable) -> None:
        with context(dtype):
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad()

    def official_step() -> None:
        official(**batch).loss.backward()
        official.zero_grad()

    return {
        "official": official_step,
        "eager": lambda: step(ours, autocast),
        "compiled": lambda: step(compiled, autocast),
    }


def evaluations(config: TrmConfig, dtype: torch.dtype, input_ids: Tensor) -> dict[str, Callable[[], None]]:
    """All steps of all puzzles, by who does it."""
    official = as_official(TrmForPuzzleSolving(config).eval(), dtype)
    ours, compiled = (TrmForPuzzleSolving(config).to(dtype).eval() for _ in range(2))
    compiled.model.network.compile(dynamic=False)

    @torch.no_grad()
    def official_evaluation() -> None:
        carry = None
        for _ in range(EVAL_STEPS):
            carry = official(input_ids, carry=carry).carry

    def evaluation(model: TrmForPuzzleSolving) -> None:
        model.solve(input_ids, max_steps=EVAL_STEPS, halt_threshold=float("inf"))

    return {
        "official": official_evaluation,
        "eager": lambda: evaluation(ours),
        "compiled": lambda: evaluation(compiled),
    }


def interleaved(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taking turns, after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure(calls: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Seconds and memory of each call, and how much of the official time it takes."""
    seconds = interleaved(calls, repeats)
    shares = {f"{name}_share": value / seconds["official"] for name, value in seconds.items() if name != "official"}
    memory = {f"{name}_mib": peak_memory(call) / 2**20 for name, call in calls.items()}
    return {name: round(value, 4) for name, value in (seconds | shares | memory).items()}


def peak_memory(call: Callable[[], None]) -> int:
    """The most bytes resident during the call, beyond those before it."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts from here
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """A memory field of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def halting(model_name: str, repeats: int) -> dict[str, float]:
    """A trained model on its own test puzzles: all steps for all rows, and `solve` as it is."""
    model = load_model(model_name, torch.float32)
    puzzles = load_puzzles("sudoku", "easy-sample", "test", max_examples=400)
    steps = model.config.max_solve_steps
    calls = {
        "official": lambda: model.solve(puzzles.input_ids, halt_threshold=float("inf")),
        "halting": lambda: model.solve(puzzles.input_ids),
    }
    seconds = interleaved(calls, repeats)
    exact = {name: (solve().answers == puzzles.labels).all(-1).float().mean().item() for name, solve in calls.items()}
    return {
        "all_steps": steps,
        "all_steps_puzzles_per_second": round(400 / seconds["official"], 1),
        "halting_puzzles_per_second": round(400 / seconds["halting"], 1),
        "speedup": round(seconds["official"] / seconds["halting"], 2),
        "all_steps_exact_accuracy": exact["official"],
        "halting_exact_accuracy": exact["halting"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=list(MIXERS))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--trained", help="folder of a model trained by recipes/sudoku_easy.yaml")
    args = parser.parse_args()
    puzzles = load_puzzles("sudoku", "hard-sample", "train", max_examples=EVAL_BATCH)
    batch = {"input_ids": puzzles.input_ids[:TRAIN_BATCH], "labels": puzzles.labels[:TRAIN_BATCH]}
    results: dict = {
        "units": "seconds",
        "train_batch": TRAIN_BATCH,
        "evaluation": f"{EVAL_BATCH} x {EVAL_STEPS} steps",
    }
    for mixer in args.mixers:
        config = TrmConfig(token_mixer=mixer, position_embedding_type=MIXERS[mixer])
        for name in args.dtypes:
            torch.compiler.reset()  # or the number of versions it keeps would run out
            train = measure(train_steps(config, DTYPES[name], batch), args.repeats)
            solve = measure(evaluations(config, DTYPES[name], puzzles.input_ids), args.repeats)
            results[f"{mixer} {name}"] = {"train_step": train, "evaluation": solve}
    if args.trained:
        results["halting"] = halting(args.trained, args.repeats)
    print(json.dumps(results | describe_run(torch.device("cpu")), indent=2))


if __name__ == "__main__":
    main()
