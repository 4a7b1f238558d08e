"""Sounds whose tempo, key, pitch and spectrum are known."""

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
Floats = NDArray[np.float32]


def tone(frequency: float, seconds: float = 3.0, partials: int = 12) -> Floats:
    """[2, N] harmonic tone with partials falling as 1 / k."""
    t = np.arange(int(seconds * RATE)) / RATE
    mono = sum(np.sin(2 * np.pi * frequency * k * t) / k for k in range(1, partials + 1))
    return stereo(0.1 * mono)


def noise(seconds: float = 3.0, level: float = 0.05, seed: int = 0) -> Floats:
    """[2, N] white noise, the channels independent."""
    draw = np.random.default_rng(seed).standard_normal((2, int(seconds * RATE)))
    return (level * draw).astype(np.float32)


def drums(bpm: float, seconds: float = 16.0) -> Floats:
    """[2, N]: kick on odd beats, snare on even ones, hats on eighths."""
    rng = np.random.default_rng(0)
    track = np.zeros(int((seconds + 1) * RATE))
    t = np.arange(8_000) / RATE
    kick = np.sin(2 * np.pi * 60 * t) * np.exp(-t / 0.05)
    snare = 0.5 * rng.standard_normal(len(t)) * np.exp(-t / 0.03)
    hat = 0.15 * rng.standard_normal(len(t)) * np.exp(-t / 0.01)
    for beat in range(int(seconds * bpm / 60)):
        for place, sound in ((beat, (snare, kick)[beat % 2 == 0]), (beat, hat), (beat + 0.5, hat)):
            first = int(place * 60 / bpm * RATE)
            track[first : first + len(sound)] += sound
    return stereo(0.3 * track[: int(seconds * RATE)]) + noise(seconds, 0.001)


def cadence(tonic: int, third: int) -> Floats:
    """[2, N] tonic, fourth, fifth, tonic as triads (V is major); `tonic` as MIDI, `third` in semitones."""
    chords = [
        sum(tone(440 * 2 ** ((tonic + root + step - 69) / 12), 1.0, 4) for step in (0, mediant, 7))
        for root, mediant in ((0, third), (5, third), (7, 4), (0, third))
    ]
    return np.concatenate(chords, axis=1)


def stereo(mono: NDArray[np.floating]) -> Floats:
    return np.stack([mono, mono]).astype(np.float32)
