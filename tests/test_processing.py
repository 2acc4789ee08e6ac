# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The processor: every way of writing a puzzle gives the same tokens, and tokens give the puzzle back."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.pipelines.pt_utils import KeyDataset

from datasets_scripts.arc_agi import to_canvas
from datasets_scripts.tasks import TASKS, load_puzzles
from modeling_trm import TrmProcessor
from training.evaluation.arc import crop

SUDOKU = TrmProcessor.for_sudoku()
SMALL = TrmProcessor.for_sudoku(2, 3)
BOARDS = st.lists(st.integers(0, 9), min_size=81, max_size=81)  # 0 is blank
ROWS = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


def as_text(board: list[int]) -> str:
    return "".join(str(digit) if digit else "." for digit in board)


def drawn(lines: list[str]) -> str:
    """Nine lines of nine, with lines between the boxes as Norvig draws them."""
    rows = [" | ".join(" ".join(line[start : start + 3]) for start in (0, 3, 6)) for line in lines]
    return "\n------+-------+------\n".join("\n".join(rows[start : start + 3]) for start in (0, 3, 6))


def tokens_of(board: list[int]) -> list[int]:
    """The official tokens: 1 blank, 2 ... 10 the digits."""
    return [digit + 1 for digit in board]


@given(board=BOARDS)
def test_text_to_tokens_and_back(board: list[int]) -> None:
    tokens = SUDOKU(as_text(board))["input_ids"]
    assert tokens.dtype == torch.long
    assert tokens.tolist() == [tokens_of(board)]
    assert SUDOKU.decode(tokens[0]) == as_text(board)
    assert SUDOKU.batch_decode(tokens) == [as_text(board)]
    grid = SUDOKU.to_grid(tokens[0])
    assert [len(row) for row in grid] == [9] * 9
    assert "".join(map("".join, grid)) == as_text(board)
    assert SUDOKU(grid)["input_ids"].tolist() == tokens.tolist()


@given(board=BOARDS)
def test_every_way_of_writing_a_puzzle(board: list[int]) -> None:
    text, array = as_text(board), np.array(board).reshape(9, 9)
    lines = [text[start : start + 9] for start in range(0, 81, 9)]
    symbols = [list(line) for line in lines]
    ways: dict[str, Any] = {
        "one string": text,
        "zeros for blanks": text.replace(".", "0"),
        "lines": "\n".join(lines) + "\n",
        "lines of Windows": "\r\n".join(lines),
        "spaces between": "\n".join(" ".join(line) for line in lines),
        "flat symbols": list(text),
        "flat numbers": board,
        "nested symbols": symbols,
        "nested numbers": array.tolist(),
        "tuples": tuple(map(tuple, array.tolist())),
        "array": array,
        "int8 array": array.astype(np.int8),
        "flat array": array.reshape(-1),
        "tensor": torch.tensor(array),
        "flat tensor": torch.tensor(board, dtype=torch.uint8),
        "list of arrays": [array],
        "list of tensors": [torch.tensor(array)],
        "rows as arrays": list(array),
        "rows as strings": lines,
        "a row of a data set": {"question": text, "answer": text},
        "a row in JSON": json.dumps({"input": symbols, "output": symbols}),
        "lines between the boxes": drawn(lines),
        "borders": f"+{'-' * 7}+\n{drawn(lines)}\n'{'-' * 7}'",
        "generator of symbols": iter(text),
    }
    for name, way in ways.items():
        assert SUDOKU(way)["input_ids"].tolist() == [tokens_of(board)], name


