"""Reading a GGUF file (llama.cpp): metadata -> config and tokenizer, blocks -> fp32 tensors by Hugging Face name.

The header is walked by our own bounded cursor, because counts and lengths in it are claims; only dequantisation is the
`gguf` package's (extra `gguf`). Llama's q and k rows are stored permuted for llama.cpp's RoPE; that is undone here.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor

from headstart.base.folder import Contents, check_vocabulary
from headstart.base.lineage import imported
from headstart.base.tensors import Entry, open_regular
from headstart.base.weights import read_config, read_weights
from headstart.data.text_codec import Special, TextCodec
from headstart.ground.errors import BaseError, CapabilityError, safe_repr

MAX_TENSORS, MAX_KEYS, MAX_NAME = 100_000, 10_000, 65_535  # llama.cpp's own files stay far below
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY, CONTROL_TOKEN = 8, 9, 3
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 8: (32, 34), 30: (1, 2)}  # values, bytes of a block
BLOCK_NAMES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 8: "Q8_0", 30: "BF16"}
PERMUTED = ("llama",)  # architectures whose q and k rows llama.cpp reorders
ARCHITECTURES = ("llama", "qwen2", "qwen3")
TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True, slots=True)
class Block:
    """One tensor's place: its own name and type, shape (out, in), first byte and length."""

    name: str
    kind: int
    shape: tuple[int, ...]
    start: int
    length: int


