# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""How many puzzles (question and answer) a second are augmented on one thread, as JSON.

`per_board` is a plain numpy function that handles one puzzle at a time, by the law of the official builder's
`shuffle_sudoku`; `batched` is ours. The two take turns, so that both see the same machine; medians are reported.

    python -m benchmarks.augmentation
"""

import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from modeling_trm.symmetries_trm import random_sudoku_symmetry

BATCH_SIZE = 768
REPEATS = 31


def shuffle_one(question: np.ndarray, answer: np.ndarray, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """One random symmetry of a 9x9 puzzle of digits, 0 = blank."""
    digit_map = np.concatenate([[0], rng.permutation(np.arange(1, 10))])
    transpose = rng.rand() < 0.5
    rows = np.concatenate([band * 3 + rng.permutation(3) for band in rng.permutation(3)])
    columns = np.concatenate([stack * 3 + rng.permutation(3) for stack in rng.permutation(3)])

    def transform(board: np.ndarray) -> np.ndarray:
        return digit_map[(board.T if transpose else board)[rows[:, None], columns]]

    return transform(question), transform(answer)


def seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    tokens = torch.randint(1, 11, (2, BATCH_SIZE, 81), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    question, answer = tokens
    boards = (tokens - 1).view(2, BATCH_SIZE, 9, 9).numpy()
    epoch, index = torch.zeros(BATCH_SIZE, dtype=torch.int64), torch.arange(BATCH_SIZE)
    rng = np.random.RandomState(0)

    def per_board() -> None:
        for one_question, one_answer in zip(*boards, strict=True):
            shuffle_one(one_question, one_answer, rng)

    def batched() -> None:
        symmetry = random_sudoku_symmetry(0, epoch, index)
        symmetry(question), symmetry(answer)

    first_call = seconds(batched)  # builds the tables
    times = [(seconds(per_board), seconds(batched)) for _ in range(REPEATS)]
    per_board_rate, batched_rate = (BATCH_SIZE / statistics.median(column) for column in zip(*times, strict=True))
    report = {
        "batch_size": BATCH_SIZE,
        "repeats": REPEATS,
        "per_board_puzzles_per_second": round(per_board_rate),
        "batched_puzzles_per_second": round(batched_rate),
        "ratio": round(batched_rate / per_board_rate, 1),
        "first_call_seconds": round(first_call, 3),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
