"""Templates and verbalisers from flags and files: what was typed, what a file holds, what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.asking_flags import NO_ASKING, prompting_of, template_of, words_of
from headstart.flags import AskFlags
from headstart.ground.errors import ConfigError, DataError


def test_words_come_from_pairs_and_files(tmp_path: Path) -> None:
    (tmp_path / "words.toml").write_text('"0" = "very bad, indeed"\n')
    (tmp_path / "words.json").write_text('{"1": "a=b"}')
    given = (str(tmp_path / "words.toml"), "2=fine,3=good", str(tmp_path / "words.json"))
    assert words_of(given) == {"0": "very bad, indeed", "1": "a=b", "2": "fine", "3": "good"}


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "ask").write_text("{{ text }} Answer: {{ label }}\n", encoding="utf-8-sig")
    (tmp_path / "words.json").write_text('{"1": "good"}', encoding="utf-8-sig")
    (tmp_path / "words.toml").write_text('"0" = "bad"', encoding="utf-8-sig")
    assert template_of(str(tmp_path / "ask")) == "{{ text }} Answer: {{ label }}"
    assert words_of((str(tmp_path / "words.json"), str(tmp_path / "words.toml"))) == {"0": "bad", "1": "good"}


@pytest.mark.parametrize(
    ("content", "said"), [("{", "cannot be read"), ('{"a": 1}', "more than texts"), ("[]", "more than texts")]
)
def test_a_file_without_a_table_of_texts_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(DataError, match=said):
        words_of((str(tmp_path / "words.json"),))


def test_a_template_is_typed_or_read(tmp_path: Path) -> None:
    (tmp_path / "ask").write_text("{{ text }}\n\nAnswer: {{ label }}\n")
    assert template_of(str(tmp_path / "ask")) == "{{ text }}\n\nAnswer: {{ label }}"
    assert template_of("{{ text }}\\nAnswer: {{ label }}") == "{{ text }}\nAnswer: {{ label }}"
    (tmp_path / "ask").write_bytes(b"\xff{{ text }}")
    with pytest.raises(DataError, match="not UTF-8 at byte 0"):
        template_of(str(tmp_path / "ask"))
    with pytest.raises(ConfigError, match="expected a file"):
        template_of("text Answer: label")


def test_without_flags_the_method_decides() -> None:
    assert prompting_of(NO_ASKING, "few-shot", max_length=None) is None
    assert prompting_of(NO_ASKING, "probe", max_length=64) is None
    asked = prompting_of(AskFlags(pattern="full"), "few-shot", max_length=64)
    assert asked is not None
    assert (asked.shots, asked.pattern, asked.max_length) == (8, "full", 64)
    with pytest.raises(ConfigError, match="--max-length is 0; expected a whole number from 1"):
        prompting_of(NO_ASKING, "few-shot", max_length=0)
