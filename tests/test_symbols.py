# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""States with symbols: renaming the symbols renames the answer, whatever else the model is made of."""

from typing import Any

import pytest
import torch
from tiny import tiny_batch, tiny_model
from torch import Tensor

NUM_SYMBOLS, FIRST = 5, 2  # tokens 0 and 1 are no symbols
PREFIXES: dict[str, dict[str, int]] = {
    "none": {"num_puzzle_tokens": 0, "puzzle_embedding_size": 0, "num_puzzles": 1},
    "register": {"num_puzzle_tokens": 0, "puzzle_embedding_size": 0, "num_puzzles": 1, "num_register_tokens": 1},
    "puzzle tokens": {"num_puzzle_tokens": 2},
}


def new_names(seed: int = 0) -> Tensor:
    """A new name for each token, int64 [7]: those that are no symbols keep theirs."""
    order = torch.randperm(NUM_SYMBOLS, generator=torch.Generator().manual_seed(seed))
    return torch.cat((torch.arange(FIRST), FIRST + order))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("mixer", ["mlp", "attention"])
@pytest.mark.parametrize(("positions", "symbol_mixer"), [("rope", "mean"), ("learned", "attention")])
def test_renaming_the_symbols_renames_the_answer(
    mixer: str, prefix: str, positions: str, symbol_mixer: str, dtype: torch.dtype
) -> None:
    """Over two supervision steps: logits move with their names, the halting logit stays; to rounding, as sums over the
    symbols are taken in another order."""
    fields: dict[str, Any] = {"token_mixer": mixer, "position_embedding_type": positions, **PREFIXES[prefix]}
    fields["symbol_mixer"] = symbol_mixer
    fields["num_answer_layers"] = 1 if prefix == "register" else 0  # one network, or two as in HRM
    model = tiny_model(num_symbols=NUM_SYMBOLS, dtype=dtype, **fields)
    if prefix == "puzzle tokens":  # no puzzle says anything of single symbols
        model.model.puzzle_embeddings.weight.data[:, -NUM_SYMBOLS:] = 0
    input_ids, puzzle_ids, _ = tiny_batch(4)
    puzzle_ids = puzzle_ids if prefix == "puzzle tokens" else None
    names = new_names()
    carry = renamed_carry = None
    tolerance = {"rtol": 0.1, "atol": 0.1} if dtype == torch.bfloat16 else {}
    for _ in range(2):
        output = model(input_ids, puzzle_ids, carry=carry)
        renamed = model(names[input_ids], puzzle_ids, carry=renamed_carry)
        carry, renamed_carry = output.carry, renamed.carry
        torch.testing.assert_close(renamed.logits[..., names], output.logits, **tolerance)
        torch.testing.assert_close(renamed.halt_logits, output.halt_logits, **tolerance)
    assert output.logits.std(0).max() > 1e-3  # of what is not constant
    assert carry.answer_state.shape == (4, model.config.prefix_len + 6, NUM_SYMBOLS, 16)


def test_a_puzzle_can_tell_its_symbols_apart() -> None:
    """Renaming the symbols renames the answer only if the numbers that the puzzle has for them move along."""
    model = tiny_model(num_symbols=NUM_SYMBOLS, num_puzzle_tokens=2)
    input_ids, puzzle_ids, _ = tiny_batch(4)
    names = new_names()
    before = model(input_ids, puzzle_ids).logits
    unnamed = model(names[input_ids], puzzle_ids).logits[..., names]
    table = model.model.puzzle_embeddings.weight.data
    table[:, -NUM_SYMBOLS:] = table[:, -NUM_SYMBOLS:][:, (names[FIRST:] - FIRST).argsort()]
    renamed = model(names[input_ids], puzzle_ids).logits[..., names]
    torch.testing.assert_close(renamed, before)
    assert (unnamed - before).abs().max() > 1e-3


def test_solve_renames_its_answers_too() -> None:
    """And is a loop over `forward`, whose rows leave when they halt."""
    model, names = tiny_model(num_symbols=NUM_SYMBOLS, **PREFIXES["register"]), new_names()
    input_ids = tiny_batch(20)[0]
    solution, renamed = model.solve(input_ids), model.solve(names[input_ids], batch_size=3)
    assert len(set(solution.steps.tolist())) > 1
    assert torch.equal(renamed.steps, solution.steps)
    assert torch.equal(renamed.answers, names[solution.answers])
    torch.testing.assert_close(renamed.halt_logits, solution.halt_logits)
    carry = None
    with torch.no_grad():
        for step in range(1, model.config.max_supervision_steps + 1):
            output = model(input_ids, carry=carry)
            carry = output.carry
            leave = solution.steps == step
            assert torch.equal(output.logits.argmax(-1)[leave], solution.answers[leave])


@pytest.mark.parametrize("symbol_mixer", ["mean", "attention"])
def test_autocast_reaches_every_parameter(symbol_mixer: str) -> None:
    """With gradient in bfloat16 close to that in float32, though the first deep cycle has none."""
    gradients = []
    for enabled in (False, True):
        model = tiny_model(num_symbols=NUM_SYMBOLS, symbol_mixer=symbol_mixer, dtype=torch.float32).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = model(*tiny_batch(8))
        assert output.carry.answer_state.dtype == (torch.bfloat16 if enabled else torch.float32)
        output.loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    assert any("symbol_mixer" in name for name in gradients[0])
    for name, expected in gradients[0].items():
        similarity = torch.cosine_similarity(gradients[1][name].flatten(), expected.flatten(), dim=0)
        assert similarity > 0.9, name


def test_a_model_without_symbols_has_nothing_of_them() -> None:
    """Neither weights nor an axis; that its numbers are the official ones is what the goldens say."""
    model = tiny_model()
    assert not any("symbol" in name for name in model.state_dict())
    assert model(*tiny_batch(3)).carry.answer_state.shape == (3, 8, 16)
