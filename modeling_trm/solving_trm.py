# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Inference for TRM: supervision steps until the model believes its answer, easy puzzles leaving the batch early."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput


@dataclass
class TrmSolution(ModelOutput):
    """Result of `solve`.

    Attributes:
        answers: tokens of the final answer, int64, [batch, seq].
        halt_logits: halting logit of the final answer, float32, [batch]; above the threshold where `halted`.
        steps: supervision steps spent on the row, int64, [batch] (of the chosen rollout).
        halted: rows that stopped by themselves, bool, [batch]; the others ran out of steps.
        step_answers: the answer after each step, int64, [batch, max(steps), seq] (with `return_steps`); a row that has
            halted repeats its final answer.
        step_halt_logits: the halting logit after each step, float32, [batch, max(steps)] (with `return_steps`).
    """

    answers: Tensor | None = None
    halt_logits: Tensor | None = None
    steps: Tensor | None = None
    halted: Tensor | None = None
    step_answers: Tensor | None = None
    step_halt_logits: Tensor | None = None

    def select(self, rows: Tensor) -> TrmSolution:
        """The same fields for some rows, by index [rows]."""
        return TrmSolution(**{name: tensor[rows] for name, tensor in self.items()})


class SolvingMixin:
    """`solve` for a model with `model.embed`, `model.initial_states`, `model.recur` and the two heads."""

    @torch.no_grad()
    def solve(
        self,
        input_ids: Tensor,
        puzzle_ids: Tensor | None = None,
        max_steps: int | None = None,
        halt_threshold: float | None = None,
        num_rollouts: int = 1,
        noise_std: float = 0.0,
        return_steps: bool = False,
        generator: torch.Generator | None = None,
    ) -> TrmSolution:
        """Solves puzzles: supervision steps until the halting logit passes the threshold or the steps run out.

        A row leaves the batch as soon as it halts, so that easy puzzles cost little. Call `model.eval()` first only if
        the model was just trained; `from_pretrained` already does, and there is no dropout.

        Args:
            input_ids: integer tokens, [batch, seq_len].
            puzzle_ids: integer ids, [batch], for models with puzzle embeddings; id 0 when `None`.
            max_steps: the most supervision steps; `config.max_solve_steps` when `None`.
            halt_threshold: a row halts when its halting logit is above this; `config.halt_threshold` when `None`,
                `float("inf")` for always `max_steps` steps (the paper's evaluation).
            num_rollouts: independent trajectories per puzzle, of which the one with the highest final halting logit
                is kept. Useful with `noise_std` > 0 (arXiv 2605.19943).
            noise_std: deviation of the Gaussian noise added to both states before each step.
            return_steps: also return the answer and halting logit after every step.
            generator: source of the noise; torch's default when `None`.

        Returns:
            [`TrmSolution`]

        Raises:
            ValueError: wrong shape, tokens or puzzle ids outside the model's, an argument out of range, or halting
                logits that are not finite (broken weights).
        """
        config = self.config
        max_steps = config.max_solve_steps if max_steps is None else max_steps
        halt_threshold = config.halt_threshold if halt_threshold is None else halt_threshold
        check_solve_arguments(config, input_ids, puzzle_ids, max_steps, halt_threshold, num_rollouts, noise_std)
        if num_rollouts > 1:
            input_ids = input_ids.repeat_interleave(num_rollouts, dim=0)
            puzzle_ids = None if puzzle_ids is None else puzzle_ids.repeat_interleave(num_rollouts, dim=0)

        batch, device = input_ids.shape[0], input_ids.device
        embeds = self.model.embed(input_ids, puzzle_ids)
        answer_state, latent_state = self.model.initial_states(batch)
        answers = torch.zeros(batch, config.seq_len, dtype=torch.long, device=device)
        halt_logits = torch.zeros(batch, device=device)
        steps = torch.zeros(batch, dtype=torch.long, device=device)
        active = torch.arange(batch, device=device)  # rows of the whole batch that are still being worked on
        trace = []
        for step in range(1, max_steps + 1):
            if noise_std > 0:
                answer_state = answer_state + noise_std * normal_like(answer_state, generator)
                latent_state = latent_state + noise_std * normal_like(latent_state, generator)
            answer_state, latent_state = self.model.recur(embeds, answer_state, latent_state)
            logits = self.halt_logits(answer_state)
            halt_logits[active], steps[active] = logits.float(), step
            stay = ~(logits > halt_threshold) if step < max_steps else torch.zeros_like(logits, dtype=torch.bool)
            # The answer is read once per row, when it leaves, unless every step is asked for.
            read = torch.ones_like(stay) if return_steps else ~stay
            answers[active[read]] = self.answer_logits(answer_state[read]).argmax(-1)
            if return_steps:
                trace.append((answers.clone(), halt_logits.clone()))
            if not stay.all():
                active, embeds = active[stay], embeds[stay]
                answer_state, latent_state = answer_state[stay], latent_state[stay]
            if len(active) == 0:
                break
        if not halt_logits.isfinite().all():
            raise ValueError("the halting logits are not finite: the model's weights hold NaN or infinite values")

        solution = TrmSolution(
            answers=answers, halt_logits=halt_logits, steps=steps, halted=halt_logits > halt_threshold
        )
        if return_steps:
            solution.step_answers = torch.stack([step_answers for step_answers, _ in trace], dim=1)
            solution.step_halt_logits = torch.stack([step_logits for _, step_logits in trace], dim=1)
        if num_rollouts > 1:
            best = halt_logits.view(-1, num_rollouts).argmax(dim=1)
            solution = solution.select(best + num_rollouts * torch.arange(len(best), device=device))
        return solution


def normal_like(state: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of a state's shape, dtype and device."""
    return torch.randn(state.shape, dtype=state.dtype, device=state.device, generator=generator)


def check_solve_arguments(config, input_ids, puzzle_ids, max_steps, halt_threshold, num_rollouts, noise_std) -> None:
    """Raises `ValueError` with one line that names what is wrong."""
    if input_ids.ndim != 2 or input_ids.shape[1] != config.seq_len or len(input_ids) == 0:
        raise ValueError(
            f"input_ids must be [batch, {config.seq_len}] with a batch of at least 1, not {list(input_ids.shape)}"
        )
    low, high = int(input_ids.min()), int(input_ids.max())
    if low < 0 or high >= config.vocab_size:
        raise ValueError(f"input_ids holds tokens {low} to {high}, but this model knows 0 to {config.vocab_size - 1}")
    if puzzle_ids is not None and config.num_puzzle_tokens > 0:
        low, high = int(puzzle_ids.min()), int(puzzle_ids.max())
        if puzzle_ids.shape != input_ids.shape[:1] or low < 0 or high >= config.num_puzzles:
            raise ValueError(
                f"puzzle_ids must be [{len(input_ids)}] ids from 0 to {config.num_puzzles - 1}, "
                f"not {list(puzzle_ids.shape)} ids from {low} to {high}"
            )
    if max_steps < 1 or num_rollouts < 1:
        raise ValueError(f"max_steps={max_steps} and num_rollouts={num_rollouts} must be at least 1")
    if not noise_std >= 0 or math.isinf(noise_std) or math.isnan(halt_threshold):
        raise ValueError(
            f"noise_std={noise_std} must be a number of at least 0, halt_threshold={halt_threshold} a number"
        )


__all__ = ["SolvingMixin", "TrmSolution"]
