# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Every form that people have their puzzles in is read as they mean it, or refused in one line."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets_scripts.grid import parse_grid
from modeling_trm import TrmProcessor
from modeling_trm.formats_trm import decode_text, maze_fault, sudoku_fault

SUDOKU, SMALL, LARGE = TrmProcessor.for_sudoku(), TrmProcessor.for_sudoku(2, 3), TrmProcessor.for_sudoku(4, 4)
ARC, MAZE = TrmProcessor.for_arc(), TrmProcessor.for_maze(9)
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
ROWS = [PUZZLE[start : start + 9] for start in range(0, 81, 9)]
GRID = [[int(cell) if cell != "." else 0 for cell in row] for row in ROWS]
OTHER = PUZZLE[::-1]
BOARDS = st.lists(st.integers(0, 9), min_size=81, max_size=81)


def read(given: Any, processor: TrmProcessor = SUDOKU) -> list[str]:
    return processor.batch_decode(processor(given)["input_ids"])


def banded(rows: list[str], line: str) -> str:
    return f"\n{line}\n".join("\n".join(rows[start : start + 3]) for start in (0, 3, 6))


def boxed(cells: str, bar: str = "|", between: str = "") -> str:
    return bar.join(between.join(cells[start : start + 3]) for start in (0, 3, 6))


