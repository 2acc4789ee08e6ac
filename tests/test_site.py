# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The pages as a site: mkdocs.yml, the names the reference asks for, and, where mkdocs is installed, the build."""

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tools.site import without_links_outside

ROOT = Path(__file__).parent.parent
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
NAMES = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)


def pages_of(entry: object) -> list[str]:
    """The files that an entry of the navigation names."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages_of(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(pages_of(SETTINGS["nav"])) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert SETTINGS["strict"] is True


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_names_things_with_docstrings(name: str) -> None:
    """Classes, functions and modules."""
    module, _, attribute = name.rpartition(".")
    parent = importlib.import_module(module)
    thing = getattr(parent, attribute) if hasattr(parent, attribute) else importlib.import_module(name)
    assert thing.__doc__


def test_links_out_of_the_pages_are_the_repositorys() -> None:
    text = "see [`hub.py`](../tests/hub.py), [Symbols](symbols.md#equations) and [a paper](https://arxiv.org/abs/1)"
    kept = "[Symbols](symbols.md#equations) and [a paper](https://arxiv.org/abs/1)"
    assert without_links_outside(text, None) == f"see `hub.py`, {kept}"
    assert without_links_outside(text, "https://h.co/o/trm/") == (
        f"see [`hub.py`](https://h.co/o/trm/blob/main/tests/hub.py), {kept}"
    )


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("material") and find_spec("mkdocstrings")), reason='needs pip install -e ".[docs]"')
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    for name in NAMES:
        assert f'id="{name}"' in reference
    assert "gradient_latent_cycles" in reference
