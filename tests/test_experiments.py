# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Recipes on top of a base, and the command that compares them at equal time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import experiments
from tools.experiments import find_recipes, steps_within, table
from tools.experiments import main as run_experiments
from training.arguments import TrainArguments, model_arguments, parse_arguments, read_recipe
from training.errors import UserError

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted((ROOT / "experiments").glob("*/*.yaml"))
TINY = f"""# {{}}
base: {ROOT / "recipes" / "sudoku_6x6.yaml"}
hidden_size: 16
batch_size: 8
num_test_puzzles: 20
warmup_steps: 0
eval_steps: null
mixed_precision: "no"
"""


def with_folder(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# Recipes with a base


def test_a_recipe_is_its_base_with_some_fields_changed(tmp_path: Path) -> None:
    """Over several files in several folders; null takes a field of the base back to its default."""
    write(tmp_path / "ground.yaml", "max_steps: 5\nseed: 3\nwarmup_steps: 2\n")
    write(tmp_path / "floor.yaml", "base: ground.yaml\nseed: 4\nhidden_size: 64\n")
    top = write(tmp_path / "house" / "top.yaml", "warmup_steps: null\nbase: ../floor.yaml\nhidden_size: 32\n")
    assert read_recipe(top) == {"max_steps": 5, "seed": 4, "warmup_steps": None, "hidden_size": 32}
    args, model_args = parse_arguments([TrainArguments, model_arguments()], ["--config", str(top), "--seed", "9"])
    assert (args.max_steps, args.seed, args.warmup_steps, model_args.hidden_size) == (5, 9, 0, 32)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("base: mine.yaml", "mine.yaml is its own base"),
        ("base: other.yaml", "is its own base"),
        ("base: nowhere.yaml", "cannot read the recipe"),
        ("base: typo.yaml", "did you mean 'max_steps'"),
        ("base: list.yaml", "list.yaml holds no fields"),
    ],
)
def test_mistakes_about_bases_are_named(tmp_path: Path, text: str, named: str) -> None:
    mine = write(tmp_path / "mine.yaml", text)
    write(tmp_path / "other.yaml", "base: mine.yaml")
    write(tmp_path / "typo.yaml", "max_stepss: 3")
    write(tmp_path / "list.yaml", "- 1")
    with pytest.raises(UserError) as caught:
        parse_arguments([TrainArguments, model_arguments()], ["--config", str(mine)])
    assert named in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def changes(recipe: Path) -> set[str]:
    """The fields in which a recipe differs from its base, if that is in the same folder."""
    bases = [line.removeprefix("base: ") for line in recipe.read_text().splitlines() if line.startswith("base: ")]
    base = bases[0] if bases else "/"
    if "/" in base:
        return set()
    unchanged = read_recipe(recipe.with_name(base))
    return {name for name, value in read_recipe(recipe).items() if unchanged.get(name) != value}


@pytest.mark.parametrize("recipe", EXPERIMENTS, ids=with_folder)
def test_every_experiment_changes_little_or_what_others_change_alone(recipe: Path) -> None:
    """At most five fields; or, as HRM in the paper's Table 1, only fields that the other rows change one by one."""
    parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])
    lines = recipe.read_text().splitlines()
    assert lines[0].startswith("# ")  # the description in the table
    changed = changes(recipe)
    assert changed or not any(line.startswith("base: ") and "/" not in line for line in lines)
    others = set[str]().union(*(changes(other) for other in recipe.parent.glob("*.yaml") if other != recipe))
    assert len(changed) <= 5 or changed <= others


def test_only_recipes_and_one_table_are_kept() -> None:
    for path in (ROOT / "experiments").glob("*/*"):
        assert path.suffix == ".yaml" or path.name == "RESULTS.md", path


