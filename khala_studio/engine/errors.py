"""What can go wrong in the engine: one class a kind, each with the sentence a user needs."""

from enum import StrEnum
from typing import ClassVar


class ErrorKind(StrEnum):
    """The kinds a caller may want to treat differently (exit codes, dialogs)."""

    BAD_REQUEST = "bad request"
    MISSING_PACK = "missing pack"
    BROKEN_PACK = "broken pack"
    OUT_OF_MEMORY = "out of memory"
    CANCELLED = "cancelled"
    FAILURE = "engine failure"


class EngineError(Exception):
    """An error with a kind and a sentence; the cause, if any, is chained for the log.

    Attributes:
        kind: which of the kinds it is.
        sentence: what to tell the user, complete, with what to do about it.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.FAILURE

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class BadRequest(EngineError):
    """The request cannot be served as it stands: lyrics, style, length, sampling."""

    kind = ErrorKind.BAD_REQUEST


class MissingPack(EngineError):
    """There is no such model pack on this machine."""

    kind = ErrorKind.MISSING_PACK


class BrokenPack(EngineError):
    """A pack's files are not what its pack.json says."""

    kind = ErrorKind.BROKEN_PACK


class OutOfMemory(EngineError):
    """The machine or the GPU has no memory left for this song."""

    kind = ErrorKind.OUT_OF_MEMORY

    def __init__(
        self, sentence: str = "There is not enough memory. Ask for a shorter song, or close other programs."
    ) -> None:
        super().__init__(sentence)


class Cancelled(EngineError):
    """The user stopped the work; what was known until then is kept."""

    kind = ErrorKind.CANCELLED

    def __init__(self, sentence: str = "The song was cancelled.") -> None:
        super().__init__(sentence)


class EngineFailure(EngineError):
    """Anything else: a fault of ours or of the runtime, to be found in the log."""

    kind = ErrorKind.FAILURE
