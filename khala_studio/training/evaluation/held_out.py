"""Held-out songs of the corpus, cut to excerpts that a pack can sing and a recogniser can hear.

Reads the corpus folder with numpy alone: `songs.jsonl` and the memory-mapped `audio-NNN.npy`
(int16 [N, 4, 2]: vocals, drums, bass, other; stereo).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from khala_studio.training.evaluation.audio_metrics import SAMPLE_RATE, Floats

A_CAPPELLA, FULL_MIX = "a cappella", "song"  # the front end's words for the two kinds of sung song
VOCALS = 0  # index of the stem
PHONES = list[str]
SungSections = list[tuple[str, list[list[PHONES]]]]  # (name, lines -> words -> phones)


class CorpusError(Exception):
    """The corpus folder can't be evaluated on; the message says why."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus folder and its songs by split."""

    folder: Path
    held_out: tuple[dict[str, Any], ...]  # distinct words only
    training: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a song up to the end of a line, heard as `kind`."""

    song: dict[str, Any]  # its line of songs.jsonl
    kind: str  # A_CAPPELLA or FULL_MIX
    seconds: float
    lines: tuple[int, ...]  # indices of the song's lines within

    @property
    def name(self) -> str:
        return f"{self.song['id']}-{self.kind.replace(' ', '')}"

    @property
    def words(self) -> str:
        """The sung words, without tags."""
        return " ".join(self.song["lines"][i]["text"] for i in self.lines)

    @property
    def lyrics(self) -> str:
        """Lyrics as a user types them: a tag for every section, then its lines."""
        parts = []
        for index, name in self.sections:
            sung = [self.song["lines"][i]["text"] for i in self.lines_of(index)]
            parts.append("\n".join([f"[{name}]", *sung]))
        return "\n\n".join(parts)

    @property
    def sections(self) -> list[tuple[int, str]]:
        """(index, name) of the sections that begin within the excerpt."""
        all_sections = enumerate(self.song["sections"])
        return [(i, s["name"]) for i, s in all_sections if s["start"] < self.seconds - 0.5]

    def lines_of(self, section: int) -> list[int]:
        return [i for i in self.lines if self.song["lines"][i]["section"] == section]


def read_corpus(folder: Path) -> Corpus:
    """Raises CorpusError if there are no songs.jsonl or no held-out songs with words in it."""
    try:
        lines = (folder / "songs.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CorpusError(f"{folder} is no corpus: {error.strerror or error}") from error
    songs = [json.loads(line) for line in lines if line.strip()]
    held_out = distinct(tuple(s for s in songs if s["split"] == "valid" and s["words"]))
    training = tuple(s for s in songs if s["split"] == "train" and s["words"])
    if not held_out:
        raise CorpusError(f"{folder} holds no song with words in its valid split.")
    return Corpus(folder, held_out, training)


def distinct(songs: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """The first song of all that share their words (arrangements of one composition).

    Whole songs come before single lines, else the corpus' order stays.
    """
    first: dict[str, dict[str, Any]] = {}
    for song in songs:
        first.setdefault(" ".join(line["text"] for line in song["lines"]), song)
    return tuple(sorted(first.values(), key=lambda song: bool(song.get("short"))))


def excerpts(songs: tuple[dict[str, Any], ...], limit: float, count: int) -> list[Excerpt]:
    """One excerpt of up to `limit` seconds from each of `count` songs, a cappella and full mix in turn.

    Songs are taken in the corpus' order and over again (in the other kind) if there are too few.
    """
    found: list[Excerpt] = []
    kinds = (A_CAPPELLA, FULL_MIX)
    for i in range(min(count, 2 * len(songs))):
        song = songs[i % len(songs)]
        kind = kinds[(i % len(songs) + i // len(songs)) % 2]
        if not has_band(song):
            kind = A_CAPPELLA
        if (song["id"], kind) not in {(e.song["id"], e.kind) for e in found}:
            found.append(cut(song, kind, limit))
    return found


def cut(song: dict[str, Any], kind: str, limit: float) -> Excerpt:
    """The song up to the last line that ends within `limit` seconds; at least its first line."""
    duration = song["samples"] / SAMPLE_RATE
    lines = song["lines"]
    within = [i for i, line in enumerate(lines) if line["end"] <= limit] or [0]
    if len(within) == len(lines) and duration <= limit:
        return Excerpt(song, kind, duration, tuple(within))
    last = lines[within[-1]]["end"]
    following = lines[within[-1] + 1]["start"] if len(within) < len(lines) else duration
    # Half of the pause after the last word belongs to it, but no more than half a second.
    return Excerpt(song, kind, min(last + min(0.5, max(0.0, following - last) / 2), duration), tuple(within))


def audio(corpus: Corpus, excerpt: Excerpt, hop: int) -> Floats:
    """[2, N] of the excerpt, full scale 1, N a multiple of `hop`."""
    stems = song_stems(corpus, excerpt.song)
    n = int(excerpt.seconds * SAMPLE_RATE) // hop * hop
    return mix(stems[:n], excerpt.kind)


def recordings(corpus: Corpus, songs: tuple[dict[str, Any], ...], hop: int) -> Iterator[tuple[str, Floats]]:
    """(name, [2, N]) of whole songs as full mixes, one after another."""
    for song in songs:
        stems = song_stems(corpus, song)
        yield song["id"], mix(stems[: len(stems) // hop * hop], FULL_MIX)


def song_stems(corpus: Corpus, song: dict[str, Any]) -> np.ndarray:
    """int16 [N, 4, 2], memory-mapped."""
    shard = _shard(corpus.folder / song["shard"])
    return shard[song["offset"] : song["offset"] + song["samples"]]


def mix(stems: np.ndarray, kind: str) -> Floats:
    """[N, 4, 2] int16 -> [2, N]: the vocals alone, or the sum of the stems."""
    if kind == A_CAPPELLA:
        return np.ascontiguousarray(stems[:, VOCALS].T, dtype=np.float32) / 32768
    return np.ascontiguousarray(stems.sum(axis=1, dtype=np.int32).T, dtype=np.float32) / 32768


def has_band(song: dict[str, Any]) -> bool:
    """False for songs that are a cappella as they stand."""
    return song.get("kind", FULL_MIX) != A_CAPPELLA and bool(song.get("instruments", True))


def sung_sections(excerpt: Excerpt, words: list[PHONES] | None = None) -> SungSections:
    """The excerpt as the front end's `encode_song` takes it.

    Args:
        words: phones of each word of the excerpt, in place of its own and in the same order (see
            `phones_by_word`); for shuffled lyrics.
    """
    of_line = words_by_line(excerpt.song)
    own = phones_by_word(excerpt.song)
    order = [w for i in excerpt.lines for w in of_line[i]]
    replaced = dict(zip(order, words if words is not None else [own[w] for w in order], strict=True))
    return [
        (name, [[replaced[w] for w in of_line[i]] for i in excerpt.lines_of(index)])
        for index, name in excerpt.sections
    ]


def excerpt_words(excerpt: Excerpt) -> list[PHONES]:
    """Phones of every word of the excerpt, in order."""
    of_line, own = words_by_line(excerpt.song), phones_by_word(excerpt.song)
    return [own[w] for i in excerpt.lines for w in of_line[i]]


def style_slots(excerpt: Excerpt) -> dict[str, str]:
    """The true style of an excerpt by the front end's slots (seconds are given apart)."""
    song = excerpt.song
    slots = {
        "genre": song["genre"],
        "voice": song["voice"],
        "tempo": str(5 * round(song["bpm"] / 5)),
        "key": song["key"],
        "mood": song["mood"],
        "kind": excerpt.kind,
    }
    if excerpt.kind == FULL_MIX and song["instruments"]:
        slots["instrument"] = song["instruments"][0]
    return slots


