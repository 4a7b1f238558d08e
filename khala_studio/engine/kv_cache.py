"""The backbone's keys and values, in buffers that the graph reads and writes in place."""

from typing import Any

import numpy as np
import onnxruntime as ort

from khala_studio.packs.manifest import BackboneInfo

FIRST_CAPACITY = 1_024  # positions; doubled when full, so that short songs take little memory


class KeyValueCache:
    """One key and one value buffer [1, n_kv_heads, capacity, head_dim] a layer.

    Each is bound as `past_*` and `present_*` of the same run.
    """

    def __init__(self, info: BackboneInfo, device: str) -> None:
        """`device`: "cpu" or "cuda". Nothing is allocated before `reserve`."""
        self._info, self._device = info, device
        self._dtype = np.dtype(info.kv_dtype)
        self._buffers: dict[str, Any] = {}
        self.capacity = 0

    def reserve(self, length: int, filled: int) -> bool:
        """Make room for `length` positions, keeping the first `filled`. True if the buffers are new ones."""
        if length <= self.capacity:
            return False
        capacity = max(self.capacity, FIRST_CAPACITY)
        while capacity < length:
            capacity *= 2
        self.capacity = min(capacity, max(self._info.max_positions, length))
        names = [f"{kind}_{i}" for i in range(self._info.n_layers) for kind in ("key", "value")]
        for name in names:  # one at a time, so that old and new are never all in memory together
            self._buffers[name] = self._grown(self._buffers.get(name), filled)
        return True

    def bind(self, binding: Any) -> None:
        """Bind the buffers to an IOBinding as both inputs and outputs."""
        for name, buffer in self._buffers.items():
            binding.bind_ortvalue_input(f"past_{name}", buffer)
            binding.bind_ortvalue_output(f"present_{name}", buffer)

    def _grown(self, old: Any, filled: int) -> Any:
        shape = (1, self._info.n_kv_heads, self.capacity, self._info.head_dim)
        new = np.zeros(shape, dtype=self._dtype)
        if old is not None:
            new[:, :, :filled] = old.numpy()[:, :, :filled]
        return ort.OrtValue.ortvalue_from_numpy(new, self._device, 0)
