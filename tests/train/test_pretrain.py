"""Corpus, recipe and a whole pre-training run at toy size, from raw text to a Base that reloads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from headstart.base.base import Base
from headstart.data.corpus import BOS_ID, EOS_ID, pack, read_documents, row_order, train_tokenizer
from headstart.ground.errors import ConfigError, DataError
from headstart.model.adapters import attach_lora, lora_modules
from headstart.train.pretrain import StepPlan
from headstart.train.recipe import Recipe, read_recipe
from headstart.train.text_base import find_corpus, pretrain, started_from

TOY = """
name = "toy"
[shape]
vocab_size = 300
dim = 32
num_layers = 2
num_heads = 2
num_kv_heads = 2
head_dim = 16
mlp_dim = 64
max_positions = 64
[corpus]
train = ["train.jsonl"]
validation = "val.jsonl"
tokenizer_bytes = 100_000
[mixture]
causal_share = 0.5
mask_start = 0.3
mask_end = 0.15
z_loss = 1e-4
[optimisation]
tokens = 40_960
tokens_per_step = 1024
micro_tokens = 512
lengths = [[0.5, 32], [1.0, 64]]
muon_lr = 0.01
adamw_lr = 0.01
weight_decay = 0.1
warmup = 0.05
cooldown = 0.5
floor = 0.05
dtype = "float32"
seed = 1
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, count in (("train.jsonl", 200), ("val.jsonl", 20)):
        lines = []
        for _ in range(count):
            words = [
                ("the cat sat on the mat .", "a dog ran to the red house .", "birds sing when the sun is up .")[i]
                for i in random.integers(0, 3, 12)
            ]
            lines.append(json.dumps({"text": " ".join(words), "source": "toy"}))
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def recipe() -> Recipe:
    import tomllib

    return msgspec.convert(tomllib.loads(TOY), Recipe)


def test_a_whole_run_learns_and_its_base_reloads(corpus: Path, tmp_path: Path) -> None:
    base = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    curve = base.lineage[0].results["curve"]
    assert curve[-1]["bits_per_byte"] < 0.6 < 1.5 < curve[0]["bits_per_byte"]
    base.save(tmp_path / "toy")
    again = Base.load(tmp_path / "toy")
    assert again.score(["the cat"], [" sat on the mat ."]) == pytest.approx(
        base.score(["the cat"], [" sat on the mat ."]), abs=1e-5
    )
    likely, unlikely = again.score(["the cat"] * 2, [" sat on the mat .", " house birds sun red ."])
    assert likely > unlikely + 5
    assert again.encode(["the cat sat"]).shape == (1, 32)
    assert again.lineage[0].data[0].name == "train.jsonl"
    repeat = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    assert repeat.digest == base.digest


