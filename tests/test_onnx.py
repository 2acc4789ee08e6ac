# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The ONNX files compute the model's supervision step, whatever the batch, in onnxruntime."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_model

from modeling_trm.export_trm_to_onnx import (
    LEAST_HALVED,
    OUTPUTS,
    SupervisionStep,
    example_inputs,
    export_to_onnx,
    main,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

KINDS: dict[str, dict[str, Any]] = {
    "attention, puzzles": {"position_embedding_type": "rope", "normalize_attention": True, "state_damping": 0.1},
    "symbols, random states": {
        **{"num_symbols": 5, "token_mixer": "mlp", "normalize_glu": True, "random_initial_states": True},
        **{"num_puzzles": 1, "num_puzzle_tokens": 0, "puzzle_embedding_size": 0, "num_register_tokens": 1},
    },
}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_each_step_is_the_models(kind: str, tmp_path: Path) -> None:
    """From common states, batches of one and three: with weights of half the bytes, the model of these."""
    model = tiny_model(dtype=torch.float32, **KINDS[kind])
    paths = export_to_onnx(model, tmp_path / "onnx")
    assert [path.name for path in paths] == ["model.onnx", "model_fp16.onnx"]
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == [path.name for path in paths]
    weights = 4 * model.num_parameters()
    assert paths[0].stat().st_size < weights + 100_000 and b"/tests/" not in paths[0].read_bytes()
    assert paths[1].stat().st_size < paths[0].stat().st_size
    for path, tolerance in zip(paths, (1e-4, 1e-3), strict=True):  # tables of angles are rounded like the weights
        if path.name == "model_fp16.onnx":
            for weight in model.parameters():
                weight.copy_(weight.half() if weight.numel() >= LEAST_HALVED else weight)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        if model.config.random_initial_states:
            assert "initial_answer_state" not in metadata
        else:
            assert json.loads(metadata["initial_answer_state"]) == model.model.initial_answer_state.tolist()
        for batch in (1, 3):
            inputs = example_inputs(model, batch, seed=1)
            assert {one.name for one in session.get_inputs()} == inputs.keys()
            for _ in range(3):
                found = session.run(list(OUTPUTS), {name: value.numpy() for name, value in inputs.items()})
                wanted = SupervisionStep(model)(**inputs)
                for ours, want in zip(found, wanted, strict=True):
                    assert (torch.tensor(ours) - want).abs().max() <= tolerance * max(1, want.abs().max())
                inputs |= {"answer_state": wanted[2], "latent_state": wanted[3]}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model(dtype=torch.float32, num_puzzles=1, deep_cycles=1, latent_cycles=1, num_hidden_layers=1)
    model.save_pretrained(tmp_path / "model")
    main(["--model", str(tmp_path / "model"), "--output_dir", str(tmp_path / "out")])
    assert f"wrote {tmp_path / 'out' / 'onnx' / 'model.onnx'} (" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "trm"
    with pytest.raises(SystemExit) as stopped:
        main(["--model", str(tmp_path / "none"), "--output_dir", str(tmp_path / "out")])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
