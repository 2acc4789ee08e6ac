# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What HRM adds equals its official code: halting by Q-learning, its target and loss; and known mistakes are noticed.

Forward, gradients, initialisation and training steps are in the other two files of fidelity, beside TRM's.
"""

from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from goldens import build_model, golden, part
from test_fidelity_forward import check_first_gradients
from tiny import tiny_model
from torch import Tensor

from modeling_trm import TrmCarry, TrmConfig, TrmForPuzzleSolving
from modeling_trm.modeling_trm import puzzle_losses
from training.arguments import TrainArguments, model_arguments, parse_arguments, read_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
pytestmark = pytest.mark.usefixtures("one_thread")
Change = Callable[[TrmForPuzzleSolving], Any]


def check_halting(variant: str, exploration: str, change: Change = lambda model: None) -> None:
    """Who halts when, which puzzles come next, what going on is worth, over ten steps of fixed weights."""
    description, tensors = golden(variant)
    model = build_model(description["config"], tensors, "state").train()
    change(model)
    carry = None
    for number, expected in enumerate(description["runs"][exploration]["steps"], 1):
        batch, here = part(tensors, f"batch{number}"), part(tensors, f"{exploration}.step{number}")
        arguments = (batch["inputs"], batch["puzzle_identifiers"], batch["labels"])
        output = model(*arguments, carry=carry, min_steps=here["min_halt_steps"])
        carry = output.carry
        assert carry.steps.tolist() == expected["steps"]
        assert carry.halted.tolist() == expected["halted"]
        assert torch.equal(carry.input_ids, here["current_inputs"])
        assert torch.equal(carry.labels, here["current_labels"])
        assert torch.equal(carry.puzzle_ids, here["current_puzzle_identifiers"])
        halt_logits, continue_logits = model.q_logits(carry.answer_state)
        torch.testing.assert_close(halt_logits, here["q_halt_logits"], atol=1e-4, rtol=0)
        torch.testing.assert_close(continue_logits, here["q_continue_logits"], atol=1e-4, rtol=0)
        torch.testing.assert_close(model.continue_values(carry), here["target_q_continue"], atol=1e-4, rtol=0)
        rows, metrics = len(batch["inputs"]), expected["metrics"]
        assert output.loss.item() * rows == pytest.approx(expected["loss"], abs=1e-3)
        assert output.answer_loss.item() * rows == pytest.approx(metrics["lm_loss"], abs=1e-3)
        learned = metrics["q_halt_loss"] + metrics["q_continue_loss"]
        assert output.halt_loss.item() * rows == pytest.approx(learned, abs=1e-3)
    last = part(tensors, f"{exploration}.carry")
    torch.testing.assert_close(carry.answer_state, last["z_H"], atol=5e-3, rtol=0)
    torch.testing.assert_close(carry.latent_state, last["z_L"], atol=5e-3, rtol=0)


@pytest.mark.parametrize("exploration", ["off", "on"])
@pytest.mark.parametrize("variant", ["hrm_halting", "hrm_halting_trm"])
def test_halting_by_q_learning(variant: str, exploration: str) -> None:
    """With two networks, and with one (the paper's "w/ ACT")."""
    check_halting(variant, exploration)


def test_halting_and_target_of_given_logits() -> None:
    """All numbers of supervision steps, before, at and beyond the last, with exploration."""
    description, tensors = golden("hrm_q_target")
    names = ("q_halt_logits", "q_continue_logits")
    given = iter([[tensors[name] for name in names], [tensors[f"next_{name}"] for name in names]])
    rows, most = len(tensors["steps"]), description["halt_max_steps"]
    model = tiny_model(halt_q_learning=True, max_supervision_steps=most, dtype=torch.float32).train()
    model.q_logits = lambda answer_state: next(given)  # type: ignore[method-assign]
    puzzles = (torch.zeros(rows, 6, dtype=torch.long), torch.zeros(rows, dtype=torch.long))
    carry = model.initial_carry(*puzzles)
    carry.steps, carry.halted = tensors["steps_before"].clone(), torch.zeros(rows, dtype=torch.bool)
    explores = tensors["chance"] < description["halt_exploration_prob"]
    assert torch.equal(torch.where(explores, tensors["draw"], 0).int(), tensors["min_halt_steps"])
    carry = model(*puzzles, carry=carry, min_steps=tensors["min_halt_steps"]).carry
    assert torch.equal(carry.steps, tensors["steps"])
    assert torch.equal(carry.halted, tensors["halted"])
    torch.testing.assert_close(model.continue_values(carry), tensors["target_q_continue"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("target", ["with_target", "without_target"])
@pytest.mark.parametrize("loss_type", ["stablemax", "softmax"])
def test_losses_and_their_gradients(loss_type: str, target: str) -> None:
    """In training `forward` adds what going on is said to be worth; in evaluation it does not."""
    description, tensors = golden("hrm_loss")
    name = f"{loss_type}_cross_entropy.{target}"
    given = {key: tensors[key].clone().requires_grad_() for key in ("logits", "q_halt_logits", "q_continue_logits")}
    rows, seq_len, vocab_size = given["logits"].shape
    config = {"vocab_size": vocab_size, "seq_len": seq_len, "loss_type": loss_type, "halt_q_learning": True}
    model = tiny_model(**config, dtype=torch.float32).train(target == "with_target")
    model.answer_logits = lambda answer_state: given["logits"]  # type: ignore[method-assign]
    model.q_logits = lambda answer_state: (given["q_halt_logits"], given["q_continue_logits"])  # type: ignore
    model.continue_values = lambda carry, *depth: tensors["target_q_continue"]  # type: ignore[method-assign]
    output = model(torch.zeros_like(tensors["labels"]), torch.zeros(rows, dtype=torch.long), tensors["labels"])
    (output.loss * rows).backward()
    expected = description["results"][name]
    assert output.loss.item() * rows == pytest.approx(expected["loss"], abs=1e-5)
    metrics = expected["metrics"]
    assert output.answer_loss.item() * rows == pytest.approx(metrics["lm_loss"], abs=1e-5)
    learned = metrics["q_halt_loss"] + metrics.get("q_continue_loss", 0)
    assert output.halt_loss.item() * rows == pytest.approx(learned, abs=1e-5)
    for key, tensor in given.items():
        if f"{name}.grad_{key}" in tensors:
            torch.testing.assert_close(tensor.grad, tensors[f"{name}.grad_{key}"], atol=1e-7, rtol=1e-5)
        else:
            assert tensor.grad is None


# Mistakes that an implementation of HRM has made or could make: each moves a number of the files


def configure(**fields: Any) -> Change:
    def change(model: TrmForPuzzleSolving) -> None:
        for name, value in fields.items():
            if getattr(model.config, name) == value:
                raise ValueError(f"{name} is {value} already: no mistake")
            setattr(model.config, name, value)

    return change


def swap(model: TrmForPuzzleSolving) -> None:
    inner = model.model
    inner.network, inner.answer_network = inner.answer_network, inner.network


def use_one(model: TrmForPuzzleSolving) -> None:
    model.model.answer_network = None


def learn_from_the_future(model: TrmForPuzzleSolving) -> None:
    """The target gets a gradient, as if the decorator were missing."""
    model.continue_values = MethodType(TrmForPuzzleSolving.continue_values.__wrapped__, model)  # type: ignore


def never_last(model: TrmForPuzzleSolving) -> None:
    """On the last step, too, going on counts in the target."""

    def continue_values(self: TrmForPuzzleSolving, carry: TrmCarry, *depth: int) -> Tensor:
        return TrmForPuzzleSolving.continue_values(self, carry, max_supervision_steps=10**6)

    model.continue_values = MethodType(continue_values, model)  # type: ignore[method-assign]


MISTAKES: dict[str, Change] = {
    "all latent cycles with gradient": configure(gradient_latent_cycles=None),
    "gradient in both deep cycles": configure(gradient_cycles=2),
    "no Q-learning": configure(halt_q_learning=False),
    "gradient through the target": learn_from_the_future,
    "networks swapped": swap,
    "one network": use_one,
    "a deep cycle more": configure(deep_cycles=3),
    "a latent cycle less": configure(latent_cycles=1),
    "halting weight 1": configure(halt_loss_weight=1.0),
    "softmax": configure(loss_type="softmax"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_moves_the_first_step(mistake: str) -> None:
    with pytest.raises(AssertionError):
        check_first_gradients("hrm_train", MISTAKES[mistake])


@pytest.mark.parametrize("variant", ["hrm_halting", "hrm_halting_trm"])
@pytest.mark.parametrize("mistake", ["no rule for the last step", "no Q-learning"])
def test_a_mistake_moves_the_halting(mistake: str, variant: str) -> None:
    with pytest.raises(AssertionError):
        check_halting(variant, "off", {"no rule for the last step": never_last, **MISTAKES}[mistake])


# What the options mean, whatever the numbers


def test_two_equal_networks_are_one() -> None:
    one, two = tiny_model(), tiny_model(num_answer_layers=2)
    two.load_state_dict(one.state_dict(), strict=False)
    two.model.answer_network.load_state_dict(one.model.network.state_dict())
    puzzles = (torch.arange(12).view(2, 6) % 7, torch.tensor([0, 1]))
    assert torch.equal(two(*puzzles).logits, one(*puzzles).logits)


def test_q_learning_moves_no_number_of_an_evaluation() -> None:
    """The same answers and loss; `solve` stops by the halting logit alone."""
    plain, learning = tiny_model(), tiny_model(halt_q_learning=True)
    puzzles = (torch.arange(12).view(2, 6) % 7, torch.tensor([0, 1]), torch.ones(2, 6, dtype=torch.long))
    assert torch.equal(plain(*puzzles).loss, learning(*puzzles).loss)
    assert torch.equal(plain.solve(*puzzles[:2]).steps, learning.solve(*puzzles[:2]).steps)


def test_the_target_is_that_of_the_depth_of_the_step() -> None:
    """A shallower step, as in a schedule of depth, looks ahead by one of the same depth."""
    depth = {"deep_cycles": 1, "latent_cycles": 1, "max_supervision_steps": 2}
    puzzles = (torch.arange(12).view(2, 6) % 7, torch.tensor([0, 1]), torch.ones(2, 6, dtype=torch.long))
    given, configured = tiny_model(halt_q_learning=True).train(), tiny_model(halt_q_learning=True, **depth).train()
    carry = None
    for _ in range(2):
        own, expected = (
            given(*puzzles, carry=carry, min_steps=torch.full((2,), 2), **depth),
            configured(*puzzles, carry=carry, min_steps=torch.full((2,), 2)),
        )
        assert torch.equal(own.halt_loss, expected.halt_loss)
        carry = own.carry


def test_the_published_size() -> None:
    """27,275,266 parameters for Sudoku; the official code does not count the table of puzzle embeddings."""
    fields = {"num_hidden_layers": 4, "num_answer_layers": 4, "num_puzzle_tokens": 1}
    with torch.device("meta"):
        model = TrmForPuzzleSolving(TrmConfig(**fields))
    assert model.num_parameters() - model.config.puzzle_embedding_size == 27_275_266


def test_losses_of_both_kinds_are_bce() -> None:
    """By hand: the continue loss is on this step's logit, its target from one more step of the new carry."""
    model = tiny_model(halt_q_learning=True).train()
    puzzles = (torch.arange(12).view(2, 6) % 7, torch.tensor([0, 1]), torch.ones(2, 6, dtype=torch.long))
    output = model(*puzzles, min_steps=torch.full((2,), 4))
    _, continue_logits = model.q_logits(output.carry.answer_state)
    after = model.eval()(*puzzles, carry=output.carry).carry
    halt, go_on = model.q_logits(after.answer_state)
    _, halt_losses, _ = puzzle_losses(output.logits, output.halt_logits, puzzles[2], model.config)
    expected = halt_losses + F.binary_cross_entropy_with_logits(
        continue_logits, torch.maximum(halt, go_on).sigmoid(), reduction="none"
    )
    torch.testing.assert_close(output.halt_loss, expected.mean())


# Recipes

PUBLISHED = {  # of its code: steps, weight decay, learning rate of the puzzle embeddings
    "hrm_sudoku_extreme": (26041, 1.0, 1e-4),
    "hrm_maze_hard": (26041, 1.0, 1e-4),
    "hrm_arc_agi_1": (518070, 0.1, 1e-2),
    "hrm_arc_agi_2": (725651, 0.1, 1e-2),  # the epochs of our data, see there
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_recipes_have_the_published_settings(name: str) -> None:
    command = ["--config", str(RECIPES / f"{name}.yaml")]
    args, model = parse_arguments([TrainArguments, model_arguments()], command)
    steps, weight_decay, puzzle_rate = PUBLISHED[name]
    expected: dict[str, Any] = {"max_steps": steps, "weight_decay": weight_decay, "batch_size": 768}
    expected |= {"learning_rate": 1e-4, "adam_beta1": 0.9, "adam_beta2": 0.95, "atan2_rule": "official"}
    expected |= {"warmup_steps": 2000, "min_learning_rate_ratio": 1.0, "max_grad_norm": None, "ema_decay": 0.0}
    expected |= {"puzzle_embedding_learning_rate": puzzle_rate, "puzzle_embedding_weight_decay": weight_decay}
    assert {field: getattr(args, field) for field in expected} == expected
    config: dict[str, Any] = {"hidden_size": 512, "num_hidden_layers": 4, "num_answer_layers": 4}
    config |= {
        "token_mixer": "attention",
        "position_embedding_type": "rope",
        "num_attention_heads": 8,
        "num_puzzle_tokens": 1,
        "deep_cycles": 2,
    }
    config |= {"latent_cycles": 2, "gradient_cycles": 1, "gradient_latent_cycles": 1, "halt_q_learning": True}
    config |= {"max_supervision_steps": 16, "halt_exploration_prob": 0.1, "loss_type": "stablemax"}
    assert {field: getattr(model, field) for field in config} == config


def test_the_papers_table_has_a_file_per_row() -> None:
    """Each differs from TRM's in what its row says, and in nothing else."""
    folder = RECIPES.parent / "experiments" / "paper_table_1"
    base = read_recipe(folder / "trm.yaml")
    changes = {
        path.stem: {field: value for field, value in read_recipe(path).items() if base.get(field) != value}
        for path in folder.glob("*.yaml")
    }
    hrm = changes.pop("hrm")
    assert changes == {
        "trm": {},
        "act": {"halt_q_learning": True},
        "separate_networks": {"num_answer_layers": 2},
        "no_average": {"ema_decay": 0.0},
        "four_layers": {"num_hidden_layers": 4, "latent_cycles": 3},
        "attention": {"token_mixer": "attention", "position_embedding_type": "rope"},
        "few_cycles": {"deep_cycles": 2, "latent_cycles": 2},
        "one_step_gradient": {"gradient_latent_cycles": 1},
    }
    assert set(hrm) == {field for change in changes.values() for field in change}
