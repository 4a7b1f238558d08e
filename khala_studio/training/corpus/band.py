"""The accompaniment: notes for drums, bass and other instruments, played by a SoundFont."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from khala_studio.training.corpus.genres import BASS, DRUM_KEYS, GENRES, MELODIC, chord_style, front_program
from khala_studio.training.corpus.melody import scale

RATE = 44100  # Hz
TOMS = (38, 45, 47, 50)
CRASH = 49
DRUM_CHANNEL = 9


class Hit(NamedTuple):
    """One note of an instrument: seconds, MIDI channel, program, key and velocity (1..127)."""

    start: float
    end: float
    channel: int
    program: int
    key: int
    velocity: int


@dataclass(frozen=True)
class BandSection:
    """A stretch of bars. `chords`: MIDI notes, bar by bar; `rests`: beats within it where no one sings."""

    name: str
    first_beat: int
    chords: tuple[tuple[int, ...], ...]
    rests: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Players:
    """Who plays, and how: `genre`, the front `instrument`, `dreamy` = with pads."""

    genre: str
    instrument: str
    dreamy: bool


def accompaniment(
    sections: Sequence[BandSection],
    players: Players,
    root: int,
    mode: str,
    at: Callable[[float], float],
    rng: np.random.Generator,
) -> dict[str, list[Hit]]:
    """Notes of the stems drums, bass and other; `at` turns beats into seconds."""
    stems: dict[str, list[Hit]] = {"drums": [], "bass": [], "other": []}
    for section in sections:
        stems["drums"] += _drums(section, players, at, rng)
        stems["bass"] += _bass(section, players, at, rng)
        stems["other"] += _chords(section, players, at, rng)
        stems["other"] += _front_tune(section, players, root, mode, at, rng)
    return stems


def _touch(velocity: int, rng: np.random.Generator) -> int:
    return int(min(127, velocity * rng.uniform(0.88, 1.05)))


def _drums(
    section: BandSection, players: Players, at: Callable[[float], float], rng: np.random.Generator
) -> list[Hit]:
    if section.name == "outro":
        return [
            Hit(
                at(section.first_beat),
                at(section.first_beat) + 1,
                DRUM_CHANNEL,
                GENRES[players.genre].kit,
                CRASH,
                80,
            )
        ]
    genre, hits = GENRES[players.genre], []
    bars = len(section.chords)

    def hit(beat: float, key: int, velocity: int) -> None:
        start = at(section.first_beat + beat)
        hits.append(Hit(start, start + 0.1, DRUM_CHANNEL, genre.kit, key, _touch(velocity, rng)))

    for bar in range(bars):
        fill = bar == bars - 1 and section.name != "intro" and bars > 2
        for name, pattern in genre.drums.items():
            if section.name == "intro" and name in ("snare", "clap"):
                continue
            for step, mark in enumerate(pattern[:12] if fill else pattern):
                if mark == "x":
                    hit(
                        4 * bar + step / 4,
                        DRUM_KEYS[name],
                        70 if name == "hat" else 112 if step % 8 == 0 else 92,
                    )
        if fill:
            for step in range(12, 16):
                hit(4 * bar + step / 4, int(rng.choice(TOMS)), 85)
        if bar == 0 and section.name == "chorus":
            hit(4 * bar, CRASH, 100)
    return hits


def _bass(
    section: BandSection, players: Players, at: Callable[[float], float], rng: np.random.Generator
) -> list[Hit]:
    genre, hits = GENRES[players.genre], []
    pattern = BASS["held" if section.name == "outro" else genre.bass]
    for bar, chord in enumerate(section.chords):
        root = 28 + (chord[0] - 28) % 12
        steps = (0, chord[1] - chord[0], chord[2] - chord[0], 9)
        for beat, beats, step in pattern:
            start = section.first_beat + 4 * bar + beat
            end = at(start) + (at(start + beats) - at(start)) * 0.92
            hits.append(Hit(at(start), end, 0, genre.bass_program, root + steps[step], _touch(95, rng)))
    return hits


def chord_hits(style: str, chord: Sequence[int]) -> list[tuple[float, float, int, int]]:
    """(beat, beats, key, velocity) of one bar of a chord."""
    top = [*chord, chord[0] + 12]
    match style:
        case "block":
            return [(beat, 1.9, key, 72) for beat in (0, 2) for key in chord]
        case "pad":
            return [(0, 4, key, 58) for key in chord]
        case "held":
            return [(0, 3.5, key, 70) for key in chord]
        case "arp":
            return [(i / 2, 0.9, top[(0, 1, 2, 3, 2, 1, 2, 1)[i]], 70) for i in range(8)]
        case "strum":
            beats = (0, 1, 1.5, 2.5, 3, 3.5)
            return [
                (beat + 0.015 * i, 0.5, key, 74 if beat % 1 == 0 else 60)
                for beat in beats
                for i, key in enumerate(top)
            ]
        case "chug":
            return [(i / 2, 0.4, key, 76) for i in range(8) for key in (chord[0] - 12, chord[0] - 5)]
        case "stab":
            return [(beat, 0.4, key, 75) for beat in (0, 0.75, 1.5, 2.5, 3.25) for key in chord]
        case "pluck":
            return [(i / 4, 0.3, chord[(0, 2, 1, 2)[i % 4]] + 12, 60) for i in range(16)]
        case "comp":
            return [(beat, 0.6, key, 68) for beat in (0.5, 2.5) for key in chord[1:]]
    raise ValueError(f"no chord style {style}")


def _chords(
    section: BandSection, players: Players, at: Callable[[float], float], rng: np.random.Generator
) -> list[Hit]:
    genre = GENRES[players.genre]
    parts = []
    if players.instrument not in MELODIC:
        style = chord_style(players.genre, players.instrument, players.dreamy)
        parts.append((1, front_program(players.genre, players.instrument), style, 0))
    if section.name == "chorus" or not parts:  # the second part lifts the chorus
        parts.append((2, *genre.behind, 12 if parts and genre.behind[1] != "chug" else 0))
    if players.dreamy:
        parts.append((3, 89, "pad", 12))
    hits = []
    for channel, program, style, lift in parts:
        for bar, chord in enumerate(section.chords):
            keys = [48 + lift + (key - 48) % 12 for key in chord]
            for beat, beats, key, velocity in chord_hits("held" if section.name == "outro" else style, keys):
                start = section.first_beat + 4 * bar + beat
                hits.append(Hit(at(start), at(start + beats), channel, program, key, _touch(velocity, rng)))
    return hits


def _front_tune(
    section: BandSection,
    players: Players,
    root: int,
    mode: str,
    at: Callable[[float], float],
    rng: np.random.Generator,
) -> list[Hit]:
    """The front instrument plays where no one sings."""
    notes = [m for m in range(67, 82) if (m - root) % 12 in scale(mode)]
    here, hits = len(notes) // 2, []
    for begin, end in section.rests:
        if section.name not in ("intro", "outro") and rng.random() < 0.4:
            continue
        for beat in np.arange(np.ceil(begin * 2) / 2, end - 0.25, 0.5):
            if rng.random() < 0.62:
                here = int(np.clip(here + rng.integers(-2, 3), 0, len(notes) - 1))
                start = section.first_beat + float(beat)
                program = front_program(players.genre, players.instrument)
                hits.append(Hit(at(start), at(start + 0.48), 4, program, notes[here], _touch(82, rng)))
    return hits


def play(hits: Sequence[Hit], seconds: float, soundfont: Path) -> npt.NDArray[np.float32]:
    """float32 [samples, 2] of one stem."""
    synth, font = _synth(soundfont)
    channels = {hit.channel: hit.program for hit in hits}
    for channel, program in channels.items():
        drums = channel == DRUM_CHANNEL
        synth.program_select(channel, font, 128 if drums else 0, program, drums)
    actions = [(hit.start, 1, hit) for hit in hits] + [(hit.end, 0, hit) for hit in hits]
    actions.sort(key=lambda action: (action[0], action[1], action[2].channel, action[2].key))
    total = int(seconds * RATE)
    blocks, done = [], 0
    for time, on, hit in actions:
        until = min(int(time * RATE), total)
        if until > done:
            blocks.append(_generate(synth, until - done))
            done = until
        if on:
            synth.noteon(hit.channel, hit.key, hit.velocity)
        else:
            synth.noteoff(hit.channel, hit.key)
    if total > done:
        blocks.append(_generate(synth, total - done))
    for channel in channels:
        synth.sounds_off(channel)
    _generate(synth, RATE // 2)  # so that nothing of this song is heard in the next
    return np.concatenate(blocks)


def _generate(synth: Any, samples: int) -> npt.NDArray[np.float32]:
    return np.frombuffer(synth.generate_simple(samples), np.float32).reshape(-1, 2)


@functools.cache
def _synth(soundfont: Path) -> tuple[Any, int]:
    import tinysoundfont

    synth = tinysoundfont.Synth(samplerate=RATE, gain=-6)
    return synth, synth.sfload(str(soundfont))
