"""What the backbone's and the super-resolution's graphs share: norms, rotary tables, fused projections, MLP.

State dicts are plain numpy arrays under the names of `khala_studio.training.nets.transformer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.export.graph_builder import CONTRIB, GraphBuilder, Precision, Storage

State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """The numbers that a state dict's shapes do not tell."""

    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rope_base: float = 500_000.0
    norm_eps: float = 1e-6

    @classmethod
    def of(cls, config: Any) -> TransformerShape:
        """From a config, an object or a mapping, that has at least these fields."""
        values = config if isinstance(config, Mapping) else {f: getattr(config, f) for f in cls.__slots__}
        return cls(**{name: values[name] for name in cls.__slots__})

    @property
    def query_width(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.n_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How a stage's matrices are computed and stored; see `GraphBuilder.linear`."""

    precision: Precision = "fp32"
    block: int = 32  # inputs that share a scale; int4 only
    storage: Storage = "float32"  # of matrices: "float16" for fp32 ones, "int4" for int8 ones

    def linear(
        self, g: GraphBuilder, x: str, weight: NDArray[Any], bias: NDArray[Any] | None, name: str
    ) -> str:
        return g.linear(x, weight, bias, self.precision, name=name, block=self.block, storage=self.storage)


def stacked_linear(state: State, *prefixes: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Several linears that read the same input as one: (weights, biases) stacked along the outputs."""
    weight = np.concatenate([state[f"{prefix}.weight"] for prefix in prefixes])
    if f"{prefixes[0]}.bias" not in state:
        return weight, None
    return weight, np.concatenate([state[f"{prefix}.bias"] for prefix in prefixes])


def rotary_tables(g: GraphBuilder, shape: TransformerShape, n_positions: int) -> tuple[str, str]:
    """cos and sin [n_positions, head_dim / 2] of RoPE's angles: position * base ** (-2 i / head_dim).

    The file holds the formula, not the tables: ONNX Runtime folds it when it opens the graph. In float64,
    because an angle of thousands of radians has only three right decimals in float32.
    """
    exponents = np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim
    frequencies = g.constant(shape.rope_base**-exponents, "float64")
    positions = g.op("Range", [g.constant(0), g.constant(n_positions), g.constant(1)])
    column = g.op("Unsqueeze", [g.cast(positions, "float64"), g.constant([1])])
    angles = g.op("Mul", [column, frequencies])
    cos, sin = (g.cast(g.op(function, [angles]), "float32") for function in ("Cos", "Sin"))
    return cos, sin


def first_norm(g: GraphBuilder, shape: TransformerShape, x: str, weight: NDArray[Any], name: str) -> str:
    """RMSNorm of x [1, S, D], in the standard operators that ONNX Runtime fuses to one."""
    squares = g.op("Pow", [x, g.constant(2, "float32")])
    mean = g.op("ReduceMean", [squares, g.constant([-1])], keepdims=1)
    root = g.op("Sqrt", [g.op("Add", [mean, g.constant(shape.norm_eps, "float32")])])
    return str(g.op("Mul", [g.op("Div", [x, root]), g.initialiser(name, weight)]))


def add_and_norm(
    g: GraphBuilder, shape: TransformerShape, residual: str, update: str, weight: NDArray[Any], name: str
) -> tuple[str, str]:
    """One node for the residual sum and the RMSNorm after it: (normed, sum), both [1, S, D]."""
    normed, total = f"{name}.out", f"{name}.sum"
    g.op(
        "SkipSimplifiedLayerNormalization",
        [residual, update, g.initialiser(name, weight)],
        outputs=[normed, "", "", total],
        domain=CONTRIB,
        epsilon=shape.norm_eps,
    )
    return normed, total


def swiglu(g: GraphBuilder, state: State, layer: int, x: str, weights: WeightFormat) -> str:
    """down(silu(gate(x)) * up(x)), with gate and up as one matrix."""
    prefix = f"layers.{layer}.mlp"
    weight, bias = stacked_linear(state, f"{prefix}.gate_proj", f"{prefix}.up_proj")
    both = weights.linear(g, x, weight, bias, f"{prefix}.gate_up")
    gate, up = g.op("Split", [both], 2, axis=-1, num_outputs=2)
    # QuickGelu with alpha 1 is x * sigmoid(x), SiLU, in one node.
    activated = g.op("QuickGelu", [gate], domain=CONTRIB, alpha=1.0)
    weight, bias = stacked_linear(state, f"{prefix}.down_proj")
    return weights.linear(g, g.op("Mul", [activated, up]), weight, bias, f"{prefix}.down_proj")


def transformer(
    g: GraphBuilder,
    shape: TransformerShape,
    state: State,
    x: str,
    weights: WeightFormat,
    attention: Any,
) -> str:
    """All blocks and the last norm: x [1, S, D] -> [1, S, D].

    Args:
        attention: called with (layer, qkv [1, S, (heads + 2 kv heads) * head_dim]); returns the heads' mix
            [1, S, heads * head_dim].
    """
    residual = x
    normed = first_norm(g, shape, x, state["layers.0.input_norm.weight"], "layers.0.input_norm")
    for layer in range(shape.n_layers):
        prefix = f"layers.{layer}"
        names = [f"{prefix}.attn.{part}_proj" for part in "qkv"]
        weight, bias = stacked_linear(state, *names)
        mixed = attention(layer, weights.linear(g, normed, weight, bias, f"{prefix}.attn.qkv"))
        weight, bias = stacked_linear(state, f"{prefix}.attn.o_proj")
        update = weights.linear(g, mixed, weight, bias, f"{prefix}.attn.o_proj")

        name = f"{prefix}.post_attn_norm"
        normed, residual = add_and_norm(g, shape, residual, update, state[f"{name}.weight"], name)
        update = swiglu(g, state, layer, normed, weights)
        name = "norm" if layer == shape.n_layers - 1 else f"layers.{layer + 1}.input_norm"
        normed, residual = add_and_norm(g, shape, residual, update, state[f"{name}.weight"], name)
    return normed
