# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Which parameter is moved by which optimizer, Muon per head, and the average of the weights."""

import pytest
import torch
from torch import nn
from torch.optim import Muon

from modeling_trm import TrmConfig, TrmForPuzzleSolving
from training.arguments import TrainArguments, UserError
from training.optimizers import ExponentialAverage, HeadwiseMuon, build_optimizers

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
        assert groups[1] == {name for name, _ in model.named_parameters() if name.startswith("model.network.")}


def test_muon_treats_each_head_as_its_own_matrix() -> None:
    """Equal to torch's Muon on separate parameters, over several steps and through a state dict."""
    torch.manual_seed(0)
    fused, other = nn.Parameter(torch.randn(12, 8)), nn.Parameter(torch.randn(6, 5))
    apart = [nn.Parameter(piece.clone()) for piece in fused.detach().split(4)]
    other_copy = nn.Parameter(other.detach().clone())
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1, "ns_steps": 5}
    ours, reference = HeadwiseMuon([fused, other], {fused: 4}, **options), Muon([*apart, other_copy], **options)
    whole = nn.Parameter(fused.detach().clone())
    plain = Muon([whole], **options)
    for step in range(4):
        if step == 2:
            restarted = HeadwiseMuon([fused, other], {fused: 4}, **options)
            restarted.load_state_dict(ours.state_dict())
            ours = restarted
        fused.grad, other.grad = torch.randn(12, 8), torch.randn(6, 5)
        for piece, gradient in zip(apart, fused.grad.split(4), strict=True):
            piece.grad = gradient.clone()
        other_copy.grad, whole.grad = other.grad.clone(), fused.grad.clone()
        for optimizer in (ours, reference, plain):
            optimizer.step()
        assert torch.equal(fused, torch.cat(apart))
        assert torch.equal(other, other_copy)
    assert not torch.allclose(fused, whole, atol=1e-3)


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
