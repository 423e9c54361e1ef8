"""Which columns hold the text, its partner and the answer, and what kind of question the answer makes.

Names are known first (GLUE, SetFit, Hugging Face, spreadsheets); cell statistics decide only where they leave no doubt.
What is found is data (`Columns`) that is printed; what is not found is an error with the flag to give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast, get_args

from headstart.data.examples import Columns, Kind
from headstart.data.raw import Modality
from headstart.data.table import Table
from headstart.ground.errors import ConfigError, DataError, did_you_mean, safe_repr

PAIRS = (
    ("text_a", "text_b"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"),
    ("text1", "text2"), ("sentence_a", "sentence_b"), ("question", "sentence"), ("question", "passage"),
    ("query", "passage"), ("query", "document"), ("claim", "evidence"), ("question", "answer"), ("question", "context"),
)  # fmt: skip
TEXTS = (
    "text", "sentence", "review", "content", "utterance", "message", "body", "comment", "tweet", "question", "query",
    "document", "description", "title", "input", "prompt", "headline", "subject", "feedback",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "category", "intent", "target", "sentiment", "stars", "score", "rating", "similarity",
    "emotion", "topic", "gold_label", "categories", "intents", "tags", "is_duplicate", "y", "grade",
)  # fmt: skip
TOKENS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "pos_tags", "chunk_tags", "labels", "upos", "ner", "pos")
SCORES = ("score", "similarity", "relatedness_score", "rating_mean", "valence")
SEPARATORS = ("|", ";", ",")


def find_columns(table: Table, *, text: str | None, label: str | None, kind: Kind | None) -> Columns:
    """The columns of a labelled table; `text` may name two columns, "a,b", for pairs.

    Raises:
        DataError: a named column is missing, or no text or label column can be told for certain.
        ConfigError: `kind` is not a kind.
    """
    if kind is not None and kind not in get_args(Kind):
        raise ConfigError(
            f"kind is {kind!r}; expected one of {', '.join(get_args(Kind))}.{did_you_mean(kind, get_args(Kind))}"
        )
    answer = require_column(table, label, "--label") if label is not None else None
    if text is not None:
        first, second = _named_texts(table, text)
    else:
        first, second = _find_text(table, answer, kind)
    taken = {first, second}
    if answer is not None and answer in taken:
        raise DataError(
            f"column {answer!r} of {table.source} is both text and label; expected two columns. "
            "Give --text and --label."
        )
    if answer is None:
        answer = _find_label(table, first, taken, kind)
        _refuse_headless(table, answer)
    return Columns(first, second, answer)


def find_raw_columns(table: Table, column: str, modality: Modality, *, label: str | None, kind: Kind | None) -> Columns:
    """The columns of a table whose inputs are pictures, clips or series in `column`.

    Raises:
        DataError: a named column is missing, or no label column can be told for certain.
    """
    given = require_column(table, column, f"--{modality}")
    if kind == "tags":
        raise ConfigError(
            f"kind is 'tags' for {modality} inputs; expected choice, labels or score. Give another --kind."
        )
    answer = require_column(table, label, "--label") if label is not None else None
    if answer == given:
        raise DataError(f"column {given!r} of {table.source} is both input and label; expected two columns.")
    return Columns(given, None, answer or _find_label(table, given, {given}, kind), modality)


def require_column(table: Table, name: str, flag: str) -> str:
    """`name` as the table spells it, or an error that lists the columns."""
    if name in table.columns:
        return name
    folded = [column for column in table.columns if column.casefold() == name.casefold()]
    if len(folded) == 1:
        return folded[0]
    known = ", ".join(safe_repr(column, 40) for column in list(table.columns)[:12])
    hint = did_you_mean(name, table.columns) or f" Give {flag} with one of them."
    raise DataError(f"{table.source} has no column {safe_repr(name, 60)!r}; expected one of: {known}.{hint}")


def find_kind(table: Table, columns: Columns, kind: Kind | None) -> Kind:
    """What is asked: given, or told from the answers.

    Lists beside words are tags, lists beside a text are labels, numbers with a fraction are a score, everything else
    is a choice. Whole numbers are a choice unless their column is called score (or the like) and has over 10 values.
    """
    if kind is not None:
        return kind
    answers = [cell for cell in table.columns[cast(str, columns.label)] if cell is not None]
    if not answers:
        return "choice"  # the missing labels are reported with their lines by the reader of targets
    if all(isinstance(cell, list | tuple) for cell in answers):
        if columns.modality is not None:
            return "labels"
        texts = [cell for cell in table.columns[columns.text] if cell is not None]
        return "tags" if texts and isinstance(texts[0], list | tuple) else "labels"
    if columns.text.casefold() in TOKENS and str(columns.label).casefold() in TAGS and _same_counts(table, columns):
        return "tags"
    if columns.label in table.label_names:
        return "choice"
    numbers = [as_number(cell) for cell in answers]
    known = [n for n in numbers if n is not None and math.isfinite(n)]
    if len(known) < 0.95 * len(numbers):  # a few broken cells do not turn a score into classes
        return "choice"
    if any(n != int(n) for n in known):
        return "score"
    return "score" if str(columns.label).casefold() in SCORES and len(set(known)) > 10 else "choice"


def as_number(cell: Any) -> float | None:
    """A cell as a float; None where it is no number. True and False are not numbers."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return float(cell) if abs(cell) < 1e300 or isinstance(cell, float) else None
    if isinstance(cell, str):
        try:
            return float(cell) if "_" not in cell else None
        except ValueError:
            return None
    return None


