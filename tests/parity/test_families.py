"""Every family against transformers: same hidden states and logits, both ways, in every spelling."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.parity.tiny_models import MPNET, TINY, Tiny, build, random_batch, real_difference, reference, save
from torch.nn import functional

from headstart.base.base import Base
from headstart.ground.errors import BaseError

TOLERANCE = 1e-4  # fp32, largest absolute difference


def compare(base: Base, model: Any, tiny: Tiny) -> dict[str, float]:
    """Largest differences of everything both sides can compute."""
    config = base.trunk.config
    batch = random_batch(vocab=config.vocab_size, pattern=base.pattern, segments=config.num_segments > 1)
    pad = model.config.pad_token_id or 0
    theirs = reference(model, batch, pad=pad)
    with torch.no_grad():
        states = base.trunk.hidden_states(batch)
        found = {"hidden": max(real_difference(a, b, batch) for a, b in zip(states, theirs.hidden_states, strict=True))}
        logits = next((theirs[k] for k in ("logits", "prediction_logits") if k in theirs), None)
        if base.lm is not None and logits is not None and logits.dim() == 3:
            found["logits"] = real_difference(base.lm(states[-1], base.trunk.embed.tokens.weight), logits, batch)
        if base.pooler is not None:
            pooled = base.pooler(states[-1])
            if "pooler_output" in theirs:
                found["pooler"] = float((pooled - theirs.pooler_output).abs().max())
            for key, name in (("seq_relationship_logits", "cls.seq_relationship"), ("logits", "classifier")):
                if key in theirs and f"{name}.weight" in base.extras:
                    ours = functional.linear(pooled, base.extras[f"{name}.weight"], base.extras[f"{name}.bias"])
                    found[name] = float((ours - theirs[key]).abs().max())
    return found


@pytest.mark.parametrize("name", TINY)
def test_same_outputs_and_back(name: str, tmp_path: Path) -> None:
    tiny = TINY[name]
    model = build(tiny)
    base = Base.load(save(model, tmp_path / "theirs"))
    differences = compare(base, model, tiny)
    assert max(differences.values()) <= TOLERANCE, differences
    assert ("logits" in differences) == tiny.architecture.endswith(("LM", "LMHeadModel", "ForPreTraining"))

    base.save(tmp_path / "ours")
    again, loading = tiny.model.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [written_architecture(tiny)]
    if written_architecture(tiny) == tiny.architecture:
        assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
    batch = random_batch(
        vocab=base.trunk.config.vocab_size, pattern=base.pattern, segments=base.trunk.config.num_segments > 1
    )
    for ours, theirs in zip(reference(again, batch).values(), reference(model, batch).values(), strict=True):
        if isinstance(ours, torch.Tensor):
            torch.testing.assert_close(ours, theirs, atol=0, rtol=0)
    assert max(compare(Base.load(tmp_path / "ours"), model, tiny).values()) <= TOLERANCE


def written_architecture(tiny: Tiny) -> str:
    """A decoder with a tied output matrix has a language-model head whether or not its class said so."""
    return {"GPT2Model": "GPT2LMHeadModel"}.get(tiny.architecture, tiny.architecture)


@pytest.mark.parametrize("seed", [0, 1])
def test_distances_beyond_the_last_bucket(seed: int, tmp_path: Path) -> None:
    """Rows longer than 128 units, whose distances share buckets, with a bias of the size that training gives it."""
    model = build(Tiny("MPNetModel", "MPNetConfig", {**MPNET, "max_position_embeddings": 302}), seed=seed)
    model.encoder.relative_attention_bias.weight.data.mul_(10)
    base = Base.load(save(model, tmp_path / "long"))
    batch = random_batch(vocab=99, pattern="full", segments=False, lengths=(300, 129, 17, 1), seed=seed)
    theirs = reference(model, batch, pad=1).hidden_states
    with torch.no_grad():
        states = base.trunk.hidden_states(batch)
    assert max(real_difference(a, b, batch) for a, b in zip(states, theirs, strict=True)) <= 1e-5


def test_the_table_of_distances_is_neither_guessed_nor_passed_over(tmp_path: Path) -> None:
    folder = save(build(TINY["mpnet"]), tmp_path / "mpnet")
    state = load_file(folder / "model.safetensors")
    table = state.pop("encoder.relative_attention_bias.weight")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseError, match=r"lacks 1 tensors \(encoder\.relative_attention_bias\.weight\); .* mpnet's"):
        Base.load(folder)
    layer = {"encoder.layer.0.attention.attn.relative_attention_bias.weight": table.clone()}
    whole = {"encoder.relative_attention_bias.weight": table}
    save_file(state | whole | layer, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseError, match=r"1 tensors that mpnet has no place for \(encoder\.layer\.0\.attention"):
        Base.load(folder)
    save_file(state | {name: t[:16].contiguous() for name, t in whole.items()}, folder / "model.safetensors")
    with pytest.raises(BaseError, match=r"relative_attention_bias\.weight has shape \(16, 4\); expected \(32, 4\)"):
        Base.load(folder)


@pytest.mark.parametrize("name", ["bert-pretraining", "gpt2", "qwen3"])
def test_shards_read_as_one(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    folder = save(model, tmp_path / "sharded", max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert max(compare(Base.load(folder), model, TINY[name]).values()) <= TOLERANCE


@pytest.mark.parametrize("name", ["smollm2", "qwen2", "mistral", "qwen3"])
def test_old_spelling_of_the_config(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    folder = save(model, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope["rope_theta"], "rope_scaling": None, "torch_dtype": config.pop("dtype", "float32")}
    (folder / "config.json").write_text(json.dumps(config))
    assert max(compare(Base.load(folder), model, TINY[name]).values()) <= TOLERANCE


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_a_bare_trunk_beside_the_config_of_a_model_with_a_head(name: str, tmp_path: Path) -> None:
    """As sentence-transformers writes all-mpnet-base-v2; a file with the prefix, but without the head, is damaged."""
    model = build(TINY[name])
    folder = save(model, tmp_path / "bare")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = [TINY[f"{name}-mlm"].architecture]
    (folder / "config.json").write_text(json.dumps(config))
    base = Base.load(folder)
    assert base.lm is None
    assert max(compare(base, model, TINY[name]).values()) <= TOLERANCE
    base.save(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["architectures"] == [TINY[name].architecture]
    state = {f"{name}.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaseError, match=r"lacks [0-9]+ tensors .*(cls\.predictions|lm_head)"):
        Base.load(folder)


def test_a_decoder_without_its_head_is_damaged_with_and_without_the_prefix(tmp_path: Path) -> None:
    folder = save(build(TINY["llama"]), tmp_path / "damaged")
    state = load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    for cut in ("", "model."):
        there = {key.removeprefix(cut): value for key, value in state.items()}
        save_file(there, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(BaseError, match=r"lm_head\.weight"):
            Base.load(folder)


def test_mpnet_needs_more_than_a_vocabulary(tmp_path: Path) -> None:
    folder = save(build(TINY["mpnet"]), tmp_path / "words")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["<s>", "<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", "the"]))
    with pytest.raises(BaseError, match=r"no tokenizer\.json; expected one.*frames texts and pairs"):
        Base.load(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_read_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    model = build(TINY["llama"])
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()  # not model.to(dtype): that would round RoPE's angles as well
    base = Base.load(save(copy.deepcopy(model).to(dtype), tmp_path / "half"))
    assert base.trunk.dtype == torch.float32
    assert max(compare(base, model, TINY["llama"]).values()) <= TOLERANCE


@pytest.mark.parametrize("name", ["bert-pretraining", "roberta-mlm", "gpt2", "distilbert-mlm"])
def test_pickled_weights_behind_the_flag(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    folder = save(model, tmp_path / "bin")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")  # holds tied weights under every name
    base = Base.load(folder, allow_pickle=True)
    assert max(compare(base, model, TINY[name]).values()) <= TOLERANCE


def test_tensorflow_norm_names(tmp_path: Path) -> None:
    model = build(TINY["bert"])
    folder = save(model, tmp_path / "gamma")
    (folder / "model.safetensors").unlink()
    renamed = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in model.state_dict().items()
    }
    torch.save(renamed, folder / "pytorch_model.bin")
    assert max(compare(Base.load(folder, allow_pickle=True), model, TINY["bert"]).values()) <= TOLERANCE
