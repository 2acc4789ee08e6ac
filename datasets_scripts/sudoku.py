# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Sudoku.

Rows hold un-augmented puzzles as tokens: 0 = pad, 1 = blank, digit `d` = `d + 1`, as the official builder writes them.

| config        | puzzles                                                                                           |
|---------------|---------------------------------------------------------------------------------------------------|
| `extreme`     | `sapientinc/sudoku-extreme`, from the Hub or from `train.csv[.gz]`, `test.csv[.gz]` in `data_dir` |
| `hard`        | the first `num_train_puzzles` of 20,000 + 10,000 bundled puzzles, see data/sudoku/README.md       |
| `hard-sample` | the first 1,000 of both                                                                           |
| `easy-sample` | those of `hard-sample` with 35 to 45 clues, the new ones revealed from the answers                |
| `mini-6x6`    | 1,000 + 1,000 generated 6x6 puzzles with 10 to 14 clues                                           |
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from datasets_scripts import puzzle_builder
from datasets_scripts.puzzle_builder import PuzzleBuilder, PuzzleConfig, count_leading, puzzle_table, token_grids
from modeling_trm.randomness_trm import random_bits
from modeling_trm.rules_trm import BOX_SHAPES, is_solved_sudoku
from modeling_trm.symmetries_trm import BLANK_TOKEN, FIRST_DIGIT_TOKEN, line_permutations

BUNDLED_FOLDER = Path(__file__).parent / "data" / "sudoku"
HUB_PAGE, TDOKU_PAGE = "https://huggingface.co/datasets/sapientinc/sudoku-extreme", "https://github.com/t-dillon/tdoku"
NUM_SAMPLED = 1000  # per split
NOT_RATED = 0


# Reading and checking CSV files

_TOKEN_OF_CHARACTER = np.zeros(256, dtype=np.int8)
_TOKEN_OF_CHARACTER[ord(".")] = BLANK_TOKEN
_TOKEN_OF_CHARACTER[ord("0") : ord("9") + 1] = np.arange(10) + BLANK_TOKEN


def read_csv(path: str | Path) -> pa.Table:
    """Read puzzles from a CSV file, see `puzzle_builder.read_csv`.

    Raises:
        ValueError: if the file is unreadable or a board is illegal; one line that names the file and the row (the
            first one after the header is row 1).
    """
    return puzzle_builder.read_csv(path, _checked_table, ".123456789", blanks="*_-")


def _checked_table(batch: pa.RecordBatch, path: str | Path, first_row: int) -> pa.Table:
    """The rows as tokens, if all of them are legal."""
    well_formed = pc.match_substring_regex(batch["rating"], r"^\d{1,9}$")
    for name in ("question", "answer"):
        well_formed = pc.and_(well_formed, pc.match_substring_regex(batch[name], r"^[.0-9]{81}$"))
    num_legal = count_leading(well_formed.to_numpy(zero_copy_only=False))
    input_ids, labels = (_tokens(batch[name][:num_legal].to_pylist()) for name in ("question", "answer"))
    num_legal = count_leading(is_solved_sudoku(torch.from_numpy(input_ids), torch.from_numpy(labels)).numpy())
    if num_legal < len(batch):
        fault = _fault(*(batch[name][num_legal].as_py() for name in ("question", "answer", "rating")))
        raise ValueError(f"{path} row {first_row + num_legal}: {fault}")
    return puzzle_table(input_ids, labels, source=batch["source"], rating=batch["rating"].cast(pa.int32()))


def _tokens(boards: list[str]) -> np.ndarray:
    """Tokens of boards of 81 characters, int8 [boards, 81]."""
    return _TOKEN_OF_CHARACTER[np.frombuffer("".join(boards).encode(), np.uint8)].reshape(-1, 81)


def _fault(question: str, answer: str, rating: str) -> str:
    """What is wrong with an illegal row."""
    for name, board in (("question", question), ("answer", answer)):
        if len(board) != 81:
            return f"the {name} has {len(board)} characters instead of 81"
        if wrong := sorted(set(board) - set(".0123456789")):
            return f"the {name} has the character {wrong[0]!r}; a digit is 1 to 9, a blank is '.' or 0"
    if not (rating.isascii() and rating.isdigit() and len(rating) < 10):
        return f"the rating {rating!r} is not a whole number"
    for name, board in (("question", question), ("answer", answer)):
        for unit, cells in _units((3, 3)).items():
            digits = [board[cell] for cell in cells if board[cell] not in ".0"]
            if twice := [digit for digit in digits if digits.count(digit) > 1]:
                return f"the {name} has the digit {twice[0]} twice in {unit}"
    if "." in answer or "0" in answer:
        return "the answer has blank cells"
    cell = next(cell for cell in range(81) if question[cell] not in (".", "0", answer[cell]))
    place = f"row {cell // 9 + 1}, column {cell % 9 + 1}"
    return f"the answer has {answer[cell]} where the question has {question[cell]}: {place}"


