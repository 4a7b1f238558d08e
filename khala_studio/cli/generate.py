"""`khala-studio generate LYRICS.txt -o DIR`: the main job."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from khala_studio.cli import opening
from khala_studio.cli.failures import UserError
from khala_studio.cli.values import MAX_TAKES, number, path, text, whole
from khala_studio.song.request import MAX_DEPTH, MAX_SECONDS, MAX_TEMPERATURE, SEED_LIMIT

if TYPE_CHECKING:
    from khala_studio.cli.song_run import Plan
    from khala_studio.packs.manifest import PackManifest
    from khala_studio.project.store import TakeFolder
    from khala_studio.song.request import Sampling, SongRequest

_LEAST_SECONDS = 0.01
_BYTES_PER_SAMPLE = 2 * 2 + 2 * 3  # stereo: the draft has 16 bits, the song 24
_EVENT_BYTES_PER_SAMPLE = 4 * 2 * 4  # --events: four previews in float32
_SPARE_BYTES = 4 << 20


def add_parser(commands: Any) -> None:
    """Declare `generate`."""
    parser = commands.add_parser(
        "generate",
        help="lyrics become a song",
        description="Turn lyrics into a song. DIR gets draft.wav, song.wav, codes.npy and take.json.",
    )
    parser.add_argument("lyrics", metavar="LYRICS.txt", help="a text file; - reads standard input")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=path, required=True, help="the folder of the take"
    )
    parser.add_argument("--style", type=text, default="", help='such as "pop, female voice, 100 bpm"')
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", metavar="N", type=number(_LEAST_SECONDS, MAX_SECONDS), help="length")
    length.add_argument("--minutes", metavar="N", type=number(0.001, MAX_SECONDS / 60), help="the same")
    parser.add_argument("--instrumental", action="store_true", help="without singing")
    parser.add_argument(
        "--seed", metavar="N", type=whole(0, SEED_LIMIT - 1), default=0, help="another seed, another song (0)"
    )
    parser.add_argument(
        "--takes", metavar="N", type=whole(1, MAX_TAKES), default=1,
        help="several songs with seeds N, N+1, ...; they go to DIR/take-1, DIR/take-2, ...",
    )  # fmt: skip
    opening.add_pack_option(parser)
    parser.add_argument(
        "--depth", metavar="K", type=whole(2, MAX_DEPTH), help="layers: 2 is a draft (default: all)"
    )
    parser.add_argument(
        "--temperature", metavar="X", type=number(0.01, MAX_TEMPERATURE), help="lower is calmer"
    )
    parser.add_argument(
        "--top-k", metavar="K", type=whole(1, 1_000_000), help="draw from the K likeliest codes"
    )
    parser.add_argument("--stems", action="store_true", help="also write stems/, if the pack can")
    parser.add_argument("--events", action="store_true", help="one JSON object a line on standard output")
    parser.add_argument("--force", action="store_true", help="replace an older take in DIR")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the takes. Raises what `SongRun.run` raises, and UserError."""
    lyrics, notice = _lyrics(args)
    pack = opening.find_pack(args.pack)

    from khala_studio.cli.song_run import SongRun

    manifest = opening.check_pack(pack)
    refuse_stems(args.stems, manifest)
    requests = [_request(args, lyrics, args.seed + i, manifest) for i in range(args.takes)]
    plans = _plans(args, requests, manifest)
    song = SongRun(pack, plans, events=args.events)
    if notice is not None:
        song.notice(notice)
    return song.run()


def refuse_stems(wanted: bool, manifest: PackManifest) -> None:
    """Raise UserError when stems are asked of a pack without a separator."""
    if wanted and "stems" not in manifest.graphs:
        raise UserError(f"The pack {manifest.id!r} cannot separate stems; leave out --stems.")
    if wanted:
        raise UserError("This version of Khala Studio cannot separate stems yet; leave out --stems.")


def _lyrics(args: argparse.Namespace) -> tuple[str, str | None]:
    from khala_studio.cli.lyrics_file import read_lyrics

    return read_lyrics(args.lyrics)


def _request(args: argparse.Namespace, lyrics: str, seed: int, manifest: PackManifest) -> SongRequest:
    from khala_studio.song.request import SongRequest

    length = manifest.controls.length
    seconds = args.seconds if args.minutes is None else args.minutes * 60
    try:
        return SongRequest(
            lyrics=lyrics,
            style=args.style,
            seconds=length.seconds(length.default) if seconds is None else seconds,
            instrumental=args.instrumental,
            seed=seed,
            backbone=_sampling(args, manifest.sampling.backbone),
            depth=depth_for(args.depth, manifest),
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def depth_for(asked: int | None, manifest: PackManifest) -> int:
    """The depth asked for, or all layers of the pack. Raises UserError."""
    layers = manifest.codec.n_codebooks
    if asked is not None and asked > layers:
        raise UserError(f"The pack {manifest.id!r} has {layers} layers; choose a --depth up to {layers}.")
    return min(layers, MAX_DEPTH) if asked is None else asked


def _sampling(args: argparse.Namespace, default: Sampling) -> Sampling | None:
    """How the composing model draws; None leaves it to the pack."""
    if args.temperature is None and args.top_k is None:
        return None
    from khala_studio.song.request import Sampling

    return Sampling(
        default.temperature if args.temperature is None else args.temperature,
        default.top_k if args.top_k is None else args.top_k,
    )


def _plans(args: argparse.Namespace, requests: list[SongRequest], manifest: PackManifest) -> list[Plan]:
    from khala_studio.cli.song_run import Plan
    from khala_studio.engine import pipeline

    # Now, and not when the models are open; the prompt's share is not known yet.
    pipeline.frame_range(requests[0], manifest, n_prompt=0)
    _check_space(args, requests, manifest)
    folders = _folders(args.output, len(requests), force=args.force)
    return [
        Plan(folder, request, None, partial(pipeline.generate, request))
        for folder, request in zip(folders, requests, strict=True)
    ]


def _folders(output: Path, takes: int, *, force: bool) -> list[TakeFolder]:
    """The folders of the takes, made; none is made unless all can be."""
    from khala_studio.project.errors import StoreError
    from khala_studio.project.store import TakeFolder

    paths = [output] if takes == 1 else [output / f"take-{n}" for n in range(1, takes + 1)]
    if not force:
        for folder in paths:
            TakeFolder(folder).refuse_existing()
    made: list[TakeFolder] = []
    try:
        for folder in paths:
            made.append(TakeFolder.create(folder, force=force))
    except StoreError:
        for take in reversed(made):
            take.remove_if_unused()
        raise
    return made


def _check_space(args: argparse.Namespace, requests: list[SongRequest], manifest: PackManifest) -> None:
    """Refuse now what would fail after minutes of work."""
    from khala_studio.project.store import free_bytes

    samples = requests[0].seconds * manifest.controls.length.max_fraction * manifest.codec.sample_rate
    per_sample = _BYTES_PER_SAMPLE + (_EVENT_BYTES_PER_SAMPLE if args.events else 0)
    needed = int(samples * per_sample) * len(requests) + _SPARE_BYTES
    free = free_bytes(args.output)
    if free is not None and free < needed:
        raise UserError(
            f"The disk of {args.output} has {free >> 20} MB free and the song needs {needed >> 20} MB. "
            "Free some space or choose another folder with -o."
        )
