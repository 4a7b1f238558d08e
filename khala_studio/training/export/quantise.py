"""Weights in fewer bits, in the layouts that ONNX Runtime's kernels read. numpy only.

Every function returns integers and the scales that undo them: `weight ~ integers * scales`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# A block's best 4-bit scale is seldom the one that just reaches its largest weight: clipping one outlier
# a little makes the step smaller for the other weights. These shrink factors are tried for every block.
_SHRINK = np.linspace(1.0, 0.7, 7, dtype=np.float32)
_TINY = np.float32(1e-12)  # scale of a row of zeros; any positive number does


@dataclass(frozen=True, slots=True)
class Rows:
    """An int8 array with a float32 scale for each row: `values * scales`."""

    values: NDArray[np.int8]  # [..., D]
    scales: Float32  # [..., 1]


@dataclass(frozen=True, slots=True)
class Int4Blocks:
    """A weight matrix [N, K] as MatMulNBits stores it; a nibble q stands for (q - 8) * scale."""

    packed: NDArray[np.uint8]  # [N, n_blocks, block / 2], low nibble first
    scales: Float32  # [N * n_blocks]
    block: int

    def widened(self, n_in: int) -> Float32:
        """The weights [N, K] that the nibbles stand for."""
        nibbles = np.stack([self.packed & 15, self.packed >> 4], axis=-1).astype(np.float32) - 8
        n_out, n_blocks = self.packed.shape[:2]
        blocks = nibbles.reshape(n_out, n_blocks, self.block) * self.scales.reshape(n_out, n_blocks, 1)
        return blocks.reshape(n_out, -1)[:, :n_in]


def int8_rows(table: NDArray[np.floating], levels: int = 127) -> Rows:
    """Quantise each row (last axis) of `table` [..., D] symmetrically to -levels..levels."""
    table = np.asarray(table, np.float32)
    scales = np.maximum(np.abs(table).max(axis=-1, keepdims=True) / levels, _TINY)
    values = np.clip(np.rint(table / scales), -levels, levels).astype(np.int8)
    return Rows(values, scales.astype(np.float32))


def int4_blocks(weight: NDArray[np.floating], block: int = 32) -> Int4Blocks:
    """Quantise `weight` [N, K] to 4 bits with one scale for every `block` inputs of a row.

    The scale carries a sign, so that the weight of largest magnitude falls on -8, the end of the range that
    has one level more; among a few scales the one with the least squared error is taken.
    """
    weight = np.asarray(weight, np.float32)
    n_out, n_in = weight.shape
    n_blocks = -(-n_in // block)
    padded = np.zeros((n_out, n_blocks * block), np.float32)
    padded[:, :n_in] = weight
    blocks = padded.reshape(-1, block)  # [N * n_blocks, block]

    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)  # [N * n_blocks, 1]
    # Scales are stored as float16: round them before the nibbles are chosen. The least float16 stands for 0.
    full_scale = np.where(np.abs(largest) < 1e-6, np.float32(1e-7), largest / -8.0)
    best_error = np.full((len(blocks), 1), np.inf, np.float32)
    scales = np.full_like(full_scale, 1e-7)
    for shrink in _SHRINK:
        candidate = (full_scale * shrink).astype(np.float16).astype(np.float32)
        error = np.square(_nibbles(blocks, candidate) * candidate - blocks).sum(axis=1, keepdims=True)
        better = error < best_error
        scales = np.where(better, candidate, scales)
        best_error = np.where(better, error, best_error)

    nibbles = (_nibbles(blocks, scales) + 8).astype(np.uint8)
    packed = nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)
    return Int4Blocks(packed.reshape(n_out, n_blocks, block // 2), scales.reshape(-1), block)


def _nibbles(blocks: Float32, scales: Float32) -> Float32:
    return np.clip(np.rint(blocks / scales), -8, 7)
