# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The page as a person uses it, in a real Chromium, over HTTP on loopback and from one file on disk."""

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_model

from demos import build
from modeling_trm import TrmForPuzzleSolving, TrmProcessor

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium is installed: apt-get install chromium", allow_module_level=True)
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.process
ROOT = Path(__file__).parent.parent
WEB = ROOT / "demos" / "web"
HARD = "......4....127..8..5......2..9..8...67.19.8...1.6...9...781..6.....6...8.....23.."
EASY = "3.4.752..15.24...3...6.31.55.83..4...13524..7.........7..8...648.54.27.149.7....."
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
HUB = "https://huggingface.co/"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of demos/web, served as `python -m http.server -d demos/web` serves it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(WEB)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page, what it complained of, and where it asked for something that is not its own."""

    def __init__(self, browser: Browser, url: str, hub: dict[str, bytes] | None = None, **options: Any):
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        origin = url.split("/")[2] or "file"

        def answer(route: Route) -> None:
            asked = route.request.url
            if asked.startswith(("file:", "blob:")) or asked.split("/")[2] == origin:
                return route.continue_()
            self.foreign.append(asked)
            body = (hub or {}).get(asked.removeprefix(HUB))
            headers = {"Access-Control-Allow-Origin": "*"}
            return route.fulfill(status=404 if body is None else 200, body=body or b"", headers=headers)

        self.context.route("**/*", answer)
        self.page.goto(url)

    def __enter__(self) -> "Opened":
        expect(self.page.locator("#solve")).to_be_enabled(timeout=30_000)
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def shown(self) -> str:
        """The grid as text, blanks as dots."""
        return "".join(cell or "." for cell in self.page.locator("[role=gridcell]").all_text_contents())

    def solve(self) -> str:
        """The status line when all is done."""
        self.page.locator("#solve").click()
        expect(self.page.locator("#status")).not_to_contain_text("Thinking", timeout=120_000)
        return self.page.locator("#status").inner_text()

    def says(self, text: str) -> None:
        expect(self.page.locator("#status")).to_contain_text(text, timeout=30_000)


def python_answer(puzzle: str) -> tuple[str, int]:
    """The answer and steps of the first attempt that keeps the rules, as the page's settings have it."""
    model, processor = TrmForPuzzleSolving.from_pretrained(ROOT / "trm-sudoku"), TrmProcessor.for_sudoku()
    solution = model.solve(processor(puzzle)["input_ids"], max_steps=16, verify=processor.verifier, seed=0)
    return processor.decode(solution.answers[0]), int(solution.steps[0])


def test_types_a_puzzle_solves_it_and_steps_through(browser: Browser, address: str) -> None:
    """Every clue by the keyboard alone; the answer is Python's; the slider shows each step; nothing else is asked."""
    with Opened(browser, address) as opened:
        page = opened.page
        assert opened.shown() == HARD  # of models.json
        page.locator("#clear").click()
        assert opened.shown() == "." * 81
        page.locator("[role=gridcell]").first.focus()
        for symbol in EASY:
            if symbol != ".":
                page.keyboard.press(symbol)
            elif page.evaluate("document.activeElement.ariaLabel") != "row 9, column 9: blank":
                page.keyboard.press("ArrowRight" if int(page.evaluate(COLUMN)) < 8 else "0")
        assert opened.shown() == EASY
        assert opened.solve().startswith("Solved: the answer keeps the rules")
        answer, steps = python_answer(EASY)
        assert opened.shown() == answer
        slider = page.locator("#step")
        assert slider.get_attribute("max") == str(steps)
        slider.focus()
        page.keyboard.press("Home")
        assert opened.shown() == EASY
        page.keyboard.press("End")
        assert opened.shown() == answer
        assert f"step {steps} of {steps}" in page.locator("#where").inner_text()
        labels = page.locator("[role=gridcell]").evaluate_all("cells => cells.map(cell => cell.ariaLabel)")
        assert labels[0] == "row 1, column 1: 3, given"
        assert "the model’s" in labels[1] and "% sure" in labels[1]
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.id") == "play"
        assert not opened.complaints and not opened.foreign


COLUMN = "[...document.querySelectorAll('[role=gridcell]')].indexOf(document.activeElement) % 9"


