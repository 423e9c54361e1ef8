"""TaskContract: what an adapted base promises to answer. It travels inside headstart.json.

kind choice: one of `labels`. labels: any subset of `labels`. score: a number. tags: one of `labels` per word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from headstart.base.lineage import Fingerprint
from headstart.base.prompt import Prompt, check_places
from headstart.data.examples import Kind
from headstart.ground.errors import ConfigError
from headstart.model.heads import Pooling


@dataclass(frozen=True, slots=True)
class TaskContract:
    """The question an adapted base answers.

    columns: names of the text columns of a row, one or two (a pair). max_length: units a row is cut to.
    temperature: divides logits before softmax or sigmoid, fitted on validation data. target_mean, target_scale: a
    score is head output * target_scale + target_mean. threshold: probability from which a label of kind "labels"
    is given. method: how the answers came to be (probe, lora, full, scratch: a head; zero-shot, few-shot: a prompt).
    apart: the members of a pair are read one by one and compared by the head, instead of together. prompt: asks
    instead of a head. channels: above 1, of series; every row has so many, and the head takes each by itself. asked:
    how the base was that the prompt was chosen for, beside its weights; None in folders from before this was kept.
    """

    kind: Kind
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    pooling: Pooling
    max_length: int
    method: str
    temperature: float = 1.0
    target_mean: float = 0.0
    target_scale: float = 1.0
    threshold: float = 0.5
    apart: bool = False
    prompt: Prompt | None = None
    channels: int = 1
    asked: Fingerprint | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"the task kind is {self.kind!r}; expected one of {', '.join(get_args(Kind))}.")
        if len(self.columns) not in (1, 2):
            raise ConfigError(f"the task has {len(self.columns)} text columns; expected one, or two for a pair.")
        if (self.kind == "score") != (not self.labels) or len(set(self.labels)) != len(self.labels):
            raise ConfigError(
                f"the task of kind {self.kind} has labels {self.labels[:5]}; expected "
                "distinct names, and none for a score."
            )
        if (self.pooling == "token") != (self.kind == "tags"):
            raise ConfigError(f"the pooling is {self.pooling!r} for kind {self.kind}; expected 'token' for tags only.")
        if self.apart and (len(self.columns) != 2 or self.kind == "tags"):
            raise ConfigError(f"the task reads {self.columns} of kind {self.kind} apart; expected a pair of texts.")
        if self.prompt is not None:
            _check_prompt(self.prompt, self.kind, self.labels, pair=len(self.columns) == 2)
            if self.max_length < 1:
                raise ConfigError(
                    f"max_length of the prompt is {self.max_length}; expected at least 1, the units a text keeps. "
                    "Adapt again."
                )
        if not self.temperature > 0:
            raise ConfigError(f"the temperature is {self.temperature}; expected a positive number.")

    @property
    def num_outputs(self) -> int:
        """Rows of the task head's matrix."""
        return max(1, len(self.labels))


def _check_prompt(prompt: Prompt, kind: Kind, labels: tuple[str, ...], *, pair: bool) -> None:
    if kind == "tags":
        raise ConfigError("a prompt is given for kind tags; expected choice, labels or score. Use probe, lora or full.")
    words = {"choice": len(labels), "labels": 2, "score": len(prompt.levels)}[kind]
    options = len(labels) if kind == "labels" else 0
    if len(prompt.words) != words or len(prompt.options) != options or bool(prompt.levels) != (kind == "score"):
        raise ConfigError(
            f"the prompt of kind {kind} has {len(prompt.words)} words, {len(prompt.options)} options and "
            f"{len(prompt.levels)} levels; expected {words} words and {options} options. Adapt again."
        )
    check_places(prompt.template, pair=pair, option=kind == "labels")
