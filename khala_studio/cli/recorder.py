"""Engine events -> the files of a take, so that whatever happens little is lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from khala_studio.engine.collector import TakeCollector
from khala_studio.engine.events import Done, Event, PreviewReady, Stage, StageStarted, TokensReady

if TYPE_CHECKING:
    from khala_studio.packs.manifest import PackManifest
    from khala_studio.project.store import TakeFolder
    from khala_studio.project.wav import SoundWriter
    from khala_studio.song.take import Take

SAVE_EVERY: Final = 3.0  # seconds: what a kill -9 may cost


class Recorder:
    """Gathers codes and sound of one take and saves them at a calm rate.

    Attributes:
        finished: the song is written.
    """

    def __init__(self, folder: TakeFolder, take: Take, manifest: PackManifest, *, new: bool) -> None:
        """`take` is what is known at the start; `new`: nothing of it is on disk yet."""
        self._folder = folder
        self._codec = manifest.codec
        self._collector = TakeCollector(take)
        self._done: Take | None = None
        self._draft: SoundWriter | None = None
        self._draft_wanted = not take.complete  # composing is heard from the first frame, also when resumed
        self._must_clear = new
        self._stage = Stage.COMPOSE
        self._saved_at = time.monotonic()
        self._unsaved = False
        self.finished = False

    @property
    def take(self) -> Take:
        """The take as far as it is known."""
        return self._done if self._done is not None else self._collector.take()

    def handle(self, event: Event) -> None:
        """Keep what `event` brings. Raises StoreError when it cannot be written."""
        self._collector.add(event)
        match event:
            case StageStarted():
                self._start_stage(event.stage)
            case TokensReady():
                self._unsaved = True
            case PreviewReady():
                self._hear(event)
            case Done():
                self._finish(event)
        if self._unsaved and time.monotonic() - self._saved_at > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write codes.npy and take.json as they are now. Raises StoreError."""
        self._folder.save(self.take)
        self._saved_at = time.monotonic()
        self._unsaved = False

    def close(self) -> None:
        """The take ends here, complete or not: save what is not saved. Raises StoreError."""
        try:
            if self._unsaved:
                self.save()
        finally:
            self._close_draft()

    def discard(self) -> None:
        """After an error of the disk: let go of open files and try nothing more."""
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def _start_stage(self, stage: Stage) -> None:
        if self._must_clear:
            # Only now: the request was good, so an older take may go.
            self._folder.clear()
            self._must_clear = False
        self._stage = stage
        if self._unsaved:
            self.save()

    def _hear(self, event: PreviewReady) -> None:
        if event.depth != self._codec.n_coarse or not self._draft_wanted:
            return
        if self._draft is None:
            self._draft = self._folder.draft_writer(self._codec.sample_rate)
        self._draft.write(event.samples, event.start_sample)
        # Its last sound comes while the next stage is on already.
        whole = self._codec.samples(self._collector.codes.shape[1])
        if self._stage is not Stage.COMPOSE and self._draft.length >= whole:
            self._close_draft()

    def _close_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is not None:
            self._draft_wanted = False
            draft.close()

    def _finish(self, event: Done) -> None:
        self._close_draft()
        self._done = event.take
        self.save()
        self._folder.save_song(event.waveform, self._codec.sample_rate)
        self.finished = True
