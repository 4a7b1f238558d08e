"""Did the song keep to its style? Tempo, key and voice, estimated from the sound alone.

The estimators are simple and err on real songs too. So the table gives what they find on the
ground truth beside what they find on generated songs: the first is the most the second can reach.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from khala_studio.training.evaluation.audio_metrics import SAMPLE_RATE, Floats, log_mel, magnitudes

TEMPO_TOLERANCE = 0.04
HOP = 512
ONSET_RATE = SAMPLE_RATE / HOP  # frames a second of the onset curve
SLOWEST, FASTEST = 55.0, 165.0  # beats a minute

# Temperley, "What's key for key?" (1999): how well each of the twelve pitches fits a key, after Krumhansl and
# Kessler (1982), whose own numbers found 11 of 20 keys of our bands' playing where these find 17.
MAJOR = (5, 2, 3.5, 2, 4.5, 4, 2, 4.5, 2, 3.5, 1.5, 4)
MINOR = (5, 2, 3.5, 4.5, 2, 4, 2, 4.5, 3.5, 2, 1.5, 4)
PITCHES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
ENHARMONIC = {"C#": "Db", "D#": "Eb", "F#": "Gb", "G#": "Ab", "A#": "Bb"}
DEFAULT_VOICE_BORDER = 200.0  # Hz between male and female median pitch


@dataclass(frozen=True, slots=True)
class Heard:
    """What the estimators found in one recording; None = nothing to go by."""

    bpm: float | None
    key: str | None
    pitch: float | None  # Hz, median fundamental


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as the corpus writes it."""

    bpm: float | None
    key: str | None  # "A minor"
    gender: str | None  # "female" or "male"


def listen(x: Floats) -> Heard:
    """All three estimates of one recording [channels, N]."""
    return Heard(estimate_tempo(x), estimate_key(x), estimate_pitch(x))


def score(heard: Heard, asked: Asked, voice_border: float = DEFAULT_VOICE_BORDER) -> dict[str, float]:
    """1 or 0 for every thing that was asked (nothing heard counts as 0); see the keys' names.

    "tempo octave" also takes half and double tempo; "key near" gives MIREX part marks.
    """
    marks: dict[str, float] = {}
    if asked.bpm:
        marks["tempo"] = float(_near_tempo(heard.bpm, asked.bpm, (1.0,)))
        marks["tempo octave"] = float(_near_tempo(heard.bpm, asked.bpm, (0.5, 1.0, 2.0)))
    if asked.key:
        near = key_similarity(heard.key, asked.key)
        marks["key"], marks["key near"] = float(near == 1.0), near
    if asked.gender:
        gender = None if heard.pitch is None else ("female" if heard.pitch > voice_border else "male")
        marks["voice"] = float(gender == asked.gender)
    return marks


def estimate_tempo(x: Floats) -> float | None:
    """Beats a minute from the autocorrelation of the onset curves; None for silence or under 4 s.

    Bass, middle and treble are correlated on their own, so that the kick drum counts as much as the
    cymbals. The score of a beat period is the mean correlation at 1, 2 and 4 periods, times a prior
    that is an octave wide about 105 bpm and settles half and double.
    """
    onsets = onset_curves(x)  # [bands, frames]
    active = onsets[onsets.max(axis=1) > 0.02]
    if onsets.shape[1] < 4 * ONSET_RATE or not len(active):
        return None
    correlation = np.mean([_autocorrelation(curve - curve.mean()) for curve in active], axis=0)
    candidates = np.exp(np.linspace(np.log(SLOWEST), np.log(FASTEST), 441))  # 0.25 % apart
    lags = 60 * ONSET_RATE / candidates[:, None] * np.array([1, 2, 4])  # [candidates, 3]
    within = lags < len(correlation) - 1
    values = np.interp(lags, np.arange(len(correlation)), correlation) * within
    comb = values.sum(axis=1) / np.maximum(within.sum(axis=1), 1)
    prior = np.exp(-0.5 * np.log2(candidates / 105) ** 2)
    best = int(np.argmax(np.maximum(comb, 0) * prior))
    return float(candidates[best]) if comb[best] > 0 else None


def onset_curves(x: Floats) -> Floats:
    """[3, frames]: rise of the log-mel spectrum over two frames in bass, middle and treble.

    Bands are compared with the loudest of their neighbours, so that vibrato is no onset (Boeck &
    Widmer's SuperFlux, 2013); rises of less than a fifth of a neper are left out as noise.
    """
    mel = log_mel(x.mean(axis=0, keepdims=True), n_bands=40)[0]  # [frames, bands]
    before = maximum_filter1d(mel[:-2], 3, axis=1)
    rise = np.maximum(mel[2:] - before - 0.2, 0)
    groups = (slice(0, 3), slice(3, 24), slice(24, 40))  # to 230 Hz, to 4.5 kHz, above
    return np.stack([rise[:, group].mean(axis=1) for group in groups])


