"""Codes -> samples, in chunks that join without a seam."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from khala_studio.engine.events import Samples
from khala_studio.packs.manifest import PackCodec
from khala_studio.song.codes import Codes

CHUNK_SECONDS = 4.0

Decode = Callable[[Codes, int], Samples]  # one window [k, t] and its first frame -> [2, t * hop]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames start .. stop - 1, which are decoded with the frames from `first` to `last` - 1 around them."""

    start: int
    stop: int
    first: int
    last: int


def chunk_frames(codec: PackCodec, seconds: float = CHUNK_SECONDS) -> int:
    return max(1, round(seconds * codec.frame_rate))


def chunk_at(start: int, stop: int, n_frames: int, context: int) -> Chunk:
    """Frames start .. stop - 1 of a song of `n_frames`: padded with zeros only at its ends, by the net."""
    return Chunk(start, stop, max(0, start - context), min(n_frames, stop + context))


def chunks(
    n_frames: int, codec: PackCodec, start: int = 0, seconds: float = CHUNK_SECONDS
) -> Iterator[Chunk]:
    """The chunks from frame `start` to the end; a remainder under half a chunk joins the last one."""
    size = chunk_frames(codec, seconds)
    while start < n_frames:
        stop = start + size if n_frames - start >= size + size // 2 else n_frames
        yield chunk_at(start, stop, n_frames, codec.context_frames)
        start = stop


def decode_chunk(decode: Decode, window: Codes, chunk: Chunk, codec: PackCodec) -> Samples:
    """Codes [k, last - first] -> [2, (stop - start) * hop] samples, as if the whole song were decoded."""
    samples = decode(window, chunk.first)
    cut = codec.samples(chunk.start - chunk.first)
    return samples[:, cut : cut + codec.samples(chunk.stop - chunk.start)]


def decode_stream(decode: Decode, codes: Codes, codec: PackCodec) -> Iterator[tuple[Chunk, Samples]]:
    """[k, T] codes -> their chunks in turn, each with [2, n] samples."""
    for chunk in chunks(codes.shape[1], codec):
        yield chunk, decode_chunk(decode, codes[:, chunk.first : chunk.last], chunk, codec)
