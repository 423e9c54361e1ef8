"""A real RoBERTa for the bench and the parity test: sapiens' antibody models, from fairseq's names to Hugging Face's.

In: `checkpoint_vh.pt` / `checkpoint_vl.pt` and `dict.txt` of the wheel sapiens==1.0.5. Out: a Hugging Face folder of
4 layers x 128, fp32, with a one-letter tokenizer. Checked once by masking every residue of a heavy and of a light chain
and predicting it back with transformers: 0.90 and 1.00 right.

    python -m bench.fairseq_roberta CHECKPOINT.pt OUT      # `make bench` does it for the heavy chains
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def fairseq_name(name: str) -> str:
    """fairseq's RoBERTa tensor name in Hugging Face's spelling (transformers convert_roberta_original_... script)."""
    renames = (
        ("decoder.sentence_encoder.embed_tokens.", "roberta.embeddings.word_embeddings."),
        ("decoder.sentence_encoder.embed_positions.", "roberta.embeddings.position_embeddings."),
        ("decoder.sentence_encoder.emb_layer_norm.", "roberta.embeddings.LayerNorm."),
        ("decoder.sentence_encoder.layers.", "roberta.encoder.layer."),
        (".self_attn.q_proj.", ".attention.self.query."),
        (".self_attn.k_proj.", ".attention.self.key."),
        (".self_attn.v_proj.", ".attention.self.value."),
        (".self_attn.out_proj.", ".attention.output.dense."),
        (".self_attn_layer_norm.", ".attention.output.LayerNorm."),
        (".final_layer_norm.", ".output.LayerNorm."),
        (".fc1.", ".intermediate.dense."),
        (".fc2.", ".output.dense."),
        ("decoder.lm_head.weight", "lm_head.decoder.weight"),
        ("decoder.lm_head.", "lm_head."),
    )
    for old, new in renames:
        name = name.replace(old, new)
    return name


def convert_sapiens(checkpoint: Path, symbols: Path, *, out: Path) -> None:
    """Writes a fairseq RoBERTa checkpoint as a Hugging Face folder, fp32; the segment table it lacks is a zero row."""
    import torch
    from safetensors.torch import save_file

    torch.serialization.add_safe_globals([argparse.Namespace])  # the only class in the file; still no pickle code runs
    stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
    shape = stored["args"]
    tensors = {fairseq_name(name): value.clone() for name, value in stored["model"].items()}
    tensors["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, shape.encoder_embed_dim)
    tied = torch.equal(tensors["lm_head.decoder.weight"], tensors["roberta.embeddings.word_embeddings.weight"])
    if tied:
        del tensors["lm_head.decoder.weight"]
    letters = [line.split()[0] for line in symbols.read_text().splitlines()]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"]
    config = {
        "architectures": ["RobertaForMaskedLM"],
        "model_type": "roberta",
        "vocab_size": len(vocabulary),
        "hidden_size": shape.encoder_embed_dim,
        "num_hidden_layers": shape.encoder_layers,
        "num_attention_heads": shape.encoder_attention_heads,
        "intermediate_size": shape.encoder_ffn_embed_dim,
        "hidden_act": shape.activation_fn,
        "max_position_embeddings": shape.max_positions + 2,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.attention_dropout,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": tied,
        "dtype": "float32",
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=1))
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    write_letter_tokenizer(vocabulary, out=out)


def write_letter_tokenizer(vocabulary: list[str], *, out: Path) -> None:
    """A tokenizer.json with one token a letter and RoBERTa's <s> ... </s> frame."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing

    codec = Tokenizer(WordLevel({token: row for row, token in enumerate(vocabulary)}, unk_token="<unk>"))
    codec.pre_tokenizer = Split(Regex("."), behavior="isolated")
    codec.add_special_tokens([token for token in vocabulary if token.startswith("<")])
    codec.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    codec.save(str(out / "tokenizer.json"))
    named = {"cls": "<s>", "bos": "<s>", "pad": "<pad>", "sep": "</s>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **{f"{name}_token": token for name, token in named.items()}}
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    """Convert one checkpoint; its dict.txt lies beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    convert_sapiens(arguments.checkpoint, arguments.checkpoint.with_name("dict.txt"), out=arguments.out)


if __name__ == "__main__":
    main()
