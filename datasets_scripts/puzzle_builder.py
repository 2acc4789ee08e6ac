# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What all builders share: reading and refusing CSV files, choosing training puzzles, and honest caches."""

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from huggingface_hub import hf_hub_download
from pyarrow import csv

from modeling_trm import randomness_trm, rules_trm, symmetries_trm
from modeling_trm.randomness_trm import random_bits


@dataclass(frozen=True)
class PuzzleConfig:
    """One set of puzzles. `homepage` says where they come from, `license` is an identifier of the Hub."""

    name: str
    description: str
    version: str = "1.0.0"
    is_generated: bool = False
    homepage: str = ""
    license: str = ""


class PuzzleBuilder:
    """Reads or makes puzzles with the splits train and test.

    Subclasses give the class attributes and `make_tables(split, path)`, where `path` is the file of the split, or None
    if its puzzles are generated.

    Args:
        config_name: one of `CONFIGS`.
        data_dir: the folder of the person's own files, for the config `FILES_CONFIG`.
        seed: of chosen and of generated puzzles.
        num_train_puzzles: how many training puzzles to keep, drawn by `seed`; None keeps all.

    Raises:
        ValueError, OSError: in one line, for a file or a puzzle that cannot be used.
    """

    CONFIGS: ClassVar[Sequence[PuzzleConfig]]
    FILES_CONFIG: ClassVar[str | None] = None  # the only config that reads a data_dir; None if all do
    HUB_REPOSITORY: ClassVar[str | None] = None  # what that config reads without one
    BUNDLED_FOLDER: ClassVar[Path | None] = None  # what the other configs read
    SUFFIXES: ClassVar[Sequence[str]] = (".csv", ".csv.gz")

    def __init__(
        self,
        config_name: str,
        *,
        data_dir: str | Path | None = None,
        seed: int = 0,
        num_train_puzzles: int | None = 1000,
    ):
        self.config = next(config for config in self.CONFIGS if config.name == config_name)
        self.data_dir = str(data_dir) if data_dir else None
        self.seed, self.num_train_puzzles = seed, num_train_puzzles
        if self.data_dir and self.FILES_CONFIG not in (None, config_name):
            kind = type(self).__name__.lower()
            raise ValueError(f"{kind} config {config_name!r} reads no data_dir; the config {self.FILES_CONFIG!r} does")

    def read(self, split: str, cache_dir: str | Path | None = None) -> pa.Table:
        """The rows of a split, from the cache of `datasets` if that is installed: what is there is not made again."""
        try:
            from datasets_scripts.hub_dataset import HubDataset
        except ModuleNotFoundError as error:
            if error.name != "datasets":
                raise
            return pa.concat_tables(self.tables(split))
        dataset = HubDataset(self, cache_dir)
        dataset.download_and_prepare()
        return dataset.as_dataset(split).data

    def tables(self, split: str) -> Iterator[pa.Table]:
        """The rows of a split; looks for its file at once."""
        return self.make_tables(split, self.path(split))

    def make_tables(self, split: str, path: str | None) -> Iterator[pa.Table]:
        raise NotImplementedError

    def path(self, split: str) -> str | None:
        if self.config.is_generated:
            return None
        if self.config.name == self.FILES_CONFIG and self.data_dir is None:
            assert self.HUB_REPOSITORY is not None
            try:
                return hf_hub_download(self.HUB_REPOSITORY, f"{split}.csv", repo_type="dataset")
            except OSError as error:
                fault = f"cannot download hf://datasets/{self.HUB_REPOSITORY}/{split}.csv"
                reason = str(error).splitlines()[0]
                raise ConnectionError(f"{fault}; a copy can be read from a data_dir ({reason})") from None
        return str(find_file(self.data_dir or self.BUNDLED_FOLDER, split, self.SUFFIXES))

    def choose(self, split: str, table: pa.Table) -> pa.Table:
        """The rows that the split keeps, in their order."""
        if split != "train" or self.num_train_puzzles is None or len(table) <= self.num_train_puzzles:
            return table
        draws = random_bits(self.seed, 0, torch.arange(len(table)), 1, purpose="sub-sample").squeeze(1)
        return table.take(draws.argsort(stable=True)[: self.num_train_puzzles].sort().values.numpy())

    def fingerprint(self) -> str:
        """Changes with the code, the files and the options that make the data, so that no stale cache is reused."""
        digest = hashlib.blake2b(f"{self.config} {self.seed} {self.num_train_puzzles}".encode(), digest_size=8)
        ours = (sys.modules[type(self).__module__], sys.modules[__name__], randomness_trm, rules_trm, symmetries_trm)
        code = (module.__file__ for module in ours)
        bundled = sorted(self.BUNDLED_FOLDER.glob("*.gz")) if self.BUNDLED_FOLDER else []
        for path in (*map(Path, code), *bundled):
            digest.update(path.read_bytes())
        for path in sorted(Path(self.data_dir).glob("*")) if self.data_dir else ():
            if path.name.endswith(tuple(self.SUFFIXES)):
                status = path.stat()
                digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


def find_file(folder: str | Path, split: str, suffixes: Sequence[str]) -> Path:
    """The file of a split in a folder.

    Raises:
        FileNotFoundError: if there is none; one line with the names that were looked for.
    """
    for suffix in suffixes:
        path = Path(folder) / f"{split}{suffix}"
        if path.is_file():
            return path
    raise FileNotFoundError(f"there is no {' or '.join(split + suffix for suffix in suffixes)} in {folder}")


def read_csv(
    path: str | Path, columns: Sequence[str], to_table: Callable[[pa.RecordBatch, str | Path, int], pa.Table]
) -> pa.Table:
    """Read the text columns of a CSV file; `.gz` is decompressed.

    Args:
        to_table: (rows, path, number of the first row) -> their puzzles, or a `ValueError` that names a row.

    Raises:
        ValueError: if the file is unreadable or a row is illegal; one line that names the file and the row (the first
            one after the header is row 1).
    """
    wrong_rows: list[csv.InvalidRow] = []

    def remember(row: csv.InvalidRow) -> str:
        wrong_rows.append(row)
        return "error"

    tables, num_rows = [], 0
    try:
        batches = csv.open_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=16 << 20),
            parse_options=csv.ParseOptions(invalid_row_handler=remember),
            convert_options=csv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns, pa.string())
            ),
        )
        for batch in batches:
            tables.append(to_table(batch, path, num_rows + 1))
            num_rows += len(batch)
    except (pa.ArrowException, OSError) as error:
        if wrong_rows:
            row = wrong_rows[0]
            fault = f"{row.actual_columns} columns instead of {row.expected_columns}"
            raise ValueError(f"{path} row {row.number - 1}: {fault}") from None
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None
    if num_rows == 0:
        raise ValueError(f"{path}: there are no puzzles in this file")
    return pa.concat_tables(tables)


def puzzle_table(input_ids: np.ndarray, labels: np.ndarray, **columns: pa.Array) -> pa.Table:
    """Token grids [rows, cells] of any integer dtype, and more columns beside them."""
    grids = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(grid.ravel()), grid.shape[1])
        for name, grid in (("input_ids", input_ids), ("labels", labels))
    }
    return pa.table(grids | columns)


def token_grids(column: pa.ChunkedArray) -> np.ndarray:
    """A column of token lists as one array of our own [rows, cells]: no Python per row."""
    return np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks]).reshape(len(column), -1)


def count_leading(flags: np.ndarray) -> int:
    """How many flags are true before the first false one."""
    return len(flags) if flags.all() else int(flags.argmin())
