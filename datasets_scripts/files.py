# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""A person's files of rows: where a split lies in a folder, and its rows, whatever the kind of file.

| kind              | rows                                                             |
|-------------------|------------------------------------------------------------------|
| `.jsonl`          | one JSON object per line                                         |
| `.json`           | a list of objects, also under `data` or `rows`, or as `.jsonl`   |
| `.csv`, `.tsv`    | a header, then fields between commas, semicolons or tabs         |
| `.parquet`        | one row per row                                                  |

Text may be compressed (`.gz`, `.xz`, `.bz2`, `.zip`), begin with a mark as Windows writes it, and be UTF-16. A split
is `SPLIT.KIND`, or as the Hub lays it out `SPLIT-00000-of-00001.KIND`, in the folder itself, in `data/` or in the
folder of a config.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet

OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
COMPRESSIONS = ("", *OPENERS, ".zip")
TEXT_KINDS = (".jsonl", ".json", ".csv", ".tsv")
SUFFIXES = (*(kind + compression for kind in TEXT_KINDS for compression in COMPRESSIONS), ".parquet")
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException)
CSV_FIELD_LIMIT = 1 << 20  # characters


def find_files(folder: str | Path, split: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files of a split in a folder: one, or several numbered parts.

    Raises:
        FileNotFoundError: there are none; one line with what was looked for and what is there.
        ValueError: two kinds of file, or two configs, hold the split.
    """
    folder = Path(folder)
    for suffix in suffixes:
        if (path := folder / f"{split}{suffix}").is_file():
            return [path]
    kinds = "|".join(re.escape(suffix) for suffix in suffixes)
    is_part = re.compile(rf"{split}(-\d+-of-\d+)?({kinds})")
    found: dict[Path, list[Path]] = {}
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))) if folder.is_dir() else ():
        if is_part.fullmatch(path.name) and path.is_file():
            found.setdefault(path.parent, []).append(path)
    if len(found) > 1:
        places = " and ".join(str(place) for place in found)
        raise ValueError(f"the split {split!r} is in {places}: give one of these folders as data_dir")
    if found:
        return next(iter(found.values()))
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no {split}{suffixes[0]}, and no folder {folder}")
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())[:9]
    wanted = " or ".join(split + suffix for suffix in suffixes if not suffix.endswith((".xz", ".bz2", ".zip")))
    raise FileNotFoundError(f"there is no {wanted} in {folder}, only {', '.join(names) or 'nothing'}")


def open_bytes(path: Path) -> IO[bytes]:
    """The contents of a file that may be compressed; a `.zip` must hold one file."""
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
        if len(names) != 1:
            raise ValueError(f"{path}: a .zip must hold one file, not {len(names)}")
        return archive.open(names[0])
    return OPENERS.get(path.suffix, open)(path, "rb")


def open_text(path: Path) -> io.TextIOWrapper:
    """The text of a file that may be compressed, in UTF-8, or in UTF-16 with its mark."""
    file = open_bytes(path)
    start = file.read(2)
    file.seek(0)
    encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(file, encoding, newline="")


def read_rows(path: str | Path) -> Iterator[Any]:
    """The rows of a file, one after the other.

    Raises:
        ValueError: it cannot be read; one line that names the file and, where one is wrong, the row.
    """
    path, number = Path(path), 0
    try:
        for row in _rows(path):
            number += 1
            yield row
    except (json.JSONDecodeError, csv.Error, UnicodeError, RecursionError) as error:
        raise ValueError(f"{path} row {number + 1}: {error}") from None
    except UNREADABLE as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        with path.open("rb") as raw:
            for batch in parquet.ParquetFile(raw).iter_batches():
                yield from batch.to_pylist()
        return
    kind = next(suffix for suffix in reversed(path.suffixes) if suffix in TEXT_KINDS)
    with open_text(path) as file:
        if kind in (".csv", ".tsv"):
            yield from _csv_rows(file)
        elif kind == ".json":
            yield from _json_rows(file.read())
        else:
            yield from (json.loads(line) for line in file if line.strip())


def _csv_rows(file: io.TextIOWrapper) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(CSV_FIELD_LIMIT)
    header = file.readline()
    file.seek(0)
    delimiter = max(",;\t", key=header.count)
    for row in csv.DictReader(file, strict=True, delimiter=delimiter):
        if None in row:
            raise csv.Error(f"it has more fields than the header, {header.strip()!r:.80}")
        yield {name.strip(): field for name, field in row.items()}


def _json_rows(text: str) -> list[Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    for name in ("data", "rows"):
        if isinstance(content, dict) and isinstance(content.get(name), list) and "input" not in content:
            return content[name]
    return content if isinstance(content, list) else [content]
