# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A saved folder is a whole model: it loads where this package is not, with every weight and buffer as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from remote_code import PACKAGE, needed_files, run_without_the_package
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import tiny_batch, tiny_config, tiny_model
from torch import nn
from transformers import AutoConfig, AutoModel

from modeling_trm import TrmForPuzzleSolving, TrmModel, TrmProcessor

FRESH_PROCESS = """
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor

folder, inputs, results = arguments
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
given = load_file(inputs)
tensors = {"state." + name: tensor for name, tensor in model.state_dict().items()}
carry = None
with torch.no_grad():
    for step in range(2):
        output = model(given["input_ids"], given["puzzle_ids"], carry=carry)
        carry = output.carry
        tensors[f"logits{step}"], tensors[f"halt_logits{step}"] = output.logits, output.halt_logits
solution = model.solve(given["input_ids"], given["puzzle_ids"])
tensors |= {"solution." + name: tensor for name, tensor in solution.items()}
tensors["tokens"] = processor("12.\\n..3")["input_ids"]
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, results)
kinds = {"config": type(config), "model": type(model), "processor": type(processor)}
described = {name: [kind.__module__.split(".")[0], kind.__name__] for name, kind in kinds.items()}
print(json.dumps(described | {"training": model.training, "text": processor.decode(solution.answers[0])}))
"""
PROCESSOR = TrmProcessor(["<pad>", ".", *"12345"], 2, 3)


@pytest.fixture(scope="module")
def model() -> TrmForPuzzleSolving:
    return tiny_model(dtype=torch.float32, num_register_tokens=1, position_embedding_type="learned", num_symbols=5)


