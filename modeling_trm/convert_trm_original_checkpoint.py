# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
r"""Turns a checkpoint of the official code into a folder that `from_pretrained` reads.

    python -m modeling_trm.convert_trm_original_checkpoint \
        --checkpoint step_65100 --allow_pickle --output_dir trm-sudoku [--push_to_hub ORG/NAME]

The checkpoint may also be on the Hub, as `ORG/NAME` or `ORG/NAME/folder/step_65100`. The official names stay in this
file. Sizes that the official configuration does not hold (it takes them from the dataset) are read off the weights.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import HfApi, ModelCardData, hf_hub_download
from huggingface_hub.errors import HTTPError
from safetensors.torch import load_file
from torch import Tensor

from . import PuzzleSolvingPipeline, TrmConfig, TrmForPuzzleSolving, TrmProcessor
from .hub_trm import HubError, HubRepository, model_files, one_line

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
CONFIG_NAMES = ("all_config.yaml", "config.yaml", "config.json")
# A name on the Hub: repository, what is in it (optional), revision (optional).
ON_THE_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<path>[^@]+))?(?:@(?P<revision>.+))?")
PICKLE = re.compile(r"(step_\d+|checkpoint|.*\.(pt|pth|bin|ckpt))")


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


def load_original(path: Path, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Reads safetensors, or a pickled state dict with `weights_only=True` (tensors only, no code is run)."""
    if path.suffix == ".safetensors":
        return load_file(path)
    if not allow_pickle:
        raise ConversionError(
            f"{path} is not .safetensors: --allow_pickle reads the tensors of a pickled file, and runs nothing in it"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ConversionError(f"{path} is not a state dict of tensors")
    return state


def find_checkpoint(name: str, config: Path | None) -> tuple[Path, Path]:
    """The files of a checkpoint and of its configuration, which lies beside it unless it is given.

    Args:
        name: a file, or `ORG/NAME[/path][@revision]` on the Hub, where `path` is the weights or their folder.
        config: of the configuration.

    Raises:
        ConversionError: they cannot be found, or there are several.
    """
    on_hub = ON_THE_HUB.fullmatch(name)
    if Path(name).is_file() or on_hub is None:
        beside = [path for path in (Path(name).with_name(file) for file in CONFIG_NAMES) if path.is_file()]
        if config is None and not beside:
            raise ConversionError(f"there is no {CONFIG_NAMES[0]} beside {name}: pass --config")
        return Path(name), config or beside[0]
    repo, start, revision = on_hub["repo"], (on_hub["path"] or "").rstrip("/"), on_hub["revision"]
    try:
        files = HfApi().list_repo_files(repo, revision=revision)
        inside = [file for file in files if file == start or file.startswith(start and f"{start}/")]
        weights = choose_weights(name, inside)
        folders = (weights.rpartition("/")[0] + "/", "")
        beside_it = [folder.lstrip("/") + file for folder in folders for file in CONFIG_NAMES]
        found = [file for file in beside_it if file in files]
        if config is None and not found:
            raise ConversionError(f"there is no {CONFIG_NAMES[0]} beside {repo}/{weights}: pass --config")
        path = hf_hub_download(repo, weights, revision=revision)
        return Path(path), config or Path(hf_hub_download(repo, found[0], revision=revision))
    except (HTTPError, OSError, ValueError) as error:
        raise ConversionError(f"{name} is no file, and cannot be read from the Hub: {one_line(error)}") from error


def choose_weights(name: str, files: list[str]) -> str:
    """The one file of weights; safetensors come before pickles."""
    safe = [file for file in files if file.endswith(".safetensors")]
    found = safe or [file for file in files if PICKLE.fullmatch(file.rpartition("/")[2])]
    if len(found) != 1:
        several = f"several checkpoints, name one: {', '.join(found)}" if found else "no checkpoint"
        raise ConversionError(f"{name} holds {several}")
    return found[0]


def convert(
    checkpoint: Path, config: Path, output_dir: Path, seq_len: int | None = None, allow_pickle: bool = False
) -> TrmForPuzzleSolving:
    """Converts a checkpoint and writes weights, configuration, code and, for 9x9 Sudoku, processor and pipeline."""
    for path in (checkpoint, config):
        if not path.is_file():
            raise ConversionError(f"{path} does not exist")
    if output_dir.exists() and not output_dir.is_dir():
        raise ConversionError(f"{output_dir} is a file: give a folder to write to")
    try:
        state = load_original(checkpoint, allow_pickle)
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
        kinds = dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in unknown)
        raise ConversionError(f"{checkpoint} has weights that TRM has not: {', '.join(kinds)}")
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
    if (model.config.vocab_size, model.config.seq_len) == (11, 81):
        PuzzleSolvingPipeline(model=model, processor=TrmProcessor.for_sudoku()).save_pretrained(output_dir)
    else:
        model.save_pretrained(output_dir)
    return model


def card(name: str, origin: str, model: TrmForPuzzleSolving) -> str:
    """README.md of a converted model: where it comes from, and that nothing was measured."""
    on_hub = ON_THE_HUB.fullmatch(origin)
    header = ModelCardData(
        license="other",
        library_name="transformers",
        pipeline_tag="other",
        tags=["trm", "recursive-reasoning", "custom_code"],
        base_model=on_hub["repo"] if on_hub else None,
    )
    return f"""---
{header.to_yaml()}
---

# {name}

TRM, the Tiny Recursive Model ([arXiv 2510.04871](https://arxiv.org/abs/2510.04871)), {model.num_parameters():,}
parameters, for grids of {model.config.seq_len} cells. The weights are those of `{origin}`, a checkpoint of the
official code, under the names that `transformers` reads; see there for their authors, training and licence.

```python
from transformers import AutoModel

model = AutoModel.from_pretrained("{name}", trust_remote_code=True)
solution = model.solve(input_ids)  # [batch, {model.config.seq_len}], the tokens of the official data
```

## Evaluation

<!-- evaluation -->
Not evaluated: there are no results for these weights.
<!-- /evaluation -->
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert a checkpoint of the official TRM code.", allow_abbrev=False)
    parser.add_argument("--checkpoint", required=True, help="file, or ORG/NAME[/path][@revision] on the Hub")
    parser.add_argument(
        "--config", type=Path, help=f"the official configuration; {CONFIG_NAMES[0]} beside the weights"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder to write")
    parser.add_argument("--seq_len", type=int, help="cells of a puzzle, where the weights do not tell")
    parser.add_argument("--allow_pickle", action="store_true", help="read the tensors of a pickled checkpoint")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="model repository to publish to")
    parser.add_argument("--hub_private", action="store_true", help="publish for your organisation only")
    args = parser.parse_args(arguments)
    try:
        repository = HubRepository(args.push_to_hub) if args.push_to_hub else None
        if repository is not None:
            repository.create(args.hub_private)
        paths = find_checkpoint(args.checkpoint, args.config)
        model = convert(*paths, args.output_dir, args.seq_len, args.allow_pickle)
        config = model.config
        print(
            f"wrote {args.output_dir}: {model.num_parameters():,} parameters, "
            f"{config.token_mixer} mixer, {config.seq_len} cells"
        )
        if repository is not None:
            origin = args.checkpoint if not Path(args.checkpoint).exists() else Path(args.checkpoint).name
            text = card(args.push_to_hub, origin, model).encode()
            files: dict[str, Path | bytes] = {**model_files(args.output_dir), "README.md": text}
            repository.commit(files, f"Convert {origin}", repository.head())
            print(f"published {repository.url}")
    except (ConversionError, HubError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
