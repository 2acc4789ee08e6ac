# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The schedule by the clock: whatever the speed, training ends decayed and in time."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_resume import SMALL, main
from test_train import log_lines, start
from tiny import tiny_config

from training import pace
from training.arguments import TrainArguments
from training.depth import DepthSchedule
from training.pace import Pace

STAGES = ["deep_cycles=1 latent_cycles=1 until 0.25", "deep_cycles=1 until 0.75"]


class FakeRun:
    """A run whose steps take given times on a clock that only they, and pauses between them, move."""

    def __init__(self, finish_minutes: float | None, max_steps: int = 1000, step: int = 0, progress: Any = None):
        self.now = 100.0
        self.state: Any = SimpleNamespace(step=step, progress=progress)
        args = TrainArguments(finish_minutes=finish_minutes, max_steps=max_steps)
        schedule = DepthSchedule(STAGES, tiny_config(deep_cycles=2, latent_cycles=2), max_steps)
        one: Any = SimpleNamespace(num_processes=1)
        self.pace = Pace(args, self.state, schedule, one, start=self.now, clock=lambda: self.now)
        self.positions: list[float] = []

    def step(self, seconds: float, pause: float = 0.0) -> None:
        self.positions.append(self.pace.position)
        self.pace.begin_step()
        self.now += seconds
        self.state.step += 1
        self.pace.end_step()
        self.now += pause


@given(
    minutes=st.floats(0.2, 1),
    typical=st.floats(0.03, 2),
    factors=st.lists(st.floats(0.5, 2), min_size=1, max_size=50),
    pauses=st.dictionaries(st.integers(1, 100), st.floats(0, 3), max_size=3),
)
def test_by_the_clock_training_ends_in_time_and_at_the_end(minutes, typical, factors, pauses) -> None:
    run, deadline = FakeRun(minutes), 100 + 60 * minutes
    while not (run.pace.is_over or run.pace.stop_reason):
        assert run.now < deadline + 0.25 + 4 * typical, "a step began when the time was over"
        run.step(typical * factors[run.state.step % len(factors)], pauses.get(run.state.step, 0))
    assert run.positions == sorted(run.positions) and run.positions[0] == 0 and run.positions[-1] < 1000
    assert run.state.progress == 1 or run.pace.stop_reason
    if typical < 0.01 * 60 * minutes and not pauses:
        assert run.state.progress == 1
    assert run.now < deadline + 0.5 + 6 * typical + max(pauses.values(), default=0)


@settings(max_examples=30)
@given(seconds=st.floats(0.1, 0.5), compiling=st.floats(0, 60), factor=st.floats(0.3, 5))
def test_by_the_clock_each_part_of_the_schedule_has_its_share_of_the_time(seconds, compiling, factor) -> None:
    """Compiling, and steps that become slower or faster in the middle: the rest of the schedule fills the rest."""
    run, deadline = FakeRun(5.0), 400.0
    run.step(compiling)
    started = run.now
    while not run.pace.is_over:
        expected = 1000 * (run.now - started) / (deadline - started)
        assert run.pace.position == pytest.approx(expected, abs=1000 * (0.5 + 2 * 5 * seconds) / (deadline - started))
        run.step(seconds * (factor if run.now > 250 else 1))
    assert run.positions[-1] > 1000 * (1 - 12 * seconds * max(1, factor) / 200), "the rate was decayed"


def test_a_new_start_goes_on_from_the_progress_of_its_checkpoint() -> None:
    run = FakeRun(1.0, step=500, progress=0.3)
    assert run.pace.position == pytest.approx(300)
    while not run.pace.is_over:
        run.step(0.1)
    assert run.now == pytest.approx(160, abs=0.2) and run.state.step == pytest.approx(1100, abs=5)
    assert FakeRun(1.0, step=250).pace.position == 250  # of a checkpoint that knows steps only
    assert FakeRun(1.0, step=1200, progress=1.0).pace.is_over


@pytest.mark.parametrize(("before", "pause", "progress"), [(0, 70, 0), (100, 58, 1 / 6), (540, 10, 0.9)])
def test_a_time_that_is_over_early_stops_a_run_where_it_is(before: int, pause: float, progress: float) -> None:
    """By a pause after some of 600 steps; only if little was left is the schedule done."""
    run = FakeRun(1.0)
    for _ in range(before):
        run.step(0.1)
    run.now += pause
    while not (run.pace.is_over or run.pace.stop_reason):
        run.step(0.1)
    assert run.state.step <= before + 3
    if progress == 0.9:
        assert run.pace.stop_reason is None and run.state.progress == 1
    else:
        assert run.pace.stop_reason == "finish_minutes=1 was too short"
        assert run.state.progress == pytest.approx(progress, abs=0.01)


