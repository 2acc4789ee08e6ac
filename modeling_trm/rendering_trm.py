# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a puzzle and of the steps towards its answer: for a terminal, as PNG, GIF and HTML.

Every picture is drawn from the same frames: the puzzle, then the answer after each step, cell by cell with what is to
be said about the cell. A grid with boxes (Sudoku) shows symbols, any other shows coloured tiles.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Grid = Sequence[Sequence[str]]
Box = tuple[int, int] | None  # rows and columns of the boxes of a Sudoku

BLANK = "."
OUTSIDE = " "  # what `TrmProcessor.to_grid` writes for padding
ARC_COLORS = ["000000", "1e93ff", "f93c31", "4fcc30", "ffdc00", "999999", "e53aa3", "ff851b", "87d8f1", "921231"]
TILES = {str(digit): color for digit, color in enumerate(ARC_COLORS)} | {
    "#": "39424e",
    " ": "f5f6f8",
    ".": "f5f6f8",
    "S": "2fa866",
    "G": "d64550",
    "o": "f0a92e",
}
PAPER, INK, FAINT, HIGHLIGHT = "ffffff", "20252c", "c6ccd4", "fff0b8"
INKS = {"given": INK, "settled": "2563c9", "changed": "2563c9", "wrong": "d02c35", "right": "1f8a4c"}
ANSI_STYLES = {"given": "1", "settled": "34", "changed": "1;33", "wrong": "1;31", "right": "32", "blank": "2"}


@dataclass(frozen=True)
class Cell:
    """A symbol, what is to be said about it (given, blank, settled, changed, wrong, right), and whether it is new.

    A `tile` is drawn as a colour; a dot tells that it is new. Any other cell has its symbol, on a highlight.
    """

    symbol: str
    kind: str
    changed: bool = False
    tile: bool = False


@dataclass(frozen=True)
class Frame:
    """One picture: a caption and rows of cells."""

    caption: str
    rows: list[list[Cell]]


