# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""No way to lose a run: kills, signals, full disks, damaged checkpoints, other numbers of processes."""

import gzip
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, patch

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_train import ROOT, assert_same_training, checkpoint_tensors, command, finish, log_lines, start
from tiny import tiny_batch, tiny_model
from transformers import AutoModel

import train
from datasets_scripts.sudoku import BUNDLED_FOLDER
from modeling_trm import TrmForPuzzleSolving
from training import devices, loop, storage
from training.arguments import TrainArguments
from training.checkpoint import list_checkpoints, load_checkpoint, load_local, save_checkpoint, save_model
from training.errors import UserError
from training.optimizers import ExponentialAverage, build_optimizers
from training.state import TrainState
from training.stopping import Stopper
from training.storage import find_damage, held, write_manifest

# As small as training gets: what is tested does not depend on the size.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "token_mixer_intermediate_size": 16,
    "max_steps": 24,
    "batch_size": 8,
    "save_steps": 5,
    "log_steps": 1,
    "eval_steps": 1000,
    "num_test_puzzles": 8,
}
CONSTANT = {"warmup_steps": 0, "min_learning_rate_ratio": 1.0}  # so that max_steps may change between runs


def main(output_dir: Path, **fields: object) -> None:
    """Training in this process."""
    train.main(command(output_dir, **{**SMALL, **fields})[2:])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    main(folder)
    return folder


def a_state(seed: int = 0) -> TrainState:
    """After one step, so that there are moments and a carry."""
    model = tiny_model(seed, dtype=torch.float32).train()
    args = TrainArguments(use_muon=True)
    state = TrainState(model, ExponentialAverage(model, 0.9), build_optimizers(model, args))
    output = model(*tiny_batch(8), carry=None)
    output.loss.backward()
    for optimizer in state.optimizers:
        optimizer.step()
    state.average.update_parameters(model)
    model.zero_grad()
    state.carry, state.step = output.carry, 1
    return state


def process(rank: int, world: int) -> SimpleNamespace:
    """What of an Accelerator tells one process from the others."""
    return SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_carries_are_divided_anew(before: int, after: int, tmp_path: Path) -> None:
    """Process r of M goes on with the rows r * share ... of the global batch, whoever saved them."""
    global_rows = {"carry.steps": torch.arange(8), "carry.latent_state": torch.randn(8, 3, 2)}
    for rank in range(before):
        rows = {name: tensor.chunk(before)[rank].clone() for name, tensor in global_rows.items()}
        save_file(rows | {"random_state": torch.get_rng_state()}, tmp_path / f"rank-{rank:05d}.safetensors")
    for rank in range(after):
        ours = load_local(tmp_path, before, process(rank, after))
        assert ours.keys() == {*global_rows, "random_state"}
        for name, tensor in global_rows.items():
            assert torch.equal(ours[name], tensor.chunk(after)[rank])


def test_a_run_goes_on_with_other_numbers_of_processes(tmp_path: Path) -> None:
    """Two processes, then four, then one: the puzzles and steps of the global batch are those of a run of one."""
    fields = {**CONSTANT, "learning_rate": 1e-4, "muon_learning_rate": 1e-4}
    main(tmp_path / "one", **fields, max_steps=9)
    for processes, max_steps in ((2, 3), (4, 6)):
        output = finish(start(tmp_path / "many", processes, **{**SMALL, **fields, "max_steps": max_steps}))
        assert processes == 2 or "going on from step 3 of 6" in output
    main(tmp_path / "many", **fields, max_steps=9)
    one, many = ([line for line in log_lines(tmp_path / name) if "answer_loss" in line] for name in ("one", "many"))
    assert [line["step"] for line in many] == list(range(1, 10))
    for ours, theirs in zip(one, many, strict=True):
        assert ours["answer_loss"] == pytest.approx(theirs["answer_loss"], rel=1e-3)
        assert ours["mean_steps"] == theirs["mean_steps"]
    ours, theirs = (checkpoint_tensors(tmp_path / name) for name in ("one", "many"))
    for name in ("input_ids", "labels", "steps", "halted"):
        assert torch.equal(*(tensors[f"rank-00000.safetensors/carry.{name}"] for tensors in (ours, theirs)))


