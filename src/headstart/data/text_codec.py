"""TextCodec: texts -> token ids and back, around a Hugging Face `tokenizers.Tokenizer`.

Enters: strings, pairs of strings, or rows of words. Leaves: one int32 array of ids per row, special tokens included
as the tokenizer's own post-processor places them. Truncation and padding baked into a tokenizer.json are switched
off: truncation happens here, where it is counted, and padding in `batching.collate`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from headstart.ground.errors import ConfigError, DataError, safe_repr

Ids = NDArray[np.int32]
Text = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Special:
    """Ids of the special tokens; None where a tokenizer has none. bos is [CLS] or <s>, eos is [SEP] or </s>.

    `pad` always has a value, because padded positions are hidden from the model by their length, not by their id.
    """

    pad: int
    bos: int | None = None
    eos: int | None = None
    mask: int | None = None
    unk: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of many rows.

    ids: one int32 array per row, never empty. segments: same shapes, 0/1 for the members of a pair; None where every
    position is 0. truncated: rows that were cut. lost: tokens that were cut off, over all rows. words: for rows of
    words, the index of the first sub-token of every word, -1 where a word was cut off or has no token at all.
    """

    ids: list[Ids]
    segments: list[Ids] | None = None
    truncated: int = 0
    lost: int = 0
    words: list[Ids] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Ids:
        """(N,) int32, units per row."""
        return np.fromiter((len(row) for row in self.ids), dtype=np.int32, count=len(self.ids))

    def subset(self, rows: Sequence[int] | NDArray[np.int64]) -> Encoded:
        """The given rows, in that order. What was cut is not counted again."""
        chosen = [int(row) for row in rows]
        return Encoded(
            ids=[self.ids[row] for row in chosen],
            segments=None if self.segments is None else [self.segments[row] for row in chosen],
            words=None if self.words is None else [self.words[row] for row in chosen],
        )


