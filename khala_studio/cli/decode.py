"""`khala-studio decode CODES.npy -o OUT.wav`: codes -> sound."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from khala_studio.cli import opening
from khala_studio.cli.failures import DONE, Cancelled, UserError
from khala_studio.cli.job import Job
from khala_studio.cli.values import path, whole
from khala_studio.song.request import MAX_DEPTH

if TYPE_CHECKING:
    from khala_studio.engine.events import Samples
    from khala_studio.packs.manifest import PackManifest
    from khala_studio.song.codes import Codes


def add_parser(commands: Any) -> None:
    """Declare `decode`."""
    parser = commands.add_parser(
        "decode", help="codes become sound", description="Decode codes to a sound file."
    )
    parser.add_argument(
        "codes", metavar="CODES.npy", type=path, help="codes, such as the codes.npy of a take"
    )
    parser.add_argument("-o", "--output", metavar="OUT.wav", type=path, required=True, help=".wav or .flac")
    parser.add_argument(
        "--depth", metavar="K", type=whole(1, MAX_DEPTH), help="layers to use (default: all that are known)"
    )
    opening.add_pack_option(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT.wav")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decode in chunks, straight to the file. Raises UserError, StoreError, EngineError, Cancelled."""
    from khala_studio.project.store import read_codes
    from khala_studio.project.wav import SoundWriter, sound_format

    sound_format(args.output)
    refuse_overwriting(args.output, force=args.force)
    pack = opening.find_pack(args.pack)
    manifest = opening.check_pack(pack)
    codes = known_layers(read_codes(args.codes, manifest.codec), args.depth, args.codes)
    job: Job[Samples] = Job()
    with SoundWriter(args.output, manifest.codec.sample_rate) as writer:
        with closing(job.events(lambda: _chunks(job, pack, manifest, codes))) as chunks:
            for samples in chunks:
                writer.write(samples)
        if job.cancelled:
            raise Cancelled("Stopped. Nothing was written.")
        seconds = writer.length / manifest.codec.sample_rate
    print(f"{args.output}: {seconds:.1f} s, depth {codes.shape[0]}")
    return DONE


def known_layers(codes: Codes, depth: int | None, source: Path) -> Codes:
    """The first `depth` layers, or all known ones. Raises UserError."""
    from khala_studio.song.codes import known_depth

    known = known_depth(codes)
    if not codes.shape[1]:
        raise UserError(f"{source} holds no frames.")
    if known == 0:
        raise UserError(f"{source} holds no whole layer of codes.")
    if depth is not None and depth > known:
        raise UserError(f"{source} has {known} known layers; choose a --depth up to {known}.")
    return codes[: depth or known]


def refuse_overwriting(output: Path, *, force: bool) -> None:
    """Raise UserError if `output` exists and --force was not given."""
    if output.exists() and not force:
        raise UserError(
            f"{output} exists already; choose another name with -o, or add --force to replace it."
        )


def _chunks(
    job: Job[Samples], pack: Path, manifest: PackManifest, codes: Codes
) -> Generator[Samples, None, None]:
    """In the engine's thread."""
    from khala_studio.engine.decoder import decode_stream

    with opening.open_stages(pack) as stages:
        job.watch(stages)
        for _, samples in decode_stream(stages.decode, codes, manifest.codec):
            yield samples
