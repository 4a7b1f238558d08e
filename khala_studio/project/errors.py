"""What can be wrong with a folder or a sound file, as a sentence for the user."""

from __future__ import annotations

import errno
from pathlib import Path


class StoreError(Exception):
    """A take or a sound file cannot be read or written; the text says why and what to do."""


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file would grow beyond the limit that is set here",
    errno.EACCES: "you have no permission",
    errno.EPERM: "you have no permission",
    errno.EROFS: "that disk is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "it is not there",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "its links go round in a circle",
    errno.EIO: "the disk reported an error",
}


def reason(error: OSError) -> str:
    """The cause of an operating system error in plain words."""
    if error.errno in _REASONS:
        return _REASONS[error.errno]
    return (error.strerror or str(error) or type(error).__name__).lower()


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The sentence for a failed write; says what was kept in mind about full disks."""
    hint = "Choose another folder with -o."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "Free some space or choose another folder with -o."
    return StoreError(f"Cannot write {path}: {reason(error)}. {hint}")


def cannot_read(path: Path, error: OSError) -> StoreError:
    """The sentence for a failed read."""
    return StoreError(f"Cannot read {path}: {reason(error)}.")
