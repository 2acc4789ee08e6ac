# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Re-posing: the puzzles in work move under a symmetry of the cells, and their states move with them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny import tiny_batch, tiny_model

from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmConfig
from modeling_trm.rules_trm import is_solved_sudoku
from training.arguments import TrainArguments
from training.batches import TrainBatches, first_carry, repose

SYMBOLS: dict[str, Any] = {"num_symbols": 5, "num_puzzle_tokens": 0, "puzzle_embedding_size": 0, "num_puzzles": 1}


@pytest.mark.parametrize("fields", [{}, SYMBOLS, {**SYMBOLS, "num_register_tokens": 2}], ids=str)
def test_a_step_after_re_posing_is_the_step_of_the_re_posed_puzzle(fields: dict[str, Any]) -> None:
    """Attention without positions cannot tell cells apart but by their states: its answer moves with the puzzle, in
    whatever supervision step the puzzle is moved. With a register that stayed behind, or states that did not move
    along, it would not."""
    model = tiny_model(token_mixer="attention", position_embedding_type="none", **fields).train()
    input_ids, puzzle_ids, labels = tiny_batch(5)
    batch = (input_ids, puzzle_ids if model.config.num_puzzle_tokens else None, labels)
    options = {"min_steps": torch.full((5,), 9)}
    carry = replace(model(*batch, **options).carry, halted=torch.zeros(5, dtype=torch.bool))
    index = torch.stack([torch.randperm(6, generator=torch.Generator().manual_seed(row)) for row in range(5)])
    plain = model(*batch, carry=carry, **options)
    moved = model(*batch, carry=repose(carry, index), **options)
    assert torch.equal(moved.carry.input_ids, carry.input_ids.gather(1, index))
    assert torch.equal(moved.carry.labels, carry.labels.gather(1, index))
    torch.testing.assert_close(moved.logits, plain.logits[torch.arange(5)[:, None], index])
    torch.testing.assert_close(moved.halt_logits, plain.halt_logits)
    torch.testing.assert_close(moved.loss, plain.loss)


def reposed_inputs(puzzles: Puzzles, step: int, rank: int = 0, world: int = 1, **fields: Any) -> torch.Tensor:
    """The questions that process `rank` of `world` works on after re-posing its part of a batch of 8."""
    args = TrainArguments(batch_size=8, repose=True, augment=False, **fields)
    config = TrmConfig(hidden_size=8, num_attention_heads=2, num_puzzle_tokens=0, puzzle_embedding_size=0)
    accelerator = Accelerator(cpu=True)
    batches = TrainBatches(puzzles, args, config, accelerator)
    share = 8 // world
    batches.slots = slice(rank * share, (rank + 1) * share)
    carry = first_carry(tiny_model(vocab_size=11, seq_len=81, num_puzzle_tokens=0), batches(0))
    carry = batches.repose(carry, step)
    assert is_solved_sudoku(carry.input_ids, carry.labels).all()
    return carry.input_ids


def test_poses_follow_from_the_seed_the_step_and_the_row(sudoku_splits: dict[str, dict[str, Puzzles]]) -> None:
    """So a resumed run, and one on another number of processes, re-poses as the first one did."""
    puzzles = sudoku_splits["hard-sample"]["train"]
    whole = reposed_inputs(puzzles, 3)
    assert torch.equal(whole, reposed_inputs(puzzles, 3))
    assert torch.equal(whole, torch.cat([reposed_inputs(puzzles, 3, rank, 2) for rank in range(2)]))
    for other in (reposed_inputs(puzzles, 4), reposed_inputs(puzzles, 3, seed=1)):
        assert (whole != other).any(1).all()
