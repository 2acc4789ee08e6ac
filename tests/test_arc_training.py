# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The ARC recipes run, on one process and several, and a trained model learns puzzles that are new to it."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

import eval as eval_script
import train as train_script
from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmProcessor
from training.arguments import TrainArguments
from training.checkpoint import save_model
from training.embeddings import transfer
from training.embeddings.transfer import (
    PUZZLE_TABLE,
    RECORD_NAME,
    check_same_puzzles,
    mean_of_trained,
    puzzle_record,
    take_over_rows,
)
from training.errors import UserError
from training.evaluation.arc import evaluate_arc
from training.evaluation.scores import load_model
from training.loop import train
from training.state import TrainState

ROOT = Path(__file__).parent.parent
SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
CYCLES = {"deep_cycles": 1, "latent_cycles": 1, "max_supervision_steps": 1, "num_puzzle_tokens": 1}


def write_tasks(folder: Path, *names: str) -> Path:
    folder.mkdir()
    grids = {name: [[1 + number, 2, 3], [4, 5, 6]] for number, name in enumerate(names)}
    tasks = {
        name: {"train": [{"input": grid, "output": grid[::-1]}] * 2, "test": [{"input": grid[:1]}]}
        for name, grid in grids.items()
    }
    (folder / "arc-agi_test_challenges.json").write_text(json.dumps(tasks))
    (folder / "arc-agi_test_solutions.json").write_text(json.dumps({name: [[[1]]] for name in names}))
    return folder


