"""The engine in a thread, so that the main thread can always hear Ctrl-C.

Python runs signal handlers in the main thread and only between its own instructions; a pass of a
large model would hold them up for seconds. So the events are made in a thread and handled here.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any, Final, Generic, Protocol, TypeVar

from khala_studio.cli.failures import CANCELLED

T = TypeVar("T")

GRACE: Final = 0.7  # seconds the engine gets to stop before the command goes on without it
_POLL: Final = 0.05


class Interruptible(Protocol):
    """What a signal has to stop: opened models."""

    def interrupt(self) -> None: ...


class _End:
    """The last thing in the queue."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Job(Generic[T]):
    """One background job that yields values and can be stopped.

    Attributes:
        cancelled: a signal (or `cancel`) has asked to stop.
        abandoned: the thread did not stop in time; the process must end by `os._exit`.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.abandoned = False
        self._stages: Interruptible | None = None
        self._queue: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._signals = 0

    def watch(self, stages: Interruptible) -> None:
        """Name what a signal must interrupt. Called in the thread once the models are open."""
        self._stages = stages
        if self.cancelled:
            stages.interrupt()

    def cancel(self) -> None:
        """Ask the job to stop; may be called from a signal handler."""
        self.cancelled = True
        if self._stages is not None:
            self._stages.interrupt()

    def events(self, make: Callable[[], Generator[T, None, None]]) -> Generator[T, None, None]:
        """Run `make()` in a thread and yield what it yields, until its end or a signal.

        After a signal, what was made until then still comes. An error of the thread is raised
        here, but for one that a cancelled job ends with.
        """
        thread = threading.Thread(target=self._work, args=(make,), name="engine", daemon=True)
        with self._signals_caught():
            thread.start()
            try:
                yield from self._received()
            finally:
                self._stop(thread)

    def _work(self, make: Callable[[], Generator[T, None, None]]) -> None:
        error: BaseException | None = None
        try:
            with closing(make()) as values:
                for value in values:
                    self._queue.put(value)
                    if self.cancelled:
                        break
        except BaseException as caught:
            error = caught
        self._queue.put(_End(error))

    def _received(self) -> Iterator[T]:
        deadline: float | None = None
        while True:
            try:
                value = self._queue.get(timeout=_POLL if self.cancelled else 0.5)
            except queue.Empty:
                value = None
            if isinstance(value, _End):
                if value.error is not None and not self.cancelled:
                    raise value.error
                return
            if value is not None:
                yield value
            elif self.cancelled:
                # Again: the first call may have come before the work that it should end.
                self.cancel()
                deadline = deadline or time.monotonic() + GRACE
                if time.monotonic() > deadline:
                    return

    def _stop(self, thread: threading.Thread) -> None:
        thread.join(_POLL)
        if thread.is_alive() and not self.cancelled:  # the consumer gave up, on a full disk for instance
            self.cancel()
            thread.join(GRACE)
        self.abandoned = thread.is_alive()

    @contextmanager
    def _signals_caught(self) -> Iterator[None]:
        before: dict[int, Any] = {}
        try:
            for number in _stop_signals():
                before[number] = signal.signal(number, self._on_signal)
        except ValueError:  # not the main thread: signals are somebody else's
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(CANCELLED)  # asked twice: at once
        self.cancel()


def _stop_signals() -> list[int]:
    # Also where a shell started us in the background with SIGINT ignored: stopping loses nothing.
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # the terminal was closed; nohup ignores it
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.append(hang_up)
    return numbers
