# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Which parameter is moved by which optimizer, Muon in float32, and the average of the weights."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modeling_trm import TrmConfig, TrmForPuzzleSolving
from training import optimizers
from training.arguments import TrainArguments
from training.errors import UserError
from training.optimizers import ExponentialAverage, Float32Muon, build_optimizers, orthogonalize

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "seq_len": 9, "intermediate_size": 24}


def names_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> set[str]:
    """Names of the parameters whose memory the optimizer writes to."""
    starts = {p.untyped_storage().data_ptr() for group in optimizer.param_groups for p in group["params"]}
    return {name for name, p in model.named_parameters() if p.untyped_storage().data_ptr() in starts}


@pytest.mark.parametrize("use_muon", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "adam_atan2"])
def test_every_parameter_has_exactly_one_optimizer(optimizer: str, use_muon: bool) -> None:
    model = TrmForPuzzleSolving(TrmConfig(**SMALL, num_register_tokens=2, num_puzzles=4))
    args = TrainArguments(optimizer=optimizer, use_muon=use_muon)  # type: ignore[arg-type]
    groups = [names_of(model, part) for part in build_optimizers(model, args)]
    assert sorted(name for group in groups for name in group) == sorted(name for name, _ in model.named_parameters())
    assert groups[0] == {"model.puzzle_embeddings.weight"}
    if use_muon:
        muon = build_optimizers(model, TrainArguments(use_muon=True, muon_momentum=0.7, muon_ns_steps=2))[1]
        expected = {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.005, "ns_steps": 2}
        assert {name: muon.param_groups[0][name] for name in expected} == expected
        assert groups[1] == {name for name, _ in model.named_parameters() if name.startswith("model.network.")}


@pytest.mark.parametrize("native", [True, False])
def test_muon_is_torchs_where_bfloat16_is_native(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "has_bf16", lambda device: native)
    model = TrmForPuzzleSolving(TrmConfig(**SMALL, num_puzzles=4))
    muon = build_optimizers(model, TrainArguments(use_muon=True))[1]
    assert type(muon) is (torch.optim.Muon if native else Float32Muon)


@pytest.mark.parametrize("shape", [(12, 8), (6, 9), (9, 4)])
def test_float32_muon_is_torchs_but_for_the_dtype(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several steps; the second half continues from the state of torch's, as a run on another machine would."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)  # torch's iteration in float32
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(weight) for weight in torch.randn(shape).expand(2, -1, -1).clone())
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1, "ns_steps": 5}
    optimizer, reference = Float32Muon([ours], **options), torch.optim.Muon([theirs], **options)
    for step in range(4):
        if step == 2:
            optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
        theirs.grad = torch.randn(shape)
        ours.grad = theirs.grad.clone()
        optimizer.step()
        reference.step()
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_orthogonalized_matrices_keep_their_directions(rows: int, columns: int) -> None:
    """All singular values come near 1 (Jordan's coefficients end between 0.5 and 1.5), the singular vectors stay."""
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    rank = min(rows, columns)
    matrix = left[:, :rank] * torch.linspace(0.3, 1, rank) @ right[:, :rank].mT
    turned = left[:, :rank].mT @ orthogonalize(matrix, (3.4445, -4.7750, 2.0315), 5) @ right[:, :rank]
    values = turned.diagonal()
    assert ((values > 0.5) & (values < 1.5)).all()
    torch.testing.assert_close(turned, torch.diag_embed(values), atol=1e-4, rtol=0)


@pytest.mark.parametrize("warmup", [False, True])
def test_average_of_the_weights(warmup: bool) -> None:
    """A plain restatement of the moving average, which starts at the initial weights; puzzle embeddings are shared."""
    torch.manual_seed(0)
    model = TrmForPuzzleSolving(TrmConfig(**SMALL, num_puzzles=3))
    average = ExponentialAverage(model, 0.9, warmup)
    expected = {name: p.detach().clone().double() for name, p in model.named_parameters()}
    for step in range(1, 5):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        average.update_parameters(model)
        kept = min(0.9, (1 + step) / (10 + step)) if warmup else 0.9
        for name, p in model.named_parameters():
            expected[name] = kept * expected[name] + (1 - kept) * p.detach().double()
    averaged = dict(average.module.named_parameters())
    for name, p in model.named_parameters():
        if name == "model.puzzle_embeddings.weight":
            assert averaged[name] is p
        else:
            torch.testing.assert_close(averaged[name].double(), expected[name], atol=1e-6, rtol=0)


def test_arguments_out_of_range_are_refused() -> None:
    for wrong in ({"max_steps": 0}, {"ema_decay": 1.5}, {"learning_rate": -1.0}, {"eval_examples": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            TrainArguments(**wrong)
