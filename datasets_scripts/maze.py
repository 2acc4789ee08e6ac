# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Mazes: find a shortest path from S to G.

Rows hold un-augmented mazes as tokens, as the official builder writes them: 0 = pad, 1 = wall `#`, 2 = free cell,
3 = start `S`, 4 = goal `G`, 5 = path `o`.

| config        | mazes                                                                                  |
|---------------|----------------------------------------------------------------------------------------|
| `hard`        | `sapientinc/maze-30x30-hard-1k`, or `train.csv[.gz]` and `test.csv[.gz]` in `data_dir` |
| `hard-sample` | 200 + 200 bundled 30x30 mazes, see data/maze/README.md                                 |
| `generated`   | 1,000 + 1,000 mazes made by the published process, 30x30                               |
| `mini-9x9`    | the same, 9x9                                                                          |

A maze has many shortest paths (millions are ordinary at 30x30), and the label is the one that a deterministic A*
finds. So there are two scores: `exact_accuracy`, the label cell by cell, as the papers report, and `optimal_accuracy`,
any shortest path.

Rotations and reflections turn mazes into mazes and shortest paths into shortest paths, but not A*'s choice into A*'s
choice: the augmented labels contradict each other. In the runs of jvdillon/sic (arXiv 2601.19085) the eightfold
augmentation brought exact accuracy from above 80 % down to 13-19 %. It is off by default (`--augment true`).
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import isqrt
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from tqdm.auto import tqdm

from datasets_scripts import puzzle_builder
from datasets_scripts.puzzle_builder import PuzzleBuilder, PuzzleConfig, count_leading, puzzle_table
from modeling_trm.randomness_trm import random_bits
from modeling_trm.rules_trm import FREE, GOAL, PATH, START, WALL, distances, is_solved_maze

HUB_PAGE = "https://huggingface.co/datasets/sapientinc/maze-30x30-hard-1k"
BUNDLED_FOLDER = Path(__file__).parent / "data" / "maze"
CHARACTERS = "# SGo"
BLOCK = 15_000  # cells searched together: so few that torch starts no threads, which would mostly wait for each other


# Reading and checking CSV files

_TOKEN_OF_CHARACTER = np.zeros(256, dtype=np.int8)
_TOKEN_OF_CHARACTER[list(CHARACTERS.encode())] = np.arange(1, 6)


