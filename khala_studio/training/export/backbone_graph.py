"""The backbone as one graph for prefill and step: ids -> logits of the last position, with a KV cache.

The cache is a buffer of the caller's, [1, n_kv_heads, capacity, head_dim] a layer: bind it as past and as
present, and GroupQueryAttention writes the new keys and values in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx

from khala_studio.training.export.graph_builder import CONTRIB, GraphBuilder, Storage
from khala_studio.training.export.transformer_blocks import (
    State,
    TransformerShape,
    WeightFormat,
    rotary_tables,
    transformer,
)

KvDtype = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, slots=True)
class KvCache:
    """How keys and values are kept. int8 needs, for every layer, the step of keys and of values."""

    dtype: KvDtype = "float32"
    key_scales: Sequence[float] = ()
    value_scales: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class BackboneFormat:
    """Precision of the parts of the backbone's file."""

    body: WeightFormat = field(default_factory=WeightFormat)
    head: WeightFormat = field(default_factory=WeightFormat)
    embedding: Storage = "float32"
    cache: KvCache = field(default_factory=KvCache)


def backbone_graph(
    state: State,
    shape: TransformerShape,
    format: BackboneFormat | None = None,
    *,
    max_positions: int = 8192,
    parity_outputs: bool = False,
) -> onnx.ModelProto:
    """Build the graph.

    Args:
        state: embed.weight [V, D], layers.*, norm.weight, lm_head.weight [R, D] (and lm_head.bias [R]).
        max_positions: longest prompt and song together.
        parity_outputs: also put out `hidden` [1, S, D] and `all_logits` [1, S, R], for tests.
    """
    format = format or BackboneFormat()
    if format.cache.dtype == "int8":
        n_scales = {len(format.cache.key_scales), len(format.cache.value_scales)}
        if n_scales != {shape.n_layers}:
            raise ValueError(f"an int8 KV cache needs {shape.n_layers} key and value scales, got {n_scales}")
    g = GraphBuilder("backbone")
    ids = g.input("input_ids", "int64", [1, "S"])
    attention = _CachedAttention(g, shape, format.cache, max_positions)
    x = g.gather_rows("embed", state["embed.weight"], ids, format.embedding)
    hidden = transformer(g, shape, state, x, format.body, attention)

    head, bias = state["lm_head.weight"], state.get("lm_head.bias")
    n_rows = head.shape[0]
    last = hidden if parity_outputs else g.op("Gather", [hidden, g.constant(-1)], axis=1)  # [1, D]
    logits = format.head.linear(g, last, head, bias, "lm_head")
    if parity_outputs:
        g.output("hidden", "float32", [1, "S", shape.hidden], hidden)
        g.output("all_logits", "float32", [1, "S", n_rows], logits)
        logits = g.op("Gather", [logits, g.constant(-1)], axis=1)
    g.output("logits", "float32", [1, n_rows], logits)
    return g.model()


class _CachedAttention:
    """Makes one GroupQueryAttention node a layer, with its cache inputs and outputs."""

    def __init__(self, g: GraphBuilder, shape: TransformerShape, cache: KvCache, max_positions: int) -> None:
        self._g, self._shape, self._cache = g, shape, cache
        self._lengths = g.input("seqlens_k", "int32", [1])
        self._total = g.input("total_length", "int32", [])
        self._rotary = rotary_tables(g, shape, max_positions)

    def __call__(self, layer: int, qkv: str) -> str:
        g, shape, cache = self._g, self._shape, self._cache
        buffer = [1, shape.n_kv_heads, "P", shape.head_dim]
        past = [g.input(f"past_{part}_{layer}", cache.dtype, buffer) for part in ("key", "value")]
        present = [g.output(f"present_{part}_{layer}", cache.dtype, buffer) for part in ("key", "value")]

        heads = {"num_heads": shape.n_heads, "kv_num_heads": shape.n_kv_heads}
        attributes: dict[str, Any] = {**heads, "do_rotary": 1, "rotary_interleaved": 0}
        cos, sin = self._rotary
        scales = []
        if cache.dtype == "int8":
            per_tensor = {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR"}
            attributes |= {"kv_cache_bit_width": 8, **per_tensor}
            pairs = (("key", cache.key_scales[layer]), ("value", cache.value_scales[layer]))
            steps = {part: np.array([step], np.float32) for part, step in pairs}
            scales = ["", "", "", *(g.initialiser(f"cache.{layer}.{part}", s) for part, s in steps.items())]
        if cache.dtype == "float16":  # the kernel wants queries and cache of one type
            qkv, cos, sin = (g.cast(value, "float16") for value in (qkv, cos, sin))
        mixed = g.op(
            "GroupQueryAttention",
            [qkv, "", "", *past, self._lengths, self._total, cos, sin, *scales],
            outputs=[f"layers.{layer}.attn.mixed", *present],
            domain=CONTRIB,
            **attributes,
        )[0]
        return g.cast(mixed, "float32") if cache.dtype == "float16" else str(mixed)
