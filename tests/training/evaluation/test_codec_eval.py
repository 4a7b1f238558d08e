"""A codec whose layers are known: layer k adds a noise that is half as loud as that of the layer before."""

import numpy as np
import pytest

from khala_studio.song.codec import CodecSpec
from khala_studio.training.evaluation.budget import Budget
from khala_studio.training.evaluation.codec_eval import bit_rate, evaluate_codec
from tests.training.evaluation.signals import Floats, noise, tone

pytestmark = pytest.mark.train

SPEC = CodecSpec()


class NoisyCodec:
    """Decodes to the recording plus noise; `better` says whether depth helps."""

    def __init__(self, better: bool = True) -> None:
        self._better = better
        self._x = np.zeros((2, 0), np.float32)

    def encode(self, waveform: Floats) -> np.ndarray:
        self._x = waveform
        return np.zeros((64, waveform.shape[1] // SPEC.hop), np.int16)

    def decode(self, codes: np.ndarray) -> Floats:
        level = 0.1 / len(codes) if self._better else 0.001 * len(codes)
        added = np.random.default_rng(0).standard_normal(self._x.shape)
        return self._x + (level * added).astype(np.float32)


def recording(seconds: float = 1.5) -> Floats:
    x = tone(220, seconds) + noise(seconds, 0.001)
    return x[:, : x.shape[1] // SPEC.hop * SPEC.hop]


def test_a_codec_that_gets_better_with_depth_is_found_so() -> None:
    report = evaluate_codec(NoisyCodec(), SPEC, [("one", recording())], Budget(0.0))
    assert list(report.figures)[:6] == [f"depth {d}" for d in (2, 4, 8, 16, 32, 64)]
    assert {"Opus", "MP3"} <= report.figures.keys()
    assert all(all(by.values()) for by in report.closer().values())
    assert report.verdict().startswith("Every depth is closer")
    assert "NOT" not in report.table().markdown()


def test_a_codec_that_gets_worse_is_named() -> None:
    report = evaluate_codec(NoisyCodec(better=False), SPEC, [("one", recording())], Budget(0.0))
    assert not any(report.closer()["depth 64"].values())
    assert "NOT closer than the depth before: depth 8 by log-mel" in report.table().markdown()


def test_the_budget_decides_how_many_songs() -> None:
    drawn = []
    songs = [(name, recording()) for name in ("one", "two", "three")]
    evaluate_codec(NoisyCodec(), SPEC, songs, Budget(0.0), lambda name, _: drawn.append(name))
    assert drawn == ["one"]
    report = evaluate_codec(NoisyCodec(), SPEC, songs, Budget(float("inf")))
    assert report.songs == ["one", "two", "three"]
    assert report.to_json()["rows"]["depth 2"]["kbps"] == pytest.approx(bit_rate(SPEC, 2))


def test_bit_rate() -> None:
    assert bit_rate(SPEC, 64) == pytest.approx(13.78, abs=0.01)


def test_a_budget_stops_before_an_item_that_would_not_fit() -> None:
    times = iter([0.0, 4.0, 8.0, 9.0])
    budget = Budget(until=13.0, clock=lambda: next(times))
    assert [budget.spent() for _ in range(2)] == [False, False]
    late = iter([0.0, 6.0, 12.0])
    budget = Budget(until=10.0, least=2, clock=lambda: next(late))
    assert [budget.spent() for _ in range(2)] == [False, True]
