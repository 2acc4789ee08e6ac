# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Solves one puzzle on screen, step by step:  python -m modeling_trm --model runs/sudoku_easy 53..7....6..195...

The puzzle is a string, a file, or standard input; several are solved one after the other.
Without `--model` the repository's own `trm-sudoku` solves it.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from transformers.utils import logging

from .console import make_streams_unbreakable, one_line
from .formats_trm import decode_text
from .loading import UNLOADABLE, find_model, load_model, load_processor
from .pipeline_trm import PuzzleSolvingPipeline
from .processing_trm import TrmProcessor

PICTURES = ("gif", "png", "html")
BATCH_SIZE = 64  # of many puzzles
OWN_MODEL = Path(__file__).parents[1] / "trm-sudoku"  # there in a clone, not in an installed package


def read_puzzle(given: str) -> str:
    """The puzzle itself: `given`, the text of the file of that name, or standard input for `-`."""
    if given == "-":
        stream = getattr(sys.stdin, "buffer", None)
        return decode_text(stream.read(), "standard input") if stream else sys.stdin.read()
    if os.path.isdir(given):
        raise ValueError(f"{given} is a folder: give a puzzle, or a file that holds one")
    return decode_text(Path(given).read_bytes(), given) if os.path.isfile(given) else given


def is_missing(given: str) -> bool:
    """Whether what was given, and is no puzzle, was meant to be a file: `puzzles/one`, `one.txt`."""
    return not os.path.exists(given) and ("/" in given or Path(given).suffix[1:].isalpha())


def write(path: Path, picture: str | bytes) -> None:
    """Writes a picture, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(picture.encode() if isinstance(picture, str) else picture)
    os.replace(temporary, path)


def fail(message: str) -> int:
    """Tells the user what is wrong, in one line; the exit status."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2


def verdict(solved: bool, verified: bool | None) -> str:
    """What became of the puzzle, in one sentence; `verified` is `None` for puzzles without rules."""
    if verified is False:
        return "Not solved: the answer breaks the rules."
    if solved:
        return "Solved: the answer keeps the rules." if verified else "Solved, the model believes."
    return "The steps ran out before the model was sure" + (", but the answer keeps the rules." if verified else ".")


def check(puzzles: list, processor: TrmProcessor) -> None:
    """Raises `ValueError` for the first of the puzzles that is none for the model, or breaks its rule already."""
    for number, puzzle in enumerate(puzzles, 1):
        name = f"puzzle {number}"
        if fault := processor.fault(processor.encode(puzzle, name)):
            raise ValueError(f"{name} {fault}")


def solve_many(solve: PuzzleSolvingPipeline, puzzles: list, puzzle_id: str | None, options: dict[str, Any]) -> None:
    """Solves puzzles one after the other: a line each with the answer, whether it is solved, and how sure it is.

    Grids that are no line (ARC) are drawn.
    """
    processor, num_solved = solve.processor, 0
    for result in solve(iter(puzzles), puzzle_ids=puzzle_id, batch_size=BATCH_SIZE, **options):
        num_solved += result["solved"]
        if "\n" in result["answer"]:
            print(processor.render(result, "text"), verdict(result["solved"], result.get("verified")), "", sep="\n")
        else:
            outcome = "solved" if result["solved"] else "not solved"
            print(result["answer"], outcome, f"{result['confidence']:.1%} sure", sep="\t", flush=True)
    print(f"{num_solved:,} of {len(puzzles):,} solved")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m modeling_trm", description="Solve a puzzle step by step.")
    parser.add_argument("puzzle", nargs="?", help="the puzzle, a file that holds it, or - for standard input")
    parser.add_argument(
        "--model",
        default=str(OWN_MODEL),
        required=not OWN_MODEL.is_dir(),
        help="folder or Hub repository of a trained model; trm-sudoku, if that is there, when not given",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    parser.add_argument("--puzzle_id", metavar="NAME", help="which puzzle it is, to a model of several: a task of ARC")
    parser.add_argument("--max_steps", type=int, help="the most steps; the model's own when not given")
    parser.add_argument("--halt_threshold", type=float, help="logit above which an answer is believed")
    parser.add_argument("--attempts", type=int, default=1, help="the most attempts, while the model is in doubt")
    parser.add_argument("--noise_std", type=float, default=0.0, help="deviation of noise on the states of attempts")
    parser.add_argument(
        "--selection", choices=("best", "vote", "residual"), default="best", help="which attempt's answer counts"
    )
    parser.add_argument("--verify", action="store_true", help="let the rule of the puzzle decide what is solved")
    parser.add_argument("--seed", type=int, default=0, help="seed of views, random states and noise")
    for name in PICTURES:
        parser.add_argument(f"--{name}", type=Path, metavar=f"OUT.{name}", help=f"draw the steps into a {name} file")
    args = parser.parse_args(arguments)
    if args.puzzle is None:
        if sys.stdin.isatty():
            parser.error("give a puzzle, a file that holds it, or one on standard input")
        args.puzzle = "-"
    return args


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what is wrong is said in one line
    try:
        folder = find_model(args.model, args.revision)
        solve = PuzzleSolvingPipeline(model=load_model(folder), processor=load_processor(folder))
    except UNLOADABLE as error:
        return fail(f"cannot load the model {args.model}: {error}")
    others = ("puzzle", "model", "revision", "puzzle_id", *PICTURES)
    options = {name: value for name, value in vars(args).items() if name not in others}
    try:
        puzzle = read_puzzle(args.puzzle)
        puzzles = solve.processor.split(puzzle)
        check(puzzles, solve.processor)
        if len(puzzles) > 1:
            if any(getattr(args, name) for name in PICTURES):
                return fail(f"these are {len(puzzles)} puzzles: a picture is of one")
            solve_many(solve, puzzles, args.puzzle_id, options)
            return 0
        result = solve(puzzle, puzzle_ids=args.puzzle_id, return_steps=True, **options)
        pictures = {path: solve.processor.render(result, name) for name in PICTURES if (path := getattr(args, name))}
        for path, picture in pictures.items():
            write(path, picture)
    except (ValueError, OSError, ImportError) as error:
        return fail(f"there is no file {args.puzzle}, and {error}" if is_missing(args.puzzle) else str(error))

    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(solve.processor.render(result, "ansi" if color else "text"), end="\n\n")
    print(verdict(result["solved"], result.get("verified")))
    for path in pictures:
        print(f"wrote {path}")
    return 0


def run() -> NoReturn:
    """The command `trm`."""
    make_streams_unbreakable()
    sys.exit(main())


if __name__ == "__main__":
    run()
