# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Any of our puzzles as a `datasets` builder: cached on disk, and written as parquet for the Hub."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
from datasets.exceptions import DatasetGenerationError

from datasets_scripts.puzzle_builder import PuzzleBuilder


class HubDataset(datasets.ArrowBasedBuilder):
    """The splits train and test of a builder of ours; the columns are those of its tables.

    Args:
        puzzles: what it is made of.
        cache_dir: where to keep it; by default where `datasets` keeps everything.
    """

    def __init__(self, puzzles: PuzzleBuilder, cache_dir: str | Path | None = None):
        self.puzzles, config = puzzles, puzzles.config
        super().__init__(
            cache_dir=cache_dir and str(cache_dir),
            dataset_name=type(puzzles).__name__.lower(),
            config_name=config.name,
            version=config.version,
            hash=puzzles.fingerprint(),
        )

    def download_and_prepare(self, *args, **kwargs) -> None:
        try:
            super().download_and_prepare(*args, **kwargs)
        except DatasetGenerationError as error:
            if isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None
            raise

    def _info(self) -> datasets.DatasetInfo:
        config = self.puzzles.config
        return datasets.DatasetInfo(description=config.description, homepage=config.homepage, license=config.license)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        tables = {split: self.puzzles.tables(split) for split in self.puzzles.splits()}
        return [datasets.SplitGenerator(name=split, gen_kwargs={"tables": found}) for split, found in tables.items()]

    def _generate_tables(self, tables: Iterator[pa.Table]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        for number, table in enumerate(tables):
            yield (0, number), table
