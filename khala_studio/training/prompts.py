"""Excerpts of the corpus as prompts: what a user would have asked for to get exactly this sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.data_codes import SPEC, Excerpt

N_SLOTS = 8  # genre, voice, tempo, key, mood, instrument, kind, seconds: at positions 1..8 of every prompt
NO_PHONE = -1

Sections = list[tuple[str, list[list[list[str]]]]]  # (name, lines -> words -> phones)


class SongEncoder(Protocol):
    """The part of the phoneme front end that training uses."""

    def encode_song(
        self, style: dict[str, str], sections: Sections, seconds: float | None
    ) -> tuple[Any, Sequence[int]]:
        """(ids, position in ids of every phone in the order of the sections)"""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Shares of the prompts that lose something, so that every incomplete prompt works later."""

    slot: float = 0.1  # each style slot by itself
    text: float = 0.07  # the words; half of these lose the style too (for guidance without a classifier)


NO_DROPOUT = Dropout(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class SungPrompt:
    """ids [S] and, of every frame, the position in them of the phone sung (NO_PHONE: none) [T]."""

    ids: NDArray[np.int64]
    phone_at: NDArray[np.int64]

    def without_text(self) -> SungPrompt:
        """Style slots and the token that starts the singing."""
        ids = np.concatenate((self.ids[: 1 + N_SLOTS], self.ids[-1:]))
        return SungPrompt(ids, np.full_like(self.phone_at, NO_PHONE))

    def with_words_of(self, other: SungPrompt) -> SungPrompt:
        """The same style over other lyrics: what 'shuffled words' means in validation."""
        ids = np.concatenate((self.ids[: 1 + N_SLOTS], other.ids[1 + N_SLOTS :]))
        return SungPrompt(ids, np.full_like(self.phone_at, NO_PHONE))


class PromptMaker:
    def __init__(self, encoder: SongEncoder) -> None:
        self._encoder = encoder
        any_style, _ = encoder.encode_song({"kind": "any"}, [], None)
        self._any: NDArray[np.int64] = np.asarray(any_style, np.int64)[1 : 1 + N_SLOTS]
        self._sung = lru_cache(maxsize=50_000)(self._encode_words)

    def make(self, excerpt: Excerpt, rng: np.random.Generator, dropout: Dropout = NO_DROPOUT) -> SungPrompt:
        style = describe(excerpt, rng)
        prompt = self._prompt(excerpt, style)
        if excerpt.lines and rng.random() < dropout.text:
            prompt = prompt.without_text()
            dropout = replace(dropout, slot=1.0) if rng.random() < 0.5 else dropout
        dropped = rng.random(N_SLOTS) < dropout.slot
        ids = prompt.ids.copy()
        ids[1 : 1 + N_SLOTS] = np.where(dropped, self._any, ids[1 : 1 + N_SLOTS])
        return replace(prompt, ids=ids)

    def _prompt(self, excerpt: Excerpt, style: dict[str, str]) -> SungPrompt:
        """The words are encoded once for an excerpt's lines; only the slots change from draw to draw."""
        slots, _ = self._encoder.encode_song(style, [], excerpt.seconds)
        song = _Hashable(excerpt.recording.song)
        words, positions, spans = self._sung(song, excerpt.lines, excerpt.sections)
        ids = np.concatenate((np.asarray(slots, np.int64)[: 1 + N_SLOTS], words))
        at = phones_of_frames(spans - SPEC.seconds(excerpt.start), excerpt.frames)
        return SungPrompt(
            ids, np.where(at == NO_PHONE, NO_PHONE, positions[at] if len(positions) else NO_PHONE)
        )

    def _encode_words(
        self, song: _Hashable, lines: tuple[int, ...], sections: tuple[int, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(ids after the slots, positions of the phones in the whole prompt, their start and end [M, 2])"""
        content, spans = sung_sections(song.value, lines, sections)
        ids, positions = self._encoder.encode_song({}, content, None)
        if len(positions) != len(spans):
            raise ValueError(f"{len(spans)} phones are sung, the prompt holds {len(positions)}")
        return np.asarray(ids, np.int64)[1 + N_SLOTS :], np.asarray(positions, np.int64), spans


class _Hashable:
    """A song's dictionary as key of a cache: equal if its id is."""

    __slots__ = ("value",)

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value["id"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashable) and bool(self.value["id"] == other.value["id"])


def describe(excerpt: Excerpt, rng: np.random.Generator) -> dict[str, str]:
    """Tags that are true of the excerpt; a voice by its name or only by its gender."""
    song, kind = excerpt.recording.song, excerpt.recording.kind
    style = {
        "genre": song["genre"],
        "tempo": str(5 * round(song["bpm"] / 5)),
        "key": song["key"],
        "kind": kind,
    }
    style["mood"] = song["mood"]
    if kind != "instrumental":
        style["voice"] = song["voice"] if rng.random() < 0.5 else song["gender"]
    if kind != "a cappella" and song["instruments"]:
        style["instrument"] = str(rng.choice(song["instruments"]))
    return {name: value for name, value in style.items() if value}


def sung_sections(
    song: dict[str, Any], lines: Sequence[int], sections: Sequence[int]
) -> tuple[Sections, NDArray[np.float64]]:
    """The words of `lines` under their section tags, and when each phone is sung: [M, 2], in seconds."""
    phones_of_word: dict[int, list[int]] = {}
    for i, phone in enumerate(song["phones"]):
        phones_of_word.setdefault(phone[3], []).append(i)
    words_of_line: dict[int, list[int]] = {}
    for i, word in enumerate(song["words"]):
        words_of_line.setdefault(word[3], []).append(i)
    content: Sections = []
    order: list[int] = []
    for section in sections:
        sung = []
        for line in (i for i in lines if song["lines"][i]["section"] == section):
            words = [phones_of_word[w] for w in words_of_line.get(line, []) if w in phones_of_word]
            order += [p for word in words for p in word]
            sung.append([[song["phones"][p][0] for p in word] for word in words])
        content.append((song["sections"][section]["name"], sung))
    spans = np.array([song["phones"][p][1:3] for p in order], np.float64).reshape(-1, 2)
    return content, spans


def phones_of_frames(spans: NDArray[np.float64], frames: int) -> NDArray[np.int64]:
    """Index of the span [M, 2] (seconds, in order, apart) that holds each frame's middle, or NO_PHONE."""
    if not len(spans):
        return np.full(frames, NO_PHONE)
    middle = (np.arange(frames) + 0.5) / SPEC.frame_rate
    last = np.searchsorted(spans[:, 0], middle, side="right") - 1
    return np.where((last >= 0) & (middle < spans[last, 1]), last, NO_PHONE)
