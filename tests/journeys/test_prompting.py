"""`headstart prompt` as scripts and people see it: text on stdout as it comes, words on stderr, exit codes."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from headstart.base.base import Base
from headstart.cli import run
from headstart.ground.errors import RunError
from headstart.prompt.engine import Engine, Piece


@pytest.fixture
def prompt(tiny_base_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Prompt:
    return Prompt(tiny_base_folder, capsys, monkeypatch)


class Prompt:
    """`headstart prompt` on the tiny base, in this process: (exit code, stdout, stderr)."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.base, self._capsys, self._monkeypatch = base, capsys, monkeypatch

    def __call__(self, *words: object, stdin: bytes = b"") -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(["prompt", str(self.base), *map(str, words)])
        seen = self._capsys.readouterr()
        return code, seen.out, seen.err


def test_a_text_goes_on(prompt: Prompt, tiny_base: Base) -> None:
    code, out, err = prompt("Where is", "--max-tokens", 12)
    assert code == 0
    assert out == tiny_base.generate(["Where is"], max_tokens=12)[0] + "\n"
    assert "12 tokens in" in err
    assert "tokens/s" in err


def test_one_json_object(prompt: Prompt, tiny_base: Base) -> None:
    code, out, _ = prompt("Where is", "--max-tokens", 5, "--json", "--logprobs", 2)
    found = json.loads(out)
    (answer,) = found["answers"]
    assert code == 0
    assert answer["answer"] == tiny_base.generate(["Where is"], max_tokens=5)[0]
    assert (answer["prompt"], answer["finish"], answer["tokens"]) == ("Where is", "length", 5)
    assert [len(one["top"]) for one in answer["logprobs"]] == [2] * 5
    assert all(one["top"][0] == {key: one[key] for key in ("token", "id", "logprob")} for one in answer["logprobs"])
    assert found["cost"]["tokens"] == 5


