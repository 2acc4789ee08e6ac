# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""Random numbers from a counter instead of a state, so that each is a pure function of its key.

The splitmix64 finaliser (Steele et al., "Fast splittable pseudorandom number generators", 2014) mixes the key into
bits: whatever batch, process or device a number is drawn in, the same key gives the same number.
"""

import hashlib
import math

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The int64 with the same low 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


TRUNCATED_DEVIATION = 0.8796256610342398  # of a standard normal cut at +-2

# Giles's table for float32.
_NEAR_ZERO = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
_NEAR_ONE = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)

_GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = _signed(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own is arithmetic and would drag the sign along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The splitmix64 finaliser, a bijection of 64-bit words."""
    x = (x ^ _shift_right(x, 30)) * _MULTIPLIER_1
    x = (x ^ _shift_right(x, 27)) * _MULTIPLIER_2
    return x ^ _shift_right(x, 31)


def _times_gamma(x: Tensor) -> Tensor:
    """x times the golden gamma, wrapping.

    The mask changes nothing, but without it torch.compile narrows x to 32 bits, and Triton then refuses the constant.
    """
    return (x & -1) * _GOLDEN_GAMMA


@torch.compiler.assume_constant_result  # torch.compile cannot trace the digest
def _stream(purpose: str, seed: int) -> int:
    """A 64-bit key for each purpose and seed, so that no two purposes ever see related numbers."""
    digest = hashlib.blake2b(f"{purpose}/{seed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def random_bits(seed: int, epoch: int | Tensor, index: int | Tensor, num_draws: int, *, purpose: str) -> Tensor:
    """Uniform 63-bit integers that depend on nothing but the arguments.

    Args:
        seed: any integer.
        epoch, index: int64 [batch] or integers, on the device where the numbers are wanted; they broadcast.
        num_draws: numbers per (epoch, index); asking for more does not change the first ones.
        purpose: a name for what the numbers are used for; each purpose has its own independent stream.

    Returns:
        int64 [batch, num_draws] in [0, 2**63), equal on every device (batch is 1 if epoch and index are integers).
    """
    device = next((x.device for x in (epoch, index) if isinstance(x, torch.Tensor)), None)
    epoch, index = (  # an integer fills a tensor there: copying it would make the host wait
        x.long() if isinstance(x, torch.Tensor) else torch.full((), x, dtype=torch.int64, device=device)
        for x in (epoch, index)
    )
    key = _mix(_mix(_stream(purpose, seed) + _times_gamma(epoch)) + _times_gamma(index))  # [batch] or []
    counter = _times_gamma(torch.arange(1, num_draws + 1, device=device))
    return _shift_right(_mix(key.reshape(-1, 1) + counter), 1)


def random_integers(
    seed: int, epoch: int | Tensor, index: int | Tensor, *highs: int, purpose: str
) -> tuple[Tensor, ...]:
    """For each of `highs` a tensor of uniform integers in [0, high), int64 [batch]; arguments as in `random_bits`.

    The bias of the remainder is below high / 2**63.
    """
    bits = random_bits(seed, epoch, index, len(highs), purpose=purpose)
    return tuple(draws % high for draws, high in zip(bits.unbind(1), highs, strict=True))


def fingerprint(tokens: Tensor, puzzle_ids: Tensor | None = None) -> Tensor:
    """A 64-bit name for each puzzle that depends on its content alone, int64 [batch].

    Args:
        tokens: integers [batch, seq].
        puzzle_ids: integers [batch].
    """
    counter = _times_gamma(torch.arange(1, tokens.shape[1] + 1, device=tokens.device))
    words = _mix(tokens.long() + counter).sum(1)
    return _mix(words if puzzle_ids is None else words + _mix(puzzle_ids.long() + _GOLDEN_GAMMA))


def state_normals(key: Tensor, count: int, *, truncated: bool = False) -> Tensor:
    """Standard normal numbers for the states of a model, float32 [batch, count].

    Half a word of `random_bits` gives one by the inverse distribution function, which takes few operations: noise is
    drawn at every update of a state.

    Args:
        key: names the numbers of each row, int64 [batch].
        count: numbers per row; asking for more does not change the first ones.
        truncated: cut at two deviations, then widened back to a deviation of 1.
    """
    bits = random_bits(0, 0, key, (count + 1) // 2, purpose="states")
    halves = torch.stack((bits >> 40, bits >> 16 & (2**23 - 1)), dim=-1).flatten(1)[:, :count]  # 23 bits each
    symmetric = (halves.float() + 0.5) * 2.0**-22 - 1  # uniform between -1 and 1, both excluded, exact in float32
    if truncated:
        return (math.sqrt(2) / TRUNCATED_DEVIATION) * inverse_erf(symmetric * math.erf(math.sqrt(2)))
    return math.sqrt(2) * inverse_erf(symmetric)


def inverse_erf(x: Tensor) -> Tensor:
    """The inverse error function in float32, with a relative error below 3e-7.

    Polynomials in w = -log(1 - x^2) or its root (M. Giles, "Approximating the erfinv function", 2010). They compile
    to vector instructions: `torch.erfinv` compiled for a CPU takes twenty times as long.

    Args:
        x: float32 of any shape, between -1 and 1, both excluded.
    """
    w = -torch.log((1 - x) * (1 + x))
    return x * torch.where(w < 5, _polynomial(w - 2.5, _NEAR_ZERO), _polynomial(w.sqrt() - 3, _NEAR_ONE))


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Horner's rule, the highest power first."""
    value = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


def draw_key(batch: int, device: torch.device) -> Tensor:
    """A key for each row from torch's generator, int64 [batch]."""
    return torch.randint(2**62, (batch,), device=device)
