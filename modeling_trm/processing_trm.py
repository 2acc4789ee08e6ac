# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Processor of TRM: a puzzle as a person writes it <-> the tokens the model reads."""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .rendering_trm import RenderingMixin
from .rules_trm import is_solved_maze, is_solved_sudoku
from .symmetries_trm import Symmetry, dihedral_view, num_sudoku_symmetries, random_sudoku_symmetry

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
        rule (`"sudoku"` or `"maze"`, *optional*):
            The rule that tells a right answer, if the puzzles have one: see `verifier` and `random_symmetry`. Mazes
            must be square then, and the boxes of a Sudoku must fit.
        end_marker (`str`, *optional*):
            Symbol of the line below and the line right of a grid that is smaller than the canvas, as in ARC.
    """

    def __init__(
        self,
        vocabulary: list[str],
        height: int,
        width: int,
        box_height: int | None = None,
        box_width: int | None = None,
        aliases: dict[str, str] | None = None,
        rule: Literal["sudoku", "maze"] | None = None,
        end_marker: str | None = None,
    ):
        super().__init__()
        if rule == "maze" and height != width:
            raise ValueError(f"a maze must be square for rule='maze', not {height}x{width}")
        if rule == "sudoku" and not height == width == (box_height or 0) * (box_width or 0):
            raise ValueError(f"rule='sudoku' needs boxes that fit: not {box_height}x{box_width} in {height}x{width}")
        self.vocabulary = vocabulary
        self.height = height
        self.width = width
        self.box_height = box_height
        self.box_width = box_width
        self.aliases = aliases or {}
        self.rule = rule
        self.end_marker = end_marker

    @classmethod
    def for_sudoku(cls, box_height: int = 3, box_width: int = 3) -> "TrmProcessor":
        """The official tokens: 0 padding, 1 blank, 2 ... n + 1 the digits 1 ... n."""
        size = box_height * box_width
        digits = [str(digit) for digit in range(1, size + 1)]
        return cls([PAD, ".", *digits], size, size, box_height, box_width, {"0": "."}, "sudoku")

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        if "vocabulary" not in processor_dict:
            raise ValueError("a model without processor_config.json, which says what its tokens mean, reads no puzzle")
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids"]

    @property
    def verifier(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """`verify` of `solve`: (input_ids, answers) [batch, seq] -> bool [batch], or `None` without a rule."""
        if self.rule == "sudoku":
            return partial(is_solved_sudoku, box_shape=(self.box_height, self.box_width))
        return is_solved_maze if self.rule == "maze" else None

    @property
    def random_symmetry(self) -> Callable[..., Symmetry] | None:
        """`random_symmetry` of `solve`: (seed, attempt, fingerprint) -> `Symmetry`, or `None` without a rule."""
        if self.rule == "sudoku":
            return partial(random_sudoku_symmetry, box_shape=(self.box_height, self.box_width))
        if self.rule == "maze":
            return partial(dihedral_view, size=self.width, vocab_size=len(self.vocabulary))
        return None

    @property
    def num_symmetries(self) -> int | None:
        """`num_symmetries` of `solve`, or `None` without a rule."""
        if self.rule == "sudoku":
            return num_sudoku_symmetries(self.box_height, self.box_width)
        return 8 if self.rule == "maze" else None

    def __call__(self, puzzles: Any, return_tensors: str = "pt") -> BatchFeature:
        """Reads one puzzle or a list of them.

        Args:
            puzzles: a string of `height * width` symbols (white space and line breaks between them do not count), a
                nested list or array [height, width] or [height * width] of symbols or of the numbers they show, or a
                list of any of these, as which text with a whole puzzle per line is read too. A nested list may be
                smaller than the grid: it lies in the upper left corner. An ARC task as a dictionary, or any of these
                as JSON text, is read as well: its `test` inputs.
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
        """The symbols of one answer [height * width], row by row: `height` lists of `width`.

        With an `end_marker` only the largest rectangle in the upper left corner that holds neither ends nor padding
        (the official rule), which may be empty.
        """
        symbols = [self._symbol(int(token)) for token in tokens]
        rows = [symbols[start : start + self.width] for start in range(0, len(symbols), self.width)]
        if self.end_marker is None:
            return rows
        best, width = (0, 0), self.width
        for height, row in enumerate(rows, 1):
            width = next((cell for cell in range(width) if row[cell] in (self.end_marker, " ")), width)
            best = max(best, (height, width), key=math.prod)
        return [row[: best[1]] for row in rows[: best[0]]]

    def split(self, puzzles: Any) -> list[Any]:
        """The single puzzles in what the user gave: one puzzle, or a list of them."""
        if isinstance(puzzles, str) and puzzles.lstrip()[:1] in ("{", "["):
            puzzles = read_json(puzzles)
        if isinstance(puzzles, dict):
            return test_inputs(puzzles)
        puzzles, cells = as_lists(puzzles), self.height * self.width
        if isinstance(puzzles, str):
            lines = [line for line in puzzles.splitlines() if line.strip()]
            return lines if len(lines) > 1 and any(len(line) == cells for line in lines) else [puzzles]
        if depth(puzzles) == 0:
            return [puzzles]
        first = puzzles[0] if puzzles else ""
        if isinstance(first, str):
            return puzzles if len(first) != 1 else [puzzles]
        is_batch = depth(first) == 2 or (depth(first) == 1 and len(first) == cells)
        return puzzles if is_batch else [puzzles]

    def _encode(self, puzzle: Any, name: str) -> list[int]:
        rows = self._rows(puzzle, name)
        token_of = {symbol: token for token, symbol in enumerate(self.vocabulary) if symbol != PAD}
        token_of |= {alias: token_of[symbol] for alias, symbol in self.aliases.items()}
        for number, row in enumerate(rows, 1):
            for column, symbol in enumerate(row, 1):
                if symbol not in token_of:
                    raise ValueError(
                        f"{name} has {symbol!r} in row {number}, column {column}; "
                        f"the known symbols are {' '.join(token_of)}"
                    )
        if self.end_marker is not None:
            width = len(rows[0])
            rows = [[*row, self.end_marker] for row in rows] + [[self.end_marker] * width]
        pad = self.vocabulary.index(PAD)
        canvas = torch.full((self.height + 1, self.width + 1), pad)  # room for the ends of the largest grid
        for number, row in enumerate(rows):
            canvas[number, : len(row)] = torch.tensor([token_of[symbol] for symbol in row])
        return canvas[: self.height, : self.width].flatten().tolist()

    def _rows(self, puzzle: Any, name: str) -> list[list[str]]:
        """The symbols of a puzzle, row by row; a `ValueError` if they are no grid of this model's."""
        if not isinstance(puzzle, (str, list)):
            raise ValueError(f"{name} must be a string, a list or an array, not {type(puzzle).__name__}")
        if not isinstance(puzzle, str) and depth(puzzle) == 2:
            rows = [[str(symbol) for symbol in row] for row in puzzle]
            if any(len(row) != len(rows[0]) for row in rows):
                raise ValueError(f"{name} has rows of {sorted({len(row) for row in rows})} cells: give all as many")
            smaller = self.rule is None and 0 < len(rows) <= self.height and 0 < len(rows[0]) <= self.width
            if smaller or (len(rows), len(rows[0])) == (self.height, self.width):
                return rows
        if isinstance(puzzle, str):  # blanks are layout, unless a blank is a symbol
            symbols = list("".join(puzzle.splitlines() if " " in self.vocabulary else puzzle.split()))
        else:
            symbols = [str(symbol) for symbol in flatten(puzzle)]
        if len(symbols) != self.height * self.width:
            raise ValueError(
                f"{name} has {len(symbols)} cells, but this model solves {self.height}x{self.width} grids "
                f"({self.height * self.width} cells)"
            )
        return [symbols[start : start + self.width] for start in range(0, len(symbols), self.width)]

    def _symbol(self, token: int) -> str:
        symbol = self.vocabulary[token]
        return " " if symbol == PAD else symbol


def as_lists(value: Any) -> Any:
    """Arrays and tensors, also inside a list, as nested lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def read_json(text: str) -> Any:
    """JSON that is meant to be a puzzle, or several; a `ValueError` in one line if it is broken."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the puzzle begins like JSON, but is not: {error}") from None


def test_inputs(task: dict[str, Any]) -> list[Any]:
    """The grids to solve in an ARC task, `{"train": ..., "test": [{"input": grid}, ...]}`."""
    try:
        return [pair["input"] for pair in task["test"]]
    except (KeyError, TypeError):
        raise ValueError('a puzzle in JSON must be a grid, or an ARC task {"test": [{"input": grid}, ...]}') from None


def depth(value: Any) -> int:
    """0 for a symbol, 1 for a list of symbols, 2 for a list of those, ..."""
    return 1 + depth(value[0] if value else "") if isinstance(value, list) else 0


def flatten(value: Any) -> list[Any]:
    return [symbol for item in value for symbol in flatten(item)] if isinstance(value, list) else [value]


TrmProcessor.register_for_auto_class()

__all__ = ["TrmProcessor"]