@settings(max_examples=15)
@given(boards=st.lists(BOARDS, min_size=1, max_size=3))
def test_batches(boards: list[list[int]]) -> None:
    """A list of puzzles, or one array of them, in every form."""
    texts, arrays = [as_text(board) for board in boards], np.array(boards).reshape(-1, 9, 9)
    ways: dict[str, Any] = {
        "strings": texts,
        "tuple of strings": tuple(texts),
        "a puzzle per line": "\n".join(texts) + "\n\n",
        "nested": arrays.tolist(),
        "flat": boards,
        "array": arrays,
        "flat array": arrays.reshape(-1, 81),
        "tensor": torch.tensor(arrays),
        "flat tensor": torch.tensor(boards),
        "list of tensors": list(torch.tensor(arrays)),
        "lists of rows": [[text[start : start + 9] for start in range(0, 81, 9)] for text in texts],
        "generator": (text for text in texts),
        "column": datasets.Dataset.from_dict({"question": texts})["question"],
        "column of lists": datasets.Dataset.from_dict({"question": arrays.tolist()})["question"],
        "data set": datasets.Dataset.from_dict({"question": texts, "answer": texts}),
        "KeyDataset": KeyDataset(datasets.Dataset.from_dict({"question": texts}), "question"),
        "streamed data set": datasets.Dataset.from_dict({"question": texts}).to_iterable_dataset(),
        "rows in JSON lines": "\n".join(json.dumps({"question": text}) for text in texts),
        "mixed": [texts[0], *arrays.tolist()[1:]],
    }
    for name, way in ways.items():
        assert SUDOKU(way)["input_ids"].tolist() == [tokens_of(board) for board in boards], name


@given(cell=st.integers(0, 80), symbol=st.sampled_from(["y", "!", "a", "@", "é"]), puzzle=st.integers(0, 2))
def test_an_unknown_symbol_is_named_with_its_place(cell: int, symbol: str, puzzle: int) -> None:
    texts = [ROWS] * 3
    texts[puzzle] = ROWS[:cell] + symbol + ROWS[cell + 1 :]
    with pytest.raises(ValueError) as refusal:
        SUDOKU(texts)
    message = str(refusal.value)
    assert message.startswith(f"puzzle {puzzle + 1} has {symbol!r} in row {cell // 9 + 1}, column {cell % 9 + 1};")
    assert "1 2 3 4 5 6 7 8 9" in message
    assert "\n" not in message


@pytest.mark.parametrize("number", [10, -1, 2.5])
def test_an_unknown_number_is_named_with_its_place(number: float) -> None:
    grid: list[list[float]] = [[0] * 9 for _ in range(9)]
    grid[4][7] = number
    with pytest.raises(ValueError, match=f"puzzle 1 has '{number}' in row 5, column 8"):
        SUDOKU(grid)


