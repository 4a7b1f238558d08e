"""Model runs that can be ended from outside, and their errors in our words."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import onnxruntime as ort

from khala_studio.engine.errors import Cancelled, EngineError, EngineFailure, OutOfMemory

log = logging.getLogger(__name__)

T = TypeVar("T")

_NO_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory", "alloc_failed")


class Runs:
    """Hands every run its RunOptions and remembers those in flight.

    There is no lock: `interrupt` may come from a signal handler in the very thread that would hold it.
    A run is registered before it looks at the flag, and the flag is set before the runs are looked at.
    """

    def __init__(self) -> None:
        self._stopped = False
        self._in_flight: dict[int, Any] = {}

    def begin(self) -> None:
        """Forget an earlier `interrupt`."""
        self._stopped = False

    def interrupt(self) -> None:
        """End the runs in flight, at the next node of their graphs, and all later ones until `begin`."""
        self._stopped = True
        for options in list(self._in_flight.values()):
            options.terminate = True

    def check(self) -> None:
        """Raises `Cancelled` after `interrupt`."""
        if self._stopped:
            raise Cancelled

    def run(self, call: Callable[[Any], T]) -> T:
        """`call(run_options)`.

        Raises:
            Cancelled: it was interrupted.
            OutOfMemory, EngineFailure: ONNX Runtime failed.
        """
        options = ort.RunOptions()
        options.log_severity_level = 4
        self._in_flight[id(options)] = options
        try:
            self.check()
            return call(options)
        except Exception as error:
            if self._stopped:
                raise Cancelled from error
            raise in_our_words(error) from error
        finally:
            del self._in_flight[id(options)]


def in_our_words(error: Exception) -> EngineError:
    """An exception of the runtime as an engine error; engine errors stay what they are."""
    if isinstance(error, EngineError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _NO_MEMORY):
        return OutOfMemory()
    log.error("the runtime failed", exc_info=error)
    first_line = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
    return EngineFailure(f"The model could not be run: {first_line}")
