"""Tunes: when each syllable of a line is sung, and on which note."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from khala_studio.training.corpus.words import Syllable

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
BEATS = 8  # of a line
SUNG = 7  # of those, at most this many are sung: the singer must breathe


@dataclass(frozen=True)
class Note:
    """One syllable's note, in beats from the start of its line."""

    start: float
    duration: float
    midi: int


def scale(mode: str) -> tuple[int, ...]:
    return MAJOR if mode == "major" else MINOR


def chord(root: int, mode: str, degree: int, seventh: bool = False) -> list[int]:
    """MIDI notes of the chord on a degree (0..6) of the scale on `root`."""
    steps = scale(mode)
    return [root + 12 * (d // 7) + steps[d % 7] for d in range(degree, degree + (8 if seventh else 6), 2)]


def line_notes(
    syllables: Sequence[Syllable],
    chords: Sequence[Sequence[int]],
    root: int,
    mode: str,
    low: int,
    high: int,
    centre: float,
    rng: np.random.Generator,
) -> list[Note]:
    """A tune for one line: one note a syllable, between `low` and `high`; `chords` has one per bar."""
    grid = 2 if len(syllables) <= 11 else 4  # slots a beat
    start = int(rng.choice([0, 0, 1])) if len(syllables) < 9 else 0
    slots = rhythm([s.stressed for s in syllables], SUNG * grid, grid, rng, start)
    if slots is None:
        grid, start = 4, 0
        slots = rhythm([s.stressed for s in syllables], SUNG * grid, grid, rng, start)
    if slots is None:
        raise ValueError(f"{len(syllables)} syllables do not fit a line of {BEATS} beats")
    starts = [start + sum(slots[:i]) for i in range(len(slots))]
    pitches = contour(starts, slots, grid, chords, root, mode, low, high, centre, rng)
    return [Note(s / grid, d / grid, p) for s, d, p in zip(starts, slots, pitches, strict=True)]


def rhythm(
    stressed: Sequence[bool], total: int, grid: int, rng: np.random.Generator, start: int
) -> list[int] | None:
    """Durations in slots that fill about `total` slots; None when the syllables don't fit.

    Dynamic programming: stressed syllables want to be long and on the beat.
    """
    count = len(stressed)
    cost = np.full((count + 1, total + 1), np.inf)
    came = np.zeros((count + 1, total + 1), int)
    cost[0, start] = 0
    for i, heavy in enumerate(stressed):
        last = i == count - 1
        want = 2.0 * grid if last else grid * (0.75 if heavy else 0.5)
        lengths = np.arange(1, (4 * grid if last else 3 * grid // 2) + 1)
        strain = np.abs(np.log2(lengths / want)) * (0.6 if last else 1.0) + 2.5 * (lengths < grid * 0.5)
        for slot in np.flatnonzero(np.isfinite(cost[i])):
            weak = 0 if slot % grid == 0 else 1 if slot % grid * 2 == grid else 2
            here = cost[i, slot] + (1.2 * weak if heavy else 0.5 * (2 - weak)) + 0.9 * rng.random()
            fits = lengths[: max(0, total - slot)]
            ends, costs = slot + fits, here + strain[: len(fits)]
            better = costs < cost[i + 1, ends]
            cost[i + 1, ends[better]] = costs[better]
            came[i + 1, ends[better]] = fits[better]
    final = cost[count] + 0.25 * np.abs(np.arange(total + 1) - (total - grid))
    slot = int(np.argmin(final))
    if not math.isfinite(final[slot]):
        return None
    durations = []
    for i in range(count, 0, -1):
        durations.append(int(came[i, slot]))
        slot -= durations[-1]
    return durations[::-1]


def contour(
    starts: Sequence[int],
    slots: Sequence[int],
    grid: int,
    chords: Sequence[Sequence[int]],
    root: int,
    mode: str,
    low: int,
    high: int,
    centre: float,
    rng: np.random.Generator,
) -> list[int]:
    """Pitches: small steps along an arch, chord tones on strong beats, a chord tone at the end."""
    notes = np.array([m for m in range(low, high + 1) if (m - root) % 12 in scale(mode)])
    here = int(np.argmin(np.abs(notes - centre)))
    arch = rng.choice([1.0, -1.0])
    last = len(starts) - 1
    pitches = []
    for i, start in enumerate(starts):
        tones = {m % 12 for m in chords[min(start // grid // 4, len(chords) - 1)]}
        in_chord = np.array([m % 12 in tones for m in notes])
        height = centre + arch * 2.5 * math.sin(math.pi * i / max(1, last))
        steps = np.abs(np.arange(len(notes)) - here)
        weight = np.exp(-0.85 * steps - ((notes - height) / 5.5) ** 2) * np.where(steps == 0, 0.75, 1.0)
        if i == last:
            weight = weight * np.where(in_chord, 1.0, 0.02)
        elif start % grid == 0:
            weight = weight * np.where(in_chord, 3.2, 0.7)
        here = int(rng.choice(len(notes), p=weight / weight.sum()))
        pitches.append(int(notes[here]))
    return pitches
