# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""`train.py --dry_run true`: what it counts against real steps, closed formulas and published sizes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmForPuzzleSolving
from tools.results import markdown
from tools.scaling import BEGIN, END, HEAD, PAGE, RUNS, row
from train import main
from training.arguments import TrainArguments, build_config_of, model_arguments, parse_arguments
from training.batches import TrainBatches
from training.dry_run import Plan, describe_data, duration, kept_for_backward, shown
from training.errors import UserError
from training.optimizers import ExponentialAverage, build_optimizers
from training.state import TrainState

RECIPES = Path(__file__).parent.parent / "recipes"


def plan_of(recipe: str, *words: str, processes: int = 1) -> Plan:
    command = ["--config", str(RECIPES / f"{recipe}.yaml"), "--num_augmentations", "0", *words]
    args, model_args = parse_arguments([TrainArguments, model_arguments()], command)
    puzzle_format, num_puzzles, _ = describe_data(args)
    return Plan(args, build_config_of(model_args, puzzle_format, num_puzzles), processes)


def real_step(plan: Plan) -> tuple[int, int, TrainState]:
    """Operations, bytes kept for the backward pass, and the state after a step on this machine in float32."""
    args = plan.args
    puzzles = load_puzzles(args.task, args.dataset_config, "train", num_augmentations=args.num_augmentations)
    model = TrmForPuzzleSolving(plan.config).train()
    state = TrainState(model, ExponentialAverage(model, 0.9), build_optimizers(model, args))
    place = SimpleNamespace(device=torch.device("cpu"), num_processes=1, process_index=0)
    batch = TrainBatches(puzzles, args, plan.config, place)(0)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # torch cannot count the CPU's own
        with kept_for_backward(model) as kept:
            loss = model(**batch).loss
        loss.backward()
    for optimizer in state.optimizers:
        optimizer.step()
    return counter.get_total_flops(), sum(kept.values()), state


@pytest.mark.parametrize("recipe", ["sudoku_6x6", "sudoku_easy", "maze_smoke", "hrm_small", "arc_agi_1_smoke"])
def test_operations_and_memory_are_those_of_a_real_step(recipe: str) -> None:
    """MLP and Muon, symbols, attention, HRM with its Q-learning, puzzle embeddings."""
    plan = plan_of(recipe, "--batch_size", "4", "--mixed_precision", "no", "--compile", "none")
    operations, kept, state = real_step(plan)
    assert [stage.operations for stage in plan.stages] == [operations]
    assert plan.activation_bytes == pytest.approx(kept, rel=0.02)
    tensors = [tensor for name, tensor in state.tensors().items() if not name.endswith(("step", "n_averaged"))]
    gradients = [weight.grad for weight in state.model.parameters() if weight.grad is not None]
    sizes = [tensor.numel() for tensor in (*tensors, *gradients) if not tensor.is_sparse]
    initial_states = 4 * plan.config.hidden_size  # buffers, of the model and its average
    assert plan.weight_bytes == 4 * (sum(sizes) - initial_states)


@pytest.mark.parametrize(
    ("recipe", "parameters", "teraflop"),
    [
        ("sudoku_extreme", 5_028_866, 32.8),  # the parameters of published checkpoints
        ("sudoku_extreme_attention", 6_828_034, 36.6),
        ("hrm_sudoku_extreme", 27_275_266, None),
        ("maze_hard", None, 305.8),
    ],
)
def test_the_papers_models(recipe: str, parameters: int | None, teraflop: float | None) -> None:
    """Operations by the closed formula: applications of the network, a backward pass as two, times its products."""
    plan = plan_of(recipe)
    if parameters is not None:
        assert plan.num_parameters + plan.config.puzzle_embedding_size == parameters + 512
    if teraflop is not None:
        config, length = plan.config, plan.config.prefix_len + plan.config.seq_len
        hidden, channels = config.hidden_size, 3 * config.hidden_size * config.intermediate_size
        positions = (
            3 * config.token_mixer_intermediate_size * hidden
            if config.token_mixer == "mlp"
            else 4 * hidden**2 + 2 * length * hidden
        )
        applications = (config.deep_cycles + 2) * (config.latent_cycles + 1)
        expected = 768 * length * 2 * 2 * (channels + positions) * applications
        assert plan.operations_per_step == pytest.approx(expected, rel=0.01)
        assert plan.operations_per_step / 1e12 == pytest.approx(teraflop, abs=0.1)


