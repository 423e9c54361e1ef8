"""What people and programs read: frozen JSON keys, honest sentences, eighty columns, one safe HTML file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from rich.console import Console

from headstart.evaluate.html import render_html
from headstart.evaluate.progress import Event
from headstart.evaluate.report import (
    CalibrationFacts,
    Candidate,
    CheckRow,
    Chosen,
    Confusion,
    CurvePoint,
    Environment,
    LabelCurve,
    ReliabilityBin,
    Report,
    RowCounts,
    Skipped,
    SureOnly,
    TaskFacts,
    VsBest,
    Worth,
    WrongRow,
    for_lineage,
    from_json,
    to_json,
    with_saved,
)
from headstart.evaluate.terminal import Live, plain_lines, quoted, show
from headstart.evaluate.verdict import sentences
from headstart.ground.errors import DataError

EVIL = "<script>alert('x')</script> & \"quoted\""
LABELS = ["refund", EVIL, "lost card"]


def candidate(method: str, value: float, *, base: str | None = "text-tiny", p: float = 0.001, **more: Any) -> Candidate:
    versus = VsBest(value - 0.9, (value - 0.95, value - 0.85), p, p >= 0.05)
    plain = {"validation": value, "metrics": {"accuracy": value, "macro_f1": value - 0.02}, "vs_best": versus} | more
    return Candidate(
        base, method, "accuracy", value, (value - 0.04, min(1.0, value + 0.03)), 41.0, 2.1, 1000, 240, **plain
    )


def make(
    *,
    tfidf: float = 0.8,
    tfidf_p: float = 0.001,
    scratch: float = 0.6,
    scratch_p: float = 0.001,
    majority: float = 0.1,
    majority_p: float = 0.001,
    **more: Any,
) -> Report:
    rows = [
        candidate("full", 0.9, vs_best=None, seeds=3, seed_sd=0.006),
        candidate("tfidf", tfidf, base=None, p=tfidf_p),
        candidate("scratch", scratch, p=scratch_p, stopped=True),
        candidate("majority", majority, base=None, p=majority_p),
    ]
    plain: dict[str, Any] = {
        "task": TaskFacts(
            "support",
            "choice",
            "accuracy",
            LABELS,
            {"text": "message", "pair": None, "label": "intent"},
            "ab" * 32,
            [EVIL],
        ),
        "rows": RowCounts(500, 60, 240),
        "candidates": rows,
        "chosen": Chosen("text-tiny", "full", 1),
        "checks": [
            CheckRow("split.leak", "ok", 0.0, "nothing crosses"),
            CheckRow("rows.cut", "warn", 3.0, "3 rows lose their end"),
        ],
        "skipped": [Skipped("LoRA", "about 30 s needed, 12 s left")],
        "saved": "runs/support-7f3a",
        "label_curve": LabelCurve(
            "full",
            [
                CurvePoint(m, n, v + n / 5000, (v, v + 0.2))
                for m, v in (("full", 0.7), ("scratch", 0.4))
                for n in (62, 125, 250, 500)
            ],
            Worth(5.2, "about", (4.0, 7.5), "Read off."),
        ),
        "calibration": CalibrationFacts(
            1.3,
            0.08,
            0.03,
            0.5,
            0.4,
            0.2,
            0.18,
            [ReliabilityBin(0.7, 0.72, (0.6, 0.8), 120)] * 3,
            [SureOnly(0.5, 0.97, 0.9)],
        ),
        "confusion": Confusion(LABELS, [[50, 2, 1], [3, 60, 0], [0, 4, 70]]),
        "label_counts": {name: [100, 40] for name in LABELS},
        "errors": [WrongRow(12, EVIL, "refund", "lost card", 0.97)],
        "environment": Environment("headstart 0", "x86_64", 0, 3, 100.0, 120.0, "2026-01-01 00:00 UTC"),
        "lineage": [
            {
                "verb": "adapt",
                "seconds": 3.0,
                "code": "c",
                "parent": "12" * 32,
                "data": [{"name": "s", "digest": "ef" * 32, "licence": "MIT"}],
            }
        ],
        "command": "headstart adapt support.csv --budget 2m",
    }
    return Report(**(plain | more))


# --- json ------------------------------------------------------------------------------------------------------------


def test_the_frozen_keys_are_there() -> None:
    plain = json.loads(to_json(make()))
    assert {"task", "rows", "candidates", "chosen", "checks", "saved"} <= set(plain)
    assert {"base", "method", "metric", "value", "ci95", "seconds", "ms_per_row", "params_trained", "n_test"} <= set(
        plain["candidates"][0]
    )
    assert from_json(to_json(make())) == make()


def test_a_broken_report_is_a_data_error() -> None:
    with pytest.raises(DataError, match="not readable"):
        from_json(b'{"task": 1}')


def test_the_lineage_copy_carries_no_rows_of_the_user() -> None:
    assert "errors" in for_lineage(make())
    assert EVIL not in json.dumps(for_lineage(make())["errors"])


def test_saving_adds_the_folder_and_the_check() -> None:
    report = with_saved(make(saved=None), "out", CheckRow("reload.parity", "ok", 0.0, "same"))
    assert report.saved == "out"
    assert report.checks[-1].id == "reload.parity"


# --- verdict ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: make(), "full reaches 0.900 accuracy [0.860, 0.930] on 240 test rows."),
        (lambda: make(), "from scratch reaches 0.600: pre-training adds 0.300 (p = 0.001)"),
        (lambda: make(), "worth about 5.2 times [4.0, 7.5] the labels"),
        (
            lambda: make(tfidf=0.95),
            "TF-IDF + linear is better, 0.950 (p = 0.001): on these rows the plain control wins.",
        ),
        (
            lambda: make(tfidf=0.89, tfidf_p=0.4),
            "TF-IDF + linear is statistically tied with it (0.890) and costs far less.",
        ),
        (
            lambda: make(scratch=0.89, scratch_p=0.3),
            "From scratch is statistically tied with it (0.890): no gain from pre-training is shown.",
        ),
        (lambda: make(scratch=0.95), "Training from scratch is better (0.950): pre-training does not help here."),
        (
            lambda: make(scratch=0.89, scratch_p=0.3),
            "worth in labels cannot be told from these rows (4.0 to 7.5 times)",
        ),
        (lambda: make(interrupted=True), "The run was interrupted"),
        (lambda: make(candidates=make().candidates[:2]), "not run, so what pre-training adds is not shown"),
    ],
)
def test_the_verdict_says_what_the_table_shows(make_it: Callable[[], Report], said: str) -> None:
    assert said in " ".join(sentences(make_it()))


@pytest.mark.parametrize(
    ("majority", "p", "said"),
    [
        (0.95, 0.001, "Always answering the same is better (0.950): nothing is shown to be learnt."),
        (0.88, 0.4, "Always answering the same is statistically tied with it (0.880): nothing is shown to be learnt."),
    ],
)
def test_right_after_the_headline_stands_that_nothing_was_learnt(majority: float, p: float, said: str) -> None:
    assert sentences(make(majority=majority, majority_p=p))[1] == said


def test_a_score_above_the_majority_needs_no_such_sentence() -> None:
    assert "Always answering the same" not in " ".join(sentences(make()))


# --- terminal --------------------------------------------------------------------------------------------------------


def printed(report: Report, *, terminal: bool, width: int = 80) -> str:
    out = io.StringIO()
    show(report, Console(file=out, force_terminal=terminal, width=width, color_system=None))
    return out.getvalue()


def test_eighty_columns_are_kept_and_the_last_lines_are_commands() -> None:
    lines = printed(make(), terminal=True).rstrip().splitlines()
    assert max(map(len, lines)) <= 80
    assert "headstart predict runs/support-7f3a new.csv" in lines[-2]
    assert "report.html" in lines[-1]
    table = "\n".join(lines)
    assert re.search(r"▸ text-tiny \+ full +0\.900 \[0\.860, 0\.930\] +- +41s +2\.1", table)
    assert re.search(r"TF-IDF \+ linear +0\.800 .* -0\.100\*", table)
    flat = " ".join(table.split())
    assert "rows.cut warn: 3 rows lose their end" in flat
    assert "Not run for lack of time: LoRA" in flat


def test_a_tie_is_called_a_tie() -> None:
    assert re.search(r"TF-IDF \+ linear .* tied", printed(make(tfidf_p=0.5), terminal=True))


def test_after_an_interruption_the_last_line_says_how_to_go_on() -> None:
    assert printed(make(interrupted=True), terminal=True).rstrip().endswith("headstart adapt support.csv --budget 2m")


def test_off_a_terminal_the_same_content_comes_as_key_value_lines() -> None:
    lines = printed(make(), terminal=False).splitlines()
    assert all(re.match(r"^[a-z]+( |=)", line) for line in lines)
    assert lines == list(plain_lines(make()))
    for word in (
        "method=full",
        "tied=false",
        "chosen method=full",
        "verdict=",
        "check id=rows.cut status=warn",
        "saved=runs/support-7f3a",
        "next=",
    ):
        assert any(word in line for line in lines), word


@pytest.mark.parametrize("terminal", [True, False])
def test_the_next_commands_can_be_pasted_where_the_folder_has_a_space(terminal: bool) -> None:
    told = printed(make(saved="runs/my reviews"), terminal=terminal)
    assert "headstart predict 'runs/my reviews' new.csv" in told


@pytest.mark.parametrize(
    ("value", "line"),
    [("a", "a"), ("a b", '"a b"'), ('say "x"', '"say \\"x\\""'), ("two\nlines", '"two lines"'), ("", '""')],
)
def test_values_stay_on_one_line(value: str, line: str) -> None:
    assert quoted(value) == line


def test_live_prints_one_line_a_piece_of_work_off_a_terminal() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=False, width=80)) as live:
        live(Event("plan", "probe, full"))
        for done in (0.1, 0.5, 1.0):
            live(Event("adapt", f"loss {1 - done:.1f}", "full", done))
    assert out.getvalue().splitlines() == ['plan="probe, full"', 'adapt="full: loss 0.0"']


def test_live_draws_one_bar_a_piece_of_work_on_a_terminal() -> None:
    out = io.StringIO()
    with Live(Console(file=out, force_terminal=True, width=80, color_system=None)) as live:
        live(Event("data", "1,840 rows " * 12))
        for done in (0.1, 1.0):
            live(Event("adapt", f"loss {1 - done:.1f}", "full, seed 0", done))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\r", "\n").splitlines()
    lines = [line for line in lines if line.strip()]
    assert lines[0].startswith("data     1,840 rows")
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("adapt    full, seed 0")
    assert "loss 0.0" in lines[-1]


def test_many_labels_keep_the_lineage_small() -> None:
    assert for_lineage(make())["confusion"] is not None
    assert for_lineage(many_labels())["confusion"] is None


# --- html ------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags that are open at the end, and everything that could load or run something."""

    VOID = frozenset({"meta", "br", "line", "circle", "rect", "path", "link", "img", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
            self.open.pop()


def many_labels() -> Report:
    names = [f"intent number {i} with a long name" for i in range(150)]
    counts = [[20 if i == j else int((i + j) % 37 == 0) for j in range(150)] for i in range(150)]
    task = msgspec.structs.replace(make().task, labels=names)
    errors = [WrongRow(i, "word " * 64, names[i], names[i + 1], 0.9) for i in range(10)]
    return make(task=task, confusion=Confusion(names, counts), label_counts={n: [20, 20] for n in names}, errors=errors)


def bare() -> Report:
    return make(
        label_curve=None,
        calibration=None,
        confusion=None,
        label_counts={},
        errors=[],
        environment=None,
        lineage=[],
        saved=None,
        command="",
        skipped=[],
        candidates=make().candidates[:1],
    )


@pytest.mark.parametrize(
    "report",
    [make(), many_labels(), bare(), make(interrupted=True)],
    ids=["whole", "150 labels", "bare", "interrupted"],
)
def test_the_page_is_whole_small_and_loads_nothing(report: Report) -> None:
    text = render_html(report)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(text.encode()) < 300_000
    assert not page.seen & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert not [a for a in page.attributes if a[0].startswith("on") or a[0] in ("src", "href")]
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)


def test_what_the_user_wrote_is_escaped() -> None:
    text = render_html(make())
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_pictures_are_told_to_those_who_cannot_see_them() -> None:
    pictures = re.findall(r"<svg [^>]*>", render_html(make()))
    assert len(pictures) == 5
    assert all('role="img"' in p and 'aria-label="' in p for p in pictures)
    assert "TF-IDF + linear 0.800 [0.760, 0.830]" in pictures[0]


def contrast(one: str, two: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_enough_contrast_in_light_and_dark() -> None:
    text = render_html(make())
    themes = [dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", block)) for block in re.findall(r":root\{([^}]*)\}", text)]
    full = [t | {"card": "#ffffff"} if len(t) == 11 else t for t in themes if len(t) > 5]
    assert len(full) == 2
    for theme in full:
        for name in ("ink", "soft", "base", "scratch", "control", "ok", "warn", "fail"):
            assert contrast(theme[name], theme["paper"]) >= 4.5, (name, theme)
