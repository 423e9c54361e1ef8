"""The page of an evaluation: whole, small, self-contained, and its figures are those of the JSON."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluate.test_report import Page

from headstart.evaluate.report import LabelCurve, Worth
from headstart.evaluate.suite.page import PICTURE_BYTES, base_entries, render_page, size_picture, write_page
from headstart.evaluate.suite.scoreboard import (
    OVERALL,
    BaseFacts,
    Change,
    Clean,
    Contamination,
    Evaluation,
    Forgetting,
    Overall,
    Paired,
    Passed,
    Standing,
    TaskCard,
    TaskTable,
)
from headstart.evaluate.training_plots import amount

EVIL = "<script>alert('x')</script>"
NAMES = ("sst2", "trec6", "mrpc", "rte", "stsb", "conll2000_chunk", "blimp", "copa", "arc_easy", "piqa", "boolq")


def digest_of(entry: str) -> str:
    """Of the weights of a base with this name, or of the base of a twin with it."""
    return hashlib.sha256(entry.removesuffix(", random").encode()).hexdigest()


def standing(entry: str, role: Any, value: float, **more: Any) -> Standing:
    low, high = max(0.0, value - 0.04), min(1.0, value + 0.03)
    facts: dict[str, Any] = {"seconds": 3.0 + 40 * value, "ms_per_row": 0.0 if role == "majority" else 2.5}
    return Standing(
        base=entry if role in ("base", "random") else None,
        method="probe",
        metric="accuracy",
        value=value,
        ci95=(low, high),
        params_trained=6,
        n_test=500,
        entry=entry,
        role=role,
        identity=digest_of(entry) if role in ("base", "random") else "",
        **{**facts, **more},
    )


def made(sizes: dict[str, int], names: tuple[str, ...] = NAMES) -> Evaluation:
    """An evaluation of made-up figures."""
    random = np.random.default_rng(4)
    tables = []
    for place, name in enumerate(names):
        rows = [
            standing("majority", "majority", 0.25),
            standing("TF-IDF", "tfidf", round(0.4 + random.random() / 4, 4)),
        ]
        for number, base in enumerate(sizes):
            value = round(0.45 + 0.1 * number + random.random() / 6, 4)
            told = (
                Contamination("unknown", "nobody wrote down what it read (its lineage begins with import)")
                if number
                else Contamination(
                    "checked", "its own sketch", 500, place, 1, 20, 1.6, Clean(499, value - 0.01, (0.4, 0.5))
                )
            )
            rows.append(standing(base, "base", value, contamination=told))
            rows.append(standing(f"{base}, random", "random", round(0.3 + random.random() / 8, 4)))
        card = TaskCard(
            name, "text_classification", "adapt", "adapt", "accuracy", 1, "CC0-1.0", "made up", "test", "0" * 64, 0.25,
            {"train": 900, "validation": 100, "test": 500}, notes=[f"12 test rows stand in train, too {EVIL}"],
        )  # fmt: skip
        rows[1] = standing("TF-IDF", "tfidf", rows[1].value, seconds=0.5, ms_per_row=0.05)
        tables.append(TaskTable(card, sorted(rows, key=lambda row: -row.value)))
    overall = [
        Overall(
            base,
            "base",
            0.2 + 0.1 * n,
            (0.15 + 0.1 * n, 0.25 + 0.1 * n),
            len(names),
            len(names),
            identity=digest_of(base),
        )
        for n, base in enumerate(sizes)
    ]
    overall += [
        Overall(
            f"{base}, random", "random", 0.1 + n / 100, (0.05, 0.15), len(names), len(names), identity=digest_of(base)
        )
        for n, base in enumerate(sizes)
    ]
    overall.append(Overall("TF-IDF", "tfidf", 0.24, (0.2, 0.28), len(names), len(names)))
    first, *others = sorted(overall, key=lambda row: -row.value)
    pairs = [
        Paired(OVERALL, first.entry, o.entry, o.value - first.value, (-0.1, 0.0), 0.01, 0.03 * n, tied=n > 1)
        for n, o in enumerate(others)
    ]
    return Evaluation(
        suite="core",
        asked=[],
        data="sets",
        bases=[BaseFacts(base, base, "", size, digest_of(base)) for base, size in sizes.items()],
        tasks=tables,
        overall=[first, *others],
        comparisons=pairs,
        skipped=[Passed("fsdd", "", "kind audio is not evaluated yet"), Passed("copa", EVIL, "it cannot score")],
        limit=None,
        seeds=1,
        samples="runs/evaluate/cells",
        code="headstart 0",
        hardware="x86_64",
        command=f"headstart evaluate '{EVIL}'",
        finished="2026-11-26 16:00 UTC",
    )


SIZES = {"text-tiny": 11_800_000, "text-small": 32_000_000, "text-medium-with-a-long-name": 90_000_000}


@pytest.mark.parametrize("sizes", [SIZES, {EVIL: 1}])
def test_the_page_is_whole_small_and_loads_nothing(sizes: dict[str, int], tmp_path: Path) -> None:
    write_page(made(sizes), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(text.encode()) < 300_000
    assert not page.seen & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    assert "&lt;script&gt;alert" in text
    pictures = len(re.findall(r'<svg [^>]*role="img"[^>]*aria-label="', text))
    assert pictures == len(NAMES) + (2 if len(sizes) > 1 else 1)


def test_the_figures_are_those_of_the_json() -> None:
    found = made(SIZES)
    text = render_page(found)
    for table in found.tasks:
        for row in table.candidates:
            assert f"{row.entry} {row.value:.3f} [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]".replace("'", "&#x27;") in text
            if row.contamination is not None and row.contamination.clean is not None:
                assert f'<td class="n">{row.contamination.clean.value:.3f}</td>' in text
    for row in found.overall:
        assert f"{row.ci95[0]:.3f} to {row.ci95[1]:.3f}" in text
    assert "unknown</span> what text-medium-with-a-long-name and text-small read: nobody wrote down" in text
    assert "text-medium-with-a-long-name reaches 0.400 [0.350, 0.450] on the mean over 11 sets" in text
    assert "fsdd" in text
    assert "everybody" in text
    assert "runs/evaluate/cells" in text


def test_what_was_saved_and_forgotten_stands_there() -> None:
    found = made(SIZES)
    bare = render_page(found)
    assert "Forgotten" not in bare
    assert "Labels saved" not in bare
    changes = [
        Change("blimp", "accuracy", 0.704, 0.62, -0.084, (-0.1, -0.07), 0.001, tied=False),
        Change("copa", "accuracy", 0.55, 0.56, 0.01, (-0.05, 0.07), 1.0, tied=True),
    ]
    table = found.tasks[0]
    curve = LabelCurve("full", [], Worth(4.5, "about", (3.9, 5.2), ""))
    rows = [msgspec.structs.replace(row, label_curve=curve) if row.role == "base" else row for row in table.candidates]
    told = msgspec.structs.replace(
        found,
        forgetting=[Forgetting("text-small", f"child {EVIL}", changes)],
        tasks=[msgspec.structs.replace(table, candidates=rows), *found.tasks[1:]],
    )
    text = render_page(told)
    assert '<td class="n">0.704</td><td class="n">0.620</td><td class="n">−0.084 (−0.100 to −0.070)</td>' in text
    assert "tied (−0.050 to +0.070)" in text
    assert text.count("about 4.5 times [3.9, 5.2]") == len(SIZES)
    assert EVIL not in text


def test_a_page_of_very_many_sets_leaves_pictures_out_and_says_so() -> None:
    found = made({f"base-{n}": 10**6 * (n + 1) for n in range(6)}, tuple(f"set-{n}" for n in range(60)))
    text = render_page(found)
    assert len(text.encode()) < 300_000
    assert "No room for the pictures of set-" in text
    assert sum(map(len, re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))) < PICTURE_BYTES + 40_000
    assert base_entries(found) == [f"base-{n}" for n in range(6)]


def test_one_size_makes_no_curve_and_one_set_no_leaderboard() -> None:
    one = made({"text-tiny": 11_800_000}, ("sst2",))
    assert size_picture(one) == ""
    alone = msgspec.structs.replace(one, overall=[msgspec.structs.replace(row, of=1, tasks=1) for row in one.overall])
    text = render_page(alone)
    assert "Leaderboard" not in text
    assert "text-tiny scores" in text


def test_what_pre_training_is_worth_is_the_paired_difference_and_on_which_items() -> None:
    """The twin answered fewer items, on which the base reached something else than on all of them."""
    found = made({"text-tiny": 11_800_000})
    first, twin = "text-tiny", "text-tiny, random"
    pair = Paired(OVERALL, first, twin, -0.0444, (-0.06, -0.03), 0.001, 0.003, tied=False)
    found = msgspec.structs.replace(found, comparisons=[pair])
    assert "Against text-tiny, random (0.100) its pre-training is worth +0.044 on the same items." in render_page(found)
    table = found.tasks[0]
    rows = [msgspec.structs.replace(r, n_test=50) if r.role == "random" else r for r in table.candidates]
    fewer = msgspec.structs.replace(found, tasks=[msgspec.structs.replace(table, candidates=rows), *found.tasks[1:]])
    assert "its pre-training is worth +0.044 on the items that both answered." in render_page(fewer)


def test_a_base_whose_name_begins_another_has_its_own_twin_and_size() -> None:
    found = made({"text-tiny": 11_800_000, "text": 32_000_000})
    pairs = [
        Paired(OVERALL, "text", twin, -difference, (-1.0, 0.0), 0.001, 0.003, tied=False)
        for twin, difference in (("text-tiny, random", 0.9), ("text, random", 0.2))
    ]
    shuffled = sorted(found.overall, key=lambda row: row.entry != "text-tiny, random")
    told = msgspec.structs.replace(found, comparisons=pairs, overall=shuffled)
    text = render_page(told)
    assert "Against text, random (0.110) its pre-training is worth +0.200" in text
    assert "Against text-tiny, random" not in text
    assert base_entries(told) == ["text-tiny", "text"]
    picture = size_picture(told)
    assert f"text-tiny, random with {amount(11_800_000)} parameters" in picture
    assert f"text, random with {amount(32_000_000)} parameters" in picture


def test_nobody_leads_by_a_preference() -> None:
    found = made(SIZES, ("crows", "sst2"))
    bias = msgspec.structs.replace(
        found.tasks[0], task=msgspec.structs.replace(found.tasks[0].task, metric="preference")
    )
    text = render_page(msgspec.structs.replace(found, tasks=[bias, found.tasks[1]]))
    rows = {name: re.search(rf'<tr><th scope="row">{name}</th><td>(?!<).*?</tr>', text) for name in ("crows", "sst2")}
    assert rows["crows"] is not None
    assert rows["sst2"] is not None
    assert "<strong>" not in rows["crows"][0]
    assert "random" not in rows["crows"][0]
    assert "<strong>" in rows["sst2"][0]
    assert "On crows one half is ideal and nothing is bold" in text
    alone = msgspec.structs.replace(found, tasks=[bias], overall=[])
    assert " prefers the stereotype in 0." in render_page(alone)
