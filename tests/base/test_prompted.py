"""A base asked by a prompt: exact scores, what is refused before any compute, and the folder without weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.base.tiny_bases import tiny_base

from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.base.prompt import BaseReference, Prompt, Shot, check_template
from headstart.base.wording import nearest
from headstart.ground.batch import Pattern
from headstart.ground.errors import BaseError, CapabilityError, ConfigError, DataError
from headstart.model.trunk import Trunk

SHOTS = (Shot("w4 w5", "w40"), Shot("w6", "w41 w42"), Shot("w7 w8", "w43"))
LABELS = ("one", "two", "three")
ROWS = ["w9 w10 w11", "w12", "w4 w5 w13"]


def asked(
    base: Base, *, place: str = "", columns: tuple[str, ...] = ("text",), max_length: int = 8, **changes: Any
) -> Base:
    """`base` with a prompt for three labels."""
    fields = {
        "template": "{{ text }} w50 {{ label }} w51",
        "words": ("w40", "w41 w42", "w43"),
        "pattern": base.score_patterns[0],
        "shots": SHOTS,
        "joiner": " ",
        "base": BaseReference(base.name, place, base.bare.digest),
    }
    prompt = Prompt(**(fields | changes))
    contract = TaskContract(
        "choice", LABELS, columns, "mean", max_length, "few-shot", prompt=prompt, asked=base.fingerprint
    )
    return dataclasses.replace(base, contract=contract)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_causal_scores_are_those_of_every_prompt_alone(family: str) -> None:
    base = tiny_base(family)
    preamble = "w4 w5 w50 w40 w51 w6 w50 w41 w42 w51 w7 w8 w50 w43 w51 "
    expected = [[base.score([f"{preamble}{row} w50"], [f" {w}"])[0] for w in ("w40", "w41 w42", "w43")] for row in ROWS]
    for batch_tokens in (1, 30, 2048):
        found = asked(base).label_scores(ROWS, batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_masked_scores_fill_the_answer_in_with_what_follows_it() -> None:
    base = tiny_base("bert")
    found = asked(base, shots=SHOTS[:1]).label_scores(ROWS)
    expected = base.score_words(
        [f"w4 w5 w50 w40 w51 {row} w50" for row in ROWS], ["w40", "w41 w42", "w43"], afters=["w51"] * 3, pattern="full"
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_probabilities_are_the_softmax_of_scores_and_bias() -> None:
    base = asked(tiny_base("llama"), calibration="batch", bias=(0.5, -1.0, 2.0))
    outputs = base.label_scores(ROWS) + np.asarray([0.5, -1.0, 2.0])
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    np.testing.assert_allclose(base.predict_proba(ROWS), raised / raised.sum(axis=1, keepdims=True), atol=1e-12)
    assert base.predict(ROWS) == [LABELS[place] for place in outputs.argmax(axis=1)]
    assert len(base.predict([])) == 0


def test_the_nearest_demonstration_stands_next_to_the_row() -> None:
    near = asked(tiny_base("llama"), nearest=1)
    expected = tiny_base("llama").score(["w6 w50 w41 w42 w51 w6 w50"], [" w40"])[0]
    assert near.label_scores(["w6"])[0, 0] == pytest.approx(expected, abs=1e-5), "its own text is nearest to a row"
    pool = np.asarray([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=np.float32)
    assert nearest(np.asarray([[0.9, 0.3]], dtype=np.float32), pool, count=2).tolist() == [[1, 0]]


def test_long_texts_lose_their_end() -> None:
    base = tiny_base("llama")
    short, long = ["w9 w10"], ["w9 w10 w11 w12 w13 w14"]
    assert asked(base, max_length=2).predict_proba(long) == pytest.approx(asked(base).predict_proba(short), abs=1e-6)


# --- refused before any compute --------------------------------------------------------------------------------------


@pytest.fixture
def no_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading anything is a failure."""

    def refuse(self: Trunk, *arguments: object, **named: object) -> None:
        raise AssertionError("the trunk was run")

    monkeypatch.setattr(Trunk, "forward", refuse)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for c in text %}{{ c }}{% endfor %} {{ label }}", "has a for in line 1"),
        ("{% if text %}{{ text }}{% endif %} {{ label }}", "has a if in line 1"),
        ("{{ text.__class__ }} {{ label }}", "has a getattr in line 1"),
        ("{{ text['x'] }} {{ label }}", "has a getitem in line 1"),
        ("{{ text.upper() }} {{ label }}", "has a call in line 1"),
        ("{{ text|pprint }} {{ label }}", "has a filter in line 1"),
        ("{{ text }} {{ answer }} {{ label }}", "names 'answer'"),
        ("{{ text }} {{ label", "cannot be read"),
        ("{{ text }}", "0 places for the answer"),
        ("{{ text }} {{ label }} {{ label }}", "2 places for the answer"),
        ("{{ text }} {{ label|upper }}", "has a filter on the answer"),
        ("{{ text }}{% raw %} {{ label }}{% endraw %}{{ label|length }}", "has a filter on the answer"),
        ("{{ text }}{% raw %} {{ label }}{% endraw %}", "0 places for the answer"),
        ("{{ text }}\x00 {{ label }}", r"holds the character U\+0000"),
        ("{{ text|replace('a', '\\x00') }} {{ label }}", r"holds the character U\+0000"),
        ("{{ text" + "|upper" * 250 + " }} {{ label }}", "cannot be read"),  # more than Python compiles
        ("{{ text" + "|upper" * 5_000 + " }} {{ label }}", "cannot be read"),
        ("Answer: {{ label }}", "0 for the text"),
    ],
)
def test_a_template_is_text_and_names_alone(template: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_template(template)


@pytest.mark.parametrize(
    ("template", "lead"),
    [
        ("{{ text }} {{label}}", " "),
        ("{{ text }}{{ label }}", ""),
        ("{{ text }} {# no text #}{{ label }}", " "),
        ("{{ text }} {{- label }}", ""),
        ("{{ text }}{% raw %} {{ label }}:{% endraw %}{{ label }}", ""),
    ],
)
def test_the_white_space_before_the_answer_is_the_templates_not_its_spellings(template: str, lead: str) -> None:
    assert Prompt(template, ("a", "b"), "causal").lead == lead


def test_a_pair_needs_a_place_for_both_and_a_row_for_one() -> None:
    with pytest.raises(ConfigError, match=r"has no place \{\{ pair \}\}"):
        asked(tiny_base("llama"), columns=("a", "b"))
    with pytest.raises(ConfigError, match=r"has a place \{\{ option \}\}"):
        asked(tiny_base("llama"), template="{{ text }} {{ option }} {{ label }}")


@pytest.mark.usefixtures("no_compute")
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_prompt_that_is_too_long_says_both_numbers(family: str) -> None:
    base = asked(tiny_base(family), max_length=20)
    ends = {"llama": 1, "bert": 2}[family]  # [CLS], and [SEP] where it stands; what follows the answer too
    units = ends + 15 + 12 + 1 + 2 + (family == "bert")
    with pytest.raises(DataError, match=f"row 1 has {units} tokens; expected at most 24"):
        base.label_scores(["w9", " ".join(["w9"] * 12)])


@pytest.mark.usefixtures("no_compute")
def test_a_base_that_cannot_score_says_so() -> None:
    base = dataclasses.replace(tiny_base("llama"), lm=None)
    with pytest.raises(CapabilityError, match="cannot score"):
        base.score_words(ROWS, ["w40", "w41"])
    with pytest.raises(DataError, match="has no tokens"):
        tiny_base("llama").score_words(ROWS, [" ", "w41"])


@pytest.mark.usefixtures("no_compute")
@pytest.mark.parametrize(("family", "pattern"), [("llama", "causal"), ("bert", "full")])
def test_words_are_asked_of_lists_of_texts(family: str, pattern: Pattern) -> None:
    base = tiny_base(family)
    with pytest.raises(DataError, match="2 befores came with 1 afters; expected as many"):
        base.score_words(ROWS[:2], ["w40", "w41"], afters=["w51"], pattern=pattern)
    with pytest.raises(DataError, match="befores is 'w9 w10'; expected a list of texts"):
        base.score_words("w9 w10", ["w40", "w41"], pattern=pattern)
    with pytest.raises(DataError, match="words is 'w40'; expected a list of texts"):
        base.score_words(ROWS, "w40", pattern=pattern)
    with pytest.raises(DataError, match="afters is 'w5'; expected a list of texts"):
        base.score_words(ROWS[:2], ["w40", "w41"], afters="w5", pattern=pattern)


# --- the folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path, tiny_base_folder: Path) -> tuple[Base, Path, Path]:
    """(a prompted base, its folder, the folder of a copy of the tiny base it asks)."""
    Base.load(tiny_base_folder).save(tmp_path / "base")
    base = Base.load(tmp_path / "base")
    found = asked(base, place=base.place, max_length=16)
    found.save(tmp_path / "asks")
    return found, tmp_path / "asks", tmp_path / "base"


def test_no_weights_are_copied_and_answers_stay_the_same(saved: tuple[Base, Path, Path]) -> None:
    found, folder, _ = saved
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "headstart.json"]
    again = Base.load(folder)
    assert again.contract == found.contract
    np.testing.assert_array_equal(again.predict_proba(ROWS), found.predict_proba(ROWS))
    assert "do not pass this folder on" in (folder / "README.md").read_text()


