# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
r"""Turns a checkpoint of the official code of TRM, or of its predecessor HRM, into a folder for `from_pretrained`.

    python -m modeling_trm.convert_trm_original_checkpoint \
        --checkpoint step_65100 --allow_pickle --output_dir trm-sudoku [--push_to_hub ORG/NAME]

The checkpoint may also be on the Hub, as `ORG/NAME` or `ORG/NAME/folder/step_65100`. The official names stay in this
file. Sizes that the official configuration does not hold (it takes them from the dataset) are read off the weights. A
checkpoint of one of the official tasks needs no configuration: a line says what was assumed in its place.
"""

import argparse
import json
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import HfApi, ModelCardData, hf_hub_download
from huggingface_hub.errors import HTTPError
from safetensors.torch import load_file
from torch import Tensor

from . import PuzzleSolvingPipeline, TrmConfig, TrmForPuzzleSolving, TrmProcessor
from .console import one_line
from .hub_trm import HubError, HubRepository, model_files

WRAPPERS = re.compile(r"^(?:_orig_mod\.|model\.|module\.)+")
NAMES = {
    "inner.H_init": "model.initial_answer_state",
    "inner.L_init": "model.initial_latent_state",
    "inner.embed_tokens.embedding_weight": "model.embed_tokens.weight",
    "inner.embed_pos.embedding_weight": "model.embed_positions.weight",
    "inner.puzzle_emb.weights": "model.puzzle_embeddings.weight",
    "inner.lm_head.weight": "lm_head.weight",
    "inner.q_head.weight": "halt_head.weight",
    "inner.q_head.bias": "halt_head.bias",
}
LAYER = re.compile(r"inner\.(?P<level>[LH])_level\.layers\.(?P<rest>\d+\.(mlp_t|self_attn|mlp)\.\w+\.weight)")
NETWORKS = {"L": "network", "H": "answer_network"}  # TRM has the first alone, HRM both
# Buffers of the official training step that hold the last batch, and tables that are computed here.
SCRATCH = re.compile(r"^inner\.(puzzle_emb\.local_(weights|ids)|rotary_emb\.(cos|sin)_cached)$")

OFFICIAL_PUZZLE_EMB_LEN = 16  # where the configuration does not say
STATE_DAMPING = 0.05  # of arXiv 2605.21488, whose checkpoints have no initial states
CONFIG_NAMES = ("all_config.yaml", "config.yaml", "config.json")
# A name on the Hub: repository, what is in it (optional), revision (optional).
ON_THE_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<path>[^@]+))?(?:@(?P<revision>.+))?")
PICKLE = re.compile(r"(\w*step_\d+\w*|checkpoint|.*\.(pt|pth|bin|ckpt))")
# The name of an augmented ARC puzzle, with the separators of TRM and of HRM.
IDENTIFIER = re.compile(
    r"(?P<task>.+?)(?P<separator>\|\|\||_)t(?P<dihedral>[0-7])(?P=separator)(?P<colours>0[1-9]{9})"
)
NOBODY, UNCHANGED = "<blank>", "0 0123456789"
INITIAL_STATES = ("model.initial_answer_state", "model.initial_latent_state")
# Where training scripts that save more than the weights have them, and their average.
WEIGHTS, AVERAGES = ("model", "model_state_dict", "state_dict"), ("ema.shadow", "ema", "ema_state_dict", "ema_model")


@dataclass(frozen=True)
class KnownTask:
    """What the number of tokens says about a model of the official data sets.

    Attributes:
        word: what the names of the data set's folders contain.
        seq_len: cells of a puzzle.
        latent_cycles: of the paper's run with TRM.
        processor: makes what reads the puzzles.
    """

    word: str
    seq_len: int
    latent_cycles: int
    processor: Callable[[], TrmProcessor]


KNOWN_TASKS = {
    11: KnownTask("sudoku", 81, 6, TrmProcessor.for_sudoku),
    6: KnownTask("maze", 900, 4, TrmProcessor.for_maze),
    12: KnownTask("arc", 900, 4, TrmProcessor.for_arc),
}


class ConversionError(Exception):
    """A checkpoint or configuration that cannot be converted; the message is for the user."""


