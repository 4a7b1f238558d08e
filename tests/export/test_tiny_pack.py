"""The tiny pack behaves as the tests of the engine take for granted."""

from itertools import pairwise

import numpy as np
import pytest

from khala_studio.training.parity import CachedBackbone, open_graph
from tests.tiny_pack import CONTEXT_FRAMES, NOISE_PERIOD, build_tiny_pack

SMALL = {"n_codebooks": 8, "codebook_size": 32, "hop": 64}


@pytest.fixture(scope="module", params=["plain", "noise", "int4"])
def tiny(request, tmp_path_factory):
    options = {"plain": {}, "noise": {"noise": True}, "int4": {"precision": "int4", "kv_dtype": "int8"}}
    folder = tmp_path_factory.mktemp("packs") / request.param
    return build_tiny_pack(folder, **SMALL, **options[request.param])


def decode(session, codes, start):
    feed = {"codes": codes, "start_frame": np.array([start])}
    return session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})[0]


def test_chunks_of_the_decoder_join_without_a_seam(tiny):
    codes = np.random.default_rng(0).integers(0, 32, (8, 40))
    session = open_graph(tiny / "decoder.onnx")
    whole = decode(session, codes, 0)
    part = decode(session, codes[:, 10:30], 10)
    inner = slice(CONTEXT_FRAMES * 64, -CONTEXT_FRAMES * 64)
    np.testing.assert_allclose(part[:, inner], whole[:, 10 * 64 : 30 * 64][:, inner], atol=1e-6)
    assert np.abs(part[:, :64] - whole[:, 10 * 64 : 11 * 64]).max() > 1e-4, "the context matters"


def test_the_noise_has_a_place_in_the_song(tmp_path):
    session = open_graph(build_tiny_pack(tmp_path / "noise", noise=True, **SMALL) / "decoder.onnx")
    codes = np.zeros((2, 5), np.int64)
    assert np.abs(decode(session, codes, 0) - decode(session, codes, 1)).max() > 1e-3
    np.testing.assert_array_equal(decode(session, codes, 3), decode(session, codes, 3 + NOISE_PERIOD))


def test_every_depth_decodes_and_adds_something(tiny):
    codes = np.random.default_rng(1).integers(0, 32, (8, 6))
    session = open_graph(tiny / "decoder.onnx")
    sounds = [decode(session, codes[:depth], 0) for depth in range(1, 9)]
    assert all(sound.shape == (2, 6 * 64) for sound in sounds)
    assert all(np.abs(a - b).max() > 1e-4 for a, b in pairwise(sounds))


def test_the_encoder_gives_codes(tiny):
    waveform = np.random.default_rng(2).standard_normal((2, 64 * 20)).astype(np.float32)
    codes = open_graph(tiny / "encoder.onnx").run(None, {"waveform": waveform})[0]
    assert codes.shape == (8, 20)
    assert codes.min() >= 0
    assert codes.max() < 32
    assert len(np.unique(codes[0])) > 1


def test_the_backbone_is_undecided(tiny):
    """No code is so likely that every sampled song would be the same."""
    backbone = CachedBackbone(open_graph(tiny / "backbone.onnx"), capacity=16)
    logits = backbone.feed(np.arange(12))["logits"][0].astype(float)
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    assert len(logits) == 2 * 32 + 1
    assert probabilities.max() < 0.5
