"""What a graph in fewer bits loses against the same weights in fp32, on real songs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from khala_studio.training.export.songs import Song
from khala_studio.training.export.superres_graph import Vocabulary
from khala_studio.training.parity import CachedBackbone, difference, open_graph

Logits = NDArray[np.float32]  # [M, codebook_size]
REFINED_LAYERS = (2, 4, 8, 16, 32, 63)  # what super-resolution is measured at


@dataclass(frozen=True, slots=True)
class PrecisionCost:
    """Cross-entropy in bits a code, of both graphs on the same songs, and how far their logits are apart."""

    bits: float
    reference_bits: float
    relative: float  # |logits - reference| / |reference|
    same_best: float  # share of positions where both like the same code best

    def __str__(self) -> str:
        scores = f"{self.bits:.3f} bits a code, {self.reference_bits:.3f} in fp32"
        return (
            f"{scores}; logits {self.relative:.1%} apart, same best code at {self.same_best:.0%} of positions"
        )


def backbone_cost(
    graph: onnx.ModelProto,
    reference: onnx.ModelProto,
    songs: Sequence[Song],
    vocabulary: Vocabulary,
    threads: int = 1,
) -> PrecisionCost:
    """Run both graphs, made with `parity_outputs`; codes of one layer compete, as in the engine."""
    v = vocabulary
    inputs = [song.ids(v.audio_offset, v.codebook_size, v.n_coarse) for song in songs]
    capacity = max(map(len, inputs))
    ours, theirs = (
        _backbone_logits(CachedBackbone(open_graph(model, threads), capacity), songs, inputs, v)
        for model in (graph, reference)
    )
    targets = np.concatenate([song.codes[: v.n_coarse].T.reshape(-1) for song in songs])
    return _cost(ours, theirs, targets)


def _backbone_logits(
    backbone: CachedBackbone, songs: Sequence[Song], inputs: Sequence[NDArray[np.int64]], v: Vocabulary
) -> Logits:
    """[2 * frames of all songs, codebook_size]: at each code, the logits of its layer."""
    collected = []
    for song, ids in zip(songs, inputs, strict=True):
        backbone.length = 0
        logits = backbone.feed(ids)["all_logits"][
            0, len(song.prompt) - 1 : -1, :-1
        ]  # without the end of song
        by_layer = logits.reshape(-1, v.n_coarse, v.n_coarse, v.codebook_size)  # [T, position, layer, code]
        own = [by_layer[:, layer, layer] for layer in range(v.n_coarse)]
        collected.append(np.stack(own, axis=1).reshape(-1, v.codebook_size))
    return np.concatenate(collected)


def superres_cost(
    graph: onnx.ModelProto,
    reference: onnx.ModelProto,
    embed: onnx.ModelProto,
    songs: Sequence[Song],
    vocabulary: Vocabulary,
    marker_base: int,
    threads: int = 1,
) -> PrecisionCost:
    """Run both graphs at REFINED_LAYERS of `songs`, given the true codes of the layers below."""
    sessions = [open_graph(model, threads) for model in (graph, reference)]
    embedder = open_graph(embed, threads)
    logits: tuple[list[Logits], list[Logits]] = ([], [])
    targets = []
    for song in songs:
        for layer in (k for k in REFINED_LAYERS if k < vocabulary.n_codebooks):
            feed = superres_feed(embedder, song, layer, vocabulary, marker_base)
            targets.append(song.codes[layer])
            for session, collected in zip(sessions, logits, strict=True):
                collected.append(session.run(["logits"], feed)[0])
    ours, theirs = map(np.concatenate, logits)
    return _cost(ours, theirs, np.concatenate(targets))


def superres_feed(
    embedder: object, song: Song, layer: int, vocabulary: Vocabulary, marker_base: int
) -> dict[str, NDArray]:
    """The inputs of the pass that predicts `layer`, given the layers before it."""

    def vectors(ids: NDArray[np.int64]) -> Logits:
        return embedder.run(None, {"ids": ids})[0]  # type: ignore[attr-defined]

    text = vectors(song.prompt)
    text[-1] = vectors(np.array([marker_base - layer]))[0]
    total = sum(
        vectors(vocabulary.audio_offset + vocabulary.codebook_size * k + song.codes[k]) for k in range(layer)
    )
    x = np.concatenate((text, total))[None]
    return {"x": x, "layer": np.array([layer]), "n_text": np.array([len(text)])}


def _cost(ours: Logits, theirs: Logits, targets: NDArray[np.int64]) -> PrecisionCost:
    found = difference(ours, theirs)
    return PrecisionCost(_bits(ours, targets), _bits(theirs, targets), found.relative, found.same_best)


def _bits(logits: Logits, targets: NDArray[np.int64]) -> float:
    """Mean cross-entropy in bits."""
    centred = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    chosen = centred[np.arange(len(centred)), targets]
    return float((np.log(np.exp(centred).sum(axis=1)) - chosen).mean() / np.log(2))
