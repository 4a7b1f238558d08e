"""Singing: a line is spoken by the voice model, then bent onto its notes with the WORLD vocoder.

The speech already lies near the melody, so that the vocoder moves pitch little. Vowels are held, consonants
are not.
WORLD: Morise, Yokomori, Ozawa 2016, "WORLD: a vocoder-based high-quality speech synthesis system".
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from khala_studio.training.corpus.phone_times import LEAD, TAIL, PhoneTime, plan_phones
from khala_studio.training.corpus.voice_model import FRAME, RATE, VoiceModel, spell
from khala_studio.training.corpus.words import syllables

Floats = npt.NDArray[np.floating[Any]]
SungNote = tuple[float, float, int]  # start s, duration s, midi

PERIOD = 0.005  # s, of the vocoder's frames
SPEED = 0.78  # of speech: slow speech has more of every vowel to work with
EARLY = 2  # frames by which the model's sound is ahead of its own durations
HIGHEST = {"male": 215.0, "female": 265.0}  # Hz that the voice model still speaks well
LEAST_VOICED = 0.9  # share of vowel frames with a pitch, under which the line is spoken again
GLIDING = frozenset(("AY", "AW", "OY", "EY", "OW"))


@dataclass(frozen=True)
class Sung:
    """A sung line. Times in seconds from the line's start, where audio begins at `-offset`."""

    audio: Floats  # float32 [samples], 24 kHz
    offset: float
    phones: tuple[PhoneTime, ...]


class Singer(Protocol):
    """Anything that can sing a line."""

    def sing(
        self,
        words: list[list[str]],
        notes: Sequence[SungNote],
        voice: str,
        gender: str,
        rng: np.random.Generator,
    ) -> Sung:
        """`words`: phones of each word; `notes`: one per syllable, in order."""


@dataclass(frozen=True)
class _Speech:
    audio: Floats  # float64 [samples], 24 kHz
    spans: list[tuple[float, float]]  # s, of every phone
    durations: list[float]  # s, as the model planned them


class KokoroSinger:
    """The corpus's singers."""

    def __init__(self, model: VoiceModel) -> None:
        self._model = model

    def sing(
        self,
        words: list[list[str]],
        notes: Sequence[SungNote],
        voice: str,
        gender: str,
        rng: np.random.Generator,
    ) -> Sung:
        sylls = syllables(words)
        if len(sylls) != len(notes):
            raise ValueError(f"{len(sylls)} syllables but {len(notes)} notes")
        flat = [phone for word in words for phone in word]
        vowels = [i for i, phone in enumerate(flat) if phone[-1].isdigit()]
        wanted = np.minimum(hertz(np.array([n[2] for n in notes])), HIGHEST[gender])
        speech = self._speak(words, voice, vowels, wanted)
        analysis = _analyse(speech.audio)
        if (
            _voiced_share(analysis[0], speech, vowels) < LEAST_VOICED
        ):  # its own pitch then: WORLD moves it further
            speech = self._speak(words, voice, vowels, None)
            analysis = _analyse(speech.audio)
        plan = plan_phones(sylls, notes, speech.durations)
        return Sung(_bend(analysis, speech, plan, notes, rng), LEAD - plan[0].start, tuple(plan))

    def _speak(self, words: list[list[str]], voice: str, vowels: list[int], wanted: Floats | None) -> _Speech:
        """`wanted`: Hz at each vowel, or None for natural pitch."""
        text, phone_of = spell(words)
        tokens, style = self._model.tokens(text), self._model.style(voice, len(text))
        natural = self._model.durations(tokens, style, SPEED)
        f0, energy = self._model.prosody(tokens, style, natural)
        ends = np.cumsum(natural)
        spans: list[tuple[float, float]] = []
        durations: list[float] = []
        for token, phone in enumerate(phone_of, start=1):
            if phone < 0:
                continue
            start, end = ((x - EARLY) * FRAME for x in (ends[token] - natural[token], ends[token]))
            if phone == len(spans):
                spans.append((start, end))
                durations.append(float(natural[token]) * FRAME)
            else:
                spans[phone] = (spans[phone][0], end)
                durations[phone] += float(natural[token]) * FRAME
        if wanted is not None:
            times = (np.arange(len(f0)) + 0.5) * FRAME / 2
            middles = [sum(spans[i]) / 2 for i in vowels]
            sung = f0 > 50
            for i in vowels:  # the model lets last vowels creak
                sung |= (times > spans[i][0]) & (times < spans[i][1] + EARLY * FRAME)
            f0 = np.where(sung, np.exp(np.interp(times, middles, np.log(wanted))), f0)
        loud = energy[energy > 3]
        usual = float(np.median(loud)) if len(loud) else 6.0
        energy = np.where(energy > usual - 2.5, 0.6 * energy + 0.4 * usual, energy)
        audio = self._model.speak(tokens, style, natural, f0, energy).astype(np.float64)
        return _Speech(audio, spans, durations)


