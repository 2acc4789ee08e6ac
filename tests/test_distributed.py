# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Any number of processes computes the training of one: losses, halting decisions and every weight.

In float64, because the recursion amplifies the rounding of float32 to order 1 within a few steps.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).parent.parent
SMALL = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "deep_cycles": 2,
    "latent_cycles": 2,
    "max_supervision_steps": 4,
    "halt_exploration_prob": 0.3,
    "mixed_precision": "no",
    "learning_rate": 3e-3,
    "max_grad_norm": 1.0,
    "log_steps": 4,
    "max_steps": 20,
}
SUDOKU = {
    "task": "sudoku",
    "dataset_config": "mini-6x6",
    "num_train_puzzles": 10,  # batches of 12 straddle the epochs
    "num_test_puzzles": 7,
    "token_mixer": "mlp",
    "position_embedding_type": "none",
    "token_mixer_intermediate_size": 16,
    "puzzle_embedding_size": 0,
    "num_puzzle_tokens": 0,
    "batch_size": 12,
}
ARC = {
    "task": "arc-agi",
    "dataset_config": "kaggle",
    "num_augmentations": 2,  # few, so that one batch holds the same puzzle on several processes
    "hidden_size": 8,
    "latent_cycles": 1,
    "num_puzzle_tokens": 1,
    "puzzle_embedding_learning_rate": 0.05,
    "batch_size": 8,
    "eval_steps": 10,
}


def write_tasks(folder: Path) -> Path:
    """Two ARC tasks with seven pairs to learn from, so that batches of eight straddle the epochs."""
    folder.mkdir(parents=True)
    grids = {"a": [[1, 2, 3], [4, 5, 6]], "b": [[7, 0], [8, 9]]}
    tasks = {
        name: {"train": [{"input": grid, "output": grid[::-1]}] * (3 + number), "test": [{"input": grid[:1]}]}
        for number, (name, grid) in enumerate(grids.items())
    }
    (folder / "arc-agi_test_challenges.json").write_text(json.dumps(tasks))
    (folder / "arc-agi_test_solutions.json").write_text(json.dumps({name: [grid[:1]] for name, grid in grids.items()}))
    return folder


class Runs:
    """The same runs on one set of processes; what they left, by name."""

    def __init__(self, folder: Path, launcher: list[str], runs: dict[str, dict]):
        self.folder = folder
        folder.mkdir()
        described = []
        for name, fields in runs.items():
            dtype, fields = fields.get("dtype", "float64"), {k: v for k, v in fields.items() if k != "dtype"}
            words = [str(word) for field, value in fields.items() for word in (f"--{field}", value)]
            described.append({"dtype": dtype, "words": [*words, "--output_dir", str(folder / name)]})
        (folder / "runs.json").write_text(json.dumps(described))
        command = [sys.executable, *launcher, str(ROOT / "tests" / "distributed_worker.py"), str(folder / "runs.json")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def seen(self, run: str) -> dict[str, Tensor]:
        """Of every step: the loss, and of every slot of the batch the steps of its puzzle and whether it halted."""
        paths = sorted((self.folder / run).glob("seen-*"), key=lambda path: int(path.stem.split("-")[1]))
        ranks = [load_file(path) for path in paths]
        loss = torch.stack([rank["loss"] for rank in ranks]).mean(0)
        return {"loss": loss} | {name: torch.cat([rank[name] for rank in ranks], 1) for name in ("halted", "steps")}

    def weights(self, run: str) -> dict[str, Tensor]:
        """Of the last checkpoint: weights, their average, moments; and the published model."""
        (folder,) = (self.folder / run / "checkpoints").glob("step-00000020")
        return load_file(folder / "training.safetensors") | load_file(self.folder / run / "model.safetensors")

    def results(self, run: str) -> dict:
        return json.loads((self.folder / run / "results.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Runs]:
    """By number of processes."""
    folder = tmp_path_factory.mktemp("distributed")
    sudoku, arc = SMALL | SUDOKU, SMALL | ARC | {"data_dir": write_tasks(folder / "tasks")}
    named = {
        "sudoku": sudoku,
        "arc": arc,
        "sudoku32": sudoku | {"dtype": "float32", "max_steps": 4},
        "arc32": arc | {"dtype": "float32", "max_steps": 4},
    }
    launchers = {n: ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}"] for n in (2, 4)}
    return {n: Runs(folder / str(n), launchers.get(n, []), named) for n in (1, 2, 4)}


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("run", ["sudoku", "arc"])
def test_any_number_of_processes_trains_as_one(runs: dict[int, Runs], run: str, processes: int) -> None:
    one, many = runs[1], runs[processes]
    ours, theirs = one.seen(run), many.seen(run)
    assert len(ours["loss"]) == 20
    assert 0.1 < ours["halted"].double().mean() < 0.9
    torch.testing.assert_close(theirs["loss"], ours["loss"], atol=1e-9, rtol=0)
    for name in ("halted", "steps"):
        assert torch.equal(theirs[name], ours[name]), name
    expected, found = one.weights(run), many.weights(run)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.dtype == torch.float64 or tensor.ndim == 0, name
        torch.testing.assert_close(found[name], tensor, atol=1e-9, rtol=0, msg=name)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("run", ["sudoku32", "arc32"])
def test_in_float32_the_first_steps_agree(runs: dict[int, Runs], run: str, processes: int) -> None:
    ours, theirs = runs[1].seen(run), runs[processes].seen(run)
    torch.testing.assert_close(theirs["loss"], ours["loss"], atol=1e-4, rtol=1e-4)
    assert torch.equal(theirs["halted"], ours["halted"])
