# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The ARC builder: what it reads and refuses, and that its canvases are the official ones."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import golden
from hypothesis import given
from hypothesis import strategies as st

from datasets_scripts.arc_agi import BUNDLED_FOLDER, ArcAgi, read_tasks, to_canvas, to_grid, to_labels
from datasets_scripts.tasks import TASKS, load_puzzles

GRID = [[1, 2], [3, 4]]
TASK = {"train": [{"input": GRID, "output": [[5]]}], "test": [{"input": [[1, 2, 3]]}]}
GRIDS = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1)).map(
    lambda draw: np.random.RandomState(draw[2]).randint(0, 10, draw[:2]).astype(np.int8)
)


def write(folder: Path, subset: str, kind: str, contents, prefix: str = "arc-agi_") -> Path:
    path = folder / f"{prefix}{subset}_{kind}.json"
    path.write_text(contents if isinstance(contents, str) else json.dumps(contents))
    return path


# The canvas


def test_canvas_and_translation_are_the_official_ones():
    tensors = golden("arc_translate")[1]
    for number in range(6):
        for side in ("in", "out"):
            grid = tensors[f"{number}.{side}"].numpy().astype(np.int8)
            official = tensors[f"{number}.seq_{side}"].view(30, 30).numpy()
            rows, columns = np.nonzero(official >= 2)
            assert np.array_equal(to_canvas(grid, rows.min(), columns.min()).reshape(30, 30), official)
        if number % 2 == 1:
            assert official[0, 0] >= 2


@given(GRIDS)
def test_a_grid_comes_back_from_its_canvas_and_its_labels(grid):
    assert np.array_equal(to_grid(to_canvas(grid)), grid)
    labels = to_labels(grid)
    assert np.array_equal(to_grid(labels), grid)
    assert np.array_equal(labels == -100, to_canvas(grid) == 0)


def test_an_unknown_output_has_no_label():
    assert (to_labels(None) == -100).all()
    assert to_grid(to_labels(None)) is None


# The data


@pytest.fixture(scope="module")
def arc_splits():
    return {split: load_puzzles("arc-agi", "arc-agi-1", split, num_augmentations=2) for split in ("train", "test")}


def test_splits_hold_the_pairs_the_paper_trains_and_tests_on(arc_splits):
    files = {
        name: read_tasks(*(BUNDLED_FOLDER / f"arc-agi_{name}_{kind}.json.gz" for kind in ("challenges", "solutions")))
        for name in ("training", "evaluation", "concept")
    }
    train, test = arc_splits["train"], arc_splits["test"]
    num_demonstrations = sum(len(task.train) for tasks in files.values() for task in tasks.values())
    num_tests = {name: sum(len(task.test) for task in tasks.values()) for name, tasks in files.items()}
    assert len(train) == num_demonstrations + num_tests["training"] + num_tests["concept"]
    assert len(test) == num_tests["evaluation"] == 419
    assert set(test.source) == {"evaluation"}
    rows = iter(range(len(test)))
    for name, task in files["evaluation"].items():
        for pair in task.test:
            row = next(rows)
            assert train.augmented_tasks.names_of(test.puzzle_ids[row : row + 1]) == [name]
            assert np.array_equal(test.input_ids[row].numpy(), to_canvas(pair.input))
            assert np.array_equal(test.labels[row].numpy(), to_labels(pair.output))


def test_no_test_pair_is_trained_on(arc_splits):
    def pairs(puzzles):
        rows = torch.cat([puzzles.puzzle_ids[:, None], puzzles.input_ids.long(), puzzles.labels.long()], dim=1)
        return {row.numpy().tobytes() for row in rows}

    assert not pairs(arc_splits["train"]) & pairs(arc_splits["test"])


def test_first_puzzles_come_with_all_their_pairs(arc_splits):
    test = arc_splits["test"]
    first = test.first(100)
    assert len(first.puzzle_ids.unique()) == 100
    assert len(first) == len(first.source) > 100
    assert torch.equal(first.input_ids, test.input_ids[: len(first)])
    assert test.puzzle_ids[len(first)] not in first.puzzle_ids


