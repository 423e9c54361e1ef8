"""The page of a pre-training run: its figures are the lineage's, torn lines are counted, and nothing is loaded."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluate.test_report import Page
from tests.train.test_pretrain import TOY

from headstart.base.base import Base
from headstart.base.lineage import DataRef, Record, imported
from headstart.evaluate.training_page import next_code, power, settings_of, write_training_page
from headstart.evaluate.training_plots import amount
from headstart.evaluate.training_run import Losses, marks_of, read_losses, thinned
from headstart.ground.errors import BaseError
from headstart.train.recipe import Recipe, read_recipe

EVIL = "<script>alert('x')</script> & \"quoted\""


def trained(base: Base, *, causal_share: float = 0.5, licences: tuple[str, ...] = (EVIL, "MIT", EVIL)) -> Base:
    """The base as if it came from a run of the toy recipe."""
    config = msgspec.to_builtins(msgspec.convert(tomllib.loads(TOY), Recipe))
    config["mixture"]["causal_share"] = causal_share
    curve = [
        {
            "units": units,
            "seconds": units / 1000,
            "bits_per_byte": 2.5 - units / 40_960 if causal_share > 0 else None,
            "masked_nats": 5.0 - units / 40_960 if causal_share < 1 else None,
        }
        for units in (10_240, 20_480, 40_960)
    ]
    record = Record(
        verb="pretrain",
        config=config,
        data=tuple(DataRef(f"train-{n}.jsonl", f"{n}" * 64, licence) for n, licence in enumerate(licences)),
        code="headstart 0",
        seed=1,
        hardware="x86_64",
        seconds=100.0,
        flops=5.2e14,
        results={
            "curve": curve,
            "units": 40_960,
            "steps": 40,
            "stopped": "done",
            "corpus": {"units": 81_920, "documents": 7, "bytes": 327_680},
        },
    )
    return dataclasses.replace(base, name=EVIL, lineage=(record,))


def step(number: int, loss: float) -> str:
    facts = {"step": number, "loss": loss, "grad_norm": 1.0, "factor": 1.0, "units": (number + 1) * 1024}
    return json.dumps(facts | {"seconds": float(number)})


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    """Forty steps of a run that was killed in a line, and went back over two of them."""
    lines = [step(number, 9.0 if number >= 18 else 6.0 - number / 10) for number in range(20)]
    lines += [step(20, 9.0)[:30]]
    lines += [step(number, 6.0 - number / 10) for number in range(18, 40)]
    lines += [json.dumps({"units": 40_960, "seconds": 100.0, "bits_per_byte": 1.5, "masked_nats": 4.0})]
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


def written(base: Base, metrics: Path, **more: Any) -> str:
    out = metrics.parent / "runs of mine" / "a base"
    out.mkdir(parents=True)
    write_training_page(base, out, out=out, metrics=metrics, **more)
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("causal_share", [0.0, 0.5, 1.0])
def test_the_page_is_whole_small_and_loads_nothing(tiny_base: Base, metrics: Path, causal_share: float) -> None:
    text = written(trained(tiny_base, causal_share=causal_share), metrics)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(text.encode()) < 100_000
    assert not page.seen & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)
    assert "&lt;script&gt;alert" in text
    assert len(re.findall(r'<svg [^>]*role="img"[^>]*aria-label="', text)) == (3 if causal_share == 0.5 else 2)


def test_the_figures_are_the_lineages(tiny_base: Base, metrics: Path) -> None:
    text = written(trained(tiny_base), metrics, roof=1.3e13)
    assert "at 1.500 bits per byte; a blind guess at every token would cost 2.1." in text
    assert math.log2(300) / 4 == pytest.approx(2.1, abs=0.05)
    assert "read 41.0 k tokens in 100 s: 50\u00a0% of its corpus" in text
    assert "costs 4.00 nats (blind: 5.70)" in text
    assert "<dd>5.2·10¹⁴<small>40 % of the roof (MFU)" in text
    assert "<small>410 tokens/s</small>" in text
    assert "1.500 after 41.0 k" in text
    assert "1 line of metrics.jsonl, cut off by a kill, is left out" in text
    assert text.count("Licences: ") == 2, "a licence text stands once, under its files"
    assert all(f"{n}" * 64 in text for n in range(3))
    assert "headstart adapt reviews.csv --base " in text
    assert "counted by formula" in written_again(tiny_base, metrics)


def written_again(base: Base, metrics: Path) -> str:
    out = metrics.parent / "again"
    out.mkdir()
    write_training_page(trained(base), out, out=out, metrics=metrics)
    return (out / "report.html").read_text(encoding="utf-8")


def test_masked_bases_are_told_by_what_they_do(tiny_base: Base, metrics: Path) -> None:
    text = written(trained(tiny_base, causal_share=0.0), metrics)
    assert "bits per byte" not in text
    assert "fills the gaps of held-out text" in text
    encoder = dataclasses.replace(tiny_base, lm=None)
    assert ".encode(" in next_code(encoder, Path("out"))
    assert ".generate(" in next_code(tiny_base, Path("out"))


def test_a_step_that_ran_twice_counts_as_it_went_at_last(metrics: Path) -> None:
    found = read_losses(metrics)
    assert found.torn == 1
    assert found.units.tolist() == [1024.0 * (number + 1) for number in range(40)]
    assert found.values == pytest.approx([6.0 - number / 10 for number in range(40)])


def test_a_thinned_line_keeps_the_mean() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.1, 3200)
    stretches = thinned(Losses(np.arange(1, 3201) * 8192.0, values, 0))
    assert len(stretches) == 160
    assert np.mean([s.mean for s in stretches]) == pytest.approx(values.mean())
    inside = [(values[20 * i : 20 * i + 20] <= s.high).mean() for i, s in enumerate(stretches)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.01)
    assert stretches[-1].units == 3200 * 8192
    assert thinned(Losses(np.array([]), np.array([]), 0)) == []


def test_every_setting_of_every_recipe_is_shown() -> None:
    for name in ("text-tiny", "bert-tiny", "gpt2-tiny"):
        recipe = read_recipe(name)
        shown = {part: dict(rows) for part, rows in settings_of(recipe)}
        assert shown[""] == {"name": recipe.name, "family": recipe.family}
        assert set(shown["optimisation"]) == set(recipe.optimisation.__struct_fields__)
        assert shown["corpus"]["filters.min_words"] == str(recipe.corpus.filters.min_words)
        assert shown["optimisation"]["tokens"] == f"{recipe.optimisation.tokens:,}"


def test_marks_stand_where_the_run_changes() -> None:
    recipe = msgspec.convert(tomllib.loads(TOY), Recipe)
    assert [(m.units, m.words) for m in marks_of(recipe)] == [
        (20_480, "rows of 64 tokens"),
        (20_480, "learning rate falls from here"),
    ]


def test_only_a_fresh_base_has_this_page(tiny_base: Base, metrics: Path) -> None:
    out = metrics.parent
    for lineage, found in (
        ((), "is empty"),
        ((imported("somewhere", family="bert", files={}),), "is ended by import"),
    ):
        with pytest.raises(BaseError, match=found):
            write_training_page(dataclasses.replace(tiny_base, lineage=lineage), out, out=out, metrics=metrics)
    record = dataclasses.replace(trained(tiny_base).lineage[0], results={"curve": []})
    with pytest.raises(BaseError, match="has another form"):
        write_training_page(dataclasses.replace(tiny_base, lineage=(record,)), out, out=out, metrics=metrics)
    assert not (out / "report.html").exists()


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0"), (940, "940"), (999.6e3, "1.00 M"), (819_200, "819 k"), (7_503_872, "7.50 M"), (1.24e9, "1.24 G")],
)
def test_counts_are_read_at_a_glance(count: float, words: str) -> None:
    assert amount(count) == words


def test_powers_of_ten() -> None:
    assert power(5.2e14) == "5.2·10¹⁴"
    assert power(9.96e5) == "1.0·10⁶"
