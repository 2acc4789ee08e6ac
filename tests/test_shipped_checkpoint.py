# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The checkpoints in the repository are what their results say, and are all a person needs."""

import json
from pathlib import Path

import pytest
import torch

from training.evaluation import load_model, weights_of

ROOT = Path(__file__).parent.parent
# folder: configuration of its puzzles, number of them, and the share that it must solve
CHECKPOINTS = {"trm-sudoku-easy": ("easy-sample", 200, 0.98), "trm-sudoku-small": ("hard-sample", 40, 0.2)}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_results_are_of_its_weights_and_its_card_quotes_them(name: str) -> None:
    folder = ROOT / name
    results = json.loads((folder / "results.json").read_text())
    card = (folder / "README.md").read_text()
    for result in results:
        assert result["weights"] == weights_of(folder)
        assert f"{result['exact_accuracy']:.1%}".removesuffix("%") in card
    assert (folder / "model.safetensors").stat().st_size < 1.6e6


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_solves_what_its_results_say(name: str, sudoku_splits) -> None:
    config, count, share = CHECKPOINTS[name]
    puzzles, model = sudoku_splits[config]["test"], load_model(str(ROOT / name), torch.float32)
    answers = model.solve(puzzles.input_ids[:count]).answers
    assert (answers == puzzles.labels[:count]).all(1).float().mean() >= share


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_code_is_the_packages(name: str) -> None:
    """Whoever changes `modeling_trm` copies the files, or the folder would solve with yesterday's code."""
    files = list((ROOT / name).glob("*.py"))
    assert len(files) >= 8
    for file in files:
        assert file.read_bytes() == (ROOT / "modeling_trm" / file.name).read_bytes(), file.name