def test_without_augmentation_the_rows_are_the_official_ones(tmp_path):
    description, official = golden("arc_build_noaug_start3")
    names = description["json"]["identifiers.json"][3:]
    tasks = json.loads(gzip.decompress((BUNDLED_FOLDER / "arc-agi_training_challenges.json.gz").read_bytes()))
    answers = json.loads(gzip.decompress((BUNDLED_FOLDER / "arc-agi_training_solutions.json.gz").read_bytes()))
    write(tmp_path, "evaluation", "challenges", {"other": TASK})
    write(tmp_path, "training", "challenges", {name: tasks[name] for name in names})
    write(tmp_path, "training", "solutions", {name: answers[name] for name in names})
    ours = load_puzzles("arc-agi", data_dir=tmp_path, num_augmentations=0, cache_dir=tmp_path / "cache")
    assert ours.augmented_tasks.num_puzzles == 1 + 3 + 1

    def in_corner(canvases: np.ndarray) -> np.ndarray:
        return np.stack([to_canvas(c[np.ix_(*map(np.unique, np.nonzero(c >= 2)))] - 2) for c in canvases.astype(int)])

    for number, name in enumerate(names):
        start, stop = official["train.all__puzzle_indices"][number : number + 2].tolist()
        mine = ours.puzzle_ids == ours.augmented_tasks.ids_of([name])
        inputs, labels = (
            official[f"train.all__{column}"][start:stop].view(-1, 30, 30) for column in ("inputs", "labels")
        )
        theirs = np.concatenate([in_corner(inputs.numpy()), in_corner(labels.numpy())], axis=1)
        mine = torch.cat([ours.input_ids[mine], ours.labels[mine].clamp(min=0)], dim=1).numpy()
        assert sorted(map(bytes, theirs)) == sorted(map(bytes, mine))  # there the test pairs come first


@pytest.mark.parametrize(
    ("subsets", "tested"),
    [(["a"], "a"), (["training", "evaluation"], "evaluation"), (["training", "evaluation", "test"], "test")],
)
def test_a_folder_in_the_layout_of_kaggle(tmp_path, subsets, tested):
    for subset in subsets:
        write(tmp_path, subset, "challenges", {f"task of {subset}": TASK})
        if subset != tested:
            write(tmp_path, subset, "solutions", {f"task of {subset}": [[[7]]]})
    splits = {
        split: load_puzzles(
            "arc-agi", split=split, data_dir=tmp_path, num_augmentations=1, cache_dir=tmp_path / "cache"
        )
        for split in ("train", "test")
    }
    assert splits["test"].source == [tested]
    assert (splits["test"].labels == -100).all()
    assert sorted(splits["train"].source) == sorted([*subsets, *(s for s in subsets if s != tested)])


@pytest.mark.parametrize("place", ["", "data/"])
def test_a_folder_with_a_file_for_each_task(tmp_path, place):
    """As fchollet/ARC-AGI has them; an output that is null is not known."""
    hidden = {**TASK, "test": [{"input": [[1]], "output": None}]}
    pairs = [{"input": [[n]], "output": [[n + 1]]} for n in range(3)]
    tasks = {"training/a1": TASK, "training/b2": pairs, "evaluation/c3": hidden}
    for name, content in tasks.items():
        path = tmp_path / f"{place}{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    options = {"data_dir": tmp_path, "num_augmentations": 1, "cache_dir": tmp_path / "cache"}
    test, train = (load_puzzles("arc-agi", split=split, **options) for split in ("test", "train"))
    assert test.source == ["evaluation"] and (test.labels == -100).all()
    assert test.augmented_tasks.names_of(test.puzzle_ids) == ["c3"]
    learned = train.augmented_tasks.names_of(train.puzzle_ids)
    assert [learned.count(name) for name in ("a1", "b2", "c3")] == [1, 3, 1]


