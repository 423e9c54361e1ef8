"""TextCodec against transformers (ids, segments, pair truncation, round trip) and on its own promises."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers

from headstart.data.codec import Special, TextCodec, find_special, load_tokenizer
from headstart.ground.errors import BaseError, ConfigError, DataError

TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Where is my card?  It has been 12 days!",
    "naïve café — Ünïcödé 漢字 🎉",
    "a",
    "don't stop; won't stop (ever)…",
    "word " * 60,
]
PARTNERS = [
    "A fox is quick.",
    "My card has not come yet, and I am waiting " * 4,
    "x",
    "b " * 50,
    "It stops.",
    "word " * 60,
]


def wordpiece_folder(folder: Path) -> Path:
    letters = sorted({c for text in [*TEXTS, *PARTNERS] for c in text.lower() if not c.isspace()})
    words = sorted({w for text in [*TEXTS, *PARTNERS] for w in text.lower().split() if w.isalpha()})[::2]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *words]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocab)) + "\n", encoding="utf-8")
    return folder


def byte_level_folder(folder: Path, specials: list[str]) -> Path:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS + PARTNERS, vocab_size=400, special_tokens=specials, show_progress=False)
    trained.save_model(str(folder))
    return folder


def folder_of(kind: str, folder: Path) -> Path:
    folder.mkdir()
    if kind == "bert":
        return wordpiece_folder(folder)
    return byte_level_folder(
        folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if kind == "roberta" else ["<|endoftext|>"]
    )


def oracle(kind: str, folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    name = {"bert": "BertTokenizerFast", "roberta": "RobertaTokenizerFast", "gpt2": "GPT2TokenizerFast"}[kind]
    return getattr(transformers, name).from_pretrained(folder)


@pytest.mark.parametrize("max_length", [512, 31, 16, 9, 6])
@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_same_ids_as_transformers(kind: str, max_length: int, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / kind)
    theirs = oracle(kind, folder)
    ours = load_tokenizer(folder)
    encoded = ours.encode(TEXTS, max_length=max_length)
    expected = theirs(TEXTS, truncation=True, max_length=max_length)["input_ids"]
    assert [row.tolist() for row in encoded.ids] == expected
    full = theirs(TEXTS)["input_ids"]
    assert encoded.truncated == sum(len(row) > max_length for row in full)
    assert encoded.lost == sum(max(0, len(row) - max_length) for row in full)
    if kind == "gpt2":
        return  # transformers glues the members of a pair together; ours stand apart (see below)
    pairs = ours.encode(TEXTS, PARTNERS, max_length=max_length)
    expected = theirs(TEXTS, PARTNERS, truncation="longest_first", max_length=max_length)
    assert [row.tolist() for row in pairs.ids] == expected["input_ids"]
    if kind == "bert":
        assert pairs.segments is not None
        assert [row.tolist() for row in pairs.segments] == expected["token_type_ids"]
    else:
        assert pairs.segments is None


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_round_trip_through_our_folder_and_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    codec = load_tokenizer(folder_of(kind, tmp_path / kind), max_positions=77)
    (tmp_path / "out").mkdir()
    codec.save(tmp_path / "out")
    again = load_tokenizer(tmp_path / "out")
    assert (again.special, again.digest, again.max_positions) == (codec.special, codec.digest, 77)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (
        theirs(TEXTS)["input_ids"] == [row.tolist() for row in again.encode(TEXTS, max_length=77).ids] or kind == "gpt2"
    )
    assert theirs.model_max_length == 77
    assert (theirs.pad_token_id, theirs.mask_token_id) == (codec.special.pad, codec.special.mask)
    first = theirs.cls_token_id if kind == "bert" else theirs.bos_token_id
    assert first == codec.special.bos


def test_real_minilm(bases: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = next((p.parent for p in sorted(bases.glob("**/tokenizer.json")) if "minilm" in str(p).lower()), None)
    if folder is None:
        pytest.skip("MiniLM is not among the fetched bases")
    ours, theirs = load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert ours.special == Special(pad=0, bos=101, eos=102, mask=103, unk=100)
    long = [text * 40 for text in TEXTS]
    assert [row.tolist() for row in ours.encode(long).ids] == theirs(long, truncation=True, max_length=512)["input_ids"]


def test_baked_in_padding_and_truncation_are_off(tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of("bert", tmp_path / "bert"))
    codec.tokenizer.enable_padding(length=32)
    codec.tokenizer.enable_truncation(8)
    (tmp_path / "baked").mkdir()
    codec.tokenizer.save(str(tmp_path / "baked" / "tokenizer.json"))
    encoded = load_tokenizer(tmp_path / "baked").encode(["a", "word " * 60])
    assert [len(row) for row in encoded.ids] == [3, 62]


def test_members_of_a_pair_stand_apart_without_a_template(tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of("gpt2", tmp_path / "gpt2"))
    encoded = codec.encode(["a fox"], ["b " * 100], max_length=12)
    assert encoded.segments is None
    (row,) = encoded.ids
    assert len(row) == 12
    assert row.tolist().count(codec.special.eos or -1) == 1 or codec.special.eos == 0
    assert "<|endoftext|>" in codec.decode(row, skip_special=False)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_words_keep_their_places(kind: str, tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of(kind, tmp_path / kind))
    rows = [("The", "quick", "fox"), ("Unbelievable", "!"), ("word",) * 40]
    encoded = codec.encode(rows, max_length=16)
    assert encoded.words is not None
    assert encoded.truncated == 1
    plain = codec.encode([" ".join(row) for row in rows[:2]])
    assert [row.tolist() for row in encoded.ids[:2]] == [row.tolist() for row in plain.ids]
    for row, places, ids in zip(rows, encoded.words, encoded.ids, strict=True):
        assert len(places) == len(row)
        real = places[places >= 0]
        assert (np.diff(real) > 0).all()
        assert (real < len(ids)).all()
    assert (encoded.words[2] == -1).sum() > 0
    second = codec.decode(encoded.ids[0][encoded.words[0][1] : encoded.words[0][2]])
    assert second.replace("#", "").strip().replace(" ", "") in {"quick", "unk"} or codec.special.unk is not None


def test_a_word_without_a_token_has_no_place(tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of("bert", tmp_path / "bert"))
    encoded = codec.encode([("a", "\u200b\u0000", "b")])
    assert encoded.words is not None
    assert encoded.words[0].tolist()[1] == -1


def test_empty_texts_have_one_unit(tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of("gpt2", tmp_path / "gpt2"))
    encoded = codec.encode(["", "a"])
    assert encoded.lengths.tolist() == [1, 1]
    assert codec.encode([]).ids == []


def test_bad_texts_are_named(tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of("bert", tmp_path / "bert"))
    with pytest.raises(DataError, match="row 1 holds half of a surrogate pair"):
        codec.encode(["fine", "\ud800"])
    with pytest.raises(DataError, match="row 1 is None; expected text"):
        codec.encode(["fine", None])  # type: ignore[list-item]
    with pytest.raises(DataError, match="2 texts came with 1 partners"):
        codec.encode(["a", "b"], ["c"])
    with pytest.raises(ConfigError, match="max_length is 2; expected more than the 2 special tokens"):
        codec.encode(["a"], max_length=2)


def test_plain_ids_and_decoding(tmp_path: Path) -> None:
    codec = load_tokenizer(folder_of("roberta", tmp_path / "roberta"))
    for text, ids in zip(TEXTS, codec.encode_plain(TEXTS), strict=True):
        assert codec.decode(ids) == text
    assert codec.decode(codec.encode(["a fox"]).ids[0]) == "a fox"


def test_special_tokens_without_a_config() -> None:
    tokenizer = Tokenizer(
        models.WordLevel({"<|pad|>": 0, "<|bos|>": 1, "<|eos|>": 2, "<|mask|>": 3, "a": 4}, unk_token="a")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert find_special(tokenizer) == Special(pad=0, bos=1, eos=2, mask=3)
    assert TextCodec(tokenizer, find_special(tokenizer), 8).vocab_size == 5


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has no tokenizer; expected tokenizer.json, or vocab.txt"),
        ({"vocab.txt": b"a\nb\n"}, r"vocab\.txt has no \[UNK\]"),
        ({"tokenizer.json": b"{}"}, "is not a readable tokenizer"),
        ({"tokenizer.json": b"not json"}, "is not a readable tokenizer"),
        ({"tokenizer.json": b"\xff\xfe"}, "is not UTF-8"),
        ({"vocab.json": b"{", "merges.txt": b""}, "is not a readable tokenizer"),
        ({"vocab.txt": b"[PAD]\n", "tokenizer_config.json": b"[]"}, "holds a list; expected a JSON object"),
        ({"vocab.txt": b"[PAD]\n", "tokenizer_config.json": b"{"}, "is not valid JSON"),
    ],
)
def test_bad_folders_are_refused(files: dict[str, bytes], says: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BaseError, match=says):
        load_tokenizer(tmp_path)


def test_config_spellings_of_four_and_five(tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path / "bert")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "cls_token": {"content": "[CLS]"},
                "model_max_length": 1e30,
                "do_lower_case": False,
                "chat_template": "{{ x }}",
            }
        )
    )
    codec = load_tokenizer(folder, max_positions=128)
    assert codec.max_positions == 128
    assert codec.special.bos == 2
    assert codec.chat_template == "{{ x }}"
    assert codec.encode(["The"]).ids[0].tolist() != codec.encode(["the"]).ids[0].tolist()


@pytest.mark.parametrize(
    ("templates", "chosen"),
    [
        ([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}], "b"),
        ([{"name": "tool_use", "template": "a"}], None),
        ([1, {"name": ["default"]}, {"name": "default", "template": 3}], None),
    ],
)
def test_the_default_of_several_chat_templates(templates: list[object], chosen: str | None, tmp_path: Path) -> None:
    folder = folder_of("bert", tmp_path / "bert")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    assert load_tokenizer(folder).chat_template == chosen