def _named_texts(table: Table, text: str) -> tuple[str, str | None]:
    names = [text] if text in table.columns else [part.strip() for part in text.split(",") if part.strip()]
    if not 1 <= len(names) <= 2:
        raise DataError(f"--text is {text!r}; expected one column, or two with a comma between them. Give --text a,b.")
    found = [require_column(table, name, "--text") for name in names]
    if len(found) == 2 and found[0] == found[1]:
        raise DataError(
            f"--text is {text!r}; expected two different columns. Give --text {found[0]} for a single text."
        )
    return found[0], found[1] if len(found) == 2 else None


def _find_text(table: Table, label: str | None, kind: Kind | None) -> tuple[str, str | None]:
    names = {column.casefold().strip(): column for column in table.columns if column != label}
    if kind in (None, "tags"):
        for token in TOKENS:
            if token in names and (kind == "tags" or any(t in names for t in TAGS) or label):
                return names[token], None
    for first, second in PAIRS:
        if first in names and second in names and _is_text(table, names[second]):
            return names[first], names[second]
    for known in TEXTS:
        if known in names and _is_text(table, names[known]):
            return names[known], None
    likely = [column for column in names.values() if _is_text(table, column) and _reads_like_prose(table, column)]
    if len(likely) == 1:
        return likely[0], None
    strings = [column for column in names.values() if _is_text(table, column)]
    if len(strings) == 1 and (label is not None or len(names) == 2):
        return strings[0], None
    shown = ", ".join(safe_repr(column, 40) for column in list(table.columns)[:12])
    which = "several columns could hold the text" if len(likely) > 1 else "no column is known to hold the text"
    example = likely[0] if likely else next(iter(table.columns), "COL")
    raise DataError(
        f"{table.source} has the columns {shown}; {which}, expected for example text,label. "
        f"Give --text, such as --text {safe_repr(example, 40)}, or add a header line if there is none."
    )


def _find_label(table: Table, text: str, taken: set[str | None], kind: Kind | None) -> str:
    names = {column.casefold().strip(): column for column in table.columns if column not in taken}
    wanted: Sequence[str] = TAGS if text.casefold() in TOKENS and kind in (None, "tags") else LABELS
    for known in wanted:
        if known in names:
            return names[known]
    others = list(names.values())
    few = [column for column in others if _has_few_values(table, column)]
    if len(others) == 1 or len(few) == 1:
        return (few or others)[0]
    shown = ", ".join(safe_repr(column, 40) for column in others[:12]) or "no other column"
    raise DataError(
        f"{table.source} has the text in {safe_repr(text, 40)!r} and beside it {shown}; expected a label column. "
        f"Give --label{' with one of them' if others else ' after adding one to the file'}."
    )


def _refuse_headless(table: Table, label: str) -> None:
    """A column whose name is also one of its answers has data where its header should be."""
    if label in table.columns[label][:1000]:
        raise DataError(
            f"{table.source} seems to have no header line: its first line holds {safe_repr(label, 40)!r}, which is "
            "also a label; expected column names. Add a header line such as text,label, or give --label."
        )


def _sample(table: Table, column: str) -> list[Any]:
    return [cell for cell in table.columns[column] if cell is not None][:1000]


def _is_text(table: Table, column: str) -> bool:
    cells = _sample(table, column)
    strings = [cell for cell in cells if isinstance(cell, str)]
    if len(strings) < len(cells) / 2 or not strings:
        return False
    return sum(as_number(cell) is not None for cell in strings) < len(strings) / 2


def _reads_like_prose(table: Table, column: str) -> bool:
    cells = [cell for cell in _sample(table, column) if isinstance(cell, str)]
    words = sum(len(cell.split()) for cell in cells) / max(1, len(cells))
    return words >= 3 and len(set(cells)) > len(cells) / 2


def _has_few_values(table: Table, column: str) -> bool:
    cells = _sample(table, column)
    if any(not isinstance(cell, str | int | float) for cell in cells):
        return False
    return 2 <= len(set(cells)) <= max(2, len(cells) // 4)


def _same_counts(table: Table, columns: Columns) -> bool:
    """Words and tags written as strings: as many tags as words in every one of the first rows."""
    texts, tags = table.columns[columns.text][:20], table.columns[cast(str, columns.label)][:20]
    both = [(a, b) for a, b in zip(texts, tags, strict=True) if isinstance(a, str) and isinstance(b, str)]
    return bool(both) and all(len(a.split()) == len(b.split()) for a, b in both)