def test_by_steps_the_clock_changes_nothing() -> None:
    run = FakeRun(None, max_steps=10, step=4, progress=0.9)
    while not run.pace.is_over:
        run.step(1000.0)
    assert run.positions == [4, 5, 6, 7, 8, 9] and all(type(position) is int for position in run.positions)
    assert run.state.progress == 1


def test_processes_follow_the_clock_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `agree` gives decides, and it is asked at the same steps by all, whatever their own clocks say."""
    told: list[list[float]] = []

    def tell(pace: Pace, *numbers: float) -> list[float]:
        told.append(list(numbers))
        return told[-1]

    monkeypatch.setattr(Pace, "agree", tell)
    first, heard = FakeRun(0.5), iter(told)
    while not first.pace.is_over:
        first.step(0.07)
    monkeypatch.setattr(Pace, "agree", lambda pace, *numbers: next(heard))
    second = FakeRun(0.5)
    while not second.pace.is_over:
        second.step(0.9)
    assert second.positions == first.positions and next(heard, None) is None


def test_the_rest_is_estimated_once_from_the_cost_of_its_stages() -> None:
    """Steps whose time is what their depth costs, as on a machine where nothing else takes time."""
    seconds = {6: 0.1, 9: 0.15, 12: 0.2}  # (latent + 1) * (deep + 2) applications of the network
    run, lines = FakeRun(None), []
    run.step(50)  # compiles
    while not run.pace.is_over:
        run.step(seconds[run.pace.schedule.rest(run.pace.position)[0][1]])
        lines += [(run.now, run.state.step, line) for line in [run.pace.estimate()] if line is not None]
    ((told_at, step, line),) = lines
    assert told_at == pytest.approx(160, abs=0.2)
    minutes = (run.now - told_at) / 60
    assert line == f"100 ms per step: the remaining {1000 - step} steps will take {minutes:.1f} min"


def test_by_the_clock_the_number_of_steps_is_estimated() -> None:
    run, lines = FakeRun(5.0), []
    while not run.pace.is_over:
        run.step({6: 0.1, 9: 0.15, 12: 0.2}[run.pace.schedule.rest(run.pace.position)[0][1]])
        lines += [(run.state.step, line) for line in [run.pace.estimate()] if line is not None]
    ((told_at, line),) = lines
    number = int(line.split("about ")[1].split()[0].replace(",", ""))
    assert number == pytest.approx(run.state.step - told_at, rel=0.02)
    assert line.endswith("more steps fit into the remaining 4.8 min")


def test_a_run_whose_time_is_over_at_its_first_step_can_go_on(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(pace, "process_age", lambda: 3600.0)
    main(tmp_path, **SMALL, finish_minutes=10)
    line = "finish_minutes=10 was too short: stopped at step 1, 0% of the schedule; the same command goes on"
    assert line in capsys.readouterr().out.splitlines()
    (checkpoint,) = (tmp_path / "checkpoints").glob("step-*")
    assert json.loads((checkpoint / "state.json").read_text())["progress"] == 0
    assert not (tmp_path / "results.json").exists()


def test_a_run_by_the_clock_killed_and_gone_on_with_ends_decayed(tmp_path: Path, monkeypatch, capsys) -> None:
    fields = {**SMALL, "max_steps": 100000, "warmup_steps": 100, "min_learning_rate_ratio": 0.0}
    process = start(tmp_path, **fields, finish_minutes=10)
    while not any(line["step"] >= 30 for line in log_lines(tmp_path)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    checkpoint = sorted((tmp_path / "checkpoints").glob("step-*[0-9]"))[-1]
    progress = json.loads((checkpoint / "state.json").read_text())["progress"]
    assert 0 < progress < 0.9
    begun = time.perf_counter()
    monkeypatch.setattr(pace, "process_age", lambda: time.perf_counter() - begun)
    main(tmp_path, **fields, finish_minutes=0.4)
    assert f", {progress:.0%} of the schedule" in capsys.readouterr().out
    lines = [line for line in log_lines(tmp_path) if "answer_loss" in line]
    found = [line["progress"] for line in lines]
    assert found == sorted(found) and found[-1] == 1
    assert lines[-1]["learning_rate"] < 0.02 * max(line["learning_rate"] for line in lines)
    assert (tmp_path / "results.json").is_file()
