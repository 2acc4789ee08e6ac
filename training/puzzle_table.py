# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The table of puzzle embeddings, which for ARC has about a million rows of 512 numbers.

Each process holds the whole table or, with `shard_puzzle_embeddings`, an equal share of its rows. Either way a step
moves only the rows of its batch, and training computes the same numbers to the last bit. A published model is whole.
"""

import copy
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from modeling_trm import TrmConfig, TrmForPuzzleSolving
from modeling_trm.modeling_trm import TrmPuzzleEmbedding

from .exchange import AllToAll, all_gather, num_processes, process_index
from .storage import save_tensors

PUZZLE_TABLE = "model.puzzle_embeddings.weight"
ROWS_AT_ONCE = 65536


class ShardedPuzzleEmbedding(TrmPuzzleEmbedding):
    """Rows `first` to `first + rows - 1` of the table: the processes share it out evenly, in the order of the ids.

    A lookup exchanges ids, then rows, and its gradient goes the same way back to the process that holds the row: there
    `weight.grad` is sparse and has the parts of all processes. Every process must call it at the same time, with the
    same number of ids. Each sends every other one a row for each of its ids, zeros where it does not hold it, so that
    no shape depends on the data and nothing waits for the device.

    Attributes:
        weight: [rows + 1, size]; the last row stands for all rows of other processes and stays zero.
        held: ids, ascending, and their rows, for lookups without exchange (see `hold`).
    """

    held: tuple[Tensor, Tensor] | None = None

    def __init__(self, num_puzzles: int, size: int):
        self.rows = -(-num_puzzles // num_processes())
        super().__init__(self.rows + 1, size)
        self.num_puzzles, self.first = num_puzzles, process_index() * self.rows

    def forward(self, ids: Tensor) -> Tensor:
        if self.held is None:
            return self.look_up(ids)
        known, rows = self.held
        return rows[torch.searchsorted(known, ids)]

    def look_up(self, ids: Tensor) -> Tensor:
        place = all_gather(ids) - self.first  # [processes * ids]
        place = torch.where((place >= 0) & (place < self.rows), place, self.rows)
        blocks = AllToAll.apply(super().forward(place))  # block p: what process p holds of `ids`
        holder = ids // self.rows
        return blocks[holder * len(ids) + torch.arange(len(ids), device=ids.device)]

    @torch.no_grad()
    def hold(self, ids: Tensor) -> None:
        """Fetches the rows of `ids`, in pieces, so that each process can then go at its own pace."""
        wanted = ids.to(self.weight.device).unique()
        most = int(all_gather(torch.tensor([len(wanted)], device=wanted.device)).max())
        piece = min(most, ROWS_AT_ONCE // num_processes())
        padded = F.pad(wanted, (0, -(-most // piece) * piece - len(wanted)))
        self.held = wanted, torch.cat([self.look_up(part) for part in padded.split(piece)])[: len(wanted)]

    @torch.no_grad()
    def gather(self) -> Tensor | None:
        """The whole table, [num_puzzles, size], in the host's memory; only on the first process."""
        if process_index() > 0:
            for part in self.weight[:-1].split(ROWS_AT_ONCE):
                dist.gather(part)
            return None
        whole = torch.empty(num_processes(), self.rows, self.embedding_dim, dtype=self.weight.dtype)
        start = 0
        for part in self.weight[:-1].split(ROWS_AT_ONCE):
            parts = [torch.empty_like(part) for _ in range(num_processes())]
            dist.gather(part, parts)
            for process, rows in enumerate(parts):
                whole[process, start : start + len(rows)] = rows
            start += len(part)
        return whole.flatten(0, 1)[: self.num_puzzles]

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        """Nothing: the state of the model is what all processes have in common."""

    def _load_from_state_dict(self, state_dict, prefix, *others) -> None:
        """Takes the rows of this process, or its part of a whole table; without either it stays as it is."""
        given = state_dict.get(f"{prefix}weight")
        if given is not None:
            rows, first = own_rows(self)
            rows.copy_(given[first : first + len(rows)] if len(given) == self.num_puzzles else given)


