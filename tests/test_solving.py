# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Solving: the queue, the attempts and the views change the cost of an answer, never what it is."""

import shutil
from copy import deepcopy
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator, cpu_offload, disk_offload
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.utils import counters
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from modeling_trm import TrmConfig, TrmForPuzzleSolving, TrmSolution
from modeling_trm.randomness_trm import fingerprint, random_bits, state_normals
from modeling_trm.solving_trm import READ_AHEAD, Attempt, Queue, choose
from modeling_trm.symmetries_trm import random_dihedral_symmetry, random_sudoku_symmetry
from training.devices import compile_network

BOX_SHAPE, CELLS, TOKENS = (2, 3), 36, 8
INFINITY = float("inf")


def symmetry_of_view(seed: int, view: torch.Tensor, key: torch.Tensor):
    return random_sudoku_symmetry(seed, view, key, BOX_SHAPE)


@cache
def model(num_puzzles: int = 1) -> TrmForPuzzleSolving:
    """Untrained, in float64, with a halting head that is of two minds: about every other row halts at each step."""
    config = TrmConfig(
        vocab_size=TOKENS,
        seq_len=CELLS,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        deep_cycles=1,
        latent_cycles=2,
        max_supervision_steps=6,
        num_puzzles=num_puzzles,
        num_puzzle_tokens=1,
    )
    solver = TrmForPuzzleSolving(config).double().eval()
    # Not from torch's generator: its versions draw other weights, and with some all rows halt at the same steps.
    for number, (name, weight) in enumerate(solver.state_dict().items()):
        normals = state_normals(torch.tensor([100 + number]), weight.numel()).view(weight.shape).double()
        is_scaled = weight.ndim > 1 and "puzzle_embeddings" not in name and "halt_head" not in name
        weight.copy_(normals * weight.shape[-1] ** -0.5 if is_scaled else normals)
    solver.halt_head.bias.data.zero_()
    ids = torch.zeros(64, dtype=torch.long)
    middle = solver.solve(puzzles(64), ids, halt_threshold=INFINITY, seed=0).halt_logits.median()
    solver.halt_head.bias.data -= middle
    return solver


@cache
def restless(num_puzzles: int = 1) -> TrmForPuzzleSolving:
    """The same, but each attempt starts from random states of its own."""
    solver = deepcopy(model(num_puzzles))
    solver.config.random_initial_states = True
    return solver


def puzzles(count: int) -> torch.Tensor:
    return torch.randint(1, TOKENS, (count, CELLS), generator=torch.Generator().manual_seed(2))


def looks_right(input_ids: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """A made-up rule that an untrained model's answers meet now and then, and that depends on the puzzle."""
    return (answers.sum(1) + input_ids.sum(1)) % 5 == 0


def joined(solutions: list[TrmSolution]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([solution[name] for solution in solutions]) for name in solutions[0]}


def padded(solution: TrmSolution) -> TrmSolution:
    """With traces of six steps, the most there may be: a row that is done repeats its final answer."""
    for name in ("step_answers", "step_halt_logits") if "step_answers" in solution else ():
        trace = solution[name]
        solution[name] = torch.cat([trace, trace[:, -1:].repeat_interleave(6 - trace.shape[1], 1)], 1)
    return solution


def check_traces(solution: TrmSolution) -> None:
    """They are of the attempts that were chosen: they end with its answer, at its step, and stay there."""
    beyond = torch.arange(solution.step_answers.shape[1]) >= solution.steps[:, None] - 1
    answers = solution.answers[:, None].expand_as(solution.step_answers)
    assert torch.equal(solution.step_answers[beyond], answers[beyond])
    logits = solution.halt_logits[:, None].expand_as(beyond)
    assert torch.equal(solution.step_halt_logits[beyond], logits[beyond])


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, other[name], rtol=0, atol=1e-6)
        else:
            assert torch.equal(tensor, other[name]), name


PLANS = st.fixed_dictionaries(
    {
        "attempts": st.sampled_from([1, 2, 7, 17]),
        "noise_std": st.sampled_from([0.0, 0.3]),
        "selection": st.sampled_from(["best", "vote", "residual"]),
        "verify": st.sampled_from([None, looks_right]),
        "min_steps": st.sampled_from([1, 3]),
        "seed": st.integers(0, 2**31),
        "return_steps": st.booleans(),
    }
)


