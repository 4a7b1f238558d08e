"""`khala-studio packs list | verify | install | remove`: the packs on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from khala_studio.cli.failures import DONE, WRONG_REQUEST
from khala_studio.cli.values import path

if TYPE_CHECKING:
    from khala_studio.packs.store import FoundPack


def add_parser(commands: Any) -> None:
    """Declare `packs` and its four actions."""
    parser = commands.add_parser("packs", help="the model packs on this machine", description="Manage packs.")
    parser.set_defaults(run=list_packs)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    listing = actions.add_parser("list", help="what is here")
    listing.set_defaults(run=list_packs)
    verifying = actions.add_parser("verify", help="hold every file and graph against pack.json")
    verifying.add_argument("pack", nargs="?", metavar="ID-or-PATH", help="one pack (default: all)")
    verifying.set_defaults(run=verify_packs)
    installing = actions.add_parser("install", help="install a pack from a zip file")
    installing.add_argument("archive", metavar="PACK.zip", type=path)
    installing.add_argument("--force", action="store_true", help="replace an installed pack of the same id")
    installing.set_defaults(run=install_pack)
    removing = actions.add_parser("remove", help="delete an installed pack")
    removing.add_argument("pack", metavar="ID")
    removing.set_defaults(run=remove_pack)


def list_packs(_args: argparse.Namespace) -> int:
    """One line a pack: id, version, size, licence, folder."""
    from khala_studio.packs.store import PackStore

    packs = PackStore.default().list()
    for pack in packs:
        print(describe(pack))
    if not packs:
        print("No packs here. Install one with: khala-studio packs install PACK.zip")
    return DONE


def describe(pack: FoundPack) -> str:
    """One line about a pack."""
    m = pack.manifest
    if m is None:
        return f"{pack.folder.name}  BROKEN  {pack.error}"
    origin = "shipped" if pack.shipped else "installed"
    size = f"{m.total_bytes / 2**20:.1f} MiB"
    return f"{m.id}  {m.version}  {size}  {m.license}  {', '.join(m.languages)}  {origin}  {pack.folder}"


def verify_packs(args: argparse.Namespace) -> int:
    """Check one pack or all: sizes, hashes, inputs and outputs of the graphs; 2 if one is broken."""
    from khala_studio.engine.errors import EngineError
    from khala_studio.engine.sessions import check_graphs
    from khala_studio.packs.errors import PackError
    from khala_studio.packs.store import PackStore, verify

    store = PackStore.default()
    folders = [p.folder for p in store.list()] if args.pack is None else [store.find(args.pack)]
    if not folders:
        print("No packs here. Install one with: khala-studio packs install PACK.zip")
    code = DONE
    for folder in folders:
        try:
            manifest = verify(folder)
            check_graphs(folder)
        except (PackError, EngineError) as error:
            print(f"{folder.name}: broken. {error}")
            code = WRONG_REQUEST
        else:
            size = f"{len(manifest.files)} files, {manifest.total_bytes / 2**20:.1f} MiB"
            print(f"{manifest.id} {manifest.version}: whole, {size}, sha256 {manifest.sha256}")
    return code


def install_pack(args: argparse.Namespace) -> int:
    """Install from a zip. Raises PackError."""
    from khala_studio.packs.install import install
    from khala_studio.packs.store import PackStore

    manifest = install(args.archive, PackStore.default(), replace=args.force)
    print(f"{manifest.id} {manifest.version} is installed.")
    return DONE


def remove_pack(args: argparse.Namespace) -> int:
    """Delete an installed pack. Raises PackError."""
    from khala_studio.packs.store import PackStore

    folder = PackStore.default().remove(args.pack)
    print(f"{args.pack} is removed from {folder.parent}.")
    return DONE
