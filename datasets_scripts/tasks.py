# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The one table of tasks: what each is made of, and how its puzzles come into memory."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets_scripts import arc_agi, grid, maze, sudoku
from datasets_scripts.arc_augmentation import AugmentedTasks, tasks_of
from datasets_scripts.puzzle_builder import PuzzleBuilder, token_grids
from modeling_trm.modeling_trm import IGNORE_INDEX
from modeling_trm.processing_trm import TrmProcessor
from modeling_trm.rules_trm import BOX_SHAPES, is_solved_maze, is_solved_sudoku
from modeling_trm.symmetries_trm import (
    FIRST_DIGIT_TOKEN,
    PAD_TOKEN,
    Symmetry,
    random_dihedral_symmetry,
    random_sudoku_symmetry,
)


@dataclass(frozen=True)
class PuzzleFormat:
    """What the puzzles of one config look like.

    Attributes:
        processor: arguments of `TrmProcessor`: the vocabulary and the shape of the grid.
        answer_tokens: the token ids that a cell of an answer can hold.
        num_symbols: how many tokens at the end of the vocabulary are names that may be exchanged; None if only the
            person whose puzzles they are knows.
        random_symmetry: (seed, epoch, index) -> `Symmetry`; None if the config is not augmented.
        augment: whether training draws those symmetries unless it is told.
        puzzle_ids: the names of the data's `puzzle_ids` 1, 2, ..., in that order; 0 is for puzzles without one.
        metrics: scores beside exact accuracy by name: (input_ids, answers) [batch, seq] -> bool [batch].
    """

    processor: dict[str, Any]
    answer_tokens: list[int]
    num_symbols: int | None = 0
    random_symmetry: Callable[..., Symmetry] | None = None
    augment: bool = True
    puzzle_ids: tuple[str, ...] = ()
    metrics: dict[str, Callable[[Tensor, Tensor], Tensor]] = field(default_factory=dict)

    def check_symbols(self, num_symbols: int) -> None:
        """Raises `ValueError` if a model with so many symbols would exchange tokens that mean something here."""
        if num_symbols in (0, self.num_symbols) or self.num_symbols is None:
            return
        fits = f"the last {self.num_symbols} may be exchanged" if self.num_symbols else "every one means something"
        raise ValueError(
            f"num_symbols={num_symbols}: of these {len(self.processor['vocabulary'])} tokens {fits}, so "
            f"set it to {' or '.join(str(count) for count in sorted({0, self.num_symbols}))}"
        )


@dataclass(frozen=True)
class Task:
    """One kind of puzzle.

    Attributes:
        builder: makes the data; the names of its `CONFIGS` are the keys of `formats`.
        default_config: the config for a person who names none.
        data_dir_config: the config that reads the person's own files.
        checker: (input_ids, answers) [batch, seq] -> bool [batch], whether each answer solves its puzzle; None if only
            a comparison with the label can tell.
        formats: what the puzzles of each config look like.
        read_format: builder -> that, for data that is not known in advance; `formats` is then empty.
    """

    name: str
    builder: type[PuzzleBuilder]
    default_config: str
    data_dir_config: str
    checker: Callable[[Tensor, Tensor], Tensor] | None
    formats: dict[str, PuzzleFormat] = field(default_factory=dict)
    read_format: Callable[[Any], PuzzleFormat] | None = None

    def build(self, config_name: str, **options: Any) -> tuple[PuzzleBuilder, PuzzleFormat]:
        """The builder of a config with its options, not yet run, and what its puzzles look like."""
        names = [config.name for config in self.builder.CONFIGS]
        builder = self.builder(nearest(config_name, names, f"config of {self.name}"), **options)
        return builder, self.read_format(builder) if self.read_format else self.formats[config_name]

    def hub_dataset(self, config_name: str, data_dir: str | Path | None = None) -> str | None:
        """The dataset of the Hub that a config reads; None if its puzzles are from elsewhere."""
        reads_hub = config_name == self.data_dir_config and data_dir is None
        return self.builder.HUB_REPOSITORY if reads_hub else None


