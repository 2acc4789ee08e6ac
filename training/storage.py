# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Files that can be trusted: folders with checksums, whole or not there at all."""

import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError

from modeling_trm.loading import read_object
from modeling_trm.saving_trm import share

from .errors import require

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

LOCK = ".lock"
MANIFEST = "manifest.json"
NOT_WRITTEN = (OSError, SafetensorError)  # no space left, no permission, a file system that is gone


def write_manifest(folder: Path) -> None:
    """Writes the checksums of all files of a folder; see `find_damage`."""
    checksums = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    write_json(checksums, folder / MANIFEST, indent=2)


def checksum(path: Path) -> str:
    """SHA-256, which processors compute at the speed of a disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder, compared with its manifest; `None` if nothing is.

    Raises:
        OSError: it cannot be read, which is no damage.
    """
    try:
        checksums = read_object(folder / MANIFEST)
        changed = [name for name, expected in checksums.items() if checksum(folder / name) != expected]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except ValueError as error:
        return " ".join(str(error).split())
    unlisted = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in checksums)
    faults = [f"{name} is not what was written" for name in changed] + [f"{name} is not listed" for name in unlisted]
    return faults[0] if faults else None


def replace_folder(temporary: Path, final: Path) -> None:
    """Puts a finished folder in place of another one, all its bytes on the disk first."""
    share(temporary)
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


@contextmanager
def held(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Keeps other runs out of a folder while the block runs, by a lock that ends with this process.

    File systems and systems without such locks keep nobody out.

    Raises:
        UserError: another run is in it.
    """
    with ExitStack() as stack:

        def lock() -> None:
            if not accelerator.is_main_process or fcntl is None:
                return
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / LOCK).open("a+", encoding="utf-8"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise OSError(f"another run is training into {folder}: {file.read().strip()}") from None
            except OSError:
                return
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()

        failure = failure_of(lock, accelerator)
        require(failure is None, str(failure))
        yield


def failure_of(write: Callable[[], None], accelerator: Accelerator) -> str | None:
    """Writes, on every process; why it failed on one of them, the same on all, or `None`."""
    failure = None
    try:
        write()
    except NOT_WRITTEN as error:
        failure = " ".join(str(error).split())
    return next((reason for reason in gather_object([failure]) if reason is not None), None)


def require_writable(path: Path) -> None:
    """Raises `UserError` if a file cannot be written there: asked before the work, so that none is lost."""
    require(not path.is_dir(), f"{path} is a folder: name a file")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    is_writable = above.is_dir() and os.access(above, os.W_OK)
    require(is_writable, f"{path} cannot be written: {above} is no folder that you may write to")


def write_json(value: Any, path: Path, indent: int | None = None) -> None:
    """Writes a file of JSON, whole or not at all; what is infinite, for which JSON has no number, is text: "inf"."""
    write_text(json.dumps(spelled(value), indent=indent, allow_nan=False) + "\n", path)


def spelled(value: Any) -> Any:
    """A value of JSON with the numbers that are not finite as text."""
    if isinstance(value, dict):
        return {name: spelled(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [spelled(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_text(text: str, path: Path) -> None:
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