FULL = [f"| {boxed(row, ' | ', ' ')} |" for row in ROWS]
DRAWINGS = {
    "Simple Sudoku": f" *{'-' * 11}*\n{banded([f' |{boxed(row)}|' for row in ROWS], ' |---+---+---|')}\n *{'-' * 11}*",
    "Norvig": banded([boxed(row, "|", " ") for row in ROWS], "------+------+------"),
    "frame of crosses": f"+{'-' * 23}+\n{banded(FULL, '+-------+-------+-------+')}\n+{'-' * 23}+",
    "HoDoKu": f".{'-' * 7}.\n{banded(FULL, ':-------+-------+-------:')}\n'{'-' * 7}'",
    "box-drawing characters": f"┌{'─' * 7}┐\n{banded(FULL, '├───────┼───────┤').replace('|', '│')}\n└{'─' * 7}┘",
    "double lines": f"╔{'═' * 7}╗\n{banded(FULL, '╠═══════╬═══════╣').replace('|', '║')}\n╚{'═' * 7}╝",
    "equals signs": banded(FULL, "=" * 25),
    "bars without lines": "\n".join(boxed(row) for row in ROWS),
    "dashes for blanks": banded([boxed(row) for row in ROWS], "---+---+---").replace(".", "-"),
    "a frame round every cell": "\n".join(f"| {' | '.join(row)} |\n|{'---|' * 9}" for row in ROWS).replace(".", " "),
    "spaces in boxes": banded([f"| {boxed(row, ' | ', ' ')} |" for row in ROWS], "+-----+").replace(".", " "),
    "narrow boxes of spaces": banded([f"|{boxed(row)}|" for row in ROWS], "+---+---+").replace(".", " "),
    "spaces": "\n".join(ROWS).replace(".", " "),
    "spaces, the last cut off": "\n".join(row.replace(".", " ").rstrip() for row in ROWS),
    "commas": "\n".join(",".join(row) for row in ROWS).replace(".", ""),
    "semicolons": "\n".join(";".join(row) for row in ROWS).replace(".", "0"),
    "tabs": "\n".join("\t".join(row) for row in ROWS).replace(".", "0"),
    "a comment above": "# from a newspaper\n" + "\n".join(ROWS),
    "sections": "[Puzzle]\n" + "\n".join(ROWS) + "\n[State]\n" + "\n".join(ROWS).replace("7....", "74..."),
    "SadMan": "#AUnknown\n#LEasy\n" + "\n".join(ROWS),
    "a title": "Grid 01\n" + "\n".join(ROWS),
    "groups in one line": " ".join(ROWS),
    "Windows": "\ufeff" + "\r\n".join(ROWS) + "  \r\n\r\n",
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawn_sudokus(name: str) -> None:
    assert read(DRAWINGS[name]) == [PUZZLE]
    assert read(decode_text(DRAWINGS[name].encode("utf-16"), "file")) == [PUZZLE]


@pytest.mark.parametrize("blank", list(".0*_-xX?"))
@given(board=BOARDS)
@settings(max_examples=5)
def test_blanks_of_a_sudoku(blank: str, board: list[int]) -> None:
    expected = "".join(str(cell) if cell else "." for cell in board)
    written = expected.replace(".", blank)
    lines = [written[start : start + 9] for start in range(0, 81, 9)]
    for way in (written, "\n".join(lines), lines, [list(line) for line in lines], "\n".join(map(" ".join, lines))):
        assert read(way) == [expected], way


@pytest.mark.parametrize("blank", [None, "", float("nan"), 0.0, " ", "."])
def test_blank_cells_of_lists(blank: Any) -> None:
    grid = [[blank if cell == 0 else float(cell) for cell in row] for row in GRID]
    if blank != " ":
        assert read(grid) == [PUZZLE]
    assert read(json.dumps(GRID).replace("0", "null")) == [PUZZLE]


@given(board=BOARDS)
@settings(max_examples=20)
def test_what_is_printed_is_read_back(board: list[int]) -> None:
    tokens = SUDOKU(board)["input_ids"][0]
    grid = SUDOKU.to_grid(tokens)
    shown = SUDOKU.render({"puzzle": grid, "grid": grid, "confidence": 1.0, "steps": 1}, "text")
    drawn = shown.split("\n\n")[1]
    assert SUDOKU(drawn)["input_ids"][0].tolist() == tokens.tolist()


LISTS = {
    "a puzzle a line": f"{PUZZLE}\n{OTHER}\n",
    "ids and ratings": f"0dcd {PUZZLE.replace('.', '0')}  7.1\n0dce {OTHER.replace('.', '0')}  1.2\n",
    "solutions": f"{PUZZLE},{SOLUTION}\n{OTHER},{SOLUTION[::-1]}\n",
    "solutions first": f"solution,puzzle\n{SOLUTION},{PUZZLE}\n{SOLUTION[::-1]},{OTHER}\n",
    "number of solutions": f"{PUZZLE}:1:{SOLUTION}\n{OTHER}:1:{SOLUTION[::-1]}\n",
    "headings": f"Hardest110626\n#!sudoku -c1\n{PUZZLE},a;b,4674\n{OTHER},c;d,33\n",
    "comments": f"# one\n{PUZZLE} # easy\n; two\n{OTHER} # hard\n",
    "HoDoKu": f":0000:2:{PUZZLE.replace('7', '+7')}:::292:\n:0000:3:{OTHER}:::2:\n",
    "grids with titles": "".join(
        f"Grid {n}\n" + "\n".join(p[s : s + 9] for s in range(0, 81, 9)) + "\n" for n, p in ((1, PUZZLE), (2, OTHER))
    ),
    "drawings": DRAWINGS["frame of crosses"] + "\n\n" + DRAWINGS["frame of crosses"][::-1],
    "OpenSudoku": "<?xml version='1.0'?><opensudoku>"
    + "".join(f'<game data="{puzzle.replace(".", "0")}" />' for puzzle in (PUZZLE, OTHER))
    + "</opensudoku>",
    "JSON lines": "\n".join(json.dumps({"puzzle": puzzle, "solution": SOLUTION}) for puzzle in (PUZZLE, OTHER)),
    "an interface": json.dumps({"newboard": {"grids": [{"value": GRID, "solution": GRID}, {"value": OTHER}]}}),
    "boards": json.dumps([{"board": GRID}, {"board": [row[::-1] for row in GRID[::-1]]}]),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_sudokus(name: str) -> None:
    assert read(LISTS[name]) == [PUZZLE, OTHER]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n".join([ROWS[0][:8], ROWS[0] + "1", *ROWS[2:]]), r"rows of \[8, 9, 10\] cells"),
        ("\n".join(PUZZLE[start : start + 27] for start in range(0, 81, 27)), r"81 cells \(3 rows of 27\)"),
        ([[1] * 3] * 27, r"81 cells \(27 rows of 3\)"),
        (f"{PUZZLE}{PUZZLE[:5]}", "86 cells"),
        (f"{PUZZLE.replace('7', 'a')}\n{PUZZLE}", "puzzle 1 has 'a' in row 1, column 5"),
        (f"{PUZZLE}\n{PUZZLE[:-1]}", "puzzle 2 has 80 cells"),
        (f"{PUZZLE[:-1]}\n{PUZZLE}", "puzzle 1 has 80 cells"),
        (f"{PUZZLE} {OTHER}", "2 puzzles in one line"),
        ("<html></html>", "without a puzzle"),
        ('{"name": "x"}', "must be a grid, an ARC task .* or have one of the names input, question, puzzle"),
        ("a title\nand no puzzle", "its first line is 'a title'"),
        ("[" * 100_000, "nested too deep|begins like JSON"),
    ],
)
def test_no_other_puzzle_is_read(text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        SUDOKU(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("height", "width"), [(12, 3), (3, 12), (4, 9), (36, 1)])
def test_a_grid_of_as_many_cells_is_not_the_grid(height: int, width: int) -> None:
    own = TrmProcessor(["<pad>", *"0123456789"], 6, 6)
    for processor in (SMALL, own):
        grid = np.zeros((height, width), dtype=int)
        for way in (grid, grid.tolist(), "\n".join("0" * width for _ in range(height))):
            with pytest.raises(ValueError, match=rf"36 cells \({height} rows of {width}\)"):
                processor(way)


@given(
    board=st.lists(st.integers(0, 16), min_size=256, max_size=256).filter(lambda board: max(board) >= 10),
    blank=st.sampled_from(".0"),
)
@settings(max_examples=10)
def test_sudokus_of_sixteen_digits(board: list[int], blank: str) -> None:
    expected = LARGE(board)["input_ids"].tolist()
    characters = "".join(blank if cell == 0 else "123456789ABCDEFG"[cell - 1] for cell in board)
    lines = [characters[start : start + 16] for start in range(0, 256, 16)]
    for way in (characters, characters.lower(), "\n".join(lines), lines, "\n".join(map(" ".join, lines))):
        assert LARGE(way)["input_ids"].tolist() == expected
    letters = "".join("." if cell == 0 else chr(ord("A") + cell - 1) for cell in board)
    assert LARGE(letters)["input_ids"].tolist() == expected
    numbers = "\n".join(" ".join(map(str, board[start : start + 16])) for start in range(0, 256, 16))
    assert LARGE(numbers)["input_ids"].tolist() == expected
    assert LARGE(LARGE.decode(LARGE(board)["input_ids"][0]))["input_ids"].tolist() == expected


def test_a_digit_nought_beside_another_blank_is_refused() -> None:
    with pytest.raises(ValueError, match="0 and another blank"):
        LARGE("0A." + "." * 253)


# Mazes

LINES = [
    "#########",
    "#S      #",
    "# ##### #",
    "# #   # #",
    "# # # # #",
    "# # # # #",
    "#   # # #",
    "####  G #",
    "#########",
]
OPEN = [
    "S        ",
    "######## ",
    "         ",
    " ########",
    "         ",
    "######## ",
    "         ",
    " ########",
    "        G",
]


@pytest.mark.parametrize(
    "change",
    ["", "GE", "SAGB", " .", "#█", "#W .GE", "#1 0", "#* .", "#X", "SsGg"],
)
def test_spellings_of_mazes(change: str) -> None:
    table = str.maketrans(change[::2], change[1::2])
    text = "\n".join(LINES).translate(table)
    rows = text.split("\n")
    for way in (text, text + "\n", rows, [list(row) for row in rows], text.replace("\n", ""), "\ufeff" + text):
        assert read(way, MAZE) == ["".join(LINES)]
    assert read(f"{text}\n\n{text}\n", MAZE) == ["".join(LINES)] * 2


def test_blanks_that_an_editor_cut_off() -> None:
    assert read("\n".join(map(str.rstrip, OPEN)) + "\n", MAZE) == ["".join(OPEN)]


@pytest.mark.parametrize(
    ("maze", "message"),
    [
        (["#" * 5] * 7, r"35 cells \(7 rows of 5\), but this model solves 9x9"),
        ([*LINES[:-1], "####.####"], "' ' and '.'"),
        ([*LINES[:-1], "####2####"], r"'2' in row 9, column 5; the known symbols are # ' ' S G o"),
        ([*LINES[:-1], "####E####"], "'G' and 'E'"),
        ([row[:-1] for row in LINES], r"72 cells \(9 rows of 8\)"),
    ],
)
def test_mazes_that_are_none(maze: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MAZE("\n".join(maze))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("G", " ", "has 0 cells 'G'"),
        ("#S ", "#SS", "has 2 cells 'S'"),
        ("  G ", " #G#", "has no path that joins S and G"),
        ("#S ", "#So", "has a path 'o' already"),
        ("#S ", "#S ", None),
    ],
)
def test_what_is_wrong_with_a_maze(old: str, new: str, message: str | None) -> None:
    fault = MAZE.fault(MAZE("\n".join(LINES).replace(old, new))["input_ids"][0])
    assert fault is None if message is None else message in fault
    assert fault == maze_fault([list(row) for row in "\n".join(LINES).replace(old, new).split("\n")])


