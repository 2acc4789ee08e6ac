# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Numbers of the official implementations (TRM e7b6871, HRM 42410da, float32 on a CPU), and models of their weights.

Files `hrm_*` are of sapientinc/HRM, but for `hrm_forward_mlp_t` (HRM of TRM's repository) and `hrm_halting_trm` (TRM
with Q-learning, its one line that crashes mended).
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from modeling_trm import TrmForPuzzleSolving
from modeling_trm.convert_trm_original_checkpoint import convert_config, convert_state_dict

GOLDENS = Path(__file__).parent / "fixtures" / "goldens"
FORWARD_VARIANTS = sorted(
    path.stem for name in ("forward_*", "hrm_forward_*") for path in GOLDENS.glob(f"{name}.safetensors")
)


def golden(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The JSON description and the tensors of one golden file."""
    description = json.loads((GOLDENS / f"{name}.json").read_text())
    path = GOLDENS / f"{name}.safetensors"
    return description, load_file(path) if path.exists() else {}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix.`, without it."""
    return {
        name.removeprefix(prefix + "."): tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")
    }


def converted(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Official tensors under `prefix` by our names."""
    weights, unknown = convert_state_dict(part(tensors, prefix))
    assert not unknown
    return weights


def build_model(config: dict[str, Any], tensors: dict[str, Tensor], prefix: str) -> TrmForPuzzleSolving:
    """The model with the official weights found under `prefix`."""
    weights = converted(tensors, prefix)
    model = TrmForPuzzleSolving(convert_config(config, weights))
    model.load_state_dict(weights)
    return model
