"""Raw text to a corpus that a recipe can train on, in a new folder; the verb behind `headstart data build`.

    shards -> filter, task text out -> repeats out -> weights -> tokenizer -> units

Four passes over files on disk. In memory are one chunk of text and its arrays (60 bytes a character of the longest
document), one part of the keys, one byte a document, and what the recipe asks for: the tokenizer's sample, the index of
the task files. With a sample of 30 MB and no tasks that is 225 MB (measured: docs/notebook). Scratch space beside
the result: the kept text, and about 1.1 kB a document.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer

from headstart.data.build_report import DROPPED, REASONS, REPORT, SCHEMA, BuildReport, TaskReport, read_report
from headstart.data.built import open_build
from headstart.data.contamination import TaskFile, index_tasks
from headstart.data.corpus import MAX_VOCABULARY, SPECIALS, PackedMeta, train_tokenizer, write_units
from headstart.data.corpus_part import CorpusPart
from headstart.data.duplicates import PIECE, exact_repeats, near_repeats
from headstart.data.gather import Gathered, copies, gather_held_out, gather_train, start_gathering
from headstart.data.scratch import Records
from headstart.data.shards import find_shards, read_licences
from headstart.ground.errors import ConfigError, DataError, did_you_mean
from headstart.ground.files import publish_folder, refuse_taken, sha256_file, write_atomic

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A built corpus. fresh: whether it was made now, or lay there up to date."""

    folder: Path
    report: BuildReport
    fresh: bool


def build_corpus(
    part: CorpusPart,
    *,
    name: str,
    vocab_size: int,
    data: Path,
    out: Path,
    against: Sequence[Path] = (),
    tokenizer: Tokenizer | None = None,
    tell: Tell = lambda words: None,
) -> Built:
    """Build the corpus of a recipe from the shards in `data` into the new folder `out`.

    against: task files (tables) whose text must not be in the corpus, besides those that the recipe names. tokenizer:
    one with the special units of `train_tokenizer` first, instead of one trained on this text. An `out` that was
    built from the same inputs is kept as it is. On any failure nothing is left in `out`.

    Raises:
        ConfigError: a value of the recipe is out of range, or `out` is taken by something else.
        DataError: a shard or task file is missing, damaged or empty, or nothing is left of the text.
    """
    part.check()
    smallest = len(SPECIALS) + 256
    if not smallest <= vocab_size <= MAX_VOCABULARY:
        raise ConfigError(
            f"shape.vocab_size is {vocab_size}; expected {smallest} (bytes and special units) to "
            f"{MAX_VOCABULARY:,}. Mend the recipe."
        )
    tasks = [*(data / file for file in part.against), *against]
    shards = find_shards([*part.train, part.validation], data)
    facts = {
        "corpus": part,
        "vocab_size": vocab_size,
        "shards": shards,
        "tasks": sorted(_task_digest(file) for file in tasks),
        "build": SCHEMA,
        "tokenizer": None if tokenizer is None else sha256(tokenizer.to_str().encode()).hexdigest(),
    }
    inputs: dict[str, object] = msgspec.json.decode(msgspec.json.encode(facts))
    found = read_report(out)
    if found is not None and found.inputs == inputs:
        open_build(out, vocab_size=vocab_size)
        return Built(out, found, fresh=False)
    refuse_taken(out)
    with publish_folder(out) as folder:
        report = _Building(part, name, vocab_size, data, shards, tasks, folder, tokenizer, tell).run(inputs)
    return Built(out, report, fresh=True)


