"""Folders somebody damaged or made to harm: each is refused within a second, by an error that names the thing.

Every case starts from the same good folder and breaks one thing.
"""

# ruff: noqa: E501  (a table of cases reads best with one case a line)

from __future__ import annotations

import json
import math
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.base.tiny_folders import good_folder

from headstart.base.base import Base
from headstart.ground.errors import HeadstartError

SLOT = "encoder.layer.0.attention.self.query.weight"


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Break the weights."""

    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    return damage


def mlm_head(vocabulary: int, dim: int) -> dict[str, torch.Tensor]:
    """BERT's masked-language head but for its output matrix."""
    shapes = {"transform.dense.weight": (dim, dim), "bias": (vocabulary,)}
    shapes |= {f"transform.{name}": (dim,) for name in ("dense.bias", "LayerNorm.weight", "LayerNorm.bias")}
    return {f"cls.predictions.{name}": torch.zeros(shape) for name, shape in shapes.items()}


def config(**changes: Any) -> Callable[[Path], None]:
    """Break the config; a value of ... removes the key."""

    def damage(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))

    return damage


def header(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Break the safetensors header and leave the data as it is."""

    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        claims = json.loads(content[8 : 8 + length])
        change(claims)
        written = json.dumps(claims).encode()
        path.write_bytes(struct.pack("<Q", len(written)) + written + content[8 + length :])

    return damage


def raw(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Break the bytes of the weight file."""

    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return damage


def index(shard: str | None, *, listed: str | None = None) -> Callable[[Path], None]:
    """Replace the weights by an index that sends a tensor somewhere (None: where it really is)."""

    def damage(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        home = dict.fromkeys(state, "model-00001-of-00001.safetensors")
        home[listed or SLOT] = shard or "model-00001-of-00001.safetensors"
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": home}))

    return damage


def link_out(name: str) -> Callable[[Path], None]:
    """Put a file outside and leave a link to it."""

    def damage(folder: Path) -> None:
        outside = folder.parent / f"outside-{name}"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return damage


def duplicate_header_key(content: bytes) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    claims = content[8 : 8 + length].decode().strip()
    claims = (
        claims[:-1]
        + ","
        + claims[claims.index('"embeddings') : claims.index("}", claims.index('"embeddings')) + 1]
        + "}"
    )
    return struct.pack("<Q", len(claims)) + claims.encode() + content[8 + length :]


def to_bin(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def written(name: str, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(text)

    return damage


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def smaller_vocabulary(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    state[name] = state[name][:50].clone()
    save_file(state, folder / "model.safetensors")
    config(vocab_size=50)(folder)


def nested(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def move(start: int, stop: int) -> Callable[[dict[str, Any]], object]:
    return lambda claims: claims[SLOT].update(data_offsets=[start, stop])


def set_value(value: float) -> Callable[[Path], None]:
    return tensors(lambda state: state[SLOT].view(-1)[3].fill_(value))


ODD_CLAIMS: dict[str, list[Any]] = {
    "data_offsets": [5, None, "ab", {}, [0], [0, 4096, 1], [False, 4096], [0.0, 4096.0], [0, 10**4000]],
    "shape": [5, None, "ab", [True, 1024], [32.0, 32], ["32", 32], [[32], 32], [10**4000] * 2, [1 << 62] * 9, [0, 1 << 62, 1 << 62]],
    "dtype": [5, None, ["F32"], {"F32": 1}],
}  # fmt: skip
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    # tensors
    "missing tensor": (tensors(lambda s: s.pop(SLOT)), rf"lacks 1 tensors \({SLOT}\)"),
    "many missing tensors": (tensors(lambda s: [s.pop(k) for k in list(s) if "layer.1" in k]), r"and 11 more\); expected all"),
    "half a head": (tensors(lambda s: s.pop("pooler.dense.bias")), r"lacks 1 tensors \(pooler.dense.bias\)"),
    "extra tensor": (tensors(lambda s: s.update(backdoor=torch.ones(2))), r"holds 1 tensors .*\(backdoor\); expected none"),
    "NaN": (set_value(math.nan), rf"{SLOT} holds values that are not finite"),
    "Inf": (set_value(math.inf), rf"{SLOT} holds values that are not finite"),
    "minus Inf": (set_value(-math.inf), rf"{SLOT} holds values that are not finite"),
    "wrong shape": (tensors(lambda s: s.update({SLOT: torch.ones(3, 5)})), rf"{SLOT} has shape \(3, 5\); expected \(32, 32\)"),
    "one axis too many": (tensors(lambda s: s.update({SLOT: s[SLOT][None].clone()})), r"has shape \(1, 32, 32\); expected"),
    "int8 tensor": (tensors(lambda s: s.update({SLOT: s[SLOT].to(torch.int8)})), rf"{SLOT} has dtype I8; expected one of F64"),
    "odd tensor name": (tensors(lambda s: s.update({"../../x": torch.ones(1)})), r"names a tensor '../../x'; expected letters"),
    "an output matrix and nothing else of its head": (
        tensors(lambda s: s.update({"cls.predictions.decoder.weight": s["embeddings.word_embeddings.weight"].clone()})),
        r"lacks 5 tensors \(cls.predictions.transform.dense.weight, .*cls.predictions.bias\); .*Nothing is filled",
    ),
    "tied head contradiction": (
        tensors(lambda s: s.update(mlm_head(99, 32) | {"cls.predictions.decoder.weight": torch.ones(99, 32)})),
        r"cls.predictions.decoder.weight differs from embeddings.word_embeddings.weight, to which the config ties it",
    ),
    # the file
    "truncated file": (raw(lambda b: b[:-100]), r"holds [\d,]+ bytes of tensors; expected"),
    "truncated header": (raw(lambda b: b[:100]), r"is 100 bytes and announces a header of"),
    "three bytes": (raw(lambda b: b[:3]), r"is 3 bytes and announces a header"),
    "no bytes": (raw(lambda b: b""), r"is 0 bytes and announces a header"),
    "appended bytes": (raw(lambda b: b + b"PK\x03\x04"), r"holds [\d,]+ bytes of tensors; expected"),
    "header length absurd": (raw(lambda b: struct.pack("<Q", 1 << 62) + b[8:]), r"announces a header of 4,611,686,018,427,387,904"),
    "header not JSON": (raw(lambda b: b[:8] + b"x" * 20 + b[28:]), r"has a header that is not JSON"),
    "duplicate tensor": (raw(duplicate_header_key), r"stands twice"),
    "overlapping offsets": (header(move(0, 4096)), r"starts at byte 0 and overlaps|overlaps the tensor before it"),
    "offsets past the end": (header(move(1 << 40, (1 << 40) + 4096)), r"leaves a hole before it"),
    "negative offsets": (header(move(-4096, 0)), rf"{SLOT} has the claim"),
    "size and shape disagree": (header(lambda c: c[SLOT].update(shape=[1 << 30, 1 << 30])), r"takes 4,096 bytes; expected"),
    "unknown dtype": (header(lambda c: c[SLOT].update(dtype="F4")), rf"{SLOT} has dtype 'F4'"),
    **{
        f"odd {part} {number}": (header(lambda c, p=part, v=value: c[SLOT].update({p: v})), rf"{SLOT} has the claim .*expected a dtype, a shape")
        for part, values in ODD_CLAIMS.items() for number, value in enumerate(values)
    },
    "claim is a list": (header(lambda c: c.update({SLOT: [1, 2]})), rf"{SLOT} has the claim"),
    # the config
    "100,000 layers": (config(num_hidden_layers=100_000), r"num_layers is 100000; expected a whole number from 1 to 1,000"),
    "999 layers": (config(num_hidden_layers=999), r"lacks 15,952 tensors .*encoder.layer.2"),
    "absurd width": (config(hidden_size=1 << 20), r"dim is 1048576; expected"),
    "negative heads": (config(num_attention_heads=-4), r"num_attention_heads is -4; expected a whole number above 0"),
    "heads do not divide": (config(num_attention_heads=5), r"num_attention_heads is 5; expected a divisor of hidden_size = 32"),
    "vocabulary of 2**31": (config(vocab_size=1 << 31), r"vocab_size is 2147483648; expected"),
    "number as text": (config(hidden_size="32"), r"hidden_size is '32'|hidden_size is .*'32'.*; expected a whole number"),
    "no width": (config(hidden_size=...), r"config.json has no hidden_size"),
    "unknown activation": (config(hidden_act="gelu_neww"), r"hidden_act is .*expected one of gelu.* Did you mean 'gelu_new'"),
    "relative positions": (config(position_embedding_type="relative_key"), r"position_embedding_type is 'relative_key'"),
    "decoder": (config(is_decoder=True), r"is_decoder is True; expected False"),
    "unknown family": (config(model_type="bertt"), r"model_type is 'bertt'; expected one of bert, .* Did you mean 'bert'"),
    "family is a list": (config(model_type=["bert"]), r"model_type is \['bert'\]; expected one of"),
    "code": (config(auto_map={"AutoModel": "modeling_evil.Evil"}), r"has auto_map; expected a model that needs no code"),
    "kernel from the hub": (config(_attn_implementation="evil/kernel"), r"names an attention kernel to download"),
    "quantised": (config(quantization_config={"quant_method": "gptq"}), r"has a quantization_config; expected plain float"),
    "config not JSON": (written("config.json", "{hidden_size: 32"), r"config.json is not JSON"),
    "config a list": (written("config.json", "[1, 2]"), r"config.json holds a JSON list; expected an object"),
    "config too deep": (nested, r"config.json is not JSON"),
    "key twice": (written("config.json", '{"model_type": "bert", "model_type": "gpt2"}'), r"model_type stands twice"),
    "no config": (without("config.json"), r"has no config.json"),
    # the tokenizer
    "no tokenizer": (without("tokenizer.json", "tokenizer_config.json"), r"has no tokenizer; expected tokenizer.json"),
    "tokenizer not JSON": (written("tokenizer.json", "{"), r"tokenizer.json"),
    "tokenizer larger than the embedding": (smaller_vocabulary, r"the tokenizer has ids up to 98; expected below 50"),
    # shards, links, pickles
    "shard path ../x": (index("../x.safetensors"), r"names the shard '../x.safetensors'; expected a file name in the same"),
    "absolute shard path": (index("/etc/passwd"), r"names the shard '/etc/passwd'; expected a file name"),
    "shard with a backslash": (index("..\\x"), r"expected a file name in the same folder"),
    "shard no file can have": (index("\ud800.safetensors"), r"names the shard '\\ud800.safetensors'; expected a file name"),
    "shard missing": (index("model-00002-of-00002.safetensors"), r"model-00002-of-00002.safetensors is missing"),
    "shard lacks a tensor": (index(None, listed="not.there"), r"lists 1 tensors that no shard holds \(not.there\)"),
    "weights link out of the folder": (link_out("model.safetensors"), r"is a link to .*outside the base folder"),
    "config links out of the folder": (link_out("config.json"), r"is a link to .*outside the base folder"),
    "tokenizer links out of the folder": (link_out("tokenizer.json"), r"is a link to .*outside the base folder"),
    "only a pickle": (to_bin, r"holds only pickled weights \(pytorch_model.bin\); expected model.safetensors"),
    "no weights": (without("model.safetensors"), r"has no weights; expected model.safetensors"),
    "empty folder": (emptied, r"is empty; expected config.json"),
    # what Headstart itself wrote
    "manifest not ours": (written("headstart.json", '{"schema_version": 99}'), r"schema version is 99; expected 1. Upgrade"),
    "manifest with an unknown key": (written("headstart.json", '{"schema_version": 1, "run": "x"}'), r"unknown field `run`"),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_folder(tmp_path_factory.mktemp("good") / "base")


def test_the_good_folder_is_good(good: Path) -> None:
    assert Base.load(good).encode(["w4 w5"]).shape == (1, 32)


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, good: Path, tmp_path: Path) -> None:
    damage, message = CASES[name]
    folder = tmp_path / "base"
    shutil.copytree(good, folder)
    damage(folder)
    begun = time.process_time()
    with pytest.raises(HeadstartError, match=message) as caught:
        Base.load(folder)
    assert time.process_time() - begun < 5.0, "what is believed takes minutes and gigabytes before it is refused"
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    "name", ["100,000 layers", "absurd width", "vocabulary of 2**31", "size and shape disagree", "999 layers"]
)
def test_nothing_is_allocated_before_the_checks(
    name: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage, _ = CASES[name]
    folder = tmp_path / "base"
    shutil.copytree(good, folder)
    damage(folder)
    monkeypatch.setattr(torch, "frombuffer", _never)
    monkeypatch.setattr(torch, "empty", _never)
    tracemalloc.start()
    with pytest.raises(HeadstartError):
        Base.load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def _never(*args: object, **keywords: object) -> None:
    raise AssertionError("a tensor was made before the checks")


def test_a_pickle_that_runs_code_is_not_run(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(good, folder)
    (folder / "model.safetensors").unlink()
    proof = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {proof}'\ntR.".encode())
    with pytest.raises(HeadstartError, match="cannot be read with weights_only=True"):
        Base.load(folder, allow_pickle=True)
    assert not proof.exists()


def test_a_file_instead_of_a_folder(good: Path) -> None:
    with pytest.raises(HeadstartError, match="is a file; expected a base folder"):
        Base.load(good / "config.json")


def test_an_unknown_name_offers_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.base.folder.embedded_names", lambda: ["text-tiny"])
    with pytest.raises(HeadstartError, match=r"'text-tinny' is not on this machine.* Did you mean 'text-tiny'\?"):
        Base.load("text-tinny")


def test_a_device_is_not_opened(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(good, folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    with pytest.raises(HeadstartError, match="outside the base folder"):
        Base.load(folder)


GGUF_CASES = {
    "not a GGUF file": (b"GGML" + bytes(60), "starts with"),
    "too short": (b"GGUF", "shorter than a GGUF header"),
    "version 99": (b"GGUF" + struct.pack("<IQQ", 99, 0, 0) + bytes(40), "version 99; expected GGUF 2 or 3"),
    "2**60 keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60) + bytes(40), "announces 0 tensors and 1,152,921"),
    "string past the end": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 50) + bytes(40), "needs 1,125,899,906,842,624 bytes"),
    "array of 2**60": (
        b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 1 << 60) + bytes(40), "announces 1,152,921,504,606,846,976 values",
    ),
    "array of arrays": (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 2) + bytes(40), "has value type 9"),
    "no architecture": (b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(40), "general.architecture is None"),
}  # fmt: skip


@pytest.mark.parametrize("name", GGUF_CASES)
def test_gguf_refused(name: str, tmp_path: Path) -> None:
    content, message = GGUF_CASES[name]
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(HeadstartError, match=message):
        Base.load(tmp_path / "bad.gguf")
