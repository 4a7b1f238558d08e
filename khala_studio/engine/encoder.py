"""Sound -> codes, for packs that have an encoder."""

from collections.abc import Callable, Iterator

import numpy as np

from khala_studio.engine.events import Samples
from khala_studio.packs.manifest import PackCodec
from khala_studio.song.codes import Codes

CHUNK_SECONDS = 10.0

Encode = Callable[[Samples], Codes]  # [2, t * hop] -> [K, t]


def encode_stream(encode: Encode, waveform: Samples, codec: PackCodec) -> Iterator[Codes]:
    """[2, N] samples -> codes [K, t] of consecutive chunks; the last frame is filled up with silence.

    Chunks are encoded with the codec's context on both sides, as they are decoded.
    """
    n_frames = -(-waveform.shape[1] // codec.hop)
    padding = codec.samples(n_frames) - waveform.shape[1]
    padded = np.pad(waveform.astype(np.float32, copy=False), ((0, 0), (0, padding)))
    size = max(1, round(CHUNK_SECONDS * codec.frame_rate))
    for start in range(0, n_frames, size):
        stop = min(n_frames, start + size)
        first, last = max(0, start - codec.context_frames), min(n_frames, stop + codec.context_frames)
        codes = encode(padded[:, codec.samples(first) : codec.samples(last)])
        yield codes[:, start - first : stop - first]