@dataclass
class _Building:
    """The passes of one build, in the order in which they run."""

    part: CorpusPart
    name: str
    vocab_size: int
    data: Path
    shards: dict[str, str]
    tasks: list[Path]
    folder: Path
    given: Tokenizer | None
    tell: Tell

    def run(self, inputs: dict[str, object]) -> BuildReport:
        begun = time.monotonic()
        scratch = self.folder / ".scratch"
        scratch.mkdir()
        gathered = start_gathering(
            self.part, scratch=scratch, dropped=self.folder / DROPPED, licences=read_licences(self.data)
        )
        try:
            gather_held_out(gathered, self.data / self.part.validation)
            self._refuse_empty(gathered)
            task_files = self._gather_train(gathered)
            self._refuse_unknown_weights(gathered)
            fates = np.lib.format.open_memmap(
                scratch / "fates", mode="w+", dtype=np.bool_, shape=(max(1, len(gathered.rows)),)
            )
            self._drop_repeats(gathered, fates)
            kept_bytes = self._count_kept(gathered, fates)
            tokenizer, trained_on = (
                (self.given, 0) if self.given is not None else self._train_tokenizer(gathered, fates, kept_bytes)
            )
            tokenizer.save(str(self.folder / "tokenizer.json"))
            train = self._pack(gathered, fates, tokenizer, "train")
            validation = self._pack(gathered, fates, tokenizer, "validation")
            report = self._report(gathered, inputs, task_files, train, validation, trained_on)
        finally:
            gathered.close()
        shutil.rmtree(scratch)
        report.seconds = round(time.monotonic() - begun, 3)
        write_atomic(self.folder / REPORT, msgspec.json.format(msgspec.json.encode(report), indent=1))
        return report

    def _gather_train(self, gathered: Gathered) -> tuple[TaskFile, ...]:
        """Read the training shards; the index of the task files lives no longer than this."""
        index = index_tasks(self.tasks)
        gather_train(gathered, [self.data / name for name in self.part.train], index, self.tell)
        return index.files

    def _refuse_empty(self, gathered: Gathered) -> None:
        if not len(gathered.rows):
            raise DataError(
                f"{self.data / self.part.validation} has no documents; expected text to hold out. Name another shard "
                "as corpus.validation."
            )

    def _refuse_unknown_weights(self, gathered: Gathered) -> None:
        for source in self.part.weights:
            if not any(fnmatchcase(name, source) for name in gathered.sources):
                near = did_you_mean(source, gathered.sources) or " Mend or remove it."
                raise ConfigError(
                    f"corpus.weights names the source {source!r}, which no shard has; expected one of "
                    f"the {len(gathered.sources)} sources that were read.{near}"
                )

    def _drop_repeats(self, gathered: Gathered, gone: Records) -> None:
        """Mark in `gone` what repeats an earlier document."""
        rows = gathered.rows

        def drop(row: int, witness: int, reason: str) -> None:
            mine, other = rows.take(np.array([row, witness]))
            if not mine["held"]:
                gone[row] = True
                gathered.drop(mine, "held_out" if other["held"] else reason, other)

        for row, witness in exact_repeats(rows, gathered.folder):
            drop(row, witness, "exact_duplicate")
        if self.part.near == 1:
            return
        self.tell(f"kept {int((~gone).sum()):,} documents so far; looking for near duplicates")
        for row, witness in near_repeats(
            gathered.signs,
            threshold=self.part.near,
            stays=lambda row: not gone[row],
            may_go=lambda row: not rows.take(np.array([row]))[0]["held"],
            text_of=lambda row: gathered.text(rows.take(np.array([row]))[0]),
            scratch=gathered.folder,
        ):
            drop(row, witness, "near_duplicate")

    def _count_kept(self, gathered: Gathered, gone: Records) -> int:
        """Fill in what each source keeps; all kept bytes."""
        sources = list(gathered.sources.values())
        for row in self._rows(gathered, gone, held=False):
            sources[int(row["source"])].documents_kept += 1
            sources[int(row["source"])].bytes_kept += int(row["text_bytes"])
        kept = sum(source.bytes_kept for source in sources)
        if kept:
            return kept
        reasons = self._dropped(gathered)
        if not reasons:
            raise DataError(
                f"the shards {', '.join(self.part.train)} have no documents; expected some. Check what wrote them."
            )
        first = max(reasons, key=lambda reason: reasons[reason])
        raise DataError(
            f"nothing is left of {sum(reasons.values()):,} documents: {reasons[first]:,} were dropped as {first} "
            f"({REASONS[first]}); expected some to stay. Loosen corpus.filters, or name the sources in "
            "corpus.filters.trusted."
        )

    def _train_tokenizer(self, gathered: Gathered, gone: Records, kept_bytes: int) -> tuple[Tokenizer, int]:
        """Byte-level BPE of an even sample of the kept text; (tokenizer, bytes that it saw)."""
        share = self.part.tokenizer_bytes / kept_bytes
        seen = 0

        def sample() -> Iterator[str]:
            nonlocal seen
            for row in self._rows(gathered, gone, held=False):
                if int(row["digest"]) / 2**64 < share:
                    seen += int(row["text_bytes"])
                    yield gathered.text(row)

        self.tell(f"training {self.vocab_size:,} units on {min(1.0, share):.0%} of {kept_bytes / 1e6:,.1f} MB")
        tokenizer = train_tokenizer(sample(), vocab_size=self.vocab_size)
        if tokenizer.get_vocab_size() != self.vocab_size:
            raise DataError(
                f"the tokenizer found {tokenizer.get_vocab_size():,} units in {seen:,} bytes of text; expected "
                f"{self.vocab_size:,}. Give more text, a larger corpus.tokenizer_bytes or a smaller shape.vocab_size."
            )
        self.tell(f"trained the tokenizer on {seen / 1e6:,.1f} MB; writing units")
        return tokenizer, seen

    def _pack(self, gathered: Gathered, gone: Records, tokenizer: Tokenizer, which: str) -> PackedMeta:
        """Write units.bin and meta.json of one part; documents with a weight above 1 come again in a later round."""
        held = which == "validation"
        target = self.folder / which
        target.mkdir()
        sources = list(gathered.sources.values())
        num_units = num_documents = num_bytes = 0
        rounds = 1 if held else max(1, int(np.ceil(max(s.weight for s in sources))))
        with (target / "units.bin").open("wb") as out:
            for number in range(rounds):
                chosen, again = itertools.tee(
                    row
                    for row in self._rows(gathered, gone, held=held)
                    if held or copies(int(row["check"]), sources[int(row["source"])].weight) > number
                )
                written = write_units(map(gathered.text, again), tokenizer, out)
                for row, (_, units) in zip(chosen, written, strict=True):
                    num_units += units
                    num_documents += 1
                    num_bytes += int(row["text_bytes"])
                    if not held:
                        sources[int(row["source"])].units += units
        names = [self.part.validation] if held else list(self.part.train)
        meta = PackedMeta(
            num_units=num_units,
            num_documents=num_documents,
            num_bytes=num_bytes,
            vocab_size=self.vocab_size,
            shards={name: self.shards[name] for name in names},
            tokenizer_sha256=sha256_file(self.folder / "tokenizer.json"),
        )
        write_atomic(target / "meta.json", msgspec.json.format(msgspec.json.encode(meta), indent=1))
        self.tell(f"packed {num_units:,} units of {num_documents:,} documents into {which}")
        return meta

    def _report(
        self,
        gathered: Gathered,
        inputs: dict[str, object],
        task_files: Sequence[TaskFile],
        train: PackedMeta,
        held: PackedMeta,
        trained_on: int,
    ) -> BuildReport:
        sources = list(gathered.sources.values())
        return BuildReport(
            schema=SCHEMA,
            name=self.name,
            inputs=inputs,
            documents_read=sum(s.documents_read for s in sources),
            documents_kept=sum(s.documents_kept for s in sources),
            bytes_read=sum(s.bytes_read for s in sources),
            bytes_kept=sum(s.bytes_kept for s in sources),
            dropped=self._dropped(gathered),
            sources=sources,
            tasks=[
                TaskReport(
                    file=file.name,
                    sha256=file.sha256,
                    items=file.items,
                    short=file.short,
                    unchecked=file.unchecked,
                    found=len(gathered.items_found.get(file.name, ())),
                    documents=gathered.documents_hit.get(file.name, 0),
                )
                for file in task_files
            ],
            tokenizer={"sha256": train.tokenizer_sha256, "units": self.vocab_size, "bytes_seen": trained_on},
            train_units=train.num_units,
            validation_units=held.num_units,
            validation_documents=held.num_documents,
            seconds=0.0,
        )

    def _rows(self, gathered: Gathered, gone: Records, *, held: bool) -> Iterator[Records]:
        for first, piece in gathered.rows.pieces(PIECE):
            kept = ~gone[first : first + len(piece)] & (piece["held"] == held)
            yield from piece[kept]

    def _dropped(self, gathered: Gathered) -> dict[str, int]:
        counts: dict[str, int] = {}
        for source in gathered.sources.values():
            for reason, number in source.dropped.items():
                counts[reason] = counts.get(reason, 0) + number
        return counts


def _task_digest(file: Path) -> str:
    if not file.is_file():
        near = did_you_mean(file.name, [p.name for p in file.parent.glob("*")] if file.parent.is_dir() else [])
        raise DataError(
            f"the task file {file} does not exist; expected a table (CSV, TSV, JSONL, Parquet).{near} "
            "Check --against and corpus.against."
        )
    return sha256_file(file)
