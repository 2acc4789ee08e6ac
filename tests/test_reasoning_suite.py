# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""reasoning-gym's text as grids: on a stand-in for the package, and on the package where it is installed."""

import json
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from datasets_scripts import reasoning_suite
from datasets_scripts.reasoning_suite import DoesNotFit, layout_of, main, make, read, score, write
from datasets_scripts.tasks import load_puzzles

with_package = pytest.mark.skipif(not find_spec("reasoning_gym"), reason='needs pip install -e ".[suites]"')


class StandIn:
    """Entries of one kind; an answer scores 1 if it is right and 0.1 otherwise."""

    def __init__(self, kind: str, seed: int, size: int):
        self.kind, self.seed, self.size = kind, seed, size

    def __getitem__(self, place: int) -> dict[str, Any]:
        if place >= self.size:
            raise IndexError(place)
        rng = random.Random(f"{self.seed} {place}")
        side = rng.choice((2, 3)) if self.kind == "sizes" else 3
        rows = [[rng.choice("0123") for _ in range(side)] for _ in range(side)]
        turned = [list(row) for row in zip(*rows, strict=True)]
        grid, answer = (write(["".join(row) for row in part], "spaced") for part in (rows, turned))
        if self.kind == "words":
            grid = " ".join(rng.choice(("many", "long", "words")) for _ in range(20))
        return {"question": f"Turn this by {rng.choice((90, 180))} degrees:\n{grid}\nGive rows.\n", "answer": answer}

    def score_answer(self, answer: str | None, entry: dict[str, Any]) -> float:
        return 1.0 if answer == entry["answer"] else 0.1


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasoning_suite, "dataset_of", StandIn)


@pytest.mark.parametrize(
    ("text", "style", "rows"),
    [
        ("1 2\n_ 4", "spaced", ["12", "_4"]),
        ("ab\nc d", "plain", ["ab", "c d"]),
        ("[[0,1],[1,0]]", "json", ["01", "10"]),
    ],
)
def test_rows_are_written_as_they_were_read(text: str, style: str, rows: list[str]) -> None:
    assert read(text, style) == rows
    assert write(rows, style) == text


def test_what_questions_share_is_taken_away(stand_in: None) -> None:
    """But for the number that differs; an answer that is smaller than others says where it ends."""
    layout = layout_of("sizes")
    question = "Turn this by 180 degrees:\n0 1\n2 3\nGive rows.\n"
    assert layout.question(question) == ["180", "0 1", "2 3"]
    rows = layout.answer("0 2\n1 3")
    assert rows == ["02␣", "13␣", "␣␣␣"]
    assert layout.text(rows) == "0 2\n1 3"


def test_what_is_no_grid_does_not_fit(stand_in: None) -> None:
    with pytest.raises(DoesNotFit, match="its questions have up to 2 x"):
        layout_of("words")


def test_files_are_read_by_the_grid_task_and_scored_by_the_generator(stand_in: None, tmp_path: Path) -> None:
    make("fixed", tmp_path, 30, 10, seed=5)
    puzzles = {split: load_puzzles("grid", data_dir=tmp_path, split=split) for split in ("train", "test")}
    assert [len(split) for split in puzzles.values()] == [30, 10]
    rows = [json.loads(line) for name in ("train", "test") for line in (tmp_path / f"{name}.jsonl").open()]
    assert len({tuple(row["input"]) for row in rows}) == 40
    answers = [row["output"] for row in rows[30:]]
    assert score(tmp_path, answers) == [1.0] * 10
    wrong = [[row[::-1] for row in answer] for answer in answers]
    assert score(tmp_path, wrong) == [1.0 if one == two else 0.1 for one, two in zip(answers, wrong, strict=True)]


def test_too_few_different_questions_are_said(stand_in: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "seed", property(lambda self: 0, lambda self, value: None), raising=False)
    monkeypatch.setattr(random, "Random", lambda text: _random(text))
    with pytest.raises(ValueError, match="gave 7 different questions, not 40"):
        make("fixed", tmp_path, 30, 10, seed=0)


def _random(text: str, kind: type = random.Random) -> random.Random:
    seed, place = text.split()
    return kind(f"{seed} {int(place) % 7}")


@pytest.mark.skipif(find_spec("reasoning_gym") is not None, reason="it is installed")
def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'pip install -e "\.\[suites\]"'):
        main(["--generator", "mini_sudoku", "--output_dir", str(tmp_path)])


@with_package
@pytest.mark.parametrize("generator", ["mini_sudoku", "game_of_life", "n_queens", "rotate_matrix", "spell_backward"])
def test_generators_give_their_own_answers_full_marks(generator: str, tmp_path: Path) -> None:
    make(generator, tmp_path, 40, 10, seed=1)
    answers = [json.loads(line)["output"] for line in (tmp_path / "test.jsonl").open()]
    assert score(tmp_path, answers) == [1.0] * 10
    others = answers[1:] + answers[:1]
    assert min(score(tmp_path, others)) < 1
    assert len(load_puzzles("grid", data_dir=tmp_path, split="train")) == 40


@with_package
def test_a_generator_of_prose_does_not_fit() -> None:
    with pytest.raises(DoesNotFit):
        layout_of("knights_knaves")
