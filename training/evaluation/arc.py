# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Scores on ARC: every augmentation of a test predicts, the predictions are turned back and vote (the official rule).

Candidates rank by their number of votes, then by the mean halting probability of those votes. `pass@k` is the share of
a task's test pairs with the right grid among the first k, averaged over tasks; Kaggle takes two attempts.
"""

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm.auto import tqdm

from datasets_scripts.arc_agi import NUM_COLOURS, to_grid
from datasets_scripts.arc_augmentation import (
    augment,
    canvas_size,
    transformed_size,
    without_ends,
)
from datasets_scripts.tasks import Puzzles
from modeling_trm import TrmForPuzzleSolving
from modeling_trm.loading import read_object
from modeling_trm.symmetries_trm import CANVAS_SIZE, FIRST_COLOUR_TOKEN, INVERSE_DIHEDRAL, arc_symmetry

from ..stopping import Interruptible
from ..storage import write_json
from .scores import SHARE_UNIT, belief_threshold, settings_of, wilson_interval

PASS_AT = (1, 2, 5, 10, 100, 1000)
ROWS_AT_ONCE = 65536
NUM_ATTEMPTS = 2
NO_PREDICTION = [[0]]  # an attempt that Kaggle accepts
PROBABILITY_UNIT = 2.0**-40  # sums of whole numbers do not depend on the order, so neither do ties
SAVE_SECONDS = 120


class VoteTable:
    """Votes for the output of each test pair: as many entries as there are different predictions.

    Attributes:
        candidates: test pair -> grid -> [votes, sum of halting probabilities in `PROBABILITY_UNIT`, number of the
            first vote]. A grid is its height, its width and its colours, a byte each.
    """

    def __init__(self) -> None:
        self.candidates: dict[int, dict[bytes, list[int]]] = {}

    def add(self, pair: int, grid: bytes, votes: int, belief: int, order: int) -> None:
        candidate = self.candidates.setdefault(pair, {}).setdefault(grid, [0, 0, order])
        candidate[0] += votes
        candidate[1] += belief
        candidate[2] = min(candidate[2], order)

    def update(self, entries: Sequence[tuple[int, bytes, int, int, int]]) -> None:
        """Adds the entries of another table."""
        for entry in entries:
            self.add(*entry)

    def entries(self) -> Iterator[tuple[int, bytes, int, int, int]]:
        for pair, candidates in self.candidates.items():
            for grid, (votes, belief, order) in candidates.items():
                yield pair, grid, votes, belief, order

    def to_json(self) -> list[list[Any]]:
        return [[pair, grid.hex(), *rest] for pair, grid, *rest in self.entries()]

    def load_json(self, entries: list[list[Any]]) -> None:
        """Adds what `to_json` gave."""
        for pair, grid, votes, belief, order in entries:
            self.add(pair, bytes.fromhex(grid), votes, belief, order)

    def ranked(self, pair: int) -> list[bytes]:
        """The grids predicted for a pair, the best first."""

        def rank(item: tuple[bytes, list[int]]) -> tuple[int, float, int]:
            votes, belief, order = item[1]
            return -votes, -belief / votes, order

        return [grid for grid, _ in sorted(self.candidates.get(pair, {}).items(), key=rank)]


def as_bytes(grid: np.ndarray) -> bytes:
    """A grid of colours [height, width] as a key of `VoteTable`."""
    return bytes(grid.shape) + grid.astype(np.uint8).tobytes()


def as_lists(grid: bytes) -> list[list[int]]:
    """The grid of a key of `VoteTable`."""
    height, width = grid[:2]
    return [list(grid[2 + row * width : 2 + (row + 1) * width]) for row in range(height)]


def crop(answers: Tensor) -> Tensor:
    """Height and width of the largest rectangle of colours in the top left corner of `answers` [batch, 900].

    Returns:
        int64 [batch, 2]; zeros where that corner holds no colour.
    """
    is_colour = (answers >= FIRST_COLOUR_TOKEN) & (answers < FIRST_COLOUR_TOKEN + NUM_COLOURS)
    is_colour = is_colour.view(-1, CANVAS_SIZE, CANVAS_SIZE)
    width = is_colour.long().cumprod(2).sum(2).cummin(1).values  # [batch, 30], of the rectangle down to each row
    area = width * torch.arange(1, CANVAS_SIZE + 1, device=answers.device)
    best = area.argmax(1, keepdim=True)
    size = torch.cat([best + 1, width.gather(1, best)], dim=1)
    return torch.where(area.gather(1, best) > 0, size, 0)


def original_grids(answers: Tensor, dihedral: Tensor, colours: Tensor) -> list[bytes]:
    """Answers [batch, 900] to augmented puzzles, cropped and turned back, as keys of `VoteTable`."""
    size = crop(answers)
    inverse = torch.tensor(INVERSE_DIHEDRAL, device=answers.device)[dihedral]
    canvases = arc_symmetry(inverse, colours.argsort(1), *size.unbind(1))(answers) - FIRST_COLOUR_TOKEN
    grids = canvases.to("cpu", torch.uint8).view(-1, CANVAS_SIZE, CANVAS_SIZE).numpy()
    sizes = transformed_size(size, dihedral).tolist()
    return [as_bytes(grid[:height, :width]) for grid, (height, width) in zip(grids, sizes, strict=True)]


def pass_at(
    votes: VoteTable, tasks: dict[str, list[tuple[int, bytes]]], counts: Sequence[int] = PASS_AT
) -> dict[str, float]:
    """`pass@k` for every k of `counts`, where `tasks` are the test pairs of each and their right grids."""
    totals = dict.fromkeys(counts, 0.0)
    for pairs in tasks.values():
        for pair, answer in pairs:
            ranked = votes.ranked(pair)
            place = ranked.index(answer) if answer in ranked else math.inf
            for k in counts:
                totals[k] += (place < k) / len(pairs)
    return {f"pass@{k}": total / len(tasks) for k, total in totals.items()}


def attempts(
    votes: VoteTable, tasks: dict[str, list[int]], count: int = NUM_ATTEMPTS
) -> dict[str, list[dict[str, list[list[int]]]]]:
    """A Kaggle submission: `count` attempts at every test pair; `tasks` are the test pairs of each."""

    def of_pair(pair: int) -> dict[str, list[list[int]]]:
        grids = [as_lists(grid) or NO_PREDICTION for grid in votes.ranked(pair)[:count]] or [NO_PREDICTION]
        return {f"attempt_{n + 1}": grids[min(n, len(grids) - 1)] for n in range(count)}

    return {name: [of_pair(pair) for pair in pairs] for name, pairs in tasks.items()}


def evaluate_arc(
    model: TrmForPuzzleSolving,
    puzzles: Puzzles,
    *,
    batch_size: int,
    accelerator: Accelerator,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    show_progress: bool = True,
    num_votes: int | None = None,
    submission: Path | None = None,
    resume_dir: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    **solve_arguments: Any,
) -> dict[str, Any]:
    """Solves the augmentations of each test and lets them vote.

    Args:
        model: on the accelerator's device.
        puzzles: the test split; each process solves its share.
        batch_size: predictions per call of `solve`.
        autocast: context of the computation.
        num_votes: the first so many augmentations of each test vote, all for `None`.
        submission: where to write the two attempts at every test pair.
        resume_dir: where the state is kept, so that a killed evaluation goes on; removed at the end.
        stopped: asked before every supervision step whether to leave it at that.
        solve_arguments: of `solve`.

    Returns:
        num_tasks, num_examples (test pairs), num_predictions, mean_steps, mean_total_steps, mean_attempts, seconds and
        puzzles_per_second (predictions), the arguments of `solve` that were in force; and, if all solutions are known,
        `pass@k`, exact_accuracy (test pairs whose first attempt is right) with its 95 % Wilson interval, and of the
        single predictions cell_accuracy and halt_accuracy, as in `evaluate`. Nothing, if a process was `stopped`.
    """
    device, world = accelerator.device, accelerator.num_processes
    tasks, puzzle_ids = puzzles.augmented_tasks.to(device), puzzles.puzzle_ids
    grids = without_ends(puzzles.input_ids, puzzles.labels)
    has_answers = bool((grids[:, 1] > 0).any(1).all())
    counts = puzzles.augmented_tasks.counts_of(puzzle_ids)
    counts = counts.clamp(max=num_votes) if num_votes else counts
    ends = counts.cumsum(0)
    numbers = torch.arange(int(ends[-1]))[accelerator.process_index :: world]
    pair = torch.searchsorted(ends, numbers, right=True)
    ids = puzzle_ids[pair] + numbers - (ends - counts)[pair]
    mine = torch.stack([numbers, pair, ids], dim=1)  # [predictions, 3]
    plan = model.plan_solving(**solve_arguments)
    believes = belief_threshold(plan)

    table, totals = VoteTable(), torch.zeros(6, dtype=torch.int64)  # see `results`
    settings = [
        puzzles.config,
        len(mine),
        batch_size,
        len(totals),
        str(settings_of(plan)),
        solve_arguments.get("seed"),
        hashlib.blake2b(grids.numpy().tobytes() + mine.numpy().tobytes()).hexdigest(),
    ]
    store = ResumeFile(resume_dir, model, accelerator, settings)
    done = store.load(table, totals)
    start = saved = time.perf_counter()
    progress = tqdm(
        total=len(mine),
        initial=done,
        desc="evaluating",
        unit="prediction",
        leave=False,
        disable=not (show_progress and accelerator.is_main_process),
    )
    posed: deque[tuple[Tensor, ...]] = deque()  # what belongs to the questions being solved

    def questions() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in mine[done:].split(batch_size) if done < len(mine) else ():
            numbers, pair, ids = batch.unbind(1)
            ids = ids.to(device)
            dihedral, colours = tasks.of(ids)
            pairs = grids[pair].to(device)
            inputs, labels = augment(pairs, canvas_size(pairs), dihedral, colours).unbind(1)
            posed.append((numbers, pair, dihedral, colours, labels))
            yield inputs, ids

    with Interruptible(model, stopped) as solving, autocast():
        for solution in model.solve_dataset(questions(), batch_size=batch_size, **solve_arguments):
            numbers, pair, dihedral, colours, labels = posed.popleft()
            beliefs = (solution.halt_logits.cpu().double().sigmoid() / PROBABILITY_UNIT).round().long().tolist()
            predicted = original_grids(solution.answers, dihedral, colours)
            for entry in zip(pair.tolist(), predicted, beliefs, numbers.tolist(), strict=True):
                table.add(entry[0], entry[1], 1, entry[2], entry[3])
            labelled = labels > 0
            cells = ((solution.answers == labels) & labelled).sum(1) * SHARE_UNIT // labelled.sum(1).clamp(min=1)
            believed = (solution.halt_logits > believes) == (cells == SHARE_UNIT)
            done += len(numbers)
            scores = (torch.ones_like(cells), cells, believed, solution.steps, solution.total_steps, solution.attempts)
            totals += torch.stack([score.long() for score in scores]).sum(1).cpu()
            progress.update(len(numbers))
            if time.perf_counter() - saved > SAVE_SECONDS:
                store.save(table, totals, done)
                saved = time.perf_counter()
    progress.close()
    if solving.was_left_anywhere(accelerator):
        store.save(table, totals, done)
        return {}
    seconds = time.perf_counter() - start

    votes = VoteTable()
    votes.update(gather_object(list(table.entries())))
    sums = accelerator.reduce(totals.to(device)).tolist()
    predictions, cells, halting, steps, total_steps, num_attempts = sums
    results = {
        "num_tasks": len(puzzle_ids.unique()),
        "num_examples": len(puzzles),
        "num_predictions": int(ends[-1]),
        "mean_steps": steps / predictions,
        "mean_total_steps": total_steps / predictions,
        "mean_attempts": num_attempts / predictions,
        **settings_of(plan),
        "seconds": round(seconds, 3),
        "puzzles_per_second": round(int(ends[-1]) / seconds, 1),
    }
    names = puzzles.augmented_tasks.names_of(puzzle_ids)
    by_task: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        by_task.setdefault(name, []).append(number)
    if has_answers:
        answers = [as_bytes(to_grid(label)) for label in puzzles.labels.numpy()]
        solved = sum(votes.ranked(pair)[:1] == [answer] for pair, answer in enumerate(answers))
        results |= {
            "exact_accuracy": solved / len(puzzles),
            "exact_accuracy_ci95": wilson_interval(solved, len(puzzles)),
            "cell_accuracy": cells / SHARE_UNIT / predictions,
            "halt_accuracy": halting / predictions,
            **pass_at(votes, {name: [(pair, answers[pair]) for pair in pairs] for name, pairs in by_task.items()}),
        }
    if submission is not None and accelerator.is_main_process:
        write_json(attempts(votes, by_task), submission)
    store.remove()
    return results


class ResumeFile:
    """The state of an unfinished evaluation on this process, for one model and its settings; idle without a folder."""

    def __init__(self, folder: Path | None, model: TrmForPuzzleSolving, accelerator: Accelerator, settings: list[Any]):
        self.folder, self.accelerator, self.path = folder, accelerator, None
        if folder is None:
            return
        self.path = folder / f"rank-{accelerator.process_index:05d}.json"
        digest = hashlib.blake2b(json.dumps([*settings, accelerator.num_processes]).encode())
        for tensor in (*model.parameters(), *model.buffers()):
            for rows in tensor.detach().split(ROWS_AT_ONCE):  # the puzzle table is large
                digest.update(rows.float().cpu().numpy().tobytes())
        self.key = digest.hexdigest()

    def load(self, table: VoteTable, totals: Tensor) -> int:
        """Fills `table` and `totals`; the number of predictions in them, 0 if the file is not of this evaluation."""
        if self.path is None or not self.path.exists():
            return 0
        try:
            record = read_object(self.path)
        except ValueError:  # it was cut off
            return 0
        if record.get("key") != self.key:
            return 0
        table.load_json(record["votes"])
        totals.copy_(torch.tensor(record["totals"]))
        return record["done"]

    def save(self, table: VoteTable, totals: Tensor, done: int) -> None:
        if self.path is not None:
            record = {"key": self.key, "done": done, "totals": totals.tolist(), "votes": table.to_json()}
            write_json(record, self.path)

    def remove(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.folder is not None and self.accelerator.is_main_process:
            for path in self.folder.glob("rank-*.json"):  # and nothing else that may lie there
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()


def report_arc(results: dict[str, Any]) -> str:
    """The scores as two lines for people."""
    lines = [
        f"{results['num_predictions']:,} predictions voted on {results['num_examples']} tests of "
        f"{results['num_tasks']} tasks, {results['mean_steps']:.1f} steps each"
    ]
    scores = [f"{name} {value:.1%}" for name, value in results.items() if name.startswith("pass@")]
    return "\n".join([*lines, "  ".join(scores) or "the solutions are not known, so there is no score"])
