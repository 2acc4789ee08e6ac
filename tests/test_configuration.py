# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""The configuration: the paper's defaults, derived sizes, and a clear refusal of what cannot work."""

from pathlib import Path
from typing import Any

import pytest
import torch
from goldens import golden
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_config

from modeling_trm import TrmConfig, TrmForPuzzleSolving, configuration_trm


def test_defaults_are_the_papers() -> None:
    config = TrmConfig()
    expected = {
        "hidden_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "intermediate_size": 1536,
        "deep_cycles": 3,
        "latent_cycles": 6,
        "max_supervision_steps": 16,
        "max_solve_steps": 16,
        "halt_exploration_prob": 0.1,
        "halt_loss_weight": 0.5,
        "halt_threshold": 0.0,
        "loss_type": "stablemax",
        "token_mixer": "attention",
        "position_embedding_type": "rope",
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "label_smoothing": 0.0,
        "puzzle_embedding_size": 512,
        "num_puzzle_tokens": 16,
        "num_register_tokens": 0,
        "normalize_glu": False,
        "normalize_attention": False,
        "gradient_cycles": 1,
        "num_answer_layers": 0,
        "gradient_latent_cycles": None,
        "halt_q_learning": False,
        "random_initial_states": False,
        "state_damping": 0.0,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.prefix_len == 16


def test_derived_sizes() -> None:
    """The inner widths are the official ones, rounded up to 256; 259 for the positions of 9x9 Sudoku becomes 512."""
    assert TrmConfig(token_mixer="mlp").token_mixer_intermediate_size == 512
    assert (
        TrmConfig(token_mixer="mlp", num_puzzle_tokens=0, puzzle_embedding_size=0).token_mixer_intermediate_size == 256
    )
    assert TrmConfig(hidden_size=64).intermediate_size == 256
    assert TrmConfig(hidden_size=64, puzzle_embedding_size=100, num_puzzle_tokens=0).num_puzzle_tokens == 2
    assert TrmConfig(hidden_size=64).puzzle_embedding_size == 64
    assert TrmConfig(num_puzzle_tokens=3, num_register_tokens=4).prefix_len == 7
    assert TrmConfig(max_supervision_steps=5).max_solve_steps == 5


REFUSED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    *(
        ({name: 0}, (f"{name}=0", "at least 1"))
        for name in (
            "vocab_size",
            "seq_len",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "deep_cycles",
            "latent_cycles",
            "max_supervision_steps",
            "max_solve_steps",
            "token_mixer_intermediate_size",
            "num_puzzles",
            "gradient_cycles",
        )
    ),
    ({"hidden_size": 0, "puzzle_embedding_size": 5, "num_puzzle_tokens": 0}, ("hidden_size=0",)),
    ({"hidden_size": -16}, ("hidden_size=-16",)),
    *(
        ({name: -1}, (f"{name}=-1", "negative"))
        for name in (
            "num_answer_layers",
            "puzzle_embedding_size",
            "num_puzzle_tokens",
            "num_register_tokens",
            "halt_loss_weight",
        )
    ),
    *(
        ({name: value}, (f"{name}={value}", "positive"))
        for name in ("rope_theta", "rms_norm_eps")
        for value in (0, -1.0, float("nan"))
    ),
    *(
        ({name: value}, (f"{name}={value}", "between 0 and 1"))
        for name in ("halt_exploration_prob", "label_smoothing", "state_damping")
        for value in (-0.1, 1.5, float("nan"))
    ),
    ({"gradient_latent_cycles": 0}, ("gradient_latent_cycles=0", "between 1 and latent_cycles=6")),
    (
        {"gradient_latent_cycles": 3, "latent_cycles": 2},
        ("gradient_latent_cycles=3", "between 1 and latent_cycles=2"),
    ),
    (
        {"halt_q_learning": True, "max_supervision_steps": 1},
        ("halt_q_learning", "max_supervision_steps=1", "2 or more"),
    ),
    ({"halt_threshold": float("nan")}, ("halt_threshold=nan",)),
    ({"halt_loss_weight": float("nan")}, ("halt_loss_weight=nan",)),
    ({"hidden_size": 48, "num_attention_heads": 5}, ("hidden_size=48", "num_attention_heads=5")),
    ({"hidden_size": 30, "num_attention_heads": 2}, ("even head size", "hidden_size=30", "num_attention_heads=2")),
    (
        {"hidden_size": 36, "num_attention_heads": 2, "position_embedding_type": "rope_2d", "grid_width": 9},
        ("multiple of 4", "hidden_size=36"),
    ),
    ({"position_embedding_type": "rope_2d"}, ("grid_width=None", "seq_len=81")),
    ({"position_embedding_type": "rope_2d", "grid_width": 10}, ("grid_width=10", "seq_len=81")),
    ({"puzzle_embedding_size": 0, "num_puzzle_tokens": 4}, ("puzzle_embedding_size=0", "num_puzzle_tokens=4")),
    (
        {"hidden_size": 64, "puzzle_embedding_size": 264, "num_puzzle_tokens": 4},
        ("puzzle_embedding_size=264", "num_puzzle_tokens=4", "hidden_size=64"),
    ),
    *(({"num_symbols": number}, (f"num_symbols={number}", "vocab_size=11")) for number in (-1, 1, 12)),
    ({"symbol_mixer": "attention"}, ("symbol_mixer=attention", "set num_symbols")),
    (
        {"symbol_mixer": "attention", "num_symbols": 9, "token_mixer": "mlp", "num_attention_heads": 3},
        ("symbol_mixer=attention", "hidden_size=512", "num_attention_heads=3"),
    ),
    ({"answer_token_ids": [1, 11]}, ("answer_token_ids=[1, 11]", "vocab_size=11")),
    ({"answer_token_ids": [-1]}, ("answer_token_ids=[-1]",)),
    ({"answer_token_ids": []}, ("answer_token_ids=[]",)),
    ({"token_mixer": "mpl"}, ("token_mixer", "'mlp'", "mpl")),
    ({"position_embedding_type": "rotary"}, ("position_embedding_type", "'rope'", "rotary")),
    ({"loss_type": "stable_max"}, ("loss_type", "'stablemax'", "stable_max")),
    ({"hidden_size": "512"}, ("hidden_size", "expected int")),
    ({"hidden_size": 512.0}, ("hidden_size", "expected int")),
    ({"deep_cycles": True}, ("deep_cycles", "expected int")),
    ({"normalize_glu": 1}, ("normalize_glu", "expected bool")),
    ({"answer_token_ids": ["1"]}, ("answer_token_ids", "int")),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED, ids=[str(fields) for fields, _ in REFUSED])
