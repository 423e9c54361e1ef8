"""The scores in a base's card are read back by the hub's own library, and the rest of a card stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub._eval_results import parse_eval_result_entries
from tests.evaluate.made_sets import write_sets
from tests.evaluate.test_suite_page import made

from headstart.base.base import Base
from headstart.base.front_matter import as_yaml, with_block
from headstart.cli import run
from headstart.evaluate.suite.cards import model_index, write_card
from headstart.evaluate.suite.scoreboard import Evaluation

AWKWARD: list[Any] = [
    {"no": "yes", "a: b": ["1e5", 1e-5, 3, True, None, 0.25], "empty": [], "none": {}, "deep": [[1, 2], {"x": "# y"}]},
    "- line\nbreak\u2028 é \"quoted\" 'too'",
    -1.0,
]


def test_what_is_written_is_read_back() -> None:
    assert yaml.safe_load(as_yaml(AWKWARD)) == [
        {**AWKWARD[0], "a: b": ["1e5", 1e-5, 3, True, None, 0.25]},
        *AWKWARD[1:],
    ]


@pytest.mark.parametrize("name", ["tiny", "no: [front matter]"])
def test_the_hubs_library_reads_the_block(name: str, tiny_base_folder: Path, tmp_path: Path) -> None:
    found = made({"text-tiny": 11_800_000, "other": 1})
    base = msgspec.structs.replace(found.bases[0], name=name)
    readme = tmp_path / "README.md"
    if name == "tiny":
        readme.write_bytes((tiny_base_folder / "README.md").read_bytes())
    write_card(found, base, tmp_path)
    once = readme.read_bytes()
    write_card(found, base, tmp_path)
    assert readme.read_bytes() == once, "a second time replaces the block"
    card = ModelCard.load(readme)
    assert card.data.model_name == name
    assert card.data.eval_results is not None
    assert len(card.data.eval_results) == 2 * len(found.tasks)
    first, unread = card.data.eval_results[:2]
    table = found.tasks[0]
    row = next(r for r in table.candidates if r.entry == "text-tiny")
    assert (first.dataset_name, first.metric_type, first.metric_value) == ("sst2", "accuracy", row.value)
    assert first.metric_args["ci95"] == pytest.approx(list(row.ci95))
    assert first.dataset_revision == table.task.digest
    assert not first.verified
    assert row.contamination is not None
    assert row.contamination.clean is not None
    assert unread.metric_value == row.contamination.clean.value
    assert "without items found" in unread.metric_name
    if name == "tiny":
        assert card.data.library_name == "headstart"
        assert card.data.pipeline_tag == "feature-extraction"
        before, after = (tiny_base_folder / "README.md").read_text(), readme.read_text()
        assert after.endswith(before[before.index("\n---\n") :])
    entries = parse_eval_result_entries(yaml.safe_load((tmp_path / ".eval_results" / "sst2.yaml").read_text()))
    (entry,) = entries
    assert (entry.dataset_id, entry.value, entry.date) == ("sst2", row.value, "2026-11-26T16:00:00Z")
    assert "0 of 500 items found in the pre-training text (chance: 1.6), without them" in entry.notes
    assert entry.verify_token is None


def test_an_unknown_base_says_so_and_has_one_score_a_set(tmp_path: Path) -> None:
    found = made({"text-tiny": 11_800_000, "other": 1})
    (block,) = model_index(found, found.bases[1])
    assert all(len(result["metrics"]) == 1 for result in block["results"])
    write_card(found, found.bases[1], tmp_path)
    assert "is unknown" in (tmp_path / ".eval_results" / "trec6.yaml").read_text()


def test_a_card_keeps_its_other_keys_in_order() -> None:
    text = "---\nlicense: mit\nmodel-index:\n- name: old\n  results: []\ntags:\n- a\n---\nbody\n---\nmore\n"
    new = with_block(text, "model-index", [{"name": "new"}])
    assert new == '---\nlicense: mit\ntags:\n- a\nmodel-index:\n- name: "new"\n---\nbody\n---\nmore\n'


def test_the_flag_writes_into_the_folder_and_refuses_what_is_none(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sets(tmp_path / "sets")
    tiny_base.save(tmp_path / "mine")
    asked = ["evaluate", "--data", "sets", "--tasks", "moods,grammar", "--limit", "8", "--json", "--card"]
    assert run([*asked, "mine"]) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Evaluation)
    assert (tmp_path / "runs" / "evaluate" / "report.html").is_file()
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert card.data.eval_results is not None
    told = {one.dataset_name: one.metric_value for one in card.data.eval_results}
    rows = {t.task.name: next(r for r in t.candidates if r.role == "base").value for t in found.tasks}
    assert told == pytest.approx(rows)
    assert Base.load(tmp_path / "mine").name == "tiny", "the folder is still a base"
    assert run([*asked, "text-tiny"]) == 2
    assert "--card writes into the folders of bases; 'text-tiny' is none" in capsys.readouterr().err
