"""How fast are the pack's graphs against the same nets in eager PyTorch, fp32, with a KV cache?

Both sides run in one process, in alternating rounds, with the same number of threads, on random weights of
the pack's shape (speed does not depend on them). The PyTorch side is written as one would write it for speed
without compiling: stacked projections, a preallocated cache, scaled_dot_product_attention.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from khala_studio.packs.manifest import PackManifest, read_manifest
from khala_studio.training.parity import CachedBackbone, open_graph


@dataclass(frozen=True, slots=True)
class NetShape:
    """Sizes of a pack's transformer; its two nets share them."""

    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """One line of the table. Rates are of the median round; a higher rate is faster."""

    what: str
    unit: str
    ours: float
    torch: float

    @property
    def ratio(self) -> float:
        return self.ours / self.torch

    def __str__(self) -> str:
        rates = f"{self.ours:.1f} {self.unit}, PyTorch {self.torch:.1f}"
        return f"{self.what}: {rates}: {self.ratio:.2f} times as fast"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


def compare(
    folder: Path,
    *,
    threads: int = 2,
    contexts: tuple[int, ...] = (500, 1300),
    frames: int = 650,
    n_text: int = 350,
    rounds: int = 7,
) -> list[Ratio]:
    """Measure the pack in `folder`.

    Args:
        contexts: lengths of prompt and song at which one step of the backbone is timed.
        frames: of one super-resolution pass; 650 are 30 s.

    Returns:
        a ratio for every context, then the super-resolution's.
    """
    manifest = read_manifest(folder)
    shape = shape_of(folder, manifest)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            ratios = [_backbone(folder, manifest, shape, threads, context, rounds) for context in contexts]
            return [*ratios, _superres(folder, shape, threads, frames, n_text, rounds)]
    finally:
        torch.set_num_threads(before)


def shape_of(folder: Path, manifest: PackManifest) -> NetShape:
    """The sizes that pack.json does not hold are read from the backbone's nodes."""
    graph = onnx.load(folder / manifest.graphs["backbone"].file, load_external_data=False).graph
    attention = next(node for node in graph.node if node.op_type == "GroupQueryAttention")
    n_heads = next(a.i for a in attention.attribute if a.name == "num_heads")
    info = manifest.backbone
    ffn = _inputs_of(graph, "layers.0.mlp.down_proj")
    return NetShape(info.n_layers, manifest.superres.hidden, n_heads, info.n_kv_heads, info.head_dim, ffn)


def _inputs_of(graph: onnx.GraphProto, linear: str) -> int:
    """How many inputs the linear of this name has."""
    for node in graph.node:
        if linear in node.input and node.op_type == "MatMulNBits":
            return next(int(a.i) for a in node.attribute if a.name == "K")
    dims = next(tensor.dims for tensor in graph.initializer if tensor.name == linear)
    return int(dims[0])


# --- rounds


def _backbone(
    folder: Path, manifest: PackManifest, shape: NetShape, threads: int, context: int, rounds: int
) -> Ratio:
    n_steps = 40
    ours = CachedBackbone(open_graph(folder / manifest.graphs["backbone"].file, threads), context + n_steps)
    n_rows = manifest.codec.n_coarse * manifest.codec.codebook_size + 1
    theirs = EagerTransformer(shape, n_rows, context + n_steps)
    ids = np.arange(context) % manifest.text.vocab_size
    ours.feed(ids)

    def our_steps() -> None:
        ours.length = context
        for _ in range(n_steps):
            ours.feed(ids[:1])

    def their_steps() -> None:
        for position in range(context, context + n_steps):
            theirs.step(0, position)

    seconds = _alternate(our_steps, their_steps, rounds)
    rates = [n_steps / s for s in seconds]
    return Ratio(f"backbone at context {context}", "tokens/s", *rates)


def _superres(folder: Path, shape: NetShape, threads: int, frames: int, n_text: int, rounds: int) -> Ratio:
    session = open_graph(folder / "superres.onnx", threads)
    codebook_size = session.get_outputs()[0].shape[1]
    theirs = EagerTransformer(shape, codebook_size, n_text + frames)
    x = np.random.default_rng(0).standard_normal((1, n_text + frames, shape.hidden), np.float32)
    feed = {"x": x, "layer": np.array([2]), "n_text": np.array([n_text])}
    vectors = torch.from_numpy(x[0])
    seconds = _alternate(lambda: session.run(None, feed), lambda: theirs.full(vectors, n_text), rounds)
    return Ratio(f"super-resolution of {frames} frames", "passes/s", *(1 / s for s in seconds))