@pytest.mark.parametrize(
    ("puzzles", "message"),
    [
        (ROWS[:-1], "puzzle 1 has 80 cells, but this model solves 9x9 grids"),
        (ROWS + ".", "puzzle 1 has 82 cells"),
        ("", "puzzle 1 has 0 cells"),
        ([ROWS, ROWS[:36]], "puzzle 2 has 36 cells"),
        (np.zeros((6, 6), dtype=int), "puzzle 1 has 36 cells"),
        ([], "no puzzle"),
        (7, "puzzle 1 must be a string, a list or an array, not int"),
        (None, "puzzle 1 must be .* not NoneType"),
        (ROWS.encode(), "puzzle 1 must be .* not bytes"),
        ((row for row in (ROWS, ROWS[1:])), "puzzle 2 has 80 cells"),
        ([ROWS[:9]] * 8, "puzzle 1 has 9 cells"),
        ([ROWS, None], "puzzle 2 must be .* not NoneType"),
        (f"{ROWS}\n{ROWS[:-1]}\n", "puzzle 2 has 80 cells"),
    ],
)
def test_a_puzzle_of_another_size_is_refused(puzzles: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SUDOKU(puzzles)


def test_padding_is_not_a_symbol_of_a_puzzle() -> None:
    with pytest.raises(ValueError, match="'<pad>' in row 1, column 1"):
        SUDOKU([["<pad>", *ROWS[1:9]], *(list(ROWS[start : start + 9]) for start in range(9, 81, 9))])
    assert SUDOKU.decode([0, 1, 2]) == " .1"


def test_only_torch_tensors() -> None:
    with pytest.raises(ValueError, match="return_tensors='np'"):
        SUDOKU(ROWS, return_tensors="np")


@given(cells=st.lists(st.sampled_from("# SG"), min_size=12, max_size=12))
def test_a_blank_can_be_a_symbol(cells: list[str]) -> None:
    """As in a maze: then spaces are cells and only line breaks are layout."""
    maze = TrmProcessor(["<pad>", "#", " ", "S", "G"], 3, 4)
    text = "".join(cells)
    lines = "\n".join(text[start : start + 4] for start in (0, 4, 8))
    expected = [["<pad>", "#", " ", "S", "G"].index(symbol) for symbol in cells]
    assert maze(text)["input_ids"].tolist() == maze(lines)["input_ids"].tolist() == [expected]
    assert maze.decode(expected) == text
    with pytest.raises(ValueError, match="'x' in row 3, column 2"):  # rows of four, not of three
        maze(text[:9] + "x" + text[10:])


@pytest.mark.parametrize(
    "processor", [SUDOKU, SMALL, TrmProcessor(["<pad>", "#", " "], 2, 5)], ids=["9x9", "6x6", "maze"]
)
def test_save_and_load(processor: TrmProcessor, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    loaded = TrmProcessor.from_pretrained(tmp_path)
    for name in ("vocabulary", "height", "width", "box_height", "box_width", "aliases"):
        assert getattr(loaded, name) == getattr(processor, name), name
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["vocabulary"] == processor.vocabulary
    tokens = [number % (len(processor.vocabulary) - 1) + 1 for number in range(processor.height * processor.width)]
    assert loaded(processor.decode(tokens))["input_ids"].tolist() == [tokens]
    assert loaded.model_input_names == ["input_ids"]


@pytest.mark.parametrize(
    ("shape", "boxes", "rule", "message"),
    [
        ((4, 9), (None, None), "maze", "square .* not 4x9"),
        ((6, 6), (None, None), "sudoku", "boxes that fit"),
        ((6, 6), (3, 3), "sudoku", "not 3x3 in 6x6"),
        ((4, 9), (2, 3), "sudoku", "not 2x3 in 4x9"),
    ],
)
def test_a_rule_that_cannot_judge_the_grid_is_refused(shape: Any, boxes: Any, rule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrmProcessor(["<pad>", *"# SGo1234"], *shape, *boxes, rule=rule)


def test_a_folder_without_a_processor_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"without processor_config\.json"):
        TrmProcessor.from_pretrained(tmp_path)


def test_small_sudoku_has_its_own_tokens_and_boxes() -> None:
    assert (SMALL.height, SMALL.width, SMALL.box_height, SMALL.box_width) == (6, 6, 2, 3)
    assert SMALL.vocabulary == ["<pad>", ".", *"123456"]
    with pytest.raises(ValueError, match="'7' in row 6, column 6"):
        SMALL("." * 35 + "7")


ARC = TrmProcessor(**TASKS["arc-agi"].formats["arc-agi-1"].processor)
COLOURS = st.integers(0, 9)


@st.composite
def arc_grids(draw: st.DrawFn) -> list[list[int]]:
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    return [draw(st.lists(COLOURS, min_size=width, max_size=width)) for _ in range(height)]


@given(grid=arc_grids())
def test_an_arc_grid_lies_on_its_canvas_as_the_data_have_it(grid: list[list[int]]) -> None:
    (tokens,) = ARC(grid)["input_ids"]
    assert tokens.tolist() == to_canvas(np.array(grid)).tolist()
    assert [[int(symbol) for symbol in row] for row in ARC.to_grid(tokens)] == grid
    assert torch.equal(ARC(ARC.decode(tokens))["input_ids"][0], tokens)


def test_an_arc_task_is_read_for_its_tests() -> None:
    task = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3, 4]]}, {"input": [[5], [6]]}]}
    expected = ARC([[[3, 4]], [[5], [6]]])["input_ids"]
    assert expected.shape == (2, 900) and not torch.equal(expected[0], expected[1])
    for written in (task, json.dumps(task), json.dumps([[[3, 4]], [[5], [6]]])):
        assert torch.equal(ARC(written)["input_ids"], expected)
    for tasks in ([task, task], json.dumps([task, task]), f"{json.dumps(task)}\n{json.dumps(task)}"):
        assert torch.equal(ARC(tasks)["input_ids"], expected.repeat(2, 1))
    assert torch.equal(ARC({"test": [{"input": np.array([[3, 4]])}]})["input_ids"], expected[:1])


