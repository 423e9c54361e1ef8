"""Shards of raw text: whole, compressed, broken, cut off, and held against their manifest."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from headstart.data.shards import (
    MAX_LINE_BYTES,
    Document,
    Fault,
    find_shards,
    first_keys,
    read_licences,
    read_shard,
    scan_shard,
)
from headstart.ground.errors import DataError

LINES = (
    '{"text": "first\\nwith é and 🚀", "source": "a", "id": "x"}\n'
    '{"text": "second", "id": 7, "lang": "en"}\r\n'
    "\n"
    '{"text": "third", "source": null}'
)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_documents_come_in_order_with_their_place(tmp_path: Path, suffix: str) -> None:
    raw = LINES.encode()
    packed = {"": raw, ".gz": gzip.compress(raw), ".zst": zstandard.ZstdCompressor().compress(raw)}[suffix]
    path = tmp_path / f"s.jsonl{suffix}"
    path.write_bytes(packed)
    assert list(read_shard(path)) == [
        Document("first\nwith é and 🚀", "a", "x", path.name, 1),
        Document("second", "", 7, path.name, 2),
        Document("third", "", "", path.name, 4),
    ]
    assert first_keys(path) == {"text", "source", "id"}


def test_a_long_zstd_window_is_read(tmp_path: Path) -> None:
    text = json.dumps({"text": "word " * 50_000}).encode() + b"\n"
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    path = tmp_path / "long.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(text * 20))
    assert len(list(read_shard(path))) == 20


BROKEN = {
    "not JSON": b'{"text": "a"',
    "no text": b'{"txt": "a"}',
    "text is a number": b'{"text": 1}',
    "a list": b'["text"]',
    "not UTF-8": b'{"text": "\xff"}',
    "half a surrogate pair": b'{"text": "\\ud800"}',
    "too long": b'{"text": "' + b"a" * MAX_LINE_BYTES + b'"}',
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_line_is_named_and_the_next_one_is_read(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' + BROKEN[fault] + b'\n{"text": "fine too"}\n')
    found = list(scan_shard(path))
    assert [type(one) for one in found] == [Document, Fault, Document]
    assert isinstance(found[1], Fault)
    assert found[1].line == 2
    with pytest.raises(DataError, match=r"^bad\.jsonl:2 is .*expected one JSON object with a 'text' string"):
        list(read_shard(path))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_shard_that_is_cut_off_is_an_error(tmp_path: Path, suffix: str) -> None:
    import random

    noise = random.Random(1)
    raw = b"".join(json.dumps({"text": noise.randbytes(200).hex()}).encode() + b"\n" for _ in range(3000))
    packed = gzip.compress(raw) if suffix == ".gz" else zstandard.ZstdCompressor().compress(raw)
    path = tmp_path / f"cut.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="cut"):
        list(read_shard(path))
    path.write_bytes(b"no such thing")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_shard(path))


def test_a_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    """256 MB of zero bytes without a line break, as a hole in a file."""
    path = tmp_path / "hole.jsonl"
    with path.open("wb") as out:
        out.truncate(256 << 20)
    code = (
        "import sys; from pathlib import Path; from headstart.data.shards import scan_shard\n"
        "peak = lambda: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "before = peak()\n"
        "found = list(scan_shard(Path(sys.argv[1])))\n"
        "print(len(found), found[0].reason, peak() - before, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    count, reason, grown = done.stdout.split("|")
    assert (count, "more than" in reason) == ("1", True)
    assert int(grown) < 40_000, f"{grown} kB"


def test_shards_are_held_against_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    digests = find_shards(["a.jsonl"], tmp_path)
    assert set(digests) == {"a.jsonl"}
    assert read_licences(tmp_path) == {}
    manifest = {
        "shards": [{"file": "a.jsonl", "sha256": digests["a.jsonl"]}],
        "sources": [{"name": "s", "licence": "CC0-1.0"}, {"name": "t"}],
    }
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert find_shards(["a.jsonl"], tmp_path) == digests
    assert read_licences(tmp_path) == {"s": "CC0-1.0", "t": "not stated"}
    (tmp_path / "a.jsonl").write_text('{"text": "b"}\n')
    with pytest.raises(DataError, match="has the SHA-256"):
        find_shards(["a.jsonl"], tmp_path)
    with pytest.raises(DataError, match=r"Did you mean 'a\.jsonl'"):
        find_shards(["a.json"], tmp_path)
    for broken in ("{", "[]", '{"shards": ["a"]}', '{"sources": 1}'):
        (tmp_path / "MANIFEST.json").write_text(broken)
        with pytest.raises(DataError, match="is not a manifest"):
            find_shards(["a.jsonl"], tmp_path)