class RenderingMixin:
    """`render` for a processor that knows the shape of its grids."""

    box_height: int | None
    box_width: int | None

    def render(self, result: dict[str, Any], format: str = "ansi", label: Grid | None = None) -> str | bytes:
        """Draws how a puzzle was solved.

        Args:
            result: of the pipeline `puzzle-solving`, with `return_steps=True` for the steps; `puzzle` and `grid` are
                grids of symbols, `trace` a list of `{"grid", "confidence"}`.
            format: "ansi" or "text" for a terminal, with and without colours; "html", a page of its own with a slider;
                "png", all steps side by side; "gif", one after the other.
            label: the right answer; with it every cell is drawn as right or wrong. Without it wrong means that a digit
                of a Sudoku occurs twice in a row, column or box, or stands in place of a clue.

        Returns:
            Text for "ansi", "text" and "html", the bytes of a file for "png" and "gif".

        Raises:
            ValueError: for another format.
            ImportError: "png" and "gif" need pillow.
        """
        if format not in FORMATS:
            raise ValueError(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
        box = (self.box_height, self.box_width) if self.box_height and self.box_width else None
        return FORMATS[format](make_frames(result, box, label), box)


def make_frames(result: dict[str, Any], box: Box, label: Grid | None = None) -> list[Frame]:
    """The puzzle, then the answer after each step (or only the last answer, if there is no trace)."""
    question = result["puzzle"]
    steps = result.get("trace") or [{"grid": result["grid"], "confidence": result["confidence"]}]
    grids = [question, *(step["grid"] for step in steps)]
    is_tiled = box is None and all(len(symbol) == 1 for grid in grids for row in grid for symbol in row)
    frames = [Frame("The puzzle", mark(question, question, question, box, None, is_tiled))]
    previous = question
    for number, step in enumerate(steps, start=1 if "trace" in result else result["steps"]):
        rows = mark(step["grid"], question, previous, box, label, is_tiled)
        changed = sum(cell.changed for row in rows for cell in row)
        cells = "1 cell" if changed == 1 else f"{changed} cells"
        frames.append(Frame(f"After step {number}: {cells} changed, {step['confidence']:.1%} sure", rows))
        previous = step["grid"]
    return frames


def mark(grid: Grid, question: Grid, previous: Grid, box: Box, label: Grid | None, is_tiled: bool) -> list[list[Cell]]:
    """The cells of a grid with what is to be said about each; the grids may differ in size."""
    clashing = clashes(grid, box) if box else set()

    def cell(row: int, column: int) -> Cell:
        symbol, asked = grid[row][column], at(question, row, column)
        changed, tile = symbol != at(previous, row, column), is_tiled and symbol in TILES
        if label is not None:
            wrong = symbol != at(label, row, column)
        else:
            wrong = (row, column) in clashing or (box is not None and asked not in (symbol, BLANK))
        if wrong:
            kind = "wrong"
        elif symbol == asked:
            kind = "blank" if symbol == BLANK else "given"
        elif label is not None:
            kind = "right"
        else:
            kind = "changed" if changed else "settled"
        return Cell(printable(symbol), kind, changed, tile)

    return [[cell(row, column) for column in range(len(grid[row]))] for row in range(len(grid))]


def printable(text: str) -> str:
    """A text with its control characters spelled out, which a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def at(grid: Grid, row: int, column: int) -> str:
    """The symbol of a cell, also outside the grid."""
    return grid[row][column] if row < len(grid) and column < len(grid[row]) else OUTSIDE


def changed_cells(grid: Grid, previous: Grid) -> list[list[int]]:
    """The [row, column] of each cell of `grid` that `previous`, maybe of another size, has not or has otherwise."""
    return [
        [row, column]
        for row, symbols in enumerate(grid)
        for column, symbol in enumerate(symbols)
        if symbol != at(previous, row, column)
    ]


def clashes(grid: Grid, box: tuple[int, int]) -> set[tuple[int, int]]:
    """The cells of a Sudoku whose digit occurs again in the same row, column or box."""
    seen: dict[tuple, list[tuple[int, int]]] = {}
    for row, symbols in enumerate(grid):
        for column, symbol in enumerate(symbols):
            if symbol not in (BLANK, OUTSIDE):
                for unit in (("row", row), ("column", column), ("box", row // box[0], column // box[1])):
                    seen.setdefault((*unit, symbol), []).append((row, column))
    return {cell for cells in seen.values() if len(cells) > 1 for cell in cells}


def background(cell: Cell) -> str:
    """Colour behind a cell, hexadecimal."""
    if cell.tile:
        return TILES[cell.symbol]
    return HIGHLIGHT if cell.changed else PAPER


def is_written(cell: Cell) -> bool:
    return not cell.tile and (cell.symbol not in (BLANK, OUTSIDE) or cell.kind == "wrong")


# Text


def draw_ansi(frames: list[Frame], box: Box) -> str:
    """All frames with colours: styled digits in a Sudoku, tiles of two columns in other grids, dotted where new."""

    def styled(cell: Cell, width: int) -> str:
        if not cell.tile:
            return f"\033[{ANSI_STYLES[cell.kind]}m{cell.symbol:>{width}}\033[0m"
        fill = background(cell)
        red, green, blue = (int(fill[start : start + 2], 16) for start in (0, 2, 4))
        ink = 30 if red + green + blue > 380 else 97
        return f"\033[{ink};48;2;{red};{green};{blue}m{'··' if cell.changed else '  '}\033[0m"

    return "\n\n".join(f"{frame.caption}\n\n{lay_out(frame, box, styled)}" for frame in frames)


def draw_text(frames: list[Frame], box: Box) -> str:
    """All frames without colours."""

    def plain(cell: Cell, width: int) -> str:
        return f"{cell.symbol:>{width}}"

    return "\n\n".join(f"{frame.caption}\n\n{lay_out(frame, box, plain)}" for frame in frames)


def lay_out(frame: Frame, box: Box, styled: Callable[[Cell, int], str]) -> str:
    """The lines of a grid, in columns as wide as the longest symbol; with `box` there are lines between the boxes."""
    lines, wide = [], max((len(cell.symbol) for row in frame.rows for cell in row), default=1)
    for number, row in enumerate(frame.rows):
        cells = [styled(cell, wide) for cell in row]
        if box is None:
            lines.append(("" if wide == 1 else " ").join(cells))
            continue
        height, width = box
        if number and number % height == 0:
            lines.append("+".join("-" * ((wide + 1) * width + 1) for _ in range(len(row) // width)))
        boxes = (" ".join(cells[start : start + width]) for start in range(0, len(cells), width))
        lines.append(" " + " | ".join(boxes) + " ")
    return "\n".join(lines)


# Pictures


def draw_frame(frame: Frame, box: Box) -> Any:
    """One frame as a pillow image."""
    Image, ImageDraw, ImageFont = pillow()
    rows, columns = len(frame.rows), max(map(len, frame.rows), default=0)
    size = 36 if box else max(6, min(32, 480 // max(rows, columns, 1)))  # pixels per cell
    margin, head = 16, 40
    width, height = max(columns * size, 300) + 2 * margin, rows * size + head + margin
    image = Image.new("RGB", (width, height), f"#{PAPER}")
    draw = ImageDraw.Draw(image)
    draw.text((margin, 12), frame.caption, f"#{INK}", ImageFont.load_default(15))
    font = ImageFont.load_default(size * 0.6)
    left = (width - columns * size) // 2

    for row, cells in enumerate(frame.rows):
        for column, cell in enumerate(cells):
            x, y = left + column * size, head + row * size
            outline = f"#{FAINT}" if size >= 12 else None
            draw.rectangle((x, y, x + size, y + size), f"#{background(cell)}", outline)
            if cell.kind == "wrong" and not box:
                draw.rectangle((x + 1, y + 1, x + size - 1, y + size - 1), None, f"#{INKS['wrong']}", 2)
            if cell.changed and cell.tile:
                start, end = 0.38 * size, 0.62 * size
                draw.ellipse((x + start, y + start, x + end, y + end), f"#{PAPER}", f"#{INK}")
            if is_written(cell):
                ink = f"#{INKS.get(cell.kind, INK)}"
                draw.text((x + size / 2, y + size / 2), cell.symbol, ink, font, anchor="mm")
    if box:
        for row in range(0, rows + 1, box[0]):
            draw.line((left, head + row * size, left + columns * size, head + row * size), f"#{INK}", 2)
        for column in range(0, columns + 1, box[1]):
            draw.line((left + column * size, head, left + column * size, head + rows * size), f"#{INK}", 2)
    return image


def draw_png(frames: list[Frame], box: Box) -> bytes:
    """All frames on one sheet, at most four in a row."""
    Image, _, _ = pillow()
    images = [draw_frame(frame, box) for frame in frames]
    across = min(4, len(images))
    width, height = max(image.width for image in images), max(image.height for image in images)
    sheet = Image.new("RGB", (across * width, -(-len(images) // across) * height), f"#{PAPER}")
    for number, image in enumerate(images):
        sheet.paste(image, (number % across * width, number // across * height))
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    return data.getvalue()


def draw_gif(frames: list[Frame], box: Box) -> bytes:
    """An animation without end, a second for the puzzle, less for a step, and a rest on the answer."""
    Image, _, _ = pillow()
    drawn = [draw_frame(frame, box) for frame in frames]
    size = max(image.width for image in drawn), max(image.height for image in drawn)
    images = [Image.new("RGB", size, f"#{PAPER}") for _ in drawn]
    for image, picture in zip(images, drawn, strict=True):
        image.paste(picture, (0, 0))
    durations = [1000, *[700] * (len(images) - 2), 2500][: len(images)]  # milliseconds
    data = io.BytesIO()
    images[0].save(data, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return data.getvalue()


def pillow() -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ImportError("pictures need pillow: pip install pillow") from None
    return Image, ImageDraw, ImageFont


# A page

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>TRM solves a puzzle</title>
<style>
body {{ font: 16px system-ui, sans-serif; color: #{ink}; background: #{paper}; }}
body {{ margin: 2rem auto; width: max-content; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
td {{ width: {size}px; height: {size}px; padding: 0; text-align: center; font-size: {font}px;
  border: {line}px solid #{faint}; }}
td.top {{ border-top: 2px solid #{ink}; }} td.left {{ border-left: 2px solid #{ink}; }}
table.boxes {{ border: 2px solid #{ink}; }}
td.given {{ font-weight: bold; }} {inks}
table:not(.boxes) td.wrong {{ box-shadow: inset 0 0 0 2px currentColor; }}
td.new::after {{ content: "•"; color: #{paper}; text-shadow: 0 0 2px #{ink}, 0 0 2px #{ink}; }}
input {{ width: 16rem; vertical-align: middle; }}
</style>
<div id="caption"></div><table id="grid"{boxes}></table>
<button id="play">play</button> <input id="step" type="range" min="0" max="{last}" value="0" aria-label="step">
<script>
const frames = {frames};
const step = document.getElementById("step"), play = document.getElementById("play");
function show() {{
  const [caption, rows] = frames[step.value];
  document.getElementById("caption").textContent = caption;
  document.getElementById("grid").replaceChildren(...rows.map(cells => {{
    const row = document.createElement("tr");
    row.append(...cells.map(([symbol, classes, color]) => {{
      const cell = document.createElement("td");
      cell.textContent = symbol; cell.className = classes; cell.style.background = color;
      return cell;
    }}));
    return row;
  }}));
}}
let timer = null;
function stop() {{ clearInterval(timer); timer = null; play.textContent = "play"; }}
play.onclick = () => {{
  if (timer) return stop();
  if (step.value === step.max) step.value = 0;
  play.textContent = "stop"; show();
  timer = setInterval(() => {{ step.value++; show(); if (step.value === step.max) stop(); }}, 700);
}};
step.oninput = () => {{ stop(); show(); }};
show();
</script></html>
"""


def draw_html(frames: list[Frame], box: Box) -> str:
    """A page that needs nothing else: the frames, a slider and a button that plays them."""

    def drawn(cell: Cell, row: int, column: int) -> tuple[str, str, str]:
        lines = ["top" if box and row % box[0] == 0 else None, "left" if box and column % box[1] == 0 else None]
        new = "new" if cell.changed and cell.tile else None
        classes = " ".join(filter(None, [cell.kind, new, *lines]))
        return cell.symbol if is_written(cell) else "", classes, f"#{background(cell)}"

    def grid(frame: Frame) -> list[list[tuple[str, str, str]]]:
        return [
            [drawn(cell, row, column) for column, cell in enumerate(cells)] for row, cells in enumerate(frame.rows)
        ]

    data = [(frame.caption, grid(frame)) for frame in frames]
    longest = max(max(1, len(frame.rows), *map(len, frame.rows)) for frame in frames)
    size = 36 if box else max(8, min(36, 600 // longest))
    return PAGE.format(
        frames=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
        inks=" ".join(f"td.{kind} {{ color: #{ink}; }}" for kind, ink in INKS.items()),
        boxes=' class="boxes"' if box else "",
        size=size,
        font=round(0.6 * size),
        line=1 if size >= 12 else 0,
        last=len(frames) - 1,
        ink=INK,
        paper=PAPER,
        faint=FAINT,
    )


FORMATS: dict[str, Callable[[list[Frame], Box], str | bytes]] = {
    "ansi": draw_ansi,
    "text": draw_text,
    "html": draw_html,
    "png": draw_png,
    "gif": draw_gif,
}

__all__ = ["RenderingMixin"]
