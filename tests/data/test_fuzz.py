"""Mutated tables end in a Task or in a DataError, and in nothing else."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from headstart.data.task import Task
from headstart.ground.errors import DataError

MUTANTS = 60
PIECES = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n", b"\r", b",", b",,,", b"\t", b";", b"{", b"]", b"NaN", b"1e999"),
    *(b"null", b'{"text": 1}', b"[]", b"\\ud800", b"\xed\xa0\x80", b"-", b"label", b"text,label", b" ", b"\x1b[2J"),
    b"9" * 400,
]


def seeds() -> dict[str, bytes]:
    rows = [(f"message {i} about order {i * 7919 % 997}", "ab"[i % 2]) for i in range(60)]
    csv = (
        "text,label\n" + "".join(f'"{t}",{x}\n' if i % 3 else f"{t},{x}\n" for i, (t, x) in enumerate(rows))
    ).encode()
    lines = "".join(f'{{"text": "{t}", "label": "{x}"}}\n' for t, x in rows).encode()
    tags = "".join(f'{{"tokens": ["see", "n{i}"], "tags": ["O", "B-{x}"]}}\n' for i, (_, x) in enumerate(rows)).encode()
    scores = ("text,score\n" + "".join(f"{t},{i / 7:.2f}\n" for i, (t, _) in enumerate(rows))).encode()
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [t for t, _ in rows], "label": [x for _, x in rows]}), sink)
    return {
        "t.csv": csv, "t.tsv": csv.replace(b",", b"\t"), "t.jsonl": lines, "tags.jsonl": tags, "score.csv": scores,
        "t.json": b"[" + b",".join(lines.split(b"\n")[:-1]) + b"]", "t.parquet": sink.getvalue(), "t": csv,
        "t.csv.gz": gzip.compress(csv, mtime=0), "t.jsonl.zst": zstandard.compress(lines),
    }  # fmt: skip


CONTENT = seeds()


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        place = int(random.integers(0, len(data) + 1))
        choice = random.integers(0, 5)
        if choice == 0:
            data[place:place] = PIECES[random.integers(0, len(PIECES))]
        elif choice == 1:
            del data[place : place + int(random.integers(1, 40))]
        elif choice == 2 and len(data):
            data[place % len(data)] = int(random.integers(0, 256))
        elif choice == 3:
            data[place:place] = data[place : place + int(random.integers(1, 200))]
        else:
            data = data[:place] if random.random() < 0.3 else data
    return bytes(data)


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_mutants_are_read_or_refused(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(len(name))
    path = tmp_path / name
    refusals: list[str] = []
    for _ in range(MUTANTS):
        path.write_bytes(mutate(CONTENT[name], random))
        try:
            Task.read(path, max_reject=0.2, drop_missing=bool(random.integers(0, 2)))
        except DataError as problem:
            refusals.append(str(problem))
    assert refusals
    assert all(message.isprintable() for message in refusals)
