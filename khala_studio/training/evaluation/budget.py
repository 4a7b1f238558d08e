"""A share of the time of a run, spent item by item."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """Says when to stop a loop so that its next item would not end after `until`.

    Items are taken in a fixed order, so that less time measures a prefix of what more time measures.
    """

    def __init__(self, until: float, least: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """`until` in the clock's seconds; `least` items are done whatever they take."""
        self._until, self._least, self._clock = until, least, clock
        self._began = clock()
        self._done = 0

    def spent(self) -> bool:
        """Call after every item. True if the mean item so far does not fit in what is left."""
        self._done += 1
        now = self._clock()
        mean = (now - self._began) / self._done
        return self._done >= self._least and now + mean > self._until
