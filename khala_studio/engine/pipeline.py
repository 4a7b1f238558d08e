"""The whole path: request -> prompt -> coarse codes -> all codes -> sound."""

import logging
import math
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from khala_studio.engine.collector import TakeCollector, empty_take
from khala_studio.engine.decoder import decode_stream
from khala_studio.engine.errors import BadRequest
from khala_studio.engine.events import (
    Done,
    Event,
    Failed,
    Notice,
    PreviewReady,
    Stage,
    StageStarted,
    TokensReady,
)
from khala_studio.engine.previews import DEPTHS, Previews
from khala_studio.engine.progress import Meter
from khala_studio.engine.runs import in_our_words
from khala_studio.engine.stages import ComposedFrame, FrameRange, Stages
from khala_studio.engine.waiting import TICK, in_helper
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.codes import TokenIds, known_depth
from khala_studio.song.request import SongRequest
from khala_studio.song.take import Take

log = logging.getLogger(__name__)

Events = Generator[Event, None, None]

TOKENS_EVERY = 10  # frames


def generate(request: SongRequest, stages: Stages, *, previews: bool = True) -> Events:
    """Yield what happens while the song is made; `Done` or `Failed` is the last event.

    Close the generator to cancel; where it is held up in another thread, `stages.interrupt()` ends it with
    `Failed(Cancelled())`. A `TakeCollector` that was fed the events has all that was known until then.
    The codes depend on request, pack and machine alone; previews only make them heard.
    """
    return _events(empty_take(request, stages.manifest), stages, previews)


def refine(take: Take, stages: Stages, depth: int, *, previews: bool = True) -> Events:
    """Go on with a take that stopped anywhere, to `depth` layers; ends bit-equal to one that never stopped.

    Raises:
        ValueError: there is no such depth.
    """
    return _events(_resumable(take, stages.manifest, depth), stages, previews)


def _events(start: Take, stages: Stages, previews: bool) -> Events:
    job = _Job(start, stages, previews)
    try:
        for event in job.run():
            job.collector.add(event)
            yield event
    except Exception as error:
        ours = in_our_words(error)
        log.info("the job ended early: %s", ours.sentence)
        yield Failed(ours)
    finally:
        job.close()


class _Job:
    """One song on its way.

    Attributes:
        collector: what is known of it; it sees every event before the code that yielded it goes on.
    """

    def __init__(self, start: Take, stages: Stages, previews: bool) -> None:
        self.collector = TakeCollector(start)
        self._start, self._stages = start, stages
        self._manifest = stages.manifest
        self._depth = min(start.request.depth, self._manifest.codec.n_codebooks)
        self._previews = Previews(stages.decode, self._manifest.codec, on=previews)
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="stage")

    def run(self) -> Events:
        self._stages.begin()
        _check_same_pack(self._start, self._manifest)
        prompt = self._stages.frontend.encode(self._start.request)
        for message in (*self._stages.notices, *prompt.notes):
            yield Notice(message)
        if not self._start.complete:
            yield from self._compose(prompt.ids)
        yield from self._sharpen(prompt.ids)
        yield from self._decode()

    def close(self) -> None:
        """End whatever still runs, and leave the stages as they were."""
        self._stages.interrupt()
        self._helper.shutdown(cancel_futures=True)
        self._previews.close()
        self._stages.begin()

    def _compose(self, prompt: TokenIds) -> Events:
        request, codec = self._start.request, self._manifest.codec
        frames = frame_range(request, self._manifest, len(prompt))
        sampling = request.backbone or self._manifest.sampling.backbone
        total = codec.frames(request.seconds) * codec.n_coarse
        yield StageStarted(Stage.COMPOSE, total, "tokens")
        meter = Meter(Stage.COMPOSE, total)
        known = self._start.codes[: codec.n_coarse]
        done = 0
        fresh: list[ComposedFrame] = []
        try:
            composing = self._stages.compose(prompt, frames, sampling, request.seed, known)
            for frame in in_helper(composing, self._helper):
                yield from self._previews.ready()
                if frame is None:
                    continue
                fresh.append(frame)
                done += 1
                if len(fresh) == TOKENS_EVERY:
                    yield _tokens(fresh, done)
                    fresh = []
                    self._previews.draft(self.collector.codes[: codec.n_coarse], ended=False)
                if progress := meter.at(done * codec.n_coarse):
                    yield progress
        except Exception:
            if fresh:
                yield _tokens(fresh, done)
            raise
        if fresh:
            yield _tokens(fresh, done)
        if progress := meter.at(done * codec.n_coarse, last=True):
            yield progress
        self._previews.draft(self.collector.codes[: codec.n_coarse], ended=True)
        log.info("compose: %d frames in %.2f s", done, meter.elapsed)

    def _sharpen(self, prompt: TokenIds) -> Events:
        request = self._start.request
        layer = known_depth(self.collector.codes)
        if layer >= self._depth:
            return
        sampling = request.superres or self._manifest.sampling.superres
        yield StageStarted(Stage.SHARPEN, self._depth, "layers")
        meter = Meter(Stage.SHARPEN, self._depth, first=layer)
        known = self.collector.codes[:layer].copy()
        sharpening = self._stages.sharpen(prompt, known, self._depth, sampling, request.seed)
        for drawn in in_helper(sharpening, self._helper):
            yield from self._previews.ready()
            if drawn is None:
                continue
            yield TokensReady(layer, 0, drawn[None], None)
            layer += 1
            if progress := meter.at(layer, last=layer == self._depth):
                yield progress
            if layer in DEPTHS and layer < self._depth:
                self._previews.again(self.collector.codes[:layer])
        log.info("sharpen: layers %d to %d in %.2f s", known.shape[0], layer - 1, meter.elapsed)

    def _decode(self) -> Events:
        """The song at its depth; a draft that was heard already is not decoded again."""
        codec = self._manifest.codec
        codes = self.collector.codes[: self._depth]
        n_frames = codes.shape[1]
        yield StageStarted(Stage.DECODE, n_frames, "frames")
        self._previews.final()
        while self._previews.waiting:
            self._previews.wait_a_little(TICK)
            yield from self._previews.ready()
        draft = self._previews.whole_draft if self._depth == codec.n_coarse else None
        if draft is not None:
            yield Done(self.collector.take(), draft)
            return
        meter = Meter(Stage.DECODE, n_frames)
        waveform = np.empty((codec.channels, codec.samples(n_frames)), dtype=np.float32)
        for piece in in_helper(decode_stream(self._stages.decode, codes, codec), self._helper):
            if piece is None:
                continue
            chunk, samples = piece
            start = codec.samples(chunk.start)
            waveform[:, start : start + samples.shape[1]] = samples
            if self._previews.on:
                yield PreviewReady(start, samples, self._depth)
            if progress := meter.at(chunk.stop, last=chunk.stop == n_frames):
                yield progress
        log.info("decode: %d frames in %.2f s", n_frames, meter.elapsed)
        yield Done(self.collector.take(), waveform)


