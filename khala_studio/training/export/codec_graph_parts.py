"""What the codec's two graphs are built of.

Bases that a formula gives (MDCT, windows, oscillators) are written as that formula; ONNX Runtime evaluates it
once, when it opens the file, so they cost no bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.codec_geometry import CodecConfig
from khala_studio.training.export.graph_builder import GraphBuilder, Storage

State = Mapping[str, NDArray[Any]]


class CodecGraph:
    """What both graphs need: the builder, the sizes and the weights."""

    def __init__(self, name: str, config: Mapping[str, int], state: State, storage: Storage) -> None:
        self.g, self.config = GraphBuilder(name), CodecConfig(**config)
        self.state, self.storage = state, storage
        # bases carry the waveform: sixteen bits where the networks around them may have eight
        self.basis_storage: Storage = "float32" if storage == "float32" else "float16"
        self.hop, self.subhop, self.bands = self.config.hop, self.config.subhop, self.config.env_bands
        self.rank, self.layers = self.config.code_rank, self.config.n_codebooks
        self.latent = self.config.latent

    def array(self, name: str) -> NDArray[Any]:
        return np.asarray(self.state[name])

    def op(self, type: str, *inputs: str, **attributes: Any) -> Any:
        return self.g.op(type, list(inputs), **attributes)

    def ints(self, *values: int) -> str:
        return self.g.constant(list(values))

    def number(self, value: float) -> str:
        return self.g.constant(value, "float32")

    def reshape(self, x: str, *shape: int) -> str:
        return str(self.op("Reshape", x, self.ints(*shape)))

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        return str(self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis)))

    def pad(self, x: str, *pads: int) -> str:
        """`pads` as ONNX has them: all begins, then all ends."""
        return str(self.op("Pad", x, self.ints(*pads)))

    def linear(self, x: str, name: str) -> str:
        bias = self.array(f"{name}.bias")
        return self.g.linear(x, self.array(f"{name}.weight"), bias, name=name, storage=self.storage)

    def matrix(self, x: str, name: str, values: NDArray[Any], storage: Storage | None = None) -> str:
        """x @ values."""
        return str(self.op("MatMul", x, self.g.initialiser(name, values, storage or self.storage)))

    def block(self, x: str, name: str) -> str:
        """x [1, T, width]; see nets.codec_blocks.Block. The gate is folded into the last matrix."""
        convolved = self.op("Transpose", x, perm=[0, 2, 1])
        weight = self.array(f"{name}.conv.weight")
        kernel = self.g.initialiser(f"{name}.conv", weight)
        half = weight.shape[2] // 2
        convolved = self.op("Conv", convolved, kernel, group=len(weight), pads=[half, half])
        y = self.op("Transpose", convolved, perm=[0, 2, 1])
        scale = self.g.initialiser(f"{name}.norm.weight", self.array(f"{name}.norm.weight"))
        shift = self.g.initialiser(f"{name}.norm.bias", self.array(f"{name}.norm.bias"))
        y = self.op("LayerNormalization", y, scale, shift, axis=-1, epsilon=1e-5)
        y = self.op("Gelu", self.linear(y, f"{name}.up"), approximate="tanh")
        gate = self.array(f"{name}.gate")
        weight = self.array(f"{name}.down.weight") * gate[:, None]
        bias = self.array(f"{name}.down.bias") * gate
        y = self.g.linear(y, weight, bias, name=f"{name}.down", storage=self.storage)
        return str(self.op("Add", x, y))

    def mdct(self) -> str:
        """[2 * hop, hop] from its formula; see nets.codec_features.mdct_matrix."""
        hop = self.subhop
        n = self.g.constant((2 * np.arange(2 * hop) + 1 + hop)[:, None])
        k = self.g.constant((2 * np.arange(hop) + 1)[None])
        turns = self.op("Mod", self.op("Mul", n, k), self.ints(8 * hop))
        angle = self.op("Mul", self.g.cast(turns, "float32"), self.number(math.pi / (4 * hop)))
        window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)) * math.sqrt(2 / hop)
        return str(self.op("Mul", self.op("Cos", angle), self.g.constant(window[:, None], "float32")))
