# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Inference for TRM: supervision steps until the model believes its answer, and more attempts where it does not.

An attempt that is done leaves the batch and the next puzzle of the queue takes its place, so easy puzzles cost little
and the batch stays full. A puzzle that was not solved with confidence is attempted again, 1 -> 4 -> 16 -> ... times
in all, so the cost follows the difficulty. The first attempt is at the puzzle itself, every other at a symmetric view
of it, from random initial states or with noise on the states (arXiv 2605.19943), as far as task and model have them.
Views, states and noise are keyed by (seed, puzzle, attempt, step), the puzzle by its content: an answer does not
depend on what else was in the batch, but for rounding.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import chain
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from .randomness_trm import fingerprint, random_bits, state_normals

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ESCALATION = 4  # each round of attempts brings their number to so many times that of the round before
READ_AHEAD = 64  # batches' worth of puzzles held at most, most of them done: what bounds the memory of a stream


class NotFiniteError(ValueError):
    """The logits are not finite: the weights are broken, or there is far too much noise."""


@dataclass
class TrmSolution(ModelOutput):
    """Result of `solve`.

    Attributes:
        answers: tokens of the final answer, int64, [batch, seq].
        halt_logits: halting logit of the final answer, float32, [batch]; above the threshold where `halted`.
        steps: supervision steps of the attempt that was chosen, int64, [batch].
        halted: puzzles whose chosen attempt believes its answer, bool, [batch]; the others ran out of steps.
        attempts: attempts made, int64, [batch].
        total_steps: supervision steps of all attempts, int64, [batch].
        verified: answers that passed the verifier, bool, [batch] (with `verify`).
        step_answers: the answer after each step, int64, [batch, max(steps), seq] (with `return_steps`); a row that is
            done repeats its final answer.
        step_halt_logits: the halting logit after each step, float32, [batch, max(steps)] (with `return_steps`).
    """

    answers: Tensor | None = None
    halt_logits: Tensor | None = None
    steps: Tensor | None = None
    halted: Tensor | None = None
    attempts: Tensor | None = None
    total_steps: Tensor | None = None
    verified: Tensor | None = None
    step_answers: Tensor | None = None
    step_halt_logits: Tensor | None = None

    def select(self, rows: Tensor) -> TrmSolution:
        """The same fields for some rows, by index [rows]."""
        return TrmSolution(**{name: tensor[rows] for name, tensor in self.items()})


