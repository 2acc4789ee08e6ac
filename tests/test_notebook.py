# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The notebook runs from top to bottom; its model is trained for a few steps, and published on a Hub on loopback."""

from pathlib import Path

import pytest
from hub import client_environment, running_hub

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "trm_in_ten_minutes.ipynb"
QUICK = (
    "--max_steps 6 --save_steps 6 --eval_steps 6 --eval_examples 10 --batch_size 8 --hidden_size 16 "
    "--token_mixer_intermediate_size 16 --intermediate_size 24 --num_test_puzzles 30 --mixed_precision no"
)


@pytest.mark.process
@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if cell.source.startswith("RUN = "))
    run = tmp_path / "run"
    parameters.source = f"RUN, TRAIN_OPTIONS, PUSH_TO_HUB = {str(run)!r}, {QUICK!r}, 'me/ten-minutes'"
    with running_hub() as hub:
        environment = client_environment(hub, HF_HOME=tmp_path / "home", IPYTHONDIR=tmp_path / "ipython")
        client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
        client.execute(env=environment)
        published = hub.files("me/ten-minutes")
    printed = ["".join(out.get("text", "") for out in cell.get("outputs", [])) for cell in notebook.cells]
    assert any("% sure, right: True" in text for text in printed)
    images = [out for cell in notebook.cells for out in cell.get("outputs", []) if "image/gif" in out.get("data", {})]
    assert len(images) == 1
    assert (run / "model.safetensors").read_bytes() == published["model.safetensors"]
    assert "results.json" in published
    assert any("After step 1" in text for text in printed)


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and not cell.get("execution_count")
    assert NOTEBOOK.stat().st_size < 20_000
