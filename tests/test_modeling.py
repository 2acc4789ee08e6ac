# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The model against what the paper and the docstrings say: carry, halting, gradient, losses, embeddings, precision."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_batch, tiny_config, tiny_model
from torch import Tensor

from modeling_trm import TrmCarry, TrmForPuzzleSolving
from modeling_trm.modeling_trm import TrmAttention, TrmGatedMlp, puzzle_losses
from training.arguments import TrainArguments
from training.devices import checkpoint_activations
from training.optimizers import build_optimizers

MIXERS: list[dict[str, Any]] = [
    {"token_mixer": "attention"},
    {"token_mixer": "mlp", "position_embedding_type": "none"},
]
PARTS = ("logits", "halt_logits")


def gradients(model: TrmForPuzzleSolving) -> dict[str, Tensor]:
    """Gradients by name, the sparse one dense."""
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: grad.to_dense() if grad.is_sparse else grad for name, grad in found.items()}


# Carry


@given(halted=st.lists(st.booleans(), min_size=3, max_size=3), mixer=st.sampled_from(MIXERS))
@settings(max_examples=12)
def test_halted_rows_are_replaced_and_the_others_go_on(halted: list[bool], mixer: dict[str, Any]) -> None:
    """A halted row gives what a fresh start on its new puzzle gives; a running row what it gives without new ones."""
    model = tiny_model(**mixer)
    old, new = tiny_batch(3, seed=1), tiny_batch(3, seed=2)
    done = torch.tensor(halted)
    carry = model(*old).carry
    mixed = model(*new, carry=replace(carry, halted=done))
    fresh, going_on = model(*new), model(*old, carry=carry)
    for row in range(3):
        puzzle, expected = (new, fresh) if halted[row] else (old, going_on)
        given_back = (mixed.carry.input_ids, mixed.carry.puzzle_ids, mixed.carry.labels)
        assert all(torch.equal(kept[row], column[row]) for kept, column in zip(given_back, puzzle, strict=True))
        for name in PARTS:
            torch.testing.assert_close(mixed[name][row], expected[name][row])
    assert mixed.carry.steps.tolist() == [1 if row else 2 for row in halted]
    labels = torch.where(done[:, None], new[2], old[2])
    answer_losses, halt_losses, _ = puzzle_losses(mixed.logits, mixed.halt_logits, labels, model.config)
    torch.testing.assert_close(mixed.loss, (answer_losses + 0.5 * halt_losses).mean())


def test_a_running_row_ignores_the_puzzle_it_is_given() -> None:
    model = tiny_model()
    carry = model(*tiny_batch(2, seed=1)).carry
    outputs = [model(*tiny_batch(2, seed=seed), carry=carry) for seed in (2, 3)]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    assert torch.equal(outputs[0].loss, outputs[1].loss)


@pytest.mark.parametrize("training", [False, True])
def test_rows_halt_after_the_last_step_and_then_start_anew(training: bool) -> None:
    model = tiny_model().train(training)
    with torch.no_grad():
        model.halt_head.bias.fill_(-1000)
    carry, seen = None, []
    for seed in range(6):
        carry = model(*tiny_batch(2, seed=seed), carry=carry).carry
        seen.append((carry.steps.tolist(), carry.halted.tolist()))
    assert [steps for steps, _ in seen] == [[1, 1], [2, 2], [3, 3], [4, 4], [1, 1], [2, 2]]
    assert [halted for _, halted in seen] == [[number == 3] * 2 for number in range(6)]
    assert torch.equal(carry.input_ids, tiny_batch(2, seed=4)[0])


def test_confident_rows_halt_in_training_but_not_before_their_least_steps() -> None:
    model = tiny_model().train()
    with torch.no_grad():
        model.halt_head.bias.fill_(1000)
    batch, min_steps = tiny_batch(5), torch.tensor([0, 1, 2, 3, 4])
    carry, first_halt = None, [0] * 5
    for step in range(1, 5):
        carry = model(*batch, carry=carry, min_steps=min_steps).carry
        first_halt = [first or step * halted for first, halted in zip(first_halt, carry.halted.tolist(), strict=True)]
    assert first_halt == [1, 1, 2, 3, 4]
    assert not model.eval()(*batch).carry.halted.any()  # the official evaluation always takes all steps


