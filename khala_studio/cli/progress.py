"""Progress for people, on standard error: one line that is drawn over on a terminal, else a line a stage."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from khala_studio.engine.events import Event, Progress, StageStarted

_DOING: Final = {"compose": "Composing", "sharpen": "Sharpening", "decode": "Decoding"}
_DID: Final = {"compose": "Composed", "sharpen": "Sharpened", "decode": "Decoded"}
_BAR: Final = 24  # characters


class ProgressLine:
    """Shows the stages of a song as they go by."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        """`quiet` shows notices only."""
        self._stream = stream if stream is not None else sys.stderr
        self._live = not quiet and _is_terminal(self._stream)
        self._quiet = quiet
        self._began = time.monotonic()
        self._stage: StageStarted | None = None
        self._stage_began = self._began
        self._last: Progress | None = None
        self._drawn = 0  # characters of the line on the terminal
        self._heard = False

    def handle(self, event: Event) -> None:
        """Show what `event` says."""
        match type(event).__name__, event:
            case "StageStarted", started:
                self._end_stage()
                self._stage, self._last = started, None  # type: ignore[assignment]
                self._stage_began = time.monotonic()
            case "Progress", progress:
                self._last = progress  # type: ignore[assignment]
                self._draw(describe(progress, self._unit))  # type: ignore[arg-type]
            case "Notice", notice:
                self.say(notice.message)  # type: ignore[union-attr]
            case "PreviewReady", _:
                self._first_sound()
            case (("Done" | "Failed"), _):
                self.close()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._wipe()
        self._write(text + "\n")

    def close(self) -> None:
        """The last stage is over or was stopped."""
        self._end_stage()
        self._stage = None

    @property
    def _unit(self) -> str:
        return self._stage.unit if self._stage is not None else ""

    def _first_sound(self) -> None:
        if self._heard or self._quiet:
            return
        self._heard = True
        self.say(f"First sound after {time.monotonic() - self._began:.1f} s")

    def _end_stage(self) -> None:
        self._wipe()
        if self._stage is None or self._last is None or self._quiet:
            return
        seconds = time.monotonic() - self._stage_began
        done = self._last.done
        rate = f" ({_rate(done / seconds)} {self._unit}/s)" if done and seconds > 0 else ""
        self._write(f"{_DID[self._stage.stage]} {done} {self._unit} in {seconds:.1f} s{rate}\n")

    def _draw(self, text: str) -> None:
        if not self._live:
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + text.ljust(self._drawn))
        self._drawn = len(text)

    def _wipe(self) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that was closed
            self._stream.write(text)
            self._stream.flush()


def describe(progress: Progress, unit: str) -> str:
    """One line: stage, bar, how much, how fast, how long still."""
    share = min(progress.done / progress.total, 1.0) if progress.total > 0 else 1.0
    bar = "#" * round(share * _BAR)
    what = f"{_DOING[progress.stage]:<10} [{bar:<{_BAR}}] {progress.done}/{progress.total} {unit}"
    return f"{what}  {_rate(progress.rate)} {unit}/s  {duration(progress.seconds_left)} left"


def duration(seconds: float) -> str:
    """12 s, 1:05, 2:10:00; a dash when it is not known."""
    if not 0 <= seconds < 1e7:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _is_terminal(stream: TextIO) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return stream.isatty()
    return False
