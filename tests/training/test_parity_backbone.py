"""The backbone's graph against the torch net: hidden states and logits, prefill and step by step."""

import dataclasses

import numpy as np
import pytest

from khala_studio.training.export.backbone_graph import BackboneFormat, KvCache, backbone_graph
from khala_studio.training.export.transformer_blocks import TransformerShape, WeightFormat
from khala_studio.training.parity import CachedBackbone, difference, open_graph

torch = pytest.importorskip("torch")
from khala_studio.training.export.calibrate import measure_kv_scales  # noqa: E402
from khala_studio.training.nets.backbone import BackboneNet  # noqa: E402
from khala_studio.training.nets.config import BackboneConfig, TransformerConfig, Vocabulary  # noqa: E402
from khala_studio.training.nets.transformer import Packing  # noqa: E402

pytestmark = pytest.mark.train

VOCABULARY = Vocabulary(
    audio_offset=20, end_of_song=3, superres_marker_base=19, n_codebooks=8, codebook_size=16
)
TINY = TransformerConfig(
    n_layers=3, hidden=64, n_heads=4, n_kv_heads=2, head_dim=16, ffn=96, vocab_size=52, output_rows=33
)
NETS = {
    "tiny": TINY,
    "biases": dataclasses.replace(TINY, bias=True),
    "every head its own kv": dataclasses.replace(TINY, n_kv_heads=4),
    "one kv head": dataclasses.replace(TINY, n_kv_heads=1, rope_base=10_000.0, norm_eps=1e-5),
}
IDS = np.random.default_rng(0).integers(0, 52, 30)


def make_net(config, seed=0):
    """A net whose weights are large enough that a mistake anywhere shows."""
    torch.manual_seed(seed)
    net = BackboneNet(BackboneConfig(config, VOCABULARY)).eval()
    for name, parameter in net.named_parameters():
        scale = 0.2 if name.endswith(("norm.weight", "bias")) else parameter.shape[-1] ** -0.5
        parameter.data = torch.randn_like(parameter) * scale + (1.0 if name.endswith("norm.weight") else 0.0)
    return net


def numpy_state(net):
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


@torch.inference_mode()
def reference(net, ids=IDS):
    """(hidden [S, D], logits [S, R])"""
    ids = torch.from_numpy(ids)
    hidden = net.hidden(net.embed(ids), Packing((len(ids),)), causal=True)
    return hidden.numpy(), net.lm_head(hidden).numpy()


def exported(net, format=None):
    shape = TransformerShape.of(net.config)
    model = backbone_graph(numpy_state(net), shape, format, max_positions=64, parity_outputs=True)
    return CachedBackbone(open_graph(model), capacity=len(IDS))


@pytest.mark.parametrize("config", NETS.values(), ids=NETS.keys())
def test_prefill(config):
    net = make_net(config)
    hidden, logits = reference(net)
    ours = exported(net).feed(IDS)
    np.testing.assert_allclose(ours["hidden"][0], hidden, atol=1e-4)
    np.testing.assert_allclose(ours["all_logits"][0], logits, atol=1e-4)
    np.testing.assert_allclose(ours["logits"], logits[-1:], atol=1e-4)


@pytest.mark.parametrize("config", NETS.values(), ids=NETS.keys())
@pytest.mark.parametrize("prefill", [1, 9])
def test_step_by_step(config, prefill):
    net = make_net(config)
    _, logits = reference(net)
    backbone = exported(net)
    rows = [backbone.feed(IDS[:prefill])["all_logits"][0]]
    rows += [backbone.feed(IDS[i : i + 1])["logits"] for i in range(prefill, len(IDS))]
    np.testing.assert_allclose(np.concatenate(rows), logits, atol=1e-4)


