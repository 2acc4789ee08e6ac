# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The record of an evaluation: what was measured, on what and with what."""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers.utils import SAFE_WEIGHTS_NAME

from ..errors import require, user_errors


def describe_run(device: torch.device) -> dict[str, Any]:
    """Where and with what a number was measured."""
    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else f"{device.type} ({processor_name()})",
        "num_threads": None if is_cuda else torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "accelerate", "safetensors")}
        | {"python": platform.python_version()},
        "commit": current_commit(),
    }


def processor_name() -> str:
    """Name of the CPU, as the system gives it."""
    return torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()


def current_commit() -> str | None:
    """Commit of this code, with `-dirty` if files are changed, or `None` where git does not track this file."""
    file = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=file.parent, capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", file.name)  # fails in an environment inside somebody else's repository
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def weights_of(folder: str | Path) -> str:
    """The SHA-256 of a model's weights in a folder: what its results belong to."""
    with (
        user_errors(f"cannot read the weights of {folder}: ", OSError),
        (Path(folder) / SAFE_WEIGHTS_NAME).open("rb") as file,
    ):
        return hashlib.file_digest(file, "sha256").hexdigest()


def merge_results(old: list[dict[str, Any]], new: list[dict[str, Any]], weights: str) -> list[dict[str, Any]]:
    """`new`, after those of `old` that are of the same weights and on another task, dataset or split."""

    def place(result: dict[str, Any]) -> tuple[str, ...]:
        return tuple(result[name] for name in ("task", "dataset", "split"))

    replaced = {place(result) for result in new}
    return [result for result in old if result["weights"] == weights and place(result) not in replaced] + new


def are_results(content: Any) -> bool:
    """Whether this is a list of evaluations, of the kind that has `weights` and `dataset_id`."""
    known = {"task", "dataset", "dataset_id", "split", "weights"}
    return isinstance(content, list) and all(isinstance(one, dict) and known <= one.keys() for one in content)


def read_results(path: Path) -> list[dict[str, Any]]:
    """The evaluations in a file of evaluations; none where there is no file.

    Raises:
        UserError: it is another kind of file.
    """
    if not path.exists():
        return []
    require(path.is_file(), f"{path} is no file: move it away")
    with user_errors(f"{path} is not JSON: ", ValueError, RecursionError):
        results = json.loads(path.read_text(encoding="utf-8"))
    require(are_results(results), f"{path} is no list of evaluations as train.py and eval.py write it: move it away")
    return results
