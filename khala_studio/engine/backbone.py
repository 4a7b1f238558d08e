"""Prompt -> coarse codes [n_coarse, T], token by token."""

from collections.abc import Callable, Generator

import numpy as np
import numpy.typing as npt

from khala_studio.engine.sampling import Draw, Logits, backbone_rng, draw, logprob
from khala_studio.engine.stages import ComposedFrame, FrameRange
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.codes import Codes, TokenIds
from khala_studio.song.request import Sampling

Feed = Callable[[TokenIds], Logits]  # [S] ids that follow what was fed before -> [R] logits of the next one


def compose(
    feed: Feed,
    manifest: PackManifest,
    prompt: TokenIds,
    frames: FrameRange,
    sampling: Sampling,
    seed: int,
    known: Codes,
) -> Generator[ComposedFrame, None, None]:
    """Frames in turn until the model ends the song, or `frames.most` is reached.

    The coarse layers of a frame come in order and never mixed; the end can only be drawn in the place of a
    frame's first code, and not before `frames.least`. Frames that are `known` are fed one token at a time
    like any other, as a longer step would round differently: the rest is bit-equal to a song never stopped.

    Args:
        known: [n_coarse, t] the leading frames, if any.

    Raises:
        EngineFailure: the logits are not numbers or not as many as the codec wants.
    """
    codec = manifest.codec
    rng = backbone_rng(seed)
    pending = prompt
    for t in range(frames.most):
        codes = np.empty(codec.n_coarse, dtype=np.int16)
        total = 0.0
        for layer in range(codec.n_coarse):
            rows = _rows(feed(pending), layer, codec.codebook_size, may_end=layer == 0 and t >= frames.least)
            uniform = rng.random()  # one a token, known or not
            if t < known.shape[1]:
                drawn = Draw(int(known[layer, t]), logprob(rows, int(known[layer, t])))
            else:
                drawn = draw(rows, sampling, uniform)
            if drawn.row == codec.codebook_size:
                return
            codes[layer] = drawn.row
            total += drawn.logprob
            pending = np.array([manifest.text.audio_offset + codec.codebook_size * layer + drawn.row])
        yield ComposedFrame(codes, total / codec.n_coarse)


def _rows(logits: Logits, layer: int, size: int, *, may_end: bool) -> Logits:
    """The logits that may be drawn now: the layer's codes, and as row `size` the end of the song."""
    codes: npt.NDArray[np.float32] = logits[layer * size : (layer + 1) * size]
    return np.append(codes, logits[-1]) if may_end else codes
