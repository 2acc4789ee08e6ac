# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The Sudoku builder: what it reads, refuses and makes; and the checker of answers."""

import gzip
import json
import shutil
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from datasets_scripts import sudoku
from datasets_scripts.hub_dataset import HubDataset
from datasets_scripts.sudoku import Sudoku, canonical_form, generate_mini, read_csv
from datasets_scripts.tasks import load_puzzles
from modeling_trm.rules_trm import is_solved_sudoku
from modeling_trm.symmetries_trm import random_sudoku_symmetry

GOLDENS = Path(__file__).parent / "fixtures" / "goldens"
HEADER = "source,question,answer,rating"
QUESTION = "..4.2.....3.....76.8.........7.58...6..2.35.9....16.......6.3..2.6..9.....3...62."
ANSWER = "764325918532891476189647253327958164641273589895416732418762395276539841953184627"
ROW = f"x,{QUESTION},{ANSWER},83"


def write(path: Path, *rows: str) -> Path:
    """A CSV file of puzzles; gzipped if its name says so."""
    text = "\n".join([HEADER, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def rows_of(file: str) -> list[str]:
    return gzip.decompress((sudoku.BUNDLED_FOLDER / f"{file}.csv.gz").read_bytes()).decode().splitlines()[1:]


def change(text: str, position: int, character: str) -> str:
    return text[:position] + character + text[position + 1 :]


# The checker


def brute_force_is_solved(question: list[int], answer: list[int]) -> bool:
    n = int(len(answer) ** 0.5)
    height, width = {9: (3, 3), 6: (2, 3)}[n]
    for a, b in combinations(range(n * n), 2):
        (row_a, column_a), (row_b, column_b) = divmod(a, n), divmod(b, n)
        same_box = (row_a // height, column_a // width) == (row_b // height, column_b // width)
        if (row_a == row_b or column_a == column_b or same_box) and answer[a] == answer[b]:
            return False
    filled = all(2 <= token <= n + 1 for token in answer)
    return filled and all(q in (1, a) for q, a in zip(question, answer, strict=True))


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["hard-sample", "mini-6x6"]), st.integers(0, 999))
def test_checker_agrees_with_a_plain_one(sudoku_splits, data, config, row):
    puzzles = sudoku_splits[config]["test"]
    question, answer = puzzles.input_ids[row].clone(), puzzles.labels[row].clone()
    cells = st.integers(0, len(answer) - 1)
    damage = data.draw(st.sampled_from(["none", "token", "swap cells", "swap digits", "swap rows", "clue"]))
    a, b = data.draw(st.tuples(cells, cells))
    n = int(len(answer) ** 0.5)
    if damage == "token":
        answer[a] = data.draw(st.integers(-100, 100))
    elif damage == "swap cells":
        answer[[a, b]] = answer[[b, a]]
    elif damage == "swap digits":
        first, second = answer[a].clone(), answer[b].clone()
        answer = torch.where(answer == first, second, torch.where(answer == second, first, answer))
    elif damage == "swap rows":
        grid = answer.view(n, n)
        grid[[a % n, b % n]] = grid[[b % n, a % n]].clone()
    elif damage == "clue":
        question[a] = data.draw(st.integers(2, n + 1))
    expected = brute_force_is_solved(question.tolist(), answer.tolist())
    assert is_solved_sudoku(question[None], answer[None].long()).tolist() == [expected]


def test_checker_accepts_any_solution_of_an_ambiguous_question():
    other = ANSWER.translate(str.maketrans("12", "21"))
    questions = torch.ones(2, 81, dtype=torch.int8)
    answers = torch.tensor([[int(digit) + 1 for digit in answer] for answer in (ANSWER, other)])
    assert is_solved_sudoku(questions, answers).all()


@pytest.mark.parametrize("num_cells", [81, 36])
def test_checker_refuses_constant_and_empty_answers(num_cells):
    answers = torch.arange(-3, 200)[:, None].expand(-1, num_cells)
    assert not is_solved_sudoku(torch.ones_like(answers), answers).any()


# Reading files


def test_same_tokens_as_the_official_builder(tmp_path):
    golden = load_file(GOLDENS / "sudoku_build_noaug.safetensors")
    files = json.loads((GOLDENS / "sudoku_build_noaug.json").read_text())["files"]
    for name, (_, rows) in files.items():
        write(tmp_path / name, *(",".join(map(str, row)) for row in rows))
    for split in ("train", "test"):
        puzzles = load_puzzles("sudoku", "extreme", split, data_dir=tmp_path, cache_dir=tmp_path / "cache")
        assert torch.equal(puzzles.input_ids, golden[f"{split}.all__inputs"].to(torch.int8))
        assert torch.equal(puzzles.labels, golden[f"{split}.all__labels"].to(torch.int8))


def test_plain_and_gzipped_files_give_the_same(tmp_path):
    rows = rows_of("test")[:50]
    assert read_csv(write(tmp_path / "a.csv", *rows)) == read_csv(write(tmp_path / "a.csv.gz", *rows))


def test_reads_what_the_file_says(tmp_path):
    table = read_csv(write(tmp_path / "a.csv", ROW, ROW.replace(".", "0")))
    assert table["source"].to_pylist() == ["x", "x"] and table["rating"].to_pylist() == [83, 83]
    for name, board in (("input_ids", QUESTION), ("labels", ANSWER)):
        expected = [1 if character == "." else int(character) + 1 for character in board]
        assert table[name].to_pylist() == [expected, expected]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"x,{QUESTION[:-1]},{ANSWER},1", "the question has 80 characters instead of 81"),
        (f"x,{QUESTION}.,{ANSWER},1", "the question has 82 characters"),
        (f"x,,{ANSWER},1", "the question has 0 characters"),
        (f"x,{QUESTION},{ANSWER}1,1", "the answer has 82 characters"),
        (f"x,{change(QUESTION, 0, 'A')},{ANSWER},1", "the question has the character 'A'"),
        (f"x,{change(QUESTION, 0, 'é')},{ANSWER},1", "the question has the character 'é'"),
        (f"x,{change(QUESTION, 0, ' ')},{ANSWER},1", "the question has the character ' '"),
        (f"x,{QUESTION},{change(ANSWER, 5, '_')},1", "the answer has the character '_'"),
        (f"x,{change(QUESTION, 0, '4')},{ANSWER},1", "the question has the digit 4 twice in row 1"),
        (f"x,{change(QUESTION, 0, '6')},{ANSWER},1", "the question has the digit 6 twice in column 1"),
        (f"x,{change(QUESTION, 0, '8')},{ANSWER},1", "the question has the digit 8 twice in box 1"),
        (f"x,{QUESTION},{change(ANSWER, 0, '1')},1", "the answer has the digit 1 twice in row 1"),
        (f"x,{QUESTION},{change(ANSWER, 0, '.')},1", "the answer has blank cells"),
        (f"x,{QUESTION},{change(ANSWER, 0, '0')},1", "the answer has blank cells"),
        (
            f"x,{QUESTION},{ANSWER.translate(str.maketrans('78', '87'))},1",
            "the answer has 8 where the question has 7: row 2, column 8",
        ),
        (f"x,{QUESTION},{ANSWER},hard", "the rating 'hard' is not a whole number"),
        (f"x,{QUESTION},{ANSWER},", "the rating '' is not a whole number"),
        (f"x,{QUESTION},{ANSWER}", "3 columns instead of 4"),
    ],
)
@pytest.mark.parametrize("file", ["train.csv", "test.csv.gz"])
def test_an_illegal_row_is_refused_by_number_in_one_line(tmp_path, file, row, message):
    for name in ("train.csv", "test.csv.gz"):
        write(tmp_path / name, *([ROW] * 16), row if name == file else ROW, ROW)
    with pytest.raises(ValueError) as error:
        load_puzzles("sudoku", "extreme", "test", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    text = str(error.value)
    assert f"{file} row 17: {message}" in text and "\n" not in text
    assert not list((tmp_path / "cache").rglob("*.arrow"))


def test_the_first_illegal_row_is_named_whatever_its_fault(tmp_path):
    twice = f"x,{change(QUESTION, 0, '4')},{ANSWER},1"
    with pytest.raises(ValueError, match="row 2: the question has the digit"):
        read_csv(write(tmp_path / "a.csv", ROW, twice, f"x,{QUESTION[1:]},{ANSWER},1", twice))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Empty CSV file"),
        (f"{HEADER}\n".encode(), "there are no puzzles"),
        (f"source,question\nx,{QUESTION}\n".encode(), "no column 'answer' or 'solution' or "),
        (f"a,b\n{QUESTION},{ANSWER}\n".encode(), "no column 'question' or 'puzzle' or "),
        (f"a;b\n{QUESTION};{ANSWER}\n".encode(), "; there are 'a', 'b'"),
    ],
)
def test_a_file_that_is_no_table_of_puzzles_is_refused(tmp_path, content, message):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_csv(tmp_path / "train.csv")
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'train.csv'}: ") and message in text and "\n" not in text


