"""`khala-studio bench`: how fast this machine is with this pack. Medians of several rounds."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from khala_studio import __version__
from khala_studio.cli import opening
from khala_studio.cli.bench_figure import Figure
from khala_studio.cli.failures import DONE, UserError
from khala_studio.cli.values import number, whole
from khala_studio.song.request import MAX_SECONDS

if TYPE_CHECKING:
    from khala_studio.packs.manifest import PackManifest


def add_parser(commands: Any) -> None:
    """Declare `bench`."""
    parser = commands.add_parser(
        "bench",
        help="measure this machine",
        description="Measure this machine and a pack. Close other programs first; it takes a few minutes.",
    )
    opening.add_pack_option(parser)
    parser.add_argument("--rounds", metavar="N", type=whole(1, 100), default=3, help="rounds a figure (3)")
    parser.add_argument(
        "--seconds", metavar="N", type=number(1, MAX_SECONDS), default=30.0, help="length of the song (30)"
    )
    parser.add_argument("--threads", metavar="N", type=whole(1, 1024), help="threads of a model (cores - 1)")
    parser.add_argument("--no-song", action="store_true", help="leave out the whole song and process starts")
    parser.add_argument("--against-torch", action="store_true", help="also the same nets in PyTorch")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Raises UserError, EngineError."""
    pack = opening.find_pack(args.pack)
    manifest = opening.check_pack(pack)
    compare = torch_comparison() if args.against_torch else None  # before the minutes of work
    report: dict[str, Any] = {"pack": manifest.id, "pack_version": manifest.version, **machine()}
    report |= {"rounds": args.rounds, "seconds": args.seconds, "figures": {}}
    if not args.json:
        print(f"{manifest.id} {manifest.version} on {report['processor']}, {report['cores']} cores")
        print("(median of the rounds, then the lowest and the highest)")
    for figure in _figures(args, pack, manifest):
        report["figures"][figure.name] = {
            "median": figure.median, "unit": figure.unit, "values": list(figure.values)
        }  # fmt: skip
        if not args.json:
            print(figure, flush=True)
    if compare is not None:
        ratios = compare(pack, threads=args.threads or report["cores"], rounds=args.rounds)
        report["against_torch"] = [ratio.to_json() for ratio in ratios]
        if not args.json:
            print(*ratios, sep="\n")
    if args.json:
        print(json.dumps(report, indent=2))
    return DONE


def _figures(args: argparse.Namespace, pack: Path, manifest: PackManifest) -> Iterator[Figure]:
    from khala_studio.cli import bench_process, bench_stages

    say = _Narrator(sys.stderr)
    yield from bench_stages.measure(pack, manifest, args.rounds, args.seconds, args.threads, say)
    if not args.no_song:
        yield from bench_process.measure(pack, args.rounds, args.seconds, say)


class _Narrator:
    """Says what is being measured, where a person is watching."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream if stream.isatty() else None

    def __call__(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"  measuring: {text}\n")


def torch_comparison() -> Any:
    """`training.bench_torch.compare`. Raises UserError without the train extra."""
    try:
        from khala_studio.training.bench_torch import compare
    except ModuleNotFoundError as error:
        raise UserError(
            f"--against-torch needs {error.name}, which is not installed. "
            "Run `make setup-train` in a checkout, or `pip install khala-studio[train]`."
        ) from error
    return compare


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import onnxruntime as ort

    from khala_studio.engine.providers import default_threads

    return {
        "khala_studio": __version__,
        "onnxruntime": ort.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "threads": default_threads(),
    }


def cores() -> int:
    """Cores that this process may use."""
    import os

    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
