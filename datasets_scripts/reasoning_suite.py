# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Puzzles of reasoning-gym, https://github.com/open-thought/reasoning-gym, as files of the task `grid`.

    python -m datasets_scripts.reasoning_suite --list
    python -m datasets_scripts.reasoning_suite --generator mini_sudoku --output_dir data/mini_sudoku
    python train.py --config recipes/grid.yaml --data_dir data/mini_sudoku --output_dir runs/mini_sudoku
    python -m datasets_scripts.reasoning_suite --score runs/mini_sudoku --output_dir data/mini_sudoku

Its questions are text. What all questions of a generator share is taken away at both ends; what is left, and the
answer, are rows of characters. A generator fits if those are small, of few characters, and if the text can be written
again from the rows without loss: a function finds out, there is no list. Answers are scored by the generator itself.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeling_trm.loading import load_model, load_processor
from modeling_trm.pipeline_trm import PuzzleSolvingPipeline

SAMPLES = 64  # questions that are looked at
MAX_SIDE, MAX_CHARACTERS = 30, 48
FILL = "␣"  # beyond the end of an answer that is smaller than others
RECORD = "suite.json"
Rows = list[str]


class DoesNotFit(ValueError):
    """Why a generator is no puzzle of grids."""


@dataclass(frozen=True)
class Layout:
    """How the text of a generator becomes rows.

    Attributes:
        prefix, suffix: characters that every question begins and ends with.
        infix: characters with which the first line of what is left ends in all questions of several lines.
        question_style, answer_style: `spaced` characters, `plain` lines, or `json`, a list of lists.
        height, width: the largest answer.
    """

    prefix: int
    suffix: int
    infix: int
    question_style: str
    answer_style: str
    height: int
    width: int

    def question(self, text: str) -> Rows:
        return read(middle_of(text, self.prefix, self.suffix, self.infix), self.question_style)

    def answer(self, text: str) -> Rows:
        """The rows, filled up so that the answer's size is a part of it."""
        rows = [row.ljust(self.width, FILL) for row in read(text.strip("\n"), self.answer_style)]
        return rows + [FILL * self.width] * (self.height - len(rows))

    def text(self, rows: Rows) -> str:
        """The text of an answer, the inverse of `answer`."""
        return write([row.rstrip(FILL) for row in rows if row.rstrip(FILL)], self.answer_style)


def read(text: str, style: str) -> Rows:
    """Text as rows of characters.

    Raises:
        ValueError: it is not written in this style.
    """
    if style == "json":
        table = json.loads(text)
        if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
            raise ValueError("no list of lists")
        rows = ["".join(str(cell) for cell in row) for row in table]
        if any(len(row) != len(cells) for row, cells in zip(rows, table, strict=True)):
            raise ValueError("cells of several characters")
        return rows
    lines = [line.rstrip() for line in text.split("\n")]
    if style == "spaced" and any(set(line[1::2]) - {" "} for line in lines):
        raise ValueError("not spaced")
    return [line[::2] for line in lines] if style == "spaced" else lines


def write(rows: Rows, style: str) -> str:
    if style == "json":
        return "[" + ",".join("[" + ",".join(row) + "]" for row in rows) + "]"
    return "\n".join(" ".join(row) if style == "spaced" else row for row in rows)


def style_of(texts: list[str], what: str) -> str:
    """The first style from which all texts can be written again, spaces at the ends of lines and in JSON apart."""
    for style in ("json", "spaced", "plain"):
        try:
            if all(bare(write(read(text, style), style), style) == bare(text, style) for text in texts):
                return style
        except ValueError:
            continue
    raise DoesNotFit(f"its {what} are not written as rows")


def bare(text: str, style: str) -> str:
    return "".join(text.split()) if style == "json" else "\n".join(line.rstrip() for line in text.split("\n"))


