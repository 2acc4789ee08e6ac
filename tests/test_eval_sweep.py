# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""eval.py: its scores are those of `solve`, whatever the batch, and a sweep is a list of them with a plot."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from matplotlib.axes import Axes
from PIL import Image

import eval as eval_script
from datasets_scripts.tasks import TASKS, Puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from training.errors import UserError
from training.evaluation.scores import evaluate
from training.evaluation.sweeps import plot_sweep


@pytest.fixture(scope="module")
def puzzles(sudoku_splits: dict[str, dict[str, Puzzles]]) -> Puzzles:
    return sudoku_splits["mini-6x6"]["test"].first(60)


@pytest.fixture(scope="module")
def folder(puzzles: Puzzles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model whose halting head is of two minds."""
    torch.manual_seed(0)
    config = TrmConfig(
        vocab_size=8, seq_len=36, hidden_size=16, num_attention_heads=2, intermediate_size=32, deep_cycles=1,
        latent_cycles=1, max_supervision_steps=4, num_puzzle_tokens=1,
    )  # fmt: skip
    model = TrmForPuzzleSolving(config).eval()
    torch.nn.init.normal_(model.halt_head.weight)
    torch.nn.init.zeros_(model.halt_head.bias)
    solution = model.solve(puzzles.input_ids, halt_threshold=math.inf, noise_std=0.3, return_steps=True)
    model.halt_head.bias.data -= solution.step_halt_logits.amax(1).quantile(0.6)
    path = tmp_path_factory.mktemp("eval") / "model"
    model.save_pretrained(path)
    return path


def command(folder: Path, *words: object) -> list[str]:
    fixed = ["--model", folder, "--dataset_config", "mini-6x6", "--max_examples", 60, "--noise_std", 0.3]
    return [*map(str, fixed), *map(str, words)]


def test_scores_are_those_of_the_solution(folder, puzzles):
    model = TrmForPuzzleSolving.from_pretrained(folder).double()
    options = {"attempts": 4, "noise_std": 0.3, "seed": 3, "verify": TASKS["sudoku"].checker}
    solution = model.solve(puzzles.input_ids, **options)
    right = solution.answers == puzzles.labels
    for batch_size in (7, 500):
        scores = evaluate(model, puzzles, batch_size=batch_size, accelerator=Accelerator(cpu=True), **options)
        assert scores["num_examples"] == 60
        assert scores["exact_accuracy"] == right.all(1).double().mean().item()
        assert scores["cell_accuracy"] == pytest.approx(right.double().mean().item(), abs=1e-6)
        assert scores["mean_steps"] == pytest.approx(solution.steps.double().mean().item())
        assert scores["mean_total_steps"] == pytest.approx(solution.total_steps.double().mean().item())
        assert scores["mean_attempts"] == pytest.approx(solution.attempts.double().mean().item())
        assert scores["verified_accuracy"] == solution.verified.double().mean().item()
        assert scores["verify"] is True
        histogram = {steps: (solution.steps == steps).sum().item() for steps in solution.steps.unique().tolist()}
        assert scores["steps_histogram"] == histogram


def test_without_a_verifier_there_is_no_verified_score(folder, puzzles):
    model = TrmForPuzzleSolving.from_pretrained(folder)
    scores = evaluate(model, puzzles, batch_size=60, accelerator=Accelerator(cpu=True))
    assert "verified_accuracy" not in scores
    assert scores["verify"] is False


def test_the_halting_head_is_judged_also_where_nothing_stops_early(folder, puzzles):
    """Its belief is then a positive logit; an infinite threshold would call every puzzle doubted."""
    model = TrmForPuzzleSolving.from_pretrained(folder).double()
    options = {"halt_threshold": math.inf, "max_steps": 1, "seed": 3}
    logits = model.solve(puzzles.input_ids, **options).halt_logits
    model.halt_head.bias.data -= logits.median()
    solution = model.solve(puzzles.input_ids, **options)
    exact = (solution.answers == puzzles.labels).all(1)
    scores = evaluate(model, puzzles, batch_size=60, accelerator=Accelerator(cpu=True), **options)
    assert 0 < scores["halt_accuracy"] < 1
    assert scores["halt_accuracy"] == ((solution.halt_logits > 0) == exact).double().mean().item()
    assert scores["halt_threshold"] is None


def test_a_sweep_is_a_list_of_results_and_a_plot(folder, tmp_path):
    output = tmp_path / "curve.json"
    done = subprocess.run(
        [sys.executable, "eval.py", *command(folder, "--sweep", "attempts=1,4", "--output", output)],
        cwd=Path(eval_script.__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    once, often = json.loads(output.read_text())
    assert (once["attempts"], often["attempts"]) == (1, 4)
    assert once["mean_attempts"] == 1
    assert often["mean_total_steps"] > once["mean_total_steps"]
    assert often["mean_attempts"] > 1
    assert "attempts = 4" in done.stdout
    with Image.open(tmp_path / "curve.png") as plot:
        assert plot.format == "PNG"
        assert len(plot.convert("RGB").getcolors(10**6)) > 20
    assert len(list(tmp_path.iterdir())) == 2

    alone = tmp_path / "alone.json"
    eval_script.main(command(folder, "--attempts", 4, "--output", alone))
    measured = ("seconds", "puzzles_per_second", "commit")
    (result,) = json.loads(alone.read_text())
    assert {k: v for k, v in result.items() if k not in measured and k != "num_threads"} == {
        k: v for k, v in often.items() if k not in measured and k != "num_threads"
    }


def test_a_sweep_that_is_interrupted_keeps_what_it_has(folder, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(eval_script, "plot_sweep", interrupt)
    output = tmp_path / "curve.json"
    with pytest.raises(KeyboardInterrupt):
        eval_script.main(command(folder, "--sweep", "max_steps=1,2", "--output", output))
    assert [result["max_steps"] for result in json.loads(output.read_text())] == [1]


def test_a_curve_is_labelled_by_the_values_that_were_asked_for(tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(Axes, "annotate", lambda axes, text, *_, **__: labels.append(text))
    place = {"task": "sudoku", "dataset": "mini-6x6", "split": "test", "num_examples": 9, "halt_threshold": None}
    points = [
        place | {"mean_total_steps": steps, "exact_accuracy": steps / 9, "exact_accuracy_ci95": [0, 1]}
        for steps in (1, 2, 2)
    ]
    plot_sweep(points, "halt_threshold", [0.5, 7.0, math.inf], tmp_path / "curve.png")
    assert labels == ["0.5", "7.0, inf"]


def test_symmetric_views_and_votes_are_options(folder, tmp_path):
    output = tmp_path / "views.json"
    eval_script.main(command(folder, "--attempts", 3, "--selection", "vote", "--verify", "--output", output))
    (result,) = json.loads(output.read_text())
    assert (result["attempts"], result["selection"], result["verify"]) == (3, "vote", True)
    assert result["mean_attempts"] == pytest.approx(3 - 2 * result["verified_accuracy"], abs=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sweep", "attempt=1,4", "--output", "x.json"], "did you mean 'attempts'?"),
        (["--sweep", "attempts=1,x", "--output", "x.json"], "should read like attempts=1,4,16"),
        (["--sweep", "attempts", "--output", "x.json"], "should read like attempts=1,4,16"),
        (["--sweep", "attempts=1,4"], "--sweep needs --output"),
        (["--sweep", "attempts=1,4", "--output", "x.png"], "name a .json file"),
        (["--attempts", "0"], "attempts=0 must be at least 1"),
        (["--min_steps", "9"], "min_steps=9 must not be above max_steps=4"),
        (["--sweep", "attempts=1,0", "--output", "x.json"], "attempts=0 must be at least 1"),
        (["--sweep", "max_steps=4,-5", "--output", "x.json"], "max_steps=-5 must be at least 1"),
        (["--attempts", 3_000_000, "--noise_std", 0], "there are only 2488320 symmetries"),
    ],
)
def test_mistakes_are_one_line(folder, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        eval_script.main(command(folder, *words))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