def read_csv(path: str | Path, size: int = 30) -> pa.Table:
    """Read mazes from a CSV file, see `puzzle_builder.read_csv`.

    Raises:
        ValueError: if the file is unreadable or a maze is illegal; one line that names the file and the row (the
            first one after the header is row 1).
    """

    def checked_table(batch: pa.RecordBatch, path: str | Path, first_row: int) -> pa.Table:
        well_formed = pc.match_substring_regex(batch["rating"], r"^\d{1,9}$")
        for name in ("question", "answer"):
            well_formed = pc.and_(well_formed, pc.match_substring_regex(batch[name], rf"^[# SGo]{{{size**2}}}$"))
        num_legal = count_leading(well_formed.to_numpy(zero_copy_only=False))
        input_ids, labels = (maze_tokens(batch[name][:num_legal].to_pylist(), size) for name in ("question", "answer"))
        blocks = (torch.from_numpy(mazes).split(BLOCK // size**2) for mazes in (input_ids, labels))
        num_legal = count_leading(torch.cat([is_solved_maze(*block) for block in zip(*blocks, strict=True)]).numpy())
        if num_legal < len(batch):
            question, answer, rating = (batch[name][num_legal].as_py() for name in ("question", "answer", "rating"))
            fault = _fault(question, answer, rating, size)
            raise ValueError(f"{path} row {first_row + num_legal}: {fault}")
        return puzzle_table(input_ids, labels, source=batch["source"], rating=batch["rating"].cast(pa.int32()))

    return puzzle_builder.read_csv(path, checked_table, CHARACTERS)


def maze_tokens(mazes: list[str], size: int) -> np.ndarray:
    """Tokens of mazes of size * size of the characters `# SGo`, int8 [mazes, size * size]."""
    return _TOKEN_OF_CHARACTER[np.frombuffer("".join(mazes).encode(), np.uint8)].reshape(-1, size**2)


def _fault(question: str, answer: str, rating: str, size: int) -> str:
    """What is wrong with an illegal row."""
    for name, maze in (("question", question), ("answer", answer)):
        if len(maze) != size**2:
            return f"the {name} has {len(maze)} characters instead of {size**2} ({size}x{size} cells)"
        if wrong := sorted(set(maze) - set(CHARACTERS)):
            return f"the {name} has the character {wrong[0]!r}; the known ones are '#', ' ', 'S', 'G' and 'o'"
    if not (rating.isascii() and rating.isdigit() and len(rating) < 10):
        return f"the rating {rating!r} is not a whole number"
    if "o" in question:
        return "the question has a path 'o' already"
    for end in "SG":
        if question.count(end) != 1:
            return f"the question has {question.count(end)} cells {end!r} instead of one"
    for cell, (before, after) in enumerate(zip(question, answer, strict=True)):
        if after != before and (before, after) != (" ", "o"):
            place = f"row {cell // size + 1}, column {cell % size + 1}"
            return f"the answer has {after!r} where the question has {before!r}: {place}"
    mazes = torch.from_numpy(maze_tokens([question, answer], size)).view(2, size, size)
    is_open = torch.stack([(mazes[0] == FREE) | (mazes[0] == GOAL), (mazes[1] == PATH) | (mazes[1] == GOAL)])
    shortest, along_path = distances(is_open, mazes == START)[mazes == GOAL].tolist()
    if shortest < 0:
        return "no path joins S and G in this maze"
    if along_path < 0:
        return "the path does not join S and G"
    return f"the path has {answer.count('o') + 1} steps, the shortest has {shortest}"


# Making mazes

WALLS = (0.3, 0.5)  # the share of walls, drawn uniformly for each maze
NUM_GENERATED = 1000  # per split


def longer_than(size: int) -> int:
    """The shortest path of a generated maze has more steps than this: 110 at 30x30.

    The longest paths of random mazes grow about as size**1.2, so this keeps other sizes about as hard to find.
    """
    return round(110 * (size / 30) ** 1.2)


@cache
def generate(num_mazes: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Different mazes with long shortest paths, and their solutions: two int8 [mazes, size * size].

    The process of Lehnert et al. (arXiv 2402.14083) with the walls and lengths of arXiv 2506.21734: every cell is a
    wall with a probability between 30 and 50 %, and only mazes with a long shortest path are kept. A uniform choice of
    start and goal would keep three in a million at 30x30, so the start is the farthest cell from a random one, which
    keeps six in a thousand, and the goal a random one of the cells far enough from it.
    """
    mazes: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    batch_size, batch = BLOCK // size**2, 0
    with tqdm(total=num_mazes, desc=f"making {size}x{size} mazes", unit="maze", leave=False) as progress:
        while len(mazes) < num_mazes:
            for question in _candidates(range(batch * batch_size, (batch + 1) * batch_size), size, seed):
                mazes.setdefault(question.tobytes(), (question, solve(question)))
            progress.update(min(len(mazes), num_mazes) - progress.n)
            batch += 1
    input_ids, labels = zip(*list(mazes.values())[:num_mazes], strict=True)
    return np.stack(input_ids), np.stack(labels)


def _candidates(numbers: range, size: int, seed: int) -> Iterator[np.ndarray]:
    """The mazes of these numbers that have a long enough shortest path, int8 [size * size] each."""
    cells, limit = size**2, longer_than(size)
    draws = random_bits(seed, 0, torch.arange(numbers.start, numbers.stop), 2 * cells + 2, purpose="mazes")
    draws = draws.double() / 2**63  # [mazes, draws] in [0, 1)
    least, most = WALLS
    is_open = (draws[:, :cells] >= least + (most - least) * draws[:, -1:]).view(-1, size, size)
    reach = distances(is_open, _pick(is_open, draws[:, cells : 2 * cells]))
    rows = (reach.amax((1, 2)) > limit // 2).nonzero().flatten()  # no two cells are farther apart than twice this
    is_open, draws, reach = (x.index_select(0, rows) for x in (is_open, draws, reach))
    is_start = _pick(reach == reach.amax((1, 2), keepdim=True), draws[:, :cells])
    is_far = distances(is_open, is_start) > limit
    mazes = torch.where(is_open, FREE, WALL).to(torch.int8).masked_fill(is_start, START)
    mazes = mazes.masked_fill(_pick(is_far, draws[:, cells : 2 * cells]), GOAL)
    yield from mazes.flatten(1).numpy()[is_far.flatten(1).any(1).numpy()]


def _pick(choices: Tensor, draws: Tensor) -> Tensor:
    """One of the true cells of each maze [mazes, size, size], at random by draws [mazes, cells]; any if none is."""
    picked = torch.where(choices.flatten(1), draws, -1).argmax(1, keepdim=True)
    return torch.zeros_like(choices.flatten(1)).scatter_(1, picked, True).view_as(choices)


def solve(question: np.ndarray) -> np.ndarray:
    """The maze with the shortest path that A* finds, int8 [cells]: the tie rule behind the published labels.

    The open cells are kept by (steps so far + Manhattan distance to the goal, row, column), and a cell keeps the
    first of equally good predecessors.
    """
    size = isqrt(len(question))
    start, goal = (int((question == token).argmax()) for token in (START, GOAL))
    goal_row, goal_column = divmod(goal, size)
    steps, came_from, closed = {start: 0}, {}, set()
    heap = [(0, start)]
    while heap:
        _, cell = heapq.heappop(heap)
        if cell == goal:
            break
        if cell in closed:
            continue
        closed.add(cell)
        row, column = divmod(cell, size)
        for near_row, near_column in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            near = near_row * size + near_column
            if not (0 <= near_row < size and 0 <= near_column < size) or question[near] == WALL:
                continue
            if steps[cell] + 1 < steps.get(near, len(question)):
                steps[near], came_from[near] = steps[cell] + 1, cell
                to_goal = abs(near_row - goal_row) + abs(near_column - goal_column)
                heapq.heappush(heap, (steps[near] + to_goal, near))
    answer = question.copy()
    while (cell := came_from[cell]) != start:
        answer[cell] = PATH
    return answer


# The builder


@dataclass(frozen=True)
class MazeConfig(PuzzleConfig):
    size: int = 30


class Maze(PuzzleBuilder):
    """Mazes: `input_ids`, `labels` (int8 tokens, row by row), `source`, and `rating` (steps of the shortest path)."""

    config: MazeConfig
    FILES_CONFIG = "hard"
    HUB_REPOSITORY = "sapientinc/maze-30x30-hard-1k"
    BUNDLED_FOLDER = BUNDLED_FOLDER
    CONFIGS: ClassVar[list[MazeConfig]] = [
        MazeConfig(name="hard", description="Maze-Hard 30x30", homepage=HUB_PAGE, license="other"),
        MazeConfig(
            name="hard-sample",
            description="Maze-Hard-like (random walls, path > 110), 30x30, bundled",
            homepage="Generated by the published process, arXiv 2402.14083 and 2506.21734",
            license="apache-2.0",
        ),
        MazeConfig(
            name="generated",
            description="generated mazes with long shortest paths",
            is_generated=True,
            homepage="Generated by the published process, arXiv 2402.14083 and 2506.21734",
            license="apache-2.0",
        ),
        MazeConfig(
            name="mini-9x9",
            description="generated 9x9 mazes with long shortest paths",
            size=9,
            is_generated=True,
            homepage="Generated by the published process, arXiv 2402.14083 and 2506.21734",
            license="apache-2.0",
        ),
    ]

    def make_tables(self, split: str, path: str | None) -> Iterator[pa.Table]:
        size = self.config.size
        table = read_csv(path, size) if path else _generated_table(split, size, self.seed)
        yield self.choose(split, table)


def _generated_table(split: str, size: int, seed: int) -> pa.Table:
    rows = slice(NUM_GENERATED) if split == "train" else slice(NUM_GENERATED, 2 * NUM_GENERATED)
    input_ids, labels = (mazes[rows] for mazes in generate(2 * NUM_GENERATED, size, seed))
    steps = (labels == PATH).sum(1) + 1
    source = pa.array(["generated"] * len(labels))
    return puzzle_table(input_ids, labels, source=source, rating=pa.array(steps, pa.int32()))
