"""The backbone's graph, fed token by token."""

from typing import Any

import numpy as np

from khala_studio.engine.kv_cache import KeyValueCache
from khala_studio.engine.runs import Runs
from khala_studio.engine.sampling import Logits
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.codes import TokenIds


class OnnxBackbone:
    """One song's pass through the backbone: the cache, the position, and buffers bound once.

    Drop it when the song is composed; its cache goes with it.
    """

    def __init__(self, session: Any, manifest: PackManifest, runs: Runs) -> None:
        self._session, self._runs = session, runs
        on_gpu = session.get_providers()[0] == "CUDAExecutionProvider"
        self._cache = KeyValueCache(manifest.backbone, "cuda" if on_gpu else "cpu")
        self._binding = session.io_binding()
        self._logits = np.empty((1, _n_rows(manifest)), dtype=np.float32)
        self._binding.bind_output(
            "logits", "cpu", 0, np.float32, self._logits.shape, self._logits.ctypes.data
        )
        self._length = 0

    def feed(self, ids: TokenIds) -> Logits:
        """[S] ids that follow those fed before -> [R] logits of what comes next.

        The result is overwritten by the next call.

        Raises:
            Cancelled, OutOfMemory, EngineFailure: as `Runs.run`.
        """
        total = self._length + len(ids)
        if self._cache.reserve(total, self._length):
            self._cache.bind(self._binding)
        # These inputs live on the CPU and are bound anew, because a GPU copies them when they are bound.
        input_ids = np.ascontiguousarray(ids[None], dtype=np.int64)
        seqlens_k = np.array([total - 1], dtype=np.int32)  # GroupQueryAttention counts from the last position
        total_length = np.array(total, dtype=np.int32)
        self._binding.bind_cpu_input("input_ids", input_ids)
        self._binding.bind_cpu_input("seqlens_k", seqlens_k)
        self._binding.bind_cpu_input("total_length", total_length)
        self._runs.run(lambda options: self._session.run_with_iobinding(self._binding, options))
        self._length = total
        return self._logits.reshape(-1)


def _n_rows(manifest: PackManifest) -> int:
    return manifest.codec.n_coarse * manifest.codec.codebook_size + 1  # codes, then the end of song
