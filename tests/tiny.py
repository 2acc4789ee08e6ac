# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Models small enough for a test, with every weight at work."""

from typing import Any

import torch
from torch import Tensor

from modeling_trm import TrmConfig, TrmForPuzzleSolving


def tiny_config(**fields: Any) -> TrmConfig:
    """Six cells of seven tokens, five puzzle ids, up to four supervision steps."""
    small = {
        "vocab_size": 7,
        "seq_len": 6,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "token_mixer_intermediate_size": 12,
        "deep_cycles": 2,
        "latent_cycles": 2,
        "max_supervision_steps": 4,
        "num_puzzles": 5,
        "num_puzzle_tokens": 2,
    }
    return TrmConfig(**(small | fields))


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float64, **fields: Any) -> TrmForPuzzleSolving:
    """In eval mode; what starts at zero (puzzle embeddings, halting head) is random too.

    Float64 by default: the recursion amplifies rounding, and what is equal in exact arithmetic shows as equal there.
    """
    torch.manual_seed(seed)
    model = TrmForPuzzleSolving(tiny_config(**fields))
    with torch.no_grad():
        model.halt_head.weight.normal_()
        model.halt_head.bias.zero_()
        if model.model.puzzle_embeddings is not None:
            model.model.puzzle_embeddings.weight.normal_()
    return model.to(dtype).eval()


def tiny_batch(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random tokens [rows, 6], puzzle ids [rows] and labels [rows, 6] with some cells that do not count."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(0, 7, (rows, 6), generator=generator)
    puzzle_ids = torch.randint(0, 5, (rows,), generator=generator)
    labels = torch.randint(0, 7, (rows, 6), generator=generator)
    return input_ids, puzzle_ids, torch.where(torch.rand(rows, 6, generator=generator) < 0.2, -100, labels)