def test_a_link_carries_the_puzzle(browser: Browser, address: str) -> None:
    with Opened(browser, f"{address}#puzzle={EASY}&model=trm-sudoku") as opened:
        assert opened.shown() == EASY
        opened.page.locator("[role=gridcell]").nth(1).click()
        opened.page.keyboard.press("8")
        changed = "38" + EASY[2:]
        assert opened.shown() == changed
        assert f"puzzle={changed}" in opened.page.url
        opened.page.evaluate(f"location.hash = 'puzzle={HARD}'")
        opened.says("25 clues")
        assert opened.shown() == HARD


def test_pasting(browser: Browser, address: str) -> None:
    """Drawn grids are read; what is no puzzle is said in one sentence, and the grid stays; clashes are marked."""
    with Opened(browser, address) as opened:
        paste = opened.page.locator("#paste")
        rows = [EASY[i : i + 9] for i in range(0, 81, 9)]
        drawn = "\n".join(f"{row[:3]}|{row[3:6]}|{row[6:]}" for row in rows)
        paste.fill(drawn)
        assert opened.shown() == EASY and paste.input_value() == drawn
        paste.fill(EASY[:-1])
        opened.says("No puzzle: the puzzle has 80 cells, but this model solves 9×9 grids (81 cells).")
        paste.fill(EASY[:-1] + "x")
        opened.says("the puzzle has “x” in row 9, column 9; the known symbols are")
        assert opened.shown() == EASY
        paste.fill("33" + EASY[2:])
        opened.says("A digit occurs twice")
        assert opened.page.locator(".wrong[role=gridcell]").count() >= 2
        assert not opened.complaints


def test_attempts_run_side_by_side_and_stop(browser: Browser, address: str) -> None:
    """Without clues no answer is right by chance soon: many attempts, one chosen, each to be looked at; stop stops."""
    clashing = "11" + "." * 79
    with Opened(browser, f"{address}#puzzle={clashing}") as opened:
        page = opened.page
        page.locator("summary").click()
        page.locator("#attempts").select_option("4")
        page.locator("#steps").fill("2")
        assert opened.solve().startswith("Not solved: the answer breaks the rules (8 steps in 4 attempts")
        attempts = page.locator("#attempt")
        assert attempts.get_attribute("max") == "4"
        answers = set()
        for number in range(1, 5):
            attempts.evaluate(f"slider => {{ slider.value = {number}; slider.oninput(); }}")
            assert f"{number} of 4" in page.locator("#which").inner_text()
            answers.add(opened.shown())
        assert len(answers) > 1
        page.locator("#attempts").select_option("128")
        page.locator("#steps").fill("1000")
        page.locator("#solve").click()
        opened.says("step 2")
        assert page.locator("#solve").inner_text() == "Stop"
        page.locator("#solve").click()
        opened.says("Stopped.")
        page.locator("#attempts").select_option("1")
        page.locator("#steps").fill("1")
        assert opened.solve().startswith("Not solved: the answer breaks the rules (1 step,")
        assert not opened.complaints


def hub_files(folder: Path, name: str) -> dict[str, bytes]:
    files = ("config.json", "processor_config.json", "model.safetensors")
    return {f"{name}/resolve/main/{file}": (folder / file).read_bytes() for file in files if (folder / file).exists()}


