# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Scores of a model on a split: the one source of every number this project reports."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm.auto import tqdm
from transformers.utils import PROCESSOR_NAME

from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmForPuzzleSolving, TrmProcessor, loading
from modeling_trm.modeling_trm import IGNORE_INDEX
from modeling_trm.rendering_trm import printable
from modeling_trm.solving_trm import Plan

from ..errors import require, user_errors
from ..stopping import Interruptible

SHARE_UNIT = 2**40  # shares are summed as whole numbers: neither batches nor processes change a score
COMMON_SCORES = ("exact_accuracy", "cell_accuracy", "halt_accuracy")  # of every task


def load_model(name: str, dtype: torch.dtype) -> TrmForPuzzleSolving:
    """Loads a model from a folder or the Hub.

    Raises:
        UserError: there is none, it is not TRM, or its weights are not those that its `config.json` describes.
    """
    with user_errors(f"cannot load the model {name!r}: ", *loading.UNLOADABLE):
        return loading.load_model(loading.find_model(name), dtype)


def load_processor(name: str) -> TrmProcessor | None:
    """The processor of a model in a folder or on the Hub; `None` if it has none."""
    with user_errors(f"cannot load the processor of {name!r}: ", *loading.UNLOADABLE):
        folder = loading.find_model(name)
        return loading.load_processor(folder) if (Path(folder) / PROCESSOR_NAME).exists() else None


def check_fit(name: str, model: TrmForPuzzleSolving, puzzles: Puzzles) -> None:
    """Raises `UserError` if the puzzles have another size or vocabulary than the model and its processor."""
    data, processor = puzzles.format.processor, load_processor(name)
    own = vars(processor) if processor else {}
    sizes = {"seq_len": data["height"] * data["width"], "vocab_size": len(data["vocabulary"])}
    for field, value in {**sizes, **data}.items():
        models = getattr(model.config, field) if field in sizes else own.get(field, value)
        message = f"the puzzles of {puzzles.config} do not fit {name}: their {field} is {value}, the model's {models}"
        require(models == value, message)


def evaluate(
    model: TrmForPuzzleSolving,
    puzzles: Puzzles,
    *,
    batch_size: int,
    accelerator: Accelerator,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    show_progress: bool = True,
    stopped: Callable[[], bool] = lambda: False,
    **solve_arguments: Any,
) -> dict[str, Any]:
    """Solves puzzles and compares the answers with the labels.

    Args:
        model: on the accelerator's device.
        puzzles: the split; each process solves its share.
        batch_size: puzzles worked on at a time.
        autocast: context of the computation.
        stopped: asked before every supervision step whether to leave it at that.
        solve_arguments: of `solve`; with `seed`, the scores do not depend on the number of processes.

    Returns:
        num_examples, exact_accuracy (every labelled cell right) with its 95 % Wilson interval, cell_accuracy (mean
        share of right cells), halt_accuracy (halting logit above the threshold exactly where the answer is right),
        mean_steps of the chosen attempts, mean_total_steps and mean_attempts of all attempts, the task's own scores
        (`PuzzleFormat.metrics`, such as a maze's optimal_accuracy), by_source (the same by `Puzzles.source`, if there
        are several), verified_accuracy (share of answers that passed, with `verify`), steps_histogram (puzzles by the
        steps of their chosen attempt), seconds, puzzles_per_second, and the arguments of `solve` that were in force
        (`halt_threshold` is `None` where nothing stops early). Nothing, if a process was `stopped`.
    """
    rank, world, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    sources = sorted(set(puzzles.source))
    source_of = torch.tensor([sources.index(source) for source in puzzles.source])
    metrics = puzzles.format.metrics
    totals = torch.zeros(len(sources), 7 + len(metrics), dtype=torch.long, device=device)  # see `summarise`
    plan = model.plan_solving(**solve_arguments)
    believes = belief_threshold(plan)
    histogram = torch.zeros(plan.max_steps + 1, dtype=torch.long, device=device)
    verified = torch.zeros((), dtype=torch.long, device=device)
    mine = torch.arange(len(puzzles))[rank::world]
    chunks = [rows for rows in mine.split(batch_size) if len(rows)]
    questions = ((puzzles.input_ids[rows], take(puzzles.puzzle_ids, rows)) for rows in chunks)
    start = time.perf_counter()
    progress = tqdm(
        total=len(mine), desc="evaluating", unit="puzzle", leave=False, disable=not (show_progress and rank == 0)
    )
    with Interruptible(model, stopped) as solving, autocast():
        solutions = model.solve_dataset(questions, batch_size=batch_size, **solve_arguments)
        for rows, solution in zip(chunks, solutions, strict=True):
            input_ids, labels = puzzles.input_ids[rows].to(device), puzzles.labels[rows].to(device)
            right = (solution.answers == labels) & (labels != IGNORE_INDEX)
            labelled = (labels != IGNORE_INDEX).sum(-1)
            exact = right.sum(-1) == labelled
            scores = (
                torch.ones_like(exact),
                exact,
                right.sum(-1) * SHARE_UNIT // labelled.clamp(min=1),
                (solution.halt_logits > believes) == exact,
                solution.steps,
                solution.total_steps,
                solution.attempts,
                *(metric(input_ids, solution.answers) for metric in metrics.values()),
            )
            totals.index_add_(0, source_of[rows].to(device), torch.stack([score.long() for score in scores], dim=1))
            histogram += solution.steps.bincount(minlength=plan.max_steps + 1)
            if solution.verified is not None:
                verified += solution.verified.sum()
            progress.update(len(rows))
    progress.close()
    if solving.was_left_anywhere(accelerator):
        return {}
    totals, histogram, verified = accelerator.reduce((totals, histogram, verified))
    seconds = time.perf_counter() - start
    results = summarise(totals.sum(0), list(metrics))
    if len(sources) > 1:
        results["by_source"] = {
            source: summarise(row, list(metrics)) for source, row in zip(sources, totals, strict=True)
        }
    if plan.verify:
        results["verified_accuracy"] = verified.item() / len(puzzles)
    return results | {
        "steps_histogram": {steps: count for steps, count in enumerate(histogram.tolist()) if count},
        **settings_of(plan),
        "seconds": round(seconds, 3),
        "puzzles_per_second": round(len(puzzles) / seconds, 1),
    }