@pytest.mark.parametrize("keep", [0.0001, 0.5, 0.9999])
def test_a_truncated_gzip_file_is_refused(tmp_path, keep):
    whole = (sudoku.BUNDLED_FOLDER / "train.csv.gz").read_bytes()
    (tmp_path / "train.csv.gz").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match=r"train\.csv\.gz: "):
        read_csv(tmp_path / "train.csv.gz")


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path / "train.csv", ROW)
    with pytest.raises(
        FileNotFoundError, match=r"no test\.csv or test\.csv\.gz or test\.parquet in .*, only train\.csv"
    ):
        load_puzzles("sudoku", "extreme", "test", data_dir=tmp_path, cache_dir=tmp_path / "cache")


def test_a_config_that_reads_no_files_refuses_a_data_dir(tmp_path):
    with pytest.raises(ValueError, match="'hard-sample' reads no data_dir"):
        Sudoku("hard-sample", data_dir=tmp_path)


def test_changed_files_are_read_again(tmp_path):
    for content in ([ROW], [ROW] * 3):
        for name in ("train.csv", "test.csv"):
            write(tmp_path / name, *content)
        puzzles = load_puzzles("sudoku", "extreme", "test", data_dir=tmp_path, cache_dir=tmp_path / "cache")
        assert len(puzzles) == len(content)