def test_only_rows_with_a_positive_halting_logit_halt() -> None:
    model = tiny_model().train()
    output = model(*tiny_batch(32), min_steps=torch.zeros(32))
    assert 0 < int(output.carry.halted.sum()) < 32
    assert torch.equal(output.carry.halted, output.halt_logits > 0)


def test_a_single_supervision_step_always_halts() -> None:
    model = tiny_model(max_supervision_steps=1).train()
    with torch.no_grad():
        model.halt_head.bias.fill_(-1000)
    assert model(*tiny_batch(3)).carry.halted.all()


def test_law_of_exploration() -> None:
    """With the given chance a number from 2 to the most steps, each as likely; otherwise 0. Five deviations."""
    torch.manual_seed(0)
    draws, chance = 40000, 0.3
    model = tiny_model(halt_exploration_prob=chance)
    counts = torch.bincount(model.draw_min_steps(torch.zeros(draws), 5).long(), minlength=6)
    assert len(counts) == 6
    assert counts[1] == 0
    for value, probability in ((0, 1 - chance), *((steps, chance / 4) for steps in range(2, 6))):
        spread = math.sqrt(draws * probability * (1 - probability))
        assert int(counts[value]) == pytest.approx(draws * probability, abs=5 * spread), value
    for chance, explores in ((0.0, False), (1.0, True)):
        model.config.halt_exploration_prob = chance
        assert ((model.draw_min_steps(torch.zeros(100), 5) > 0) == explores).all()


def test_exploration_is_drawn_in_forward() -> None:
    """From torch's generator: the same seed halts the same rows."""
    model = tiny_model(halt_exploration_prob=0.5).train()
    with torch.no_grad():
        model.halt_head.bias.fill_(1000)
    halted = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        halted.append(model(*tiny_batch(64)).carry.halted)
    assert 10 < int(halted[0].sum()) < 54
    assert torch.equal(halted[0], halted[1])
    assert not torch.equal(halted[0], halted[2])


def test_a_carry_survives_as_named_tensors() -> None:
    model = tiny_model(num_puzzle_tokens=0, puzzle_embedding_size=0)
    input_ids, _, labels = tiny_batch(2)
    carry = model(input_ids, labels=labels).carry
    assert "puzzle_ids" not in carry
    again = TrmCarry(**carry)
    assert torch.equal(
        model(input_ids, labels=labels, carry=again).loss, model(input_ids, labels=labels, carry=carry).loss
    )


def test_forward_refuses_what_does_not_fit() -> None:
    model = tiny_model()
    input_ids, puzzle_ids, labels = tiny_batch(3)
    with pytest.raises(ValueError, match=r"\[batch, 6\], not \[3, 5\]"):
        model(input_ids[:, :5], puzzle_ids)
    with pytest.raises(ValueError, match="carry has 3 rows, but input_ids has 2"):
        model(input_ids[:2], puzzle_ids[:2], carry=model(input_ids, puzzle_ids).carry)
    with_ids = model(input_ids, puzzle_ids, labels).carry
    with pytest.raises(ValueError, match="puzzle_ids"):  # running rows would go on as another puzzle
        model(input_ids, labels=labels, carry=with_ids)
    with pytest.raises(ValueError, match="labels"):  # running rows would get another puzzle's answer
        model(input_ids, puzzle_ids, labels, carry=model(input_ids, puzzle_ids).carry)


# Gradient


