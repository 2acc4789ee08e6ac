# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Reading puzzles in the forms people have them in; each form is a function here.

`split` finds the puzzles in what was given, `read_grid` the rows of symbols of one puzzle. A form that does not apply
gives None, and the next one is tried; what fits none is an error. A grid that is written with a shape is never taken
for one of another shape, even if that has as many cells.
"""

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Grid = list[list[str]]

BLANK = "."  # of a Sudoku
BLANKS = ".0*_-?"  # other spellings of it; x and X too, where they are no digits
QUESTIONS = ("input", "question", "puzzle", "quizzes", "quiz", "board", "value", "unsolved", "sudoku", "grid")
LINES_OF_BOXES = str.maketrans("│┃║━═╔╗╚╝╠╣╦╩╬┌┐└┘├┤┬┴┼╋╪╫╟╢╤╧─", "|||" + "=" * 11 + "+" * 16 + "-")
MAZE_SPELLINGS = {"#": "#█▓■W*X1", " ": " .·_0", "S": "SsA", "G": "GgEeBFf", "o": "oxX*"}
MAX_SHOWN = 40  # characters of what was given in a message


@dataclass(frozen=True)
class Form:
    """What the puzzles of a model look like.

    Attributes:
        symbols: those of the vocabulary that a cell of a puzzle can hold.
        aliases: other spellings of them, with the symbol of each.
        height, width: of the canvas, in cells.
        is_sudoku, is_maze: what is known of the puzzles; other spellings and drawings are read then.
        may_be_smaller: whether a grid may be smaller than the canvas.
    """

    symbols: tuple[str, ...]
    height: int
    width: int
    aliases: tuple[tuple[str, str], ...] = ()
    is_sudoku: bool = False
    is_maze: bool = False
    may_be_smaller: bool = False

    @property
    def cells(self) -> int:
        return self.height * self.width

    @cached_property
    def spellings(self) -> dict[str, str]:
        """The symbol of every spelling."""
        found = {symbol: symbol for symbol in self.symbols} | dict(self.aliases)
        if self.is_sudoku:
            blanks = dict.fromkeys(BLANKS + ("xX" if len(self.symbols) <= 10 else ""), BLANK)
            found = blanks | found | dict.fromkeys(("", "None", "nan", "NaN", "null"), BLANK)
            found |= {chr(letter): chr(letter) for letter in self._letters if chr(letter) not in found}
        elif self.is_maze:
            found |= {spelling: spelling for spellings in MAZE_SPELLINGS.values() for spelling in spellings}
        elif {"0", "1"} <= found.keys() and not {"True", "False"} & found.keys():
            found |= {"True": "1", "False": "0"}
        return found

    @property
    def _letters(self) -> Iterable[int]:
        """The letters that stand for digits in a Sudoku of more than nine."""
        size = len(self.symbols) - 1
        letters = size if size > 9 else 0
        return (*range(ord("A"), ord("A") + min(letters, 26)), *range(ord("a"), ord("a") + min(letters, 26)))

    @cached_property
    def separator(self) -> str:
        """What stands between the symbols of a text: nothing, if each is one character."""
        if all(len(symbol) == 1 for symbol in self.symbols):
            return ""
        return "\t" if any(" " in symbol for symbol in self.symbols) else " "

    def fits(self, rows: Grid) -> bool:
        """Whether rows are a grid of this model's."""
        height, width = len(rows), len(rows[0]) if rows else 0
        if any(len(row) != width for row in rows):
            return False
        smaller = self.may_be_smaller and 0 < height <= self.height and 0 < width <= self.width
        return smaller or (height, width) == (self.height, self.width)

    def knows(self, rows: Grid) -> bool:
        return all(symbol in self.spellings for row in rows for symbol in row)


# Files