@dataclass(frozen=True)
class Puzzles:
    """A split in memory.

    Attributes:
        input_ids, labels: small integers [puzzles, seq]; a label of -100 is no part of the answer.
        puzzle_ids: int64 [puzzles], the row of the puzzle embedding; None if the task has none.
        source: where each puzzle comes from.
        config: name of the dataset's config.
        format: what the puzzles look like.
        augmented_tasks: the identifiers of tasks whose augmented puzzles each have one; `puzzle_ids` are then those
            of the tasks themselves.
    """

    input_ids: Tensor
    labels: Tensor
    puzzle_ids: Tensor | None
    source: list[str]
    config: str
    format: PuzzleFormat
    augmented_tasks: AugmentedTasks | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def num_puzzles(self) -> int:
        """Rows that the embedding table needs."""
        return self.augmented_tasks.num_puzzles if self.augmented_tasks else 1 + len(self.format.puzzle_ids)

    @property
    def row_of_id(self) -> dict[str, int]:
        """The row of the embedding table of each puzzle id by its name; "" are the puzzles here without an id."""
        if self.augmented_tasks:
            names = self.augmented_tasks.names
            return dict(zip(names, self.augmented_tasks.first_ids.tolist(), strict=False))  # the last is the end
        has_unnamed = self.puzzle_ids is None or bool((self.puzzle_ids == 0).any())
        return ({"": 0} if has_unnamed else {}) | {name: row for row, name in enumerate(self.format.puzzle_ids, 1)}

    def first(self, count: int | None) -> "Puzzles":
        """The first `count` puzzles, with all test pairs of each where there are several; all for None."""
        if self.augmented_tasks and count is not None:
            _, numbers = self.puzzle_ids.unique_consecutive(return_inverse=True)
            count = int((numbers < count).sum())
        return replace(
            self,
            input_ids=self.input_ids[:count],
            labels=self.labels[:count],
            puzzle_ids=None if self.puzzle_ids is None else self.puzzle_ids[:count],
            source=self.source[:count],
        )


def _sudoku_format(num_cells: int) -> PuzzleFormat:
    box_height, box_width = BOX_SHAPES[num_cells]
    n = box_height * box_width
    return PuzzleFormat(
        processor={
            "vocabulary": ["<pad>", ".", *(str(digit) for digit in range(1, n + 1))],
            "height": n,
            "width": n,
            "box_height": box_height,
            "box_width": box_width,
            "aliases": {"0": "."},
            "rule": "sudoku",
        },
        answer_tokens=list(range(FIRST_DIGIT_TOKEN, FIRST_DIGIT_TOKEN + n)),
        num_symbols=n,
        random_symmetry=partial(random_sudoku_symmetry, box_shape=(box_height, box_width)),
    )


_ARC_FORMAT = PuzzleFormat(
    processor={
        "vocabulary": ["<pad>", "|", *(str(colour) for colour in range(arc_agi.NUM_COLOURS))],
        "height": arc_agi.CANVAS_SIZE,
        "width": arc_agi.CANVAS_SIZE,
        "end_marker": "|",
    },
    answer_tokens=list(range(arc_agi.END_TOKEN, arc_agi.FIRST_COLOUR_TOKEN + arc_agi.NUM_COLOURS)),
    num_symbols=arc_agi.NUM_COLOURS,
)


def _maze_format(size: int) -> PuzzleFormat:
    vocabulary = ["<pad>", *maze.CHARACTERS]
    return PuzzleFormat(
        processor={"vocabulary": vocabulary, "height": size, "width": size, "rule": "maze"},
        answer_tokens=list(range(1, len(vocabulary))),
        random_symmetry=partial(random_dihedral_symmetry, size=size, vocab_size=len(vocabulary)),
        augment=False,  # see the docstring of maze.py
        metrics={"optimal_accuracy": is_solved_maze},
    )


def _grid_format(builder: grid.Grids) -> PuzzleFormat:
    canvas, symmetry = builder.canvas, None
    if canvas.height == canvas.width:
        symmetry = partial(random_dihedral_symmetry, size=canvas.width, vocab_size=len(canvas.vocabulary))
    return PuzzleFormat(
        processor={"vocabulary": list(canvas.vocabulary), "height": canvas.height, "width": canvas.width},
        answer_tokens=list(canvas.answer_tokens),
        num_symbols=None,
        random_symmetry=symmetry,
        augment=False,  # only the person knows whether a rotated puzzle is a puzzle
        puzzle_ids=canvas.puzzle_ids,
    )


