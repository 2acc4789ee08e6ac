# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The browser's engine, run by Node, equals the models, processors and rules in Python."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from goldens import FORWARD_VARIANTS, build_model, golden, part
from safetensors.torch import load_file, save_file
from tiny import tiny_batch, tiny_model
from torch import Tensor

from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmForPuzzleSolving, TrmProcessor
from modeling_trm.randomness_trm import fingerprint, random_bits
from modeling_trm.rendering_trm import TILES
from modeling_trm.rules_trm import FREE, PATH
from modeling_trm.symmetries_trm import BLANK_TOKEN

ROOT = Path(__file__).parent.parent
WEB = ROOT / "demos" / "web"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed: apt-get install nodejs")

NO_PUZZLES = {"num_puzzles": 1, "num_puzzle_tokens": 0, "puzzle_embedding_size": 0}
REGISTER = NO_PUZZLES | {"num_register_tokens": 2}
KINDS: dict[str, dict[str, Any]] = {
    "attention, all options": {
        **REGISTER,
        "position_embedding_type": "rope_2d",
        "grid_width": 3,
        "normalize_glu": True,
        "normalize_attention": True,
        "state_damping": 0.1,
        "num_answer_layers": 1,
    },
    "MLP, learned positions": {"token_mixer": "mlp", "position_embedding_type": "learned"},
    "odd sizes": {
        "token_mixer": "mlp",
        "hidden_size": 15,
        "intermediate_size": 13,
        "token_mixer_intermediate_size": 9,
    },
    "symbols": {"num_symbols": 5, "token_mixer": "mlp", **REGISTER, "normalize_glu": True},
    "symbols, no prefix": {"num_symbols": 5, "token_mixer": "mlp", **NO_PUZZLES, "position_embedding_type": "learned"},
    "symbols, attention": {"num_symbols": 5, "symbol_mixer": "attention", "position_embedding_type": "rope"},
}


def engine(*jobs: dict[str, Any]) -> list[Any]:
    """The results of jobs of engine.mjs."""
    command = ["node", str(Path(__file__).with_name("engine.mjs"))]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def settings_of(processor: TrmProcessor) -> dict[str, Any]:
    return json.loads(json.dumps(processor.to_dict()))


@torch.no_grad()
def steps_of(
    model: TrmForPuzzleSolving, folder: Path, input_ids: Tensor, puzzle_ids: Tensor, count: int = 3
) -> tuple[dict[str, Any], list[list[dict[str, Tensor]]]]:
    """The engine's job of supervision steps from this model's own states, and what the model itself comes to."""
    model.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    shape = model.model.initial_states(len(input_ids))[0].shape
    answer, latent = (torch.randn(shape, generator=generator) for _ in range(2))
    states: dict[str, Tensor] = {}
    expected: list[list[dict[str, Tensor]]] = [[] for _ in input_ids]
    for step in range(count):
        for row in range(len(input_ids)):
            states[f"{row}.{step}.answer"] = answer[row].flatten().clone()
            states[f"{row}.{step}.latent"] = latent[row].flatten().clone()
        answer, latent = model.model.recur(model.model.embed(input_ids, puzzle_ids), answer, latent)
        logits, halt = model.answer_logits(answer), model.halt_logits(answer)
        for row in range(len(input_ids)):
            expected[row].append({"logits": logits[row].flatten(), "halt": halt[row], "state": answer[row].flatten()})
    save_file(states, folder / "states")
    puzzles = [
        {"tokens": tokens, "puzzle": puzzle}
        for tokens, puzzle in zip(input_ids.tolist(), puzzle_ids.tolist(), strict=True)
    ]
    return {"job": "steps", "folder": str(folder), "states": str(folder / "states"), "puzzles": puzzles}, expected


