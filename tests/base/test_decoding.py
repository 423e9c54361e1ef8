"""Many requests at a time: what joins, leaves, shares or waits beside a request never changes its answer."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.base.tiny_bases import tiny_base
from tests.model.shapes import QWEN3
from torch import Tensor

from headstart.base.base import Base
from headstart.base.decoding import Decoder, Drawn
from headstart.base.sampling import Sampling
from headstart.base.slots import Slots
from headstart.data.text_codec import Ids
from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError, DataError, RunError
from headstart.model.cache import Window

FAMILIES = ["gpt2", "llama", "qwen3"]


def random_prompt(random: np.random.Generator, *, preambles: int = 3) -> Ids:
    """One of a few preambles of 8 units, then up to 9 units."""
    start = np.random.default_rng(int(random.integers(preambles))).integers(4, 98, 8)
    return np.concatenate(([2], start, random.integers(4, 98, random.integers(1, 10)))).astype(np.int32)


def random_sampling(random: np.random.Generator) -> Sampling:
    settings = [
        {},
        {"temperature": 1.3},
        {"temperature": 0.8, "top_k": 7},
        {"temperature": 1.0, "top_p": 0.5, "frequency_penalty": 0.7},
        {"repetition_penalty": 1.4},
    ][int(random.integers(5))]
    return Sampling(max_tokens=int(random.integers(1, 15)), seed=int(random.integers(3)), **settings)  # type: ignore[arg-type]


def finished(decoder: Decoder) -> dict[int, list[int]]:
    """Run to the end: the units of every request."""
    found: dict[int, list[int]] = {}
    while decoder.busy:
        collect(decoder.step(), found)
    return found


def collect(drawn: list[Drawn], found: dict[int, list[int]]) -> None:
    """The units that are part of answers."""
    for one in drawn:
        found.setdefault(one.request, []).extend([] if one.finish == "stop" else [one.unit])


def alone(base: Base, ids: Ids, sampling: Sampling) -> list[int]:
    decoder = base.decoder(max_rows=1)
    decoder.add(ids, sampling)
    return finished(decoder)[0]


@cache
def asked_alone(family: str) -> tuple[list[tuple[Ids, Sampling]], list[list[int]]]:
    """Thirty requests and their answers, one at a time."""
    base, random = tiny_base(family), np.random.default_rng(1)
    asked = [(random_prompt(random), random_sampling(random)) for _ in range(30)]
    return asked, [alone(base, *one) for one in asked]


@torch.no_grad()
def greedy_by_hand(base: Base, ids: Ids, count: int) -> list[int]:
    assert base.lm is not None
    units = ids.tolist()
    while len(units) < min(len(ids) + count, base.codec.max_positions):
        hidden = base.trunk(Batch(torch.tensor([units]), torch.tensor([len(units)]), "causal"))
        following = int(base.lm(hidden[0, -1], base.trunk.embed.tokens.weight).argmax())
        if following == base.codec.special.eos:
            break
        units.append(following)
    return units[len(ids) :]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_what_full_passes_give(family: str) -> None:
    base, random = tiny_base(family), np.random.default_rng(0)
    decoder = base.decoder(max_rows=3)
    prompts = [random_prompt(random) for _ in range(12)]
    for prompt in prompts:
        decoder.add(prompt, Sampling(max_tokens=9))
    found = finished(decoder)
    assert [found[n] for n in range(12)] == [greedy_by_hand(base, prompt, 9) for prompt in prompts]


def test_slots_are_more_and_shorter_again_after_a_long_text() -> None:
    """Few bytes hold few long texts; when those are done, short ones get the room for many."""
    config = dataclasses.replace(QWEN3, max_positions=2048)
    unit = 2 * config.num_layers * config.num_kv_heads * config.head_dim * 4
    slots = Slots(config, max_rows=8, cache_bytes=1024 * unit, dtype=torch.float32, device=torch.device("cpu"))
    long, short = np.arange(600, dtype=np.int32), np.arange(20, dtype=np.int32)
    assert slots.make_room(700, used=0)
    slots.start(0, long)
    slots.add(0, [long])
    assert not slots.make_room(20, used=1), "one slot of 1,024 units is all there is"
    assert slots.make_room(20, used=0)
    for used in range(4):
        assert slots.make_room(20, used=used)
        assert slots.start(used, short) == (0 if not used else 19)
        slots.add(used, [short[slots.held(used) :]])
    assert not slots.make_room(20, used=4)
    assert slots.held(0) == 20
    assert slots.make_room(600, used=0), "and longer again"
    assert slots.shared(long[:30])[1] == 20, "what fits is kept"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("max_rows", "cache_bytes"), [(3, 1 << 30), (32, 1 << 30), (32, 40_000), (32, 1)])
def test_neighbours_never_change_an_answer(family: str, max_rows: int, cache_bytes: int) -> None:
    """Requests come in bursts while others run; some are cancelled."""
    base, random = tiny_base(family), np.random.default_rng(1)
    asked, expected = asked_alone(family)
    decoder = base.decoder(max_rows=max_rows, cache_bytes=cache_bytes)
    found: dict[int, list[int]] = {}
    cancelled = set()
    waiting = list(enumerate(asked))
    while waiting or decoder.busy:
        for _ in range(min(len(waiting), int(random.integers(0, 7)))):
            number, (ids, sampling) = waiting.pop(0)
            assert decoder.add(ids, sampling) == number
            if random.random() < 0.1:
                cancelled.add(number)
        drawn = decoder.step()
        collect(drawn, found)
        for one in drawn:
            if one.request in cancelled:
                decoder.cancel(one.request)
    for number, answer in enumerate(expected):
        assert found[number] == (answer[:1] if number in cancelled else answer), number


def test_a_shared_beginning_is_read_once() -> None:
    base = tiny_base("qwen3")
    preamble = np.arange(4, 21, dtype=np.int32)
    prompts = [np.append(preamble, unit).astype(np.int32) for unit in range(30, 40)]
    decoder = base.decoder(max_rows=4)
    for prompt in prompts:
        decoder.add(prompt, Sampling(max_tokens=3))
    finished(decoder)
    assert decoder.units_read == 17 + 10
    decoder.add(np.append(prompts[-1], 41).astype(np.int32), Sampling(max_tokens=3))  # long after the others
    finished(decoder)
    assert decoder.units_read == 17 + 10 + 1


def test_copies_of_a_prompt_are_drawn_apart_and_again() -> None:
    base, ids = tiny_base("qwen3"), np.asarray([2, 5, 6], dtype=np.int32)
    sampling = Sampling(max_tokens=8, temperature=1.5)

    def draw(copies: list[int], seed: int) -> list[list[int]]:
        decoder = base.decoder()
        for copy in copies:
            decoder.add(ids, dataclasses.replace(sampling, seed=seed), copy=copy)
        return [units for _, units in sorted(finished(decoder).items())]

    first = draw([0, 1, 0], 0)
    assert first[0] == first[2] != first[1]
    assert draw([1], 0) == [first[1]]
    assert draw([0], 1) != [first[0]]


def test_cancelling_frees_the_row_and_forgets_the_waiting() -> None:
    base = tiny_base("qwen3")
    decoder = base.decoder(max_rows=1)
    ids = np.asarray([2, 5, 6], dtype=np.int32)
    running, waiting, last = (decoder.add(ids, Sampling(max_tokens=5)) for _ in range(3))
    assert {one.request for one in decoder.step()} == {running}
    decoder.cancel(waiting)
    decoder.cancel(running)
    decoder.cancel(99)
    assert {one.request for one in decoder.step()} == {last}
    decoder.cancel(last)
    assert not decoder.busy
    assert decoder.step() == []


def test_an_answer_ends_where_the_positions_end() -> None:
    base = tiny_base("gpt2")
    ids = np.arange(4, 4 + 21, dtype=np.int32)
    blind = dataclasses.replace(
        base, codec=dataclasses.replace(base.codec, special=dataclasses.replace(base.codec.special, eos=None))
    )
    decoder = blind.decoder()
    decoder.add(ids, Sampling(max_tokens=24))
    drawn = [one for _ in range(3) for one in decoder.step()]
    assert [one.finish for one in drawn] == [None, None, "length"]
    assert not decoder.busy


def test_log_probabilities_are_those_of_score() -> None:
    base = tiny_base("qwen3")
    decoder = base.decoder()
    decoder.add(np.asarray([2, 5, 6], dtype=np.int32), Sampling(max_tokens=6, logprobs=4))
    drawn = [one for _ in range(6) for one in decoder.step() if one.finish != "stop"]
    words = [base.codec.tokenizer.id_to_token(one.unit) for one in drawn]
    total = sum(one.logprob for one in drawn if one.logprob is not None)
    assert total == pytest.approx(base.score(["w5 w6"], [" " + " ".join(words)])[0], abs=1e-5)
    for one in drawn:
        assert one.top[0] == (one.unit, one.logprob)
        assert [p for _, p in one.top] == sorted((p for _, p in one.top), reverse=True)
        assert len(one.top) == 4


@pytest.mark.parametrize(
    ("length", "settings", "error", "message"),
    [
        (0, {}, DataError, "the prompt has 0 tokens; expected 1 to 23"),
        (24, {}, DataError, "the prompt has 24 tokens; expected 1 to 23, because this base reads 24 with its answer"),
        (3, {"max_tokens": 10**18}, ConfigError, "max_tokens is 1,000,000,000,000,000,000; expected at most 24"),
    ],
)
def test_what_cannot_be_asked(length: int, settings: dict[str, int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny_base("gpt2").decoder().add(np.full(length, 5, dtype=np.int32), Sampling(**settings))


def test_numbers_that_are_not_finite_are_said() -> None:
    base = tiny_base("gpt2")
    with torch.no_grad():
        base.trunk.blocks[0].mlp.down.bias[0] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(RunError, match="not finite"):
        base.generate(["w4"], max_tokens=4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("when", range(1, 12))
def test_what_an_interrupted_step_left_is_read_again(family: str, when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in any layer of any of the first passes: requests that stay, and later ones, are answered as ever."""
    base, random = tiny_base(family), np.random.default_rng(3)
    prompts = [random_prompt(random, preambles=1) for _ in range(3)]
    wanted = [alone(base, ids, Sampling(max_tokens=6)) for ids in prompts]
    decoder, found, passed = base.decoder(max_rows=4), dict[int, list[int]](), 0
    write = Window.write

    def interrupted(window: Window, layer: int, pairs: Tensor) -> Tensor:
        nonlocal passed
        passed += 1
        if passed == when:
            raise KeyboardInterrupt
        return write(window, layer, pairs)

    monkeypatch.setattr(Window, "write", interrupted)
    numbers = [decoder.add(ids, Sampling(max_tokens=6)) for ids in prompts[:2]]

    def run() -> None:
        while decoder.busy:
            collect(decoder.step(), found)

    with pytest.raises(KeyboardInterrupt):
        run()
    numbers.append(decoder.add(prompts[2], Sampling(max_tokens=6)))
    run()
    assert [found[number] for number in numbers] == wanted


