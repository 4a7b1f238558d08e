"""The codec's sizes, bands and quarter tones: what networks and graphs must agree on. numpy only.

D is the latent size, bins are of the MDCT at a subframe's hop.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SUBFRAMES = 4  # subframes a frame
STEREO = 2
TONE_WINDOW = 8192  # samples of the analysis window of the tone features
PHASE_CYCLE = 1 << 23  # tone phases are integers modulo this: exact at any length of song
HEADROOM = 1.2  # nats by which one subframe of a band may exceed the band's smoothed loudness
MIN_LEVEL = -7.0  # log2 of the residual's rms that stands for "not quantised"


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of the codec. `latent` is the sum of the four parts."""

    sample_rate: int = 44_100
    hop: int = 2_048
    n_codebooks: int = 64
    codebook_size: int = 1_024
    code_rank: int = 24  # codebook vectors live in a subspace of this many dimensions, one subspace a layer
    voice_dims: int = 24
    env_dims: int = 32
    tone_dims: int = 48
    wave_dims: int = 192
    env_bands: int = 32
    tone_bins: int = 149  # quarter tones from 55 Hz to 4 kHz
    voice_width: int = 192
    voice_blocks: int = 3
    frame_width: int = 384
    frame_blocks: int = 2
    subframe_width: int = 256
    subframe_blocks: int = 4
    n_phones: int = 40  # targets of the voice part while it trains: 39 phones and silence
    n_pitches: int = 50  # unvoiced and 49 semitones from MIDI 36

    @property
    def latent(self) -> int:
        return self.voice_dims + self.env_dims + self.tone_dims + self.wave_dims

    @property
    def subhop(self) -> int:
        return self.hop // SUBFRAMES

    @property
    def parts(self) -> dict[str, slice]:
        """Where each part lies in the latent vector."""
        sizes = {
            "voice": self.voice_dims,
            "env": self.env_dims,
            "tone": self.tone_dims,
            "wave": self.wave_dims,
        }
        ends = np.cumsum(list(sizes.values()))
        return {
            name: slice(int(end) - size, int(end))
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def band_edges(config: CodecConfig) -> list[int]:
    """[env_bands + 1] MDCT bins that part the spectrum into mel-spaced bands of at least one bin."""
    hop, n_bands, sample_rate = config.subhop, config.env_bands, config.sample_rate
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    low = 2595 * math.log10(1 + 20 / 700)
    edges = [0]
    for j in range(1, n_bands):
        hz = 700 * (10 ** ((low + (top - low) * j / n_bands) / 2595) - 1)
        edges.append(max(edges[-1] + 1, round(hz / (sample_rate / 2) * hop)))
    return [*edges, hop]


def band_mean(config: CodecConfig) -> NDArray[np.float64]:
    """[bins, bands]: mean over each band."""
    mean = np.zeros((config.subhop, config.env_bands))
    for j, (a, b) in enumerate(pairwise(band_edges(config))):
        mean[a:b, j] = 1 / (b - a)
    return mean


def band_spread(config: CodecConfig) -> NDArray[np.float64]:
    """[bands, bins]: linear interpolation from band centres to bins."""
    centres = np.array([(a + b - 1) / 2 for a, b in pairwise(band_edges(config))])
    bins = np.arange(config.subhop)
    return np.stack([np.interp(bins, centres, row) for row in np.eye(config.env_bands)])


def tone_hz(config: CodecConfig) -> NDArray[np.float64]:
    """[tone_bins] quarter tones from 55 Hz."""
    return np.asarray(55.0 * 2 ** (np.arange(config.tone_bins) / 24))


def tone_cycles(config: CodecConfig) -> NDArray[np.int64]:
    """Phase advance of each oscillator a sample: [tone_bins], in units of 1 / PHASE_CYCLE turn."""
    return np.round(tone_hz(config) / config.sample_rate * PHASE_CYCLE).astype(np.int64)


def tone_bin_ranges(config: CodecConfig) -> list[tuple[int, int]]:
    """For each quarter tone the bins [a, b) of a 16,384-point spectrum (zero-padded) that belong to it."""
    resolution = config.sample_rate / (2 * TONE_WINDOW)
    return [
        (int(f * 2 ** (-1 / 48) / resolution), int(f * 2 ** (1 / 48) / resolution) + 2)
        for f in tone_hz(config)
    ]


def tone_bands(config: CodecConfig) -> NDArray[np.float64]:
    """[tone_bins, bands]: what an oscillator's squared amplitude adds to the mean MDCT power of its band."""
    edges, hop = band_edges(config), config.subhop
    power = np.zeros((config.tone_bins, config.env_bands))
    for i, hz in enumerate(tone_cycles(config) * config.sample_rate / PHASE_CYCLE):
        j = int(np.searchsorted(edges, hz / (config.sample_rate / 2) * hop, side="right")) - 1
        power[i, j] = hop / (edges[j + 1] - edges[j]) / 2
    return power


def tone_members(config: CodecConfig) -> NDArray[np.float64]:
    """[bands, tone_bins]: one where the quarter tone lies in the band."""
    return (tone_bands(config).T > 0).astype(np.float64)
