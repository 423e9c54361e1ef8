"""The flags of `adapt` and its sisters as records, with the words that --help prints. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from headstart.ground.errors import ConfigError

Method = Literal["auto", "probe", "lora", "full", "scratch", "zero-shot", "few-shot"]
Kind = Literal["choice", "labels", "score", "tags"]
DemoKind = Literal["text", "image", "audio", "series"]
Table = Annotated[str, Parameter(allow_leading_hyphen=True)]  # "-" is standard input
Time = Annotated[str, Parameter(allow_leading_hyphen=True)]  # -5s is refused as a time, not as a flag
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFlags:
    """How a labelled table is read.

    Parameters
    ----------
    text
        Text column, or two for a pair: premise,hypothesis. Found by itself where the names are usual.
    image
        Column of pictures: paths, file bytes or arrays (PNG, JPEG, WebP).
    audio
        Column of sounds: paths, file bytes (WAV, FLAC), or samples beside a column sample_rate.
    series
        Column of series: lists of numbers, one or a list a channel.
    label_from
        folder: the table is a folder with a folder of pictures or sounds for every label.
    label
        Label column. Found by itself where the names are usual.
    kind
        What is asked: one label, many, a number, or a tag per word. Found by itself from the column.
    drop_missing
        Drop rows without text or label instead of refusing the table.
    max_reject
        Largest share of unreadable rows that is set aside instead of refusing the table.
    """

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    series: str | None = None
    label_from: Literal["folder"] | None = None
    label: str | None = None
    kind: Kind | None = None
    drop_missing: Flag = False
    max_reject: float = 0.01


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptFlags(ColumnFlags):
    """What `headstart adapt` can be told besides its table.

    Parameters
    ----------
    test
        Test rows. Without it a tenth of TRAIN is set aside.
    validation
        Rows that choose between methods. Without it a tenth of TRAIN is set aside.
    base
        Name of a base or a folder in Hugging Face layout. Without it the embedded one for what is read.
    method
        auto tries the probe first, then what the budget allows. zero-shot and few-shot train nothing: they ask.
    budget
        Time for everything, such as 90s, 5m or 1h.
    metric
        What decides, such as macro_f1 or mcc. Without it accuracy, micro_f1, pearson or span_f1, by the kind.
    seeds
        Train, or draw demonstrations, this many times with different seeds and average.
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
    allow_pickle
        Read .bin and .pt weights of a folder that has no safetensors (tensors only, never code).
    json
        Print the report as one JSON object.
    """

    test: Table | None = None
    validation: Table | None = None
    base: str | None = None
    method: Method = "auto"
    budget: Time | None = None
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
    allow_pickle: Flag = False
    json: Flag = False

    @property
    def seconds(self) -> float | None:
        """The budget in seconds; ConfigError where it is no time."""
        return None if self.budget is None else seconds_of(self.budget)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AskFlags:
    """How zero-shot and few-shot ask.

    Parameters
    ----------
    shots
        Demonstrations before every question. Without it 8 for few-shot.
    template
        How a row is asked, such as 'Review: {{ text }}\\nMood: {{ label }}', or a file with that; {{ pair }} is the
        second text, {{ option }} the label asked about where many apply. Several may be given; without any, three of
        ours.
    verbaliser
        How answers are spelt: label=word,label=word, or a .json or .toml file. Without it by the label names. Where
        many labels apply, yes= and no= spell the answers.
    demonstrations
        Shots with the labels in turn, any at random, or the nearest to each row by the base's own features.
    calibration
        Takes out what the words alone make likely. Without it what is best on validation; the raw row stays beside it.
    pattern
        How the base reads: causal, or full, filling the answer in. Without it causal where the base can.
    """

    shots: int | None = None
    template: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    verbaliser: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    demonstrations: Literal["balanced", "random", "nearest"] = "balanced"
    calibration: Literal["none", "contextual", "batch"] | None = None
    pattern: Literal["causal", "full"] | None = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFlags:
    """What `headstart prompt` can be told besides base and text.

    Parameters
    ----------
    file
        Many prompts: a table with a column prompt (CSV, TSV, JSONL, JSON, Parquet), or a .txt with one a line; - reads
        lines from standard input. The answers are JSON lines, in the same order, each written as soon as it can be.
    max_tokens
        Longest answer.
    temperature
        0 takes the most probable token, always; 1 draws as the base believes.
    top_k
        Draw among so many most probable tokens.
    top_p
        Draw among the fewest tokens that have so much of the probability together.
    min_p
        Draw among tokens with at least this share of the most probable one's probability.
    repetition_penalty
        Divide the logits of tokens that were read or written; 1 leaves them.
    presence_penalty
        Subtract this from the logits of tokens that were written.
    frequency_penalty
        Subtract this for every time a token was written.
    seed
        Seed of what is drawn.
    stop
        Text before which an answer ends; may be given several times, but not with --schema.
    logprobs
        With --json or --file: log-probabilities, and so many alternatives for every token.
    chat
        Ask as in a conversation, by the base's own chat template.
    system
        With --chat: what stands before the conversation.
    weights
        What weights are rounded to while answering: fp32 (not at all), fp16 or int8. Only a CPU has the last two.
    schema
        File with a JSON schema; every answer follows it. Needs the extra `json`.
    truncate
        Cut the beginning off a prompt that leaves no room for --max-tokens, instead of refusing it or answering less.
        Half of what the base reads at once is the prompt's in any case. A conversation loses its oldest messages.
    allow_pickle
        Read .bin and .pt weights of a folder that has no safetensors (tensors only, never code).
    json
        Print one JSON object.
    """

    file: Table | None = None
    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    stop: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    logprobs: int | None = None
    chat: Flag = False
    system: str | None = None
    weights: Literal["fp32", "fp16", "int8"] = "fp32"
    schema: Path | None = None
    truncate: Flag = False
    allow_pickle: Flag = False
    json: Flag = False


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseFlags(ColumnFlags):
    """What `headstart choose` can be told besides its table.

    Parameters
    ----------
    bases
        Names of bases, folders in Hugging Face layout, or .gguf files; all takes those that `headstart bases` lists for
        what TABLE holds.
    methods
        Some of probe, lora, full, zero-shot and few-shot. Without it all of them; the last two ask few rows by a
        prompt, within 15 % of the time, where the base and the kind of task can be asked that way.
    budget
        Time for everything, such as 90s, 5m or 1h. Without it every candidate with a chance is tried.
    max_ms_per_row
        Leave out bases that take longer to answer a row, measured here.
    max_mb
        Leave out bases whose weights take more megabytes in fp32.
    licence
        permissive or stated leaves out bases whose own words do not say so.
    test
        Test rows. Without it a tenth of TABLE is set aside.
    validation
        Rows on which candidates are compared. Without it a tenth of TABLE is set aside.
    metric
        What decides, such as macro_f1 or mcc. Without it accuracy, micro_f1, pearson or span_f1, by the kind.
    seed
        First seed.
    on
        Where trials run: here, local:N processes, or a Ray cluster (ray://HOST:PORT, ray://auto).
    out
        New folder for the result. Without it runs/NAME-DIGEST.
    allow_pickle
        Read .bin and .pt weights of a folder that has no safetensors (tensors only, never code).
    json
        Print the report as one JSON object.
    """

    bases: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = ()
    methods: Annotated[
        tuple[Literal["probe", "lora", "full", "zero-shot", "few-shot"], ...],
        Parameter(consume_multiple=True, negative=()),
    ] = ()
    budget: Time | None = None
    max_ms_per_row: float | None = None
    max_mb: float | None = None
    licence: Literal["any", "stated", "permissive"] = "any"
    test: Table | None = None
    validation: Table | None = None
    metric: str | None = None
    seed: int = 0
    on: str = "here"
    out: Path | None = None
    allow_pickle: Flag = False
    json: Flag = False


def refuse_blank(name: str, what: str) -> None:
    """ConfigError for an empty name, as a script's empty variable gives one; it must not stand for the default."""
    if not name.strip():
        raise ConfigError(f"{what} is {name!r}; expected a name or a folder. Give one that `headstart bases` lists.")


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
