# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What is shown never ends the work, and never commands the terminal."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

import eval as eval_script
from modeling_trm import PuzzleSolvingPipeline, TrmProcessor
from modeling_trm.console import Unbreakable, one_line
from modeling_trm.rendering_trm import printable
from training import errors
from training.evaluation.scores import report
from training.storage import write_json

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_and_a_closed_pipe_take_nothing_and_break_nothing() -> None:
    full = Unbreakable(Path("/dev/full").open("w", encoding="utf-8"))  # noqa: SIM115
    reader, writer = os.pipe()
    os.close(reader)
    pipe = Unbreakable(os.fdopen(writer, "w", encoding="utf-8"))
    for stream in (full, pipe):
        print("x" * 100_000, file=stream, flush=True)
        assert stream.writable()


def test_a_terminal_without_the_character_shows_another() -> None:
    raw = io.BytesIO()
    stream = Unbreakable(io.TextIOWrapper(raw, "ascii"))
    print("1 – 2", file=stream, flush=True)
    assert raw.getvalue() == b"1 ? 2\n"


def test_results_are_written_before_they_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever showing them does."""
    model = tiny_model(dtype=torch.float32, vocab_size=3, num_puzzles=1, max_solve_steps=1)
    processor = TrmProcessor(["<pad>", "0", "1"], 2, 3)
    PuzzleSolvingPipeline(model=model, processor=processor).save_pretrained(tmp_path / "model")
    row = json.dumps({"input": [[0, 1, 0], [1, 1, 0]], "output": [[1, 0, 0], [0, 0, 1]]}) + "\n"
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(row)
    words = ["--model", str(tmp_path / "model"), "--task", "grid", "--data_dir", str(tmp_path)]
    monkeypatch.setattr(eval_script, "report", lambda results: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        eval_script.main([*words, "--output", str(tmp_path / "results.json")])
    assert json.loads((tmp_path / "results.json").read_text())[0]["num_examples"] == 1


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert printable("a\x1b[31mb\u202e é中") == "a\\x1b[31mb\\u202e é中"
    assert one_line("two\n  lines \x07") == "two lines \\x07"
    processor = TrmProcessor(["<pad>", "\x1b[2J", "b"], 1, 2)
    result = {"puzzle": [["\x1b[2J", "b"]], "grid": [["b", "\x1b[2J"]], "confidence": 0.5, "steps": 1}
    for format in ("text", "ansi"):
        assert "\x1b[2J" not in processor.render(result, format)
    scores = dict.fromkeys(("exact_accuracy", "cell_accuracy", "halt_accuracy", "mean_steps"), 0.5)
    row = scores | {"num_examples": 1, "exact_accuracy_ci95": [0, 1]}
    assert "\x1b" not in report(row | {"by_source": {"\x1b[2J": row}})

    def fail(command_line: list[str]) -> None:
        raise errors.UserError("in '\x1b[2J'")

    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with pytest.raises(SystemExit):
        errors.run_command(fail)
    assert capsys.readouterr().err == "error: in '\\x1b[2J'\n"


def test_no_file_is_opened_without_its_encoding() -> None:
    """ruff says so of the whole repository: `preview` rule PLW1514."""
    assert "PLW1514" in (ROOT / "pyproject.toml").read_text()


def test_json_has_no_numbers_that_are_none(tmp_path: Path) -> None:
    write_json({"halt_threshold": float("inf"), "list": [float("-inf"), 1.5]}, tmp_path / "file.json")
    strict = json.loads((tmp_path / "file.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert strict == {"halt_threshold": "inf", "list": ["-inf", 1.5]}


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ["--model", "nowhere", "--task", "sudoku", "--output"]
    for place, fault in ((tmp_path, "is a folder: name a file"), (tmp_path / "file" / "results.json", "no folder")):
        with pytest.raises(errors.UserError, match=fault):
            eval_script.main([*words, str(place)])
    with pytest.raises(errors.UserError, match="cannot load the model 'nowhere'"):
        eval_script.main([*words, str(tmp_path / "new" / "results.json")])
