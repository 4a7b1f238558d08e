"""The codec's parts against their claims: bases that invert, oscillators in tune, chunks without a seam."""

import copy
import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from khala_studio.training import codec_fit  # noqa: E402
from khala_studio.training.codec_geometry import (  # noqa: E402
    HEADROOM,
    PHASE_CYCLE,
    CodecConfig,
    band_edges,
    band_mean,
    band_spread,
    tone_cycles,
)
from khala_studio.training.nets.codec import Codec  # noqa: E402
from khala_studio.training.nets.codec_decoder import Decoder  # noqa: E402
from khala_studio.training.nets.codec_features import Features, mdct_matrix  # noqa: E402
from tests.training.tiny_audio import HOP, RATE, TINY, fitted_codec, whole_song, write_corpus  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("audio") / "corpus")


@pytest.fixture(scope="module")
def codec(corpus):
    return fitted_codec(corpus)


@pytest.fixture(scope="module")
def latent(codec, corpus):
    """[n, D] of a whole song."""
    with torch.no_grad():
        return codec.encoder(torch.from_numpy(whole_song(corpus))[None])[0]


# --- bases


def test_mdct_is_orthonormal():
    """Princen and Bradley: the frame's own product and the overlapping halves' make the identity and zero."""
    matrix = mdct_matrix(32).double()
    first, second = matrix[:32], matrix[32:]
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(32).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(second.T @ first, torch.zeros(32, 32).double(), atol=1e-6, rtol=0)