def test_refuses_by_name(fields: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(StrictDataclassError) as refusal:
        TrmConfig(**fields)
    for word in words:
        assert word in str(refusal.value)


def test_limits_bind_only_what_uses_them() -> None:
    """The MLP mixer has no heads; without rotary positions a head may be odd."""
    tiny_config(token_mixer="mlp", num_attention_heads=3)
    tiny_config(hidden_size=30, num_attention_heads=2, position_embedding_type="none")


def test_options_that_crash_the_official_code() -> None:
    """Each is refused with its reason, or works here."""
    errors = golden("config_errors")[0]
    size = {"hidden_size": 64, "num_attention_heads": 4, "seq_len": 16}
    without_embedding = {"puzzle_embedding_size": 0, "num_puzzle_tokens": 4}
    refused = {
        "attn_ndim0_len4": without_embedding,
        "mlp_ndim0_len4": without_embedding | {"token_mixer": "mlp"},
        "attn_learned_ndim0_len4": without_embedding | {"position_embedding_type": "learned"},
        "attn_ndim_too_big": {"puzzle_embedding_size": 264, "num_puzzle_tokens": 4},
    }
    for fields in refused.values():
        with pytest.raises(StrictDataclassError, match="num_puzzle_tokens=4"):
            TrmConfig(**size, **fields)
    # Tested where they belong: the converter refuses Q-learning, and any batch size trains.
    elsewhere = {"attn_no_ACT_continue_False_train", "train_wrong_batch_size"}
    assert set(errors) == set(refused) | elsewhere | {"mlp_t_with_rope"}

    batch = torch.zeros(3, 6, dtype=torch.long)
    for rows in (3, 2):
        model = TrmForPuzzleSolving(tiny_config(token_mixer="mlp", position_embedding_type="rope", num_puzzles=1))
        model(batch[:rows], labels=batch[:rows]).loss.backward()
        assert model.lm_head.weight.grad.abs().sum() > 0


VALID = st.fixed_dictionaries(
    {
        "hidden_size": st.sampled_from([16, 32, 48]),
        "num_attention_heads": st.sampled_from([1, 2, 4]),
        "seq_len": st.integers(1, 100),
        "vocab_size": st.integers(3, 20),
        "token_mixer": st.sampled_from(["attention", "mlp"]),
        "position_embedding_type": st.sampled_from(["rope", "learned", "none"]),
        "max_supervision_steps": st.integers(1, 20),
        "num_register_tokens": st.integers(0, 3),
    },
    optional={
        "max_solve_steps": st.integers(1, 40),
        "intermediate_size": st.integers(1, 99),
        "puzzle_embedding_size": st.integers(1, 32),
        "answer_token_ids": st.just([0, 2]),
        "rope_theta": st.sampled_from([100, 10000.0]),
        "halt_threshold": st.floats(-5, 5),
        "normalize_glu": st.booleans(),
        "normalize_attention": st.booleans(),
        "gradient_cycles": st.integers(1, 4),
        "random_initial_states": st.booleans(),
        "state_damping": st.floats(0, 1),
    },
)


@given(fields=VALID)
def test_save_and_load(fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also the sizes that were derived, which are written out."""
    folder: Path = tmp_path_factory.mktemp("config")
    config = TrmConfig(**fields)
    config.save_pretrained(folder)
    loaded = TrmConfig.from_pretrained(folder)
    for name in TrmConfig.__annotations__:
        assert getattr(loaded, name) == getattr(config, name), name
    assert {name: getattr(config, name) for name in fields} == fields


def test_loading_a_changed_file_validates_it(tmp_path: Path) -> None:
    TrmConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"num_attention_heads": 8', '"num_attention_heads": 7'))
    with pytest.raises(StrictDataclassError, match="num_attention_heads=7"):
        TrmConfig.from_pretrained(tmp_path)


def test_unknown_fields_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no field 'hiden_size'; did you mean 'hidden_size'"):
        TrmConfig(hiden_size=64)
    said: list[str] = []
    monkeypatch.setattr(configuration_trm.logger, "warning", said.append)
    assert TrmConfig.from_dict(TrmConfig().to_dict()).hidden_size == 512 and not said
    TrmConfig(flavour="vanilla")
    assert said == ["TRM's configuration has no field 'flavour', which changes nothing"]