def test_a_base_that_is_gone_or_changed_is_named(saved: tuple[Base, Path, Path]) -> None:
    _, folder, base_folder = saved
    base_folder.rename(base_folder.with_name("elsewhere"))
    with pytest.raises(BaseError, match=r"is not at .*/base; expected it there.*contract.prompt.base.place"):
        Base.load(folder)
    other = Base.load(base_folder.with_name("elsewhere"))
    other.trunk.embed.tokens.weight.data[0, 0] += 1
    other.save(base_folder)
    with pytest.raises(BaseError, match=r"whose weights are [0-9a-f]{12}; expected [0-9a-f]{12}"):
        Base.load(folder)


def add_normalizer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def change(file: str, **values: Any) -> Callable[[Path], None]:
    """Other values at the top of a folder's JSON file."""

    def made(folder: Path) -> None:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | values))

    return made


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (add_normalizer, r"whose tokenizer is [0-9a-f]{12}; expected [0-9a-f]{12}"),
        (change("tokenizer_config.json", mask_token="</s>"), r"whose tokenizer is [0-9a-f]{12}; expected"),
        (
            change("config.json", rope_parameters={"rope_theta": 1e6, "rope_type": "default"}),
            r"whose config says rope_theta is 1000000\.0; expected 10000\.0",
        ),
        (change("headstart.json", pattern="causal"), "whose config says pattern is 'causal'; expected 'full'"),
    ],
)
def test_a_base_that_answers_otherwise_with_the_same_weights_is_named(
    saved: tuple[Base, Path, Path], changed: Callable[[Path], None], said: str
) -> None:
    _, folder, base_folder = saved
    before = Base.load(base_folder)
    changed(base_folder)
    after = Base.load(base_folder)
    assert after.digest == before.digest
    assert after.fingerprint != before.fingerprint
    with pytest.raises(BaseError, match=f"{said}.*, which its prompt was chosen for. Put the old base back"):
        Base.load(folder)


