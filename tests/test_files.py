# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""People's files of puzzles: their kinds, places and headers, and one split without the other."""

import bz2
import gzip
import json
import lzma
import zipfile
from pathlib import Path

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_scripts.build import build
from datasets_scripts.files import find_files, read_rows
from datasets_scripts.grid import infer_canvas
from datasets_scripts.tasks import load_puzzles, remarks
from modeling_trm import TrmProcessor

ROWS = [{"input": [[0, 1], [2, 0]], "output": [[1, 1], [2, 2]]}, {"input": [[2, 2, 2]], "output": [[0], [1]]}]
QUESTION = "..4.2.....3.....76.8.........7.58...6..2.35.9....16.......6.3..2.6..9.....3...62."
ANSWER = "764325918532891476189647253327958164641273589895416732418762395276539841953184627"


def load(task: str, folder: Path, split: str, **options):
    return load_puzzles(task, None, split, data_dir=folder, cache_dir=folder / "cache", **options)


def pack(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rows", content)
    else:
        pack_one = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
        path.write_bytes(pack_one(content))
    return path


JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = "input{0}output\r\n" + "".join(f'"{row["input"]}"{{0}}"{row["output"]}"\r\n' for row in ROWS)
FILES = {
    "rows.jsonl": JSON_LINES,
    "rows.json": json.dumps(ROWS, indent=1),
    "data.json": json.dumps({"data": ROWS}),
    "lines.json": JSON_LINES,
    "rows.csv": TABLE.format(","),
    "semicolons.csv": TABLE.format(";"),
    "rows.tsv": TABLE.format("\t"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("compression", ["", ".gz", ".xz", ".bz2", ".zip"])
@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_has_the_same_rows(tmp_path, name, compression, encoding):
    path = pack(tmp_path / (name + compression), FILES[name].encode(encoding))
    rows = [{key: json.loads(v) if isinstance(v, str) else v for key, v in row.items()} for row in read_rows(path)]
    assert rows == ROWS


@pytest.mark.parametrize(
    "place",
    ["{}.csv", "{}-00000-of-00001.csv", "data/{}-00000-of-00001.csv", "own/{}.csv.gz", "data/{}.csv.zip"],
)
def test_a_split_is_found_where_the_hub_puts_it(tmp_path, place):
    for split in ("train", "test"):
        pack(tmp_path / place.format(split), FILES["rows.csv"].encode())
    assert load("grid", tmp_path, "train").input_ids.tolist() == [[1, 2, 0, 3, 1, 0], [3, 3, 3, 0, 0, 0]]


def test_a_parquet_file_of_datasets_is_read(tmp_path):
    """Also with grids as arrays of two dimensions."""
    grids = [{"input": row["input"], "output": row["output"]} for row in ROWS[:1]]
    array = datasets.Array2D((2, 2), "int64")
    features = datasets.Features({"input": array, "output": array})
    for split in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        dataset = datasets.Dataset.from_list(grids, features=features)
        dataset.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    assert load("grid", tmp_path, "test").input_ids.tolist() == [[1, 2, 3, 1]]


def test_what_is_missing_is_named_with_what_is_there(tmp_path):
    (tmp_path / "puzzles.xlsx").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no train\.jsonl or .* in .*, only puzzles\.xlsx"):
        find_files(tmp_path, "train")
    for place in ("a", "b"):
        pack(tmp_path / place / "train.csv", b"")
    with pytest.raises(ValueError, match="give one of these folders"):
        find_files(tmp_path, "train")


@settings(max_examples=20)
@given(
    height=st.integers(2, 4),
    width=st.integers(2, 4),
    alphabet=st.sampled_from([["0", "1"], ["10", "3", "-4"], ["wall", "free"]]),
    data=st.data(),
)
def test_blanks_between_symbols_are_no_cells(tmp_path_factory, height, width, alphabet, data):
    """As numpy.savetxt writes them."""
    folder = tmp_path_factory.mktemp("blanks")
    grid = [[data.draw(st.sampled_from(alphabet)) for _ in range(width)] for _ in range(height)]
    text = "\n".join(" ".join(row) for row in grid)
    for split in ("train", "test"):
        pack(folder / f"{split}.jsonl", json.dumps({"input": text, "output": text}).encode())
    puzzles = load("grid", folder, "test")
    processor = TrmProcessor(**puzzles.format.processor)
    assert processor.to_grid(puzzles.input_ids[0]) == grid
    assert processor(text)["input_ids"].tolist() == puzzles.input_ids.tolist()


def test_a_blank_is_a_symbol_where_one_text_says_so(tmp_path):
    rows = [{"input": "# #\n# #", "output": "# #\n# #"}, {"input": "## \n # ", "output": "###\n###"}]
    path = pack(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert infer_canvas(path).vocabulary == ("<pad>", " ", "#")
    assert (infer_canvas(path).height, infer_canvas(path).width) == (2, 3)


def test_brackets_can_be_symbols_and_whole_floats_are_numbers(tmp_path):
    pack(tmp_path / "train.csv", b'input,output\n"[]\n.[","[]\n]["\n')
    assert infer_canvas(tmp_path / "train.csv").vocabulary == ("<pad>", ".", "[", "]")
    pack(tmp_path / "floats.jsonl", b'{"input": [[1.0, 2]], "output": [[2.0, 1.0]]}')
    assert infer_canvas(tmp_path / "floats.jsonl").vocabulary == ("<pad>", "1", "2")


def test_a_test_file_alone_is_scored_on_the_canvas_of_the_model(tmp_path):
    pack(tmp_path / "test.jsonl", JSON_LINES.encode())
    with pytest.raises(FileNotFoundError, match=r"no train\.jsonl"):
        load("grid", tmp_path, "test")
    processor = TrmProcessor(["<pad>", "2", "1", "0"], 3, 3)
    puzzles = load("grid", tmp_path, "test", processor=processor)
    assert puzzles.format.processor == {"vocabulary": ["<pad>", "2", "1", "0"], "height": 3, "width": 3}
    assert puzzles.input_ids.tolist() == processor([row["input"] for row in ROWS])["input_ids"].tolist()
    pack(tmp_path / "test.csv", f"puzzle,solution\n{QUESTION},{ANSWER}\n".encode())
    assert len(load("sudoku", tmp_path, "test")) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("quizzes,solutions", "{q},{a}"),
        ("id,puzzle,solution,clues,difficulty", "7,{q},{a},24,2.2"),
        ("puzzle;solution", "{q};{a}"),
        ("Question,Answer", "{q},{a}"),
        ("SOURCE,QUESTION,ANSWER,RATING", "test.csv,{q},{a},0"),
        ("question\tanswer", "{q}\t{a}"),
    ],
)
@pytest.mark.parametrize("blank", list(".0*_-"))
def test_headers_and_blanks_of_sudoku_files(tmp_path, header, row, blank, encoding):
    text = f"{header}\r\n{row.format(q=QUESTION.replace('.', blank), a=ANSWER)}\r\n"
    pack(tmp_path / "test.csv", text.encode(encoding))
    puzzles = load("sudoku", tmp_path, "test")
    processor = TrmProcessor(**puzzles.format.processor)
    assert processor.batch_decode(puzzles.input_ids) == [QUESTION]
    assert processor.batch_decode(puzzles.labels) == [ANSWER]
    assert puzzles.source == ["test.csv"]


def test_what_was_built_is_read(tmp_path):
    """Tokens with the card that says what they mean."""
    rows = [{"input": ["#. ", "..."], "output": ["=", "`"]}, {"input": [", ", "##"], "output": ["12"], "source": "x"}]
    own = tmp_path / "own"
    for split in ("train", "test"):
        pack(own / f"{split}.jsonl", "\n".join(map(json.dumps, rows)).encode())
    build("grid", None, tmp_path / "built", command="x", data_dir=str(own))
    for split in ("train", "test"):
        first, again = (load("grid", tmp_path / name, split) for name in ("own", "built"))
        assert again.format.processor == first.format.processor
        assert again.input_ids.tolist() == first.input_ids.tolist()
        assert again.labels.tolist() == first.labels.tolist()
        assert again.source == first.source


@pytest.mark.parametrize("task", ["sudoku", "maze"])
def test_built_puzzles_with_a_rule_are_read(tmp_path, task):
    first = load_puzzles(task, "hard-sample", "test", max_examples=3)
    columns = {"input_ids": first.input_ids.tolist(), "labels": first.labels.tolist(), "source": first.source}
    (tmp_path / "hard-sample").mkdir()
    dataset = datasets.Dataset.from_dict(columns | {"rating": [1, 2, 3]})
    dataset.to_parquet(tmp_path / "hard-sample" / "test-00000-of-00001.parquet")
    again = load(task, tmp_path, "test")
    assert again.input_ids.tolist() == first.input_ids.tolist() and again.source == first.source
    assert again.labels.tolist() == first.labels.tolist()


def test_what_a_person_should_know_of_their_data_is_said(tmp_path):
    rows = [{"input": "abc", "output": "cba"}, {"input": "cab", "output": "bac"}]
    pack(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)).encode())
    pack(tmp_path / "test.jsonl", json.dumps({"input": "bca", "output": "acb"}).encode())
    assert remarks(load("grid", tmp_path, "train"), load("grid", tmp_path, "test")) == []
    pack(tmp_path / "train.jsonl", "\n".join(map(json.dumps, [*rows, {"input": "ab", "output": "ba"}])).encode())
    pack(tmp_path / "test.jsonl", "\n".join(map(json.dumps, [rows[1], {"input": "b", "output": "b"}])).encode())
    smaller, repeated = remarks(load("grid", tmp_path, "train"), load("grid", tmp_path, "test"))
    assert smaller.startswith("note: 1 training answers are smaller than the 1x3 canvas")
    assert repeated == "note: 1 of 2 test puzzles are training puzzles too"
