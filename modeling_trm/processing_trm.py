# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Processor of TRM: a puzzle as a person writes it <-> the tokens the model reads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .rendering_trm import RenderingMixin

PAD = "<pad>"


class TrmProcessor(ProcessorMixin, RenderingMixin):
    r"""
    Turns puzzles on a fixed grid into tokens and answers back into readable grids. It is saved beside the weights.

    Args:
        vocabulary (`list[str]`):
            The symbol of each token id; one character each, but for the padding `"<pad>"`.
        height, width (`int`):
            Rows and columns of the grid; the model's `seq_len` is their product.
        box_height, box_width (`int`, *optional*):
            Size of the boxes drawn inside a Sudoku grid.
        aliases (`dict[str, str]`, *optional*):
            Other spellings of a symbol, such as `{"0": "."}` for a blank cell.
    """

    def __init__(
        self,
        vocabulary: list[str],
        height: int,
        width: int,
        box_height: int | None = None,
        box_width: int | None = None,
        aliases: dict[str, str] | None = None,
    ):
        super().__init__()
        self.vocabulary = vocabulary
        self.height = height
        self.width = width
        self.box_height = box_height
        self.box_width = box_width
        self.aliases = aliases or {}

    @classmethod
    def for_sudoku(cls, box_height: int = 3, box_width: int = 3) -> "TrmProcessor":
        """The official tokens: 0 padding, 1 blank, 2 ... n + 1 the digits 1 ... n."""
        size = box_height * box_width
        digits = [str(digit) for digit in range(1, size + 1)]
        return cls([PAD, ".", *digits], size, size, box_height, box_width, aliases={"0": "."})

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids"]

    def __call__(self, puzzles: Any, return_tensors: str = "pt") -> BatchFeature:
        """Reads one puzzle or a list of them.

        Args:
            puzzles: a string of `height * width` symbols (white space and line breaks between them do not count), a
                nested list or array [height, width] or [height * width] of symbols or of the numbers they show, or a
                list of any of these.
            return_tensors: only `"pt"`.

        Returns:
            `input_ids`, int64, [batch, height * width].

        Raises:
            ValueError: a puzzle of another size, or with an unknown symbol; the message names the puzzle and the cell.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r}: only 'pt' is supported")
        batch = self.split(puzzles)
        if not batch:
            raise ValueError("no puzzle given")
        rows = [self._encode(puzzle, f"puzzle {number + 1}") for number, puzzle in enumerate(batch)]
        return BatchFeature({"input_ids": torch.tensor(rows, dtype=torch.long)})

    def decode(self, tokens: Tensor | Sequence[int], **kwargs) -> str:
        """The symbols of one answer [height * width] as one string; padding becomes a blank space."""
        return "".join(self._symbol(int(token)) for token in tokens)

    def batch_decode(self, tokens: Tensor | Sequence[Sequence[int]], **kwargs) -> list[str]:
        """The symbols of many answers [batch, height * width], one string each."""
        return [self.decode(row) for row in tokens]

    def to_grid(self, tokens: Tensor | Sequence[int]) -> list[list[str]]:
        """The symbols of one answer [height * width] as `height` lists of `width` symbols."""
        symbols = [self._symbol(int(token)) for token in tokens]
        return [symbols[start : start + self.width] for start in range(0, len(symbols), self.width)]

    def split(self, puzzles: Any) -> list[Any]:
        """The single puzzles in what the user gave: one puzzle, or a list of them."""
        puzzles = as_lists(puzzles)
        if isinstance(puzzles, str) or depth(puzzles) == 0:
            return [puzzles]
        cells = self.height * self.width
        first = puzzles[0] if puzzles else ""
        if isinstance(first, str):
            return puzzles if len(first) != 1 else [puzzles]
        is_batch = depth(first) == 2 or (depth(first) == 1 and len(first) == cells)
        return puzzles if is_batch else [puzzles]

    def _encode(self, puzzle: Any, name: str) -> list[int]:
        if isinstance(puzzle, str):  # blanks are layout, unless a blank is a symbol
            symbols = list("".join(puzzle.splitlines() if " " in self.vocabulary else puzzle.split()))
        else:
            symbols = [str(symbol) for symbol in flatten(puzzle)]
        expected = self.height * self.width
        if len(symbols) != expected:
            raise ValueError(
                f"{name} has {len(symbols)} cells, but this model solves {self.height}x{self.width} grids "
                f"({expected} cells)"
            )
        token_of = {symbol: token for token, symbol in enumerate(self.vocabulary) if symbol != PAD}
        token_of |= {alias: token_of[symbol] for alias, symbol in self.aliases.items()}
        for cell, symbol in enumerate(symbols):
            if symbol not in token_of:
                raise ValueError(
                    f"{name} has {symbol!r} in row {cell // self.width + 1}, column {cell % self.width + 1}; "
                    f"the known symbols are {' '.join(token_of)}"
                )
        return [token_of[symbol] for symbol in symbols]

    def _symbol(self, token: int) -> str:
        symbol = self.vocabulary[token]
        return " " if symbol == PAD else symbol


def as_lists(value: Any) -> Any:
    """Arrays and tensors, also inside a list, as nested lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def depth(value: Any) -> int:
    """0 for a symbol, 1 for a list of symbols, 2 for a list of those, ..."""
    return 1 + depth(value[0] if value else "") if isinstance(value, list) else 0


def flatten(value: Any) -> list[Any]:
    return [symbol for item in value for symbol in flatten(item)] if isinstance(value, list) else [value]


TrmProcessor.register_for_auto_class()

__all__ = ["TrmProcessor"]
