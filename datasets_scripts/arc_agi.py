# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""ARC-AGI and ConceptARC: tasks in the layout of the Kaggle competitions.

Rows hold un-augmented pairs of grids on a 30x30 canvas as tokens: 0 = pad, 1 = end of grid (the cells just below and
just right of it), colour `c` = `c + 2`, as the official builder writes them; see `arc_augmentation` for what happens
to them in training. Padding in `labels` is -100, as it does not count in the loss.

| config      | tasks                                          | tested on                                          |
|-------------|------------------------------------------------|----------------------------------------------------|
| `arc-agi-1` | training, evaluation, concept                  | evaluation                                         |
| `arc-agi-2` | training2, evaluation2, concept                | evaluation2                                        |
| `kaggle`    | every `*_challenges.json[.gz]` in a `data_dir` | test, evaluation2, evaluation (the first there is) |

A `data_dir` may also hold a JSON file for each task, in sub-folders `training` and `evaluation`, as ARC-AGI has them,
or in any. The config `kaggle-evaluation` is `kaggle` tested on evaluation, whose solutions are known.

The training split holds the demonstration pairs of all tasks (also of those tested: the paper learns an embedding of
each) and the test pairs of the others. Where the official builder shuffles tasks by a global random state, ours keeps
the order of the files, so identifiers do not depend on the hash seed of the process.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from datasets_scripts.puzzle_builder import PuzzleBuilder, PuzzleConfig
from modeling_trm.modeling_trm import IGNORE_INDEX
from modeling_trm.symmetries_trm import CANVAS_SIZE, FIRST_COLOUR_TOKEN, PAD_TOKEN

BUNDLED_FOLDER = Path(__file__).parent / "data" / "arc"
NUM_COLOURS = 10
END_TOKEN = 1
TESTED_FIRST = ("test", "evaluation2", "evaluation")  # which subset of a folder is the one to be tested on


class Pair(NamedTuple):
    """One example of a task: grids of colours, int8 [height, width]; no output if it is what one is asked for."""

    input: np.ndarray
    output: np.ndarray | None


class ArcTask(NamedTuple):
    """Demonstrations and tests of one task."""

    train: list[Pair]
    test: list[Pair]


# Reading and checking JSON files


def read_tasks(challenges: str | Path, solutions: str | Path | None = None) -> dict[str, ArcTask]:
    """The tasks of one subset.

    Args:
        challenges: JSON of `{task: {"train": [{"input", "output"}, ...], "test": [{"input"}, ...]}}`; `.gz` is
            decompressed. Or a folder with a JSON file for each task, which has its name.
        solutions: JSON of `{task: [output, ...]}`; without it, the outputs of the tests are those in `challenges`, if
            there are any.

    Raises:
        ValueError: if a file is unreadable or a task is illegal; one line that names the file, the task and the pair.
    """
    contents = read_folder(Path(challenges)) if Path(challenges).is_dir() else read_json(challenges)
    if not contents:
        raise ValueError(f"{challenges}: there are no tasks in this file")
    answers = read_json(solutions) if solutions else {}
    for name in answers:
        if name not in contents:
            raise ValueError(f"{solutions} task {name!r}: there is no such task in {Path(challenges).name}")
    tasks = {}
    for name, content in contents.items():
        where = f"{challenges} task {name!r}"
        train, test = read_pairs(content, "train", where), read_pairs(content, "test", where)
        for number, pair in enumerate(train, 1):
            if pair.output is None:
                raise ValueError(f"{where} train pair {number}: there is no output")
        if solutions:
            grids = answers.get(name)
            if not isinstance(grids, list) or len(grids) != len(test):
                given = f"{len(grids)} solutions" if isinstance(grids, list) else "no list of solutions"
                raise ValueError(f"{solutions} task {name!r}: {given} for {len(test)} test pairs")
            outputs = (
                read_grid(grid, f"{solutions} task {name!r} test pair {number} output")
                for number, grid in enumerate(grids, 1)
            )
            test = [Pair(pair.input, output) for pair, output in zip(test, outputs, strict=True)]
        tasks[name] = ArcTask(train, test)
    return tasks


