# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The modules of `metrics/`, loaded as anybody loads them, give the numbers of the evaluation to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import evaluate as hf_evaluate
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_scripts.arc_agi import to_grid
from datasets_scripts.tasks import PuzzleFormat, Puzzles, load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from training.evaluation.arc import VoteTable, as_bytes, attempts, evaluate_arc, pass_at
from training.evaluation.scores import evaluate

METRICS = Path(__file__).parent.parent / "metrics"


def load(name: str, folder: Path) -> hf_evaluate.EvaluationModule:
    return hf_evaluate.load(str(METRICS / name), cache_dir=str(folder))


@pytest.mark.parametrize("batch_size", [3, 50])
def test_puzzle_accuracy_is_that_of_the_evaluation(batch_size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TrmForPuzzleSolving(
        TrmConfig(vocab_size=5, seq_len=7, hidden_size=16, num_attention_heads=2, max_supervision_steps=2)
    ).eval()
    input_ids = torch.randint(0, 5, (41, 7), dtype=torch.int8)
    answers = model.solve(input_ids).answers
    labels = torch.where(torch.rand(41, 7) < 0.1, (answers + 1) % 5, answers)
    labels[torch.rand(41, 7) < 0.2] = -100
    puzzles = Puzzles(input_ids, labels, None, ["x"] * 41, "made-up", PuzzleFormat(processor={}, answer_tokens=[1]))
    scores = evaluate(model, puzzles, batch_size=batch_size, accelerator=Accelerator(cpu=True), show_progress=False)
    metric = load("puzzle_accuracy", tmp_path)
    for rows in torch.arange(41).split(10):
        metric.add_batch(predictions=answers[rows].tolist(), references=labels[rows].tolist())
    found = metric.compute()
    assert 0.2 < found["exact_accuracy"] < 0.9
    assert found == {name: scores[name] for name in found}
    assert set(found) == {"num_examples", "exact_accuracy", "exact_accuracy_ci95", "cell_accuracy"}


def test_puzzle_accuracy_refuses_answers_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="puzzle 1: the answer has 1 cells, the solution 2"):
        load("puzzle_accuracy", tmp_path).compute(predictions=[[1, 2], [1]], references=[[1, 2], [1, 2]])


GRIDS = st.integers(0, 5).map(lambda number: [[number % 3, number // 3]])


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.lists(GRIDS, min_size=1, max_size=5), GRIDS, st.sampled_from("abc")), min_size=1, max_size=9)
)
def test_arc_pass_at_k_is_the_vote_tables(cases: list[tuple[list, list, str]]) -> None:
    votes, tasks = VoteTable(), {}
    ordered = sorted(cases, key=lambda case: case[2])
    for pair, (grids, answer, task) in enumerate(ordered):
        for order, grid in enumerate(grids):
            votes.add(pair, as_bytes(np.array(grid)), 1, 1, order)
        tasks.setdefault(task, []).append((pair, as_bytes(np.array(answer))))
    ranked = attempts(votes, {task: [pair for pair, _ in pairs] for task, pairs in tasks.items()}, count=6)
    predictions = [list(tries.values()) for pairs in ranked.values() for tries in pairs]
    expected = pass_at(votes, tasks, (1, 2, 5))
    metric = hf_evaluate.load(str(METRICS / "arc_pass_at_k"))
    answers, names = [case[1] for case in ordered], [case[2] for case in ordered]
    unique = [list(map(json.loads, dict.fromkeys(map(json.dumps, grids)))) for grids in predictions]
    assert metric.compute(predictions=unique, references=answers, tasks=names, k=[1, 2, 5]) == expected


def test_a_submission_scores_what_eval_says(tmp_path: Path) -> None:
    """pass@1 and pass@2 from the file for Kaggle, on tasks whose right grids the model was made to predict."""
    tests = load_puzzles("arc-agi", split="test", num_augmentations=0).first(6)
    torch.manual_seed(0)
    config = TrmConfig(
        vocab_size=12, seq_len=900, hidden_size=16, num_attention_heads=2, intermediate_size=16, deep_cycles=1,
        latent_cycles=1, max_supervision_steps=1, num_puzzles=tests.num_puzzles, num_puzzle_tokens=1,
    )  # fmt: skip
    model = TrmForPuzzleSolving(config).eval()
    file = tmp_path / "submission.json"
    solve_dataset = model.solve_dataset
    wanted = iter(tests.labels.long())

    def half_right(*arguments, **options):
        for solution in solve_dataset(*arguments, **options):
            for row in range(len(solution.answers)):
                label = next(wanted)
                solution.answers[row] = label.clamp(min=0) if row % 2 else solution.answers[row]
            yield solution

    model.solve_dataset = half_right
    scores = evaluate_arc(model, tests, batch_size=50, accelerator=Accelerator(cpu=True), submission=file)
    submission = json.loads(file.read_text())
    predictions = [list(tries.values()) for pairs in submission.values() for tries in pairs]
    names = [name for name, pairs in submission.items() for _ in pairs]
    references = [to_grid(label).tolist() for label in tests.labels.numpy()]
    found = load("arc_pass_at_k", tmp_path).compute(predictions=predictions, references=references, tasks=names)
    assert found == {"pass@1": scores["pass@1"], "pass@2": scores["pass@2"]}
    assert 0 < found["pass@1"] < 1


def test_a_stranger_loads_them_without_the_rest_of_the_repository(tmp_path: Path) -> None:
    """The examples of the docstrings, in a process that knows only the two folders."""
    script = f"""
import evaluate
puzzle_accuracy = evaluate.load({str(METRICS / "puzzle_accuracy")!r})
scores = puzzle_accuracy.compute(predictions=[[1, 2], [2, 2]], references=[[1, 2], [1, 2]])
assert (scores["exact_accuracy"], scores["cell_accuracy"]) == (0.5, 0.75)
arc_pass_at_k = evaluate.load({str(METRICS / "arc_pass_at_k")!r})
scores = arc_pass_at_k.compute(predictions=[[[[1]], [[2]]], [[[3]]]], references=[[[2]], [[3]]], tasks=["a", "b"])
assert scores == {{"pass@1": 0.5, "pass@2": 1.0}}
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment | {"HF_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
