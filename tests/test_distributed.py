# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Any number of processes, on one machine or several, computes the training of one: losses, halting, every weight.

In float64, because the recursion amplifies the rounding of float32 to order 1 within a few steps.
"""

import json
import math
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from training.embeddings.transfer import PUZZLE_TABLE

ROOT = Path(__file__).parent.parent
SMALL = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "token_mixer": "mlp",
    "token_mixer_intermediate_size": 16,
    "position_embedding_type": "none",
    "deep_cycles": 2,
    "latent_cycles": 2,
    "max_supervision_steps": 4,
    "halt_exploration_prob": 0.3,
    "mixed_precision": "no",
    "learning_rate": 3e-4,
    "max_grad_norm": 1.0,
    "log_steps": 4,
    "max_steps": 20,
}
SUDOKU = {
    "task": "sudoku",
    "dataset_config": "mini-6x6",
    "num_train_puzzles": 10,  # batches of 12 straddle the epochs
    "num_test_puzzles": 3,  # fewer than processes
    "puzzle_embedding_size": 0,
    "num_puzzle_tokens": 0,
    "batch_size": 12,
}
ARC = {
    "task": "arc-agi",
    "dataset_config": "kaggle",
    "num_augmentations": 2,  # few, so that one batch holds the same puzzle on several processes
    "latent_cycles": 1,
    "num_puzzle_tokens": 1,
    "puzzle_embedding_learning_rate": 0.05,
    "batch_size": 8,
    "eval_steps": 10,
}

LARGE = {  # a table far larger than the network, and fewer predictions than processes
    "token_mixer_intermediate_size": 1,
    "num_augmentations": 1000,
    "num_votes": 1,
    "max_steps": 4,
}
NUM_PAIRS = 7


def write_tasks(folder: Path, names: str) -> Path:
    """Small ARC tasks; "ab" have `NUM_PAIRS` pairs to learn from, so that batches of eight straddle the epochs."""
    folder.mkdir()
    grids = {name: [[ord(name) % 10, 2, 3], [4, 5, 6]] for name in names}
    tasks = {
        name: {"train": [{"input": grid, "output": grid[::-1]}] * (3 + number), "test": [{"input": grid[:1]}]}
        for number, (name, grid) in enumerate(grids.items())
    }
    (folder / "arc-agi_test_challenges.json").write_text(json.dumps(tasks))
    (folder / "arc-agi_test_solutions.json").write_text(json.dumps({name: [grid[:1]] for name, grid in grids.items()}))
    return folder


class Runs:
    """Several runs of train.py one after the other on the same processes; what they left, by name."""

    def __init__(self, folder: Path, launchers: list[list[str]], runs: list[tuple[str, dict]]):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        described = []
        for name, fields in runs:
            words = [str(word) for field, value in fields.items() for word in (f"--{field}", value)]
            dtype = "float32" if name.endswith("32") else "float64"
            words += ["--output_dir", str(folder / name)]
            described.append({"words": words, "dtype": dtype, "lists_calls": name == "arc_large"})
        (folder / "runs.json").write_text(json.dumps(described))
        worker = [str(ROOT / "tests" / "distributed_worker.py"), str(folder / "runs.json")]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        with ExitStack() as stack:
            started = []
            for number, launcher in enumerate(launchers):
                output = stack.enter_context((folder / f"output-{number}.txt").open("w+"))
                command = [sys.executable, *launcher, *worker]
                started.append((subprocess.Popen(command, env=environment, stdout=output, stderr=output), output))
                stack.callback(started[-1][0].kill)
            for process, output in started:
                assert process.wait(timeout=300) == 0, output.seek(0) or output.read()

    def seen(self, run: str) -> dict[str, Tensor]:
        """Of every step: the loss, and of every slot of the batch the steps and id of its puzzle and if it halted."""
        ranks = [load_file(path) for path in sorted((self.folder / run).glob("seen-*"))]
        columns = {name: torch.cat([rank[name] for rank in ranks], 1) for name in ranks[0] if name != "loss"}
        return columns | {"loss": torch.stack([rank["loss"] for rank in ranks]).mean(0)}

    def calls(self, run: str) -> list[tuple[str, list[int]]]:
        """Of every exchange between the processes its name and the shape that this process gave."""
        return [tuple(call) for call in json.loads((self.folder / run / "calls-0.json").read_text())]

    def weights(self, run: str) -> dict[str, Tensor]:
        """Of the last checkpoint: weights, their average, moments; and the published model."""
        folder = max((self.folder / run / "checkpoints").glob("step-*"))
        return load_file(folder / "training.safetensors") | load_file(self.folder / run / "model.safetensors")

    def results(self, run: str) -> dict:
        (results,) = json.loads((self.folder / run / "results.json").read_text())
        return results


def two_nodes(processes: int) -> list[list[str]]:
    """One agent for each of two machines, which find each other as under `accelerate launch` on several machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = ["--nnodes=2", f"--nproc_per_node={processes // 2}"]
    meeting += ["--rdzv_backend=static", f"--rdzv_endpoint=127.0.0.1:{port}"]
    return [["-m", "torch.distributed.run", *meeting, f"--node_rank={node}"] for node in (0, 1)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Runs]:
    """By number of processes: alone, two on one machine, two on each of two machines."""
    folder = tmp_path_factory.mktemp("distributed")
    tasks, others = write_tasks(folder / "tasks", "ab"), write_tasks(folder / "others", "cad")
    sudoku, arc = SMALL | SUDOKU, SMALL | ARC | {"data_dir": tasks}
    new = arc | {"data_dir": others, "init_from": folder / "1" / "arc", "freeze_network": True, "max_steps": 6}
    noisy = sudoku | {"random_initial_states": True}
    both = [("sudoku", sudoku), ("noisy", noisy), ("arc", arc), ("sudoku32", sudoku | {"max_steps": 4})]
    begun, moved = ("../4/arc_moved", arc | {"max_steps": 12}), ("arc_moved", arc)
    arc32, large = ("arc32", arc | {"max_steps": 4}), ("arc_large", arc | LARGE)
    one_node = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return {
        1: Runs(folder / "1", [[]], [*both, arc32, ("arc_new", new)]),
        2: Runs(folder / "2", [one_node], [*both, begun, arc32, ("arc_new", new), large]),
        4: Runs(folder / "4", two_nodes(4), [*both, moved]),
    }


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensor.dtype != torch.float32 or tensor.ndim == 0, name
        torch.testing.assert_close(found[name], tensor, atol=tolerance, rtol=0, msg=name)