@dataclass
class Original:
    """A checkpoint as it was read.

    Attributes:
        weights: tensors by our names.
        config: the configuration's fields, if the file holds them; the caller adds those of a file beside it.
        notes: for the user, what was chosen among several things and what was assumed.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


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
        if layer := LAYER.fullmatch(name):
            rest = re.sub("mlp_t|self_attn", "token_mixer", layer["rest"])
            converted[f"model.{NETWORKS[layer['level']]}.layers.{rest}"] = tensor.clone()
        elif name in NAMES:
            converted[NAMES[name]] = tensor.clone()
        elif not SCRATCH.match(name):
            unknown.append(name)
    return converted, unknown


def what_it_is(unknown: list[str]) -> str:
    """What a checkpoint is whose weights have no place here, as far as their names tell; a part of a sentence."""
    if any("norm" in name for name in unknown):
        return "its norms have weights, as in a pre-norm network: TRM's have none"
    if any(re.match(r"inner\.(layers|blocks)\.", name) for name in unknown):
        return "its layers belong to neither state: a model of one state, where TRM has two"
    return "another model"


def count_layers(weights: dict[str, Tensor], network: str) -> int:
    pattern = re.compile(rf"model\.{network}\.layers\.(\d+)\.")
    return len({match[1] for name in weights if (match := pattern.match(name))})


def convert_config(official: dict[str, Any], weights: dict[str, Tensor], seq_len: int | None = None) -> TrmConfig:
    """Builds the configuration from the official one (nested `all_config.yaml`, or flat) and the converted weights.

    Raises:
        ConversionError: a field is missing, contradicts the weights, or asks for what the official code cannot run.
    """
    arch = flat(official)

    def field(name: str) -> Any:
        if name not in arch:
            raise ConversionError(f"the configuration has no field {name!r}")
        return arch[name]

    try:
        vocab_size, hidden_size = weights["model.embed_tokens.weight"].shape
        gate_up = weights["model.network.layers.0.mlp.gate_up_proj.weight"]
    except KeyError as error:
        raise ConversionError(f"the checkpoint has no {error}: is it a TRM checkpoint of the official code?") from None

    num_answer_layers = count_layers(weights, "answer_network")
    is_hrm = num_answer_layers > 0
    puzzles = weights.get("model.puzzle_embeddings.weight")
    size = 0 if puzzles is None else puzzles.shape[1]
    tokens = -(-size // hidden_size)
    if size and not is_hrm:  # HRM has as many as it needs, whatever its configuration says
        tokens = int(arch.get("puzzle_emb_len", OFFICIAL_PUZZLE_EMB_LEN)) or tokens
    mixer = "model.network.layers.0.token_mixer.gate_up_proj.weight"
    token_gate_up = weights[mixer] if arch.get("mlp_t", mixer in weights) else None
    length = length_of(weights)
    inferred = None if length is None else length - tokens
    lengths = {int(length) for length in (inferred, seq_len, arch.get("seq_len")) if length is not None}
    if len(lengths) > 1:
        raise ConversionError(
            f"the weights, the configuration and --seq_len disagree on the length: {sorted(lengths)}"
        )
    if not lengths:
        raise ConversionError(
            "rotary attention weights do not tell the puzzle's length: pass --seq_len (Sudoku 81, others 900)"
        )

    is_softmax = str(arch.get("loss_type", "stablemax_cross_entropy")).startswith("softmax")
    position = arch.get("pos_encodings", "rope")
    has_states = "model.initial_answer_state" in weights
    return TrmConfig(
        vocab_size=vocab_size,
        seq_len=lengths.pop(),
        hidden_size=hidden_size,
        num_hidden_layers=count_layers(weights, "network"),
        num_answer_layers=num_answer_layers,
        num_attention_heads=int(field("num_heads")),
        intermediate_size=gate_up.shape[0] // 2,
        token_mixer="attention" if token_gate_up is None else "mlp",
        token_mixer_intermediate_size=None if token_gate_up is None else token_gate_up.shape[0] // 2,
        position_embedding_type=position if position in ("rope", "learned") else "none",
        rope_theta=float(arch.get("rope_theta", 10000.0)),
        rms_norm_eps=float(arch.get("rms_norm_eps", 1e-5)),
        deep_cycles=int(field("H_cycles")),
        latent_cycles=int(field("L_cycles")),
        gradient_latent_cycles=1 if is_hrm else None,
        max_supervision_steps=int(field("halt_max_steps")),
        halt_exploration_prob=float(field("halt_exploration_prob")),
        halt_q_learning=(is_hrm or not arch.get("no_ACT_continue", True)) and int(field("halt_max_steps")) > 1,
        loss_type="softmax" if is_softmax else "stablemax",
        num_puzzles=1 if puzzles is None else puzzles.shape[0],
        puzzle_embedding_size=size,
        num_puzzle_tokens=tokens,
        random_initial_states=not has_states,
        state_damping=0.0 if has_states else STATE_DAMPING,
    )


def flat(fields: dict[str, Any]) -> dict[str, Any]:
    """The innermost fields of a nested configuration, by their own names."""
    innermost = {name: value for name, value in fields.items() if not isinstance(value, dict)}
    for value in fields.values():
        innermost |= flat(value) if isinstance(value, dict) else {}
    return innermost


def length_of(weights: dict[str, Tensor]) -> int | None:
    """Positions with the prefix, where the weights tell: of the MLP mixer or of learned positions."""
    mixer = weights.get("model.network.layers.0.token_mixer.gate_up_proj.weight")
    if mixer is not None:
        return mixer.shape[1]
    positions = weights.get("model.embed_positions.weight")
    return None if positions is None else positions.shape[0]


def names_task(official: dict[str, Any], vocab_size: int) -> bool:
    """Whether a configuration's data set is the one of the official ones that has so many tokens."""
    fields = flat(official)
    data = fields.get("data_paths", fields.get("data_path", ""))
    return vocab_size in KNOWN_TASKS and KNOWN_TASKS[vocab_size].word in str(data).lower()


