# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What a run of train.py leaves, how it stops, and what it refuses."""

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import train
from training.arguments import TrainArguments, model_arguments, parse_arguments
from training.errors import UserError

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
TINY = {
    "config": ROOT / "recipes" / "sudoku_6x6.yaml",
    "hidden_size": 32,
    "max_supervision_steps": 4,
    "halt_exploration_prob": 0.5,
    "max_steps": 20,
    "batch_size": 16,
    "save_steps": 7,
    "log_steps": 5,
    "eval_steps": 10,
    "eval_examples": 50,
    "num_test_puzzles": 100,
    "mixed_precision": "no",
}


def command(output_dir: Path, processes: int = 1, **fields: object) -> list[str]:
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    given = {name: value for name, value in {**TINY, **fields}.items() if value is not None}
    words = [str(word) for item in given.items() for word in (f"--{item[0]}", item[1])]
    return [*launcher, str(ROOT / "train.py"), *words, "--output_dir", str(output_dir)]


class Run(subprocess.Popen):
    """A process whose output goes to a file: a pipe that nobody reads fills up, and would stop a talkative run."""

    def __init__(self, words: list[str]):
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process is
        super().__init__(words, stdout=self.output, stderr=subprocess.STDOUT, text=True)

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        self.output.seek(0)
        return self.output.read(), None


def start(*arguments, **fields: object) -> Run:
    return Run(command(*arguments, **fields))


def main(output_dir: Path, **fields: object) -> None:
    """Training in this process."""
    train.main(command(output_dir, **fields)[2:])


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def checkpoint_tensors(output_dir: Path) -> dict[str, torch.Tensor]:
    (folder,) = sorted((output_dir / "checkpoints").glob("step-*"))[-1:]
    return {f"{path.name}/{name}": t for path in folder.glob("*.safetensors") for name, t in load_file(path).items()}


def log_lines(output_dir: Path) -> list[dict]:
    """The lines that are complete: the last one may be being written."""
    path = output_dir / "train_log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def assert_same_training(first: Path, second: Path) -> None:
    """Weights, average, optimizers, carries and the published model are equal to the last bit."""
    ours, theirs = checkpoint_tensors(first), checkpoint_tensors(second)
    assert ours.keys() == theirs.keys()
    assert any("carry.latent_state" in name for name in ours)
    assert any("momentum_buffer" in name for name in ours)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    main(folder)
    return folder


def test_a_run_leaves_what_it_promises(uninterrupted: Path) -> None:
    names = {path.name for path in uninterrupted.iterdir()}
    promised = "README.md config.json model.safetensors processor_config.json modeling_trm.py results.json"
    assert {*promised.split(), "train_args.json", "train_log.jsonl"} <= names
    assert not list(uninterrupted.rglob("*tmp*"))
    assert [path.name for path in sorted((uninterrupted / "checkpoints").iterdir())] == [
        "best",
        "step-00000014",
        "step-00000020",
    ]
    assert not [path for path in uninterrupted.rglob("*") if path.suffix in (".pt", ".bin", ".pkl", ".pth")]
    lines = log_lines(uninterrupted)
    assert [line["step"] for line in lines if "answer_loss" in line] == [5, 10, 15, 20]
    evaluations = {line["step"]: line["eval"]["exact_accuracy"] for line in lines if "eval" in line}
    assert list(evaluations) == [10, 20]
    state = json.loads((uninterrupted / "checkpoints" / "step-00000020" / "state.json").read_text())
    assert state["best_accuracy"] == max(evaluations.values())
    final = checkpoint_tensors(uninterrupted)
    published = AutoModel.from_pretrained(uninterrupted).state_dict()
    for name, tensor in published.items():
        assert torch.equal(tensor, final[f"training.safetensors/average.module.{name}"])
    (results,) = json.loads((uninterrupted / "results.json").read_text())
    assert results["num_examples"] == 100


def test_the_time_limit_stops_with_a_checkpoint(uninterrupted: Path, tmp_path: Path, capsys) -> None:
    """From which the same command resumes, and not from the half that a kill during a later save left behind."""
    main(tmp_path, time_limit_minutes=1e-9)
    assert "time limit: stopped at step 1 of 20; the same command goes on" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "step-00000001").is_dir()
    average = checkpoint_tensors(tmp_path)
    for name, tensor in AutoModel.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(tensor, average[f"training.safetensors/average.module.{name}"])
    assert not (tmp_path / "results.json").exists()
    broken = tmp_path / "checkpoints" / "step-00000014.tmp"
    broken.mkdir()
    (broken / "training.safetensors").write_bytes(b"half")
    main(tmp_path)
    assert "going on from step 1 of" in capsys.readouterr().out
    assert_same_training(uninterrupted, tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("hidden_size", 64), ("seed", 3), ("batch_size", 8), ("num_train_puzzles", 900)]
)
def test_a_changed_recipe_is_refused(field: str, value: int, uninterrupted: Path) -> None:
    with pytest.raises(UserError, match=rf"{field}.*not {value}.*resume_anyway"):
        main(uninterrupted, **{field: value})


def test_a_refusal_is_one_line_with_status_2(uninterrupted: Path) -> None:
    process = start(uninterrupted, hidden_size=64)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "hidden_size" in line
    assert "Traceback" not in output


