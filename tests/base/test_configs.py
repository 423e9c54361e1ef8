"""Configs: what a family refuses, what it caps, and how it is recognised."""

from __future__ import annotations

from typing import Any

import pytest
from tests.base.tiny_bases import CONFIGS, LLAMA
from tests.base.tiny_folders import CONFIG

from headstart.base.families import FAMILIES, find_family
from headstart.base.families.family import Fields
from headstart.base.weights import read_config
from headstart.ground.errors import BaseError

ROBERTA = {**CONFIG, "model_type": "roberta", "type_vocab_size": 1}
DISTILBERT = {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 40}
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": [8, 12], "patch_size": 4}
ALL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
    "bert": CONFIG,
    "roberta": ROBERTA,
    "distilbert": DISTILBERT,
    "mpnet": CONFIG,
    "gpt2": CONFIGS["gpt2"],
    **dict.fromkeys(("vit", "vit_mae"), VIT),
    "dinov2": {**VIT, "mlp_ratio": 2},
    "audio-spectrogram-transformer": {**VIT, "patch_size": 4, "max_length": 20, "num_mel_bins": 8, "time_stride": 2},
}


def read(family: str, **changes: Any) -> Any:
    return read_config({**ALL[family], "model_type": family, **changes}, where="config.json").config


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_one_slot_and_every_config_comes_back(family: str) -> None:
    blueprint = read_config({**ALL[family], "model_type": family}, where="config.json")
    config, row = blueprint.config, FAMILIES[family]
    written = row.hf_config(config, 1 if family == "roberta" else 0)
    if row.patches is not None and blueprint.patches is not None:
        written |= row.patches.write(blueprint.patches)
        assert row.patches.read(Fields(written)) == blueprint.patches
    again = Fields(written)
    assert find_family(again) is row
    assert row.trunk_config(again) == config
    ours = [name for slot in row.slots(config, again) if not slot.scales for name in slot.ours]
    assert len(set(ours)) == len(ours)
    names = [slot.disk for slot in row.slots(config, again)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (
            "llama",
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "rope_type is 'llama3'; expected 'default'",
        ),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "type is 'linear'; expected 'default'"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope_type is 'yarn'"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
        ("llama", {"rope_scaling": [1]}, "rope_scaling is .*; expected an object"),
        ("llama", {"attention_bias": True}, "has no mlp_bias; expected true"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act is .*expected one of silu"),
        ("llama", {"num_key_value_heads": 3}, "num_heads is 4; expected a multiple of num_kv_heads = 3"),
        ("llama", {"head_dim": 7}, "head_dim is 7; expected an even number"),
        ("qwen3", {"attention_bias": True}, "attention_bias is True; expected False"),
        ("roberta", {"hidden_act": "relu"}, "hidden_act is 'relu'; expected 'gelu'"),
        ("roberta", {"max_position_embeddings": 2}, "expected more than the 2 rows up to pad_token_id"),
        ("mpnet", {"pad_token_id": 0}, "pad_token_id is 0; expected 1"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets is 64; expected 32"),
        ("mpnet", {"hidden_act": "relu"}, "hidden_act is 'relu'; expected 'gelu'"),
        ("mpnet", {"max_position_embeddings": 2}, "expected more than the 2 rows up to the padding's"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("gpt2", {"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon is .*nan.*; expected a positive number"),
        ("vit", {"qkv_bias": False}, "qkv_bias is False; expected True"),
        ("vit", {"patch_size": [4, 0]}, "patch_size is .*; expected a whole number above 0, or two of them"),
        ("vit", {"patch_size": 40}, r"the patch is \(40, 40\); expected at most the size"),
        ("vit", {"image_size": 10**9}, "expected whole numbers from 1"),
        ("dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn is True"),
        ("bert", {"tie_word_embeddings": 1}, "tie_word_embeddings is .*1.*; expected true or false"),
    ],
)
def test_variations_this_trunk_does_not_compute(family: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BaseError, match=message):
        read(family, **changes)


@pytest.mark.parametrize(
    ("family", "changes", "positions"),
    [
        ("mistral", {"max_position_embeddings": 32_768}, 4096),  # MistralConfig's default window
        ("mistral", {"max_position_embeddings": 32_768, "sliding_window": None}, 32_768),
        ("mistral", {"max_position_embeddings": 24, "sliding_window": 16}, 16),
        ("qwen2", {"max_position_embeddings": 24, "sliding_window": 16}, 24),
        ("qwen2", {"max_position_embeddings": 24, "sliding_window": 16, "use_sliding_window": True}, 16),
        ("roberta", {"max_position_embeddings": 514}, 512),
        ("mpnet", {"max_position_embeddings": 514}, 512),
        ("distilbert", {}, 512),
    ],
)
def test_positions_end_where_attention_would_change(family: str, changes: dict[str, Any], positions: int) -> None:
    assert read(family, **changes).max_positions == positions


def test_both_spellings_of_rope() -> None:
    assert read("llama").rope_theta == 10_000.0
    assert read("llama", rope_theta=5e5, rope_scaling=None).rope_theta == 5e5
    assert read("llama", rope_parameters={"rope_theta": 1e6, "rope_type": "default"}).rope_theta == 1e6


def test_old_files_without_model_type() -> None:
    bare = {k: v for k, v in CONFIG.items() if k not in ("model_type", "architectures")} | {"type_vocab_size": 2}
    assert find_family(Fields(bare)).name == "bert"
    assert find_family(Fields({"architectures": ["GPT2LMHeadModel"]})).name == "gpt2"
    with pytest.raises(BaseError, match="names no model_type; expected one of bert, roberta"):
        find_family(Fields({"hidden_size": 32}))
