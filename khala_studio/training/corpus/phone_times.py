"""When each phone of a sung line sounds: vowels begin on their note, consonants squeeze in around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from khala_studio.training.corpus.words import STOPS, Syllable

LEAD = 0.25  # s of room before the first phone
TAIL = 0.3  # s after the last
LONG = frozenset(("S", "SH", "CH", "Z", "JH", "F", "TH"))
STRETCH = 1.4  # of consonants against speech: a singer over a band must be understood


@dataclass(frozen=True)
class PhoneTime:
    """One phone with its stress digit: start and end in seconds, number of its word, is it a vowel?"""

    phone: str
    start: float
    end: float
    word: int
    vowel: bool


def _consonant(phone: str, natural: float) -> float:
    low, high = (0.05 if phone in STOPS else 0.055), (0.13 if phone in LONG else 0.10)
    return min(max(natural * 1.1 * STRETCH, low * 1.2), high * STRETCH)


def plan_phones(
    sylls: Sequence[Syllable], notes: Sequence[tuple[float, float, int]], durations: Sequence[float]
) -> list[PhoneTime]:
    """Times of all phones of a line; no two overlap. `durations`: seconds of each when spoken, in order."""
    lengths = iter(durations)
    natural = [[next(lengths) for _ in s.phones] for s in sylls]
    onsets = [
        [_consonant(p, d) for p, d in zip(s.phones[: s.vowel], n, strict=False)]
        for s, n in zip(sylls, natural, strict=True)
    ]
    plan: list[PhoneTime] = []
    for i, (syllable, note) in enumerate(zip(sylls, notes, strict=True)):
        begin, end = note[0], note[0] + note[1]
        if i + 1 < len(sylls):  # leave room for what comes before the next vowel
            limit = notes[i + 1][0] - sum(onsets[i + 1])
            end = min(end, limit) if notes[i + 1][0] - end > 0.12 else limit
        onset = _squeeze_onset(onsets[i], begin, plan)
        coda = _squeeze_coda(
            [
                _consonant(p, d)
                for p, d in zip(
                    syllable.phones[syllable.vowel + 1 :], natural[i][syllable.vowel + 1 :], strict=True
                )
            ],
            end - begin,
        )
        time = begin - sum(onset)
        vowel_end = max(begin + 0.05, end - sum(coda))
        ends = []
        for length in onset:
            ends.append(time := time + length)
        ends.append(time := vowel_end)
        for length in coda:
            ends.append(time := time + length)
        starts = [begin - sum(onset), *ends[:-1]]
        for k, (phone, a, b) in enumerate(zip(syllable.phones, starts, ends, strict=True)):
            plan.append(PhoneTime(phone, a, b, syllable.word, k == syllable.vowel))
    return plan


def _squeeze_onset(onset: list[float], vowel: float, plan: list[PhoneTime]) -> list[float]:
    """Shorten the consonants before a vowel, and if need be what comes before, when there is no room."""
    if not plan or vowel - sum(onset) >= plan[-1].end:
        return onset
    before = plan[-1]
    squeeze = min(1.0, max(0.3, (vowel - before.end) / sum(onset))) if onset else 1.0
    onset = [length * squeeze for length in onset]
    start = vowel - sum(onset)
    if before.end > start:
        plan[-1] = PhoneTime(
            before.phone, before.start, max(before.start + 0.025, start), before.word, before.vowel
        )
    return onset


def _squeeze_coda(coda: list[float], room: float) -> list[float]:
    """Shorten the consonants after a vowel so that the vowel keeps its share of `room` seconds."""
    least = min(0.10, max(0.05, 0.45 * room)) if room > 0 else 0.05
    if not coda or room - sum(coda) >= least:
        return coda
    squeeze = max(0.35, (room - least) / sum(coda))
    return [length * squeeze for length in coda]