TASKS: dict[str, Task] = {
    "sudoku": Task(
        name="sudoku",
        builder=sudoku.Sudoku,
        default_config="hard-sample",
        data_dir_config="extreme",
        checker=is_solved_sudoku,
        formats={config.name: _sudoku_format(config.num_cells) for config in sudoku.Sudoku.CONFIGS},
    ),
    "arc-agi": Task(
        name="arc-agi",
        builder=arc_agi.ArcAgi,
        default_config="arc-agi-1",
        data_dir_config="kaggle",
        checker=None,
        formats=dict.fromkeys((config.name for config in arc_agi.ArcAgi.CONFIGS), _ARC_FORMAT),
    ),
    "maze": Task(
        name="maze",
        builder=maze.Maze,
        default_config="hard-sample",
        data_dir_config="hard",
        checker=is_solved_maze,
        formats={config.name: _maze_format(config.size) for config in maze.Maze.CONFIGS},
    ),
    "grid": Task(
        name="grid",
        builder=grid.Grids,
        default_config="own",
        data_dir_config="own",
        checker=None,
        read_format=_grid_format,
    ),
}


def nearest(name: str, valid_names, kind: str) -> str:
    """`name` if it is valid.

    Raises:
        ValueError: if not; one line with the valid name that is nearest, and all of them.
    """
    if name in valid_names:
        return name
    guess = difflib.get_close_matches(name, valid_names, n=1, cutoff=0.0)[0]
    raise ValueError(f"there is no {kind} named {name!r}; did you mean {guess!r}? There are: {', '.join(valid_names)}")


def load_puzzles(
    task: str,
    config: str | None = None,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    num_train_puzzles: int | None = 1000,
    num_augmentations: int = 1000,
    max_examples: int | None = None,
    cache_dir: str | Path | None = None,
    processor: TrmProcessor | None = None,
) -> Puzzles:
    """Build a split, or take it from the cache of `datasets` where that is installed, and bring it into memory.

    Args:
        task, config, split: names; without a config the task's default, or with a `data_dir` the one that reads it.
        seed: of the choice of training puzzles, and of whatever the builder makes at random.
        num_train_puzzles: how many puzzles the training split keeps; None keeps all. ARC always keeps all.
        num_augmentations: the most puzzles that are made of each one and have an identifier of their own (ARC only).
        max_examples: only the first so many rows.
        cache_dir: where `datasets` keeps what it builds.
        processor: of the model that is to solve them: own grids lie on its canvas then, and need no training file.

    Raises:
        ValueError: for an unknown name or an illegal puzzle.
        FileNotFoundError: for a missing file.
    """
    entry = TASKS[nearest(task, TASKS, "task")]
    config = config or (entry.data_dir_config if data_dir else entry.default_config)
    options = {"processor": processor} if entry.builder is grid.Grids else {}
    builder, described = entry.build(
        config, data_dir=data_dir, seed=seed, num_train_puzzles=num_train_puzzles, **options
    )
    table = builder.read(nearest(split, ("train", "test"), "split"), cache_dir)
    input_ids, labels = (torch.from_numpy(token_grids(table.column(name))) for name in ("input_ids", "labels"))
    labels.masked_fill_(labels == PAD_TOKEN, IGNORE_INDEX)
    puzzle_ids = augmented_tasks = None
    if "puzzle_ids" in table.column_names:
        puzzle_ids = torch.tensor(table.column("puzzle_ids").to_numpy(), dtype=torch.int64)
    if entry.builder is arc_agi.ArcAgi:
        pairs = tasks_of(*(builder.read(name, cache_dir) for name in ("train", "test")))
        augmented_tasks = AugmentedTasks.build(pairs, num_augmentations, seed)
        puzzle_ids = augmented_tasks.ids_of(table.column("task").to_pylist())
    puzzles = Puzzles(
        input_ids,
        labels,
        puzzle_ids,
        table.column("source").to_pylist(),
        config=config,
        format=described,
        augmented_tasks=augmented_tasks,
    )
    return puzzles.first(max_examples)


def remarks(train: Puzzles, test: Puzzles) -> list[str]:
    """What a person should know of their data before it is trained on, a line each; nothing for ARC."""
    if train.augmented_tasks:
        return []
    lines = []
    if smaller := int((train.labels == IGNORE_INDEX).any(1).sum()):
        size = f"{train.format.processor['height']}x{train.format.processor['width']}"
        lines.append(
            f"note: {smaller:,} training answers are smaller than the {size} canvas; cells outside of an answer are "
            "neither learned nor scored, so the model's answers have no end: use only what lies inside"
        )
    if test.input_ids.shape[1] == train.input_ids.shape[1]:
        seen = {row.tobytes() for row in train.input_ids.numpy()}
        if repeated := sum(row.tobytes() in seen for row in test.input_ids.numpy()):
            lines.append(f"note: {repeated:,} of {len(test):,} test puzzles are training puzzles too")
    return lines