class Cursor:
    """Little-endian reads that never leave the file."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.place = data, path, 0

    def take(self, length: int, what: str) -> bytes:
        if not 0 <= length <= len(self.data) - self.place:
            raise BaseError(
                f"{self.path}: {what} needs {length:,} bytes at byte {self.place:,} of {len(self.data):,}; "
                "expected it inside the file. The file is truncated or damaged: download it again."
            )
        self.place += length
        return self.data[self.place - length : self.place]

    def number(self, code: str, what: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code), what))[0]

    def text(self, what: str) -> str:
        raw = self.take(self.number("<Q", what), what)
        try:
            return raw.decode()
        except UnicodeDecodeError as problem:
            raise BaseError(f"{self.path}: {what} is not UTF-8; expected text. Download it again.") from problem

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind], what)
        if kind == STRING:
            return self.text(what)
        if kind != ARRAY or depth > 0:
            raise BaseError(f"{self.path}: {what} has value type {kind}; expected one GGUF 3 knows. Download it again.")
        element, count = self.number("<I", what), self.number("<Q", what)
        if element in SCALARS:
            code = SCALARS[element][1:]
            width = struct.calcsize("<" + code)
            raw = self.take(count * width, what)
            return list(struct.unpack(f"<{count}{code}", raw))
        if count > len(self.data) // 8:  # every string takes at least its 8-byte length
            raise BaseError(f"{self.path}: {what} announces {count:,} values; expected fewer. Download it again.")
        return [self.value(element, what, depth + 1) for _ in range(count)]


class GgufFile:
    """A GGUF file whose every claim lies inside it.

    Raises:
        BaseError: it is truncated, damaged, or holds a quantisation we do not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as handle:
            if len(handle.read(24)) < 24:
                raise BaseError(f"{path} is shorter than a GGUF header; expected a whole file. Download it again.")
            self.data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        cursor = Cursor(self.data, path)
        magic, version = cursor.take(4, "the magic"), cursor.number("<I", "the version")
        if magic != b"GGUF" or version not in (2, 3):
            raise BaseError(
                f"{path} starts with {safe_repr(repr(magic), 20)} version {version}; expected GGUF 2 or 3. "
                "Give a GGUF file or a base folder."
            )
        tensors, keys = cursor.number("<Q", "the tensor count"), cursor.number("<Q", "the key count")
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise BaseError(
                f"{path} announces {tensors:,} tensors and {keys:,} keys; expected less. Download it again."
            )
        self.meta = dict(self._pair(cursor) for _ in range(keys))
        self.blocks = self._blocks(cursor, [self._info(cursor) for _ in range(tensors)])

    def _pair(self, cursor: Cursor) -> tuple[str, Any]:
        key = cursor.text("a key")
        return key, cursor.value(cursor.number("<I", key), safe_repr(key, 80))

    def _info(self, cursor: Cursor) -> tuple[str, int, tuple[int, ...], int]:
        name = safe_repr(cursor.text("a tensor name"), 80)
        axes = cursor.number("<I", name)
        if axes > 4:
            raise BaseError(f"{self.path}: {name} has {axes} axes; expected at most 4. Download it again.")
        shape = tuple(cursor.number("<Q", name) for _ in range(axes))[::-1]
        return name, cursor.number("<I", name), shape, cursor.number("<Q", name)

    def _blocks(self, cursor: Cursor, infos: list[tuple[str, int, tuple[int, ...], int]]) -> dict[str, Block]:
        alignment = self.meta.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment not in (8, 16, 32, 64, 128, 256, 4096):
            raise BaseError(f"{self.path}: general.alignment is {alignment}; expected a small power of two.")
        first = -(-cursor.place // alignment) * alignment
        found: dict[str, Block] = {}
        for name, kind, shape, offset in infos:
            if kind not in BLOCKS:
                raise BaseError(
                    f"{self.path}: {name} has quantisation {kind}; expected one of {', '.join(BLOCK_NAMES.values())}. "
                    "Use a file of such a quantisation."
                )
            values, width = BLOCKS[kind]
            length = math.prod(shape) // values * width
            if not shape or shape[-1] % values or first + offset + length > len(self.data) or name in found:
                raise BaseError(
                    f"{self.path}: {name} of shape {shape} does not fit at byte {first + offset:,}; expected it once, "
                    "whole and inside the file. The file is truncated or damaged: download it again."
                )
            found[name] = Block(name, kind, shape, first + offset, length)
        return found

    def values(self, block: Block) -> Tensor:
        """The block in fp32."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        raw = np.frombuffer(self.data, dtype=np.uint8, count=block.length, offset=block.start)
        if block.kind == 0:
            return torch.from_numpy(raw.view(np.float32).reshape(block.shape).copy())
        if block.kind == 1:
            return torch.from_numpy(raw.view(np.float16).reshape(block.shape).astype(np.float32))
        rows = raw.reshape(*block.shape[:-1], -1)
        with np.errstate(all="ignore"):  # a damaged scale gives NaN, which the finite check names
            return torch.from_numpy(
                np.ascontiguousarray(dequantize(rows, GGMLQuantizationType(block.kind)), np.float32)
            )


class GgufSource:
    """The tensors of a GGUF file under Hugging Face's names, q and k in Hugging Face's row order."""

    def __init__(self, file: GgufFile, *, architecture: str, num_heads: int, num_kv_heads: int) -> None:
        self.file = file
        self.heads = {"attn_q": num_heads, "attn_k": num_kv_heads} if architecture in PERMUTED else {}
        self._home = {_hf_name(name): block for name, block in file.blocks.items()}
        self.entries = {name: Entry("F32", block.shape) for name, block in self._home.items()}

    def tensor(self, name: str) -> Tensor:
        block = self._home[name]
        values = self.file.values(block)
        parts = block.name.split(".")
        heads = self.heads.get(parts[2]) if len(parts) == 4 else None
        if heads is None:
            return values
        pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
        return pairs.transpose(1, 2).reshape(values.shape)


def read_gguf(path: Path) -> Contents:
    """A Llama-like GGUF file as the contents of a base folder.

    Raises:
        BaseError: the file is damaged or describes a model we do not compute. CapabilityError: the extra is missing.
    """
    try:
        import gguf as _  # noqa: F401
    except ImportError as problem:
        raise CapabilityError(
            "Reading GGUF needs the gguf package. Install it: pip install 'headstart[gguf]'."
        ) from problem
    file = GgufFile(path)
    config = _config(file)
    blueprint = read_config(config, where=str(path))
    codec = _codec(file, max_positions=blueprint.config.max_positions)
    check_vocabulary(codec, blueprint.config.vocab_size, where=str(path))
    shape = blueprint.config
    source = GgufSource(
        file, architecture=config["model_type"], num_heads=shape.num_heads, num_kv_heads=shape.num_kv_heads
    )
    weights = read_weights(blueprint, source, where=str(path))
    licence = str(file.meta.get("general.license", "not stated"))
    record = imported(path.name, family=blueprint.family.name, files={path.name: len(file.data)}, licence=licence)
    return Contents(weights, codec, blueprint.family.pattern, path.stem, (record,))


def _hf_name(name: str) -> str:
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in TENSORS:
        return f"model.layers.{parts[1]}.{TENSORS[parts[2]]}.{parts[3]}"
    return f"{OUTER[parts[0]]}.{parts[1]}" if len(parts) == 2 and parts[0] in OUTER else name


def _config(file: GgufFile) -> dict[str, Any]:
    """config.json in Hugging Face words; the same checks as for a folder follow on it."""
    kind = file.meta.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise BaseError(
            f"{file.path}: general.architecture is {safe_repr(repr(kind), 40)}; expected one of "
            f"{', '.join(ARCHITECTURES)}. Use a base of a known family."
        )
    scaling = file.meta.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        raise BaseError(f"{file.path}: rope scaling is {safe_repr(str(scaling), 40)}; expected none. Use another base.")
    keys = {
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "intermediate_size": "feed_forward_length",
        "max_position_embeddings": "context_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "rope_theta": "rope.freq_base",
    }
    config = {ours: file.meta[f"{kind}.{key}"] for ours, key in keys.items() if f"{kind}.{key}" in file.meta}
    embedding = file.blocks.get("token_embd.weight")
    if embedding is None:
        raise BaseError(f"{file.path} lacks token_embd.weight; expected an embedding. Download it again.")
    return config | {
        "model_type": kind,
        "vocab_size": embedding.shape[0],
        "tie_word_embeddings": "output.weight" not in file.blocks,
    }


def _codec(file: GgufFile, *, max_positions: int) -> TextCodec:
    """Byte-level BPE from the metadata."""
    model, split = file.meta.get("tokenizer.ggml.model"), file.meta.get("tokenizer.ggml.pre", "default")
    tokens, merges = file.meta.get("tokenizer.ggml.tokens"), file.meta.get("tokenizer.ggml.merges")
    if model != "gpt2" or split not in ("default", "gpt-2", "smollm") or not tokens or not merges:
        raise BaseError(
            f"{file.path}: the tokenizer is {safe_repr(repr((model, split)), 80)}; expected byte-level BPE "
            "(gpt2) split as gpt-2 or smollm, with tokens and merges. Use the base's Hugging Face folder."
        )
    pieces = [tuple(merge.split(" ", 1)) for merge in merges]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pieces))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split == "smollm" else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    kinds = file.meta.get("tokenizer.ggml.token_type") or [0] * len(tokens)
    control = [token for token, kind in zip(tokens, kinds, strict=False) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    ids = {key: file.meta.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "padding", "unknown")}
    for key, value in ids.items():
        if value is not None and not (isinstance(value, int) and 0 <= value < len(tokens)):
            raise BaseError(f"{file.path}: {key}_token_id is {value}; expected an id below {len(tokens):,}.")
    if file.meta.get("tokenizer.ggml.add_bos_token") and ids["bos"] is not None:
        bos = tokens[ids["bos"]]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, ids["bos"])]
        )
    pad = next((i for i in (ids["padding"], ids["eos"], ids["unknown"]) if i is not None), 0)
    special = Special(pad, ids["bos"], ids["eos"], None, ids["unknown"])
    template = file.meta.get("tokenizer.chat_template")
    return TextCodec(tokenizer, special, max_positions, template if isinstance(template, str) else None)
