# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Depth that grows over training: each step is that of a model of the stage's depth; the result is of full depth."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_config

from modeling_trm import TrmConfig
from train import main
from training.arguments import TrainArguments, model_arguments, parse_arguments
from training.depth import DEPTH_FIELDS, DepthSchedule
from training.errors import UserError

RECIPE = Path(__file__).parent.parent / "recipes" / "sudoku_6x6.yaml"


def depths(stages: list[str] | None, max_steps: int) -> list[tuple[int, ...]]:
    config = tiny_config(deep_cycles=3, latent_cycles=6, max_supervision_steps=16)
    schedule = DepthSchedule(stages, config, max_steps)
    return [tuple(schedule.at(step)[name] for name in DEPTH_FIELDS) for step in range(max_steps)]


def test_stages_follow_each_other() -> None:
    """The schedule of CGAR, with a single supervision step during the first of ten steps."""
    stages = [
        "max_supervision_steps=1 deep_cycles=1 latent_cycles=2 until 0.1",
        "deep_cycles=1 latent_cycles=2 until 0.3",
        "latent_cycles=4 deep_cycles=2 until .6",
    ]
    assert depths(stages, 10) == [(1, 2, 1)] + 2 * [(1, 2, 16)] + 3 * [(2, 4, 16)] + 4 * [(3, 6, 16)]
    assert depths(None, 3) == 3 * [(3, 6, 16)]


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        (["deep_cycles=1"], "'deep_cycles=1' should read like"),
        (["deep_cycle=1 until 0.3"], "should read like"),
        (["deep_cycles=0 until 0.3"], "should read like"),
        (["until 0.3"], "should read like"),
        (["deep_cycles=1 until 0"], "must end after 0"),
        (["deep_cycles=1 until 1.5"], "by 1"),
        (["deep_cycles=1 until 0.5", "deep_cycles=2 until 0.4"], "must end after 0.5"),
    ],
)
def test_stages_that_make_no_sense_are_refused(stages: list[str], named: str) -> None:
    with pytest.raises(UserError) as caught:
        DepthSchedule(stages, tiny_config(), 10)
    assert named in str(caught.value)


def test_a_recipe_lists_its_stages(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("depth_schedule:\n- deep_cycles=1 until 0.3\n- deep_cycles=2 latent_cycles=4 until 0.6\n")
    args, _ = parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])
    assert args.depth_schedule == ["deep_cycles=1 until 0.3", "deep_cycles=2 latent_cycles=4 until 0.6"]


def test_a_shallow_stage_trains_like_a_shallow_model(tmp_path: Path) -> None:
    """Bit for bit until the stage ends, in weights and carry; then the models part; the saved one is of full depth."""

    def run(name: str, max_steps: int, **fields: Any) -> Path:
        options = {"hidden_size": 16, "batch_size": 8, "max_steps": max_steps, "save_steps": 3, "num_test_puzzles": 2}
        options |= {"mixed_precision": "no", "warmup_steps": 0, "min_learning_rate_ratio": 1.0}
        words = [word for item in (options | fields).items() for word in (f"--{item[0]}", str(item[1]))]
        main(["--config", str(RECIPE), "--output_dir", str(tmp_path / name), *words])
        return tmp_path / name

    shallow = {"deep_cycles": 1, "latent_cycles": 2, "max_supervision_steps": 1}
    stage = " ".join(f"{name}={value}" for name, value in shallow.items()) + " until 0.5"
    growing, small = run("growing", 6, depth_schedule=stage), run("small", 6, **shallow)

    def tensors(folder: Path, step: int) -> dict[str, torch.Tensor]:
        files = (folder / "checkpoints" / f"step-{step:08d}").glob("*.safetensors")
        return {f"{file.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}

    ours, theirs = tensors(growing, 3), tensors(small, 3)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if "random_state" not in name)
    weight = "training.safetensors/model.lm_head.weight"
    assert not torch.equal(tensors(growing, 6)[weight], tensors(small, 6)[weight])
    saved = TrmConfig.from_pretrained(growing)
    assert (saved.deep_cycles, saved.latent_cycles, saved.max_supervision_steps) == (2, 3, 2)
