"""Small bases with random weights, made without any file."""

from __future__ import annotations

import torch
from tests.base.tiny_folders import CONFIG, word_codec
from tokenizers import Tokenizer, decoders, models, normalizers

from headstart.base.base import Base
from headstart.base.families import FAMILIES
from headstart.base.families.family import Fields
from headstart.data.codec import find_special
from headstart.data.text_codec import TextCodec
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk

LLAMA = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
    "head_dim": 8,
    "tie_word_embeddings": True,
}
GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
CONFIGS = {"bert": CONFIG, "llama": LLAMA, "qwen3": LLAMA, "gpt2": GPT2}


def sentence_codec() -> TextCodec:
    """SentencePiece as Llama 2 has it: a space begins a unit, bytes for what is unknown, no space before a text."""
    words = ["▁", *(f"▁{word}" for word in ("the", "city", "of", "river")), *"theciyofrvs", "ing", "."]
    bytes_of = [f"<0x{byte:02X}>" for byte in sorted({*"城市\n".encode()})]
    vocabulary = [("<unk>", -9.0), ("<s>", -9.0), ("</s>", -9.0), *((one, -9.0) for one in bytes_of)]
    vocabulary += [(word, float(len(word))) for word in words]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return TextCodec(tokenizer, find_special(tokenizer), LLAMA["max_position_embeddings"])


def tiny_base(family: str = "bert", *, seed: int = 0, codec: TextCodec | None = None) -> Base:
    """Every parameter random, norms near one."""
    row = FAMILIES[family]
    codec = codec or word_codec()
    config = row.trunk_config(Fields({**CONFIGS[family], "vocab_size": codec.vocab_size}))
    trunk, lm = Trunk(config), LMHead(config, transform=row.lm_transform, bias=row.lm_bias)
    generator = torch.Generator().manual_seed(seed)
    for module in (trunk, lm):
        for name, parameter in module.named_parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + ("norm" in name) * 1.0
    return Base(trunk.eval(), codec, family, row.pattern, f"tiny-{family}", lm=lm.eval())
