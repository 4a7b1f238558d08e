import pytest

from khala_studio.song.codec import CodecSpec


def test_geometry():
    spec = CodecSpec()
    assert spec.frame_rate == pytest.approx(21.533203125)
    assert spec.samples(3) == 6144
    assert spec.seconds(44_100) == pytest.approx(2048)


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0, 0), (2048 / 44100, 1), (2049 / 44100, 2), (30, 646), (600, 12920)]
)
def test_frames_hold_the_seconds(seconds, frames):
    assert CodecSpec().frames(seconds) == frames


def test_whole_frames_gain_none():
    spec = CodecSpec()
    assert [spec.frames(spec.seconds(n)) for n in range(2000)] == list(range(2000))
