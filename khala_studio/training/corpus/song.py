"""A composition made audible: sung once, played by each of its bands, mixed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from khala_studio.training.corpus.band import BandSection, Players, accompaniment, play
from khala_studio.training.corpus.compose import Arrangement, Composition, Section, arrangements
from khala_studio.training.corpus.genres import GENRES
from khala_studio.training.corpus.melody import BEATS, chord
from khala_studio.training.corpus.mix import RATE, finish, reverb, vocal_chain
from khala_studio.training.corpus.voice import Singer, Sung
from khala_studio.training.corpus.voice_model import RATE as VOICE_RATE

BEFORE = 0.35  # s before the first beat: consonants come ahead of it
AFTER = 1.2  # s for the last chord to ring
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class RenderedSong:
    """`audio` int16 [samples, 4, 2], stems in the order of mix.STEMS; `record`: its line of songs.jsonl."""

    audio: npt.NDArray[np.int16]
    record: dict[str, Any]


def render(song: Composition, singer: Singer, soundfont: Path) -> list[RenderedSong]:
    """All arrangements of a composition."""
    sung = [_sing(song, i, singer) for i in range(len(song.lines))]
    seconds = song.seconds(song.beats) + BEFORE + AFTER
    times = _times(song, sung)
    dry = np.zeros(int(seconds * RATE))
    for _, place, number in _sung_lines(song):
        _add_line(dry, sung[number], BEFORE + song.seconds(place) + _first_note(song, number))
    room = float(np.clip(110 / song.bpm, 0.7, 1.6))
    vocals = vocal_chain(dry, room)
    rendered = []
    for band in arrangements(song):
        stems = {"vocals": vocals, **_play(song, band, seconds, soundfont, room)}
        audio = finish(stems)
        rendered.append(RenderedSong(audio, {**_tags(song, band), "samples": len(audio), **times}))
    return rendered


def _sung_lines(song: Composition) -> list[tuple[int, int, int]]:
    """(section number, first beat, line number) of every line as it comes."""
    return [
        (s, section.first_beat + BEATS * i, line)
        for s, section in enumerate(song.sections)
        for i, line in enumerate(section.lines)
    ]


def _first_note(song: Composition, number: int) -> float:
    return song.seconds(song.lines[number].notes[0].start)


def _sing(song: Composition, number: int, singer: Singer) -> Sung:
    """Times in the result count from the line's first note."""
    line = song.lines[number]
    zero = _first_note(song, number)
    notes = [
        (song.seconds(n.start) - zero, song.seconds(n.start + n.duration) - song.seconds(n.start), n.midi)
        for n in line.notes
    ]
    rng = np.random.default_rng([song.seed, song.number, 1000 + number])
    return singer.sing([list(word) for word in line.phones], notes, song.voice.source, song.voice.gender, rng)


def _add_line(track: Floats, sung: Sung, start: float) -> None:
    from scipy.signal import resample_poly

    audio = resample_poly(sung.audio.astype(np.float64), RATE // 300, VOICE_RATE // 300)
    edge = np.linspace(0, 1, 400)
    audio[:400] *= edge
    audio[-400:] *= edge[::-1]
    first = round((start - sung.offset) * RATE)
    skip = max(0, -first)
    audio = audio[skip : skip + len(track) - max(0, first)]
    track[max(0, first) : max(0, first) + len(audio)] += audio


def _play(
    song: Composition, band: Arrangement, seconds: float, soundfont: Path, room: float
) -> dict[str, Floats]:
    rng = np.random.default_rng([song.seed, song.number, 2, ord(band.letter)])
    sevenths = GENRES[band.genre].sevenths
    sections = [_band_section(song, section, sevenths) for section in song.sections]
    players = Players(band.genre, band.instrument, band.dreamy)
    hits = accompaniment(
        sections, players, song.root, song.mode, lambda beat: BEFORE + song.seconds(beat), rng
    )
    stems: dict[str, Floats] = {name: play(notes, seconds, soundfont) for name, notes in hits.items()}
    room = 1.8 if band.dreamy else room
    stems["other"] = stems["other"] + (0.2 if band.dreamy else 0.1) * reverb(stems["other"], room)
    stems["drums"] = stems["drums"] + 0.04 * reverb(stems["drums"], 0.7)
    fade = int(0.3 * RATE)
    for name in stems:
        stems[name][-fade:] *= np.linspace(1, 0, fade)[:, None]
    return stems


def _band_section(song: Composition, section: Section, sevenths: bool) -> BandSection:
    chords = tuple(
        tuple(chord(song.root, song.mode, section.progression[bar % 4], sevenths))
        if section.name != "outro"
        else tuple(chord(song.root, song.mode, 0))
        for bar in range(section.bars)
    )
    rests: list[tuple[float, float]] = []
    for i, number in enumerate(section.lines):
        last = song.lines[number].notes[-1]
        rests.append((BEATS * i + last.start + last.duration, float(BEATS * (i + 1))))
    return BandSection(
        section.name,
        section.first_beat,
        chords,
        tuple(rests) if section.lines else ((0.0, 4.0 * section.bars),),
    )


def _tags(song: Composition, band: Arrangement) -> dict[str, Any]:
    lyrics = []
    for section in song.sections:
        if section.lines:
            lyrics += [f"[{section.name}]", *(song.lines[i].text for i in section.lines)]
    return {
        "id": f"{song.number:05d}-{band.letter}",
        "split": song.split,
        "seed": song.seed,
        "genre": band.genre,
        "voice": song.voice.name,
        "gender": song.voice.gender,
        "bpm": song.bpm,
        "key": song.key,
        "mood": band.mood,
        "instruments": [band.instrument],
        "short": song.short,
        "lyrics": "\n".join(lyrics),
    }


def _times(song: Composition, sung: list[Sung]) -> dict[str, Any]:
    """Sections, lines, words, phones, notes in seconds; a line's `section` is the number of its section."""
    start_of = lambda beat: round(BEFORE + song.seconds(beat), 4)  # noqa: E731
    sections = [
        {"name": s.name, "start": start_of(s.first_beat), "end": start_of(s.first_beat + 4 * s.bars)}
        for s in song.sections
    ]
    lines: list[dict[str, Any]] = []
    words: list[list[Any]] = []
    phones: list[list[Any]] = []
    notes: list[list[Any]] = []
    for section, place, number in _sung_lines(song):
        line, zero = song.lines[number], BEFORE + song.seconds(place) + _first_note(song, number)
        first_word = len(words)
        words += [[word, None, None, len(lines)] for word in line.text.split()]
        for phone in sung[number].phones:
            begin, end = round(float(phone.start) + zero, 4), round(float(phone.end) + zero, 4)
            word = first_word + phone.word
            phones.append([phone.phone, begin, end, word])
            words[word][1] = begin if words[word][1] is None else words[word][1]
            words[word][2] = end
        for note in line.notes:
            a, b = start_of(place + note.start), start_of(place + note.start + note.duration)
            notes.append([a, round(b - a, 4), note.midi])
        lines.append(
            {"text": line.text, "start": words[first_word][1], "end": words[-1][2], "section": section}
        )
    return {"sections": sections, "lines": lines, "words": words, "phones": phones, "notes": notes}