def decode_text(data: bytes, name: str) -> str:
    """Text in UTF-8, or in UTF-16 with its mark, as Windows writes it; with line breaks of one kind.

    Raises:
        ValueError: it is no text; one line that begins with `name`.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError(f"{name} holds no text, so no puzzle; a text must be in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{name} holds no text, so no puzzle; UTF-16 must begin with its mark")
    return text.replace("\r\n", "\n").replace("\r", "\n")


# From what was given to single puzzles


def split(given: Any, form: Form) -> list[Any]:
    """The single puzzles in what the user gave, one puzzle or several: each a text or a nested list.

    Raises:
        ValueError: there is something that looks like a puzzle and is broken; in one line.
    """
    if isinstance(given, str):
        return split_text(given.removeprefix("\ufeff"), form)
    given = as_lists(given)
    if isinstance(given, Mapping):
        return [puzzle for found in questions(given) for puzzle in split(found, form)]
    if not isinstance(given, list):
        return [given]
    if given and all(isinstance(item, Mapping) for item in given):
        return [puzzle for item in given for puzzle in split(item, form)]
    first = given[0] if given else None
    if isinstance(first, str):
        is_flat = form.cells > 1 and are_symbols(given, form)
        return [given] if is_flat or are_rows(given, form) else given
    is_batch = depth(first) == 2 or (depth(first) == 1 and (len(first) == form.cells or are_rows(first, form)))
    return given if is_batch or not given else [given]


def split_text(text: str, form: Form) -> list[Any]:
    is_section = form.is_sudoku and re.match(r"\s*\[[A-Za-z ]+\]\s*\n", text)
    if not is_section and text.lstrip()[:1] in {"{", "["} - set("".join(form.symbols)):
        return split(parse_json(text), form)
    for read in (opensudoku, lines_of_puzzles, blocks):
        if (puzzles := read(text, form)) is not None:
            return puzzles
    return [text]


def as_lists(value: Any) -> Any:
    """Arrays, tensors, columns, generators and whatever else can be iterated, also inside one another, as lists.

    A row of a data set stands for its question; other dictionaries stay.
    """
    if hasattr(value, "tolist"):
        return as_lists(value.tolist()) if str(getattr(value, "dtype", "")) == "object" else value.tolist()
    if hasattr(value, "iterrows"):  # a table of pandas
        return as_lists(value.to_dict("records"))
    if isinstance(value, Mapping):
        question = next((name for name in ("input", "question") if name in value), None)
        return value if question is None else as_lists(value[question])
    if isinstance(value, (str, bytes)):
        return value
    try:
        return [as_lists(item) for item in value]
    except TypeError:  # a single number, or nothing of ours
        return value


def questions(found: Mapping[str, Any]) -> list[Any]:
    """The puzzles in a dictionary: the tests of an ARC task or of several by name, or what an interface answers.

    Raises:
        ValueError: there are none; one line with the names that are known.
    """
    tests = found.get("test")
    if isinstance(tests, (list, tuple)) and tests and all(isinstance(pair, Mapping) for pair in tests):
        if all("input" in pair for pair in tests):
            return [as_lists(pair["input"]) for pair in tests]
    elif (name := next((name for name in QUESTIONS if name in found), None)) is not None:
        inner = as_lists(found[name])
        return questions(inner) if isinstance(inner, Mapping) else [inner]
    else:
        inside = [item for value in found.values() for item in (value if isinstance(value, list) else [value])]
        if mappings := [item for item in inside if isinstance(item, Mapping) and item]:
            return [question for item in mappings for question in questions(item)]
    raise ValueError(
        'a puzzle in JSON must be a grid, an ARC task {"test": [{"input": grid}, ...]}, or have one of the names '
        f"{', '.join(QUESTIONS)}"
    )


def parse_json(text: str) -> Any:
    """JSON that is meant to be a puzzle, or several, one per line; also Python's and NumPy's way of writing lists.

    Raises:
        ValueError: it is broken; in one line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        fault = f"the puzzle begins like JSON, but is not: {error}"
    except RecursionError:
        raise ValueError("the puzzle is JSON that is nested too deep") from None
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (json.JSONDecodeError, RecursionError):
        pass
    if re.fullmatch(r"[\[\]\s\w.+-]*", text):  # NumPy writes no commas
        text = re.sub(r"(?<=[^\s\[])\s+(?=[^\s\]])", ", ", text)
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(fault) from None


# Texts of several puzzles


def opensudoku(text: str, form: Form) -> list[Any] | None:
    """OpenSudoku's XML: `<game data="..." />`."""
    if not text.lstrip().startswith("<"):
        return None
    if not (found := re.findall(r"<game\b[^<>]*?\bdata=[\"']([^\"']*)[\"']", text)):
        raise ValueError('this is XML or HTML without a puzzle: <game data="..."> is read')
    return found