def test_what_is_wrong_with_a_sudoku() -> None:
    assert sudoku_fault([list(row) for row in ROWS], 3, 3) is None
    for cell, digit, unit in ((3, "5", "row 1"), (65, "8", "column 3"), (10, "8", "box 1")):
        changed = PUZZLE[:cell] + digit + PUZZLE[cell + 1 :]
        fault = SUDOKU.fault(SUDOKU(changed)["input_ids"][0])
        assert fault == f"has the digit {digit} twice in {unit}"


# Own grids and ARC

ARC_FORMS = {
    "rows": "077\n777\n077",
    "blanks between": "0 7 7\n7 7 7\n0 7 7",
    "commas": "0,7,7\n7,7,7\n0,7,7",
    "JSON": "[[0, 7, 7], [7, 7, 7], [0, 7, 7]]",
    "NumPy": "[[0 7 7]\n [7 7 7]\n [0 7 7]]",
    "Python": "[(0, 7, 7), (7, 7, 7), (0, 7, 7)]",
    "floats": "[[0.0, 7.0, 7], [7, 7, 7], [0, 7, 7]]",
    "NumPy floats": "[[0. 7. 7.]\n [7. 7. 7.]\n [0. 7. 7.]]",
    "a task": '{"train": [], "test": [{"input": [[0, 7, 7], [7, 7, 7], [0, 7, 7]]}]}',
    "tasks by name": '{"a1b2": {"train": [], "test": [{"input": [[0, 7, 7], [7, 7, 7], [0, 7, 7]]}]}}',
}