def test_a_folder_from_before_fingerprints_still_answers(saved: tuple[Base, Path, Path]) -> None:
    found, folder, _ = saved
    manifest = json.loads((folder / "headstart.json").read_text())
    del manifest["contract"]["asked"]
    (folder / "headstart.json").write_text(json.dumps(manifest))
    again = Base.load(folder)
    assert again.contract is not None
    assert again.contract.asked is None
    np.testing.assert_array_equal(again.predict_proba(ROWS), found.predict_proba(ROWS))


@pytest.mark.parametrize("kind", ["folder", "base", "file"])
def test_what_lies_in_the_working_directory_is_never_asked(
    kind: str, tmp_path: Path, tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base.load("text-tiny")
    asked(base, place=base.place).save(tmp_path / "asks")
    monkeypatch.chdir(tmp_path)
    if kind == "folder":
        (tmp_path / "text-tiny").mkdir()
    elif kind == "base":
        Base.load(tiny_base_folder).save(tmp_path / "text-tiny")
    else:
        (tmp_path / "text-tiny").write_text("notes")
    again = Base.load("asks")
    assert again.bare.digest == base.digest
    assert again.place == "text-tiny"


def test_a_place_is_a_whole_path_or_a_name(
    saved: tuple[Base, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder, base_folder = saved
    monkeypatch.chdir(tmp_path)
    manifest = json.loads((folder / "headstart.json").read_text())
    for place in ("", ".", "base"):
        manifest["contract"]["prompt"]["base"]["place"] = place
        (folder / "headstart.json").write_text(json.dumps(manifest))
        with pytest.raises(BaseError, match=f"at '{place}'; expected a whole path, or a name .*contract.prompt.base"):
            Base.load(folder)
    manifest["contract"]["prompt"]["base"]["place"] = str(base_folder)
    (folder / "headstart.json").write_text(json.dumps(manifest))
    assert Base.load(folder).place == str(base_folder)


def test_a_prompt_does_not_ask_a_prompt_and_a_broken_one_is_refused(saved: tuple[Base, Path, Path]) -> None:
    _, folder, _ = saved
    manifest = json.loads((folder / "headstart.json").read_text())
    for tamper, said in (
        (lambda prompt: prompt["base"].update(place=str(folder)), "holds a prompt and no weights"),
        (lambda prompt: prompt.update(template="{{ text.x }} {{ label }}"), "cannot be understood"),
        (lambda prompt: prompt.update(bias=[1.0]), "cannot be understood"),
        (lambda prompt: prompt.update(base=None), "names no base"),
        (
            lambda prompt: prompt.update(template="{{ text" + "|upper" * 250 + " }} {{ label }}"),
            "cannot be understood: .*the template .* cannot be read.* Mend the file, or make the folder again",
        ),
    ):
        broken = json.loads(json.dumps(manifest))
        tamper(broken["contract"]["prompt"])
        (folder / "headstart.json").write_text(json.dumps(broken))
        with pytest.raises(BaseError, match=said):
            Base.load(folder)


def test_a_contract_whose_prompt_keeps_no_unit_is_refused(saved: tuple[Base, Path, Path]) -> None:
    _, folder, _ = saved
    manifest = json.loads((folder / "headstart.json").read_text())
    for limit in (0, -5):
        manifest["contract"]["max_length"] = limit
        (folder / "headstart.json").write_text(json.dumps(manifest))
        with pytest.raises(BaseError, match=f"max_length of the prompt is {limit}; expected at least 1"):
            Base.load(folder)


def test_a_base_that_lies_nowhere_cannot_be_referred_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies in no folder"):
        asked(tiny_base("llama")).save(tmp_path / "asks")
    assert not (tmp_path / "asks").exists()