@given(st.data())
def test_any_change_of_a_folder_is_seen(tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("folder")
    contents = {"a.safetensors": bytes(range(200)), "state.json": b"{}", "empty": b""}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    write_manifest(folder)
    assert find_damage(folder) is None
    path = folder / data.draw(st.sampled_from([*contents, "manifest.json"]))
    before = path.read_bytes()
    kind = data.draw(st.sampled_from(["flip", "cut", "remove"] if before else ["remove"]))
    if kind == "flip":
        at, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
        path.write_bytes(before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :])
    elif kind == "cut":
        path.write_bytes(before[: data.draw(st.integers(0, len(before) - 1))])
    else:
        path.unlink()
    assert find_damage(folder) is not None


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", ["training.safetensors", "rank-00000.safetensors", "state.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(name: str, harm, tmp_path: Path, capsys) -> None:
    args, accelerator = TrainArguments(checkpoint_total_limit=3), Accelerator(cpu=True)
    state = a_state()
    for step in (1, 2, 3):
        state.step = step
        assert save_checkpoint(state, tmp_path, accelerator, {}, args) is None
    harm(tmp_path / "checkpoints" / "step-00000003" / name)
    (tmp_path / "checkpoints" / "step-00000003.damaged" / "before").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000009.tmp" / "half").mkdir(parents=True)
    fresh = a_state(seed=1)
    assert load_checkpoint(fresh, tmp_path, accelerator, {}, False)
    assert fresh.step == 2
    ours, theirs = state.tensors(), fresh.tensors()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    (warning,) = capsys.readouterr().out.splitlines()
    assert "step-00000003 is damaged" in warning and name in warning and "using step-00000002" in warning
    # Out of the way of what will be saved and removed from here on.
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step-00000001", "step-00000002"]
    assert save_checkpoint(fresh, tmp_path, accelerator, {}, args) is None
    assert not list(tmp_path.rglob("*.tmp"))


def test_with_no_undamaged_checkpoint_nothing_is_overwritten(tmp_path: Path) -> None:
    args, accelerator = TrainArguments(), Accelerator(cpu=True)
    assert save_checkpoint(a_state(), tmp_path, accelerator, {}, args) is None
    truncate(tmp_path / "checkpoints" / "step-00000001" / "training.safetensors")
    with pytest.raises(UserError, match=r"all checkpoints .* are damaged"):
        load_checkpoint(a_state(), tmp_path, accelerator, {}, False)
    assert list_checkpoints(tmp_path)


def test_an_old_checkpoint_that_cannot_be_removed_does_no_harm(tmp_path: Path, monkeypatch) -> None:
    """The new one is written, and not reported as missing."""
    args, accelerator, state = TrainArguments(checkpoint_total_limit=1), Accelerator(cpu=True), a_state()
    assert save_checkpoint(state, tmp_path, accelerator, {}, args) is None
    state.step = 2
    monkeypatch.setattr(os, "rmdir", Mock(side_effect=PermissionError("not yours")))
    assert save_checkpoint(state, tmp_path, accelerator, {}, args) is None
    assert find_damage(list_checkpoints(tmp_path)[-1]) is None
    monkeypatch.undo()
    fresh = a_state(seed=1)
    assert load_checkpoint(fresh, tmp_path, accelerator, {}, False) and fresh.step == 2


