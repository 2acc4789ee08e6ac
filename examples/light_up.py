# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Makes Light Up (Akari) puzzles as files for the task `grid`:  python examples/light_up.py --output_dir data/light_up

Place lamps `*` on white cells `.` so that every white cell is lit: a lamp shines along its row and column up to a
wall. No lamp shines on another, and a wall with a number has that many lamps beside it. Every puzzle has one solution.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

Cells = frozenset[int]


def neighbours(cell: int, size: int) -> list[list[int]]:
    """The cells from `cell` to the edge in each of the four directions."""
    row, column = divmod(cell, size)
    return [
        [r * size + column for r in range(row - 1, -1, -1)],
        [r * size + column for r in range(row + 1, size)],
        [row * size + c for c in range(column - 1, -1, -1)],
        [row * size + c for c in range(column + 1, size)],
    ]


def lit_by(cell: int, walls: Cells, size: int) -> Cells:
    """The cells that a lamp lights, its own among them."""
    lit = {cell}
    for line in neighbours(cell, size):
        for other in line:
            if other in walls:
                break
            lit.add(other)
    return frozenset(lit)


def solutions(light: dict[int, Cells], clues: dict[int, tuple[Cells, int]]) -> Iterator[Cells]:
    """All ways to place the lamps.

    Args:
        light: for each white cell the cells that a lamp there lights.
        clues: for each numbered wall the white cells beside it, and how many of them have lamps.
    """

    def place(lamps: Cells, dark: Cells, allowed: Cells) -> Iterator[Cells]:
        for beside, number in clues.values():
            placed = len(beside & lamps)
            if placed > number or placed + len(beside & allowed) < number:
                return
        if not dark:
            yield lamps
            return
        cell = min(dark, key=lambda cell: len(light[cell] & allowed))
        for lamp in light[cell] & allowed:
            allowed -= {lamp}
            yield from place(lamps | {lamp}, dark - light[lamp], allowed - light[lamp])

    cells = frozenset(light)
    return place(frozenset(), cells, cells)


def light_up(rng: random.Random, size: int) -> tuple[list[str], list[str]]:
    """A random puzzle with one solution, and that solution, as rows of characters."""
    while True:
        cells = range(size * size)
        walls = frozenset(cell for cell in cells if rng.random() < 0.25)
        light = {cell: lit_by(cell, walls, size) for cell in cells if cell not in walls}
        lamps: set[int] = set()
        for cell in rng.sample(list(light), len(light)):
            if not light[cell] & lamps:
                lamps.add(cell)
        clues = {}
        for wall in walls:
            beside = frozenset(line[0] for line in neighbours(wall, size) if line and line[0] in light)
            clues[wall] = (beside, len(beside & lamps))
        found = solutions(light, clues)
        if next(found, None) is not None and next(found, None) is None:
            break
    question = [str(clues[cell][1]) if cell in walls else "." for cell in cells]
    answer = ["*" if cell in lamps else symbol for cell, symbol in enumerate(question)]
    return tuple(["".join(board[row : row + size]) for row in cells[::size]] for board in (question, answer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("data/light_up"))
    parser.add_argument("--size", type=int, default=6, help="rows and columns")
    parser.add_argument("--num_train", type=int, default=4000)
    parser.add_argument("--num_test", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, puzzles = random.Random(args.seed), {}
    while len(puzzles) < args.num_train + args.num_test:
        question, answer = light_up(rng, args.size)
        puzzles[tuple(question)] = {"input": question, "output": answer}
    rows = [json.dumps(puzzle) + "\n" for puzzle in puzzles.values()]
    args.output_dir.mkdir(parents=True, exist_ok=True)
    (args.output_dir / "train.jsonl").write_text("".join(rows[: args.num_train]), encoding="utf-8")
    (args.output_dir / "test.jsonl").write_text("".join(rows[args.num_train :]), encoding="utf-8")
    print(f"wrote {args.num_train} + {args.num_test} puzzles to {args.output_dir}")


if __name__ == "__main__":
    main()
