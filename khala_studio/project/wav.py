"""Sound files: written in blocks, complete or not at all.

Blocks of 65,536 frames, because libsndfile overflows its stack when it gets a minute or more of
some formats in one call. The song is written with 24 bits: no dither is needed at -144 dB, and it
loses nothing of what float32 samples hold. The draft has 16 bits without dither: at depth 2 the
codec's own error lies some 80 dB above the rounding.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from khala_studio.project.errors import StoreError, cannot_read, cannot_write

if TYPE_CHECKING:
    import soundfile

BLOCK: Final = 65_536  # frames a call
SONG_SUBTYPE: Final = "PCM_24"
DRAFT_SUBTYPE: Final = "PCM_16"
FORMATS: Final = {".wav": "WAV", ".flac": "FLAC"}
_SAMPLE_BYTES: Final = {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}

Samples = NDArray[np.float32]  # [2, N]


class SoundWriter:
    """Writes one sound file beside its final name and renames it when it is complete.

    Use it as a context manager: on an exception the unfinished file is removed and whatever stood
    under the final name is still there.

    Attributes:
        length: samples a channel of the file so far.
    """

    def __init__(self, path: Path, sample_rate: int, subtype: str = SONG_SUBTYPE, channels: int = 2) -> None:
        """Open `path` (.wav or .flac) for writing.

        Raises:
            StoreError: unknown suffix, or the folder cannot be written.
        """
        import soundfile

        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._subtype = subtype
        self._channels = channels
        self.length = self._at = 0
        self._file: soundfile.SoundFile | None = None
        kind = sound_format(path)
        refuse_special(path)
        try:
            # Opened by us first: libsndfile says only "System error".
            self._part.open("wb").close()
        except OSError as error:
            raise cannot_write(path, error) from error
        self._file = soundfile.SoundFile(self._part, "w", sample_rate, channels, subtype, format=kind)

    def write(self, samples: Samples, start: int | None = None) -> None:
        """Append `samples` [channels, N], or write them from sample `start` on (at most `length`).

        Values beyond -1..1 are clipped. Raises StoreError when the disk is full, ValueError when
        the samples are not numbers or would leave a gap.
        """
        if self._file is None:
            raise ValueError("the file is closed")
        start = self.length if start is None else start
        if not 0 <= start <= self.length:
            raise ValueError(f"samples from {start} leave a gap after {self.length}")
        if not np.isfinite(samples).all():
            raise ValueError("the samples are not all numbers")
        if start != self._at:  # FLAC cannot seek, and appending need not
            self._file.seek(start)
        for block in np.array_split(samples, range(BLOCK, samples.shape[1], BLOCK), axis=1):
            self._write_block(np.clip(block, -1.0, 1.0).T)  # [n, channels]
        self._at = start + samples.shape[1]
        self.length = max(self.length, self._at)

    def _write_block(self, block: NDArray[np.float32]) -> None:
        import soundfile

        assert self._file is not None
        try:
            self._file.write(block)
        except (soundfile.LibsndfileError, AssertionError, OSError) as error:
            # soundfile reports a short write (a full disk) as an AssertionError.
            raise cannot_write(self._path, _disk_error(error)) from error

    def close(self) -> None:
        """Finish the file and give it its name."""
        import soundfile

        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
            self._check_size()
            self._part.replace(self._path)
        except (soundfile.LibsndfileError, AssertionError, OSError) as error:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
            raise cannot_write(self._path, _disk_error(error)) from error

    def _check_size(self) -> None:
        """A buffered write that failed late is seen only in the size of the file."""
        if self._path.suffix.lower() != ".wav":
            return
        expected = self.length * self._channels * _SAMPLE_BYTES[self._subtype]
        if self._part.stat().st_size < expected:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def discard(self) -> None:
        """Stop without a file."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(Exception):  # closing flushes, which fails again on a full disk
                file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def write_sound(path: Path, samples: Samples, sample_rate: int, subtype: str = SONG_SUBTYPE) -> None:
    """Write `samples` [channels, N] to `path`, whole or not at all. Raises StoreError."""
    with SoundWriter(path, sample_rate, subtype, channels=samples.shape[0]) as writer:
        writer.write(samples)


def read_sound(path: Path, sample_rate: int, max_seconds: float = 3600.0) -> Samples:
    """Read any format that libsndfile knows as stereo float32 [2, N] at `sample_rate`.

    Mono becomes two equal channels; of more than two channels the file is refused.
    Raises StoreError.
    """
    import soundfile

    refuse_missing(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            if channels > 2:
                raise StoreError(f"{path} has {channels} channels; mix it down to stereo first.")
            if len(file) > max_seconds * rate:
                raise StoreError(f"{path} is longer than {max_seconds / 60:g} minutes; cut it first.")
            blocks = list(file.blocks(BLOCK, dtype="float32", always_2d=True))
    except soundfile.LibsndfileError as error:
        raise StoreError(f"{path} is not a sound file that can be read (WAV, FLAC, OGG, MP3).") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    if not blocks:
        raise StoreError(f"{path} has no sound in it.")
    samples = np.concatenate(blocks)  # [N, channels]
    if not np.isfinite(samples).all():
        raise StoreError(f"{path} holds samples that are not numbers.")
    if rate != sample_rate:
        import soxr

        samples = soxr.resample(samples, rate, sample_rate)
    stereo = samples if channels == 2 else np.repeat(samples, 2, axis=1)
    return np.ascontiguousarray(stereo.T, dtype=np.float32)


def sound_format(path: Path) -> str:
    """libsndfile's name of the format that the suffix asks for. Raises StoreError."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise StoreError(f"{path} should end in .wav or .flac.") from None


def refuse_special(path: Path) -> None:
    """Refuse to replace what is not a regular file (a folder, a device such as /dev/full)."""
    try:
        if path.is_dir():
            raise StoreError(f"{path} is a folder; name a file in it.")
        if path.exists() and not path.is_file():
            raise StoreError(f"{path} is not a regular file; choose another name with -o.")
    except OSError as error:
        raise cannot_write(path, error) from error


def refuse_missing(path: Path) -> None:
    """Refuse to read what is not there or is a folder. Raises StoreError."""
    try:
        if path.is_dir():
            raise StoreError(f"{path} is a folder; name a file in it.")
        path.stat()
    except OSError as error:
        raise cannot_read(path, error) from error


def _disk_error(error: BaseException) -> OSError:
    """libsndfile hides the cause; a short write is a full disk in practice."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
