# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Writes docs/results.md and the README's table of results from docs/results.yaml:  python -m tools.results

The scores of this repository's model are read from its folder. Tests compare the pages with what this writes.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from training.errors import UserError, require, run_command
from training.publishing.cards import settings_of

ROOT = Path(__file__).parent.parent
DATA, PAGE, README = ROOT / "docs" / "results.yaml", ROOT / "docs" / "results.md", ROOT / "README.md"
OWN_MODEL = ROOT / "trm-sudoku"
BEGIN, END = "<!-- results: written by python -m tools.results -->", "<!-- results end -->"
NEEDED = {"benchmark", "model", "parameters", "split", "metric", "score", "evidence", "source"}
OPTIONAL = {"spread", "cost", "short"}
NAMED = {
    "benchmark": "benchmarks",
    "split": "splits",
    "metric": "metrics",
    "evidence": "evidence",
    "source": "sources",
}
COLUMNS = ("model", "parameters", "%", "spread", "metric", "split", "cost per task", "evidence", "source", "date")
SHORT_COLUMNS = {  # of the README's table: benchmark and split
    "Sudoku-Extreme": ("sudoku", None),
    "Maze-Hard": ("maze", None),
    "ARC-AGI-1, public": ("arc1", "public"),
    "semi-private": ("arc1", "private"),
    "ARC-AGI-2, public": ("arc2", "public"),
    "semi-private ": ("arc2", "private"),
}
INTRODUCTION = """\
# Results of the field

What TRM, its relatives and large language models reach on the same puzzles, as far as it is published. Evidence says
who measured; only the last table is this repository's own. Compare rows of one split and one metric:

- **Public and semi-private** sets of ARC-AGI differ in difficulty and in who can train on them; only the ARC Prize
  Foundation measures on the latter. On ARC-AGI-1 TRM has 44.6 % on one and 40 % on the other.
- **Sudoku-Extreme**: models trained on 1,000 puzzles. 16 steps are the paper's evaluation; 64 cost four times as much.
- **Mazes** have many shortest paths: exact asks for the one in the file, which a model that finds another misses.
- **Several attempts** cost as many times as much as there are attempts.
- The zeros of language models on Sudoku-Extreme and Maze-Hard are of early 2025; newer ones were not found.
- FRS is the repository Fixed-Point-Reasoner-Structures: one group's, no paper yet, careful, not repeated by others.

"More accurate than most LLMs" was true of TRM on ARC-AGI in October 2025 and is no longer: what remains is accuracy
per parameter and per dollar, and puzzles with strict rules.

This page is written by `python -m tools.results`; a correction is a changed line in [results.yaml](results.yaml).
"""
OWN_INTRODUCTION = """\
## Sudoku-Extreme-like: this repository

[`trm-sudoku/`](../trm-sudoku/README.md), {parameters:,} parameters. **Not the benchmark's own test set** but bundled
puzzles like it (three quarters from lists of the hardest known), so not to be put beside the tables above.
"""


def main(command_line: list[str]) -> None:
    require(not command_line, "tools.results takes no arguments: it reads docs/results.yaml")
    data = read_data(DATA)
    PAGE.write_text(page(data), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8"), data), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} and the table of README.md from {len(data['rows'])} rows")


