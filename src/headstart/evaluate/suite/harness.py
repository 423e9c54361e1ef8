"""lm-evaluation-harness' YAML dialect: a task file, or a folder of them, becomes sets like those of an index.

Read are local JSON, JSON lines and Parquet (`dataset_kwargs.data_files`), the output types multiple_choice,
loglikelihood and generate_until, templates in a sandbox, metrics that are shares of right answers, few-shot with the
harness' own draw, and regex filters. What a file asks beyond that (`include`, `!function`, another metric, ...) makes
it a set that is passed by with the reason; nothing of a file is ever run. Items are asked in the order of the file, the
first ones under a limit, as the harness has it. Written against lm-evaluation-harness 0.4.13.
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from headstart.base.sandbox import Template
from headstart.data.table import read_table
from headstart.evaluate.suite.index import SetOnDisk, Unread, check_name
from headstart.evaluate.suite.items import Item, moved
from headstart.evaluate.suite.shots import SEED, drawn
from headstart.evaluate.suite.specs import KindSpec, TaskSpec, Wording
from headstart.evaluate.suite.writing import Demand, Demands
from headstart.ground.errors import ConfigError, DataError, did_you_mean, safe_repr
from headstart.ground.files import sha256_file

SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 256 << 10  # of a task file; the largest of the harness' own has 30 kB
NO_MATCH = "[invalid]"
KINDS: dict[str, KindSpec] = {
    "multiple_choice": KindSpec("lm-eval multiple_choice", "language", "choices"),
    "loglikelihood": KindSpec("lm-eval loglikelihood", "language", "cloze"),
    "generate_until": KindSpec("lm-eval generate_until", "language", "generation", "answer_match"),
}
METRICS: dict[str, dict[str, str]] = {  # their names -> ours, by output type; the default first
    "multiple_choice": {"acc": "accuracy", "acc_norm": "accuracy_characters", "acc_bytes": "accuracy_norm"},
    "loglikelihood": {"acc": "accuracy", "perplexity": "accuracy"},
    "generate_until": {"exact_match": "answer_match"},
}


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data_files: str | list[str] | dict[str, str | list[str]]


class MetricLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric; the last four are how texts are compared."""

    metric: str
    aggregation: Any = None
    higher_is_better: Any = None
    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False
    regexes_to_ignore: list[str] = []


class FilterStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    function: Literal["regex", "take_first"]
    regex_pattern: str = r"#### (\-?[0-9\.\,]+)"
    group_select: int = 0
    fallback: str = NO_MATCH


class FilterLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    filter: list[FilterStep]


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    until: str | list[str] | None = None
    max_gen_toks: int = 256
    do_sample: Literal[False] = False
    temperature: float = 0.0


class Fewshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sampler: Literal["default", "first_n"] = "default"


class TaskFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A task as the file says it. Fields of type Any are read over: they change no score."""

    task: str
    dataset_path: Literal["json", "parquet"]
    dataset_kwargs: Files
    doc_to_text: str
    doc_to_target: str | int
    output_type: Literal["multiple_choice", "loglikelihood", "generate_until"] = "generate_until"
    doc_to_choice: str | list[str] | dict[str, str] | None = None
    training_split: str | None = None
    validation_split: str | None = None
    test_split: str | None = None
    fewshot_split: str | None = None
    fewshot_config: Fewshot = Fewshot()
    num_fewshot: int = 0
    description: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    metric_list: list[MetricLine] = []
    filter_list: list[FilterLine] = []
    generation_kwargs: Generation = Generation()
    repeats: Literal[1] = 1
    metadata: Any = None
    tag: Any = None
    group: Any = None
    task_alias: Any = None
    dataset_name: Any = None
    should_decontaminate: Any = None
    doc_to_decontamination_query: Any = None


def is_dialect(data: Path) -> bool:
    """Whether DATA is a task file, or a folder that holds some and no index of its own."""
    return data.suffix in SUFFIXES or (data.is_dir() and bool(task_files(data)) and not (data / "INDEX.json").is_file())


def task_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())


def find_tasks(data: Path, *, tasks: tuple[str, ...] = ()) -> tuple[list[SetOnDisk], list[Unread]]:
    """(the sets that can be evaluated, those that cannot with the reason); `tasks` picks by name.

    Raises:
        ConfigError: a name that no file has.
        DataError: a file that cannot be read as YAML, two tasks of one name, or a name that no task can have.
    """
    found: dict[str, SetOnDisk | Unread] = {}
    paths: dict[str, Path] = {}
    for path in task_files(data) if data.is_dir() else [data]:
        one = read_task_file(path)
        name = name_of(one)
        check_name(name, path)
        if name in found:
            raise DataError(
                f"{path} and {paths[name].name} both name the task {name!r}; expected different names. Rename one."
            )
        found[name], paths[name] = one, path
    for name in tasks:
        if name not in found:
            hint = did_you_mean(name, found)
            raise ConfigError(f"--tasks names {safe_repr(name, 60)!r}; expected some of {', '.join(found)}.{hint}")
    chosen = [one for name, one in found.items() if not tasks or name in tasks]
    return [s for s in chosen if isinstance(s, SetOnDisk)], [s for s in chosen if isinstance(s, Unread)]


def name_of(one: SetOnDisk | Unread) -> str:
    return one.spec.name if isinstance(one, SetOnDisk) else one.name


def read_task_file(path: Path) -> SetOnDisk | Unread:
    """One task.

    Raises:
        DataError: it is no YAML, or too much of it.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem}; expected a task file. Check --data.") from problem
    if size > MAX_BYTES:
        raise DataError(f"{path} has {size:,} bytes; expected at most {MAX_BYTES:,} of a task file. Give another one.")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            return Unread(path.stem, "it uses YAML aliases; expected every value written out")
        told = yaml.safe_load(content)
    except yaml.constructor.ConstructorError as problem:
        return Unread(path.stem, f"it asks for what is never run here: {safe_repr(str(problem.problem), 120)}")
    except (yaml.YAMLError, RecursionError) as problem:
        raise DataError(
            f"{path} is no YAML ({safe_repr(str(problem), 160)}); expected a task file. Mend it."
        ) from problem
    name = told.get("task") if isinstance(told, dict) else None
    name = name if isinstance(name, str) and name and name == Path(name).name else path.stem
    try:
        task = msgspec.convert(told, TaskFile)
    except msgspec.ValidationError as problem:
        return Unread(name, f"{path.name}: {safe_repr(str(problem), 200)}")
    reason = unreadable(task)
    return Unread(name, reason) if reason else set_of(task, name, path, content)


def unreadable(task: TaskFile) -> str | None:
    """Why a task cannot be evaluated here, None where it can."""
    known = METRICS[task.output_type]
    strange = [line.metric for line in task.metric_list if line.metric not in known]
    if strange:
        return f"metric {safe_repr(strange[0], 40)} of {task.output_type} is not read; known are {', '.join(known)}"
    if (task.test_split or task.validation_split) is None:
        return "it has neither test_split nor validation_split"
    if (task.output_type == "multiple_choice") != (task.doc_to_choice is not None):
        return "doc_to_choice goes with output_type multiple_choice, and only with it"
    return None


def set_of(task: TaskFile, name: str, path: Path, content: bytes) -> SetOnDisk | Unread:
    """The task as a set: the split that is scored is called test, the one that examples are from train."""
    given = task.dataset_kwargs.data_files
    by_split = given if isinstance(given, dict) else {"train": given}
    scored = task.test_split or task.validation_split
    shown = task.fewshot_split or task.training_split or task.validation_split or task.test_split
    files: dict[str, list[Path]] = {}
    for split in dict.fromkeys([scored, *([shown] if task.num_fewshot else [])]):
        assert split is not None, "one of them is there"
        if split not in by_split:
            return Unread(name, f"{path.name} has no data_files for its split {split}")
        names = by_split[split]
        files[split] = [located(one, path) for one in ([names] if isinstance(names, str) else names)]
        missing = [str(one) for one in files[split] if not one.is_file()]
        if missing or not files[split]:
            return Unread(name, f"{path.name}: there is no file {safe_repr(', '.join(missing), 200)}")
    assert scored is not None
    digest = hashlib.sha256(content)
    for paths in files.values():
        digest.update("".join(sha256_file(one) for one in paths).encode())
    until = task.generation_kwargs.until
    stop = [task.fewshot_delimiter] if until is None else [until] if isinstance(until, str) else until
    metrics = METRICS[task.output_type]
    first = task.metric_list[0].metric if task.metric_list else next(iter(metrics))
    spec = TaskSpec(
        name,
        KINDS[task.output_type],
        metrics[first],
        source=f"{path.name} (lm-eval)",
        core=True,
        wording=Wording("", tuple(one for one in stop if one), task.generation_kwargs.max_gen_toks),
    )
    # The harness leaves the asked row out wherever these two are the same, also where neither is given; ours too where
    # it would show the very rows that it asks.
    own = shown == scored or task.fewshot_split == task.test_split
    shots = (files[shown], own) if task.num_fewshot and shown else ([], False)
    tasks = Tasks(task, files[scored], *shots)
    rows = {"multiple_choice": tasks.choices, "loglikelihood": tasks.gaps, "generate_until": tasks.demands}
    files_of = {"test": files[scored][0]}
    return SetOnDisk(spec, files_of, digest.hexdigest(), rows=rows[task.output_type], shots=task.num_fewshot)