@cache
def _units(box_shape: tuple[int, int]) -> dict[str, list[int]]:
    """The cells of every row, column and box."""
    box_height, box_width = box_shape
    n = box_height * box_width
    units: dict[str, list[int]] = {}
    for cell in range(n * n):
        row, column = divmod(cell, n)
        box = row // box_height * (n // box_width) + column // box_width
        for kind, number in (("row", row), ("column", column), ("box", box)):
            units.setdefault(f"{kind} {number + 1}", []).append(cell)
    return units


# Making puzzles


def reveal_clues(input_ids: np.ndarray, labels: np.ndarray, seed: int, split: str) -> np.ndarray:
    """Puzzles [rows, 81] with clues revealed at random from their answers: 35 to 45 clues each, uniformly."""
    num_cells = input_ids.shape[1]
    draws = random_bits(seed, 0, torch.arange(len(input_ids)), num_cells + 1, purpose=f"easy clues {split}").numpy()
    num_clues = 35 + draws[:, -1:] % 11
    priority = np.where(input_ids > BLANK_TOKEN, -1, draws[:, :-1])
    rank = priority.argsort(axis=1, kind="stable").argsort(axis=1)
    return np.where(rank < num_clues, labels, input_ids)


MINI_SIZE = 6
MINI_CELLS = MINI_SIZE**2
MINI_CLUES = (10, 14)
_FULL = (1 << MINI_CELLS) - 1


@cache
def _not_peers() -> dict[int, int]:
    """For each cell (as a bit) of a 6x6 grid, the cells (as bits) that may hold the same digit."""
    units = _units(BOX_SHAPES[MINI_CELLS]).values()
    peers = {cell: {peer for unit in units if cell in unit for peer in unit} - {cell} for cell in range(MINI_CELLS)}
    return {1 << cell: _FULL & ~sum(1 << peer for peer in peers[cell]) for cell in peers}


def _solve(candidates: list[int], rng: random.Random | None = None, placed: int = 0) -> list[int] | None:
    """A solution of a 6x6 grid, or None. A set of cells is an integer of 36 bits.

    Args:
        candidates: for each digit the cells that may hold it; a solution has every cell in one of them.
        rng: tries digits in random order.
        placed: the cells whose digit is already forbidden in their peers.
    """
    candidates = list(candidates)
    while True:
        once = twice = thrice = 0  # the cells with at least one, two, three candidates
        for cells in candidates:
            once, twice, thrice = once | cells, twice | once & cells, thrice | twice & cells
        if once != _FULL:
            return None
        singles = once & ~twice & ~placed
        if not singles:
            break
        placed |= singles
        for digit, cells in enumerate(candidates):
            new = cells & singles
            while new:
                cell = new & -new
                cells &= _not_peers()[cell]
                new ^= cell
            candidates[digit] = cells
    if not twice:
        return candidates

    cell = twice & ~thrice or twice
    cell &= -cell
    digits = [digit for digit in range(MINI_SIZE) if candidates[digit] & cell]
    if rng:
        rng.shuffle(digits)
    for guess in digits:
        guessed = [cells if digit == guess else cells & ~cell for digit, cells in enumerate(candidates)]
        if solution := _solve(guessed, rng, placed):
            return solution
    return None