def test_stages_add_up() -> None:
    """sudoku_fast: 16, 42 and 80 applications for 30, 30 and 40 % of the steps."""
    plan = plan_of("sudoku_fast")
    assert [stage.steps for stage in plan.stages] == [4500, 4500, 6000]
    first, second, third = (stage.operations for stage in plan.stages)
    assert second / first == pytest.approx(42 / 16, rel=0.01) and third / first == pytest.approx(80 / 16, rel=0.01)
    assert plan.total_operations == 4500 * (first + second) + 6000 * third


def test_processes_share_time_and_activations_but_not_weights() -> None:
    one, four = plan_of("maze_smoke"), plan_of("maze_smoke", processes=4)
    assert one.hours(7) == pytest.approx(4 * four.hours(7)) == pytest.approx(8 * four.hours(14))
    assert one.hours(1) * 3600e12 == pytest.approx(one.total_operations)
    assert one.activation_bytes == 4 * four.activation_bytes
    assert one.weight_bytes == four.weight_bytes


def test_compiling_and_checkpointing_keep_less() -> None:
    eager = plan_of("sudoku_6x6")
    compiled, checkpointed = (
        Plan(replace(eager.args, **change), eager.config)
        for change in ({"compile": "network"}, {"activation_checkpointing": True})
    )
    assert checkpointed.activation_bytes < compiled.activation_bytes < eager.activation_bytes


def test_the_command_says_it_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """For data that would have to be downloaded, and processes that are not there."""
    words = ["--dry_run", "true", "--assumed_processes", "4", "--assumed_teraflops", "270"]
    folder = tmp_path / "run"
    main(["--config", str(RECIPES / "maze_hard.yaml"), "--output_dir", str(folder), *words])
    printed = capsys.readouterr().out
    for words in ("6,822,914 parameters", "sapientinc/maze-30x30-hard-1k", "306 TFLOP", "65,104 steps", "4 x 270"):
        assert words in printed
    assert "backward pass of 192 puzzles" in printed
    assert duration(plan_of("maze_hard", processes=4).hours(270)) in printed
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--assumed_processes", "7"], "batch_size=768 cannot be divided among 7 processes"),
        (["--assumed_processes", "0"], "assumed_processes=0 must be at least 1"),
        (["--assumed_teraflops", "0"], "assumed_teraflops=0.0 must be positive"),
        (["--dataset_config", "hrad"], "did you mean 'hard'"),
        (["--num_symbols", "3"], "num_symbols=3"),
    ],
)
def test_a_mistake_is_named(words: list[str], named: str) -> None:
    with pytest.raises(UserError) as error:
        main(["--config", str(RECIPES / "maze_hard.yaml"), "--dry_run", "true", *words])
    assert named in str(error.value)


def test_sizes_are_readable() -> None:
    assert shown(32.8e12, "FLOP") == "32.8 TFLOP"
    assert shown(2_136e15, "FLOP") == "2,136 PFLOP"
    assert shown(512, "B") == "512 B"
    assert [duration(hours) for hours in (0.5, 5.93, 72)] == ["30.0 minutes", "5.9 hours", "3.0 days"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["sudoku_extreme", "maze_fast", "hrm_sudoku_extreme"])
def test_the_page_has_the_commands_figures(recipe: str) -> None:
    """Otherwise: python -m tools.scaling (of its lines those that take no long)."""
    assert "\n".join(markdown(HEAD, [row(recipe)])[2:]) in PAGE.read_text().splitlines()


def test_the_page_has_a_line_for_each_run() -> None:
    lines = PAGE.read_text().split(BEGIN)[1].split(END)[0].strip().splitlines()
    assert lines[:2] == markdown(HEAD, [])
    assert [line.split(" | ")[1].strip("`") for line in lines[2:]] == list(RUNS)