def located(name: str, beside: Path) -> Path:
    """A data file: beside the task file where it lies there, else from where we are, as the harness has it."""
    near = beside.parent / name
    return near if near.is_file() else Path(name)


# --- rows -----------------------------------------------------------------------------------------------------------

Doc = dict[str, Any]


@dataclass(eq=False)
class Tasks:
    """A task file with its data: what becomes of every row. paths: of the rows; shown: of the examples; own: whether a
    row that is asked may be among them and is left out."""

    task: TaskFile
    paths: Sequence[Path]
    shown: Sequence[Path]
    own: bool
    _templates: dict[str, Template] = field(default_factory=dict)

    def choices(self, limit: int | None) -> list[Item]:
        """multiple_choice."""
        found = []
        for line, doc, context in self.asked(limit):
            options = [self.task.target_delimiter + choice for choice in self.choice_texts(doc)]
            answer = self.answer(doc)
            if len(options) < 2 or not 0 <= answer < len(options):
                raise DataError(
                    f"{self.task.task}: the answer to line {line} is {answer} of {len(options)} options; expected the "
                    "number of one of at least two. Mend doc_to_target or doc_to_choice."
                )
            found.append(Item(line, tuple(moved(context, one) for one in options), answer))
        return found

    def gaps(self, limit: int | None) -> list[Item]:
        """loglikelihood: the target follows the context as it is, without a delimiter."""
        return [Item(line, (moved(context, self.target_text(doc)),), 0) for line, doc, context in self.asked(limit)]

    def demands(self, limit: int | None) -> Demands:
        """generate_until."""
        rule = partial(compared, self.task)
        items = [Demand(line, context, (self.target_text(doc),), rule) for line, doc, context in self.asked(limit)]
        return Demands(tuple(items), ())

    def asked(self, limit: int | None) -> list[tuple[int, Doc, str]]:
        """(line, row, what stands before the answer) of every row, in the order of the file."""
        rows = docs(self.paths)[:limit]
        draw = random.Random(SEED)
        pool = [doc for _, doc in docs(self.shown)] if self.task.num_fewshot else []
        return [
            (
                line,
                doc,
                f"{self.filled(self.task.description, doc)}{self.preamble(line, doc, pool, draw)}{self.question(doc)}",
            )
            for line, doc in rows
        ]

    def preamble(self, line: int, doc: Doc, pool: list[Doc], draw: random.Random) -> str:
        """The examples before a row, as the harness has them."""
        task, count = self.task, self.task.num_fewshot
        if not count:
            return ""
        if len(pool) < count + self.own:
            raise DataError(f"{task.task} has {len(pool)} examples; expected {count} to show. Lower num_fewshot.")
        if task.fewshot_config.sampler == "first_n":
            shown = [one for one in pool if not self.own or one != doc][:count]
        else:
            shown = drawn(pool, draw, count, doc.__eq__ if self.own else None, f"{task.task}, line {line}")
        return "".join(
            f"{self.question(one)}{task.target_delimiter}{self.shown_answer(one)}{task.fewshot_delimiter}"
            for one in shown
        )

    def question(self, doc: Doc) -> str:
        found = self.value(self.task.doc_to_text, doc)
        if not isinstance(found, str):
            raise DataError(f"{self.task.task}: doc_to_text gives {safe_repr(repr(found), 60)}; expected a text.")
        return found

    def shown_answer(self, doc: Doc) -> str:
        if self.task.doc_to_choice is not None:
            return self.choice_texts(doc)[self.answer(doc)]
        return self.target_text(doc)

    def target_text(self, doc: Doc) -> str:
        return str(self.value(self.task.doc_to_target, doc))

    def answer(self, doc: Doc) -> int:
        """The number of the right choice, -1 where there is none."""
        told = self.value(self.task.doc_to_target, doc)
        if isinstance(told, str) and not told.isdigit():
            choices = self.choice_texts(doc)
            return choices.index(told) if told in choices else -1
        if isinstance(told, bool) or not isinstance(told, int | str):
            raise DataError(
                f"{self.task.task}: doc_to_target gives {safe_repr(repr(told), 60)}; expected the number of a "
                "choice or one of the choices. Several right answers are not read."
            )
        return int(told)

    def choice_texts(self, doc: Doc) -> list[str]:
        told = self.task.doc_to_choice
        if isinstance(told, dict):
            return list(told.values())
        found = told if isinstance(told, list) else self.value(told or "", doc)
        if isinstance(found, str):
            try:
                found = ast.literal_eval(found)
            except (ValueError, SyntaxError, MemoryError, RecursionError) as problem:
                raise DataError(
                    f"{self.task.task}: doc_to_choice gives {safe_repr(found, 80)!r}; expected a list of texts. Mend."
                ) from problem
        if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
            raise DataError(
                f"{self.task.task}: doc_to_choice gives {safe_repr(repr(found), 80)}; expected a list of texts. Mend."
            )
        return found

    def value(self, told: str | int, doc: Doc) -> Any:
        """A number as it is, a column by its name, else a template."""
        if isinstance(told, int):
            return told
        return doc[told] if told in doc else self.filled(told, doc)

    def filled(self, source: str, doc: Doc) -> str:
        if source not in self._templates:
            self._templates[source] = Template(source, what=f"template of {self.task.task}", strict=True)
        return self._templates[source].render(doc)


