# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""TRM, the Tiny Recursive Model: "Less is More: Recursive Reasoning with Tiny Networks" (arXiv 2510.04871).

One small network is applied again and again to three tensors of one shape: the embedded question x, the answer state y
and the latent state z. Figure 3 of the paper, in this file's names:

    latent recursion   z <- network(z + y + x)     `latent_cycles` times
                       y <- network(y + z)         once
    deep recursion     `deep_cycles` latent recursions, all but the last without gradient
    deep supervision   up to `max_supervision_steps` of those, each with a loss, y and z carried over detached

`TrmModel` is the deep recursion, `TrmForPuzzleSolving.forward` one supervision step, and `solve` the inference. What
later papers add to the recursion is off by default; [`TrmConfig`] names each with its source. So is what the paper
left out of its predecessor HRM (arXiv 2506.21734): a second network for y, a gradient through the last updates alone,
and halting by Q-learning.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils.generic import ModelOutput, can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .configuration_trm import TrmConfig
from .randomness_trm import TRUNCATED_DEVIATION, draw_key, random_bits, state_normals
from .saving_trm import SavingMixin
from .solving_trm import SolvingMixin, require_puzzle_ids
from .symbols_trm import TrmSymbolAttention, TrmSymbolEmbedding, TrmSymbolHead, TrmSymbolMixer

IGNORE_INDEX = -100


@dataclass
class TrmCarry(ModelOutput):
    """What one supervision step hands to the next: the states, detached, and the puzzles being worked on.

    Attributes:
        answer_state, latent_state: y and z, compute dtype, [batch, prefix + seq, hidden]; with symbols [batch, prefix
            + seq, symbols, hidden].
        steps: supervision steps spent on each row's puzzle, int32, [batch].
        halted: rows whose puzzle is done; the next step replaces it by a new one, bool, [batch].
        input_ids, puzzle_ids, labels: the puzzles, [batch, seq], [batch], [batch, seq]; the last two may be `None`.
    """

    answer_state: Tensor | None = None
    latent_state: Tensor | None = None
    steps: Tensor | None = None
    halted: Tensor | None = None
    input_ids: Tensor | None = None
    puzzle_ids: Tensor | None = None
    labels: Tensor | None = None


@dataclass
class TrmModelOutput(ModelOutput):
    """States after one deep recursion.

    Attributes:
        answer_state, latent_state: [batch, prefix + seq, hidden]; the gradient reaches the last cycles only.
        hidden_states: with `output_hidden_states` the first layer's input and the output of every layer each time it
            is applied, 1 + `deep_cycles` * (`latent_cycles` * `num_hidden_layers` + a) tensors as the states, where a
            is `num_answer_layers`, or `num_hidden_layers` where one network updates both.
        attentions: with `output_attentions` and eager attention its weights each time it is applied, [batch, heads,
            prefix + seq, prefix + seq]; with symbols [batch * symbols, ...].
    """

    answer_state: Tensor | None = None
    latent_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class TrmOutput(ModelOutput):
    """Result of one supervision step.

    Attributes:
        loss: mean over the batch of answer loss + `halt_loss_weight` * halting loss, a scalar (with labels).
        logits: scores of every cell, compute dtype, [batch, seq, vocab].
        halt_logits: logit of "the answer is right", float32, [batch].
        carry: what the next step needs; its `labels` are the ones this loss was computed on.
        answer_loss, halt_loss: the two parts, means over the batch, detached (with labels). In training with
            `halt_q_learning` the second is the sum of the losses of halting and of going on.
        correct: cells that are labelled and right, bool, [batch, seq] (with labels).
        hidden_states, attentions: of every layer each time it is applied, see [`TrmModelOutput`] (if asked for).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    halt_logits: Tensor | None = None
    carry: TrmCarry | None = None
    answer_loss: Tensor | None = None
    halt_loss: Tensor | None = None
    correct: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


def rms_norm(hidden: Tensor, eps: float) -> Tensor:
    """RMSNorm without parameters over the last dimension, computed in float32 (float64 stays float64).

    The recursion amplifies rounding, so the order of operations is the official code's, to the last bit.
    """
    wide = hidden.float() if hidden.dtype != torch.float64 else hidden
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(hidden.dtype)


class TrmGatedMlp(nn.Module):
    """SwiGLU over the last dimension, or its normalised form (see `TrmConfig.normalize_glu`)."""

    def __init__(self, size: int, intermediate_size: int, config: TrmConfig):
        super().__init__()
        self.normalize, self.eps = config.normalize_glu, config.rms_norm_eps
        self.gate_up_proj = nn.Linear(size, 2 * intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        gate, value = self.gate_up_proj(hidden).chunk(2, dim=-1)
        gate = gate.contiguous()  # for CPUs, whose bfloat16 sigmoid of a strided view takes three times as long
        if self.normalize:
            return self.down_proj(torch.sigmoid(gate) * rms_norm(gate * value, self.eps))
        return self.down_proj(F.silu(gate) * value)


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Attention in plain operations; [batch, heads, seq, head] in, [batch, seq, heads, head] out."""
    wide = torch.promote_types(query.dtype, torch.float32)
    weights = torch.softmax(query @ key.transpose(-1, -2) * scaling, dim=-1, dtype=wide).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


