"""`khala-studio train corpus`: render songs in several processes; run again to go on."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from khala_studio.training.corpus import shards
from khala_studio.training.corpus.compose import compose
from khala_studio.training.corpus.song import render
from khala_studio.training.corpus.sources import Ingredients, SourceError, fetch, licences, load_lexicon
from khala_studio.training.corpus.voice import KokoroSinger
from khala_studio.training.corpus.voice_graphs import cut_voice
from khala_studio.training.corpus.voice_model import VoiceModel
from khala_studio.training.corpus.words import pronouncer

LIBRARIES = ("numpy", "scipy", "onnxruntime", "openvino", "pyworld", "tinysoundfont")
SAMPLE_RATE = 44100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("train/corpus"), help="corpus folder (default: %(default)s)"
    )
    parser.add_argument(
        "--hours",
        type=float,
        default=2.3,
        help="hours of songs, all arrangements counted (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="another seed, other songs (default: %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one per core")
    parser.add_argument(
        "--cache",
        type=Path,
        default=None,
        help="where ingredients are kept (default: the user's cache folder)",
    )


def main(args: argparse.Namespace) -> int:
    """Render the corpus.

    Returns:
        Exit code: 0 done, 1 an ingredient or a worker is gone or the disk is full, 2 it is another corpus,
        130 interrupted.
    """
    try:
        ingredients = fetch(args.cache)
        cut_voice(ingredients.voice_model, ingredients.graphs)
        args.out.mkdir(parents=True, exist_ok=True)
        if (started := _seed_of(args.out)) not in (None, args.seed):
            print(
                f"{args.out} was begun with --seed {started}: use it again, or another folder",
                file=sys.stderr,
            )
            return 2
        return _build(args, ingredients)
    except BrokenProcessPool:
        print("a worker was killed, perhaps for memory (2.5 GB each); run it again to go on", file=sys.stderr)
        return 1
    except (SourceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _build(args: argparse.Namespace, ingredients: Ingredients) -> int:
    songs = shards.read_songs(args.out)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to go: take the workers along
    wanted, begun, new = args.hours * 3600, time.monotonic(), 0.0
    shards.write_summary(args.out, summary(songs, args.seed))
    done = {song["shard"] for song in songs}
    total = _seconds(songs)
    try:
        for records in _rendered(args, ingredients, done, total, wanted):
            shards.append_songs(args.out, records)
            songs += records
            shards.write_summary(args.out, summary(songs, args.seed))
            new += _seconds(records)
            total += _seconds(records)
            rate = new / (time.monotonic() - begun)
            minutes = max(0.0, wanted - total) / rate / 60
            so_far = f"{len(songs)} songs, {total / 3600:.2f} of {args.hours:g} h"
            print(f"{so_far}, {rate:.1f}x real time, {minutes:.0f} min left", flush=True)
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return 130
    print(f"{args.out}: {len(songs)} songs, {total / 3600:.2f} h")
    return 0


def _rendered(
    args: argparse.Namespace, ingredients: Ingredients, done: set[str], total: float, wanted: float
) -> Iterator[list[dict[str, Any]]]:
    """Records of shard after shard, as they get ready, until about `wanted` seconds are there."""
    numbers = (n for n in range(1_000_000) if shards.shard_name(n) not in done)
    pool = ProcessPoolExecutor(
        args.processes,
        multiprocessing.get_context("spawn"),
        _open_worker,
        (args.seed, args.out, ingredients, args.cache),
    )
    running: set[Future[list[dict[str, Any]]]] = set()
    try:
        running = (
            {pool.submit(_render_shard, next(numbers)) for _ in range(args.processes)}
            if total < wanted
            else set()
        )
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                records = future.result()
                total += _seconds(records)
                yield records
                if total < wanted:
                    running.add(pool.submit(_render_shard, next(numbers)))
    except BaseException:
        for process in list((pool._processes or {}).values()):  # a shard takes minutes: don't wait for it
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Any] = {}


def _open_worker(seed: int, folder: Path, ingredients: Ingredients, cache: Path | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops us
    _die_with_parent()
    singer = KokoroSinger(VoiceModel(ingredients))
    _worker.update(
        seed=seed,
        folder=folder,
        singer=singer,
        soundfont=ingredients.soundfont,
        pronounce=pronouncer(load_lexicon(cache)),
    )


def _die_with_parent() -> None:
    """Also when the parent is killed without a word."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _render_shard(number: int) -> list[dict[str, Any]]:
    songs = []
    for song in range(number * shards.PER_SHARD, (number + 1) * shards.PER_SHARD):
        songs += render(
            compose(song, _worker["seed"], _worker["pronounce"]), _worker["singer"], _worker["soundfont"]
        )
    return shards.write_shard(_worker["folder"], number, songs)


def _seconds(songs: Iterable[dict[str, Any]]) -> float:
    return sum(song["samples"] for song in songs) / SAMPLE_RATE


def _seed_of(folder: Path) -> int | None:
    try:
        seed: int = json.loads((folder / "corpus.json").read_text())["seed"]
    except FileNotFoundError:
        return None
    return seed


def summary(songs: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """What corpus.json says: how many of what, made from what, under which licences."""
    count = {
        tag: dict(Counter(song[tag] for song in songs))
        for tag in ("split", "genre", "voice", "mood", "bpm", "key")
    }
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    hours = {
        split: round(_seconds(s for s in songs if s["split"] == split) / 3600, 3)
        for split in ("train", "valid")
    }
    instruments = dict(Counter(name for song in songs for name in song["instruments"]))
    return {
        "format": 1,
        "seed": seed,
        "sample_rate": SAMPLE_RATE,
        "stems": ["vocals", "drums", "bass", "other"],
        "songs": len(songs),
        "hours": hours,
        "counts": {**count, "instrument": instruments},
        "libraries": versions,
        "sources": licences(),
    }


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
