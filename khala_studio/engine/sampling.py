"""Seeded draws: top-k, temperature, one uniform number a token.

A token is the inverse of the cumulative distribution at that number: a song depends on nothing but its seed
and the logits, and the stream of numbers can be wound on past tokens that are known already.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from khala_studio.engine.errors import EngineFailure
from khala_studio.song.request import Sampling

Logits = npt.NDArray[np.float32]

NO_NUMBERS = "The model gave no numbers. Its pack may be damaged: verify it, or install it again."


class Draw(NamedTuple):
    """A drawn row and what the model gave it: its log-probability at temperature 1, over all rows."""

    row: int
    logprob: float


def backbone_rng(seed: int) -> np.random.Generator:
    """The numbers of the coarse layers, one a token."""
    return np.random.default_rng([seed, 0])


def layer_rng(seed: int, layer: int) -> np.random.Generator:
    """The numbers of one finer layer, one a frame: any layer can be drawn without those before it."""
    return np.random.default_rng([seed, 1, layer])


def draw(logits: Logits, sampling: Sampling, uniform: float) -> Draw:
    """Draw one row.

    Args:
        logits: [R]; not changed.
        uniform: in [0, 1).

    Raises:
        EngineFailure: the logits are not numbers.
    """
    rows = _likeliest(logits, sampling.top_k)
    chosen = logits[rows].astype(np.float64)
    cumulative = np.exp((chosen - chosen.max()) / sampling.temperature).cumsum()
    place = int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))
    row = int(rows[min(place, len(rows) - 1)])  # u * total may round up to total
    return Draw(row, logprob(logits, row))


def logprob(logits: Logits, row: int) -> float:
    """Log-probability of `row` at temperature 1.

    Raises:
        EngineFailure: the logits [R] are not numbers.
    """
    highest = logits.max()
    total = float(np.exp(logits - highest).sum())
    if not np.isfinite(total):  # a nan anywhere, or nothing but -inf
        raise EngineFailure(NO_NUMBERS)
    return float(logits[row] - highest) - float(np.log(total))


def draw_rows(logits: Logits, sampling: Sampling, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Draw one column in every row, as `draw` does.

    Args:
        logits: [T, C].
        uniforms: [T], in [0, 1).

    Returns:
        [T] columns.

    Raises:
        EngineFailure: the logits are not numbers.
    """
    if sampling.top_k < logits.shape[1]:
        columns = np.argpartition(logits, -sampling.top_k, axis=1)[:, -sampling.top_k :]  # [T, k]
        columns.sort(axis=1)
        chosen = np.take_along_axis(logits, columns, axis=1).astype(np.float64)
    else:
        columns = np.broadcast_to(np.arange(logits.shape[1]), logits.shape)
        chosen = logits.astype(np.float64)
    weights = np.exp((chosen - chosen.max(axis=1, keepdims=True)) / sampling.temperature)
    cumulative = weights.cumsum(axis=1)  # [T, k]
    if not np.isfinite(cumulative[:, -1]).all():
        raise EngineFailure(NO_NUMBERS)
    places = (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(axis=1)
    places = np.minimum(places, columns.shape[1] - 1)
    return np.take_along_axis(columns, places[:, None], axis=1)[:, 0].astype(np.int64)


def _likeliest(logits: Logits, top_k: int) -> npt.NDArray[np.int64]:
    """The rows of the `top_k` highest logits in ascending order, so that rounding cannot reorder them."""
    if top_k >= len(logits):
        return np.arange(len(logits))
    rows = np.argpartition(logits, -top_k)[-top_k:]
    rows.sort()
    return rows
