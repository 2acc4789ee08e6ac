# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The pipeline says what `solve` says, in a person's terms, here and in a process that has only the folder."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from tiny import tiny_model
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from modeling_trm import PuzzleSolvingPipeline, TrmConfig, TrmForPuzzleSolving, TrmProcessor
from modeling_trm.__main__ import main
from modeling_trm.rules_trm import is_solved_sudoku
from modeling_trm.symmetries_trm import random_dihedral_symmetry

PUZZLE = "1..4.63.5.....2...6..3.5.4......1.3."
OTHER = "." * 35 + "2"


@pytest.fixture(scope="module")
def solver() -> PuzzleSolvingPipeline:
    torch.manual_seed(0)
    config = TrmConfig(
        vocab_size=8, seq_len=36, hidden_size=16, num_attention_heads=2, deep_cycles=1, latent_cycles=1,
        max_supervision_steps=3, num_puzzle_tokens=1,
    )  # fmt: skip
    model = TrmForPuzzleSolving(config).eval()
    torch.nn.init.normal_(model.halt_head.weight)
    return pipeline("puzzle-solving", model=model, processor=TrmProcessor.for_sudoku(2, 3), device=-1)


@pytest.fixture(scope="module")
def folder(solver: PuzzleSolvingPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pipeline") / "model"
    solver.save_pretrained(path)
    return path


def test_it_says_what_solve_says(solver):
    input_ids = solver.processor([PUZZLE, OTHER])["input_ids"]
    solution = solver.model.solve(input_ids, return_steps=True, max_steps=5)
    for row, result in enumerate(solver([PUZZLE, OTHER], return_steps=True, max_steps=5)):
        steps = int(solution.steps[row])
        assert result["puzzle"] == solver.processor.to_grid(input_ids[row])
        assert result["answer"] == solver.processor.decode(solution.answers[row])
        assert "".join(map("".join, result["grid"])) == result["answer"]

        assert result["confidence"] == pytest.approx(torch.sigmoid(solution.halt_logits[row]).item())
        assert (result["steps"], result["attempts"]) == (steps, 1)
        assert result["verified"] == bool(is_solved_sudoku(input_ids[row : row + 1], solution.answers[row : row + 1]))
        assert len(result["trace"]) == steps
        assert result["trace"][-1]["grid"] == result["grid"]
        before = result["puzzle"]
        for step in result["trace"]:
            changed = [[r, c] for r in range(6) for c in range(6) if step["grid"][r][c] != before[r][c]]
            assert step["changed"] == changed
            before = step["grid"]
        json.dumps(result)


def assert_same(found: list[dict], expected: list[dict]) -> None:
    """The same but for rounding: matrix products of another batch size add up in another order."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == other | {"confidence": pytest.approx(other["confidence"], abs=1e-5)}


def test_one_puzzle_or_many_in_any_form(solver):
    one = solver(PUZZLE)
    digits = [0 if symbol == "." else int(symbol) for symbol in PUZZLE]
    grid = [digits[start : start + 6] for start in range(0, 36, 6)]
    for form in (PUZZLE.replace(".", "0"), list(PUZZLE), digits, grid, np.array(grid), torch.tensor(grid)):
        assert solver(form) == one
    for forms in ([PUZZLE], [grid], np.array([grid])):
        assert solver(forms) == [one]
    assert_same(solver([PUZZLE, OTHER] * 5, batch_size=3), [one, solver(OTHER)] * 5)


def test_a_stream_knows_the_ids_of_its_puzzles(tmp_path):
    model = tiny_model(dtype=torch.float32, vocab_size=8, seq_len=36, num_puzzles=9, max_solve_steps=2)
    torch.nn.init.normal_(model.model.puzzle_embeddings.weight)
    solver = PuzzleSolvingPipeline(model=model, processor=TrmProcessor.for_sudoku(2, 3))
    puzzles, ids = [PUZZLE, OTHER, PUZZLE, PUZZLE, OTHER], torch.tensor([8, 0, 3, 5, 1])
    expected = solver(puzzles, puzzle_ids=ids)
    assert expected[0]["answer"] != expected[2]["answer"]
    for batch_size in (1, 2, 256):
        results = solver(iter(puzzles), puzzle_ids=ids, batch_size=batch_size)
        assert [result["answer"] for result in results] == [result["answer"] for result in expected]
    for wrong, message in ((None, "missing: .*--puzzle_id"), (ids[:4], r"\[1\] ids"), (ids.repeat(2), "5 ids more")):
        with pytest.raises(ValueError, match=message):
            list(solver(iter(puzzles), puzzle_ids=wrong, batch_size=2))

    solver.save_pretrained(tmp_path)
    assert main(["--model", str(tmp_path), PUZZLE]) == 2
    assert main(["--model", str(tmp_path), PUZZLE, "--puzzle_id", "9"]) == 2
    pictures = []
    for number in ("8", "3"):
        assert main(["--model", str(tmp_path), PUZZLE, "--puzzle_id", number, "--html", str(tmp_path / "out")]) == 0
        pictures.append((tmp_path / "out").read_text())
    assert pictures[0] != pictures[1]


def test_a_list_of_arc_tasks_gives_a_list():
    model = tiny_model(dtype=torch.float32, vocab_size=12, seq_len=900, num_puzzles=1, max_solve_steps=1)
    solver = PuzzleSolvingPipeline(model=model, processor=TrmProcessor.for_arc())
    task = {"train": [], "test": [{"input": [[3, 4]]}]}
    assert solver(task)["puzzle"] == [["3", "4"]]
    for count in (1, 2):
        assert [result["puzzle"] for result in solver([task] * count)] == [[["3", "4"]]] * count


def test_options_of_the_pipeline_hold_unless_a_call_says_otherwise(solver):
    patient = pipeline(
        "puzzle-solving", model=solver.model, processor=solver.processor, device=-1, halt_threshold=1e9, max_steps=4
    )
    assert patient(PUZZLE)["steps"] == 4
    assert patient(PUZZLE, max_steps=2)["steps"] == 2


def test_the_batch_size_of_the_pipeline_holds_unless_a_call_says_otherwise(solver, monkeypatch):
    solve, sizes = solver.model.solve, []

    def recorded(*args, batch_size, **options):
        sizes.append(batch_size)
        return solve(*args, batch_size=batch_size, **options)

    monkeypatch.setattr(solver.model, "solve", recorded)
    own = pipeline("puzzle-solving", model=solver.model, processor=solver.processor, device=-1, batch_size=1)
    assert_same(own([PUZZLE, OTHER]), own([PUZZLE, OTHER], batch_size=2))
    assert sizes == [1, 2]


def test_a_verifier_is_reported(solver):
    def never(input_ids: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(answers), dtype=torch.bool)

    result = solver(PUZZLE, verify=never, attempts=4, noise_std=0.1)
    assert (result["verified"], result["attempts"]) == (False, 4)


@pytest.mark.parametrize("believes", [True, False])
@pytest.mark.parametrize("keeps_rules", [True, False])
def test_what_is_called_solved(solver, believes, keeps_rules, monkeypatch):
    """The verifier's word, where it was asked; else the model's, unless the rules of the puzzle say no."""

    def verdict(input_ids: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        return torch.full((len(answers),), keeps_rules)

    threshold = -1e9 if believes else 1e9
    for options in ({"verify": verdict}, {"verify": verdict, "attempts": 4}):
        result = solver(PUZZLE, halt_threshold=threshold, **options)
        assert (result["solved"], result["verified"]) == (keeps_rules, keeps_rules)
    monkeypatch.setattr(TrmProcessor, "verifier", property(lambda processor: verdict))
    result = solver(PUZZLE, halt_threshold=threshold)
    assert (result["solved"], result["verified"]) == (believes and keeps_rules, keeps_rules)
    monkeypatch.setattr(TrmProcessor, "verifier", None)
    result = solver(PUZZLE, halt_threshold=threshold)
    assert result["solved"] == believes and "verified" not in result


def test_a_column_is_a_list_and_what_is_streamed_is_an_iterator(solver):
    data = datasets.Dataset.from_dict({"question": [PUZZLE, OTHER, PUZZLE]})
    expected = solver([PUZZLE, OTHER, PUZZLE])
    assert_same(solver(data["question"]), expected)
    assert solver([PUZZLE[start : start + 6] for start in range(0, 36, 6)])["answer"] == expected[0]["answer"]
    for stream in (iter(data["question"]), KeyDataset(data, "question"), data.to_iterable_dataset()):
        results = solver(stream, batch_size=2)
        assert isinstance(results, Iterator)
        assert_same(list(results), expected)


def test_a_generator_is_read_as_it_is_solved(solver):
    taken = []

    def puzzles():
        for number in range(10**9):
            taken.append(number)
            yield PUZZLE if number < 1000 else "123"

    results = solver(puzzles(), batch_size=2, max_steps=2)
    assert taken == []
    assert next(results)["puzzle"] == solver.processor.to_grid(solver.processor(PUZZLE)["input_ids"][0])
    assert len(taken) < 1000
    with pytest.raises(ValueError, match="puzzle 1001 has 3 cells"):
        list(results)


@pytest.mark.parametrize(("puzzle", "message"), [("123", "puzzle 1 has 3 cells"), ([], "no puzzle given")])
def test_what_is_no_puzzle_is_refused(solver, puzzle, message):
    with pytest.raises(ValueError, match=message):
        solver(puzzle)


FRESH_PROCESS = """
import importlib.util, json, sys
sys.path += json.loads(sys.argv[1])
assert importlib.util.find_spec("modeling_trm") is None, "the package is importable: this would prove nothing"
from transformers import pipeline
solve = pipeline(model=sys.argv[2], trust_remote_code=True, device=-1)
result = solve(sys.argv[3], return_steps=True)
print(json.dumps([result, solve.processor.render(result, "html")]))
"""


def test_a_process_with_nothing_but_the_folder(solver, folder, tmp_path):
    packages = json.dumps(sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    done = subprocess.run(
        # Isolated and without `site`, so that no .pth file and no variable brings the package in.
        [sys.executable, "-I", "-S", "-c", FRESH_PROCESS, packages, folder, PUZZLE],
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result, picture = json.loads(done.stdout.splitlines()[-1])
    expected = solver(PUZZLE, return_steps=True)
    assert result["answer"] == expected["answer"]
    assert [step["grid"] for step in result["trace"]] == [step["grid"] for step in expected["trace"]]
    assert picture.startswith("<!DOCTYPE html>")


def test_the_command_draws_pictures(folder, tmp_path, capsys):
    paths = {name: tmp_path / f"out.{name}" for name in ("gif", "png", "html")}
    flags = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    assert main(["--model", str(folder), PUZZLE, *flags, "--attempts", "4", "--noise_std", "0.2"]) == 0
    shown = capsys.readouterr().out
    assert "After step 1: " in shown
    for name, start in (("gif", b"GIF89a"), ("png", b"\x89PNG"), ("html", b"<!DOCTYPE html>")):
        assert paths[name].read_bytes().startswith(start)
        assert f"wrote {paths[name]}" in shown
    assert len(list(tmp_path.iterdir())) == 3


def test_a_picture_that_cannot_be_written_is_one_line(folder, tmp_path, capsys):
    assert main(["--model", str(folder), PUZZLE, "--gif", str(tmp_path / "nowhere" / "out.gif")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert "nowhere/out.gif" in shown.err


def test_the_checkpoint_alone_verifies_and_searches_over_symmetries(solver):
    """`verify=True` and `attempts` need nothing but what the processor saved."""
    result = solver(PUZZLE, verify=True, attempts=4)
    assert result["attempts"] == 4 and result["verified"] is False
    solution = "241563356241412356563412634125125634"
    tokens = solver.processor(solution)["input_ids"]
    assert solver.processor.verifier(tokens, tokens).tolist() == [True]


@pytest.mark.parametrize(
    "puzzle", ["11" + "." * 34, "12345." + "." * 24 + ".....6"], ids=["contradictory", "unsolvable"]
)
@pytest.mark.parametrize("options", [{}, {"verify": True, "attempts": 16, "noise_std": 0.1}])
def test_what_has_no_solution_is_not_called_solved(solver, puzzle, options):
    """However sure the model is, and however many attempts are allowed."""
    result = solver(puzzle, halt_threshold=-1e9, **options)
    assert result["solved"] is False and result["verified"] is False and 0 <= result["confidence"] <= 1
    assert result["attempts"] == (16 if options else 1)


def test_puzzles_without_a_rule_cannot_be_verified(solver):
    plain = TrmProcessor(["<pad>", ".", *"123456"], 6, 6)
    solve = PuzzleSolvingPipeline(model=solver.model, processor=plain, device=-1)
    with pytest.raises(ValueError, match="no rule of their own"):
        solve(PUZZLE, verify=True)
    with pytest.raises(ValueError, match="attempts=4 would repeat themselves: there are no symmetries"):
        solve(PUZZLE, attempts=4)
    own = partial(random_dihedral_symmetry, size=6, vocab_size=8)
    assert solve(PUZZLE, attempts=4, random_symmetry=own)["attempts"] == 4


def test_what_changed_lies_inside_the_grid_that_is_shown(solver):
    """An ARC answer is shown without what the model writes outside the end markers."""
    processor = TrmProcessor(["<pad>", "|", *"012345"], 6, 6, end_marker="|")
    solve = PuzzleSolvingPipeline(model=solver.model, processor=processor, device=-1)
    canvases = [["01|555", "23|555", "|||555"], ["01|444", "24|444", "|||444"]]
    tokens = [[processor.vocabulary.index(symbol) for symbol in "".join(rows) + 18 * "5"] for rows in canvases]
    answers = torch.tensor([tokens])
    solution = {"answers": answers[:, -1], "step_answers": answers, "step_halt_logits": torch.zeros(1, 2)}
    solution |= {name: torch.tensor([2]) for name in ("steps", "attempts", "halted", "halt_logits")}
    trace = solve.describe(processor([[0, 1], [2, 3]])["input_ids"][0], solution, 0)["trace"]
    assert [step["grid"] for step in trace] == [[["0", "1"], ["2", "3"]], [["0", "1"], ["2", "4"]]]
    assert [step["changed"] for step in trace] == [[], [[1, 1]]]
