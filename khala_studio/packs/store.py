"""Packs on this machine: find, list, verify, remove. `install.py` adds new ones."""

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from khala_studio import paths, resources
from khala_studio.packs.errors import PackBroken, PackError, PackMissing
from khala_studio.packs.manifest import MANIFEST_NAME, PackManifest, is_pack_id, read_manifest

log = logging.getLogger(__name__)

DEFAULT_PACK = "starter"  # what a request gets that names none; just a name to look up
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FoundPack:
    """A folder that says it is a pack. `manifest` is None where pack.json is wrong, and `error` says how."""

    folder: Path
    shipped: bool
    manifest: PackManifest | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class PackStore:
    """Where packs lie. Shipped ones come first, so that no download takes the place of a shipped pack.

    Attributes:
        shipped: folder of the packs that came with the program; never written to.
        installed: the user's folder of packs; it need not exist.
    """

    shipped: Path
    installed: Path

    @classmethod
    def default(cls) -> "PackStore":
        return cls(resources.shipped_packs(), paths.packs_folder())

    def list(self) -> list[FoundPack]:
        """Every pack here, broken ones too, shipped ones first, then by name. Files are not verified."""
        return [
            _look_at(folder, shipped)
            for root, shipped in ((self.shipped, True), (self.installed, False))
            for folder in _pack_folders(root)
        ]

    def find(self, name: str | Path) -> Path:
        """The folder of a pack, by id or by path. Its files are not verified.

        What is written like a path ("./starter", "packs/mine", an absolute path) is never looked up as an id;
        a bare word is a folder's name only where no pack has that id.

        Raises:
            PackMissing: there is none.
        """
        text = str(name)
        if isinstance(name, Path) or not is_pack_id(text):
            return _pack_at(Path(name))
        for root in (self.shipped, self.installed):
            if (root / text / MANIFEST_NAME).is_file():
                return root / text
        if (Path(text) / MANIFEST_NAME).is_file():
            return Path(text)
        known = ", ".join(pack.folder.name for pack in self.list()) or "none"
        raise PackMissing(f"There is no pack {text!r} on this machine; installed: {known}.")

    def remove(self, pack_id: str) -> Path:
        """Delete an installed pack, broken or not, and return the folder it was in.

        Raises:
            PackError: it came with the program, or it cannot be deleted.
            PackMissing: there is no such pack among the installed ones.
        """
        folder = self.installed / pack_id
        if not is_pack_id(pack_id) or not (folder / MANIFEST_NAME).is_file():
            if is_pack_id(pack_id) and (self.shipped / pack_id).is_dir():
                raise PackError(f"The pack {pack_id!r} came with the program and cannot be removed.")
            raise PackMissing(f"There is no installed pack {pack_id!r} to remove.")
        try:
            # A linked folder is somebody's working copy: only the link goes.
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        except OSError as error:
            raise PackError(f"The pack in {folder} cannot be removed: {error.strerror}.") from error
        log.info("pack %s removed from %s", pack_id, folder)
        return folder


def verify(folder: Path) -> PackManifest:
    """Read every byte of the pack and hold it against pack.json.

    Raises:
        PackMissing: there is no pack.
        PackBroken: one sentence that names the file and what was expected.
    """
    manifest = read_manifest(folder)
    for name in manifest.files:
        check_file(folder, manifest, name)
    return manifest


def check_sizes(folder: Path) -> PackManifest:
    """The quick half of `verify`: every file is there and of its size.

    Raises:
        As `verify`.
    """
    manifest = read_manifest(folder)
    for name in manifest.files:
        _check_size(folder, manifest, name)
    return manifest


def check_file(folder: Path, manifest: PackManifest, name: str) -> None:
    """Hold one file against its size and hash.

    Raises:
        PackBroken: it is another file, or none.
    """
    _check_size(folder, manifest, name)
    found = hash_file(folder / name)
    expected = manifest.files[name].sha256
    if found != expected:
        raise PackBroken(
            f"{folder / name} is not the file that pack.json means: "
            f"its SHA-256 is {found[:12]}..., expected {expected[:12]}...."
        )


def hash_file(path: Path) -> str:
    """SHA-256 in hexadecimal, read in blocks.

    Raises:
        PackBroken: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise PackBroken(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def _check_size(folder: Path, manifest: PackManifest, name: str) -> None:
    path, expected = folder / name, manifest.files[name].bytes
    if not path.is_file():
        raise PackBroken(f"{path} is missing; pack.json expects a file of {expected} bytes.")
    found = path.stat().st_size
    if found != expected:
        raise PackBroken(f"{path} has {found} bytes; pack.json expects {expected}.")


def _pack_folders(root: Path) -> list[Path]:
    try:
        return sorted(path.parent for path in root.glob(f"*/{MANIFEST_NAME}") if is_pack_id(path.parent.name))
    except OSError as error:
        log.warning("packs in %s cannot be listed: %s", root, error)
        return []


def _look_at(folder: Path, shipped: bool) -> FoundPack:
    try:
        return FoundPack(folder, shipped, read_manifest(folder))
    except PackError as error:
        return FoundPack(folder, shipped, None, str(error))


def _pack_at(path: Path) -> Path:
    folder = path.expanduser()
    # pack.json itself is what file choosers hand over.
    folder = folder.parent if folder.name == MANIFEST_NAME else folder
    if not (folder / MANIFEST_NAME).is_file():
        raise PackMissing(f"There is no pack in {folder}: it has no {MANIFEST_NAME}.")
    return folder
