# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Layouts in which checkpoints of TRM and HRM are published, with random weights: each becomes a model that solves.

Names, shapes and what is beside the weights are those of the published files; widths are small.
"""

import json
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from goldens import GOLDENS
from tiny import tiny_model
from torch import Tensor

from datasets_scripts.tasks import TASKS, load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmProcessor
from modeling_trm.convert_trm_original_checkpoint import card, choose_weights, convert_config, convert_state_dict, main
from modeling_trm.pipeline_trm import PuzzleSolvingPipeline

VOCABULARY = {"sudoku": 11, "maze": 6, "arc": 12}
CELLS = {"sudoku": 81, "maze": 900, "arc": 900}
COMPILED = "_orig_mod.model."
SIZE = 64
HRM_CONFIG: dict[str, Any] = {  # as the official training writes it
    "arch": {
        "name": "hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1",
        "loss": {"name": "losses@ACTLossHead", "loss_type": "stablemax_cross_entropy"},
        "halt_exploration_prob": 0.1,
        "halt_max_steps": 16,
        "H_cycles": 2,
        "L_cycles": 2,
        "H_layers": 2,
        "L_layers": 2,
        "hidden_size": SIZE,
        "num_heads": 4,
        "expansion": 4,
        "puzzle_emb_ndim": SIZE,
        "pos_encodings": "rope",
    },
    "data_path": "data/sudoku-extreme-1k-aug-1000",
    "global_batch_size": 384,
}


def weights_of(
    task: str,
    levels: str = "L",
    mixer: str = "self_attn",
    prefix: int = 16,
    puzzles: int = 1,
    states: bool = True,
    name: str = COMPILED,
) -> dict[str, Tensor]:
    """The official tensors of two layers per level."""
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    vocab, length = VOCABULARY[task], CELLS[task] + prefix
    state = {"embed_tokens.embedding_weight": matrix(vocab, SIZE), "lm_head.weight": matrix(vocab, SIZE)}
    state |= {"q_head.weight": matrix(2, SIZE), "q_head.bias": torch.zeros(2)}
    if states:
        state |= {f"{level}_init": torch.randn(SIZE, generator=generator).bfloat16() for level in "HL"}
    if puzzles:
        state["puzzle_emb.weights"] = matrix(puzzles, SIZE)
    for level in levels:
        for layer in range(2):
            start = f"{level}_level.layers.{layer}"
            if mixer == "self_attn":
                state[f"{start}.self_attn.qkv_proj.weight"] = matrix(3 * SIZE, SIZE)
                state[f"{start}.self_attn.o_proj.weight"] = matrix(SIZE, SIZE)
            else:
                state[f"{start}.mlp_t.gate_up_proj.weight"] = matrix(128, length)
                state[f"{start}.mlp_t.down_proj.weight"] = matrix(length, 64)
            state[f"{start}.mlp.gate_up_proj.weight"] = matrix(512, SIZE)
            state[f"{start}.mlp.down_proj.weight"] = matrix(SIZE, 256)
    return {f"{name}inner.{key}": tensor for key, tensor in state.items()}


def nested(state: dict[str, Tensor], config: Any) -> dict[str, Any]:
    """A checkpoint of a training script that saves all it has: objects, random states, an average."""
    average = OrderedDict((key, tensor + 1) for key, tensor in state.items() if tensor.is_floating_point())
    return {
        "step": 10,
        "model": OrderedDict(state),
        "optimizers": [{"state": {}, "lr": np.float64(0.1), "param_groups": [np.arange(3)]}],
        "carry": SimpleNamespace(steps=torch.zeros(2), kind=Path("here")),
        "rng": {"numpy": np.random.RandomState(0).get_state(), "torch": torch.get_rng_state()},
        "config": config,
        "ema": {"mu": 0.999, "shadow": average},
    }


def converted(tmp_path: Path, name: str, contents: Any, config: Any = None, words: tuple[str, ...] = ()) -> int:
    """The exit status of the command; the model is in `tmp_path/converted`."""
    torch.save(contents, tmp_path / name)
    if config is not None:
        (tmp_path / "all_config.yaml").write_text(yaml.safe_dump(config))
    command = ["--checkpoint", str(tmp_path / name), "--output_dir", str(tmp_path / "converted"), *words]
    return main([*command, "--allow_pickle"])


# Name of the file, weights, configuration beside it, what the model must be, words of what is printed
LAYOUTS: dict[str, tuple[str, dict[str, Any], Any, dict[str, Any], tuple[str, ...]]] = {
    "HRM's Sudoku": (
        "checkpoint",
        {"task": "sudoku", "levels": "HL", "prefix": 1},
        HRM_CONFIG,
        {"num_answer_layers": 2, "gradient_latent_cycles": 1, "halt_q_learning": True, "num_puzzle_tokens": 1},
        (),
    ),
    "HRM's mazes": (
        "checkpoint",
        {"task": "maze", "levels": "HL", "prefix": 1},
        HRM_CONFIG | {"data_path": "data/maze-30x30-hard-1k"},
        {"num_answer_layers": 2, "seq_len": 900, "num_puzzle_tokens": 1},
        (),
    ),
    "HRM without a configuration": (
        "checkpoint",
        {"task": "sudoku", "levels": "HL", "prefix": 1},
        None,
        {"num_answer_layers": 2, "deep_cycles": 2, "latent_cycles": 2, "num_attention_heads": 1, "seq_len": 81},
        ("no configuration: assumed seq_len 81", "H_cycles 2", "HRM paper's sudoku run"),
    ),
    "HRM of TRM's repository with the MLP mixer": (
        "step_100",
        {"task": "sudoku", "levels": "HL", "mixer": "mlp_t", "prefix": 1},
        HRM_CONFIG | {"arch": HRM_CONFIG["arch"] | {"mlp_t": True, "puzzle_emb_len": 16}},
        {"token_mixer": "mlp", "num_puzzle_tokens": 1, "num_answer_layers": 2},
        (),
    ),
    "TRM's Sudoku without a configuration": (
        "step_32550_sudoku_epoch50k",
        {"task": "sudoku", "mixer": "mlp_t"},
        None,
        {"token_mixer": "mlp", "num_puzzle_tokens": 16, "deep_cycles": 3, "latent_cycles": 6, "num_answer_layers": 0},
        ("no configuration: assumed seq_len 81", "L_cycles 6", "TRM paper's sudoku run"),
    ),
    "ARC with its cycles in the name": (
        "step_259320_arc_ag1_attn_type_h3l6",
        {"task": "arc", "puzzles": 5},
        None,
        {"seq_len": 900, "latent_cycles": 6, "num_puzzles": 5, "num_puzzle_tokens": 16},
        ("L_cycles 6", "puzzle_emb_len 16"),
    ),
    "EqR": (
        "eqr.pth",
        {"task": "sudoku", "mixer": "mlp_t", "prefix": 0, "puzzles": 0, "states": False, "name": "model."},
        None,
        {"random_initial_states": True, "state_damping": 0.05, "num_puzzle_tokens": 0, "token_mixer": "mlp"},
        ("weights taken from their average, ema.shadow", "no initial states: assumed random ones"),
    ),
}


PLACES = {
    COMPILED: "model.",
    "inner.": "",
    "H_level": "answer_network",
    "L_level": "network",
    "self_attn": "token_mixer",
    "mlp_t": "token_mixer",
    "embedding_weight": "weight",
    "puzzle_emb.weights": "puzzle_embeddings.weight",
    "H_init": "initial_answer_state",
    "L_init": "initial_latent_state",
    "model.lm_head": "lm_head",
    "model.q_head": "halt_head",
}


def our_name(official: str) -> str:
    for theirs, ours in PLACES.items():
        official = official.replace(theirs, ours)
    return official


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, kind, config, fields, words = LAYOUTS[layout]
    state = weights_of(**kind)
    contents = nested(state, SimpleNamespace(H_cycles=9)) if layout == "EqR" else state
    assert converted(tmp_path, name, contents, config) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    for word in words:
        assert word in printed
    assert ("assumed" in printed) == (config is None)
    model = TrmForPuzzleSolving.from_pretrained(tmp_path / "converted")
    assert {field: getattr(model.config, field) for field in fields} == fields
    expected = {our_name(key): tensor + (layout == "EqR") for key, tensor in state.items()}
    if layout == "EqR":  # draws its states
        expected |= {f"model.initial_{name}_state": torch.zeros(SIZE) for name in ("answer", "latent")}
    assert model.state_dict().keys() == expected.keys()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[key].to(tensor.dtype)), key

    processor = TrmProcessor.from_pretrained(tmp_path / "converted")
    solve = PuzzleSolvingPipeline(model=model, processor=processor)
    task = {"sudoku": "sudoku", "maze": "maze", "arc": "arc-agi"}[kind["task"]]
    puzzles = load_puzzles(task, None, "test", max_examples=1, num_augmentations=1)
    which = {"puzzle_ids": torch.tensor([1])} if model.config.num_puzzles > 1 else {}
    given = processor.to_grid(puzzles.input_ids[0])
    result = solve(given, max_steps=1, **which)
    assert result["puzzle"] == given
    solution = model.solve(puzzles.input_ids[:1], max_steps=1, **which)
    assert result["grid"] == processor.to_grid(solution.answers[0])


def test_the_configuration_inside_a_checkpoint_counts(tmp_path: Path) -> None:
    inside = {"model": {"H_cycles": 2, "L_cycles": 5, "num_heads": 2}, "halt_max_steps": 8, "halt_exploration_prob": 0}
    contents = nested(weights_of("sudoku", mixer="mlp_t", states=False, prefix=0, puzzles=0), inside)
    assert converted(tmp_path, "eqr.pth", contents) == 0
    config = TrmConfig.from_pretrained(tmp_path / "converted")
    assert (config.deep_cycles, config.latent_cycles, config.max_supervision_steps) == (2, 5, 8)


@pytest.mark.parametrize("task", ["sudoku", "maze", "arc-agi"])
def test_processors_are_those_of_the_tasks(task: str) -> None:
    made = {"sudoku": TrmProcessor.for_sudoku, "maze": TrmProcessor.for_maze, "arc-agi": TrmProcessor.for_arc}[task]()
    formats = TASKS[task].formats
    ours = formats["hard" if "hard" in formats else "arc-agi-1"].processor
    assert made.to_dict() == TrmProcessor(**ours).to_dict()


@pytest.mark.parametrize("name", ["sudoku", "maze", "arc"])
def test_names_and_shapes_of_hrm_at_full_size(name: str) -> None:
    official = json.loads((GOLDENS / "hrm_checkpoint_keys.json").read_text())[name]
    with torch.device("meta"):
        shapes = official["state"].items()
        state = {key: torch.empty(shape, dtype=getattr(torch, dtype)) for key, (shape, dtype) in shapes}
        weights, unknown = convert_state_dict(state)
        model = TrmForPuzzleSolving(convert_config(official["config"], weights))
    assert not unknown
    assert {key: value.shape for key, value in weights.items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert model.num_parameters() - model.model.puzzle_embeddings.weight.numel() == official["parameters"]


def test_arc_identifiers_become_puzzles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identifiers = ["<blank>", "007bbfb7", "007bbfb7_t3_0123456798", "00d62c1b", "00d62c1b_t1_0987654321"]
    (tmp_path / "identifiers.json").write_text(json.dumps(identifiers))
    words = ("--identifiers", str(tmp_path / "identifiers.json"))
    config = HRM_CONFIG | {"data_path": "data/arc-2-aug-1000"}
    state = weights_of("arc", levels="HL", prefix=1, puzzles=5)
    assert converted(tmp_path, "checkpoint", state, config, words) == 0
    record = json.loads((tmp_path / "converted" / "puzzles.json").read_text())
    assert record["first_id_and_count"] == {"007bbfb7": [1, 2], "00d62c1b": [3, 2]}
    assert record["augmentations"]["00d62c1b"] == ["0 0123456789", "1 0987654321"]
    assert converted(tmp_path, "checkpoint", state, config) == 0
    assert not (tmp_path / "converted" / "puzzles.json").exists()

    wrong = {
        "has 4 identifiers, but the checkpoint 5 embeddings": identifiers[:4],
        "identifier 3, '00d62c1b_t1_0987654321', does not follow": [*identifiers[:3], identifiers[4], identifiers[3]],
        "identifier 4, '007bbfb7', does not follow its task's others": [*identifiers[:4], identifiers[1]],
        "is no list of identifiers": {"a": 1},
    }
    for message, content in wrong.items():
        (tmp_path / "identifiers.json").write_text(json.dumps(content))
        assert converted(tmp_path, "checkpoint", state, config, (*words, "--seq_len", "900")) == 2
        assert message in capsys.readouterr().err


# What is not TRM


def refused() -> dict[str, tuple[dict[str, Tensor], str]]:
    trm = weights_of("sudoku", name="")
    one_state = {key.replace("L_level.", ""): tensor for key, tensor in trm.items() if "init" not in key}
    single = {key: tensor for key, tensor in trm.items() if key != "inner.H_init"}
    pre_norm = trm | {"inner.L_level.layers.0.norm1.weight": torch.ones(SIZE)}
    return {
        "one state": (one_state, "a model of one state, where TRM has two"),
        "single z": (single, "has one state, initial_latent_state, where TRM and HRM have two"),
        "pre-norm": (pre_norm, "as in a pre-norm network: TRM's have none"),
        "a reward model": ({"backbone.weight": torch.zeros(2)}, "has weights that TRM has not: backbone.weight"),
    }


@pytest.mark.parametrize("name", refused())
def test_what_is_not_trm_is_refused_by_what_it_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, message = refused()[name]
    assert converted(tmp_path, "step_100", state, HRM_CONFIG) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1
    assert message in shown
    assert not (tmp_path / "converted").exists()


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_beside_the_weights_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "executed"
    contents = nested(weights_of("sudoku", mixer="mlp_t"), {}) | {"callback": Evil(marker)}
    assert converted(tmp_path, "all.pth", contents) == 2
    assert "or it holds code, which is not run" in capsys.readouterr().err
    assert not marker.exists()
    torch.load(tmp_path / "all.pth", weights_only=False)
    assert marker.exists()  # the trap was armed


def test_the_card_says_which_model_it_is() -> None:
    for layers, name, other in ((0, "Tiny Recursive Model", "Hierarchical"), (1, "Hierarchical Reasoning", "Tiny")):
        text = card("me/model", "them/model", tiny_model(num_answer_layers=layers))
        assert name in text
        assert other not in text


def test_several_steps_in_one_repository() -> None:
    files = ["step_100", "step_200_sudoku_epoch50k", "submission.json", "trm.py", "losses.py", "all_config.yaml"]
    with pytest.raises(Exception, match="several checkpoints, name one: step_100, step_200_sudoku_epoch50k"):
        choose_weights("them/trm", files)
    assert choose_weights("them/maze", ["README.md", "maze_hard_step_32550"]) == "maze_hard_step_32550"
    assert choose_weights("them/trm/step_200_sudoku_epoch50k", files[1:2]) == "step_200_sudoku_epoch50k"