def read_data(path: Path) -> dict[str, Any]:
    """The data file, every row with the fields it needs and no others, each name defined.

    Raises:
        UserError: names the row and the field.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, source in data["sources"].items():
        require(source.keys() == {"name", "date", "url"}, f"source {name}: it needs name, date and url, and no more")
    for place, row in enumerate(data["rows"], start=1):
        named = f"{path.name}, row {place} ({row.get('model')})"
        require(row.keys() >= NEEDED, f"{named}: {', '.join(sorted(NEEDED - row.keys()))} missing")
        unknown = row.keys() - NEEDED - OPTIONAL
        require(not unknown, f"{named}: unknown field {', '.join(sorted(unknown))}")
        for field, table in NAMED.items():
            require(row[field] in data[table], f"{named}: {field} {row[field]!r} is not one of {table}")
        require(0 <= row["score"] <= 100, f"{named}: score {row['score']} is no percentage")
    return data


def page(data: dict[str, Any]) -> str:
    """docs/results.md: a table for each benchmark, best score first."""
    parts = [INTRODUCTION, *(f"- *{name}*: {text}" for name, text in data["evidence"].items())]
    for benchmark, title in data["benchmarks"].items():
        rows = sorted((row for row in data["rows"] if row["benchmark"] == benchmark), key=lambda row: -row["score"])
        parts += [f"\n## {title}\n", *markdown(COLUMNS, [cells(row, data) for row in rows])]
    record = json.loads((OWN_MODEL / "train_args.json").read_text(encoding="utf-8"))
    own = [
        (f"`{result['dataset']}`", interval(result), settings_of(result), (result["commit"] or "")[:7])
        for result in own_results()
    ]
    parts += ["\n" + OWN_INTRODUCTION.format(parameters=record["num_parameters"])]
    parts += markdown(("puzzles", "exact (95 % interval)", "settings", "commit"), own)
    return "\n".join(parts) + "\n"


def cells(row: dict[str, Any], data: dict[str, Any]) -> tuple[str, ...]:
    source = data["sources"][row["source"]]
    return (
        row["model"],
        row["parameters"],
        percent(row["score"]),
        row.get("spread", ""),
        data["metrics"][row["metric"]],
        data["splits"][row["split"]],
        dollars(row.get("cost")),
        row["evidence"],
        f"[{source['name']}]({source['url']})",
        source["date"],
    )


def with_table(text: str, data: dict[str, Any]) -> str:
    """README.md with its table made anew, between two marks."""
    require(BEGIN in text and END in text, f"README.md lacks the marks {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(short_table(data)) + f"\n{END}{rest.split(END)[1]}"


def short_table(data: dict[str, Any]) -> list[str]:
    """One line for each model with rows marked `short`, in their order, under this repository's own model."""
    rows = [row for row in data["rows"] if row.get("short")]
    lines: dict[str, list[str]] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        sizes = " – ".join(dict.fromkeys(row["parameters"] for row in own))
        found = [
            [row for row in own if row["benchmark"] == benchmark and split in (None, row["split"])]
            for benchmark, split in SHORT_COLUMNS.values()
        ]
        if any(len(one) > 1 for one in found):
            raise UserError(f"{model}: two rows marked short for one column of the README's table")
        lines[model] = [model, sizes, *(short_cell(one[0], data) if one else "" for one in found)]
    return markdown(("model", "parameters", *(name.strip() for name in SHORT_COLUMNS)), list(lines.values()))


def short_cell(row: dict[str, Any], data: dict[str, Any]) -> str:
    notes = [data["metrics"][row["metric"]]] if row["metric"] == "pass1" else []
    notes += [dollars(row["cost"])] if "cost" in row else []
    shown = percent(row["score"]) + (f" ({', '.join(notes)})" if notes else "")
    return f"*{shown}*" if row["evidence"] == "news" else shown


def own_results() -> list[dict[str, Any]]:
    return json.loads((OWN_MODEL / "results.json").read_text(encoding="utf-8"))


def interval(result: dict[str, Any]) -> str:
    low, high = result["exact_accuracy_ci95"]
    return f"{100 * result['exact_accuracy']:.1f} ({100 * low:.1f} – {100 * high:.1f})"


def percent(score: float) -> str:
    return f"{score:.1f}" if round(score, 1) == score else f"{score:.2f}"


def dollars(cost: float | None) -> str:
    return "" if cost is None else f"${cost:.2f}" if cost >= 0.01 else f"${cost:g}"


def markdown(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


if __name__ == "__main__":
    run_command(main)