def test_a_folder_of_tasks_in_any_folders_is_one_subset(tmp_path):
    for name in ("AboveBelow/AboveBelow1", "Center/Center1"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.json").write_text(json.dumps(TASK))
    test = load_puzzles("arc-agi", split="test", data_dir=tmp_path, num_augmentations=1, cache_dir=tmp_path / "cache")
    assert test.source == ["tasks"] * 2


def test_the_folder_of_kaggle_can_be_scored_on_evaluation(tmp_path):
    for subset in ("training", "evaluation", "test"):
        write(tmp_path, f"{subset}", "challenges", {f"{subset} task": TASK}, "arc-agi-")
    test = load_puzzles(
        "arc-agi", "kaggle-evaluation", "test", data_dir=tmp_path, num_augmentations=1, cache_dir=tmp_path / "cache"
    )
    assert test.source == ["evaluation"]


def test_a_task_in_two_files_is_only_tested(tmp_path):
    write(tmp_path, "test", "challenges", {"x": TASK})
    write(tmp_path, "training", "challenges", {"x": TASK, "y": TASK})
    write(tmp_path, "training", "solutions", {"x": [[[7]]], "y": [[[7]]]})
    train = load_puzzles("arc-agi", data_dir=tmp_path, num_augmentations=1, cache_dir=tmp_path / "cache")
    assert sorted(train.source) == ["test", "training", "training"]
    other = {**TASK, "train": [{"input": [[1]], "output": [[1]]}]}
    write(tmp_path, "training", "challenges", {"x": other, "y": TASK})
    with pytest.raises(ValueError, match=r"training_challenges.json task 'x': another task in .*test_challenges.json"):
        load_puzzles("arc-agi", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_identifiers_do_not_depend_on_solutions(tmp_path):
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "test", "challenges", {"x": TASK})
    write(tmp_path / "with", "test", "solutions", {"x": [[[8, 9]]]})
    tasks = [
        load_puzzles("arc-agi", data_dir=tmp_path / n, cache_dir=tmp_path / "c").augmented_tasks
        for n in ("with", "without")
    ]
    assert torch.equal(tasks[0].colours, tasks[1].colours)
    assert torch.equal(tasks[0].first_ids, tasks[1].first_ids)


def test_vocabulary_spells_the_canvas(arc_splits):
    vocabulary = TASKS["arc-agi"].formats["arc-agi-1"].processor["vocabulary"]
    assert [vocabulary[token] for token in (0, 1, 2, 11)] == ["<pad>", "|", "0", "9"]
    assert len(vocabulary) == 12


# Bad input


def grid_of(height: int, width: int) -> list[list[int]]:
    return [[0] * width for _ in range(height)]


def with_input(grid) -> dict:
    return {"abc": {"train": [TASK["train"][0], {"input": grid, "output": GRID}], "test": TASK["test"]}}


PLACE = "task 'abc' train pair 2 input"
BAD_CHALLENGES = {
    "malformed": ('{"abc": ', "this is not JSON"),
    "empty": ("", "the file is empty"),
    "blank": (" \n", "the file is empty"),
    "no tasks": ({}, "there are no tasks in this file"),
    "list": ([TASK], "a list in place of an object of tasks"),
    "no tests": ({"abc": {"train": TASK["train"], "test": []}}, "task 'abc': there are no test pairs"),
    "no test key": ({"abc": {"train": TASK["train"]}}, "task 'abc': there are no test pairs"),
    "no demonstrations": ({"abc": {"train": [], "test": TASK["test"]}}, "task 'abc': there are no train pairs"),
    "not a task": ({"abc": 3}, "task 'abc': there are no train pairs"),
    "no output": ({"abc": {**TASK, "train": [{"input": GRID}]}}, "task 'abc' train pair 1: there is no output"),
    "no input": ({"abc": {**TASK, "test": [{"output": GRID}]}}, "task 'abc' test pair 1: there is no input"),
    "too high": (with_input(grid_of(31, 3)), f"{PLACE}: a grid of 31x3 is larger than 30x30"),
    "too wide": (with_input(grid_of(3, 31)), f"{PLACE}: a grid of 3x31 is larger than 30x30"),
    "colour 10": (with_input([[1], [10]]), f"{PLACE}: row 2 has the colour 10; a colour is a number from 0 to 9"),
    "colour -1": (with_input([[-1]]), f"{PLACE}: row 1 has the colour -1"),
    "colour 1.5": (with_input([[1.5]]), f"{PLACE}: row 1 has the colour 1.5"),
    "colour true": (with_input([[True]]), f"{PLACE}: row 1 has the colour True"),
    "colour text": (with_input([["1"]]), f"{PLACE}: row 1 has the colour '1'"),
    "unequal rows": (with_input([[1, 2], [3]]), f"{PLACE}: row 2 has 1 cells, but row 1 has 2"),
    "empty grid": (with_input([]), f"{PLACE}: this is not a list of rows of colours"),
    "empty row": (with_input([[]]), f"{PLACE}: this is not a list of rows of colours"),
    "flat grid": (with_input([1, 2]), f"{PLACE}: this is not a list of rows of colours"),
}


def assert_one_line(error, *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(("contents", "fault"), BAD_CHALLENGES.values(), ids=BAD_CHALLENGES)
def test_bad_challenges_are_named_in_one_line(tmp_path, contents, fault):
    path = write(tmp_path, "test", "challenges", contents)
    with pytest.raises(ValueError) as error:
        read_tasks(path)
    assert_one_line(error, str(path), fault)


BAD_SOLUTIONS = {
    "another task": (
        {"abc": [GRID], "xyz": [GRID]},
        "task 'xyz': there is no such task in arc-agi_test_challenges.json",
    ),
    "missing task": ({}, "task 'abc': no list of solutions for 1 test pairs"),
    "too many": ({"abc": [GRID, GRID]}, "task 'abc': 2 solutions for 1 test pairs"),
    "bad grid": ({"abc": [[[11]]]}, "task 'abc' test pair 1 output: row 1 has the colour 11"),
    "malformed": ("[", "this is not JSON"),
}


@pytest.mark.parametrize(("contents", "fault"), BAD_SOLUTIONS.values(), ids=BAD_SOLUTIONS)
def test_bad_solutions_are_named_in_one_line(tmp_path, contents, fault):
    challenges = write(tmp_path, "test", "challenges", {"abc": TASK})
    path = write(tmp_path, "test", "solutions", contents)
    with pytest.raises(ValueError) as error:
        read_tasks(challenges, path)
    assert_one_line(error, str(path), fault)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[:-20], "the gzip file is broken or cut off"),
        (lambda data: data[:5], "the gzip file is broken or cut off"),
        (lambda data: data[:60] + b"\xff" * 20 + data[80:], "the gzip file is broken or cut off"),
        (lambda data: b"{}", "the gzip file is broken or cut off"),
        (lambda data: b"", "the file is empty"),
        (lambda data: gzip.compress(b""), "the file is empty"),
        (lambda data: gzip.compress(b"\xff\xfe{"), "this is not JSON"),
    ],
)
def test_damaged_gzip_files_are_named_in_one_line(tmp_path, damage, fault):
    path = tmp_path / "arc-agi_test_challenges.json.gz"
    path.write_bytes(damage((BUNDLED_FOLDER / "arc-agi_concept_challenges.json.gz").read_bytes()))
    with pytest.raises(ValueError) as error:
        read_tasks(path)
    assert_one_line(error, str(path), fault)


