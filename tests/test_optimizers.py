# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Which parameter is moved by which optimizer, Muon per head, and the average of the weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modeling_trm import TrmConfig, TrmForPuzzleSolving
from modeling_trm.modeling_trm import TrmAttention
from training.arguments import TrainArguments, UserError
from training.optimizers import ExponentialAverage, Muon, build_optimizers, orthogonalised

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
        attentions = [module for module in model.modules() if isinstance(module, TrmAttention)]
        assert muon.head_size == {attention.qkv_proj.weight: 8 for attention in attentions}
        expected = {"lr": 0.02, "momentum": 0.7, "weight_decay": 0.005, "ns_steps": 2}
        assert {name: muon.param_groups[0][name] for name in expected} == expected
        assert groups[1] == {name for name, _ in model.named_parameters() if name.startswith("model.network.")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_muon_is_torchs_on_each_matrix_and_on_each_head(dtype: torch.dtype) -> None:
    """Over several steps and through a state dict; a batch of products may round bfloat16 otherwise than one alone."""
    torch.manual_seed(0)
    shapes = {"fused": (12, 8), "fused too": (12, 8), "wide": (6, 9), "wide too": (6, 9), "tall": (9, 4)}
    weights = {name: nn.Parameter(torch.randn(shape, dtype=dtype)) for name, shape in shapes.items()}
    head_size = {weight: 4 for name, weight in weights.items() if "fused" in name}
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1, "ns_steps": 5}
    pieces = {
        name: [nn.Parameter(piece.clone()) for piece in weight.detach().split(head_size.get(weight, len(weight)))]
        for name, weight in weights.items()
    }
    ours = Muon(weights.values(), head_size, **options)
    reference = torch.optim.Muon([piece for apart in pieces.values() for piece in apart], **options)
    for step in range(4):
        if step == 2:
            restarted = Muon(weights.values(), head_size, **options)
            restarted.load_state_dict(ours.state_dict())
            ours = restarted
        for name, weight in weights.items():
            weight.grad = torch.randn_like(weight)
            for piece, gradient in zip(pieces[name], weight.grad.split(len(pieces[name][0])), strict=True):
                piece.grad = gradient.clone()
        ours.step()
        reference.step()
        for name, weight in weights.items():
            torch.testing.assert_close(weight, torch.cat(pieces[name]), atol=1e-4 * (step + 1), rtol=0, msg=name)


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), count=st.integers(1, 4))
def test_orthogonalised_matrices_keep_their_directions(rows: int, columns: int, count: int) -> None:
    """All singular values come near 1 (Jordan's coefficients end between 0.5 and 1.5), the singular vectors stay."""
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    left, _ = torch.linalg.qr(torch.randn(count, rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(count, columns, columns, generator=generator))
    rank = min(rows, columns)
    matrices = left[..., :rank] * torch.linspace(0.3, 1, rank) @ right[..., :rank].mT
    turned = left[..., :rank].mT @ orthogonalised(matrices, 5).float() @ right[..., :rank]
    values = turned.diagonal(dim1=1, dim2=2)
    assert ((values > 0.5) & (values < 1.5)).all()
    torch.testing.assert_close(turned, torch.diag_embed(values), atol=0.05, rtol=0)


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
