"""Attention over packed sequences: several songs behind one another in one [N, ...] tensor, no padding.

The linear layers of a block see all N positions at once; only attention knows where one sequence ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Queries that one matrix product takes on the CPU. One Zen 4 core, bf16, forward and backward of one block:
# PyTorch's fused kernel takes 22, 52, 120 ms for 512, 950, 1600 causal positions and 24, 68, 198 ms for as
# many with full attention; products of 256 queries 16, 33, 105 and 12, 41, 120 ms.
CHUNK = 256


def rope_tables(positions: Tensor, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [N, 1, head_dim/2] of the half-rotation RoPE (Su et al. 2021, GPT-NeoX layout)."""
    half = torch.arange(head_dim // 2, device=positions.device, dtype=torch.float32)
    angles = positions.float()[:, None] * (base ** (-half / (head_dim // 2)))
    return angles.cos()[:, None], angles.sin()[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x [N, heads, head_dim]; pair i is (i, i + head_dim/2), as ONNX Runtime's rotary_interleaved=0."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], causal: bool) -> Tensor:
    """Softmax attention inside each sequence.

    Args:
        q: [N, heads, head_dim]; k, v: [N, kv_heads, head_dim]; query head h reads
            key-value head h // (heads / kv_heads).
        lengths: of the sequences; they sum to N.

    Returns:
        [N, heads * head_dim]
    """
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        return _attend_varlen(q, k, v, lengths, causal)
    sizes = list(lengths)
    parts = zip(q.split(sizes), k.split(sizes), v.split(sizes), strict=True)
    return torch.cat([_attend_one(*part, causal) for part in parts])


def _attend_varlen(q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], causal: bool) -> Tensor:
    """Flash attention with offsets: one kernel for the whole pack (CUDA, 16-bit)."""
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *lengths], device=q.device).cumsum(0).to(torch.int32)
    window = (-1, 0) if causal else (-1, -1)
    longest = max(lengths)
    grouped = q.shape[1] != k.shape[1]
    out = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=window, enable_gqa=grouped)
    return out.flatten(1)


def _attend_one(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    length, n_heads, head_dim = q.shape
    if not q.is_cuda:
        return _attend_products(q, k, v, causal)
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
    return out[0].transpose(0, 1).reshape(length, n_heads * head_dim)


def _attend_products(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Plain matrix products, `CHUNK` queries at a time; the query heads of a group stand in a row."""
    length, n_heads, head_dim = q.shape
    n_kv = k.shape[1]
    group = n_heads // n_kv
    q = (q * head_dim**-0.5).view(length, n_kv, group, head_dim).permute(1, 2, 0, 3)  # [kv, group, S, d]
    k, v = k.permute(1, 2, 0), v.transpose(0, 1)  # [kv, d, S], [kv, S, d]
    outs = []
    for begin in range(0, length, CHUNK):
        end = min(length, begin + CHUNK)
        n, visible = end - begin, end if causal else length
        rows = q[:, :, begin:end].reshape(n_kv, group * n, head_dim)
        scores = torch.bmm(rows, k[:, :, :visible]).view(n_kv, group, n, visible)
        if causal:
            scores = scores + _mask(begin, end, scores)
        weights = scores.softmax(dim=-1).view(n_kv, group * n, visible).to(v.dtype)
        outs.append(torch.bmm(weights, v[:, :visible]).view(n_kv, group, n, head_dim))
    out = torch.cat(outs, dim=2) if len(outs) > 1 else outs[0]
    return out.permute(2, 0, 1, 3).reshape(length, n_heads * head_dim)


def _mask(begin: int, end: int, like: Tensor) -> Tensor:
    """[end - begin, end]: query i of begin..end sees the keys up to itself."""
    mask = like.new_zeros(end - begin, end)
    mask[:, begin:] = mask.new_full((end - begin, end - begin), float("-inf")).triu(1)
    return mask


def attend_cached(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The S newest of P positions, q [S, heads, d], over all, k and v [P, kv_heads, d] -> [S, heads * d]."""
    n_new, n_all = q.shape[0], k.shape[0]
    visible = torch.ones(n_new, n_all, dtype=torch.bool, device=q.device).tril(n_all - n_new)
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    mask = None if n_new == 1 else visible
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
    return out[0].transpose(0, 1).reshape(n_new, -1)
