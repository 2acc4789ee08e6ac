# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Puzzles and the steps towards their answer, drawn for a terminal."""

from collections.abc import Sequence

from .processing_trm import TrmProcessor

BOLD, DIM, GREEN, YELLOW, RESET = "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[0m"


def render_grid(
    processor: TrmProcessor,
    tokens: Sequence[int],
    question: Sequence[int] | None = None,
    previous: Sequence[int] | None = None,
    color: bool = True,
) -> str:
    """Draws a grid as text, with lines between the boxes of a Sudoku.

    Args:
        processor: knows the symbols and the shape of the grid.
        tokens: the cells, [height * width].
        question: the puzzle's own cells: where they give a symbol it is drawn bold, elsewhere green.
        previous: the cells one step earlier: those that changed are drawn yellow.
        color: with ANSI colours or without.

    Returns:
        Lines joined by newlines.
    """
    grid, asked = processor.to_grid(tokens), processor.to_grid(tokens if question is None else question)
    before = processor.to_grid(tokens if previous is None else previous)

    def cell(row: int, column: int) -> str:
        symbol = grid[row][column]
        if not color:
            return symbol
        if asked[row][column] == symbol:
            return f"{DIM if symbol == '.' else BOLD}{symbol}{RESET}"
        return f"{GREEN if before[row][column] == symbol else YELLOW}{symbol}{RESET}"

    width = processor.box_width or processor.width
    height = processor.box_height or processor.height
    rule = "+".join("-" * (2 * width + 1) for _ in range(processor.width // width))
    lines = []
    for row in range(processor.height):
        if row and row % height == 0:
            lines.append(rule)
        cells = [cell(row, column) for column in range(processor.width)]
        boxes = (" ".join(cells[start : start + width]) for start in range(0, processor.width, width))
        lines.append(" " + " | ".join(boxes) + " ")
    return "\n".join(lines)
