# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Processor of TRM: a puzzle as a person writes it <-> the tokens the model reads."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .rendering_trm import BLANK, RenderingMixin
from .rules_trm import is_solved_maze, is_solved_sudoku
from .saving_trm import SavingMixin
from .symmetries_trm import Symmetry, dihedral_view, num_sudoku_symmetries, random_sudoku_symmetry

PAD = "<pad>"


class TrmProcessor(SavingMixin, ProcessorMixin, RenderingMixin):
    r"""
    Turns puzzles on a fixed grid into tokens and answers back into readable grids. It is saved beside the weights.

    Args:
        vocabulary (`list[str]`):
            The symbol of each token id, among them the padding `"<pad>"`. Where symbols are longer than a character,
            those of a text are separated by blanks.
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
        puzzle_ids (`dict[str, int]`, *optional*):
            The row of the model's puzzle embeddings that each name stands for, as of the tasks of ARC; `""` is the
            name of puzzles without one. `None` for a model whose puzzles have no names.
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
        puzzle_ids: dict[str, int] | None = None,
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
        self.puzzle_ids = puzzle_ids

    @classmethod
    def for_sudoku(cls, box_height: int = 3, box_width: int = 3) -> "TrmProcessor":
        """The official tokens: 0 padding, 1 blank, 2 ... n + 1 the digits 1 ... n."""
        size = box_height * box_width
        digits = [str(digit) for digit in range(1, size + 1)]
        return cls([PAD, ".", *digits], size, size, box_height, box_width, {"0": "."}, "sudoku")

    @classmethod
    def for_maze(cls, size: int = 30) -> "TrmProcessor":
        """The official tokens: 0 padding, 1 wall, 2 free, 3 start, 4 goal, 5 the path."""
        return cls([PAD, *"# SGo"], size, size, rule="maze")

    @classmethod
    def for_arc(cls) -> "TrmProcessor":
        """The official tokens: 0 padding, 1 the end of a grid, 2 ... 11 the colours 0 ... 9; a canvas of 30x30."""
        return cls([PAD, "|", *"0123456789"], 30, 30, end_marker="|")

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
            puzzles: a string of `height * width` symbols (white space and line breaks between them do not count, nor
                do lines drawn between the boxes of a Sudoku), a nested list or array [height, width] or
                [height * width] of symbols or of the numbers they show, a list of `height` strings of `width` symbols,
                or several of these: a list, a generator, a column of a data set, or text with a whole puzzle per line.
                Without a rule a grid of rows may be smaller than the canvas: it lies in the upper left corner. A row
                of a data set is read for its `input` or `question`, an ARC task (a dictionary) or a list of them for
                the `test` inputs, and JSON text for any of these.
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
        rows = [self.encode(puzzle, f"puzzle {number}") for number, puzzle in enumerate(batch, start=1)]
        return BatchFeature({"input_ids": torch.tensor(rows, dtype=torch.long)})

    def puzzle_row(self, name: Any = None) -> int | None:
        """The row of the puzzle embeddings of a name; `None` for no name, if the model's puzzles have none.

        Raises:
            ValueError: the model does not know the name, or was trained on none but named puzzles and is given none.
        """
        if self.puzzle_ids is None:
            if name is not None and not str(name).isdecimal():
                raise ValueError(f"puzzle id {name!r}: this model's puzzles have no names; give a number, or none")
            return None if name is None else int(name)
        row = self.puzzle_ids.get("" if name is None else str(name))
        if row is None:
            known = [known for known in self.puzzle_ids if known]
            names = ", ".join(known[:10]) + (f", ... ({len(known)} in all)" if len(known) > 10 else "")
            fault = "needs a puzzle id" if name is None else f"does not know the puzzle id {str(name)!r}"
            raise ValueError(f"this model {fault}, for it has learned an embedding for each; it knows {names}")
        return row

    def decode(self, tokens: Tensor | Sequence[int], **kwargs) -> str:
        """The symbols of one answer [height * width] as one string, which the processor reads back.

        Symbols are separated by blanks where some are longer than a character; padding becomes a blank space. With an
        `end_marker` it is the grid inside the canvas, see `to_grid`, a line for each row.
        """
        if self.end_marker is not None:
            return "\n".join(self._separator.join(row) for row in self.to_grid(tokens))
        return self._separator.join(self._shown(tokens))

    def batch_decode(self, tokens: Tensor | Sequence[Sequence[int]], **kwargs) -> list[str]:
        """The symbols of many answers [batch, height * width], one string each."""
        return [self.decode(row) for row in as_lists(tokens)]

    def to_grid(self, tokens: Tensor | Sequence[int]) -> list[list[str]]:
        """The symbols of one answer [height * width], row by row: `height` lists of `width`.

        With an `end_marker` only the largest rectangle in the upper left corner that holds neither ends nor padding
        (the official rule), which may be empty.
        """
        symbols = self._shown(tokens)
        rows = [symbols[start : start + self.width] for start in range(0, len(symbols), self.width)]
        if self.end_marker is None:
            return rows
        best, width = (0, 0), self.width
        for height, row in enumerate(rows, 1):
            width = next((cell for cell in range(width) if row[cell] in (self.end_marker, " ")), width)
            best = max(best, (height, width), key=math.prod)
        return [row[: best[1]] for row in rows[: best[0]]]

    def split(self, puzzles: Any) -> list[Any]:
        """The single puzzles in what the user gave: one puzzle, or several."""
        if isinstance(puzzles, str) and puzzles.lstrip()[:1] in {"{", "["} - set("".join(self.vocabulary)):
            puzzles = read_json(puzzles)
        puzzles, cells = as_lists(puzzles), self.height * self.width
        if isinstance(puzzles, Mapping):
            return test_inputs(puzzles)
        if isinstance(puzzles, list) and puzzles and all(isinstance(puzzle, Mapping) for puzzle in puzzles):
            return [grid for task in puzzles for grid in test_inputs(task)]
        if isinstance(puzzles, str):
            lines = [line for line in puzzles.splitlines() if line.strip()]
            return lines if len(lines) > 1 and any(len(self._read(line)) == cells for line in lines) else [puzzles]
        if not isinstance(puzzles, list):
            return [puzzles]
        first = puzzles[0] if puzzles else None
        if isinstance(first, str):
            is_flat = cells > 1 and self._are_symbols(puzzles)
            return [puzzles] if is_flat or self._are_rows(puzzles) else puzzles
        is_batch = depth(first) == 2 or (depth(first) == 1 and (len(first) == cells or self._are_rows(first)))
        return puzzles if is_batch or not puzzles else [puzzles]

    def encode(self, puzzle: Any, name: str = "the puzzle") -> list[int]:
        """The tokens of one puzzle, `height * width` of them; a `ValueError` begins with `name`."""
        rows, token_of = self._rows(puzzle, name), self._token_of
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

    @property
    def _token_of(self) -> dict[str, int]:
        tokens = {symbol: token for token, symbol in enumerate(self.vocabulary) if symbol != PAD}
        return tokens | {alias: tokens[symbol] for alias, symbol in self.aliases.items()}

    @property
    def _separator(self) -> str:
        """What stands between the symbols of a text: nothing, if each is one character."""
        symbols = [symbol for symbol in self.vocabulary if symbol != PAD]
        if all(len(symbol) == 1 for symbol in symbols):
            return ""
        return "\t" if any(" " in symbol for symbol in symbols) else " "

    def _shown(self, tokens: Tensor | Sequence[int]) -> list[str]:
        shown = [" " if symbol == PAD else symbol for symbol in self.vocabulary]
        return [shown[token] for token in as_lists(tokens)]

    def _read(self, line: str) -> list[str]:
        """The symbols of a line of text. Blanks are layout, unless a blank is a symbol."""
        separator, known = self._separator, self._token_of
        if not separator:
            return list(line if " " in known else "".join(line.split()))
        symbols: list[str] = []
        for word in filter(None, line.split(separator.strip(" ") or None)):
            is_several = word not in known and set(word) <= set(known)  # those of one character need no separator
            symbols += word if is_several else [word]
        return symbols

    def _are_symbols(self, strings: list[Any]) -> bool:
        """Whether each is a symbol, or a character that should be one: a flat grid."""
        known = self._token_of
        return all(isinstance(string, str) and (len(string) == 1 or string in known) for string in strings)

    def _are_rows(self, strings: list[Any]) -> bool:
        """Whether the strings are the rows of one grid, and not a puzzle each."""
        if not all(isinstance(string, str) for string in strings) or self._are_symbols(strings):
            return False
        if any(len(string.splitlines()) > 1 for string in strings):
            return False
        rows = [self._read(string) for string in strings]
        return len(rows[0]) != self.height * self.width and self._fit(rows)

    def _fit(self, rows: list[list[str]]) -> bool:
        """Whether rows are a grid of this model's, which without a rule may be smaller than the canvas."""
        height, width = len(rows), len(rows[0]) if rows else 0
        if any(len(row) != width for row in rows):
            return False
        smaller = self.rule is None and 0 < height <= self.height and 0 < width <= self.width
        return smaller or (height, width) == (self.height, self.width)

    def _rows(self, puzzle: Any, name: str) -> list[list[str]]:
        """The symbols of a puzzle, row by row; a `ValueError` if they are no grid of this model's."""
        if isinstance(puzzle, str):
            text = without_borders(puzzle) if self.box_height else puzzle
            rows = [row for line in text.splitlines() if (row := self._read(line))]
            cells = text.split()
            if self.box_height and not self._separator and len(cells) == self.height * self.width:
                rows = [[cell if len(cell) == 1 else BLANK for cell in cells]]  # several digits are pencil marks
        elif not isinstance(puzzle, list):
            raise ValueError(f"{name} must be a string, a list or an array, not {type(puzzle).__name__}")
        elif depth(puzzle) == 2:
            rows = [[str(symbol) for symbol in row] for row in puzzle]
            if any(len(row) != len(rows[0]) for row in rows):
                raise ValueError(f"{name} has rows of {sorted({len(row) for row in rows})} cells: give all as many")
        elif puzzle and self._are_rows(puzzle):
            rows = [self._read(row) for row in puzzle]
        else:
            rows = [[str(symbol) for symbol in flatten(puzzle)]]
        is_one_line = isinstance(puzzle, str) and self.end_marker is not None
        has_shape = len(rows) > 1 or self.height == 1 or is_one_line or depth(puzzle) == 2
        if has_shape and self._fit(rows):
            return rows
        symbols = flatten(rows)
        if len(symbols) != self.height * self.width:
            raise ValueError(
                f"{name} has {len(symbols)} cells, but this model solves {self.height}x{self.width} grids "
                f"({self.height * self.width} cells)"
            )
        return [symbols[start : start + self.width] for start in range(0, len(symbols), self.width)]