@settings(max_examples=25)
@given(
    PLANS,
    st.booleans(),
    st.booleans(),
    st.integers(1, 40),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_an_answer_does_not_depend_on_its_batch(plan, random_states, has_symmetries, batch_size, sizes, random):
    if has_symmetries or not (random_states or plan["noise_std"]):
        plan["random_symmetry"] = symmetry_of_view
    solver = restless(3) if random_states else model(3)
    input_ids = puzzles(sum(sizes))
    puzzle_ids = torch.arange(len(input_ids)) % 3
    together = solver.solve(input_ids, puzzle_ids, **plan)

    order = list(range(len(input_ids)))
    random.shuffle(order)
    stream = zip(input_ids[order].split(sizes), puzzle_ids[order].split(sizes), strict=True)
    solutions = list(solver.solve_dataset(stream, batch_size=batch_size, **plan))
    assert [len(solution.answers) for solution in solutions] == sizes
    found = joined([padded(solution) for solution in solutions])
    assert_same(found, dict(padded(together).select(torch.tensor(order))))
    if plan["return_steps"]:
        check_traces(together)
    if plan["verify"]:
        assert torch.equal(together.verified, looks_right(input_ids, together.answers))
    assert torch.equal(together.halted, together.halt_logits > 0)


@pytest.mark.parametrize("min_steps", [1, 3])
def test_dropping_rows_changes_no_answer(min_steps):
    full = model().solve(puzzles(64), halt_threshold=INFINITY, return_steps=True)
    early = model().solve(puzzles(64), min_steps=min_steps, return_steps=True)
    last = early.steps - 1
    everyone = torch.arange(64)
    assert torch.equal(early.answers, full.step_answers[everyone, last])
    torch.testing.assert_close(early.halt_logits, full.step_halt_logits[everyone, last])
    may_halt = (full.step_halt_logits > 0) & (torch.arange(1, 7) >= min_steps)
    first = torch.where(may_halt.any(1), may_halt.int().argmax(1) + 1, 6)
    assert torch.equal(early.steps, first)
    assert torch.equal(early.halted, early.halt_logits > 0)
    assert len(early.steps.unique()) > 2  # or this test would show little
    after = torch.arange(early.step_answers.shape[1]) >= early.steps[:, None]
    assert torch.equal(early.step_answers[after], early.answers[:, None].expand_as(early.step_answers)[after])
    before = ~after
    assert torch.equal(early.step_answers[before], full.step_answers[:, : after.shape[1]][before])


def test_only_puzzles_in_doubt_are_attempted_again():
    once = model().solve(puzzles(64), noise_std=0.3, seed=5)
    often = model().solve(puzzles(64), noise_std=0.3, seed=5, attempts=16)
    assert torch.equal(often.attempts[once.halted], torch.ones_like(often.attempts[once.halted]))
    assert torch.equal(often.answers[once.halted], once.answers[once.halted])
    assert set(often.attempts.tolist()) <= {1, 4, 16}
    assert (often.attempts[~often.halted] == 16).all()
    assert (often.attempts[~once.halted] > 1).all()
    assert (often.halt_logits >= once.halt_logits).all()
    assert (often.total_steps >= often.steps).all()
    assert torch.equal(once.total_steps, once.steps)


@given(st.integers(0, 2**31))
@settings(max_examples=5)
def test_more_attempts_never_lower_the_verified_score(seed):
    before = torch.zeros(48, dtype=torch.bool)
    for attempts in (1, 4, 16):
        solution = model().solve(
            puzzles(48), attempts=attempts, noise_std=0.5, verify=looks_right, seed=seed, max_steps=3
        )
        assert torch.equal(solution.verified, looks_right(puzzles(48), solution.answers))
        assert (solution.verified >= before).all()
        before = solution.verified
    assert before.sum() > 0


@pytest.mark.parametrize(
    "symmetry_of_view",
    [symmetry_of_view, partial(random_dihedral_symmetry, size=6, vocab_size=TOKENS)],
    ids=["sudoku", "maze"],
)
def test_views_are_solved_and_mapped_back(symmetry_of_view):
    key = fingerprint(puzzles(32), torch.zeros(32, dtype=torch.long))
    symmetry = symmetry_of_view(9, torch.ones(32, dtype=torch.long), key)
    plain = model().solve(puzzles(32), halt_threshold=INFINITY)
    turned = model().solve(symmetry(puzzles(32)), halt_threshold=INFINITY)
    both = model().solve(puzzles(32), halt_threshold=INFINITY, attempts=2, random_symmetry=symmetry_of_view, seed=9)
    prefer_turned = turned.halt_logits > plain.halt_logits
    back = symmetry.inverse()(turned.answers)
    assert (back != turned.answers).any(1)[prefer_turned].any()
    assert 0 < prefer_turned.sum() < 32
    assert torch.equal(both.answers, torch.where(prefer_turned[:, None], back, plain.answers))
    assert torch.equal(both.attempts, torch.full((32,), 2))


@pytest.mark.parametrize("source", ["symmetries", "noise", "random states"])
def test_attempts_need_one_thing_that_tells_them_apart(source):
    """Any one is enough, and then no two attempts at a puzzle end alike."""
    options = {"symmetries": {"random_symmetry": symmetry_of_view}, "noise": {"noise_std": 0.3}, "random states": {}}
    solver, logits = restless() if source == "random states" else model(), []

    def noted(input_ids, answers):
        logits.append(solver.seen)
        return torch.zeros(len(answers), dtype=torch.bool)

    head = solver.halt_head.register_forward_hook(lambda module, given, found: setattr(solver, "seen", found[:, 0]))
    with head:
        solution = solver.solve(puzzles(1), attempts=16, verify=noted, max_steps=1, seed=0, **options[source])
    assert solution.attempts.tolist() == [16]
    assert len(torch.cat(logits).unique()) == 16


def attempt(number: int, answer: int, halt_logit: float, accepted: bool = False) -> Attempt:
    return Attempt(None, number, answer=torch.tensor([answer]), halt_logit=halt_logit, accepted=accepted)


@pytest.mark.parametrize("selection", ["best", "vote"])
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([-2.0, 0.0, 1.0]), st.booleans()), min_size=1), st.data())
def test_the_choice_follows_the_rule_whatever_the_order(selection, drawn, data):
    attempts = [attempt(number, *facts) for number, facts in enumerate(drawn)]
    chosen = choose(data.draw(st.permutations(attempts)), selection)
    pool = [one for one in attempts if one.accepted] or attempts
    if selection == "vote":
        answers = [int(one.answer) for one in pool]
        most = max(answers.count(answer) for answer in answers)
        assert answers.count(int(chosen.answer)) == most
        pool = [one for one in pool if int(one.answer) == int(chosen.answer)]
    assert chosen is max(pool, key=lambda one: one.halt_logit)  # the first of them, by number