def frame_range(request: SongRequest, manifest: PackManifest, n_prompt: int) -> FrameRange:
    """When the song may end and when it must.

    Raises:
        BadRequest: the pack makes no songs of this length, or not with so long a prompt.
    """
    codec, length = manifest.codec, manifest.controls.length
    shortest, longest = length.seconds(length.min), length.seconds(length.max)
    if not shortest <= request.seconds <= longest:
        raise BadRequest(
            f"{manifest.name} makes songs of {shortest:g} to {longest:g} seconds; "
            f"{request.seconds:g} were asked for."
        )
    asked = codec.frames(request.seconds)
    most = max(1, math.floor(asked * length.max_fraction + 1e-6))
    least = min(most, max(1, math.ceil(asked * length.min_fraction - 1e-6)))
    room = (manifest.backbone.max_positions - n_prompt) // codec.n_coarse
    if n_prompt > manifest.text.max_prompt or room < min(asked, most):
        raise BadRequest(
            f"The lyrics are too long for a song of {request.seconds:g} seconds with {manifest.name}. "
            "Shorten them, or ask for a shorter song."
        )
    return FrameRange(least, min(most, room))


def _tokens(frames: list[ComposedFrame], done: int) -> TokensReady:
    """The last frames of `done` as one event."""
    codes = np.stack([f.codes for f in frames], axis=1)  # [n_coarse, t]
    logprobs = np.array([f.logprob for f in frames], dtype=np.float32)
    return TokensReady(0, done - len(frames), codes, logprobs)


def _resumable(take: Take, manifest: PackManifest, depth: int) -> Take:
    """`take` with `depth` asked for, cut to what can be gone on with: whole frames of the coarse layers."""
    take = replace(take, request=replace(take.request, depth=depth))
    if take.complete:
        return take
    codes = take.codes.copy()
    codes[manifest.codec.n_coarse :] = -1
    unknown = (codes[: manifest.codec.n_coarse] < 0).any(axis=0)
    n_frames = int(np.argmax(unknown)) if unknown.any() else codes.shape[1]
    return replace(take, codes=codes[:, :n_frames], n_frames=n_frames, logprobs=take.logprobs[:n_frames])


def _check_same_pack(take: Take, manifest: PackManifest) -> None:
    if take.pack_id != manifest.id:
        raise BadRequest(
            f"This take was made with the pack {take.pack_id!r}, not {manifest.id!r}. Open that one."
        )
    if take.pack_sha256 != manifest.sha256:
        raise BadRequest(
            f"This take was made with another version of the pack {take.pack_id!r}, "
            "and cannot be gone on with. Make it anew with the same seed."
        )
