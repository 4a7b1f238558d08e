"""A take as a folder: codes.npy, take.json, draft.wav, song.wav.

Each file is written beside its name and renamed when it is whole, so that a crash at any moment
leaves the state before or after a save. codes.npy is renamed before take.json; `load` therefore
trusts the codes for the number of frames.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from khala_studio.project.errors import StoreError, cannot_read, cannot_write
from khala_studio.project.wav import (
    DRAFT_SUBTYPE,
    SONG_SUBTYPE,
    Samples,
    SoundWriter,
    refuse_missing,
    refuse_special,
)
from khala_studio.song.codec import CodecSpec
from khala_studio.song.codes import Codes, check_codes
from khala_studio.song.take import Take

CODES: Final = "codes.npy"
TAKE: Final = "take.json"
DRAFT: Final = "draft.wav"
SONG: Final = "song.wav"
STEMS: Final = "stems"
EVENTS: Final = "events"

_FORMAT: Final = 1
_MAX_JSON: Final = 64 << 20  # bytes; a take of an hour has some 2 MB
_PROBE: Final = 64 << 10
# Any codec's codes may be read; whether they fit a pack is checked against its own spec.
_ANY_CODEC: Final = CodecSpec(n_codebooks=1_024, codebook_size=32_767)


class TakeFolder:
    """One take on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []  # folders that `create` made, outermost first

    @classmethod
    def create(cls, path: Path, *, force: bool = False) -> Self:
        """Make the folder and prove that it can be written.

        An existing folder is fine as long as no file of a take is in it. With `force` an old take
        stays until `clear`.

        Raises:
            StoreError: there is a take already, the path is a file, or nothing can be written.
        """
        folder = cls(path)
        if not force:
            folder.refuse_existing()
        try:
            folder._make()
            folder._probe()
        except OSError as error:
            folder.remove_if_unused()
            raise cannot_write(path, error) from error
        return folder

    def refuse_existing(self) -> None:
        """Raise StoreError if there is anything that a new take would overwrite."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise StoreError(f"{self.path} is a file, not a folder; choose another name with -o.")
            for name in (SONG, DRAFT, CODES, TAKE, STEMS, EVENTS):
                if os.path.lexists(self.path / name):
                    raise StoreError(
                        f"{self.path / name} exists already; choose another folder with -o, "
                        "or add --force to replace it."
                    )
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _make(self) -> None:
        missing = [p for p in (self.path, *self.path.parents) if not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._made.append(folder)
        if not self.path.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _probe(self) -> None:
        """Permissions can be asked for, a full disk only be tried."""
        probe = self.path / ".probe.part"
        try:
            _write_file(probe, b"\0" * _PROBE)
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)

    def remove_if_unused(self) -> None:
        """Take away the folders that `create` made, if nothing has been written into them."""
        for folder in reversed(self._made):
            with suppress(OSError):
                folder.rmdir()

    def clear(self) -> None:
        """Remove the files of an older take; other files stay. Raises StoreError."""
        try:
            # take.json first: without it the rest is no take that could be mistaken for one.
            for name in (TAKE, CODES, SONG, DRAFT, f".{SONG}.part", f".{DRAFT}.part"):
                (self.path / name).unlink(missing_ok=True)
            for name in (STEMS, EVENTS):
                if (self.path / name).is_dir() and not (self.path / name).is_symlink():
                    shutil.rmtree(self.path / name)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def save(self, take: Take) -> None:
        """Write codes.npy and take.json. Raises StoreError when the disk is full."""
        write_codes(self.path / CODES, take.codes)
        data = {"format": _FORMAT, **take.to_json()}
        replace_file(self.path / TAKE, _readable(data).encode())

    def load(self) -> Take:
        """Read the take back. Raises StoreError if it is missing or damaged."""
        if not self.path.is_dir():
            raise StoreError(f"{self.path} is not a folder with a take.")
        if not (self.path / TAKE).exists():
            raise StoreError(f"{self.path} holds no take: {TAKE} is missing.")
        data = _read_json(self.path / TAKE)
        codes = read_codes(self.path / CODES, _ANY_CODEC)
        try:
            if data.pop("format", None) != _FORMAT:
                raise ValueError(f"this version reads format {_FORMAT}.")
            return Take.from_json(_fit(data, codes.shape[1]), codes)
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{self.path / TAKE} is damaged: {_first_sentence(error)}") from error

    def song_writer(self, sample_rate: int) -> SoundWriter:
        """A writer for song.wav, 24 bits."""
        return SoundWriter(self.path / SONG, sample_rate, SONG_SUBTYPE)

    def draft_writer(self, sample_rate: int) -> SoundWriter:
        """A writer for draft.wav, 16 bits."""
        return SoundWriter(self.path / DRAFT, sample_rate, DRAFT_SUBTYPE)

    def save_song(self, waveform: Samples, sample_rate: int) -> None:
        """Write song.wav from `waveform` [2, N]. Raises StoreError."""
        with self.song_writer(sample_rate) as writer:
            writer.write(waveform)


def free_bytes(path: Path) -> int | None:
    """Free space where `path` is or would be made; None where the system does not say."""
    for folder in (path, *path.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


def write_codes(path: Path, codes: Codes) -> None:
    """Write codes [K, T] as a .npy file, whole or not at all. Raises StoreError."""
    import io

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(codes), allow_pickle=False)
    replace_file(path, buffer.getvalue())


def read_codes(path: Path, spec: CodecSpec) -> Codes:
    """Read codes [K, T] from a .npy file, pickles refused, and check them. Raises StoreError."""
    refuse_missing(path)
    try:
        # Mapped, so that a header that claims terabytes costs nothing.
        codes = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(codes, np.ndarray):
            raise ValueError("it is an archive of arrays")
        return np.array(check_codes(codes, spec))
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, TypeError, EOFError, SyntaxError, OverflowError) as error:
        raise StoreError(f"{path} does not hold codes: {_first_sentence(error)}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step. Raises StoreError."""
    refuse_special(path)
    part = path.with_name(f".{path.name}.part")
    try:
        _write_file(part, content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _readable(data: dict[str, Any]) -> str:
    """One field a line: easy to read and to compare, without a line for every number."""
    fields = (f"  {json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in data.items())
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise StoreError(f"{path} is damaged: it is far too large.")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise cannot_read(path, error) from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: it is not JSON.") from error
    if not isinstance(data, dict):
        raise StoreError(f"{path} is damaged: it is not a JSON object.")
    return data


def _fit(data: dict[str, Any], n_frames: int) -> dict[str, Any]:
    """The description, made to agree with codes that were saved a moment before a crash."""
    logprobs = data.get("logprobs")
    if isinstance(logprobs, list) and len(logprobs) != n_frames:
        data["logprobs"] = (logprobs + [None] * n_frames)[:n_frames]
        data["n_frames"] = n_frames
    return data


def _first_sentence(error: BaseException) -> str:
    text = str(error).split("\n")[0]
    return text if text.endswith(".") else f"{text}."
