"""The corpus on disk: songs.jsonl, audio-NNN.npy and corpus.json, always whole.

A shard is written under another name and moved into place; its songs' lines are appended after that.
What a crash leaves half done is written again by the next run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from khala_studio.training.corpus.song import RenderedSong

PER_SHARD = 5  # compositions, about 11 songs


def shard_name(number: int) -> str:
    return f"audio-{number:03d}.npy"


def write_shard(folder: Path, number: int, songs: Sequence[RenderedSong]) -> list[dict[str, Any]]:
    """Write the audio; returns the songs' records with their place in it. Raises OSError."""
    total = sum(len(song.audio) for song in songs)
    path = folder / shard_name(number)
    part = folder / f"{path.name}.{os.getpid()}.part"
    try:
        with part.open("wb") as file:
            header = {"descr": "<i2", "fortran_order": False, "shape": (total, *songs[0].audio.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
            for song in songs:
                file.write(np.ascontiguousarray(song.audio, "<i2").data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    records, offset = [], 0
    for song in songs:
        records.append({**song.record, "shard": path.name, "offset": offset})
        offset += len(song.audio)
    return records


def append_songs(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Add the lines of one shard to songs.jsonl, in one write."""
    text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    with (folder / "songs.jsonl").open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_songs(folder: Path) -> list[dict[str, Any]]:
    """Records of the finished songs.

    A last line that a crash cut off is taken out of the file, with the others of its shard.
    """
    path = folder / "songs.jsonl"
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    songs = [json.loads(line) for line in whole.splitlines()]
    if whole != text:
        torn = _torn_shard(folder, songs)
        songs = [song for song in songs if song["shard"] != torn]
        staged = path.with_suffix(".part")
        staged.write_text(
            "".join(json.dumps(s, separators=(",", ":")) + "\n" for s in songs), encoding="utf-8"
        )
        staged.replace(path)
    return songs


def _torn_shard(folder: Path, songs: Sequence[dict[str, Any]]) -> str | None:
    """The last shard, if its songs do not fill its file: then the cut line was one of its."""
    if not songs:
        return None
    last: str = songs[-1]["shard"]
    listed = sum(song["samples"] for song in songs if song["shard"] == last)
    return last if listed < len(open_shard(folder / last)) else None


def open_shard(path: Path) -> npt.NDArray[np.int16]:
    """int16 [samples, 4, 2], memory-mapped."""
    audio: npt.NDArray[np.int16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return audio


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """corpus.json, whole or not at all."""
    staged = folder / "corpus.json.part"
    staged.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    staged.replace(folder / "corpus.json")
