# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The checkpoints in the repository are what their results say, and are all a person needs."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from huggingface_hub import ModelCard
from remote_code import PACKAGE, needed_files, run_without_the_package
from safetensors.torch import load_file
from tiny import tiny_model
from transformers import AutoModel, AutoProcessor

from modeling_trm import PuzzleSolvingPipeline, TrmProcessor
from modeling_trm.hub_trm import model_files
from training.arguments import TrainArguments, model_arguments, parse_arguments, read_recipe
from training.checkpoint import list_checkpoints, save_model
from training.errors import UserError
from training.evaluation.results import weights_of
from training.evaluation.scores import load_model
from training.publishing.cards import write_card
from training.publishing.publish import publish_final
from training.state import with_prefix
from training.storage import find_damage

ROOT = Path(__file__).parent.parent


class Checkpoint(NamedTuple):
    """The recipe that repeats it, the most bytes of its weights, its least score on all test puzzles of which config,
    and the share of the first few that the test solves itself."""

    recipe: str
    max_bytes: float
    score: float
    config: str
    count: int
    share: float


CHECKPOINTS = {"trm-sudoku": Checkpoint("sudoku", 3e5, 0.58, "hard-sample", 40, 0.45)}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_results_are_of_its_weights_and_quoted(name: str) -> None:
    folder = ROOT / name
    results = json.loads((folder / "results.json").read_text())
    assert results[0]["exact_accuracy"] >= CHECKPOINTS[name].score
    for result in results:
        assert result["weights"] == weights_of(folder)
        assert f"{100 * result['exact_accuracy']:.1f} %" in (ROOT / "README.md").read_text()
    assert (folder / "model.safetensors").stat().st_size <= CHECKPOINTS[name].max_bytes


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_card_says_what_its_files_say(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file in ("config.json", "train_args.json", "results.json"):
        shutil.copy(ROOT / name / file, folder)
    write_card(folder)
    assert (folder / "README.md").read_text() == (ROOT / name / "README.md").read_text()
    names = [(one.dataset_config, one.metric_name) for one in ModelCard.load(folder / "README.md").data.eval_results]
    assert len(set(names)) == len(names)  # or the results of one model could not be told apart
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((folder / "README.md").read_text().split("```yaml\n")[1].split("```")[0])
    parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_recipe_repeats_it(name: str) -> None:
    """The run it comes from had every field as the recipe, and the defaults, have it today; but for folders' names
    and its time."""
    recipe = ROOT / "recipes" / f"{CHECKPOINTS[name].recipe}.yaml"
    fields = {
        field: value
        for parsed in parse_arguments([TrainArguments, model_arguments()], ["--config", str(recipe)])
        for field, value in vars(parsed).items()
    }
    record = json.loads((ROOT / name / "train_args.json").read_text())
    recorded = record["arguments"]
    own = {"output_dir", "init_from", "finish_minutes"}
    assert read_recipe(recipe).keys() - own <= recorded.keys()
    for field in recorded.keys() - own:
        if field in fields:
            assert recorded[field] == fields[field], field
        else:
            assert not recorded[field], f"{field}, an option that is gone, was used"
    assert record["max_steps"] == fields["max_steps"]
    log = [json.loads(line) for line in (ROOT / name / "train_log.jsonl").read_text().splitlines()]
    last = [line for line in log if "answer_loss" in line][-1]
    assert 0 <= record["step"] - last["step"] < fields["log_steps"]
    assert 0 <= record["seconds"] - round(last["seconds"], 1) < 60


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_run_that_is_not_done_can_be_resumed(name: str) -> None:
    """Its one checkpoint is what was written, at the step of the published weights, which are its average."""
    record = json.loads((ROOT / name / "train_args.json").read_text())
    checkpoints, is_by_clock = list_checkpoints(ROOT / name), record["arguments"]["finish_minutes"] is not None
    is_done = is_by_clock or record["step"] == record["max_steps"]
    steps = [int(folder.name.removeprefix("step-")) for folder in checkpoints]
    assert steps == ([] if is_done else [record["step"]])
    for folder in checkpoints:
        assert find_damage(folder) is None
        average = with_prefix(load_file(folder / "training.safetensors"), "average.module.")
        published = load_file(ROOT / name / "model.safetensors")
        assert published.keys() == average.keys()
        assert all(torch.equal(published[key], average[key]) for key in published)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_solves_what_its_results_say(name: str, sudoku_splits) -> None:
    checkpoint = CHECKPOINTS[name]
    puzzles = sudoku_splits[checkpoint.config]["test"].first(checkpoint.count)
    answers = load_model(str(ROOT / name), torch.float32).solve(puzzles.input_ids).answers
    assert (answers == puzzles.labels).all(1).float().mean() >= checkpoint.share


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_its_code_is_linked(name: str) -> None:
    """Exactly the files that loading imports, each a relative link, so that any clone has them."""
    needed = needed_files("configuration_trm.py", "modeling_trm.py", "pipeline_trm.py", "processing_trm.py")
    assert {path.name for path in (ROOT / name).glob("*.py")} == needed
    for file in needed:
        assert (ROOT / name / file).readlink() == Path("../modeling_trm", file)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_fresh_process_loads_it_with_remote_code(name: str, tmp_path: Path) -> None:
    run_without_the_package(
        "from transformers import AutoModel, AutoProcessor\n"
        "model = AutoModel.from_pretrained(arguments[0], trust_remote_code=True)\n"
        "assert type(model).__module__.startswith('transformers_modules.')\n"
        "AutoProcessor.from_pretrained(arguments[0], trust_remote_code=True)",
        [ROOT / name],
        tmp_path,
    )


def test_a_model_saved_over_links_replaces_them(tmp_path: Path) -> None:
    """Training into such a folder, or publishing it, leaves real files there and the package as it is."""
    package, folder = tmp_path / "modeling_trm", tmp_path / "model"
    package.mkdir()
    folder.mkdir()
    for link in (ROOT / "trm-sudoku").glob("*.py"):
        (package / link.name).write_text("# the package")
        (folder / link.name).symlink_to(Path("../modeling_trm", link.name))
    save_model(tiny_model(), TrmProcessor(["<pad>", ".", *"12345"], 2, 3), folder)
    for file in package.iterdir():
        assert file.read_text() == "# the package"
        assert not (folder / file.name).is_symlink()
        assert (folder / file.name).read_bytes() == (ROOT / "modeling_trm" / file.name).read_bytes()


def linked_copy(folder: Path, package: Path) -> Path:
    """A shipped model whose code is links into `package`."""
    shutil.copytree(ROOT / "trm-sudoku", folder, symlinks=True)
    for link in folder.glob("*.py"):
        link.unlink()
        link.symlink_to(package / link.name)
    return folder


@pytest.mark.parametrize("saved", ["config", "model", "processor", "pipeline"])
def test_save_pretrained_leaves_what_links_lead_to(saved: str, tmp_path: Path) -> None:
    """Here they lead to the very files that are to be saved."""
    folder = linked_copy(tmp_path / "model", PACKAGE)
    names, before = (
        {path.name for path in folder.iterdir()},
        {path: path.read_bytes() for path in PACKAGE.glob("*.py")},
    )
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    pipe = PuzzleSolvingPipeline(model=model, processor=processor)
    {"config": model.config, "model": model, "processor": processor, "pipeline": pipe}[saved].save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == names
    assert {path: path.read_bytes() for path in PACKAGE.glob("*.py")} == before
    for path in folder.glob("*.py"):
        assert not path.is_symlink()
        assert path.read_bytes() == before[PACKAGE / path.name]


def test_a_model_of_remote_code_leaves_what_links_lead_to(tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package)
    folder = linked_copy(tmp_path / "model", package)
    run_without_the_package(
        "from pathlib import Path\n"
        "from transformers import AutoModel, AutoProcessor\n"
        "model = AutoModel.from_pretrained(arguments[0], trust_remote_code=True)\n"
        "processor = AutoProcessor.from_pretrained(arguments[0], trust_remote_code=True)\n"
        "for path in Path(arguments[1]).glob('*.py'):\n"
        "    path.write_text('# newer')\n"
        "model.save_pretrained(arguments[0])\n"
        "processor.save_pretrained(arguments[0])",
        [folder, package],
        tmp_path,
    )
    assert {path.read_text() for path in package.glob("*.py")} == {"# newer"}
    for name in needed_files("configuration_trm.py", "modeling_trm.py", "processing_trm.py"):
        assert (folder / name).read_bytes() == (PACKAGE / name).read_bytes()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_copy_whose_links_lead_nowhere_is_not_published(name: str, tmp_path: Path) -> None:
    copy, whole = tmp_path / "copy", tmp_path / "whole"
    shutil.copytree(ROOT / name, copy, symlinks=True)
    with pytest.raises(UserError, match=r"configuration_trm\.py is a link to .* which is not there: .*`cp -rL`"):
        publish_final(SimpleNamespace(repo_id="me/trm", branch="main"), copy, private=False)
    shutil.copytree(ROOT / name, whole)
    assert {file for file in model_files(whole) if file.endswith(".py")} == {path.name for path in copy.glob("*.py")}
