# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The Gradio Space, built into a folder that runs alone, called as `gradio_client` calls it, and used in Chromium."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import client_environment, running_hub

from demos import build

pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EASY = "3.4.752..15.24...3...6.31.55.83..4...13524..7.........7..8...648.54.27.149.7....."


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the app, in a process whose only code of ours is what the build put beside it."""
    folder = tmp_path_factory.mktemp("space")
    build.main(["space", "--model", str(ROOT / "trm-sudoku"), "--output_dir", str(folder)])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_hub() as hub:
        environment = client_environment(hub, GRADIO_ANALYTICS_ENABLED="False", GRADIO_SERVER_PORT=port)
        environment |= {"HF_HOME": str(folder / "home"), "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = ""
        for line in process.stdout:
            said += line.decode()
            if f"127.0.0.1:{port}" in said:
                break
        else:
            pytest.fail(said)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def client(address: str) -> Any:
    return gradio_client.Client(address, verbose=False)


def test_what_a_space_is_made_of(tmp_path: Path) -> None:
    build.main(["space", "--model", str(ROOT / "trm-sudoku"), "--output_dir", str(tmp_path)])
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    package = {f"modeling_trm/{path.name}" for path in (ROOT / "modeling_trm").glob("*.py")}
    models = {f"models/trm-sudoku/{file}" for file in build.MODEL_FILES}
    assert files == {"app.py", "requirements.txt", "README.md", "space.json"} | package | models
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = (tmp_path / "requirements.txt").read_text().splitlines()
    assert set(requirements) <= set(pins) and any(line.startswith("torch==") for line in requirements)
    assert (
        f"sdk_version: {next(pin for pin in pins if pin.startswith('gradio=='))[8:]}"
        in (tmp_path / "README.md").read_text()
    )


def test_the_api(client: Any) -> None:
    result = client.predict(EASY, attempts=4, max_steps=16, api_name="/solve")
    assert result["solved"] and result["verified"] and len(result["trace"]) == result["steps"]
    answer = result["answer"]
    assert all(asked in (".", given) for asked, given in zip(EASY, answer, strict=True))
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/solve"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"puzzle": EASY[:-1]}, "puzzle 1 has 80 cells, but this model solves 9x9 grids"),
        ({"model": "../etc"}, "“../etc” is no model of the Hub: it should read like ORG/NAME"),
        ({"model": "models/trm-sudoku"}, "“models/trm-sudoku” is no model of the Hub"),
        ({"model": "me/none"}, "cannot load me/none: "),
        ({"attempts": 128, "max_steps": 256}, "128 attempts of 256 steps are too many"),
    ],
)
def test_mistakes(client: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(gradio_client.exceptions.AppError) as raised:
        client.predict(**{"puzzle": EASY, "api_name": "/solve"} | options)
    assert str(raised.value).startswith(message)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
def test_in_a_browser(address: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto(address)
        page.locator("textarea").first.fill(EASY)
        page.get_by_role("button", name="Solve").click()
        expect(page.get_by_text("keeps the rules")).to_be_visible(timeout=120_000)
        steps = page.frame_locator("iframe")
        expect(steps.locator("input[type=range]")).to_be_visible()
        browser.close()
