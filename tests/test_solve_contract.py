# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""`solve` against a loop over `forward`: the same answers, whatever leaves the batch early."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_batch, tiny_model
from torch import Tensor
from transformers import BatchFeature

from modeling_trm import TrmForPuzzleSolving, TrmSolution
from modeling_trm.symmetries_trm import Symmetry

ENDLESS = math.inf


def run_forward(
    model: TrmForPuzzleSolving, input_ids: Tensor, puzzle_ids: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Answers [batch, steps, seq] and halting logits [batch, steps] of every supervision step, nothing halting."""
    answers, halt_logits, carry = [], [], None
    with torch.no_grad():
        for _ in range(steps):
            output = model(input_ids, puzzle_ids, carry=carry)
            carry = output.carry
            carry.halted = torch.zeros_like(carry.halted)
            answers.append(output.logits.argmax(-1))
            halt_logits.append(output.halt_logits.float())
    return torch.stack(answers, dim=1), torch.stack(halt_logits, dim=1)


def restless_model(**fields: Any) -> TrmForPuzzleSolving:
    """A model whose answers and halting logits change from step to step."""
    model = tiny_model(**fields)
    with torch.no_grad():
        for layer in model.model.network.layers:
            layer.mlp.gate_up_proj.weight.mul_(4)
    return model


@pytest.mark.parametrize("mixer", ["attention", "mlp"])
def test_solve_is_a_loop_over_forward(mixer: str) -> None:
    model = restless_model(token_mixer=mixer)
    input_ids, puzzle_ids, _ = tiny_batch(6)
    expected, expected_halt = run_forward(model, input_ids, puzzle_ids, 4)
    assert (expected[:, 0] != expected[:, -1]).any()
    solution = model.solve(input_ids, puzzle_ids, halt_threshold=ENDLESS)
    assert torch.equal(solution.answers, expected[:, -1])
    torch.testing.assert_close(solution.halt_logits, expected_halt[:, -1])
    assert solution.steps.tolist() == [4] * 6
    assert not solution.halted.any()
    assert solution.step_answers is None


@given(seed=st.integers(0, 50), quantile=st.floats(0, 1), max_steps=st.integers(1, 7), return_steps=st.booleans())
@settings(max_examples=25)
def test_each_row_stops_at_its_own_step(seed: int, quantile: float, max_steps: int, return_steps: bool) -> None:
    """A row's answer is that of the run without halting at the first step above the threshold, or at the last."""
    model = restless_model()
    input_ids, puzzle_ids, _ = tiny_batch(7, seed)
    answers, halt_logits = run_forward(model, input_ids, puzzle_ids, max_steps)
    ordered = halt_logits.flatten().sort().values
    rank = int(quantile * (len(ordered) - 1))
    threshold = float(ordered[rank]) if rank == len(ordered) - 1 else float((ordered[rank] + ordered[rank + 1]) / 2)
    solution = model.solve(
        input_ids, puzzle_ids, max_steps=max_steps, halt_threshold=threshold, return_steps=return_steps
    )
    above = halt_logits > threshold
    last = torch.where(above.any(1), above.int().argmax(1), max_steps - 1)
    rows = torch.arange(7)
    assert torch.equal(solution.steps, last + 1)
    assert torch.equal(solution.answers, answers[rows, last])
    torch.testing.assert_close(solution.halt_logits, halt_logits[rows, last])
    assert torch.equal(solution.halted, above.any(1))
    if return_steps:
        shown = torch.arange(int(solution.steps.max()))[None].minimum(last[:, None])  # halted rows repeat
        assert torch.equal(solution.step_answers, answers[rows[:, None], shown])
        torch.testing.assert_close(solution.step_halt_logits, halt_logits[rows[:, None], shown])


def test_solving_one_by_one_equals_solving_together() -> None:
    model = restless_model()
    input_ids, puzzle_ids, _ = tiny_batch(6)
    together = model.solve(input_ids, puzzle_ids)
    assert len(set(together.steps.tolist())) > 1
    for row in range(6):
        alone = model.solve(input_ids[row : row + 1], puzzle_ids[row : row + 1])
        assert torch.equal(alone.answers[0], together.answers[row])
        assert alone.steps[0] == together.steps[row]


def test_defaults_come_from_the_configuration() -> None:
    input_ids, puzzle_ids, _ = tiny_batch(4)
    model = restless_model(halt_threshold=1e9, max_solve_steps=7)
    assert model.solve(input_ids, puzzle_ids).steps.tolist() == [7] * 4
    model = restless_model(halt_threshold=-1e9)
    solution = model.solve(input_ids, puzzle_ids)
    assert solution.steps.tolist() == [1] * 4
    assert solution.halted.all()


def test_training_mode_changes_nothing() -> None:
    model = restless_model()
    input_ids, puzzle_ids, _ = tiny_batch(4)
    expected = model.solve(input_ids, puzzle_ids)
    again = model.train().solve(input_ids, puzzle_ids)
    assert torch.equal(again.answers, expected.answers)
    assert torch.equal(again.halt_logits, expected.halt_logits)
    assert not again.halt_logits.requires_grad


def test_solve_leaves_its_arguments_alone() -> None:
    input_ids, puzzle_ids, _ = tiny_batch(4)
    given_ids, given_puzzles = input_ids.clone(), puzzle_ids.clone()
    restless_model().solve(input_ids, puzzle_ids, attempts=2, noise_std=0.5)
    assert torch.equal(input_ids, given_ids)
    assert torch.equal(puzzle_ids, given_puzzles)


def noisy(model: TrmForPuzzleSolving, seed: int, **arguments: Any) -> TrmSolution:
    input_ids, puzzle_ids, _ = tiny_batch(5)
    generator = torch.Generator().manual_seed(seed)
    return model.solve(input_ids, puzzle_ids, halt_threshold=ENDLESS, generator=generator, **arguments)


def test_noise_comes_from_the_generator() -> None:
    model = restless_model()
    first, again, other = (noisy(model, seed, noise_std=0.3) for seed in (1, 1, 2))
    assert torch.equal(first.halt_logits, again.halt_logits)
    assert torch.equal(first.answers, again.answers)
    assert (first.halt_logits != other.halt_logits).all()
    without, silent = noisy(model, 1), noisy(model, 1, noise_std=0.0)
    assert torch.equal(without.halt_logits, silent.halt_logits)
    assert not torch.equal(without.halt_logits, first.halt_logits)


def test_noise_without_generator_follows_torchs_seed() -> None:
    model = restless_model(num_puzzles=1)
    input_ids, _, _ = tiny_batch(5)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(model.solve(input_ids, noise_std=0.3).halt_logits)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_more_attempts_choose_the_highest_halting_logit() -> None:
    """The model reports the best of its attempts: never worse on average, and the answer that goes with the logit."""
    model = restless_model()
    single = torch.stack([noisy(model, seed, noise_std=0.5).halt_logits for seed in range(8)])
    many = noisy(model, 0, noise_std=0.5, attempts=64)
    assert (many.halt_logits > single.median(0).values).all()
    assert (many.halt_logits > single.mean(0) + single.std(0)).all()
    assert many.answers.shape == (5, 6)


def identity(seed: int, number: Tensor, key: Tensor) -> Symmetry:
    """The symmetry that changes nothing, for `tiny_batch`."""
    return Symmetry(*(torch.arange(size, device=key.device).expand(len(key), -1) for size in (7, 6)))


@pytest.mark.parametrize("return_steps", [False, True])
def test_attempts_that_are_all_the_same_change_nothing(return_steps: bool) -> None:
    """Rows, answers and steps stay together when the chosen attempts are picked out."""
    model = restless_model()
    input_ids, puzzle_ids, _ = tiny_batch(5)
    one = model.solve(input_ids, puzzle_ids, return_steps=return_steps)
    three = model.solve(input_ids, puzzle_ids, attempts=3, random_symmetry=identity, return_steps=return_steps)
    assert set(three.attempts.tolist()) == {1, 3}
    for name in one.keys() - {"attempts", "total_steps"}:
        torch.testing.assert_close(three[name], one[name])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input_ids": torch.zeros(2, 5, dtype=torch.long)}, r"\[batch, 6\].*not \[2, 5\]"),
    ({"input_ids": torch.zeros(6, dtype=torch.long)}, r"\[batch, 6\].*not \[6\]"),
    ({"input_ids": torch.zeros(0, 6, dtype=torch.long), "puzzle_ids": None}, r"at least 1, not \[0, 6\]"),
    ({"input_ids": torch.full((2, 6), 7)}, "tokens 7 to 7.* 0 to 6"),
    ({"input_ids": torch.full((2, 6), -1)}, "tokens -1 to -1"),
    ({"puzzle_ids": torch.tensor([0, 5])}, "0 to 4.*from 0 to 5"),
    ({"puzzle_ids": torch.tensor([-1, 0])}, "from -1 to 0"),
    ({"puzzle_ids": torch.tensor([0])}, r"\[2\] ids.*not \[1\]"),
    ({"puzzle_ids": torch.zeros(0, dtype=torch.long)}, r"\[2\] ids.*not \[0\]"),
    ({"puzzle_ids": None}, "puzzle_ids are missing: .* each of 5 puzzles"),
    ({"puzzle_ids": torch.zeros(2)}, "puzzle_ids must be a tensor of integers, not torch.float32"),
    ({"puzzle_ids": [0, 1]}, "puzzle_ids must be a tensor of integers, not list"),
    ({"input_ids": torch.full((2, 6), 1.6)}, "input_ids must be a tensor of integers, not torch.float32"),
    ({"input_ids": torch.ones(2, 6, dtype=torch.bool)}, "input_ids must be a tensor of integers, not torch.bool"),
    ({"input_ids": [[0] * 6] * 2}, "input_ids must be a tensor of integers, not list"),
    ({"max_steps": 0}, "max_steps=0"),
    ({"attempts": 0}, "attempts=0"),
    ({"attempts": 2}, "attempts=2 would repeat themselves: there are no symmetries and no random initial states"),
    ({"attempts": 9, "random_symmetry": identity, "num_symmetries": 8}, "attempts=9 would .* only 8 symmetries"),
    ({"noise_std": -0.1}, "noise_std=-0.1"),
    ({"noise_std": math.nan}, "noise_std=nan"),
    ({"noise_std": math.inf}, "noise_std=inf"),
    ({"halt_threshold": math.nan}, "halt_threshold=nan"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refuses_by_name(arguments: dict[str, Any], message: str) -> None:
    usual = {"input_ids": torch.zeros(2, 6, dtype=torch.long), "puzzle_ids": torch.zeros(2, dtype=torch.long)}
    with pytest.raises(ValueError, match=message) as refusal:
        tiny_model().solve(**(usual | arguments))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("puzzle_ids", [torch.zeros(0, dtype=torch.long), torch.zeros(3, dtype=torch.long)])
def test_ids_are_one_per_puzzle_also_where_no_table_reads_them(puzzle_ids: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[2\] ids, one per puzzle, not \[[03]\]"):
        tiny_model(num_puzzle_tokens=0, num_puzzles=1).solve(torch.zeros(2, 6, dtype=torch.long), puzzle_ids)


TOKENS = torch.zeros(2, 6, dtype=torch.long)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ([TOKENS, None], "list"),
        ({"input_ids": TOKENS}, "dict"),
        (BatchFeature({"input_ids": TOKENS}), "BatchFeature"),
        ((TOKENS, None, None), "tuple"),
        (None, "NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stream_of_something_else_is_refused(batch: Any, found: str) -> None:
    with pytest.raises(ValueError, match=f"input_ids must be a tensor of integers, not {found}"):
        list(tiny_model(num_puzzles=1).solve_dataset([TOKENS, batch]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_broken_weights_are_named(value: float) -> None:
    model = tiny_model(num_puzzles=1)
    with torch.no_grad():
        model.model.network.layers[0].mlp.down_proj.weight[0, 0] = value
    with pytest.raises(ValueError, match="weights"):
        model.solve(tiny_batch(2)[0])
