# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What later papers add to the recursion means what it says: states, damping, positions, gradient, depth."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from test_modeling import gradients, unrolled_loss
from tiny import tiny_batch, tiny_config, tiny_model
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from datasets_scripts.tasks import Puzzles
from modeling_trm.modeling_trm import apply_rotary, puzzle_losses, rotary_cos_sin, rotary_positions
from modeling_trm.randomness_trm import TRUNCATED_DEVIATION, inverse_erf, random_bits, state_normals
from training.arguments import TrainArguments
from training.batches import TrainBatches
from training.checkpoint import defaults

KEY = torch.tensor([7, 8, 9])


# Random numbers of the states


@pytest.mark.parametrize("truncated", [False, True])
def test_law_of_state_normals(truncated: bool) -> None:
    """Moments within five deviations; the numbers of two keys, and neighbours, are unrelated."""
    keys = torch.arange(50)
    one, two = (state_normals(keys + shift, 4001, truncated=truncated).double() for shift in (0, 1000))
    count, bound = one.numel(), 2 / TRUNCATED_DEVIATION
    assert abs(one.mean()) < 5 / math.sqrt(count)
    assert abs(one.var() - 1) < 5 * math.sqrt(2 / count)
    kurtosis = 2.3643 if truncated else 3  # by numerical integration of the cut density
    assert abs(one.pow(4).mean() - kurtosis) < 5 * math.sqrt(96 / count)
    assert one.isfinite().all()
    assert (one.abs().max() <= bound + 1e-6) == truncated
    for other in (two, one.roll(1, 0), one.roll(1, 1), one.roll(2, 1)):
        assert abs((one * other).mean()) < 5 / math.sqrt(count)


def test_inverse_erf_is_torchs_at_every_number_that_is_drawn() -> None:
    drawn = torch.arange(2**23).float().add(0.5) * 2.0**-22 - 1
    torch.testing.assert_close(inverse_erf(drawn).double(), torch.erfinv(drawn.double()), atol=0, rtol=3e-7)


def test_state_normals_are_named_by_their_key() -> None:
    """Alone or in a batch, and however many are asked for."""
    many = state_normals(KEY, 11)
    assert torch.equal(state_normals(KEY[1:2], 4)[0], many[1, :4])
    assert not torch.equal(many[0], many[1])


@given(rows=st.permutations(range(6)), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_what_a_row_draws_does_not_depend_on_the_batch(rows: list[int], seed: int) -> None:
    model, keys = (
        tiny_model(random_initial_states=True).train(),
        random_bits(seed, 0, torch.arange(6), 1, purpose="test")[:, 0],
    )
    batch = tiny_batch(6, seed)
    options = {"min_steps": torch.zeros(6), "noise_key": keys}
    whole = model(*batch, **options)
    shuffled = model(*(column[rows] for column in batch), min_steps=torch.zeros(6), noise_key=keys[rows])
    alone = model(*(column[2:3] for column in batch), min_steps=torch.zeros(1), noise_key=keys[2:3])
    torch.testing.assert_close(shuffled.logits, whole.logits[rows])
    torch.testing.assert_close(alone.logits[0], whole.logits[2])


def test_random_initial_states_are_drawn_anew_for_every_puzzle() -> None:
    model = tiny_model(random_initial_states=True)
    one, two = (model.model.initial_states(3, key) for key in (KEY, KEY + 1))
    for state, other in zip(one, two, strict=True):
        assert state.shape == (3, 8, 16)
        assert abs(state.std() - 1) < 0.2
        assert not torch.equal(state, other)
        assert not torch.equal(state[:, 0], state[:, 1])
    assert not torch.equal(*one)
    fixed = tiny_model().model.initial_states(3, KEY)
    assert torch.equal(fixed[0], tiny_model().model.initial_answer_state.expand(3, 8, 16))
    halted, batch = torch.tensor([True, False, True]), tiny_batch(3)
    carry = replace(model(*batch, noise_key=KEY).carry, halted=halted)
    admitted = model.admit(carry, *batch, noise_key=KEY + 1)
    for name, fresh in zip(("answer_state", "latent_state"), two, strict=True):
        for row in range(3):
            expected = fresh if halted[row] else getattr(carry, name)
            assert torch.equal(getattr(admitted, name)[row], expected[row])


def test_solve_with_random_initial_states_is_seeded() -> None:
    """The same seed gives the same answers in any batch; attempts differ without noise."""
    model, input_ids = tiny_model(random_initial_states=True, num_puzzles=1), tiny_batch(40)[0]
    options = {"max_steps": 2, "halt_threshold": math.inf}
    first, again, other = (model.solve(input_ids, seed=seed, **options).halt_logits for seed in (1, 1, 2))
    in_twos = model.solve(input_ids, seed=1, batch_size=2, **options).halt_logits
    assert torch.equal(first, again)
    torch.testing.assert_close(first, in_twos)
    assert not torch.allclose(first, other)
    several = model.solve(input_ids, seed=1, attempts=4, **options)
    assert (several.attempts == 4).all()
    assert (several.halt_logits > first).any()
    assert (several.halt_logits >= first).all()


def test_without_randomness_nothing_is_drawn() -> None:
    """Not even from torch's generator, so that a seed goes on giving the same training."""
    model, batch = tiny_model().train(), tiny_batch(3)
    torch.manual_seed(0)
    model(*batch, min_steps=torch.zeros(3))
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))


