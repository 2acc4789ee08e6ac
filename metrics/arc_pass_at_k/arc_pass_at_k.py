# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""pass@k of ARC, as a module of the `evaluate` library; the numbers are those of eval.py.

arc_pass_at_k = evaluate.load("metrics/arc_pass_at_k")
arc_pass_at_k.compute(predictions=ranked_grids, references=grids, tasks=names, k=[1, 2])
"""

from collections.abc import Sequence

import datasets
import evaluate

DESCRIPTION = """
ARC pass@k is the share of a task's test pairs whose output is among the first k predicted grids, averaged over the
tasks. Kaggle counts k = 2.
"""
ARGUMENTS = """
Args:
    predictions: for each test pair, the predicted grids, the best first; a grid is a list of rows of colours 0-9.
    references: the right grid of each pair.
    tasks: the name of the task that each pair belongs to.
    k: how many of the grids count; several numbers give several scores.

Returns:
    `pass@k` for each k.

Examples:
    >>> arc_pass_at_k = evaluate.load("metrics/arc_pass_at_k")
    >>> arc_pass_at_k.compute(predictions=[[[[1]], [[2]]], [[[3]]]], references=[[[2]], [[3]]], tasks=["a", "b"])
    {'pass@1': 0.5, 'pass@2': 1.0}
"""
CITATION = """
@article{chollet2019measure,
  title   = {On the Measure of Intelligence},
  author  = {Chollet, Fran\\c{c}ois},
  journal = {arXiv preprint arXiv:1911.01547},
  year    = {2019}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(DESCRIPTION, ARGUMENTS)
class ArcPassAtK(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        grid = datasets.List(datasets.List(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=ARGUMENTS,
            features=datasets.Features(
                {"predictions": datasets.List(grid), "references": grid, "tasks": datasets.Value("string")}
            ),
        )

    def _compute(
        self,
        predictions: list[list[list[list[int]]]],
        references: list[list[list[int]]],
        tasks: list[str],
        k: Sequence[int] = (1, 2),
    ) -> dict[str, float]:
        places: dict[str, list[int]] = {}  # of the right grid, by task; after all of them where it is missing
        for ranked, solution, task in zip(predictions, references, tasks, strict=True):
            place = ranked.index(solution) if solution in ranked else max(k)
            places.setdefault(task, []).append(place)
        return {
            f"pass@{count}": sum((place < count) / len(pairs) for pairs in places.values() for place in pairs)
            / len(places)
            for count in k
        }
