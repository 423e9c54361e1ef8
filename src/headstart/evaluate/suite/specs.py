"""What is evaluated and how: one `KindSpec` per kind of set, one `TaskSpec` per set, and the suites.

Enter: a card, as INDEX.json holds one a set. Leave: its `TaskSpec`. A set named below has its own version, metric and
place in the core suite; any other set of a known kind gets them from its kind and from the words of its card, so that
nobody has to be listed here to be evaluated. A change of what a set asks or how it is scored raises its version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headstart.data.raw import Modality
from headstart.data.task import Kind
from headstart.ground.errors import ConfigError, did_you_mean

SuiteName = Literal["core", "language", "adapt", "bias", "all"]
SUITES: tuple[SuiteName, ...] = get_args(SuiteName)
ProtocolName = Literal[
    "adapt", "choices", "truth", "pairs", "coreference", "triples", "cloze", "prose", "generation", "instruction"
]
Method = Literal["zero-shot", "few-shot", "probe", "lora", "full", "scratch"]
METHODS: tuple[Method, ...] = ("zero-shot", "few-shot", "probe", "lora", "full")  # scratch is a control
NOT_STATED = "not stated"
OVERALL = "overall"  # what the mean over sets is called, and so no set


@dataclass(frozen=True, slots=True)
class KindSpec:
    """A kind of set. protocol None: known, and not evaluated yet. asks: the kind of Task an adapted set becomes.

    average: columns whose values weigh the same, whatever their rows (subtasks). cluster: columns whose values were
    drawn as a whole, so that their rows are not independent (passages). constant: whether the place of the right
    answer among the options says something, so that always the same place is a control. modality: what `text` names
    a column of, where that is no text.
    """

    name: str
    suite: SuiteName
    protocol: ProtocolName | None
    metric: str = "accuracy"
    asks: Kind | None = None
    text: str = ""
    label: str = ""
    average: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    constant: bool = False
    modality: Modality | None = None


def raw_kind(name: str, column: str, modality: Modality) -> KindSpec:
    """One label for every picture, clip or series of a column."""
    return KindSpec(name, "adapt", "adapt", "accuracy", "choice", column, "label", modality=modality)


PASSAGES = ("passage", "passage_id")
KINDS: dict[str, KindSpec] = {
    k.name: k
    for k in (
        KindSpec("text_classification", "adapt", "adapt", "accuracy", "choice", "text", "label"),
        KindSpec("multilabel_classification", "adapt", "adapt", "micro_f1", "labels", "text", "labels"),
        KindSpec("pair_classification", "adapt", "adapt", "accuracy", "choice", "text_a,text_b", "label"),
        KindSpec("pair_regression", "adapt", "adapt", "pearson", "score", "text_a,text_b", "score"),
        KindSpec("token_tagging", "adapt", "adapt", "", "tags", "tokens", "tags"),
        KindSpec("multiple_choice", "language", "choices", average=("subtask",), cluster=PASSAGES, constant=True),
        KindSpec("schema", "language", "choices", constant=True),
        KindSpec("truthfulness", "language", "truth"),
        KindSpec("minimal_pairs", "language", "pairs", average=("paradigm",), cluster=("paradigm",)),
        KindSpec("cloze", "language", "cloze"),
        KindSpec("held_out_text", "language", "prose", "bits_per_byte"),
        KindSpec("generation", "language", "generation", "rouge_l"),
        KindSpec("instruction", "language", "instruction", "rouge_l"),
        KindSpec("bias_pairs", "bias", "pairs", "preference"),
        KindSpec("bias_triples", "bias", "triples", "icat", average=("target",), cluster=("target",)),
        KindSpec("bias_coreference", "bias", "coreference", "preference"),
        raw_kind("image_classification", "image", "image"),
        raw_kind("audio_classification", "pcm_s16le", "audio"),
        raw_kind("timeseries_classification", "series", "series"),
    )
}


@dataclass(frozen=True, slots=True)
class Wording:
    """How a text is asked for. cue: what stands on a line of its own before the answer; stop: texts that end it.

    max_tokens: of an answer.
    """

    cue: str = "Answer:"
    stop: tuple[str, ...] = ("\n",)
    max_tokens: int = 64


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One set: what it is, where it is from, how it is scored.

    kind: as INDEX.json calls it. metric: of the leaderboard. average, cluster: columns, see `KindSpec`. wording: where
    an answer is written.
    """

    name: str
    kind: KindSpec
    metric: str
    version: int = 1
    source: str = NOT_STATED
    licence: str = NOT_STATED
    core: bool = False
    average: str | None = None
    cluster: str | None = None
    wording: Wording = Wording()

    @property
    def protocol(self) -> ProtocolName | None:
        return self.kind.protocol


