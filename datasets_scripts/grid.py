# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A person's own puzzles: pairs of an input grid (or sequence) and an output grid.

The folder `data_dir` holds `train` and `test` as any of the files of `datasets_scripts.files`, with the columns
`input`, `output`, and if wanted `puzzle_id` and `source`. A grid is written in any of these ways:

| written as                                 | is read as                                           |
|--------------------------------------------|------------------------------------------------------|
| nested lists `[[1, 0], [0, 2]]`            | rows of symbols; a symbol is a number or a string    |
| a list of strings `["#.", ".o"]`           | rows, one character per cell                         |
| a string with line breaks `"#.\\n.o"`       | rows, one character per cell                         |
| the same with blanks `"0 1\\n1 0"`          | rows, a word per cell, if all texts of the file do so |
| a string of one line, or a list of numbers | a sequence, which is a grid of one row               |

In a CSV file a field that begins with `[` is JSON. The vocabulary (every symbol of the training file, after 0 = pad)
and the canvas (the largest height and width in it) come from the training file and travel with the model in its
processor. Smaller grids lie in the upper left corner. Cells outside the output are no part of the answer.

A `puzzle_id` says which rows follow the same rule, as the demonstrations of one ARC task do. Each id gets an
embedding, so every id of the test file must be in the training file.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from datasets_scripts.files import SUFFIXES, read_rows
from datasets_scripts.puzzle_builder import PuzzleBuilder, PuzzleConfig, puzzle_table
from modeling_trm.processing_trm import PAD, TrmProcessor

Grid = list[list[str]]


@dataclass(frozen=True)
class Example:
    """One row of a file; `place` names it in messages."""

    place: str
    input: Grid
    output: Grid
    puzzle_id: str | None
    source: str


@dataclass(frozen=True)
class Canvas:
    """What all grids are drawn on.

    Attributes:
        vocabulary: the symbol of each token, `<pad>` first.
        height, width: in cells.
        answer_tokens: the tokens that occur in outputs.
        puzzle_ids: the ids of the training file in the order of their tokens 1, 2, ...; 0 is for rows without one.
    """

    vocabulary: tuple[str, ...]
    height: int
    width: int
    answer_tokens: tuple[int, ...]
    puzzle_ids: tuple[str, ...]


# Reading files


def read_examples(path: str | Path, is_separated: bool = False) -> Iterator[Example]:
    """The rows of a file; its texts have blanks between their symbols if `is_separated`.

    Raises:
        ValueError: if the file is unreadable or a grid is none; one line that names the file and the row (the first
            one, a CSV header not counted, is row 1).
    """
    number, source = 0, Path(path).name
    symbols_of = tokens_of_card(Path(path))
    for number, row in enumerate(read_rows(path), start=1):
        place = f"{path} row {number}"
        if isinstance(row, dict) and {"input_ids", "labels"} <= row.keys():
            row = from_tokens(row, *symbols_of)
        if not isinstance(row, dict) or not {"input", "output"} <= row.keys():
            found = f", only {', '.join(map(repr, row))}" if isinstance(row, dict) else ""
            raise ValueError(f"{place}: there is no 'input' and 'output' in it{found}")
        try:
            fields = {name: field_of(row[name]) for name in ("input", "output")}
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{place}: {error}") from None
        question, answer = (parse_grid(fields[name], f"{place}: the {name}", is_separated) for name in fields)
        puzzle_id = None if row.get("puzzle_id") in (None, "") else str(row["puzzle_id"])
        yield Example(place, question, answer, puzzle_id, str(row.get("source") or source))
    if number == 0:
        raise ValueError(f"{path}: there are no puzzles in this file")


