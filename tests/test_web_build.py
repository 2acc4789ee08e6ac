# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""`python -m demos.build web`: a folder, one file, and a Space of the Hub."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hub import Blob, client_environment, running_hub
from tiny import tiny_model

from demos import build
from modeling_trm import TrmProcessor
from training.errors import UserError

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "trm-sudoku"
PAGE = {*build.PAGE, *build.MODULES, build.WORKER, "models.json"}


def maze_model(folder: Path, size: int = 30) -> Path:
    fields = {"vocab_size": 6, "num_puzzles": 1, "num_puzzle_tokens": 0, "puzzle_embedding_size": 0}
    tiny_model(dtype=torch.float32, seq_len=size**2, **fields).save_pretrained(folder)
    TrmProcessor.for_maze(size).save_pretrained(folder)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_two_models(tmp_path: Path) -> None:
    """The page as it is, and of each model what the page reads of it."""
    maze = maze_model(tmp_path / "trm-maze")
    site = tmp_path / "site"
    build.main(["web", "--model", str(MODEL), "--model", str(maze), "--output_dir", str(site)])
    files = files_in(site)
    of_models = {
        f"models/{folder.name}/{file}": (folder / file).read_bytes()
        for folder in (MODEL, maze)
        for file in build.MODEL_FILES
    }
    of_page = {name: (build.WEB / name).read_bytes() for name in PAGE - {"models.json"}}
    listed = json.loads(files.pop("models.json"))
    assert files == of_page | of_models
    assert [(model["name"], model["label"], model["base"]) for model in listed] == [
        ("trm-sudoku", "trm-sudoku: 9×9 Sudoku", "models/trm-sudoku/"),
        ("trm-maze", "trm-maze: 30×30 mazes", "models/trm-maze/"),
    ]
    for model in listed:
        processor = TrmProcessor.from_pretrained(site / model["base"])
        assert len(processor([example["puzzle"] for example in model["examples"]])["input_ids"]) >= 2


def test_the_page_in_the_repository_lists_its_model(tmp_path: Path) -> None:
    model = build.find_model(str(MODEL), with_weights=True)
    assert json.loads(build.list_models([model])) == json.loads((build.WEB / "models.json").read_text())


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed: apt-get install nodejs")
@pytest.mark.parametrize("last", ["app.js", build.WORKER])
def test_modules_joined_are_one_script(last: str, tmp_path: Path) -> None:
    script = tmp_path / "joined.mjs"
    script.write_text(build.joined_modules(*build.MODULES, last))
    assert "import " not in script.read_text().replace("import(", "")
    subprocess.run(["node", "--check", str(script)], check=True)


def test_a_space_in_one_commit(tmp_path: Path) -> None:
    """With a model of a folder and one of the Hub, which stays there at its commit; a second run changes nothing."""
    maze = maze_model(tmp_path / "trm-maze", 6)
    with running_hub() as hub:
        repository = hub.create("models", "lab/maze")
        sha = repository.add("main", "model", {name: Blob(data, False) for name, data in files_in(maze).items()})
        command = [
            "-m",
            "demos.build",
            "web",
            "--model",
            str(MODEL),
            "--model",
            "lab/maze",
            "--push_to_hub",
            "me/page",
        ]
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env=client_environment(hub, HF_HOME=tmp_path / "home"),
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout == f"{hub.url}/spaces/me/page\n"
        first, _ = hub.repositories["spaces/me/page"].history()  # the Hub's own, and one of ours
        assert first.message == "Publish page"
        files = hub.files("me/page", kind="spaces")
        assert set(files) == PAGE | {"README.md"} | {f"models/trm-sudoku/{file}" for file in build.MODEL_FILES}
        card = yaml.safe_load(files["README.md"].split(b"---")[1])
        assert (card["sdk"], card["app_file"], card["models"]) == ("static", "index.html", ["lab/maze"])
        assert json.loads(files["models.json"])[1]["base"] == f"https://huggingface.co/lab/maze/resolve/{sha}/"
        assert not any("model.safetensors" in line for line in hub.log if "lab/maze" in line)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere", "nowhere is no folder, and no ORG/NAME of the Hub"),
        ("tests", "tests is no folder of a model: it has no config.json"),
        ("{tmp}/bert", "{tmp}/bert is a model of type bert, not trm"),
        ("me/none", "cannot read me/none from the Hub: "),
    ],
)
def test_mistakes_end_in_one_line(model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "bert").mkdir()
    for file in build.MODEL_FILES:
        (tmp_path / "bert" / file).write_text('{"model_type": "bert"}')
    command = ["web", "--model", model.format(tmp=tmp_path), "--output_dir", str(tmp_path / "site")]
    with pytest.raises(UserError) as raised:
        build.main(command)
    assert str(raised.value).startswith(message.format(tmp=tmp_path)) and "\n" not in str(raised.value)
    assert not (tmp_path / "site").exists()
