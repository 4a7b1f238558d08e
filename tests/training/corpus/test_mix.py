"""Loudness as BS.1770 has it, a limiter that holds, stems that add up."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from khala_studio.training.corpus.mix import (
    CEILING,
    LOUDNESS,
    RATE,
    STEMS,
    finish,
    gated_loudness,
    k_weighted,
    limiter_gain,
    reverb,
    vocal_chain,
)

pytestmark = pytest.mark.train


def _sine(hertz: float, seconds: float, level: float = 1.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def _band() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    stems = {
        name: np.repeat(_sine(f, 4, 0.3)[:, None], 2, 1)
        for name, f in zip(STEMS, (440, 90, 60, 700), strict=True)
    }
    stems["drums"] = rng.standard_normal((4 * RATE, 2)) * (np.arange(4 * RATE) % 11025 < 900)[:, None]
    return stems


def test_the_reference_tone_reads_what_the_standard_says() -> None:
    left = np.stack([_sine(997, 3), np.zeros(3 * RATE)], 1)
    assert gated_loudness(k_weighted(left)) == pytest.approx(-3.01, abs=0.02)


def test_silence_has_no_loudness_and_pauses_do_not_count() -> None:
    assert gated_loudness(np.zeros((RATE, 2))) == -np.inf
    assert gated_loudness(np.ones((1000, 2))) == -np.inf
    tone = np.repeat(_sine(997, 4)[:, None], 2, 1)
    paused = np.concatenate([tone, np.zeros((4 * RATE, 2))])
    assert gated_loudness(k_weighted(paused)) == pytest.approx(gated_loudness(k_weighted(tone)), abs=0.3)


def test_no_sample_passes_the_ceiling_and_quiet_parts_are_left_alone() -> None:
    stems = np.stack(list(_band().values()), 1)
    stems[: 2 * RATE] *= 0.05
    gain = limiter_gain(stems * 3)
    limited = stems * 3 * gain[:, None, None]
    assert np.abs(limited.sum(1)).max() <= CEILING + 1e-9
    assert np.abs(limited).max() <= CEILING + 1e-9
    assert (gain[: 2 * RATE - 1000] == 1).all()
    assert gain.min() < 1


def test_the_mix_is_as_loud_as_it_should_be_with_the_voice_on_top() -> None:
    audio = finish(_band())
    assert audio.dtype == np.int16
    assert audio.shape == (4 * RATE, 4, 2)
    mix = audio.sum(1) / 32767
    assert np.abs(mix).max() <= CEILING + 4 / 32767
    assert gated_loudness(k_weighted(mix)) == pytest.approx(LOUDNESS, abs=1.0)
    loudness = [gated_loudness(k_weighted(audio[:, i] / 32767)) for i in range(4)]
    assert all(loudness[0] > other + 6 for other in loudness[1:])


def test_a_song_without_a_voice_can_be_mixed() -> None:
    stems = _band()
    stems["vocals"] = np.zeros_like(stems["vocals"])
    audio = finish(stems)
    assert not audio[:, 0].any()
    assert audio[:, 1:].any(axis=(0, 2)).all()


def test_the_vocal_chain_keeps_length_and_the_room_comes_after() -> None:
    dry = np.zeros(2 * RATE)
    dry[RATE : RATE + 4410] = _sine(300, 0.1, 0.5)
    wet = vocal_chain(dry, 1.0)
    assert wet.shape == (2 * RATE, 2)
    assert np.abs(wet[: RATE - 10]).max() < 1e-3
    assert np.abs(wet[RATE + 9000 : RATE + 20000]).max() > 1e-4
    click = np.zeros((RATE, 2))
    click[100] = 1
    assert np.abs(reverb(click, 0.7)[: 100 + int(0.017 * RATE)]).max() < 1e-9
