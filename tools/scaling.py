# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Writes the table of docs/scaling.md, what runs should cost, from the recipes:  python -m tools.scaling

The figures are those of `train.py --dry_run true`, at the rates and the price that the page names.
"""

from pathlib import Path

from training.arguments import TrainArguments, build_config_of, model_arguments, parse_arguments
from training.dry_run import Plan, describe_data, shown
from training.errors import require, run_command

from .results import markdown

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- costs: written by python -m tools.scaling -->", "<!-- costs end -->"
RATES, DOLLARS_PER_HOUR, MANY = (270, 185), 3, (4, 16)
RUNS = {
    "sudoku_extreme": "Sudoku-Extreme, MLP",
    "sudoku_extreme_attention": "Sudoku-Extreme, attention",
    "maze_hard": "Maze-Hard",
    "sudoku_fast": "Sudoku, the fast recipe",
    "maze_fast": "mazes, the fast recipe",
    "arc_agi_1": "ARC-AGI-1",
    "arc_agi_2": "ARC-AGI-2",
    "hrm_sudoku_extreme": "HRM, Sudoku-Extreme",
    "hrm_arc_agi_1": "HRM, ARC-AGI-1",
}
HEAD = (
    "run",
    "recipe",
    "per step",
    "steps",
    "in all",
    f"GPU-hours at {RATES[0]} to {RATES[1]} TFLOP/s",
    *(f"hours on {count}" for count in MANY),
    f"at ${DOLLARS_PER_HOUR}",
    "GB on 1",
    f"GB on {MANY[0]}",
)


def main(command_line: list[str]) -> None:
    require(not command_line, "tools.scaling takes no arguments: it reads the recipes")
    PAGE.write_text(with_table(PAGE.read_text()))
    print(f"wrote the table of {PAGE.relative_to(ROOT)}")


def with_table(text: str) -> str:
    """docs/scaling.md with its table made anew, between two marks."""
    require(BEGIN in text and END in text, f"docs/scaling.md lacks the marks {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(markdown(HEAD, list(map(row, RUNS)))) + f"\n{END}{rest.split(END)[1]}"


def row(recipe: str) -> tuple[str, ...]:
    """A line of the table."""
    plan = plan_of(recipe)
    hours = [plan.hours(rate) for rate in RATES]
    return (
        RUNS[recipe],
        f"`{recipe}`",
        shown(plan.operations_per_step, "FLOP"),
        f"{plan.args.max_steps:,}",
        shown(plan.total_operations, "FLOP"),
        between(hours),
        *(between([one / count for one in hours]) for count in MANY),
        between([DOLLARS_PER_HOUR * one for one in hours]),
        *(gigabytes(plan_of(recipe, count)) for count in (1, MANY[0])),
    )


def plan_of(recipe: str, num_processes: int = 1) -> Plan:
    """Of a recipe as it is, without its augmented puzzles, which cost nothing but the memory of their table."""
    command = ["--config", str(ROOT / "recipes" / f"{recipe}.yaml"), "--num_augmentations", "0"]
    args, model_args = parse_arguments([TrainArguments, model_arguments()], command)
    puzzle_format, num_puzzles, _ = describe_data(args)
    return Plan(args, build_config_of(model_args, puzzle_format, num_puzzles), num_processes)


def gigabytes(plan: Plan) -> str:
    return f"{(plan.weight_bytes + plan.activation_bytes) / 1e9:.0f}"


def between(values: list[float]) -> str:
    """Such as 2.2–3.2, two digits each."""
    low, high = (f"{value:.0f}" if value >= 10 else f"{value:.2g}" for value in values)
    return low if low == high else f"{low}–{high}"


if __name__ == "__main__":
    run_command(main)
