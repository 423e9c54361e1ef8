"""Verbalisers: how an answer is spelt. Chosen from the label names, and changed by whoever knows better.

choice: a word a label. labels: no and yes, and a name for each label that is asked about. score: a word a level, the
levels being the numbers that occur where they are few, else five between the smallest and the largest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.base.filling import word_units
from headstart.data.task import Task
from headstart.data.text_codec import TextCodec
from headstart.ground.errors import ConfigError, DataError, did_you_mean, safe_repr

NO_YES = ("no", "yes")
MOST_LEVELS = 11  # distinct numbers that are asked as they are: 0 to 10
SPREAD_LEVELS = 5
LEVEL_DIGITS, SPREAD_DIGITS = 6, 3  # significant digits where they are enough to tell levels apart
EVERY_DIGIT = 17  # of a double


@dataclass(frozen=True, slots=True)
class Verbaliser:
    """words: the spelt answers. options: how labels are called that are asked about. levels: what score words mean."""

    words: tuple[str, ...]
    options: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()


def choose_words(task: Task, codec: TextCodec, given: Mapping[str, str]) -> Verbaliser:
    """The words of a task. given: spelling by label name, by level, or by no and yes.

    no and yes are the answers of kind labels, also where a label is called so.

    Raises:
        ConfigError: a given name that the task does not have.
        DataError: a word without tokens, or two answers with the same tokens.
    """
    left = dict(given)
    if task.kind == "score":
        levels = levels_of([float(target) for target in task.train.targets if not isinstance(target, tuple)])
        known = told_apart(levels, digits=LEVEL_DIGITS)
        found = Verbaliser(tuple(left.pop(word, word) for word in known), levels=levels)
    elif task.kind == "labels":
        known = list(dict.fromkeys((*task.labels, *NO_YES)))
        answers = tuple(left.pop(word, word) for word in NO_YES)
        found = Verbaliser(answers, options=tuple(left.pop(name, readable(name)) for name in task.labels))
    else:
        known = list(task.labels)
        names = spelt(task.labels, codec)
        found = Verbaliser(tuple(left.pop(label, word) for label, word in zip(task.labels, names, strict=True)))
    if left:
        name = next(iter(left))
        raise ConfigError(
            f"the verbaliser spells {safe_repr(repr(name), 60)}; expected some of {', '.join(known[:12])}."
            f"{did_you_mean(name, known)} Change the name."
        )
    return found


def levels_of(targets: Sequence[float]) -> tuple[float, ...]:
    """The numbers to choose among, ascending."""
    different = sorted(set(targets))
    if len(different) <= MOST_LEVELS:
        return tuple(different)
    low, high = different[0], different[-1]
    if high - low <= MOST_LEVELS - 1 and high - low >= 2:  # a scale such as 0 to 5 with fractions: its whole numbers
        return tuple(float(level) for level in range(int(np.floor(low)), int(np.ceil(high)) + 1))
    return tuple(map(float, told_apart(np.linspace(low, high, SPREAD_LEVELS).tolist(), digits=SPREAD_DIGITS)))


def told_apart(levels: Sequence[float], *, digits: int) -> list[str]:
    """Different numbers as words, of at most `digits` significant digits, or of as few as tell all of them apart."""
    forms = ([f"{level:.{most}g}" for level in levels] for most in range(digits, EVERY_DIGIT))
    return next((form for form in forms if len(set(form)) == len(levels)), [f"{n:.{EVERY_DIGIT}g}" for n in levels])


def spelt(names: Sequence[str], codec: TextCodec) -> list[str]:
    """Label names as words: as they are or in small letters, whichever takes fewer tokens over all of them."""
    forms = [[readable(name) for name in names], [readable(name).lower() for name in names]]
    return min(forms, key=lambda form: sum(map(len, codec.encode_plain([f" {word}" for word in form]))))


def readable(name: str) -> str:
    """fooBar_baz-qux -> foo Bar baz qux, HUM -> hum."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_\-.]+", " ", name))
    apart = " ".join(apart.split()) or name
    return apart.lower() if len(apart) > 1 and apart.isupper() else apart


def check_words(codec: TextCodec, lead: str, words: Sequence[str]) -> None:
    """Whether every answer can be told from the others.

    Raises:
        DataError: a word without tokens, or two with the same.
    """
    seen: dict[bytes, str] = {}
    for word, units in zip(words, word_units(codec, [lead + word for word in words]), strict=True):
        other = seen.get(units.tobytes())
        if other is not None:
            raise DataError(
                f"the answers {safe_repr(repr(other), 40)} and {safe_repr(repr(word), 40)} have the same tokens; "
                "expected different ones. Spell one of them another way: --verbaliser label=word."
            )
        seen[units.tobytes()] = word


def read_pairs(given: Sequence[str]) -> dict[str, str]:
    """`label=word` flags as a mapping; commas separate several.

    Raises:
        ConfigError: a piece without an equals sign, or a label that is spelt twice.
    """
    found: dict[str, str] = {}
    for piece in (piece for flag in given for piece in flag.split(",")):
        label, equals, word = piece.partition("=")
        if not equals or not label.strip() or label.strip() in found:
            raise ConfigError(
                f"--verbaliser has {safe_repr(repr(piece), 60)}; expected label=word, each label once. "
                "Names with commas or equals signs go into a .json or .toml file."
            )
        found[label.strip()] = word.strip()
    return found
