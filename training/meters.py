# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What a run tells about itself while it trains."""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from torch import Tensor

from modeling_trm import TrmOutput
from modeling_trm.modeling_trm import IGNORE_INDEX

from .errors import user_errors
from .state import TrainState
from .storage import write_text


class Meters:
    """Sums of training metrics, kept on the device between two reports so that no step waits for it.

    As in the official code, accuracies and steps are those of the puzzles that halted in the step. Skipped steps count
    as such and in no mean.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.reset()

    def reset(self) -> None:
        self.sums = torch.zeros(11, device=self.accelerator.device)
        self.start = time.perf_counter()

    @torch.no_grad()
    def update(self, output: TrmOutput, gradient_norm: Tensor, is_skipped: bool = False) -> None:
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
            (done * (right.sum(-1) / labelled.clamp(min=1))).sum(),
            (done & ((output.halt_logits >= 0) == exact)).sum(),
            (done * carry.steps).sum(),
        )
        self.sums[-1] += len(done)
        if is_skipped:
            self.sums[-2] += 1
        else:
            self.sums[:-2] += torch.stack([value.float() for value in values])

    def report(self) -> dict[str, float]:
        """Means and rates since the last report over all processes; the one place that waits for the device.

        Without the means if all steps were skipped.
        """
        steps, *sums, done, exact, cells, halting, supervision_steps, skipped, rows = self.accelerator.reduce(
            self.sums, "mean"
        ).tolist()
        seconds = time.perf_counter() - self.start
        self.reset()
        means = {}
        if steps > 0:
            means = dict(
                zip(("answer_loss", "halt_loss", "gradient_norm"), (total / steps for total in sums), strict=True)
            )
            means |= {
                "exact_accuracy": exact / max(done, 1),
                "cell_accuracy": cells / max(done, 1),
                "halt_accuracy": halting / max(done, 1),
                "mean_steps": supervision_steps / max(done, 1),
            }
        world = self.accelerator.num_processes
        return means | {
            "puzzles_per_second": done * world / seconds,
            "samples_per_second": rows * world / seconds,
            "skipped_steps": skipped,
            "peak_memory_gb": peak_memory(self.accelerator.device) / 1e9,
        }


def progress_line(report: dict[str, float]) -> str:
    """A report in a few words."""
    words = [f"{report['puzzles_per_second']:.0f} puzzles/s"]
    if "answer_loss" in report:
        loss, exact, steps = (report[name] for name in ("answer_loss", "exact_accuracy", "mean_steps"))
        words = [f"loss {loss:.3f}, exact {exact:.1%}, steps {steps:.1f}", *words]
    if report["skipped_steps"]:
        words.append(f"{report['skipped_steps']:.0f} steps skipped")
    return ", ".join(words)


def peak_memory(device: torch.device) -> int:
    """The most memory this process has used so far, in bytes: of the GPU, or without one of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # which Windows does not have

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def summary(state: TrainState, accelerator: Accelerator) -> str:
    """What a run has cost, in one line, and the best of its periodic evaluations."""
    unit = "CPU-core-hours" if accelerator.device.type == "cpu" else "GPU-hours"
    words = [f"{state.seconds:.0f} s of training", f"{state.device_seconds / 3600:.3g} {unit}"]
    if state.best_accuracy >= 0:
        words.append(f"best accuracy {state.best_accuracy:.1%}")
    return ", ".join(words)


class TrainLog:
    """`train_log.jsonl`, one JSON object per report, and the experiment tracker if there is one.

    A run that goes on drops the lines its checkpoint does not know of, which it is about to write again.
    """

    def __init__(self, path: Path, step: int, accelerator: Accelerator):
        self.path, self.accelerator = path, accelerator
        if not accelerator.is_main_process:
            return
        with user_errors(f"{path} is not the log of a run, move it away: ", ValueError, KeyError, TypeError, OSError):
            before = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
            kept = [line for line in before if line.endswith("\n") and json.loads(line)["step"] <= step]
        with user_errors("cannot write the log: ", OSError):
            write_text("".join(kept), path)

    def write(self, step: int, values: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            size = None
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    size = file.tell()
                    file.write(json.dumps({"step": step, **values}) + "\n")
            except OSError as error:
                if size is not None:
                    with suppress(OSError):
                        os.truncate(self.path, size)  # half a line would spoil the next one
                self.accelerator.print(f"warning: the log of step {step} could not be written: {error}")
        self.accelerator.log({name: value for name, value in values.items() if isinstance(value, float)}, step=step)
