# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Processor of TRM: a puzzle as a person writes it <-> the tokens the model reads."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .formats_trm import Form, as_lists, largest_rectangle, maze_fault, read_grid, split, sudoku_fault
from .rendering_trm import RenderingMixin
from .rules_trm import is_solved_maze, is_solved_sudoku
from .saving_trm import SavingMixin
from .symmetries_trm import Symmetry, dihedral_view, num_sudoku_symmetries, random_sudoku_symmetry

PAD = "<pad>"
form_of = lru_cache(maxsize=16)(Form)  # one for each kind of puzzle: its table of spellings is made once


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
            return "\n".join(self.form.separator.join(row) for row in self.to_grid(tokens))
        return self.form.separator.join(self._shown(tokens))

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
        return rows if self.end_marker is None else largest_rectangle(rows, {self.end_marker, " "})

    def split(self, puzzles: Any) -> list[Any]:
        """The single puzzles in what the user gave: one puzzle, or several."""
        return split(puzzles, self.form)

    def encode(self, puzzle: Any, name: str = "the puzzle") -> list[int]:
        """The tokens of one puzzle, `height * width` of them; a `ValueError` begins with `name`."""
        rows = read_grid(puzzle, self.form, name)
        if self.end_marker is not None:
            rows = [[*row, self.end_marker] for row in rows] + [[self.end_marker] * len(rows[0])]
        token_of = {symbol: token for token, symbol in enumerate(self.vocabulary)}
        pad, space = token_of[PAD], range(self.width)
        canvas = [[pad] * self.width for _ in range(self.height)]
        for cells, row in zip(canvas, rows, strict=False):  # the ends of the largest grid lie outside
            for column, symbol in zip(space, row, strict=False):
                cells[column] = token_of[symbol]
        return [token for cells in canvas for token in cells]

    def fault(self, input_ids: Tensor | Sequence[int]) -> str | None:
        """Why a puzzle [height * width] can have no answer, such as a digit that is twice in a row; or `None`."""
        if self.rule == "sudoku":
            return sudoku_fault(self.to_grid(input_ids), self.box_height, self.box_width)
        return maze_fault(self.to_grid(input_ids)) if self.rule == "maze" else None

    @property
    def form(self) -> Form:
        """How puzzles of this kind are written."""
        return form_of(
            symbols=tuple(symbol for symbol in self.vocabulary if symbol not in (PAD, self.end_marker)),
            height=self.height,
            width=self.width,
            aliases=tuple(self.aliases.items()),
            is_sudoku=bool(self.box_height),
            is_maze=self.rule == "maze",
            may_be_smaller=self.rule is None,
        )

    def _shown(self, tokens: Tensor | Sequence[int]) -> list[str]:
        shown = [" " if symbol == PAD else symbol for symbol in self.vocabulary]
        return [shown[token] for token in as_lists(tokens)]


TrmProcessor.register_for_auto_class()

__all__ = ["TrmProcessor"]
