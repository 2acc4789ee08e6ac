# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Votes on ARC equal those of the official evaluator, over processes and after a kill; submissions are complete."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from goldens import golden

from datasets_scripts.arc_agi import to_grid
from datasets_scripts.arc_augmentation import augment, canvas_size, without_ends
from datasets_scripts.tasks import load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from modeling_trm.convert_trm_original_checkpoint import read_identifiers
from modeling_trm.solving_trm import TrmSolution
from training.embeddings.transfer import puzzles_of
from training.errors import UserError
from training.evaluation import arc as arc_evaluation
from training.evaluation.arc import (
    PROBABILITY_UNIT,
    VoteTable,
    as_bytes,
    as_lists,
    attempts,
    crop,
    evaluate_arc,
    original_grids,
    pass_at,
)


def test_crops_are_the_official_ones():
    description, tensors = golden("arc_crop_inverse")
    sizes = crop(tensors["grids"])
    assert sizes.tolist() == description["crop_shapes"]
    identity = torch.zeros(len(sizes), dtype=torch.int64), torch.arange(10).expand(len(sizes), -1)
    for number, grid in enumerate(original_grids(tensors["grids"].clamp(max=11), *identity)):  # one has tokens above
        if f"crop{number}" in tensors:
            assert grid == as_bytes(tensors[f"crop{number}"].numpy())


def augmentation(name: str) -> tuple[int, list[int]]:
    """Dihedral and colour permutation of an official identifier."""
    _, *parts = name.split("|||")
    return (int(parts[0][1:]), [int(digit) for digit in parts[1]]) if parts else (0, list(range(10)))


def test_predictions_are_turned_back_as_in_the_official_code():
    description, tensors = golden("arc_crop_inverse")
    grid = tensors["inv.grid"].numpy()
    canvas = np.zeros((30, 30), dtype=np.int64)
    canvas[: grid.shape[0], : grid.shape[1]] = grid + 2
    dihedral, colours = (torch.tensor(part) for part in zip(*map(augmentation, description["names"]), strict=True))
    rows = torch.from_numpy(canvas.reshape(1, -1)).repeat(len(dihedral), 1)
    for number, restored in enumerate(original_grids(rows, dihedral, colours)):
        assert restored == as_bytes(tensors[f"inv.{number}"].numpy())


class Official:
    """The predictions of the golden file as votes."""

    def __init__(self):
        self.description, self.tensors = golden("arc_eval")
        self.tasks: dict[str, list[tuple[int, bytes]]] = {}
        self.pair_of: dict[tuple[str, bytes], int] = {}
        for name, task in self.description["test_puzzles"].items():
            for test in task["test"]:
                pair = len(self.pair_of)
                question, answer = (as_bytes(np.array(test[side])) for side in ("input", "output"))
                self.pair_of[name, question] = pair
                self.tasks.setdefault(name, []).append((pair, answer))

    def entries(self, rows: range) -> list[tuple[int, bytes, int, int, int]]:
        names = [self.description["identifiers"][i] for i in self.tensors["puzzle_identifiers"].tolist()]
        dihedral, colours = (torch.tensor(part) for part in zip(*map(augmentation, names), strict=True))
        questions, answers = (
            original_grids(self.tensors[name].long(), dihedral, colours) for name in ("inputs", "preds")
        )
        beliefs = (self.tensors["q_halt_logits"].double().sigmoid() / PROBABILITY_UNIT).long().tolist()
        return [
            (self.pair_of[names[row].split("|||")[0], questions[row]], answers[row], 1, beliefs[row], row)
            for row in rows
        ]

    def check(self, votes: VoteTable, case: str) -> None:
        expected = self.description["cases"][case]
        counts = [int(name.split("@")[1]) for name in expected["result"]]
        scores = pass_at(votes, self.tasks, counts)
        assert {f"ARC/{name}": score for name, score in scores.items()} == pytest.approx(expected["result"])
        ours = attempts(votes, {name: [pair for pair, _ in pairs] for name, pairs in self.tasks.items()}, counts[1])
        for name, official in expected["submission"].items():
            if official:  # the official submission has no entry for a test without predictions
                assert ours[name] == official
            else:
                assert ours[name] == [{"attempt_1": [[0]], "attempt_2": [[0]]}] * len(self.tasks[name])


