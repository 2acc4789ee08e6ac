# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Pictures are valid files that show every cell of every step, and say of each what is true."""

import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from modeling_trm import TrmProcessor
from modeling_trm.rendering_trm import HIGHLIGHT, INKS, PAPER, TILES, draw_frame, make_frames

SUDOKU = TrmProcessor.for_sudoku(2, 3)
MAZE = TrmProcessor(["<pad>", "#", " ", "S", "G", "o"], 4, 5)
ARC = TrmProcessor(["<pad>", "|", *"0123456789"], 8, 8)
BOX = (2, 3)


def lines(*rows: str) -> list[list[str]]:
    return [list(row) for row in rows]


QUESTION = lines("1..4..", "......", "......", "......", "......", ".....6")
FIRST = lines("1334..", "......", "......", "......", "......", ".....6")
SECOND = lines("1234..", "......", "......", "......", "......", "2....5")
RESULT = {
    "puzzle": QUESTION,
    "grid": SECOND,
    "steps": 2,
    "confidence": 0.75,
    "trace": [{"grid": FIRST, "confidence": 0.25}, {"grid": SECOND, "confidence": 0.75}],
}
MAZE_RESULT = {
    "puzzle": lines("S   #", "###  ", "    G", "#####"),
    "grid": lines("Soo #", "###  ", "    G", "#####"),
    "steps": 1,
    "confidence": 0.9,
}
ARC_RESULT = {
    "puzzle": lines("012", "345"),
    "grid": lines("67", "89", "21"),
    "steps": 3,
    "confidence": 0.5,
}
EXAMPLES = [(SUDOKU, RESULT), (MAZE, MAZE_RESULT), (ARC, ARC_RESULT)]
NAMES = ["sudoku", "maze", "arc"]


def kinds(frame: Any) -> dict[str, set[tuple[int, int]]]:
    found: dict[str, set[tuple[int, int]]] = {}
    for row, cells in enumerate(frame.rows):
        for column, cell in enumerate(cells):
            found.setdefault(cell.kind, set()).add((row, column))
    return found


def test_cells_are_what_they_are_called():
    puzzle, first, second = make_frames(RESULT, BOX)
    assert kinds(puzzle)["given"] == {(0, 0), (0, 3), (5, 5)}
    assert kinds(first)["wrong"] == {(0, 1), (0, 2)}  # two threes in a row
    assert "changed" not in kinds(first)
    # a two whose column has no other, a three that stays, and a clue that was overwritten
    assert kinds(second)["changed"] == {(0, 1), (5, 0)}
    assert kinds(second)["settled"] == {(0, 2)}
    assert kinds(second)["wrong"] == {(5, 5)}
    assert [frame.caption for frame in (puzzle, first, second)] == [
        "The puzzle",
        "After step 1: 2 cells changed, 25.0% sure",
        "After step 2: 3 cells changed, 75.0% sure",
    ]


def test_a_label_decides_what_is_right():
    label = lines("1264..", "......", "......", "......", "......", "2....6")
    _, first, second = make_frames(RESULT, BOX, label)
    assert "right" not in kinds(first)
    assert kinds(second)["right"] == {(0, 1), (5, 0)}
    assert kinds(second)["wrong"] == {(0, 2), (5, 5)}

    blank = make_frames(RESULT | {"trace": [{"grid": QUESTION, "confidence": 0.5}]}, BOX, label)[1]
    assert kinds(blank)["wrong"] == {(0, 1), (0, 2), (5, 0)}  # cells left blank
    assert kinds(blank)["given"] == {(0, 0), (0, 3), (5, 5)}
    clue = make_frames(RESULT | {"trace": [{"grid": QUESTION, "confidence": 0.5}]}, BOX, lines("2"))[1]
    assert (0, 0) in kinds(clue)["wrong"]  # even a clue, if the label says so


def test_a_label_finds_what_is_missing_in_a_maze_or_too_much_in_a_grid():
    _, maze = make_frames(MAZE_RESULT, None, lines("Sooo#", "###o ", "   oG", "#####"))
    assert kinds(maze)["wrong"] == {(0, 3), (1, 3), (2, 3)}
    assert kinds(maze)["right"] == {(0, 1), (0, 2)}
    _, arc = make_frames(ARC_RESULT, None, lines("67", "99"))
    assert kinds(arc)["wrong"] == {(1, 0), (2, 0), (2, 1)}
    assert kinds(arc)["right"] == {(0, 0), (0, 1), (1, 1)}


