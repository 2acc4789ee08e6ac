# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""When a run stops before its end: asked by a signal, or out of time. All processes stop at the same step."""

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from modeling_trm import TrmForPuzzleSolving

# Schedulers announce an end by SIGTERM or SIGUSR1, which Windows does not have; SIGINT is Ctrl+C.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)]
TIME_LIMIT = "time limit"
SECONDS_BETWEEN = 1.0


class SignalNote(AbstractContextManager):
    """Within it, `SIGNALS` do not end the process but are noted in `number` (0: none yet); Ctrl+C after one does."""

    number = 0

    def __enter__(self) -> None:
        self.number = 0
        self.before = {number: signal.signal(number, self.receive) for number in SIGNALS}

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.number = number


signal_note = SignalNote()


class Stopper:
    """Asked after every step whether the run should stop there.

    A single process looks at the signal and the clock. Signals reach several processes at different steps, so those
    exchange what they know; as that waits for the device, they do it about once a second, at steps that follow from
    the pace they agreed on the last time.

    Args:
        accelerator: of the run.
        time_limit_minutes: from now on; `None` for no limit.
    """

    def __init__(self, accelerator: Accelerator, time_limit_minutes: float | None):
        self.accelerator = accelerator
        self.start = self.last_time = time.perf_counter()
        self.limit = 60 * time_limit_minutes if time_limit_minutes else float("inf")
        self.calls, self.calls_until_exchange = 0, 1

    def requested(self) -> bool:
        """Whether this process has been sent a signal; others may not have been, yet."""
        return signal_note.number != 0

    def reason(self, now: bool = False) -> str | None:
        """The name of a signal, `TIME_LIMIT`, or `None` to go on; all processes must call it after every step.

        Several processes that have not just exchanged what they know do so with `now`.
        """
        self.calls += 1
        if self.accelerator.num_processes > 1 and self.calls < self.calls_until_exchange and not now:
            return None
        time_now = time.perf_counter()
        known: Any = (signal_note.number, time_now - self.start > self.limit, (time_now - self.last_time) / self.calls)
        if self.accelerator.num_processes > 1:
            told = torch.tensor([known], dtype=torch.float32, device=self.accelerator.device)
            known = self.accelerator.gather(told).max(0).values.tolist()
        number, is_over, seconds_per_step = known
        self.calls, self.last_time = 0, time_now
        self.calls_until_exchange = max(1, int(SECONDS_BETWEEN / seconds_per_step))
        if number:
            return signal.Signals(int(number)).name
        return TIME_LIMIT if is_over else None


class Interruption(Exception):
    """Raised in the block of `Interruptible`, and never seen outside it."""


class Interruptible(AbstractContextManager):
    """Leaves its block before the next supervision step of `model` once `stopped()`.

    Large batches take a minute to solve, which is more than a scheduler waits. A `ValueError` also leaves the block,
    and is raised by `was_left_anywhere`: a process that ended alone would leave the others waiting.
    """

    def __init__(self, model: TrmForPuzzleSolving, stopped: Callable[[], bool]):
        self.model, self.stopped, self.was_left = model, stopped, False
        self.error: ValueError | None = None

    def __enter__(self) -> "Interruptible":
        self.hook = self.model.halt_head.register_forward_pre_hook(self.check)  # called once in every step
        return self

    def check(self, *call: Any) -> None:
        if self.stopped():
            raise Interruption

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *trace: object) -> bool:
        self.hook.remove()
        self.was_left = kind is Interruption
        self.error = error if isinstance(error, ValueError) else None
        return self.was_left or self.error is not None

    def was_left_anywhere(self, accelerator: Accelerator) -> bool:
        """Whether one of the processes left its block, or the `ValueError` of one on all of them; all must ask."""
        known = gather_object([(self.was_left, self.error)])
        for error in (self.error, *(error for _, error in known)):  # its own has the traceback
            if error is not None:
                raise error
        return any(was_left for was_left, _ in known)