def style_words(excerpt: Excerpt) -> str:
    """The same style as a user writes it: "pop, bright voice, 120 bpm, A minor, happy, piano"."""
    slots = style_slots(excerpt)
    words = [slots["genre"], f"{slots['voice']} voice", f"{slots['tempo']} bpm", slots["key"], slots["mood"]]
    words += [slots["instrument"]] if "instrument" in slots else []
    return ", ".join(words + ([A_CAPPELLA] if excerpt.kind == A_CAPPELLA else []))


def words_by_line(song: dict[str, Any]) -> list[list[int]]:
    """Indices of the words of every line."""
    found: list[list[int]] = [[] for _ in song["lines"]]
    for index, (_, _, _, line) in enumerate(song["words"]):
        found[line].append(index)
    return found


def phones_by_word(song: dict[str, Any]) -> list[PHONES]:
    """Phones with stress of every word of the song."""
    found: list[PHONES] = [[] for _ in song["words"]]
    for phone, _, _, word in song["phones"]:
        if word is not None and word >= 0:
            found[word].append(phone)
    return found


def notes_by_gender(songs: tuple[dict[str, Any], ...], limit: int = 400) -> dict[str, list[float]]:
    """MIDI numbers of the notes sung by each gender, of the first `limit` songs."""
    found: dict[str, list[float]] = {"female": [], "male": []}
    for song in songs[:limit]:
        found.setdefault(song["gender"], []).extend(float(note[2]) for note in song["notes"])
    return found


@lru_cache(maxsize=64)
def _shard(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r")
