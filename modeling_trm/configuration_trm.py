# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Configuration of TRM, the Tiny Recursive Model (arXiv 2510.04871)."""

import math
from difflib import get_close_matches
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import logging

from .saving_trm import SavingMixin

logger = logging.get_logger(__name__)
OF_TRANSFORMERS = {
    *("model_type", "auto_map", "custom_pipelines", "name_or_path", "transformers_version", "torch_dtype"),
    *("output_attentions", "output_hidden_states", "attn_implementation", "quantization_config"),
}
LARGEST, MOST_LAYERS = 2**24, 2**10  # beyond reason: refused before anything is allocated


@strict
class TrmConfig(SavingMixin, PreTrainedConfig):
    r"""
    Configuration of [`TrmModel`] and [`TrmForPuzzleSolving`]. The defaults are the paper's (section 4 and its code).

    Args:
        vocab_size (`int`, defaults to 11):
            Number of tokens; Sudoku has padding, blank and nine digits.
        seq_len (`int`, defaults to 81):
            Number of cells of the puzzle, the prefix not counted.
        hidden_size, num_hidden_layers, num_attention_heads (`int`, defaults to 512, 2, 8):
            Size of the single network that performs every update.
        num_answer_layers (`int`, defaults to 0):
            Layers of a network of its own for the answer, beside the `num_hidden_layers` of the latent state's: HRM
            (arXiv 2506.21734) has four and four. At 0 one network updates both, as in the paper.
        intermediate_size (`int`, *optional*):
            Inner width of the SwiGLU over channels; by default 4 * 2/3 of `hidden_size`, rounded up to 256.
        token_mixer (`"attention"` or `"mlp"`, defaults to `"attention"`):
            How positions exchange information: self-attention, or a SwiGLU over the positions (best for small, fixed
            boards such as Sudoku).
        token_mixer_intermediate_size (`int`, *optional*):
            Inner width of the token-mixing SwiGLU; by default 4 * 2/3 of the length with prefix, rounded up to 256.
        position_embedding_type (`"rope"`, `"rope_2d"`, `"learned"` or `"none"`, defaults to `"rope"`):
            Rotary positions are used by attention only; the MLP mixer knows positions by construction. With
            `"rope_2d"` half of each head turns by the cell's row and half by its column, the best for mazes in the
            code of arXiv 2601.19085. Not in the paper.
        grid_width (`int`, *optional*):
            Cells per row of the puzzle, which `"rope_2d"` needs; the rows follow from `seq_len`.
        rope_theta, rms_norm_eps (`float`, defaults to 10000, 1e-5):
            Base of the rotary frequencies; epsilon of the parameter-free RMSNorm.
        deep_cycles (`int`, defaults to 3):
            T of the paper: deep recursions per supervision step.
        gradient_cycles (`int`, defaults to 1):
            How many of the last deep recursions carry a gradient. The paper's is one; all of them make mazes learn in
            half the steps (code of arXiv 2601.19085), for more time and memory per step.
        latent_cycles (`int`, defaults to 6):
            n of the paper: updates of the latent state before each update of the answer.
        gradient_latent_cycles (`int`, *optional*):
            How many of the last of those carry a gradient, where the deep recursion does; all when not given, as in
            the paper. HRM's one-step gradient is 1.
        max_supervision_steps (`int`, defaults to 16):
            N_sup of the paper: the most supervision steps a puzzle stays in training.
        halt_exploration_prob (`float`, defaults to 0.1):
            Chance that a training row must go on for a random number of steps, whatever the halting head says.
        max_solve_steps (`int`, *optional*):
            The most supervision steps of `solve`; by default `max_supervision_steps`. It may be larger: a model
            goes on improving its answer beyond the steps it was trained for.
        halt_q_learning (`bool`, defaults to `False`):
            Halting as HRM learns it: a second logit tells what going on is worth, one more forward pass per training
            step finds its target, and a training row halts when halting is worth more. The paper leaves it out.
        halt_threshold (`float`, defaults to 0.0):
            `solve` stops working on a row once its halting logit is above this.
        halt_loss_weight (`float`, defaults to 0.5):
            Weight of the halting loss beside the answer's loss.
        loss_type (`"stablemax"` or `"softmax"`, defaults to `"stablemax"`):
            Cross-entropy of the answer.
        label_smoothing (`float`, defaults to 0.0):
            Share of the target spread evenly over `answer_token_ids` (arXiv 1512.00567; 0.2 in the code of arXiv
            2601.19085, which spreads it over all tokens). Not in the paper.
        answer_token_ids (`list[int]`, *optional*):
            Tokens that an answer can hold (for Sudoku the nine digits); by default all.
        num_puzzles, puzzle_embedding_size, num_puzzle_tokens (`int`, defaults to 1, `hidden_size`, 16):
            Each puzzle id has an embedding of `puzzle_embedding_size` numbers, padded with zeros to fill the
            `num_puzzle_tokens` prefix positions. A size of 0 (with 0 tokens) means no puzzle embeddings; 0 tokens with
            a positive size means as many as the embedding needs.
        num_register_tokens (`int`, defaults to 0):
            Learned prefix tokens shared by all puzzles, after the puzzle tokens (registers, arXiv 2309.16588; one for
            halting in arXiv 2601.19085). Not in the paper: a cheap seat for the halting head when there are no puzzle
            embeddings.
        normalize_glu (`bool`, defaults to `False`):
            sigmoid(gate) * RMSNorm(gate * value) in place of silu(gate) * value, which trains stably under Muon
            (arXiv 2601.19085). Not in the paper.
        normalize_attention (`bool`, defaults to `False`):
            RMSNorm over the outputs of all attention heads before their projection, as the code of arXiv 2601.19085
            has it for mazes. Not in the paper.
        random_initial_states (`bool`, defaults to `False`):
            Both states of a fresh puzzle are drawn anew for every position and channel, from a normal of deviation 1
            cut at two, in place of one fixed vector (arXiv 2605.21488). Not in the paper.
        state_damping (`float`, defaults to 0.0):
            Share d of the old state that every update keeps: state <- d * state + (1 - d) * network(state); 0.05 in
            arXiv 2605.21488. Not in the paper.
        num_symbols (`int`, defaults to 0):
            The last so many tokens of the vocabulary are names that may be exchanged, as the nine digits of Sudoku:
            both states then have a vector per position and symbol, all weights are shared by the symbols, and renaming
            them renames the answer exactly (arXiv 2603.02193). 0 for none. A puzzle embedding then has one more number
            for each symbol, by which a puzzle can tell them apart, as the colours of an ARC task. Not in the paper.
        symbol_mixer (`"mean"` or `"attention"`, defaults to `"mean"`):
            How the symbols of a position exchange information: a map of the mean of the others, or self-attention.

    Raises:
        StrictDataclassError: a field of the wrong type, or fields that contradict each other; the message names them.
    """

    model_type = "trm"
    keys_to_ignore_at_inference = ["carry"]

    vocab_size: int = 11
    seq_len: int = 81
    hidden_size: int = 512
    num_hidden_layers: int = 2
    num_answer_layers: int = 0
    num_attention_heads: int = 8
    intermediate_size: int | None = None
    token_mixer: Literal["attention", "mlp"] = "attention"
    token_mixer_intermediate_size: int | None = None
    position_embedding_type: Literal["rope", "rope_2d", "learned", "none"] = "rope"
    grid_width: int | None = None
    rope_theta: float | int = 10000.0
    rms_norm_eps: float | int = 1e-5
    deep_cycles: int = 3
    gradient_cycles: int = 1
    latent_cycles: int = 6
    gradient_latent_cycles: int | None = None
    max_supervision_steps: int = 16
    max_solve_steps: int | None = None
    halt_exploration_prob: float | int = 0.1
    halt_q_learning: bool = False
    halt_threshold: float | int = 0.0
    halt_loss_weight: float | int = 0.5
    loss_type: Literal["stablemax", "softmax"] = "stablemax"
    label_smoothing: float | int = 0.0
    answer_token_ids: list[int] | None = None
    num_puzzles: int = 1
    puzzle_embedding_size: int | None = None
    num_puzzle_tokens: int = 16
    num_register_tokens: int = 0
    normalize_glu: bool = False
    normalize_attention: bool = False
    random_initial_states: bool = False
    state_damping: float | int = 0.0
    num_symbols: int = 0
    symbol_mixer: Literal["mean", "attention"] = "mean"

    def __post_init__(self, **kwargs):
        if self.puzzle_embedding_size is None:
            self.puzzle_embedding_size = self.hidden_size
        if self.num_puzzle_tokens == 0 and self.puzzle_embedding_size > 0 and self.hidden_size > 0:
            self.num_puzzle_tokens = math.ceil(self.puzzle_embedding_size / self.hidden_size)
        if self.intermediate_size is None:
            self.intermediate_size = default_glu_size(self.hidden_size)
        if self.token_mixer_intermediate_size is None:
            self.token_mixer_intermediate_size = default_glu_size(self.seq_len + self.prefix_len)
        if self.max_solve_steps is None:
            self.max_solve_steps = self.max_supervision_steps
        known = set(type(self).__annotations__)
        for name in kwargs:
            if nearest := get_close_matches(name, known, n=1, cutoff=0.85):
                raise ValueError(f"TRM's configuration has no field {name!r}; did you mean {nearest[0]!r}?")
            if name not in OF_TRANSFORMERS and not name.startswith("_") and not hasattr(type(self), name):
                logger.warning(f"TRM's configuration has no field {name!r}, which changes nothing")
        super().__post_init__(**kwargs)

    @property
    def prefix_len(self) -> int:
        """Number of positions before the first cell: puzzle tokens, then register tokens."""
        return self.num_puzzle_tokens + self.num_register_tokens

    def validate_all_ranges(self):
        """Part of `@strict` validation: every number is in its range. First by name: the others build on it."""
        at_least_one = (
            "vocab_size seq_len hidden_size num_hidden_layers num_attention_heads intermediate_size deep_cycles "
            "gradient_cycles latent_cycles max_supervision_steps max_solve_steps token_mixer_intermediate_size "
            "num_puzzles"
        )
        for name in at_least_one.split():
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name, hint in type(self).__annotations__.items():
            value = getattr(self, name)
            if hint in (int, int | None) and value is not None and value > LARGEST:
                raise ValueError(f"{name}={value} must be at most {LARGEST:,}")
        for name in ("num_hidden_layers", "num_answer_layers"):
            if getattr(self, name) > MOST_LAYERS:
                raise ValueError(f"{name}={getattr(self, name)} must be at most {MOST_LAYERS:,}")
        not_negative = "num_answer_layers puzzle_embedding_size num_puzzle_tokens num_register_tokens halt_loss_weight"
        for name in not_negative.split():
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        for name in ("rope_theta", "rms_norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        for name in ("halt_exploration_prob", "label_smoothing", "state_damping"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be between 0 and 1")
        if math.isnan(self.halt_threshold):
            raise ValueError(f"halt_threshold={self.halt_threshold} must be a number")

    def validate_attention(self):
        """Part of `@strict` validation: the attention heads divide the hidden size."""
        if self.token_mixer != "attention":
            return
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads={self.num_attention_heads}"
            )
        unit = {"rope": 2, "rope_2d": 4}.get(self.position_embedding_type, 1)
        if self.hidden_size // self.num_attention_heads % unit:
            needed = "an even head size" if unit == 2 else "a head size that is a multiple of 4"
            raise ValueError(
                f"rotary positions need {needed}, not {self.hidden_size // self.num_attention_heads} "
                f"(hidden_size={self.hidden_size}, num_attention_heads={self.num_attention_heads})"
            )
        if self.position_embedding_type == "rope_2d" and (not self.grid_width or self.seq_len % self.grid_width):
            raise ValueError(
                f"position_embedding_type=rope_2d needs grid_width, the cells per row: grid_width={self.grid_width} "
                f"does not divide seq_len={self.seq_len}"
            )

    def validate_gradient(self):
        """Part of `@strict` validation: no more latent updates carry a gradient than there are."""
        count = self.gradient_latent_cycles
        if count is not None and not 1 <= count <= self.latent_cycles:
            raise ValueError(
                f"gradient_latent_cycles={count} must be between 1 and latent_cycles={self.latent_cycles}, or left "
                "out for all of them"
            )

    def validate_q_learning(self):
        """Part of `@strict` validation: Q-learning has a choice between halting and going on."""
        if self.halt_q_learning and self.max_supervision_steps == 1:
            raise ValueError(
                "halt_q_learning has no choice to learn with max_supervision_steps=1, where every row halts at once: "
                "set max_supervision_steps to 2 or more, or halt_q_learning to false"
            )

    def validate_prefix(self):
        """Part of `@strict` validation: the puzzle embedding fills its prefix tokens (the official code crashes)."""
        if self.puzzle_embedding_size == 0 and self.num_puzzle_tokens > 0:
            raise ValueError(
                f"num_puzzle_tokens={self.num_puzzle_tokens} needs puzzle embeddings, but puzzle_embedding_size=0: "
                "set num_puzzle_tokens=0, or use num_register_tokens for learned prefix tokens"
            )
        if self.puzzle_embedding_size > self.num_puzzle_tokens * self.hidden_size:
            raise ValueError(
                f"puzzle_embedding_size={self.puzzle_embedding_size} does not fit num_puzzle_tokens="
                f"{self.num_puzzle_tokens} of hidden_size={self.hidden_size}"
            )

    def validate_symbols(self):
        """Part of `@strict` validation: the symbols are tokens, at least two, and attention's heads fit them."""
        if self.num_symbols and not 2 <= self.num_symbols <= self.vocab_size:
            raise ValueError(f"num_symbols={self.num_symbols} must be 0 or from 2 to vocab_size={self.vocab_size}")
        if self.symbol_mixer == "attention" and not self.num_symbols:
            raise ValueError("symbol_mixer=attention needs symbols to mix: set num_symbols")
        if self.symbol_mixer == "attention" and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"symbol_mixer=attention needs a hidden_size={self.hidden_size} that is a multiple of "
                f"num_attention_heads={self.num_attention_heads}"
            )

    def validate_answer_tokens(self):
        """Part of `@strict` validation: the answer's tokens are in the vocabulary."""
        wrong = [token for token in self.answer_token_ids or [] if not 0 <= token < self.vocab_size]
        if wrong or self.answer_token_ids == []:
            raise ValueError(
                f"answer_token_ids={self.answer_token_ids} must be tokens below vocab_size={self.vocab_size}"
            )


def default_glu_size(width: int) -> int:
    """Inner width of a SwiGLU with expansion 4: two thirds of 4 * `width`, rounded up to a multiple of 256."""
    return math.ceil(round(4 * width * 2 / 3) / 256) * 256


TrmConfig.register_for_auto_class()

__all__ = ["TrmConfig"]
