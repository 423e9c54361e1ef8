"""Choosing what to ask: words from label names, demonstrations that nest, biases that take a prior out."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.train.tiny_base import tiny_base, toy_task

from headstart.base.prompted import shares
from headstart.ground.errors import CapabilityError, ConfigError, DataError
from headstart.prompt.asking import Prompting, prompted
from headstart.prompt.correcting import bias_of
from headstart.prompt.demonstrations import draw_shots
from headstart.prompt.verbalisers import Verbaliser, choose_words, levels_of, read_pairs, readable

CODEC = tiny_base().codec


@pytest.mark.parametrize(
    ("name", "word"),
    [("positive", "positive"), ("Sci/Tech", "Sci/Tech"), ("HUM", "hum"), ("order_status", "order status"),
     ("creditCard", "credit Card"), ("_", "_"), ("A", "A"), ("3", "3")],
)  # fmt: skip
def test_label_names_are_read_as_words(name: str, word: str) -> None:
    assert readable(name) == word


def test_levels_are_the_numbers_that_occur_or_cover_them() -> None:
    assert levels_of([3, 1, 2, 1]) == (1, 2, 3)
    assert levels_of(np.linspace(0, 5, 40).tolist()) == (0, 1, 2, 3, 4, 5)
    assert levels_of(np.linspace(0, 1000, 40).tolist()) == (0, 250, 500, 750, 1000)
    assert levels_of(np.linspace(5.0001, 5.0002, 40).tolist()) == (5.0001, 5.00012, 5.00015, 5.00018, 5.0002)
    assert levels_of([1e6 + one for one in range(41)]) == (1000000, 1000010, 1000020, 1000030, 1000040)


@pytest.mark.parametrize(
    ("levels", "spelt"),
    [
        ((1, 2.5, 10), ("1", "2.5", "10")),
        ((1e6, 2e6), ("1e+06", "2e+06")),
        ((1000001, 1000002, 1000003), ("1000001", "1000002", "1000003")),
        ((5.0000001, 5.0000002), ("5.0000001", "5.0000002")),
        ((0.1, float(np.nextafter(0.1, 1))), ("0.10000000000000001", "0.10000000000000002")),
    ],
)
def test_levels_are_spelt_so_that_they_can_be_told_apart(levels: tuple[float, ...], spelt: tuple[str, ...]) -> None:
    task = toy_task("score")
    targets = tuple(float(levels[row % len(levels)]) for row in range(len(task.train)))
    task = replace(task, train=replace(task.train, targets=targets))
    assert choose_words(task, CODEC, {}) == Verbaliser(spelt, levels=levels)
    assert choose_words(task, CODEC, {spelt[1]: "mid"}).words == (spelt[0], "mid", *spelt[2:])
    with pytest.raises(ConfigError, match=re.escape(f"expected some of {', '.join(spelt)}")):
        choose_words(task, CODEC, {"none": "mid"})


def test_the_answers_can_be_respelt_where_a_label_is_called_like_one() -> None:
    task = replace(toy_task("labels"), labels=("other", "yes"))
    found = choose_words(task, CODEC, {"yes": "ja", "no": "nein", "other": "else"})
    assert found == Verbaliser(("nein", "ja"), options=("else", "yes"))


def test_words_can_be_given_and_unknown_names_are_refused() -> None:
    task = toy_task()
    assert choose_words(task, CODEC, {"negative": "bad", "positive": "good"}).words == ("bad", "good")
    with pytest.raises(ConfigError, match=r"spells 'positiv'.*Did you mean 'positive'"):
        choose_words(task, CODEC, {"positiv": "good"})
    assert read_pairs(["a=b,c = d", "e=f"]) == {"a": "b", "c": "d", "e": "f"}
    for bad in ("a", "=b", "a=b,a=c"):
        with pytest.raises(ConfigError, match="label=word"):
            read_pairs([bad])


@pytest.mark.parametrize("how", ["balanced", "random"])
@pytest.mark.parametrize("kind", ["choice", "labels", "score"])
def test_shots_nest_and_depend_on_the_seed_alone(kind: str, how: str) -> None:
    task = toy_task(kind)  # type: ignore[arg-type]
    words = choose_words(task, CODEC, {})
    many = draw_shots(task, words, how=how, count=16, seed=3)  # type: ignore[arg-type]
    assert draw_shots(task, words, how=how, count=6, seed=3) == many[:6]  # type: ignore[arg-type]
    assert draw_shots(task, words, how=how, count=16, seed=4) != many  # type: ignore[arg-type]
    if how == "balanced":
        for size in (2, 8, 16):
            assert set(Counter(shot.answer for shot in many[:size]).values()) == {size // 2}
    assert len({shot.text for shot in many}) > 8


def test_more_shots_than_rows_are_refused() -> None:
    task = toy_task(rows=6)
    with pytest.raises(ConfigError, match="--shots is 9; expected at most 6"):
        draw_shots(task, choose_words(task, CODEC, {}), how="balanced", count=9, seed=0)


@pytest.mark.parametrize("given", [-1, 10**18, "3", 2.5, float("nan"), True, None])
def test_shots_are_a_whole_number(given: object) -> None:
    with pytest.raises(ConfigError, match=r"--shots is .*; expected a whole number from 0 to 1,024"):
        Prompting(shots=given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [0, -1, "8", 2.5, True, None])
def test_a_text_keeps_a_whole_number_of_units(given: object) -> None:
    with pytest.raises(ConfigError, match=r"--max-length is .*; expected a whole number from 1"):
        Prompting(max_length=given)  # type: ignore[arg-type]


def test_a_calibration_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--calibration is contextual and --demonstrations nearest; expected batch"):
        Prompting(shots=2, demonstrations="nearest", calibration="contextual")
    assert Prompting(demonstrations="nearest", calibration="contextual").shots == 0  # nothing is shown at all
    task = toy_task()
    task = replace(task, validation=task.validation.subset([]))
    with pytest.raises(ConfigError, match=r"--calibration is batch and toy has no validation rows; expected some"):
        prompted(tiny_base(), task, Prompting(calibration="batch"), seed=0)


def test_a_bias_makes_the_answers_over_its_rows_equally_likely() -> None:
    random = np.random.default_rng(0)
    scores = np.repeat(random.normal(size=(1, 4)) * 5, 7, axis=0)
    np.testing.assert_allclose(shares(scores + np.asarray(bias_of("choice", scores))), 0.25)
    many = np.repeat(random.normal(size=(1, 3, 2)) * 5, 7, axis=0)
    odds = many[..., 1] - many[..., 0] + np.asarray(bias_of("labels", many))
    np.testing.assert_allclose(odds, 0, atol=1e-6)


# --- refused ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_asked_is_refused() -> None:
    base, task = tiny_base(), toy_task()
    with pytest.raises(CapabilityError, match="no language-model head"):
        prompted(replace(base, lm=None), task, Prompting(), seed=0)
    with pytest.raises(CapabilityError, match="tags words"):
        prompted(base, toy_task("tags"), Prompting(), seed=0)
    with pytest.raises(CapabilityError, match="cannot score under the pattern full; expected causal"):
        prompted(replace(base, pattern="causal"), task, Prompting(pattern="full"), seed=0)
    with pytest.raises(DataError, match="have the same tokens"):
        prompted(base, task, Prompting(words={"negative": "bad", "positive": " bad "}), seed=0)
    with pytest.raises(ConfigError, match="an empty word"):
        prompted(base, task, Prompting(words={"negative": "bad", "positive": " "}), seed=0)


@pytest.mark.parametrize(
    ("kind", "words", "template"),
    [
        ("choice", {"negative": "bad", "positive": "good"}, "{{ text }} is {{ label }}"),
        ("labels", {"no": "not", "yes": "very"}, "{{ text }} is {{ option }} {{ label }}"),
        ("score", {"1": "a", "4": "the"}, "{{ text }} is {{ label }}"),
    ],
)
def test_every_kind_becomes_a_contract(kind: str, words: dict[str, str], template: str) -> None:
    task = toy_task(kind)  # type: ignore[arg-type]
    base = tiny_base()
    found = prompted(base, task, Prompting(shots=2, words=words, templates=(template,)), seed=0)
    assert [(c.method, c.asked) for one in found if (c := one.contract)] == [("few-shot", base.fingerprint)]
    answered = found[0].predict(["good cat", "bad dog"])
    assert len(answered) == 2
    if kind == "score":
        assert all(1 <= value <= 4 for value in answered), "a mean of the levels"  # type: ignore[operator]
