"""Sound of what is known so far, decoded in a thread of its own beside the models that write codes.

Previews take no random numbers and give nothing back: a song has the same codes without them.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np

from khala_studio.engine.decoder import Chunk, Decode, chunk_at, chunk_frames, chunks, decode_chunk
from khala_studio.engine.events import PreviewReady, Samples
from khala_studio.packs.manifest import PackCodec
from khala_studio.song.codes import Codes

DEPTHS = (8, 16, 32)  # at which a whole song is heard again
FIRST_SECONDS = 2.0  # of music that are composed when the first preview is decoded
DRAFT_SECONDS = 3.0  # a chunk of the draft


class Previews:
    """One job's previews, in the order in which they shall be heard.

    The draft is always decoded whole. A song that is heard again at a finer depth begins from the start, and
    stops early where a still finer depth is known by then: each has at least its first chunk.
    """

    def __init__(self, decode: Decode, codec: PackCodec, *, on: bool = True) -> None:
        self.on = on
        self._decode, self._codec = decode, codec
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="preview")
        self._pending: deque[Future[PreviewReady | None]] = deque()
        self._next_frame = 0  # of the draft
        self._newest: float = 0
        self._draft: list[Samples] = []
        self._draft_ended = False

    def draft(self, codes: Codes, *, ended: bool) -> None:
        """The coarse layers composed so far, [n_coarse, t]: decode the chunks whose context is known."""
        if not self.on:
            return
        n_frames, context = codes.shape[1], self._codec.context_frames
        while not ended and n_frames >= self._next_frame + self._draft_chunk() + context:
            stop = self._next_frame + self._draft_chunk()
            self._submit(codes, chunk_at(self._next_frame, stop, n_frames, context), keep=True)
            self._next_frame = stop
        if ended:
            for chunk in chunks(n_frames, self._codec, self._next_frame, DRAFT_SECONDS):
                self._submit(codes, chunk, keep=True)
            self._draft_ended = True

    def again(self, codes: Codes) -> None:
        """The whole song [k, T] at a new depth."""
        if not self.on:
            return
        self._newest = codes.shape[0]
        for chunk in chunks(codes.shape[1], self._codec):
            self._submit(codes, chunk, keep=chunk.start == 0)

    def final(self) -> None:
        """The last depth is known: what has not begun by now is not worth hearing any more."""
        self._newest = math.inf

    def ready(self) -> Iterator[PreviewReady]:
        """Those decoded since the last call; does not wait. Raises what decoding raised."""
        while self._pending and self._pending[0].done():
            preview = self._pending.popleft().result()
            if preview is None:
                continue
            if preview.depth == self._codec.n_coarse:
                self._draft.append(preview.samples)
            yield preview

    @property
    def waiting(self) -> bool:
        """Whether more will come."""
        return bool(self._pending)

    @property
    def whole_draft(self) -> Samples | None:
        """[2, N] of the draft, if all of it was decoded and heard."""
        return np.concatenate(self._draft, axis=1) if self._draft_ended and not self._pending else None

    def wait_a_little(self, seconds: float) -> None:
        """Wait for the next preview, but not long: signals must be heard."""
        if self._pending:
            wait([self._pending[0]], timeout=seconds)

    def close(self) -> None:
        """Drop what has not begun, and wait for what has; the caller interrupts that."""
        self._worker.shutdown(cancel_futures=True)

    def _draft_chunk(self) -> int:
        if self._next_frame == 0:
            whole = chunk_frames(self._codec, FIRST_SECONDS)
            return max(1, whole - self._codec.context_frames)
        return chunk_frames(self._codec, DRAFT_SECONDS)

    def _submit(self, codes: Codes, chunk: Chunk, *, keep: bool) -> None:
        window = codes[:, chunk.first : chunk.last].copy()  # the caller goes on writing
        self._pending.append(self._worker.submit(self._decoded, window, chunk, keep))

    def _decoded(self, window: Codes, chunk: Chunk, keep: bool) -> PreviewReady | None:
        depth = window.shape[0]
        if not keep and self._newest > depth:
            return None
        samples = decode_chunk(self._decode, window, chunk, self._codec)
        return PreviewReady(self._codec.samples(chunk.start), samples, depth)
