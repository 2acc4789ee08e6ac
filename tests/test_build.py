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
from datasets import Features, load_dataset
from hub import WRITER, card_errors, client_environment, running_hub

from datasets_scripts import build
from datasets_scripts.tasks import TASKS, load_puzzles
from modeling_trm import hub_trm
from modeling_trm.hub_trm import HubError

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
    features = Features.from_arrow_schema(next(builder.tables("train")).schema)
    for split in ("train", "test"):
        puzzles = load_puzzles(task, config, split, data_dir=data_dir)
        rows = whole[split].with_format("arrow")[:]
        assert whole[split].features == features
        assert torch.equal(torch.tensor(rows["input_ids"].to_pylist()), puzzles.input_ids.long())
        labels = torch.tensor(rows["labels"].to_pylist())
        assert torch.equal(labels.masked_fill(labels == 0, -100), puzzles.labels.long())
        assert rows["source"].to_pylist() == puzzles.source

        stream = load_dataset(str(folder), config, split=split, streaming=True)
        assert stream.features == features
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
        (["--task", "maze", "--data_dir", "nowhere"], "there is no train.csv, and no folder nowhere"),
        (["--task", "maze", "--push_to_hub", "a/b/c"], "'a/b/c' is no repository of the Hub"),
        (["--task", "maze", "--push_to_hub", "me/mazes"], "publishing needs a token of the Hub"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(hub_trm, "get_token", lambda: None)
    with pytest.raises((ValueError, OSError, HubError)) as error:
        build.main([*arguments, "--output_dir", str(tmp_path / "out" / "set")])
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_command_ends_a_mistake_with_one_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "datasets_scripts.build", "--task", "mase", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
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


PUBLISH = """
import json, sys
from datasets_scripts import build
for command in json.load(sys.stdin):
    try:
        build.main(command)
    except build.HubError as error:
        print(f"SAID {error}")
"""


def test_datasets_of_every_kind_are_published_and_streamed(tmp_path, own_files):
    """Two configs in one repository, ARC files and own puzzles; one commit each, and a second call after a failure."""
    arc = tmp_path / "arc"
    arc.mkdir()
    pair = {"input": [[1, 2]], "output": [[2], [1]]}
    challenges = {"abc": {"train": [pair] * 3, "test": [{"input": [[3, 4]]}]}}
    (arc / "x_test_challenges.json").write_text(json.dumps(challenges))
    commands = [
        ["--task", "sudoku", "--config", "mini-6x6", "--output_dir", "six", "--push_to_hub", "lab/sudoku"],
        ["--task", "sudoku", "--config", "hard-sample", "--output_dir", "nine", "--push_to_hub", "lab/sudoku"],
        ["--task", "maze", "--output_dir", "maze", "--num_train_puzzles", "20", "--push_to_hub", "lab/maze"],
        ["--task", "maze", "--output_dir", "maze", "--num_train_puzzles", "20", "--push_to_hub", "lab/maze"],
        ["--task", "arc-agi", "--data_dir", "arc", "--output_dir", "a", "--push_to_hub", "lab/arc", "--hub_private"],
        ["--task", "grid", "--data_dir", str(own_files), "--output_dir", "own", "--push_to_hub", "lab/own"],
    ]
    with running_hub() as hub:
        hub.fail("POST /api/datasets/lab/maze/commit/", status=403)
        environment = client_environment(hub, HF_HOME=os.environ["HF_HOME"])
        run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, "-c", PUBLISH], input=json.dumps(commands), **run)
        assert done.returncode == 0, done.stderr
        (said,) = [line for line in done.stdout.splitlines() if line.startswith("SAID ")]
        assert said.startswith("SAID cannot publish lab/maze: the token may not write there")
        assert WRITER not in done.stdout + done.stderr
        assert done.stdout.count("wrote") == 5  # the second call for the mazes publishes what the first one wrote
        assert [commit.message for commit in hub.dataset("lab/sudoku").history()] == [
            "Upload hard-sample",
            "Upload mini-6x6",
            "initial commit",
        ]
        splits = [f"{split}-00000-of-00001.parquet" for split in ("test", "train")]
        files = {f"{config}/{split}" for config in ("mini-6x6", "hard-sample") for split in splits}
        assert set(hub.files("lab/sudoku", kind="datasets")) == {"README.md", *files}
        assert hub.dataset("lab/arc").private
        for name, task in (("sudoku", "sudoku"), ("maze", "maze"), ("arc", "arc-agi"), ("own", "grid")):
            card = hub.files(f"lab/{name}", kind="datasets")["README.md"].decode()
            assert not card_errors(card)
            for part in (f"# {task}: ", "Licence: ", "Source and licence", "with seed 0", "| train |", "| test |"):
                assert part in card, (name, part)
            assert f'load_dataset("lab/{name}"' in card
        script = """
from datasets import load_dataset
for repo, config in (("lab/sudoku", "mini-6x6"), ("lab/sudoku", "hard-sample"), ("lab/maze", "hard-sample"),
                     ("lab/arc", "kaggle"), ("lab/own", "own")):
    rows = load_dataset(repo, config, split="train", streaming=True)
    print(sum(next(iter(rows))["input_ids"]), len(load_dataset(repo, config, split="test")))
print(load_dataset("lab/sudoku", split="test", streaming=True).features["input_ids"].length)
"""
        run["env"] = client_environment(hub, HF_HOME=str(tmp_path / "cache"))
        done = subprocess.run([sys.executable, "-c", script], **run)
        assert done.returncode == 0, done.stderr
    *rows, default = done.stdout.splitlines()
    for line, folder, config in zip(
        rows, ("six", "nine", "maze", "a", "own"), ("mini-6x6", *["hard-sample"] * 2, "kaggle", "own"), strict=True
    ):
        paths = {split: str(tmp_path / folder / config / f"{split}-*.parquet") for split in ("train", "test")}
        local = load_dataset("parquet", data_files=paths, cache_dir=str(tmp_path / "local"))
        assert line == f"{sum(local['train'][0]['input_ids'])} {len(local['test'])}"
    assert default == "36"  # of the config that came first
