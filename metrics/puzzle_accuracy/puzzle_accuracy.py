# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Exact and cell accuracy of solved puzzles, as a module of the `evaluate` library; the numbers are those of eval.py.

puzzle_accuracy = evaluate.load("metrics/puzzle_accuracy")
puzzle_accuracy.compute(predictions=answers, references=labels)
"""

import math

import datasets
import evaluate

IGNORED_LABEL = -100
SHARE_UNIT = 2**40  # shares are summed as whole numbers, so that their order does not matter

DESCRIPTION = """
Puzzle accuracy compares answers with solutions, cell by cell. The exact accuracy is the share of puzzles with every
cell right, the cell accuracy the mean over the puzzles of the share of right cells. Cells labelled -100 do not count.
"""
ARGUMENTS = """
Args:
    predictions: answers, each a list of integers, row by row.
    references: solutions of the same lengths; -100 is a cell that does not count.

Returns:
    num_examples, exact_accuracy, exact_accuracy_ci95 (the Wilson interval), cell_accuracy.

Examples:
    >>> puzzle_accuracy = evaluate.load("metrics/puzzle_accuracy")
    >>> scores = puzzle_accuracy.compute(predictions=[[1, 2], [2, 2]], references=[[1, 2], [1, 2]])
    >>> scores["exact_accuracy"], scores["cell_accuracy"]
    (0.5, 0.75)
"""
CITATION = """
@article{jolicoeurmartineau2025less,
  title   = {Less is More: Recursive Reasoning with Tiny Networks},
  author  = {Jolicoeur-Martineau, Alexia},
  journal = {arXiv preprint arXiv:2510.04871},
  year    = {2025}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(DESCRIPTION, ARGUMENTS)
class PuzzleAccuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        grid = datasets.List(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=ARGUMENTS,
            features=datasets.Features({"predictions": grid, "references": grid}),
        )

    def _compute(self, predictions: list[list[int]], references: list[list[int]]) -> dict:
        exact = shares = 0
        for number, (answer, solution) in enumerate(zip(predictions, references, strict=True)):
            if len(answer) != len(solution):
                raise ValueError(f"puzzle {number}: the answer has {len(answer)} cells, the solution {len(solution)}")
            cells = [(a, b) for a, b in zip(answer, solution, strict=True) if b != IGNORED_LABEL]
            right = sum(a == b for a, b in cells)
            exact += right == len(cells)
            shares += right * SHARE_UNIT // max(len(cells), 1)
        return {
            "num_examples": len(references),
            "exact_accuracy": exact / len(references),
            "exact_accuracy_ci95": wilson_interval(exact, len(references)),
            "cell_accuracy": shares / SHARE_UNIT / len(references),
        }


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> list[float]:
    """95 % confidence interval of a proportion (Wilson, 1927)."""
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return [max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)]