def assume_config(weights: dict[str, Tensor], name: str) -> tuple[dict[str, Any], str] | None:
    """The official fields of a checkpoint without a configuration: from its weights and the papers' runs.

    Args:
        weights: by our names.
        name: of the file, which may tell the cycles, as in `step_259320_arc_h3l4`.

    Returns:
        The fields, and a sentence that says which of them are assumed; `None` for no task of the official data sets.
    """
    embedding = weights.get("model.embed_tokens.weight")
    task = KNOWN_TASKS.get(0 if embedding is None else embedding.shape[0])
    length, has_puzzles = length_of(weights), "model.puzzle_embeddings.weight" in weights
    if embedding is None or task is None or (length is not None and length < task.seq_len + has_puzzles):
        return None
    is_hrm = count_layers(weights, "answer_network") > 0
    deep, latent = (2, 2) if is_hrm else (3, task.latent_cycles)
    if told := re.search(r"h(\d+)_?l(\d+)", name.lower()):
        deep, latent = int(told[1]), int(told[2])
    assumed = {
        "seq_len": task.seq_len,
        "num_heads": max(1, embedding.shape[1] // 64),
        "H_cycles": deep,
        "L_cycles": latent,
        "halt_max_steps": 16,
        "halt_exploration_prob": 0.1,
        "pos_encodings": "rope" if length is None else "none",
    }
    if "model.embed_positions.weight" in weights:
        assumed["pos_encodings"] = "learned"
    if length is not None or (has_puzzles and not is_hrm):
        assumed["puzzle_emb_len"] = OFFICIAL_PUZZLE_EMB_LEN if length is None else length - task.seq_len
    values = ", ".join(f"{name} {value}" for name, value in assumed.items())
    run = f"the {'HRM' if is_hrm else 'TRM'} paper's {task.word} run, which {len(embedding)} tokens tell"
    return assumed, f"no configuration: assumed {values}, as in {run}"


def load_original(path: Path, allow_pickle: bool = False) -> Original:
    """Reads safetensors, or a pickled checkpoint: its weights alone, or with other things, nested, and their average.

    Nothing in a pickle is run: `torch.load` with `weights_only=True` reads it, and what is no tensor, number, text or
    list of those (optimizers, random states, configurations as objects) becomes an empty object.

    Raises:
        ConversionError: it is pickled and `allow_pickle` is not set, or holds no weights of TRM or HRM.
    """
    if path.suffix == ".safetensors":
        contents: Any = load_file(path)
    elif allow_pickle:
        contents = read_pickle(path)
    else:
        raise ConversionError(
            f"{path} is not .safetensors: --allow_pickle reads the tensors of a pickled file, and runs nothing in it"
        )
    notes, config = [], None
    if not is_state_dict(contents):
        found = [state for name in WEIGHTS if (state := nested(contents, name)) is not None]
        averages = [(name, state) for name in AVERAGES if (state := nested(contents, name)) is not None]
        if not found and not averages:
            raise ConversionError(f"{path} is not a state dict of tensors")
        config = contents.get("config") if isinstance(contents.get("config"), dict) else None
        contents = {WRAPPERS.sub("", name): tensor for state in found[:1] for name, tensor in state.items()}
        for name, average in averages[:1]:
            contents |= {WRAPPERS.sub("", key): tensor for key, tensor in average.items()}
            notes.append(f"weights taken from their average, {name}")
    weights, unknown = convert_state_dict(contents)
    if unknown:
        kinds = dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in unknown)
        raise ConversionError(f"{path} has weights that TRM has not: {', '.join(kinds)} ({what_it_is(unknown)})")
    states = [name for name in INITIAL_STATES if name in weights]
    if len(states) == 1:
        raise ConversionError(f"{path} has one state, {states[0].split('.')[1]}, where TRM and HRM have two")
    if not states:
        notes.append(
            f"no initial states: assumed random ones, and updates damped by {STATE_DAMPING}, as in arXiv 2605.21488"
        )
    return Original(weights, config, notes)