def lines_of_puzzles(text: str, form: Form) -> list[Any] | None:
    """A puzzle per line, alone or beside ids, ratings, comments and its solution.

    Sudoku: any field of as many characters as the grid has cells. The first lines may be headings.
    """
    lines = [line for line in text.splitlines() if line.strip() and not is_comment(line, form)]
    found = [puzzle_in_line(line, form) for line in lines]
    first = next((number for number, puzzle in enumerate(found) if puzzle is not None), None)
    if first is None or (len(lines) == 1 and found[0] == lines[0]):
        return None
    start = first if all(is_heading(line, form) for line in lines[:first]) else 0
    return [line if puzzle is None else puzzle for line, puzzle in zip(lines[start:], found[start:], strict=True)]


def is_heading(line: str, form: Form) -> bool:
    """Whether a line above the first puzzle has words, and nothing that could be a puzzle with a mistake in it."""
    words = re.split(r"[\s,;:|\"]+", line)
    return form.is_sudoku and any(map(str.isalpha, line)) and max(map(len, words)) <= form.cells // 2


def is_comment(line: str, form: Form) -> bool:
    return form.is_sudoku and line.lstrip().startswith(("#", ";", "//", "%"))


def puzzle_in_line(line: str, form: Form) -> str | None:
    """The whole puzzle that stands in a line."""
    if len(symbols_of(line, form)) == form.cells and (not form.is_sudoku or known_run(line, form)):
        return line
    if not form.is_sudoku:
        return None
    line = re.sub(r"\+(?=\d)", "", line)  # HoDoKu's mark of cells that were filled in
    found = [part for part in re.split(r"[\s,;:|\"'()\[\]]+", line) if known_run(part, form)]
    unsolved = [part for part in found if any(form.spellings[cell] == BLANK for cell in part)]
    if len(set(unsolved)) > 1:
        raise ValueError(f"there are {len(unsolved)} puzzles in one line: {line[:MAX_SHOWN]!r}")
    return next(iter(unsolved or found), None)


def known_run(text: str, form: Form) -> bool:
    text = "".join(text.split())
    return len(text) == form.cells and all(character in form.spellings for character in text)


def blocks(text: str, form: Form) -> list[Any] | None:
    """Grids one below the other, with titles or empty lines between them."""
    if form.is_sudoku:
        text = re.split(r"(?m)^\[State\]", text)[0]  # SudoCue: the same puzzle, filled in as far as it was solved
        kept = [line for line in text.splitlines() if not is_comment(line, form) and not is_title(line, form)]
        for rows in without_borders("\n".join(kept)):
            grids = ["\n".join(rows[start : start + form.height]) for start in range(0, len(rows), form.height)]
            if len(grids) > 1 and len(rows) % form.height == 0 and all(read_rows(grid, form) for grid in grids):
                return grids
        return ["\n".join(kept)] if "".join(kept).strip() else None
    if form.may_be_smaller:
        return None
    parts: list[str] = re.split(r"\n\n+", text.strip("\n"))
    is_several = len(parts) > 1 and all(len(part.split("\n")) == form.height for part in parts)
    return parts if is_several else None


def is_title(line: str, form: Form) -> bool:
    """Whether a line has a letter that stands for no cell, such as `Grid 01` or `[Puzzle]`."""
    return any(character.isalpha() and character not in form.spellings for character in line)


# From one puzzle to rows of symbols


def read_grid(puzzle: Any, form: Form, name: str) -> Grid:
    """The rows of symbols of one puzzle, of the size of the canvas, or smaller where that is allowed.

    Raises:
        ValueError: it is no grid of this model's, or has an unknown symbol; one line that begins with `name`.
    """
    if isinstance(puzzle, str):
        rows = read_rows(puzzle, form) or written_rows(puzzle, form)
    elif isinstance(puzzle, list):
        rows = listed_rows(puzzle, form, name)
    else:
        raise ValueError(f"{name} must be a string, a list or an array, not {type(puzzle).__name__}")
    if not form.fits(rows):
        raise ValueError(f"{name} has {misfit(rows, form)}{first_line(puzzle)}")
    if form.is_maze:
        rows = maze_symbols(rows, form, name)
    elif form.is_sudoku and form.separator:
        rows = digits_of_letters(rows, form, name)
    for number, row in enumerate(rows, 1):
        for column, symbol in enumerate(row, 1):
            if symbol not in form.spellings:
                raise ValueError(
                    f"{name} has {symbol!r} in row {number}, column {column}; the known symbols are "
                    + " ".join(known if known.strip() else repr(known) for known in form.symbols)
                )
    return [[form.spellings[symbol] for symbol in row] for row in rows]