@pytest.mark.parametrize("name", ARC_FORMS)
def test_forms_of_arc(name: str) -> None:
    assert read(ARC_FORMS[name], ARC) == ["077\n777\n077"]


@given(
    height=st.integers(1, 4),
    width=st.integers(1, 5),
    cells=st.lists(st.integers(0, 2), min_size=20, max_size=20),
    alphabet=st.sampled_from([[".", "#", "o"], ["0", "1", "2"], ["red", "green", "blue"], ["-4", "10", "3"]]),
)
def test_own_grids_in_every_form(height: int, width: int, cells: list[int], alphabet: list[str]) -> None:
    own = TrmProcessor(["<pad>", *alphabet], 4, 5)
    grid = [[alphabet[cells[row * 5 + column]] for column in range(width)] for row in range(height)]
    expected = own(grid)["input_ids"].tolist()
    assert [row for row in own.to_grid(expected[0]) if row[0] != " "] == [row + [" "] * (5 - width) for row in grid]
    ways: list[Any] = [json.dumps(grid), {"input": grid, "output": grid}, json.dumps({"input": grid, "output": grid})]
    if len(alphabet[0]) > 1 or height > 1:
        ways.append("\n".join(" ".join(row) for row in grid))
    if all(len(symbol) == 1 for symbol in alphabet):
        ways += ["\n".join(map("".join, grid)), own.decode(expected[0])]
    if alphabet[0] == "0":
        ways += [np.array(grid).astype(int), np.array(grid).astype(float), str(np.array(grid).astype(int))]
    for way in ways:
        assert own(way)["input_ids"].tolist() == expected, way


@given(
    data=st.one_of(
        st.text(), st.text("0123456789.-|+ \n[],{}\"'#"), st.recursive(st.integers() | st.text(max_size=3), st.lists)
    )
)
def test_nothing_ends_in_a_traceback(data: Any) -> None:
    for processor in (SUDOKU, ARC, MAZE, LARGE):
        try:
            processor(data)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1


def test_a_flat_list_means_what_it_means_in_a_data_file() -> None:
    """Strings are rows, numbers are one row; where the canvas is one row, both are."""
    own, line = TrmProcessor(["<pad>", *"12"], 2, 3), TrmProcessor(["<pad>", *"12"], 1, 3)
    for flat in ([1, 2], ["1", "2"]):
        height, width = len(parse_grid(flat, "it")), len(parse_grid(flat, "it")[0])
        assert own(flat)["input_ids"].view(2, 3)[:height, :width].flatten().tolist() == [1, 2], flat
        assert line(flat)["input_ids"].tolist() == [[1, 2, 0]]
    assert own(list("121212"))["input_ids"].tolist() == [[1, 2] * 3]