def layout_of(generator: str) -> Layout:
    """How the questions and answers of a generator become rows.

    Raises:
        DoesNotFit: says why they do not.
    """
    entries = list(entries_of(generator, seed=0, size=SAMPLES))
    questions, answers = ([entry[name] for entry in entries] for name in ("question", "answer"))
    if not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise DoesNotFit("its answers are not always text")
    prefix, suffix = common_ends(questions)
    middles = [middle_of(question, prefix, suffix, 0) for question in questions]
    firsts = [first for first, separator, _ in (middle.partition("\n") for middle in middles) if separator]
    infix = len(common_end(firsts)) if len(firsts) == len(middles) else 0
    middles = [middle_of(question, prefix, suffix, infix) for question in questions]
    answers = [answer.strip("\n") for answer in answers]
    question_style, answer_style = style_of(middles, "questions"), style_of(answers, "answers")
    grids = {
        "questions": [read(text, question_style) for text in middles],
        "answers": [read(text, answer_style) for text in answers],
    }
    sides = {}
    for name, rows in grids.items():
        sides[name] = max(map(len, rows)), max(len(row) for grid in rows for row in grid)
        if max(sides[name]) > MAX_SIDE:
            raise DoesNotFit(f"its {name} have up to {sides[name][0]} x {sides[name][1]} cells")
        characters = {character for grid in rows for row in grid for character in row}
        if len(characters) > MAX_CHARACTERS or FILL in characters:
            raise DoesNotFit(f"its {name} are of {len(characters)} characters")
    if any(not row.strip() for grid in grids["answers"] for row in grid):
        raise DoesNotFit("its answers have empty rows")
    return Layout(prefix, suffix, infix, question_style, answer_style, *sides["answers"])


def common_ends(texts: list[str]) -> tuple[int, int]:
    """How many characters all texts begin and end with, back to a space or the end of a line."""
    prefix = common_start(texts)
    prefix = prefix[: max(prefix.rfind("\n"), prefix.rfind(" ")) + 1]
    if "\n" in prefix and not prefix.endswith("\n") and len(prefix) - prefix.rfind("\n") < MAX_SIDE:
        prefix = prefix[: prefix.rfind("\n") + 1]  # a row may begin as those of the others do
    return len(prefix), len(common_end([text[len(prefix) :] for text in texts]))


