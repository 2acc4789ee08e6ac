# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Files that can be trusted: tensors in parts of a bounded size, folders with checksums, whole or not there at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

MANIFEST = "manifest.json"
HEADER_LINE = 256  # more than a tensor takes in the header of a file
NOT_WRITTEN = (OSError, SafetensorError)  # no space left, no permission, a file system that is gone


def save_tensors(tensors: dict[str, Tensor], folder: Path, stem: str, max_bytes: int | None = None) -> None:
    """Writes `stem.safetensors`, or `stem-00001-of-00004.safetensors` ... of at most `max_bytes` each.

    A tensor that does not fit one file is cut along its first dimension into pieces `name@row`; a single row is never
    cut.
    """
    parts: list[dict[str, Tensor]] = [{}]
    room = limit = max_bytes or float("inf")
    for name, piece in pieces(tensors, limit):
        size = piece.nbytes + HEADER_LINE
        if size > room and parts[-1]:
            parts.append({})
            room = limit
        parts[-1][name] = piece.contiguous()
        room -= size
    for number, part in enumerate(parts, start=1):
        suffix = "" if len(parts) == 1 else f"-{number:05d}-of-{len(parts):05d}"
        save_file(part, folder / f"{stem}{suffix}.safetensors")


def pieces(tensors: dict[str, Tensor], limit: float) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if tensor.nbytes + HEADER_LINE <= limit or tensor.ndim == 0 or len(tensor) < 2:
            yield name, tensor
            continue
        rows = max(1, int((limit - HEADER_LINE) // (tensor.nbytes / len(tensor))))
        for start in range(0, len(tensor), rows):
            yield f"{name}@{start}", tensor[start : start + rows].clone()


def load_tensors(folder: Path, stem: str) -> dict[str, Tensor]:
    """The inverse of `save_tensors`."""
    whole: dict[str, Tensor] = {}
    cut: dict[str, list[tuple[int, Tensor]]] = {}
    for path in [*folder.glob(f"{stem}.safetensors"), *folder.glob(f"{stem}-*-of-*.safetensors")]:
        for key, tensor in load_file(path).items():
            name, _, start = key.partition("@")
            if start:
                cut.setdefault(name, []).append((int(start), tensor))
            else:
                whole[name] = tensor
    joined = {name: torch.cat([piece for _, piece in sorted(rows)]) for name, rows in cut.items()}
    return whole | joined


def write_manifest(folder: Path) -> None:
    """Writes the checksums of all files of a folder; see `find_damage`."""
    checksums = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(checksums, indent=2))


def checksum(path: Path) -> str:
    """SHA-256, which processors compute at the speed of a disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder, compared with its manifest; `None` if nothing is."""
    try:
        checksums = json.loads((folder / MANIFEST).read_text())
        changed = [name for name, expected in checksums.items() if checksum(folder / name) != expected]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    return f"{changed[0]} is not what was written" if changed else None


def replace_folder(temporary: Path, final: Path) -> None:
    """Puts a finished folder in place of another one, all its bytes on the disk first."""
    for path in [*temporary.iterdir(), temporary]:
        flush(path)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    flush(final.parent)


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files replace those of `folder`, each at once, when the block ends well."""
    temporary = folder / ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for path in temporary.iterdir():
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def failure_of(write: Callable[[], None], accelerator: Accelerator) -> str | None:
    """Writes, on every process; why it failed on one of them, the same on all, or `None`."""
    failure = None
    try:
        write()
    except NOT_WRITTEN as error:
        failure = " ".join(str(error).split())
    return next((reason for reason in gather_object([failure]) if reason is not None), None)
