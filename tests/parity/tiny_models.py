"""Tiny random transformers models of every family, every parameter perturbed: zero biases and unit norms lie."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

from headstart.ground.batch import Batch

VOCAB = 99
BERT_LIKE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
}
MPNET = {**BERT_LIKE, "max_position_embeddings": 26}
DISTIL = {"vocab_size": VOCAB, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 40, "max_position_embeddings": 24}
GPT = {
    "vocab_size": VOCAB,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 24,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


@dataclass(frozen=True)
class Tiny:
    """One row of the parity contract."""

    architecture: str
    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        return getattr(transformers, self.architecture)


TINY = {
    "bert": Tiny("BertModel", "BertConfig", BERT_LIKE),
    "bert-pretraining": Tiny("BertForPreTraining", "BertConfig", BERT_LIKE),
    "bert-mlm": Tiny("BertForMaskedLM", "BertConfig", BERT_LIKE),
    "bert-mlm-untied": Tiny("BertForMaskedLM", "BertConfig", {**BERT_LIKE, "tie_word_embeddings": False}),
    "bert-relu": Tiny("BertModel", "BertConfig", {**BERT_LIKE, "hidden_act": "relu", "type_vocab_size": 3}),
    "bert-gelu-tanh": Tiny("BertForMaskedLM", "BertConfig", {**BERT_LIKE, "hidden_act": "gelu_new"}),
    "bert-classifier": Tiny("BertForSequenceClassification", "BertConfig", {**BERT_LIKE, "num_labels": 5}),
    "roberta": Tiny("RobertaModel", "RobertaConfig", {**BERT_LIKE, "type_vocab_size": 1, "pad_token_id": 1}),
    "roberta-mlm": Tiny("RobertaForMaskedLM", "RobertaConfig", {**BERT_LIKE, "type_vocab_size": 1, "pad_token_id": 1}),
    "roberta-pad0": Tiny("RobertaForMaskedLM", "RobertaConfig", {**BERT_LIKE, "type_vocab_size": 1, "pad_token_id": 0}),
    "roberta-classifier": Tiny(
        "RobertaForSequenceClassification",
        "RobertaConfig",
        {**BERT_LIKE, "type_vocab_size": 1, "pad_token_id": 1, "num_labels": 5},
    ),
    "distilbert": Tiny("DistilBertModel", "DistilBertConfig", DISTIL),
    "distilbert-mlm": Tiny("DistilBertForMaskedLM", "DistilBertConfig", DISTIL),
    "mpnet": Tiny("MPNetModel", "MPNetConfig", MPNET),
    "mpnet-mlm": Tiny("MPNetForMaskedLM", "MPNetConfig", MPNET),
    "mpnet-mlm-untied": Tiny("MPNetForMaskedLM", "MPNetConfig", {**MPNET, "tie_word_embeddings": False}),
    "mpnet-classifier": Tiny("MPNetForSequenceClassification", "MPNetConfig", {**MPNET, "num_labels": 5}),
    "gpt2": Tiny("GPT2LMHeadModel", "GPT2Config", GPT),
    "gpt2-bare": Tiny("GPT2Model", "GPT2Config", GPT),
    "gpt2-narrow": Tiny("GPT2LMHeadModel", "GPT2Config", {**GPT, "n_inner": 48, "activation_function": "gelu"}),
    "gpt2-untied": Tiny("GPT2LMHeadModel", "GPT2Config", {**GPT, "tie_word_embeddings": False}),
    "llama": Tiny("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama-biased": Tiny("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
    "llama-bare": Tiny("LlamaModel", "LlamaConfig", LLAMA),
    "smollm2": Tiny(
        "LlamaForCausalLM",
        "LlamaConfig",
        {
            **LLAMA,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "hidden_size": 36,
            "tie_word_embeddings": True,
            "rope_theta": 100_000.0,
            "rms_norm_eps": 1e-5,
        },
    ),
    "mistral": Tiny("MistralForCausalLM", "MistralConfig", {**LLAMA, "sliding_window": None, "head_dim": 16}),
    "mistral-window": Tiny("MistralForCausalLM", "MistralConfig", {**LLAMA, "sliding_window": 16}),
    "qwen2": Tiny("Qwen2ForCausalLM", "Qwen2Config", {**LLAMA, "rope_theta": 1_000_000.0}),
    "qwen2-tied": Tiny("Qwen2ForCausalLM", "Qwen2Config", {**LLAMA, "tie_word_embeddings": True}),
    "qwen3": Tiny("Qwen3ForCausalLM", "Qwen3Config", {**LLAMA, "head_dim": 16}),
    "qwen3-tied": Tiny("Qwen3ForCausalLM", "Qwen3Config", {**LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
}


def build(tiny: Tiny, *, seed: int = 0) -> Any:
    """The model in evaluation mode, every parameter moved away from its initial value."""
    torch.manual_seed(seed)
    model = tiny.model(getattr(transformers, tiny.config)(**tiny.settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.08)
    return model


def save(model: Any, folder: Path, **options: Any) -> Path:
    """As transformers writes it, beside a tokenizer."""
    model.save_pretrained(folder, **options)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path, *, size: int = VOCAB) -> None:
    """One token a word: w4, w5, ...; [CLS] A [SEP] B [SEP]."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(4, size - 1)), "[MASK]"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens([w for w in words if w.startswith("[")])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))


def random_batch(
    *, vocab: int, pattern: str, segments: bool, lengths: tuple[int, ...] = (7, 12, 1, 16), seed: int = 1
) -> Batch:
    """Ragged rows, right-padded with id 0."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    units = torch.randint(4, vocab, (len(lengths), width), generator=generator)
    real = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    pair = torch.randint(0, 2, units.shape, generator=generator) * real if segments else None
    return Batch(units=units * real, lengths=torch.tensor(lengths), pattern=pattern, segments=pair)  # type: ignore[arg-type]


@torch.no_grad()
def reference(model: Any, batch: Batch, *, pad: int = 0) -> Any:
    """transformers' own outputs with all hidden states."""
    real = (torch.arange(batch.units.shape[1])[None] < batch.lengths[:, None]).long()
    given = {"token_type_ids": batch.segments} if batch.segments is not None else {}
    units = torch.where(real.bool(), batch.units, torch.full_like(batch.units, pad))
    return model(input_ids=units, attention_mask=real, output_hidden_states=True, **given)


def real_difference(ours: torch.Tensor, theirs: torch.Tensor, batch: Batch) -> float:
    """Largest difference over real positions."""
    real = torch.arange(batch.units.shape[1])[None] < batch.lengths[:, None]
    return float((ours - theirs)[real].abs().max())