def unrolled_loss(model: TrmForPuzzleSolving, batch: tuple[Tensor, Tensor, Tensor], cycles_without: int) -> Tensor:
    """One supervision step by hand from the initial states, the first deep cycles without gradient (figure 3)."""
    config, inner = model.config, model.model
    question = inner.embed(*batch[:2])
    answer, latent = inner.initial_states(len(question))
    for cycle in range(config.deep_cycles):
        for _ in range(config.latent_cycles):
            latent = inner.network(latent, answer + question, None)
        answer = inner.network(answer, latent, None)
        if cycle < cycles_without:
            answer, latent = answer.detach(), latent.detach()
    logits, halt_logits = model.lm_head(answer[:, config.prefix_len :]), model.halt_head(answer[:, 0])[:, 0]
    answer_losses, halt_losses, _ = puzzle_losses(logits, halt_logits, batch[2], config)
    return (answer_losses + config.halt_loss_weight * halt_losses).mean()


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_the_gradient_is_that_of_the_last_deep_cycle(mixer: str) -> None:
    fields = {"token_mixer": mixer, "position_embedding_type": "learned", "deep_cycles": 3}
    batch = tiny_batch(3)
    model, by_hand, through_all = (tiny_model(**fields) for _ in range(3))
    loss, expected_loss = model(*batch).loss, unrolled_loss(by_hand, batch, cycles_without=2)
    torch.testing.assert_close(loss, expected_loss)
    loss.backward()
    expected_loss.backward()
    unrolled_loss(through_all, batch, cycles_without=0).backward()
    expected, full = gradients(by_hand), gradients(through_all)
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, expected[name], msg=lambda m, n=name: f"{n}: {m}")
        if "network" in name:
            assert (grad - full[name]).norm() > 1e-3 * grad.norm(), name


def test_states_are_carried_detached() -> None:
    """The second step's gradient is that of a step that starts from the carried numbers."""
    batch = tiny_batch(3)
    model = tiny_model()
    carry = model(*batch).carry
    assert not any(tensor.requires_grad for tensor in carry.values())
    model(*batch, carry=carry).loss.backward()
    from_numbers = tiny_model()
    numbers = {name: tensor.detach().clone() for name, tensor in carry.items()}
    from_numbers(*batch, carry=TrmCarry(**numbers)).loss.backward()
    expected = gradients(from_numbers)
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, expected[name])


@pytest.mark.parametrize("mixer", MIXERS, ids=["attention", "mlp"])
def test_gradient_checkpointing_changes_no_gradient(mixer: dict[str, Any]) -> None:
    batch = tiny_batch(3)
    plain, saving = tiny_model(**mixer).train(), tiny_model(**mixer).train()
    checkpoint_activations(saving)
    assert all(layer.gradient_checkpointing for layer in saving.model.network.layers)
    for model in (plain, saving):
        model(*batch).loss.backward()
    expected = gradients(plain)
    for name, grad in gradients(saving).items():
        torch.testing.assert_close(grad, expected[name], atol=0, rtol=0)


def test_gradient_checkpointing_is_found_under_its_older_name() -> None:
    """As in transformers 5.17, where there is no other."""
    calls: list[dict[str, Any]] = []
    checkpoint_activations(SimpleNamespace(gradient_checkpointing_enable=calls.append))
    assert calls == [{"use_reentrant": False}]


def test_eager_and_sdpa_attention_have_equal_gradients() -> None:
    batch, found = tiny_batch(3), []
    for attention in ("eager", "sdpa"):
        model = tiny_model()
        model.set_attn_implementation(attention)
        model(*batch).loss.backward()
        found.append(gradients(model))
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name])


# Losses


LABELS = st.lists(st.lists(st.sampled_from([-100, *range(7)]), min_size=6, max_size=6), min_size=1, max_size=4)