def as_lists(value: Any) -> Any:
    """Arrays, tensors, columns, generators and whatever else can be iterated, also inside one another, as lists.

    A row of a data set stands for its question; other dictionaries stay.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        question = next((name for name in ("input", "question") if name in value), None)
        return value if question is None else as_lists(value[question])
    if isinstance(value, (str, bytes)):
        return value
    try:
        return [as_lists(item) for item in value]
    except TypeError:  # a single number, or nothing of ours
        return value


def without_borders(text: str) -> str:
    """A Sudoku that is drawn with lines between its boxes, without them."""
    lines = [line for line in text.splitlines() if not (set("-=") & set(line) and set(line) <= set("|+-*.:=' \t"))]
    return "\n".join(lines).replace("|", " ")


def read_json(text: str) -> Any:
    """JSON that is meant to be a puzzle, or several, one after the other or one per line.

    Raises:
        ValueError: it is broken; in one line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return [json.loads(line) for line in lines]
        except json.JSONDecodeError:
            raise ValueError(f"the puzzle begins like JSON, but is not: {error}") from None


def test_inputs(task: Mapping[str, Any]) -> list[Any]:
    """The grids to solve in an ARC task, `{"train": ..., "test": [{"input": grid}, ...]}`."""
    try:
        return [as_lists(pair["input"]) for pair in task["test"]]
    except (KeyError, TypeError):
        raise ValueError('a puzzle in JSON must be a grid, or an ARC task {"test": [{"input": grid}, ...]}') from None


def depth(value: Any) -> int:
    """0 for a symbol, 1 for a list of symbols, 2 for a list of those, ..."""
    return 1 + depth(value[0] if value else "") if isinstance(value, list) else 0


def flatten(value: Any) -> list[Any]:
    return [symbol for item in value for symbol in flatten(item)] if isinstance(value, list) else [value]


TrmProcessor.register_for_auto_class()

__all__ = ["TrmProcessor"]