def _mini_puzzle(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """A random 6x6 puzzle with one solution, and that solution: two int8 [36]."""
    solution = _solve([_FULL] * MINI_SIZE, rng)
    assert solution, "an empty grid has a solution"
    clues, target = _FULL, rng.randint(*MINI_CLUES)
    for cell in rng.sample(list(_not_peers()), MINI_CELLS):
        if clues.bit_count() == target:
            break
        # the clue can go if no other digit fits in its cell
        open_cells = _FULL & ~clues | cell
        candidates = [cells & ~cell | open_cells & ~(cells & cell) for cells in solution]
        if _solve(candidates) is None:
            clues &= ~cell
    labels = np.zeros(MINI_CELLS, dtype=np.int8)
    is_clue = np.zeros(MINI_CELLS, dtype=bool)
    for cell in range(MINI_CELLS):
        labels[cell] = FIRST_DIGIT_TOKEN + next(d for d in range(MINI_SIZE) if solution[d] >> cell & 1)
        is_clue[cell] = clues >> cell & 1
    return np.where(is_clue, labels, np.int8(BLANK_TOKEN)), labels


@cache
def _mini_views() -> np.ndarray:
    """The 3,456 ways to see a 6x6 grid: which cell goes where, int64 [3456, 36]."""
    box_height, box_width = BOX_SHAPES[MINI_CELLS]
    rows = line_permutations(box_width, box_height, torch.device("cpu")).numpy()
    columns = line_permutations(box_height, box_width, torch.device("cpu")).numpy()
    return (rows[:, None, :, None] * MINI_SIZE + columns[None, :, None, :]).reshape(-1, MINI_CELLS)


def canonical_form(input_ids: np.ndarray) -> tuple[int, ...]:
    """The same for two 6x6 puzzles [36] exactly if moving lines and renaming digits turns one into the other."""
    views = input_ids[_mini_views()]  # [3456, 36]
    patterns = (views > BLANK_TOKEN) @ (1 << np.arange(MINI_CELLS))
    return min(_rename_digits(view) for view in views[patterns == patterns.min()].tolist())


def _rename_digits(board: list[int]) -> tuple[int, ...]:
    """Digits renamed in the order of their first appearance."""
    names = {BLANK_TOKEN: BLANK_TOKEN}
    return tuple(names.setdefault(token, len(names) + BLANK_TOKEN) for token in board)


@cache
def generate_mini(num_puzzles: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """6x6 puzzles of 10 to 14 clues with one solution each, no two of them equivalent: two int8 [puzzles, 36]."""
    rng = random.Random(seed)
    puzzles: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    while len(puzzles) < num_puzzles:
        input_ids, labels = _mini_puzzle(rng)
        if (input_ids > BLANK_TOKEN).sum() <= MINI_CLUES[1]:
            puzzles.setdefault(canonical_form(input_ids), (input_ids, labels))
    input_ids, labels = zip(*puzzles.values(), strict=True)
    return np.stack(input_ids), np.stack(labels)


# The builder


@dataclass(frozen=True)
class SudokuConfig(PuzzleConfig):
    num_cells: int = 81


class Sudoku(PuzzleBuilder):
    """Sudoku puzzles: `input_ids`, `labels` (int8 tokens, row by row), `source`, and `rating` (0 = not rated)."""

    FILES_CONFIG = "extreme"
    HUB_REPOSITORY = "sapientinc/sudoku-extreme"
    BUNDLED_FOLDER = BUNDLED_FOLDER
    CONFIGS: ClassVar[list[SudokuConfig]] = [
        SudokuConfig(name="extreme", description="Sudoku-Extreme", homepage=HUB_PAGE, license="other"),
        SudokuConfig(
            name="hard",
            description="Sudoku-Extreme-like (tdoku hardest, 74:26), bundled",
            homepage=TDOKU_PAGE,
            license="other",
        ),
        SudokuConfig(
            name="hard-sample",
            description="Sudoku-Extreme-like (tdoku hardest, 74:26), bundled",
            homepage=TDOKU_PAGE,
            license="other",
        ),
        SudokuConfig(
            name="easy-sample",
            description="the hard sample with 35 to 45 clues",
            homepage=TDOKU_PAGE,
            license="other",
        ),
        SudokuConfig(
            name="mini-6x6",
            description="generated 6x6 puzzles with 10 to 14 clues",
            num_cells=MINI_CELLS,
            is_generated=True,
            homepage="Generated by this builder",
            license="apache-2.0",
        ),
    ]

    def make_tables(self, split: str, path: str | None) -> Iterator[pa.Table]:
        table = read_csv(path) if path else _mini_table(split, self.seed)
        if self.config.name in ("hard-sample", "easy-sample"):
            table = table.slice(0, NUM_SAMPLED)
        elif self.config.name == "hard" and split == "train":
            table = table.slice(0, self.num_train_puzzles)
        if self.config.name == "easy-sample":
            labels = token_grids(table["labels"])
            input_ids = reveal_clues(token_grids(table["input_ids"]), labels, self.seed, split)
            rating = pa.array([NOT_RATED] * len(table), pa.int32())
            table = puzzle_table(input_ids, labels, source=table["source"], rating=rating)
        yield self.choose(split, table)


def _mini_table(split: str, seed: int) -> pa.Table:
    rows = slice(1000) if split == "train" else slice(1000, 2000)
    input_ids, labels = (grids[rows] for grids in generate_mini(2000, seed))
    source, rating = pa.array(["generated"] * len(labels)), pa.array([NOT_RATED] * len(labels), pa.int32())
    return puzzle_table(input_ids, labels, source=source, rating=rating)
