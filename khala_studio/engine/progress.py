"""Progress at a calm rate."""

import time
from collections.abc import Callable

from khala_studio.engine.events import Progress, Stage

INTERVAL = 0.2  # seconds between two reports: a terminal or a bar needs no more


class Meter:
    """Counts what a stage has done and reports now and then.

    Attributes:
        started: when counting began, by `clock`.
    """

    def __init__(
        self, stage: Stage, total: int, first: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Units up to `first` were done before and do not count for the rate."""
        self._stage, self._total, self._first, self._clock = stage, total, first, clock
        self.started = clock()
        self._reported = -float("inf")

    @property
    def elapsed(self) -> float:
        return self._clock() - self.started

    def at(self, done: int, *, last: bool = False) -> Progress | None:
        """What to report when `done` units are done; None while the last report is fresh."""
        now = self._clock()
        if not last and now - self._reported < INTERVAL:
            return None
        self._reported = now
        total = done if last else max(self._total, done)
        rate = (done - self._first) / max(now - self.started, 1e-9)
        left = (total - done) / rate if rate > 0 else 0.0
        return Progress(self._stage, done, total, rate, left)
