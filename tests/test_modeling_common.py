# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What transformers expects of every model, as its own `ModelTesterMixin` checks it, for the kinds of TRM."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model, infer_auto_device_map
from datasets import Dataset
from tiny import tiny_batch, tiny_model
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import Trainer, TrainingArguments
from transformers.utils.generic import ModelOutput

from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmModel
from training.devices import checkpoint_activations

REGISTER = {"num_puzzle_tokens": 0, "puzzle_embedding_size": 0, "num_register_tokens": 1}
MLP = {"token_mixer": "mlp", "position_embedding_type": "none"}
KINDS: dict[str, dict[str, Any]] = {
    "attention, puzzles": {},
    "attention, register": {**REGISTER, "position_embedding_type": "learned"},
    "mlp, puzzles": MLP,
    "mlp, register": MLP | REGISTER,
    "attention, puzzles, symbols": {"num_symbols": 5},
    "mlp, symbols": {**MLP, **REGISTER, "num_symbols": 5},
}
every_kind = pytest.mark.parametrize("kind", KINDS)
with_attention = pytest.mark.parametrize("kind", [kind for kind in KINDS if "attention" in kind])


def model_and_inputs(kind: str, dtype: torch.dtype = torch.float32) -> tuple[TrmForPuzzleSolving, dict[str, Tensor]]:
    inputs = dict(zip(("input_ids", "puzzle_ids", "labels"), tiny_batch(3), strict=True))
    if "puzzles" not in kind:
        del inputs["puzzle_ids"]
    return tiny_model(dtype=dtype, latent_cycles=1, **KINDS[kind]), inputs