def test_a_tie_of_votes_goes_to_the_higher_mean_probability():
    """Not to the single highest logit, and not to the first."""
    tie = [(0, 3.0), (0, -9.0), (1, 2.0), (1, 2.0)]
    attempts = [attempt(number, *facts) for number, facts in enumerate(tie)]
    assert choose(attempts, "vote") is attempts[2]
    assert choose(attempts, "best") is attempts[0]


def test_the_residual_is_the_mean_relative_move_of_the_last_three_steps(monkeypatch):
    """Of four attempts, whose answer states grow by these shares, the third moved least then, and in no other step."""
    solver, forward, step = deepcopy(model()), model().model.forward, iter([0, 1, 2, 3] * 2)
    growth = torch.tensor([[9.0, 2, 2, 2], [0, 2, 2, 2.5], [9, 3, 0, 2.9], [0, 9, 9, 9]])  # [attempt, step]

    def grow(view, puzzle_ids, *states, **options):
        if not states:
            return tuple(torch.ones_like(state) for state in forward(view, puzzle_ids, **options)[:2])
        shares = growth[:1] if len(view) == 1 else growth[1:]
        return states[0] * (1 + shares[:, next(step)].view(-1, 1, 1)), states[1]

    monkeypatch.setattr(solver.model, "forward", grow)
    plan = {"attempts": 4, "random_symmetry": symmetry_of_view, "halt_threshold": INFINITY, "max_steps": 4}
    found = solver.solve(puzzles(1), selection="residual", **plan).halt_logits.item()
    length = (1 + growth[2]).prod().item()
    assert found == pytest.approx(solver.halt_head(torch.full((16,), length).double())[0].item())