def test_models_of_the_hub(browser: Browser, address: str, tmp_path: Path) -> None:
    """A maze model by its id alone; ids that are none leave the model that was there."""
    fields = {"seq_len": 25, "vocab_size": 6, "num_puzzles": 1, "num_puzzle_tokens": 0, "puzzle_embedding_size": 0}
    model = tiny_model(dtype=torch.float32, **fields)
    model.save_pretrained(tmp_path / "maze")
    TrmProcessor.for_maze(5).save_pretrained(tmp_path / "maze")
    hub = hub_files(tmp_path / "maze", "me/maze")
    broken = {name.replace("maze", "cut"): data[:3000] for name, data in hub.items()}
    other = {**hub_files(tmp_path / "maze", "me/bert"), "me/bert/resolve/main/config.json": b'{"model_type": "bert"}'}
    with Opened(browser, address, hub | broken | other) as opened:
        page = opened.page
        page.locator("summary").click()

        def ask(name: str) -> None:
            page.locator("#hub").fill(name)
            page.locator("#hub").press("Enter")

        for name, message in {
            "../etc": "“../etc” is no model of the Hub: it should read like ORG/NAME.",
            "me/none": "there is no https://huggingface.co/me/none/resolve/main/config.json, or it is private.",
            "me/bert": "me/bert is a model of type bert, not trm.",
            "me/cut": "model.safetensors is broken or cut off.",
        }.items():
            ask(name)
            opened.says(f"Sorry: {message}")
            assert opened.shown() == HARD
        assert opened.solve().startswith("Solved")
        assert all(url.startswith(HUB) for url in opened.foreign)
        ask("me/maze")
        expect(page.locator("[role=gridcell]")).to_have_count(25)
        question = "S  # #   #   # # #     G#"
        page.locator("#paste").fill(question)
        opened.says("Press “Solve”")
        labels = page.locator("[role=gridcell]").evaluate_all("cells => cells.map(cell => cell.ariaLabel)")
        assert labels[0] == "row 1, column 1: S, given" and labels[3] == "row 1, column 4: #, given"
        page.locator("#attempts").select_option("128")
        page.locator("#steps").fill("2")
        assert "16 steps in 8 attempts" in opened.solve()  # of eight views there are eight
        assert "model=me%2Fmaze" in page.url


def test_weights_that_are_not_numbers(browser: Browser, address: str, tmp_path: Path) -> None:
    model = TrmForPuzzleSolving.from_pretrained(ROOT / "trm-sudoku")
    with torch.no_grad():
        model.halt_head.bias.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    shutil.copy(ROOT / "trm-sudoku" / "processor_config.json", tmp_path)
    with Opened(browser, f"{address}#model=me/nan&puzzle={EASY}", hub_files(tmp_path, "me/nan")) as opened:
        opened.page.locator("#solve").click()
        opened.says("Sorry: the logits are not finite")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Browser, address: str, scheme: str) -> None:
    """Nothing is wider than the screen, what is touched is 44 pixels high, and text stands out from its ground."""
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": scheme}
    with Opened(browser, address, **phone) as opened:
        page = opened.page
        opened.solve()
        page.locator("summary").tap()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        heights = page.locator("button:visible:not([role=gridcell])").evaluate_all(
            "all => all.map(one => one.offsetHeight)"
        )
        assert min(heights) >= 44
        page.locator("[role=gridcell]").first.tap()
        page.locator("#keys button", has_text="7").tap()
        assert opened.shown()[0] == "7"
        unnamed = page.locator("button, input, select, textarea").evaluate_all(
            "all => all.filter(one => !(one.ariaLabel || one.textContent.trim() || one.labels?.length)).length"
        )
        assert unnamed == 0
        assert page.locator("[role=gridcell][tabindex='0']").count() == 1
        ground, ink = (
            page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        assert contrast(ground, ink) > 7


def contrast(*colours: str) -> float:
    """Of two colours "rgb(r, g, b)", as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_a_browser_without_simd(browser: Browser, address: str) -> None:
    context = browser.new_context()
    context.add_init_script("WebAssembly.validate = () => false")
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#status")).to_contain_text(
        "this browser cannot run the model: it needs WebAssembly with SIMD"
    )
    context.close()


def test_one_file_from_disk(browser: Browser, tmp_path: Path) -> None:
    """It holds everything: opened by its path, with no server, it solves."""
    file = tmp_path / "trm.html"
    build.main(["web", "--model", str(ROOT / "trm-sudoku"), "--single_file", str(file)])
    assert file.stat().st_size < 2_200_000
    with Opened(browser, file.as_uri()) as opened:
        assert opened.shown() == HARD
        opened.page.locator("#paste").fill(EASY)
        assert opened.solve().startswith("Solved")
        assert opened.shown() == python_answer(EASY)[0]
        assert not opened.complaints and not opened.foreign


def test_models_json_names_what_is_there() -> None:
    for model in json.loads((WEB / "models.json").read_text()):
        assert (WEB / model["base"] / "model.safetensors").is_file()
        for example in model["examples"]:
            TrmProcessor.from_pretrained(WEB / model["base"])(example["puzzle"])
