"""TaskContract: what an adapted base promises to answer. It travels inside headstart.json.

kind choice: one of `labels`. labels: any subset of `labels`. score: a number. tags: one of `labels` per word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from headstart.data.examples import Kind
from headstart.ground.errors import ConfigError
from headstart.model.heads import Pooling


@dataclass(frozen=True, slots=True)
class TaskContract:
    """The question an adapted base answers.

    columns: names of the text columns of a row, one or two (a pair). max_length: units a row is cut to.
    temperature: divides logits before softmax or sigmoid, fitted on validation data. target_mean, target_scale: a
    score is head output * target_scale + target_mean. threshold: probability from which a label of kind "labels"
    is given. method: how the head came to be (probe, lora, full, scratch). apart: the members of a pair are read one
    by one and compared by the head, instead of together.
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
        if not self.temperature > 0:
            raise ConfigError(f"the temperature is {self.temperature}; expected a positive number.")

    @property
    def num_outputs(self) -> int:
        """Rows of the task head's matrix."""
        return max(1, len(self.labels))
