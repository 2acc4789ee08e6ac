# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Scores are what they say they are."""

import json
import math
import re
import sys
from pathlib import Path
from subprocess import run

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from datasets_scripts.tasks import PuzzleFormat, Puzzles
from eval import main as eval_main
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmProcessor
from training.errors import UserError, run_command
from training.evaluation import results
from training.evaluation.scores import evaluate, report, wilson_interval

ROOT = Path(__file__).parent.parent


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_equation(case: tuple[int, int]) -> None:
    """Its ends are the proportions p that lie 1.96 of their own standard deviations from the observed share."""
    successes, trials = case
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1
    for p in (low, high):
        distance = abs(successes / trials - p)
        assert distance == pytest.approx(1.959963984540054 * math.sqrt(p * (1 - p) / trials), rel=1e-6, abs=1e-7)


def small_model() -> TrmForPuzzleSolving:
    torch.manual_seed(0)
    config = TrmConfig(vocab_size=4, seq_len=4, hidden_size=16, num_attention_heads=2, max_supervision_steps=3)
    model = TrmForPuzzleSolving(config).eval()
    with torch.no_grad():
        model.halt_head.weight.normal_()
        model.halt_head.bias.zero_()
    return model


def test_evaluate_counts_exact_cells_halting_and_sources() -> None:
    model = small_model()
    input_ids = torch.randint(0, 4, (23, 4), dtype=torch.int8)
    solution = model.solve(input_ids)
    labels = solution.answers.clone()
    labels[::3, 0] = (labels[::3, 0] + 1) % 4  # one wrong cell
    labels[1::3, 2:] = -100  # half of the cells do not count
    source = ["a" if row % 2 else "b" for row in range(23)]
    puzzles = Puzzles(input_ids, labels, None, source, "made-up", PuzzleFormat(processor={}, answer_tokens=[1]))
    scores = evaluate(model, puzzles, batch_size=5, accelerator=Accelerator(cpu=True), show_progress=False)
    wrong = len(range(0, 23, 3))
    assert scores["num_examples"] == 23
    assert scores["exact_accuracy"] == pytest.approx(1 - wrong / 23)
    assert scores["exact_accuracy_ci95"] == wilson_interval(23 - wrong, 23)
    assert scores["cell_accuracy"] == pytest.approx(1 - wrong * 0.25 / 23)
    exact = torch.tensor([row % 3 != 0 for row in range(23)])
    assert scores["halt_accuracy"] == pytest.approx(((solution.halt_logits > 0) == exact).float().mean().item())
    assert scores["mean_steps"] == pytest.approx(solution.steps.float().mean().item())
    assert {name: row["num_examples"] for name, row in scores["by_source"].items()} == {"a": 11, "b": 12}
    parts = scores["by_source"].values()
    total = sum(row["exact_accuracy"] * row["num_examples"] for row in parts) / 23
    assert total == pytest.approx(scores["exact_accuracy"])
    assert all(name in report(scores) for name in ("all", "a", "b"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for 9x9 Sudoku."""
    folder = tmp_path_factory.mktemp("model")
    config = TrmConfig(hidden_size=16, num_attention_heads=2, max_supervision_steps=2)
    TrmForPuzzleSolving(config).save_pretrained(folder)
    TrmProcessor.for_sudoku().save_pretrained(folder)
    return folder


def test_eval_writes_the_results_of_the_contract(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "results.json"
    eval_main(["--model", str(untrained), "--task", "sudoku", "--max_examples", "40", "--output", str(output)])
    (results,) = json.loads(output.read_text())
    contract = (
        "model task dataset split num_examples exact_accuracy exact_accuracy_ci95 cell_accuracy mean_steps max_steps "
        "attempts noise_std seconds puzzles_per_second device dtype seed versions commit weights dataset_id"
    )
    assert set(contract.split()) <= set(results)
    assert results["num_examples"] == 40
    assert results["dataset"] == "hard-sample"
    assert results["max_steps"] == 2
    assert "95 % interval" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (("--task", "sudoku", "--model", "no/where"), "no/where"),
        (("--task", "sudokoo"), "sudoku"),
        (("--split", "validation"), "validation"),
        (("--dataset_config", "hrad-sample"), "did you mean 'hard-sample'"),
        (("--max_examples", "0"), "max_examples"),
        (("--max_stepps", "3"), "max_steps"),
        (("--attempts", "0"), "attempts"),
        (("--dataset_config", "mini-6x6"), "81"),
        (("--data_dir", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_named_in_one_line(untrained: Path, tmp_path: Path, wrong: tuple[str, ...], named: str) -> None:
    output = tmp_path / "results.json"
    model = () if "--model" in wrong else ("--model", str(untrained))
    with pytest.raises(UserError) as caught:
        eval_main([*model, *wrong, "--output", str(output)])
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not output.exists()


def test_a_mistake_ends_the_program_with_status_2() -> None:
    done = run([sys.executable, ROOT / "eval.py", "--model", "no/where"], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "no/where" in line


def test_a_score_of_all_only_leaves_a_gap_in_the_rows_of_the_sources() -> None:
    row = {
        "num_examples": 2, "exact_accuracy": 0.5, "exact_accuracy_ci95": [0.1, 0.9], "cell_accuracy": 0.5,
        "halt_accuracy": 0.5, "mean_steps": 1.0,
    }  # fmt: skip
    lines = report({**row, "verified_accuracy": 0.25, "by_source": {"here": row, "there": row}}).splitlines()
    assert [line.rstrip()[-5:] for line in lines] == ["ified", "25.0%", " 1.00", " 1.00"]
    assert len({len(line) for line in lines}) == 1


def test_a_commit_is_named_only_where_git_tracks_this_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed into an environment inside somebody's repository, the code has not that repository's commit."""

    def git(*words: str) -> None:
        author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        run(["git", *author, *words], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / "results.py"
    file.write_text("")
    monkeypatch.setattr(results, "__file__", str(file))
    assert results.current_commit() is None  # no repository
    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    assert results.current_commit() is None  # not tracked
    git("add", ".")
    git("commit", "-m", "ours")
    assert re.fullmatch("[0-9a-f]{40}", results.current_commit())
    file.write_text("changed")
    assert results.current_commit().endswith("-dirty")


def test_of_several_processes_one_prints_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(command_line: list[str]) -> None:
        raise UserError("too bad")

    for rank, printed in (("0", "error: too bad\n"), ("1", "")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit) as end:
            run_command(fail)
        assert end.value.code == 2
        assert capsys.readouterr().err == printed
