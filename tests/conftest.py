# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Offline, on one thread, in a cache of its own; and the data sets that several tests share."""

import os
import tempfile
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
_cache = tempfile.TemporaryDirectory(prefix="trm-tests-")  # removed when the session ends
os.environ["HF_HOME"] = _cache.name
for _name in ("HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_HUB_CACHE"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402
import torch  # noqa: E402
from hub import FIGURES  # noqa: E402
from hypothesis import settings  # noqa: E402

from datasets_scripts.tasks import Puzzles, load_puzzles  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("trm", deadline=None, derandomize=True)  # a rerun or a busy machine changes nothing
settings.load_profile("trm")


@pytest.fixture(scope="session")
def sudoku_splits() -> dict[str, dict[str, Puzzles]]:
    """Both splits of every Sudoku config that needs no download."""
    return {
        config: {split: load_puzzles("sudoku", config, split) for split in ("train", "test")}
        for config in ("hard", "hard-sample", "easy-sample", "mini-6x6")
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tensors too small to share: on a busy machine two threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured, in the log of every run."""
    for line in FIGURES:
        terminalreporter.write_line(line)