# Damping


def recursion_by_hand(model: Any, batch: tuple[Tensor, ...], update: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    question, config = model.model.embed(*batch[:2]), model.config
    answer, latent = model.model.initial_states(3)
    for _ in range(config.deep_cycles):
        for _ in range(config.latent_cycles):
            latent = update(latent, answer + question)
        answer = update(answer, latent)
    return model.answer_logits(answer)


def test_damping_keeps_a_share_of_the_old_state() -> None:
    batch, plain = tiny_batch(3), tiny_model(position_embedding_type="none")
    damped = tiny_model(position_embedding_type="none", state_damping=0.3)

    def update(state: Tensor, injection: Tensor) -> Tensor:
        return 0.3 * state + 0.7 * plain.model.network(state, injection, None)

    torch.testing.assert_close(damped(*batch).logits, recursion_by_hand(plain, batch, update))


# Rotary positions on a grid


@given(st.data())
@settings(max_examples=20)
def test_rope_2d_sees_the_difference_of_rows_and_columns(data: st.DataObject) -> None:
    """Scores of a query and a key depend on how far apart their cells are in either direction, and on that alone."""
    config = tiny_config(position_embedding_type="rope_2d", seq_len=20, grid_width=5, num_register_tokens=1)
    positions = rotary_positions(config, torch.device("cpu"))
    assert [tuple(cell) for cell in positions[3:].int().tolist()] == [
        (row, col) for row in range(4) for col in range(5)
    ]
    assert len(set(map(tuple, positions.tolist()))) == 23
    assert (positions[:3, 0] < 0).all()
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def score(query_cell: tuple[int, int], key_cell: tuple[int, int]) -> float:
        cos, sin = rotary_cos_sin(torch.tensor([query_cell, key_cell]).double(), 8, 100.0)
        turned = [apply_rotary(vector, cos[row], sin[row]) for row, vector in enumerate((query, key))]
        return (turned[0] * turned[1]).sum().item()

    cell = st.tuples(st.integers(0, 30), st.integers(0, 30))
    at, away, shift = data.draw(cell), data.draw(cell), data.draw(cell)
    moved = [(cell[0] + shift[0], cell[1] + shift[1]) for cell in (at, away)]
    assert score(*moved) == pytest.approx(score(at, away), abs=1e-4)
    across = score(at, (away[0], away[1] + 1)), score(at, (away[0] + 1, away[1]))
    assert across[0] != pytest.approx(across[1], abs=1e-3)


def test_rope_2d_leaves_rows_and_columns_their_halves_of_a_head() -> None:
    """The row turns pairs 0 and 1 of a head of 8, the column pairs 2 and 3."""
    for moved, pairs in (((3.0, 0.0), {0, 1}), ((0.0, 3.0), {2, 3})):
        _, sin = rotary_cos_sin(torch.tensor([moved]), 8, 100.0)
        assert {int(channel) % 4 for channel in sin[0].nonzero()} == pairs


def test_one_axis_is_the_usual_rope() -> None:
    cos, sin = rotary_cos_sin(rotary_positions(tiny_config(), torch.device("cpu")), 8, 10000.0)
    angles = torch.outer(torch.arange(8.0), 10000.0 ** -(torch.arange(0, 8, 2) / 8))
    torch.testing.assert_close(cos, angles.repeat(1, 2).cos())
    torch.testing.assert_close(sin, angles.repeat(1, 2).sin())


def test_the_grid_width_counts() -> None:
    wide, tall = (tiny_model(position_embedding_type="rope_2d", num_puzzles=1, grid_width=width) for width in (3, 2))
    tokens = tiny_batch(2)[0]
    assert not torch.allclose(wide(tokens).logits, tall(tokens).logits)


# Gradient through more cycles


@pytest.mark.parametrize(("carrying", "without"), [(1, 2), (2, 1), (3, 0), (9, 0)])
def test_gradient_cycles_are_the_last_ones(carrying: int, without: int) -> None:
    fields = {"position_embedding_type": "none", "deep_cycles": 3}
    batch, by_hand = tiny_batch(3), tiny_model(**fields)
    model = tiny_model(**fields, gradient_cycles=carrying)
    model(*batch).loss.backward()
    unrolled_loss(by_hand, batch, cycles_without=without).backward()
    expected = gradients(by_hand)
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, expected[name], msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("carrying", [1, 2, 3])
def test_gradient_latent_cycles_are_the_last_ones(carrying: int) -> None:
    """Of the last deep cycle; the question is reached through them alone, though it enters the others as well."""
    fields = {"position_embedding_type": "none", "latent_cycles": 3, "num_answer_layers": 1}
    batch, by_hand = tiny_batch(3), tiny_model(**fields)
    model, inner = tiny_model(**fields, gradient_latent_cycles=carrying), by_hand.model
    question = inner.embed(*batch[:2])
    answer, latent = inner.initial_states(3)
    for cycle, update in product(range(2), range(4)):
        with torch.set_grad_enabled(cycle == 1 and update >= 3 - carrying):
            if update < 3:
                latent = inner.network(latent, answer + question, None)
            else:
                answer = inner.answer_network(answer, latent, None)
    logits, halt_logits = by_hand.answer_logits(answer), by_hand.halt_logits(answer)
    answer_losses, halt_losses, _ = puzzle_losses(logits, halt_logits, batch[2], by_hand.config)
    (answer_losses + 0.5 * halt_losses).mean().backward()
    model(*batch).loss.backward()
    expected = gradients(by_hand)
    for name, grad in gradients(model).items():
        torch.testing.assert_close(grad, expected[name], msg=lambda m, n=name: f"{n}: {m}")


def test_of_fewer_latent_cycles_all_carry_the_gradient() -> None:
    """As a schedule of depth may ask for: `gradient_latent_cycles` is the most that carry it."""
    batch, few = tiny_batch(3), {"latent_cycles": 1}
    model, plain = tiny_model(gradient_latent_cycles=2), tiny_model()
    for one in (model, plain):
        one(*batch, **few).loss.backward()
    expected = gradients(plain)
    for name, grad in gradients(model).items():
        assert torch.equal(grad, expected[name]), name


# The depth of a step


@pytest.mark.parametrize("training", [False, True])
def test_the_depth_given_to_forward_is_that_of_a_model_so_configured(training: bool) -> None:
    """Loss, gradient, halting and the carry over two steps; the configuration stays as it is."""
    depth, batch = {"deep_cycles": 3, "latent_cycles": 1, "max_supervision_steps": 2}, tiny_batch(3)
    given, configured = tiny_model().train(training), tiny_model(**depth).train(training)
    before, carries = given.config.to_dict(), [None, None]
    for _ in range(2):
        outputs = []
        for model, own, carry in zip((given, configured), (depth, {}), carries, strict=True):
            torch.manual_seed(0)  # of the exploration
            outputs.append(model(*batch, carry=carry, **own))
            outputs[-1].loss.backward()
        carries = [output.carry for output in outputs]
        assert torch.equal(outputs[0].loss, outputs[1].loss)
        for name, tensor in carries[1].items():
            assert torch.equal(carries[0][name], tensor), name
    assert carries[0].halted.all()
    expected = gradients(configured)
    for name, grad in gradients(given).items():
        assert torch.equal(grad, expected[name]), name
    assert given.config.to_dict() == before
    assert not torch.equal(given(*batch).loss, given(*batch, **depth).loss)


def test_another_depth_compiles_no_network_anew() -> None:
    """Which is why a schedule of depth compiles the network alone."""
    model, batch, counts = tiny_model().train(), tiny_batch(3), []
    counter = CompileCounterWithBackend("aot_eager")
    model.model.network.compile(dynamic=False, backend=counter)
    for depth in (2, 3):
        model(*batch, deep_cycles=depth, latent_cycles=depth, min_steps=torch.zeros(3)).loss.backward()
        counts.append(counter.frame_count)
    assert counts[0] == counts[1] > 0


# The loop's side


class Process:
    """Stands for one of several processes."""

    def __init__(self, index: int, count: int):
        self.process_index, self.num_processes, self.device = index, count, torch.device("cpu")


def test_keys_follow_from_the_seed_the_step_and_the_place_in_the_batch(
    sudoku_splits: dict[str, dict[str, Puzzles]],
) -> None:
    puzzles, args = sudoku_splits["mini-6x6"]["train"], TrainArguments(batch_size=8, seed=3)
    config = tiny_config(random_initial_states=True)

    def keys(step: int, accelerator: Any = None, **fields: Any) -> Tensor:
        own = replace(args, **fields)
        return TrainBatches(puzzles, own, config, accelerator or Accelerator(cpu=True))(step)["noise_key"]

    whole = keys(5)
    assert len(set(whole.tolist())) == 8
    assert torch.equal(torch.cat([keys(5, Process(rank, 2)) for rank in (0, 1)]), whole)
    assert not torch.equal(keys(6), whole)
    assert not torch.equal(keys(5, seed=4), whole)


def test_a_checkpoint_from_before_a_field_has_its_default() -> None:
    """A new field of recipe or model refuses no old run; a changed one still differs."""
    now = defaults() | {"seed": 1, "model.deep_cycles": 2}
    assert (now["seed"], now["depth_schedule"], now["model.deep_cycles"]) == (1, None, 2)
    assert (now["model.num_symbols"], now["model.state_damping"]) == (0, 0.0)


def test_saved_with_its_options(tmp_path: Path) -> None:
    """The Hub folder's own code knows them: the answers are the same after a round trip."""
    fields = {
        "random_initial_states": True,
        "state_damping": 0.1,
        "position_embedding_type": "rope_2d",
        "grid_width": 3,
    }
    model, tokens = tiny_model(dtype=torch.float32, num_puzzles=1, **fields), tiny_batch(4)[0]
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(loaded.solve(tokens, seed=2).halt_logits, model.solve(tokens, seed=2).halt_logits)


def test_a_training_step_with_everything_is_one_graph() -> None:
    """No part of it waits for the device or leaves torch.compile, in the first step and in those that go on."""
    fields = {"random_initial_states": True, "deep_cycles": 3, "state_damping": 0.1, "gradient_cycles": 2}
    fields |= {"num_answer_layers": 1, "gradient_latent_cycles": 1, "halt_q_learning": True}
    model, batch = tiny_model(**fields).train(), tiny_batch(3)
    options = {"min_steps": torch.zeros(3), "noise_key": KEY}
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    first = model(*batch, **options)
    torch.testing.assert_close(compiled(*batch, **options).loss, first.loss)
    second = [run(*batch, carry=first.carry, **options).loss for run in (model, compiled)]
    torch.testing.assert_close(*second)
