# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The table of puzzle embeddings on several CPU processes, as JSON:  python -m benchmarks.table [--rows 961000]

Each process holds the whole table or its share of the rows. Measured on every process: the memory that the table and
its steps take, and the time of a step's work on it, which is to look up the rows of a batch, exchange their gradients
and move them by the sign. The network is left out: it is the same either way. Ids are drawn anew for every step.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from modeling_trm import TrmConfig
from training.arguments import TrainArguments
from training.evaluation import describe_run
from training.optimizers import SignSGD, build_optimizers
from training.puzzle_table import build_model, own_rows

PROCESSES = (1, 2, 4)
WARM_UP_STEPS = 3


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(rank: int, processes: int, sharded: bool, args: argparse.Namespace, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    config = TrmConfig(hidden_size=args.size, intermediate_size=8, num_puzzles=args.rows, num_hidden_layers=1)
    before = resident_bytes()
    model = build_model(config, torch.device("cpu"), shard=sharded)
    table = model.model.puzzle_embeddings
    own_rows(table)[0].fill_(0.01)  # memory of zeros is not yet taken
    optimizer = build_optimizers(model, TrainArguments())[0]
    assert isinstance(optimizer, SignSGD)
    seconds = []
    generator = torch.Generator().manual_seed(rank)
    for _ in range(WARM_UP_STEPS + args.steps):
        ids = torch.randint(args.rows, (args.batch // processes,), generator=generator)
        dist.barrier()
        start = time.perf_counter()
        table(ids).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    result = {
        "table_gib": round(table.weight.nbytes / 2**30, 3),
        "resident_gib": round((resident_bytes() - before) / 2**30, 3),
        "ms_per_step": round(1000 * statistics.median(seconds[WARM_UP_STEPS:]), 2),
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(result))
    dist.destroy_process_group()


def worst(processes: int, sharded: bool, args: argparse.Namespace) -> dict[str, Any]:
    """The largest figures of any process."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(measure, (processes, sharded, args, folder), nprocs=processes)
        results = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return {name: max(result[name] for result in results) for name in results[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=961_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=768, help="ids per step, over all processes")
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    results: dict[str, Any] = {
        **vars(args),
        "cores": os.cpu_count(),
        "other_load": os.getloadavg()[0],
        "per process": {},
    }
    for processes in PROCESSES:
        kinds = {"whole": False, "sharded": True} if processes > 1 else {"whole": False}
        results["per process"][str(processes)] = {
            name: worst(processes, sharded, args) for name, sharded in kinds.items()
        }
    print(json.dumps(results | describe_run(torch.device("cpu")), indent=2))


if __name__ == "__main__":
    main()
