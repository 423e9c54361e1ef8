"""The scores in a base's card are read back by the hub's own library, and the rest of a card stays as it was."""

from __future__ import annotations

import re
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


FOREIGN = """---
license: mit
model-index:
- name: tiny
  results:
  - task:
      type: text-classification
    dataset:
      name: glue
      type: glue
      revision: 2024-01-01
    metrics:
    - type: accuracy
      value: 1.0e-07
- name: another
  results: []
---
# mine
"""


def test_scores_of_other_sets_and_of_others_stay(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_sets(tmp_path / "sets")
    tiny_base.save(tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text(FOREIGN)
    (tmp_path / "mine" / ".eval_results").mkdir()
    (tmp_path / "mine" / ".eval_results" / "grammar.yaml").write_text(
        "- dataset:\n    id: grammar\n    task_id: theirs\n  value: 0.5\n  date: 2024-01-01\n"
    )
    asked = ["evaluate", "mine", "--data", "sets", "--limit", "8", "--card"]
    for run_of in (["facts,grammar", "--out", "one"], ["grammar", "--out", "two"]):
        assert run([*asked, "--tasks", *run_of]) == 0
        capsys.readouterr()
        text = (tmp_path / "mine" / "README.md").read_text()
        mine, other = yaml.safe_load(text.split("---\n")[1])["model-index"]
        assert sorted(one["dataset"]["type"] for one in mine["results"]) == ["facts", "glue", "grammar"]
        assert next(one for one in mine["results"] if one["dataset"]["type"] == "glue") == {
            "task": {"type": "text-classification"},
            "dataset": {"name": "glue", "type": "glue", "revision": "2024-01-01"},
            "metrics": [{"type": "accuracy", "value": 1.0e-07}],
        }
        assert other == {"name": "another", "results": []}
        assert text.startswith("---\nlicense: mit\n")
        assert text.endswith("---\n# mine\n")
        entries = parse_eval_result_entries(
            yaml.safe_load((tmp_path / "mine" / ".eval_results" / "grammar.yaml").read_text())
        )
        assert [one.task_id for one in entries] == ["theirs", "minimal_pairs/test"]
    assert {one.dataset_name for one in ModelCard.load(tmp_path / "mine" / "README.md").data.eval_results or []} == {
        "facts",
        "glue",
        "grammar",
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", b"\xff\xfe", "README.md (.*); expected a text in UTF-8"),
        ("README.md", b"---\nmodel-index:\n- 3\n---\n", "README.md (.*); expected a model-index of models"),
        ("README.md", b"---\nmodel-index:\n- name: a\n---\n", "README.md (.*results.*); expected a model-index"),
        ("README.md", b"---\nmodel-index: [\n---\n", "README.md (.*); expected a model-index of models"),
        (".eval_results", b"", ".eval_results, which is no folder"),
        (".eval_results/facts.yaml", b"value: 1\n", "facts.yaml (.*); expected a list of results"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_any_work(
    name: str, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sets(tmp_path / "sets")
    (tmp_path / "mine" / name).parent.mkdir(parents=True)
    (tmp_path / "mine" / name).write_bytes(content)
    asked = ["evaluate", str(tmp_path / "mine"), "--data", str(tmp_path / "sets"), "--tasks", "facts", "--card"]
    assert run([*asked, "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine" / name).read_bytes() == content