@pytest.fixture(scope="module")
def folder(model: TrmForPuzzleSolving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "trm-tiny"
    model.save_pretrained(path)
    PROCESSOR.save_pretrained(path)
    return path


def test_the_folder_holds_what_is_needed_and_nothing_else(folder: Path) -> None:
    """No pickle, no cache, no file of the package that loading does not use."""
    code = needed_files("configuration_trm.py", "modeling_trm.py", "processing_trm.py")
    expected = code | {"config.json", "model.safetensors", "processor_config.json"}
    assert {path.name for path in folder.iterdir()} == expected
    for name in code:
        assert (folder / name).read_bytes() == (PACKAGE / name).read_bytes()
    assert json.loads((folder / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_trm.TrmConfig",
        "AutoModel": "modeling_trm.TrmForPuzzleSolving",
    }


def test_a_fresh_process_without_the_package(model: TrmForPuzzleSolving, folder: Path, tmp_path: Path) -> None:
    """Logits and answers are equal to the last bit, and so is every weight and buffer."""
    input_ids, puzzle_ids, _ = tiny_batch(4)
    save_file({"input_ids": input_ids, "puzzle_ids": puzzle_ids}, tmp_path / "inputs.safetensors")
    files = [tmp_path / "inputs.safetensors", tmp_path / "results.safetensors"]
    printed = run_without_the_package(FRESH_PROCESS, [folder, *files], tmp_path)
    tensors = load_file(files[1])

    state = model.state_dict()
    assert {name.removeprefix("state.") for name in tensors if name.startswith("state.")} == set(state)
    for name, tensor in state.items():
        assert torch.equal(tensors[f"state.{name}"], tensor), name
    carry = None
    with torch.no_grad():
        for step in range(2):
            output = model(input_ids, puzzle_ids, carry=carry)
            carry = output.carry
            assert torch.equal(tensors[f"logits{step}"], output.logits)
            assert torch.equal(tensors[f"halt_logits{step}"], output.halt_logits)
    solution = model.solve(input_ids, puzzle_ids)
    for name, tensor in solution.items():
        assert torch.equal(tensors[f"solution.{name}"], tensor), name
    assert tensors["tokens"].tolist() == [[2, 3, 1, 1, 1, 4]]
    assert json.loads(printed.splitlines()[-1]) == {
        "config": ["transformers_modules", "TrmConfig"],
        "model": ["transformers_modules", "TrmForPuzzleSolving"],
        "processor": ["transformers_modules", "TrmProcessor"],
        "training": False,
        "text": PROCESSOR.decode(solution.answers[0]),
    }


def test_the_auto_classes_know_the_package(folder: Path) -> None:
    """Where it is installed, no remote code is run and none needs to be trusted."""
    assert type(AutoConfig.from_pretrained(folder)).__module__ == "modeling_trm.configuration_trm"
    assert type(AutoModel.from_pretrained(folder)) is TrmForPuzzleSolving


# Initialisation: what from_pretrained builds on the meta device is filled by `_init_weights` or by the file


VARIANTS: list[dict[str, Any]] = [
    {"position_embedding_type": "learned", "num_register_tokens": 2},
    {"token_mixer": "mlp", "position_embedding_type": "none"},
    {"num_puzzle_tokens": 0, "puzzle_embedding_size": 0},
]


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and all buffers, also those that are not saved."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def check_fresh(name: str, tensor: torch.Tensor) -> None:
    """The official law: constants, or a normal of the right deviation cut at two."""
    assert tensor.isfinite().all(), name
    if name == "halt_head.bias":
        assert (tensor == -5).all()
    elif name in ("halt_head.weight", "model.puzzle_embeddings.weight"):
        assert (tensor == 0).all()
    else:
        std = tensor.shape[1] ** -0.5 if tensor.ndim == 2 else 1.0
        assert tensor.abs().max() <= 2 * std / 0.8796 * 1.001, name
        assert 0.4 * std < tensor.std() < 1.6 * std, name


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_initialisation_leaves_nothing_out(fields: dict[str, Any]) -> None:
    """Every number is poisoned; those that survive were never initialised."""
    model = TrmForPuzzleSolving(tiny_config(**fields))
    for thing in (*model.modules(), *tensors_of(model).values()):
        if hasattr(thing, "_is_hf_initialized"):
            del thing._is_hf_initialized
    with torch.no_grad():
        for tensor in tensors_of(model).values():
            tensor.fill_(torch.nan)
    model.init_weights()
    for name, tensor in tensors_of(model).items():
        check_fresh(name, tensor)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_what_a_file_lacks_is_initialised_and_what_it_has_is_kept(fields: dict[str, Any], tmp_path: Path) -> None:
    """Loading goes over the meta device: weights that the file lacks come from memory nobody wrote to."""
    model = tiny_model(dtype=torch.float32, **fields)
    model.save_pretrained(tmp_path)
    kept = {name: tensor for name, tensor in model.state_dict().items() if name.endswith("gate_up_proj.weight")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = tensors_of(TrmForPuzzleSolving.from_pretrained(tmp_path, ignore_mismatched_sizes=True))
    assert set(loaded) == set(tensors_of(model))
    for name, tensor in loaded.items():
        if name in kept:
            assert torch.equal(tensor, kept[name]), name
        else:
            check_fresh(name, tensor)


def test_every_buffer_is_saved(model: TrmForPuzzleSolving, folder: Path) -> None:
    assert {name for name, _ in model.named_buffers()} == {"model.initial_answer_state", "model.initial_latent_state"}
    saved = load_file(folder / "model.safetensors")
    assert set(saved) == set(tensors_of(model))
    loaded = tensors_of(TrmForPuzzleSolving.from_pretrained(folder))
    for name, tensor in tensors_of(model).items():
        assert torch.equal(saved[name], tensor), name
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].requires_grad == tensor.requires_grad, name


def test_from_head_to_base_and_back(model: TrmForPuzzleSolving, folder: Path, tmp_path: Path) -> None:
    base = TrmModel.from_pretrained(folder)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(base.state_dict()[name], tensor), name
    base.save_pretrained(tmp_path)
    assert not any(
        name.startswith(("model.", "lm_head", "halt_head")) for name in load_file(tmp_path / "model.safetensors")
    )
    again = TrmForPuzzleSolving.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    for name, tensor in tensors_of(again).items():
        if name.startswith("model."):
            assert torch.equal(tensor, model.state_dict()[name]), name
        else:
            check_fresh(name, tensor)


def test_dtype_of_the_file_and_dtype_asked_for(model: TrmForPuzzleSolving, tmp_path: Path) -> None:
    TrmForPuzzleSolving.from_pretrained(save(model, tmp_path / "single"), dtype=torch.bfloat16).save_pretrained(
        tmp_path / "half"
    )
    with safe_open(tmp_path / "half" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    as_saved = TrmForPuzzleSolving.from_pretrained(tmp_path / "half")
    assert {tensor.dtype for tensor in tensors_of(as_saved).values()} == {torch.bfloat16}
    widened = TrmForPuzzleSolving.from_pretrained(tmp_path / "half", dtype=torch.float32)
    for name, tensor in tensors_of(widened).items():
        assert tensor.dtype == torch.float32, name
        assert torch.equal(tensor, model.state_dict()[name].bfloat16().float()), name


def save(model: TrmForPuzzleSolving, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder
