"""A base and a task -> a base that is asked by a prompt: `Prompting` in, one prompted Base per template and seed out.

Everything that can be wrong is said here, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.base.prompt import CALIBRATIONS, BaseReference, Calibration, Prompt
from headstart.data.task import Task
from headstart.ground.batch import Pattern
from headstart.ground.errors import CapabilityError, ConfigError, did_you_mean, safe_repr
from headstart.ground.numbers import is_whole
from headstart.prompt.demonstrations import DEMONSTRATIONS, Demonstrations, draw_shots
from headstart.prompt.templates import templates_for
from headstart.prompt.verbalisers import check_words, choose_words

SHOTS = 8  # what few-shot shows where nobody says how many
MOST_SHOTS = 1024


@dataclass(frozen=True, slots=True)
class Prompting:
    """How to ask.

    shots: demonstrations; 0 is zero-shot. templates: None given means ours, three of them. words: spelling by label.
    demonstrations: how they are chosen. calibration: None means the one that is best on validation. pattern: None means
    from left to right where the base can. max_length: units a text keeps. joiner: between demonstrations.
    """

    shots: int = 0
    templates: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    demonstrations: Demonstrations = "balanced"
    calibration: Calibration | None = None
    pattern: Pattern | None = None
    max_length: int = 256
    joiner: str = "\n\n"

    def __post_init__(self) -> None:
        if not is_whole(self.shots) or not 0 <= self.shots <= MOST_SHOTS:
            raise ConfigError(
                f"--shots is {safe_repr(repr(self.shots), 40)}; expected a whole number from 0 to {MOST_SHOTS:,}. "
                "Give for instance --shots 8."
            )
        if not is_whole(self.max_length) or self.max_length < 1:
            raise ConfigError(
                f"--max-length is {safe_repr(repr(self.max_length), 40)}; expected a whole number from 1. "
                "Leave it out for the default."
            )
        if self.demonstrations not in DEMONSTRATIONS:
            raise ConfigError(
                f"--demonstrations is {self.demonstrations!r}; expected one of {', '.join(DEMONSTRATIONS)}."
                f"{did_you_mean(self.demonstrations, DEMONSTRATIONS)}"
            )
        if self.calibration is not None and self.calibration not in CALIBRATIONS:
            raise ConfigError(
                f"--calibration is {self.calibration!r}; expected one of {', '.join(CALIBRATIONS)}."
                f"{did_you_mean(self.calibration, CALIBRATIONS)}"
            )
        if self.calibration == "contextual" and self.demonstrations == "nearest" and self.shots:
            raise ConfigError(
                "--calibration is contextual and --demonstrations nearest; expected batch or none beside nearest, "
                "because a text without content has no nearest demonstrations. Give --calibration batch, or leave it "
                "out."
            )


def pattern_for(base: Base, wanted: Pattern | None) -> Pattern:
    """How the base will read.

    Raises:
        CapabilityError: the base cannot score, or not that way.
    """
    known = base.score_patterns
    if not known:
        raise CapabilityError(
            f"{base.name} ({base.family}) has no language-model head to score answers with; expected one for "
            "zero-shot and few-shot. Use --method probe, or another base."
        )
    if wanted is not None and wanted not in known:
        raise CapabilityError(
            f"{base.name} ({base.family}) cannot score under the pattern {wanted}; expected {' or '.join(known)}. "
            "Leave --pattern out."
        )
    return wanted or known[0]


def prompted(base: Base, task: Task, prompting: Prompting, *, seed: int) -> list[Base]:
    """One prompted base a template, without calibration; the base's weights are shared, never copied.

    Raises:
        CapabilityError: the base cannot score, or the task tags words or has no text.
        ConfigError: a template, a verbaliser, a calibration or a number of shots that cannot be used.
        DataError: an answer without tokens, or two with the same.
    """
    if task.columns.modality is not None:
        raise CapabilityError(
            f"this task reads {task.columns.modality}; expected text to ask by prompting. Use --method probe."
        )
    if prompting.calibration == "batch" and not len(task.validation):
        raise ConfigError(
            f"--calibration is batch and {task.name} has no validation rows; expected some to calibrate on. "
            "Give --validation, or --calibration contextual or none."
        )
    pattern = pattern_for(base, prompting.pattern)
    paired = task.train.pairs is not None
    templates = templates_for(task.kind, pair=paired, pattern=pattern, given=prompting.templates)
    words = choose_words(task, base.text_codec, prompting.words)
    shots = draw_shots(task, words, how=prompting.demonstrations, count=prompting.shots, seed=seed)
    bare = base.bare
    reference, asked = BaseReference(base.name, base.place, bare.digest), bare.fingerprint
    columns = (task.columns.text,) if task.columns.pair is None else (task.columns.text, task.columns.pair)
    found = []
    for template in templates:
        prompt = Prompt(
            template,
            words.words,
            pattern,
            shots=shots if prompting.shots else (),
            nearest=prompting.shots if prompting.demonstrations == "nearest" else 0,
            joiner=prompting.joiner,
            levels=words.levels,
            options=words.options,
            base=reference,
        )
        check_words(base.text_codec, prompt.lead, prompt.words)
        contract = TaskContract(
            kind=task.kind,
            labels=task.labels,
            columns=columns,
            pooling="mean",
            max_length=prompting.max_length,
            method="few-shot" if prompting.shots else "zero-shot",
            prompt=prompt,
            asked=asked,
        )
        found.append(replace(bare, contract=contract))
    return found
