"""What the two transformers train on: songs' codes, cut at line boundaries, with the words sung in them.

Reads the codes folder (`codes.npy` int16 [64, T_total], `codes.jsonl`) and the corpus' `songs.jsonl` with
numpy alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khala_studio.song.codec import CodecSpec

SPEC = CodecSpec()
LENGTHS = ("line", "couplet", "section", "song")  # what an excerpt is cut to
EARLY = (0.55, 0.25, 0.15, 0.05)  # shares of the lengths when training begins: words are learnt on lines
LATE = (0.25, 0.20, 0.30, 0.25)
RAMP = (0.15, 0.65)  # of the budget, from EARLY to LATE
VARIANT_SHARES = {"mix": 0.5, "acappella": 0.4, "instrumental": 0.1}
LEAD, TAIL = 0.35, 0.5  # s of sound that may stand before and after the words of an excerpt


@dataclass(frozen=True, slots=True)
class Recording:
    """One variant of a song and where its codes lie."""

    song: dict[str, Any]  # its line of songs.jsonl
    kind: str  # song | a cappella | instrumental, as one hears it
    offset: int
    frames: int

    @property
    def sung(self) -> bool:
        return self.kind != "instrumental" and bool(self.song["lines"])


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Frames start..stop of a recording, the lines sung in them, and the sections they touch."""

    recording: Recording
    start: int
    stop: int
    lines: tuple[int, ...]
    sections: tuple[int, ...]

    @property
    def frames(self) -> int:
        return self.stop - self.start

    @property
    def seconds(self) -> float:
        return SPEC.seconds(self.frames)