def test_both_states_have_noise_of_their_own_at_every_step(monkeypatch):
    """Standard normals keyed by (seed, attempt and step, puzzle) times the deviation, on both states, nothing else."""
    solver, before, after = deepcopy(model(3)), [], []
    forward = solver.model.forward

    def identity(view, puzzle_ids, *states, **options):
        if not states:
            states = forward(view, puzzle_ids, **options)[:2]
            before.append(states)
        else:
            after.append(states)
        return states

    monkeypatch.setattr(solver.model, "forward", identity)
    options = {"noise_std": 0.25, "seed": 11, "attempts": 2, "halt_threshold": INFINITY, "max_steps": 2}
    solver.solve(puzzles(1), torch.tensor([2]), **options)
    key, (first, second) = fingerprint(puzzles(1), torch.tensor([2])), before
    expected = []
    for number, states in enumerate((first, second)):
        for step in (1, 2):
            keys = random_bits(11, number * 2**32 + step, key, 2, purpose="noise").unbind(1)
            noises = [state_normals(key, states[0][0].numel()) for key in keys]
            states = [state + 0.25 * noise.view(state.shape) for state, noise in zip(states, noises, strict=True)]
            expected.append(states)
    assert len(after) == 4
    for found, wanted in zip(after, expected, strict=True):
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_trace_is_that_of_the_attempt_that_was_chosen():
    """Where that was the first attempt, it is the trace of the first attempt alone; elsewhere it is another."""
    for solver, noise_std in ((model(), 0.3), (restless(), 0.0)):
        options = {"attempts": 5, "noise_std": noise_std, "seed": 3, "halt_threshold": INFINITY, "max_steps": 3}
        solution = solver.solve(puzzles(24), return_steps=True, batch_size=7, **options)
        check_traces(solution)
        alone = solver.solve(puzzles(24), return_steps=True, **(options | {"attempts": 1}))
        others = (solution.step_halt_logits - alone.step_halt_logits).abs() > 1e-6
        is_first = (solution.halt_logits - alone.halt_logits).abs() < 1e-6
        assert 0 < is_first.sum() < 24
        assert torch.equal(others.all(1), ~is_first)  # from the first step on
        assert torch.equal(solution.step_answers[is_first], alone.step_answers[is_first])


@pytest.mark.parametrize("threshold", [-INFINITY, INFINITY])
def test_halted_is_the_model_s_word_whatever_the_verifier_says(threshold):
    solution = model().solve(puzzles(64), verify=looks_right, halt_threshold=threshold)
    assert 0 < solution.verified.sum() < 64
    assert solution.halted.all() if threshold < 0 else not solution.halted.any()


def test_seeds_and_generators():
    def answers(**options):
        return model().solve(puzzles(16), noise_std=0.5, halt_threshold=INFINITY, **options).halt_logits

    assert torch.equal(answers(seed=1), answers(seed=1))
    assert not torch.equal(answers(seed=1), answers(seed=2))
    first, second = (torch.Generator().manual_seed(4) for _ in range(2))
    assert torch.equal(answers(generator=first), answers(generator=second))
    assert not torch.equal(answers(generator=first), answers(seed=4))


def test_equal_puzzles_have_equal_names_and_others_do_not():
    names = fingerprint(torch.cat([puzzles(500), puzzles(500).roll(1, dims=1), puzzles(500)]))
    assert torch.equal(names[:500], names[1000:])
    assert len(names.unique()) == 1000
    ids = torch.arange(1000)
    assert len(fingerprint(puzzles(1).expand(1000, -1), ids).unique()) == 1000


def test_a_stream_is_read_as_it_is_solved():
    taken = 0

    def stream():
        nonlocal taken
        for _ in range(200):
            taken += 1
            yield puzzles(5)

    solutions = model().solve_dataset(stream(), batch_size=4, attempts=16, noise_std=0.3, seed=0)
    assert taken == 0
    for handed_out, solution in enumerate(solutions, start=1):
        assert len(solution.answers) == 5
        assert (taken - handed_out) * 5 <= READ_AHEAD * 4 + 5
    assert handed_out == 200


def never_solves(stubborn: torch.Tensor):
    """A verifier that accepts every answer but those to one puzzle."""
    return lambda input_ids, answers: (input_ids != stubborn).any(1)