def test_a_diverged_run_stops_before_it_saves(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the loss was not finite at step 11, the last of 10 such steps"):
        main(tmp_path, learning_rate=1e30, save_steps=5, eval_steps=100)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("max_steps", [10, 4])
def test_a_diverged_run_that_is_evaluated_ends_in_one_line(max_steps: int, tmp_path: Path) -> None:
    """In a periodic evaluation, or in that of the finished model."""
    eval_steps = 3 if max_steps == 10 else None
    process = start(tmp_path, learning_rate=1e30, eval_steps=eval_steps, max_steps=max_steps, log_steps=1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert f"cannot evaluate step {eval_steps or max_steps}" in line
    assert "--learning_rate" in line and "not finite" in line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--hiden_size", "8"], "'hidden_size'"),
        (["--eval_halt_threshold", "nan"], "eval_halt_threshold=nan must be a number"),
        (["--max_steps", "many"], "max_steps"),
        (["--config", "no.yaml"], "no.yaml"),
        (["--token_mixer", "conv"], "token_mixer"),
        (["stray"], "stray"),
        (["--max_steps", "0"], "max_steps"),
        (["--adam_beta1", "1.5"], "adam_beta1"),
        (["--report_to", "wandb"], "pip install wandb"),
        (["--output_dir", __file__], "is a file"),
    ],
)
def test_mistakes_in_the_command_are_named(words: list[str], named: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_arguments([TrainArguments, model_arguments()], words)
    assert named in str(caught.value)


def test_mistakes_in_a_recipe_are_named(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    bomb = "a: &a [1]\nb: &b [*a, *a]\nseed: [*b, *b]"
    for text, named in (
        *(("max_stepss: 3", "'max_steps'"), ("- 1", "fields"), ("a: [", "YAML"), ("seed: x", "seed")),
        *((bomb, "neither a value"), ("seed: " + "[" * 10_000, "YAML"), ("seed: " + "1" * 5000, "digits")),
        *(("seed: 2.5", "seed"), ("batch_size: 1e30", "batch_size"), ("1: 2", "neither a value")),
    ):
        recipe.write_text(text)
        with pytest.raises(UserError) as caught:
            parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])
        assert named in str(caught.value)


def test_the_command_line_wins_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("max_steps: 3\nlearning_rate: 1.0e-3\nuse_muon: true\naugment: false\nnum_train_puzzles: null\n")
    args, model_args = parse_arguments(
        [TrainArguments, model_arguments()], ["--config", str(recipe), "--max_steps", "4", "--hidden_size", "64"]
    )
    assert (args.max_steps, args.learning_rate, args.use_muon, args.augment) == (4, 1e-3, True, False)
    assert model_args.hidden_size == 64


def test_values_mean_what_yaml_and_argparse_users_expect(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "mixed_precision: no\nreport_to: none\neval_halt_threshold: -.inf\nmax_grad_norm: ~\nuse_muon: no\n"
        "augment: false\nmax_steps: 1_000\nlearning_rate: 1e-3\nnum_train_puzzles: null\nmax_skipped_steps: null\n"
        "output_dir: 2026-11-28\neval_steps: 5\n"
    )
    words = ["--config", str(recipe), "--save_steps", "1e3", "--halt_threshold", "-1e-3", "--eval_steps", "none"]
    args, model_args = parse_arguments([TrainArguments, model_arguments()], words)
    assert (args.mixed_precision, args.report_to, args.eval_halt_threshold) == ("no", "none", -math.inf)
    assert (args.max_grad_norm, args.use_muon, args.augment) == (None, False, False)
    assert (args.max_steps, args.learning_rate, args.max_skipped_steps) == (1000, 1e-3, 10)
    assert (args.num_train_puzzles, args.output_dir, args.save_steps) == (None, "2026-11-28", 1000)
    assert (model_args.halt_threshold, args.eval_steps) == (-1e-3, None)
    recipe.write_bytes("# für".encode("latin-1"))
    with pytest.raises(UserError, match="is not YAML: 'utf-8' codec"):
        parse_arguments([TrainArguments], ["--config", str(recipe)])


def test_own_grids_are_used_whole_and_other_data_as_the_paper_does() -> None:
    kept = {task: TrainArguments(task=task).num_train_puzzles for task in ("grid", "sudoku", "maze", "arc-agi")}
    assert kept == {"grid": None, "sudoku": 1000, "maze": 1000, "arc-agi": None}
    args, *_ = parse_arguments([TrainArguments], ["--num_train_puzzles", "all"])
    assert args.num_train_puzzles is None and replace(args, seed=1).num_train_puzzles is None
    with pytest.raises(UserError, match="num_train_puzzles=10: all tasks of ARC are used"):
        TrainArguments(task="arc-agi", num_train_puzzles=10)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (name, value)
            for name in ("puzzle_embedding_learning_rate", "weight_decay")
            for value in ("nan", "-1", "inf")
        ),
        *(("batch_size", "1e9"), ("max_steps", "1" * 5000), ("seed", "1e30"), ("max_steps", "nan")),
    ],
)
def test_numbers_beyond_reason_are_refused(field: str, value: str) -> None:
    with pytest.raises(UserError, match=field):
        parse_arguments([TrainArguments], [f"--{field}", value])


def test_a_model_larger_than_memory_is_refused_before_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a model of .* parameters takes .* GB to train"):
        main(tmp_path, hidden_size=2**20, num_attention_heads=1)
    with pytest.raises(UserError, match="num_hidden_layers=100000 must be at most 1,024"):
        main(tmp_path, num_hidden_layers=100000)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(recipe: Path) -> None:
    parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])


@pytest.mark.slow
def test_the_smallest_recipe_learns(tmp_path: Path) -> None:
    """6x6 Sudoku, from nothing to nearly all held-out puzzles."""
    train.main(["--config", str(ROOT / "recipes" / "sudoku_6x6.yaml"), "--output_dir", str(tmp_path)])
    (results,) = json.loads((tmp_path / "results.json").read_text())
    assert results["exact_accuracy"] > 0.93
    assert results["halt_accuracy"] > 0.93
    assert results["mean_steps"] < 3