def hertz(midi: Floats | npt.NDArray[np.integer[Any]]) -> Floats:
    """Equal temperament, A4 = 440 Hz."""
    result: Floats = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    return result


def _world() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyworld still asks for pkg_resources
        import pyworld
    return pyworld


def _analyse(audio: Floats) -> tuple[Floats, Floats, Floats]:
    """(F0 [frames], spectral envelope [frames, bins], aperiodicity [frames, bins])."""
    pw = _world()
    rough, times = pw.dio(audio, RATE, frame_period=PERIOD * 1000, f0_floor=65, f0_ceil=500)
    f0 = pw.stonemask(audio, rough, times, RATE)
    return f0, pw.cheaptrick(audio, f0, times, RATE), pw.d4c(audio, f0, times, RATE)


def _voiced_share(f0: Floats, speech: _Speech, vowels: list[int]) -> float:
    frames = []
    for i in vowels:
        first, last = (int(t / PERIOD) for t in speech.spans[i])
        frames.append(f0[first + 2 : max(first + 3, last - 2)] > 0)
    return float(np.mean(np.concatenate(frames)))


def _bend(
    analysis: tuple[Floats, Floats, Floats],
    speech: _Speech,
    plan: list[PhoneTime],
    notes: Sequence[SungNote],
    rng: np.random.Generator,
) -> Floats:
    """Resynthesise the speech with the plan's times and the notes' pitch."""
    f0, envelope, aperiodicity = analysis
    times = np.arange(plan[0].start - LEAD, plan[-1].end + TAIL, PERIOD)
    position = np.clip(_source_times(times, plan, speech.spans, f0) / PERIOD, 0, len(f0) - 1.001)
    low = position.astype(int)
    part = (position - low)[:, None]
    spoken = f0[np.round(position).astype(int)] > 0
    voiced = spoken.copy()
    for phone in plan:
        if phone.vowel:
            voiced[(times > phone.start + 0.02) & (times < phone.end - 0.02)] = True
    spectrum = np.exp(np.log(envelope[low]) * (1 - part) + np.log(envelope[low + 1]) * part)
    noise = aperiodicity[low] * (1 - part) + aperiodicity[low + 1] * part
    noise[voiced & ~spoken] = np.median(
        aperiodicity[f0 > 0], axis=0
    )  # a creaking vowel is not a whispered one
    gain = _gain(times, plan, spectrum)
    pitch = np.where(voiced, hertz(pitch_curve(times, notes, rng)), 0.0)
    audio = _world().synthesize(
        pitch,
        np.ascontiguousarray(spectrum * gain[:, None] ** 2),
        np.ascontiguousarray(noise),
        RATE,
        PERIOD * 1000,
    )
    sung: Floats = audio.astype(np.float32)
    return sung


