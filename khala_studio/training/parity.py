"""Exported graphs against the nets they were made from: same inputs, both runtimes.

Needs onnxruntime and numpy; the nets themselves are the caller's (torch, usually).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

_KV_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an exported graph's output lies from the reference's."""

    largest: float  # max |ours - reference|
    relative: float  # |ours - reference| / |reference|, Euclidean
    same_best: float  # share of rows whose largest entry is at the same place

    def __str__(self) -> str:
        return f"largest {self.largest:.2e}, relative {self.relative:.2%}, same best {self.same_best:.1%}"


def difference(ours: NDArray[np.floating], reference: NDArray[np.floating]) -> Difference:
    """Compare two arrays of one shape [..., R].

    Raises:
        ValueError: the shapes differ, or a value is not finite.
    """
    if ours.shape != reference.shape:
        raise ValueError(f"shapes differ: {ours.shape} and {reference.shape}")
    if not (np.isfinite(ours).all() and np.isfinite(reference).all()):
        raise ValueError("not all values are finite")
    delta = ours.astype(np.float64) - reference
    relative = np.linalg.norm(delta) / max(np.linalg.norm(reference), 1e-30)
    same = (ours.argmax(axis=-1) == reference.argmax(axis=-1)).mean()
    return Difference(float(np.abs(delta).max()), float(relative), float(same))


def open_graph(graph: onnx.ModelProto | Path, threads: int = 1) -> ort.InferenceSession:
    """A session on the CPU, as the engine opens it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class CachedBackbone:
    """A backbone graph with its KV cache: `feed` ids, get the outputs of what was fed.

    Attributes:
        length: positions in the cache; set it back to forget the last ones.
    """

    def __init__(self, session: ort.InferenceSession, capacity: int) -> None:
        self.length = 0
        self._session = session
        self._outputs = [o.name for o in session.get_outputs() if not o.name.startswith("present_")]
        self._cache = {}
        for tensor in session.get_inputs():
            if tensor.name.startswith("past_"):
                _, n_kv, _, head_dim = tensor.shape
                empty = np.zeros((1, n_kv, capacity, head_dim), _KV_DTYPES[tensor.type])
                self._cache[tensor.name] = ort.OrtValue.ortvalue_from_numpy(empty)

    def feed(self, ids: NDArray[np.integer]) -> dict[str, NDArray[np.float32]]:
        """ids [S], after those fed before -> {"logits": [1, R], ...}."""
        self.length += len(ids)
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", np.asarray(ids, np.int64)[None])
        binding.bind_cpu_input("seqlens_k", np.array([self.length - 1], np.int32))
        binding.bind_cpu_input("total_length", np.array(self.length, np.int32))
        for name, buffer in self._cache.items():  # one buffer as past and as present
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace("past_", "present_"), buffer)
        for name in self._outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        values = dict(zip(self._bound_names(), binding.get_outputs(), strict=True))
        return {name: values[name].numpy() for name in self._outputs}

    def cached(self, part: str, layer: int) -> NDArray[np.generic]:
        """The "key" or "value" of the positions so far: [n_kv_heads, length, head_dim]."""
        return self._cache[f"past_{part}_{layer}"].numpy()[0, :, : self.length]

    def _bound_names(self) -> list[str]:
        return [*(name.replace("past_", "present_") for name in self._cache), *self._outputs]