def flat(output: Any) -> list[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.to_tuple() if isinstance(output, ModelOutput) else output
    return [tensor for part in parts for tensor in flat(part)]


def assert_equal(ours: Any, theirs: Any) -> None:
    ours, theirs = flat(ours), flat(theirs)
    assert len(ours) == len(theirs) > 0
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


# Arguments and outputs


def test_forward_signature() -> None:
    for cls in (TrmModel, TrmForPuzzleSolving):
        names = list(inspect.signature(cls.forward).parameters)
        assert names[1:3] == ["input_ids", "puzzle_ids"]
        assert names[-1] == "kwargs"
    assert "labels" in inspect.signature(TrmForPuzzleSolving.forward).parameters


@every_kind
def test_a_tuple_holds_what_the_output_holds(kind: str) -> None:
    """By argument or by configuration, with loss, carry and hidden states; the loss comes first."""
    model, inputs = model_and_inputs(kind)
    output = model(**inputs, output_hidden_states=True)
    as_tuple = model(**inputs, output_hidden_states=True, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert as_tuple[0].item() == output.loss.item()
    assert_equal(as_tuple, output)
    model.config.return_dict = False
    assert_equal(model(**inputs, output_hidden_states=True), output)
    assert_equal(model(**inputs, output_hidden_states=True, return_dict=True), output)
    inner = model.model(*list(inputs.values())[:-1])
    assert isinstance(inner, tuple)
    assert torch.equal(inner[0], output.carry.answer_state)


@every_kind
def test_hidden_states_are_those_of_every_application_of_a_layer(kind: str) -> None:
    """The last is the answer state; only the last deep cycle's carry a gradient; nothing is kept unless asked for."""
    model, inputs = model_and_inputs(kind)
    plain, output = model(**inputs), model(**inputs, output_hidden_states=True)
    assert plain.hidden_states is plain.attentions is output.attentions is None
    assert torch.equal(output.loss, plain.loss)
    states, per_cycle = output.hidden_states, (model.config.latent_cycles + 1) * model.config.num_hidden_layers
    assert len(states) == 1 + model.config.deep_cycles * per_cycle
    assert all(state.shape == output.carry.answer_state.shape for state in states)
    assert torch.equal(states[-1], output.carry.answer_state)
    assert [state.requires_grad for state in states[1:]] == [False] * per_cycle + [True] * per_cycle
    if "mlp" in kind:  # without rotary positions
        for number, layer in enumerate(model.model.network.layers):
            assert torch.equal(layer(states[number], None), states[number + 1])
    states[-1].retain_grad()
    output.loss.backward()
    assert states[-1].grad.abs().sum() > 0
    model.config.output_hidden_states = True
    assert len(model(**inputs).hidden_states) == len(states)


@with_attention
def test_attentions_are_the_weights_of_eager_attention(kind: str) -> None:
    model, inputs = model_and_inputs(kind)
    expected = model(**inputs).loss
    model.set_attn_implementation("eager")
    output = model(**inputs, output_attentions=True)
    torch.testing.assert_close(output.loss, expected)
    config = model.config
    length, rows = config.prefix_len + config.seq_len, 3 * max(1, config.num_symbols)
    assert len(output.attentions) == config.deep_cycles * (config.latent_cycles + 1) * config.num_hidden_layers
    for weights in output.attentions:
        assert weights.shape == (rows, config.num_attention_heads, length, length)
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert not torch.allclose(output.attentions[0], output.attentions[1])


@every_kind
def test_rows_of_a_batch_are_solved_as_if_alone(kind: str) -> None:
    model, inputs = model_and_inputs(kind, torch.float64)
    together = model(**inputs)
    for row in range(3):
        alone = model(**{name: column[row : row + 1] for name, column in inputs.items()})
        torch.testing.assert_close(alone.logits[0], together.logits[row])
        torch.testing.assert_close(alone.halt_logits[0], together.halt_logits[row])
        torch.testing.assert_close(alone.carry.latent_state[0], together.carry.latent_state[row])


# Attention kernels


@with_attention
def test_the_attention_kernels_agree(kind: str) -> None:
    model, inputs = model_and_inputs(kind, torch.float64)
    found = {}
    for name in ("eager", "sdpa"):
        model.set_attn_implementation(name)
        output = model(**inputs)
        model.zero_grad()
        output.loss.backward()
        found[name] = output.logits, {name: weight.grad.clone() for name, weight in model.named_parameters()}
    torch.testing.assert_close(found["eager"][0], found["sdpa"][0])
    for name, gradient in found["eager"][1].items():
        torch.testing.assert_close(gradient, found["sdpa"][1][name])


# Compiled and exported


@pytest.mark.parametrize("kind", ["attention, puzzles", "mlp, register", "attention, puzzles, symbols"])
def test_it_exports(kind: str) -> None:
    """Both models, outputs and carry included; the exported program solves other puzzles too."""
    model, inputs = model_and_inputs(kind)
    given = tuple(inputs.values())[:-1]
    other = tuple((column + 1) % column.max() for column in given)
    for module in (model, model.model):
        program = torch.export.export(module, given).module()
        assert_equal(program(*other), module(*other))


@pytest.mark.parametrize("kind", ["attention, puzzles", "mlp, symbols"])
def test_it_compiles_without_a_break(kind: str) -> None:
    """A step, and one that continues from its carry."""
    torch.compiler.reset()  # or the models of the tests before would count as recompilations
    model, inputs = model_and_inputs(kind, torch.float64)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    first = model(**inputs)
    assert_equal(compiled(**inputs), first)
    assert_equal(compiled(**inputs, carry=first.carry), model(**inputs, carry=first.carry))


# Saving, loading, offloading


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@every_kind
def test_it_loads_as_it_was_saved(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model, inputs = model_and_inputs(kind, dtype)
    model.save_pretrained(tmp_path)
    loaded, info = TrmForPuzzleSolving.from_pretrained(tmp_path, dtype=dtype, output_loading_info=True)
    assert not any(info.values())
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {dtype}
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(flat(loaded(**inputs)), flat(model(**inputs)))  # to rounding: memory is aligned anew


def test_the_recursion_is_placed_on_one_device() -> None:
    """Though half of its layers would fit the first."""
    model = tiny_model(num_hidden_layers=8)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    room = {0: 3 * size // 4, 1: 2 * size}
    devices = [
        set(infer_auto_device_map(model, room, no_split_module_classes=whole).values())
        for whole in (model._no_split_modules, ["TrmLayer"])
    ]
    assert devices == [{1}, {0, 1}]


@every_kind
def test_it_runs_offloaded(kind: str, tmp_path: Path) -> None:
    """Weights on the CPU or on disk come to the device with hooks, when their layer runs; a carry goes through."""
    model, inputs = model_and_inputs(kind)
    first = model(**inputs)
    expected = model(**inputs, carry=first.carry)

    def check(offloaded: nn.Module) -> None:
        assert any(parameter.device.type == "meta" for parameter in offloaded.parameters())
        step = offloaded(**inputs)
        assert_equal(step, first)
        assert_equal(offloaded(**inputs, carry=step.carry), expected)

    check(cpu_offload(model_and_inputs(kind)[0], "cpu"))
    check(disk_offload(model_and_inputs(kind)[0], tmp_path / "disk", "cpu"))
    places = {name: "cpu" for name, _ in model.named_children() if name != "model"}
    places |= {f"model.{name}": "cpu" for name, _ in model.model.named_children() if name != "network"}
    places |= {f"model.{name}": "cpu" for name, _ in model.model.named_buffers()}
    places |= {"model.network.layers.0": "disk", "model.network.layers.1": "cpu"}
    check(dispatch_model(model_and_inputs(kind)[0], places, "cpu", offload_dir=tmp_path / "parts", force_hooks=True))
    model.save_pretrained(tmp_path / "saved")
    check(
        TrmForPuzzleSolving.from_pretrained(
            tmp_path / "saved", device_map=places, offload_folder=tmp_path / "loaded", dtype=torch.float32
        )
    )


# Training


@every_kind
def test_gradient_checkpointing_gives_equal_gradients(kind: str) -> None:
    gradients = []
    for saving in (False, True):
        model, inputs = model_and_inputs(kind)
        model.train()
        if saving:
            checkpoint_activations(model)
        model(**inputs, min_steps=torch.zeros(3)).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert torch.equal(gradients[1][name], gradient), name


def test_the_default_configuration_trains_with_adamw() -> None:
    """The paper's, but for its width: the table of puzzle embeddings too, whose gradient is dense."""
    model = TrmForPuzzleSolving(TrmConfig(hidden_size=16, num_attention_heads=2, deep_cycles=1, latent_cycles=1))
    optimizer, before = AdamW(model.parameters()), model.model.puzzle_embeddings.weight.clone()
    tokens = torch.randint(0, 11, (2, 81), generator=torch.Generator().manual_seed(0))
    model.train()(tokens, labels=tokens).loss.backward()
    optimizer.step()
    assert not torch.equal(model.model.puzzle_embeddings.weight, before)


@every_kind
def test_trainer_trains_evaluates_and_saves(kind: str, tmp_path: Path) -> None:
    """Its metrics are those of the model's own outputs; the folder it saves gives the same ones."""
    model, inputs = model_and_inputs(kind)
    data = Dataset.from_dict({name: column.tolist() for name, column in inputs.items()})
    args = TrainingArguments(
        output_dir=tmp_path, report_to="none", use_cpu=True, disable_tqdm=True, max_steps=2, learning_rate=1e-2,
        per_device_train_batch_size=2, per_device_eval_batch_size=2, save_strategy="no", optim="adamw_torch",
    )  # fmt: skip

    def metrics(prediction: Any) -> dict[str, float]:
        logits, halt_logits = prediction.predictions[:2]
        answers, labelled = logits.argmax(-1), prediction.label_ids != -100
        assert halt_logits.shape == (3,)
        return {"cell_accuracy": (answers == prediction.label_ids)[labelled].mean()}

    trainer = Trainer(model=model, args=args, train_dataset=data, eval_dataset=data, compute_metrics=metrics)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer.train()
    learned = dict(model.named_parameters())
    assert all(not torch.equal(weight, before[name]) for name, weight in learned.items() if "puzzle" not in name)
    found = trainer.evaluate()
    trainer.save_model(tmp_path / "saved")
    loaded = TrmForPuzzleSolving.from_pretrained(tmp_path / "saved")
    output = loaded(**inputs)
    labelled = inputs["labels"] != -100
    assert found["eval_cell_accuracy"] == pytest.approx(output.correct[labelled].float().mean().item())


def test_trainer_accumulates_gradients_as_one_batch(tmp_path: Path) -> None:
    """The loss is a mean: two half batches must weigh half each."""
    weights = []
    for rows, parts in ((4, 1), (2, 2)):
        model = tiny_model(dtype=torch.float64, num_puzzles=1, max_supervision_steps=1)
        input_ids, _, labels = tiny_batch(4)
        data = Dataset.from_dict({"input_ids": input_ids.tolist(), "labels": labels.tolist()})
        args = TrainingArguments(
            output_dir=tmp_path, report_to="none", use_cpu=True, disable_tqdm=True, max_steps=1, learning_rate=1e-2,
            per_device_train_batch_size=rows, gradient_accumulation_steps=parts, save_strategy="no", optim="sgd",
            max_grad_norm=0.0,
        )  # fmt: skip
        Trainer(model=model, args=args, train_dataset=data).train()
        weights.append(model.state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, msg=lambda m, n=name: f"{n}: {m}")