@given(st.lists(st.lists(st.sampled_from(".123456"), min_size=6, max_size=6), min_size=6, max_size=6))
@settings(max_examples=30)
def test_a_sudoku_without_wrong_cells_obeys_the_rules(grid):
    frame = make_frames({"puzzle": lines(*["......"] * 6), "grid": grid, "steps": 1, "confidence": 0.5}, BOX)[1]
    wrong = kinds(frame).get("wrong", set())
    for row in range(6):
        for column in range(6):
            peers = [
                grid[r][c]
                for r in range(6)
                for c in range(6)
                if (r, c) != (row, column) and (r == row or c == column or (r // 2, c // 3) == (row // 2, column // 3))
            ]
            assert ((row, column) in wrong) == (grid[row][column] != "." and grid[row][column] in peers)


@pytest.mark.parametrize(("processor", "result"), EXAMPLES, ids=NAMES)
def test_a_terminal_shows_every_symbol(processor, result):
    text = processor.render(result, "text")
    assert "\033" not in text
    frames = make_frames(result, processor.box_height and BOX)
    shown = re.sub(r"[ |\n+-]", "", text) if processor is SUDOKU else text.replace("\n", "")
    for frame in frames:
        grid = "".join(cell.symbol for row in frame.rows for cell in row)
        assert frame.caption in text
        assert grid in shown
    ansi = processor.render(result, "ansi")
    assert ansi.count("\033[0m") == sum(len(row) for frame in frames for row in frame.rows)
    if processor is SUDOKU:
        assert re.sub(r"\033\[[0-9;]*m", "", ansi) == text


@pytest.mark.parametrize(("processor", "result"), EXAMPLES, ids=NAMES)
def test_png_and_gif_are_images_with_a_frame_per_step(processor, result):
    frames = 1 + len(result.get("trace", [1]))
    sheet = Image.open(io.BytesIO(processor.render(result, "png")))
    sheet.load()
    film = Image.open(io.BytesIO(processor.render(result, "gif")))
    assert (sheet.format, film.format) == ("PNG", "GIF")
    assert film.n_frames == frames
    assert film.info["loop"] == 0
    assert sheet.width == min(4, frames) * film.width
    for number in range(frames):
        film.seek(number)
        assert film.info["duration"] >= 700
        assert len(film.convert("RGB").getcolors(10**6)) > 2


@pytest.mark.parametrize(
    ("processor", "result", "color"), [(SUDOKU, RESULT, HIGHLIGHT), (MAZE, MAZE_RESULT, TILES["o"])]
)
def test_what_changed_is_seen_in_the_picture(processor, result, color):
    film = Image.open(io.BytesIO(processor.render(result, "gif")))

    def area(number: int) -> int:
        film.seek(number)
        wanted = ImageColor.getrgb(f"#{color}")
        pixels = film.convert("RGB").getcolors(10**6)
        return sum(
            count for count, pixel in pixels if max(abs(a - b) for a, b in zip(pixel, wanted, strict=True)) < 12
        )

    assert area(0) == 0
    assert area(1) > 2 * 25 * 25


def test_new_tiles_have_a_dot_and_others_do_not():
    """A white dot with a dark rim, which is seen on every colour."""
    for processor, result in EXAMPLES[1:]:
        frame = make_frames(result, None)[1]
        image = draw_frame(frame, None)
        size = 32
        left = (image.width - max(map(len, frame.rows)) * size) // 2
        data = json.loads(re.search(r"^const frames = (.*);$", processor.render(result, "html"), re.MULTILINE)[1])
        for row, cells in enumerate(frame.rows):
            for column, cell in enumerate(cells):
                middle = image.getpixel((left + column * size + size // 2, 40 + row * size + size // 2))
                wanted = PAPER if cell.changed else TILES[cell.symbol]
                assert middle == ImageColor.getrgb(f"#{wanted}")
                assert ("new" in data[1][1][row][column][1].split()) == cell.changed
    assert "td.new::after" in MAZE.render(MAZE_RESULT, "html")


def test_a_sudoku_cell_wrongly_left_blank_is_seen():
    label = [["1"] * 6 for _ in range(6)]
    still = {"puzzle": QUESTION, "grid": QUESTION, "steps": 1, "confidence": 0.5}
    with_label, without = (draw_frame(make_frames(still, BOX, answer)[1], BOX) for answer in (label, None))
    wrong = ImageColor.getrgb(f"#{INKS['wrong']}")
    assert wrong in [color for _, color in with_label.getcolors(10**6)]
    assert wrong not in [color for _, color in without.getcolors(10**6)]


@pytest.mark.parametrize("format", ["ansi", "text", "html", "png", "gif"])
def test_an_answer_may_be_no_grid_at_all(format: str) -> None:
    assert ARC.render(ARC_RESULT | {"grid": []}, format)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize(("processor", "result"), EXAMPLES, ids=NAMES)
def test_the_page_needs_nothing_else_and_holds_every_frame(processor, result):
    text = processor.render(result, "html")
    page = Page()
    page.feed(text)
    assert not any({"src", "href"} & attributes.keys() for _, attributes in page.tags)
    assert "http" not in text
    slider = next(attributes for tag, attributes in page.tags if tag == "input")
    data = json.loads(re.search(r"^const frames = (.*);$", text, re.MULTILINE)[1])
    frames = make_frames(result, processor.box_height and BOX)
    assert slider["type"] == "range"
    assert int(slider["max"]) == len(data) - 1 == len(frames) - 1
    for (caption, rows), frame in zip(data, frames, strict=True):
        assert caption == frame.caption
        assert [len(row) for row in rows] == [len(row) for row in frame.rows]
        for drawn, cells in zip(rows, frame.rows, strict=True):
            for (symbol, classes, color), cell in zip(drawn, cells, strict=True):
                assert cell.kind in classes.split()
                assert symbol in ("", cell.symbol)
                assert symbol or color != "#ffffff" or cell.symbol in ". "


def test_symbols_cannot_break_the_page():
    processor = TrmProcessor(["<pad>", "<", "&", '"'], 1, 3)
    grid = [["<", "&", '"']]
    text = processor.render({"puzzle": grid, "grid": grid, "steps": 1, "confidence": 0.5}, "html")
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    assert '"<"' not in script
    assert json.loads(re.search(r"^const frames = (.*);$", text, re.MULTILINE)[1])[0][1][0][0][0] == "<"


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="no format 'jpeg'; there are ansi, text, html, png, gif"):
        SUDOKU.render(RESULT, "jpeg")
