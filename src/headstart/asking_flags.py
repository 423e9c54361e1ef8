"""The flags of zero-shot and few-shot -> a Prompting: templates and verbalisers from the command line or from files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from headstart.flags import AskFlags
from headstart.ground.errors import ConfigError, DataError, safe_repr
from headstart.prompt.asking import SHOTS, Prompting
from headstart.prompt.verbalisers import read_pairs

NO_ASKING = AskFlags()
MOST_BYTES = 1 << 20  # of a file with words or a template


def prompting_of(flags: AskFlags, method: str, *, max_length: int | None) -> Prompting | None:
    """How to ask, as the flags say; None where no flag says anything and the method's defaults hold.

    Raises:
        ConfigError: a flag that cannot be, or a file that is not there.
        DataError: a file that cannot be read.
    """
    if flags == NO_ASKING and (max_length is None or method not in ("zero-shot", "few-shot")):
        return None
    usual = Prompting()
    return Prompting(
        shots=flags.shots if flags.shots is not None else SHOTS if method == "few-shot" else 0,
        templates=tuple(template_of(given) for given in flags.template),
        words=words_of(flags.verbaliser),
        demonstrations=flags.demonstrations,
        calibration=flags.calibration,
        pattern=flags.pattern,
        max_length=usual.max_length if max_length is None else max_length,
    )


def template_of(given: str) -> str:
    """A template as it was typed (\\n is a new line), or the content of a file."""
    return given.replace("\\n", "\n") if "{{" in given else read_text(given, "--template").removesuffix("\n")


def words_of(given: tuple[str, ...]) -> dict[str, str]:
    """The spelling by label: `label=word` pairs, or a .json or .toml file with a table of texts."""
    files = [one for one in given if one.endswith((".json", ".toml"))]
    found = read_pairs([one for one in given if one not in files]) if len(files) < len(given) else {}
    for file in files:
        found |= read_words(file)
    return found


def read_words(file: str) -> dict[str, str]:
    """A file's table of texts."""
    text = read_text(file, "--verbaliser")
    try:
        content: Any = json.loads(text) if file.endswith(".json") else tomllib.loads(text)
    except ValueError as problem:
        raise DataError(
            f"{file} cannot be read: {safe_repr(str(problem), 120)}; expected a table of label and word. Mend it."
        ) from problem
    if not isinstance(content, dict) or not all(isinstance(word, str) for word in content.values()):
        raise DataError(f"{file} holds more than texts by label; expected a word for every label. Mend it.")
    return content


def read_text(file: str, flag: str) -> str:
    """A small UTF-8 file, without the mark that some editors put before UTF-8."""
    path = Path(file)
    if not path.is_file():
        raise ConfigError(
            f"{flag} is {safe_repr(repr(file), 80)}; expected a file, label=word pairs, or a template such as "
            "'{{ text }} Answer: {{ label }}'. Check the path."
        )
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{file} has {path.stat().st_size:,} bytes; expected at most {MOST_BYTES:,}. Check the file.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{file} is not UTF-8 at byte {problem.start}; expected UTF-8. Convert it.") from problem
