"""Finding a pack and opening its models: the seam where tests put a fake engine."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from khala_studio.engine.sessions import OnnxStages
    from khala_studio.packs.manifest import PackManifest


def add_pack_option(parser: argparse.ArgumentParser) -> None:
    """`--pack`, the same for all commands."""
    parser.add_argument(
        "--pack", metavar="ID-or-PATH", help="the model pack: its id or its folder (default: the starter)"
    )


def find_pack(name: str | None) -> Path:
    """The folder of the pack `name`; of None the default pack, else the only one there is.

    Raises:
        PackMissing: there is none.
    """
    from khala_studio.packs.errors import PackMissing
    from khala_studio.packs.store import DEFAULT_PACK, PackStore

    store = PackStore.default()
    if name is not None:
        return store.find(name)
    try:
        return store.find(DEFAULT_PACK)
    except PackMissing:
        for pack in store.list():
            if pack.manifest is not None:
                return pack.folder
        raise


def check_pack(folder: Path) -> PackManifest:
    """The manifest of a pack whose files are what it says; hashed when they are new or have changed.

    Raises:
        PackMissing, PackBroken: one sentence that names the file.
    """
    from khala_studio.packs.verified import ensure_verified

    return ensure_verified(folder)


def open_stages(folder: Path, **options: Any) -> AbstractContextManager[OnnxStages]:
    """The models of the pack in `folder`, opened. Takes a second or more. Raises EngineError."""
    from khala_studio.engine.sessions import open_pack

    return open_pack(folder, **options)
