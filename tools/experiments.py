# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Trains recipes for an equal time and compares them:  python -m tools.experiments experiments/FOLDER --seeds 0 1

Each recipe gets as many steps as fit the time limit, so that every learning-rate schedule ends where the time does: a
short run measures the time of a step first (what is compiled or loaded before it does not count). On a CPU, time is
that of the process, which other programs on the machine do not use up; on a GPU it is the clock's. With
`--steps N` they get equal steps instead, so equal samples where their batches are equal.

In `runs/FOLDER/` are RECIPE.json, with the result and the command of every seed, and RECIPE.seed-N.jsonl, the log. The
table of all of them is RESULTS.md beside the recipes, or, while one of these has no result, in `runs/FOLDER/`. A run
that is there already is not repeated.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from training.arguments import Parser, as_flags, read_recipe
from training.errors import UserError, require, run_command
from training.evaluation.results import read_results
from training.storage import write_json

ROOT = Path(__file__).parent.parent
CALIBRATION_STEPS = 40


def main(command_line: list[str]) -> None:
    parser = Parser([], prog="tools.experiments", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="+", help="YAML files, or folders of them")
    parser.add_argument("--time_limit_minutes", type=float, default=1.0, help="training time of each run")
    parser.add_argument("--steps", type=int, help="training steps of each run, in place of the time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each recipe runs once with each")
    parser.add_argument("--output_dir", type=Path, default=Path("runs"), help="folder for the results of single runs")
    args = parser.parse_args(command_line)
    require(args.time_limit_minutes > 0, f"time_limit_minutes={args.time_limit_minutes} must be positive")
    require(args.steps is None or args.steps > 0, f"steps={args.steps} must be positive")
    limit = {"time_limit_minutes": args.time_limit_minutes} if args.steps is None else {"steps": args.steps}
    recipes = find_recipes(args.recipes)
    for seed in args.seeds:  # every recipe once, before any is repeated
        for recipe in recipes:
            run_once(recipe, seed, limit, args.output_dir)
            text = table(recipe.parent, args.output_dir)
            table_path(recipe.parent, args.output_dir).write_text(text, encoding="utf-8")
    for folder in sorted({recipe.parent for recipe in recipes}):
        print(f"{table(folder, args.output_dir)}\nwrote {table_path(folder, args.output_dir)}")


def find_recipes(names: list[str]) -> list[Path]:
    """The files named, and those in the folders named, each of them readable."""
    recipes = []
    for name in names:
        found = sorted(Path(name).glob("*.yaml")) if Path(name).is_dir() else [Path(name)]
        require(bool(found), f"{name} has no .yaml files")
        recipes += found
    for recipe in recipes:
        read_recipe(recipe)
    return recipes


def run_once(recipe: Path, seed: int, limit: dict[str, Any], output_dir: Path) -> None:
    """Trains and evaluates a recipe with one seed, unless its result is there, and adds the result to the others."""
    output = output_dir / recipe.parent.name / f"{recipe.stem}.json"
    setting = {"arguments": " ".join(as_flags(read_recipe(recipe))), "limit": limit, "clock": clock()}
    record = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    if {name: record.get(name) for name in setting} != setting:
        max_steps = limit.get("steps") or steps_within(60 * limit["time_limit_minutes"], recipe)
        record = {**setting, "max_steps": max_steps, "runs": []}
    if any(run["seed"] == seed for run in record["runs"]):
        return
    with TemporaryDirectory() as name:
        folder, max_steps = Path(name), record["max_steps"]
        command = train(recipe, folder, seed=seed, max_steps=max_steps, log_steps=max(1, max_steps // 25))
        command += f" --output_dir runs/{recipe.parent.name}/{recipe.stem}.seed-{seed}"
        run = {"seed": seed, "command": command, "train_seconds": max_steps * step_seconds(folder)}
        (results,) = read_results(folder / "results.json")
        run["results"] = results | {"model": recipe.stem}
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "train_log.jsonl", output.with_suffix(f".seed-{seed}.jsonl"))
    record["runs"] = sorted([*record["runs"], run], key=lambda run: run["seed"])
    write_json(record, output, indent=2)


def steps_within(seconds: float, recipe: Path) -> int:
    """How many steps of a recipe take so long: measured in a short run, which has the same share of every stage."""
    with TemporaryDirectory() as folder:
        train(recipe, Path(folder), max_steps=CALIBRATION_STEPS, log_steps=2, num_test_puzzles=1)
        return max(1, round(seconds / step_seconds(Path(folder))))


def clock() -> str:
    """The column of the training log that measures time."""
    return "seconds" if torch.accelerator.is_available() else "cpu_seconds"


def train(recipe: Path, output_dir: Path, **fields: Any) -> str:
    """Runs train.py as a process of its own, and gives back its command but for the output folder."""
    words = [
        "train.py",
        "--config",
        str(recipe),
        *(word for item in fields.items() for word in (f"--{item[0]}", str(item[1]))),
    ]
    script, *options = words
    done = subprocess.run([sys.executable, str(ROOT / script), *options, "--output_dir", str(output_dir)])
    if done.returncode:
        raise UserError(f"{recipe} did not run: see the message above")
    return " ".join(["python", *words])


def step_seconds(folder: Path) -> float:
    """Mean time of a step between the first report of a run, when all is compiled, and its last."""
    lines = [json.loads(line) for line in (folder / "train_log.jsonl").read_text(encoding="utf-8").splitlines()]
    first, *_, last = [line for line in lines if clock() in line]
    return (last[clock()] - first[clock()]) / (last["step"] - first["step"])


def table_path(folder: Path, output_dir: Path) -> Path:
    """RESULTS.md beside a folder's recipes if all of them have results, otherwise beside the results."""
    results = output_dir / folder.name
    is_whole = all((results / f"{path.stem}.json").exists() for path in folder.glob("*.yaml"))
    return (folder if is_whole else results) / "RESULTS.md"


def table(folder: Path, output_dir: Path) -> str:
    """The results of a folder's recipes, best first, as Markdown; a recipe's first line of comment describes it."""
    results = output_dir / folder.name
    known = {path.stem: results / f"{path.stem}.json" for path in sorted(folder.glob("*.yaml"))}
    records = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in known.items() if path.exists()}
    rows, commands, places = [], set(), set()
    for name, record in records.items():
        runs = record["runs"]
        scores = [100 * run["results"]["exact_accuracy"] for run in runs]
        seeds = " ".join(str(run["seed"]) for run in runs)
        (limit,) = (f"--{name} {value:g}" for name, value in record["limit"].items())
        commands.add(f"python -m tools.experiments experiments/{folder.name} {limit} --seeds {seeds}")
        places |= {f"{run['results']['device']}, commit {run['results']['commit']}" for run in runs}
        columns = (
            f"`{name}`",
            (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip(),
            str(record["max_steps"]),
            f"{mean(run['train_seconds'] for run in runs):.0f}",
            f"{mean(scores):.1f}",
            ", ".join(f"{score:.1f}" for score in scores),
            f"{mean(run['results']['mean_steps'] for run in runs):.2f}",
        )
        rows.append((mean(scores), f"| {' | '.join(columns)} |"))
    clocks = " and ".join(sorted({"CPU" if one["clock"] == "cpu_seconds" else "GPU" for one in records.values()}))
    head = ("recipe", "what it changes", "steps", f"{clocks} seconds", "exact %", "by seed", "supervision steps")
    lines = [
        "# Results\n",
        *(f"`{command}`\n" for command in sorted(commands)),
        *(f"- {place}" for place in sorted(places)),
        f"\n| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(row for _, row in sorted(rows, reverse=True)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main)