@pytest.mark.parametrize("case", ["single", "K3"])
def test_votes_are_the_official_ones(case):
    official, votes = Official(), VoteTable()
    votes.update(official.entries(range(25)))
    official.check(votes, case)


@pytest.mark.parametrize("world", [2, 3])
def test_votes_of_processes_are_the_official_ones(world):
    official, votes = Official(), VoteTable()
    votes.update([entry for rank in range(world) for entry in official.entries(range(rank, 25, world))])
    official.check(votes, "two_ranks")


def test_tests_without_predictions_have_attempts_and_are_wrong():
    official = Official()
    votes = VoteTable()
    votes.update(official.entries(range(7)))
    official.check(votes, "prefix_only")


def test_rank_is_by_votes_then_mean_probability_then_first_vote():
    votes, unit = VoteTable(), round(1 / PROBABILITY_UNIT)
    votes.update([(0, b"\1\1\1", 2, unit, 5), (0, b"\1\1\2", 1, unit, 0), (0, b"\1\1\3", 2, unit // 2, 1)])
    votes.update([(0, b"\1\1\4", 1, unit, 6)])
    assert votes.ranked(0) == [b"\1\1\1", b"\1\1\3", b"\1\1\2", b"\1\1\4"]


def test_grids_survive_their_keys():
    grid = np.array([[0, 9, 3], [4, 5, 6]])
    assert as_lists(as_bytes(grid)) == grid.tolist()


# The whole evaluation


@pytest.fixture(scope="module")
def tests():
    return load_puzzles("arc-agi", "arc-agi-1", "test", num_augmentations=6).first(4)


class KnowsAll(torch.nn.Module):
    """A solver that looks the answers up and errs on chosen augmentations."""

    def __init__(self, tests, wrong=lambda ids: ids < 0):
        super().__init__()
        self.config = TrmConfig(max_solve_steps=3)
        self.lm_head, self.halt_head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        self.tests, self.wrong, self.calls = tests, wrong, 0
        self.answers: dict[bytes, torch.Tensor] = {}
        tasks = tests.augmented_tasks
        grids = without_ends(tests.input_ids, tests.labels)
        for row in range(len(tests)):
            ids = torch.arange(int(tasks.counts_of(tests.puzzle_ids[row : row + 1]))) + tests.puzzle_ids[row]
            pairs = grids[row : row + 1].expand(len(ids), -1, -1)
            for number, pair in zip(ids.tolist(), augment(pairs, canvas_size(pairs), *tasks.of(ids)), strict=True):
                self.answers[number.to_bytes(4) + pair[0].numpy().tobytes()] = pair[1].long()

    plan_solving = TrmForPuzzleSolving.plan_solving

    def solve_dataset(self, batches, **_):
        return (self.answer(*batch) for batch in batches)

    def answer(self, input_ids, puzzle_ids):
        self.calls += 1
        keys = [int(i).to_bytes(4) + row.numpy().tobytes() for i, row in zip(puzzle_ids, input_ids, strict=True)]
        answers = torch.stack([self.answers[key] for key in keys])
        answers[self.wrong(puzzle_ids), 0] = 2 + (answers[self.wrong(puzzle_ids), 0] - 1) % 10
        steps, ones = torch.full((len(keys),), 3), torch.ones(len(keys))
        return TrmSolution(answers=answers, halt_logits=ones, steps=steps, total_steps=steps, attempts=ones)


def run(model, tests, **options):
    return evaluate_arc(model, tests, batch_size=5, accelerator=Accelerator(cpu=True), show_progress=False, **options)


def test_a_perfect_model_scores_one_and_its_submission_is_the_solution(tests, tmp_path):
    results = run(KnowsAll(tests), tests, submission=tmp_path / "submission.json")
    assert results["num_tasks"] == 4
    assert results["num_predictions"] == 7 * len(tests)
    assert all(results[f"pass@{k}"] == 1 for k in (1, 2, 5, 10, 100, 1000))
    assert results["exact_accuracy"] == results["cell_accuracy"] == results["halt_accuracy"] == 1
    submission = json.loads((tmp_path / "submission.json").read_text())
    names = tests.augmented_tasks.names_of(tests.puzzle_ids)
    assert list(submission) == list(dict.fromkeys(names))
    solutions = [to_grid(label).tolist() for label in tests.labels.numpy()]
    attempts_in_order = [attempt for name in submission for attempt in submission[name]]
    assert [attempt["attempt_1"] for attempt in attempts_in_order] == solutions
    assert all(attempt.keys() == {"attempt_1", "attempt_2"} for attempt in attempts_in_order)


def test_a_minority_of_errors_is_outvoted_and_a_majority_is_not(tests):
    first = tests.puzzle_ids
    few = run(KnowsAll(tests, lambda ids: torch.isin(ids, torch.cat([first, first + 1]))), tests)
    assert few["pass@1"] == 1
    assert few["cell_accuracy"] < 1
    assert few["halt_accuracy"] == pytest.approx(5 / 7)
    alone = run(KnowsAll(tests, lambda ids: torch.isin(ids, first)), tests, num_votes=1)
    assert alone["pass@1"] == 0
    assert alone["num_predictions"] == len(tests)


def test_without_solutions_there_is_a_submission_and_no_score(tests, tmp_path):
    unknown = replace(tests, labels=torch.full_like(tests.labels, -100))
    results = run(KnowsAll(tests), unknown, submission=tmp_path / "submission.json")
    assert not [name for name in results if name.startswith(("pass", "exact"))]
    assert list(json.loads((tmp_path / "submission.json").read_text())["00576224"][0]) == ["attempt_1", "attempt_2"]
    assert "no score" in arc_evaluation.report_arc(results)


def test_votes_of_one_evaluation_do_not_count_in_the_next(tests):
    """In the official code they did."""
    assert run(KnowsAll(tests, lambda ids: ids > 0), tests)["pass@1"] == 0
    assert run(KnowsAll(tests), tests)["pass@1"] == 1


def test_a_killed_evaluation_goes_on(tests, tmp_path, monkeypatch):
    monkeypatch.setattr(arc_evaluation, "SAVE_SECONDS", -1)
    whole = run(KnowsAll(tests), tests, submission=tmp_path / "whole.json")

    class Killed(KnowsAll):
        def answer(self, *batch):
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().answer(*batch)

    torch.manual_seed(0)
    killed = Killed(tests)
    with pytest.raises(KeyboardInterrupt):
        run(killed, tests, resume_dir=tmp_path / "votes")
    torch.manual_seed(0)  # the same weights
    model = KnowsAll(tests)
    resumed = run(model, tests, resume_dir=tmp_path / "votes", submission=tmp_path / "resumed.json")
    assert model.calls == math.ceil(7 * len(tests) / 5) - 3
    assert not (tmp_path / "votes").exists()
    assert (tmp_path / "whole.json").read_bytes() == (tmp_path / "resumed.json").read_bytes()
    skip = ("seconds", "puzzles_per_second")
    assert {k: v for k, v in whole.items() if k not in skip} == {k: v for k, v in resumed.items() if k not in skip}


def test_another_model_does_not_resume(tests, tmp_path, monkeypatch):
    monkeypatch.setattr(arc_evaluation, "SAVE_SECONDS", -1)
    model = KnowsAll(tests)
    store = arc_evaluation.ResumeFile(tmp_path / "votes", model, Accelerator(cpu=True), [])
    store.save(VoteTable(), torch.zeros(4, dtype=torch.float64), 5)
    assert store.load(VoteTable(), torch.zeros(4, dtype=torch.float64)) == 5
    other = arc_evaluation.ResumeFile(tmp_path / "votes", KnowsAll(tests), Accelerator(cpu=True), [])
    assert other.load(VoteTable(), torch.zeros(4, dtype=torch.float64)) == 0
    (tmp_path / "votes" / "mine.txt").touch()
    for content in ("", '{"key": ', "[]", "{}"):
        (tmp_path / "votes" / "rank-00000.json").write_text(content)
        assert store.load(VoteTable(), torch.zeros(4, dtype=torch.float64)) == 0
    store.remove()
    assert [path.name for path in (tmp_path / "votes").iterdir()] == ["mine.txt"]


def test_votes_of_other_puzzles_do_not_count(tests, tmp_path, monkeypatch):
    """A corrected file has as many tests as before."""
    keys = []
    monkeypatch.setattr(arc_evaluation.ResumeFile, "load", lambda store, *_: keys.append(store.key) or 0)
    model = KnowsAll(tests)
    for puzzles in (tests, tests, replace(tests, labels=tests.labels.flip(0))):
        run(model, puzzles, resume_dir=tmp_path / "votes")
    assert keys[0] == keys[1] != keys[2]


def test_without_a_folder_no_weight_is_read(tests):
    """Of a real run they are gigabytes, which every periodic evaluation would have hashed."""
    model = KnowsAll(tests)
    model.parameters = model.buffers = lambda: pytest.fail("read the weights")
    store = arc_evaluation.ResumeFile(None, model, Accelerator(cpu=True), [])
    store.save(VoteTable(), torch.zeros(6), 5)
    assert store.load(VoteTable(), torch.zeros(6)) == 0
    store.remove()


def test_a_count_beyond_float32_loses_nothing(tests, monkeypatch):
    """2^25 + 7 steps are not a float32."""

    class Endless(KnowsAll):
        def answer(self, *batch):
            solution = super().answer(*batch)
            solution.total_steps = torch.full_like(solution.total_steps, 2**25 + 7)
            return solution

    assert run(Endless(tests), tests)["mean_total_steps"] == 2**25 + 7


def test_a_real_model_is_given_the_identifier_of_each_augmentation(tests):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    cycles = {"deep_cycles": 1, "latent_cycles": 1, "max_supervision_steps": 1, "num_puzzle_tokens": 1}
    config = TrmConfig(vocab_size=12, seq_len=900, num_puzzles=tests.num_puzzles, **sizes, **cycles)
    model, seen = TrmForPuzzleSolving(config).eval(), []
    model.model.puzzle_embeddings.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    results = run(model, tests.first(1), num_votes=3)
    first = int(tests.puzzle_ids[0])
    assert torch.cat(seen).tolist() == [first, first + 1, first + 2]
    assert results["num_examples"] == 1
    assert results["mean_steps"] == 1


def test_a_converted_model_is_asked_in_its_own_identifiers(tests, tmp_path):
    """Of an official identifiers file: other rows, in another order, with augmentations of its own."""
    names = list(dict.fromkeys(tests.augmented_tasks.names_of(tests.puzzle_ids)))[::-1]
    ways = ["", "|||t3|||0123456798", "|||t6|||0918273645"]
    identifiers = ["<blank>", "<blank>", "elsewhere", *(name + way for name in names for way in ways)]
    (tmp_path / "identifiers.json").write_text(json.dumps(identifiers))
    record = read_identifiers(tmp_path / "identifiers.json", len(identifiers))
    (tmp_path / "puzzles.json").write_text(json.dumps(record))
    theirs = puzzles_of(tmp_path, len(identifiers), tests)
    assert theirs.augmented_tasks.num_puzzles == len(identifiers)
    assert [identifiers[number] for number in theirs.puzzle_ids] == tests.augmented_tasks.names_of(tests.puzzle_ids)
    for number, name in enumerate(identifiers[2:], 2):
        dihedral, colours = theirs.augmented_tasks.of(torch.tensor([number]))
        assert (int(dihedral), colours[0].tolist()) == augmentation(name)
    results = run(KnowsAll(theirs), theirs)
    assert results["pass@1"] == 1
    assert results["num_predictions"] == 3 * len(tests)
    with pytest.raises(UserError, match="has 9 embeddings, not"):
        puzzles_of(tmp_path, 9, tests)
    with pytest.raises(UserError, match="was not trained on 1 of these tasks"):
        record["first_id_and_count"].pop(names[-1])
        (tmp_path / "puzzles.json").write_text(json.dumps(record))
        puzzles_of(tmp_path, len(identifiers), tests)