@given(labels=LABELS, smoothing=st.sampled_from([0.0, 0.1, 1.0]), seed=st.integers(0, 99))
def test_softmax_loss_is_torchs_cross_entropy(labels: list[list[int]], smoothing: float, seed: int) -> None:
    """Of each row, mean over its labelled cells; 0 for a row without labels."""
    targets = torch.tensor(labels)
    logits = 3 * torch.randn(*targets.shape, 7, generator=torch.Generator().manual_seed(seed))
    config = tiny_config(loss_type="softmax", label_smoothing=smoothing)
    losses, _, _ = puzzle_losses(logits, torch.zeros(len(labels)), targets, config)
    for loss, row, target in zip(losses, logits, targets, strict=True):
        labelled = bool((target >= 0).any())
        expected = F.cross_entropy(row, target, label_smoothing=smoothing) if labelled else torch.tensor(0.0)
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("loss_type", ["softmax", "stablemax"])
def test_label_smoothing_spreads_over_the_answer_tokens(loss_type: str) -> None:
    """Cross-entropy with the soft target (1 - s) * label + s / k on each of the k answer tokens."""
    logits = torch.randn(2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets, answers, smoothing = tiny_batch(2)[2].clamp(min=2), [2, 4, 5], 0.2
    config = tiny_config(loss_type=loss_type, label_smoothing=smoothing, answer_token_ids=answers)
    soft = (1 - smoothing) * F.one_hot(targets, 7).double()
    soft[..., answers] += smoothing / len(answers)
    if loss_type == "softmax":
        probabilities = logits.softmax(-1)
    else:  # s(x) = x + 1 for x >= 0, 1 / (1 - x) below
        scores = torch.where(logits >= 0, logits + 1, 1 / (1 - logits))
        probabilities = scores / scores.sum(-1, keepdim=True)
    expected = -(soft * probabilities.log()).sum(-1).mean(-1)
    losses, _, _ = puzzle_losses(logits, torch.zeros(2), targets, config)
    torch.testing.assert_close(losses, expected, atol=1e-6, rtol=1e-6, check_dtype=False)


@given(labels=LABELS, wrong=st.sets(st.integers(0, 23)), halt=st.floats(-8, 8))
def test_the_halting_target_is_that_every_labelled_cell_is_right(
    labels: list[list[int]], wrong: set[int], halt: float
) -> None:
    """Unlabelled cells do not count, so a row without labels is right."""
    targets = torch.tensor(labels)
    is_wrong = torch.tensor([cell in wrong for cell in range(targets.numel())]).view(targets.shape)
    shown = torch.where(is_wrong, (targets.clamp(min=0) + 1) % 7, targets.clamp(min=0))
    halt_logits = torch.full((len(labels),), halt)
    _, losses, correct = puzzle_losses(5.0 * F.one_hot(shown, 7), halt_logits, targets, tiny_config())
    assert torch.equal(correct, (targets >= 0) & ~is_wrong)
    solved = ~((targets >= 0) & is_wrong).any(-1)
    torch.testing.assert_close(
        losses,
        F.binary_cross_entropy(torch.sigmoid(halt_logits), solved.float(), reduction="none"),
        atol=1e-5,
        rtol=1e-4,
    )


def test_the_parts_of_the_loss_add_up() -> None:
    model = tiny_model(halt_loss_weight=0.25)
    output = model(*tiny_batch(4))
    torch.testing.assert_close(output.loss, output.answer_loss + 0.25 * output.halt_loss)
    assert output.loss.requires_grad
    assert not output.answer_loss.requires_grad
    assert not output.halt_loss.requires_grad


def test_a_row_without_labels_gives_the_answer_head_no_gradient() -> None:
    model = tiny_model()
    input_ids, puzzle_ids, labels = tiny_batch(2)
    model(input_ids, puzzle_ids, torch.full_like(labels, -100)).loss.backward()
    assert model.lm_head.weight.grad.abs().sum() == 0
    assert model.halt_head.weight.grad[0].abs().sum() > 0


# Embeddings


def test_no_puzzle_ids_means_the_only_one() -> None:
    """A model of several refuses: the answer would be that of another puzzle."""
    model, input_ids = tiny_model(num_puzzles=1), tiny_batch(3)[0]
    assert torch.equal(model(input_ids).logits, model(input_ids, torch.zeros(3, dtype=torch.int32)).logits)
    several = tiny_model(num_puzzles=5)
    for answer in (several, several.model, several.solve, lambda tokens: several(tokens, labels=tokens)):
        with pytest.raises(ValueError, match=r"puzzle_ids are missing: .* each of 5 puzzles"):
            answer(input_ids)


def test_the_prefix_is_puzzle_tokens_padded_with_zeros_then_registers_then_cells() -> None:
    """One embedding of 20 numbers in 3 tokens of 16: one full token, one with 12 zeros, one of zeros."""
    model = tiny_model(puzzle_embedding_size=20, num_puzzle_tokens=3, num_register_tokens=2)
    input_ids, puzzle_ids, _ = tiny_batch(4)
    embeds, inner = model.model.embed(input_ids, puzzle_ids), model.model
    assert embeds.shape == (4, 3 + 2 + 6, 16)
    prefix = embeds[:, :3].reshape(4, 48)
    torch.testing.assert_close(prefix[:, :20], 4.0 * inner.puzzle_embeddings.weight[puzzle_ids])  # sqrt(16)
    assert (prefix[:, 20:] == 0).all()
    torch.testing.assert_close(embeds[:, 3:5], 4.0 * inner.registers.weight.expand(4, -1, -1))
    torch.testing.assert_close(embeds[:, 5:], 4.0 * inner.embed_tokens.weight[input_ids])


def test_learned_positions_reach_the_prefix_too() -> None:
    model = tiny_model(position_embedding_type="learned")
    input_ids, puzzle_ids, _ = tiny_batch(2)
    with_positions = model.model.embed(input_ids, puzzle_ids)
    positions, model.model.embed_positions = model.model.embed_positions, None
    torch.testing.assert_close(
        with_positions, (model.model.embed(input_ids, puzzle_ids) + 4 * positions.weight) / math.sqrt(2)
    )


def test_only_the_batchs_rows_of_the_puzzle_table_get_a_gradient() -> None:
    model = tiny_model()
    input_ids, _, labels = tiny_batch(3)
    model(input_ids, torch.tensor([4, 1, 4]), labels).loss.backward()
    grad = model.model.puzzle_embeddings.weight.grad
    assert not grad.is_sparse
    assert (grad.abs().sum(1) > 0).tolist() == [False, True, False, False, True]
    build_optimizers(model, TrainArguments())  # whose own for the table reads the rows of the batch alone
    model.zero_grad()
    model(input_ids, torch.tensor([4, 1, 4]), labels).loss.backward()
    assert torch.equal(model.model.puzzle_embeddings.weight.grad.coalesce().indices(), torch.tensor([[1, 4]]))
    torch.testing.assert_close(model.model.puzzle_embeddings.weight.grad.to_dense(), grad)


def test_registers_learn_and_seat_the_halting_head() -> None:
    """Without puzzle embeddings the first position is the first register."""
    model = tiny_model(num_puzzle_tokens=0, puzzle_embedding_size=0, num_register_tokens=2)
    input_ids, _, labels = tiny_batch(3)
    output = model(input_ids, labels=labels)
    torch.testing.assert_close(output.halt_logits, model.halt_head(output.carry.answer_state[:, 0])[:, 0])
    assert output.logits.shape == (3, 6, 7)
    assert output.carry.answer_state.shape == (3, 8, 16)
    output.loss.backward()
    assert (model.model.registers.weight.grad.abs().sum(1) > 0).all()


def test_a_model_without_prefix_reads_the_halting_logit_from_the_first_cell() -> None:
    model = tiny_model(num_puzzle_tokens=0, puzzle_embedding_size=0)
    output = model(tiny_batch(3)[0])
    torch.testing.assert_close(output.halt_logits, model.halt_head(output.carry.answer_state[:, 0])[:, 0])
    torch.testing.assert_close(output.logits, model.lm_head(output.carry.answer_state))


# Layers and precision


@pytest.mark.parametrize("normalize", [False, True])
def test_gated_mlp_formula(normalize: bool) -> None:
    torch.manual_seed(0)
    mlp = TrmGatedMlp(5, 8, tiny_config(normalize_glu=normalize, rms_norm_eps=1e-3)).double()
    hidden = torch.randn(3, 4, 5, dtype=torch.float64)
    both = hidden @ mlp.gate_up_proj.weight.T
    gate, value = both[..., :8], both[..., 8:]
    if normalize:
        inner = torch.sigmoid(gate) * F.rms_norm(gate * value, [8], eps=1e-3)
    else:
        inner = gate * torch.sigmoid(gate) * value
    torch.testing.assert_close(mlp(hidden), inner @ mlp.down_proj.weight.T)


@pytest.mark.parametrize("mixer", MIXERS, ids=["attention", "mlp"])
def test_normalised_gate_is_used_by_every_mlp(mixer: dict[str, Any]) -> None:
    plain, normalised = (tiny_model(**mixer, num_puzzles=1, normalize_glu=normalize) for normalize in (False, True))
    modules = [module for module in normalised.modules() if isinstance(module, TrmGatedMlp)]
    assert len(modules) == (4 if mixer["token_mixer"] == "mlp" else 2)
    assert all(module.normalize for module in modules)
    assert not torch.allclose(plain(tiny_batch(2)[0]).logits, normalised(tiny_batch(2)[0]).logits)


@pytest.mark.parametrize("normalize", [False, True])
def test_attention_formula(normalize: bool) -> None:
    """Softmax of the scaled products of queries and keys in every head; the heads normalised together if at all."""
    torch.manual_seed(0)
    config = tiny_config(normalize_attention=normalize, rms_norm_eps=1e-3)
    attention, size, heads = TrmAttention(config).double(), config.hidden_size, config.num_attention_heads
    hidden = torch.randn(2, 5, size, dtype=torch.float64)
    query, key, value = (hidden @ part.T for part in attention.qkv_proj.weight.split(size))
    outputs = []
    for q, k, v in zip(*(part.split(size // heads, dim=-1) for part in (query, key, value)), strict=True):
        outputs.append(torch.softmax(q @ k.mT * (size // heads) ** -0.5, dim=-1) @ v)
    mixed = torch.cat(outputs, dim=-1)
    if normalize:
        mixed = F.rms_norm(mixed, [size], eps=1e-3)
    torch.testing.assert_close(attention(hidden, None)[0], mixed @ attention.o_proj.weight.T)


@pytest.mark.parametrize("fields", [*MIXERS, {"num_register_tokens": 2, "normalize_glu": True}], ids=str)
def test_autocast_reaches_every_parameter(fields: dict[str, Any]) -> None:
    """A weight that autocast casts and caches without gradient in the first deep cycle would get none in the last."""
    batch = tiny_batch(8)
    single, half = (tiny_model(dtype=torch.float32, deep_cycles=3, **fields).train() for _ in range(2))
    single(*batch).loss.backward()
    with torch.autocast("cpu", torch.bfloat16):
        output = half(*batch)
    assert output.logits.dtype == torch.bfloat16
    assert output.halt_logits.dtype == torch.float32
    output.loss.backward()
    expected = gradients(single)
    for name, grad in gradients(half).items():
        assert grad.dtype == torch.float32, name
        assert grad.abs().sum() > 0, name
        similarity = F.cosine_similarity(grad.flatten(), expected[name].flatten(), dim=0)
        assert similarity > 0.95, name
        assert 0.8 < grad.norm() / expected[name].norm() < 1.25, name


def test_bf16_weights_run() -> None:
    batch = tiny_batch(8)
    wide = tiny_model(dtype=torch.float32).train()
    narrow = copy.deepcopy(wide).to(torch.bfloat16)
    expected, output = wide(*batch), narrow(*batch)
    assert output.logits.dtype == output.carry.answer_state.dtype == torch.bfloat16
    assert output.halt_logits.dtype == torch.float32
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=0.1)
    output.loss.backward()
    assert all(grad.abs().sum() > 0 for grad in gradients(narrow).values())
    assert narrow.solve(*batch[:2]).answers.shape == (8, 6)


@pytest.mark.parametrize("mixer", MIXERS, ids=["attention", "mlp"])
def test_rows_do_not_see_each_other(mixer: dict[str, Any]) -> None:
    model = tiny_model(**mixer)
    batch = tiny_batch(5)
    together = model(*batch)
    for row in range(5):
        alone = model(*(column[row : row + 1] for column in batch))
        for name in PARTS:
            torch.testing.assert_close(alone[name][0], together[name][row])


def test_compiled_network_gives_the_same_logits() -> None:
    """In float64, where another order of operations does not grow into view; forward and gradient."""
    batch = tiny_batch(3)
    plain, compiled = tiny_model().train(), tiny_model().train()
    compiled.model.network.compile(dynamic=False, backend="aot_eager")
    outputs = [model(*batch) for model in (plain, compiled)]
    torch.testing.assert_close(outputs[1].logits, outputs[0].logits)
    for output in outputs:
        output.loss.backward()
    expected = gradients(plain)
    for name, grad in gradients(compiled).items():
        torch.testing.assert_close(grad, expected[name])