def test_steps_agree_with_the_torch_nets_own_cache():
    net = make_net(TINY)
    backbone = exported(net)
    cache = []
    for start, end in [(0, 9), *((i, i + 1) for i in range(9, len(IDS)))]:
        with torch.inference_mode():
            theirs, cache = net.step(torch.from_numpy(IDS[start:end]), cache)
        np.testing.assert_allclose(backbone.feed(IDS[start:end])["logits"][0], theirs.numpy(), atol=1e-4)


def test_the_shipped_graph_gives_the_last_logits_only():
    net = make_net(TINY)
    model = backbone_graph(numpy_state(net), TransformerShape.of(TINY), max_positions=64)
    ours = CachedBackbone(open_graph(model), capacity=64).feed(IDS)
    assert list(ours) == ["logits"]
    np.testing.assert_allclose(ours["logits"], reference(net)[1][-1:], atol=1e-4)


def test_positions_far_into_a_song():
    """RoPE's angles of thousands of radians; the reference in float64, where they are exact."""
    net = make_net(dataclasses.replace(TINY, n_layers=1))
    shape = TransformerShape.of(net.config)
    model = backbone_graph(numpy_state(net), shape, max_positions=8192)
    backbone = CachedBackbone(open_graph(model), capacity=8192)
    ids = np.resize(IDS, 8000)
    ours = backbone.feed(ids)["logits"][0]

    net = net.double()
    with torch.inference_mode():
        x, at = net.embed(torch.from_numpy(ids)), torch.arange(8000, dtype=torch.float64)
        angles = at[:, None, None] * 500_000.0 ** -(torch.arange(8, dtype=torch.float64) / 8)
        block = net.layers[0]
        qkv = torch.cat([p(_norm64(block.input_norm, x)) for p in (block.attn.q_proj, block.attn.k_proj)], -1)
        first, second = qkv.view(8000, 6, 16).chunk(2, -1)
        cos, sin = angles.cos(), angles.sin()
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        q, k = rotated[-1, :4], rotated[:, 4:].repeat_interleave(2, 1)
        v = block.attn.v_proj(_norm64(block.input_norm, x)).view(8000, 2, 16).repeat_interleave(2, 1)
        weights = torch.softmax(torch.einsum("hd,phd->hp", q, k) / 4, -1)
        x = x[-1] + block.attn.o_proj(torch.einsum("hp,phd->hd", weights, v).flatten())
        h = _norm64(block.post_attn_norm, x)
        mlp = block.mlp
        x = x + mlp.down_proj(torch.nn.functional.silu(mlp.gate_proj(h)) * mlp.up_proj(h))
        theirs = net.lm_head(_norm64(net.norm, x)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def _norm64(norm, x):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + norm.eps) * norm.weight


INT8_CACHE = "int8 cache"
# Relative error of all logits of a random net, measured, and the bound that we hold it to.
QUANTISED = {
    "int8": (BackboneFormat(WeightFormat("int8"), WeightFormat("int8"), "int8"), 0.08),
    "int8 from int4": (BackboneFormat(WeightFormat("int8", storage="int4")), 0.3),
    "int4": (BackboneFormat(WeightFormat("int4"), WeightFormat("int4"), "float16"), 0.3),
    "fp16 storage": (BackboneFormat(WeightFormat(storage="float16"), embedding="float16"), 2e-3),
    "fp16 cache": (BackboneFormat(cache=KvCache("float16")), 5e-3),
    INT8_CACHE: (BackboneFormat(), 0.03),
}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised(name):
    format, bound = QUANTISED[name]
    net = make_net(TINY)
    if name == INT8_CACHE:
        cache = measure_kv_scales(numpy_state(net), TransformerShape.of(TINY), [IDS])
        format = dataclasses.replace(format, cache=cache)
    _, logits = reference(net)
    backbone = exported(net, format)
    rows = [backbone.feed(IDS[:9])["all_logits"][0]]
    rows += [backbone.feed(IDS[i : i + 1])["logits"] for i in range(9, len(IDS))]
    found = difference(np.concatenate(rows), logits)
    assert found.relative < bound, found
