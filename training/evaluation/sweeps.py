# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Accuracy against compute: the same evaluation for several values of one option of `solve`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..arguments import EvalArguments, suggestion
from ..errors import require

SWEPT = ("attempts", "max_steps", "min_steps", "noise_std", "halt_threshold")
COLOR = "#2563c9"


def parse_sweep(args: EvalArguments) -> tuple[str, list[Any]]:
    """The option and its values in `--sweep option=value,value,...`.

    Raises:
        UserError: it does not read so, there is no place for the result, or matplotlib is missing.
    """
    name, _, words = args.sweep.partition("=")
    require(name in SWEPT, f"cannot sweep {name!r}{suggestion(name, set(SWEPT))}; there are: {', '.join(SWEPT)}")
    kind = float if name in ("noise_std", "halt_threshold") else int
    try:
        values = [kind(word) for word in words.split(",")]
    except ValueError:
        require(False, f"--sweep {args.sweep} should read like {name}=1,4,16")
    require(args.output is not None, "--sweep needs --output, the file for its results; the plot goes beside it")
    require(Path(args.output).suffix != ".png", f"--output {args.output} is where the plot goes: name a .json file")
    require(find_spec("matplotlib") is not None, "--sweep draws with matplotlib: pip install matplotlib")
    return name, values


def plot_sweep(results: Sequence[dict[str, Any]], name: str, values: Sequence[Any], path: Path) -> None:
    """Draws exact accuracy with its 95 % interval against supervision steps per puzzle, all attempts counted.

    Args:
        results: an evaluation for each of `values`, or for the first of them.
        name: the option that took the values.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    labels: dict[tuple[float, ...], list[str]] = {}  # settings that came to the same point share a label
    for row, value in zip(results, values, strict=False):
        point = (row["mean_total_steps"], row["exact_accuracy"], *row["exact_accuracy_ci95"])
        labels.setdefault(point, []).append(str(value))
    curve = sorted(labels)
    axes.plot([steps for steps, *_ in curve], [100 * exact for _, exact, *_ in curve], marker="o", color=COLOR)
    for number, (steps, exact, low, high) in enumerate(curve):
        axes.plot([steps, steps], [100 * low, 100 * high], color=COLOR, alpha=0.4)
        text = ", ".join(labels[steps, exact, low, high])
        offset, side = ((-7, 5), "right") if number % 2 == 0 else ((7, -12), "left")  # neighbours may be near
        axes.annotate(text, (steps, 100 * exact), textcoords="offset points", xytext=offset, ha=side)
    axes.margins(x=0.12)
    if curve[-1][0] > 8 * curve[0][0]:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("supervision steps per puzzle, all attempts")
    axes.set_ylabel("exact accuracy, %")
    first = results[0]
    axes.set_title(f"{first['task']} {first['dataset']} {first['split']}, n = {first['num_examples']}, by {name}")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