def test_a_row_without_numbers_ends_alone() -> None:
    """Position 18 is broken: who gets there ends, who does not is answered, also in the same slot later."""
    base = tiny_base("gpt2")
    with torch.no_grad():
        base.trunk.embed.positions.weight[18] = float("nan")  # type: ignore[union-attr, operator, index]
    random = np.random.default_rng(0)
    short, long = (random.integers(4, 98, size).astype(np.int32) for size in (3, 10))
    wanted = alone(base, short, Sampling(max_tokens=12))
    decoder = base.decoder(max_rows=2)
    first, second = decoder.add(long, Sampling(max_tokens=12)), decoder.add(short, Sampling(max_tokens=12))
    told = [one for _ in range(14) for one in decoder.step()]
    assert [one.finish for one in told if one.request == first] == [*[None] * 9, "error"]
    assert [one.unit for one in told if one.request == second] == wanted
    ends = [one for one in told if one.request == first][-1]
    assert (ends.unit, "not finite" in ends.failure) == (-1, True)
    assert bool(decoder._slots._cache.store.isfinite().all()), "a hidden key is multiplied all the same"  # type: ignore[union-attr]
    other = short[::-1].copy()
    for _ in range(2):
        decoder.add(other, Sampling(max_tokens=12))
    assert list(finished(decoder).values()) == [alone(base, other, Sampling(max_tokens=12))] * 2


