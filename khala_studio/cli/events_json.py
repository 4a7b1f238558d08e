"""Engine events as JSON, one object a line; arrays go to files that the line names.

{"event": "PreviewReady", "time": 0.84, "take_number": 1, "start_sample": 0,
 "samples": "DIR/events/00003-samples.wav", "depth": 2}

Codes and other arrays become .npy files, sound becomes .wav with float32 samples. The song itself
is not written twice: `Done` names the files of the take.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from khala_studio.project import store
from khala_studio.project.errors import cannot_write
from khala_studio.project.wav import write_sound

if TYPE_CHECKING:
    from khala_studio.engine.events import Event

_SOUND_FIELDS = ("samples", "waveform")


class EventLog:
    """Writes the events of one take."""

    def __init__(self, stream: TextIO, folder: Path, sample_rate: int, number: int, began: float) -> None:
        """`number` of the take, from 1; `began`: time.monotonic() of the command's start."""
        self._stream = stream
        self._folder = folder
        self._files = folder / store.EVENTS
        self._sample_rate = sample_rate
        self._number = number
        self._began = began
        self._count = 0

    def handle(self, event: Event) -> None:
        """Write the files of `event`, then its line.

        Raises:
            StoreError: a file cannot be written.
            BrokenPipeError: nobody reads any more.
        """
        line: dict[str, Any] = {
            "event": type(event).__name__,
            "time": round(time.monotonic() - self._began, 3),
            "take_number": self._number,
        }
        for field in dataclasses.fields(event):
            line[field.name] = self._value(field.name, getattr(event, field.name))
        print(json.dumps(line), file=self._stream, flush=True)
        self._count += 1

    def _value(self, name: str, value: object) -> object:
        if name == "take":
            return self._take(value)
        if name == "waveform":
            return str(self._folder / store.SONG)
        if isinstance(value, np.ndarray):
            return str(self._file(name, value))
        if isinstance(value, BaseException):
            return {"kind": str(getattr(value, "kind", "")), "sentence": str(value)}
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    def _take(self, take: Any) -> dict[str, object]:
        return {
            "folder": str(self._folder),
            "codes": str(self._folder / store.CODES),
            "json": str(self._folder / store.TAKE),
            "n_frames": take.n_frames,
            "depth": take.depth,
            "complete": take.complete,
        }

    def _file(self, name: str, array: Any) -> Path:
        try:
            self._files.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self._files, error) from error
        stem = f"{self._count:05}-{name}"
        if name in _SOUND_FIELDS:
            path = self._files / f"{stem}.wav"
            write_sound(path, array, self._sample_rate, "FLOAT")
        else:
            path = self._files / f"{stem}.npy"
            store.write_codes(path, array)
        return path


@contextmanager
def clean_stdout() -> Iterator[TextIO]:
    """Standard output for events alone: what native libraries print goes to standard error."""
    try:
        sys.stdout.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError, AttributeError):  # replaced by something without a descriptor
        yield sys.stdout
        return
    own = _is_real(sys.stdout)
    try:
        if not own:  # a test's or a host's stream: speak there, not past it
            yield sys.stdout
            return
        with open(saved, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _is_real(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False
