# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The kernels chosen for a CPU compute what the plain ones do, and only where they are meant to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model
from torch import nn

from training import devices
from training.devices import OneDnnLinear, choose_kernels, onednn_linear

sizes = st.integers(1, 40)


@given(batch=st.lists(sizes, min_size=1, max_size=2), ins=sizes, outs=sizes, transposed=st.booleans())
def test_the_product_and_its_gradients_are_those_of_float64(batch: list[int], ins: int, outs: int, transposed) -> None:
    """Also for inputs that are views, such as the token mixer's."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(*batch, ins, generator=generator)
    if transposed:
        hidden = hidden.transpose(0, -1).contiguous().transpose(0, -1)
    weight, pull = torch.randn(outs, ins, generator=generator), torch.randn(*batch, outs, generator=generator)
    results = []
    for product, dtype in ((onednn_linear, torch.float32), (nn.functional.linear, torch.float64)):
        inputs = [tensor.to(dtype).requires_grad_() for tensor in (hidden, weight)]
        result = product(*inputs)
        results.append([result, *torch.autograd.grad((result * pull.to(dtype)).sum(), inputs)])
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), reference, atol=1e-4, rtol=1e-5)


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    onednn_linear(hidden, weight).sum().backward()
    torch.testing.assert_close(hidden.grad, weight.sum(0).expand(3, -1))
    assert weight.grad is None


@pytest.mark.parametrize("slow", [True, False])
def test_only_slow_products_are_replaced(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    monkeypatch.setattr(devices, "is_slow_in_mkl", lambda: slow)
    model = tiny_model(dtype=torch.float32)
    names = list(model.state_dict())
    choose_kernels(model)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module.bias is None]
    assert layers and all((type(layer) is OneDnnLinear) == slow for layer in layers)
    assert type(model.halt_head) is not OneDnnLinear
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_keep_their_products(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(devices, "is_slow_in_mkl", lambda: True)
    model = tiny_model(dtype=dtype)
    choose_kernels(model)
    assert not any(isinstance(module, OneDnnLinear) for module in model.modules())
    model = tiny_model(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        choose_kernels(model)
    assert not any(isinstance(module, OneDnnLinear) for module in model.modules())


def test_a_compiled_network_of_them_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` cannot trace into oneDNN's operator; the gradients must still be the plain model's."""
    monkeypatch.setattr(devices, "is_slow_in_mkl", lambda: True)
    gradients = []
    for compiled in (False, True):
        model = tiny_model(dtype=torch.float32).train()
        if compiled:
            choose_kernels(model)
            model.model.network.compile(dynamic=False, backend="aot_eager")
        tokens = torch.arange(2 * model.config.seq_len).view(2, -1) % model.config.vocab_size
        model(tokens, labels=tokens, min_steps=torch.zeros(2)).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3, msg=name)
