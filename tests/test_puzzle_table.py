# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Tables shared out among processes, as each process sees its part; what they exchange is in test_distributed.py."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_config
from torch import Tensor

from modeling_trm import TrmForPuzzleSolving
from training import puzzle_table
from training.arguments import TrainArguments
from training.checkpoint import TrainState
from training.optimizers import ExponentialAverage, build_optimizers
from training.puzzle_table import PUZZLE_TABLE, build_model, load_table, num_parameters, own_rows, save_table
from training.transfer import mean_of_trained, take_over_rows

PROCESSES = st.integers(1, 5)


def as_process(index: int, processes: int) -> AbstractContextManager:
    stack = ExitStack()
    stack.enter_context(patch.object(puzzle_table, "process_index", lambda: index))
    stack.enter_context(patch.object(puzzle_table, "num_processes", lambda: processes))
    return stack


def on_all(processes: int, call: Callable[[TrmForPuzzleSolving], Tensor | None], num_puzzles: int) -> list:
    """What `call` gives on the new model of each process."""
    results = []
    for index in range(processes):
        with as_process(index, processes):
            model = build_model(tiny_config(num_puzzles=num_puzzles), torch.device("cpu"), shard=True)
            results.append(call(model))
    return results


def numbered(num_puzzles: int) -> Tensor:
    return torch.arange(1.0, num_puzzles * 16 + 1).view(num_puzzles, 16)


def fill(model: TrmForPuzzleSolving) -> None:
    rows, first = own_rows(model.model.puzzle_embeddings)
    rows.copy_(numbered(first + len(rows))[first:])


@settings(max_examples=20)
@given(st.integers(1, 12), PROCESSES, PROCESSES, st.sampled_from([None, 500]))
def test_any_number_of_processes_reads_what_any_number_wrote(
    num_puzzles: int, writers: int, readers: int, max_bytes: int | None
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)

        def write(model: TrmForPuzzleSolving) -> None:
            fill(model)
            save_table(model, folder, max_bytes)

        on_all(writers, write, num_puzzles)
        parts = on_all(readers, lambda model: load_table(model, folder).get(f"model.{PUZZLE_TABLE}"), num_puzzles)
    if writers == 1:  # the table is in the model's own file
        assert parts == [None] * readers
    else:
        assert torch.equal(torch.cat(parts), numbered(num_puzzles))


@settings(max_examples=20)
@given(st.integers(1, 12), PROCESSES)
def test_a_whole_checkpoint_goes_on_in_parts(num_puzzles: int, processes: int) -> None:
    args = TrainArguments()

    def state(model: TrmForPuzzleSolving) -> TrainState:
        return TrainState(model, ExponentialAverage(model, 0.9), build_optimizers(model, args))

    whole = state(build_model(tiny_config(num_puzzles=num_puzzles), torch.device("cpu"), shard=False))
    fill(whole.model)

    def load(model: TrmForPuzzleSolving) -> Tensor:
        part = state(model)
        part.load_tensors(whole.tensors())
        assert part.averaged_model.model.puzzle_embeddings.weight is model.model.puzzle_embeddings.weight
        return own_rows(model.model.puzzle_embeddings)[0].clone()

    assert torch.equal(torch.cat(on_all(processes, load, num_puzzles)), numbered(num_puzzles))


@settings(max_examples=20)
@given(st.integers(1, 12), PROCESSES)
def test_every_process_starts_from_the_same_network(num_puzzles: int, processes: int) -> None:
    def start(model: TrmForPuzzleSolving) -> tuple[dict[str, Tensor], int]:
        dense = {name: tensor for name, tensor in model.state_dict().items() if name != PUZZLE_TABLE}
        torch.manual_seed(0)
        return dense, num_parameters(model)

    torch.manual_seed(0)
    whole = TrmForPuzzleSolving(tiny_config(num_puzzles=1))
    torch.manual_seed(0)
    for dense, count in on_all(processes, start, num_puzzles):
        assert count == whole.num_parameters() + (num_puzzles - 1) * 16
        for name, tensor in dense.items():
            assert torch.equal(tensor, whole.state_dict()[name]), name


class Tasks:
    """As much of `AugmentedTasks` as counts here: tasks of three identifiers each, from 1 on."""

    seed = 0

    def __init__(self, names: str):
        self.names = list(names)

    def ids_of(self, names: list[str]) -> Tensor:
        return torch.tensor([1 + 3 * self.names.index(name) for name in names], dtype=torch.int64)

    def counts_of(self, ids: Tensor) -> Tensor:
        return torch.full_like(ids, 3)


@settings(max_examples=20)
@given(PROCESSES)
def test_parts_take_over_what_a_whole_table_does(processes: int) -> None:
    trained, tasks = numbered(10), Tasks("cadb")  # known: a in rows 1-4 (of which three count), b in rows 5-6
    record = {"data_seed": 0, "first_id_and_count": {"a": [1, 4], "b": [5, 2]}}
    expected = mean_of_trained(trained).float().repeat(13, 1)
    expected[0] = 0
    expected[4:7], expected[10:12] = trained[1:4], trained[5:7]

    def take_over(model: TrmForPuzzleSolving) -> Tensor:
        rows, first = own_rows(model.model.puzzle_embeddings)
        assert take_over_rows(rows, first, trained, tasks, record, "folder") == {"a", "b"}
        return rows

    assert torch.equal(torch.cat(on_all(processes, take_over, 13)), expected)


def test_one_process_has_nothing_to_share() -> None:
    model = build_model(tiny_config(), torch.device("cpu"), shard=True)
    assert type(model.model.puzzle_embeddings) is puzzle_table.TrmPuzzleEmbedding
    assert PUZZLE_TABLE in model.state_dict()