UCR = "research use, cite the archive"
SERIES = ("italy_power", "gunpoint", "arrowhead", "ecg200", "synthetic_control", "basic_motions", "japanese_vowels")


@dataclass(frozen=True, slots=True)
class Known:
    """What this project has settled about a public set."""

    name: str
    kind: str
    source: str
    licence: str
    metric: str | None = None
    version: int = 1
    core: bool = False
    wording: Wording = Wording()


SUMS = Wording(stop=("Question:",), max_tokens=256)
SUMMARY = Wording("Summary:", max_tokens=96)
OUTPUT = Wording("Output:", stop=("\nInstruction:",), max_tokens=128)
GLUE = "research use; licence of the parts not stated"
KNOWN: dict[str, Known] = {
    k.name: k
    for k in (
        Known("sst2", "text_classification", "Socher et al. 2013 (GLUE)", GLUE, core=True),
        Known("ag_news", "text_classification", "Zhang et al. 2015", "non-commercial use"),
        Known("trec6", "text_classification", "Li and Roth 2002", "research use, not stated", core=True),
        Known("subj", "text_classification", "Pang and Lee 2004", "research use, not stated"),
        Known("cola", "text_classification", "Warstadt et al. 2019 (GLUE)", GLUE, metric="mcc", core=True),
        Known("banking77", "text_classification", "Casanueva et al. 2020", "CC-BY-4.0"),
        Known("nlupp_banking", "multilabel_classification", "Casanueva et al. 2022", "CC-BY-4.0", version=2),
        Known("mrpc", "pair_classification", "Dolan and Brockett 2005 (GLUE)", "Microsoft Research licence"),
        Known("rte", "pair_classification", "PASCAL RTE 1, 2, 3, 5 (GLUE)", GLUE),
        Known("stsb", "pair_regression", "Cer et al. 2017 (GLUE)", "CC-BY-SA-4.0 (scores)", core=True),
        Known(
            "conll2000_chunk",
            "token_tagging",
            "Tjong Kim Sang and Buchholz 2000",
            "research use",
            metric="span_f1",
            core=True,
        ),
        Known("fashion_mnist", "image_classification", "Xiao et al. 2017", "MIT"),
        Known("mnist", "image_classification", "LeCun, Cortes and Burges", "CC-BY-SA-3.0, as commonly stated"),
        Known("cifar10", "image_classification", "Krizhevsky 2009", "research use, not stated"),
        Known("sign_digits", "image_classification", "Mavi 2017 (Sign Language Digits)", "Apache-2.0"),
        Known("fsdd", "audio_classification", "Jackson et al. 2018 (Free Spoken Digits)", "CC-BY-SA-4.0"),
        *(Known(f"ts_{name}", "timeseries_classification", "Dau et al. 2019 (UCR/UEA)", UCR) for name in SERIES),
        Known("ud_ewt_pos", "token_tagging", "Silveira et al. 2014", "CC-BY-SA-4.0", metric="token_accuracy"),
        Known("blimp", "minimal_pairs", "Warstadt et al. 2020", "CC-BY", core=True),
        Known("hellaswag", "multiple_choice", "Zellers et al. 2019", "MIT", metric="accuracy_norm"),
        Known("arc_easy", "multiple_choice", "Clark et al. 2018", "CC-BY-SA-4.0", core=True),
        Known("piqa", "multiple_choice", "Bisk et al. 2020", "AFL-3.0", core=True),
        Known("copa", "multiple_choice", "Roemmele et al. 2011", "BSD-2-Clause"),
        Known("boolq", "multiple_choice", "Clark et al. 2019", "CC-BY-SA-3.0"),
        Known("bigbench_a", "multiple_choice", "Srivastava et al. 2022", "Apache-2.0"),
        Known("winograd_wsc273", "schema", "Levesque et al. 2012", "CC-BY-4.0"),
        Known("truthfulqa", "truthfulness", "Lin et al. 2022", "Apache-2.0", version=2),
        Known("lambada", "cloze", "Paperno et al. 2016; text of Radford et al. 2019", "MIT (modified)", core=True),
        Known("gsm8k", "generation", "Cobbe et al. 2021", "MIT", "answer_match", wording=SUMS),
        Known("e2e_nlg", "generation", "Novikova et al. 2017", "CC-BY-SA-4.0", "bleu", wording=Wording("Text:")),
        Known("dialogsum", "generation", "Chen et al. 2021", "CC-BY-NC-SA-4.0", "rouge_l", wording=SUMMARY),
        Known("instructions", "instruction", "Wang et al. 2023 (seed tasks)", "Apache-2.0 (test)", wording=OUTPUT),
        Known("stereoset_intra", "bias_triples", "Nadeem et al. 2021, re-split", "CC-BY-SA-4.0"),
        Known("winobias", "bias_coreference", "Zhao et al. 2018", "MIT as commonly stated"),
        Known("crows_pairs", "bias_pairs", "Nangia et al. 2020", "CC-BY-SA-4.0"),
    )
}

