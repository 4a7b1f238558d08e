"""Exit codes, and what to say for each kind of error."""

from __future__ import annotations

import sys
from typing import Final

DONE: Final = 0
ENGINE_FAILED: Final = 1
WRONG_REQUEST: Final = 2
CANCELLED: Final = 130

DEBUG_HINT: Final = "Run the command again with --debug to see where, and please report it."


class UserError(Exception):
    """The request was wrong; the text is the sentence that says what and how to mend it."""


class Cancelled(Exception):
    """The user stopped the command; what was known is saved, and the text says where."""


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the sentence for `error`.

    The classes of packs, project and engine are looked up among the modules that are loaded: an
    error of theirs cannot have come from a module that is not, and nothing is imported for it.
    """
    if isinstance(error, UserError):
        return WRONG_REQUEST, str(error)
    if isinstance(error, Cancelled | KeyboardInterrupt):
        return CANCELLED, str(error) or "Stopped."
    if isinstance(error, MemoryError):
        return ENGINE_FAILED, "There is not enough memory. Ask for a shorter song or close other programs."
    if _is_a(error, "khala_studio.project.errors", "StoreError"):
        return WRONG_REQUEST, str(error)
    if _is_a(error, "khala_studio.packs.errors", "PackError"):
        return WRONG_REQUEST, str(error)
    if _is_a(error, "khala_studio.engine.errors", "EngineError"):
        return _engine_code(error), str(error)
    if isinstance(error, OSError):
        return WRONG_REQUEST, _system_sentence(error)
    name = type(error).__name__
    return ENGINE_FAILED, f"Khala Studio made a mistake ({name}: {error}). {DEBUG_HINT}"


def _is_a(error: BaseException, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))


def _engine_code(error: BaseException) -> int:
    kind = str(getattr(error, "kind", ""))
    if kind in ("bad request", "missing pack", "broken pack"):
        return WRONG_REQUEST
    return CANCELLED if kind == "cancelled" else ENGINE_FAILED


def _system_sentence(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{what}."