def test_each_step_of_every_kind_of_model(tmp_path: Path) -> None:
    """From common states, to 1e-4 of the largest logit: as free runs of any two float32 codes, these would part."""
    made = []
    for number, variant in enumerate(FORWARD_VARIANTS):
        description, tensors = golden(variant)
        model = build_model(description["config"], tensors, "state").eval()
        batch = part(tensors, "batch")
        made.append(steps_of(model, tmp_path / str(number), batch["inputs"], batch["puzzle_identifiers"]))
    input_ids, puzzle_ids, _ = tiny_batch(3)
    for kind, fields in KINDS.items():
        model = tiny_model(dtype=torch.float32, **fields)
        made.append(steps_of(model, tmp_path / kind, input_ids, puzzle_ids * (model.config.num_puzzles > 1)))
    results = engine(*(job for job, _ in made))
    for name, rows, (_, expected) in zip([*FORWARD_VARIANTS, *KINDS], results, made, strict=True):
        assert len(rows) == len(expected)
        for row, wanted in zip(rows, expected, strict=True):
            assert len(row) == len(wanted) == 3
            for step, want in zip(row, wanted, strict=True):
                largest = want["logits"].abs().max()
                assert (torch.tensor(step["logits"]) - want["logits"]).abs().max() <= 1e-4 * largest, name
                assert abs(step["halt"] - float(want["halt"])) <= 1e-4 * max(1, largest), name
                assert (torch.tensor(step["state"]) - want["state"]).abs().max() < 1e-3, name
                vocabulary = len(step["logits"]) // len(step["answer"])
                assert step["answer"] == torch.tensor(step["logits"]).view(-1, vocabulary).argmax(1).tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    """Are read exactly; the arithmetic stays float32."""
    model = tiny_model(dtype=torch.float32, **KINDS["symbols"]).to(dtype)
    model.save_pretrained(tmp_path / "half")
    input_ids, puzzle_ids, _ = tiny_batch(2)
    job, expected = steps_of(model.float(), tmp_path / "float", input_ids, 0 * puzzle_ids)
    for rows in engine({**job, "folder": str(tmp_path / "half")}, job):
        for row, wanted in zip(rows, expected, strict=True):
            for step, want in zip(row, wanted, strict=True):
                torch.testing.assert_close(torch.tensor(step["logits"]), want["logits"], atol=1e-4, rtol=1e-4)


def test_random_numbers(tmp_path: Path) -> None:
    """The states that an attempt begins with, and the names of puzzles."""
    model = tiny_model(dtype=torch.float32, random_initial_states=True, **REGISTER)
    model.save_pretrained(tmp_path)
    input_ids, puzzle_ids, _ = tiny_batch(4)
    tokens = input_ids[0].tolist()
    puzzles = [
        {"tokens": row, "puzzle": one} for row, one in zip(input_ids.tolist(), puzzle_ids.tolist(), strict=True)
    ]
    begun, names = engine(
        {"job": "states", "folder": str(tmp_path), "tokens": tokens, "number": 3},
        {"job": "fingerprints", "puzzles": puzzles},
    )
    key = fingerprint(input_ids[:1], torch.zeros(1, dtype=torch.long))
    assert int(begun["name"]) == key.item()
    assert [int(name) for name in names] == fingerprint(input_ids, puzzle_ids).tolist()
    states = model.model.initial_states(1, random_bits(0, 3, key, 1, purpose="initial states")[:, 0])
    for name, state in zip(("answer", "latent"), states, strict=True):
        torch.testing.assert_close(torch.tensor(begun[name]), state.flatten(), atol=2e-6, rtol=0)


def test_solving_as_in_python(tmp_path: Path) -> None:
    """Rounds of attempts at views of the puzzle with noise, each to its own number of steps: one small model, 30
    puzzles, the same attempt chosen, the same steps, the same answer."""
    fields = {
        "vocab_size": 6,
        "seq_len": 16,
        "deep_cycles": 1,
        "max_supervision_steps": 4,
        "random_initial_states": True,
    }
    model, processor = tiny_model(dtype=torch.float32, **NO_PUZZLES, **fields), TrmProcessor.for_sudoku(2, 2)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    puzzles = torch.randint(1, 6, (30, 16), generator=torch.Generator().manual_seed(0))
    threshold = float(model.solve(puzzles, halt_threshold=float("inf"), seed=0).halt_logits.max()) * 0.9
    symmetry = {"random_symmetry": processor.random_symmetry, "num_symmetries": processor.num_symmetries}
    common = {"noise_std": 0.1, "max_steps": 4, "attempts": 6, "halt_threshold": threshold, "seed": 0}
    solution = model.solve(puzzles, **common, **symmetry)
    assert len(set(solution.attempts.tolist())) > 1 and len(set(solution.steps.tolist())) > 1
    options = {"attempts": 6, "maxSteps": 4, "noise": 0.1, "threshold": threshold, "byRules": False}
    (made,) = engine({"job": "solve", "folder": str(tmp_path), "puzzles": puzzles.tolist(), "options": options})
    for row, result in enumerate(made["results"]):
        assert result["answer"] == solution.answers[row].tolist()
        assert result["attempts"] == solution.attempts[row]
        assert (result["step"], result["steps"]) == (solution.steps[row], solution.total_steps[row])
        assert result["halt"] == pytest.approx(float(solution.halt_logits[row]), abs=1e-3)