def _alternate(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of each; other work on the machine slows neighbouring rounds of both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for side, work in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            work()
            side.append(time.perf_counter() - start)
    first, second = (statistics.median(side[1:]) for side in times)  # the first round warms up
    return first, second


# --- the reference


class EagerTransformer:
    """The net in plain PyTorch, fp32: `step` with a KV cache, `full` with attention both ways."""

    def __init__(self, shape: NetShape, n_rows: int, capacity: int) -> None:
        self.shape = shape
        query, kv = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
        hidden, ffn = shape.hidden, shape.ffn
        generator = torch.Generator().manual_seed(0)

        def matrix(n_out: int, n_in: int) -> Tensor:
            return torch.randn(n_out, n_in, generator=generator) * n_in**-0.5

        sizes = {
            "qkv": (query + 2 * kv, hidden),
            "o": (hidden, query),
            "gate_up": (2 * ffn, hidden),
            "down": (hidden, ffn),
        }
        self.layers = [{name: matrix(*size) for name, size in sizes.items()} for _ in range(shape.n_layers)]
        self.gamma = torch.ones(hidden)
        self.embed, self.head = matrix(n_rows, hidden), matrix(n_rows, hidden)
        half = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angles = torch.arange(capacity)[:, None] * 500_000.0**-half
        self.cos, self.sin = angles.cos()[:, None], angles.sin()[:, None]  # [P, 1, head_dim / 2]
        size = (shape.n_layers, shape.n_kv_heads, capacity, shape.head_dim)
        self.keys, self.values = (
            torch.randn(size, generator=generator),
            torch.randn(size, generator=generator),
        )

    def step(self, token: int, position: int) -> Tensor:
        """One token -> logits [R], with everything before `position` in the cache."""
        n_kv, head_dim = self.shape.n_kv_heads, self.shape.head_dim
        x = self.embed[token : token + 1]
        end = position + 1
        for layer, keys, values in zip(self.layers, self.keys, self.values, strict=True):
            q, k, v = self._project(layer, x, slice(position, end))
            keys[:, position], values[:, position] = k[0], v[0]
            # The query heads that share a kv head are the rows of one small matrix: nothing is repeated.
            grouped = q.view(1, n_kv, -1, head_dim)
            mixed = F.scaled_dot_product_attention(grouped, keys[None, :, :end], values[None, :, :end])
            x = self._finish(layer, x, mixed.reshape(1, -1))
        return F.linear(self._norm(x[-1]), self.head)

    def full(self, x: Tensor, n_text: int) -> Tensor:
        """x [S, D] -> logits [S - n_text, R], every position seeing all."""
        n_positions, repeats = len(x), self.shape.n_heads // self.shape.n_kv_heads
        for layer in self.layers:
            q, k, v = self._project(layer, x, slice(0, n_positions))
            heads = (q, k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1))
            mixed = F.scaled_dot_product_attention(*(h.transpose(0, 1)[None] for h in heads))
            x = self._finish(layer, x, mixed[0].transpose(0, 1).reshape(n_positions, -1))
        return F.linear(self._norm(x[n_text:]), self.head)

    def _norm(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.gamma.shape, self.gamma, 1e-6)

    def _project(
        self, layer: dict[str, Tensor], x: Tensor, positions: slice
    ) -> tuple[Tensor, Tensor, Tensor]:
        s = self.shape
        qkv = F.linear(self._norm(x), layer["qkv"]).view(len(x), -1, s.head_dim)
        first, second = qkv[:, : s.n_heads + s.n_kv_heads].chunk(2, dim=-1)
        cos, sin = self.cos[positions], self.sin[positions]
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        return rotated[:, : s.n_heads], rotated[:, s.n_heads :], qkv[:, s.n_heads + s.n_kv_heads :]

    def _finish(self, layer: dict[str, Tensor], x: Tensor, mixed: Tensor) -> Tensor:
        x = x + F.linear(mixed, layer["o"])
        gate, up = F.linear(self._norm(x), layer["gate_up"]).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, layer["down"])