def misfit(rows: Grid, form: Form) -> str:
    """What is wrong with the size of a grid."""
    if len(widths := sorted({len(row) for row in rows})) > 1:
        return f"rows of {widths} cells: give all as many"
    shape = f" ({len(rows)} rows of {widths[0]})" if len(rows) > 1 else ""
    size = f"{form.height}x{form.width} grids ({form.cells} cells)"
    return f"{sum(map(len, rows))} cells{shape}, but this model solves {size}"


def first_line(puzzle: Any) -> str:
    """The first line of a text of several, for a message."""
    if not isinstance(puzzle, str) or len(lines := puzzle.strip("\n").split("\n")) == 1:
        return ""
    return f"; its first line is {lines[0][:MAX_SHOWN]!r}"


def listed_rows(puzzle: list[Any], form: Form, name: str) -> Grid:
    """The rows of a nested list, of a list of strings, or of a flat list."""
    if depth(puzzle) == 2 and all(isinstance(row, list) for row in puzzle):
        rows = [[spell(symbol, form) for symbol in row] for row in puzzle]
        if any(len(row) != len(rows[0]) for row in rows):
            raise ValueError(f"{name} has {misfit(rows, form)}")
        return rows
    if depth(puzzle) > 1:
        raise ValueError(f"{name} is nested {depth(puzzle)} deep: a grid is a list of rows")
    if puzzle and are_rows(puzzle, form):
        return [symbols_of(row, form) for row in puzzle]
    cells = [spell(symbol, form) for symbol in puzzle]
    is_column = form.may_be_smaller and form.height > 1 and len(cells) != form.cells
    if is_column and all(isinstance(symbol, str) and len(symbol) == 1 for symbol in puzzle):
        return [[cell] for cell in cells]  # a list of strings is one of rows, as in a data file; of numbers, one row
    return whole_lines([cells], form)


def spell(symbol: Any, form: Form) -> str:
    """A cell of a list as text; 5.0 is 5."""
    if isinstance(symbol, float) and symbol.is_integer():
        symbol = int(symbol)
    return str(symbol)


def symbols_of(line: str, form: Form) -> list[str]:
    """The symbols of a line of text. Blanks are layout, unless a blank is a symbol."""
    if not form.separator:
        return list(line if " " in form.spellings else "".join(line.split()))
    symbols: list[str] = []
    for word in filter(None, line.split(form.separator.strip(" ") or None)):
        # those of one character need no separator
        is_several = word not in form.spellings and all(character in form.spellings for character in word)
        symbols += word if is_several else [word]
    return symbols


def whole_lines(rows: Grid, form: Form) -> Grid:
    """A single row of a whole grid's cells as its rows."""
    if len(rows) == 1 and len(rows[0]) == form.cells:
        return [rows[0][start : start + form.width] for start in range(0, form.cells, form.width)]
    return rows


def written_rows(text: str, form: Form) -> Grid:
    """Rows of symbols as they stand in the lines of a text."""
    if " " in form.spellings and not form.separator:
        return whole_lines([list(line) for line in text.strip("\n").split("\n")], form)
    return whole_lines([row for line in text.splitlines() if (row := symbols_of(line, form))], form)


def read_rows(text: str, form: Form) -> Grid | None:
    """The rows of a text in the first form that gives a grid of known symbols; None if there is none."""
    for read in FORMS_OF_TEXT:
        rows = read(text, form)
        if rows and form.fits(rows) and form.knows(rows):
            return rows
    return None


def padded_rows(text: str, form: Form) -> Grid | None:
    """Rows whose last cells are blanks that an editor has cut off."""
    if " " not in form.spellings or form.separator:
        return None
    lines = text.removesuffix("\n").split("\n")
    is_whole = len(lines) == form.height and max(map(len, lines)) == form.width
    return [list(line.ljust(form.width)) for line in lines] if is_whole else None


def padded_line(text: str, form: Form) -> Grid | None:
    """A smaller grid in one line, with blanks for the padding of the canvas, as `decode` writes it."""
    if not form.may_be_smaller or form.separator or " " in form.spellings or len(text) != form.cells:
        return None
    rows = [text[start : start + form.width].rstrip(" ") for start in range(0, form.cells, form.width)]
    while rows and not rows[-1]:
        rows.pop()
    return [list(row) for row in rows]


