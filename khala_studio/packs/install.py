"""A zip from a stranger -> a pack in the user's folder.

The zip is trusted for nothing. Its pack.json is read first and parsed strictly; then only the names that it
lists are taken, never more bytes than it states, into a new folder beside the target; the hashes are checked
there, and the folder is moved into place in one step. Whatever goes wrong leaves no trace.
"""

import logging
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from khala_studio.packs.errors import PackBroken, PackError
from khala_studio.packs.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, PackManifest, parse_manifest
from khala_studio.packs.store import PackStore, verify

log = logging.getLogger(__name__)

MAX_ENTRIES = 1_000
_BLOCK = 1 << 20
_FREE_SPACE_LEFT = 64 * 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def install(archive: Path, store: PackStore, *, replace: bool = False) -> PackManifest:
    """Install the pack in the zip `archive` as `store.installed / its id`.

    The zip holds pack.json and the files at its top, or all of them in one folder.

    Raises:
        PackBroken: the archive is no whole pack; one sentence names the file and what was expected.
        PackError: a pack of that id is there (and `replace` is False), or there is no room.
    """
    with _open(archive) as bundle:
        entries = _entries(bundle, archive)
        manifest = parse_manifest(
            _read_start(bundle, entries[MANIFEST_NAME], MAX_MANIFEST_BYTES + 1),
            f"{archive.name}: {MANIFEST_NAME}",
        )
        target = _target(manifest, store, replace)
        _check_names(manifest, entries, archive)
        _check_space(manifest, store)
        with _beside(target) as folder:
            _extract(bundle, entries, manifest, folder)
            verify(folder)
            _move_into_place(folder, target)
    log.info("pack %s %s installed in %s", manifest.id, manifest.version, target)
    return manifest


@contextmanager
def _open(archive: Path) -> Iterator[zipfile.ZipFile]:
    """The zip, with all that reading one can raise turned into sentences."""
    try:
        with zipfile.ZipFile(archive) as bundle:
            yield bundle
    except FileNotFoundError as error:
        raise PackError(f"There is no file {error.filename or archive}.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise PackBroken(f"{archive} is not a readable zip of a pack: {error}.") from error
    except RuntimeError as error:  # an encrypted entry
        raise PackBroken(f"{archive} is locked with a password; a pack is a plain zip.") from error
    except OSError as error:
        raise PackError(f"The pack cannot be installed: {error.strerror or error}.") from error


def _entries(bundle: zipfile.ZipFile, archive: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by name, less the one folder that may hold them all."""
    infos = [info for info in bundle.infolist() if not info.is_dir()]
    if len(infos) > MAX_ENTRIES:
        raise PackBroken(f"{archive.name} has {len(infos)} files; a pack has {MAX_ENTRIES} at most.")
    tops = [info.filename for info in infos if info.filename.rpartition("/")[2] == MANIFEST_NAME]
    if len(tops) != 1:
        raise PackBroken(f"{archive.name} has {len(tops)} files named {MANIFEST_NAME}; a pack has one.")
    prefix = tops[0].removesuffix(MANIFEST_NAME)
    entries = {}
    for info in infos:
        if not info.filename.startswith(prefix):
            raise PackBroken(f"{archive.name} has {_short(info.filename)!r} outside of the pack's folder.")
        entries[info.filename.removeprefix(prefix)] = info
    if len(entries) < len(infos):
        name, _ = Counter(info.filename for info in infos).most_common(1)[0]
        raise PackBroken(f"{archive.name} has {_short(name)!r} more than once.")
    return entries


def _check_names(manifest: PackManifest, entries: dict[str, zipfile.ZipInfo], archive: Path) -> None:
    """Exactly the manifest's files, each an ordinary file of the size it states."""
    for name in entries:
        if name not in manifest.files and name != MANIFEST_NAME:
            raise PackBroken(f"{archive.name} has {_short(name)!r}, which its pack.json does not list.")
    for name, expected in manifest.files.items():
        info = entries.get(name)
        if info is None:
            raise PackBroken(f"{archive.name} lacks {name}, which its pack.json lists.")
        if info.file_size != expected.bytes:
            raise PackBroken(
                f"{name} in {archive.name} has {info.file_size} bytes; pack.json expects {expected.bytes}."
            )
    for name, info in entries.items():
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise PackBroken(f"{name} in {archive.name} is a link or a device; a pack has only plain files.")
        if info.compress_type not in _METHODS:
            raise PackBroken(f"{name} in {archive.name} is packed in a way that is not stored or deflated.")


def _target(manifest: PackManifest, store: PackStore, replace: bool) -> Path:
    if (store.shipped / manifest.id).is_dir():
        raise PackError(f"The pack {manifest.id!r} came with the program and cannot be replaced.")
    target = store.installed / manifest.id
    if os.path.lexists(target) and not replace:
        raise PackError(f"The pack {manifest.id!r} is already in {target}; remove it first.")
    return target


def _check_space(manifest: PackManifest, store: PackStore) -> None:
    store.installed.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store.installed).free
    if manifest.total_bytes + _FREE_SPACE_LEFT > free:
        raise PackError(
            f"The pack needs {manifest.total_bytes / 2**20:.0f} MiB in {store.installed}, "
            f"and {free / 2**20:.0f} MiB are free."
        )


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder on the target's own disk, so that the move is one rename. Whatever is left in it goes."""
    # The leading dot keeps it from being listed as a pack.
    outer = Path(tempfile.mkdtemp(prefix=".installing-", dir=target.parent))
    try:
        folder = outer / target.name
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _extract(
    bundle: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], manifest: PackManifest, folder: Path
) -> None:
    limits = {MANIFEST_NAME: MAX_MANIFEST_BYTES} | {name: f.bytes for name, f in manifest.files.items()}
    for name, limit in limits.items():
        # Names come from the manifest, whose parser lets no separators through; "x" refuses an existing file.
        with bundle.open(entries[name]) as source, (folder / name).open("xb") as sink:
            _copy(source, sink, limit, name)


def _copy(source: IO[bytes], sink: IO[bytes], limit: int, name: str) -> None:
    """Copy at most `limit` bytes, whatever the archive's own index says."""
    left = limit
    while block := source.read(min(_BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            raise PackBroken(f"{name} unpacks to more than the {limit} bytes that pack.json states.")
        sink.write(block)


def _read_start(bundle: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    with bundle.open(info) as source:
        return source.read(limit)


def _move_into_place(folder: Path, target: Path) -> None:
    """`folder` becomes `target`. A pack that was there comes back if that fails."""
    if not os.path.lexists(target):
        folder.rename(target)
        return
    old = folder.parent / "replaced"
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "..."
