"""A stage in a helper thread, so that whoever iterates is never held up by a long model run."""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, wait
from typing import Generic, TypeVar

T = TypeVar("T")

TICK = 0.03  # seconds


class _Batch(Generic[T]):
    """What came out of an iterator within a tick, and how it ended if it did."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self.ended = False
        self.error: Exception | None = None


def in_helper(items: Iterator[T], helper: Executor) -> Generator[T | None, None, None]:
    """The items as they come; None now and then while there are none.

    Python runs a signal handler only between two bytecodes of the main thread: a Ctrl-C during a run of
    seconds would wait for it to end, were it not in another thread.

    Raises:
        Exception: what `items` raised, after all that it had yielded.
    """
    while True:
        batch: _Batch[T] = _Batch()
        future = helper.submit(_pull, items, batch)
        given, finished = 0, False
        while not finished:
            finished = bool(wait([future], timeout=TICK).done)  # asked first: then no item can be missed
            fresh = batch.items[given:]  # also of a batch that is not full yet
            given += len(fresh)
            yield from fresh
            if not fresh and not finished:
                yield None
        if batch.error is not None:
            raise batch.error
        if batch.ended:
            return


def _pull(items: Iterator[T], batch: _Batch[T]) -> None:
    """Items for the time of a tick: a hand-over between threads for each would cost more than some do."""
    until = time.perf_counter() + TICK
    try:
        for item in items:
            batch.items.append(item)
            if time.perf_counter() >= until:
                return
        batch.ended = True
    except Exception as error:
        batch.error = error
