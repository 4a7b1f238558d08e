"""How large keys and values become: the steps of an int8 KV cache, measured on real prompts and songs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.export.backbone_graph import KvCache, backbone_graph
from khala_studio.training.export.transformer_blocks import State, TransformerShape
from khala_studio.training.parity import CachedBackbone, open_graph

# Room above the largest value seen: a song of another prompt may reach a little further, and clipping the
# largest keys hurts more than steps wider by this.
_HEADROOM = 1.1


def measure_kv_scales(
    state: State, shape: TransformerShape, songs: Iterable[NDArray[np.integer]], threads: int = 1
) -> KvCache:
    """An int8 cache whose scales cover the keys and values of `songs`, each [S] ids of prompt and song.

    Raises:
        ValueError: there are no songs.
    """
    songs = list(songs)
    if not songs:
        raise ValueError("an int8 KV cache needs at least one song to measure its scales on")
    capacity = max(len(ids) for ids in songs)
    model = backbone_graph(state, shape, max_positions=capacity)
    backbone = CachedBackbone(open_graph(model, threads), capacity)
    largest = {"key": np.zeros(shape.n_layers), "value": np.zeros(shape.n_layers)}
    for ids in songs:
        backbone.length = 0
        backbone.feed(ids)
        for part, seen in largest.items():
            filled = [np.abs(backbone.cached(part, layer)).max() for layer in range(shape.n_layers)]
            largest[part] = np.maximum(seen, filled)
    keys, values = ([float(x) for x in largest[part] * _HEADROOM / 127] for part in ("key", "value"))
    return KvCache("int8", keys, values)
