# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Offline, in a cache of its own, on one thread unless OMP_NUM_THREADS says otherwise; data sets that tests share."""

import os
import tempfile
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
_cache = tempfile.TemporaryDirectory(prefix="trm-tests-")
os.environ["HF_HOME"] = _cache.name
for _name in ("HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_HUB_CACHE"):
    os.environ.pop(_name, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start as well: two workers run at a time

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from datasets_scripts.tasks import Puzzles, load_puzzles  # noqa: E402

settings.register_profile("trm", deadline=None, derandomize=True)  # a rerun or a busy machine changes nothing
settings.load_profile("trm")


@pytest.fixture(scope="session")
def sudoku_splits() -> dict[str, dict[str, Puzzles]]:
    """Both splits of every Sudoku config that needs no download."""
    return {
        config: {split: load_puzzles("sudoku", config, split, num_train_puzzles=None) for split in ("train", "test")}
        for config in ("hard", "hard-sample", "easy-sample", "mini-6x6")
    }


@pytest.fixture(autouse=True, scope="module")
def fresh_compiler() -> None:
    """Without what other files compiled: after some models of one class torch compiles no more of them."""
    torch.compiler.reset()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For goldens that were made so: training steps amplify another order of summation a lot."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of files that can start processes."""
    starters = {"subprocess", "multiprocessing", "run_without_the_package"}
    for item in items:
        if starters & vars(item.module).keys():
            item.add_marker("process")


def pytest_unconfigure() -> None:
    _cache.cleanup()  # the workers of pytest-xdist end without their exit handlers
