"""The tokenizer of a Hugging Face folder: tokenizer.json, or vocab.txt (WordPiece), or vocab.json + merges.txt.

Enters a folder; leaves a TextCodec. Configs are data: no class they name is looked up. Templates and defaults follow
the original releases: BERT (lower-cased WordPiece, [CLS] A [SEP] B [SEP]), GPT-2 (byte-level BPE, no special tokens),
RoBERTa (byte-level BPE, <s> A </s></s> B </s>).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from headstart.data.text_codec import Encoded, Ids, Special, TextCodec
from headstart.ground.errors import BaseError, safe_repr

__all__ = ["Encoded", "Ids", "Special", "TextCodec", "find_special", "load_tokenizer"]

MAX_FILE_BYTES = 128 << 20  # the largest tokenizer.json in wide use (Gemma, 256k entries) is 33 MB
NO_LIMIT = 1_000_000_000  # transformers writes 1e30 for "no limit"

ROLES = {
    "pad": (("pad_token",), ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>")),
    "bos": (("cls_token", "bos_token"), ("[CLS]", "<s>", "<|bos|>", "<bos>", "<|im_start|>", "<|endoftext|>")),
    "eos": (("sep_token", "eos_token"), ("[SEP]", "</s>", "<|eos|>", "<eos>", "<|im_end|>", "<|endoftext|>")),
    "mask": (("mask_token",), ("[MASK]", "<mask>", "<|mask|>")),
    "unk": (("unk_token",), ("[UNK]", "<unk>")),
}  # fmt: skip


def load_tokenizer(folder: Path | str, *, max_positions: int | None = None) -> TextCodec:
    """The codec of a base folder; `max_positions` (the trunk's) caps the tokenizer's own model_max_length.

    Raises:
        BaseError: no tokenizer file, or one that cannot be read, or special tokens that are not in the vocabulary.
    """
    folder = Path(folder)
    config = _read_json(folder / "tokenizer_config.json") | {}
    if not config.keys() & {"pad_token", "cls_token", "bos_token", "eos_token", "unk_token"}:
        config = _read_json(folder / "special_tokens_map.json") | config
    if (folder / "tokenizer.json").is_file():
        tokenizer = _parse(folder / "tokenizer.json", lambda path: Tokenizer.from_str(_read_text(path)))
    elif (folder / "vocab.txt").is_file():
        tokenizer = _parse(folder / "vocab.txt", lambda path: _wordpiece(path, config))
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = _parse(folder / "merges.txt", lambda path: _byte_level(path, config))
    else:
        raise BaseError(
            f"{folder} has no tokenizer; expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt. "
            f"Copy it from the base this folder came from."
        )
    limit = config.get("model_max_length")
    own = int(limit) if isinstance(limit, int | float) and 0 < limit < NO_LIMIT else None
    known = [n for n in (own, max_positions) if n is not None]
    return TextCodec(tokenizer, _special(tokenizer, config), min(known, default=512), _chat_template(folder, config))


def find_special(tokenizer: Tokenizer) -> Special:
    """Special ids by their usual names, for a tokenizer that comes without a config."""
    return _special(tokenizer, {})


def _special(tokenizer: Tokenizer, config: dict[str, Any]) -> Special:
    ids: dict[str, int | None] = {}
    for role, (keys, usual) in ROLES.items():
        named = [token for key in keys if (token := _token_text(config.get(key))) is not None]
        ids[role] = next((i for t in [*named, *usual] if (i := tokenizer.token_to_id(t)) is not None), None)
    pad = next((i for i in (ids["pad"], ids["eos"], ids["unk"]) if i is not None), 0)
    return Special(pad, ids["bos"], ids["eos"], ids["mask"], ids["unk"])


def _token_text(value: Any) -> str | None:
    """Special tokens are written as a string (v5) or as {"content": ...} (v4)."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _wordpiece(path: Path, config: dict[str, Any]) -> Tokenizer:
    lines = _read_text(path).split("\n")
    tokens = [line.rstrip("\r") for line in (lines[:-1] if lines and not lines[-1] else lines)]
    vocab = {token: index for index, token in enumerate(tokens)}
    unk, cls, sep = (_token_text(config.get(f"{n}_token")) or f"[{n.upper()}]" for n in ("unk", "cls", "sep"))
    for token in (unk, cls, sep):
        if token not in vocab:
            raise BaseError(f"{path} has no {token}; expected BERT's special tokens. Add it to the file.")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unk, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        strip_accents=config.get("strip_accents"),
        lowercase=bool(config.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(cls, vocab[cls]), (sep, vocab[sep])],
    )
    return _with_specials(tokenizer, config)


def _byte_level(path: Path, config: dict[str, Any]) -> Tokenizer:
    spaced = bool(config.get("add_prefix_space", False))
    model = models.BPE.from_file(str(path.with_name("vocab.json")), str(path))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    bos, eos = tokenizer.token_to_id("<s>"), tokenizer.token_to_id("</s>")
    if bos is not None and eos is not None:
        template = processors.RobertaProcessing(("</s>", eos), ("<s>", bos), trim_offsets=True, add_prefix_space=spaced)
        tokenizer.post_processor = template
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _with_specials(tokenizer, config)


def _with_specials(tokenizer: Tokenizer, config: dict[str, Any]) -> Tokenizer:
    """Marks the special tokens, so that they are never split and are skipped in decoding."""
    named = [t for keys, _ in ROLES.values() for key in keys if (t := _token_text(config.get(key))) is not None]
    usual = [t for _, tokens in ROLES.values() for t in tokens]
    present = [t for t in dict.fromkeys([*named, *usual]) if tokenizer.token_to_id(t) is not None]
    tokenizer.add_special_tokens([AddedToken(t, lstrip=t == "<mask>", special=True) for t in present])
    return tokenizer


def _chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _read_text(path)
    inside = config.get("chat_template")
    if isinstance(inside, list):  # several by name, as transformers 4 wrote them
        named = (one for one in inside if isinstance(one, dict) and one.get("name") == "default")
        inside = next(named, {}).get("template")
    return inside if isinstance(inside, str) else None


def _parse(path: Path, parse: Callable[[Path], Tokenizer]) -> Tokenizer:
    try:
        return parse(path)
    except BaseError:
        raise
    except Exception as problem:  # the Rust library raises a bare Exception for every kind of malformed file
        raise BaseError(
            f"{path} is not a readable tokenizer: {safe_repr(str(problem))}; expected what `tokenizers` writes. "
            f"Copy the file again from the base it came from."
        ) from problem


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(_read_text(path))
    except ValueError as problem:
        raise BaseError(f"{path} is not valid JSON: {problem}; expected an object. Copy the file again.") from problem
    if not isinstance(content, dict):
        raise BaseError(f"{path} holds a {type(content).__name__}; expected a JSON object. Copy the file again.")
    return content


def _read_text(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BaseError(f"{path} has {size:,} bytes; expected at most {MAX_FILE_BYTES:,}. Check the file.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise BaseError(f"{path} is not UTF-8 at byte {problem.start}; expected UTF-8. Copy it again.") from problem
