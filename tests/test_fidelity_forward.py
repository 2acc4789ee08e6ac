# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Forward, loss, gradients and initialisation equal the official implementation's."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from goldens import FORWARD_VARIANTS, build_model, converted, golden, part

from modeling_trm import TrmConfig, TrmForPuzzleSolving
from modeling_trm.convert_trm_original_checkpoint import convert_state_dict
from modeling_trm.modeling_trm import log_stablemax, puzzle_losses


@pytest.mark.parametrize("variant", FORWARD_VARIANTS)
@torch.no_grad()
def test_four_supervision_steps(variant: str) -> None:
    description, tensors = golden(variant)
    model = build_model(description["config"], tensors, "state").eval()
    batch = part(tensors, "batch")
    arguments = (batch["inputs"], batch["puzzle_identifiers"], batch["labels"])
    if "input_embeddings" in tensors:
        torch.testing.assert_close(model.model.embed(*arguments[:2]), tensors["input_embeddings"], atol=1e-5, rtol=0)
    carry = None
    for number, expected in enumerate(description["steps"]):
        output = model(*arguments, carry=carry)
        carry = output.carry
        step, atol = part(tensors, f"step{number}"), 1e-5 if number == 0 else 1e-4
        torch.testing.assert_close(output.logits, step["logits"], atol=atol, rtol=0)
        torch.testing.assert_close(output.halt_logits, step["q_halt_logits"], atol=atol, rtol=0)
        torch.testing.assert_close(carry.answer_state, step["z_H"], atol=atol, rtol=0)
        torch.testing.assert_close(carry.latent_state, step["z_L"], atol=atol, rtol=0)
        assert torch.equal(output.logits.argmax(-1), step["preds"])
        assert carry.steps.tolist() == expected["steps"] and carry.halted.tolist() == expected["halted"]
        rows = len(batch["inputs"])
        assert float(output.loss) * rows == pytest.approx(expected["loss"], abs=1e-3)
        assert float(output.answer_loss) * rows == pytest.approx(expected["metrics"]["lm_loss"], abs=1e-3)
        assert float(output.halt_loss) * rows == pytest.approx(expected["metrics"]["q_halt_loss"], abs=1e-3)