def docs(paths: Sequence[Path]) -> list[tuple[int, Doc]]:
    """(line, cells) of every row of some tables."""
    found = []
    for path in paths:
        table = read_table(path)
        names = list(table.columns)
        cells = zip(*table.columns.values(), strict=True)
        found += [(line, dict(zip(names, row, strict=True))) for line, row in zip(table.lines, cells, strict=True)]
    return found


# --- texts compared -------------------------------------------------------------------------------------------------


def compared(task: TaskFile, reference: str, written: str) -> tuple[str, str, dict[str, float]]:
    """(reference, answer) as the first filter leaves them, and whether they are equal by every filter's name."""
    line = task.metric_list[0] if task.metric_list else MetricLine("exact_match")
    wanted = levelled(line, reference)
    filters = task.filter_list or [FilterLine("none", [])]
    answers = {one.name: levelled(line, filtered(one, written)) for one in filters}
    return wanted, answers[filters[0].name], {f"exact_match,{n}": float(a == wanted) for n, a in answers.items()}


def filtered(line: FilterLine, written: str) -> str:
    for step in line.filter:
        if step.function == "regex":
            written = extracted(step, written)
    return written


def extracted(step: FilterStep, written: str) -> str:
    """The harness' regex filter: one of all matches, its first group that is not empty."""
    found = re.findall(step.regex_pattern, written)
    if not -len(found) <= step.group_select < len(found):
        return step.fallback
    match = found[step.group_select]
    if isinstance(match, tuple):
        match = next((group for group in match if group), step.fallback)
    return str(match).strip()


def levelled(line: MetricLine, text: str) -> str:
    """A text without what the metric ignores."""
    for pattern in line.regexes_to_ignore:
        text = re.sub(pattern, "", text)
    text = text.lower() if line.ignore_case else text
    without = (string.punctuation if line.ignore_punctuation else "") + (string.digits if line.ignore_numbers else "")
    return text.translate(str.maketrans("", "", without))
