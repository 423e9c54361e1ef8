"""The Hugging Face families Headstart reads and writes; the only place that knows their names."""

from __future__ import annotations

from headstart.base.families.bert import BERT
from headstart.base.families.dinov2 import DINOV2
from headstart.base.families.distilbert import DISTILBERT
from headstart.base.families.family import Family, Fields, Slot
from headstart.base.families.gpt2 import GPT2
from headstart.base.families.llama import LLAMA_LIKE
from headstart.base.families.mpnet import MPNET
from headstart.base.families.roberta import ROBERTA
from headstart.base.families.spectrogram import AST
from headstart.base.families.vit import VIT
from headstart.base.families.vit_mae import VIT_MAE
from headstart.ground.errors import BaseError, did_you_mean, safe_repr

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (BERT, ROBERTA, DISTILBERT, MPNET, GPT2, *LLAMA_LIKE.values(), VIT, VIT_MAE, DINOV2, AST)
}

__all__ = ["FAMILIES", "Family", "Fields", "Slot", "find_family"]


def find_family(fields: Fields) -> Family:
    """The family of a config: by model_type; by its architectures or BERT's own keys where old files lack model_type.

    Raises:
        BaseError: the family is unknown, or nothing names one.
    """
    kind = fields.values.get("model_type")
    if kind is None:
        kind = _from_architectures(fields.values.get("architectures")) or _from_keys(fields)
    if isinstance(kind, str) and kind in FAMILIES:
        return FAMILIES[kind]
    if kind is None:
        raise BaseError(f"{fields.where} names no model_type; expected one of {', '.join(FAMILIES)}. Add it.")
    hint = did_you_mean(kind, FAMILIES) if isinstance(kind, str) else ""
    raise BaseError(
        f"{fields.where}: model_type is {safe_repr(repr(kind), 80)}; expected one of {', '.join(FAMILIES)}.{hint} "
        "Use a base of a known family."
    )


def _from_architectures(names: object) -> str | None:
    known = {architecture: family.name for family in FAMILIES.values() for architecture in family.architectures}
    return known.get(str(names[0])) if isinstance(names, list) and names else None


def _from_keys(fields: Fields) -> str | None:
    """Configs from before model_type existed (2019) are BERT's where they have segments and BERT's padding id."""
    bert_keys = {"hidden_size", "num_hidden_layers", "type_vocab_size", "intermediate_size", "vocab_size"}
    return "bert" if bert_keys <= fields.values.keys() and fields.values.get("pad_token_id", 0) == 0 else None
