"""The measures on signals where the answer is known beforehand."""

import numpy as np
import pytest

from khala_studio.training.evaluation import audio_metrics as metrics
from tests.training.evaluation.signals import noise, tone

pytestmark = pytest.mark.train


def test_identical_recordings_are_at_no_distance() -> None:
    x = tone(220) + noise(level=0.01)
    found = metrics.compare(x, x)
    assert found.mel == 0
    assert found.mr_stft == 0
    assert found.level_db == 0
    assert found.tonal == pytest.approx(1, abs=1e-5)
    assert found.si_sdr == 120


def test_half_the_gain_is_ln_2_in_log_mel_and_nothing_in_si_sdr() -> None:
    x = noise(level=0.1)
    found = metrics.compare(0.5 * x, x)
    assert found.mel == pytest.approx(np.log(2), abs=1e-3)
    # Spectral convergence of half the magnitudes is a half; log magnitude differs by ln 2.
    assert found.mr_stft == pytest.approx(0.5 + np.log(2), abs=1e-3)
    assert found.level_db == pytest.approx(-6.02, abs=0.01)
    assert found.si_sdr > 100


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_noise_of_known_level_gives_its_si_sdr(snr: float) -> None:
    x = noise(level=0.1, seed=1)
    y = x + noise(level=0.1 * 10 ** (-snr / 20), seed=2)
    assert metrics.si_sdr(y, x) == pytest.approx(snr, abs=0.1)


def test_tonal_correlation_hears_the_tune_and_not_the_loudness() -> None:
    x = tone(220) + noise(level=0.003)
    assert metrics.tonal_correlation(0.5 * x, x) > 0.95
    assert metrics.tonal_correlation(tone(220 * 2 ** (1 / 12)) + noise(level=0.003, seed=1), x) < 0.2
    assert abs(metrics.tonal_correlation(noise(level=0.1, seed=3), x)) < 0.1


def test_a_noise_vocoder_wins_in_log_mel_and_loses_in_tonal() -> None:
    """Why no table may rest on log-mel alone."""
    x, quieter = noise(level=0.1, seed=1), 0.3 * noise(level=0.1, seed=1)
    other = noise(level=0.1, seed=2)
    assert metrics.log_mel_distance(other, x) < metrics.log_mel_distance(quieter, x)
    assert metrics.tonal_correlation(other, x) < 0.1 < metrics.tonal_correlation(quieter, x)


def test_mel_bands_are_weighted_means() -> None:
    matrix = metrics.mel_matrix(2_048, 128)
    assert matrix.shape == (1_025, 128)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-5)
    assert np.all(np.diff(matrix.argmax(axis=0)) >= 0)


def test_white_noise_has_magnitudes_of_its_rms() -> None:
    for size in (512, 2_048):
        power = np.square(metrics.magnitudes(noise(level=0.1), size, size)).mean()
        assert np.sqrt(power) == pytest.approx(0.1, rel=0.02)


def test_band_powers_find_the_band() -> None:
    powers = metrics.band_powers(tone(3_000, partials=1))
    assert max(powers, key=powers.__getitem__) == "high"
    assert powers["high"] > powers["air"] + 40


def test_width_is_side_against_mid() -> None:
    assert metrics.stereo_width(tone(220)) == pytest.approx(-90, abs=0.1)
    assert metrics.stereo_width(noise()) == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("lag", [-700, 0, 1_105])
def test_a_shifted_copy_is_moved_back(lag: int) -> None:
    x = noise()
    late = np.roll(x, lag, axis=1)
    assert metrics.find_lag(late, x) == lag
    moved = metrics.align(late, x)
    assert moved.shape == x.shape
    assert metrics.si_sdr(moved, x) > 60


def test_silence_and_snippets_do_not_break_the_measures() -> None:
    silent = np.zeros((2, 30_000), np.float32)
    found = metrics.compare(silent, silent)
    assert found.mel == 0
    assert np.isnan(found.tonal)
    snippet = noise(0.02)  # shorter than the windows
    assert np.isfinite(metrics.log_mel_distance(snippet, snippet))
