"""Spelling an answer: what it adds to its prompt, whatever the tokenizer does with the beginning of a text."""

from __future__ import annotations

import numpy as np
import pytest
from tests.base.test_decoding import finished
from tests.base.tiny_bases import sentence_codec, tiny_base
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from headstart.base.base import Base
from headstart.base.generating import BROKEN, end_units, prompt_units, spell
from headstart.base.sampling import Sampling
from headstart.data.codec import find_special
from headstart.data.text_codec import TextCodec

PROMPTS = ["the city", "the city of", "of the river.", "the 城市", "the city\n", "the  ", "t", "the ci"]


def metaspace_codec() -> TextCodec:
    tokenizer = sentence_codec().tokenizer
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return TextCodec(tokenizer, find_special(tokenizer), 24)


def word_piece_codec() -> TextCodec:
    words = ["[UNK]", "[CLS]", "[SEP]", "the", "city", "of", "river", "##s", "."]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return TextCodec(tokenizer, find_special(tokenizer), 24)


def units_of(codec: TextCodec, text: str) -> list[int]:
    return codec.encode_plain([text])[0].tolist()


def test_an_answer_adds_to_its_prompt_what_the_whole_text_has() -> None:
    base = tiny_base("llama", codec=sentence_codec())
    codec, compared = base.text_codec, []
    for seed in range(8):
        found = base.generate(PROMPTS, max_tokens=4, temperature=1.0, seed=seed)
        for prompt, read, answer in zip(PROMPTS, prompt_units(codec, PROMPTS), found, strict=True):
            decoder = base.decoder()
            decoder.add(read, Sampling(max_tokens=4, temperature=1.0, seed=seed))
            whole = codec.decode([*read.tolist(), *finished(decoder)[0]])
            if BROKEN not in whole:  # bytes that are no character spoil those of a whole one before them
                assert whole == prompt + answer
                compared.append(answer)
    assert len(compared) > 20
    assert sum(answer.startswith(" ") for answer in compared) > 2


@pytest.mark.parametrize("make", [sentence_codec, metaspace_codec, word_piece_codec])
@pytest.mark.parametrize("whole", ["the city of the river", "the city.", "of the citys of"])
def test_the_first_unit_keeps_its_space(make: type, whole: str) -> None:
    codec = make()
    units = units_of(codec, whole)
    assert codec.decode(units) == whole
    for cut in range(1, len(units)):
        after = end_units(codec, np.array(units[:cut]))
        assert codec.decode(units[:cut]) + spell(codec, units[cut:], after=after) == whole


def test_a_special_unit_at_the_end_of_a_prompt_hides_no_text_before_it() -> None:
    codec = sentence_codec()
    after = end_units(codec, np.array([*units_of(codec, "the city"), codec.special.eos, codec.special.eos]))
    assert spell(codec, units_of(codec, "of"), after=after) == " of"
    assert end_units(codec, np.array([codec.special.eos])) == []


def test_broken_bytes_do_not_spoil_the_character_before_them() -> None:
    codec = sentence_codec()
    prompt, broken = units_of(codec, "the 城"), units_of(codec, "城")[-1:]
    assert spell(codec, broken, after=end_units(codec, np.array(prompt))) == "\ufffd"


@pytest.mark.parametrize("prompt", ["Where is my parcel?", "naïve 漢", "🙂", "a\n", " "])
def test_bytes_spell_the_same_behind_any_prompt(tiny_base: Base, prompt: str) -> None:
    codec = tiny_base.text_codec
    after = end_units(codec, codec.encode_plain([prompt])[0])
    assert prompt.endswith(codec.decode(after))
    for unit in range(codec.vocab_size):
        for skip in (True, False):
            expected = codec.decode([unit], skip_special=skip)
            assert spell(codec, [unit], after=after, skip_special=skip) == expected
    random = np.random.default_rng(0)
    for _ in range(30):
        units = random.integers(0, codec.vocab_size, 20).tolist()
        assert spell(codec, units, after=after) == codec.decode(units)
