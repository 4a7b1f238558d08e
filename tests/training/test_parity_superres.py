"""Super-resolution's two graphs against the torch net: embeddings, hidden states, every pass."""

import dataclasses

import numpy as np
import pytest

from khala_studio.training.export.precision_check import superres_feed
from khala_studio.training.export.songs import Song
from khala_studio.training.export.superres_graph import (
    SuperresFormat,
    superres_embed_graph,
    superres_graph,
)
from khala_studio.training.export.superres_graph import Vocabulary as GraphVocabulary
from khala_studio.training.export.transformer_blocks import TransformerShape, WeightFormat
from khala_studio.training.parity import difference, open_graph

torch = pytest.importorskip("torch")
from khala_studio.training.export.superres_heads import TRAINED, plain_heads  # noqa: E402
from khala_studio.training.nets.config import SuperresConfig, TransformerConfig, Vocabulary  # noqa: E402
from khala_studio.training.nets.superres import SuperresNet  # noqa: E402
from khala_studio.training.nets.transformer import Packing  # noqa: E402

pytestmark = pytest.mark.train

N_TEXT, N_LAYERS, SIZE = 20, 8, 16
VOCABULARY = Vocabulary(
    audio_offset=N_TEXT,
    end_of_song=3,
    superres_marker_base=19,
    n_codebooks=N_LAYERS,
    codebook_size=SIZE,
)
GRAPH_VOCABULARY = GraphVocabulary(N_TEXT, SIZE, N_LAYERS)
BODY = TransformerConfig(
    n_layers=2, hidden=64, n_heads=4, n_kv_heads=2, head_dim=16, ffn=96, vocab_size=52, output_rows=33
)
N_IDS = N_TEXT + N_LAYERS * SIZE
NETS = {
    "factored": SuperresConfig(BODY, VOCABULARY, latent_dim=12, code_dim=4),
    "rows of every layer": SuperresConfig(
        dataclasses.replace(BODY, vocab_size=N_IDS, output_rows=N_IDS, bias=True), VOCABULARY, factored=False
    ),
    "every head its own kv": SuperresConfig(
        dataclasses.replace(BODY, n_kv_heads=4), VOCABULARY, latent_dim=12, code_dim=4
    ),
}
RNG = np.random.default_rng(0)
SONG = Song(RNG.integers(0, 10, 11), RNG.integers(0, SIZE, (N_LAYERS, 23)))


def make_net(config):
    torch.manual_seed(0)
    net = SuperresNet(config).eval()
    shared_head = (*TRAINED, "residual_head")  # drawn last: the rest is the same net with or without it
    for name, parameter in sorted(net.named_parameters(), key=lambda item: item[0].startswith(shared_head)):
        scale = 0.2 if name.endswith(("norm.weight", "bias")) else parameter.shape[-1] ** -0.5
        parameter.data = torch.randn_like(parameter) * scale + (1.0 if name.endswith("norm.weight") else 0.0)
    if config.factored:
        # As small as a real codec's later layers: the net's own units must not matter.
        fade = 0.3 ** torch.arange(N_LAYERS)[:, None, None]
        net.quantizer.projections.copy_(torch.randn(net.quantizer.projections.shape) * 0.05)
        net.quantizer.codebooks.copy_(torch.randn(net.quantizer.codebooks.shape) * fade)
        net.residual_rms.copy_(0.1 * fade[:, 0, 0] + 0.05)
    return net


@torch.inference_mode()
def reference(net, layer):
    """(hidden [S, D], logits [T, C])"""
    prompt = net.embed_prompt(torch.from_numpy(SONG.prompt), layer)
    frames = net.running_sums(torch.from_numpy(SONG.codes), [layer])[0]
    x = torch.cat((prompt, frames))
    hidden = net.hidden(x, Packing((len(x),)), causal=False)
    return hidden.numpy(), net.layer_logits(hidden[len(prompt) :], layer).numpy()


def exported(net, format=None, **options):
    """Sessions of the two graphs."""
    state = plain_heads({name: tensor.numpy() for name, tensor in net.state_dict().items()})
    shape = TransformerShape.of(net.config)
    codebooks, projections = state.get("quantizer.codebooks"), state.get("quantizer.projections")
    main = superres_graph(state, shape, GRAPH_VOCABULARY, codebooks, format, max_positions=64, **options)
    embed = superres_embed_graph(state, GRAPH_VOCABULARY, codebooks, projections, format)
    return open_graph(embed), open_graph(main)


@pytest.mark.parametrize("config", NETS.values(), ids=NETS.keys())
def test_embeddings_of_every_id(config):
    net = make_net(config)
    embed, _ = exported(net)
    with torch.inference_mode():
        text = net.embed(torch.arange(N_TEXT))
        audio = [net.embed_layers(torch.arange(SIZE)[None], layer) for layer in range(N_LAYERS)]
        theirs = torch.cat((text, *audio)).numpy()
    ids = np.arange(N_IDS)
    by_layer = np.split(ids, range(N_TEXT, N_IDS, SIZE))
    one_at_a_time = np.concatenate([embed.run(None, {"ids": part})[0] for part in by_layer])
    np.testing.assert_allclose(one_at_a_time, theirs, atol=1e-5)
    # Ids of all layers at once take another way through the graph.
    np.testing.assert_allclose(embed.run(None, {"ids": ids[::-1].copy()})[0], theirs[::-1], atol=1e-5)


@pytest.mark.parametrize("config", NETS.values(), ids=NETS.keys())
def test_every_pass(config):
    net = make_net(config)
    embed, main = exported(net, parity_outputs=True)
    for layer in range(1, N_LAYERS):
        hidden, logits = reference(net, layer)
        feed = superres_feed(embed, SONG, layer, GRAPH_VOCABULARY, VOCABULARY.superres_marker_base)
        ours = dict(zip(["hidden", "logits"], main.run(["hidden", "logits"], feed), strict=True))
        np.testing.assert_allclose(ours["hidden"][0], hidden, atol=1e-4)
        np.testing.assert_allclose(ours["logits"], logits, atol=1e-4)


# Relative error of all logits of a random net, and the bound that we hold it to.
QUANTISED = {
    "fp16 storage": (SuperresFormat(WeightFormat(storage="float16"), "float16", "float16"), 3e-3),
    "int8": (SuperresFormat(WeightFormat("int8"), "int8", "int8"), 0.08),
    "int8 from int4": (SuperresFormat(WeightFormat("int8", storage="int4"), "int8", "int8"), 0.25),
    "int4": (SuperresFormat(WeightFormat("int4"), "int8", "int8"), 0.25),
}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised(name):
    format, bound = QUANTISED[name]
    net = make_net(NETS["factored"])
    for parameter in (net.residual_head.weight, net.residual_head.bias, net.norm_cost):
        torch.nn.init.zeros_(parameter)  # random, they would only magnify what the body does
    embed, main = exported(net, format)
    ours, theirs = [], []
    for layer in range(2, N_LAYERS):
        feed = superres_feed(embed, SONG, layer, GRAPH_VOCABULARY, VOCABULARY.superres_marker_base)
        ours.append(main.run(None, feed)[0])
        theirs.append(reference(net, layer)[1])
    found = difference(np.concatenate(ours), np.concatenate(theirs))
    assert found.relative < bound, found
