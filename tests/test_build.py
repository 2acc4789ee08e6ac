# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Datasets as folders for the Hub: what is written is read back, and nothing is written by halves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from datasets import load_dataset

from datasets_scripts import build
from datasets_scripts.tasks import TASKS, load_puzzles

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def own_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for split in ("train", "test"):
        rows = [{"input": [[n, 0]], "output": [[0], [n]], "puzzle_id": n % 2} for n in range(6)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("task", "config"), [("sudoku", "hard-sample"), ("sudoku", "mini-6x6"), ("maze", "hard-sample"), ("grid", "own")]
)
def test_a_folder_reads_back_what_the_builder_made(tmp_path, own_files, task, config):
    data_dir = own_files if task == "grid" else None
    folder = tmp_path / "deep" / "folder"
    build.build(task, config, folder, command="how", data_dir=data_dir)
    whole = load_dataset(str(folder), config, cache_dir=str(tmp_path / "cache"))
    builder, _ = TASKS[task].build(config, data_dir=data_dir)
    for split in ("train", "test"):
        puzzles = load_puzzles(task, config, split, data_dir=data_dir)
        rows = whole[split].with_format("arrow")[:]
        assert whole[split].features == builder.info.features
        assert torch.equal(torch.tensor(rows["input_ids"].to_pylist()), puzzles.input_ids.long())
        labels = torch.tensor(rows["labels"].to_pylist())
        assert torch.equal(labels.masked_fill(labels == 0, -100), puzzles.labels.long())
        assert rows["source"].to_pylist() == puzzles.source

        stream = load_dataset(str(folder), config, split=split, streaming=True)
        assert stream.features == builder.info.features
        assert next(iter(stream)) == whole[split].with_format(None)[0]
    assert not list(tmp_path.rglob(".build-*"))


def test_the_card_tells_what_is_inside_and_how_to_make_it_again(tmp_path):
    command = ["--task", "maze", "--config", "hard-sample", "--output_dir", str(tmp_path / "mazes"), "--seed", "3"]
    build.main([*command, "--num_train_puzzles", "30"])
    text = (tmp_path / "mazes" / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    described = yaml.safe_load(header)
    assert described["license"] == "apache-2.0"
    assert described["configs"][0]["config_name"] == "hard-sample"
    assert "| train | 30 |" in body
    assert "| test | 200 |" in body
    assert "with seed 3" in body
    assert "5 = `o`" in body
    assert "python -m datasets_scripts.build --task maze --config hard-sample" in body
    expected = load_puzzles("maze", "hard-sample", seed=3, num_train_puzzles=30)
    rows = load_dataset(str(tmp_path / "mazes"), "hard-sample", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["input_ids"][:] == expected.input_ids.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "mase"], "there is no task named 'mase'; did you mean 'maze'?"),
        (["--task", "maze", "--config", "hrad"], "there is no config of maze named 'hrad'; did you mean 'hard'?"),
        (["--task", "maze", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["--task", "maze", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        ([], "the following arguments are required: --task"),
        (["--task", "grid"], "give the folder of their files as data_dir"),
        (["--task", "maze", "--data_dir", "nowhere"], "there is no train.csv or train.csv.gz in nowhere"),
        (["--task", "maze", "--push_to_hub", "a/b/c"], "Repo id must be"),
        (["--task", "maze", "--push_to_hub", "me/mazes"], "publishing needs a token of the Hub"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(build, "get_token", lambda: None)
    with pytest.raises((ValueError, OSError)) as error:
        build.main([*arguments, "--output_dir", str(tmp_path / "out" / "set")])
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_command_ends_a_mistake_with_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "datasets_scripts.build", "--task", "mase", "--output_dir", str(tmp_path / "out")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no task named 'mase'; did you mean 'maze'?")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_bad_row_leaves_nothing(tmp_path, own_files):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text((own_files / f"{split}.jsonl").read_text() + "{")
    with pytest.raises(ValueError, match=r"train\.jsonl row 7: "):
        build.build("grid", "own", tmp_path / "out", command="", data_dir=str(tmp_path / "data"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(build, "card", fail)
    with pytest.raises(OSError, match="disk full"):
        build.build("sudoku", "mini-6x6", tmp_path / "out", command="")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is there already"):
        build.build("sudoku", "mini-6x6", tmp_path, command="")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_publishing_uploads_the_whole_folder(tmp_path, monkeypatch):
    calls = []

    class Hub:
        def create_repo(self, repo_id, **options):
            calls.append(("create", repo_id, options["repo_type"]))

        def upload_folder(self, repo_id, folder_path, **options):
            names = sorted(str(path.relative_to(folder_path)) for path in Path(folder_path).rglob("*.*"))
            calls.append(("upload", repo_id, names))

    monkeypatch.setattr(build, "HfApi", Hub)
    monkeypatch.setattr(build, "get_token", lambda: "token")
    build.main(["--task", "sudoku", "--output_dir", str(tmp_path / "set"), "--push_to_hub", "me/sudoku"])
    files = ["README.md", *(f"hard-sample/{split}-00000-of-00001.parquet" for split in ("test", "train"))]
    assert calls == [("create", "me/sudoku", "dataset"), ("upload", "me/sudoku", files)]