def rotary_positions(config: TrmConfig, device: torch.device) -> Tensor:
    """Coordinates of every position, float32, [prefix + seq, axes]: its number, or for `rope_2d` its row and column.

    On a grid the prefix fills rows above the first, so that no two positions share their coordinates.
    """
    number = torch.arange(config.prefix_len + config.seq_len, device=device)
    if config.position_embedding_type == "rope":
        return number.float().unsqueeze(1)
    cell = number - config.prefix_len
    return torch.stack((cell.div(config.grid_width, rounding_mode="floor"), cell % config.grid_width), dim=1).float()


def rotary_cos_sin(positions: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles of positions [length, axes], float32, [length, head_size] each.

    Every axis turns an equal share of the head, with the frequencies of a head of that size (axial rotary positions,
    as in arXiv 2601.19085 for mazes).
    """
    size = head_size // positions.shape[1]
    frequencies = 1.0 / (theta ** (torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size))
    angles = torch.cat([torch.outer(axis, frequencies) for axis in positions.unbind(1)], dim=-1)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def apply_rotary(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates pairs (i, i + head/2) of [batch, heads, seq, head] by their position's angle, in float32 or wider."""
    wide = states.to(torch.promote_types(states.dtype, cos.dtype))
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-second, first), dim=-1) * sin).to(states.dtype)


class TrmAttention(nn.Module):
    """Self-attention between all positions (no mask), fused projection ordered query heads, key heads, value heads."""

    def __init__(self, config: TrmConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_size**-0.5
        self.is_causal = False
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor, rotary: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor | None]:
        """[batch, length, hidden] to the same shape, and the weights if attention is eager; each symbol for itself."""
        by_symbol = hidden.transpose(1, -2)
        rows = by_symbol.flatten(0, -3)  # [batch, length, hidden] or [batch * symbols, length, hidden]
        batch, length, size = rows.shape
        heads = self.qkv_proj(rows).view(batch, length, 3 * self.num_heads, self.head_size).transpose(1, 2)
        query, key, value = heads.chunk(3, dim=1)  # [batch, heads, length, head]
        if rotary is not None:
            query, key = apply_rotary(query, *rotary), apply_rotary(key, *rotary)
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        mixed, weights = attention(self, query, key, value, None, scaling=self.scaling, dropout=0.0, is_causal=False)
        mixed = mixed.reshape(batch, length, size)
        if self.config.normalize_attention:
            mixed = rms_norm(mixed, self.config.rms_norm_eps)
        return self.o_proj(mixed).view(by_symbol.shape).transpose(1, -2), weights


