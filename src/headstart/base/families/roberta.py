"""RoBERTa (Liu et al. 2019): BERT's trunk, positions counted from pad_token_id + 1, its own MLM head.

The rows of the position table up to and with the padding row mean nothing to a real token: they are cut on reading
and put back on writing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from headstart.base.families import bert
from headstart.base.families.family import ANY, Fields, Slot
from headstart.model.config import TrunkConfig

DEFAULT_PAD = 1


def trunk_config(fields: Fields) -> TrunkConfig:
    """RobertaConfig in our words; max_positions counts real positions only."""
    bert.refuse_decoder(fields)
    fields.only("hidden_act", "gelu")  # the MLM head is always gelu, so another activation would need two
    rows, skipped = fields.whole("max_position_embeddings", default=512), _skipped(fields)
    if rows <= skipped:
        raise fields.error("max_position_embeddings", f"more than the {skipped} rows up to pad_token_id")
    return bert.encoder_config(fields, max_positions=rows - skipped)


def _skipped(fields: Fields) -> int:
    return fields.index("pad_token_id", default=DEFAULT_PAD) + 1


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, pooler, MLM head and the kept classifiers."""
    return (
        *bert.embedding_slots(config, output_aliases=output_names(config), skip_rows=_skipped(fields)),
        *bert.layer_slots(config, bert.LAYER),
        *head_slots(config),
    )


def output_names(c: TrunkConfig) -> tuple[str, ...]:
    """Where the output matrix stands beside the embedding it is tied to."""
    return ("lm_head.decoder.weight",) if c.tied_output else ()


def head_slots(c: TrunkConfig) -> tuple[Slot, ...]:
    """Pooler, MLM head and the kept classifiers, which MPNet has, too."""
    return (
        *bert.linear("pooler.dense", "pooler.dense", (c.dim, c.dim), part="pooler"),
        *bert.linear("lm_head.dense", "lm.transform", (c.dim, c.dim), part="lm", inside=False),
        *bert.linear("lm_head.layer_norm", "lm.norm", (c.dim,), part="lm", inside=False),
        *bert.output_slots(c, weight="lm_head.decoder.weight", bias="lm_head.decoder.bias", tied_bias="lm_head.bias"),
        *bert.linear("classifier.dense", None, (c.dim, c.dim), part="sequence_classifier", inside=False),
        *bert.linear("classifier.out_proj", None, (ANY, c.dim), part="sequence_classifier", inside=False),
        *bert.linear("classifier", None, (ANY, c.dim), part="classifier", inside=False),
        *bert.linear("qa_outputs", None, (ANY, c.dim), part="qa", inside=False),
    )


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """RobertaConfig of transformers 5."""
    return bert.hf_config(c, pad) | {"model_type": "roberta", "max_position_embeddings": c.max_positions + pad + 1}


ROBERTA = replace(
    bert.BERT,
    name="roberta",
    prefix="roberta.",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "RobertaForSequenceClassification": frozenset({"sequence_classifier"}),
        "RobertaForTokenClassification": frozenset({"classifier"}),
        "RobertaForQuestionAnswering": frozenset({"qa"}),
        "RobertaForMaskedLM": frozenset({"lm"}),
        "RobertaModel": frozenset(),
    },
    ignored=re.compile(r"(roberta\.)?embeddings\.position_ids"),
    traits=None,
)
