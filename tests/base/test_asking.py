"""What a base answers: order, batches, pieces and caches must not change it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.base.tiny_bases import tiny_base

from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.base.lineage import DataRef, Record
from headstart.data.examples import Kind
from headstart.ground.batch import Batch
from headstart.ground.errors import CapabilityError, ConfigError, DataError
from headstart.model.adapters import attach_lora, lora_modules
from headstart.model.heads import Pooling, TaskHead

TEXTS = ["w4 w5 w6", "w7", "w8 w9 w10 w11 w12 w13", "w14 w15", ""]
LABELS = ("bad", "fine", "good")


def adapted(base: Base, kind: Kind = "choice", *, columns: tuple[str, ...] = ("text",), **settings: float) -> Base:
    """A random head under a contract of that kind."""
    pooling: Pooling = "token" if kind == "tags" else "mean"
    contract = TaskContract(kind, () if kind == "score" else LABELS, columns, pooling, 16, "full", **settings)
    head = TaskHead(base.trunk.config.dim, contract.num_outputs, pooling)
    generator = torch.Generator().manual_seed(5)
    for parameter in head.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    record = Record(
        "adapt", {"method": "full"}, parent="0" * 64, data=(DataRef("t.csv", "1" * 64),), results={"accuracy": 0.5}
    )
    return dataclasses.replace(base, head=head.eval(), contract=contract, lineage=(*base.lineage, record))


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3"])
def test_features_are_the_mean_over_real_units_in_the_order_given(family: str) -> None:
    base = tiny_base(family)
    features = base.encode(TEXTS, batch_tokens=16)
    assert features.shape == (5, 32)
    assert features.dtype == np.float32
    for row, text in zip(features, TEXTS, strict=True):
        units = torch.tensor(base.codec.encode([text]).ids[0].astype(np.int64))[None]
        hidden = base.trunk(Batch(units, torch.tensor([units.shape[1]]), base.pattern))[0]
        np.testing.assert_allclose(row, hidden.mean(0).detach().numpy(), atol=2e-5)


def test_no_inputs_no_features() -> None:
    assert tiny_base().encode([]).shape == (0, 32)


def test_pairs_carry_segments() -> None:
    base = tiny_base()
    pair, joined = base.encode([("w4", "w5")]), base.encode(["w4 [SEP] w5"])
    assert not np.allclose(pair, joined)  # same ids, other segments
    np.testing.assert_array_equal(pair, base.encode([{"a": "w4", "b": "w5"}]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("w4 w5", "the rows are one str; expected a list"),
        ([None], "row 0 is None; expected text"),
        (["w4", math.nan], "row 1 is nan; expected text"),
        (["w4", ("w4", "w5")], "row 1 has 2 texts; expected 1"),
        ([("a", "b", "c")], "row 0 has 3 members"),
        ([{"text": "w4"}, {"txet": "w4"}], "row 1 has no 'text'; expected it. Did you mean 'txet'"),
        (7, "the rows are a int"),
    ],
)
def test_wrong_rows_are_named(rows: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tiny_base().encode(rows)


def test_choice_is_the_calibrated_arg_max() -> None:
    base = adapted(tiny_base(), temperature=2.0)
    chances = np.asarray(base.predict_proba(TEXTS))
    np.testing.assert_allclose(chances.sum(1), 1.0)
    assert base.predict(TEXTS) == [LABELS[k] for k in chances.argmax(1)]
    cold = np.asarray(
        dataclasses.replace(base, contract=dataclasses.replace(base.contract, temperature=1.0)).predict_proba(TEXTS)
    )
    scaled = np.sqrt(cold) / np.sqrt(cold).sum(1, keepdims=True)
    np.testing.assert_allclose(chances, scaled, atol=1e-12)
    assert base.predict([]) == []
    assert np.asarray(base.predict_proba([])).shape == (0, 3)
    assert base.predict([{"text": t, "label": "?"} for t in TEXTS]) == base.predict(TEXTS)
    np.testing.assert_allclose(base.predict_proba(TEXTS, batch_tokens=1), chances, atol=1e-6)


def test_a_table_is_rows() -> None:
    pandas = pytest.importorskip("pandas")
    base = adapted(tiny_base(), columns=("first", "second"))
    table = pandas.DataFrame({"second": TEXTS, "first": TEXTS[::-1]})
    assert base.predict(table) == base.predict(list(zip(TEXTS[::-1], TEXTS, strict=True)))
    with pytest.raises(DataError, match="the table has no column 'first'"):
        base.predict(pandas.DataFrame({"firts": TEXTS}))


def test_labels_are_those_from_the_threshold_up() -> None:
    base = adapted(tiny_base(), "labels", threshold=0.7)
    chances = np.asarray(base.predict_proba(TEXTS))
    assert base.predict(TEXTS) == [[LABELS[k] for k in range(3) if row[k] >= 0.7] for row in chances]


def test_a_score_comes_back_on_the_target_scale() -> None:
    plain, scaled = (adapted(tiny_base(), "score", target_mean=m, target_scale=s) for m, s in ((0.0, 1.0), (3.0, 2.0)))
    np.testing.assert_allclose(scaled.predict(TEXTS), np.asarray(plain.predict(TEXTS)) * 2 + 3)
    with pytest.raises(CapabilityError, match="answers with a number"):
        plain.predict_proba(TEXTS)


def test_tags_answer_every_word_of_a_long_row() -> None:
    base = adapted(tiny_base(), "tags")
    long = [f"w{4 + i % 90}" for i in range(40)]  # 40 words, 14 fit beside the two special tokens
    rows = [["w4", "w5"], long, [], ["\u200b", "w4"]]
    found = base.predict(rows)
    assert [len(row) for row in found] == [2, 40, 0, 2]
    chances = base.predict_proba(rows)
    np.testing.assert_allclose(chances[1][14:28], base.predict_proba([long[14:28]])[0], atol=1e-6)
    assert base.predict(["w4 w5"]) == base.predict([["w4", "w5"]])


def test_an_unadapted_base_says_so() -> None:
    with pytest.raises(CapabilityError, match="has no task; expected an adapted base"):
        tiny_base().predict(TEXTS)
    with pytest.raises(CapabilityError, match="cannot generate: it does not read from left to right"):
        tiny_base("bert").generate(["w4"])


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_scores_add_up_and_ignore_their_batch(family: str) -> None:
    base = tiny_base(family)
    contexts, continuations = ["w4 w5", "w6", "", "w4 w5 w6 w7"], [" w8 w9", " w10", "w11 w12", " w13"]
    scores = base.score(contexts, continuations)
    np.testing.assert_allclose(base.score(contexts, continuations, batch_tokens=1), scores, atol=1e-5)
    whole = base.score(["w4 w5"], [" w6 w7 w8"])[0]
    parts = sum(base.score(["w4 w5", "w4 w5 w6", "w4 w5 w6 w7"], [" w6", " w7", " w8"]))
    assert whole == pytest.approx(parts, abs=1e-4)
    every = [math.exp(s) for s in base.score(["w4 w5"] * 94, [f" w{i}" for i in range(4, 98)])]
    assert 0.5 < sum(every) < 1.0  # the five special tokens have the rest


def test_a_continuation_must_fit_and_must_be_there() -> None:
    base = tiny_base("qwen3")
    with pytest.raises(DataError, match="continuation 0 has 60 tokens; expected at most 23"):
        base.score([""], [" ".join(f"w{4 + i}" for i in range(60))])
    with pytest.raises(DataError, match="continuation 0 is empty"):
        base.score(["w4"], [""])


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_the_cache_writes_what_full_passes_write(family: str) -> None:
    base = tiny_base(family)
    prompts = ["w4 w5 w6 w7 w8", "w9", "w10 w11"]
    answers = base.generate(prompts, max_tokens=8)
    for prompt, answer in zip(prompts, answers, strict=True):
        units = [2, *base.codec.encode_plain([prompt])[0].tolist()]
        read = len(units)
        while len(units) < read + 8:
            hidden = base.trunk(Batch(torch.tensor([units]), torch.tensor([len(units)]), "causal"))
            following = int(base.lm(hidden[0, -1], base.trunk.embed.tokens.weight).argmax())  # type: ignore[misc]
            if following == base.codec.special.eos:
                break
            units.append(following)
        assert prompt + answer == base.codec.decode(units)
    assert base.generate(prompts[1:2], max_tokens=8) == answers[1:2]


def test_sampling_depends_on_the_seed_alone() -> None:
    base = tiny_base("qwen3")
    drawn = base.generate(["w4", "w5"], max_tokens=6, seed=1, temperature=1.5)
    assert drawn == base.generate(["w4", "w5"], max_tokens=6, seed=1, temperature=1.5)
    assert drawn != base.generate(["w4", "w5"], max_tokens=6, seed=2, temperature=1.5)
    with pytest.raises(ConfigError, match="max_tokens is 0"):
        base.generate(["w4"], max_tokens=0)


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3"])
@pytest.mark.parametrize("kind", ["choice", "labels", "score", "tags"])
def test_a_saved_folder_predicts_the_same(family: str, kind: Kind, tmp_path: Path) -> None:
    base = tiny_base(family)
    base = adapted(
        dataclasses.replace(base, pattern="full" if family == "qwen3" else base.pattern), kind, temperature=1.3
    )
    again = Base.load(base.save(tmp_path / "out"))
    assert (again.contract, again.lineage, again.pattern, again.name) == (
        base.contract,
        base.lineage,
        base.pattern,
        base.name,
    )
    assert again.report == {"accuracy": 0.5}
    np.testing.assert_array_equal(again.predict(TEXTS[:4]), base.predict(TEXTS[:4])) if kind == "score" else None
    assert kind == "score" or again.predict(TEXTS[:4]) == base.predict(TEXTS[:4])
    assert again.digest == base.digest
    with pytest.raises(ConfigError, match="already holds something"):
        base.save(tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "targets"),
    [("bert", ("q", "v")), ("gpt2", ("q", "v", "up")), ("qwen3", ("q", "k", "v", "o", "gate", "up", "down"))],
)
def test_adapters_come_back(family: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    base = adapted(tiny_base(family))
    attach_lora(base.trunk, rank=3, alpha=7.0, targets=targets)
    for _, module in lora_modules(base.trunk):
        module.lora_b.data.normal_(0, 0.2, generator=torch.Generator().manual_seed(3))
    again = Base.load(base.save(tmp_path / "out"))
    np.testing.assert_allclose(again.encode(TEXTS), base.encode(TEXTS), atol=1e-6)
    assert again.predict(TEXTS) == base.predict(TEXTS)
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").is_file()
    manifest = (tmp_path / "out" / "headstart.json").read_text()
    (tmp_path / "out" / "headstart.json").write_text(manifest.replace('"rank": 3', '"rank": 1000000000'))
    with pytest.raises(ValueError, match=r"the adapter's rank is 1000000000; expected 1 to .* Save the folder again"):
        Base.load(tmp_path / "out")
    (tmp_path / "out" / "headstart.json").write_text(manifest)
    (tmp_path / "out" / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"adapter_model\.safetensors is missing"):
        Base.load(tmp_path / "out")


def test_a_base_is_a_value() -> None:
    base = tiny_base()
    with pytest.raises(dataclasses.FrozenInstanceError):
        base.name = "other"  # type: ignore[misc]
    assert "tiny-bert" in base._repr_html_()
    assert repr(base).startswith("<Base tiny-bert; family: bert, shape: ")
    assert len(repr(Base.load("text-tiny"))) < 300  # whose lineage alone has 30,000 characters
    with pytest.raises(ValueError, match="the family is 'brt'"):
        dataclasses.replace(base, family="brt")


def test_likelihoods_a_token_and_a_byte() -> None:
    base = tiny_base("llama")
    contexts, continuations = ["w4 w5", "w4", "w6"], [" w6 w17 w8", " w9", " w10 w11"]
    whole = np.asarray(base.score(contexts, continuations))
    tokens, texts = [3, 1, 2], [len(text.encode()) for text in continuations]
    np.testing.assert_allclose(base.score(contexts, continuations, each="token"), whole / tokens)
    np.testing.assert_allclose(base.score(contexts, continuations, each="byte"), whole / texts)
    with pytest.raises(ConfigError, match=r"each is 'bytes'; expected text, token or byte\. Did you mean 'byte'"):
        base.score(contexts, continuations, each="bytes")  # type: ignore[arg-type]
