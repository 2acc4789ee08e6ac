# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""An installed copy, without the repository: loads, solves, converts and publishes."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from goldens import golden, part
from hub import WRITER, client_environment, running_hub
from safetensors.torch import save_file

import modeling_trm

ROOT = Path(__file__).parent.parent
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
INSTALLED = """
import sys
from pathlib import Path
import modeling_trm
from transformers import AutoModel, AutoProcessor

site, model, puzzle = sys.argv[1:]
assert Path(modeling_trm.__file__).is_relative_to(site), modeling_trm.__file__
solve = modeling_trm.PuzzleSolvingPipeline(
    model=AutoModel.from_pretrained(model), processor=AutoProcessor.from_pretrained(model)
)
assert type(solve.model) is modeling_trm.TrmForPuzzleSolving
print(solve(puzzle)["answer"])
solve.push_to_hub("me/solver")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as `python -m build` does, with the tools that are installed."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("modeling_trm", "training", "datasets_scripts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    run("-m", "build", "--no-isolation", "--outdir", built, source)
    (wheel,) = built.glob("*.whl")
    return wheel


def run(*words: object, **options: object) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert names == {str(path.relative_to(ROOT)) for path in (ROOT / "modeling_trm").glob("*.py")}
    assert f"\nVersion: {modeling_trm.__version__}\n" in metadata


@pytest.mark.slow
def test_an_installed_copy_loads_solves_converts_and_publishes(wheel: Path, tmp_path: Path) -> None:
    site, empty, model = tmp_path / "site", tmp_path / "empty", tmp_path / "model"
    empty.mkdir()
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    shutil.copytree(ROOT / "trm-sudoku", model)
    description, tensors = golden("forward_attn")
    save_file(part(tensors, "state"), tmp_path / "step_100.safetensors")
    (tmp_path / "all_config.yaml").write_text(json.dumps(description["config"] | {"seq_len": 81}))
    with running_hub() as hub:
        environment = client_environment(hub, HF_HOME=tmp_path / "cache", PYTHONPATH=site)
        answer = run("-c", INSTALLED, site, model, PUZZLE, cwd=empty, env=environment).strip()
        assert len(answer) == 81
        assert all(given in (".", digit) for given, digit in zip(PUZZLE, answer, strict=True))
        offline = {**os.environ, "PYTHONPATH": str(site)}
        shown = run(site / "bin" / "trm", "--model", model, PUZZLE, cwd=empty, env=offline)
        assert "Solved: the answer keeps the rules." in shown
        files = ["--checkpoint", tmp_path / "step_100.safetensors", "--output_dir", tmp_path / "converted"]
        convert = ["-m", "modeling_trm.convert_trm_original_checkpoint", *files, "--push_to_hub", "me/converted"]
        assert "published" in run(*convert, cwd=empty, env=environment)
        for name in ("me/solver", "me/converted"):
            published = hub.files(name)
            assert {"config.json", "model.safetensors", "modeling_trm.py", "processor_config.json"} <= set(published)
            for file in (ROOT / "modeling_trm").glob("*_trm.py"):
                assert published.get(file.name, file.read_bytes()) == file.read_bytes(), file.name
            assert not any(WRITER.encode() in content for content in published.values())
