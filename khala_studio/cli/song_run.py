"""Running the engine for one or several takes: events to the screen, to JSON and to the folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from khala_studio.cli import opening
from khala_studio.cli.events_json import EventLog, clean_stdout
from khala_studio.cli.failures import CANCELLED, DONE, Cancelled
from khala_studio.cli.job import Job
from khala_studio.cli.progress import ProgressLine
from khala_studio.cli.recorder import Recorder
from khala_studio.engine.collector import empty_take
from khala_studio.engine.events import Event, Failed
from khala_studio.project.errors import StoreError
from khala_studio.project.store import SONG, TakeFolder

if TYPE_CHECKING:
    from khala_studio.engine.stages import Stages
    from khala_studio.song.request import SongRequest
    from khala_studio.song.take import Take


@dataclass(frozen=True, slots=True)
class Plan:
    """One take to be made or to go on with."""

    folder: TakeFolder
    request: SongRequest
    start: Take | None  # what is known of it; None for a new one
    make: Callable[[Stages], Generator[Event, None, None]]


@dataclass(frozen=True, slots=True)
class _TakeStarted:
    """Between the events of two takes."""

    plan: Plan
    number: int
    stages: Stages


_Item = _TakeStarted | Event


class SongRun:
    """Runs plans one after the other with the pack opened once."""

    def __init__(self, pack: Path, plans: list[Plan], *, events: bool = False) -> None:
        self._pack = pack
        self._plans = plans
        self._events = events
        self._began = time.monotonic()
        self._job: Job[_Item] = Job()
        self._screen = ProgressLine(quiet=False)
        self._recorder: Recorder | None = None
        self._log: EventLog | None = None
        self._plan = plans[0]
        self._done = 0
        self._error: BaseException | None = None

    def notice(self, text: str) -> None:
        """Tell the user something before the work begins."""
        self._screen.say(text)

    def run(self) -> int:
        """Make all takes.

        Returns:
            0.

        Raises:
            Cancelled: a signal came; what was known is saved.
            EngineError, StoreError, ...: what went wrong; what was known is saved where it can be.
        """
        with ExitStack() as stack:
            stream = stack.enter_context(clean_stdout()) if self._events else None
            try:
                with closing(self._job.events(self._produce)) as items:
                    for item in items:
                        self._take_in(item, stream)
            except BrokenPipeError:  # the reader of --events has gone: nobody waits for the song
                self._job.cancel()
            except Exception as error:
                self._error = error
        return self._conclude()

    def _produce(self) -> Generator[_Item, None, None]:
        """In the engine's thread."""
        with opening.open_stages(self._pack) as stages:
            self._job.watch(stages)
            stages.open_soon()
            for number, plan in enumerate(self._plans, 1):
                yield _TakeStarted(plan, number, stages)
                yield from plan.make(stages)

    def _take_in(self, item: _Item, stream: TextIO | None) -> None:
        if isinstance(item, _TakeStarted):
            self._start_take(item, stream)
            return
        if isinstance(item, Failed):
            self._error = item.error
        assert self._recorder is not None
        self._recorder.handle(item)
        self._screen.handle(item)
        if self._log is not None:
            self._log.handle(item)

    def _start_take(self, item: _TakeStarted, stream: TextIO | None) -> None:
        self._end_take()
        plan, manifest = item.plan, item.stages.manifest
        self._plan = plan
        start = plan.start or empty_take(plan.request, manifest)
        self._recorder = Recorder(plan.folder, start, manifest, new=plan.start is None)
        if stream is not None:
            rate = manifest.codec.sample_rate
            self._log = EventLog(stream, plan.folder.path, rate, item.number, self._began)
        if len(self._plans) > 1:
            self._screen.say(f"Take {item.number} of {len(self._plans)}, seed {plan.request.seed}")

    def _end_take(self) -> None:
        """A take whose song is written is over; tell where it is."""
        if self._recorder is None or not self._recorder.finished:
            return
        take, folder = self._recorder.take, self._plan.folder.path
        self._recorder = None
        self._done += 1
        self._screen.say(f"{folder / SONG}: depth {take.request.depth}, seed {take.request.seed}")

    def _conclude(self) -> int:
        self._screen.close()
        self._end_take()
        kept = self._save_rest()
        for plan in reversed(self._plans):
            plan.folder.remove_if_unused()
        if self._job.abandoned:
            # The engine is deep in a long pass and does not hear us: leave without it.
            self._screen.say(f"Stopped. {kept}")
            sys.stdout.flush()
            os._exit(CANCELLED)
        if self._done == len(self._plans):
            return DONE
        if self._job.cancelled and not isinstance(self._error, StoreError):
            raise Cancelled(f"Stopped. {kept}")
        if self._error is None:
            raise RuntimeError("the engine ended without a song")
        if self._recorder is not None and self._recorder.take.n_frames:
            self._screen.say(kept)
        raise self._error

    def _save_rest(self) -> str:
        """Save an unfinished take; what to tell about it."""
        if self._recorder is None:
            return "Nothing was composed yet." if not self._done else f"{self._done} takes are done."
        path = self._plan.folder.path
        try:
            self._recorder.close()
        except StoreError as error:
            self._recorder.discard()
            return f"The take could not be saved: {error}"
        take = self._recorder.take
        if not take.n_frames:
            return "Nothing was composed yet."
        what = f"{take.depth} layers" if take.complete else f"the first {take.n_frames} frames"
        return f"The take is kept ({what}); go on with: khala-studio refine {path}"
