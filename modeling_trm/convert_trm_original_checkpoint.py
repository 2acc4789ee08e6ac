# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
r"""Turns a checkpoint of the official code into a folder that `from_pretrained` reads.

    python -m modeling_trm.convert_trm_original_checkpoint \
        --checkpoint step_65100 --config all_config.yaml --output_dir trm-sudoku

The official names stay in this file. Sizes that the official configuration does not hold (it takes them from the
dataset) are read off the weights.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from . import TrmConfig, TrmForPuzzleSolving, TrmProcessor

LAYER = r"^inner\.L_level\.layers\.(\d+)\."
WRAPPERS = re.compile(r"^(?:_orig_mod\.|model\.|module\.)+")
RENAMES = {
    r"^inner\.H_init$": "model.initial_answer_state",
    r"^inner\.L_init$": "model.initial_latent_state",
    r"^inner\.embed_tokens\.embedding_weight$": "model.embed_tokens.weight",
    r"^inner\.embed_pos\.embedding_weight$": "model.embed_positions.weight",
    r"^inner\.puzzle_emb\.weights$": "model.puzzle_embeddings.weight",
    r"^inner\.lm_head\.weight$": "lm_head.weight",
    r"^inner\.q_head\.(weight|bias)$": r"halt_head.\1",
    LAYER + r"(?:mlp_t|self_attn)\.(\w+)\.weight$": r"model.network.layers.\1.token_mixer.\2.weight",
    LAYER + r"mlp\.(\w+)\.weight$": r"model.network.layers.\1.mlp.\2.weight",
}
# Buffers of the official training step that hold the last batch, and tables that are computed here.
SCRATCH = re.compile(r"^inner\.(puzzle_emb\.local_(weights|ids)|rotary_emb\.(cos|sin)_cached)$")


OFFICIAL_PUZZLE_EMB_LEN = 16  # where the configuration does not say


class ConversionError(Exception):
    """A checkpoint or configuration that cannot be converted; the message is for the user."""


def convert_state_dict(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Renames official weights.

    Args:
        state: official tensors by name, with or without the prefixes that compiling and the loss head add.

    Returns:
        The tensors by our names, and the official names that have no place here.
    """
    converted, unknown = {}, []
    for name, tensor in state.items():
        name = WRAPPERS.sub("", name)
        for pattern, replacement in RENAMES.items():
            if re.match(pattern, name):
                converted[re.sub(pattern, replacement, name)] = tensor.clone()
                break
        else:
            if not SCRATCH.match(name):
                unknown.append(name)
    return converted, unknown


