import numpy as np
import pytest

from khala_studio.engine.superres import sharpen
from khala_studio.song.request import Sampling
from tests.fakes import FakeStages, fake_manifest

PROMPT = np.array([1, 9, 8, 2])
SAMPLING = Sampling(1.0, 4)


def _known(n_layers=2, n_frames=12):
    return np.random.default_rng(0).integers(0, 16, (n_layers, n_frames)).astype(np.int16)


def test_the_model_is_given_text_marker_and_the_sum_of_the_layers_below():
    manifest = fake_manifest()
    known = _known(2, 3)
    seen = []

    def embed(ids):
        return np.stack([ids, ids * 0 + 1] + [ids * 0] * 6, axis=1).astype(np.float32)

    def predict(x, layer, n_text):
        seen.append((x.copy(), layer, n_text))
        return np.tile(np.arange(16, dtype=np.float32), (3, 1))

    layers = list(sharpen(embed, predict, manifest, PROMPT, known, 4, Sampling(1.0, 1), 0))
    assert [line.tolist() for line in layers] == [[15, 15, 15]] * 2
    (x2, layer2, n_text), (x3, layer3, _) = seen
    assert (layer2, layer3, n_text, x2.shape) == (2, 3, 4, (1, 7, 8))
    assert x2[0, :4, 0].tolist() == [1, 9, 8, 399 - 2]  # the last text position became the marker
    assert x3[0, 3, 0] == 399 - 3
    sums = (400 + known[0]) + (416 + known[1])
    assert x2[0, 4:, 0].tolist() == sums.tolist()
    assert x2[0, 4:, 1].tolist() == [2, 2, 2]
    assert x3[0, 4:, 0].tolist() == (sums + 432 + 15).tolist()


def test_one_pass_a_layer():
    stages = FakeStages()
    list(stages.sharpen(PROMPT, _known(), 64, SAMPLING, 0))
    assert stages.log == [f"pass {k}" for k in range(2, 64)]


@pytest.mark.parametrize("stop", [3, 17, 63])
def test_going_on_from_a_layer_is_bit_equal(stop):
    whole = np.stack(list(FakeStages().sharpen(PROMPT, _known(), 64, SAMPLING, 5)))
    known = np.concatenate([_known(), whole[: stop - 2]])
    rest = np.stack(list(FakeStages().sharpen(PROMPT, known, 64, SAMPLING, 5)))
    np.testing.assert_array_equal(rest, whole[stop - 2 :])


def test_the_seed_matters():
    a, b = (np.stack(list(FakeStages().sharpen(PROMPT, _known(), 5, SAMPLING, s))) for s in (1, 2))
    assert (a != b).any()