def own_rows(table: TrmPuzzleEmbedding) -> tuple[Tensor, int]:
    """The rows of the table that this process holds, and the id of the first of them."""
    if not isinstance(table, ShardedPuzzleEmbedding):
        return table.weight.data, 0
    return table.weight.data[: max(0, min(table.rows, table.num_puzzles - table.first))], table.first


def build_model(config: TrmConfig, device: torch.device, shard: bool) -> TrmForPuzzleSolving:
    """A new model. No random number depends on the size of its table, which starts at zero, or is spent on it."""
    small = copy.deepcopy(config)
    small.num_puzzles = 1
    model = TrmForPuzzleSolving(small)
    model.config.num_puzzles = config.num_puzzles
    if model.model.puzzle_embeddings is not None:
        kind = ShardedPuzzleEmbedding if shard and num_processes() > 1 else TrmPuzzleEmbedding
        with torch.device("meta"):  # nn.Embedding would fill it with random numbers
            table = kind(config.num_puzzles, config.puzzle_embedding_size)
        table.weight = nn.Parameter(torch.zeros(table.weight.shape, dtype=model.dtype, device=device))
        model.model.puzzle_embeddings = table
    return model.to(device)


def num_parameters(model: TrmForPuzzleSolving) -> int:
    """Of the whole model, wherever its rows are."""
    dense = sum(parameter.numel() for name, parameter in model.named_parameters() if name != PUZZLE_TABLE)
    has_table = model.model.puzzle_embeddings is not None
    return dense + has_table * model.config.num_puzzles * model.config.puzzle_embedding_size


def hold_rows(model: nn.Module, puzzle_ids: Tensor | None) -> None:
    """Readies a sharded table for an evaluation of `puzzle_ids` on this process. All processes must call it."""
    for table in model.modules():
        if isinstance(table, ShardedPuzzleEmbedding):
            table.hold(torch.zeros(1, dtype=torch.long) if puzzle_ids is None else puzzle_ids)


def release_rows(model: nn.Module) -> None:
    """Forgets what `hold_rows` fetched."""
    for table in model.modules():
        if isinstance(table, ShardedPuzzleEmbedding):
            table.held = None


def whole_model(model: TrmForPuzzleSolving) -> TrmForPuzzleSolving:
    """The model with its whole table, on the first process. All processes must call it."""
    table = model.model.puzzle_embeddings
    if not isinstance(table, ShardedPuzzleEmbedding):
        return model
    weight = table.gather()
    if weight is None:
        return model
    model.model.puzzle_embeddings = None
    whole = copy.deepcopy(model).cpu()
    model.model.puzzle_embeddings = table
    with torch.device("meta"):
        whole.model.puzzle_embeddings = TrmPuzzleEmbedding(*weight.shape)
    whole.model.puzzle_embeddings.weight = nn.Parameter(weight)
    return whole


def save_table(model: TrmForPuzzleSolving, folder: Path, max_bytes: int | None = None) -> None:
    """Writes this process's part of a sharded table, in files of at most `max_bytes`."""
    table = model.model.puzzle_embeddings
    if isinstance(table, ShardedPuzzleEmbedding):
        rows, first = own_rows(table)
        save_tensors({str(first): rows}, folder, f"table-{process_index():05d}", max_bytes)


def load_table(model: TrmForPuzzleSolving, folder: Path) -> dict[str, Tensor]:
    """This process's rows of a table that any number of processes wrote, by name; empty if it was not sharded."""
    paths = sorted(folder.glob("table-*.safetensors"))
    if not paths:
        return {}
    rows, first = own_rows(model.model.puzzle_embeddings)
    found: dict[int, Tensor] = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  the file is no dictionary
                part = file.get_slice(name)
                start = sum(int(number) for number in name.split("@"))
                low, high = max(first - start, 0), min(first + len(rows) - start, part.get_shape()[0])
                if low < high:
                    found[start] = part[low:high]
    return {f"model.{PUZZLE_TABLE}": torch.cat([rows[:0].cpu(), *(found[start] for start in sorted(found))])}
