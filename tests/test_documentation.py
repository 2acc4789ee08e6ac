# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The pages for people: every block of code is run, at small settings, and every link leads somewhere.

A block that is not run has a line above it in the page's source, `<!-- not run: the reason -->`. Bash blocks run in
bash; the programs they start are stand-ins, which hand their words to this process, so that nothing is imported twice.
"""

import importlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)\n```", re.DOTALL)
SMALL = {
    "train": "--max_steps 2 --batch_size 4 --warmup_steps 0 --compile none --num_train_puzzles 8 --num_test_puzzles 2 "
    "--save_steps 2 --max_solve_steps 2 --max_supervision_steps 2",
    "eval": "--max_examples 2 --compile false --dtype float32 --max_steps 2",
}
MAKE = shutil.which("make") or "make"  # before the stand-ins
PROGRAMS = ("python", "accelerate", "torchrun", "trm", "make")
STAND_IN = """#!/bin/bash
cat > "$DESK/stdin"
printf '%s\\0' "${0##*/}" "$@" > "$DESK/words"
echo run > "$DESK/requests"
read -r status < "$DESK/replies"
exit "$status"
"""


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    reason: str | None  # why it is not run


def blocks_of(page: Path) -> list[Block]:
    return [Block(one["language"], one["text"], one["reason"]) for one in FENCE.finditer(page.read_text())]


def by_name(page: Path) -> str:
    return page.stem


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a clone, in which commands leave their files."""
    for name in ("recipes", "experiments", "examples", "metrics", "trm-sudoku", "train.py", "eval.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    desk = tmp_path / "desk"
    desk.mkdir()
    for name in PROGRAMS:
        (desk / name).write_text(STAND_IN)
        (desk / name).chmod(0o755)
    for name in ("requests", "replies"):
        os.mkfifo(desk / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESK", str(desk))
    monkeypatch.setenv("PATH", str(desk), prepend=":")
    return tmp_path


def run_bash(text: str, place: Path) -> None:
    """Runs a block in bash, stopping at the first error, and serves the stand-ins that it starts."""
    desk = place / "desk"
    script = f"set -eo pipefail\ntrap 'echo end > $DESK/requests' EXIT\n{text}\n"
    bash = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while (desk / "requests").read_text().strip() == "run":
            words = (desk / "words").read_text().split("\0")[:-1]
            run_program(words, (desk / "stdin").read_text())
            (desk / "replies").write_text("0\n")
        _, errors = bash.communicate()
    finally:
        bash.kill()
    assert bash.returncode == 0, f"{text}\n{errors}"


def run_program(words: list[str], given: str) -> None:
    """What a stand-in was called with, in this process."""
    program, *rest = words
    if program == "make":
        subprocess.run([MAKE, "-n", *rest], cwd=ROOT, check=True, capture_output=True)  # there is such a target
        return
    if program in ("accelerate", "torchrun"):  # the launchers' own words are checked in test_scaling.py
        rest = rest[next(number for number, word in enumerate(rest) if word.endswith(".py")) :]
    if program == "trm":
        rest = ["-m", "modeling_trm", *rest]
    name, words = (rest[1], rest[2:]) if rest[0] == "-m" else (rest[0].removesuffix(".py"), rest[1:])
    for model in re.findall(r"runs/\w+", " ".join(words)) if name != "train" else ():
        make_model(model)
    call(name, [*words, *SMALL.get(name, "").split()], given)


def call(name: str, words: list[str], given: str = "") -> None:
    """Runs a script or a module by its `main`; one without arguments as Python would."""
    if "/" in name:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [f"{name}.py", *words])
            runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
        return
    package = importlib.util.find_spec(name)
    assert package is not None, f"there is no module {name}"
    main = importlib.import_module(f"{name}.__main__" if package.submodule_search_locations else name).main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", StringIO(given))
        assert not main(words), f"{name} {' '.join(words)} failed"


def make_model(folder: str) -> None:
    """What the recipe of that name leaves there, unless something is there."""
    if not (Path(folder) / "config.json").exists():
        recipe = f"recipes/{Path(folder).name}.yaml"
        call("train", ["--config", recipe, "--output_dir", folder, *SMALL["train"].split()])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_block_runs(page: Path, place: Path) -> None:
    """In the page's order, in one folder and, the Python blocks, in one namespace."""
    namespace: dict[str, Any] = {}
    for block in blocks_of(page):
        if block.reason is not None:
            continue
        if block.language == "bash":
            run_bash(block.text, place)
        elif block.language == "python":
            for model in re.findall(r"runs/\w+", block.text):
                make_model(model)
            exec(compile(block.text, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_block_says_what_it_is(page: Path) -> None:
    """And the fields of a recipe, or the JSON, can be read; a block that is not run says why, and could be."""
    blocks = blocks_of(page)
    assert len(blocks) == page.read_text().count("```") / 2
    for block in blocks:
        assert block.language in ("bash", "python", "json", "yaml", "text"), block
        for named in re.findall(r"tests/\w+\.py", block.reason or ""):
            assert (ROOT / named).exists(), block
        assert block.reason is None or (block.language in ("bash", "python") and len(block.reason) > 10), block
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            assert yaml.safe_load(block.text)


def anchors_of(page: Path) -> set[str]:
    """The names that GitHub gives a page's headings."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors_of(target), f"{page.name}: {link}"


def test_a_block_that_fails_is_noticed(place: Path) -> None:
    """A wrong option, a missing file, a model that is not there."""
    with pytest.raises(BaseException, match="did you mean"):
        run_bash("python train.py --config recipes/sudoku_6x6.yaml --max_stepz 3", place)
    with pytest.raises(AssertionError, match="No such file"):
        run_bash("head -1 nothing.txt; true", place)
    with pytest.raises(AssertionError, match="modeling_trm --model nowhere"):
        run_bash("python -m modeling_trm --model nowhere 1234", place)
