"""The head of super-resolution as it trains -> as a graph computes it. numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = Mapping[str, NDArray[Any]]

TRAINED = ("residual_head.weight", "residual_head.bias", "pull", "norm_cost", "residual_rms")


def plain_heads(state: State) -> dict[str, NDArray[Any]]:
    """Fold the shared residual head into `head_proj` [K, hidden, d] and `head_bias` [K, size].

    See nets.superres.SuperresNet. A state without a residual head is given back as it is.
    """
    if "residual_head.weight" not in state:
        return dict(state)
    weight, bias = state["residual_head.weight"], state["residual_head.bias"]  # [D, hidden], [D]
    head_proj, head_bias = state["head_proj"].copy(), state["head_bias"].copy()
    books, projections = state["quantizer.codebooks"], state["quantizer.projections"]
    for layer, (book, projection) in enumerate(zip(books, projections, strict=True)):
        unit = state["residual_rms"][layer]
        pull = state["pull"][layer] / unit
        head_proj[layer] += pull * (weight.T @ projection)
        square = ((book @ projection.T) ** 2).sum(1) / unit**2
        head_bias[layer] += pull * (book @ (bias @ projection)) - 0.5 * state["norm_cost"][layer] * square
    rest = {name: value for name, value in state.items() if name not in TRAINED}
    return rest | {"head_proj": head_proj.astype(np.float32), "head_bias": head_bias.astype(np.float32)}