def test_changed_code_is_run_again(tmp_path, monkeypatch):
    before = HubDataset(Sudoku("hard-sample"), tmp_path).cache_dir
    changed = tmp_path / "sudoku.py"
    changed.write_text(Path(sudoku.__file__).read_text() + "\n")
    monkeypatch.setattr(sudoku, "__file__", str(changed))
    assert HubDataset(Sudoku("hard-sample"), tmp_path).cache_dir != before


# Sub-samples


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for split in ("train", "test"):
        shutil.copy(sudoku.BUNDLED_FOLDER / f"{split}.csv.gz", folder)
    return folder


def test_a_sub_sample_is_a_reproducible_choice_of_training_puzzles(files, tmp_path, sudoku_splits):
    def sample(cache: str, seed: int, size: int | None) -> list[list[int]]:
        options = {"data_dir": files, "cache_dir": tmp_path / cache, "seed": seed, "num_train_puzzles": size}
        assert len(load_puzzles("sudoku", "extreme", "test", **options)) == 10000
        return load_puzzles("sudoku", "extreme", "train", **options).input_ids.tolist()

    whole = sudoku_splits["hard"]["train"].input_ids.tolist()
    chosen = sample("a", 0, 100)
    assert chosen == sample("b", 0, 100)
    assert len(set(map(tuple, chosen))) == 100
    positions = [whole.index(board) for board in chosen]
    assert positions == sorted(positions) and positions != list(range(100))
    assert chosen != sample("a", 1, 100)
    assert sample("a", 0, 30000) == sample("a", 0, None) == sample("a", 0, 20000) == whole


# Bundled and generated puzzles


def test_bundled_puzzles_are_those_of_the_files(sudoku_splits):
    for split, puzzles in sudoku_splits["hard"].items():
        rows = [row.split(",") for row in rows_of(split)]
        assert puzzles.source == [row[0] for row in rows]
        for tensor, column in ((puzzles.input_ids, 1), (puzzles.labels, 2)):
            assert ["".join(".123456789"[token - 1] for token in board) for board in tensor.tolist()] == [
                row[column] for row in rows
            ]


def test_the_sample_is_the_first_thousand_of_the_hard_ones(sudoku_splits):
    sample, whole = sudoku_splits["hard-sample"], sudoku_splits["hard"]
    for split in ("train", "test"):
        assert torch.equal(sample[split].input_ids, whole[split].input_ids[:1000])


def test_hard_training_puzzles_are_the_first_of_the_file(sudoku_splits):
    whole = sudoku_splits["hard"]["train"].input_ids
    assert torch.equal(load_puzzles("sudoku", "hard", "train").input_ids, whole[:1000])
    assert torch.equal(load_puzzles("sudoku", "hard", "train", num_train_puzzles=7).input_ids, whole[:7])


def test_answers_solve_questions_and_splits_are_disjoint(sudoku_splits):
    for config, splits in sudoku_splits.items():
        for split, puzzles in splits.items():
            assert len(puzzles) == ({"train": 20000, "test": 10000}[split] if config == "hard" else 1000)
            assert is_solved_sudoku(puzzles.input_ids, puzzles.labels).all()
        both = torch.cat([puzzles.input_ids for puzzles in splits.values()])
        assert len(both.unique(dim=0)) == len(both)


