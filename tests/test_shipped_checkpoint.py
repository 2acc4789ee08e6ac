# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The checkpoint in the repository is what its results say, and is all a person needs."""

import json
from pathlib import Path

import torch

from training.evaluation import load_model, weights_of

FOLDER = Path(__file__).parent.parent / "trm-sudoku-easy"


def test_its_results_are_of_its_weights_and_its_card_quotes_them() -> None:
    results = json.loads((FOLDER / "results.json").read_text())
    card = (FOLDER / "README.md").read_text()
    for result in results:
        assert result["weights"] == weights_of(FOLDER)
        assert f"{result['exact_accuracy']:.1%}".removesuffix("%") in card
    assert (FOLDER / "model.safetensors").stat().st_size < 1.2e6


def test_it_solves_what_its_results_say(sudoku_splits) -> None:
    puzzles, model = sudoku_splits["easy-sample"]["test"], load_model(str(FOLDER), torch.float32)
    answers = model.solve(puzzles.input_ids[:200]).answers
    assert (answers == puzzles.labels[:200]).all(1).float().mean() >= 0.98


def test_its_code_is_the_packages() -> None:
    """Whoever changes `modeling_trm` copies the files, or the folder would solve with yesterday's code."""
    files = list(FOLDER.glob("*.py"))
    assert len(files) >= 8
    for file in files:
        assert file.read_bytes() == (FOLDER.parent / "modeling_trm" / file.name).read_bytes(), file.name