class CodesFolder:
    """All recordings of one split. Raises FileNotFoundError or ValueError with a sentence."""

    def __init__(self, codes: Path, corpus: Path, split: str) -> None:
        self.codes: NDArray[np.int16] = np.load(codes / "codes.npy", mmap_mode="r")
        songs = {song["id"]: song for song in _read_lines(corpus / "songs.jsonl")}
        rows = [row for row in _read_lines(codes / "codes.jsonl") if row["split"] == split]
        if not rows:
            raise ValueError(f"{codes} holds no codes of the {split} split.")
        self.recordings = [
            Recording(song, _kind(row["variant"], song), row["offset"], row["frames"])
            for row in rows
            for song in [songs[row["id"]]]
        ]
        shares = {"song": "mix", "a cappella": "acappella", "instrumental": "instrumental"}
        weights = np.array([VARIANT_SHARES[shares[r.kind]] for r in self.recordings])
        counts = {k: sum(r.kind == k for r in self.recordings) for k in shares}
        weights /= np.array([counts[r.kind] for r in self.recordings])
        self.weights: NDArray[np.float64] = weights / weights.sum()

    def codes_of(self, excerpt: Excerpt) -> NDArray[np.int16]:
        """[64, T]"""
        begin = excerpt.recording.offset + excerpt.start
        return np.asarray(self.codes[:, begin : begin + excerpt.frames])

    def draw(self, rng: np.random.Generator, progress: float, max_frames: int) -> Excerpt:
        """A random excerpt; the further the training (`progress` 0..1), the longer they are on average."""
        recording = self.recordings[rng.choice(len(self.recordings), p=self.weights)]
        length = LENGTHS[rng.choice(len(LENGTHS), p=length_shares(progress))]
        return cut(recording, length, rng, max_frames)

    def frequencies(self, n_layers: int, frames: int = 400_000) -> NDArray[np.float64]:
        """[n_layers, codebook_size]: share of every code; none is zero."""
        sample = np.concatenate(
            [self.codes[:n_layers, r.offset : r.offset + r.frames] for r in self.recordings], 1
        )
        sample = sample[:, :: max(1, sample.shape[1] // frames)]
        counts = np.stack([np.bincount(row, minlength=SPEC.codebook_size) for row in sample]) + 0.5
        return np.asarray(counts / counts.sum(1, keepdims=True))

    def unigram_bits(
        self, held_out: Sequence[NDArray[np.integer]], layers: Sequence[int]
    ) -> dict[int, float]:
        """Bits a code, by layer, of `held_out` [K, T] for a model that knows only this folder's frequencies.

        Of the same excerpts that a net is scored on: what is sung is rarer than a recording's silences.
        """
        shares = self.frequencies(max(layers) + 1)
        codes = np.concatenate([grid[: max(layers) + 1] for grid in held_out], 1)
        return {layer: float(-np.log2(shares[layer][codes[layer]]).mean()) for layer in layers}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _kind(variant: str, song: dict[str, Any]) -> str:
    """What one hears: a mix without words is instrumental."""
    if variant == "acappella":
        return "a cappella"
    return "instrumental" if variant == "instrumental" or not song["lines"] else "song"


def length_shares(progress: float) -> NDArray[np.float64]:
    along = min(1.0, max(0.0, (progress - RAMP[0]) / (RAMP[1] - RAMP[0])))
    return np.array(EARLY) * (1 - along) + np.array(LATE) * along


def cut(recording: Recording, length: str, rng: np.random.Generator, max_frames: int) -> Excerpt:
    """Cut an excerpt of a random place; never longer than `max_frames`."""
    if not recording.sung:
        return _cut_instrumental(recording, length, rng, max_frames)
    if length == "song" and recording.frames <= max_frames:
        song = recording.song
        return Excerpt(
            recording,
            0,
            recording.frames,
            tuple(range(len(song["lines"]))),
            tuple(range(len(song["sections"]))),
        )
    lines = _choose_lines(recording.song, length, rng)
    while True:
        excerpt = _around(recording, lines, rng)
        if excerpt.frames <= max_frames or len(lines) == 1:
            break
        lines = lines[:-1]
    # One line longer than the limit: its end is lost, its words are not worth more care.
    return excerpt if excerpt.frames <= max_frames else _truncate(excerpt, max_frames)


def _choose_lines(song: dict[str, Any], length: str, rng: np.random.Generator) -> list[int]:
    n_lines = len(song["lines"])
    first = int(rng.integers(n_lines))
    if length == "line":
        return [first]
    if length == "couplet":
        return list(range(first, min(n_lines, first + 2)))
    if length == "section":
        section = song["lines"][first]["section"]
        return [i for i, line in enumerate(song["lines"]) if line["section"] == section]
    return list(range(first, n_lines))


def _around(recording: Recording, lines: Sequence[int], rng: np.random.Generator) -> Excerpt:
    """Random margins that stay clear of the neighbouring lines."""
    all_lines = recording.song["lines"]
    begin, end = all_lines[lines[0]]["start"], all_lines[lines[-1]]["end"]
    before = all_lines[lines[0] - 1]["end"] if lines[0] else 0.0
    after = all_lines[lines[-1] + 1]["start"] if lines[-1] + 1 < len(all_lines) else end + TAIL
    begin -= rng.uniform(0.0, 1.0) * max(0.0, min(LEAD, begin - before))
    end += rng.uniform(0.1, 1.0) * max(0.0, min(TAIL, after - end))
    start = max(0, math.floor(begin * SPEC.frame_rate))
    stop = max(start + 1, min(recording.frames, math.ceil(end * SPEC.frame_rate)))
    touched = sorted({all_lines[i]["section"] for i in lines})
    return Excerpt(recording, start, stop, tuple(lines), tuple(touched))


def _truncate(excerpt: Excerpt, max_frames: int) -> Excerpt:
    return Excerpt(
        excerpt.recording, excerpt.start, excerpt.start + max_frames, excerpt.lines, excerpt.sections
    )


def _cut_instrumental(
    recording: Recording, length: str, rng: np.random.Generator, max_frames: int
) -> Excerpt:
    """A window of 3-6, 6-12 or 10-20 s, or the whole song as far as the limit allows."""
    seconds = {"line": (3, 6), "couplet": (6, 12), "section": (10, 20), "song": (1e3, 1e3 + 1)}[length]
    frames = min(max_frames, recording.frames, SPEC.frames(rng.uniform(*seconds)))
    start = int(rng.integers(recording.frames - frames + 1))
    first, last = SPEC.seconds(start), SPEC.seconds(start + frames)
    sections = enumerate(recording.song["sections"])
    touched = tuple(i for i, s in sections if s["end"] > first + 0.5 and s["start"] < last - 0.5)
    return Excerpt(recording, start, start + frames, (), touched)
