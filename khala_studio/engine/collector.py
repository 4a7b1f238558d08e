"""Events -> take: what a consumer has of a song at any moment, also after a cancel."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from khala_studio.engine.events import Event, PreviewReady, Stage, StageStarted, TokensReady
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.codes import UNKNOWN, Codes
from khala_studio.song.request import SongRequest
from khala_studio.song.take import Take


class TakeCollector:
    """Adds up the events of one job. The pipeline's own `Done.take` is made by one of these.

    Attributes:
        codes: [K, T] of the frames composed so far, -1 where not known.
    """

    def __init__(self, take: Take, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin with what `take` knows: `empty_take` for a new song."""
        self._take, self._clock, self._began = take, clock, clock()
        self.codes: Codes = take.codes.copy()
        self._logprobs = take.logprobs.copy()
        self._complete = take.complete
        self._timings = dict(take.timings)
        self._running: tuple[Stage, float] | None = None
        self._heard = False

    def add(self, event: Event) -> None:
        match event:
            case StageStarted(stage=stage):
                self._timings = self._times()
                self._running = stage, self._clock()
                # Only a song that has ended goes on to the next stage.
                self._complete = self._complete or stage is not Stage.COMPOSE
            case TokensReady():
                self._add_tokens(event)
            case PreviewReady() if not self._heard:
                self._heard = True
                self._timings["first_preview"] = self._clock() - self._began

    def take(self) -> Take:
        """The take as it stands."""
        return replace(
            self._take,
            codes=self.codes.copy(),
            n_frames=self.codes.shape[1],
            logprobs=self._logprobs.copy(),
            complete=self._complete,
            timings=self._times(),
        )

    def _add_tokens(self, event: TokensReady) -> None:
        n_layers, n_frames = event.codes.shape
        stop = event.start_frame + n_frames
        missing = stop - self.codes.shape[1]
        if missing > 0:
            self.codes = np.pad(self.codes, ((0, 0), (0, missing)), constant_values=UNKNOWN)
            self._logprobs = np.pad(self._logprobs, (0, missing), constant_values=np.nan)
        layers = slice(event.first_layer, event.first_layer + n_layers)
        self.codes[layers, event.start_frame : stop] = event.codes
        if event.logprobs is not None:
            self._logprobs[event.start_frame : stop] = event.logprobs

    def _times(self) -> dict[str, float]:
        """Seconds by stage until now."""
        times = dict(self._timings)
        if self._running is not None:
            stage, since = self._running
            times[stage.value] = times.get(stage.value, 0.0) + self._clock() - since
        return times


def empty_take(request: SongRequest, manifest: PackManifest) -> Take:
    """A take of which nothing is known yet."""
    return Take(
        request=request,
        codes=np.empty((manifest.codec.n_codebooks, 0), dtype=np.int16),
        n_frames=0,
        logprobs=np.empty(0, dtype=np.float32),
        complete=False,
        pack_id=manifest.id,
        pack_sha256=manifest.sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
