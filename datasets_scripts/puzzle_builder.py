# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What all builders share: reading and refusing CSV files, choosing training puzzles, and honest caches."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from huggingface_hub import hf_hub_download
from pyarrow import csv, parquet

from datasets_scripts.files import COMPRESSIONS, UNREADABLE, find_files, open_bytes, open_text
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
    SUFFIXES: ClassVar[Sequence[str]] = (*(".csv" + compression for compression in COMPRESSIONS), ".parquet")

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
        if split not in self.splits():
            self.path(split)  # says what is missing
        dataset = HubDataset(self, cache_dir)
        dataset.download_and_prepare()
        return dataset.as_dataset(split).data

    def tables(self, split: str) -> Iterator[pa.Table]:
        """The rows of a split; looks for its file at once."""
        return self.make_tables(split, self.path(split))

    def splits(self) -> list[str]:
        """The splits there are: of a person's own files one may be missing."""
        found = []
        for split in ("train", "test"):
            try:
                self.path(split)
                found.append(split)
            except FileNotFoundError:
                if not self.data_dir:
                    raise
        if not found:
            self.path("train")  # says what is missing
        return found

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
        found = find_files(self.data_dir or self.BUNDLED_FOLDER, split, tuple(self.SUFFIXES))
        if len(found) > 1:
            raise ValueError(f"{found[0].parent} holds {len(found)} parts of {split}: put them together in one file")
        return str(found[0])

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
        depths = ("*", "*/*", "*/*/*")
        for path in (
            sorted(path for depth in depths for path in Path(self.data_dir).glob(depth)) if self.data_dir else ()
        ):
            if path.name.endswith(tuple(self.SUFFIXES)):
                status = path.stat()
                digest.update(f"{path.relative_to(self.data_dir)} {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()


NAMES = {  # of columns in files from elsewhere
    "question": ("question", "puzzle", "puzzles", "quiz", "quizzes", "input", "maze"),
    "answer": ("answer", "solution", "solutions", "output"),
    "source": ("source",),
    "rating": ("rating",),
}
NOT_RATED = "0"


def find_columns(path: Path) -> tuple[dict[str, str], str]:
    """The name that a CSV file has for each column of ours, and what separates its fields.

    Raises:
        ValueError: there is no question or no answer; one line with the columns that there are.
    """
    with open_text(path) as file:
        header = file.readline()
    delimiter = max(",;\t", key=header.count)
    found = [name.strip().strip('"') for name in header.split(delimiter)]
    return (name_columns(path, found) if header.strip() else {}), delimiter


def name_columns(path: Path, found: Sequence[str]) -> dict[str, str]:
    """Which of the columns found is which of ours; see `find_columns`."""
    named = {name.lower(): name for name in reversed(found)}
    columns = {ours: named[name] for ours, names in NAMES.items() for name in reversed(names) if name in named}
    for ours in ("question", "answer"):
        if ours not in columns:
            known = " or ".join(map(repr, NAMES[ours]))
            raise ValueError(f"{path}: there is no column {known}; there are {', '.join(map(repr, found))[:200]}")
    return columns


def read_csv(
    path: str | Path,
    to_table: Callable[[pa.RecordBatch, str | Path, int], pa.Table],
    characters: str,
    blanks: str = "",
) -> pa.Table:
    """Read the puzzles of a CSV file, also compressed, with the columns question, answer, source and rating.

    A parquet file is read too, with these columns or with tokens, as `datasets_scripts.build` writes them. A file
    without source has its own name there, one without rating 0; see `NAMES` for other names of columns.

    Args:
        to_table: (rows, path, number of the first row) -> their puzzles, or a `ValueError` that names a row.
        characters: the one of each token but padding.
        blanks: characters of questions that stand for `.`.

    Raises:
        ValueError: if the file is unreadable or a row is illegal; one line that names the file and the row (the first
            one after the header is row 1).
    """
    path = Path(path)
    wrong_rows: list[csv.InvalidRow] = []
    tables, num_rows = [], 0
    try:
        for columns in (
            _parquet_columns(path, characters) if path.suffix == ".parquet" else _csv_columns(path, wrong_rows)
        ):
            count = len(columns["question"])
            for name, default in (("source", path.name), ("rating", NOT_RATED)):
                columns.setdefault(name, pa.array([default] * count))
            if blanks:
                columns["question"] = pc.replace_substring_regex(columns["question"], f"[{re.escape(blanks)}]", ".")
            tables.append(to_table(pa.RecordBatch.from_pydict(columns), path, num_rows + 1))
            num_rows += count
    except (*UNREADABLE, UnicodeError) as error:
        if wrong_rows:
            row = wrong_rows[0]
            fault = f"{row.actual_columns} columns instead of {row.expected_columns}"
            raise ValueError(f"{path} row {row.number - 1}: {fault}") from None
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None
    if num_rows == 0:
        raise ValueError(f"{path}: there are no puzzles in this file")
    return pa.concat_tables(tables)


def _csv_columns(path: Path, wrong_rows: list[csv.InvalidRow]) -> Iterator[dict[str, pa.Array]]:
    """The columns of a CSV file under our names, many rows at a time; a row of another length is put into the list."""

    def remember(row: csv.InvalidRow) -> str:
        wrong_rows.append(row)
        return "error"

    columns, delimiter = find_columns(path)
    with open_bytes(path) as file:
        batches = csv.open_csv(
            file,
            read_options=csv.ReadOptions(use_threads=False, block_size=16 << 20),
            parse_options=csv.ParseOptions(delimiter=delimiter, invalid_row_handler=remember),
            convert_options=csv.ConvertOptions(
                include_columns=list(columns.values()), column_types=dict.fromkeys(columns.values(), pa.string())
            ),
        )
        for batch in batches:
            yield {name: batch[theirs] for name, theirs in columns.items()}


def _parquet_columns(path: Path, characters: str) -> Iterator[dict[str, pa.Array]]:
    """The columns of a parquet file under our names, as text."""
    with path.open("rb") as raw:
        file = parquet.ParquetFile(raw)
        has_tokens = {"input_ids", "labels"} <= set(file.schema_arrow.names)
        tokens = {"question": "input_ids", "answer": "labels"} if has_tokens else {}
        columns = name_columns(path, file.schema_arrow.names) if not has_tokens else {}
        columns |= {name: name for name in ("source", "rating") if name in file.schema_arrow.names}
        for batch in file.iter_batches():
            read = {name: batch[theirs].cast(pa.string()) for name, theirs in columns.items()}
            yield read | {name: _as_text(batch[theirs], characters) for name, theirs in tokens.items()}


def _as_text(tokens: pa.Array, characters: str) -> pa.Array:
    """Lists of tokens as strings; a token that means nothing is `?`."""
    known = dict(enumerate(characters, start=1))
    return pa.array(["".join(known.get(token, "?") for token in row) for row in tokens.to_pylist()], pa.string())


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
