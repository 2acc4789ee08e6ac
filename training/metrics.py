# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What a run tells about itself while it trains."""

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from modeling_trm import TrmOutput
from modeling_trm.modeling_trm import IGNORE_INDEX


class Meters:
    """Sums of training metrics, kept on the device between two reports so that no step waits for it.

    As in the official code, accuracies and steps are those of the puzzles that halted in the step.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.reset()

    def reset(self) -> None:
        self.sums = torch.zeros(8, device=self.accelerator.device)
        self.start = time.perf_counter()

    @torch.no_grad()
    def update(self, output: TrmOutput, gradient_norm: Tensor) -> None:
        carry, right = output.carry, output.correct
        labelled = (carry.labels != IGNORE_INDEX).sum(-1)
        done, exact = carry.halted, right.sum(-1) == labelled
        values = (
            torch.ones_like(gradient_norm),
            output.answer_loss,
            output.halt_loss,
            gradient_norm,
            done.sum(),
            (done & exact).sum(),
            (done & ((output.halt_logits >= 0) == exact)).sum(),
            (done * carry.steps).sum(),
        )
        self.sums += torch.stack([value.float() for value in values])

    def report(self) -> dict[str, float]:
        """Means since the last report over all processes; the one place that waits for the device."""
        steps, *sums = self.accelerator.reduce(self.sums, "mean").tolist()
        answer_loss, halt_loss, gradient_norm, done, exact, halting, supervision_steps = sums
        seconds = time.perf_counter() - self.start
        self.reset()
        return {
            "answer_loss": answer_loss / steps,
            "halt_loss": halt_loss / steps,
            "gradient_norm": gradient_norm / steps,
            "exact_accuracy": exact / max(done, 1),
            "halt_accuracy": halting / max(done, 1),
            "mean_steps": supervision_steps / max(done, 1),
            "puzzles_per_second": done * self.accelerator.num_processes / seconds,
        }


class TrainLog:
    """`train_log.jsonl`, one JSON object per report, and the experiment tracker if there is one.

    A run that goes on drops the lines its checkpoint does not know of, which it is about to write again.
    """

    def __init__(self, path: Path, step: int, accelerator: Accelerator):
        self.path, self.accelerator = path, accelerator
        if not accelerator.is_main_process:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in before if line.endswith("\n") and json.loads(line)["step"] <= step]
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, path)

    def write(self, step: int, values: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        self.accelerator.log({name: value for name, value in values.items() if isinstance(value, float)}, step=step)