class Inert:
    """Stands for an object of any class in a pickle: takes whatever it is given, and does nothing with it."""

    def __init__(self, *args: Any, **kwargs: Any): ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...


def read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(type(name, (Inert,), {}), name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True)


def is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, Tensor) for tensor in value.values())


def nested(contents: Any, name: str) -> dict[str, Tensor] | None:
    """The state dict at a dotted name inside a checkpoint, if there is one."""
    for key in name.split("."):
        contents = contents.get(key) if isinstance(contents, dict) else None
    return contents if contents and is_state_dict(contents) else None


def find_checkpoint(name: str, config: Path | None) -> tuple[Path, Path | None]:
    """The files of a checkpoint and of its configuration: what is given, or what lies beside the weights, if anything.

    Args:
        name: a file, or `ORG/NAME[/path][@revision]` on the Hub, where `path` is the weights or their folder.
        config: of the configuration.

    Raises:
        ConversionError: the weights cannot be found, or there are several.
    """
    on_hub = ON_THE_HUB.fullmatch(name)
    if Path(name).is_file() or on_hub is None:
        beside = [path for path in (Path(name).with_name(file) for file in CONFIG_NAMES) if path.is_file()]
        return Path(name), config or next(iter(beside), None)
    repo, start, revision = on_hub["repo"], (on_hub["path"] or "").rstrip("/"), on_hub["revision"]
    try:
        files = HfApi().list_repo_files(repo, revision=revision)
        inside = [file for file in files if file == start or file.startswith(start and f"{start}/")]
        weights = choose_weights(name, inside)
        folders = (weights.rpartition("/")[0] + "/", "")
        beside_it = [folder.lstrip("/") + file for folder in folders for file in CONFIG_NAMES]
        found = [file for file in beside_it if file in files]
        path = Path(hf_hub_download(repo, weights, revision=revision))
        if config is None and found:
            config = Path(hf_hub_download(repo, found[0], revision=revision))
        return path, config
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