# The command


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shallow recipe and a deeper one, for half a second each."""
    folder = tmp_path_factory.mktemp("ladder")
    write(folder / "shallow.yaml", TINY.format("shallow") + "deep_cycles: 1\nlatent_cycles: 1\n")
    write(folder / "deep.yaml", TINY.format("deep") + "deep_cycles: 4\nlatent_cycles: 6\n")
    run(folder)
    return folder


def run(folder: Path) -> None:
    run_experiments([str(folder), "--time_limit_minutes", "0.02", "--output_dir", str(folder / "runs")])


def results_of(ladder: Path) -> Path:
    return ladder / "runs" / ladder.name


def record(ladder: Path, name: str) -> dict[str, Any]:
    return json.loads((results_of(ladder) / f"{name}.json").read_text())


def test_cheaper_steps_mean_more_steps(ladder: Path) -> None:
    """28 updates a step against 2: several times the steps in the same time, the schedule ending with them."""
    shallow, deep = record(ladder, "shallow"), record(ladder, "deep")
    assert shallow["max_steps"] > 1.5 * deep["max_steps"] > 0  # on a quiet machine four times
    for name, own in (("shallow", shallow), ("deep", deep)):
        log = [json.loads(line) for line in (results_of(ladder) / f"{name}.seed-0.jsonl").read_text().splitlines()]
        assert log[-1]["step"] == own["max_steps"]
        assert log[-1]["learning_rate"] == pytest.approx(0)


def test_a_result_names_the_command_that_repeats_it(ladder: Path, tmp_path: Path) -> None:
    (run,) = record(ladder, "deep")["runs"]
    assert run["results"]["seed"] == run["seed"] == 0
    python, *words = run["command"].split()
    assert python == "python"
    assert words[-2:] == ["--output_dir", f"runs/{ladder.name}/deep.seed-0"]  # one that no other run has
    done = subprocess.run([sys.executable, *words, "--output_dir", str(tmp_path)], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    (again,) = json.loads((tmp_path / "results.json").read_text())
    for name in ("exact_accuracy", "cell_accuracy", "mean_steps", "num_examples"):
        assert again[name] == run["results"][name], name


def test_equal_steps_in_place_of_equal_time(ladder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "equal"
    shutil.copytree(ladder, folder, ignore=shutil.ignore_patterns("runs", "RESULTS.md"))
    run_experiments([str(folder), "--steps", "3", "--output_dir", str(folder / "runs")])
    for name in ("shallow", "deep"):
        log = (results_of(folder) / f"{name}.seed-0.jsonl").read_text().splitlines()
        assert record(folder, name)["max_steps"] == json.loads(log[-1])["step"] == 3
    text = table(folder, folder / "runs")
    assert f"`python -m tools.experiments experiments/{folder.name} --steps 3 --seeds 0`" in text


def test_what_has_run_is_not_run_again(ladder: Path) -> None:
    before = {path: path.read_bytes() for path in results_of(ladder).glob("*.json")}
    run(ladder)
    assert before and {path: path.read_bytes() for path in results_of(ladder).glob("*.json")} == before


def test_the_table_holds_every_result(ladder: Path) -> None:
    text = (ladder / "RESULTS.md").read_text()
    assert text == table(ladder, ladder / "runs")
    assert "| CPU seconds |" in text
    assert f"`python -m tools.experiments experiments/{ladder.name} --time_limit_minutes 0.02 --seeds 0`" in text
    result = record(ladder, "deep")["runs"][0]["results"]
    assert f"- {result['device']}, commit {result['commit']}" in text
    for name in ("shallow", "deep"):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {name} | {record(ladder, name)['max_steps']} |" in row


def test_the_table_shows_mean_and_every_seed_best_first(tmp_path: Path) -> None:
    for name, scores in (("low", [0.1, 0.2]), ("high", [0.6, 0.9]), ("middle", [0.5])):
        known = {"mean_steps": 8, "device": "cpu", "commit": "abc"}
        runs = [
            {"seed": seed, "train_seconds": 5, "results": {"exact_accuracy": score, **known}}
            for seed, score in enumerate(scores)
        ]
        write(tmp_path / f"{name}.yaml", f"# about {name}\n")
        own = {"limit": {"time_limit_minutes": 0.5}, "clock": "cpu_seconds", "max_steps": 7, "runs": runs}
        write(results_of(tmp_path) / f"{name}.json", json.dumps(own))
    rows = [line for line in table(tmp_path, tmp_path / "runs").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["high", "middle", "low"]
    assert "| about high | 7 | 5 | 75.0 | 60.0, 90.0 |" in rows[0]


def test_a_part_of_a_folder_leaves_its_table_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "table", lambda folder, output_dir: "new")
    monkeypatch.setattr(
        experiments, "run_once", lambda recipe, *_: write(results_of(tmp_path) / f"{recipe.stem}.json", "{}")
    )
    one, other = (write(tmp_path / f"{name}.yaml", "seed: 1\n") for name in ("one", "other"))
    beside, apart = write(tmp_path / "RESULTS.md", "old"), results_of(tmp_path) / "RESULTS.md"
    options = ["--output_dir", str(tmp_path / "runs")]
    run_experiments([str(one), *options])
    assert (beside.read_text(), apart.read_text()) == ("old", "new")
    run_experiments([str(other), *options])
    assert beside.read_text() == "new"


def test_a_recipe_that_cannot_run_is_named(tmp_path: Path) -> None:
    recipe = write(tmp_path / "wrong.yaml", "task: sudoku\nhidden_size: 15\n")
    with pytest.raises(UserError, match=r"wrong\.yaml did not run"):
        steps_within(1.0, recipe)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"has no \.yaml files"):
        find_recipes([str(tmp_path / "nothing")])
    with pytest.raises(UserError, match="cannot read the recipe"):
        find_recipes([str(tmp_path / "absent.yaml")])