def assert_same_scores(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name in expected.keys() - {"seconds", "puzzles_per_second", "model", "weights"}:  # a hash of the last bits
        close = pytest.approx(expected[name], rel=1e-6) if isinstance(expected[name], float) else expected[name]
        assert found[name] == close, name


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("run", ["sudoku", "noisy", "arc"])
def test_any_number_of_processes_trains_as_one(runs: dict[int, Runs], run: str, processes: int) -> None:
    one, many = runs[1], runs[processes]
    ours, theirs = one.seen(run), many.seen(run)
    assert len(ours["loss"]) == 20
    last_step = SMALL["max_supervision_steps"]
    assert ours["halted"][ours["steps"] < last_step].any()  # the halting head decides, and not always the same
    assert (ours["steps"] == last_step).any()
    assert_same(theirs, ours)
    assert_same(many.weights(run), one.weights(run))
    assert_same_scores(many.results(run), one.results(run))


def test_puzzles_of_one_batch_meet_on_several_processes(runs: dict[int, Runs]) -> None:
    """And epochs begin in the middle of a batch: what the equality above is about."""
    ids = runs[1].seen("arc")["puzzle_ids"]  # [steps, slots]
    assert any(set(first.tolist()) & set(second.tolist()) for first, second in (step.chunk(2) for step in ids))
    assert ARC["batch_size"] % NUM_PAIRS
    assert SUDOKU["batch_size"] % SUDOKU["num_train_puzzles"]


@pytest.mark.parametrize(("run", "processes"), [("sudoku32", 2), ("sudoku32", 4), ("arc32", 2)])
def test_in_float32_the_first_steps_agree(runs: dict[int, Runs], run: str, processes: int) -> None:
    ours, theirs = runs[1].seen(run), runs[processes].seen(run)
    torch.testing.assert_close(theirs["loss"], ours["loss"], atol=1e-4, rtol=1e-4)
    assert torch.equal(theirs["halted"], ours["halted"])


def test_only_rows_of_the_batch_are_exchanged(runs: dict[int, Runs]) -> None:
    """Ids and gradients of each process's share, every step; the table of embeddings never."""
    calls, weights = runs[2].calls("arc_large"), load_file(runs[2].folder / "arc_large" / "model.safetensors")
    share, size = ARC["batch_size"] // 2, SMALL["hidden_size"]
    table = weights[PUZZLE_TABLE].numel()
    network = sum(tensor.numel() for tensor in weights.values()) - table
    for shape in ([share], [share, size]):
        assert calls.count(("gloo:all_gather", shape)) == LARGE["max_steps"]
    assert max(math.prod(shape) for _, shape in calls) <= network < table / 3
    assert (
        sum(math.prod(shape) for _, shape in calls) < LARGE["max_steps"] * (network + share * (size + 1)) + table / 2
    )


def test_two_processes_begin_and_four_go_on(runs: dict[int, Runs]) -> None:
    """Puzzles in work are divided anew."""
    one, four = runs[1], runs[4]
    assert_same(four.seen("arc_moved"), {name: t[12:] for name, t in one.seen("arc").items()})
    assert_same(four.weights("arc_moved"), one.weights("arc"))


def test_new_puzzles_are_learned_by_several_processes(runs: dict[int, Runs]) -> None:
    one, two = runs[1], runs[2]
    assert_same(two.seen("arc_new"), one.seen("arc_new"))
    expected, found = (load_file(run.folder / "arc_new" / "model.safetensors") for run in (one, two))
    assert_same(found, expected)
    trained = one.weights("arc")
    assert torch.equal(found["lm_head.weight"], trained["lm_head.weight"])
    assert not torch.equal(found[PUZZLE_TABLE][1], found[PUZZLE_TABLE][2])