@dataclass(frozen=True, slots=True)
class TextCodec:
    """A tokenizer with its special ids and the longest row its trunk has positions for."""

    tokenizer: Tokenizer = field(repr=False, compare=False)
    special: Special
    max_positions: int
    chat_template: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    @property
    def vocab_size(self) -> int:
        """Ids in use: one more than the highest id, added tokens included."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    @property
    def uses_segments(self) -> bool:
        """True where an encoder's template gives the second member of a pair segment 1 (BERT)."""
        return self._is_encoder() and max(self.tokenizer.encode("a", "b").type_ids, default=0) > 0

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the tokenizer, for lineage."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    def with_max_positions(self, max_positions: int) -> TextCodec:
        """The same codec for a trunk with another number of positions."""
        return replace(self, max_positions=max_positions)

    def encode(
        self, texts: Sequence[Text], pairs: Sequence[str] | None = None, *, max_length: int | None = None
    ) -> Encoded:
        """Ids of every row, at most `max_length` (default and upper limit: max_positions) with special tokens.

        A pair that is too long loses tokens from its longer member first. Words (a tuple of strings per row) keep
        their places in `Encoded.words`.

        Raises:
            DataError: a row holds what no tokenizer can read (a lone surrogate, not a string).
            ConfigError: max_length leaves no room for a token beside the special ones.
        """
        words = bool(texts) and not isinstance(texts[0], str)
        limit = min(max_length or self.max_positions, self.max_positions)
        room = limit - self._num_added(pairs is not None)
        if room < 1:
            raise ConfigError(
                f"max_length is {limit}; expected more than the {limit - room} special tokens of this tokenizer. "
                f"Give at least {limit - room + 1}."
            )
        given = self._words_with_spaces(texts) if words else list(texts)
        encodings = self._encode_batch(given, pairs, words=words)
        truncated = lost = 0
        for row, encoding in enumerate(encodings):
            if len(encoding.ids) > limit:
                second = None if pairs is None else pairs[row]
                encodings[row] = self._encode_cut(given[row], second, words=words, room=room)
                lost += len(encoding.ids) - len(encodings[row].ids)
                truncated += 1
        filler = next(i for i in (self.special.bos, self.special.eos, self.special.pad) if i is not None)
        ids = [np.asarray(e.ids or [filler], dtype=np.int32) for e in encodings]
        places = [_first_tokens(e, len(given[row])) for row, e in enumerate(encodings)] if words else None
        return Encoded(ids, self._segments(encodings, ids) if pairs is not None else None, truncated, lost, places)

    def encode_plain(self, texts: Sequence[str]) -> list[Ids]:
        """Ids without special tokens and without truncation, for continuations and for packing a corpus."""
        return [np.asarray(e.ids, dtype=np.int32) for e in self._encode_batch(list(texts), None, specials=False)]

    def decode(self, ids: Sequence[int] | Ids, *, skip_special: bool = True) -> str:
        """Text of one row of ids."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json as transformers 4 and 5 read them."""
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")
        config: dict[str, Any] = {
            "backend": "tokenizers",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.max_positions,
            "clean_up_tokenization_spaces": False,
            "padding_side": "right",
            "model_input_names": ["input_ids", *(["token_type_ids"] if self.uses_segments else []), "attention_mask"],
        }
        special = self.special
        roles = {"pad_token": special.pad, "mask_token": special.mask, "unk_token": special.unk}
        if not self.uses_segments:
            roles |= {"bos_token": special.bos, "eos_token": special.eos}
        if self._is_encoder():
            roles |= {"cls_token": special.bos, "sep_token": special.eos}
        tokens = {name: None if i is None else self.tokenizer.id_to_token(i) for name, i in roles.items()}
        config |= {name: token for name, token in tokens.items() if token is not None}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        if self.chat_template is not None:
            (folder / "chat_template.jinja").write_text(self.chat_template)

    def _is_encoder(self) -> bool:
        """BERT and RoBERTa put a special token on both ends of a text; decoders put one in front, or none."""
        return self.tokenizer.num_special_tokens_to_add(False) > 1

    def _num_added(self, pair: bool) -> int:
        return self.tokenizer.num_special_tokens_to_add(pair) + (1 if pair and self._needs_separator() else 0)

    def _needs_separator(self) -> bool:
        """A template that adds nothing more for a pair than for one text (GPT-2, Qwen) glues the members together.

        Then the end token stands between them, as in the GPT paper's entailment set-up.
        """
        alone, both = (self.tokenizer.num_special_tokens_to_add(pair) for pair in (False, True))
        return self.special.eos is not None and both <= alone

    def _words_with_spaces(self, texts: Sequence[Text]) -> list[list[str]]:
        """Words after the first get their leading space where the tokenizer tells ' a' from 'a' (byte-level BPE)."""
        plain = self.tokenizer.encode("a", add_special_tokens=False).ids
        spaced = self.tokenizer.encode(" a", add_special_tokens=False).ids
        gap = "" if plain == spaced else " "
        return [[*row[:1], *(gap + word for word in row[1:])] for row in texts]

    def _encode_batch(
        self, rows: list[Any], pairs: Sequence[str] | None, *, words: bool = False, specials: bool = True
    ) -> list[Encoding]:
        if pairs is not None and len(pairs) != len(rows):
            raise DataError(f"{len(rows)} texts came with {len(pairs)} partners; expected as many. Check both lists.")
        given = rows if pairs is None else list(zip(rows, pairs, strict=True))
        try:
            if words:  # the fast variant does not keep word indices
                return self.tokenizer.encode_batch(given, is_pretokenized=True, add_special_tokens=specials)
            if pairs is not None and self._needs_separator():
                first = self.tokenizer.encode_batch_fast(rows, add_special_tokens=False)
                second = self.tokenizer.encode_batch_fast(list(pairs), add_special_tokens=False)
                return [self._join(a, b) for a, b in zip(first, second, strict=True)]
            return self.tokenizer.encode_batch_fast(given, add_special_tokens=specials)
        except (TypeError, UnicodeEncodeError) as problem:
            raise _unreadable(given) from problem

    def _encode_cut(self, first: Any, second: str | None, *, words: bool, room: int) -> Encoding:
        """One row cut to `room` tokens, longest member first, then the tokenizer's template."""
        a = self.tokenizer.encode(first, is_pretokenized=words, add_special_tokens=False)
        b = None if second is None else self.tokenizer.encode(second, add_special_tokens=False)
        keep_a, keep_b = _longest_first(len(a.ids), 0 if b is None else len(b.ids), room)
        a.truncate(keep_a)
        if b is not None:
            b.truncate(keep_b)
        return self._join(a, b)

    def _join(self, a: Encoding, b: Encoding | None) -> Encoding:
        """The tokenizer's template round one member or two."""
        if b is not None and self._needs_separator():
            end = self.tokenizer.id_to_token(cast(int, self.special.eos))
            a = Encoding.merge([a, self.tokenizer.encode(end, add_special_tokens=False)], growing_offsets=False)
        return self.tokenizer.post_process(a, b, add_special_tokens=True)

    def _segments(self, encodings: list[Encoding], ids: list[Ids]) -> list[Ids] | None:
        if not self.uses_segments:
            return None
        return [np.asarray(e.type_ids or [0], dtype=np.int32)[: len(i)] for e, i in zip(encodings, ids, strict=True)]


def _longest_first(a: int, b: int, room: int) -> tuple[int, int]:
    """Lengths after cutting the longer member down to the shorter, and then both.

    As in `tokenizers`, an odd token stays with the member that was longer (the second on a tie).
    """
    if a + b <= room:
        return a, b
    short = min(a, b, room // 2)
    return (room - short, short) if a > b else (short, room - short)


def _first_tokens(encoding: Encoding, num_words: int) -> Ids:
    first = np.full(num_words, -1, dtype=np.int32)
    for place in range(len(encoding.word_ids) - 1, -1, -1):
        word = encoding.word_ids[place]
        if word is not None:
            first[word] = place
    return first


def _unreadable(rows: list[Any]) -> DataError:
    for index, row in enumerate(rows):
        for part in row if isinstance(row, list | tuple) else [row]:
            if not isinstance(part, str):
                return DataError(f"row {index} is {safe_repr(repr(part), 80)}; expected text. Convert it to a string.")
            try:
                part.encode()
            except UnicodeEncodeError:
                return DataError(
                    f"row {index} holds half of a surrogate pair in {safe_repr(part, 80)!r}; "
                    "expected valid Unicode. Repair the text."
                )
    return DataError("a row cannot be tokenised; expected text. Check that every row is a string.")