class SolvingMixin:
    """`solve` for a model whose `model` is one deep recursion, with the two heads on its answer state."""

    config: Any

    def solve(
        self,
        input_ids: Tensor,
        puzzle_ids: Tensor | None = None,
        max_steps: int | None = None,
        halt_threshold: float | None = None,
        attempts: int = 1,
        noise_std: float = 0.0,
        return_steps: bool = False,
        generator: torch.Generator | None = None,
        *,
        batch_size: int = 256,
        min_steps: int = 1,
        selection: Literal["best", "vote", "residual"] = "best",
        random_symmetry: Callable[..., Any] | None = None,
        num_symmetries: int | None = None,
        verify: Callable[[Tensor, Tensor], Tensor] | None = None,
        seed: int | None = None,
    ) -> TrmSolution:
        """Solves puzzles: supervision steps until the halting logit passes the threshold or the steps run out.

        Args:
            input_ids: integer tokens, [batch, seq_len].
            puzzle_ids: integer ids, [batch]; needed by a model of several puzzles.
            max_steps: the most supervision steps of an attempt; `config.max_solve_steps` when `None`. More than the
                model was trained for often helps.
            halt_threshold: an attempt halts when its halting logit is above this; `config.halt_threshold` when
                `None`, `float("inf")` for always `max_steps` steps (the paper's evaluation).
            attempts: the most attempts per puzzle. They come in rounds, 1, 4, 16, ... in all, until one is confident
                (or verified). The first is at the puzzle itself, the others are at symmetric views of it, if there is
                `random_symmetry`; all differ in their random initial states, if the model has them, and noise.
            noise_std: deviation of the Gaussian noise added to both states before each step.
            return_steps: also return the answer and halting logit after every step.
            generator: where the seed of all randomness is drawn from; torch's default when `None`.
            batch_size: the most rows worked on at a time.
            min_steps: an attempt does at least so many steps.
            selection: `"best"`, the attempt with the highest halting logit; `"vote"`, the answer that most attempts
                agree on (ties go to the higher mean halting probability); `"residual"`, the attempt whose answer state
                moved least, relative to its length, in its last 3 steps (arXiv 2605.21488).
            random_symmetry: (seed, attempt [batch], fingerprint [batch]) -> `Symmetry`, pure: the symmetries of the
                task, as a processor's `random_symmetry`.
            num_symmetries: how many different ones there are, as a processor's `num_symmetries`; `None` for any
                number.
            verify: (input_ids, answers) [batch, seq] -> bool [batch], the task's own rule. It then decides instead of
                the halting logit, after every step, what is done, attempted again, and preferred.
            seed: of noise, random initial states and views; drawn from `generator` when `None`.

        Returns:
            [`TrmSolution`]

        Raises:
            ValueError: wrong shape or type, tokens or puzzle ids outside the model's, an argument out of range, more
                attempts than there are symmetries where nothing else tells them apart, or logits that are not finite
                (broken weights, or far too much noise).
        """
        plan = self.plan_solving(
            max_steps=max_steps,
            halt_threshold=halt_threshold,
            attempts=attempts,
            noise_std=noise_std,
            return_steps=return_steps,
            generator=generator,
            batch_size=batch_size,
            min_steps=min_steps,
            selection=selection,
            random_symmetry=random_symmetry,
            num_symmetries=num_symmetries,
            verify=verify,
            seed=seed,
        )
        return next(Queue(self, plan).solve([(input_ids, puzzle_ids)]))

    def solve_dataset(
        self, batches: Iterable[Tensor | tuple[Tensor, Tensor | None]], **options: Any
    ) -> Iterator[TrmSolution]:
        """Solves a stream of any length in bounded memory, the hardware always full.

        Args:
            batches: `input_ids` [batch, seq_len], or pairs of them and `puzzle_ids` [batch]; their sizes may differ.
            options: as of `solve`; `batch_size` rows are worked on at a time, whatever the sizes of `batches`.

        Yields:
            A [`TrmSolution`] for each of `batches`, in their order.

        Raises:
            ValueError: as `solve`; before the first step for the options, when a batch is read for its puzzles.
        """
        pairs = (batch if isinstance(batch, tuple) and len(batch) == 2 else (batch, None) for batch in batches)
        return Queue(self, self.plan_solving(**options)).solve(pairs)

    def plan_solving(
        self,
        *,
        max_steps: int | None = None,
        halt_threshold: float | None = None,
        generator: torch.Generator | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Plan:
        """The options of `solve`, checked, with the model's defaults filled in."""
        unknown = options.keys() - ({option.name for option in fields(Plan)} - {"random_states"})
        if unknown:
            raise TypeError(f"solve has no option {', '.join(sorted(unknown))}")
        if seed is None:
            device = None if generator is None else generator.device
            seed = int(torch.randint(2**31, (), generator=generator, device=device))
        return Plan(
            max_steps=self.config.max_solve_steps if max_steps is None else max_steps,
            halt_threshold=self.config.halt_threshold if halt_threshold is None else halt_threshold,
            seed=seed,
            random_states=self.config.random_initial_states,
            **options,
        )


COUNTS = ("batch_size", "max_steps", "min_steps", "attempts")
MOST = 2**24  # of each: beyond reason, and refused before anything is allocated
OPTION_KINDS: list[tuple[tuple[str, ...], Any, str]] = [
    ((*COUNTS, "seed"), Integral, "an integer"),
    (("noise_std", "halt_threshold"), Real, "a number"),
    (("num_symmetries",), (Integral, NoneType), "an integer"),
    (("random_symmetry", "verify"), (Callable, NoneType), "a function"),
]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The options of `solve`; see there."""

    max_steps: int
    halt_threshold: float
    seed: int
    random_states: bool
    batch_size: int = 256
    min_steps: int = 1
    attempts: int = 1
    noise_std: float = 0.0
    selection: Literal["best", "vote", "residual"] = "best"
    random_symmetry: Callable[..., Any] | None = None
    num_symmetries: int | None = None
    verify: Callable[[Tensor, Tensor], Tensor] | None = None
    return_steps: bool = False

    def __post_init__(self) -> None:
        for names, kinds, wanted in OPTION_KINDS:
            for name in names:
                if not isinstance(value := getattr(self, name), kinds):
                    raise ValueError(f"{name}={value!r} must be {wanted}")
        for name in COUNTS:
            if not 1 <= getattr(self, name) <= MOST:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1 and at most {MOST:,}")
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps={self.min_steps} must not be above max_steps={self.max_steps}")
        if not 0 <= self.noise_std < float("inf"):
            raise ValueError(f"noise_std={self.noise_std} must be a number of at least 0")
        if self.halt_threshold != self.halt_threshold:
            raise ValueError(f"halt_threshold={self.halt_threshold} must be a number")
        if self.selection not in ("best", "vote", "residual"):
            raise ValueError(f"selection={self.selection!r} must be 'best', 'vote' or 'residual'")
        if self.noise_std == 0 and not self.random_states and self.attempts > self.num_views:
            symmetries = "no symmetries" if self.random_symmetry is None else f"only {self.num_views} symmetries"
            raise ValueError(
                f"attempts={self.attempts} would repeat themselves: there are {symmetries} and no random initial "
                "states; add noise, as in noise_std=0.3"
            )

    @property
    def num_views(self) -> float:
        """Different views of a puzzle, itself among them."""
        if self.random_symmetry is None:
            return 1
        return float("inf") if self.num_symmetries is None else self.num_symmetries


@dataclass
class Puzzle:
    """One puzzle of the queue; `attempts` are those that are done, `running` counts the others that have begun."""

    input_ids: Tensor  # [seq]
    puzzle_id: Tensor  # []
    key: Tensor  # [], its fingerprint
    attempts: list[Attempt] = field(default_factory=list)
    running: int = 0

    def begin_attempts(self, plan: Plan) -> list[Attempt]:
        """The next round of attempts; none if the puzzle is done with."""
        made = len(self.attempts)
        if any(attempt.accepted for attempt in self.attempts):
            return []
        attempts = [Attempt(self, number) for number in range(made, min(max(1, ESCALATION * made), plan.attempts))]
        self.running = len(attempts)
        return attempts

    def end(self, attempt: Attempt, plan: Plan) -> list[Attempt]:
        """Notes an attempt that is done; the next round, if it was the last of its own."""
        self.attempts.append(attempt)
        self.running -= 1
        return [] if self.running else self.begin_attempts(plan)


@dataclass
class Attempt:
    """One trajectory: the latest halting logit, and the answer when it is done."""

    puzzle: Puzzle
    number: int
    trace: list[tuple[Tensor, float]] = field(default_factory=list)
    answer: Tensor | None = None  # [seq], on the host
    halt_logit: float = 0.0
    steps: int = 0
    halted: bool = False
    accepted: bool = False  # verified, or halted where there is no verifier
    moves: deque[float] = field(default_factory=lambda: deque(maxlen=3))  # of the answer state, in the last steps

    def step(
        self, plan: Plan, halt_logit: float, is_finite: float, move: float, verified: float | None = None
    ) -> bool:
        """Notes what a supervision step came to; whether the attempt is done."""
        if not (is_finite and math.isfinite(halt_logit)):  # broken weights must not look like answers
            noise = f"noise_std={plan.noise_std} is too much, or " if plan.noise_std > 0 else ""
            weights = "the model's weights hold NaN, infinite or too large values"
            raise NotFiniteError(f"the logits are not finite: {noise}{weights}")
        self.steps, self.halt_logit, self.halted = self.steps + 1, halt_logit, halt_logit > plan.halt_threshold
        self.accepted = self.halted if verified is None else bool(verified)
        self.moves.append(move)
        return (self.accepted and self.steps >= plan.min_steps) or self.steps >= plan.max_steps


def choose(attempts: list[Attempt], selection: str) -> Attempt:
    """The attempt that counts: among the accepted ones, if any, the one that `selection` says.

    Attempts are taken in the order of their numbers, so that it does not matter which was done first.
    """
    pool = [attempt for attempt in attempts if attempt.accepted] or attempts
    pool = sorted(pool, key=lambda attempt: attempt.number)
    if selection == "residual":
        return min(pool, key=lambda attempt: sum(attempt.moves) / len(attempt.moves))
    if selection == "vote":
        votes: dict[tuple[int, ...], list[Attempt]] = {}
        for attempt in pool:
            votes.setdefault(tuple(attempt.answer.tolist()), []).append(attempt)

        def weight(group: list[Attempt]) -> tuple[int, float]:
            return len(group), torch.tensor([attempt.halt_logit for attempt in group]).sigmoid().mean().item()

        pool = max(votes.values(), key=weight)
    return max(pool, key=lambda attempt: attempt.halt_logit)


class Rows(NamedTuple):
    """The attempts being worked on, one per row of every tensor."""

    input_ids: Tensor  # [rows, seq]
    view: Tensor  # [rows, seq], the view of the puzzle that the model sees
    puzzle_ids: Tensor  # int64 [rows]
    key: Tensor  # int64 [rows]
    number: Tensor  # int64 [rows]
    steps: Tensor  # int64 [rows]
    answer_state: Tensor  # [rows, prefix + seq, hidden]
    latent_state: Tensor

    def select(self, rows: Tensor) -> Rows:
        return Rows(*(tensor[rows] for tensor in self))

    def join(self, other: Rows) -> Rows:
        return Rows(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


class Queue:
    """Puzzles waiting for a row of the batch, attempts that have one, and batches of the stream not yet handed out.

    What decides about a row is read from the device once per step; an answer is read when its attempt leaves.
    """

    def __init__(self, model: Any, plan: Plan):
        self.model, self.plan, self.batch_size = model, plan, plan.batch_size
        self.open: deque[list[Puzzle]] = deque()  # batches of the stream, oldest first
        self.waiting: deque[Attempt] = deque()
        self.working: list[Attempt] = []  # the attempts of `rows`
        self.rows: Rows | None = None
        tensors = chain(model.parameters(), model.buffers())  # those that are offloaded are on no device
        self.device = next((tensor.device for tensor in tensors if not tensor.is_meta), torch.device("cpu"))

    @torch.no_grad()
    def solve(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Iterator[TrmSolution]:
        """A solution for each of `batches`, in their order."""
        stream = iter(batches)
        while True:
            self.refill(stream)
            if not self.working:
                return
            self.step()
            while self.open and all(puzzle.running == 0 for puzzle in self.open[0]):
                yield self.solution(self.open.popleft())

    def refill(self, stream: Iterator[tuple[Tensor, Tensor | None]]) -> None:
        """Gives free rows to waiting attempts, and reads on where too few are waiting."""
        free = self.batch_size - len(self.working)
        while len(self.waiting) < free and sum(map(len, self.open)) < READ_AHEAD * self.batch_size:
            batch = next(stream, None)
            if batch is None:
                break
            self.read(*batch)
        fresh = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        if fresh:
            rows = self.first_rows(fresh)
            self.rows = rows if self.rows is None else self.rows.join(rows)
            self.working += fresh

    def read(self, input_ids: Tensor, puzzle_ids: Tensor | None) -> None:
        """Checks a batch of the stream and begins the first attempt at each of its puzzles."""
        check_puzzles(self.model.config, input_ids, puzzle_ids)
        input_ids = input_ids.to(self.device)
        if puzzle_ids is None:
            puzzle_ids = torch.zeros(len(input_ids), dtype=torch.long)
        puzzle_ids = puzzle_ids.to(self.device)
        columns = (input_ids, puzzle_ids, fingerprint(input_ids, puzzle_ids))
        puzzles = [Puzzle(*row) for row in zip(*(column.unbind() for column in columns), strict=True)]
        self.open.append(puzzles)
        for puzzle in puzzles:
            self.waiting += puzzle.begin_attempts(self.plan)

    def first_rows(self, attempts: list[Attempt]) -> Rows:
        """The rows of attempts that begin."""
        puzzles = [attempt.puzzle for attempt in attempts]
        input_ids, puzzle_ids, key = (
            torch.stack([getattr(puzzle, name) for puzzle in puzzles]) for name in ("input_ids", "puzzle_id", "key")
        )
        number = self.send([attempt.number for attempt in attempts])
        view = self.view(input_ids, key, number)
        noise_key = random_bits(self.plan.seed, number, key, 1, purpose="initial states")[:, 0]
        states = self.model.model(view, puzzle_ids, noise_key=noise_key, deep_cycles=0)[:2]
        return Rows(input_ids, view, puzzle_ids, key, number, torch.zeros_like(key), *states)

    def send(self, numbers: list[int]) -> Tensor:
        """Integers on the device, int64; the host does not wait for it."""
        on_cuda = self.device.type == "cuda"
        return torch.tensor(numbers, pin_memory=on_cuda).to(self.device, non_blocking=on_cuda)

    def view(self, tokens: Tensor, key: Tensor, number: Tensor, back: bool = False) -> Tensor:
        """Puzzles as their attempts pose them, or with `back` such answers as answers to the puzzles: [rows, seq]."""
        if self.plan.attempts == 1 or self.plan.random_symmetry is None:
            return tokens
        symmetry = self.plan.random_symmetry(self.plan.seed, number, key)
        symmetry = symmetry.inverse() if back else symmetry
        return torch.where((number > 0).unsqueeze(1), symmetry(tokens), tokens)  # the first is the puzzle itself

    def step(self) -> None:
        """One supervision step of every row; attempts that are done leave."""
        plan, rows = self.plan, self.rows
        steps, answer_state, latent_state = rows.steps + 1, rows.answer_state, rows.latent_state
        if plan.noise_std > 0:
            moment, size = rows.number * 2**32 + steps, answer_state[0].numel()
            keys = random_bits(plan.seed, moment, rows.key, 2, purpose="noise").unbind(1)
            answer_state, latent_state = (
                state + plan.noise_std * state_normals(key, size).view(state.shape).to(state.dtype)
                for state, key in zip((answer_state, latent_state), keys, strict=True)
            )
        before = answer_state
        answer_state, latent_state = self.recur(rows.view, rows.puzzle_ids, answer_state, latent_state)
        rows = rows._replace(steps=steps, answer_state=answer_state, latent_state=latent_state)
        logits = self.model.answer_logits(answer_state)
        halt_logits = self.model.halt_logits(answer_state)

        move = (answer_state - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
        columns = [halt_logits, logits.isfinite().flatten(1).all(1), move]
        if plan.verify or plan.return_steps:
            answers = self.view(logits.argmax(-1), rows.key, rows.number, back=True)
        if plan.verify:
            columns.append(plan.verify(rows.input_ids, answers))
        facts = torch.stack([column.to(halt_logits.dtype) for column in columns]).tolist()
        shown = answers.cpu() if plan.return_steps else None
        leaving: list[int] = []
        staying: list[int] = []
        for row, (attempt, *fact) in enumerate(zip(self.working, *facts, strict=True)):
            done = attempt.step(plan, *fact)
            (leaving if done else staying).append(row)
            if shown is not None:
                attempt.trace.append((shown[row], attempt.halt_logit))
        if leaving:
            left, stay = self.send(leaving + staying).split([len(leaving), len(staying)])
            if shown is not None:
                answers = shown[leaving]
            elif plan.verify:
                answers = answers[left].cpu()
            else:
                answers = self.view(logits[left].argmax(-1), rows.key[left], rows.number[left], back=True).cpu()
            attempts = [self.working[row] for row in leaving]
            for attempt, answer in zip(attempts, answers, strict=True):
                attempt.answer = answer
                self.waiting.extendleft(reversed(attempt.puzzle.end(attempt, plan)))
            self.working = [self.working[row] for row in staying]
            rows = rows.select(stay)
        self.rows = rows

    @property
    def has_buckets(self) -> bool:
        """Whether shapes may be compiled or captured in CUDA graphs, so that there should be few."""
        return self.device.type != "cpu"

    def recur(self, *columns: Tensor) -> list[Tensor]:
        """Both states after a deep recursion of rows of its inputs, in buckets of a power of two or a full batch."""
        count = len(columns[0])
        if self.has_buckets:
            room = min(1 << (count - 1).bit_length(), max(count, self.batch_size)) - count
            if room > 0:
                columns = tuple(torch.cat([column, column[:1].expand(room, *column.shape[1:])]) for column in columns)
        return [state[:count] for state in self.model.model(*columns)[:2]]

    def solution(self, puzzles: list[Puzzle]) -> TrmSolution:
        """The results of one batch of the stream."""
        chosen = [choose(puzzle.attempts, self.plan.selection) for puzzle in puzzles]
        solution = TrmSolution(
            answers=torch.stack([attempt.answer for attempt in chosen]),
            halt_logits=torch.tensor([attempt.halt_logit for attempt in chosen]),
            steps=torch.tensor([attempt.steps for attempt in chosen]),
            halted=torch.tensor([attempt.halted for attempt in chosen]),
            attempts=torch.tensor([len(puzzle.attempts) for puzzle in puzzles]),
            total_steps=torch.tensor([sum(attempt.steps for attempt in puzzle.attempts) for puzzle in puzzles]),
        )
        if self.plan.verify:
            solution.verified = torch.tensor([attempt.accepted for attempt in chosen])
        if self.plan.return_steps:
            longest = max(attempt.steps for attempt in chosen)
            traces = [attempt.trace + attempt.trace[-1:] * (longest - attempt.steps) for attempt in chosen]
            solution.step_answers = torch.stack([torch.stack([answer for answer, _ in trace]) for trace in traces])
            solution.step_halt_logits = torch.tensor([[logit for _, logit in trace] for trace in traces])
        return TrmSolution(**{name: tensor.to(self.device) for name, tensor in solution.items()})


def check_integers(name: str, tokens: Any) -> None:
    """Raises `ValueError` unless it is a tensor of whole numbers; a cast would hide what fractions are there."""
    found = tokens.dtype if isinstance(tokens, Tensor) else type(tokens).__name__
    if found not in INTEGERS:
        raise ValueError(f"{name} must be a tensor of integers, not {found}")


def require_puzzle_ids(config: Any, puzzle_ids: Tensor | None) -> None:
    """Raises `ValueError` if a model of several puzzles is not told which: its answer would be that of another one."""
    if puzzle_ids is None and config.num_puzzle_tokens > 0 and config.num_puzzles > 1:
        raise ValueError(
            f"puzzle_ids are missing: this model has learned an embedding for each of {config.num_puzzles} puzzles, "
            "and can only solve those: give the id of each, as in puzzle_ids=torch.tensor([5]) or --puzzle_id 5"
        )


def check_puzzles(config: Any, input_ids: Any, puzzle_ids: Any) -> None:
    """Raises `ValueError` with one line that names what is wrong."""
    check_integers("input_ids", input_ids)
    if input_ids.ndim != 2 or input_ids.shape[1] != config.seq_len or len(input_ids) == 0:
        raise ValueError(
            f"input_ids must be [batch, {config.seq_len}] with a batch of at least 1, not {list(input_ids.shape)}"
        )
    low, high = torch.stack(input_ids.aminmax()).tolist()
    if low < 0 or high >= config.vocab_size:
        raise ValueError(f"input_ids holds tokens {low} to {high}, but this model knows 0 to {config.vocab_size - 1}")
    require_puzzle_ids(config, puzzle_ids)
    if puzzle_ids is None:
        return
    check_integers("puzzle_ids", puzzle_ids)
    if puzzle_ids.shape != input_ids.shape[:1]:
        raise ValueError(f"puzzle_ids must be [{len(input_ids)}] ids, one per puzzle, not {list(puzzle_ids.shape)}")
    if config.num_puzzle_tokens > 0:
        low, high = torch.stack(puzzle_ids.aminmax()).tolist()
        if low < 0 or high >= config.num_puzzles:
            raise ValueError(f"puzzle_ids must be ids from 0 to {config.num_puzzles - 1}, not from {low} to {high}")


__all__ = ["SolvingMixin", "TrmSolution"]