def common_start(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    return first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def common_end(texts: list[str]) -> str:
    """What all texts end with, from a space, a full stop or the end of a line on."""
    suffix = common_start([text[::-1] for text in texts])[::-1]
    starts = [place for mark in ("\n", " ", ".") if (place := suffix.find(mark)) >= 0]
    return suffix[min(starts) :] if starts else ""


def middle_of(question: str, prefix: int, suffix: int, infix: int) -> str:
    """What is left of a question without its ends, and without the end of its first line."""
    first, separator, rest = question[prefix : len(question) - suffix].strip("\n").partition("\n")
    return first[: len(first) - infix] + separator + rest


def entries_of(generator: str, seed: int, size: int) -> Iterator[dict[str, Any]]:
    """The first entries of a generator at its own settings, as reasoning-gym gives them."""
    yield from dataset_of(generator, seed, size)


def dataset_of(generator: str, seed: int, size: int) -> Any:
    """The generator's data set.

    Raises:
        ValueError: reasoning-gym is not installed, or has no such generator.
    """
    if generator not in generators():
        raise ValueError(f"reasoning-gym has no generator {generator!r}; --list shows those that fit")
    import reasoning_gym

    return reasoning_gym.create_dataset(generator, seed=seed, size=size)


def generators() -> list[str]:
    """The names of all generators.

    Raises:
        ValueError: reasoning-gym is not installed.
    """
    try:
        from reasoning_gym.factory import DATASETS
    except ModuleNotFoundError as error:
        if error.name != "reasoning_gym":
            raise
        raise ValueError('reasoning-gym is not installed: pip install -e ".[suites]"') from None
    return sorted(DATASETS)


def fitting() -> dict[str, Layout | str]:
    """Every generator with its layout, or the reason why it has none."""
    found: dict[str, Layout | str] = {}
    for generator in generators():
        try:
            found[generator] = layout_of(generator)
        except Exception as error:  # of the generator, too: some need more to be installed
            found[generator] = f"{' '.join(str(error).split()) or type(error).__name__}"
    return found


def make(generator: str, output_dir: Path, num_train: int, num_test: int, seed: int) -> None:
    """Writes `train.jsonl` and `test.jsonl`, no question twice, and how they were made.

    Raises:
        ValueError: the generator does not fit, or gives too few different questions.
    """
    layout, size = layout_of(generator), 2 * (num_train + num_test)
    train, test, places = list[dict[str, Any]](), list[dict[str, Any]](), list[int]()
    seen: set[tuple[str, ...]] = set()
    characters, height, width = set[str](), 0, 0  # of the training questions and answers
    for place, entry in enumerate(entries_of(generator, seed, size)):
        question, answer = layout.question(entry["question"]), layout.answer(entry["answer"])
        rows = [*question, *answer]
        sides = max(len(question), len(answer)), max(map(len, rows))
        is_large = len(answer) > layout.height or max(map(len, answer)) > layout.width or max(sides) > MAX_SIDE
        if tuple(question) in seen or is_large:
            continue
        question_width = max(map(len, question))
        row = {"input": [line.ljust(question_width) for line in question], "output": answer, "source": generator}
        used = set().union(*row["input"], *answer)
        if len(train) < num_train:
            train.append(row)
            characters, height, width = characters | used, max(height, sides[0]), max(width, sides[1])
        elif used <= characters and sides[0] <= height and sides[1] <= width:  # or the grid task would refuse it
            test.append(row)
            places.append(place)
        seen.add(tuple(question))
        if len(test) == num_test:
            break
    if len(test) < num_test:
        count = len(train) + len(test)
        raise ValueError(f"{generator} gave {count} different questions, not {num_train + num_test}: ask for fewer")
    output_dir.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", train), ("test", test)):
        (output_dir / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    record = {"generator": generator, "seed": seed, "size": size, "test": places}
    (output_dir / RECORD).write_text(json.dumps(record | {"layout": asdict(layout)}) + "\n")


def score(output_dir: Path, answers: list[Rows]) -> list[float]:
    """What the generator gives for answers to the test questions, in their order, from 0 to 1 each."""
    record = json.loads((output_dir / RECORD).read_text())
    dataset, layout = dataset_of(record["generator"], record["seed"], record["size"]), Layout(**record["layout"])
    pairs = zip(answers, record["test"], strict=False)
    return [float(dataset.score_answer(layout.text(rows), dataset[place])) for rows, place in pairs]


def solve(model: str, output_dir: Path) -> list[Rows]:
    """A model's answers to the test questions."""
    lines = (output_dir / "test.jsonl").read_text(encoding="utf-8").splitlines()
    pipeline = PuzzleSolvingPipeline(model=load_model(model), processor=load_processor(model))
    results = pipeline(["\n".join(json.loads(line)["input"]) for line in lines])
    return [result["answer"].split("\n") for result in results]


def main(command_line: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m datasets_scripts.reasoning_suite", allow_abbrev=False)
    parser.add_argument("--list", action="store_true", help="the generators that fit, and why the others do not")
    parser.add_argument("--generator", help="name of a generator")
    parser.add_argument("--output_dir", type=Path, help="folder of the puzzles")
    parser.add_argument("--num_train", type=int, default=4000)
    parser.add_argument("--num_test", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score", metavar="MODEL", help="score a model's answers to the folder's test questions")
    args = parser.parse_args(command_line)
    if args.list:
        found = fitting()
        for name, layout in found.items():
            size = f"{layout.height} x {layout.width}" if isinstance(layout, Layout) else f"no: {layout}"
            print(f"{name:<28}{size}")
        print(f"{sum(isinstance(layout, Layout) for layout in found.values())} of {len(found)} fit")
        return
    if args.output_dir is None or (args.generator is None) == (args.score is None):
        raise ValueError("give --list, or --output_dir with either --generator or --score")
    if args.generator is not None:
        make(args.generator, args.output_dir, args.num_train, args.num_test, args.seed)
        print(f"wrote {args.num_train} + {args.num_test} puzzles to {args.output_dir}")
        return
    scores = score(args.output_dir, solve(args.score, args.output_dir))
    right = sum(one == 1 for one in scores)
    print(f"{right / len(scores):.1%} of {len(scores)} right, mean score {sum(scores) / len(scores):.3f}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
