# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Whatever a person types or has in a file: an answer, or a mistake in one line. Never a traceback."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny import tiny_model

from modeling_trm import PuzzleSolvingPipeline, TrmProcessor
from modeling_trm.__main__ import main
from modeling_trm.loading import UNLOADABLE, load_model, load_processor
from training.arguments import EvalArguments, TrainArguments, model_arguments, parse_arguments, read_recipe
from training.embeddings.transfer import read_puzzle_record
from training.errors import UserError
from training.evaluation.results import read_results
from training.storage import find_damage

PUZZLES = st.text(alphabet="123456.0 |-+*_,;#SGo\n\t\"'[]{}:xéñ\x00\ufeff", max_size=80) | st.text(max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PROCESSORS = [
    TrmProcessor.for_sudoku(2, 3),
    TrmProcessor.for_maze(4),
    TrmProcessor.for_arc(),
    TrmProcessor(["<pad>", "ab", "1", "-1"], 2, 3, puzzle_ids={"": 0, "a": 1}),
]
OURS = sorted({*TrainArguments.__annotations__, *model_arguments().__annotations__, *EvalArguments.__annotations__})
WORDS = st.sampled_from([f"--{name}" for name in OURS]) | st.text(max_size=6) | st.floats().map(str)
few = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check_line(error: BaseException) -> None:
    assert str(error).strip() and len(str(error)) < 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "model"
    model = tiny_model(vocab_size=8, seq_len=36, num_puzzles=1, max_solve_steps=1).float()
    PuzzleSolvingPipeline(model=model, processor=PROCESSORS[0]).save_pretrained(path)
    return path


@pytest.mark.parametrize("processor", PROCESSORS, ids=["sudoku", "maze", "arc", "own"])
@few
@given(puzzle=PUZZLES | VALUES | VALUES.map(json.dumps))
@example(puzzle="[" * 9999)
@example(puzzle={"test": [{"input": None}]})
@example(puzzle=[[]])
@example(puzzle=b"12")
def test_a_puzzle_is_read_or_refused(processor: TrmProcessor, puzzle: object) -> None:
    try:
        assert processor(puzzle)["input_ids"].shape[1] == processor.height * processor.width
    except ValueError as error:
        check_line(error)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puzzle=PUZZLES.filter(lambda text: text != "-" and not text.startswith("--")))
def test_the_command_line_solves_or_says_why(puzzle: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):  # argparse
        status = main(["--model", str(folder), puzzle, "--max_steps", "1"])
        shown = capsys.readouterr().err
        assert status == 0 or (status == 2 and shown.startswith("error: ") and shown.count("\n") == 1)


@few
@given(words=st.lists(WORDS, max_size=6))
def test_words_are_arguments_or_a_mistake(words: list[str]) -> None:
    for kinds in ([TrainArguments, model_arguments()], [EvalArguments]):
        with suppress(SystemExit):  # --help
            try:
                parse_arguments(kinds, [word for word in words if word not in ("--config", "-h", "--help")])
            except UserError as error:
                check_line(error)


@few
@given(
    text=PUZZLES | VALUES.map(json.dumps) | st.dictionaries(st.sampled_from(OURS), VALUES, max_size=3).map(json.dumps)
)
def test_a_recipe_is_read_or_refused(text: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8", errors="replace")
    try:
        read_recipe(recipe)
        parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])
    except UserError as error:
        check_line(error)


@few
@given(content=VALUES)
def test_files_of_ours_are_read_or_refused(content: object, tmp_path: Path) -> None:
    readers = {
        "puzzles.json": (read_puzzle_record, UserError),
        "manifest.json": (find_damage, OSError),
        "processor_config.json": (lambda folder: load_processor(str(folder)), UNLOADABLE),
    }
    for name, (read, kinds) in readers.items():
        (tmp_path / name).write_text(json.dumps(content))
        try:
            read(tmp_path)
        except kinds as error:
            check_line(error)
    try:
        read_results(tmp_path / "puzzles.json")
    except UserError as error:
        check_line(error)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_configuration_is_loaded_or_refused(data: st.DataObject, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[data.draw(st.sampled_from(sorted(config)))] = data.draw(VALUES)
    for path in folder.iterdir():
        with suppress(FileExistsError):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    try:
        load_model(str(tmp_path))
    except UNLOADABLE as error:
        check_line(error)