def estimate_key(x: Floats) -> str | None:
    """ "A minor" and so on: the key profile that correlates best with the chroma; None for silence."""
    profile = chroma(x)
    if float(profile.max()) <= 0:
        return None
    templates = np.array([np.roll(mode, shift) for mode in (MAJOR, MINOR) for shift in range(12)])
    fit = [np.corrcoef(profile, template)[0, 1] for template in templates]
    best = int(np.argmax(np.nan_to_num(fit, nan=-2.0)))
    return f"{PITCHES[best % 12]} {'major' if best < 12 else 'minor'}"


def chroma(x: Floats) -> Floats:
    """[12] strength of the pitches C..B: spectral peaks between 55 Hz and 1.8 kHz.

    Hann 16384 (2.7 Hz a bin), hop 4096. Only bins that top both neighbours count, and frames are
    brought to equal weight, so that a loud drum does not decide the key.
    """
    size = 16_384
    spectrum = magnitudes(x.mean(axis=0, keepdims=True), size, 4_096)[0]  # [frames, bins]
    frequencies = np.arange(spectrum.shape[1]) * SAMPLE_RATE / size
    used = np.flatnonzero((frequencies > 55) & (frequencies < 1_800))
    middle = spectrum[:, used]
    peaks = (middle > spectrum[:, used - 1]) & (middle >= spectrum[:, used + 1]) & (middle > 1e-3)
    strength = middle * peaks
    midi = 69 + 12 * np.log2(frequencies[used] / 440)
    pitch_class = np.rint(midi).astype(int) % 12
    frames = np.stack([strength[:, pitch_class == k].sum(axis=1) for k in range(12)], axis=1)
    total = frames.sum(axis=1, keepdims=True)
    return (frames / np.maximum(total, 1e-6)).mean(axis=0).astype(np.float32)


def estimate_pitch(x: Floats) -> float | None:
    """Median fundamental in Hz of the voiced frames (WORLD's DIO and StoneMask, 65-800 Hz).

    Meant for a voice alone. With a band it follows whatever is loudest and lowest: compare it with
    the same estimate on the ground truth. None where under half a second is voiced.
    """
    import soxr

    with warnings.catch_warnings():  # it imports pkg_resources, which warns
        warnings.simplefilter("ignore")
        import pyworld

    rate = 16_000
    mono = soxr.resample(x.mean(axis=0), SAMPLE_RATE, rate).astype(np.float64)
    f0, times = pyworld.dio(mono, rate, f0_floor=65.0, f0_ceil=800.0, frame_period=10.0)
    f0 = pyworld.stonemask(mono, f0, times, rate)
    voiced = f0[f0 > 0]
    return float(np.median(voiced)) if len(voiced) >= 50 else None


def voice_border(notes_by_gender: dict[str, list[float]]) -> float:
    """Hz half way (geometrically) between the median sung notes [MIDI] of the two genders.

    Meant for the training split's notes, so that nothing held out decides its own threshold.
    """
    if not all(notes_by_gender.get(gender) for gender in ("female", "male")):
        return DEFAULT_VOICE_BORDER
    middle = np.mean([np.median(notes_by_gender[gender]) for gender in ("female", "male")])
    return float(440 * 2 ** ((middle - 69) / 12))


def key_similarity(heard: str | None, asked: str) -> float:
    """MIREX marks: 1 same key, .5 a fifth away, .3 relative, .2 parallel, else 0."""
    if heard is None:
        return 0.0
    (tonic, mode), (wanted, wanted_mode) = _parse_key(heard), _parse_key(asked)
    if mode == wanted_mode:
        return {0: 1.0, 5: 0.5, 7: 0.5}.get((tonic - wanted) % 12, 0.0)
    relative = (wanted + 9) % 12 if wanted_mode == "major" else (wanted + 3) % 12
    if tonic == relative:
        return 0.3
    return 0.2 if tonic == wanted else 0.0


def _parse_key(key: str) -> tuple[int, str]:
    pitch, mode = key.split()
    return PITCHES.index(ENHARMONIC.get(pitch, pitch)), mode


def _near_tempo(heard: float | None, asked: float, factors: tuple[float, ...]) -> bool:
    return heard is not None and any(
        abs(heard / (asked * factor) - 1) <= TEMPO_TOLERANCE for factor in factors
    )


def _autocorrelation(x: Floats) -> Floats:
    """[N] -> [N], unbiased (divided by the number of products), 1 at lag 0."""
    n = len(x)
    size = 1 << (2 * n - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(x, size)))
    correlation = np.fft.irfft(power, size)[:n] / np.arange(n, 0, -1)
    return (correlation / max(float(correlation[0]), 1e-12)).astype(np.float32)
