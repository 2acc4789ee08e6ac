# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A loss or gradient that is not finite changes nothing, and stops a run only if it comes again and again."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from test_resume import main
from test_train import checkpoint_tensors, log_lines
from tiny import tiny_batch, tiny_model

from datasets_scripts.tasks import PuzzleFormat, Puzzles
from modeling_trm import TrmForPuzzleSolving
from modeling_trm.solving_trm import NotFiniteError
from training.errors import UserError
from training.evaluation.scores import evaluate
from training.guards import check_step, name_culprit

BAD = [float("nan"), float("inf"), -float("inf")]
PLACES = [
    "the loss",
    "the gradient of lm_head.weight",
    "the gradient of model.puzzle_embeddings.weight",
    "the gradient of model.network.layers.0.mlp.down_proj.weight",
]


def with_gradients(harm: float | None = None, where: str = "") -> tuple[TrmForPuzzleSolving, torch.Tensor]:
    """A small model with puzzle embeddings after a backward pass, and its loss; one number, or all, are `harm`."""
    model = tiny_model(dtype=torch.float32).train()
    loss = model(*tiny_batch(4)).loss
    loss.backward()
    for name, parameter in model.named_parameters():
        values = parameter.grad._values() if parameter.grad.is_sparse else parameter.grad
        if where == "the loss":
            values.fill_(harm)
        elif where == f"the gradient of {name}":
            values.view(-1)[3] = harm
    return model, loss * harm if where == "the loss" else loss


@pytest.mark.parametrize("harm", BAD, ids=str)
@pytest.mark.parametrize("where", PLACES)
def test_what_is_not_finite_is_found_and_named(where: str, harm: float) -> None:
    model, loss = with_gradients(harm, where)
    assert not check_step(loss, model, Accelerator(cpu=True))[1]
    assert name_culprit(loss, model) == where


@pytest.mark.parametrize("where", PLACES[1:])
def test_a_norm_that_overflows_is_named(where: str) -> None:
    """Though every gradient is finite."""
    model, loss = with_gradients(1e25, where)
    assert not check_step(loss, model, Accelerator(cpu=True))[1]
    assert name_culprit(loss, model) == "the norm of the gradients"


def test_a_good_step_is_good_and_its_norm_torchs() -> None:
    model, loss = with_gradients()
    norm, is_finite = check_step(loss, model, Accelerator(cpu=True))
    assert is_finite
    assert torch.equal(
        norm, torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if not p.grad.is_sparse])
    )


def test_a_frozen_network_has_no_dense_gradients() -> None:
    model, loss = with_gradients()
    for parameter in model.parameters():
        parameter.grad = parameter.grad if parameter.grad.is_sparse else None
    norm, is_finite = check_step(loss, model, Accelerator(cpu=True))
    assert is_finite and norm == 0


def one_of_two(rank: int, port: int) -> None:
    """A process of two; only the second meets a bad gradient, of a tensor that is not averaged, and bad weights."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    accelerator = Accelerator(cpu=True)
    model, loss = with_gradients(float("nan"), PLACES[2] if rank == 1 else "")
    assert not check_step(loss, model, accelerator)[1]
    assert name_culprit(loss, model) == PLACES[2]
    assert check_step(*with_gradients()[::-1], accelerator)[1]
    if rank == 1:
        model.lm_head.weight.data.fill_(float("nan"))
    input_ids, puzzle_ids, labels = tiny_batch(5)
    puzzles = Puzzles(input_ids, labels, puzzle_ids, ["a"] * 5, "made-up", PuzzleFormat({}, answer_tokens=[1]))
    with pytest.raises(NotFiniteError, match="the model's weights hold NaN"):
        evaluate(model.eval(), puzzles, batch_size=2, accelerator=accelerator, show_progress=False)
    accelerator.end_training()  # or its threads may outlive the process's end, which aborts it


def test_all_processes_learn_what_is_bad_on_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_of_two, args=(rank, port)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]


class Faulty:
    """`TrmForPuzzleSolving.forward` with a loss that is not a number at some of its calls."""

    def __init__(self, steps: range, monkeypatch: pytest.MonkeyPatch):
        self.calls, self.steps, self.forward = 0, steps, TrmForPuzzleSolving.forward
        monkeypatch.setattr(TrmForPuzzleSolving, "forward", lambda *args, **options: self(*args, **options))

    def __call__(self, *args, **options):
        output = self.forward(*args, **options)
        if output.loss is not None and torch.is_grad_enabled():
            self.calls += 1
            if self.calls in self.steps:
                output.loss = output.loss * float("nan")
                output.carry.answer_state = torch.full_like(output.carry.answer_state, float("nan"))
        return output


def test_a_run_goes_on_after_bad_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted, in no mean, never saved right after, and their puzzles are dropped."""
    Faulty(range(4, 6), monkeypatch)
    main(tmp_path, max_steps=8, log_steps=3, save_steps=5, checkpoint_total_limit=9)
    lines = [line for line in log_lines(tmp_path) if "samples_per_second" in line]
    assert [(line["step"], line["skipped_steps"]) for line in lines] == [(3, 0), (6, 2), (8, 0)]
    assert all(0 < line["answer_loss"] < 10 and 0 < line["gradient_norm"] < 100 for line in lines)
    # The save due at step 5 waits for a good step.
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*")) == [
        "step-00000006",
        "step-00000008",
    ]
    final = checkpoint_tensors(tmp_path)
    assert all(tensor.isfinite().all() for tensor in final.values() if tensor.is_floating_point())
    assert final["rank-00000.safetensors/carry.steps"].tolist() == [3] * 8  # all started anew after step 5
    assert final["training.safetensors/average.n_averaged"] == 1 + 6
    assert all(tensor == 6 for name, tensor in final.items() if name.endswith(".step"))


def test_a_run_that_stays_bad_stops_with_its_last_good_checkpoint(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    Faulty(range(8, 100), monkeypatch)
    with pytest.raises(UserError, match=r"^the loss was not finite at step 10, .* 3 such steps .*last checkpoint"):
        main(tmp_path, save_steps=2, log_steps=2, max_skipped_steps=3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))[-1] == "step-00000006"


def test_a_skipped_step_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, average, moments and all counts are those from before it."""
    main(tmp_path, max_steps=3, min_learning_rate_ratio=1.0, warmup_steps=0)
    before = checkpoint_tensors(tmp_path)
    Faulty(range(1, 2), monkeypatch)
    main(tmp_path, max_steps=4, min_learning_rate_ratio=1.0, warmup_steps=0)
    after = checkpoint_tensors(tmp_path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name.startswith("training"):
            assert torch.equal(tensor, after[name]), name
    assert after["rank-00000.safetensors/carry.halted"].all()
