"""The transformer that backbone and super-resolution share: packed sequences in, hidden states out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.nets.attention import attend_cached, attend_packed, rope_tables, rotate
from khala_studio.training.nets.config import TransformerConfig

Rope = tuple[Tensor, Tensor]  # cosines and sines [N, 1, head_dim / 2]
Keep = tuple[Tensor, Tensor, float]  # dropout: masks [N, hidden] of a block's two outputs, and their scale
Cache = list[tuple[Tensor, Tensor]]  # per block: keys and values [P, kv_heads, head_dim]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the sequences of a packed [N, ...] tensor lie, one behind the other."""

    lengths: tuple[int, ...]

    def positions(self) -> Tensor:
        """[N]; every sequence counts from 0."""
        return torch.cat([torch.arange(n) for n in self.lengths])

    @property
    def starts(self) -> list[int]:
        starts, total = [], 0
        for length in self.lengths:
            starts.append(total)
            total += length
        return starts


class Probe(Protocol):
    """Sees what passes through every block; training aids hang on it."""

    def see(self, block: int, q: Tensor, k: Tensor, x: Tensor) -> None:
        """q [N, heads, d] and k [N, kv_heads, d] after RoPE; x [N, hidden] as it leaves the block."""


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def fused(x: Tensor, *layers: nn.Linear) -> Tensor:
    """Several linears over the same input as one matrix product (fused QKV, fused gate and up)."""
    weight = torch.cat([layer.weight for layer in layers])
    biases = [layer.bias for layer in layers if layer.bias is not None]
    return F.linear(x, weight, torch.cat(biases) if biases else None)


class Attention(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        inner, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden, inner, bias=config.bias)
        self.k_proj = nn.Linear(config.hidden, kv, bias=config.bias)
        self.v_proj = nn.Linear(config.hidden, kv, bias=config.bias)
        self.o_proj = nn.Linear(inner, config.hidden, bias=config.bias)


class SwiGLU(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn, bias=config.bias)
        self.up_proj = nn.Linear(config.hidden, config.ffn, bias=config.bias)
        self.down_proj = nn.Linear(config.ffn, config.hidden, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = fused(x, self.gate_proj, self.up_proj).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU. `project` and `finish` surround the attention, which knows the packing;
    they alone are worth compiling.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.input_norm = RMSNorm(config.hidden, config.norm_eps)
        self.attn = Attention(config)
        self.post_attn_norm = RMSNorm(config.hidden, config.norm_eps)
        self.mlp = SwiGLU(config)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, hidden] -> q [N, heads, d], k, v [N, kv_heads, d], rotated."""
        c, attn = self.config, self.attn
        qkv = fused(self.input_norm(x), attn.q_proj, attn.k_proj, attn.v_proj)
        qkv = qkv.view(-1, c.n_heads + 2 * c.n_kv_heads, c.head_dim)
        n_rotated = c.n_heads + c.n_kv_heads
        rotated = rotate(qkv[:, :n_rotated], cos, sin)
        return rotated[:, : c.n_heads], rotated[:, c.n_heads :], qkv[:, n_rotated:]

    def finish(self, x: Tensor, attended: Tensor, keep: Keep | None = None) -> Tensor:
        """`keep`: what dropout leaves of the two outputs [N, hidden], and the factor that makes up for it."""
        attended = self.attn.o_proj(attended)
        x = x + (attended if keep is None else attended * keep[0] * keep[2])
        mlp = self.mlp(self.post_attn_norm(x))
        return x + (mlp if keep is None else mlp * keep[1] * keep[2])


class Transformer(nn.Module):
    """Embedding, blocks, final norm and output head, named embed, layers.N, norm, lm_head."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps)
        self.lm_head = nn.Linear(config.hidden, config.output_rows, bias=False)
        self.dropout = 0.0  # of what the blocks add to the residual stream, in training
        self._initialise()

    def _initialise(self) -> None:
        """Normal 0.02; residual outputs smaller by sqrt(2 * layers): depth adds no variance (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            std = 0.02 / (2 * self.config.n_layers) ** 0.5 if residual else 0.02
            nn.init.normal_(parameter, std=std)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def rope(self, positions: Tensor) -> Rope:
        return rope_tables(positions, self.config.head_dim, self.config.rope_base)

    def hidden(self, x: Tensor, packing: Packing, causal: bool, probe: Probe | None = None) -> Tensor:
        """Vectors x [N, hidden] of packed sequences -> [N, hidden] after the final norm."""
        cos, sin = self.rope(packing.positions().to(x.device))
        for i, block in enumerate(self.layers):
            q, k, v = block.project(x, cos, sin)
            attended = attend_packed(q, k, v, packing.lengths, causal)
            x = block.finish(x, attended, self._keep(x))
            if probe is not None:
                probe.see(i, q, k, x)
        return self.norm(x)

    def step(self, ids: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Eager reference of decoding with a key-value cache.

        Args:
            ids: [S] newest ids (the whole prompt first, then one at a time).
            cache: of the positions before; an empty list at the start.

        Returns:
            logits [output_rows] of the last position, and the grown cache.
        """
        past = cache[0][0].shape[0] if cache else 0
        cos, sin = self.rope(torch.arange(past, past + len(ids), device=ids.device))
        x = self.embed(ids)
        grown: Cache = []
        for i, block in enumerate(self.layers):
            q, k, v = block.project(x, cos, sin)
            if cache:
                k, v = torch.cat((cache[i][0], k)), torch.cat((cache[i][1], v))
            grown.append((k, v))
            x = block.finish(x, attend_cached(q, k, v))
        return self.lm_head(self.norm(x[-1])), grown

    def _keep(self, x: Tensor) -> Keep | None:
        """Random bytes of numpy: PyTorch's own dropout took a fifth of a training step on the CPU."""
        if not (self.training and self.dropout):
            return None
        seed = int(torch.randint(2**62, ()))
        if x.is_cuda:
            noise = torch.rand(2, *x.shape, device=x.device) >= self.dropout
        else:
            random = np.random.default_rng(seed).bytes(2 * x.numel())
            least = round(256 * self.dropout)
            noise = torch.frombuffer(bytearray(random), dtype=torch.uint8).view(2, *x.shape) >= least
        return noise[0], noise[1], 1 / (1 - self.dropout)

    def compile_blocks(self) -> None:
        """Let torch.compile fuse norms, RoPE and SwiGLU around the attention; shapes stay dynamic."""
        for block in self.layers:
            block.project = torch.compile(block.project, dynamic=True)
            block.finish = torch.compile(block.finish, dynamic=True)


def count_parameters(net: nn.Module, skip: Sequence[str] = ()) -> int:
    return sum(p.numel() for name, p in net.named_parameters() if not name.startswith(tuple(skip)))