def separated_rows(text: str, form: Form) -> Grid | None:
    """Rows of cells with commas, semicolons or tabs between them; in a Sudoku an empty cell is a blank."""
    for separator in ",;\t":
        lines = [line.strip(" ") for line in text.strip("\n").split("\n")]
        if separator not in form.spellings and all(separator in line for line in lines):
            return [[cell.strip().strip("\"'") for cell in line.split(separator)] for line in lines]
    return None


def drawn_sudoku(text: str, form: Form) -> Grid | None:
    """A Sudoku with lines between its boxes, also of box-drawing characters, or a frame round every cell."""
    if not form.is_sudoku:
        return None
    for lines in without_borders(text):
        for rows in (
            [symbols_of(line.replace("|", " "), form) for line in lines],
            [cells_between_bars(line, form) for line in lines],
        ):
            if form.fits(rows) and form.knows(rows):
                return rows
    return None


def without_borders(text: str) -> list[list[str]]:
    """The lines of a drawn Sudoku: all, then those that are no border, which may be one of dashes or have crosses."""
    lines = [line.strip() for line in text.translate(LINES_OF_BOXES).splitlines() if line.strip()]
    borders = [line for line in lines if set(line) <= set("|+-*.:=' \t")]
    crosses = {line for line in borders if "+" in line}
    dashes = {line for line in borders if set("-=") & set(line)}
    return [lines, [line for line in lines if line not in crosses], [line for line in lines if line not in dashes]]


def cells_between_bars(line: str, form: Form) -> list[str]:
    """The cells of a line such as `| 5 | 3 |   |` or `|5 3  |  7  |`, in which a blank may be a blank space."""
    parts = re.sub(r"\|+", "|", line).strip("|").split("|")
    width, rest = divmod(form.width, len(parts))
    if rest or width == form.width:
        return []
    if width == 1:
        return [part.strip() for part in parts]
    cells: list[str] = []
    for part in parts:
        step = 1 if len(part) == width else 2
        first = int(step == 2 and len(part) >= 2 * width and not part[::2].strip())
        cells += [cell.strip() for cell in part[first::step][:width]]
        if part[:first].strip() or (step == 2 and part[1 - first :: 2].strip()):
            return []
    return cells


def pencil_marks(text: str, form: Form) -> Grid | None:
    """A Sudoku with all candidates in every cell: several are a blank."""
    if not form.is_sudoku or form.separator:
        return None
    rows = [row for line in without_borders(text)[-1] if (row := line.replace("|", " ").split())]
    is_mark = re.compile("1?2?3?4?5?6?7?8?9?")
    return [[BLANK if len(cell) > 1 and is_mark.fullmatch(cell) else cell for cell in row] for row in rows]


def sudoku_of_spaces(text: str, form: Form) -> Grid | None:
    """Lines of digits in which a blank is a blank space; an editor may have cut off the last ones."""
    if not form.is_sudoku or form.separator:
        return None
    lines = text.removesuffix("\n").split("\n")
    is_separated = not any(line[1::2].strip() for line in lines)  # digits with a blank between
    if len(lines) != form.height or is_separated or not re.fullmatch(r"[1-9 \n]+", text):
        return None
    if " " not in text or max(len(line.rstrip()) for line in lines) != form.width:
        return None
    return [[cell.strip() for cell in line[: form.width].ljust(form.width)] for line in lines]


FORMS_OF_TEXT: tuple[Callable[[str, Form], Grid | None], ...] = (
    padded_line,
    written_rows,
    padded_rows,
    separated_rows,
    drawn_sudoku,
    sudoku_of_spaces,
    pencil_marks,
)


def maze_symbols(rows: Grid, form: Form, name: str) -> Grid:
    """A maze in the model's symbols, whichever it was drawn in.

    Raises:
        ValueError: walls, free cells or ends of two kinds, of which one must mean something else.
    """
    used = {cell for row in rows for cell in row}
    meaning: dict[str, str] = {}
    for symbol, spellings in MAZE_SPELLINGS.items():
        here = [cell for cell in spellings if cell in used and cell not in meaning]
        if symbol == "#":  # * and X are walls only where nothing else is
            here = here[:1] + [cell for cell in here[1:] if cell not in "*X"]
        if len(here) > 1:
            kinds = " and ".join(map(repr, here))
            raise ValueError(f"{name} has {kinds}, which both could be what this model writes as {symbol!r}")
        meaning |= dict.fromkeys(here, symbol)
    return [[meaning.get(cell, cell) for cell in row] for row in rows]