METRIC_WORDS = (  # how cards write the metrics we have
    ("length-normalised accuracy", "accuracy_norm"),
    ("token accuracy", "token_accuracy"),
    ("accuracy", "accuracy"),
    ("matthews", "mcc"),
    ("macro f1", "macro_f1"),
    ("macro-f1", "macro_f1"),
    ("micro f1", "micro_f1"),
    ("micro-f1", "micro_f1"),
    ("exact match", "exact_match"),
    ("exact match", "answer_match"),
    ("span f1", "span_f1"),
    ("chunk f1", "span_f1"),
    ("pearson", "pearson"),
    ("spearman", "spearman"),
    ("bleu", "bleu"),
    ("rouge-1", "rouge1"),
    ("rouge-2", "rouge2"),
    ("rouge-l", "rouge_l"),
)
FITTING: dict[str, tuple[str, ...]] = {  # metrics that a leaderboard may show, by the kind of Task or the protocol
    "choice": ("accuracy", "macro_f1", "mcc"),
    "labels": ("micro_f1", "exact_match"),
    "score": ("pearson", "spearman"),
    "tags": ("span_f1", "token_accuracy"),
    "choices": ("accuracy", "accuracy_norm"),
    "generation": ("answer_match", "bleu", "rouge1", "rouge2", "rouge_l"),
}
VERSIONS = {"macro_f1": 2, "micro_f1": 2, "exact_match": 2}  # of sets with these metrics: version 1 held guessing for 0


def spec_of(name: str, kind: KindSpec, *, metric: str, columns: Sequence[str], source: str, licence: str) -> TaskSpec:
    """The spec of a set from its card; what this project has settled about a set of that name and kind goes first."""
    known = KNOWN.get(name)
    if known is not None and known.kind == kind.name:
        return TaskSpec(
            name,
            kind,
            known.metric or kind.metric,
            known.version,
            known.source,
            known.licence,
            known.core,
            first_of(kind.average, columns),
            first_of(kind.cluster, columns),
            known.wording,
        )
    shown = metric_named(metric, kind)
    return TaskSpec(
        name,
        kind,
        shown,
        VERSIONS.get(shown, 1),
        source=source,
        licence=licence,
        average=first_of(kind.average, columns),
        cluster=first_of(kind.cluster, columns),
    )


def first_of(wanted: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in columns), None)


def metric_named(words: str, kind: KindSpec) -> str:
    """The first metric that a card's words name and that fits the kind; the kind's own where they name none."""
    folded, fitting = words.casefold(), FITTING.get(kind.asks or kind.protocol or "", ())
    found = [
        (folded.index(phrase), -len(phrase), name)
        for phrase, name in METRIC_WORDS
        if phrase in folded and name in fitting
    ]
    return min(found)[2] if found else kind.metric


def check_suite(name: str) -> SuiteName:
    """`name` as a suite, or an error with a suggestion."""
    for suite in SUITES:
        if name == suite:
            return suite
    raise ConfigError(
        f"the suite is {name!r}; expected one of {', '.join(SUITES)}.{did_you_mean(name, SUITES)} "
        "Give one of them, or leave --suite out for core."
    )


def check_methods(words: str) -> tuple[Method, ...]:
    """Methods from a list with commas, each once, or an error with a suggestion."""
    found: list[Method] = []
    for word in filter(None, (part.strip() for part in words.split(","))):
        match = next((method for method in METHODS if method == word), None)
        if match is None:
            hint = did_you_mean(word, METHODS)
            raise ConfigError(
                f"--method names {word!r}; expected some of {', '.join(METHODS)}.{hint} "
                "Give some of them with commas, or leave --method out."
            )
        if match not in found:
            found.append(match)
    if not found:
        raise ConfigError(
            f"--method is {words!r}; expected some of {', '.join(METHODS)}. "
            "Give some of them with commas, or leave --method out."
        )
    return tuple(found)


def belongs(spec: TaskSpec, suite: SuiteName) -> bool:
    """Whether a set is part of a suite."""
    return suite == "all" or (spec.core if suite == "core" else spec.kind.suite == suite)