def test_the_shipped_model_free_running(sudoku_splits: dict) -> None:
    """Held-out puzzles: where it is sure within a few steps, answer and steps are Python's to the last; the hardest
    part by the chaos of a recursion that does not settle, in any two float32 codes."""
    folder = ROOT / "trm-sudoku"
    model = TrmForPuzzleSolving.from_pretrained(folder)
    threshold = model.config.halt_threshold
    puzzles = sudoku_splits["easy-sample"]["test"].first(40)
    solution = model.solve(puzzles.input_ids, max_steps=8, seed=0)
    options = {"attempts": 1, "maxSteps": 8, "noise": 0, "threshold": threshold, "byRules": False}
    job = {"job": "solve", "folder": str(folder), "puzzles": puzzles.input_ids.tolist(), "options": options}
    (made,) = engine(job)
    sure = [row for row in range(40) if solution.halted[row]]
    assert len(sure) >= 36
    for row in sure:
        result = made["results"][row]
        assert result["answer"] == solution.answers[row].tolist()
        assert result["step"] == solution.steps[row]
        assert result["halt"] == pytest.approx(float(solution.halt_logits[row]), abs=0.02)
        assert result["verified"] == (result["answer"] == puzzles.labels[row].tolist())


@pytest.mark.parametrize(
    "processor",
    [TrmProcessor.for_sudoku(), TrmProcessor.for_sudoku(2, 3), TrmProcessor.for_maze(7)],
    ids=["9x9", "6x6", "maze"],
)
def test_views(processor: TrmProcessor) -> None:
    """The view of an attempt is the symmetry that Python draws, and its inverse undoes it."""
    cells, size = processor.height * processor.width, len(processor.vocabulary)
    names = random_bits(5, 0, 0, 40, purpose="test")[0]
    tokens = (torch.arange(cells) % size).expand(40, -1)
    results = engine(
        *(
            {
                "job": "views",
                "settings": settings_of(processor),
                "names": [str(name) for name in names.tolist()],
                "number": number,
            }
            for number in (1, 6, 8)
        )
    )
    for number, views in zip((1, 6, 8), results, strict=True):
        symmetry = processor.random_symmetry(0, torch.full((40,), number), names)
        assert [view["posed"] for view in views] == symmetry(tokens).tolist()
        assert all(view["same"] == tokens[0].tolist() for view in views)
        assert [view["cells"] for view in views] == symmetry.inverse().cell_index.tolist()


def test_rules(sudoku_splits: dict) -> None:
    """Right answers, and answers that one cell spoils: a wrong digit, a blank, a gap in the path, a cell too many."""
    sudoku = sudoku_splits["mini-6x6"]["test"].first(20)
    maze = load_puzzles("maze", "hard-sample", "test").first(4)
    wrong, blank, gap, longer = sudoku.labels.clone(), sudoku.labels.clone(), maze.labels.clone(), maze.labels.clone()
    for row, cells in enumerate(sudoku.input_ids):
        free = int((cells == BLANK_TOKEN).nonzero()[0])
        wrong[row, free] = 2 + (wrong[row, free] - 1) % 6
        blank[row, free] = BLANK_TOKEN
    for row, cells in enumerate(maze.labels):
        gap[row, int((cells == PATH).nonzero()[3])] = FREE
        longer[row, int((cells == FREE).nonzero()[0])] = PATH
    given = [(sudoku, TrmProcessor.for_sudoku(2, 3), (wrong, blank)), (maze, TrmProcessor.for_maze(), (gap, longer))]
    for puzzles, processor, spoiled in given:
        answers = torch.cat((puzzles.labels, *spoiled))
        asked = puzzles.input_ids.repeat(3, 1)
        pairs = list(zip(asked.tolist(), answers.tolist(), strict=True))
        (verdicts,) = engine({"job": "verify", "settings": settings_of(processor), "pairs": pairs})
        assert verdicts == processor.verifier(asked, answers).tolist()
        assert sum(verdicts) == len(puzzles.labels)