def digits_of_letters(rows: Grid, form: Form, name: str) -> Grid:
    """A Sudoku of more than nine digits in which letters stand for some: 1-9 and A, B, ..., or only letters.

    Raises:
        ValueError: 0 could be a digit or a blank.
    """
    used = {cell.upper() for row in rows for cell in row}
    letters = {cell for cell in used if len(cell) == 1 and cell.isalpha()}
    if not letters:
        return rows
    if "0" in used and used & set(BLANKS) - {"0"}:
        raise ValueError(f"{name} has 0 and another blank: write the digits as 1 to 9, A, B, ...")
    first = 1 if not used & set("123456789") else 10
    digits = {letter: str(ord(letter) - ord("A") + first) for letter in letters}
    return [[digits.get(cell.upper(), cell) for cell in row] for row in rows]


# Lists


def are_symbols(strings: list[Any], form: Form) -> bool:
    """Whether each is a symbol, or a character that should be one: a flat grid."""
    return all(isinstance(string, str) and (len(string) == 1 or string in form.spellings) for string in strings)


def are_rows(strings: list[Any], form: Form) -> bool:
    """Whether the strings are the rows of one grid, and not a puzzle each."""
    if not all(isinstance(string, str) for string in strings) or are_symbols(strings, form):
        return False
    if any(len(string.splitlines()) > 1 for string in strings):
        return False
    rows = [symbols_of(string, form) for string in strings]
    return len(rows[0]) != form.cells and form.fits(rows)


def depth(value: Any) -> int:
    """0 for a symbol, 1 for a list of symbols, 2 for a list of those, ..."""
    return 1 + depth(value[0] if value else "") if isinstance(value, list) else 0


# What is wrong with a puzzle before anything is solved


def sudoku_fault(rows: Grid, box_height: int, box_width: int) -> str | None:
    """The first digit that is twice in a row, column or box; None if none is."""
    units: dict[str, list[str]] = {}
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            box = row // box_height * (len(cells) // box_width) + column // box_width
            for kind, number in (("row", row), ("column", column), ("box", box)):
                units.setdefault(f"{kind} {number + 1}", []).append(cell)
    for kind in ("row", "column", "box"):
        for unit in sorted((unit for unit in units if unit.startswith(kind)), key=lambda unit: int(unit.split()[1])):
            twice = [digit for digit, count in Counter(units[unit]).items() if count > 1 and digit != BLANK]
            if twice:
                return f"has the digit {twice[0]} twice in {unit}"
    return None


def maze_fault(rows: Grid) -> str | None:
    """What keeps a maze of `# SGo` from being one: a path in it, an end that is missing, or no way between them."""
    cells = [cell for row in rows for cell in row]
    if "o" in cells:
        return "has a path 'o' already"
    for end in "SG":
        if cells.count(end) != 1:
            return f"has {cells.count(end)} cells {end!r} instead of one"
    width, start = len(rows[0]), cells.index("S")
    reached, waiting = {start}, [start]
    while waiting:
        cell = waiting.pop()
        row, column = divmod(cell, width)
        for near_row, near_column in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            near = near_row * width + near_column
            if 0 <= near_row < len(rows) and 0 <= near_column < width and near not in reached and cells[near] != "#":
                reached.add(near)
                waiting.append(near)
    return None if cells.index("G") in reached else "has no path that joins S and G"


def largest_rectangle(rows: Grid, ends: set[str]) -> Grid:
    """The largest rectangle in the upper left corner of a canvas without any of the symbols `ends`; maybe empty."""
    best, width = (0, 0), len(rows[0])
    for height, row in enumerate(rows, 1):
        width = next((cell for cell in range(width) if row[cell] in ends), width)
        best = max(best, (height, width), key=math.prod)
    return [row[: best[1]] for row in rows[: best[0]]]


__all__ = ["Form", "as_lists", "decode_text", "largest_rectangle", "maze_fault", "read_grid", "split", "sudoku_fault"]
