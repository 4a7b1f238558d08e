import numpy as np
import pytest

from khala_studio.engine.decoder import chunk_frames, chunks, decode_stream
from khala_studio.engine.encoder import encode_stream
from tests.fakes import FakeStages, fake_manifest

CODEC = fake_manifest().codec


@pytest.mark.parametrize("n_frames", [1, 5, 86, 128, 129, 130, 500])
@pytest.mark.parametrize("depth", [1, 2, 64])
def test_chunks_join_without_a_seam(n_frames, depth):
    stages = FakeStages()
    codes = np.random.default_rng(0).integers(0, 16, (depth, n_frames)).astype(np.int16)
    joined = np.concatenate([s for _, s in decode_stream(stages.decode, codes, CODEC)], axis=1)
    np.testing.assert_allclose(joined, stages.decode(codes, 0), atol=1e-4)


@pytest.mark.parametrize("n_frames", [1, 86, 129, 1_000, 5_432])
def test_chunks_cover_the_song_in_two_to_six_seconds_each(n_frames):
    plan = list(chunks(n_frames, CODEC))
    assert [c.start for c in plan] == [0, *(c.stop for c in plan[:-1])]
    assert plan[-1].stop == n_frames
    size = chunk_frames(CODEC)
    assert all(c.stop - c.start <= 1.5 * size for c in plan)
    assert all(c.stop - c.start >= size // 2 for c in plan) or n_frames < size // 2


def test_sound_is_encoded_in_chunks_with_the_last_frame_filled_up():
    sound = np.arange(2 * (300 * 64 + 5), dtype=np.float32).reshape(2, -1)

    def encode(window):  # a code a frame: where the window's frames are
        assert window.shape[1] % 64 == 0
        return (window[:1, ::64] / 64).astype(np.int16)

    codes = np.concatenate(list(encode_stream(encode, sound, CODEC)), axis=1)
    assert codes[0].tolist() == list(range(301))
