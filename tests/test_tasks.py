# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The table of tasks tells the truth about its data, and wrong names get a useful answer."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datasets_scripts import sudoku
from datasets_scripts.tasks import TASKS, load_puzzles
from training.loop import digest_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_every_config_has_a_format_and_a_version(task):
    configs = {config.name: config for config in task.builder.CONFIGS}
    assert (configs.keys() == task.formats.keys()) is (task.read_format is None)
    assert {task.default_config, task.data_dir_config} <= configs.keys()
    assert all(config.version for config in configs.values())


def test_formats_describe_the_data(sudoku_splits):
    for config, splits in sudoku_splits.items():
        described = TASKS["sudoku"].formats[config]
        for puzzles in splits.values():
            assert puzzles.input_ids.dtype == puzzles.labels.dtype == torch.int8
            assert puzzles.input_ids.shape == puzzles.labels.shape
            assert puzzles.input_ids.shape == (
                len(puzzles.source),
                described.processor["height"] * described.processor["width"],
            )
            assert puzzles.labels.unique().tolist() == described.answer_tokens
            assert puzzles.input_ids.unique().tolist() == [1, *described.answer_tokens]
            assert TASKS["sudoku"].checker(puzzles.input_ids, puzzles.labels).all()


def test_vocabulary_spells_the_file(sudoku_splits):
    row = gzip.decompress((sudoku.BUNDLED_FOLDER / "test.csv.gz").read_bytes()).decode().splitlines()[1].split(",")
    puzzles, vocabulary = (
        sudoku_splits["hard-sample"]["test"],
        TASKS["sudoku"].formats["hard-sample"].processor["vocabulary"],
    )
    assert "".join(vocabulary[token] for token in puzzles.input_ids[0]) == row[1]
    assert "".join(vocabulary[token] for token in puzzles.labels[0]) == row[2]
    assert vocabulary[0] == "<pad>" and len(vocabulary) == 11
    assert len(TASKS["sudoku"].formats["mini-6x6"].processor["vocabulary"]) == 8


@pytest.mark.parametrize("config", ["hard-sample", "mini-6x6"])
def test_symmetries_of_the_table_keep_answers_right(config, sudoku_splits):
    task, puzzles = TASKS["sudoku"], sudoku_splits[config]["train"]
    symmetry = puzzles.format.random_symmetry(0, 1, torch.arange(len(puzzles)))
    assert task.checker(symmetry(puzzles.input_ids), symmetry(puzzles.labels)).all()
    assert symmetry.token_map.shape[1] == len(task.formats[config].processor["vocabulary"])


def test_defaults(sudoku_splits, tmp_path):
    expected = sudoku_splits["hard-sample"]["train"]
    assert torch.equal(load_puzzles("sudoku").input_ids, expected.input_ids)
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv.gz").write_bytes((sudoku.BUNDLED_FOLDER / f"{split}.csv.gz").read_bytes())
    own = load_puzzles("sudoku", data_dir=str(tmp_path), num_train_puzzles=10, cache_dir=str(tmp_path / "cache"))
    assert len(own) == 10


def test_max_examples_takes_the_first_rows(sudoku_splits):
    whole, first = sudoku_splits["mini-6x6"]["test"], load_puzzles("sudoku", "mini-6x6", "test", max_examples=7)
    assert len(first) == len(first.source) == 7
    assert torch.equal(first.input_ids, whole.input_ids[:7]) and torch.equal(first.labels, whole.labels[:7])
    assert len(load_puzzles("sudoku", "mini-6x6", "test", max_examples=10**6)) == 1000


def test_puzzles_can_be_changed_without_changing_the_cache():
    load_puzzles("sudoku", "mini-6x6", "test").input_ids.zero_()
    assert load_puzzles("sudoku", "mini-6x6", "test").input_ids.min() == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("sudko", None, "train"), "no task named 'sudko'; did you mean 'sudoku'?"),
        (("sudoku", "hard_", "train"), "no config of sudoku named 'hard_'; did you mean 'hard'?"),
        (("sudoku", "mini_6x6", "train"), "did you mean 'mini-6x6'?"),
        (("sudoku", "mini-6x6", "tset"), "no split named 'tset'; did you mean 'test'?"),
        (("", None, "train"), "no task named ''"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_in_one_line(names, message):
    with pytest.raises(ValueError) as error:
        load_puzzles(*names)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("config", ["hard-sample", "mini-6x6"])
def test_symbols_of_a_sudoku_are_what_its_symmetries_rename(config, sudoku_splits):
    described = sudoku_splits[config]["train"].format
    names = described.random_symmetry(0, 1, torch.arange(500)).token_map
    renamed = (names != torch.arange(names.shape[1])).any(0)
    assert renamed.sum() == described.num_symbols and renamed[-described.num_symbols :].all()
    described.check_symbols(0)
    described.check_symbols(described.num_symbols)
    with pytest.raises(ValueError, match=f"set it to 0 or {described.num_symbols}"):
        described.check_symbols(described.num_symbols - 1)


def test_tokens_of_a_maze_all_mean_something():
    with pytest.raises(ValueError, match="every one means something, so set it to 0"):
        TASKS["maze"].formats["hard-sample"].check_symbols(2)


WITHOUT_DATASETS = """
import sys
sys.modules["datasets"] = None  # what is not installed
import eval, train
from datasets_scripts.tasks import load_puzzles
from training.loop import digest_of
for config in sys.argv[1:]:
    for split in ("train", "test"):
        puzzles = load_puzzles("sudoku", config, split, num_train_puzzles=None)
        print(config, split, len(puzzles), digest_of(puzzles), *puzzles.source[:3])
"""


def test_bundled_puzzles_are_the_same_where_datasets_is_not_installed(sudoku_splits):
    """Training and evaluation start there too, and read the same puzzles in the same order."""
    command = [sys.executable, "-c", WITHOUT_DATASETS, *sudoku_splits]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = [
        " ".join(map(str, (config, split, len(puzzles), digest_of(puzzles), *puzzles.source[:3])))
        for config, splits in sudoku_splits.items()
        for split, puzzles in splits.items()
    ]
    assert done.stdout.splitlines() == expected
