"""A small good BERT folder, made without transformers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from headstart.base.families import find_family
from headstart.base.families.family import ANY, Fields
from headstart.data.codec import find_special
from headstart.data.text_codec import TextCodec

CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
}


def word_tokenizer(size: int = 99) -> Tokenizer:
    """One token a word: w4, w5, ...; [CLS] A [SEP] B [SEP]."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(4, size - 1)), "[MASK]"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens([w for w in words if w.startswith("[")])
    return tokenizer


def word_codec(size: int = 99, *, max_positions: int = 24) -> TextCodec:
    """The codec of `word_tokenizer`."""
    tokenizer = word_tokenizer(size)
    return TextCodec(tokenizer, find_special(tokenizer), max_positions)


def good_folder(folder: Path, *, parts: frozenset[str] = frozenset({"trunk", "pooler"}), seed: int = 0) -> Path:
    """A whole BERT folder with random weights."""
    fields = Fields(CONFIG)
    family = find_family(fields)
    generator = torch.Generator().manual_seed(seed)
    slots = family.slots(family.trunk_config(fields), fields)
    state = {
        slot.disk: torch.randn([2 if n == ANY else n for n in slot.shape], generator=generator) * 0.1
        for slot in slots
        if slot.part in parts
    }
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    word_codec().save(folder)
    return folder
