# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What early exit, the refilled batch, bfloat16 and a compiled network bring on this machine, as JSON.

`always_all_steps` is the official evaluation on the same weights: every puzzle of a batch does every step. Each dtype
is measured as `from_pretrained` loads it and compiled as by `eval.py --compile true`. All take turns, so that all see
the same machine; medians are reported. `memory_kept_ratio` is what `keep_freed_memory` brings to the float32 model.
Needs a trained model, such as that of `python train.py --config recipes/sudoku_6x6.yaml`.

    python -m benchmarks.solve --model runs/sudoku_6x6 --dataset_config mini-6x6
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import AutoModel

import modeling_trm  # noqa: F401  (registers TRM with the Auto classes)
from datasets_scripts.tasks import Puzzles, load_puzzles
from modeling_trm import TrmForPuzzleSolving
from training.devices import keep_freed_memory
from training.evaluation.results import describe_run

OFFICIAL_STEPS = 16
IMPORTS = """
import time
import torch, transformers
start = time.perf_counter()
from transformers import AutoConfig, AutoModel, AutoProcessor, Pipeline, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY
parts = time.perf_counter()
import modeling_trm
print(parts - start, time.perf_counter() - parts)
"""  # transformers loads its parts lazily: those that are needed, then what is ours


def always_all_steps(model: TrmForPuzzleSolving, puzzles: Puzzles, batch_size: int) -> torch.Tensor:
    """Answers of the official evaluation: `OFFICIAL_STEPS` supervision steps of whole batches."""
    answers = []
    with torch.no_grad():
        for input_ids in puzzles.input_ids.split(batch_size):
            embeds, states = model.model.embed(input_ids), model.model.initial_states(len(input_ids))
            for _ in range(OFFICIAL_STEPS):
                states = model.model.recur(embeds, *states)
                logits = model.answer_logits(states[0])
                model.halt_logits(states[0])
            answers.append(logits.argmax(-1))
    return torch.cat(answers)


def early_exit(model: TrmForPuzzleSolving, puzzles: Puzzles, batch_size: int) -> torch.Tensor:
    """Answers of `solve_dataset` with as many steps at most."""
    batches = puzzles.input_ids.split(batch_size)
    solutions = model.solve_dataset(batches, batch_size=batch_size, max_steps=OFFICIAL_STEPS)
    return torch.cat([solution.answers for solution in solutions])


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of solving.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dataset_config", default="mini-6x6")
    parser.add_argument("--max_examples", type=int, default=500)
    parser.add_argument("--batch_size", type=int, default=256)  # that of `solve`
    parser.add_argument("--halt_threshold", type=float, help="the model's own when not given")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num_threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.num_threads)
    puzzles = load_puzzles("sudoku", args.dataset_config, "test", max_examples=args.max_examples)
    models = {}
    for dtype in ("float32", "bfloat16"):
        models[dtype], models[f"{dtype}_compiled"] = (
            AutoModel.from_pretrained(args.model, dtype=dtype) for _ in range(2)
        )
        models[f"{dtype}_compiled"].model.network.compile(dynamic=True)
    for model in models.values() if args.halt_threshold is not None else ():
        model.config.halt_threshold = args.halt_threshold
    ways = {"always_all_steps": always_all_steps, "early_exit": early_exit}
    all_steps = partial(always_all_steps, models["float32"], puzzles, args.batch_size)
    memory_returned = min(timed(all_steps)[0] for _ in range(args.repeats))
    keep_freed_memory()
    memory_kept = min(timed(all_steps)[0] for _ in range(args.repeats + 1))  # the heap has to grow first
    seconds: dict[str, list[float]] = {f"{way}_{name}": [] for name in models for way in ways}
    exact = {}
    for model in (models["float32_compiled"], models["bfloat16_compiled"]):
        for solve in ways.values():
            solve(model, puzzles, args.batch_size)  # compiles it
    for _ in range(args.repeats):
        for name, model in models.items():
            for way, solve in ways.items():
                spent, answers = timed(lambda solve=solve, model=model: solve(model, puzzles, args.batch_size))
                seconds[f"{way}_{name}"].append(spent)
                exact[f"{way}_{name}"] = (answers == puzzles.labels).all(1).float().mean().item()
    rate = {name: len(puzzles) / statistics.median(times) for name, times in seconds.items()}
    full = {name: rate[f"always_all_steps_{name}"] for name in models}
    latencies = [timed(lambda row=row: models["float32"].solve(row[None]))[0] for row in puzzles.input_ids[:100]]
    imports = [
        [float(word) for word in subprocess.check_output([sys.executable, "-c", IMPORTS], text=True).split()]
        for _ in range(args.repeats)
    ]
    parts, ours = (statistics.median(column) for column in zip(*imports, strict=True))
    report = {
        "model": args.model,
        "dataset": args.dataset_config,
        "num_examples": len(puzzles),
        "batch_size": args.batch_size,
        "halt_threshold": models["float32"].config.halt_threshold,
        "repeats": args.repeats,
        "puzzles_per_second": {name: round(value, 1) for name, value in rate.items()},
        "exact_accuracy": {name: round(value, 4) for name, value in exact.items()},
        "memory_kept_ratio": round(memory_returned / memory_kept, 2),
        "early_exit_ratio": round(rate["early_exit_float32"] / rate["always_all_steps_float32"], 2),
        "bfloat16_ratio": {
            "as_loaded": round(full["bfloat16"] / full["float32"], 2),
            "compiled": round(full["bfloat16_compiled"] / full["float32_compiled"], 2),
        },
        "one_puzzle_milliseconds": {
            "median": round(1000 * statistics.median(latencies), 1),
            "worst": round(1000 * max(latencies), 1),
        },
        "import_seconds": {"parts_of_transformers": round(parts, 3), "modeling_trm": round(ours, 3)},
        "avx512_bf16": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        **describe_run(torch.device("cpu")),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