def test_states_saved_in_float32_go_on_in_bfloat16(tmp_path: Path) -> None:
    args, accelerator = TrainArguments(), Accelerator(cpu=True)
    state = a_state()
    assert save_checkpoint(state, tmp_path, accelerator, {}, args) is None
    fresh = a_state(seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert load_checkpoint(fresh, tmp_path, accelerator, {}, False)
        carry = fresh.model(*tiny_batch(8), carry=fresh.carry).carry
    assert carry.answer_state.dtype == carry.latent_state.dtype == torch.bfloat16


def test_another_recipe_can_be_insisted_on(uninterrupted: Path, tmp_path: Path, capsys) -> None:
    """Another batch size and exploration: refused, named, and done when asked to, from the same weights."""
    main(tmp_path, max_steps=5)
    changes = {"batch_size": 4, "halt_exploration_prob": 0.2}
    with pytest.raises(UserError, match=r"batch_size=8, not 4, and with model\.halt_exploration_prob=0\.5, not 0\.2"):
        main(tmp_path, **changes)
    capsys.readouterr()
    main(tmp_path, **changes, resume_anyway=True, max_steps=6)
    output = capsys.readouterr().out
    assert "warning" in output and "batch_size=8, not 4" in output and "going on from step 5 of 6" in output
    assert checkpoint_tensors(tmp_path)["rank-00000.safetensors/carry.halted"].shape == (4,)
    with pytest.raises(UserError, match="does not fit this recipe"):
        main(tmp_path, **changes, resume_anyway=True, hidden_size=32)


def test_other_data_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The same command, with other puzzles in the files of `data_dir`; the message is for people, without hashes."""
    with gzip.open(BUNDLED_FOLDER / "train.csv.gz", "rt") as file:
        head, *rows = islice(file, 21)

    def write_puzzles(chosen: list[str]) -> None:
        for split in ("train", "test"):
            (tmp_path / f"{split}.csv").write_text(head + "".join(chosen))

    fields = {"dataset_config": "extreme", "data_dir": tmp_path, "num_train_puzzles": 10, "max_steps": 1}
    write_puzzles(rows[:10])
    main(tmp_path / "run", **fields)
    write_puzzles(rows[10:])
    with pytest.raises(UserError) as refusal:
        main(tmp_path / "run", **fields)
    says = (
        "was trained with other data (these are not the training puzzles that the run was started with): set it back"
    )
    assert says in str(refusal.value) and "--resume_anyway true" in str(refusal.value)
    main(tmp_path / "run", **fields, resume_anyway=True)
    assert "that the run was started with): the puzzles in work start anew" in capsys.readouterr().out


def test_other_puzzle_ids_are_other_data(sudoku_splits) -> None:
    puzzles = replace(sudoku_splits["mini-6x6"]["train"].first(4), puzzle_ids=torch.arange(4))
    assert loop.digest_of(puzzles) != loop.digest_of(replace(puzzles, puzzle_ids=torch.arange(4).flip(0)))


def test_what_a_run_started_from_need_not_travel_with_it(tmp_path: Path) -> None:
    first, moved, whole = tmp_path / "first", tmp_path / "moved", tmp_path / "whole"
    main(first, max_steps=2)
    for folder in (moved, whole):
        main(folder, max_steps=3, init_from=first, **CONSTANT)
    main(whole, max_steps=6, init_from=first, **CONSTANT)
    shutil.rmtree(first)
    main(moved, max_steps=6, init_from=first, **CONSTANT)
    assert_same_training(whole, moved)
    with pytest.raises(UserError, match="cannot load the model"):
        main(tmp_path / "new", max_steps=3, init_from=first)


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_compiled_run_in_bfloat16_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    """With everything random: states, exploration, symmetries."""
    monkeypatch.setattr(devices, "has_bf16", lambda device: True)
    fields = {
        **{"compile": "network", "mixed_precision": "bf16", "random_initial_states": True},
        **{"deep_cycles": 2, "max_steps": 10, "save_steps": 100, **CONSTANT},
    }
    main(tmp_path / "whole", **fields)
    main(tmp_path / "parts", **fields | {"max_steps": 4})
    main(tmp_path / "parts", **fields)
    assert_same_training(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("max_steps", [3, 24])
def test_weights_that_are_not_finite_are_never_saved(max_steps: int, tmp_path: Path, monkeypatch) -> None:
    """Nor published, though the last step and a signal must save; the loss and the gradients were finite."""
    update = ExponentialAverage.update_parameters

    def explode(average: ExponentialAverage, model: TrmForPuzzleSolving) -> None:
        update(average, model)
        model.lm_head.weight.data[0] = float("inf")
        signal.raise_signal(signal.SIGTERM)

    main(tmp_path, max_steps=2, **CONSTANT)
    before = checkpoint_tensors(tmp_path)
    monkeypatch.setattr(ExponentialAverage, "update_parameters", explode)
    with pytest.raises(UserError, match=r"the weights are not finite at step 3, .* --learning_rate"):
        main(tmp_path, max_steps=max_steps, **CONSTANT)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step-00000002"]
    for name, tensor in checkpoint_tensors(tmp_path).items():
        assert torch.equal(tensor, before[name]), name


def test_the_optimizer_can_change_without_its_moments(tmp_path: Path) -> None:
    main(tmp_path, max_steps=5)
    main(tmp_path, max_steps=6, use_muon=False, optimizer="adamw", resume_anyway=True)
    names = checkpoint_tensors(tmp_path).keys()
    assert not any("momentum_buffer" in name for name in names)
    assert any("exp_avg_sq" in name for name in names)


def test_activation_checkpointing_saves_memory_and_changes_nothing(tmp_path: Path) -> None:
    """Less is kept for the backward passes; the trained weights are the same to the last bit."""
    kept = {}
    for flag in (False, True):
        kept[flag] = 0

        def keep(tensor: torch.Tensor, flag: bool = flag) -> torch.Tensor:
            kept[flag] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            main(tmp_path / str(flag), max_steps=5, activation_checkpointing=flag)
    assert 0 < kept[True] < kept[False] / 3
    assert_same_training(*(tmp_path / str(flag) for flag in kept))


def test_a_stop_leaves_the_model_so_far_but_spares_a_finished_one(tmp_path: Path) -> None:
    """The one of this run, which has results."""
    path = tmp_path / "model.safetensors"
    main(tmp_path, **CONSTANT, time_limit_minutes=1e-9)
    early = path.read_bytes()
    main(tmp_path, **CONSTANT, time_limit_minutes=1e-9)
    assert path.read_bytes() != early, "the second stop"
    main(tmp_path, **CONSTANT, max_steps=4)
    finished = path.read_bytes()
    main(tmp_path, **CONSTANT, max_steps=8, time_limit_minutes=1e-9)
    assert list_checkpoints(tmp_path)[-1].name == "step-00000005" and path.read_bytes() == finished


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
def test_what_is_there_is_not_trained_over_unasked(name: str, tmp_path: Path) -> None:
    """A model whose checkpoints were removed to save space, or a folder of something else."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"holds \['{name}'\] and no checkpoint to go on from: .* --overwrite true"):
        main(tmp_path, **CONSTANT, time_limit_minutes=1e-9)
    assert (tmp_path / name).read_text() == "mine" and not (tmp_path / "train_log.jsonl").exists()
    main(tmp_path, **CONSTANT, time_limit_minutes=1e-9, overwrite=True)
    assert list_checkpoints(tmp_path)


def test_an_empty_output_dir_is_none() -> None:
    with pytest.raises(UserError, match="output_dir is empty: name a folder"):
        train.main(["--output_dir", ""])


def test_one_run_at_a_time_trains_into_a_folder(tmp_path: Path) -> None:
    with held(tmp_path, Accelerator(cpu=True)):
        output = start(tmp_path, **SMALL).communicate(timeout=300)[0]
    assert f"error: another run is training into {tmp_path}: process {os.getpid()} on " in output
    assert not list_checkpoints(tmp_path)
    with held(tmp_path, Accelerator(cpu=True)):  # of the one that ended nothing is left
        pass


def wait_for_step(run: subprocess.Popen, folder: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while not any(line["step"] >= step for line in log_lines(folder)):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, f"step {step} is not reached"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_and_exits(number: signal.Signals, uninterrupted: Path, tmp_path: Path) -> None:
    run = start(tmp_path, **{**SMALL, "save_steps": 1000})
    wait_for_step(run, tmp_path, 7)
    sent = time.perf_counter()
    run.send_signal(number)
    output = finish(run)
    assert time.perf_counter() - sent < 10
    (line,) = [line for line in output.splitlines() if number.name in line]
    (folder,) = list_checkpoints(tmp_path)
    assert line == f"{number.name}: stopped at step {int(folder.name[5:])} of 24; the same command goes on"
    main(tmp_path)
    assert_same_training(uninterrupted, tmp_path)


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_ctrl_c_after_any_signal_ends_at_once(first: str) -> None:
    code = "import signal, time; from training.stopping import signal_note\n"
    code += f"with signal_note:\n  signal.raise_signal(signal.{first}); print('noted', flush=True)\n"
    code += "  signal.raise_signal(signal.SIGINT); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "noted\n", "")


@pytest.mark.parametrize("is_last", [False, True])
def test_a_signal_cuts_an_evaluation_short(is_last: bool, tmp_path: Path) -> None:
    """All puzzles are one batch, of which none is ever done."""
    endless = {"max_solve_steps": 10**6, "eval_halt_threshold": "inf", "num_test_puzzles": 64}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: {ROOT / 'recipes' / 'sudoku_6x6.yaml'}\neval_steps: {'null' if is_last else 1}\n")
    steps = {"eval_steps": None, "max_steps": 1 if is_last else 24}
    run = start(tmp_path, **{**SMALL, **endless, **steps, "config": recipe})
    wait_for_step(run, tmp_path, 1)
    time.sleep(1)
    sent = time.perf_counter()
    run.send_signal(signal.SIGTERM)
    output = finish(run)
    assert time.perf_counter() - sent < 10
    place = "in the last evaluation; the same command does it again" if is_last else "at step 1 of 24; the same"
    assert f"SIGTERM: stopped {place}" in output
    assert not any("eval" in line for line in log_lines(tmp_path))


def test_a_signal_while_the_model_is_written_is_not_forgotten(tmp_path: Path, monkeypatch, capsys) -> None:
    def write(*arguments: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        save_model(*arguments)

    monkeypatch.setattr(loop, "save_model", write)
    main(tmp_path, max_steps=1, eval_steps=None)
    assert "SIGTERM: stopped in the last evaluation; the same command does it again" in capsys.readouterr().out
    assert not (tmp_path / "results.json").exists()
    monkeypatch.undo()
    main(tmp_path, max_steps=1, eval_steps=None)
    assert (tmp_path / "results.json").exists()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_processes_that_hear_of_a_signal_at_different_times_stop_together(tmp_path: Path) -> None:
    """Only the second of two processes is told."""
    run = start(tmp_path, 2, **{**SMALL, "max_steps": 5000, "save_steps": 10**6})
    wait_for_step(run, tmp_path, 3)
    sent = time.perf_counter()
    os.kill(children(run.pid)[1], signal.SIGTERM)
    output = finish(run)
    assert time.perf_counter() - sent < 10
    (line,) = [line for line in output.splitlines() if "SIGTERM: stopped" in line]
    (folder,) = list_checkpoints(tmp_path)
    assert f"step {int(folder.name[5:])} of" in line
    steps = [load_file(path)["carry.steps"] for path in sorted(folder.glob("rank-*"))]
    assert len(steps) == 2
    assert steps[0].unique().tolist() == steps[1].unique().tolist()  # of the same step


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_training_goes_on_when_nothing_can_be_written(uninterrupted: Path, tmp_path: Path) -> None:
    """Files cannot grow beyond 20 kB, less than a checkpoint: warnings, and the last good checkpoint stays."""
    main(tmp_path, max_steps=5, **CONSTANT)
    before = checkpoint_tensors(tmp_path)
    words = command(tmp_path, **{**SMALL, **CONSTANT, "max_steps": 12, "save_steps": 3, "eval_steps": 10})
    done = subprocess.run(words, preexec_fn=limit_file_size, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    output = done.stdout + done.stderr
    for step in (6, 9, 12):
        (line,) = [line for line in output.splitlines() if f"no checkpoint of step {step} " in line]
        assert "File too large" in line and "step-00000005" in line
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "the model could not be written" in error
    assert [line["step"] for line in log_lines(tmp_path)][-1] == 12
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step-00000005"]
    assert not [path for path in tmp_path.rglob("*") if "tmp" in path.name]
    after = checkpoint_tensors(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 2 MB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_training_survives_a_full_disk(uninterrupted: Path, small_disk: Path) -> None:
    """Filled up between two checkpoints and freed again: training goes on, and saves again."""
    run_dir = small_disk / "run"
    run = start(run_dir, **{**SMALL, "save_steps": 1, "max_steps": 400, **CONSTANT})
    wait_for_step(run, run_dir, 5)
    filler = small_disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        full = (run_dir / "train_log.jsonl").read_text().count("\n")
    time.sleep(1)
    kept = [folder for folder in list_checkpoints(run_dir) if find_damage(folder) is None]
    assert kept
    filler.unlink()
    wait_for_step(run, run_dir, full + 20)
    run.send_signal(signal.SIGTERM)
    output = finish(run)
    assert "No space left on device" in output
    assert not list(run_dir.rglob("*.tmp"))
    assert all(find_damage(folder) is None for folder in list_checkpoints(run_dir))


def test_the_time_limit_does_not_stop_a_run_that_is_done(tmp_path: Path) -> None:
    """Nor does it where the last step is evaluated, which asks once more."""
    main(tmp_path, **{**CONSTANT, "max_steps": 1, "eval_steps": 1, "time_limit_minutes": 1e-9})
    assert (tmp_path / "model.safetensors").exists()


def test_weights_are_written_as_asked_for_and_evaluated_so(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16, of a training and with checkpoints that remain in float32."""
    evaluated: dict[str, torch.Tensor] = {}

    def remember(state: TrainState, *rest: object) -> dict:
        evaluated.update(state.averaged_model.state_dict())
        return {}

    monkeypatch.setattr(train, "final_scores", remember)
    main(tmp_path, weights_dtype="bfloat16")
    half, whole = (load_file(folder / "model.safetensors") for folder in (tmp_path, uninterrupted))
    assert half.keys() == whole.keys() == evaluated.keys()
    for name, weight in whole.items():
        assert weight.dtype == torch.float32
        assert torch.equal(half[name], weight.bfloat16()), name
        assert torch.equal(evaluated[name], half[name].float()), name
    ours, theirs = checkpoint_tensors(tmp_path), checkpoint_tensors(uninterrupted)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert AutoModel.from_pretrained(tmp_path).dtype == torch.bfloat16


def test_a_run_of_growing_depth_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    """`sudoku_fast`, narrower, with its optimizers: equal byte for byte."""
    recipe = {"--config": ROOT / "recipes" / "sudoku_fast.yaml", "--compile": "none"}
    sizes = {"--batch_size": 2, "--max_steps": 20, "--save_steps": 20, "--log_steps": 1, "--num_test_puzzles": 2}
    sizes |= {"--max_solve_steps": 1, "--hidden_size": 32, "--num_attention_heads": 2}
    sizes |= {"--intermediate_size": 32, "--token_mixer_intermediate_size": 32}

    def run(name: str) -> None:
        fields = recipe | sizes | {"--output_dir": tmp_path / name}
        train.main([str(word) for pair in fields.items() for word in pair])

    run("whole")
    with patch.object(Stopper, "reason", side_effect=[*[None] * 12, "SIGTERM"]):  # within the last stage of depth
        run("stopped")
    (checkpoint,) = list_checkpoints(tmp_path / "stopped")
    assert checkpoint.name == "step-00000013"
    run("stopped")
    assert_same_training(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9, twenty times in a row, with a checkpoint at every step: in the end, the uninterrupted run's weights."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_resume"])  # the libraries are imported once, not twenty times
    fields = {"max_steps": 400, "use_muon": False}  # more than a fast machine does in twenty runs
    run, dice = partial(context.Process, target=main), random.Random(0)
    for _ in range(20):
        killed = run(args=(tmp_path / "killed",), kwargs={**fields, "save_steps": 1})
        before = len(log_lines(tmp_path / "killed"))
        killed.start()
        steps = dice.randint(0, 6)  # 0: it may not even have started to train
        while len(log_lines(tmp_path / "killed")) < before + steps and killed.is_alive():
            time.sleep(0.001)
        killed.join(dice.uniform(0, 0.1 if steps else 1.0))
        assert killed.is_alive()
        killed.kill()
        killed.join()
    for name in ("killed", "whole"):
        last = run(args=(tmp_path / name,), kwargs={**fields, "save_steps": 50})
        last.start()
        last.join(300)
        assert last.exitcode == 0
    ours, theirs = checkpoint_tensors(tmp_path / "killed"), checkpoint_tensors(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert models[0] == models[1]
    steps = [[line["step"] for line in log_lines(tmp_path / name)] for name in ("killed", "whole")]
    assert steps[0] == steps[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_two_processes_killed_at_random_moments(tmp_path: Path) -> None:
    """kill -9 of both and of their launcher, twice, with a checkpoint at every step, and Muon."""
    fields, dice = {**SMALL, "max_steps": 60}, random.Random(0)
    for _ in range(2):
        run, before = start(tmp_path / "killed", 2, **{**fields, "save_steps": 1}), len(log_lines(tmp_path / "killed"))
        steps = dice.randint(1, 6)
        while len(log_lines(tmp_path / "killed")) < before + steps:
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.1))
        workers = children(run.pid)
        assert len(workers) == 2
        for pid in dice.sample([*workers, run.pid], 3):
            os.kill(pid, signal.SIGKILL)
        run.communicate()
    assert "going on from step" in finish(start(tmp_path / "killed", 2, **{**fields, "save_steps": 50}))
    finish(start(tmp_path / "whole", 2, **{**fields, "save_steps": 50}))
    assert_same_training(tmp_path / "whole", tmp_path / "killed")
    steps = [[line["step"] for line in log_lines(tmp_path / name)] for name in ("whole", "killed")]
    assert steps[0] == steps[1]


def test_a_checkpoint_that_cannot_be_read_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A colleague's, or one on a disk that is gone: nothing is renamed, and nobody is told to remove it."""
    main(tmp_path, **CONSTANT, max_steps=2)
    (folder,) = list_checkpoints(tmp_path)

    def forbid(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(storage, "checksum", forbid)
        with pytest.raises(UserError, match=rf"checkpoints in {tmp_path} cannot be read: .*Permission denied"):
            main(tmp_path, **CONSTANT, max_steps=3)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", forbid)
        with pytest.raises(UserError, match="Permission denied"):
            main(tmp_path, **CONSTANT, max_steps=3)
    assert list_checkpoints(tmp_path) == [folder]


def test_files_have_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        main(tmp_path, **CONSTANT, max_steps=2)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()} == {0o640}


@pytest.mark.parametrize("content", ["[]", "null", "", '{"a": '])
def test_a_manifest_that_is_none_and_a_file_it_does_not_list(content: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    write_manifest(tmp_path)
    assert find_damage(tmp_path) is None
    save_file({}, tmp_path / "rank-00001.safetensors")
    assert find_damage(tmp_path) == "rank-00001.safetensors is not listed"
    (tmp_path / "manifest.json").write_text(content)
    assert "manifest.json" in find_damage(tmp_path)