def test_packing_keeps_borders_and_is_reused(corpus: Path, tmp_path: Path) -> None:
    shard = corpus / "val.jsonl"
    texts = list(read_documents([shard]))
    tokenizer = train_tokenizer(iter(texts), vocab_size=300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    packed = pack([shard], tmp_path / "tokenizer.json", tmp_path / "packed")
    units = np.asarray(packed.units)
    starts, ends = np.flatnonzero(units == BOS_ID), np.flatnonzero(units == EOS_ID)
    assert len(starts) == len(ends) == packed.meta.num_documents == 20
    assert tokenizer.decode(units[starts[3] + 1 : ends[3]].tolist()) == texts[3]
    stamp = (tmp_path / "packed" / "units.bin").stat().st_mtime_ns
    pack([shard], tmp_path / "tokenizer.json", tmp_path / "packed")
    assert (tmp_path / "packed" / "units.bin").stat().st_mtime_ns == stamp
    shard.write_text(shard.read_text() + json.dumps({"text": "one more"}) + "\n")
    assert pack([shard], tmp_path / "tokenizer.json", tmp_path / "packed").meta.num_documents == 21


def test_units_that_were_half_written_are_never_reused(corpus: Path, tmp_path: Path) -> None:
    shard, target = corpus / "val.jsonl", tmp_path / "packed"
    train_tokenizer(read_documents([shard]), vocab_size=300).save(str(tmp_path / "tokenizer.json"))
    whole = np.array(pack([shard], tmp_path / "tokenizer.json", target).units)
    before = shard.read_text()
    shard.write_text("{broken\n")
    with pytest.raises(DataError):  # killed in the middle, so to speak
        pack([shard], tmp_path / "tokenizer.json", target)
    shard.write_text(before)
    assert np.array_equal(pack([shard], tmp_path / "tokenizer.json", target).units, whole)
    (target / "units.bin").write_bytes(whole.tobytes()[:-6])
    assert np.array_equal(pack([shard], tmp_path / "tokenizer.json", target).units, whole)
    twin = tmp_path / "other" / "val.jsonl"
    twin.parent.mkdir()
    twin.write_text(before)
    with pytest.raises(DataError, match="have one file name"):
        pack([shard, twin], tmp_path / "tokenizer.json", target)


def test_every_byte_can_be_written_and_read_back(corpus: Path) -> None:
    tokenizer = train_tokenizer(read_documents([corpus / "train.jsonl"]), vocab_size=300)
    text = "Grüße, 東京 \U0001f680 \x00 tab\tnew\nline"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_broken_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"txt": "no"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        list(read_documents([tmp_path / "bad.jsonl"]))
    with pytest.raises(DataError, match="does not exist"):
        list(read_documents([tmp_path / "none.jsonl"]))


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    first = row_order(1000, seed=1, epoch=0)
    assert np.array_equal(first, row_order(1000, seed=1, epoch=0))
    assert not np.array_equal(first, row_order(1000, seed=1, epoch=1))
    assert np.array_equal(np.sort(first), np.arange(1000))


def test_steps_repeat_and_mix_the_modes(corpus: Path, tmp_path: Path) -> None:
    from headstart.train.pretrain import pack_corpus

    train, _ = pack_corpus(recipe(), data=corpus, work=tmp_path / "work")
    plan = StepPlan(recipe(), train)
    again, there = plan.micro_batches(7), plan.micro_batches(7)
    assert all(bool((a.units == b.units).all()) for a, b in zip(again, there, strict=True))
    assert plan.modes(0) == ["masked", "causal"]
    assert [plan.recipe.width(s) for s in (0, 19, 20, 39)] == [32, 32, 64, 64]
    assert sum(b.num_units for b in again) == 1024


def test_recipes_have_a_closed_schema(tmp_path: Path) -> None:
    assert read_recipe("text-11m").trunk_config().num_parameters == 11_802_944
    (tmp_path / "r.toml").write_text(TOY.replace("dim = 32", "dimm = 32"))
    with pytest.raises(ConfigError, match="dimm"):
        read_recipe(str(tmp_path / "r.toml"))
    with pytest.raises(ConfigError, match="Did you mean 'text-tiny'"):
        read_recipe("text-tny")


WRONG = {
    "lengths = [[0.5, 32]]": r"shares in lengths are \[0.5\]",
    "lengths = [[0.5, 32], [0.4, 64]]": "expected rising ones",
    "lengths = [[1.0, 96]]": "rows of 96",
    "lengths = [[1.0, 1024]]": "rows of 1,024; expected at most micro_tokens",
    "lengths = [[1.0, 128]]": "expected at most max_positions",
    "lengths = []": "Add lengths",
}


@pytest.mark.parametrize("lengths", WRONG)
def test_lengths_that_no_run_could_follow_are_refused(lengths: str, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(TOY.replace("lengths = [[0.5, 32], [1.0, 64]]", lengths))
    with pytest.raises(ConfigError, match=WRONG[lengths]):
        read_recipe(str(tmp_path / "r.toml"))


@pytest.mark.parametrize("change", [("micro_tokens = 512", "micro_tokens = 0"), ("tokens = 40_960", "tokens = 7")])
def test_sizes_that_no_run_could_have_are_refused(change: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(TOY.replace(*change))
    with pytest.raises(ConfigError, match="tokens, tokens_per_step and micro_tokens are"):
        read_recipe(str(tmp_path / "r.toml"))


@pytest.mark.parametrize("part", ["train", "val"])
def test_text_of_less_than_a_row_is_refused_before_training(corpus: Path, tmp_path: Path, part: str) -> None:
    pretrain(recipe(), data=corpus, work=tmp_path / "work")  # for its tokenizer
    (corpus / f"{part}.jsonl").write_text(json.dumps({"text": "the cat sat"}) + "\n")
    with pytest.raises(DataError, match=r"units; expected more than 64, a row"):
        pretrain(recipe(), data=corpus, work=tmp_path / "work")


def test_a_start_is_never_read_in_other_units(corpus: Path, tmp_path: Path) -> None:
    first = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    lines = (corpus / "train.jsonl").read_text().replace("birds", "boats").replace("sun", "tide")
    (corpus / "train.jsonl").write_text(lines)
    find_corpus(recipe(), corpus, tmp_path / "further")  # a proof without the start, say, trains units of its own
    with pytest.raises(ConfigError, match="has other units than toy, from a run without --from"):
        pretrain(recipe(), data=corpus, work=tmp_path / "further", start=first)


def test_training_goes_on_from_a_base_with_its_units_and_its_lineage(corpus: Path, tmp_path: Path) -> None:
    first = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    before, lines = first.digest, (corpus / "train.jsonl").read_text().splitlines()
    for name, part in (("train.jsonl", lines[:60]), ("val.jsonl", lines[60:70])):  # another text, other merges
        (corpus / name).write_text("\n".join(part).replace("birds", "boats").replace("sun", "tide") + "\n")
    second = pretrain(recipe(), data=corpus, work=tmp_path / "further", start=first)
    fresh = pretrain(recipe(), data=corpus, work=tmp_path / "fresh")
    begun, anew = (base.lineage[-1].results["curve"] for base in (second, fresh))
    assert begun[0]["bits_per_byte"] < 0.8 * anew[0]["bits_per_byte"]
    assert begun[-1]["bits_per_byte"] < begun[0]["bits_per_byte"]
    assert second.codec.tokenizer.get_vocab() == first.codec.tokenizer.get_vocab()
    assert [step.parent for step in second.lineage] == [None, before]
    assert first.digest == before != second.digest
    assert pretrain(recipe(), data=corpus, work=tmp_path / "further", start=first).digest == second.digest
    with pytest.raises(ConfigError, match=r"start.*--fork"):
        pretrain(recipe(), data=corpus, work=tmp_path / "further", start=second)


def test_training_goes_on_from_an_adapted_base_as_it_answers(corpus: Path, tmp_path: Path) -> None:
    base = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    attach_lora(base.trunk, rank=2, alpha=4.0, targets=("q", "up"))
    with torch.no_grad():
        for _, module in lora_modules(base.trunk):
            module.lora_b.fill_(0.02)
    before, start = base.encode(["the sun"]), started_from(base)
    assert not list(lora_modules(start.trunk))
    np.testing.assert_allclose(replace(base, trunk=start.trunk).encode(["the sun"]), before, atol=1e-5)
    further = pretrain(recipe(), data=corpus, work=tmp_path / "further", start=base)
    assert not list(lora_modules(further.trunk))
    assert further.lineage[-1].parent == base.digest


def test_a_start_of_another_shape_is_refused_by_the_field_that_differs(corpus: Path, tmp_path: Path) -> None:
    base = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    wider = msgspec.structs.replace(recipe(), shape=msgspec.structs.replace(recipe().shape, dim=48))
    with pytest.raises(ConfigError, match="toy cannot start a run of the recipe toy: dim is 32; expected 48"):
        pretrain(wider, data=corpus, work=tmp_path / "other", start=base)
    assert not (tmp_path / "other").exists()