def test_alternatives_that_are_spelt_alike_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Parts of characters all look like the same broken one."""
    assert run(["prompt", "text-tiny", "😀😀", "--json", "--logprobs", "20", "--max-tokens", "1"]) == 0
    top = json.loads(capsys.readouterr().out)["answers"][0]["logprobs"][0]["top"]
    assert len({one["id"] for one in top}) == 20
    assert len({one["token"] for one in top}) < 20


def test_output_is_utf8_whatever_the_locale_says(tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert run(["prompt", str(tiny_base_folder), "“hello” 你好 😀", "--json", "--max-tokens", "2"]) == 0
    assert json.loads(written.getvalue().decode())["answers"][0]["prompt"] == "“hello” 你好 😀"


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.jsonl", "prompts.csv", "-"])
def test_many_prompts(prompt: Prompt, tiny_base: Base, tmp_path: Path, name: str) -> None:
    texts = ["Where is my card?", "I want", "Where is my card?"]
    content = {
        "prompts.jsonl": "".join(json.dumps({"prompt": text}) + "\n" for text in texts),
        "prompts.csv": "prompt\n" + "".join(text + "\n" for text in texts),
    }.get(name, "\n".join(texts))
    path = tmp_path / name
    if name != "-":
        path.write_text(content)
    sampling = ("--max-tokens", 6, "--temperature", 1, "--seed", 4)
    code, out, _ = prompt("--file", name if name == "-" else path, *sampling, stdin=content.encode())
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [one["prompt"] for one in answers] == texts
    assert [one["answer"] for one in answers] == tiny_base.generate(texts, max_tokens=6, temperature=1.0, seed=4)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RunError("the base broke.")])
def test_what_was_answered_stays_when_the_rest_is_stopped(
    prompt: Prompt, monkeypatch: pytest.MonkeyPatch, problem: BaseException, whole: bool
) -> None:
    """The first 32 run together and end in the third step; the 33rd is on its way."""
    real, steps = Engine.step, count(1)

    def step(engine: Engine) -> list[Piece]:
        if next(steps) == 5:
            raise problem
        return real(engine)

    monkeypatch.setattr(Engine, "step", step)
    texts = [f"Where is {number}" for number in range(40)]
    words = ("--file", "-", "--max-tokens", 3, *(["--json"] if whole else []))
    code, out, err = prompt(*words, stdin="\n".join(texts).encode())
    answers = json.loads(out)["answers"] if whole else [json.loads(line) for line in out.splitlines()]
    assert 0 < len(answers) < 40
    assert [one["prompt"] for one in answers] == texts[: len(answers)]
    assert f"{len(answers)} of 40 answers were written." in err
    assert code == (130 if isinstance(problem, KeyboardInterrupt) else 1)
    assert "nothing was written" not in err
    assert ("the base broke" in err) is isinstance(problem, RunError)


def test_an_object_with_many_answers_has_a_line_for_each(prompt: Prompt) -> None:
    code, out, _ = prompt("--file", "-", "--json", "--max-tokens", 3, stdin=b"Where\nis\nit")
    assert code == 0
    assert [one["prompt"] for one in json.loads(out)["answers"]] == ["Where", "is", "it"]
    assert len(out.splitlines()) == 3


def test_answers_are_written_before_all_are_done(tiny_base_folder: Path, tmp_path: Path) -> None:
    """Ctrl-C after the first line that comes."""
    (tmp_path / "in.txt").write_text("".join(f"Where is {number}\n" for number in range(3_000)))
    command = [sys.executable, "-m", "headstart", "prompt", str(tiny_base_folder), "--file", str(tmp_path / "in.txt")]
    # unbuffered: `communicate` does not see what a buffer behind the first line already holds
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=60)
    err = told.decode()
    prompts = [json.loads(line)["prompt"] for line in (first + rest).splitlines()]
    assert process.returncode == 130
    assert prompts == [f"Where is {number}" for number in range(len(prompts))]
    assert f"interrupted; {len(prompts):,} of 3,000 answers were written." in err


def test_lines_are_answered_until_they_end(prompt: Prompt, tiny_base: Base) -> None:
    code, out, err = prompt("--max-tokens", 6, stdin=b"Where is\n\nI want\n")
    assert code == 0
    assert out == "".join(text + "\n" for text in tiny_base.generate(["Where is", "I want"], max_tokens=6))
    assert err.count("tokens/s") == 2


def test_a_byte_order_mark_is_no_text(prompt: Prompt, tmp_path: Path) -> None:
    _, expected, _ = prompt("--max-tokens", 6, stdin=b"Where is\n")
    code, out, _ = prompt("--max-tokens", 6, stdin=b"\xef\xbb\xbfWhere is\n")
    assert (code, out) == (0, expected)
    pytest.importorskip("llguidance", reason="the extra `json` is not installed")
    (tmp_path / "schema.json").write_text('{"const": 12}', encoding="utf-8-sig")
    code, out, _ = prompt("Where is", "--schema", tmp_path / "schema.json")
    assert (code, out) == (0, "12\n")


def test_stop_strings(prompt: Prompt, tiny_base: Base) -> None:
    whole = tiny_base.generate(["Where is"], max_tokens=12)[0]
    code, out, _ = prompt("Where is", "--max-tokens", 12, "--stop", whole[6:8], "--stop", "nowhere")
    assert code == 0
    assert out == whole[: whole.find(whole[6:8])] + "\n"


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (("",), b"", "the prompt is empty"),
        (("a " * 300,), b"", "tokens; expected 1 to 127"),
        (("a", "--max-tokens", 10**18), b"", "max_tokens is 1,000,000,000,000,000,000; expected at most 128"),
        (("a", "--max-tokens", 0), b"", "max_tokens is 0; expected at least 1"),
        (("a", "--temperature", -1), b"", "temperature is -1.0; expected 0 to 100"),
        (("a", "--top-p", "nan"), b"", "top_p is nan"),
        (("a", "--stop", ""), b"", "a stop string is ''"),
        (("a\udcff",), b"", "half of a surrogate pair"),
        (("a", "--chat"), b"", "has no chat template"),
        (("a", "--system", "b"), b"", "--system is given without --chat"),
        (("a", "--file", "b.txt"), b"", "both a text and --file are given"),
        (("a", "--logprobs", 3), b"", "--logprobs is given for plain text"),
        (("a", "--stop", "b", "--schema", "c"), b"", "--stop is given beside --schema"),
        (("", "--json"), b"", "headstart: the prompt is empty"),
        (("--json",), b"", "--json is given without a text"),
        (("--file", "nowhere.txt"), b"", "nowhere.txt"),
        (("--file", "-"), b"", "stdin is empty; expected a prompt a line. Check what is piped into it."),
        (("--file", "-"), b"good\nb\xffad\n", "stdin:2 is not UTF-8 at byte 1"),
        ((), b"b\xffad\n", "stdin:1 is not UTF-8 at byte 1"),
        (("--file", "-", "--max-tokens", 5), b"good\n" + b"a " * 300, "stdin:2: the prompt has 302"),
        (("a", "--max-token", 3), b"", "--max-token"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_computed(
    prompt: Prompt, words: tuple[object, ...], stdin: bytes, message: str
) -> None:
    code, out, err = prompt(*words, stdin=stdin)
    assert code == 2
    assert out == ""
    assert message in err


def test_a_prompt_is_cut_when_asked(prompt: Prompt) -> None:
    code, out, err = prompt("a " * 300, "--truncate", "--json", "--max-tokens", 8)
    assert code == 0
    answer = json.loads(out)["answers"][0]
    assert answer["prompt_tokens"] == 120
    assert f"{answer['cut_tokens']} tokens were cut off the beginning" in err
    code, out, err = prompt("a " * 20, "--truncate", "--json", "--max-tokens", 128)
    assert ("cut_tokens" in json.loads(out)["answers"][0], "were cut" in err) == (False, False)


def test_an_answer_follows_a_schema(prompt: Prompt, tmp_path: Path) -> None:
    pytest.importorskip("llguidance", reason="the extra `json` is not installed")
    schema = tmp_path / "colour.json"
    schema.write_text('{"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}')
    code, out, err = prompt("Where is", "--schema", schema, "--max-tokens", 60, "--temperature", 1)
    assert code == 0
    assert json.loads(out)["colour"] in ("red", "blue")
    assert "tokens/s" in err
    code, out, err = prompt("--file", "-", "--schema", schema, "--max-tokens", 3, stdin=b"a\nb\n")
    assert code == 0
    assert [json.loads(line)["finish"] for line in out.splitlines()] == ["length", "length"]
    assert "2 answers ended before their JSON was whole; raise --max-tokens." in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "schema.json is not JSON"),
        (b"[]", "schema.json holds no JSON object"),
        (b'{"a": "\xff"}', "schema.json is not UTF-8 at byte 7"),
        (b"", "schema.json is empty; expected a JSON schema. Check the path"),
        (b"[" * 100_000, "schema.json is nested too deeply"),
        (b'{"type": "colour"}', "the schema cannot be followed: Invalid type: colour"),
    ],
)
def test_a_schema_that_cannot_be_followed(prompt: Prompt, tmp_path: Path, content: bytes, message: str) -> None:
    pytest.importorskip("llguidance", reason="the extra `json` is not installed")
    schema = tmp_path / "schema.json"
    schema.write_bytes(content)
    code, out, err = prompt("Where is", "--schema", schema)
    assert (code, out) == (2, "")
    assert message in err


def test_a_prompt_of_a_table_is_named_by_its_line(prompt: Prompt, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('prompt\n"two\nlines"\n' + "a " * 300 + "\n")
    code, out, err = prompt("--file", tmp_path / "in.csv", "--max-tokens", 5)
    assert (code, out) == (2, "")
    assert "headstart: in.csv:4: the prompt has" in err


def test_a_table_with_rows_that_cannot_be_read(prompt: Prompt, tmp_path: Path) -> None:
    """One of a hundred is left out, more are refused, without a flag that `prompt` does not have."""
    rows = [json.dumps({"prompt": f"Where is {number}"}) for number in range(99)]
    (tmp_path / "in.jsonl").write_text("\n".join([*rows[:50], "not JSON", *rows[50:]]))
    code, out, err = prompt("--file", tmp_path / "in.jsonl", "--max-tokens", 1)
    assert (code, len(out.splitlines())) == (0, 99)
    assert "in.jsonl:51: the line is not valid JSON" in err
    assert "left out." in err
    (tmp_path / "in.jsonl").write_text("\n".join([*rows[:9], "not JSON"]))
    code, out, err = prompt("--file", tmp_path / "in.jsonl", "--max-tokens", 1)
    assert (code, out) == (2, "")
    assert "in.jsonl:10: the line is not valid JSON" in err
    assert "1 of 10 rows cannot be used; expected at most 1%. Mend the file.\n" in err


def test_a_column_that_is_missing_is_named(prompt: Prompt, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("prompts\nHello\n")
    code, _, err = prompt("--file", tmp_path / "in.csv")
    assert code == 2
    assert "no column 'prompt'; expected it beside prompts. Did you mean 'prompts'?" in err


def test_a_base_that_cannot_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.base.tiny_folders import good_folder

    assert run(["prompt", str(good_folder(tmp_path / "bert")), "Hello"]) == 2
    assert "cannot generate: it does not read from left to right" in capsys.readouterr().err


def test_ctrl_c_ends_the_conversation(tiny_base_folder: Path) -> None:
    """On a terminal, at the start of a line."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "headstart", "prompt", str(tiny_base_folder), "--max-tokens", "2"]
    process = subprocess.Popen(
        command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    os.close(slave)
    assert process.stderr is not None
    assert process.stdout is not None
    assert "Type a text" in process.stderr.readline()
    os.write(master, b"Where is\n")
    assert "tokens/s" in process.stderr.readline()
    assert process.stdout.readline().strip()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    os.close(master)
    assert process.returncode == 130
    assert "interrupted" in err
