# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What all builders share: reading and refusing CSV files, choosing training puzzles, and honest caches."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets.exceptions import DatasetGenerationError
from pyarrow import csv

from modeling_trm import randomness_trm, rules_trm, symmetries_trm
from modeling_trm.randomness_trm import random_bits


@dataclass
class PuzzleConfig(datasets.BuilderConfig):
    """`num_train_puzzles` are drawn from the training split by `seed`; a number larger than there are keeps all.

    `homepage` says where the puzzles come from, `license` is an identifier of the Hub.
    """

    version: str = "1.0.0"
    num_train_puzzles: int = 1000
    seed: int = 0
    is_generated: bool = False
    homepage: str = ""
    license: str = ""


class PuzzleBuilder(datasets.ArrowBasedBuilder):
    """A `datasets` builder of puzzles with the splits train and test.

    Subclasses give the class attributes and `_generate_tables(split, path)`, where `path` is the file of the split, or
    None if its puzzles are generated.

    Args:
        data_dir: the folder of the person's own files, for the config `FILES_CONFIG`.
        num_train_puzzles: how many training puzzles to keep, drawn by `seed`; None keeps all.
        other arguments: those of `datasets.DatasetBuilder` (`config_name`, `cache_dir`, ...) and `PuzzleConfig`.

    Raises:
        ValueError, OSError: in one line, for a file or a puzzle that cannot be used.
    """

    FILES_CONFIG: ClassVar[str]  # the config that reads a data_dir
    HUB_FOLDER: ClassVar[str | None] = None  # what that config reads without one
    BUNDLED_FOLDER: ClassVar[Path | None] = None  # what the other configs read
    SUFFIXES: ClassVar[Sequence[str]] = (".csv", ".csv.gz")

    def __init__(
        self, *args, data_dir: str | Path | None = None, num_train_puzzles: int | None = 1000, **kwargs
    ) -> None:
        data_dir = str(data_dir) if data_dir else None
        if num_train_puzzles is None:
            num_train_puzzles = sys.maxsize  # `datasets` takes None for "not given"
        fingerprint = self._fingerprint(data_dir)
        super().__init__(*args, data_dir=data_dir, num_train_puzzles=num_train_puzzles, hash=fingerprint, **kwargs)
        if data_dir and self.config.name != self.FILES_CONFIG:
            kind = type(self).__name__.lower()
            raise ValueError(
                f"{kind} config {self.config.name!r} reads no data_dir; the config {self.FILES_CONFIG!r} does"
            )

    def download_and_prepare(self, *args, **kwargs) -> None:
        try:
            super().download_and_prepare(*args, **kwargs)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None
            raise

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "path": self._path(split, dl_manager)})
            for split in ("train", "test")
        ]

    def _path(self, split: str, dl_manager: datasets.DownloadManager) -> str | None:
        if self.config.is_generated:
            return None
        if self.config.name == self.FILES_CONFIG and self.config.data_dir is None:
            try:
                return dl_manager.download(f"{self.HUB_FOLDER}/{split}.csv")
            except ConnectionError as error:
                fault = f"cannot download {self.HUB_FOLDER}/{split}.csv; a copy can be read from a data_dir"
                raise ConnectionError(f"{fault} ({str(error).splitlines()[0]})") from None
        return str(find_file(self.config.data_dir or self.BUNDLED_FOLDER, split, self.SUFFIXES))

    def _choose(self, split: str, table: pa.Table) -> pa.Table:
        """The rows that the split keeps, in their order."""
        if split != "train" or len(table) <= self.config.num_train_puzzles:
            return table
        draws = random_bits(self.config.seed, 0, torch.arange(len(table)), 1, purpose="sub-sample").squeeze(1)
        return table.take(draws.argsort(stable=True)[: self.config.num_train_puzzles].sort().values.numpy())

    @classmethod
    def _fingerprint(cls, data_dir: str | None) -> str:
        """Changes with the code and the files that make the data, so that `datasets` reuses no stale cache."""
        digest = hashlib.blake2b(digest_size=8)
        ours = (sys.modules[cls.__module__], sys.modules[__name__], randomness_trm, rules_trm, symmetries_trm)
        code = (module.__file__ for module in ours)
        bundled = sorted(cls.BUNDLED_FOLDER.glob("*.gz")) if cls.BUNDLED_FOLDER else []
        for path in (*map(Path, code), *bundled):
            digest.update(path.read_bytes())
        for path in sorted(Path(data_dir).glob("*")) if data_dir else ():
            if path.name.endswith(tuple(cls.SUFFIXES)):
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
