"""MPNet (Song et al. 2020): RoBERTa's trunk and MLM head without segments, and a bias for the distance of two units.

The bias is one table, (32 buckets, heads), for all layers. Names as transformers' MPNetForMaskedLM writes them; there
positions are counted from 2 whatever the padding id, so another id than 1 is refused.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from headstart.base.families import bert, roberta
from headstart.base.families.family import Fields, Slot
from headstart.model.config import DISTANCE_BUCKETS, TrunkConfig

PAD = 1
SKIPPED = PAD + 1  # rows of the position table that no real unit has
LAYER = {
    **{f"attention.attn.{name}": (f"attn.{name}", ("dim", "dim")) for name in "qkvo"},
    "attention.LayerNorm": ("norm1", ("dim",)),
    "intermediate.dense": ("mlp.up", ("mlp_dim", "dim")),
    "output.dense": ("mlp.down", ("dim", "mlp_dim")),
    "output.LayerNorm": ("norm2", ("dim",)),
}


def trunk_config(fields: Fields) -> TrunkConfig:
    """MPNetConfig in our words; max_positions counts real positions only."""
    bert.refuse_decoder(fields)
    fields.only("hidden_act", "gelu")  # the MLM head is always gelu, so another activation would need two
    fields.only("pad_token_id", PAD)
    fields.only("relative_attention_num_buckets", DISTANCE_BUCKETS)
    rows = fields.whole("max_position_embeddings", default=512)
    if rows <= SKIPPED:
        raise fields.error("max_position_embeddings", f"more than the {SKIPPED} rows up to the padding's")
    encoder = bert.encoder_config(fields, max_positions=rows - SKIPPED)
    return replace(encoder, position="learned_relative", num_segments=0)


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, pooler, MLM head and the kept classifiers."""
    relative = (DISTANCE_BUCKETS, config.num_heads)
    return (
        *bert.embedding_slots(config, output_aliases=roberta.output_names(config), skip_rows=SKIPPED),
        Slot("encoder.relative_attention_bias.weight", ("trunk.relative.weight",), relative),
        *bert.layer_slots(config, LAYER),
        *roberta.head_slots(config),
    )


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """MPNetConfig of transformers 5."""
    written = bert.hf_config(c, PAD) | {
        "model_type": "mpnet",
        "max_position_embeddings": c.max_positions + SKIPPED,
        "relative_attention_num_buckets": DISTANCE_BUCKETS,
    }
    del written["type_vocab_size"], written["position_embedding_type"]
    return written


MPNET = replace(
    roberta.ROBERTA,
    name="mpnet",
    prefix="mpnet.",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "MPNetForSequenceClassification": frozenset({"sequence_classifier"}),
        "MPNetForTokenClassification": frozenset({"classifier"}),
        "MPNetForQuestionAnswering": frozenset({"qa"}),
        "MPNetForMaskedLM": frozenset({"lm"}),
        "MPNetModel": frozenset(),
    },
    ignored=re.compile(r"(mpnet\.)?embeddings\.position_ids"),
    whole_tokenizer=True,
)
