"""`khala-studio encode IN.wav -o CODES.npy`: sound -> codes, for packs with an encoder."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from khala_studio.cli import opening
from khala_studio.cli.decode import refuse_overwriting
from khala_studio.cli.failures import DONE, Cancelled, UserError
from khala_studio.cli.job import Job
from khala_studio.cli.values import path

if TYPE_CHECKING:
    from khala_studio.engine.events import Samples
    from khala_studio.packs.manifest import PackManifest
    from khala_studio.song.codes import Codes


def add_parser(commands: Any) -> None:
    """Declare `encode`."""
    parser = commands.add_parser(
        "encode", help="sound becomes codes", description="Encode a sound file to codes."
    )
    parser.add_argument(
        "sound", metavar="IN.wav", type=path, help="WAV, FLAC, OGG or MP3, mono or stereo, any rate"
    )
    parser.add_argument("-o", "--output", metavar="CODES.npy", type=path, required=True)
    opening.add_pack_option(parser)
    parser.add_argument("--force", action="store_true", help="replace CODES.npy")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Encode in chunks. Raises UserError, StoreError, EngineError, Cancelled."""
    import numpy as np

    from khala_studio.project.store import write_codes
    from khala_studio.project.wav import read_sound

    if args.output.suffix.lower() != ".npy":
        raise UserError(f"{args.output} should end in .npy.")
    refuse_overwriting(args.output, force=args.force)
    pack = opening.find_pack(args.pack)
    manifest = opening.check_pack(pack)
    if "encoder" not in manifest.graphs:
        raise UserError(f"The pack {manifest.id!r} has no encoder; choose another one with --pack.")
    sound = read_sound(args.sound, manifest.codec.sample_rate)
    job: Job[Codes] = Job()
    with closing(job.events(lambda: _chunks(job, pack, manifest, sound))) as chunks:
        parts = list(chunks)
    if job.cancelled:
        raise Cancelled("Stopped. Nothing was written.")
    codes = np.concatenate(parts, axis=1).astype(np.int16)  # [K, T]
    write_codes(args.output, codes)
    print(f"{args.output}: {codes.shape[0]} layers, {codes.shape[1]} frames")
    return DONE


def _chunks(
    job: Job[Codes], pack: Path, manifest: PackManifest, sound: Samples
) -> Generator[Codes, None, None]:
    """In the engine's thread."""
    with opening.open_stages(pack) as stages:
        job.watch(stages)
        yield from stages.encode(sound)