def test_mdct_comes_back_as_the_waveform():
    sound = torch.randn(2, 2, 6 * HOP, generator=torch.Generator().manual_seed(0))
    spectrum = Features(TINY).spectrum(sound)
    assert spectrum.shape == (2, 2, 24, TINY.subhop)
    back = Decoder(TINY).inverse_mdct(spectrum)
    assert back.shape == sound.shape
    edge = TINY.subhop // 2  # no overlapping frame there
    torch.testing.assert_close(back[..., edge:-edge], sound[..., edge:-edge], atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_bands", [8, 32])
def test_bands_part_the_spectrum(n_bands):
    config = dataclasses.replace(TINY, env_bands=n_bands)
    edges = band_edges(config)
    assert (edges[0], edges[-1], len(edges)) == (0, 512, n_bands + 1)
    assert (np.diff(edges) > 0).all()
    np.testing.assert_allclose(band_mean(config).sum(0), np.ones(n_bands))
    np.testing.assert_allclose(band_spread(config).sum(0), np.ones(512))  # a constant stays one


@pytest.mark.parametrize("tone", [0, 30, TINY.tone_bins - 1])
def test_oscillators_are_in_tune(tone):
    """Against the closed form, phase included, and against the frequency that the bin is named for."""
    amplitude = torch.zeros(1, 40, TINY.tone_bins)
    amplitude[..., tone] = 0.5
    sound = Decoder(TINY).oscillators(amplitude, torch.tensor([0]))[0].double()
    assert len(sound) == 20 * HOP
    cycles = int(tone_cycles(TINY)[tone])
    assert abs(cycles * RATE / PHASE_CYCLE / (55 * 2 ** (tone / 24)) - 1) < 1e-4
    turns = (
        (torch.arange(len(sound)) + HOP // 4) * cycles % PHASE_CYCLE
    )  # the first window is cut by a quarter
    expected = 0.5 * torch.cos(turns.double() * 2 * math.pi / PHASE_CYCLE)
    inside = slice(HOP // 4, -HOP // 4)
    torch.testing.assert_close(sound[inside], expected[inside], atol=1e-5, rtol=0)


def test_oscillators_keep_their_phase_at_any_length_of_song():
    amplitude = torch.rand(1, 12, TINY.tone_bins, generator=torch.Generator().manual_seed(0))
    decoder = Decoder(TINY)
    early = decoder.oscillators(amplitude, torch.tensor([3]))
    # Phases are integers: after PHASE_CYCLE samples, three minutes, everything repeats to the bit.
    late = decoder.oscillators(amplitude, torch.tensor([3 + 7 * PHASE_CYCLE // HOP]))
    assert torch.equal(early, late)
    assert not torch.allclose(early, decoder.oscillators(amplitude, torch.tensor([4])), atol=0.1)


@pytest.mark.parametrize("tone", [24, 60])
def test_tone_features_read_the_amplitude_of_a_partial(tone):
    features = Features(TINY)
    hz = 55 * 2 ** (tone / 24)
    sound = 0.25 * torch.sin(2 * math.pi * hz / RATE * torch.arange(12 * HOP).double())[None].float()
    log = features.tone(sound)[0, 4:8]
    assert torch.equal(
        log[:, tone], log.max(1)[0]
    )  # low quarter tones share spectrum bins with their neighbours
    assert (log[:, tone] > log[:, tone - 12] + 3).all()
    torch.testing.assert_close(log[:, tone].exp(), torch.full((4,), 0.25), rtol=0.05, atol=0)


def test_envelope_is_the_loudness_of_the_bands():
    features = Features(TINY)
    noise = torch.randn(1, 2, 16 * HOP, generator=torch.Generator().manual_seed(0)) * 0.1
    log = features.envelope(features.spectrum(noise))
    assert log.shape == (1, 2, 64, TINY.env_bands)
    assert abs(float(log.mean()) - math.log(0.1)) < 0.1
    louder = features.envelope(features.spectrum(noise * 3))
    torch.testing.assert_close(louder - log, torch.full_like(log, math.log(3)), atol=1e-3, rtol=0)


# --- quantiser


def test_every_layer_leaves_less(codec, latent):
    levels = codec.quantizer.levels
    assert (levels.diff() < 0).all()
    with torch.no_grad():
        codes = codec.quantizer.encode(latent)
        left = [(latent - codec.quantizer.decode(codes[:n])).pow(2).mean() for n in range(1, len(codes) + 1)]
    assert (torch.stack(left).diff() < 0).all()  # on a song it was fitted to, from every depth to the next
    assert left[-1] < 0.5 * latent.pow(2).mean()


def test_codes_of_fewer_layers_are_a_prefix(codec, latent):
    codes = codec.quantizer.encode(latent)
    assert codes.shape == (TINY.n_codebooks, len(latent))
    assert 0 <= codes.min() <= codes.max() < TINY.codebook_size
    for n in range(1, TINY.n_codebooks):
        assert torch.equal(codec.quantizer.encode(latent, n), codes[:n])


def test_a_code_is_the_nearest_vector(codec, latent):
    """The search in the layer's subspace finds what a search in the whole latent finds."""
    quantizer = codec.quantizer
    vectors = quantizer.vectors(torch.arange(TINY.codebook_size), 0)
    distances = torch.cdist(latent.double(), vectors.double())
    chosen = quantizer.nearest(latent, 0)
    best = distances.min(1)[0]
    torch.testing.assert_close(distances[torch.arange(len(latent)), chosen], best, rtol=1e-5, atol=1e-6)
    assert len(set(chosen.tolist())) > TINY.codebook_size // 4


def test_quantise_is_decode_of_encode_at_every_items_depth(codec, latent):
    items = latent[: 6 * 30].reshape(6, 30, -1)
    depths = torch.tensor([6, 1, 3, 2, 5, 4])
    with torch.no_grad():
        together = codec.quantizer.quantise(items, depths)
        for item, depth, quantised in zip(items, depths, together, strict=True):
            alone = codec.quantizer.decode(codec.quantizer.encode(item, int(depth)))
            torch.testing.assert_close(quantised, alone, atol=1e-5, rtol=0)


# --- the whole codec


@pytest.fixture(scope="module")
def random_codec():
    """Weights of chance with loud blocks: every path sounds, every convolution reaches as far as it can."""
    torch.manual_seed(1)
    codec = Codec(TINY).eval()
    for name, parameter in codec.decoder.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(0.7)
    for name, buffer in codec.quantizer.named_buffers():
        buffer.copy_(torch.randn_like(buffer) * (0.3 if name == "projections" else 1.0))
    decoder = codec.decoder
    for basis in (decoder.wave_basis, decoder.sub_basis):
        basis.copy_(torch.randn_like(basis) * 0.1)
    for table, value in ((decoder.inverse_scale, 1.0), (decoder.wave_gain, 0.8), (decoder.wave_share, 0.5)):
        table.fill_(value)
    decoder.levels.copy_(torch.linspace(0, -3, len(decoder.levels)))
    decoder.env_mean.fill_(-2.0)
    decoder.tone_mean.fill_(-2.0)
    return codec


def test_chunks_with_context_are_the_whole(random_codec):
    codes = torch.randint(TINY.codebook_size, (6, 50), generator=torch.Generator().manual_seed(0))
    start, stop, context = 20, 30, 8
    whole = random_codec.decode(codes)
    assert whole.shape == (2, 50 * HOP)
    expected = whole[:, start * HOP : stop * HOP]
    peak = whole.abs().max()

    def chunk(context, start_frame):
        sound = random_codec.decode(codes[:, start - context : stop + context], start_frame)
        return sound[:, context * HOP : (context + stop - start) * HOP]

    assert (chunk(context, start - context) - expected).abs().max() < 1e-4 * peak
    assert (chunk(0, start) - expected).abs().max() > 1e-2 * peak  # so the context is needed,
    assert (chunk(context, 0) - expected).abs().max() > 1e-2 * peak  # and so is the place in the song


@pytest.mark.parametrize("depth", range(1, TINY.n_codebooks + 1))
def test_any_depth_can_be_heard(random_codec, depth):
    codes = torch.randint(TINY.codebook_size, (depth, 3), generator=torch.Generator().manual_seed(0))
    sound = random_codec.decode(codes)
    assert sound.shape == (2, 3 * HOP)
    assert torch.isfinite(sound).all()
    assert sound.std() > 1e-3


def test_the_exact_waveform_is_bounded_by_the_known_loudness(random_codec):
    """However wrong the coefficients are, a band that is known to be quiet stays quiet."""
    decoder = random_codec.decoder
    sign = torch.randn(1, 2, 8, TINY.subhop, generator=torch.Generator().manual_seed(0)).sign()
    wave, loudness = 100 * sign, torch.full((1, 2, 8, TINY.env_bands), -6.0)
    coefficients = decoder.exact(wave, loudness, torch.tensor([6]))
    rms = (coefficients.pow(2) @ decoder.band_mean).sqrt().log()
    torch.testing.assert_close(rms, loudness + HEADROOM, atol=1e-3, rtol=0)
    assert torch.equal(coefficients.sign(), sign)
    quiet = decoder.exact(0.001 * wave, loudness + 8.0, torch.tensor([6]))  # nothing to bound
    unbounded = (0.001 * wave * decoder.bin_scale[:, None]) * (0.001 * wave).abs() * 0.8
    torch.testing.assert_close(quiet, unbounded, rtol=1e-4, atol=1e-8)


def test_the_waveform_explains_more_with_every_layer(codec, corpus, monkeypatch):
    monkeypatch.setattr(codec_fit, "GOOD_SHARE", 0.0, raising=False)
    fitted = copy.deepcopy(codec)
    song = torch.from_numpy(whole_song(corpus))[None]
    codec_fit.fit_wave(fitted, [song[..., : 100 * HOP], song[..., 100 * HOP :]])
    share, gain = fitted.decoder.wave_share, fitted.decoder.wave_gain
    assert not share[0].any()
    assert not gain[0].any()
    assert 0 <= share.min() <= share.max() < 0.99
    assert 0 <= gain.min() <= gain.max() <= 1.5
    assert share[-1].mean() > share[1].mean() > 0


def test_the_fitted_start_already_sounds_like_the_song(codec, corpus):
    """Loudness of the octaves over time, before the decoder is trained at all."""
    song = torch.from_numpy(whole_song(corpus))
    sound = codec.decode(codec.encode(song))
    ours, theirs = (codec.encoder.features.spectrum(x[None]) for x in (sound, song))
    loudness = [codec.encoder.features.envelope(x).flatten() for x in (ours, theirs)]
    assert torch.corrcoef(torch.stack(loudness))[0, 1] > 0.8


def test_an_item_decodes_alone_as_in_a_batch(random_codec):
    generator = torch.Generator().manual_seed(0)
    codes = [torch.randint(TINY.codebook_size, (depth, 5), generator=generator) for depth in (2, 6)]
    latent = torch.stack([random_codec.quantizer.decode(c) for c in codes])
    with torch.no_grad():
        sound, wave = random_codec.decoder(latent, torch.tensor([2, 6]), torch.tensor([0, 900]))
    assert wave.shape == (2, 2, 20, TINY.subhop)
    for item, c, start in zip(sound, codes, (0, 900), strict=True):
        alone = random_codec.decode(c, start)
        assert (item - alone).abs().max() < 1e-4 * alone.abs().max()


def test_config_survives_a_checkpoint():
    config = dataclasses.replace(CodecConfig(), n_codebooks=7)
    assert CodecConfig(**config.to_dict()) == config
    assert config.latent == sum(part.stop - part.start for part in config.parts.values())
    assert [(p.start, p.stop) for p in TINY.parts.values()] == [(0, 4), (4, 10), (10, 16), (16, 32)]
