"""The flags of `headstart adapt` as one record, with the words that --help prints. Nothing heavy is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from headstart.ground.errors import ConfigError

Method = Literal["auto", "probe", "lora", "full", "scratch"]
Kind = Literal["choice", "labels", "score", "tags"]
Table = Annotated[str, Parameter(allow_leading_hyphen=True)]  # "-" is standard input
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptFlags:
    """What `headstart adapt` can be told besides its table.

    Parameters
    ----------
    test
        Test rows. Without it a tenth of TRAIN is set aside.
    validation
        Rows that choose between methods. Without it a tenth of TRAIN is set aside.
    text
        Text column, or two for a pair: premise,hypothesis. Found by itself where the names are usual.
    label
        Label column. Found by itself where the names are usual.
    kind
        What is asked: one label, many, a number, or a tag per word. Found by itself from the column.
    base
        Name of a base or a folder in Hugging Face layout. Without it the embedded one.
    method
        auto tries the probe first, then what the budget allows.
    budget
        Time for everything, such as 90s, 5m or 1h.
    metric
        What decides, such as macro_f1 or mcc. Without it accuracy, micro_f1, pearson or span_f1, by the kind.
    seeds
        Train this many times with different seeds and average.
    seed
        First seed.
    epochs
        Passes over the training rows at most. Without it 3 to 20, more for small tables.
    batch
        Rows a training step. Without it 32.
    max_length
        Units of text a row keeps. Without it 256.
    out
        New folder for the result. Without it runs/NAME-DIGEST.
    label_curve
        Train on 1/8, 1/4, 1/2 and all labels, with the base and from scratch: what is pre-training worth?
    no_scratch
        Leave the from-scratch control out: faster, but nothing then says what pre-training was worth.
    class_weights
        Weigh rare classes up.
    drop_missing
        Drop rows without text or label instead of refusing the table.
    max_reject
        Largest share of unreadable rows that is set aside instead of refusing the table.
    allow_pickle
        Read .bin and .pt weights of a folder that has no safetensors (tensors only, never code).
    json
        Print the report as one JSON object.
    """

    test: Table | None = None
    validation: Table | None = None
    text: str | None = None
    label: str | None = None
    kind: Kind | None = None
    base: str | None = None
    method: Method = "auto"
    budget: str | None = None
    metric: str | None = None
    seeds: int = 1
    seed: int = 0
    epochs: int | None = None
    batch: int | None = None
    max_length: int | None = None
    out: Path | None = None
    label_curve: Flag = False
    no_scratch: Flag = False
    class_weights: Flag = False
    drop_missing: Flag = False
    max_reject: float = 0.01
    allow_pickle: Flag = False
    json: Flag = False

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; ConfigError where it is no time."""
        return None if self.budget is None else seconds_of(self.budget)


def seconds_of(text: str, *, flag: str = "--budget") -> float:
    """Seconds of a duration such as 90s, 2m, 1h30m or 45."""
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    pieces = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip().lower())
    if not pieces or "".join(amount + unit for amount, unit in pieces) != text.strip().lower():
        raise ConfigError(f"{flag} is {text!r}; expected a time. Write it like 90s, 5m or 1h30m.")
    total = sum(float(amount) * units[unit] for amount, unit in pieces)
    if total <= 0:
        raise ConfigError(f"{flag} is {text!r}; expected more than nothing. Write it like 90s, 5m or 1h30m.")
    return total
