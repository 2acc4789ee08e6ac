# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The converter: official checkpoints, as they lie on a disk, become folders that give the official numbers."""

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from goldens import FORWARD_VARIANTS, golden, part
from hub import WRITER, Blob, card_errors, client_environment, running_hub
from safetensors.torch import save_file
from torch import Tensor

from modeling_trm import TrmForPuzzleSolving, TrmProcessor
from modeling_trm import convert_trm_original_checkpoint as converter
from modeling_trm.convert_trm_original_checkpoint import main

SIZES = ("vocab_size", "seq_len", "num_puzzle_identifiers", "batch_size")  # the official code has them from the data
FORMS = [  # suffix of the weights, prefix of their names, form of the configuration
    ("pt", "", "flat.json"),
    ("safetensors", "_orig_mod.", "flat.yaml"),
    ("pt", "model.", "all_config.yaml"),
    ("", "_orig_mod.model.", "all_config.yaml"),
]


def write_checkpoint(path: Path, state: dict[str, Tensor], prefix: str = "") -> Path:
    named = {prefix + name: tensor for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        save_file(named, path)
    else:
        torch.save(named, path)
    return path


def write_config(path: Path, config: dict[str, Any], loss_type: str = "stablemax_cross_entropy") -> Path:
    """Nested as the official training writes it, where the file is called so; otherwise the model's fields alone."""
    if path.name == "all_config.yaml":
        arch = {"name": "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1", **config}
        arch["loss"] = {"name": "losses@ACTLossHead", "loss_type": loss_type}
        config = {"arch": arch, "data_paths": ["data/sudoku"], "global_batch_size": 768, "lr": 1e-4, "ema": True}
    path.write_text(json.dumps(config) if path.suffix == ".json" else yaml.safe_dump(config))
    return path


@pytest.fixture
def official() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of an official model with the MLP mixer."""
    description, tensors = golden("forward_mlp_t")
    return description["config"], part(tensors, "state")


def convert(*arguments: Any) -> TrmForPuzzleSolving:
    return converter.convert(*arguments, allow_pickle=True)


# Every variant in two forms, every form in four variants.
CASES = [(variant, FORMS[(number + shift) % 4]) for number, variant in enumerate(FORWARD_VARIANTS) for shift in (0, 1)]


@pytest.mark.parametrize(("variant", "form"), CASES, ids=["-".join([variant, *form]) for variant, form in CASES])
def test_a_converted_folder_gives_the_official_numbers(
    variant: str, form: tuple[str, str, str], tmp_path: Path
) -> None:
    suffix, prefix, config_name = form
    description, tensors = golden(variant)
    config = {name: value for name, value in description["config"].items() if name not in SIZES}
    weights_tell = config.get("mlp_t") or config["pos_encodings"] == "learned"
    convert(
        write_checkpoint(tmp_path / f"step_100{suffix and '.'}{suffix}", part(tensors, "state"), prefix),
        write_config(tmp_path / config_name, config),
        tmp_path / "converted",
        None if weights_tell else 16,
    )
    model = TrmForPuzzleSolving.from_pretrained(tmp_path / "converted")
    batch = part(tensors, "batch")
    with torch.no_grad():
        output = model(batch["inputs"], batch["puzzle_identifiers"], batch["labels"])
    torch.testing.assert_close(output.logits, tensors["step0.logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.halt_logits, tensors["step0.q_halt_logits"], atol=1e-5, rtol=0)
    assert output.loss.item() * len(batch["inputs"]) == pytest.approx(description["steps"][0]["loss"], abs=1e-3)

    ours, theirs = model.config, description["config"]
    assert (ours.vocab_size, ours.seq_len) == (theirs["vocab_size"], theirs["seq_len"])
    assert (ours.deep_cycles, ours.latent_cycles) == (theirs["H_cycles"], theirs["L_cycles"])
    assert ours.max_supervision_steps == theirs["halt_max_steps"]
    assert ours.halt_exploration_prob == theirs["halt_exploration_prob"]
    assert ours.puzzle_embedding_size == theirs["puzzle_emb_ndim"]
    if ours.puzzle_embedding_size:
        assert ours.num_puzzles == theirs["num_puzzle_identifiers"]


@pytest.mark.parametrize("field", ["loss_type", "halt_exploration_prob", "rope_theta", "rms_norm_eps"])
def test_fields_that_no_weight_tells(field: str, official: tuple[dict, dict], tmp_path: Path) -> None:
    config, state = official
    value = {"loss_type": "softmax_cross_entropy", "halt_exploration_prob": 0.25, "rope_theta": 500.0}.get(field, 1e-6)
    model = convert(
        write_checkpoint(tmp_path / "weights.pt", state),
        write_config(tmp_path / "config.json", config | {field: value}),
        tmp_path / "converted",
    )
    assert getattr(model.config, field) == ("softmax" if field == "loss_type" else value)


def test_the_loss_of_a_nested_configuration(official: tuple[dict, dict], tmp_path: Path) -> None:
    config, state = official
    for loss_type, expected in (("softmax_cross_entropy", "softmax"), ("stablemax_cross_entropy", "stablemax")):
        model = convert(
            write_checkpoint(tmp_path / "weights.pt", state),
            write_config(tmp_path / "all_config.yaml", config, loss_type),
            tmp_path / expected,
        )
        assert model.config.loss_type == expected


def test_buffers_of_the_official_training_step_are_left_out(official: tuple[dict, dict], tmp_path: Path) -> None:
    config, state = official
    scratch = {
        "inner.puzzle_emb.local_weights": torch.zeros(8, 64),
        "inner.puzzle_emb.local_ids": torch.zeros(8, dtype=torch.int32),
        "inner.rotary_emb.cos_cached": torch.zeros(20, 16),
        "inner.rotary_emb.sin_cached": torch.zeros(20, 16),
    }
    model = convert(
        write_checkpoint(tmp_path / "weights.pt", state | scratch),
        write_config(tmp_path / "config.json", config),
        tmp_path / "converted",
    )
    assert torch.equal(model.lm_head.weight, state["inner.lm_head.weight"])


def test_a_sudoku_model_gets_its_processor(tmp_path: Path, official: tuple[dict, dict]) -> None:
    """Eleven tokens and 81 cells are 9x9 Sudoku; other sizes are not guessed."""
    config, state = official
    checkpoint, fields = write_checkpoint(tmp_path / "weights.pt", state), tmp_path / "config.json"
    convert(checkpoint, write_config(fields, config), tmp_path / "other")
    assert not (tmp_path / "other" / "processor_config.json").exists()
    _, attention = golden("forward_attn")
    checkpoint = write_checkpoint(tmp_path / "attention.pt", part(attention, "state"))
    config = golden("forward_attn")[0]["config"] | {"seq_len": 81}
    convert(checkpoint, write_config(fields, config), tmp_path / "sudoku")
    processor = TrmProcessor.from_pretrained(tmp_path / "sudoku")
    assert processor.vocabulary == TrmProcessor.for_sudoku().vocabulary


# Mistakes


def run(*arguments: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "modeling_trm.convert_trm_original_checkpoint", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_as_a_command(official: tuple[dict, dict], tmp_path: Path) -> None:
    config, state = official
    config = {name: value for name, value in config.items() if name not in SIZES}
    checkpoint = write_checkpoint(tmp_path / "step_100", state, "_orig_mod.model.")
    fields = write_config(tmp_path / "all_config.yaml", config)
    done = run(
        "--checkpoint", checkpoint, "--config", fields, "--output_dir", tmp_path / "converted", "--allow_pickle"
    )
    assert done.returncode == 0, done.stderr
    assert "mlp mixer, 16 cells" in done.stdout
    model = TrmForPuzzleSolving.from_pretrained(tmp_path / "converted")
    assert torch.equal(model.lm_head.weight, state["inner.lm_head.weight"])


def test_a_malicious_pickle_is_not_executed(official: tuple[dict, dict], tmp_path: Path) -> None:
    config, state = official
    fields, marker = write_config(tmp_path / "config.json", config), tmp_path / "executed"
    torch.save({**state, "inner.evil": Evil(marker)}, tmp_path / "evil.pt")
    command = ["--checkpoint", tmp_path / "evil.pt", "--config", fields, "--output_dir", tmp_path / "out"]
    done = run(*command)
    assert done.returncode == 2
    assert "evil.pt is not .safetensors: --allow_pickle reads" in done.stderr
    done = run(*command, "--allow_pickle")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "evil.pt" in done.stderr
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil(marker), protocol=2))
    command[1] = tmp_path / "raw.pt"
    assert main([*map(str, command), "--allow_pickle"]) == 2
    assert not marker.exists()
    pickle.loads((tmp_path / "raw.pt").read_bytes())
    assert marker.exists()  # the trap was armed


def mistakes() -> dict[str, tuple[dict[str, Any], str]]:
    """Changes to a right command by name, and what the line must say. `None` removes a field or file."""
    return {
        "no checkpoint": ({"checkpoint": None}, "weights.pt does not exist"),
        "no configuration": ({"config_file": None}, "config.json does not exist"),
        "not a checkpoint": ({"checkpoint": b"hello"}, "weights.pt is not a readable checkpoint"),
        "an empty checkpoint": ({"checkpoint": b""}, "weights.pt is not a readable checkpoint"),
        "a list of tensors": ({"object": [torch.zeros(2)]}, "weights.pt is not a state dict of tensors"),
        "another model": ({"object": {"bert.weight": torch.zeros(2)}}, "has weights that TRM has not: bert.weight"),
        "no weights": ({"object": {}}, "the checkpoint has no 'model.embed_tokens.weight'"),
        "a weight missing": ({"drop": "inner.lm_head.weight"}, "lm_head.weight"),
        "not YAML": ({"config_file": b"{a: [1,"}, "config.json is not YAML or JSON"),
        "not text": ({"config_file": b"\xff\xfe\x00"}, "config.json is not YAML or JSON"),
        "no fields": ({"config_file": b"- 1\n- 2\n"}, "config.json holds no configuration fields"),
        "no number of heads": ({"num_heads": None}, "no field 'num_heads'"),
        "no cycles": ({"H_cycles": None}, "no field 'H_cycles'"),
        "zero cycles": ({"L_cycles": 0}, "latent_cycles=0 must be at least 1"),
        "a word for a number": ({"H_cycles": "three"}, "config.json: "),
        "attention with MLP weights": ({"mlp_t": False, "seq_len": 16}, "does not fit"),
        "positions with no table": ({"pos_encodings": "learned"}, "does not fit"),
        "heads that do not divide": (
            {"variant": "forward_attn", "num_heads": 7},
            "hidden_size=64 is not a multiple of num_attention_heads=7",
        ),
        "MLP with attention weights": ({"variant": "forward_attn", "mlp_t": True}, "token_mixer"),
        "rotary attention without length": ({"variant": "forward_attn", "seq_len": None}, "pass --seq_len"),
    }


@pytest.mark.parametrize("name", mistakes())
def test_a_mistake_is_one_line_and_writes_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = mistakes()[name]
    description, tensors = golden(changes.pop("variant", "forward_mlp_t"))
    checkpoint, fields, output = tmp_path / "weights.pt", tmp_path / "config.json", tmp_path / "output"
    state = part(tensors, "state")
    state.pop(changes.pop("drop", None), None)
    torch.save(changes.pop("object", state), checkpoint)
    files = {"checkpoint": checkpoint, "config_file": fields}
    contents = {path: changes.pop(kind) for kind, path in files.items() if kind in changes}
    config = description["config"] | changes
    write_config(fields, {field: value for field, value in config.items() if value is not None})
    for path, content in contents.items():
        path.unlink() if content is None else path.write_bytes(content)
    output.mkdir()
    (output / "mine.txt").write_text("kept")

    command = ["--checkpoint", str(checkpoint), "--config", str(fields), "--output_dir", str(output)]
    assert main([*command, "--allow_pickle"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_an_output_that_is_a_file_is_refused(
    official: tuple[dict, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "weights.pt", official[1])
    fields = write_config(tmp_path / "config.json", official[0])
    (tmp_path / "output").write_text("kept")
    command = ["--checkpoint", str(checkpoint), "--config", str(fields), "--output_dir", str(tmp_path / "output")]
    assert main([*command, "--allow_pickle"]) == 2
    assert "output is a file" in capsys.readouterr().err
    assert (tmp_path / "output").read_text() == "kept"


# The Hub


COMMANDS = """
import json, sys
from modeling_trm.convert_trm_original_checkpoint import main
for command in json.load(sys.stdin):
    status = main(command)
    print(f"STATUS {status}")
    print("STATUS", file=sys.stderr)
"""


def test_checkpoints_of_the_hub_and_to_the_hub(official: tuple[dict, dict], tmp_path: Path) -> None:
    config, state = official
    config = {name: value for name, value in config.items() if name not in SIZES}
    fields = write_config(tmp_path / "all_config.yaml", config).read_bytes()
    pickled = write_checkpoint(tmp_path / "step_100", state, "_orig_mod.model.").read_bytes()
    safe = write_checkpoint(tmp_path / "weights.safetensors", state).read_bytes()
    other = {f"_orig_mod.model.inner.M_level.layers.{n}.mlp.gate_up_proj.weight": torch.zeros(2, 2) for n in (0, 1)}
    strange = write_checkpoint(tmp_path / "strange", state | other | {"inner.extra.bias": torch.zeros(2)}).read_bytes()
    contents = {
        "them/sudoku": {"all_config.yaml": fields, "step_100": pickled},
        "them/safe": {"all_config.yaml": fields, "step_100": pickled, "step_100.safetensors": safe},
        "them/many": {"a/all_config.yaml": fields, "a/step_100": pickled, "b/step_200": pickled},
        "them/strange": {"all_config.yaml": fields, "checkpoint": strange},
    }
    publish = ("--push_to_hub", "me/converted")
    cases = [
        ("them/sudoku", (), "step_100 is not .safetensors: --allow_pickle reads"),
        ("them/sudoku", ("--allow_pickle", *publish), ""),
        ("them/safe", (), ""),
        ("them/many", ("--allow_pickle",), "them/many holds several checkpoints, name one: a/step_100, b/step_200"),
        ("them/many/a", ("--allow_pickle",), ""),
        ("them/many/b/step_200@main", ("--allow_pickle",), "there is no all_config.yaml beside them/many/b/step_200"),
        (
            "them/strange",
            ("--allow_pickle",),
            "that TRM has not: inner.M_level.layers.*.mlp.gate_up_proj.weight, inner.extra.bias",
        ),
        ("them/nothing", (), "them/nothing is no file, and cannot be read from the Hub: "),
    ]
    commands = [
        ["--checkpoint", name, "--output_dir", str(tmp_path / f"out{number}"), *words]
        for number, (name, words, _) in enumerate(cases)
    ]
    with running_hub() as hub:
        for name, files in contents.items():
            hub.create("models", name).add(
                "main", "weights", {path: Blob(data, False) for path, data in files.items()}
            )
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS],
            input=json.dumps(commands),
            env=client_environment(hub, HF_HOME=tmp_path / "cache"),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        published = hub.files("me/converted")
    assert WRITER not in done.stdout + done.stderr
    statuses = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("STATUS")]
    errors = [
        [line for line in part.splitlines() if line.startswith("error: ")] for part in done.stderr.split("STATUS")
    ]
    for number, (status, found, (name, _, message)) in enumerate(zip(statuses, errors, cases, strict=False)):
        folder = tmp_path / f"out{number}"
        assert (status, len(found)) == ((2, 1) if message else (0, 0)), (name, found)
        if message:
            assert message in found[0]
            assert not folder.exists()
        else:
            model = TrmForPuzzleSolving.from_pretrained(folder)
            assert torch.equal(model.lm_head.weight, state["inner.lm_head.weight"])
    assert published["model.safetensors"] == (tmp_path / "out1" / "model.safetensors").read_bytes()
    assert {"config.json", "modeling_trm.py", "configuration_trm.py", "README.md"} <= set(published)
    card = published["README.md"].decode()
    assert not card_errors(card)
    assert "base_model: them/sudoku" in card
    assert "Not evaluated" in card