def test_a_stubborn_puzzle_does_not_starve_the_batch(monkeypatch):
    """The others go on, as long as there are any to read."""
    rows: list[int] = []
    step = Queue.step
    monkeypatch.setattr(Queue, "step", lambda queue: (rows.append(len(queue.working)), step(queue)))
    every, batch_size, ended = puzzles(150), 4, []

    def stream():
        yield from every.split(1)
        ended.append(len(rows))

    plan = {"verify": never_solves(every[0]), "max_steps": 40, "batch_size": batch_size}
    solutions = list(model().solve_dataset(stream(), **plan))
    assert solutions[0].total_steps.item() == 40
    assert rows[: ended[0]] == [batch_size] * ended[0] and ended[0] > 30


def test_a_stubborn_puzzle_at_the_head_does_not_fill_the_memory():
    """What waits behind it is bounded, however long the stream."""
    every, batch_size, taken = puzzles(1000), 2, []

    def stream():
        for puzzle in every.split(1):
            taken.append(puzzle)
            yield puzzle

    plan = {"verify": never_solves(every[0]), "max_steps": 500, "batch_size": batch_size}
    first = next(model().solve_dataset(stream(), **plan))
    assert first.steps.item() == 500
    assert len(taken) == READ_AHEAD * batch_size


def test_more_steps_than_trained_for():
    assert model().solve(puzzles(2), max_steps=50, halt_threshold=INFINITY).steps.tolist() == [50, 50]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "attempts=0 must be at least 1"),
        ({"max_steps": 0}, "max_steps=0 must be at least 1"),
        ({"min_steps": 7}, "min_steps=7 must not be above max_steps=6"),
        ({"noise_std": -0.1}, "noise_std=-0.1 must be"),
        ({"noise_std": float("nan")}, "noise_std=nan must be"),
        ({"noise_std": INFINITY}, "noise_std=inf must be"),
        ({"halt_threshold": float("nan")}, "halt_threshold=nan must be"),
        ({"selection": "mean"}, "selection='mean' must be 'best', 'vote' or 'residual'"),
        ({"attempts": 2}, "attempts=2 would repeat themselves: there are no symmetries and no random initial states"),
        ({"attempts": 9, "random_symmetry": symmetry_of_view, "num_symmetries": 8}, "there are only 8 symmetries"),
        ({"num_symmetries": "8"}, "num_symmetries='8' must be an integer"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"batch_size": "4"}, "batch_size='4' must be an integer"),
        ({"attempts": 2.5}, "attempts=2.5 must be an integer"),
        ({"max_steps": 2.5}, "max_steps=2.5 must be an integer"),
        ({"seed": 1.5}, "seed=1.5 must be an integer"),
        ({"noise_std": "0.1"}, "noise_std='0.1' must be a number"),
        ({"halt_threshold": "inf"}, "halt_threshold='inf' must be a number"),
        ({"verify": True}, "verify=True must be a function"),
        ({"random_symmetry": 4}, "random_symmetry=4 must be a function"),
        ({"input_ids": puzzles(2)[:, 1:]}, r"must be \[batch, 36\] .* not \[2, 35\]"),
        ({"input_ids": puzzles(2)[:0]}, "a batch of at least 1"),
        ({"input_ids": torch.full((2, 36), 8)}, "tokens 8 to 8, but this model knows 0 to 7"),
        ({"puzzle_ids": torch.tensor([0, 3])}, "ids from 0 to 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message) as error:
        model().solve(**({"input_ids": puzzles(2)} | options))
    assert "\n" not in str(error.value)


def test_an_option_that_does_not_exist_is_named():
    with pytest.raises(TypeError, match="rollouts"):
        model().solve(puzzles(2), rollouts=4)
    with pytest.raises(TypeError, match="solve has no option rollouts"):
        model().solve_dataset([puzzles(2)], rollouts=4)
    with pytest.raises(TypeError, match="solve has no option random_states"):
        model().solve_dataset([puzzles(2)], random_states=True)


def test_numbers_of_numpy_are_numbers():
    options = {"max_steps": np.int64(3), "noise_std": np.float32(0.5), "halt_threshold": np.float64(INFINITY)}
    assert model().solve(puzzles(2), **options, seed=np.int32(1)).steps.tolist() == [3, 3]


@pytest.mark.parametrize("broken", ["halt_head", "lm_head"])
def test_broken_weights_are_reported(broken):
    solver = TrmForPuzzleSolving(model().config)
    solver.load_state_dict(model().state_dict())
    getattr(solver, broken).weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite: the model's weights hold NaN"):
        solver.solve(puzzles(2))


def test_too_much_noise_is_not_blamed_on_the_weights():
    with pytest.raises(ValueError, match=r"not finite: noise_std=1e\+300 is too much"):
        model().solve(puzzles(2), noise_std=1e300)


def test_one_compilation_serves_all_batch_sizes(monkeypatch):
    solver, plan = deepcopy(model()), {"seed": 0, "max_steps": 9}
    expected = joined(list(solver.solve_dataset(puzzles(45).split(7), batch_size=11, **plan)))
    torch.compiler.reset()  # other tests compile the same network
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(solver.model.network, "compile", partial(solver.model.network.compile, backend="aot_eager"))
    compile_network(solver, Accelerator(cpu=True), batch_sizes_vary=True)
    counters.clear()
    assert_same(joined(list(solver.solve_dataset(puzzles(45).split(7), batch_size=11, **plan))), expected)
    # the injection is a view at first and a whole tensor later, and a batch of one puzzle has code of its own
    assert 1 <= counters["stats"]["unique_graphs"] <= 4


def test_buckets_change_no_answer_and_there_are_few(monkeypatch):
    """On a GPU rows are filled up to a power of two, or to the batch, so that compiled shapes can be reused."""
    solver, plan = model(), {"seed": 0, "attempts": 4, "noise_std": 0.3, "max_steps": 9}
    expected = joined(list(solver.solve_dataset(puzzles(45).split(7), batch_size=11, **plan)))
    shapes, forward = set(), solver.model.forward

    def counted(view, puzzle_ids, *states, **options):
        if states:
            shapes.add(len(view))
        return forward(view, puzzle_ids, *states, **options)

    monkeypatch.setattr(Queue, "has_buckets", True)
    monkeypatch.setattr(solver.model, "forward", counted)
    assert_same(joined(list(solver.solve_dataset(puzzles(45).split(7), batch_size=11, **plan))), expected)
    assert shapes <= {1, 2, 4, 8, 11} and 11 in shapes


def test_a_full_bucket_is_not_copied(monkeypatch):
    queue = Queue(model(), model().plan_solving(batch_size=11))
    monkeypatch.setattr(Queue, "has_buckets", True)
    monkeypatch.setattr(model().model, "forward", lambda *states: states)
    for rows, copied in ((3, True), (4, False), (11, False)):
        states = torch.zeros(rows, 2, 2)
        same, _ = queue.recur(states, states)
        assert torch.equal(same, states) and (same.data_ptr() != states.data_ptr()) == copied


@pytest.mark.parametrize("place", ["cpu", "disk", "disk with buffers"])
def test_offloaded_weights_solve_the_same(place, tmp_path):
    """They are loaded by hooks of the modules: what goes past a module's call finds no weights."""
    plan = {"attempts": 4, "random_symmetry": symmetry_of_view, "seed": 0}
    for original in (model(), restless()):
        solver = deepcopy(original)
        if place == "cpu":
            cpu_offload(solver, torch.device("cpu"))
        else:
            disk_offload(solver, tmp_path, torch.device("cpu"), offload_buffers="buffers" in place)
        assert all(weight.is_meta for weight in solver.parameters())
        assert_same(dict(solver.solve(puzzles(20), **plan)), dict(original.solve(puzzles(20), **plan)))


class HostWaits(TorchDispatchMode):
    """Counts what makes the host wait for a device: numbers that are read, and masks, whose length must be known."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masks = func is torch.ops.aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        reads = func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        self.count += masks or reads
        return func(*args, **(kwargs or {}))


class HostCopies(TorchFunctionMode):
    """Counts tensors that are copied to the host, which no dispatcher sees where they lie there anyway."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [{}, {"verify": looks_right}, {"return_steps": True}, {"selection": "vote"}])
def test_the_host_waits_at_most_three_times_in_a_step(options, monkeypatch):
    """Also where attempts leave and others begin, at views of their own."""
    plan = {"attempts": 16, "noise_std": 0.3, "random_symmetry": symmetry_of_view, "seed": 0, "batch_size": 9}
    totals, step = [], Queue.step
    with HostWaits() as waits, HostCopies() as copies:
        monkeypatch.setattr(Queue, "step", lambda queue: (step(queue), totals.append(waits.count + copies.count)))
        model().solve(puzzles(40), **plan, **options)
    steps = [later - earlier for earlier, later in pairwise(totals)]  # each with the attempts that began before it
    assert len(steps) > 10
    assert min(steps) >= 1 and max(steps) <= 3
