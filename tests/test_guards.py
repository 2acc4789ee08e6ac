# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A loss or gradient that is not finite changes nothing, and stops a run only if it comes again and again."""

import copy
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from test_resume import main
from test_train import checkpoint_tensors, log_lines
from tiny import tiny_batch, tiny_model

from modeling_trm import TrmForPuzzleSolving
from training.arguments import TrainArguments, UserError
from training.checkpoint import TrainState
from training.guards import StepGuard
from training.optimizers import ExponentialAverage, SignSGD, build_optimizers

OPTIMIZERS = [
    {"optimizer": "adam_atan2"},
    {"optimizer": "adam_atan2", "atan2_rule": "published"},
    {"optimizer": "adamw", "use_muon": True},
]
BAD = [float("nan"), float("inf"), -float("inf")]


class Training:
    """A small model with puzzle embeddings, its steps under guard."""

    def __init__(self, fields: dict):
        model = tiny_model(dtype=torch.float32).train()
        args = TrainArguments(puzzle_embedding_learning_rate=0.1, learning_rate=0.01, **fields)
        self.state = TrainState(model, ExponentialAverage(model, 0.9, warmup=True), build_optimizers(model, args))
        self.guard = StepGuard(self.state, Accelerator(cpu=True))

    def step(self, seed: int, harm: float | None = None, where: str = "loss") -> None:
        model = self.state.model
        output = model(*tiny_batch(4, seed))
        output.loss.backward()
        loss = output.loss
        if harm is not None and where == "loss":
            loss = loss * harm
            for parameter in model.parameters():
                values = parameter.grad._values() if parameter.grad.is_sparse else parameter.grad
                values.fill_(harm)
        elif harm is not None:
            gradient = model.get_parameter(where).grad
            (gradient._values() if gradient.is_sparse else gradient).view(-1)[3] = harm
        with self.guard.watch(loss):
            for optimizer in self.state.optimizers:
                optimizer.step()
            self.state.average.update_parameters(model)
        model.zero_grad()
        self.state.step += 1

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything: weights, average and its count, moments and their counts, the table."""
        self.guard.settle()
        return {name: tensor.clone() for name, tensor in self.state.tensors().items()}


@pytest.mark.parametrize("harm", BAD, ids=str)
@pytest.mark.parametrize("fields", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_bad_step_leaves_no_trace(fields: dict, harm: float, at: int) -> None:
    """With it or without it, the other steps come out the same, to the last bit; also when it is the very first."""
    plain, guarded = Training(fields), Training(fields)
    for seed in range(4):
        if seed == at:
            before = guarded.tensors()
            guarded.step(99, harm)
            after = guarded.tensors()
            assert before.keys() <= after.keys()
            for name, tensor in after.items():
                assert torch.equal(tensor, before.get(name, torch.zeros_like(tensor))), name
            assert guarded.guard.streak == 1
        plain.step(seed)
        guarded.step(seed)
    ours, theirs = plain.tensors(), guarded.tensors()
    assert any("momentum" in name or "exp_avg" in name for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert guarded.guard.streak == 0


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("loss", "the loss"),
        ("lm_head.weight", "the gradient of lm_head.weight"),
        ("model.puzzle_embeddings.weight", "the gradient of model.puzzle_embeddings.weight"),
        ("model.network.layers.0.mlp.down_proj.weight", "the gradient of model.network.layers.0.mlp.down_proj.weight"),
    ],
)
def test_the_culprit_is_named(where: str, named: str) -> None:
    training = Training(OPTIMIZERS[0])
    training.step(0)
    before = training.tensors()
    training.step(1, float("nan"), where)
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.tensors().items())
    assert (training.guard.culprit, training.guard.first_step) == (named, 2)


def test_guarding_changes_no_good_step() -> None:
    """The same weights as without a guard, and the norm that torch computes."""
    guarded, bare = Training(OPTIMIZERS[2]), Training(OPTIMIZERS[2])
    for seed in range(3):
        guarded.step(seed)
        model = bare.state.model
        model(*tiny_batch(4, seed)).loss.backward()
        dense = [p.grad for p in model.parameters() if not p.grad.is_sparse]
        norm, _, _ = bare.guard.examine(torch.zeros(()))
        assert torch.equal(norm, torch.nn.utils.get_total_norm(dense))
        for optimizer in bare.state.optimizers:
            optimizer.step()
        bare.state.average.update_parameters(model)
        model.zero_grad()
    ours, theirs = guarded.tensors(), bare.tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def one_of_two(rank: int, folder: Path) -> None:
    """A process of two; only the second meets a bad gradient, in a tensor that is not averaged."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    training = Training(OPTIMIZERS[0])
    training.guard.accelerator = SimpleNamespace(num_processes=2)
    training.step(0)
    before = training.tensors()
    training.step(1, float("nan") if rank == 1 else None, "model.puzzle_embeddings.weight")
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.tensors().items())
    assert training.guard.culprit == "the gradient of model.puzzle_embeddings.weight"
    training.step(2)
    assert not torch.equal(training.tensors()["model.lm_head.weight"], before["model.lm_head.weight"])
    torch.distributed.destroy_process_group()  # or its threads may outlive the process's end, which aborts it


def test_all_processes_skip_what_is_bad_on_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_of_two, args=(rank, tmp_path)) for rank in range(2)]
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
    with pytest.raises(UserError, match=r"^the loss was not finite at step 8, .* 3 steps .*last checkpoint"):
        main(tmp_path, save_steps=2, log_steps=2, max_skipped_steps=3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))[-1] == "step-00000006"


def test_embeddings_without_a_guard_are_updated() -> None:
    table = torch.nn.Embedding(3, 2, sparse=True)
    before = copy.deepcopy(table.weight.data)
    optimizer = SignSGD([table.weight], lr=0.1, weight_decay=0.0)
    table(torch.tensor([1])).sum().backward()
    optimizer.found_inf = torch.tensor(True)
    optimizer.step()
    assert torch.equal(table.weight.data, before)
    optimizer.found_inf = None
    optimizer.step()
    torch.testing.assert_close(table.weight.data[1], before[1] - 0.1)
