# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Optimizers, schedule and six training steps equal the official implementation's."""

import pytest
import torch
from goldens import build_model, converted, golden, part
from torch import nn

from training.arguments import TrainArguments
from training.embeddings.table import SignSGD
from training.optimizers import AdamATan2, ExponentialAverage, build_optimizers, learning_rate_factor


@pytest.mark.parametrize("rule", ["official", "published"])
def test_adam_atan2(rule: str) -> None:
    description, tensors = golden("optimizer_atan2")
    parameter = nn.Parameter(tensors["param0"].clone())
    options = {name: description[name] for name in ("lr", "betas", "weight_decay")}
    optimizer = AdamATan2([parameter], **options, rule=rule)
    for step in range(1, 6):
        parameter.grad = tensors[f"grad{step}"].clone()
        optimizer.step()
        torch.testing.assert_close(parameter.data, tensors[f"{rule}.param{step}"], atol=2e-7, rtol=0)
    torch.testing.assert_close(optimizer.state[parameter]["exp_avg"], tensors[f"{rule}.m"], atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(optimizer.state[parameter]["exp_avg_sq"], tensors[f"{rule}.v"], atol=1e-7, rtol=1e-6)


def test_adam_atan2_ignores_the_scale_of_the_loss() -> None:
    def train(scale: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        parameter = nn.Parameter(torch.ones(5, dtype=torch.float64))
        optimizer = AdamATan2([parameter], lr=0.1)
        for _ in range(4):
            parameter.grad = scale * torch.randn(5, generator=generator, dtype=torch.float64)
            optimizer.step()
        return parameter.data

    torch.testing.assert_close(train(1.0), train(1e6), atol=1e-12, rtol=0)


def test_sign_sgd_on_a_sparse_gradient() -> None:
    description, tensors = golden("sparse_signsgd")
    table = nn.Embedding.from_pretrained(tensors["weights0"].clone(), freeze=False, sparse=True)
    optimizer = SignSGD([table.weight], lr=description["lr"], weight_decay=description["weight_decay"])
    (table(tensors["ids"].long()) * tensors["grad"]).sum().backward()
    optimizer.step()
    torch.testing.assert_close(table.weight.data, tensors["weights1"], atol=1e-7, rtol=0)
    absent = [row for row in range(len(tensors["weights0"])) if row not in tensors["ids"].tolist()]
    assert absent and torch.equal(table.weight.data[absent], tensors["weights0"][absent])


def test_learning_rates() -> None:
    for case in golden("lr_schedule")[0]:
        for step, expected in case["lr"].items():
            factor = learning_rate_factor(int(step), case["warmup"], case["total"], case["min_ratio"])
            assert case["base_lr"] * factor == pytest.approx(expected, rel=1e-9, abs=1e-15), (case, step)


TRAJECTORIES = [(start, rule) for start in ("train_attn", "train_mlp_t") for rule in ("official", "published")]
TRAJECTORIES += [("hrm_train", "explore"), ("hrm_train_learned", "official")]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("start", "name"), TRAJECTORIES)
def test_six_training_steps(start: str, name: str) -> None:
    """Losses, halting, the carried puzzles, puzzle embeddings, final weights and their average (HRM has none)."""
    description, init = golden(f"{start}_init")
    trajectory, tensors = golden(f"{start}_{name}")
    hyper = description["hyper"]
    model = build_model(description["config"], init, "init").train()
    args = TrainArguments(
        learning_rate=hyper["lr"],
        weight_decay=hyper["weight_decay"],
        adam_beta1=hyper["beta1"],
        adam_beta2=hyper["beta2"],
        atan2_rule=trajectory["optimizer"],
        puzzle_embedding_learning_rate=hyper["puzzle_emb_lr"],
        puzzle_embedding_weight_decay=hyper["puzzle_emb_weight_decay"],
    )
    optimizers = build_optimizers(model, args)
    average = ExponentialAverage(model, hyper["ema_rate"])
    table = None if model.model.puzzle_embeddings is None else model.model.puzzle_embeddings.weight
    carry = None
    for expected in trajectory["steps"]:
        step = expected["step"]
        batch = part(init, f"batch{step}")
        factor = learning_rate_factor(step, hyper["lr_warmup_steps"], hyper["total_steps"], hyper["lr_min_ratio"])
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        assert optimizers[-1].param_groups[0]["lr"] == pytest.approx(expected["lr"], rel=1e-9)
        if table is not None:
            assert optimizers[0].param_groups[0]["lr"] == pytest.approx(expected["puzzle_emb_lr"], rel=1e-9)

        here, given = part(tensors, f"step{step}"), (batch["inputs"], batch["puzzle_identifiers"], batch["labels"])
        output = model(*given, carry=carry, min_steps=here.get("min_halt_steps"))
        carry = output.carry
        output.loss.backward()
        assert output.loss.item() == pytest.approx(expected["loss_scaled"], abs=1e-4)
        assert carry.steps.tolist() == expected["steps"] and carry.halted.tolist() == expected["halted"]
        assert torch.equal(carry.input_ids, here["current_inputs"])
        assert torch.equal(carry.puzzle_ids, here["current_puzzle_identifiers"])
        torch.testing.assert_close(output.halt_logits.detach(), here["q_halt_logits"], atol=1e-4, rtol=0)
        if table is not None:
            # The official code keeps one gradient row per row of the batch; ours are the same, keyed by puzzle.
            rows = torch.zeros_like(table).index_add_(0, carry.puzzle_ids.long(), here["puzzle_emb_grad"])
            torch.testing.assert_close(table.grad.to_dense(), rows, atol=1e-6, rtol=1e-4)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        average.update_parameters(model)

    # TRM's files have no table but the one after the last step.
    if table is not None:
        torch.testing.assert_close(table.data, here["puzzle_emb_weights"], atol=1e-6, rtol=0)
    final, ema = converted(tensors, "final"), converted(tensors, "ema")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.data, final[name], atol=2e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    averaged = dict(average.module.named_parameters())
    for name, expected_average in ema.items():
        torch.testing.assert_close(averaged[name].data, expected_average, atol=2e-6, rtol=0)
    assert averaged.get("model.puzzle_embeddings.weight") is table
    torch.testing.assert_close(carry.answer_state, tensors["carry.z_H"], atol=5e-3, rtol=0)
    torch.testing.assert_close(carry.latent_state, tensors["carry.z_L"], atol=5e-3, rtol=0)
