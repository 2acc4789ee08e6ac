# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Symbols whose names mean nothing, as the digits of a Sudoku: renaming them renames the answer exactly.

The last `num_symbols` tokens of the vocabulary are such names (arXiv 2603.02193). Both states then hold one vector per
position *and symbol*, [batch, prefix + seq, symbols, hidden], and every weight is shared by the symbols. Only here do
symbols meet: a cell is embedded once for each, one mixer per layer exchanges their vectors, and the answer is read
from each. All other parts of the model treat the axis as one more batch dimension.
"""

import torch
from torch import Tensor, nn

from .configuration_trm import TrmConfig


class TrmSymbolEmbedding(nn.Embedding):
    """Embeds a cell by its role for each symbol: a token that is no symbol, "this symbol", or "another symbol"."""

    def __init__(self, config: TrmConfig):
        self.num_others = config.vocab_size - config.num_symbols
        super().__init__(self.num_others + 2, config.hidden_size)
        self.num_symbols = config.num_symbols

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens, int64 [batch, seq], to [batch, seq, symbols, hidden]."""
        symbols = torch.arange(self.num_symbols, device=tokens.device) + self.num_others
        this, another = self.num_others, self.num_others + 1
        tokens = tokens.unsqueeze(-1)
        return super().forward(torch.where(tokens < this, tokens, torch.where(tokens == symbols, this, another)))


class TrmSymbolMixer(nn.Module):
    """Tells each symbol of a position the mean of the others, through one matrix."""

    def __init__(self, config: TrmConfig):
        super().__init__()
        self.proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, length, symbols, hidden] to the same shape."""
        return self.proj((hidden.sum(2, keepdim=True) - hidden) / (hidden.shape[2] - 1))


class TrmSymbolAttention(nn.Module):
    """Self-attention between the symbols of a position, which have no order."""

    def __init__(self, config: TrmConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, length, symbols, hidden] to the same shape."""
        heads = self.qkv_proj(hidden).unflatten(-1, (3, self.num_heads, -1))  # [..., symbols, 3, heads, head]
        query, key, value = heads.transpose(2, 4).unbind(3)  # [batch, length, heads, symbols, head]
        weights = (query @ key.transpose(-1, -2) * key.shape[-1] ** -0.5).softmax(
            -1, dtype=torch.promote_types(query.dtype, torch.float32)
        )
        return self.o_proj((weights.to(value.dtype) @ value).transpose(2, 3).flatten(3))


class TrmSymbolHead(nn.Linear):
    """Scores of the tokens: that of a symbol is read from its own vector, the others from the mean of all symbols."""

    def __init__(self, config: TrmConfig):
        super().__init__(config.hidden_size, config.vocab_size - config.num_symbols + 1, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, seq, symbols, hidden] to [batch, seq, vocab]."""
        scores = super().forward(hidden)
        return torch.cat((scores[..., :-1].mean(2), scores[..., -1]), dim=-1)


__all__ = ["TrmSymbolAttention", "TrmSymbolEmbedding", "TrmSymbolHead", "TrmSymbolMixer"]
