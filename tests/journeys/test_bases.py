"""`headstart bases`: what is listed is what can be loaded, and a folder that is not whole is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.base.tiny_bases import tiny_base

from headstart.base.base import Base
from headstart.base.facts import facts_of
from headstart.cli import run
from headstart.local_bases import bases_over, describe


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *line: str) -> dict[str, Any]:
    assert run(["bases", *line, "--json"]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_what_is_imported_is_listed_shown_and_verified(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "elsewhere").mkdir()
    made = tiny_base("llama")
    made.save(desk / "elsewhere" / "model")
    (desk / "elsewhere" / "model" / "headstart.json").unlink()
    (desk / "elsewhere" / "model" / "README.md").write_text("---\nlicense: MIT\n---\n")
    taken = asked(capsys, "import", "elsewhere/model", "--name", "mine")
    assert taken["name"] == "runs/mine"
    listed = {one["name"]: one for one in asked(capsys)["bases"]}
    mine = listed["runs/mine"]
    assert (mine["family"], mine["modality"], mine["role"]) == ("llama", "text", "base")
    assert mine["params"] == sum(p.numel() for p in Base.load("runs/mine").trunk.parameters()) + untied(made)
    told = asked(capsys, "show", "runs/mine")
    assert [step["verb"] for step in told["lineage"]] == ["import"]
    verified = asked(capsys, "verify", "runs/mine")
    assert verified["whole"] is True
    assert verified["digest"] == Base.load("elsewhere/model").digest
    assert verified["ms_per_row"] > 0
    assert run(["bases", "import", "elsewhere/model", "--name", "mine"]) == 2
    assert "runs/mine already holds something" in capsys.readouterr().err


def untied(base: Base) -> int:
    return 0 if base.lm is None else sum(p.numel() for p in base.lm.parameters())


@pytest.mark.parametrize("name", ["../mine", "a/b", ".."])
def test_an_import_stays_below_runs(desk: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    tiny_base("llama").save(desk / "model")
    assert run(["bases", "import", "model", "--name", name]) == 2
    assert sorted(p.name for p in desk.iterdir()) == ["model"]


def test_what_has_no_config_of_a_model_is_shown(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A saved prompt refers to its base, and holds headstart.json alone."""
    (desk / "runs" / "asked").mkdir(parents=True)
    contract = {"contract": {"kind": "choice", "labels": ["bad", "good"]}, "lineage": []}
    (desk / "runs" / "asked" / "headstart.json").write_text(json.dumps(contract))
    assert asked(capsys, "show", "runs/asked")["task"] == "choice: bad, good"


@pytest.mark.parametrize(
    "content",
    [
        *('{"contract": {"kind": "score"}}', '{"contract": {}}', '{"contract": ["x"]}', '{"contract": "choice"}'),
        *('{"contract": {"labels": 3}}', '{"lineage": null}', '{"lineage": ["x"]}', '{"lineage": {"a": 1}}', "[]"),
    ],
)
def test_an_odd_folder_does_not_hide_the_others(content: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "runs" / "odd").mkdir(parents=True)
    (desk / "runs" / "odd" / "headstart.json").write_text(content)
    assert {one["name"] for one in asked(capsys)["bases"]} >= {"runs/odd", "text-tiny"}
    assert "text-tiny" in bases_over("text")
    assert asked(capsys, "show", "runs/odd")["lineage"] == []


def test_all_bases_are_each_once(desk: Path) -> None:
    tiny_base("llama").save(desk / "runs" / "mine")
    (desk / "runs" / "latest").symlink_to("mine")
    assert [name for name in bases_over("text") if name.startswith("runs/")] == ["runs/latest"]


def test_an_import_of_here_asks_for_a_name(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_base("llama").save(desk / "model")
    monkeypatch.chdir(desk / "model")
    assert run(["bases", "import", "."]) == 2
    assert (
        ". gives no name; expected one that makes a folder below runs/. Give --name my-base." in capsys.readouterr().err
    )


def test_a_damaged_base_is_listed_and_not_verified(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_base("llama").save(desk / "runs" / "torn")
    weights = desk / "runs" / "torn" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert {one["name"] for one in asked(capsys)["bases"]} >= {"runs/torn"}
    assert run(["bases", "verify", "runs/torn"]) == 2
    assert "runs/torn/model.safetensors holds" in capsys.readouterr().err
    (desk / "runs" / "torn" / "headstart.json").write_text("{")
    weights.write_bytes(b"\xff" * 20)
    facts = describe(desk / "runs" / "torn")
    assert (facts["family"], facts["params"]) == ("llama", None)


def test_a_licence_goes_with_the_weights(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Base.load("text-tiny").save(desk / "runs" / "copy")
    listed = {one["name"]: one["licence"] for one in asked(capsys)["bases"]}
    assert listed["text-tiny"] == listed["runs/copy"] == "apache-2.0"
    assert 'license: "apache-2.0"' in (desk / "runs" / "copy" / "README.md").read_text()
    for small in ("README.md", "headstart.json"):
        (desk / "runs" / "copy" / small).unlink()
    (desk / "runs" / "copy" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    assert facts_of(Base.load("runs/copy"), "runs/copy").licence == "cc-by-4.0"
    Base.load("runs/copy").save(desk / "runs" / "again")
    assert facts_of(Base.load("runs/again"), "runs/again").licence == "cc-by-4.0"


def test_a_label_cannot_write_to_the_terminal(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_base("llama").save(desk / "runs" / "evil")
    manifest = desk / "runs" / "evil" / "headstart.json"
    content = json.loads(manifest.read_text())
    content["contract"] = {"kind": "choice", "labels": ["\x1b[31m" + "x" * 9_000, "b"]}
    manifest.write_text(json.dumps(content))
    assert run(["bases"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) < 200


def test_all_means_the_bases_over_text_without_a_task(desk: Path) -> None:
    tiny_base("llama").save(desk / "runs" / "plain")
    manifest = desk / "runs" / "plain" / "headstart.json"
    assert "runs/plain" in bases_over("text")
    assert not any(name.startswith(("image", "audio", "series")) for name in bases_over("text"))
    assert bases_over("series") == ["series-tiny"]
    content = json.loads(manifest.read_text())
    content["contract"] = {"kind": "choice", "labels": ["a", "b"]}
    manifest.write_text(json.dumps(content))
    assert "runs/plain" not in bases_over("text")


def test_an_unknown_base_gets_a_suggestion(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bases", "show", "text-smal"]) != 0
    said = capsys.readouterr()
    assert "Did you mean 'text-small'?" in said.err
    assert said.out == ""
