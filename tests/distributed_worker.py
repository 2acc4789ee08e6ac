# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""One process of runs that a test compares:  torchrun ... tests/distributed_worker.py RUNS.json

RUNS.json is a list of `{"dtype": ..., "words": command line of train.py}`. Each run is train.py's own, with weights of
that dtype and a halting head that has something to say from the first step, and leaves what this process saw at every
step in `seen-RANK.safetensors` of its output folder.
"""

import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

import train
from modeling_trm import TrmForPuzzleSolving
from training import loop


def run(dtype: torch.dtype, words: list[str]) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    build = TrmForPuzzleSolving.__init__

    class WatchedMeters(loop.Meters):
        def update(self, output, *measures):
            super().update(output, *measures)
            observed = {"loss": output.loss, "halted": output.carry.halted, "steps": output.carry.steps}
            seen.append({name: tensor.detach().clone() for name, tensor in observed.items()})

    def build_wide_and_decided(self, config):
        build(self, config)
        torch.nn.init.normal_(self.halt_head.weight)
        torch.nn.init.zeros_(self.halt_head.bias)
        self.to(dtype)

    with (
        patch.object(loop, "Meters", WatchedMeters),
        patch.object(TrmForPuzzleSolving, "__init__", build_wide_and_decided),
        patch.object(Accelerator, "end_training"),  # the processes stay together for the next run
    ):
        train.main(words)
    folder = Path(words[words.index("--output_dir") + 1])
    stacked = {name: torch.stack([step[name] for step in seen]) for name in seen[0]}
    save_file(stacked, folder / f"seen-{os.environ.get('RANK', 0)}.safetensors")


if __name__ == "__main__":
    for described in json.loads(Path(sys.argv[1]).read_text()):
        run(getattr(torch, described["dtype"]), described["words"])