def test_a_text_of_several_lines_is_a_puzzle_and_no_row() -> None:
    expected = ARC([[[0, 1, 2], [3, 4, 5]], [[1, 1, 1], [2, 2, 2]]])["input_ids"]
    texts = ["012\n345", "111\n222\n"]
    assert torch.equal(ARC(texts)["input_ids"], expected)
    assert torch.equal(ARC(["012\n", "345\n"])["input_ids"], expected[:1])  # the lines of a file
    assert torch.equal(ARC(ARC.batch_decode(expected))["input_ids"], expected)


@given(
    cells=st.lists(st.integers(0, 11), min_size=900, max_size=900), rows=st.integers(0, 30), columns=st.integers(0, 30)
)
def test_a_ragged_answer_is_cropped_as_the_evaluation_does(cells: list[int], rows: int, columns: int) -> None:
    canvas = torch.tensor(cells).view(30, 30)
    canvas[:rows, :columns] = canvas[:rows, :columns].clamp(min=2)
    height, width = crop(canvas.view(1, -1))[0].tolist()
    expected = (canvas[:height, :width] - 2).tolist()
    assert [[int(symbol) for symbol in row] for row in ARC.to_grid(canvas.flatten())] == [r for r in expected if r]


@pytest.mark.parametrize(
    ("puzzle", "message"),
    [
        ([[1] * 31], "31 cells, but this model solves 30x30"),
        ([[1, 2], [3]], r"rows of \[1, 2\] cells"),
        ([[1, 10]], "'10' in row 1, column 2"),
        ('{"train": []}', "an ARC task"),
        ("[[1, 2], [3, 4]", "begins like JSON, but is not"),
    ],
)
def test_what_is_no_arc_grid_is_refused(puzzle: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ARC(puzzle)


def test_own_grids_may_be_smaller_than_the_canvas_and_puzzles_with_rules_may_not() -> None:
    own = TrmProcessor(["<pad>", "a", "b"], height=2, width=3)
    assert own([["a", "b"]])["input_ids"].tolist() == [[1, 2, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="8 cells"):
        TrmProcessor(["<pad>", "#", "S", "G", " "], 3, 3, rule="maze")([["#"] * 4, ["#"] * 4])


@pytest.mark.parametrize(("task", "config"), [("sudoku", "mini-6x6"), ("maze", "mini-9x9")])
def test_a_saved_processor_knows_rule_and_symmetries(task: str, config: str, tmp_path: Path) -> None:
    """Every symmetric view of a right answer is right for the view, and a changed one is not."""
    puzzles = load_puzzles(task, config, "test", max_examples=50)
    TrmProcessor(**puzzles.format.processor).save_pretrained(tmp_path)
    processor = TrmProcessor.from_pretrained(tmp_path)
    symmetry = processor.random_symmetry(0, 1, torch.arange(50))
    question, answer = symmetry(puzzles.input_ids), symmetry(puzzles.labels)
    assert not torch.equal(question, puzzles.input_ids)
    assert processor.verifier(question, answer).all()
    assert not processor.verifier(question, answer.roll(1, dims=1)).any()
    assert ARC.verifier is None and ARC.random_symmetry is None


def test_large_sudokus_are_refused_symmetries_at_once() -> None:
    """Tables of all 16! permutations would never end."""
    with pytest.raises(ValueError, match="at most 9 digits, not 16"):
        TrmProcessor.for_sudoku(4, 4).random_symmetry(0, 1, torch.arange(2))


@pytest.mark.parametrize("boxes", [(2, 2), (2, 4), (3, 2)])
def test_the_rule_follows_the_boxes(boxes: tuple[int, int]) -> None:
    """A grid that is right for its own boxes is right; with two digits swapped in a row it is not."""
    height, width = boxes
    n = height * width
    digits = [[(row % height * width + row // height + column) % n for column in range(n)] for row in range(n)]
    answer = torch.tensor(digits).flatten()[None] + 2
    verify = TrmProcessor.for_sudoku(height, width).verifier
    assert verify(torch.ones_like(answer), answer).tolist() == [True]
    wrong = answer.clone()
    wrong[0, :2] = answer[0, :2].flip(0)
    assert verify(torch.ones_like(answer), wrong).tolist() == [False]


def test_a_sudoku_with_pencil_marks_has_blanks_there() -> None:
    """As programs draw it: every cell as wide as the longest, with borders."""
    marked = [digit if digit != "." else "148" for digit in ROWS]
    boxes = [" ".join(f"{cell:4}" for cell in marked[start : start + 3]) for start in range(0, 81, 3)]
    rows = [f"| {' | '.join(boxes[start : start + 3])} |" for start in range(0, 27, 3)]
    bands = "\n:---+---+---:\n".join("\n".join(rows[start : start + 3]) for start in (0, 3, 6))
    text = f".---.---.---.\n{bands}\n'---'---'---'"
    assert torch.equal(SUDOKU(text)["input_ids"], SUDOKU(ROWS)["input_ids"])


SYMBOLS = st.lists(st.text("0123456789-abcAB.[", min_size=1, max_size=3), min_size=1, max_size=30, unique=True)


@given(symbols=SYMBOLS, height=st.integers(1, 4), width=st.integers(1, 5), data=st.data())
def test_a_processor_reads_its_own_output_back(symbols: list[str], height: int, width: int, data: Any) -> None:
    processor = TrmProcessor(["<pad>", *symbols], height, width)
    cells = st.lists(st.integers(1, len(symbols)), min_size=height * width, max_size=height * width)
    tokens = data.draw(cells)
    assert processor(processor.decode(tokens))["input_ids"].tolist() == [tokens]
    assert processor(processor.to_grid(tokens))["input_ids"].tolist() == [tokens]
    assert processor(processor.batch_decode(torch.tensor([tokens, tokens])))["input_ids"].tolist() == [tokens, tokens]


def test_long_symbols_are_separated_and_aligned() -> None:
    numbers = TrmProcessor(["<pad>", *map(str, range(-50, 51))], 2, 3)
    answer = numbers("3 -4 10\n22 -33 1")["input_ids"][0]
    assert numbers.decode(answer) == "3 -4 10 22 -33 1"
    assert numbers.to_grid(answer) == [["3", "-4", "10"], ["22", "-33", "1"]]
    result = {"puzzle": numbers.to_grid(answer), "grid": numbers.to_grid(answer), "steps": 1, "confidence": 0.5}
    assert numbers.render(result, "text").endswith("  3  -4  10\n 22 -33   1")
    assert numbers.render(result, "ansi").count("\033[1m") == 12  # as text, not as colours


def test_a_tensor_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each conversion makes the host wait for the device."""
    conversions, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: (conversions.append(1), tolist(tensor))[1])
    monkeypatch.setattr(torch.Tensor, "__int__", None)
    tokens = torch.ones(4, 81, dtype=torch.long)
    for convert, given_tokens in (
        (SUDOKU.batch_decode, tokens),
        (SUDOKU.decode, tokens[0]),
        (SUDOKU.to_grid, tokens[0]),
    ):
        conversions.clear()
        convert(given_tokens)
        assert len(conversions) == 1


def test_a_small_grid_of_one_s_own_is_read_in_every_way_of_writing_it() -> None:
    own = TrmProcessor(["<pad>", ".", "#", "o"], 3, 4)
    for way in ([".#", "#o"], ".#\n#o", [[".", "#"], ["#", "o"]], {"input": [".#", "#o"], "output": ["..", ".."]}):
        assert own(way)["input_ids"].tolist() == [[1, 2, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0]], way
    assert TrmProcessor(["<pad>", *"abc"], 1, 5)("abc")["input_ids"].tolist() == [[1, 2, 3, 0, 0]]
