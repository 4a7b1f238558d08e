"""The exported encoder and decoder against the torch codec: same codes, same waveform, at every depth."""

import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from khala_studio.training.codec_geometry import SUBFRAMES  # noqa: E402
from khala_studio.training.export.codec_decoder_graph import decoder_graph  # noqa: E402
from khala_studio.training.export.codec_encoder_graph import encoder_graph  # noqa: E402
from khala_studio.training.export.codec_noise import NOISE_PERIOD, noise_table  # noqa: E402
from khala_studio.training.parity import open_graph  # noqa: E402
from tests.training.tiny_audio import HOP, TINY, fitted_codec, whole_song, write_corpus  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("audio") / "corpus")


@pytest.fixture(scope="module")
def codec(corpus):
    """Fitted to the corpus, then shaken a little and opened to the waveform: every weight has a say."""
    codec = fitted_codec(corpus)
    generator = torch.Generator().manual_seed(0)
    for parameter in codec.decoder.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    for table in (codec.decoder.wave_gain, codec.decoder.wave_share):
        table.copy_(0.95 * torch.rand(table.shape, generator=generator))
    return codec


@pytest.fixture(scope="module")
def state(codec):
    return {name: tensor.numpy() for name, tensor in codec.state_dict().items()}


@pytest.fixture(scope="module")
def decoder(state):
    return open_graph(decoder_graph(TINY.to_dict(), state))


@pytest.fixture(scope="module")
def song(corpus):
    return whole_song(corpus)


@pytest.fixture(scope="module")
def codes(codec, song):
    return codec.encode(torch.from_numpy(song)).numpy()


def decoded(session, codes, start_frame=0):
    feed = {"codes": codes.astype(np.int64), "start_frame": np.array([start_frame], np.int64)}
    return session.run(["waveform"], feed)[0]


def assert_same_sound(ours, theirs):
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def decibels_above_error(exact, approximate):
    return 10 * np.log10((exact**2).mean() / (((approximate - exact) ** 2).mean() + 1e-20))


def test_encoder_chooses_the_same_codes(codec, state, song, codes):
    session = open_graph(encoder_graph(TINY.to_dict(), state))
    for frames in (len(song[0]) // HOP, 1, 37):
        part = np.ascontiguousarray(song[:, : frames * HOP])
        ours = session.run(["codes"], {"waveform": part})[0]
        theirs = codec.encode(torch.from_numpy(part)).numpy()
        assert ours.dtype == np.int64
        assert ours.shape == (TINY.n_codebooks, frames)
        assert (ours == theirs).mean() >= 0.995
    assert len(np.unique(codes)) > TINY.codebook_size // 2  # a song, not one code


@pytest.mark.parametrize("depth", range(1, TINY.n_codebooks + 1))
def test_decoder_makes_the_same_waveform_of_any_depth(codec, decoder, codes, depth):
    part = codes[:depth, 30:50]
    assert_same_sound(decoded(decoder, part, 30), codec.decode(torch.from_numpy(part), 30).numpy())


def test_decoder_makes_the_same_waveform_far_into_a_song(codec, decoder, codes):
    """Ten hours: phases are integers, so nothing drifts."""
    part, start = codes[:, 60:72], 775_201
    sound = decoded(decoder, part, start)
    assert_same_sound(sound, codec.decode(torch.from_numpy(part), start).numpy())
    assert np.abs(sound - decoded(decoder, part, start - 1)).max() > 1e-2 * np.abs(sound).max()


def test_decoder_makes_one_frame(codec, decoder, codes):
    part = codes[:, 40:41]
    assert_same_sound(decoded(decoder, part), codec.decode(torch.from_numpy(part)).numpy())


def test_decoder_joins_chunks_without_a_seam(decoder, codes):
    whole = decoded(decoder, codes[:, :64])
    for start in (16, 32):
        chunk = decoded(decoder, codes[:, start - 8 : start + 24], start - 8)
        expected = whole[:, start * HOP : (start + 16) * HOP]
        assert np.abs(chunk[:, 8 * HOP : 24 * HOP] - expected).max() < 1e-4 * np.abs(whole).max()


def test_song_goes_through_both_graphs(codec, state, decoder, song):
    """Waveform to waveform, in ONNX Runtime alone and in torch alone."""
    encoder = open_graph(encoder_graph(TINY.to_dict(), state))
    part = np.ascontiguousarray(song[:, 20 * HOP : 60 * HOP])
    ours = encoder.run(["codes"], {"waveform": part})[0]
    theirs = codec.encode(torch.from_numpy(part)).numpy()
    same = (ours == theirs).all(0)
    assert same.mean() > 0.95
    first, second = decoded(decoder, ours), codec.decode(torch.from_numpy(theirs)).numpy()
    assert decibels_above_error(second, first) > 15  # other codes and all


@pytest.mark.parametrize(("storage", "decibels"), [("float16", 35), ("int8", 15)])
def test_weights_in_fewer_bits_sound_almost_the_same(codec, state, codes, storage, decibels):
    full = decoder_graph(TINY.to_dict(), state)
    small = decoder_graph(TINY.to_dict(), state, storage)
    assert small.ByteSize() < full.ByteSize()
    part = codes[:, 20:50]
    exact = codec.decode(torch.from_numpy(part)).numpy()
    assert decibels_above_error(exact, decoded(open_graph(small), part)) > decibels


def test_noise_is_fixed_and_normal():
    table = noise_table(32)
    assert table.shape == (NOISE_PERIOD * SUBFRAMES, 2, 32)
    assert np.array_equal(table, noise_table(32))
    values = table / 32
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03


def test_graphs_are_built_without_torch():
    code = (
        "import sys\n"
        "from khala_studio.training.export import codec_decoder_graph, codec_encoder_graph\n"
        "print([m for m in ('torch', 'scipy', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
