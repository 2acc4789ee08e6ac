# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""One process of runs that a test compares:  torchrun ... tests/distributed_worker.py RUNS.json

RUNS.json is a list of `{"words": command line of train.py, "dtype": ..., "lists_calls": ...}`. Each run is train.py's
own, with weights of that dtype and a halting head that has something to say from the first step, and leaves in its
output folder what this process saw at every step, `seen-RANK.safetensors`, and, if asked, each call that sent or
received, `calls-RANK.json`.
"""

import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch.profiler import ProfilerActivity, profile

import train
from modeling_trm import TrmForPuzzleSolving
from training import loop


def run(words: list[str], dtype: torch.dtype, lists_calls: bool) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    build = TrmForPuzzleSolving.__init__

    class WatchedMeters(loop.Meters):
        def update(self, output, *measures, **options):
            super().update(output, *measures, **options)
            seen.append({name: tensor.clone() for name, tensor in output.carry.items() if tensor.ndim == 1})
            seen[-1]["loss"] = output.loss.detach().clone()

    def build_wide_and_decided(self, config):
        build(self, config)
        torch.nn.init.normal_(self.halt_head.weight)
        torch.nn.init.zeros_(self.halt_head.bias)
        self.to(dtype)

    with (
        patch.object(loop, "Meters", WatchedMeters),
        patch.object(TrmForPuzzleSolving, "__init__", build_wide_and_decided),
        patch.object(Accelerator, "end_training"),  # the processes stay together for the next run
        profile(activities=[ProfilerActivity.CPU], record_shapes=True) if lists_calls else nullcontext() as profiler,
    ):
        train.main(words)
    folder = Path(words[words.index("--output_dir") + 1])
    stacked = {name: torch.stack([step[name] for step in seen]) for name in seen[0]}
    rank = os.environ.get("RANK", 0)
    save_file(stacked, folder / f"seen-{rank}.safetensors")
    if lists_calls:
        exchanges = [event for event in profiler.events() if event.name.startswith("gloo:") and event.input_shapes]
        calls = [(event.name, event.input_shapes[0]) for event in exchanges]
        (folder / f"calls-{rank}.json").write_text(json.dumps(calls))


if __name__ == "__main__":
    for described in json.loads(Path(sys.argv[1]).read_text()):
        run(described["words"], getattr(torch, described["dtype"]), described["lists_calls"])