@pytest.mark.parametrize("variant", [name for name in FORWARD_VARIANTS if "mlp_t" not in name])
def test_eager_attention_equals_sdpa(variant: str) -> None:
    """In float64, where the recursion does not amplify the rounding into view."""
    description, tensors = golden(variant)
    model = build_model(description["config"], tensors, "state").double().eval()
    batch = part(tensors, "batch")
    results = {}
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        results[attention] = model.solve(
            batch["inputs"], batch["puzzle_identifiers"], halt_threshold=float("inf"), return_steps=True
        )
    assert torch.equal(results["sdpa"].step_answers, results["eager"].step_answers)
    torch.testing.assert_close(results["sdpa"].step_halt_logits, results["eager"].step_halt_logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", FORWARD_VARIANTS)
def test_solve_equals_official_evaluation(variant: str) -> None:
    """Always all steps, as the official evaluation: the same answer after the last and after every step."""
    description, tensors = golden(variant)
    model = build_model(description["config"], tensors, "state").eval()
    batch = part(tensors, "batch")
    solution = model.solve(
        batch["inputs"], batch["puzzle_identifiers"], halt_threshold=float("inf"), return_steps=True
    )
    assert torch.equal(solution.answers, tensors["final.preds"])
    for number in range(len(description["steps"])):
        assert torch.equal(solution.step_answers[:, number], tensors[f"step{number}.preds"])
        torch.testing.assert_close(
            solution.step_halt_logits[:, number], tensors[f"step{number}.q_halt_logits"], atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("loss_type", ["stablemax", "softmax"])
def test_losses_and_their_gradients(loss_type: str) -> None:
    description, tensors = golden("loss")
    name = f"{loss_type}_cross_entropy"
    logits = tensors["logits"].clone().requires_grad_()
    halt_logits = tensors["q_halt_logits"].clone().requires_grad_()
    config = TrmConfig(vocab_size=7, seq_len=12, loss_type=loss_type)
    answer_losses, halt_losses, _ = puzzle_losses(logits, halt_logits, tensors["labels"], config)
    loss = (answer_losses + config.halt_loss_weight * halt_losses).sum()
    loss.backward()
    expected = description["results"][name]
    assert loss.item() == pytest.approx(expected["loss"], abs=1e-5)
    assert answer_losses.sum().item() == pytest.approx(expected["metrics"]["lm_loss"], abs=1e-5)
    assert halt_losses.sum().item() == pytest.approx(expected["metrics"]["q_halt_loss"], abs=1e-5)
    torch.testing.assert_close(logits.grad, tensors[f"{name}.grad_logits"], atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(halt_logits.grad, tensors[f"{name}.grad_q"], atol=1e-7, rtol=1e-5)


def test_stablemax_of_extreme_logits() -> None:
    _, tensors = golden("loss")
    logits = tensors["stablemax.extreme_logits"].clone().requires_grad_()
    log_probs = log_stablemax(logits)
    torch.testing.assert_close(log_probs, tensors["stablemax.extreme_logprobs_f64"], atol=1e-12, rtol=1e-12)
    log_probs.gather(-1, tensors["stablemax.extreme_labels"].unsqueeze(-1)).sum().neg().backward()
    torch.testing.assert_close(logits.grad, tensors["stablemax.extreme_grad"], atol=1e-7, rtol=1e-5)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("run", ["train_attn", "train_mlp_t", "hrm_train", "hrm_train_learned"])
def test_gradients_of_the_first_step(run: str) -> None:
    check_first_gradients(run)


def check_first_gradients(run: str, change: Callable[[TrmForPuzzleSolving], None] = lambda model: None) -> None:
    description, tensors = golden(f"{run}_init")
    model = build_model(description["config"], tensors, "init").train()
    change(model)
    batch = part(tensors, "batch1")
    output = model(batch["inputs"], batch["puzzle_identifiers"], batch["labels"])
    torch.testing.assert_close(output.logits, tensors["step1.logits"], atol=1e-5, rtol=0)
    output.loss.backward()
    expected = converted(tensors, "grad1")
    for name, parameter in model.named_parameters():
        if name != "model.puzzle_embeddings.weight":
            torch.testing.assert_close(
                parameter.grad, expected[name], atol=1e-7, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )


HRM: dict[str, Any] = {"num_puzzles": 3, "num_hidden_layers": 4, "num_answer_layers": 4, "num_puzzle_tokens": 1}
FRESH: dict[str, tuple[str, dict[str, Any]]] = {
    "sudoku_mlp": ("init_stats", {"num_puzzles": 3, "token_mixer": "mlp", "position_embedding_type": "none"}),
    "sudoku_attn": ("init_stats", {"num_puzzles": 3}),
    "sudoku": ("hrm_init_stats", HRM),
    "sudoku_learned": ("hrm_init_stats", HRM | {"position_embedding_type": "learned"}),
}


@pytest.mark.parametrize("kind", FRESH)
def test_initialisation_follows_the_official_law(kind: str) -> None:
    """Deviation, bounds and constants of a fresh model of the paper's size."""
    file, fields = FRESH[kind]
    statistics = golden(file)[0][kind]
    torch.manual_seed(0)
    state = TrmForPuzzleSolving(TrmConfig(**fields)).state_dict()
    names = {name: next(iter(convert_state_dict({name: torch.zeros(2)})[0])) for name in statistics}
    assert set(names.values()) == set(state)
    for official, expected in statistics.items():
        ours = state[names[official]]
        assert list(ours.shape) == expected["shape"], official
        spread = 4 / math.sqrt(2 * max(ours.numel(), 2))  # four deviations of a standard deviation's estimate
        assert float(ours.std(correction=0)) == pytest.approx(expected["std"], rel=2 * spread, abs=1e-12), official
        assert float(ours.mean()) == pytest.approx(
            expected["mean"], abs=8 * (expected["std"] or 0) / math.sqrt(ours.numel()) + 1e-9
        )
        if ours.numel() > 50000:  # the cut is at the same place
            assert float(ours.max()) == pytest.approx(expected["max"], rel=5e-3), official
            assert float(ours.min()) == pytest.approx(expected["min"], rel=5e-3), official
