"""GGUF files of the gguf package in every quantisation we read, against transformers on the same rounded values."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.tiny_models import TINY, Tiny, build, random_batch, real_difference, reference

from headstart.base.base import Base
from headstart.base.gguf import TENSORS
from headstart.ground.errors import HeadstartError

gguf = pytest.importorskip("gguf")

WIDE = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}


def permuted(matrix: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's row order of q and k (convert_hf_to_gguf.py, LlamaModel.permute)."""
    return (
        matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, *matrix.shape[1:]).swapaxes(1, 2).reshape(matrix.shape)
    )


def write(model: torch.nn.Module, path: Path, *, kind: str, architecture: str) -> None:
    """`model` as a GGUF file; its own weights become the rounded ones."""
    config, quantisation = model.config, gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    letters = [*gguf_alphabet()]
    tokens = [
        "<|endoftext|>",
        *letters,
        *(f"unused{i}" for i in range(config.vocab_size - len(letters) - 3)),
        "ab",
        "abc",
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["a b", "ab c"])
    writer.add_eos_token_id(0)
    theirs = {v: k for k, v in TENSORS.items()}
    for name, parameter in model.state_dict().items():
        parts = name.removeprefix("model.").split(".")
        outer = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
        renamed = (
            f"blk.{parts[1]}.{theirs['.'.join(parts[2:-1])]}.{parts[-1]}"
            if parts[0] == "layers"
            else f"{outer[parts[0]]}.weight"
        )
        values = parameter.numpy()
        packed = values if values.ndim == 1 else gguf.quants.quantize(values, quantisation)
        if values.ndim == 2:
            parameter.copy_(
                torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(packed, quantisation), np.float32))
            )
        if architecture == "llama" and ".attn_q." in renamed:
            packed = permuted(packed, config.num_attention_heads)
        if architecture == "llama" and ".attn_k." in renamed:
            packed = permuted(packed, config.num_key_value_heads)
        writer.add_tensor(
            renamed, packed, raw_dtype=gguf.GGMLQuantizationType.F32 if values.ndim == 1 else quantisation
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def tiny(name: str) -> Tiny:
    row = TINY[name]
    return Tiny(row.architecture, row.config, {**row.settings, **WIDE, "vocab_size": 288})


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
@pytest.mark.parametrize("name", ["llama", "smollm2"])
def test_same_as_transformers_on_the_rounded_weights(name: str, kind: str, tmp_path: Path) -> None:
    model = build(tiny(name))
    write(model, tmp_path / "tiny.gguf", kind=kind, architecture="llama")
    assert difference(model, tmp_path / "tiny.gguf") <= 1e-4


@pytest.mark.parametrize("name", ["qwen2", "qwen3"])
def test_families_that_llama_cpp_does_not_permute(name: str, tmp_path: Path) -> None:
    model = build(tiny(name))
    model.config.head_dim = 16
    write(model, tmp_path / "tiny.gguf", kind="F16", architecture=name)
    assert difference(model, tmp_path / "tiny.gguf") <= 1e-4


def difference(model: torch.nn.Module, path: Path) -> float:
    """The largest, of hidden states and logits; text goes through the tokenizer unharmed on the way."""
    base = Base.load(path)
    batch = random_batch(vocab=288, pattern="causal", segments=False)
    theirs = reference(model, batch)
    with torch.no_grad():
        states = base.trunk.hidden_states(batch)
        logits = base.lm(states[-1], base.trunk.embed.tokens.weight)  # type: ignore[misc]
    assert base.codec.decode(base.codec.encode_plain(["abcab 42é"])[0]) == "abcab 42é"
    assert math.isfinite(base.score(["ab"], ["c4"])[0])
    pairs = [*zip(states, theirs.hidden_states, strict=True), (logits, theirs.logits)]
    return max(real_difference(ours, reference_, batch) for ours, reference_ in pairs)


def test_every_cut_is_refused(tmp_path: Path) -> None:
    model = build(tiny("llama"))
    write(model, tmp_path / "tiny.gguf", kind="Q8_0", architecture="llama")
    content = (tmp_path / "tiny.gguf").read_bytes()
    for length in [*range(24, 1200, 37), len(content) // 2, len(content) - 33]:
        (tmp_path / "cut.gguf").write_bytes(content[:length])
        with pytest.raises(HeadstartError, match=r"cut\.gguf.* expected (it|them|fewer|a whole file)"):
            Base.load(tmp_path / "cut.gguf")
