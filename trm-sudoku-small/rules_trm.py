# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The rules of puzzles that have one: what tells a right answer from a wrong one, whatever the label says.

They travel with the weights, so that a checkpoint alone can check its own answers.
"""

from math import isqrt

import torch
from torch import Tensor

from .symmetries_trm import BLANK_TOKEN, FIRST_DIGIT_TOKEN

BOX_SHAPES = {81: (3, 3), 36: (2, 3)}  # of Sudoku; cells: rows and columns of a box
WALL, FREE, START, GOAL, PATH = range(1, 6)  # tokens of mazes


def is_solved_sudoku(input_ids: Tensor, answers: Tensor, box_shape: tuple[int, int] | None = None) -> Tensor:
    """Whether each answer is a valid filled grid that keeps the clues; any valid solution counts.

    Args:
        input_ids, answers: integer tokens [batch, cells].
        box_shape: rows and columns of a box; (3, 3) for 81 cells and (2, 3) for 36 when `None`.

    Returns:
        bool [batch].
    """
    box_height, box_width = box_shape or BOX_SHAPES[answers.shape[1]]
    n = box_height * box_width
    # n powers of two add up to n consecutive ones only if they are all different: a unit that holds every digit
    bits = (1 << answers.clamp(0, n + FIRST_DIGIT_TOKEN).int()).reshape(-1, n, n)
    boxes = bits.reshape(-1, n // box_height, box_height, n // box_width, box_width)
    units = torch.cat([bits.sum(2), bits.sum(1), boxes.sum((2, 4)).flatten(1)], dim=1)  # [batch, 3 * n]
    all_digits = sum(1 << (digit + BLANK_TOKEN) for digit in range(1, n + 1))
    keeps_clues = (input_ids == answers) | (input_ids <= BLANK_TOKEN)
    return (units == all_digits).all(1) & keeps_clues.all(1)


def distances(is_open: Tensor, is_start: Tensor) -> Tensor:
    """Steps from the start to every cell, by breadth-first search over all mazes at once.

    Args:
        is_open: bool [batch, height, width], the cells that may be entered.
        is_start: bool [batch, height, width], the cells at distance 0.

    Returns:
        int16 [batch, height, width]; -1 where no path leads.
    """
    steps = torch.full(is_open.shape, -1, dtype=torch.int16, device=is_open.device)
    rows = torch.arange(len(steps), device=is_open.device)  # the mazes still being searched
    frontier, unseen, reached = is_start.clone(), is_open & ~is_start, 0
    distance = steps.masked_fill(frontier, 0)
    while len(rows):
        alive = frontier.flatten(1).any(1)
        if 2 * int(alive.sum()) <= len(rows):  # most searches end long before the last
            steps.index_copy_(0, rows, distance)  # this and index_select, unlike `[]`, start no threads for a few rows
            kept = alive.nonzero().flatten()
            rows, frontier, unseen, distance = (x.index_select(0, kept) for x in (rows, frontier, unseen, distance))
        reached += 1
        neighbours = torch.zeros_like(frontier)
        neighbours[:, 1:] |= frontier[:, :-1]
        neighbours[:, :-1] |= frontier[:, 1:]
        neighbours[:, :, 1:] |= frontier[:, :, :-1]
        neighbours[:, :, :-1] |= frontier[:, :, 1:]
        frontier = neighbours & unseen
        unseen &= ~frontier
        distance.masked_fill_(frontier, reached)
    return steps


def is_solved_maze(input_ids: Tensor, answers: Tensor) -> Tensor:
    """Whether each answer marks a shortest path from S to G and leaves everything else as it was.

    Args:
        input_ids, answers: integer tokens [batch, cells] of square mazes.

    Returns:
        bool [batch].
    """
    size = isqrt(answers.shape[1])
    question, answer = input_ids.unflatten(1, (size, size)), answers.unflatten(1, (size, size))
    is_start, is_goal, is_path = question == START, question == GOAL, answer == PATH
    kept = ((answer == question) & (question != PATH)) | ((question == FREE) & is_path)
    is_maze = (is_start.sum((1, 2)) == 1) & (is_goal.sum((1, 2)) == 1)
    along_path = (distances(is_path | is_goal, is_start) * is_goal).sum((1, 2))
    shortest = (distances((question == FREE) | is_goal, is_start) * is_goal).sum((1, 2))
    # marks that join S and G, and no more of them than the shortest path needs, are a shortest path
    joined = (along_path > 0) & (is_path.sum((1, 2)) + 1 == shortest)
    return is_maze & kept.flatten(1).all(1) & joined