class TrmLayer(GradientCheckpointingLayer):
    """Mix the positions, then the channels; the norm comes after each residual sum.

    With the MLP mixer the first norm runs over the positions, as in the official code. Symbols (see `symbols_trm.py`)
    are mixed between the two.
    """

    def __init__(self, config: TrmConfig):
        super().__init__()
        self.eps = config.rms_norm_eps
        self.mixes_by_mlp = config.token_mixer == "mlp"
        if self.mixes_by_mlp:
            length = config.seq_len + config.prefix_len
            self.token_mixer: nn.Module = TrmGatedMlp(length, config.token_mixer_intermediate_size, config)
        else:
            self.token_mixer = TrmAttention(config)
        self.symbol_mixer: nn.Module | None = None
        if config.num_symbols:
            self.symbol_mixer = (TrmSymbolMixer if config.symbol_mixer == "mean" else TrmSymbolAttention)(config)
        self.mlp = TrmGatedMlp(config.hidden_size, config.intermediate_size, config)

    def forward(self, hidden: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        if self.mixes_by_mlp:
            positions_last = hidden.transpose(1, -1)  # [batch, hidden, length]
            hidden = rms_norm(positions_last + self.token_mixer(positions_last), self.eps).transpose(1, -1)
        else:
            mixed, _ = self.token_mixer(hidden, rotary)
            hidden = rms_norm(hidden + mixed, self.eps)
        if self.symbol_mixer is not None:
            hidden = rms_norm(hidden + self.symbol_mixer(hidden), self.eps)
        return rms_norm(hidden + self.mlp(hidden), self.eps)


class TrmReasoningNetwork(nn.Module):
    """The network: used for the latent update (`state` z, `injection` y + x) and the answer update (y, z).

    The new state is the network's output, or d * state + (1 - d) * output, see `TrmConfig.state_damping`.
    """

    def __init__(self, config: TrmConfig, num_layers: int):
        super().__init__()
        self.damping = config.state_damping
        self.layers = nn.ModuleList(TrmLayer(config) for _ in range(num_layers))

    def forward(self, state: Tensor, injection: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
        hidden = state + injection
        for layer in self.layers:
            hidden = layer(hidden, rotary)
        if self.damping > 0:
            hidden = torch.lerp(hidden, state, self.damping)
        return hidden


class TrmPuzzleEmbedding(nn.Embedding):
    """One embedding per puzzle id; they start at zero."""


class TrmHaltHead(nn.Linear):
    """Logit of "this answer is right", read from the first position; starts at -5, that is, never halting.

    The second output is the "continue" of HRM's Q-learning. Without `halt_q_learning` it has no loss; it stays so that
    official checkpoints fit and the gradients equal theirs to the last bit.
    """

    def __init__(self, hidden_size: int):
        super().__init__(hidden_size, 2)


class TrmPreTrainedModel(SavingMixin, PreTrainedModel):
    config: TrmConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["TrmModel"]  # the states go round all its layers
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": TrmLayer, "attentions": TrmAttention}
    accepts_loss_kwargs = False  # the loss is the batch's mean: `Trainer` divides it among accumulated batches

    @staticmethod
    def _finalize_model_loading(model: "TrmPreTrainedModel", load_config: Any, loading_info: Any) -> Any:
        """Part of `from_pretrained`: refuses weights that do not fit, whose place random ones would take.

        With `ignore_mismatched_sizes=True` they take it.
        """
        misfits = [f"{name} is missing" for name in sorted(loading_info.missing_keys)]
        misfits += [f"{name} is {tuple(has)}, not {tuple(needs)}" for name, has, needs in loading_info.mismatched_keys]
        if not isinstance(model, TrmModel):  # which may come from a file with heads
            misfits += [f"{name} is unknown" for name in sorted(loading_info.unexpected_keys)]
        if misfits and not load_config.ignore_mismatched_sizes:
            more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
            source = load_config.pretrained_model_name_or_path
            raise SafetensorError(f"the weights of {source} do not fit its config.json: {misfits[0]}{more}")
        return PreTrainedModel._finalize_model_loading(model, load_config, loading_info)

    def _init_weights(self, module: nn.Module):
        """Truncated normal of variance 1/fan-in (LeCun) for matrices and embeddings, 1 for the initial states."""
        if isinstance(module, TrmHaltHead):
            init.zeros_(module.weight)
            init.constant_(module.bias, -5.0)
        elif isinstance(module, TrmPuzzleEmbedding):
            init.zeros_(module.weight)
        elif isinstance(module, (nn.Linear, nn.Embedding)):
            truncated_normal_(module.weight, module.weight.shape[1] ** -0.5)
        elif isinstance(module, TrmModel):
            truncated_normal_(module.initial_answer_state, 1.0)
            truncated_normal_(module.initial_latent_state, 1.0)


def truncated_normal_(tensor: Tensor, std: float) -> None:
    """Fills with a normal cut at two deviations and widened so that the result's deviation is `std`."""
    widened = std / TRUNCATED_DEVIATION
    init.trunc_normal_(tensor, std=widened, a=-2 * widened, b=2 * widened)


class TrmModel(TrmPreTrainedModel):
    """The recursion without heads: one deep recursion per call (section 4.1 to 4.3 of the paper)."""

    def __init__(self, config: TrmConfig):
        super().__init__(config)
        self.embedding_scale = math.sqrt(config.hidden_size)
        self.embed_tokens = (
            TrmSymbolEmbedding(config) if config.num_symbols else nn.Embedding(config.vocab_size, config.hidden_size)
        )
        self.puzzle_embeddings = self.symbol_direction = None
        if config.num_puzzle_tokens:
            self.puzzle_embeddings = TrmPuzzleEmbedding(
                config.num_puzzles, config.puzzle_embedding_size + config.num_symbols
            )
            self.symbol_direction = nn.Embedding(1, config.hidden_size) if config.num_symbols else None
        self.registers = (
            nn.Embedding(config.num_register_tokens, config.hidden_size) if config.num_register_tokens else None
        )
        self.embed_positions = (
            nn.Embedding(config.prefix_len + config.seq_len, config.hidden_size)
            if config.position_embedding_type == "learned"
            else None
        )
        self.network = TrmReasoningNetwork(config, config.num_hidden_layers)
        self.answer_network = (
            TrmReasoningNetwork(config, config.num_answer_layers) if config.num_answer_layers else None
        )
        self.register_buffer("initial_answer_state", torch.empty(config.hidden_size))
        self.register_buffer("initial_latent_state", torch.empty(config.hidden_size))
        self.post_init()

    @property
    def networks(self) -> list[TrmReasoningNetwork]:
        """The one network; or two, of the latent state and of the answer."""
        return [self.network] if self.answer_network is None else [self.network, self.answer_network]

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embed_tokens = value

    def embed(self, input_ids: Tensor, puzzle_ids: Tensor | None = None) -> Tensor:
        """Embeds questions: puzzle tokens, register tokens, then the cells.

        Args:
            input_ids: integer tokens, [batch, seq].
            puzzle_ids: integer ids, [batch]; needed by a model of several puzzles.

        Returns:
            x of the paper, [batch, prefix + seq, hidden], in the compute dtype.

        Raises:
            ValueError: a model of several puzzles, and no ids.
        """
        require_puzzle_ids(self.config, puzzle_ids)
        batch = input_ids.shape[0]
        parts = [self.embed_tokens(input_ids.long())]
        if self.registers is not None:
            number = torch.arange(self.config.num_register_tokens, device=input_ids.device)
            parts.insert(0, self.registers(number).expand(batch, -1, -1))
        if self.puzzle_embeddings is not None:
            if puzzle_ids is None:  # there is one puzzle
                puzzle_ids = torch.zeros(batch, dtype=torch.long, device=input_ids.device)
            puzzle, of_symbols = self.puzzle_embeddings(puzzle_ids.long()).split(
                (self.config.puzzle_embedding_size, self.config.num_symbols), dim=1
            )
            width = self.config.num_puzzle_tokens * self.config.hidden_size
            parts.insert(0, F.pad(puzzle, (0, width - puzzle.shape[1])).view(batch, -1, self.config.hidden_size))
        if self.config.num_symbols:  # the prefix and the positions are the same for all symbols
            parts[:-1] = [part.unsqueeze(2).expand(-1, -1, self.config.num_symbols, -1) for part in parts[:-1]]
            if self.symbol_direction is not None:  # what a puzzle says of single symbols, the first part of the prefix
                direction = self.symbol_direction(torch.zeros(1, dtype=torch.long, device=input_ids.device))
                parts[0] = parts[0] + of_symbols[:, None, :, None] * direction
        embeds = torch.cat(parts, dim=1)
        if self.embed_positions is not None:
            positions = self.embed_positions(torch.arange(embeds.shape[1], device=input_ids.device))
            positions = positions.unsqueeze(1) if self.config.num_symbols else positions
            embeds = math.sqrt(0.5) * (embeds + positions)
        return (self.embedding_scale * embeds).to(self.compute_dtype)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The autocast dtype inside autocast, the weights' dtype outside.

        A buffer is asked, for weights that are offloaded are on no device that could say.
        """
        device = self.initial_answer_state.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.initial_answer_state.dtype

    def initial_states(self, batch: int, noise_key: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y and z of a fresh puzzle, [batch, prefix + seq, hidden] each.

        One fixed random vector each, the same at every position; with `random_initial_states` numbers of their own
        for every position and channel, which `noise_key`, int64 [batch], decides.
        """
        symbols = (self.config.num_symbols,) if self.config.num_symbols else ()
        shape = (batch, self.config.prefix_len + self.config.seq_len, *symbols, self.config.hidden_size)
        states = [self.initial_answer_state, self.initial_latent_state]
        if self.config.random_initial_states:
            key = draw_key(batch, states[0].device) if noise_key is None else noise_key
            keys = random_bits(0, 0, key, 2, purpose="initial states").unbind(1)
            states = [state_normals(key, math.prod(shape[1:]), truncated=True).view(shape) for key in keys]
        answer_state, latent_state = (state.to(self.compute_dtype).expand(shape) for state in states)
        return answer_state, latent_state

    def recur(
        self,
        embeds: Tensor,
        answer_state: Tensor,
        latent_state: Tensor,
        deep_cycles: int | None = None,
        latent_cycles: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One deep recursion from embedded questions; all states are [batch, prefix + seq, hidden].

        `deep_cycles` and `latent_cycles` are the configuration's by default.
        """
        config = self.config
        deep_cycles = config.deep_cycles if deep_cycles is None else deep_cycles
        latent_cycles = config.latent_cycles if latent_cycles is None else latent_cycles
        rotary = None
        if config.token_mixer == "attention" and config.position_embedding_type in ("rope", "rope_2d"):
            head_size = config.hidden_size // config.num_attention_heads
            rotary = rotary_cos_sin(rotary_positions(config, embeds.device), head_size, config.rope_theta)

        latent_network, answer_network = self.networks[0], self.networks[-1]
        gradient_latent_cycles = config.gradient_latent_cycles or latent_cycles
        for cycle in range(deep_cycles):
            has_gradient = torch.is_grad_enabled() and cycle >= deep_cycles - config.gradient_cycles
            with torch.set_grad_enabled(has_gradient):
                injection = answer_state + embeds
                for update in range(latent_cycles):
                    with torch.set_grad_enabled(has_gradient and update >= latent_cycles - gradient_latent_cycles):
                        latent_state = latent_network(latent_state, injection, rotary)
                answer_state = answer_network(answer_state, latent_state, rotary)
        return answer_state, latent_state

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor,
        puzzle_ids: Tensor | None = None,
        answer_state: Tensor | None = None,
        latent_state: Tensor | None = None,
        noise_key: Tensor | None = None,
        deep_cycles: int | None = None,
        latent_cycles: int | None = None,
        **kwargs: Any,
    ) -> TrmModelOutput:
        """One deep recursion on `input_ids` [batch, seq] from the given states, or from the initial ones.

        Args:
            noise_key: int64 [batch], decides random initial states.
            deep_cycles, latent_cycles: the depth; the configuration's by default. Without deep cycles the states are
                returned as they are, and nothing is embedded.
            kwargs: `return_dict`, `output_hidden_states`, `output_attentions`.
        """
        if answer_state is None or latent_state is None:
            fresh_answer, fresh_latent = self.initial_states(input_ids.shape[0], noise_key)
            answer_state = fresh_answer if answer_state is None else answer_state
            latent_state = fresh_latent if latent_state is None else latent_state
        if deep_cycles != 0:
            embeds = self.embed(input_ids, puzzle_ids)
            answer_state, latent_state = self.recur(embeds, answer_state, latent_state, deep_cycles, latent_cycles)
        return TrmModelOutput(answer_state=answer_state, latent_state=latent_state)


class TrmForPuzzleSolving(TrmPreTrainedModel, SolvingMixin):
    """TRM with its answer and halting heads. `forward` is one supervision step; `solve` is inference."""

    def __init__(self, config: TrmConfig):
        super().__init__(config)
        self.model = TrmModel(config)
        if config.num_symbols:
            self.lm_head: nn.Linear = TrmSymbolHead(config)
        else:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.halt_head = TrmHaltHead(config.hidden_size)
        self.post_init()

    def initial_carry(
        self,
        input_ids: Tensor,
        puzzle_ids: Tensor | None = None,
        labels: Tensor | None = None,
        noise_key: Tensor | None = None,
    ) -> TrmCarry:
        """A carry with every row halted, so that the next `forward` starts on the puzzles it is given."""
        batch, device = input_ids.shape[0], input_ids.device
        answer_state, latent_state = self.model.initial_states(batch, noise_key)
        return TrmCarry(
            answer_state=answer_state,
            latent_state=latent_state,
            steps=torch.zeros(batch, dtype=torch.int32, device=device),
            halted=torch.ones(batch, dtype=torch.bool, device=device),
            input_ids=input_ids,
            puzzle_ids=puzzle_ids,
            labels=labels,
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        puzzle_ids: Tensor | None = None,
        labels: Tensor | None = None,
        carry: TrmCarry | None = None,
        min_steps: Tensor | None = None,
        noise_key: Tensor | None = None,
        deep_cycles: int | None = None,
        latent_cycles: int | None = None,
        max_supervision_steps: int | None = None,
        **kwargs: Any,
    ) -> TrmOutput:
        """One supervision step (section 2.4 of the paper and its halting rule).

        Rows that had halted in `carry` start on the given puzzles; the others go on with their own, and the given
        puzzle of such a row is not used. In training a row halts when its halting logit is positive (with
        `halt_q_learning`, above the logit of going on), unless exploration makes it go on; both in training and
        evaluation it halts after `max_supervision_steps`.

        Args:
            input_ids: integer tokens, [batch, seq].
            puzzle_ids: integer ids, [batch]; needed by a model of several puzzles.
            labels: the answer's tokens, [batch, seq]; -100 where a cell does not count.
            carry: of the step before, or `None` to start.
            min_steps: steps before which a row may not halt in training, integer, [batch]; drawn from torch's
                generator when `None`.
            noise_key: decides the random initial states of each row, int64, [batch], for models that have them; drawn
                from torch's generator when `None`.
            deep_cycles, latent_cycles, max_supervision_steps: the depth of this step; the configuration's when `None`.
            kwargs: `return_dict`, `output_hidden_states`, `output_attentions`.

        Returns:
            [`TrmOutput`]; its carry is detached.

        Raises:
            ValueError: `input_ids` are not [batch, seq_len], a model of several puzzles is given no ids, the carry is
                of another batch size, or it holds puzzle ids or labels and none are given, or the reverse.
        """
        config = self.config
        if noise_key is None and config.random_initial_states:
            noise_key = draw_key(input_ids.shape[0], input_ids.device)
        if max_supervision_steps is None:
            max_supervision_steps = config.max_supervision_steps
        if input_ids.ndim != 2 or input_ids.shape[1] != config.seq_len:
            raise ValueError(f"input_ids must be [batch, {config.seq_len}], not {list(input_ids.shape)}")
        if carry is None:
            carry = self.initial_carry(input_ids, puzzle_ids, labels, noise_key)
        elif carry.halted.shape[0] != input_ids.shape[0]:
            raise ValueError(f"the carry has {carry.halted.shape[0]} rows, but input_ids has {input_ids.shape[0]}")
        for name, given in (("puzzle_ids", puzzle_ids), ("labels", labels)):
            if (given is None) != (getattr(carry, name) is None):
                raise ValueError(f"{name} must be given at every step that shares a carry, or at none")
        carry = self.admit(carry, input_ids, puzzle_ids, labels, noise_key)

        states = self.model(
            carry.input_ids,
            carry.puzzle_ids,
            carry.answer_state,
            carry.latent_state,
            deep_cycles=deep_cycles,
            latent_cycles=latent_cycles,
            return_dict=True,
            **kwargs,
        )
        answer_state, latent_state = states.answer_state, states.latent_state
        logits, (halt_logits, continue_logits) = self.answer_logits(answer_state), self.q_logits(answer_state)
        may_halt = self.training and max_supervision_steps > 1
        with torch.no_grad():
            halted = carry.steps >= max_supervision_steps
            if may_halt:
                if min_steps is None:
                    min_steps = self.draw_min_steps(halt_logits, max_supervision_steps)
                threshold = continue_logits if config.halt_q_learning else 0
                halted = halted | ((halt_logits > threshold) & (carry.steps >= min_steps))
        carry = replace(
            carry,
            answer_state=answer_state.detach(),
            latent_state=latent_state.detach(),
            halted=halted,
        )
        loss = answer_loss = halt_loss = correct = None
        if carry.labels is not None:
            answer_losses, halt_losses, correct = puzzle_losses(logits, halt_logits, carry.labels, config)
            if may_halt and config.halt_q_learning:
                values = self.continue_values(carry, deep_cycles, latent_cycles, max_supervision_steps)
                halt_losses = halt_losses + F.binary_cross_entropy_with_logits(
                    continue_logits, values, reduction="none"
                )
            loss = (answer_losses + config.halt_loss_weight * halt_losses).mean()
            answer_loss, halt_loss = answer_losses.mean().detach(), halt_losses.mean().detach()
        return TrmOutput(
            loss=loss,
            logits=logits,
            halt_logits=halt_logits,
            carry=carry,
            answer_loss=answer_loss,
            halt_loss=halt_loss,
            correct=correct,
            hidden_states=states.hidden_states,
            attentions=states.attentions,
        )

    @torch.no_grad()
    def continue_values(
        self,
        carry: TrmCarry,
        deep_cycles: int | None = None,
        latent_cycles: int | None = None,
        max_supervision_steps: int | None = None,
    ) -> Tensor:
        """What going on from a carry is worth: the target of HRM's Q-learning (arXiv 2506.21734), its code's rule.

        One more supervision step tells: the better of halting and going on after it, or, where the carry's step was
        the last that is allowed, halting alone.

        Args:
            carry: after a step.
            deep_cycles, latent_cycles, max_supervision_steps: the depth; the configuration's when `None`.

        Returns:
            Probabilities, float32, [batch].
        """
        states = self.model(
            carry.input_ids,
            carry.puzzle_ids,
            carry.answer_state,
            carry.latent_state,
            deep_cycles=deep_cycles,
            latent_cycles=latent_cycles,
            return_dict=True,
        )
        halt_logits, continue_logits = self.q_logits(states.answer_state)
        if max_supervision_steps is None:
            max_supervision_steps = self.config.max_supervision_steps
        is_last = carry.steps >= max_supervision_steps
        return torch.where(is_last, halt_logits, torch.maximum(halt_logits, continue_logits)).sigmoid()

    def admit(
        self,
        carry: TrmCarry,
        input_ids: Tensor,
        puzzle_ids: Tensor | None,
        labels: Tensor | None,
        noise_key: Tensor | None = None,
    ) -> TrmCarry:
        """Puts new puzzles, with fresh states, into the rows that have halted, and counts the step that begins."""

        def fill(new: Tensor | None, old: Tensor | None) -> Tensor | None:
            if new is None or old is None:
                return None
            return torch.where(carry.halted.view(-1, *[1] * (old.ndim - 1)), new, old)

        answer_state, latent_state = self.model.initial_states(input_ids.shape[0], noise_key)
        return TrmCarry(
            answer_state=fill(answer_state, carry.answer_state),
            latent_state=fill(latent_state, carry.latent_state),
            steps=torch.where(carry.halted, 0, carry.steps) + 1,
            halted=carry.halted,
            input_ids=fill(input_ids, carry.input_ids),
            puzzle_ids=fill(puzzle_ids, carry.puzzle_ids),
            labels=fill(labels, carry.labels),
        )

    def answer_logits(self, answer_state: Tensor) -> Tensor:
        """Scores of the cells, [batch, seq, vocab], from the answer state [batch, prefix + seq, hidden]."""
        return self.lm_head(answer_state[:, self.config.prefix_len :]).to(answer_state.device)

    def halt_logits(self, answer_state: Tensor) -> Tensor:
        """Halting logit, float32, [batch], see `q_logits`."""
        return self.q_logits(answer_state)[0]

    def q_logits(self, answer_state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of halting and of going on, float32, [batch] each, from the first position of the answer state.

        With symbols it is read from their mean; without a prefix, where the first position is a cell whose place would
        then matter, from the mean over all positions too.
        """
        first = answer_state[:, 0]
        if self.config.num_symbols:
            first = first.mean(1) if self.config.prefix_len else answer_state.mean((1, 2))
        logits = self.halt_head(first).to(answer_state.device)
        halt_logits, continue_logits = (logits.float() if logits.dtype != torch.float64 else logits).unbind(-1)
        return halt_logits, continue_logits

    def draw_min_steps(self, halt_logits: Tensor, max_supervision_steps: int) -> Tensor:
        """Exploration: with `halt_exploration_prob` a number from 2 to `max_supervision_steps`, otherwise 0."""
        explores = torch.rand_like(halt_logits) < self.config.halt_exploration_prob
        steps = torch.randint_like(halt_logits, 2, max_supervision_steps + 1)
        return torch.where(explores, steps, 0).int()


def puzzle_losses(
    logits: Tensor, halt_logits: Tensor, labels: Tensor, config: TrmConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Both losses of every row.

    Args:
        logits: [batch, seq, vocab]. halt_logits: [batch]. labels: [batch, seq], -100 where a cell does not count.

    Returns:
        The mean over a row's labelled cells of the cross-entropy, [batch] (0 for a row without labels); the binary
        cross-entropy of its halting logit against "every labelled cell is right", [batch]; the right cells, [batch,
        seq].
    """
    labelled = labels != IGNORE_INDEX
    targets = torch.where(labelled, labels, 0).long()
    log_probs = log_stablemax(logits) if config.loss_type == "stablemax" else F.log_softmax(logits.float(), dim=-1)
    cell_losses = -log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    if config.label_smoothing > 0:
        spread = log_probs
        if config.answer_token_ids is not None:  # a list as an index would make the host wait for the device
            spread = torch.stack([log_probs[..., token] for token in config.answer_token_ids], dim=-1)
        cell_losses = torch.lerp(cell_losses, -spread.mean(-1), config.label_smoothing)
    num_labelled = labelled.sum(-1)
    answer_losses = torch.where(labelled, cell_losses, 0).sum(-1) / num_labelled.clamp(min=1)
    correct = labelled & (logits.argmax(-1) == targets)
    solved = correct.sum(-1) == num_labelled
    halt_losses = F.binary_cross_entropy_with_logits(halt_logits, solved.to(halt_logits.dtype), reduction="none")
    return answer_losses, halt_losses, correct


def log_stablemax(logits: Tensor) -> Tensor:
    """Log-probabilities proportional to x + 1 for x >= 0 and 1 / (1 - x) below (arXiv 2501.04697), over the last dim.

    Computed in float64, as the official code does, or float32 where the device has no float64.
    """
    logits = logits.to(torch.float32 if logits.device.type == "mps" else torch.float64)
    scores = torch.where(logits < 0, 1 / (1 - logits.clamp(max=0)), logits + 1)
    return (scores / scores.sum(-1, keepdim=True)).log()


TrmModel.register_for_auto_class("AutoModel")
TrmForPuzzleSolving.register_for_auto_class("AutoModel")

__all__ = ["TrmCarry", "TrmForPuzzleSolving", "TrmModel", "TrmModelOutput", "TrmOutput", "TrmPreTrainedModel"]
