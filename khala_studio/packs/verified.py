"""Hash a pack once, not at every start: a note of what was verified, by size and time of change.

The note saves seconds on packs of gigabytes. It guards against broken downloads and edited files, not against
somebody who can already write to this machine's disk.
"""

import json
import logging
import os
from pathlib import Path

from khala_studio import paths
from khala_studio.packs.manifest import PackManifest
from khala_studio.packs.store import check_sizes, verify

log = logging.getLogger(__name__)

_NOTE = "verified-packs.json"
_MAX_NOTES = 100


def ensure_verified(folder: Path, cache: Path | None = None) -> PackManifest:
    """`store.verify`, unless nothing in the folder has changed since it last passed.

    Args:
        cache: where the note is kept; None means the user's cache folder.

    Raises:
        As `store.verify`.
    """
    note = (cache or paths.cache_folder()) / _NOTE
    key = str(folder.resolve())
    manifest = check_sizes(folder)
    state = _state(folder, manifest)
    known = _load(note)
    if known.get(key) == state:
        return manifest
    manifest = verify(folder)
    known.pop(key, None)
    # Taken before hashing: a file that changed meanwhile does not match it.
    _save(note, known | {key: state})
    return manifest


def _state(folder: Path, manifest: PackManifest) -> list[object]:
    """[pack hash, then name, size, time of change, inode of each file], equal after a trip through JSON."""
    state: list[object] = [manifest.sha256]
    for name in sorted(manifest.files):
        info = (folder / name).stat()
        state.append([name, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino])
    return state


def _load(note: Path) -> dict[str, object]:
    try:
        known = json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _save(note: Path, known: dict[str, object]) -> None:
    newest = dict(list(known.items())[-_MAX_NOTES:])
    part = note.with_name(f"{note.name}.{os.getpid()}.part")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(newest), encoding="utf-8")
        part.replace(note)
    except OSError as error:
        log.info("not noted that the pack was verified: %s", error)
