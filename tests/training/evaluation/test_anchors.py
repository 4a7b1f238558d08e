import pytest

from khala_studio.training.evaluation.anchors import ANCHORS, Anchor, round_trip
from khala_studio.training.evaluation.audio_metrics import si_sdr
from tests.training.evaluation.signals import noise, tone

pytestmark = pytest.mark.train

RATES = {"Opus": (10, 17), "Opus, more": (30, 45), "MP3": (24, 42)}


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.name)
def test_anchors_keep_length_place_and_rate(anchor: Anchor) -> None:
    x = tone(220, 6.0, partials=6) + noise(6.0, 0.002)
    y, kbps = round_trip(x, anchor)
    low, high = RATES[anchor.name]
    assert low < kbps < high
    assert y.shape == x.shape
    assert si_sdr(y, x) > 5  # a delay of a few samples would spoil it
