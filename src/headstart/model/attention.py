"""Attention over (B, H, T, K) heads under the pattern that the Batch asks for.

Two kernels give the same answer. On CPU in bf16, batched matrix products with an explicit softmax run 2-4 times
faster forward and backward than torch 2.13's fused kernel at T <= 512 (docs/notebook); elsewhere the fused one is
used. Both take "causal" as a word, without a bias, and leave out what no query may see. Shapes: B rows, H heads, T
queries, S keys, K head width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from headstart.ground.batch import Batch
from headstart.model.config import DISTANCE_BUCKETS

MAX_EXPLICIT_KEYS = 1024  # beyond, the (T, S) score matrix costs more memory traffic than the explicit kernel saves
FARTHEST = 128  # units from which on all distances are one to "learned_relative" (Raffel et al. 2020, T5)
CAUSAL_BLOCK = 128  # queries of the explicit kernel that are answered together: they look at nothing behind the last


def is_plainly_causal(batch: Batch) -> bool:
    """Whether a kernel needs no bias: each unit of one text a row sees itself and what stands before."""
    return batch.pattern == "causal" and batch.documents is None and batch.until is None


def attention_bias(batch: Batch, dtype: torch.dtype) -> Tensor | None:
    """Additive bias (B or 1, 1, T, T) with -inf where a query may not look, or None where all may look everywhere."""
    rows, width = batch.units.shape[:2]
    device = batch.units.device
    allowed: Tensor | None = None
    if batch.pattern == "causal":
        allowed = torch.ones(width, width, dtype=torch.bool, device=device).tril().view(1, 1, width, width)
        if batch.until is not None:
            allowed = allowed & (torch.arange(width, device=device).view(1, 1, width, 1) < batch.until[:, None, None])
    elif bool((batch.lengths < width).any()):  # causal rows are right-padded, so only bidirectional ones see padding
        allowed = torch.arange(width, device=device).view(1, 1, 1, width) < batch.lengths.view(rows, 1, 1, 1)
    if batch.documents is not None:
        same = (batch.documents[:, :, None] == batch.documents[:, None, :])[:, None]
        allowed = same if allowed is None else allowed & same
    return None if allowed is None else _as_bias(allowed, dtype)


def cached_bias(positions: Tensor, num_keys: int, dtype: torch.dtype) -> Tensor:
    """Additive bias (B, 1, T, S) for queries at absolute `positions` (B, T) over S cached keys, causal."""
    keys = torch.arange(num_keys, device=positions.device)
    return _as_bias(keys.view(1, 1, 1, -1) <= positions[:, None, :, None], dtype)


def _as_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -math.inf)


def attend(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, bias: Tensor | None, *, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(K) + bias) v -> (B, H, T, K); H may be a multiple of the key and value heads.

    bias: of the last keys; all may see those before. causal: in place of a bias, as `is_plainly_causal` says; T = S.
    """
    heads, kv_heads, num_keys = q_BHTK.shape[1], *k_BHSK.shape[1:3]
    if q_BHTK.device.type == "cpu" and num_keys <= MAX_EXPLICIT_KEYS:
        return _explicit_causal(q_BHTK, k_BHSK, v_BHSK) if causal else _explicit(q_BHTK, k_BHSK, v_BHSK, bias)
    if kv_heads < heads:
        k_BHSK = k_BHSK.repeat_interleave(heads // kv_heads, dim=1)
        v_BHSK = v_BHSK.repeat_interleave(heads // kv_heads, dim=1)
    if bias is not None and bias.shape[-1] < num_keys:
        bias = F.pad(bias, (num_keys - bias.shape[-1], 0))
    return F.scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, attn_mask=bias, is_causal=causal)


def _explicit(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, bias: Tensor | None) -> Tensor:
    """By matrix products; the query heads of a group stand one below the other, so keys and values are not repeated."""
    rows, heads, width, head_dim = q_BHTK.shape
    kv_heads, num_keys = k_BHSK.shape[1:3]
    grouped = (rows, kv_heads, heads // kv_heads * width)
    q = (q_BHTK * (1.0 / math.sqrt(head_dim))).reshape(*grouped, head_dim)
    scores = torch.matmul(q, k_BHSK.transpose(-1, -2)).view(rows, heads, width, num_keys)
    if bias is not None and bias.shape[-1] < num_keys:
        scores[..., -bias.shape[-1] :] += bias
    elif bias is not None:
        scores = scores + bias
    chances = torch.softmax(scores, dim=-1).view(*grouped, num_keys)
    return torch.matmul(chances, v_BHSK).view(rows, heads, width, head_dim)


def _explicit_causal(q_BHTK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor) -> Tensor:
    """The same block of queries after block of queries, each with the keys up to its last query."""
    width = q_BHTK.shape[2]
    found = []
    for start in range(0, width, CAUSAL_BLOCK):
        end = min(start + CAUSAL_BLOCK, width)
        seen = torch.ones(end - start, end, dtype=torch.bool, device=q_BHTK.device).tril(start)
        bias = _as_bias(seen, q_BHTK.dtype)
        found.append(_explicit(q_BHTK[:, :, start:end], k_BHSK[:, :, :end], v_BHSK[:, :, :end], bias))
    return found[0] if len(found) == 1 else torch.cat(found, dim=2)


def rope_angles(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin (B or 1, 1, T, K/2) of rotary positions (Su et al. 2021), computed in fp32."""
    steps = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions[:, None, :, None].float() * (1.0 / theta**steps)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def distance_buckets(positions: Tensor) -> Tensor:
    """(B or 1, T, T) of the distance from each query's position to each key's, from `positions` (B or 1, T).

    Half of the buckets are for keys after the query. Of these the first half are one distance each, the others grow
    with the logarithm. Computed in fp32 as transformers does, because a distance at a border must fall as in training.
    """
    ahead = positions[:, None, :] - positions[:, :, None]
    half = DISTANCE_BUCKETS // 2
    single = half // 2
    far = torch.log(ahead.abs().clamp(min=1).float() / single) / math.log(FARTHEST / single) * (half - single)
    grown = (single + far.long()).clamp(max=half - 1)
    return torch.where(ahead.abs() < single, ahead.abs(), grown) + half * (ahead > 0)


def rotate(x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the two halves of every head by its position's angles (Hugging Face's layout)."""
    first, second = x_BHTK.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