def belief_threshold(plan: Plan) -> float:
    """The halting logit above which the head is said to believe its answer, also where nothing stops early."""
    return 0.0 if plan.halt_threshold == math.inf else plan.halt_threshold


def settings_of(plan: Plan) -> dict[str, Any]:
    """The arguments of `solve` that belong beside a score; `halt_threshold` is None where nothing stops early."""
    names = ("max_steps", "min_steps", "attempts", "noise_std", "selection")
    return {
        **{name: getattr(plan, name) for name in names},
        "halt_threshold": None if plan.halt_threshold == math.inf else plan.halt_threshold,
        "verify": plan.verify is not None,
    }


def take(column: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if column is None else column[rows]


def summarise(totals: Tensor, metrics: list[str]) -> dict[str, Any]:
    """Means from the sums of 1, exact, cells (in `SHARE_UNIT`), halting, steps, total steps, attempts, `metrics`."""
    count, exact, cells, halting, steps, total_steps, attempts, *others = totals.tolist()
    return {
        "num_examples": count,
        "exact_accuracy": exact / count,
        "exact_accuracy_ci95": wilson_interval(exact, count),
        "cell_accuracy": cells / SHARE_UNIT / count,
        "halt_accuracy": halting / count,
        "mean_steps": steps / count,
        "mean_total_steps": total_steps / count,
        "mean_attempts": attempts / count,
        **{name: total / count for name, total in zip(metrics, others, strict=True)},
    }


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> list[float]:
    """95 % confidence interval of a proportion (Wilson, 1927); [0, 1] without trials."""
    if trials == 0:
        return [0.0, 1.0]
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return [max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)]


def report(results: dict[str, Any]) -> str:
    """The scores as a small table for people."""
    rows = [("all", results), *results.get("by_source", {}).items()]
    own = [name for name in results if name.endswith("_accuracy") and name not in COMMON_SCORES]
    lines = [
        f"{'puzzles from':<34}{'number':>8}{'exact':>9}{'95 % interval':>18}{'cells':>9}{'halting':>9}{'steps':>7}"
        + "".join(f"{name.removesuffix('_accuracy'):>9}" for name in own)
    ]
    for name, row in rows:
        low, high = row["exact_accuracy_ci95"]
        shown = printable(name)[:33]
        lines.append(
            f"{shown:<34}{row['num_examples']:>8}{row['exact_accuracy']:>9.1%}{f'{low:.1%} – {high:.1%}':>18}"
            f"{row['cell_accuracy']:>9.1%}{row['halt_accuracy']:>9.1%}{row['mean_steps']:>7.2f}"
            + "".join(f"{row[name]:>9.1%}" if name in row else " " * 9 for name in own)
        )
    return "\n".join(lines)