class Run:
    """Trains on a folder of tasks."""

    def __init__(self, folder: Path, cache: Path, output_dir: Path, **fields):
        self.puzzles = {
            split: load_puzzles("arc-agi", split=split, data_dir=folder, num_augmentations=5, cache_dir=cache)
            for split in ("train", "test")
        }
        options = {"max_steps": 3, "batch_size": 4, "puzzle_embedding_learning_rate": 0.1, **fields}
        self.args = TrainArguments(
            task="arc-agi", dataset_config="kaggle", output_dir=str(output_dir), mixed_precision="no", **options
        )
        tasks = self.puzzles["train"].augmented_tasks
        self.config = TrmConfig(vocab_size=12, seq_len=900, num_puzzles=tasks.num_puzzles, **SIZES, **CYCLES)
        output_dir.mkdir(exist_ok=True)
        (output_dir / RECORD_NAME).write_text(json.dumps(puzzle_record(tasks)))

    def run(self) -> TrainState:
        processor = TrmProcessor(**self.puzzles["train"].format.processor)
        accelerator = Accelerator(cpu=True)
        return train(self.args, self.config, processor, *self.puzzles.values(), accelerator)

    def train(self) -> dict[str, torch.Tensor]:
        """The weights it leaves."""
        self.run()
        return load_file(Path(self.args.output_dir) / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run = Run(write_tasks(folder / "data", "a", "b"), folder / "cache", folder / "run")
    return run, run.train()


def test_only_new_puzzles_are_learned_and_the_network_keeps_every_bit(trained, tmp_path):
    before_run, before = trained
    data = write_tasks(tmp_path / "data", "c", "a", "d")
    run = Run(data, tmp_path / "cache", tmp_path / "run", init_from=before_run.args.output_dir, freeze_network=True)
    after = run.train()
    for name in before.keys() - {PUZZLE_TABLE}:
        assert torch.equal(before[name], after[name]), name

    old, new = before[PUZZLE_TABLE], after[PUZZLE_TABLE]
    old_tasks, new_tasks = (r.puzzles["train"].augmented_tasks for r in (before_run, run))
    known, same = (slice(int(t.ids_of(["a"])), int(t.ids_of(["a"])) + 6) for t in (new_tasks, old_tasks))
    assert torch.equal(new[known], old[same])
    trained_rows = old[(old != 0).any(1)]
    assert 0 < len(trained_rows) < len(old)
    assert (new[0] == 0).all()
    start = trained_rows.double().mean(0).float()
    moved = (new[1:] - start).abs()
    unseen = torch.ones(len(moved), dtype=torch.bool)
    unseen[known.start - 1 : known.stop - 1] = False
    learned = (moved[unseen] > 1e-6).any(1)
    assert learned.any()
    assert not learned.all()
    assert torch.allclose(new[1:][unseen][~learned], start, atol=1e-6)


def test_a_run_can_start_from_a_trained_model_and_train_all_of_it(trained, tmp_path):
    before_run, before = trained
    run = Run(write_tasks(tmp_path / "data", "b", "c"), tmp_path / "cache", tmp_path / "run", learning_rate=1e-3)
    run.args = replace(run.args, init_from=before_run.args.output_dir, max_steps=1, ema_decay=0.0)
    after = run.train()
    matrix = "model.network.layers.0.mlp.down_proj.weight"
    distance = (after[matrix] - before[matrix]).abs().max()
    assert 0 < distance < 5e-3


def test_nothing_to_learn_is_a_mistake(trained, tmp_path):
    before_run, _ = trained
    run = Run(write_tasks(tmp_path / "data", "b"), tmp_path / "cache", tmp_path / "run")
    run.args = replace(run.args, init_from=before_run.args.output_dir, freeze_network=True)
    with pytest.raises(UserError, match="has seen all these puzzles"):
        run.train()
    run.args = replace(run.args, init_from=str(tmp_path))
    with pytest.raises(UserError, match="cannot load the model"):
        run.train()
    with pytest.raises(UserError, match="needs --init_from"):
        replace(run.args, init_from=None)


def test_a_model_of_another_architecture_is_refused(trained, tmp_path):
    run = Run(write_tasks(tmp_path / "data", "c"), tmp_path / "cache", tmp_path / "run")
    for change, named in (
        ({"hidden_size": 16, "puzzle_embedding_size": 8}, "it has hidden_size=16, not 8"),
        ({"num_hidden_layers": 2}, "it has num_hidden_layers=2, not 1"),
        ({"normalize_glu": True}, "it has normalize_glu=True, not False"),  # of which no weight tells
    ):
        model = TrmForPuzzleSolving(TrmConfig(vocab_size=12, seq_len=900, **{**SIZES, **CYCLES, **change}))
        save_model(model, TrmProcessor(**run.puzzles["train"].format.processor), tmp_path / "other")
        run.args = replace(run.args, init_from=str(tmp_path / "other"))
        with pytest.raises(UserError) as error:
            run.train()
        assert str(error.value) == f"init_from={tmp_path / 'other'} is of another architecture: {named}"


def test_a_start_takes_over_all_weights_or_fails(trained, tmp_path, monkeypatch):
    """A name that one of the two models lacks is no detail: its weights would stay random."""
    before_run, _ = trained
    run = Run(write_tasks(tmp_path / "data", "c"), tmp_path / "cache", tmp_path / "run")
    run.args = replace(run.args, init_from=before_run.args.output_dir)
    model = load_model(before_run.args.output_dir, torch.float32)
    model.surplus = torch.nn.Parameter(torch.zeros(1))
    monkeypatch.setattr(transfer, "load_model", lambda *_: model)
    with pytest.raises(RuntimeError, match="surplus"):
        run.train()


def test_a_table_of_other_puzzles_is_refused(trained, tmp_path):
    run, _ = trained
    folder, tasks = run.args.output_dir, run.puzzles["train"].augmented_tasks
    check_same_puzzles(folder, tasks.num_puzzles, tasks)
    for change, message in (
        ({"num_augmentations": 7}, "num_augmentations=5, not 7: add --num_augmentations 5"),
        ({"seed": 3}, "add --data_seed 0"),
        ({"names": ["a", "x"]}, "was trained on other puzzles"),
    ):
        with pytest.raises(UserError, match=message):
            check_same_puzzles(folder, tasks.num_puzzles, replace(tasks, **change))
    with pytest.raises(UserError, match="was trained on other puzzles"):
        check_same_puzzles(tmp_path, 5, tasks)


class Tasks:
    """As much of `AugmentedTasks` as counts here: tasks of three identifiers each, from 1 on."""

    seed = 0
    names = list("cadb")

    def ids_of(self, names):
        return torch.tensor([1 + 3 * self.names.index(name) for name in names], dtype=torch.int64)

    def counts_of(self, ids):
        return torch.full_like(ids, 3)


def test_a_table_takes_over_the_rows_of_the_tasks_it_knows():
    trained = torch.arange(1.0, 161).view(10, 16)
    record = {"data_seed": 0, "first_id_and_count": {"a": [1, 4], "b": [5, 2]}}  # of the four rows of a, three count
    expected = mean_of_trained(trained).float().repeat(13, 1)
    expected[0] = 0
    expected[4:7], expected[10:12] = trained[1:4], trained[5:7]
    rows = torch.zeros(13, 16)
    assert take_over_rows(rows, trained, Tasks(), record, "folder") == {"a", "b"}
    assert torch.equal(rows, expected)


def test_mean_counts_trained_rows_only():
    table = torch.zeros(7, 3)
    table[2], table[5] = torch.tensor([1.0, 0, 2]), torch.tensor([3.0, 0, 0])
    assert mean_of_trained(table).tolist() == [2, 0, 1]


# The entry points


def launch(script: str, *arguments: str, processes: int = 1) -> subprocess.CompletedProcess:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}"]
    command = [sys.executable, *(torchrun if processes > 1 else []), script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    done = launch("train.py", "--config", "recipes/arc_agi_1_smoke.yaml", "--output_dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_the_smoke_recipe_writes_scores_and_a_submission(smoke):
    (results,) = json.loads((smoke / "results.json").read_text())
    assert results["num_tasks"] == 5
    assert 0 <= results["pass@1"] <= results["pass@1000"] <= 1
    submission = json.loads((smoke / "submission.json").read_text())
    assert len(submission) == 5
    assert sum(map(len, submission.values())) == results["num_examples"]
    attempts = [grid for tests in submission.values() for test in tests for grid in test.values()]
    assert len(attempts) == 2 * results["num_examples"]
    assert all(grid and grid[0] for grid in attempts)


def test_bad_data_ends_in_one_line_and_nothing_is_written(tmp_path):
    (tmp_path / "arc-agi_test_challenges.json").write_text('{"abc": {"train": [], "test": []}}')
    arguments = ["--task", "arc-agi", "--dataset_config", "kaggle", "--data_dir", str(tmp_path)]
    with pytest.raises(
        UserError, match=f"^{tmp_path}/arc-agi_test_challenges.json task 'abc': there are no train pairs$"
    ):
        train_script.main([*arguments, "--output_dir", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "dataset"), [("arc_agi_2_smoke", "arc-agi-2"), ("arc_agi_1_symbols_smoke", "arc-agi-1")]
)
def test_the_other_smoke_recipes_run(recipe, dataset, tmp_path):
    launch("train.py", "--config", f"recipes/{recipe}.yaml", "--output_dir", str(tmp_path))
    (results,) = json.loads((tmp_path / "results.json").read_text())
    assert results["dataset"] == dataset and "pass@2" in results
    submission = json.loads((tmp_path / "submission.json").read_text())
    pairs = [pair for pairs in submission.values() for pair in pairs]
    assert pairs and all(set(pair) == {"attempt_1", "attempt_2"} for pair in pairs)


def test_two_processes_score_and_submit_the_same_as_one(smoke, tmp_path):
    arguments = ["--model", str(smoke), "--task", "arc-agi", "--max_examples", "3", "--num_augmentations", "4"]
    files = ["--output", str(tmp_path / "two.json"), "--submission", str(tmp_path / "two-submission.json")]
    done = launch("eval.py", *arguments, *files, "--batch_size", "1", processes=2)
    assert done.returncode == 0, done.stderr
    tests = load_puzzles("arc-agi", split="test", num_augmentations=4).first(3)
    model, file = TrmForPuzzleSolving.from_pretrained(smoke), tmp_path / "one-submission.json"
    one = evaluate_arc(model, tests, batch_size=1, accelerator=Accelerator(cpu=True), submission=file)
    (two,) = json.loads((tmp_path / "two.json").read_text())
    speed = ("seconds", "puzzles_per_second")
    assert {name: two[name] for name in one if name not in speed} == {n: v for n, v in one.items() if n not in speed}
    assert file.read_bytes() == (tmp_path / "two-submission.json").read_bytes()
    assert not (tmp_path / "two-submission.json.votes").exists()


def test_a_sweep_on_arc_is_a_curve(smoke, tmp_path):
    output = tmp_path / "curve.json"
    arguments = ["--model", str(smoke), "--task", "arc-agi", "--max_examples", "2", "--num_augmentations", "4"]
    files = ["--output", str(output), "--submission", str(tmp_path / "submission.json")]
    eval_script.main([*arguments, *files, "--sweep", "max_steps=1,2"])
    first, second = json.loads(output.read_text())
    assert (first["mean_total_steps"], second["mean_total_steps"]) == (1, 2)
    assert output.with_suffix(".png").stat().st_size > 0
    with pytest.raises(UserError, match="attempts=8 would repeat themselves"):
        eval_script.main([*arguments, *files, "--attempts", "8"])
