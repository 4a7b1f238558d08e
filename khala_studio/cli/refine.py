"""`khala-studio refine DIR`: go on with a take that stopped early, or give it more layers."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from khala_studio.cli import opening
from khala_studio.cli.failures import UserError
from khala_studio.cli.generate import depth_for
from khala_studio.cli.values import path, whole
from khala_studio.song.request import MAX_DEPTH

if TYPE_CHECKING:
    from khala_studio.packs.manifest import PackManifest
    from khala_studio.song.take import Take


def add_parser(commands: Any) -> None:
    """Declare `refine`."""
    parser = commands.add_parser(
        "refine",
        help="go on with a take that stopped early",
        description="Go on with a take from its saved codes, to the depth it was asked for or to --depth.",
    )
    parser.add_argument("folder", metavar="DIR", type=path, help="the folder of the take")
    parser.add_argument(
        "--depth", metavar="K", type=whole(2, MAX_DEPTH), help="layers (default: as it was asked)"
    )
    opening.add_pack_option(parser)
    parser.add_argument("--events", action="store_true", help="one JSON object a line on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Refine the take in place. Raises what `SongRun.run` raises, and UserError."""
    from khala_studio.project.store import TakeFolder

    folder = TakeFolder(args.folder)
    take = folder.load()
    pack = opening.find_pack(args.pack or take.pack_id)

    from khala_studio.cli.song_run import Plan, SongRun
    from khala_studio.engine import pipeline

    manifest = opening.check_pack(pack)
    _refuse_other_pack(take, manifest)
    _refuse_other_codes(take, manifest, args.folder)
    depth = depth_for(args.depth or min(take.request.depth, manifest.codec.n_codebooks), manifest)
    wanted = replace(take, request=replace(take.request, depth=depth))
    make = partial(pipeline.refine, wanted, depth=depth)
    return SongRun(pack, [Plan(folder, wanted.request, wanted, make)], events=args.events).run()


def _refuse_other_codes(take: Take, manifest: PackManifest, folder: Path) -> None:
    """codes.npy may have been replaced by hand."""
    from khala_studio.song.codes import check_codes

    try:
        check_codes(take.codes, manifest.codec)
    except ValueError as error:
        raise UserError(f"{folder} does not hold codes of the pack {manifest.id!r}: {error}") from error
    if take.codes.shape[0] != manifest.codec.n_codebooks:
        raise UserError(
            f"{folder} has {take.codes.shape[0]} layers of codes; a take of the pack {manifest.id!r} "
            f"has {manifest.codec.n_codebooks}."
        )


def _refuse_other_pack(take: Take, manifest: PackManifest) -> None:
    """Codes mean something to the pack that made them alone."""
    if take.pack_id == manifest.id and take.pack_sha256 == manifest.sha256:
        return
    if take.pack_id != manifest.id:
        raise UserError(
            f"This take was made with the pack {take.pack_id!r}, not with {manifest.id!r}; "
            "name that one with --pack."
        )
    raise UserError(
        f"This take was made with another version of the pack {take.pack_id!r}; "
        "name the folder of that version with --pack, or generate the song again."
    )
