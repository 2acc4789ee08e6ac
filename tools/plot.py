# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Curves of one or several runs:  python -m tools.plot RUN_DIR [RUN_DIR ...] [--output curves.png]

Reads `train_log.jsonl`. Thin lines are the training puzzles that halted, bold ones with dots the evaluations.
"""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from training.errors import UserError, require, run_command

COLORS = ("#2563c9", "#d9622b", "#2a9d5c", "#8a4fbf", "#c2a01c", "#d64577", "#1b9aaa", "#6b7280")
RATES: dict[str, Any] = {"learning_rate": "-", "muon_learning_rate": "--", "puzzle_embedding_learning_rate": ":"}
TEXT, FAINT = "#1f2937", "#9ca3af"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log, without one that is just being written.

    Raises:
        UserError: there is no log, or nothing in it.
    """
    path = folder / "train_log.jsonl"
    try:
        lines = [
            json.loads(line)
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is not the log of a run") from None
    require(bool(lines), f"{path} is empty: the first line comes after --log_steps steps")
    return lines


def curve(lines: list[dict[str, Any]], name: str, factor: float = 1.0) -> tuple[list[int], list[float]]:
    """Steps and values of one field, where it is present."""
    points = [(line["step"], factor * line[name]) for line in lines if line.get(name) is not None]
    return [step for step, _ in points], [value for _, value in points]


def plot_runs(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draws loss, exact accuracy, supervision steps and learning rates of runs, by name, over the training steps."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

    figure = Figure(figsize=(10, 6.6), layout="constrained")
    (loss, exact), (steps, rate) = figure.subplots(2, 2, sharex=True)
    thin: dict[str, Any] = {"linewidth": 1.1}
    rates_in_use = [name for name in RATES if any(any(curve(lines, name)[1]) for lines in runs.values())]
    for number, lines in enumerate(runs.values()):
        color = COLORS[number % len(COLORS)]
        loss.plot(*curve(lines, "answer_loss"), color=color, **thin)
        exact.plot(*curve(lines, "exact_accuracy", 100), color=color, alpha=0.45, **thin)
        exact.plot(*curve(lines, "eval_exact_accuracy", 100), color=color, linewidth=2, marker="o", markersize=4)
        steps.plot(*curve(lines, "mean_steps"), color=color, **thin)
        for name in rates_in_use:
            rate.plot(*curve(lines, name), color=color, linestyle=RATES[name], linewidth=1.4)
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_locator(NullLocator())
    rate.set_yscale("log")
    rates = [value for lines in runs.values() for name in rates_in_use for value in curve(lines, name)[1]]
    highest = max(rates, default=1.0)
    rate.set_ylim(highest / 2000, highest * 1.5)  # a cosine's way to zero would fill the picture
    exact.set_ylim(-3, 103)
    steps.set_ylim(bottom=0)
    titles = {
        loss: "loss of the answer",
        exact: "exact accuracy, %",
        steps: "supervision steps per puzzle",
        rate: "learning rate",
    }
    for axes, title in titles.items():
        axes.set_title(title, loc="left", fontsize=11, color=TEXT)
        axes.grid(color=FAINT, alpha=0.25, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(which="both", color=FAINT, labelcolor=TEXT, labelsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.margins(x=0.02)
    for axes in (steps, rate):
        axes.set_xlabel("training step", color=TEXT)
    kinds = [
        Line2D([], [], color=TEXT, alpha=0.45, label="training", **thin),
        Line2D([], [], color=TEXT, linewidth=2, marker="o", markersize=4, label="evaluation"),
    ]
    exact.legend(handles=kinds, frameon=False, fontsize=9, labelcolor=TEXT)
    if len(rates_in_use) > 1:
        styles = [Line2D([], [], color=TEXT, linestyle=RATES[name], label=name) for name in rates_in_use]
        rate.legend(handles=styles, frameon=False, fontsize=9, labelcolor=TEXT)
    names = [Line2D([], [], color=COLORS[n % len(COLORS)], linewidth=3, label=name) for n, name in enumerate(runs)]
    figure.legend(handles=names, loc="outside upper center", ncols=min(len(names), 4), frameon=False, labelcolor=TEXT)
    figure.savefig(path, dpi=150)


def main(command_line: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.plot", description="Draws the curves of runs.")
    parser.add_argument("run_dirs", nargs="+", metavar="RUN_DIR", type=Path, help="output_dir of train.py")
    parser.add_argument("--output", type=Path, help="PNG file; curves.png in the first RUN_DIR when not given")
    args = parser.parse_args(command_line)
    require(find_spec("matplotlib") is not None, "drawing takes matplotlib: pip install matplotlib")
    folders = {str(folder): read_log(folder) for folder in args.run_dirs}
    short = {folder: Path(folder).resolve().name for folder in folders}
    unique = len(set(short.values())) == len(short)
    output = args.output or args.run_dirs[0] / "curves.png"
    plot_runs({short[folder] if unique else folder: lines for folder, lines in folders.items()}, output)
    print(f"drawn to {output}")


if __name__ == "__main__":
    run_command(main)
