"""Stems to a song: reverb, balance, ducking, loudness, limiter. Stems are float [samples, 2] at 44.1 kHz."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

RATE = 44100  # Hz
STEMS = ("vocals", "drums", "bass", "other")
BALANCE = dict(vocals=0.0, drums=-9.0, bass=-10.0, other=-10.0)  # dB, against the voice's loudness
LOUDNESS = -16.0  # LUFS of the mix
CEILING = 0.93  # no sample of the mix or of a stem is louder
DUCK = 2.5  # dB that `other` steps back under the voice


def finish(stems: dict[str, Floats]) -> npt.NDArray[np.int16]:
    """Balanced stems as int16 [samples, 4, 2], ordered as STEMS; their sum is the mix. Any may be silent."""
    weighted = {name: k_weighted(stem) for name, stem in stems.items()}
    gains = {}
    for name in STEMS:
        loudness = gated_loudness(weighted[name])
        gains[name] = 10 ** ((BALANCE[name] - loudness) / 20) if np.isfinite(loudness) else 0.0
    duck = 10 ** (-DUCK * _presence(stems["vocals"]) / 20)[:, None]
    balanced = np.stack([stems[n] * gains[n] * (duck if n == "other" else 1.0) for n in STEMS], 1)
    loudness = gated_loudness(sum(weighted[n] * gains[n] for n in STEMS))
    balanced *= 10 ** ((LOUDNESS - loudness) / 20) if np.isfinite(loudness) else 1.0
    balanced *= limiter_gain(balanced)[:, None, None]
    return np.round(balanced * 32767).astype(np.int16)


def limiter_gain(stems: Floats) -> Floats:
    """Gain over time [samples] that keeps the mix and every stem of [samples, stems, 2] under CEILING."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d

    peak = np.maximum(np.abs(stems.sum(1)).max(1), np.abs(stems).max((1, 2)))
    span = int(0.005 * RATE) | 1
    needed = np.minimum(1.0, CEILING / np.maximum(maximum_filter1d(peak, span), 1e-9))
    gain: Floats = uniform_filter1d(
        minimum_filter1d(needed, span), span
    )  # each mean is over values that all suffice
    return np.minimum(gain, needed)


def _presence(vocals: Floats) -> Floats:
    """0..1 over time: is someone singing?"""
    from scipy.ndimage import maximum_filter1d, uniform_filter1d

    level = np.sqrt(uniform_filter1d((vocals**2).mean(1), int(0.03 * RATE)).clip(0))
    active = (level > 0.05 * level.max()) if level.max() > 0 else np.zeros(len(level), bool)
    held = maximum_filter1d(active[::441].astype(float), 41)  # 10 ms steps, 0.4 s
    smooth: Floats = np.interp(np.arange(len(level)), np.arange(len(held)) * 441, uniform_filter1d(held, 15))
    return smooth


def vocal_chain(dry: Floats, reverb_seconds: float) -> Floats:
    """A raw mono vocal [samples] -> stereo stem: high-pass, compressor, a little room."""
    from scipy.signal import butter, sosfilt

    clean = sosfilt(butter(2, 85, "hp", fs=RATE, output="sos"), dry)
    clean = clean / (np.abs(clean).max() + 1e-9) * 0.7
    level = np.sqrt(sosfilt(butter(1, 12, fs=RATE, output="sos"), clean**2).clip(1e-9))
    over = np.minimum(0.0, (-20.0 - 20 * np.log10(level)) * (1 - 1 / 3))
    stereo = np.repeat((clean * 10 ** (over / 20))[:, None], 2, 1)
    return stereo + 0.12 * reverb(stereo, reverb_seconds)


def reverb(stereo: Floats, seconds: float) -> Floats:
    """Wet signal [samples, 2] of a room of filtered, decaying noise."""
    from scipy.signal import oaconvolve

    room = _room(round(seconds, 1))
    wet: Floats = oaconvolve(stereo, room, axes=0)[: len(stereo)]
    return wet


@functools.lru_cache(16)
def _room(seconds: float) -> Floats:
    from scipy.signal import butter, sosfilt

    length = int(seconds * RATE)
    noise = (
        np.random.default_rng(1).standard_normal((length, 2))
        * np.exp(-6.9 * np.arange(length) / length)[:, None]
    )
    room = sosfilt(butter(2, [250, 6500], "bp", fs=RATE, output="sos"), noise, axis=0)
    room[: int(0.018 * RATE)] = 0
    unit: Floats = room / np.sqrt((room**2).sum(0))
    return unit


def k_weighted(stereo: Floats) -> Floats:
    """ITU-R BS.1770 K-weighting."""
    from scipy.signal import sosfilt

    weighted: Floats = sosfilt(_k_filters(), stereo, axis=0)
    return weighted


@functools.cache
def _k_filters() -> Floats:
    """BS.1770 at RATE as second-order sections: shelf (1682 Hz, +4 dB), high-pass (38 Hz)."""
    sections = []
    for kind, frequency, q, decibels in (
        ("shelf", 1681.974, 0.7071752, 3.99984),
        ("pass", 38.13547, 0.5003270, 0.0),
    ):
        k = np.tan(np.pi * frequency / RATE)
        high = 10 ** (decibels / 20)
        a0 = 1 + k / q + k * k
        if kind == "shelf":
            middle = high**0.4996667741545416
            b = [
                (high + middle * k / q + k * k) / a0,
                2 * (k * k - high) / a0,
                (high - middle * k / q + k * k) / a0,
            ]
        else:
            b = [1.0, -2.0, 1.0]
        sections.append([*b, 1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])
    return np.array(sections)


def gated_loudness(weighted: Floats) -> float:
    """BS.1770 integrated loudness in LUFS of a K-weighted signal [samples, 2].

    -inf for silence and for less than 0.4 s.
    """
    step = RATE // 10
    tenths = (weighted[: len(weighted) // step * step] ** 2).sum(1).reshape(-1, step).mean(1)
    if len(tenths) < 4:
        return -np.inf
    power = np.convolve(tenths, np.ones(4) / 4, "valid")
    for gate in (-70.0, None):
        if gate is None:
            gate = -0.691 + 10 * np.log10(power.mean()) - 10
        power = power[-0.691 + 10 * np.log10(power + 1e-15) > gate]
        if not len(power):
            return -np.inf
    return float(-0.691 + 10 * np.log10(power.mean()))
