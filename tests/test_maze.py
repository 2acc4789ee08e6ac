# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The maze builder: what it reads, refuses and makes; the checker of answers; and the two scores."""

import gzip
import json
import math
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import train
from datasets_scripts import maze
from datasets_scripts.maze import generate, longer_than, maze_tokens, read_csv, solve
from datasets_scripts.tasks import TASKS, load_puzzles
from modeling_trm import TrmConfig, TrmForPuzzleSolving
from modeling_trm.rules_trm import FREE, GOAL, PATH, START, WALL, distances, is_solved_maze
from modeling_trm.solving_trm import TrmSolution
from modeling_trm.symmetries_trm import dihedral_symmetry, random_dihedral_symmetry
from training.evaluation.scores import evaluate, report

ROOT = Path(__file__).parent.parent
GOLDENS = Path(__file__).parent / "fixtures" / "goldens"
HEADER = "source,question,answer,rating"
BUNDLED = gzip.decompress((maze.BUNDLED_FOLDER / "train.csv.gz").read_bytes()).decode().splitlines()
ROW = BUNDLED[1]
SOURCE, QUESTION, ANSWER, RATING = ROW.split(",")


def write(path: Path, *rows: str) -> Path:
    """A CSV file of mazes; gzipped if its name says so."""
    text = "\n".join([HEADER, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def change(text: str, position: int, character: str) -> str:
    return text[:position] + character + text[position + 1 :]


def spelled(tokens: torch.Tensor) -> list[str]:
    return ["".join("_# SGo"[token] for token in row) for row in tokens.tolist()]


@pytest.fixture(scope="module")
def mini() -> tuple[torch.Tensor, torch.Tensor]:
    """60 mazes of 9x9 and their labels."""
    input_ids, labels = generate(60, 9, 0)
    return torch.from_numpy(input_ids), torch.from_numpy(labels)


# The checker


def plain_distances(is_open: list[list[bool]], start: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Breadth-first search with a queue."""
    size, steps, queue = len(is_open), {start: 0}, deque([start])
    while queue:
        row, column = queue.popleft()
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= near[0] < size and 0 <= near[1] < size and is_open[near[0]][near[1]] and near not in steps:
                steps[near] = steps[row, column] + 1
                queue.append(near)
    return steps


def plain_is_solved(question: list[list[int]], answer: list[list[int]]) -> bool:
    size = len(question)
    cells = [(row, column) for row in range(size) for column in range(size)]
    starts, goals = ([(r, c) for r, c in cells if question[r][c] == token] for token in (START, GOAL))
    if len(starts) != 1 or len(goals) != 1:
        return False
    marked = [(r, c) for r, c in cells if answer[r][c] == PATH]
    for r, c in cells:
        if answer[r][c] != question[r][c] and (question[r][c], answer[r][c]) != (FREE, PATH):
            return False
        if question[r][c] == PATH:
            return False
    maze_steps = plain_distances([[token in (FREE, GOAL) for token in row] for row in question], starts[0])
    on_path = [[(r, c) in marked or (r, c) == goals[0] for c in range(size)] for r in range(size)]
    path_steps = plain_distances(on_path, starts[0])
    return goals[0] in path_steps and len(marked) + 1 == maze_steps[goals[0]]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(2, 9), st.floats(0.2, 0.9))
def test_distances_agree_with_a_plain_search(seed, size, openness):
    generator = torch.Generator().manual_seed(seed)
    is_open = torch.rand(5, size, size, generator=generator) < openness
    starts = torch.randint(0, size, (5, 2), generator=generator).tolist()
    is_start = torch.zeros_like(is_open)
    for number, (row, column) in enumerate(starts):
        is_start[number, row, column] = True
    for number, found in enumerate(distances(is_open, is_start)):
        expected = plain_distances(is_open[number].tolist(), tuple(starts[number]))
        assert found.tolist() == [[expected.get((r, c), -1) for c in range(size)] for r in range(size)]


@settings(max_examples=150)
@given(st.data(), st.integers(0, 59))
def test_checker_agrees_with_a_plain_one(mini, data, row):
    question, answer = mini[0][row].clone(), mini[1][row].clone()
    cells = st.integers(0, 80)
    damage = data.draw(st.sampled_from(["none", "another path", "token", "unmark", "mark", "question", "detour"]))
    cell = data.draw(cells)
    if damage == "another path":  # the one that A* finds in the transposed maze
        answer = torch.from_numpy(solve(question.view(9, 9).T.flatten().numpy())).view(9, 9).T.flatten()
    elif damage == "token":
        answer[cell] = data.draw(st.integers(-100, 100))
    elif damage == "unmark":
        path = (answer == PATH).nonzero().flatten()
        answer[path[cell % len(path)]] = FREE
    elif damage == "mark":
        free = (answer == FREE).nonzero().flatten()
        answer[free[cell % len(free)]] = PATH
    elif damage == "question":
        question[cell] = data.draw(st.integers(0, 5))
    elif damage == "detour":  # a path through a maze with another wall, which need not be shortest
        path = (answer == PATH).nonzero().flatten()
        blocked = question.clone()
        blocked[path[cell % len(path)]] = WALL
        steps = plain_distances(
            [[token in (FREE, GOAL) for token in line] for line in blocked.view(9, 9).tolist()],
            divmod(int((question == START).nonzero()), 9),
        )
        if divmod(int((question == GOAL).nonzero()), 9) in steps:
            answer = torch.from_numpy(solve(blocked.numpy()))
            answer[path[cell % len(path)]] = FREE
    expected = plain_is_solved(question.view(9, 9).tolist(), answer.view(9, 9).tolist())
    assert is_solved_maze(question[None], answer[None].long()).tolist() == [expected]
    if damage in ("none", "another path"):
        assert expected


def test_checker_judges_each_row_by_itself(mini):
    input_ids, labels = mini
    wrong = labels.clone()
    wrong[::2] = input_ids[::2]
    assert is_solved_maze(input_ids, wrong).tolist() == [False, True] * 30
    assert is_solved_maze(input_ids[:0], labels[:0]).shape == (0,)


@pytest.mark.parametrize("token", range(-3, 10))
def test_checker_refuses_constant_answers(mini, token):
    assert not is_solved_maze(mini[0], torch.full_like(mini[1], token)).any()


# Symmetries


def test_equals_the_official_dihedral_transforms():
    golden = load_file(GOLDENS / "dihedral.safetensors")
    canvas = torch.zeros(5, 5, dtype=torch.uint8)
    canvas[:3] = golden["grid"]  # the golden grid is 3x5
    for element in range(8):
        moved = dihedral_symmetry(torch.tensor([element]), 5, 12)(canvas.view(1, 25)).view(5, 5)
        marks = dihedral_symmetry(torch.tensor([element]), 5, 2)((torch.arange(25) < 15).long()[None]).view(5, 5) > 0
        assert torch.equal(moved[marks], golden[f"t{element}"].flatten())
        back = dihedral_symmetry(torch.tensor([element]), 5, 12).inverse()
        assert torch.equal(back(moved.view(1, 25)).view(5, 5), canvas)


def test_symmetries_keep_paths_shortest_and_are_drawn_uniformly(mini):
    input_ids, labels = mini
    described = TASKS["maze"].formats["mini-9x9"]
    assert not described.augment
    symmetry = described.random_symmetry(0, 0, torch.arange(60))
    assert is_solved_maze(symmetry(input_ids), symmetry(labels)).all()
    many = random_dihedral_symmetry(3, 0, torch.arange(8000), 3, 6)
    views, counts = many.cell_index.unique(dim=0, return_counts=True)
    assert len(views) == 8
    assert ((counts - 1000).abs() < 5 * 1000**0.5).all()


def test_rotations_break_the_rule_of_the_labels(mini):
    quarter_turn = dihedral_symmetry(torch.ones(60, dtype=torch.long), 9, 6)
    turned, labels = quarter_turn(mini[0]), quarter_turn(mini[1])
    relabelled = torch.from_numpy(np.stack([solve(question) for question in turned.numpy()]))
    assert 0 < (relabelled == labels).all(1).sum() < 30


# Reading files


def test_same_tokens_as_the_official_builder():
    for name, symmetries in (("maze_build_noaug", [0]), ("maze_build_aug", range(8))):
        golden = load_file(GOLDENS / f"{name}.safetensors")
        files = json.loads((GOLDENS / f"{name}.json").read_text())["files"]
        for split in ("train", "test"):
            rows = files[f"{split}.csv"][1]
            elements = symmetries if split == "train" else [0]
            for column, tensor in ((1, "inputs"), (2, "labels")):
                tokens = torch.from_numpy(maze_tokens([row[column] for row in rows], 6))
                expected = golden[f"{split}.all__{tensor}"].to(torch.int8).view(-1, len(elements), 36)
                chosen = [tokens.tolist().index(views[0].tolist()) for views in expected]
                assert len(set(chosen)) == len(expected)
                for views, number in zip(expected, chosen, strict=True):
                    symmetry = dihedral_symmetry(torch.tensor(elements), 6, 6)
                    assert torch.equal(symmetry(tokens[number].expand(len(elements), -1)), views)


def test_bundled_mazes_are_those_of_the_files():
    for split in ("train", "test"):
        lines = gzip.decompress((maze.BUNDLED_FOLDER / f"{split}.csv.gz").read_bytes()).decode().splitlines()[1:]
        sources, questions, answers, _ = zip(*(line.split(",") for line in lines), strict=True)
        puzzles = load_puzzles("maze", "hard-sample", split)
        assert len(puzzles) == 200
        assert puzzles.source == list(sources)
        assert spelled(puzzles.input_ids) == list(questions)
        assert spelled(puzzles.labels) == list(answers)
        assert any(question[0] == " " for question in questions)
        assert any(question[-1] == "#" for question in questions)


def test_a_splits_mazes_are_in_no_other():
    both = torch.cat([load_puzzles("maze", "hard-sample", split).input_ids for split in ("train", "test")])
    assert len(both.unique(dim=0)) == 400


def test_the_labels_are_those_of_our_search():
    puzzles = load_puzzles("maze", "hard-sample", "test")
    for question, label in zip(puzzles.input_ids.numpy(), puzzles.labels.numpy(), strict=True):
        assert np.array_equal(solve(question), label)


def test_quoted_fields_and_plain_files_read_the_same(tmp_path):
    plain = read_csv(write(tmp_path / "a.csv", *BUNDLED[1:9]))
    quoted = [",".join(f'"{field}"' for field in row.split(",")) for row in BUNDLED[1:9]]
    assert read_csv(write(tmp_path / "b.csv.gz", *quoted)) == plain


FREE_CELL = QUESTION.index(" ")
ON_PATH = ANSWER.index("o")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"x,{QUESTION[:-1]},{ANSWER},1", "the question has 899 characters instead of 900 (30x30 cells)"),
        (f"x,{QUESTION.strip()},{ANSWER},1", "the question has 898 characters instead of 900"),
        (f"x,{QUESTION},,1", "the answer has 0 characters"),
        (f"x,{change(QUESTION, 5, 'X')},{ANSWER},1", "the question has the character 'X'"),
        (f"x,{QUESTION},{change(ANSWER, 5, 'é')},1", "the answer has the character 'é'"),
        (f"x,{QUESTION},{ANSWER},long", "the rating 'long' is not a whole number"),
        (f"x,{ANSWER},{ANSWER},1", "the question has a path 'o' already"),
        (f"x,{QUESTION.replace('S', ' ')},{ANSWER},1", "the question has 0 cells 'S' instead of one"),
        (f"x,{change(QUESTION, FREE_CELL, 'G')},{ANSWER},1", "the question has 2 cells 'G' instead of one"),
        (
            f"x,{QUESTION},{change(ANSWER, ANSWER.index('#', 40), 'o')},1",
            "the answer has 'o' where the question has '#': row 2, column",
        ),
        (f"x,{QUESTION},{ANSWER.replace('G', 'o')},1", "the answer has 'o' where the question has 'G'"),
        (f"x,{QUESTION},{change(ANSWER, FREE_CELL, '#')},1", "the answer has '#' where the question has ' '"),
        (f"x,{QUESTION},{change(ANSWER, ON_PATH, ' ')},1", "the path does not join S and G"),
        (f"x,{QUESTION},{QUESTION},1", "the path does not join S and G"),
        (f"x,{QUESTION},{change(ANSWER, ANSWER.rindex(' '), 'o')},1", "the path has 114 steps, the shortest has 113"),
        (
            f"x,{QUESTION.replace(' ', '#')},{QUESTION.replace(' ', '#')},1",
            "no path joins S and G in this maze",
        ),
        (f"x,{QUESTION},{ANSWER}", "3 columns instead of 4"),
    ],
)
def test_an_illegal_row_is_refused_by_number_in_one_line(tmp_path, row, message):
    write(tmp_path / "train.csv", *BUNDLED[1:4], row, ROW)
    write(tmp_path / "test.csv", ROW)
    with pytest.raises(ValueError) as error:
        load_puzzles("maze", "hard", "test", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    text = str(error.value)
    assert f"train.csv row 4: {message}" in text
    assert "\n" not in text
    assert not list((tmp_path / "cache").rglob("*.arrow"))


@pytest.mark.parametrize("content", [b"", f"{HEADER}\n".encode(), b"a,b\n#,#\n", b"question,answer\n#,#\n"])
def test_a_file_that_is_no_table_of_mazes_is_refused(tmp_path, content):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"train\.csv:? (Empty CSV file|.*no puzzles|.*no column 'question'|row 1: .* 1 char)"
    ):
        read_csv(tmp_path / "train.csv")


@pytest.mark.parametrize("keep", [0.0001, 0.5, 0.9999])
def test_a_truncated_gzip_file_is_refused(tmp_path, keep):
    whole = (maze.BUNDLED_FOLDER / "train.csv.gz").read_bytes()
    (tmp_path / "train.csv.gz").write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match=r"train\.csv\.gz: "):
        read_csv(tmp_path / "train.csv.gz")


# Making mazes


def test_generated_mazes_are_long_different_and_reproducible():
    first, again, longer, other = generate(30, 9, 5), generate(30, 9, 5), generate(40, 9, 5), generate(30, 9, 6)
    for a, b, c, d in zip(first, again, longer, other, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c[:30])
        assert not np.array_equal(a, d)
    input_ids, labels = map(torch.from_numpy, longer)
    assert is_solved_maze(input_ids, labels).all()
    assert len(input_ids.unique(dim=0)) == 40
    assert int(((labels == PATH).sum(1) + 1).min()) > longer_than(9)


def test_the_published_length_and_walls_at_30x30():
    assert longer_than(30) == 110
    input_ids, labels = generate(12, 30, 0)
    assert ((labels == PATH).sum(1) + 1 > 110).all()
    assert is_solved_maze(torch.from_numpy(input_ids), torch.from_numpy(labels)).all()
    assert 0.3 < (input_ids == WALL).mean() < 0.42  # above 41 % walls, random mazes fall apart


def test_mini_mazes_have_the_format_of_the_table():
    train, test = (load_puzzles("maze", "mini-9x9", split) for split in ("train", "test"))
    described = TASKS["maze"].formats["mini-9x9"]
    assert len(train) == len(test) == 1000
    assert len(torch.cat([train.input_ids, test.input_ids]).unique(dim=0)) == 2000
    assert train.labels.unique().tolist() == described.answer_tokens
    assert described.processor["vocabulary"] == ["<pad>", "#", " ", "S", "G", "o"]
    assert train.input_ids.shape[1] == described.processor["height"] * described.processor["width"]


# Scores


class FixedAnswers(torch.nn.Module):
    """A stand-in for a model that answers what it is given."""

    def __init__(self, answers: torch.Tensor):
        super().__init__()
        self.answers, self.config, self.halt_head = answers, TrmConfig(), torch.nn.Identity()

    plan_solving = TrmForPuzzleSolving.plan_solving

    def solve_dataset(self, batches, **arguments):
        for input_ids, _ in batches:
            rows, self.answers = self.answers[: len(input_ids)], self.answers[len(input_ids) :]
            once = torch.ones(len(rows), dtype=torch.long)
            yield TrmSolution(
                answers=rows.long(), halt_logits=once.float(), steps=once, total_steps=once, attempts=once
            )


def test_exact_and_optimal_are_reported_side_by_side():
    puzzles = load_puzzles("maze", "mini-9x9", "test", max_examples=100)
    answers = puzzles.labels.clone()
    for row in range(50):  # another shortest path, where there is one
        transposed = puzzles.input_ids[row].view(9, 9).T.flatten().numpy()
        answers[row] = torch.from_numpy(solve(transposed)).view(9, 9).T.flatten()
    answers[90:] = puzzles.input_ids[90:]
    same = (answers == puzzles.labels).all(1).sum().item()
    assert 40 < same < 90
    scores = evaluate(FixedAnswers(answers), puzzles, batch_size=30, accelerator=Accelerator(), show_progress=False)
    assert scores["exact_accuracy"] == pytest.approx(same / 100)
    assert scores["optimal_accuracy"] == pytest.approx(0.9)
    header, row = report(scores).splitlines()
    assert header.split()[-1] == "optimal"
    assert row.split()[-1] == "90.0%"


SMALL = "--hidden_size 32 --num_attention_heads 2 --intermediate_size 64 --latent_cycles 1 --max_supervision_steps 2"
SHORT = "--dataset_config hard-sample --num_test_puzzles 2 --batch_size 2 --max_steps 2 --eval_steps 2 --compile none"


def test_the_fast_recipe_trains_a_small_model(tmp_path):
    """Rows and columns of the maze as positions, and the gradient through all cycles, reach the saved model."""
    recipe = ["--config", str(ROOT / "recipes" / "maze_fast.yaml"), "--output_dir", str(tmp_path)]
    train.main([*recipe, *SMALL.split(), *SHORT.split()])
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["position_embedding_type"], config["grid_width"]) == ("rope_2d", 30)
    assert config["gradient_cycles"] == config["deep_cycles"] == 3
    assert config["answer_token_ids"] == TASKS["maze"].formats["hard-sample"].answer_tokens
    assert (config["num_register_tokens"] + config["seq_len"]) % 8 == 0
    assert math.isfinite(json.loads((tmp_path / "train_log.jsonl").read_text().splitlines()[0])["answer_loss"])


def test_the_smoke_recipe_trains_and_evaluates_five_mazes(tmp_path):
    train.main(["--config", str(ROOT / "recipes" / "maze_smoke.yaml"), "--output_dir", str(tmp_path)])
    (results,) = json.loads((tmp_path / "results.json").read_text())
    assert results["task"] == "maze"
    assert results["num_examples"] == 5
    assert {"exact_accuracy", "optimal_accuracy"} <= results.keys()
    assert json.loads((tmp_path / "processor_config.json").read_text())["vocabulary"][2] == " "