def test_easy_puzzles_are_the_hard_ones_with_more_clues(sudoku_splits):
    for split, easy in sudoku_splits["easy-sample"].items():
        hard = sudoku_splits["hard-sample"][split]
        assert torch.equal(easy.labels, hard.labels)
        assert ((easy.input_ids == hard.input_ids) | (hard.input_ids == 1)).all()
        counts = (easy.input_ids > 1).sum(1).bincount()
        assert counts.nonzero().flatten().tolist() == list(range(35, 46))
        assert ((counts[35:] - 1000 / 11).abs() < 5 * (1000 / 11) ** 0.5).all()
    revealed = [
        (sudoku_splits["easy-sample"][split].input_ids != sudoku_splits["hard-sample"][split].input_ids)
        for split in ("train", "test")
    ]
    assert not torch.equal(*revealed)


def test_easy_puzzles_depend_on_the_seed(sudoku_splits):
    again, other = (load_puzzles("sudoku", "easy-sample", "test", seed=seed) for seed in (0, 1))
    assert torch.equal(again.input_ids, sudoku_splits["easy-sample"]["test"].input_ids)
    assert not torch.equal(other.input_ids, again.input_ids)


def count_solutions(board: list[int]) -> int:
    """Plain backtracking over a 6x6 grid of tokens; 1 = blank."""

    def fits(cell: int, token: int) -> bool:
        row, column = divmod(cell, 6)
        return all(
            board[other] != token
            for other in range(36)
            if other // 6 == row or other % 6 == column or (other // 12 == row // 2 and other % 6 // 3 == column // 3)
        )

    options = {cell: [t for t in range(2, 8) if fits(cell, t)] for cell in range(36) if board[cell] == 1}
    if not options:
        return 1
    cell = min(options, key=lambda cell: len(options[cell]))
    total = 0
    for token in options[cell]:
        board[cell] = token
        total += count_solutions(board)
        board[cell] = 1
    return total


def test_mini_puzzles_have_one_solution(sudoku_splits):
    for puzzles in sudoku_splits["mini-6x6"].values():
        assert all(count_solutions(board) == 1 for board in puzzles.input_ids[::20].tolist())


def test_mini_puzzles_have_10_to_14_clues(sudoku_splits):
    for puzzles in sudoku_splits["mini-6x6"].values():
        num_clues = (puzzles.input_ids > 1).sum(1)
        assert num_clues.min() >= 10 and num_clues.max() <= 14
        assert 11.5 < num_clues.double().mean() < 12.5


def test_no_two_mini_puzzles_are_equivalent(sudoku_splits):
    both = torch.cat([puzzles.input_ids for puzzles in sudoku_splits["mini-6x6"].values()]).numpy()
    assert len({canonical_form(board) for board in both}) == len(both) == 2000


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 999))
def test_canonical_form_is_the_same_for_equivalent_puzzles(sudoku_splits, seed, row):
    boards = sudoku_splits["mini-6x6"]["test"].input_ids[[row, row]]
    views = random_sudoku_symmetry(seed, 0, torch.arange(2), (2, 3))(boards)
    assert canonical_form(boards[0].numpy()) == canonical_form(views[0].numpy()) == canonical_form(views[1].numpy())


def test_canonical_form_is_itself_an_equivalent_puzzle(sudoku_splits):
    """So two puzzles of the same form are equivalent: checked against every view, digits renamed, of a few puzzles."""
    for board in sudoku_splits["mini-6x6"]["train"].input_ids[:3].numpy():
        form = canonical_form(board)
        views = board[sudoku._mini_views()]
        assert len(np.unique(sudoku._mini_views(), axis=0)) == 3456
        renamed = (len(set(zip(view, form, strict=True))) == len(set(view)) == len(set(form)) for view in views)
        assert any(renamed)


def test_mini_puzzles_are_a_function_of_the_seed():
    first = generate_mini(50, 3)
    generate_mini.cache_clear()
    again, longer, other = generate_mini(50, 3), generate_mini(60, 3), generate_mini(50, 4)
    for a, b, c, d in zip(first, again, longer, other, strict=True):
        assert np.array_equal(a, b) and np.array_equal(a, c[:50]) and not np.array_equal(a, d)


def test_mini_solver_finds_every_digit_in_every_cell():
    """Random solutions are not stuck in a corner of the space."""
    labels = generate_mini(300, 0)[1]
    for cell, token in product(range(36), range(2, 8)):
        assert 20 < (labels[:, cell] == token).sum() < 90