def tokens_of_card(path: Path) -> tuple[dict[int, str], int | None]:
    """What the card of a data set of `datasets_scripts.build` says: the symbol of each token, and the width."""
    for folder in (path.parent, path.parent.parent):
        if (card := folder / "README.md").is_file():
            text = card.read_text(encoding="utf-8", errors="replace")
            shape = re.search(r"are grids of \d+x(\d+) cells", text)
            tokens = re.search(r"^Their tokens are (.*)\.$", text, re.MULTILINE)
            if shape and tokens:
                found = re.findall(r"(?:^|, )(\d+) = `(.+?)`(?=, \d+ = `|$)", tokens[1])
                return {int(token): symbol for token, symbol in found}, int(shape[1])
    return {}, None


def from_tokens(row: dict[str, Any], symbols: dict[int, str], width: int | None) -> dict[str, Any]:
    """A row of tokens as one of grids; without a card a symbol is its number, and the canvas a square."""
    if not isinstance(row["input_ids"], list) or not isinstance(row["labels"], list):
        return row
    width = width or math.isqrt(len(row["input_ids"]))

    def grid(tokens: list[int]) -> Grid:
        rows = [tokens[start : start + width] for start in range(0, len(tokens), width)]
        cells = [[symbols.get(token, str(token)) for token in row if token > 0] for row in rows]
        return [row for row in cells if row]

    names = {"puzzle_id": row.get("puzzle_ids") or None, "source": row.get("source")}
    return names | {"input": grid(row["input_ids"]), "output": grid(row["labels"])}


