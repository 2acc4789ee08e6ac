# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The names of puzzle ids travel with the model: no order of a file read later changes what an id means."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_model
from transformers import AutoProcessor

import eval as eval_script
from datasets_scripts.tasks import load_puzzles
from modeling_trm import PuzzleSolvingPipeline, TrmProcessor
from modeling_trm.__main__ import main as solve_on_screen
from training.arguments import TrainArguments
from training.embeddings.transfer import mean_of_trained, puzzles_of, start_from
from training.errors import UserError

ROWS_OF = {"copy": 1, "swap": 2}
GRID = [[0, 1, 0], [1, 1, 0]]


def write_rows(folder: Path, ids: list[str | None]) -> Path:
    """Both splits, rows of the ids in their order, the test rows always in the same."""
    folder.mkdir()
    draw = random.Random(0)

    def row(name: str | None) -> str:
        grid = [[draw.randint(0, 1) for _ in range(3)] for _ in range(2)]
        return json.dumps({"input": grid, "output": [[1, 0, 1], [0, 1, 1]], "puzzle_id": name}) + "\n"

    (folder / "train.jsonl").write_text("".join(map(row, ids)))
    (folder / "test.jsonl").write_text("".join(map(row, sorted(set(ids), key=str))))
    return folder


def load(folder: Path, split: str = "train"):
    return load_puzzles("grid", None, split, data_dir=folder, cache_dir=folder / "cache")


@pytest.fixture
def model(tmp_path: Path):
    """Whose answer depends on the id, in a folder."""
    model = tiny_model(dtype=torch.float32, vocab_size=3, num_puzzles=3, max_solve_steps=2)
    processor = TrmProcessor(["<pad>", "0", "1"], 2, 3, puzzle_ids=ROWS_OF)
    with torch.no_grad():
        model.model.puzzle_embeddings.weight.mul_(10)
    PuzzleSolvingPipeline(model=model, processor=processor).save_pretrained(tmp_path / "model")
    return model


@pytest.mark.parametrize("ids", [["copy", "swap"], ["swap", "copy"], ["swap"]])
def test_rows_follow_the_names_of_the_model(model, tmp_path, ids):
    puzzles = puzzles_of(tmp_path / "model", 3, load(write_rows(tmp_path / "data", ids), "test"))
    assert puzzles.puzzle_ids.tolist() == [ROWS_OF[name] for name in sorted(ids)]


def test_a_score_does_not_depend_on_the_order_of_the_training_file(model, tmp_path, capsys):
    scores = []
    for number, ids in enumerate((["copy", "swap"], ["swap", "copy"])):
        data = write_rows(tmp_path / str(number), ids)
        words = ["--model", str(tmp_path / "model"), "--task", "grid", "--data_dir", str(data)]
        eval_script.main([*words, "--output", str(tmp_path / "results.json")])
        scores.append(json.loads((tmp_path / "results.json").read_text())[0]["cell_accuracy"])
    questions = load(tmp_path / "0", "test").input_ids
    answers = [model.solve(questions, torch.tensor(rows)).answers for rows in ([1, 2], [2, 1])]
    assert not torch.equal(*answers)
    assert scores[0] == scores[1]


def test_an_unknown_id_is_refused_by_its_name(model, tmp_path):
    data = load(write_rows(tmp_path / "data", ["copy", "turn"]))
    with pytest.raises(UserError, match=r"was not trained on the puzzle id \['turn'\]; it knows copy, swap"):
        puzzles_of(tmp_path / "model", 3, data)
    solve = PuzzleSolvingPipeline(model=model, processor=AutoProcessor.from_pretrained(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"does not know the puzzle id 'turn', .* it knows copy, swap"):
        solve(GRID, puzzle_ids="turn")
    with pytest.raises(ValueError, match=r"this model needs a puzzle id, .* it knows copy, swap"):
        solve(GRID)


def test_names_in_the_pipeline_and_on_the_command_line(model, tmp_path, capsys):
    solve = PuzzleSolvingPipeline(model=model, processor=AutoProcessor.from_pretrained(tmp_path / "model"))
    expected = {name: solve(GRID, puzzle_ids=torch.tensor([row]))["answer"] for name, row in ROWS_OF.items()}
    assert expected["copy"] != expected["swap"]
    for name, answer in expected.items():
        assert solve(GRID, puzzle_ids=name)["answer"] == solve(GRID, puzzle_ids=[name])["answer"] == answer
        assert [result["answer"] for result in solve(iter([GRID, GRID]), puzzle_ids=name)] == [answer] * 2
        assert solve_on_screen(["--model", str(tmp_path / "model"), "--puzzle_id", name, json.dumps(GRID)]) == 0
        shown = solve.processor.render(solve(GRID, puzzle_ids=name, return_steps=True), "text")
        assert shown in capsys.readouterr().out
    both = solve([GRID, GRID], puzzle_ids=["swap", "copy"])
    assert [result["answer"] for result in both] == [expected["swap"], expected["copy"]]
    both = solve(iter([GRID, GRID]), puzzle_ids=["swap", "copy"])
    assert [result["answer"] for result in both] == [expected["swap"], expected["copy"]]
    assert solve_on_screen(["--model", str(tmp_path / "model"), json.dumps(GRID)]) == 2
    assert "it knows copy, swap" in capsys.readouterr().err


def test_puzzles_without_an_id_are_nobodys_unless_the_training_file_had_such(tmp_path):
    assert load(write_rows(tmp_path / "all", ["copy"])).row_of_id == {"copy": 1}
    assert load(write_rows(tmp_path / "some", ["copy", None])).row_of_id == {"": 0, "copy": 1}
    processor = TrmProcessor(["<pad>", "0"], 1, 1, puzzle_ids={"": 0, "copy": 1})
    assert processor.puzzle_row() == 0 and processor.puzzle_row("copy") == 1


def test_a_start_takes_over_rows_by_name(model, tmp_path):
    puzzles = load(write_rows(tmp_path / "data", ["turn", "swap", "copy"]))
    started = tiny_model(seed=1, dtype=torch.float32, vocab_size=3, num_puzzles=4, max_solve_steps=2)
    args = replace(TrainArguments(), init_from=str(tmp_path / "model"))
    start_from(started, args, puzzles)
    rows, trained = started.model.puzzle_embeddings.weight, model.model.puzzle_embeddings.weight
    assert puzzles.row_of_id == {"turn": 1, "swap": 2, "copy": 3}
    assert torch.equal(rows[2], trained[2]) and torch.equal(rows[3], trained[1])
    assert torch.equal(rows[1], mean_of_trained(trained.detach()).float())
    new = start_from(started, replace(args, freeze_network=True), puzzles)
    assert new.puzzle_ids.tolist() == [1]