def test_reading_puzzles() -> None:
    """The usual forms, to the same tokens as Python's processor; what that refuses, the page refuses.

    Python reads more: other spellings of blanks and walls, files, data sets.
    """
    sudoku, maze, arc = TrmProcessor.for_sudoku(2, 2), TrmProcessor.for_maze(3), TrmProcessor.for_arc()
    large = TrmProcessor.for_sudoku(3, 4)
    flat = "1..." + ".2.." + "..3." + "...4"
    texts: list[tuple[TrmProcessor, list[str]]] = [
        (sudoku, [flat, flat.replace(".", "0"), "1 . . .\n.2..\n..3.\n...4", f" {flat}\n"]),
        (sudoku, ["1 . | . .\n. 2 | . .\n----+----\n. . | 3 .\n. . | . 4", "1 234 2 34 " + "12 " * 12 + "4"]),
        (sudoku, ["[[1,0,0,0],[0,2,0,0],[0,0,3,0],[0,0,0,4]]", flat[:-1], flat[:-1] + "5", flat + ".", "", "[1,"]),
        (maze, ["S  # #  G", "S  \n# #\n  G", "S  # #  Q", "S  # # G"]),
        (arc, ["[[1,2,3],[4,5,6]]", "123\n456", "7", '{"test": [{"input": [[0, 1], [1, 0]]}], "train": []}', "12x"]),
        (large, ["10 11 12 1 " + ". " * 140, "." * 144, ". " * 143 + "13"]),
    ]
    jobs = [{"job": "encode", "settings": settings_of(processor), "texts": given} for processor, given in texts]
    for (processor, given), results in zip(texts, engine(*jobs), strict=True):
        for text, result in zip(given, results, strict=True):
            try:
                expected = processor.encode(processor.split(text)[0], "the puzzle")
            except ValueError as error:
                assert "error" in result, text
                about = re.search(r"has \d+ cells|row \d+, column \d+|JSON", str(error))
                assert about is None or about[0] in result["error"]
            else:
                assert result["tokens"] == result["again"] == expected, text


def test_models_that_are_none_are_named(tmp_path: Path) -> None:
    model = tiny_model(dtype=torch.float32, **KINDS["symbols"])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if "lm_head" not in name}, tmp_path / "missing")
    save_file(tensors | {"halt_head.bias": torch.zeros(2, dtype=torch.float64)}, tmp_path / "wide")
    (tmp_path / "cut").write_bytes((tmp_path / "model.safetensors").read_bytes()[:2000])
    (tmp_path / "page").write_bytes(b"<html>no such file</html>")
    expected = {
        "model.safetensors": None,
        "missing": "model.safetensors has no lm_head.weight",
        "wide": "halt_head.bias has the type F64; F32, BF16 and F16 can be read",
        "cut": "model.safetensors is broken or cut off",
        "page": "model.safetensors is broken or cut off",
    }
    jobs = [{"job": "broken", "config": config, "tensors": str(tmp_path / name)} for name in expected]
    whole = str(tmp_path / "model.safetensors")
    jobs.append({"job": "broken", "config": config | {"model_type": "bert"}, "tensors": whole})
    jobs.append({"job": "broken", "config": config | {"hidden_size": 8}, "tensors": whole})
    *messages, other_type, other_size = engine(*jobs)
    assert messages == list(expected.values())
    assert other_type == "this is a model of type bert, not trm"
    assert "but config.json asks for [" in other_size


def test_tables() -> None:
    (tables,) = engine({"job": "tables"})
    assert tables == {"TILES": TILES, "BLANK": BLANK_TOKEN}


def test_kernels_are_those_of_the_source(tmp_path: Path) -> None:
    """The committed WebAssembly names its source; where clang is, the source gives these very bytes."""
    source = (WEB / "kernels.c").read_bytes()
    committed = (WEB / "kernels.js").read_text()
    assert hashlib.sha256(source).hexdigest() in committed, "run `make web-kernels`"
    if shutil.which("clang") and shutil.which("wasm-ld"):
        (tmp_path / "demos" / "web").mkdir(parents=True)
        shutil.copy(WEB / "kernels.c", tmp_path / "demos" / "web")
        made = ["make", "-s", "-f", str(ROOT / "Makefile"), "web-kernels"]
        subprocess.run(made, cwd=tmp_path, check=True, env=os.environ | {"MAKEFLAGS": ""})
        version = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
        rebuilt = (tmp_path / "demos" / "web" / "kernels.js").read_text()
        if "version 14." in version:  # of Debian 12, with which the committed one was made
            assert rebuilt == committed


def test_page_is_small() -> None:
    files = [path for path in WEB.iterdir() if path.suffix in (".js", ".html", ".css", ".json")]
    assert sum(path.stat().st_size for path in files) <= 61_440
    kernels = re.search(r'KERNELS = "(.*)"', (WEB / "kernels.js").read_text())
    assert kernels is not None and len(base64.b64decode(kernels[1])) <= 12_000
