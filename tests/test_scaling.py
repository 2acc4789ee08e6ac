# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The launch files of docs/scaling.md, and the benchmark of its figures.

What Accelerate makes of them, what the Slurm script starts where, and whether the benchmark counts and divides right.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from benchmarks.gpu import CASES, count_operations, load_case

FOLDER = Path(__file__).parent.parent / "recipes" / "accelerate"


@pytest.mark.parametrize(("name", "machines", "gpus"), [("1x4", 1, 4), ("2x8", 2, 8)])
def test_accelerate_starts_a_process_for_every_gpu(name: str, machines: int, gpus: int) -> None:
    place = ["--machine_rank", "1", "--main_process_ip", "10.0.0.1", "--main_process_port", "29500"]
    words = ["--config_file", str(FOLDER / f"{name}.yaml"), *(place if machines > 1 else [])]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args([*words, "train.py", "--seed", "1"]))
    environment = prepare_multi_gpu_env(args)
    assert args.multi_gpu
    assert int(args.nproc_per_node) == gpus
    assert args.num_processes == machines * gpus
    assert args.training_script_args == ["--seed", "1"]
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    if machines > 1:
        assert (args.nnodes, args.node_rank) == ("2", 1)
        assert (args.rdzv_backend, args.rdzv_endpoint) == ("static", "10.0.0.1:29500")


def test_slurm_starts_one_launcher_on_each_machine(tmp_path: Path) -> None:
    """With stand-ins for `srun`, `scontrol` and `accelerate` that say what they are given."""
    commands = {
        "scontrol": 'printf "node-a\\nnode-b\\n"',
        "srun": 'shift; for node in 0 1; do SLURM_NODEID=$node "$@"; done',
        "accelerate": 'printf "%s|" "$@"; echo',
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "x"}
    words = ["train.py", "--config", "recipes/arc_agi_1.yaml", "--output_dir", "my runs/arc"]
    script = ["bash", str(FOLDER / "2x8.slurm"), *words]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    for node, line in enumerate(done.stdout.splitlines()):
        config = "launch|--quiet|--config_file|recipes/accelerate/2x8.yaml"
        place = f"--machine_rank|{node}|--main_process_ip|node-a|--main_process_port|23456"
        assert line == f"{config}|{place}|{'|'.join(words)}|"
    assert node == 1


@pytest.mark.parametrize("recipe", CASES)
def test_the_operations_of_a_step_are_counted(recipe: str) -> None:
    """Against the formula: a layer's products, once without gradient and three times with, and the two heads'."""
    args, config, _ = load_case(recipe, is_small=True)
    rows, length, hidden = args.batch_size, config.prefix_len + config.seq_len, config.hidden_size
    channels = 3 * length * hidden * config.intermediate_size
    if config.token_mixer == "mlp":
        positions = 3 * hidden * length * config.token_mixer_intermediate_size
    else:
        positions = 4 * length * hidden**2 + 2 * length**2 * hidden
    updates = config.latent_cycles + 1
    passes = updates * (config.deep_cycles - config.gradient_cycles) + 3 * updates * config.gradient_cycles
    heads = 3 * hidden * (config.seq_len * config.vocab_size + 2)
    expected = 2 * rows * (passes * config.num_hidden_layers * (channels + positions) + heads)
    assert count_operations(recipe, is_small=True) == pytest.approx(expected, rel=0.01)


def test_the_benchmark_writes_figures_that_agree() -> None:
    """As a command, for one of its cases; rounded to four digits."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--recipes", "sudoku_extreme"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=FOLDER.parent.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["small"] and results["num_threads"] and results["versions"] and "commit" in results
    case, seconds = results["sudoku_extreme"], {}
    assert case["preparation_seconds"] > 0
    assert case["teraflop_per_step"] == pytest.approx(
        count_operations("sudoku_extreme", is_small=True) / 1e12, rel=1e-3
    )
    for name in ("compiled", "eager", "official"):
        own = case[name]
        seconds[name] = own["milliseconds_per_step"] / 1000
        assert own["samples_per_second"] * seconds[name] == pytest.approx(case["batch_size"], rel=2e-3)
        assert own["teraflop_per_second"] * seconds[name] == pytest.approx(case["teraflop_per_step"], rel=2e-3)
        share = own["teraflop_per_second"] / results["matrix_teraflop_per_second"]
        assert own["matrix_share"] == pytest.approx(share, rel=2e-3)
        assert own["host_milliseconds"] > 0 and "peak_mib" in own
    speedup = seconds["official"] / seconds["compiled"]
    assert case["speedup_over_official"] == pytest.approx(speedup, rel=2e-3)