def test_a_decoder_needs_room() -> None:
    with pytest.raises(ConfigError, match="max_rows is 0"):
        tiny_base("gpt2").decoder(max_rows=0)


@pytest.mark.soak
def test_ten_thousand_requests_keep_memory_flat() -> None:
    """What a process uses after the first thousand requests is what it uses after all."""

    def resident() -> int:
        with open("/proc/self/statm") as handle:
            return int(handle.read().split()[1]) * 4096

    base, random = tiny_base("qwen3"), np.random.default_rng(2)
    decoder = base.decoder(max_rows=16)
    asked = [(random_prompt(random, preambles=50), random_sampling(random)) for _ in range(10_000)]
    found: dict[int, list[int]] = {}
    before = 0
    for place, (ids, sampling) in enumerate(asked):
        decoder.add(ids, sampling)
        while decoder.busy and (place % 64 == 63 or place == len(asked) - 1):
            collect(decoder.step(), found)
        if place == 1_000:
            before = resident()
    assert resident() < before + 20_000_000
    for number in random.permutation(len(asked))[:1_000].tolist():
        assert found[number] == alone(base, *asked[number]), number


class Breaks:
    """A constraint that allows everything, some times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def allowed(self) -> NDArray[np.bool_]:
        if not self.left:
            raise RunError("the schema could not be followed further")
        self.left -= 1
        return np.ones(100, dtype=np.bool_)

    def accept(self, unit: int) -> None:
        pass


@pytest.mark.parametrize("times", [0, 3])
def test_a_constraint_that_breaks_ends_its_own_request_alone(times: int) -> None:
    asked, answers = asked_alone("llama")
    decoder = tiny_base("llama").decoder(max_rows=8)
    numbers = [decoder.add(*one) for one in asked[:3]]
    broken = decoder.add(asked[3][0], Sampling(max_tokens=12), constraint=Breaks(times))
    numbers += [decoder.add(*one) for one in asked[4:7]]
    found: dict[int, list[int]] = {}
    ends = []
    while decoder.busy:
        drawn = decoder.step()
        ends += [one for one in drawn if one.request == broken and one.finish is not None]
        collect([one for one in drawn if one.request != broken], found)
    assert [found[number] for number in numbers] == [*answers[:3], *answers[4:7]]
    assert [(one.finish, one.failure) for one in ends] == [("error", "the schema could not be followed further")]
