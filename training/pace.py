# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""How far training has come, by steps or by the clock: what its learning rate and its depth follow."""

import time
from collections.abc import Callable

import psutil
import torch
import torch.distributed as dist
from accelerate import Accelerator

from .arguments import TrainArguments
from .depth import DepthSchedule
from .state import TrainState

SECONDS_BETWEEN = 0.25  # two measurements
SECONDS_TO_ESTIMATE = 10.0
NEARLY_DONE = 0.8  # a progress at which a cosine has decayed to a tenth


class Pace:
    """Places each step on the schedule of `max_steps` steps.

    By steps, step t stands at t. By the clock, with `finish_minutes`, what is left of the schedule is spread over what
    is left of the time, so that a run of unknown speed ends decayed and in time. About every quarter of a second the
    speed of training is measured, and until the next time each step advances the progress p by

        (1 - p) * (seconds per step) / (seconds left).

    Only steps advance it: compiling, evaluating and saving make the rest steeper, and so does a new start, which goes
    on from the progress of its checkpoint. If the time is over while much of the schedule is left, as when compiling
    took it, training is to stop there, for a new start to go on. Several processes follow the clock of the first.

    Args:
        args: of the run.
        state: of the run; its `progress`, a share of 1, is kept up to date.
        schedule: the depth of each step, and so its cost.
        accelerator: of the run.
        start: when the time of `finish_minutes` began; by default when the process did.
        clock: in seconds; never runs backwards.
    """

    def __init__(
        self,
        args: TrainArguments,
        state: TrainState,
        schedule: DepthSchedule,
        accelerator: Accelerator,
        start: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.max_steps, self.state, self.schedule, self.accelerator = args.max_steps, state, schedule, accelerator
        self.clock, self.deadline = clock, None
        self.stop_reason: str | None = None  # set when the time is over long before the schedule
        if args.finish_minutes is not None:
            self.shortage = f"finish_minutes={args.finish_minutes:g} was too short"
            start = clock() - process_age() if start is None else start
            self.deadline = start + 60 * args.finish_minutes
        if self.deadline is None or state.progress is None:
            state.progress = min(1.0, state.step / args.max_steps)
        self.growth = 0.0  # of the progress in a step
        self.steps, self.steps_to_measure = 0, 1
        self.seconds = self.seconds_per_step = 0.0
        self.seconds_seen = self.work_seen = 0.0  # for the estimate
        self.is_first, self.is_estimated = True, False  # the first step compiles, and is no measure of the others

    @property
    def position(self) -> float:
        """The step of the schedule, counted from 0, that the next step stands for."""
        return self.state.step if self.deadline is None else self.state.progress * self.max_steps

    @property
    def is_over(self) -> bool:
        """Whether the last step is done."""
        return self.state.step >= self.max_steps if self.deadline is None else self.state.progress >= 1

    @property
    def place(self) -> str:
        """Where training is, in words."""
        if self.deadline is None:
            return f"step {self.state.step} of {self.max_steps}"
        return f"step {self.state.step}, {self.state.progress:.0%} of the schedule"

    def begin_step(self) -> None:
        self.began, self.work = self.clock(), self.schedule.rest(self.position)[0][1]

    def end_step(self) -> None:
        """Takes note of a step that is done, also in `state.step`; all processes must call it."""
        seconds, is_first = self.clock() - self.began, self.is_first
        self.is_first = False
        if not is_first:
            self.seconds_seen, self.work_seen = self.seconds_seen + seconds, self.work_seen + self.work
            self.steps, self.seconds = self.steps + 1, self.seconds + seconds
        if self.deadline is None:
            self.state.progress = self.state.step / self.max_steps
            return
        self.state.progress = min(1.0, self.state.progress + self.growth)
        if is_first or self.steps == self.steps_to_measure:
            self.measure(self.deadline)

    def measure(self, deadline: float) -> None:
        """Sets how much the coming steps advance, and when to measure again; ends or stops when the time is over."""
        before, self.seconds_per_step = self.seconds_per_step, self.seconds / max(1, self.steps)
        self.steps, self.seconds = 0, 0.0
        # The smaller of the last two: a step that had to wait, for the compiler or a disk, is no measure.
        seconds_per_step, seconds_left = self.agree(min(before, self.seconds_per_step), deadline - self.clock())
        if seconds_left <= seconds_per_step:
            if self.state.progress < NEARLY_DONE:
                self.stop_reason = self.shortage
            else:
                self.state.progress = 1.0
        elif seconds_per_step > 0:
            self.growth = (1 - self.state.progress) * seconds_per_step / seconds_left
            self.steps_to_measure = max(1, int(min(SECONDS_BETWEEN, seconds_left) / seconds_per_step))

    def agree(self, *numbers: float) -> list[float]:
        """What the first process measured."""
        if self.accelerator.num_processes == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device)
        dist.broadcast(told, 0)
        return told.tolist()

    def estimate(self) -> str | None:
        """How long the rest will take, in one line, once enough steps are measured; `None` before and afterwards."""
        if self.is_estimated or self.is_over or self.seconds_seen < SECONDS_TO_ESTIMATE:
            return None
        self.is_estimated = True
        seconds_per_work, rest = self.seconds_seen / self.work_seen, self.schedule.rest(self.position)
        speed = f"{duration(seconds_per_work * rest[0][1])} per step"
        if self.deadline is None:
            left = seconds_per_work * sum(steps * work for steps, work in rest)
            return f"{speed}: the remaining {self.max_steps - self.state.step:,} steps will take {duration(left)}"
        left = max(0.0, self.deadline - self.clock())
        share = left / sum(steps for steps, _ in rest)
        steps_left = sum(share * steps / (seconds_per_work * work) for steps, work in rest)
        return f"{speed}: about {steps_left:,.0f} more steps fit into the remaining {duration(left)}"


def process_age() -> float:
    """Seconds since this process was started."""
    return time.time() - psutil.Process().create_time()


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
