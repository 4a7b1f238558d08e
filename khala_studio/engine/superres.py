"""Codes [k, T] -> [depth, T], one layer a pass."""

from collections.abc import Callable, Generator

import numpy as np
import numpy.typing as npt

from khala_studio.engine.sampling import draw_rows, layer_rng
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.codes import Codes, TokenIds, layer_ids
from khala_studio.song.request import Sampling

Vectors = npt.NDArray[np.float32]
Embed = Callable[[TokenIds], Vectors]  # [N] vocabulary ids -> [N, D]
Predict = Callable[[Vectors, int, int], npt.NDArray[np.float32]]  # x [1, S + T, D], layer, S -> logits [T, C]


def sharpen(
    embed: Embed,
    predict: Predict,
    manifest: PackManifest,
    prompt: TokenIds,
    codes: Codes,
    depth: int,
    sampling: Sampling,
    seed: int,
) -> Generator[npt.NDArray[np.int16], None, None]:
    """The layers codes.shape[0] .. depth - 1 in turn, each [T]; exactly one pass a layer.

    The models read the sum of the embeddings of the layers below. It is kept and added to in the order of the
    layers, also when they are known already: a resumed take sums the same numbers in the same order.

    Args:
        codes: [k, T] the known layers, k >= 1.
    """
    n_text, n_frames = len(prompt), codes.shape[1]
    x = np.empty((1, n_text + n_frames, manifest.superres.hidden), dtype=np.float32)
    x[0, :n_text] = embed(prompt)
    marker, running_sum = x[0, n_text - 1], x[0, n_text:]  # views: what they get, the model reads
    running_sum[:] = 0
    for layer in range(codes.shape[0]):
        running_sum += embed(_ids(codes[layer], layer, manifest))
    for layer in range(codes.shape[0], depth):
        # The last text position tells the model which layer is asked for.
        marker[:] = embed(np.array([manifest.text.superres_marker_base - layer]))[0]
        logits = predict(x, layer, n_text)
        uniforms = layer_rng(seed, layer).random(size=(n_frames,))
        drawn = draw_rows(logits, sampling, uniforms).astype(np.int16)
        yield drawn
        if layer + 1 < depth:
            running_sum += embed(_ids(drawn, layer, manifest))


def _ids(codes: npt.NDArray[np.int16], layer: int, manifest: PackManifest) -> TokenIds:
    ids = layer_ids(codes[None], layer, manifest.text.audio_offset, manifest.codec.codebook_size)  # [1, T]
    return ids.reshape(-1)
