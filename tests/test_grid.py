# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A person's own grids: every way to write them, the canvas they are drawn on, and what is refused."""

import csv
import gzip
import importlib.util
import json
import random
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import eval as eval_script
import train
from datasets_scripts.grid import encode, infer_canvas, parse_grid, read_examples
from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmProcessor
from training.arguments import TrainArguments
from training.batches import SingleExamples
from training.errors import UserError

ROOT = Path(__file__).parent.parent
ROWS = [
    {"input": [[0, 1], [2, 0]], "output": [[1, 1], [2, 2]]},
    {"input": [[2, 2, 2]], "output": [[0], [1]]},
]


def write(path: Path, rows: list[dict]) -> Path:
    """Rows as a file of the kind that its name says."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif ".csv" in path.name:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            for row in rows:
                writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def load(folder: Path, split: str = "train", **options):
    return load_puzzles("grid", None, split, data_dir=folder, cache_dir=folder / "cache", **options)


# Reading


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet"])
def test_every_kind_of_file_reads_the_same(tmp_path, suffix):
    for split in ("train", "test"):
        write(tmp_path / f"{split}{suffix}", ROWS)
    for split in ("train", "test"):
        puzzles = load(tmp_path, split)
        described = puzzles.format
        assert described.processor == {"vocabulary": ["<pad>", "0", "1", "2"], "height": 2, "width": 3}
        assert described.answer_tokens == [1, 2, 3]
        assert described.puzzle_ids == ()
        assert puzzles.input_ids.tolist() == [[1, 2, 0, 3, 1, 0], [3, 3, 3, 0, 0, 0]]
        assert puzzles.labels.tolist() == [[2, 2, -100, 3, 3, -100], [1, -100, -100, 2, -100, -100]]
        assert puzzles.puzzle_ids.tolist() == [0, 0]


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_the_ways_to_write_a_grid_mean_the_same(height, width, data):
    grid = [[data.draw(st.sampled_from("# .ox")) for _ in range(width)] for _ in range(height)]
    rows = ["".join(row) for row in grid]
    assert parse_grid(grid, "it") == parse_grid(rows, "it") == parse_grid("\n".join(rows), "it") == grid
    numbers = [[ord(symbol) for symbol in row] for row in grid]
    assert parse_grid(numbers, "it") == [[str(number) for number in row] for row in numbers]
    assert parse_grid(numbers[0], "it") == [[str(number) for number in numbers[0]]]


@settings(max_examples=50)
@given(st.data(), st.integers(1, 5), st.integers(1, 5))
def test_the_processor_reads_and_writes_the_tokens_of_the_builder(tmp_path_factory, data, height, width):
    symbols = st.sampled_from(["0", "1", "10", "-3", "a", "wall"])
    grids = [[[data.draw(symbols) for _ in range(width)] for _ in range(height)] for _ in range(2)]
    path = write(tmp_path_factory.mktemp("grid") / "train.jsonl", [{"input": grids[0], "output": grids[1]}])
    canvas = infer_canvas(path)
    processor = TrmProcessor(list(canvas.vocabulary), canvas.height, canvas.width)
    for grid in grids:
        tokens = encode(grid, canvas, "it")
        assert processor([grid])["input_ids"].tolist() == [tokens.tolist()]
        assert processor.to_grid(tokens) == grid


def test_numbers_are_in_order_and_the_canvas_holds_everything(tmp_path):
    canvas = infer_canvas(write(tmp_path / "train.jsonl", [{"input": [10, 9, "b"], "output": [["a"], [2]]}]))
    assert canvas.vocabulary == ("<pad>", "2", "9", "10", "a", "b")
    assert (canvas.height, canvas.width, canvas.answer_tokens) == (2, 3, (1, 4))


def test_puzzle_ids_get_embeddings_and_sources_are_kept(tmp_path):
    ids = ["x", 7, "x", None]
    rows = [ROWS[0] | {"puzzle_id": name, "source": f"book {n}"} for n, name in enumerate(ids)]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.jsonl", rows[1:2])
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.puzzle_ids.tolist() == [1, 2, 1, 0]
    assert test.puzzle_ids.tolist() == [2]
    assert train.num_puzzles == 3
    assert train.source == ["book 0", "book 1", "book 2", "book 3"]


def test_a_sub_sample_and_changed_files(tmp_path):
    rows = [{"input": [n], "output": [n]} for n in range(20)]
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", rows)
    assert len(load(tmp_path, num_train_puzzles=5)) == 5
    assert len(load(tmp_path, "test", num_train_puzzles=5)) == 20
    write(tmp_path / "train.jsonl", [*rows, {"input": ["new"], "output": [1]}])
    assert load(tmp_path).format.processor["vocabulary"][-1] == "w"
    assert load(tmp_path).input_ids.shape == (21, 3)


def test_square_grids_can_be_rotated_if_the_person_says_so(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", ROWS[:1])
    described = load(tmp_path).format
    assert not described.augment
    views = described.random_symmetry(0, 0, torch.arange(50))(torch.arange(4).expand(50, -1) % 4)
    assert len(views.unique(dim=0)) == 8
    write(tmp_path / "train.jsonl", ROWS)
    assert load(tmp_path).format.random_symmetry is None


def test_rotated_grids_stay_in_the_corner_where_all_lie(tmp_path):
    """The grid is turned, not the canvas; where that cannot be, augmentation is refused."""
    small, rows = [[1, 2, 3], [4, 5, 6]], [{"input": [[7] * 4] * 4, "output": [[7] * 4] * 4}]
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", [{"input": small, "output": [[8, 9]]}, *rows])
    puzzles = load(tmp_path)
    examples = SingleExamples(puzzles, TrainArguments(batch_size=64, augment=True), True, torch.device("cpu"))
    batch = examples.batch(0, slice(0, 64))
    canvas, grid = np.zeros((4, 4), dtype=int), np.array(small)
    expected = set()
    for turned in (np.rot90(view, turns) for view in (grid, grid.T) for turns in range(4)):
        canvas[:] = 0
        canvas[: turned.shape[0], : turned.shape[1]] = turned
        expected.add(tuple(canvas.flatten().tolist()))
    found = {tuple(row) for row in batch["input_ids"].tolist() if 7 not in row}
    assert found == expected and len(expected) == 8
    answers = {tuple(row) for row in batch["labels"].tolist() if 7 not in row}
    rest = [-100] * 11
    assert answers == {(a, b, *[-100] * 3, *rest) for a, b in ((8, 9), (9, 8))} | {
        (a, *[-100] * 3, b, *rest) for a, b in ((8, 9), (9, 8))
    }
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", ROWS)
    with pytest.raises(UserError, match="augment: only puzzles on a square canvas"):
        SingleExamples(load(tmp_path), TrainArguments(augment=True), True, torch.device("cpu"))


def test_cells_outside_the_output_carry_no_gradient(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", ROWS)
    puzzles = load(tmp_path)
    torch.manual_seed(0)
    model = TrmForPuzzleSolving(TrmConfig(vocab_size=4, seq_len=6, hidden_size=16, num_attention_heads=2))
    output = model(puzzles.input_ids, labels=puzzles.labels)
    (gradient,) = torch.autograd.grad(output.loss, output.logits)
    assert torch.equal(gradient.abs().sum(-1) > 0, puzzles.labels >= 0)


# Bad input


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input": [[1, 2], [1]], "output": [1]}, "row 3: the input has 2 cells in row 1 and 1 in row 2"),
        ({"input": [1], "output": ["ab", "abc"]}, "row 3: the output has 2 cells in row 1 and 3 in row 2"),
        ({"input": [1], "output": []}, "row 3: the output is no grid but []"),
        ({"input": None, "output": [1]}, "row 3: the input is no grid but None"),
        ({"input": "", "output": [1]}, "row 3: the input is no grid but []"),
        ({"input": [[]], "output": [1]}, "row 3: the input has no cells"),
        ({"input": [[1.5]], "output": [1]}, "row 3: the input has 1.5 in row 1; a cell is a number or a string"),
        ({"input": [[[1]]], "output": [1]}, "row 3: the input has [1] in row 1"),
        ({"input": [["<pad>"]], "output": [1]}, "row 3: the input has '<pad>' in row 1"),
        ({"input": [1]}, "row 3: there is no 'input' and 'output' in it"),
        ([1, 2], "row 3: there is no 'input' and 'output' in it"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_bad_row_is_refused_by_number_in_one_line(tmp_path, split, row, message):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", [*ROWS, row] if name == split else ROWS)
    with pytest.raises(ValueError) as error:
        load(tmp_path, "test")
    assert f"{split}.jsonl {message}" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").rglob("*.arrow"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input": [0, 5], "output": [0]}, "the input has '5' in row 1, which the vocabulary does not have"),
        ({"input": [0], "output": [[1], [9]]}, "the output has '9' in row 2, which the vocabulary does not have"),
        ({"input": [0], "output": [[1], [1], [1]]}, "the output is 3x1, which does not fit the training file's 2x3"),
        ({"input": [0, 0, 0, 0], "output": [0]}, "the input is 1x4, which does not fit"),
        ({"input": [0], "output": [0], "puzzle_id": "new"}, "the puzzle_id 'new' is in no training row"),
    ],
)
def test_a_test_row_that_the_training_file_does_not_cover_is_refused(tmp_path, row, message):
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "test.jsonl", [ROWS[0], row])
    with pytest.raises(ValueError) as error:
        load(tmp_path, "test")
    assert f"test.jsonl row 2: {message}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", b"", "there are no puzzles in this file"),
        ("train.jsonl", b'{"input": [1], "output": [1]}\n{"input": [1', "row 2: "),
        ("train.jsonl", b"\xff\xfe\n", "row 1: "),
        ("train.csv", b"", "there are no puzzles in this file"),
        ("train.csv", b"question,answer\n1,2\n", "row 1: there is no 'input' and 'output' in it"),
        ("train.csv", b'input,output\n"[1,2",3\n', "row 1: "),
        ("train.csv", b"input,output\n12\n", "row 1: the output is no grid but None"),
        ("train.jsonl.gz", b"no gzip", "train.jsonl.gz: "),
        ("train.jsonl.gz", gzip.compress(json.dumps(ROWS[0]).encode() * 50, mtime=0)[:-9], "train.jsonl.gz"),
        ("train.parquet", b"", "train.parquet: "),
        ("train.parquet", b"PAR1 and no more", "train.parquet: "),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        list(read_examples(tmp_path / name))
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="give the folder of their files as data_dir"):
        load_puzzles("grid")
    with pytest.raises(FileNotFoundError, match=r"there is no train\.jsonl or .* in "):
        load(tmp_path)
    write(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(FileNotFoundError, match=r"there is no test\.jsonl or "):
        load(tmp_path, "test")


# The worked example


def light_up_module():
    spec = importlib.util.spec_from_file_location("light_up", ROOT / "examples" / "light_up.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain_is_light_up(question: list[str], lamps: set[tuple[int, int]]) -> bool:
    size = len(question)
    is_white = {(r, c) for r in range(size) for c in range(size) if question[r][c] == "."}
    lit = set()
    for row, column in lamps:
        if (row, column) not in is_white:
            return False
        lit.add((row, column))
        for step_r, step_c in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            r, c = row + step_r, column + step_c
            while (r, c) in is_white:
                if (r, c) in lamps:
                    return False
                lit.add((r, c))
                r, c = r + step_r, c + step_c
    for r in range(size):
        for c in range(size):
            beside = sum(near in lamps for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)))
            if question[r][c].isdigit() and beside != int(question[r][c]):
                return False
    return lit == is_white


def test_light_up_puzzles_have_the_one_solution_that_they_are_given():
    light_up, rng = light_up_module().light_up, random.Random(0)
    for _ in range(5):
        question, answer = light_up(rng, 4)
        white = [(r, c) for r in range(4) for c in range(4) if question[r][c] == "."]
        right = {(r, c) for r in range(4) for c in range(4) if answer[r][c] == "*"}
        every = (set(some) for count in range(len(white) + 1) for some in combinations(white, count))
        assert [lamps for lamps in every if plain_is_light_up(question, lamps)] == [right]


def test_the_recipe_trains_and_evaluates_on_own_files(tmp_path):
    data, model = tmp_path / "data", tmp_path / "model"
    make = [ROOT / "examples" / "light_up.py", "--output_dir", data, "--num_train", 50, "--num_test", 8]
    subprocess.run([sys.executable, *map(str, make)], check=True)
    options = ["--data_dir", data, "--output_dir", model, "--max_steps", 3, "--batch_size", 4]
    train.main([str(word) for word in ("--config", ROOT / "recipes" / "grid.yaml", *options)])
    (results,) = json.loads((model / "results.json").read_text())
    assert results["num_examples"] == 8
    assert "optimal_accuracy" not in results
    processor = TrmProcessor.from_pretrained(model)
    puzzles = load_puzzles("grid", data_dir=data, split="test", cache_dir=tmp_path / "cache")
    assert processor.vocabulary == puzzles.format.processor["vocabulary"]
    first = json.loads((data / "test.jsonl").read_text().splitlines()[0])["input"]
    assert np.array_equal(processor("\n".join(first))["input_ids"][0], puzzles.input_ids[0])

    for row in ("train", "test"):  # other symbols than the model knows
        write(data / f"{row}.jsonl", [{"input": ["?" * 6] * 6, "output": ["." * 6] * 6}])
    with pytest.raises(UserError, match=r"train\.jsonl row 1: the input has '\?' in row 1"):
        eval_script.main(["--model", str(model), "--task", "grid", "--data_dir", str(data)])
