# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What a run tells about itself: its log, its summary, its curves, experiment trackers."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from test_resume import main
from test_train import log_lines
from tiny import tiny_batch, tiny_model

from tools.plot import COLORS, curve, plot_runs, read_log
from tools.plot import main as plot_main
from training.errors import UserError
from training.meters import Meters, TrainLog, progress_line, summary
from training.state import TrainState

ROOT = Path(__file__).parent.parent
FIELDS = {
    "step": int,
    "answer_loss": float,
    "halt_loss": float,
    "gradient_norm": float,
    "exact_accuracy": float,
    "cell_accuracy": float,
    "halt_accuracy": float,
    "mean_steps": float,
    "puzzles_per_second": float,
    "samples_per_second": float,
    "skipped_steps": float,
    "peak_memory_gb": float,
    "learning_rate": float,
    "muon_learning_rate": float,
    "progress": float,
    "seconds": float,
    "cpu_seconds": float,
}


def test_the_log_of_an_interval(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    main(tmp_path, max_steps=8, log_steps=4, warmup_steps=4, min_learning_rate_ratio=1.0)
    lines = [line for line in log_lines(tmp_path) if "eval" not in line]
    assert [line["step"] for line in lines] == [4, 8]
    for line in lines:
        assert {name: type(value) for name, value in line.items()} == FIELDS
        assert (line["learning_rate"], line["muon_learning_rate"]) == (4e-3, 0.02)  # the recipe's, warmed up
        assert 0.05 < line["peak_memory_gb"] < 64
    rows = 4 * 8  # of which 8 were finished, after the fourth step
    seconds = rows / lines[1]["samples_per_second"]
    assert lines[1]["puzzles_per_second"] * seconds == pytest.approx(8)
    assert seconds <= lines[1]["seconds"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "of training" in line]
    assert "CPU-core-hours" in line and "best accuracy 0.0%" in line
    taken = json.loads((tmp_path / "train_args.json").read_text())["device_seconds"]
    card = (tmp_path / "README.md").read_text()
    assert f"| cost | {taken:,.0f} CPU-core-seconds |" in card


def test_means_are_those_of_the_good_steps() -> None:
    model, meters = tiny_model(dtype=torch.float32).train(), Meters(Accelerator(cpu=True))
    outputs = [model(*tiny_batch(4, seed)) for seed in range(3)]
    bad = model(*tiny_batch(4, 9))
    bad.answer_loss = torch.tensor(float("nan"))
    for output in outputs:
        output.carry.halted[:] = True
        meters.update(output, torch.tensor(2.0))
    meters.update(bad, torch.tensor(float("inf")), is_skipped=True)
    means = meters.report()
    assert means["skipped_steps"] == 1
    assert means["gradient_norm"] == 2
    assert means["answer_loss"] == pytest.approx(sum(o.answer_loss.item() for o in outputs) / 3, rel=1e-6)
    shares = [(o.correct.sum(1) / (o.carry.labels != -100).sum(1)).mean().item() for o in outputs]
    assert means["cell_accuracy"] == pytest.approx(sum(shares) / 3, rel=1e-6)
    assert "1 steps skipped" in progress_line(means)
    meters.update(bad, torch.tensor(float("inf")), is_skipped=True)
    assert "answer_loss" not in (nothing := meters.report())
    assert json.loads(json.dumps(nothing, allow_nan=False))["skipped_steps"] == 1
    assert progress_line(nothing)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A removed file is made anew, a removed folder is a warning."""
    accelerator = Accelerator(cpu=True)
    log = TrainLog(tmp_path / "run" / "train_log.jsonl", 0, accelerator)
    log.write(1, {"loss": 1.0})
    log.path.unlink()
    log.write(2, {"loss": 1.0})
    assert [line["step"] for line in log_lines(log.path.parent)] == [2]
    shutil.rmtree(log.path.parent)
    log.write(3, {"loss": 1.0})
    assert "the log of step 3 could not be written" in capsys.readouterr().out


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = TrainLog(tmp_path / "train_log.jsonl", 0, Accelerator(cpu=True))
    log.write(1, {"loss": 1.0})
    before = log.path.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        log.write(2, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert log.path.read_text() == before
    assert "File too large" in capsys.readouterr().out


def test_without_what_windows_lacks_the_modules_load() -> None:
    code = "import psutil, sys, signal; sys.modules['resource'] = None; del signal.SIGUSR1; import training.loop"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_summary_multiplies() -> None:
    model = tiny_model()
    state = TrainState(model, None, [], seconds=1800.0, device_seconds=4 * 1800.0, best_accuracy=0.876)
    assert summary(state, Accelerator(cpu=True)) == "1800 s of training, 2 CPU-core-hours, best accuracy 87.6%"


def a_log(folder: Path, height: float) -> Path:
    folder.mkdir()
    lines = [
        {"step": step, "answer_loss": height / step, "exact_accuracy": step / 100, "mean_steps": 3.0}
        | {"learning_rate": 1e-3, "muon_learning_rate": 0.02}
        for step in range(1, 60)
    ]
    lines += [{"step": 30, "eval": {}, "eval_exact_accuracy": 0.4}, {"step": 60, "eval_exact_accuracy": 0.6}]
    (folder / "train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 61, "ans')
    return folder


def colors_of(path: Path) -> set[str]:
    image = Image.open(path).convert("RGB")
    return {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in image.getcolors(2**24)}


def test_curves_of_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A colour per run, a line that is just being written is left out, and the file is where it should be."""
    folders = [a_log(tmp_path / "one", 2.0), a_log(tmp_path / "two", 5.0)]
    plot_main([str(folders[0])])
    plot_main([*map(str, folders), "--output", str(tmp_path / "both.png")])
    assert str(tmp_path / "both.png") in capsys.readouterr().out
    assert COLORS[0] in colors_of(folders[0] / "curves.png") and COLORS[1] not in colors_of(folders[0] / "curves.png")
    assert {COLORS[0], COLORS[1]} <= colors_of(tmp_path / "both.png")
    lines = read_log(folders[0])
    assert curve(lines, "eval_exact_accuracy", 100) == ([30, 60], [40.0, 60.0])
    assert curve(lines, "answer_loss")[0] == list(range(1, 60))


def test_curves_of_a_run_without_rates_or_evaluations(tmp_path: Path) -> None:
    plot_runs({"bare": [{"step": 1, "answer_loss": 1.0}]}, tmp_path / "bare.png")
    assert COLORS[0] in colors_of(tmp_path / "bare.png")


@pytest.mark.parametrize(("text", "named"), [(None, "cannot read"), ("", "is empty"), ("?\n", "not the log")])
def test_mistakes_in_plotting_are_named(text: str | None, named: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "train_log.jsonl").write_text(text)
    with pytest.raises(UserError, match=named):
        plot_main([str(tmp_path)])


def test_tensorboard_receives_the_log(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    main(tmp_path, max_steps=4, log_steps=2, report_to="tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "trm"))
    events.Reload()
    for name in ("answer_loss", "learning_rate", "eval_exact_accuracy"):
        logged = [(line["step"], line[name]) for line in log_lines(tmp_path) if name in line]
        assert [event.step for event in events.Scalars(name)] == [step for step, _ in logged]
        assert [event.value for event in events.Scalars(name)] == pytest.approx([value for _, value in logged])


def test_trackio_receives_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    main(tmp_path / "run", max_steps=4, log_steps=2, report_to="trackio")
    assert (tmp_path / "trackio" / "trm.db").stat().st_size > 0


@pytest.mark.process
def test_the_log_needs_no_tasks() -> None:
    code = "import sys, training.meters; print('datasets_scripts' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
