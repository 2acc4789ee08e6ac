# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""`python -m modeling_trm` prints the puzzle and every step towards its answer."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tiny import tiny_model
from transformers import AutoModel, pipeline

from modeling_trm import TrmForPuzzleSolving, TrmProcessor, loading
from modeling_trm.__main__ import main
from modeling_trm.loading import find_model
from training.errors import UserError
from training.evaluation.scores import load_model

PUZZLE = "1..4.63.5.....2...6..3.5.4......1.3."
PROCESSOR = TrmProcessor.for_sudoku(2, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained 6x6 Sudoku model: what it answers is of no matter here."""
    path = tmp_path_factory.mktemp("cli") / "model"
    model = tiny_model(
        dtype=torch.float32, vocab_size=8, seq_len=36, num_puzzles=1, halt_threshold=1e9, max_solve_steps=3
    )
    model.save_pretrained(path)
    PROCESSOR.save_pretrained(path)
    return path


def expected_grids(folder: Path, max_steps: int | None = None) -> list[str]:
    """The cells of the puzzle and of every step, without blanks."""
    model = TrmForPuzzleSolving.from_pretrained(folder)
    solution = model.solve(PROCESSOR(PUZZLE)["input_ids"], max_steps=max_steps, return_steps=True)
    return [PUZZLE, *(PROCESSOR.decode(answer).replace(" ", "") for answer in solution.step_answers[0])]


def check_shown(text: str, grids: list[str]) -> None:
    """All grids, one after the other, row by row."""
    assert "\033" not in text  # no colours where no terminal is
    drawn = [re.sub(r"[ |]", "", line) for line in text.splitlines() if re.fullmatch(r"[ |.1-6]+", line)]
    assert "".join(drawn) == "".join(grids)


def test_a_puzzle_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    done = run("--model", folder, PUZZLE)
    assert done.returncode == 0, done.stderr
    check_shown(done.stdout, expected_grids(folder))
    assert done.stdout.count("After step") == 3
    assert "Not solved: the answer breaks the rules." in done.stdout
    assert "Traceback" not in done.stderr


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "modeling_trm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], **options)


def test_a_puzzle_from_a_pipe(folder: Path) -> None:
    lines = "\n".join(PUZZLE[start : start + 6] for start in range(0, 36, 6))
    done = run("--model", folder, "--max_steps", 1, input=lines)
    assert done.returncode == 0, done.stderr
    check_shown(done.stdout, expected_grids(folder, 1))


def test_many_puzzles_are_solved_one_after_the_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, and what is wrong with any is said before the first is solved."""
    other = PUZZLE.replace("4", ".")
    file = tmp_path / "list.csv"
    file.write_text(
        f"id,puzzle,solution\n7,{PUZZLE},{'1' * 36}\n# a comment\n8,{other.replace('.', '0')},\n", "utf-16"
    )
    assert main(["--model", str(folder), str(file), "--max_steps", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = TrmForPuzzleSolving.from_pretrained(folder)
    answers = PROCESSOR.batch_decode(model.solve(PROCESSOR([PUZZLE, other])["input_ids"], max_steps=2).answers)
    assert [line.split("\t")[:2] for line in lines[:2]] == [[answer, "not solved"] for answer in answers]
    assert lines[2:] == ["0 of 2 solved"]
    file.write_text(f"{PUZZLE}\n{other[:-1]}\n")
    assert main(["--model", str(folder), str(file)]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "puzzle 2 has 35 cells" in shown.err


def test_a_puzzle_in_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "puzzle.txt").write_text(PUZZLE.replace(".", "0") + "\n")
    assert main(["--model", str(folder), str(tmp_path / "puzzle.txt"), "--max_steps", "2"]) == 0
    check_shown(capsys.readouterr().out, expected_grids(folder, 2))


@pytest.mark.parametrize(
    ("flags", "believes", "keeps_rules", "sentence"),
    [
        ([], True, True, "Solved: the answer keeps the rules."),
        ([], True, False, "Not solved: the answer breaks the rules."),
        ([], True, None, "Solved, the model believes."),
        ([], False, True, "The steps ran out before the model was sure, but the answer keeps the rules."),
        ([], False, False, "Not solved: the answer breaks the rules."),
        ([], False, None, "The steps ran out before the model was sure."),
        (["--verify"], True, True, "Solved: the answer keeps the rules."),
        (["--verify"], False, True, "Solved: the answer keeps the rules."),
        (["--verify"], True, False, "Not solved: the answer breaks the rules."),
    ],
)
def test_one_sentence_says_what_became_of_the_puzzle(
    flags: list[str],
    believes: bool,
    keeps_rules: bool | None,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threshold = -1e9 if believes else 1e9
    model = tiny_model(
        dtype=torch.float32, vocab_size=8, seq_len=36, num_puzzles=1, halt_threshold=threshold, max_solve_steps=2
    )
    model.save_pretrained(tmp_path)
    PROCESSOR.save_pretrained(tmp_path)

    def rule(input_ids: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        return torch.full((len(answers),), keeps_rules)

    monkeypatch.setattr(TrmProcessor, "verifier", None if keeps_rules is None else property(lambda processor: rule))
    assert main(["--model", str(tmp_path), PUZZLE, *flags]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1] == sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "FOLDER", "12345"], "puzzle 1 has 5 cells, but this model solves 6x6 grids"),
        (["--model", "FOLDER", PUZZLE[:-1] + "9"], "'9' in row 6, column 6"),
        (["--model", "FOLDER", PUZZLE, "--max_steps", "0"], "max_steps=0"),
        (["--model", "nowhere/at-all", PUZZLE], "cannot load the model nowhere/at-all"),
        (["--model", "BARE", PUZZLE], "config.json"),
        (["--model", "MUTE", PUZZLE], "without processor_config.json"),
        (["--model", "TORN", PUZZLE], "cannot load the model"),
        (["--model", "ABSURD", PUZZLE], "vocab_size=0"),
        (["--model", "FOLDER"], "puzzle 1 has 0 cells"),
        (["--model", "FOLDER", "puzzle.txt"], "there is no file puzzle.txt, and puzzle 1 has 10 cells"),
        (["--model", "FOLDER", "puzzles/one"], "there is no file puzzles/one, and puzzle 1 has 11 cells"),
        (["--model", "FOLDER", "PLACE"], "is a folder"),
        (["--model", "FOLDER", "BINARY"], "binary holds no text"),
        (["--model", "FOLDER", "TWO", "--gif", "out.gif"], "these are 2 puzzles: a picture is of one"),
        (["--model", "FOLDER", "11" + "." * 34], "puzzle 1 has the digit 1 twice in row 1"),
    ],
    ids=[
        "length",
        "symbol",
        "steps",
        "model",
        "no configuration",
        "no processor",
        "torn weights",
        "absurd sizes",
        "nothing on standard input",
        "no file",
        "no file there",
        "a folder",
        "a binary file",
        "a picture of two puzzles",
        "a digit twice",
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    places = {"FOLDER": str(folder)}
    for name in ("BARE", "MUTE", "TORN", "ABSURD"):
        places[name] = str(tmp_path / name)
        shutil.copytree(folder, places[name])
    places |= {"PLACE": str(tmp_path), "BINARY": str(tmp_path / "binary"), "TWO": str(tmp_path / "two")}
    (tmp_path / "binary").write_bytes(b"\x89PNG\xff")
    (tmp_path / "two").write_text(f"{PUZZLE}\n{PUZZLE}\n")
    (tmp_path / "BARE" / "config.json").unlink()
    (tmp_path / "MUTE" / "processor_config.json").unlink()
    (tmp_path / "TORN" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    absurd = (folder / "config.json").read_text().replace('"vocab_size": 8', '"vocab_size": 0')
    (tmp_path / "ABSURD" / "config.json").write_text(absurd)
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"vocab_size": 9}], ids=str)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    change: dict[str, int], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing, left over or of another size: what is missing would be random numbers."""
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    config = json.loads((folder / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | change))
    line = "do not fit its config.json"
    assert main(["--model", str(model), PUZZLE]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and line in shown.err and shown.err.count("\n") == 1
    with pytest.raises(UserError, match=line):
        load_model(str(model), torch.float32)
    with pytest.raises(SafetensorError, match=line):
        AutoModel.from_pretrained(model)
    with pytest.raises(SafetensorError, match=line):
        pipeline("puzzle-solving", model=str(model))
    asked = AutoModel.from_pretrained(model, ignore_mismatched_sizes=True).config.to_dict()
    assert change.items() <= asked.items()


@pytest.mark.parametrize("kept", [["lm_head.weight"], []], ids=["one", "none"])
def test_weights_that_are_missing_are_named(kept: list[str], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name in kept}, path)
    with pytest.raises(UserError, match=r"^cannot load the model .* do not fit its config.json: \S+ is missing \(and"):
        load_model(str(tmp_path / "model"), torch.float32)


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"a": ', "[" * 100_000, '{"model_type": "bert"}', '{"width": 3}']
)
@pytest.mark.parametrize("name", ["config.json", "processor_config.json"])
def test_files_that_are_not_ours_are_one_line(
    name: str, content: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / name).write_text(content)
    assert main(["--model", str(tmp_path / "model"), PUZZLE]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: cannot load the model ") and shown.count("\n") == 1


def test_a_name_that_is_a_path_is_not_looked_for_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(loading, "snapshot_download", lambda name, **options: f"{name} {options['revision']}")
    assert find_model("model") == "model"
    for name in ("modle", "./modle", "model/config.json", "model/nothing", "/no/such/folder", "a/b/c", "", "~/x/"):
        with pytest.raises(ValueError):
            find_model(name)
    with pytest.raises(ValueError, match="is a folder here, which has no revision 'v1'"):
        find_model("model", "v1")
    assert find_model("someone/model", "v1") == "someone/model v1"


def test_code_in_a_model_folder_is_never_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when standard input says yes: it is where the puzzle comes from."""
    model, marker = tmp_path / "model", tmp_path / "executed"
    shutil.copytree(folder, model)
    for file in model.glob("*.py"):
        file.write_text(f"open({str(marker)!r}, 'w')\n" + file.read_text())
    (model / "config.json").write_text((model / "config.json").read_text().replace('"trm"', '"other"'))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    assert main(["--model", str(model)]) == 2
    assert "cannot load the model" in capsys.readouterr().err
    with pytest.raises(UserError):
        load_model(str(model), torch.float32)
    assert not marker.exists()


def test_a_terminal_without_a_puzzle_is_told_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", terminal := io.StringIO())
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "give a puzzle" in capsys.readouterr().err.splitlines()[-1]


def test_without_a_model_the_repository_s_own_solves(capsys: pytest.CaptureFixture[str]) -> None:
    puzzle = "3.4.752..15.24...3...6.31.55.83..4...13524..7.........7..8...648.54.27.149.7....."
    assert main([puzzle, "--selection", "vote", "--halt_threshold", "5"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("Solved: the answer keeps the rules.")
    assert main([puzzle, "--halt_threshold", "1e9"]) == 0
    assert "The steps ran out before the model was sure, but the answer keeps" in capsys.readouterr().out


def test_a_mistake_ends_the_process_with_status_2(folder: Path) -> None:
    done = run("--model", folder, "12345")
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [done.stderr.splitlines()[-1]]
    assert "Traceback" not in done.stderr