def test_the_builder_passes_errors_on_and_leaves_nothing(tmp_path):
    path = write(tmp_path, "test", "challenges", with_input([[1, 2], [3]]))
    with pytest.raises(ValueError) as error:
        load_puzzles("arc-agi", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert_one_line(error, str(path), PLACE)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    path.write_text(json.dumps({"abc": TASK}))  # the mended file is read again
    assert len(load_puzzles("arc-agi", data_dir=tmp_path, cache_dir=tmp_path / "cache")) == 1


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no \*_\*_challenges.json"):
        load_puzzles("arc-agi", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    write(tmp_path, "training", "challenges", {"abc": TASK})
    with pytest.raises(FileNotFoundError, match=r"no \*_evaluation_challenges.json"):
        load_puzzles("arc-agi", "arc-agi-1", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    write(tmp_path, "extra", "challenges", {"xyz": TASK})
    with pytest.raises(ValueError, match="none of extra, training is named test or evaluation2 or evaluation"):
        load_puzzles("arc-agi", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match="'kaggle' needs a data_dir"):
        load_puzzles("arc-agi", "kaggle")


def test_two_files_of_one_subset_are_refused(tmp_path):
    for prefix in ("a_", "b_"):
        write(tmp_path, "test", "challenges", {"abc": TASK}, prefix)
    with pytest.raises(ValueError, match=r"a_test_challenges.json and b_test_challenges.json are the same subset"):
        load_puzzles("arc-agi", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    (tmp_path / "b_test_challenges.json").unlink()
    (tmp_path / "a_test_challenges.json.gz").write_bytes(b"broken, and not read")
    assert len(load_puzzles("arc-agi", data_dir=tmp_path, num_augmentations=1, cache_dir=tmp_path / "cache")) == 1


def test_changed_files_are_built_anew(tmp_path):
    write(tmp_path, "test", "challenges", {"abc": TASK})
    before = ArcAgi("kaggle", data_dir=tmp_path).fingerprint()
    write(tmp_path, "test", "challenges", {"abc": TASK, "xyz": TASK})
    assert ArcAgi("kaggle", data_dir=tmp_path).fingerprint() != before
