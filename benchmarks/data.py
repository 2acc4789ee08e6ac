# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What ARC-AGI-1 with 1,000 augmentations costs on one core, as JSON beside the official builder's figures.

Everything starts from nothing: the data are built in a cache of their own. `peak_mib` is the most memory that the
process ever held, with the libraries, which `libraries_mib` of it are. The official figures for 1,000 augmentations
are extrapolated from a measurement at 100 (30 s, 1.7 GiB of memory, 0.76 GiB on disk).

    python -m benchmarks.data
"""

import json
import platform
import resource
import tempfile
import time
from pathlib import Path

import datasets
import torch

from datasets_scripts.arc_augmentation import ArcExamples
from datasets_scripts.tasks import load_puzzles

BATCH_SIZE = 768
NUM_BATCHES = 100
OFFICIAL = {"ready_seconds": 292, "peak_mib": 16 * 1024, "disk_mib": 7.3 * 1024}
TARGET = {"ready_seconds": 15, "peak_mib": 500, "disk_mib": 50, "rows_per_second": 20_000}


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    libraries_mib = peak_mib()
    with tempfile.TemporaryDirectory() as folder:
        start, cpu_start = time.perf_counter(), time.process_time()
        puzzles = load_puzzles("arc-agi", "arc-agi-1", num_augmentations=1000, cache_dir=folder)
        tasks = puzzles.augmented_tasks
        examples = ArcExamples(puzzles.input_ids, puzzles.labels, puzzles.puzzle_ids, tasks, BATCH_SIZE, seed=0)
        examples.batch(0, slice(0, BATCH_SIZE))
        ready = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
        disk_mib = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20
    start, cpu_start = time.perf_counter(), time.process_time()
    for step in range(1, NUM_BATCHES + 1):
        examples.batch(step, slice(0, BATCH_SIZE))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    report = {
        "ours": {
            "ready_seconds": round(ready["seconds"], 2),
            "ready_cpu_seconds": round(ready["cpu_seconds"], 2),
            "peak_mib": peak_mib(),
            "libraries_mib": libraries_mib,
            "disk_mib": round(disk_mib, 1),
            "rows_per_second": round(NUM_BATCHES * BATCH_SIZE / seconds),
            "rows_per_cpu_second": round(NUM_BATCHES * BATCH_SIZE / cpu_seconds),
            "puzzles": tasks.num_puzzles - 1,
        },
        "target": TARGET,
        "official": OFFICIAL,
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
