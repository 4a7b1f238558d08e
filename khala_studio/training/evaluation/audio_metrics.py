"""Distances between two recordings of the same music, in numpy and scipy.

Every function takes waveforms [channels, N] at `SAMPLE_RATE` as floats of full scale 1, first the
one that is judged (y), then the original (x), and cuts both to the shorter of the two. Nobody hears
these numbers: read the log-mel distance for balance and loudness, the tonal correlation for pitch,
the signal-to-distortion ratio for the waveform itself, and never one of them alone. A noise vocoder
without a single pitch can have the best log-mel distance of a table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SAMPLE_RATE = 44_100
EDGE = 2_048  # samples left out of both ends: frame-domain codecs do not rebuild them
FLOOR = 1e-4  # of a magnitude: -80 dB, below which a difference is not heard
MR_SIZES = (512, 1_024, 2_048)
TONAL_SIZE, TONAL_HOP = 8_192, 2_048
TONAL_BINS = slice(11, 744)  # 59 Hz to 4 kHz at 44.1 kHz
TONAL_SMOOTH = 41  # bins of the moving mean that stands for the envelope: 221 Hz
BANDS = {"low": (0.0, 250.0), "mid": (250.0, 2_000.0), "high": (2_000.0, 8_000.0), "air": (8_000.0, 16_000.0)}


@dataclass(frozen=True, slots=True)
class AudioMetrics:
    """All the figures of one pair of recordings."""

    mel: float  # log-mel distance; lower is closer
    mr_stft: float  # lower is closer
    tonal: float  # 1 = the same harmonics, 0 = none of them; nan = silence
    si_sdr: float  # dB
    level_db: float  # loudness of y against x
    air_db: float  # power of 8-16 kHz of y against x
    width_db: float  # side against mid, of y
    width_original_db: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def compare(y: Floats, x: Floats) -> AudioMetrics:
    """Every figure of this module for one pair, each [channels, N]."""
    level = _db(np.mean(np.square(y))) - _db(np.mean(np.square(x)))
    air = band_powers(y)["air"] - band_powers(x)["air"]
    return AudioMetrics(
        mel=log_mel_distance(y, x),
        mr_stft=multi_resolution_stft(y, x),
        tonal=tonal_correlation(y, x),
        si_sdr=si_sdr(y, x),
        level_db=float(level),
        air_db=air,
        width_db=stereo_width(y),
        width_original_db=stereo_width(x),
    )


def log_mel_distance(y: Floats, x: Floats) -> float:
    """mean |ln mel(y) - ln mel(x)| over channels, frames and 128 mel bands of 30 Hz-20 kHz.

    Hann window 2048, hop 512; magnitudes / sqrt(window energy); each band is a weighted mean of
    its bins; bands below 1e-4 count as 1e-4.
    """
    y, x = _trim(y, x)
    return float(np.mean(np.abs(log_mel(y) - log_mel(x))))


def log_mel(x: Floats, n_bands: int = 128) -> Floats:
    """[channels, N] -> [channels, frames, n_bands], natural logarithm, floor 1e-4."""
    mel = magnitudes(x, 2_048, 512) @ mel_matrix(2_048, n_bands)
    return np.log(np.maximum(mel, FLOOR))


def multi_resolution_stft(y: Floats, x: Floats) -> float:
    """Mean over windows of 512, 1024, 2048 of |Y - X| / |X| (Frobenius norms) + mean |ln Y - ln X|.

    Hop is a quarter of the window. Spectral convergence plus log magnitude as in Yamamoto et al.,
    "Parallel WaveGAN" (2020), with magnitudes / sqrt(window energy) and floor 1e-4.
    """
    y, x = _trim(y, x)
    return float(np.mean([_stft_distance(y, x, size) for size in MR_SIZES]))


def si_sdr(y: Floats, x: Floats) -> float:
    """Scale-invariant signal-to-distortion ratio in dB over all channels at once.

    10 log10(|a x|^2 / |y - a x|^2) with a = <y, x> / <x, x> (Le Roux et al., "SDR - half-baked or
    well done?", 2019). Between -120 and 120; the random phases of a noise path push it far down.
    """
    y64, x64 = (v.astype(np.float64).ravel() for v in _trim(y, x))
    projection = (y64 @ x64) / max(x64 @ x64, 1e-20) * x64
    signal, distortion = projection @ projection, np.sum(np.square(y64 - projection))
    ratio = (signal + 1e-20) / (distortion + 1e-20)
    return float(np.clip(10 * np.log10(ratio), -120.0, 120.0))


def tonal_correlation(y: Floats, x: Floats) -> float:
    """Correlation of the fine structure of the two spectra between 60 Hz and 4 kHz.

    See `fine_spectrum`; c = <fine(y), fine(x)> / (|fine(y)| |fine(x)|) over all frames and bins.
    1 = right harmonics, 0 = no pitch or other pitches. nan where one of the two is silent.
    """
    n = min(y.shape[1], x.shape[1])
    fine_y, fine_x = fine_spectrum(y[:, :n]), fine_spectrum(x[:, :n])
    norm = float(np.linalg.norm(fine_y)) * float(np.linalg.norm(fine_x))
    return float(np.sum(fine_y * fine_x) / norm) if norm > 1e-6 else float("nan")


def fine_spectrum(x: Floats) -> Floats:
    """ln(|X| / 64 + 1e-3) of the mono mix, less its moving mean over 41 bins: [frames, 733].

    Hann 8192, hop 2048, frames centred (5.4 Hz a bin, so neighbouring semitones part above 100 Hz).
    What is left are harmonics as peaks about zero; loudness and timbre have gone.
    """
    mono = np.pad(x.mean(axis=0, dtype=np.float32), TONAL_SIZE // 2, mode="reflect")
    spectrum = np.abs(stft(mono[None], TONAL_SIZE, TONAL_HOP)[0, :, TONAL_BINS])
    log = np.log(spectrum / 64 + 1e-3)
    return log - _moving_mean(log, TONAL_SMOOTH)


def band_powers(x: Floats) -> dict[str, float]:
    """Mean power in dB of the bands of `BANDS` (Hann 2048, hop 2048, mean over channels and frames)."""
    power = np.square(magnitudes(x, 2_048, 2_048)).mean(axis=(0, 1))  # [bins]
    to_bin = 2_048 / SAMPLE_RATE
    return {
        name: float(_db(power[int(low * to_bin) : int(high * to_bin)].mean()))
        for name, (low, high) in BANDS.items()
    }


def stereo_width(x: Floats) -> float:
    """Power of left - right against left + right in dB; -90 for a mono recording."""
    if x.shape[0] != 2:
        return -90.0
    side, mid = np.mean(np.square(x[0] - x[1])), np.mean(np.square(x[0] + x[1]))
    return float(10 * np.log10(side / max(float(mid), 1e-14) + 1e-9))


def find_lag(y: Floats, x: Floats, reach: int = 4_096) -> int:
    """Samples by which y is late against x, at most `reach` either way (peak of the cross-correlation).

    Lossy formats with a delay of their own are moved by it before they are compared.
    """
    n = min(y.shape[1], x.shape[1], 30 * SAMPLE_RATE)
    a, b = y[:, :n].mean(axis=0), x[:, :n].mean(axis=0)
    size = scipy.fft.next_fast_len(2 * n)
    correlation = scipy.fft.irfft(scipy.fft.rfft(a, size) * np.conj(scipy.fft.rfft(b, size)), size)
    around = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    return int(np.argmax(around)) - reach


def align(y: Floats, x: Floats) -> Floats:
    """y moved by its lag against x, and cut or filled with zeros to the length of x."""
    lag = find_lag(y, x)
    moved = y[:, lag:] if lag >= 0 else np.pad(y, ((0, 0), (-lag, 0)))
    missing = max(0, x.shape[1] - moved.shape[1])
    return np.pad(moved, ((0, 0), (0, missing)))[:, : x.shape[1]]


# -- spectra ---------------------------------------------------------------------------------------


def stft(x: Floats, size: int, hop: int) -> NDArray[np.complex64]:
    """[channels, N] -> [channels, frames, size // 2 + 1]; Hann window, no padding at the ends.

    A signal shorter than one window is filled with zeros to one frame.
    """
    x = np.asarray(x, np.float32)
    if x.shape[1] < size:
        x = np.pad(x, ((0, 0), (0, size - x.shape[1])))
    frames = sliding_window_view(x, size, axis=1)[:, ::hop]
    return scipy.fft.rfft(frames * hann(size), axis=-1)


def magnitudes(x: Floats, size: int, hop: int) -> Floats:
    """|STFT| / sqrt(window energy): a white noise of rms r has magnitudes near r at every size."""
    spectrum = stft(x, size, hop)
    return np.abs(spectrum) / np.float32(np.sqrt(0.375 * size))


@lru_cache(maxsize=8)
def hann(size: int) -> Floats:
    """Periodic Hann window; its energy is 0.375 * size."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_matrix(size: int, n_bands: int, low: float = 30.0, high: float = 20_000.0) -> Floats:
    """[size // 2 + 1, n_bands] triangles on the mel scale 2595 log10(1 + f / 700), columns summing to 1.

    A band narrower than a bin takes its nearest bin, so that no band is empty.
    """
    frequencies = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)[:, None]
    mel_edges = np.linspace(_mel(low), _mel(high), n_bands + 2)
    edges = 700 * (10 ** (mel_edges / 2595) - 1)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    for band in np.flatnonzero(weights.sum(axis=0) < 1e-3):
        weights[np.argmin(np.abs(frequencies[:, 0] - edges[band + 1])), band] = 1
    return (weights / np.maximum(weights.sum(axis=0), 1e-6)).astype(np.float32)


def _mel(frequency: float) -> float:
    return float(2595 * np.log10(1 + frequency / 700))


def _stft_distance(y: Floats, x: Floats, size: int) -> float:
    mag_y, mag_x = magnitudes(y, size, size // 4), magnitudes(x, size, size // 4)
    convergence = np.linalg.norm(mag_y - mag_x) / max(float(np.linalg.norm(mag_x)), 1e-6)
    log_y, log_x = np.log(np.maximum(mag_y, FLOOR)), np.log(np.maximum(mag_x, FLOOR))
    return float(convergence + np.mean(np.abs(log_y - log_x)))


def _moving_mean(rows: Floats, width: int) -> Floats:
    """Mean over up to `width` neighbours along the last axis, fewer at the ends."""
    half, n = width // 2, rows.shape[-1]
    total = np.pad(np.cumsum(rows, axis=-1, dtype=np.float64), ((0, 0), (1, 0)))
    first = np.maximum(np.arange(n) - half, 0)
    last = np.minimum(np.arange(n) + half + 1, n)
    return ((total[:, last] - total[:, first]) / (last - first)).astype(np.float32)


def _trim(y: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Both cut to the shorter one, and `EDGE` samples off both ends where enough is left."""
    n = min(y.shape[1], x.shape[1])
    edge = EDGE if n >= 4 * EDGE else 0
    return y[:, edge : n - edge], x[:, edge : n - edge]


def _db(power: float | np.floating) -> np.floating:
    return 10 * np.log10(np.maximum(power, 1e-14))