def read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConversionError(f"{path} does not exist")
    try:
        official = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConversionError(f"{path} is not YAML or JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(official, dict):
        raise ConversionError(f"{path} holds no configuration fields")
    return official


def read_identifiers(path: Path, num_puzzles: int) -> dict[str, Any]:
    """The contents of `puzzles.json` from the `identifiers.json` of an official ARC data set.

    Args:
        path: a list of the name of every puzzle id; `TASK`, or of its augmentations `TASK|||t3|||0123456789` (HRM:
            `TASK_t3_0123456789`): a dihedral symmetry and what becomes of each colour.
        num_puzzles: rows of the table of puzzle embeddings.

    Returns:
        For each task its first id and how many it has, and of each of those the augmentation, as in `3 0123456789`.

    Raises:
        ConversionError: it is no such list, is of another length, or the ids of a task do not stand together.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path} is no list of identifiers: {str(error).splitlines()[0]}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConversionError(f"{path} is no list of identifiers")
    if len(names) != num_puzzles:
        raise ConversionError(f"{path} has {len(names)} identifiers, but the checkpoint {num_puzzles} embeddings")
    rows: dict[str, list[int]] = {}
    augmentations: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        if name == NOBODY and not rows:
            continue
        augmented = IDENTIFIER.fullmatch(name)
        task, how = (augmented["task"], f"{augmented['dihedral']} {augmented['colours']}") if augmented else (name, "")
        if task not in rows:
            rows[task] = [number, 0]
        if number != sum(rows[task]) or bool(how) != bool(rows[task][1]):
            raise ConversionError(f"{path}: identifier {number}, {name!r}, does not follow its task's others")
        rows[task][1] += 1
        augmentations.setdefault(task, []).append(how or UNCHANGED)
    most = max((count for _, count in rows.values()), default=1) - 1
    record = {"data_seed": None, "num_augmentations": most, "first_id_and_count": rows}
    return record | {"augmentations": augmentations}


def convert(
    checkpoint: Path,
    config: Path | None,
    output_dir: Path,
    seq_len: int | None = None,
    allow_pickle: bool = False,
    identifiers: Path | None = None,
    name: str | None = None,
) -> TrmForPuzzleSolving:
    """Converts a checkpoint and writes weights, configuration, code and, for the official tasks, what reads puzzles.

    Prints what was assumed. `name` is what the user calls the checkpoint, if not by its path.
    """
    if not checkpoint.is_file():
        raise ConversionError(f"{checkpoint} does not exist")
    official = None if config is None else read_config(config)
    if output_dir.exists() and not output_dir.is_dir():
        raise ConversionError(f"{output_dir} is a file: give a folder to write to")
    try:
        original = load_original(checkpoint, allow_pickle)
    except ConversionError:
        raise
    except pickle.UnpicklingError as error:  # torch's own advice is to run what is in it
        reason = "torch.save has not written it, or it holds code, which is not run"
        raise ConversionError(f"{checkpoint} is not a readable checkpoint: {reason}") from error
    except Exception as error:  # torch and safetensors raise a dozen types for a file of another kind
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConversionError(f"{checkpoint} is not a readable checkpoint: {reason}") from error

    weights, notes = original.weights, original.notes
    assumed = assume_config(weights, checkpoint.name)
    if official is None and original.config is not None:
        official = original.config
    elif official is None and assumed is not None:
        official, note = assumed
        notes = [*notes, note]
    if official is None:
        raise ConversionError(f"there is no {CONFIG_NAMES[0]} beside {name or checkpoint}: pass --config")
    if seq_len is None and assumed is not None and names_task(official, len(weights["model.embed_tokens.weight"])):
        seq_len = assumed[0]["seq_len"]
    try:
        model = TrmForPuzzleSolving(convert_config(official, weights, seq_len))
    except ConversionError:
        raise
    except Exception as error:  # `@strict` wraps the message of each validator
        reason = str(error.__cause__ or error).splitlines()[-1].strip()
        raise ConversionError(f"{config or checkpoint}: {reason}") from error
    if model.config.random_initial_states:  # what stands in their place is not used
        weights |= {name: torch.zeros(model.config.hidden_size) for name in INITIAL_STATES}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ConversionError(f"{config or 'what was assumed'} does not fit {checkpoint}: {reason}") from error
    record = None if identifiers is None else read_identifiers(identifiers, model.config.num_puzzles)

    task = KNOWN_TASKS.get(model.config.vocab_size)
    if task is not None and task.seq_len == model.config.seq_len:
        processor = task.processor()
        if record is not None:
            processor.puzzle_ids = {name: first for name, (first, _) in record["first_id_and_count"].items()}
        PuzzleSolvingPipeline(model=model, processor=processor).save_pretrained(output_dir)
    else:
        model.save_pretrained(output_dir)
    puzzles = output_dir / "puzzles.json"
    puzzles.unlink(missing_ok=True)  # that of a model converted into the folder before
    if record is not None:
        puzzles.write_text(json.dumps(record), encoding="utf-8")
    for note in notes:
        print(note)
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
    what = "TRM, the Tiny Recursive Model ([arXiv 2510.04871](https://arxiv.org/abs/2510.04871))"
    if model.config.num_answer_layers:
        what = "HRM, the Hierarchical Reasoning Model ([arXiv 2506.21734](https://arxiv.org/abs/2506.21734))"
    return f"""---
{header.to_yaml()}
---

# {name}

{what}, {model.num_parameters():,}
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
    parser.add_argument("--identifiers", type=Path, help="identifiers.json of the ARC data the model was trained on")
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
        options = (args.seq_len, args.allow_pickle, args.identifiers, args.checkpoint)
        model = convert(*paths, args.output_dir, *options)
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
