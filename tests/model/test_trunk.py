"""Properties every trunk has, whatever its family; numbers against transformers are in tests/parity."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.model.shapes import BERT, CONTINUED, KINDS, MPNET, QWEN3, perturbed, random_units

from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError, DataError
from headstart.model import attention
from headstart.model.cache import KvCache, Recorder
from headstart.model.config import TrunkConfig
from headstart.model.trunk import Trunk, initialise


def lengths(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.long)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["causal", "full"])
def test_padding_never_changes_a_row(kind: str, pattern: str) -> None:
    trunk, units = perturbed(KINDS[kind]), random_units(1, 7)
    alone = trunk(Batch(units, lengths(7), pattern))  # type: ignore[arg-type]
    padded = torch.cat((units, torch.zeros(1, 5, dtype=torch.long)), dim=1)
    beside = trunk(Batch(torch.cat((padded, random_units(1, 12))), lengths(7, 12), pattern))  # type: ignore[arg-type]
    assert torch.allclose(beside[0, :7], alone[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_causal_sees_no_future_and_full_sees_all(kind: str) -> None:
    trunk, units = perturbed(KINDS[kind]), random_units(1, 8)
    changed = units.clone()
    changed[0, -1] = (changed[0, -1] + 1 - 4) % 57 + 4
    for pattern, same in (("causal", True), ("full", False)):
        before, after = (trunk(Batch(u, lengths(8), pattern)) for u in (units, changed))  # type: ignore[arg-type]
        assert torch.equal(before[0, :-1], after[0, :-1]) is same


def test_packed_documents_do_not_see_each_other() -> None:
    trunk, units = perturbed(QWEN3), random_units(1, 10)
    documents = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])
    packed = trunk(Batch(units, lengths(10), "full", documents=documents))
    alone = trunk(Batch(units[:, :4], lengths(4), "full"))
    assert torch.allclose(packed[0, :4], alone[0], atol=1e-5)


@pytest.mark.parametrize("kind", CONTINUED)
def test_cache_continues_rows_of_unequal_length(kind: str) -> None:
    trunk, units = perturbed(KINDS[kind]), random_units(3, 12)
    whole = trunk(Batch(units[:2], lengths(12, 9), "causal"))
    cache = KvCache(trunk.config, slots=4, capacity=16, dtype=torch.float32, device=torch.device("cpu"))

    def read(first: int, starts: list[int], new: torch.Tensor, *sizes: int) -> torch.Tensor:
        window = cache.window(first, starts, new.shape[1])
        return trunk(Batch(new, lengths(*sizes), "causal", positions=window.positions), window)  # type: ignore[no-any-return]

    read(1, [0, 0], units[:2, :7], 7, 5)
    step = read(1, [7, 5], torch.stack((units[0, 7:11], units[1, 5:9])), 4, 4)
    assert torch.allclose(step[0], whole[0, 7:11], atol=1e-5)
    assert torch.allclose(step[1], whole[1, 5:9], atol=1e-5)
    cache.copy(9, source=2, target=0)  # another text that begins like the second goes on alone, a unit at a time
    other = torch.cat((units[1, :9], units[2, :3]))[None]
    alone = trunk(Batch(other, lengths(12), "causal"))
    for place in range(9, 12):
        assert torch.allclose(read(0, [place], other[:, place : place + 1], 1)[0, 0], alone[0, place], atol=1e-5)


@pytest.mark.parametrize("kind", CONTINUED)
def test_rows_continue_one_beginning(kind: str) -> None:
    trunk, units = perturbed(KINDS[kind]), random_units(2, 12)
    units[1, :7] = units[0, :7]
    whole = trunk(Batch(units, lengths(12, 10), "causal"))
    prefix = None
    for start, stop in ((0, 3), (3, 7)):  # read in two goes
        recorder = Recorder(prefix)
        trunk(
            Batch(units[:1, start:stop], lengths(stop - start), "causal", positions=torch.arange(start, stop)[None]),
            recorder,
        )
        prefix = recorder.prefix()
    assert prefix is not None
    rest = trunk(Batch(units[:, 7:], lengths(5, 3), "causal", positions=torch.arange(7, 12)[None]), prefix)
    assert torch.allclose(rest[0], whole[0, 7:], atol=1e-5)
    assert torch.allclose(rest[1, :3], whole[1, 7:10], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_may_hold_a_tree(kind: str) -> None:
    """a b c d e and a b f g, as a b c d e f g."""
    trunk, units = perturbed(KINDS[kind]), random_units(1, 7)
    first, second = units[:, :5], torch.cat((units[:, :2], units[:, 5:]), dim=1)
    positions, until = torch.tensor([[0, 1, 2, 3, 4, 2, 3]]), torch.tensor([[7, 7, 5, 5, 5, 7, 7]])
    tree = trunk(Batch(units, lengths(7), "causal", positions=positions, until=until))
    assert torch.allclose(tree[0, :5], trunk(Batch(first, lengths(5), "causal"))[0], atol=1e-5)
    assert torch.allclose(tree[0, [0, 1, 5, 6]], trunk(Batch(second, lengths(4), "causal"))[0], atol=1e-5)


def test_explicit_attention_equals_torch_fused() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 8, generator=generator) for heads in (4, 2, 2))
    bias = attention.attention_bias(Batch(random_units(2, 9), lengths(9, 6), "causal"), torch.float32)
    ours = attention.attend(q, k, v, bias)
    fused = F.scaled_dot_product_attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), attn_mask=bias)
    assert torch.allclose(ours, fused, atol=1e-6)


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("width", [1, 127, 128, 129, 300])
def test_causal_blocks_equal_torch_fused(width: int, kv_heads: int) -> None:
    """Values and gradients, with widths around the border of a block of queries."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, width, 8, generator=generator) for heads in (4, kv_heads, kv_heads))
    found: list[list[torch.Tensor]] = []
    for causal in (True, False):
        given = [x.clone().requires_grad_() for x in (q, k, v)]
        if causal:
            out = attention.attend(given[0], given[1], given[2], None, causal=True)
        else:
            repeated = [x.repeat_interleave(4 // kv_heads, 1) for x in given[1:]]
            out = F.scaled_dot_product_attention(given[0], *repeated, is_causal=True)
        out.square().sum().backward()
        found.append([out.detach(), *(x.grad for x in given if x.grad is not None)])
    for ours, fused in zip(*found, strict=True):
        assert torch.allclose(ours, fused, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", ["causal", "full"])
def test_long_rows_take_the_fused_kernel_and_agree(kind: str, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, batch = perturbed(KINDS[kind]), Batch(random_units(2, 12), lengths(12, 8), pattern)  # type: ignore[arg-type]
    explicit = trunk(batch)
    monkeypatch.setattr(attention, "MAX_EXPLICIT_KEYS", 0)
    found = trunk(batch)
    assert torch.allclose(found[0], explicit[0], atol=1e-5)
    assert torch.allclose(found[1, :8], explicit[1, :8], atol=1e-5)


def test_buckets_are_single_near_by_and_shared_far_off() -> None:
    """T5's borders: 8 single distances a side, then 8 that grow to 128 (Raffel et al. 2020, section 2.1)."""
    first, last = (attention.distance_buckets(torch.arange(300)[None])[0, place] for place in (0, -1))
    assert first[:8].tolist() == [0, 17, 18, 19, 20, 21, 22, 23]
    borders = (1 + torch.nonzero(first[1:] != first[:-1])[7:, 0]).tolist()
    assert borders == [8, 12, 16, 23, 32, 46, 64, 91]
    assert int(first[-1]) == 31
    assert torch.equal(last.flip(0)[1:], first[1:] - 16), "before a unit as after it"


def test_distances_follow_positions() -> None:
    trunk, units = perturbed(MPNET), random_units(1, 6)
    order = torch.tensor([[3, 0, 5, 1, 4, 2]])
    mixed = trunk(Batch(units[:, order[0]], lengths(6), "full", positions=order))
    assert torch.allclose(mixed, trunk(Batch(units, lengths(6), "full"))[:, order[0]], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_end_in_the_forward_result(kind: str) -> None:
    trunk, batch = perturbed(KINDS[kind]), Batch(random_units(2, 6), lengths(6, 6), "full")
    states = trunk.hidden_states(batch)
    assert len(states) == trunk.config.num_layers + 1
    assert torch.equal(states[-1], trunk(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_config_counts_every_parameter(kind: str) -> None:
    assert sum(p.numel() for p in Trunk(KINDS[kind]).parameters()) == KINDS[kind].num_parameters


def test_initialise_depends_on_the_seed_alone() -> None:
    first, second, other = (Trunk(QWEN3) for _ in range(3))
    initialise(first, seed=3)
    torch.manual_seed(99)
    initialise(second, seed=3)
    initialise(other, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.embed.tokens.weight, other.embed.tokens.weight)


def test_zero_outputs_start_as_the_identity() -> None:
    trunk = Trunk(QWEN3)
    initialise(trunk, seed=0, zero_outputs=True)
    states = trunk.hidden_states(Batch(random_units(1, 5), lengths(5), "causal"))
    assert torch.equal(states[0], states[-2])


def test_learned_positions_end_where_the_table_ends() -> None:
    with pytest.raises(DataError, match="33 units long; expected at most 32"):
        Trunk(BERT)(Batch(random_units(1, 33), lengths(33), "full"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_layers", 100_000, "num_layers is 100000"),
        ("dim", 0, "dim is 0"),
        ("num_heads", 5, "multiple of num_kv_heads"),
        ("norm", "batch", "norm is 'batch'"),
        ("head_dim", 7, "even number"),
        ("norm_eps", 0.0, "norm_eps is 0.0"),
        ("vocab_size", True, "vocab_size is True"),
        ("mlp_dim", 1_000_000_000, "mlp_dim"),
    ],
)
def test_absurd_configs_are_refused_before_allocation(field: str, value: object, message: str) -> None:
    values = QWEN3.as_dict() | {field: value}
    with pytest.raises(ConfigError, match=message):
        TrunkConfig(**values)  # type: ignore[arg-type]


def test_a_config_of_too_many_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="parameters; expected at most"):
        TrunkConfig(**(QWEN3.as_dict() | {"num_layers": 1000, "dim": 60_000, "mlp_dim": 240_000}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_quick_pass_differs_in_last_bits_alone(kind: str) -> None:
    """Rows of 13 x 5 units are no multiple of what a quick product takes at once."""
    trunk, batch = perturbed(KINDS[kind]), Batch(random_units(13, 5), lengths(*[5] * 13), "full")
    with torch.no_grad():
        plain, quick = trunk(batch), trunk(batch, quick=True)
    assert plain.shape == quick.shape
    assert float((plain - quick).abs().max()) <= 1e-5


def test_a_quick_pass_that_wants_gradients_is_a_plain_one() -> None:
    """oneDNN's product has none: its backward would leave none, and only warn."""
    batch, found = Batch(random_units(13, 5), lengths(*[5] * 13), "full"), []
    for quick in (False, True):
        trunk = perturbed(QWEN3)
        trunk(batch, quick=quick).square().sum().backward()
        found.append([p.grad for p in trunk.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