def _source_times(
    times: Floats, plan: list[PhoneTime], spans: list[tuple[float, float]], f0: Floats
) -> Floats:
    """For every time of the song the time in the speech.

    Long vowels are held in their middle, diphthongs early; where not all of a vowel is voiced, in what is.
    """
    song = [plan[0].start - LEAD]
    source = [max(0.0, spans[0][0] - LEAD)]
    for phone, (start, end) in zip(plan, spans, strict=True):
        song.append(phone.start)
        source.append(start)
        natural = end - start
        if phone.vowel and phone.end - phone.start > natural:
            centre = 0.38 if phone.phone[:-1] in GLIDING else 0.5
            half = 0.15 * natural
            hold = _voiced_centre(start, end, centre, f0)
            song += [phone.start + centre * natural - half, phone.end - (1 - centre) * natural + half]
            source += [max(start, hold - half), min(end, hold + half)]
        song.append(phone.end)
        source.append(end)
    song.append(plan[-1].end + TAIL)
    source.append(spans[-1][1] + TAIL)
    return np.interp(times, np.maximum.accumulate(song), np.maximum.accumulate(source))


def _voiced_centre(start: float, end: float, centre: float, f0: Floats) -> float:
    first, last = int(start / PERIOD), int(end / PERIOD)
    voiced = np.flatnonzero(f0[first:last] > 0)
    if not len(voiced):
        return start + centre * (end - start)
    return (first + voiced[0] + centre * (voiced[-1] - voiced[0])) * PERIOD


def _gain(times: Floats, plan: list[PhoneTime], spectrum: Floats) -> Floats:
    """Amplitude over time: syllables evened out, silence in rests, the end let go."""
    level = 10 * np.log10(spectrum.mean(1) + 1e-12)
    vowels = [phone for phone in plan if phone.vowel]
    inside = [(times >= phone.start) & (times < phone.end) for phone in vowels]
    peaks = np.array([level[mask].max() if mask.any() else np.nan for mask in inside])
    lift = np.nan_to_num(np.clip((np.nanmedian(peaks) - peaks) * 0.6, -6, 6))
    decibels = np.interp(times, [(phone.start + phone.end) / 2 for phone in vowels], lift)
    gate = np.ones(len(times))
    for phone, after in itertools.pairwise(plan):
        if after.start - phone.end > 0.08:
            gate[(times > phone.end + 0.03) & (times < after.start - 0.03)] = 0.02
    end = plan[-1].end
    release = np.where(times < end - 0.12, 1.0, 0.4 + 0.6 * np.clip((end - times) / 0.12, 0, 1))
    smooth: Floats = (
        np.convolve(np.pad(gate, 4, "edge"), np.ones(9) / 9, "valid") * release * 10 ** (decibels / 20)
    )
    return smooth


def pitch_curve(times: Floats, notes: Sequence[SungNote], rng: np.random.Generator) -> Floats:
    """MIDI pitch over time: glides between notes, scoops into phrases, vibrato, some wander."""
    cents = np.full(len(times), notes[0][2] * 100.0)
    for (_, length, _), (start, next_length, midi) in itertools.pairwise(notes):
        width = min(0.09, 0.5 * length + 0.02, 0.5 * next_length + 0.02)
        x = np.clip((times - (start - 0.65 * width)) / width, 0, 1)
        cents += (3 - 2 * x) * x * x * (midi * 100.0 - cents)
    for i, (start, length, _) in enumerate(notes):
        end = start + length
        if i == 0 or start - sum(notes[i - 1][:2]) > 0.1:
            near = (times > start - 0.3) & (times < start + 0.06)
            cents -= np.where(
                near, rng.uniform(20, 110) * (1 - np.clip((times - start + 0.08) / 0.14, 0, 1)), 0
            )
        if length > 0.38:
            swell = np.clip((times - start - 0.22) / 0.25, 0, 1) * np.clip((end + 0.05 - times) / 0.12, 0, 1)
            rate, phase = 5.4 * rng.uniform(0.94, 1.06), rng.uniform(0, 2 * np.pi)
            wave = 28.0 * np.sin(2 * np.pi * rate * (times - start) + phase)
            cents += np.where((times >= start) & (times <= end + 0.05), swell * wave, 0)
    window = np.hanning(80)
    wander = np.convolve(rng.standard_normal(len(times) + 80), window / np.sqrt((window**2).sum()), "valid")
    curve: Floats = (cents + 5.0 * wander[: len(times)]) / 100.0
    return curve
