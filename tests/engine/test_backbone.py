import numpy as np
import pytest

from khala_studio.engine.backbone import compose
from khala_studio.engine.stages import FrameRange
from khala_studio.song.request import Sampling
from tests.fakes import FakeStages, fake_manifest

SAMPLING = Sampling(1.0, 8)
NOTHING = np.empty((2, 0), dtype=np.int16)
PROMPT = np.array([1, 9, 2])


def _frames(known=NOTHING, least=5, most=30, **options):
    stages = FakeStages(**options)
    return list(stages.compose(PROMPT, FrameRange(least, most), SAMPLING, 0, known))


def _codes(frames):
    return np.stack([f.codes for f in frames], axis=1)


def test_layers_alternate_and_each_is_drawn_from_its_own_rows():
    """A net that says which row it was asked for: the rows of the other layer are far likelier."""
    manifest = fake_manifest()
    fed = []

    def feed(ids):
        fed.append(ids.tolist())
        logits = np.full(33, 50.0, dtype=np.float32)
        layer = (len(fed) - 1) % 2
        logits[16 * layer : 16 * layer + 16] = np.arange(16)
        return logits

    frames = list(compose(feed, manifest, PROMPT, FrameRange(3, 3), Sampling(1.0, 1), 0, NOTHING))
    assert _codes(frames).tolist() == [[15, 15, 15], [15, 15, 15]]
    assert fed == [[1, 9, 2], [415], [431], [415], [431], [415]]


def test_the_song_ends_only_between_frames_and_within_its_range():
    assert len(_frames(end_bias=50)) == 5  # the model wants to end at once
    assert len(_frames(end_bias=-50)) == 30  # and never
    lengths = {len(_frames(end_bias=2.0, known=_codes(_frames(end_bias=-50))[:, :n])) for n in range(5)}
    assert all(5 <= n <= 30 for n in lengths)


def test_an_end_is_drawn_like_any_code():
    ended = _frames(end_bias=1.5)
    endless = _frames(end_bias=-50)
    assert 5 <= len(ended) < 30
    # Until the end may be drawn, the two songs see the same numbers and the same logits.
    np.testing.assert_array_equal(_codes(ended)[:, :5], _codes(endless)[:, :5])


@pytest.mark.parametrize("n_known", [1, 4, 17])
def test_known_frames_change_nothing(n_known):
    whole = _frames(end_bias=-50)
    resumed = _frames(known=_codes(whole)[:, :n_known], end_bias=-50)
    np.testing.assert_array_equal(_codes(resumed), _codes(whole))
    assert [f.logprob for f in resumed] == [f.logprob for f in whole]


def test_log_probabilities_are_means_over_the_frame():
    (first, *_) = _frames()
    stages = FakeStages()
    from tests.fakes import _FakeBackbone

    net = _FakeBackbone(stages)
    q0 = net.feed(PROMPT)[:16]
    q1 = net.feed(np.array([400 + first.codes[0]]))[16:32]
    log = [
        float(row[c] - np.log(np.exp(row.astype(np.float64)).sum()))
        for row, c in zip((q0, q1), first.codes, strict=True)
    ]
    assert first.logprob == pytest.approx(np.mean(log), abs=1e-5)