def convert_config(official: dict[str, Any], weights: dict[str, Tensor], seq_len: int | None = None) -> TrmConfig:
    """Builds the configuration from the official one (nested `all_config.yaml`, or flat) and the converted weights.

    Raises:
        ConversionError: a field is missing, contradicts the weights, or asks for what the official code cannot run.
    """
    arch = {**official, **official.get("arch", {})}
    arch.update(arch.get("loss", {}) if isinstance(arch.get("loss"), dict) else {})

    def field(name: str) -> Any:
        if name not in arch:
            raise ConversionError(f"the configuration has no field {name!r}")
        return arch[name]

    if not arch.get("no_ACT_continue", True):
        raise ConversionError(
            "no_ACT_continue=False (Q-learning of HRM) is not part of TRM; the official code cannot train it"
        )
    try:
        vocab_size, hidden_size = weights["model.embed_tokens.weight"].shape
        gate_up = weights["model.network.layers.0.mlp.gate_up_proj.weight"]
    except KeyError as error:
        raise ConversionError(f"the checkpoint has no {error}: is it a TRM checkpoint of the official code?") from None

    puzzles = weights.get("model.puzzle_embeddings.weight")
    size = 0 if puzzles is None else puzzles.shape[1]
    tokens = int(arch.get("puzzle_emb_len", OFFICIAL_PUZZLE_EMB_LEN)) if size else 0
    tokens = tokens or -(-size // hidden_size)
    uses_mlp = bool(arch.get("mlp_t", False))
    token_gate_up = weights["model.network.layers.0.token_mixer.gate_up_proj.weight"] if uses_mlp else None
    if token_gate_up is not None:
        inferred = token_gate_up.shape[1] - tokens
    elif "model.embed_positions.weight" in weights:
        inferred = weights["model.embed_positions.weight"].shape[0] - tokens
    else:
        inferred = None
    lengths = {int(length) for length in (inferred, seq_len, arch.get("seq_len")) if length is not None}
    if len(lengths) > 1:
        raise ConversionError(
            f"the weights, the configuration and --seq_len disagree on the length: {sorted(lengths)}"
        )
    seq_len = lengths.pop() if lengths else None
    if seq_len is None:
        raise ConversionError(
            "rotary attention weights do not tell the puzzle's length: pass --seq_len (Sudoku 81, others 900)"
        )

    is_softmax = str(arch.get("loss_type", "stablemax_cross_entropy")).startswith("softmax")
    position = arch.get("pos_encodings", "rope")
    layers = {int(match[1]) for name in weights if (match := re.match(r"model\.network\.layers\.(\d+)\.", name))}
    return TrmConfig(
        vocab_size=vocab_size,
        seq_len=seq_len,
        hidden_size=hidden_size,
        num_hidden_layers=len(layers),
        num_attention_heads=int(field("num_heads")),
        intermediate_size=gate_up.shape[0] // 2,
        token_mixer="mlp" if uses_mlp else "attention",
        token_mixer_intermediate_size=None if token_gate_up is None else token_gate_up.shape[0] // 2,
        position_embedding_type=position if position in ("rope", "learned") else "none",
        rope_theta=float(arch.get("rope_theta", 10000.0)),
        rms_norm_eps=float(arch.get("rms_norm_eps", 1e-5)),
        deep_cycles=int(field("H_cycles")),
        latent_cycles=int(field("L_cycles")),
        max_supervision_steps=int(field("halt_max_steps")),
        halt_exploration_prob=float(field("halt_exploration_prob")),
        loss_type="softmax" if is_softmax else "stablemax",
        num_puzzles=1 if puzzles is None else puzzles.shape[0],
        puzzle_embedding_size=size,
        num_puzzle_tokens=tokens,
    )


def load_original(path: Path, suffixes: tuple[str, ...] = (".safetensors",)) -> dict[str, Tensor]:
    """Reads safetensors, or a pickled state dict with `weights_only=True` (tensors only, no code is run)."""
    if path.suffix in suffixes:
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ConversionError(f"{path} is not a state dict of tensors")
    return state


def convert(checkpoint: Path, config: Path, output_dir: Path, seq_len: int | None = None) -> TrmForPuzzleSolving:
    """Converts a checkpoint and writes weights, configuration, code and, for 9x9 Sudoku, the processor."""
    for path in (checkpoint, config):
        if not path.is_file():
            raise ConversionError(f"{path} does not exist")
    if output_dir.exists() and not output_dir.is_dir():
        raise ConversionError(f"{output_dir} is a file: give a folder to write to")
    try:
        state = load_original(checkpoint)
    except ConversionError:
        raise
    except Exception as error:  # torch and safetensors raise a dozen types for a file of another kind
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConversionError(f"{checkpoint} is not a readable checkpoint: {reason}") from error
    try:
        official = yaml.safe_load(config.read_text())  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConversionError(f"{config} is not YAML or JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(official, dict):
        raise ConversionError(f"{config} holds no configuration fields")

    weights, unknown = convert_state_dict(state)
    if unknown:
        raise ConversionError(f"{checkpoint} has weights that TRM has not: {', '.join(unknown[:5])}")
    try:
        model = TrmForPuzzleSolving(convert_config(official, weights, seq_len))
    except ConversionError:
        raise
    except Exception as error:  # `@strict` wraps the message of each validator
        raise ConversionError(f"{config}: {str(error.__cause__ or error).splitlines()[-1].strip()}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConversionError(f"{config} does not fit {checkpoint}: {str(error).splitlines()[1].strip()}") from error
    model.save_pretrained(output_dir)
    if (model.config.vocab_size, model.config.seq_len) == (11, 81):
        TrmProcessor.for_sudoku().save_pretrained(output_dir)
    return model


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert a checkpoint of the official TRM code.", allow_abbrev=False)
    parser.add_argument("--checkpoint", type=Path, required=True, help="state dict, .safetensors or a torch file")
    parser.add_argument(
        "--config", type=Path, required=True, help="all_config.yaml, or the model's fields as JSON/YAML"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write")
    parser.add_argument("--seq_len", type=int, help="cells of a puzzle, where the weights do not tell")
    args = parser.parse_args(arguments)
    try:
        model = convert(args.checkpoint, args.config, args.output_dir, args.seq_len)
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    config = model.config
    print(
        f"wrote {args.output_dir}: {model.num_parameters():,} parameters, "
        f"{config.token_mixer} mixer, {config.seq_len} cells"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