def field_of(value: Any) -> Any:
    """A field of a text file as what it is: one that begins with `[` is JSON, unless a bracket is a symbol."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        if set(value) & set(',"'):
            raise
        return value


def separates_by_blanks(path: str | Path) -> bool:
    """Whether the texts of a file have their symbols apart, as in `0 1 0`: all of them, or a blank is a symbol."""
    is_separated = False
    for row in read_rows(path):
        texts = [row[name] for name in ("input", "output") if isinstance(row, dict) and isinstance(row.get(name), str)]
        if not texts:
            break
        for text in texts:
            lines = [] if text.startswith("[") else [line for line in text.splitlines() if line]
            if any(len(line) > 1 and not re.fullmatch(r" *\S+( +\S+)+ *", line) for line in lines):
                return False
            is_separated |= any(len(line) > 1 for line in lines)
    return is_separated


def parse_grid(value: Any, name: str, is_separated: bool = False) -> Grid:
    """The rows of a grid written in any of the ways of the module's table.

    Raises:
        ValueError: if it is no grid; one line that begins with `name`.
    """
    if isinstance(value, str):
        value = [line.split() if is_separated else line for line in value.splitlines()]
    if isinstance(value, list) and value and not isinstance(value[0], (str, list)):
        value = [value]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} is no grid but {value!r:.40}")
    grid = [list(row) if isinstance(row, (str, list)) else [row] for row in value]
    for number, row in enumerate(grid, start=1):
        if len(row) != len(grid[0]):
            raise ValueError(f"{name} has {len(grid[0])} cells in row 1 and {len(row)} in row {number}")
        row[:] = [int(symbol) if isinstance(symbol, float) and symbol.is_integer() else symbol for symbol in row]
        for symbol in row:
            if not isinstance(symbol, (str, int)) or symbol in (PAD, ""):
                raise ValueError(f"{name} has {symbol!r:.40} in row {number}; a cell is a number or a string")
    if not grid[0]:
        raise ValueError(f"{name} has no cells")
    return [[str(symbol) for symbol in row] for row in grid]


# From symbols to tokens


def infer_canvas(path: str | Path) -> Canvas:
    """The canvas of a training file; see `read_examples` for what it raises."""
    status = os.stat(path)
    return _infer_canvas(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _infer_canvas(path: str, *version: int) -> Canvas:
    height = width = 0
    symbols: set[str] = set()
    answers: set[str] = set()
    puzzle_ids: dict[str, None] = {}
    for example in read_examples(path, separates_by_blanks(path)):
        for grid in (example.input, example.output):
            height, width = max(height, len(grid)), max(width, len(grid[0]))
            symbols.update(*grid)
        answers.update(*example.output)
        if example.puzzle_id is not None:
            puzzle_ids[example.puzzle_id] = None
    vocabulary = (PAD, *sorted(symbols, key=lambda symbol: (not symbol.isdecimal(), symbol.zfill(9), symbol)))
    answer_tokens = tuple(token for token, symbol in enumerate(vocabulary) if symbol in answers)
    return Canvas(vocabulary, height, width, answer_tokens, tuple(puzzle_ids))


def canvas_of(processor: TrmProcessor) -> Canvas:
    """The canvas of a trained model, on which puzzles are scored without its training file."""
    vocabulary = tuple(processor.vocabulary)
    names = tuple(name for name in processor.puzzle_ids or {} if name)
    return Canvas(vocabulary, processor.height, processor.width, tuple(range(1, len(vocabulary))), names)


def encode(grid: Grid, canvas: Canvas, name: str) -> np.ndarray:
    """A grid as tokens on the canvas, int16 [height * width].

    Raises:
        ValueError: if it does not fit or has an unknown symbol; one line that begins with `name`.
    """
    if len(grid) > canvas.height or len(grid[0]) > canvas.width:
        largest = f"{canvas.height}x{canvas.width}"
        raise ValueError(
            f"{name} is {len(grid)}x{len(grid[0])}, which does not fit the training file's {largest} canvas"
        )
    tokens = np.zeros((canvas.height, canvas.width), dtype=np.int16)
    token_of = {symbol: token for token, symbol in enumerate(canvas.vocabulary)}
    for number, row in enumerate(grid):
        for symbol in row:
            if symbol not in token_of:
                raise ValueError(f"{name} has {symbol!r} in row {number + 1}, which the vocabulary does not have")
        tokens[number, : len(row)] = [token_of[symbol] for symbol in row]
    return tokens.ravel()


# The builder


class Grids(PuzzleBuilder):
    """Own puzzles: `input_ids`, `labels` (int16 tokens, 0 = pad, row by row), `puzzle_ids` (int32) and `source`.

    Attributes:
        canvas: vocabulary and size of the grids.
    """

    FILES_CONFIG = "own"
    SUFFIXES = SUFFIXES
    CONFIGS: ClassVar[list[PuzzleConfig]] = [PuzzleConfig(name="own", description="own puzzles")]

    def __init__(self, *args: Any, processor: TrmProcessor | None = None, **options: Any):
        super().__init__(*args, **options)
        if self.data_dir is None:
            raise ValueError("the task 'grid' reads your own puzzles: give the folder of their files as data_dir")
        self.canvas = canvas_of(processor) if processor else infer_canvas(self.path("train"))

    def fingerprint(self) -> str:
        return hashlib.blake2b(f"{super().fingerprint()} {self.canvas}".encode(), digest_size=8).hexdigest()

    def make_tables(self, split: str, path: str) -> Iterator[pa.Table]:
        id_of = {puzzle_id: number for number, puzzle_id in enumerate(self.canvas.puzzle_ids, start=1)} | {None: 0}
        input_ids, labels, puzzle_ids, sources = [], [], [], []
        is_separated = " " not in self.canvas.vocabulary and separates_by_blanks(path)
        for example in read_examples(path, is_separated):
            if example.puzzle_id not in id_of:
                fault = f"the puzzle_id {example.puzzle_id!r} is in no training row, so there is no embedding for it"
                raise ValueError(f"{example.place}: {fault}; if ids only number the rows, leave them out")
            input_ids.append(encode(example.input, self.canvas, f"{example.place}: the input"))
            labels.append(encode(example.output, self.canvas, f"{example.place}: the output"))
            puzzle_ids.append(id_of[example.puzzle_id])
            sources.append(example.source)
        columns = {"puzzle_ids": pa.array(puzzle_ids, pa.int32()), "source": pa.array(sources, pa.string())}
        yield self.choose(split, puzzle_table(np.stack(input_ids), np.stack(labels), **columns))