def folders_of_tasks(folder: Path) -> dict[str, Path]:
    """The folders of single tasks by subset: `training`, `evaluation`, ... in the folder or its `data`, or itself."""
    for place in (folder, folder / "data"):
        named = [place / name for name in (*TESTED_FIRST, "training", "training2")]
        if found := {path.name: path for path in named if any(path.glob("*.json"))}:
            return found
    return {"tasks": folder} if any(files_of_tasks(folder)) else {}


def files_of_tasks(folder: Path) -> list[Path]:
    """A file for each task, also in sub-folders, as ConceptARC has one for each concept."""
    return sorted(path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}.json"))


def read_folder(folder: Path) -> dict[str, Any]:
    """The tasks of a folder by the names of their files; one that is only a list of pairs is tested on the last."""
    tasks: dict[str, Any] = {}
    for path in files_of_tasks(folder):
        content = parse_json(path)
        if isinstance(content, list):
            content = {"train": content[:-1], "test": content[-1:]}
        if not isinstance(content, dict) or not {"train", "test"} <= content.keys():
            continue  # such as a list of metadata
        if path.stem in tasks:
            raise ValueError(f"{folder}: two files are named {path.name}")
        tasks[path.stem] = content
    return tasks


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object of tasks, from a file that may be gzipped."""
    contents = parse_json(path)
    if not isinstance(contents, dict):
        raise ValueError(f"{path}: a {type(contents).__name__} in place of an object of tasks")
    return contents


def parse_json(path: str | Path) -> Any:
    data = Path(path).read_bytes()
    try:
        text = gzip.decompress(data) if data and str(path).endswith(".gz") else data
        if not text.strip():
            raise ValueError(f"{path}: the file is empty")
        contents = json.loads(text)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: the gzip file is broken or cut off ({error})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: this is not JSON ({error})") from None
    return contents


def read_pairs(task: Any, kind: str, where: str) -> list[Pair]:
    pairs = task.get(kind) if isinstance(task, dict) else None
    if not isinstance(pairs, list) or not pairs:
        raise ValueError(f"{where}: there are no {kind} pairs")
    read = []
    for number, pair in enumerate(pairs, 1):
        name = f"{where} {kind} pair {number}"
        if not isinstance(pair, dict) or "input" not in pair:
            raise ValueError(f"{name}: there is no input")
        output = read_grid(pair["output"], f"{name} output") if pair.get("output") is not None else None
        read.append(Pair(read_grid(pair["input"], f"{name} input"), output))
    return read


def read_grid(grid: Any, name: str) -> np.ndarray:
    """A grid of colours, int8 [height, width].

    Raises:
        ValueError: if it is none; one line that begins with `name`.
    """
    if not (isinstance(grid, list) and grid and all(isinstance(row, list) and row for row in grid)):
        raise ValueError(f"{name}: this is not a list of rows of colours")
    height, width = len(grid), len(grid[0])
    for number, row in enumerate(grid, 1):
        if len(row) != width:
            raise ValueError(f"{name}: row {number} has {len(row)} cells, but row 1 has {width}")
    if max(height, width) > CANVAS_SIZE:
        raise ValueError(f"{name}: a grid of {height}x{width} is larger than {CANVAS_SIZE}x{CANVAS_SIZE}")
    for number, row in enumerate(grid, 1):
        for colour in row:
            if type(colour) is not int or not 0 <= colour < NUM_COLOURS:
                raise ValueError(f"{name}: row {number} has the colour {colour!r}; a colour is a number from 0 to 9")
    return np.array(grid, dtype=np.int8)


# The canvas


def to_canvas(grid: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
    """Tokens of a grid of colours [height, width] with its corner at (top, left), int8 [900]."""
    height, width = grid.shape
    canvas = np.full((CANVAS_SIZE, CANVAS_SIZE), PAD_TOKEN, dtype=np.int8)
    bottom, right = top + height, left + width
    canvas[top:bottom, left:right] = grid + FIRST_COLOUR_TOKEN
    canvas[bottom : bottom + 1, left:right] = END_TOKEN
    canvas[top:bottom, right : right + 1] = END_TOKEN
    return canvas.ravel()


def to_labels(grid: np.ndarray | None) -> np.ndarray:
    """The labels of an output, int8 [900]: its canvas without the padding, or nothing if it is not known."""
    if grid is None:
        return np.full(CANVAS_SIZE**2, IGNORE_INDEX, dtype=np.int8)
    canvas = to_canvas(grid)
    return np.where(canvas == PAD_TOKEN, np.int8(IGNORE_INDEX), canvas)


def to_grid(canvas: np.ndarray) -> np.ndarray | None:
    """The colours of a grid in the top left corner of a canvas [900] of tokens or labels; `None` without any."""
    is_colour = canvas.reshape(CANVAS_SIZE, CANVAS_SIZE) >= FIRST_COLOUR_TOKEN
    height, width = is_colour[:, 0].sum(), is_colour[0].sum()
    grid = canvas.reshape(CANVAS_SIZE, CANVAS_SIZE)[:height, :width] - FIRST_COLOUR_TOKEN
    return grid if height else None


# The builder


@dataclass(frozen=True)
class ArcConfig(PuzzleConfig):
    """`subsets` are the tasks, `tested` the subset whose test pairs are the test split; a folder decides if empty."""

    subsets: tuple[str, ...] = ()
    tested: str = ""


class ArcAgi(PuzzleBuilder):
    """ARC pairs: `input_ids`, `labels` (int8 tokens, row by row), `task`, `pair` (its number), `source` (its subset).

    All tasks are kept. `data_dir` is a folder of `*_SUBSET_challenges.json[.gz]` and, where known,
    `*_SUBSET_solutions.json[.gz]`; by default the bundled one.
    """

    config: ArcConfig
    BUNDLED_FOLDER = BUNDLED_FOLDER
    SUFFIXES = (".json", ".json.gz")
    CONFIGS: ClassVar[list[ArcConfig]] = [
        ArcConfig(
            name="arc-agi-1",
            description="ARC-AGI-1 and ConceptARC, tested on the public evaluation set",
            subsets=("training", "evaluation", "concept"),
            tested="evaluation",
            homepage="https://github.com/fchollet/ARC-AGI (Apache-2.0), "
            "https://github.com/victorvikram/ConceptARC (MIT)",
            license="other",
        ),
        ArcConfig(
            name="arc-agi-2",
            description="ARC-AGI-2 and ConceptARC, tested on the public evaluation set",
            subsets=("training2", "evaluation2", "concept"),
            tested="evaluation2",
            homepage="https://github.com/arcprize/ARC-AGI-2 (Apache-2.0), "
            "https://github.com/victorvikram/ConceptARC (MIT)",
            license="other",
        ),
        ArcConfig(name="kaggle", description="files in the layout of the Kaggle competitions"),
        ArcConfig(
            name="kaggle-evaluation",
            description="files in the layout of the Kaggle competitions, tested on evaluation",
            tested="evaluation",
        ),
    ]

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        if self.data_dir is None and not self.config.subsets:
            raise ValueError(f"arc-agi config {self.config.name!r} needs a data_dir with *_challenges.json files")

    def splits(self) -> list[str]:
        return ["train", "test"]

    def tables(self, split: str) -> Iterator[pa.Table]:
        return self._read(split, *self._files())

    def _files(self) -> tuple[dict[str, tuple[Path, Path | None]], str]:
        """Challenges and solutions (if any) of each subset, and the subset to be tested on."""
        folder = Path(self.data_dir or BUNDLED_FOLDER)
        found: dict[str, dict[str, Path]] = {"challenges": {}, "solutions": {}}
        for path in sorted(folder.glob("*.json*"), reverse=True):  # of a file and its gzip, the file comes last
            if match := re.fullmatch(r"(?:.*[_-])?([^\W_]+)[_-](challenges|solutions)\.json(?:\.gz)?", path.name):
                other = found[match[2]].setdefault(match[1], path)
                if other.name.removesuffix(".gz") != path.name.removesuffix(".gz"):
                    raise ValueError(f"{folder}: {path.name} and {other.name} are the same subset, {match[1]!r}")
                found[match[2]][match[1]] = path
        if not found["challenges"]:
            found["challenges"] = folders_of_tasks(folder)
        subsets = self.config.subsets or tuple(sorted(found["challenges"]))
        for subset in subsets or ("*",):
            if subset not in found["challenges"]:
                missing = f"no *_{subset}_challenges.json or .json.gz in {folder}"
                raise FileNotFoundError(f"there is {missing}, and no folder of one .json per task")
        tested = self.config.tested or next((name for name in TESTED_FIRST if name in subsets), subsets[0])
        if tested not in subsets:
            raise FileNotFoundError(f"{folder}: none of {', '.join(subsets)} is {tested!r}")
        if tested not in TESTED_FIRST and len(subsets) > 1:
            raise ValueError(f"{folder}: none of {', '.join(subsets)} is named {' or '.join(TESTED_FIRST)}")
        return {subset: (found["challenges"][subset], found["solutions"].get(subset)) for subset in subsets}, tested

    def _read(self, split: str, files: dict[str, tuple[Path, Path | None]], tested: str) -> Iterator[pa.Table]:
        subsets = {subset: read_tasks(*paths) for subset, paths in files.items()}
        drop_repeated(subsets, tested, {subset: challenges for subset, (challenges, _) in files.items()})
        for subset, tasks in subsets.items():
            rows: list[tuple[Pair, str, int]] = []
            for name, task in tasks.items():
                asked = task.test if subset == tested else []
                learned = task.train + [pair for pair in task.test if not asked and pair.output is not None]
                rows += [(pair, name, place) for place, pair in enumerate(asked if split == "test" else learned)]
            if rows:
                yield _table(rows, subset)


def _table(rows: list[tuple[Pair, str, int]], source: str) -> pa.Table:
    pairs, names, places = zip(*rows, strict=True)
    columns = {
        "input_ids": _token_lists(to_canvas(pair.input) for pair in pairs),
        "labels": _token_lists(to_labels(pair.output) for pair in pairs),
        "task": pa.array(names),
        "pair": pa.array(places, pa.int32()),
        "source": pa.array([source] * len(rows)),
    }
    return pa.table(columns)


def drop_repeated(subsets: dict[str, dict[str, ArcTask]], tested: str, files: dict[str, Path]) -> None:
    """Keeps one copy of a task that is in several subsets: the tested one, whose test pairs must not be trained on.

    Raises:
        ValueError: if two different tasks have the same name.
    """
    kept: dict[str, str] = {}
    for subset in sorted(subsets, key=lambda subset: subset != tested):
        for name in list(subsets[subset]):
            if name not in kept:
                kept[name] = subset
                continue
            if not _is_equal(subsets[subset][name].train, subsets[kept[name]][name].train):
                raise ValueError(
                    f"{files[subset]} task {name!r}: another task in {files[kept[name]].name} has this name"
                )
            del subsets[subset][name]


def _is_equal(a: list[Pair], b: list[Pair]) -> bool:
    grids = zip(chain(*a), chain(*b), strict=True) if len(a) == len(b) else ()
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in grids)


def _token_lists(canvases: Iterator[np.ndarray]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(list(canvases)), pa.int8()), CANVAS_SIZE**2)
