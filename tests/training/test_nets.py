"""The transformers: packing, caching, tasks, shapes. Needs torch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from khala_studio.training.export.superres_heads import plain_heads  # noqa: E402
from khala_studio.training.nets import attention  # noqa: E402
from khala_studio.training.nets.backbone import (  # noqa: E402
    IGNORE,
    BackboneAids,
    BackboneNet,
    BackbonePack,
    coarse_losses,
)
from khala_studio.training.nets.config import (  # noqa: E402
    AidsConfig,
    BackboneConfig,
    SuperresConfig,
    TransformerConfig,
    Vocabulary,
    backbone_config,
    official_backbone,
    official_superres,
    superres_config,
    to_dict,
)
from khala_studio.training.nets.superres import RefinePack, SuperresNet  # noqa: E402
from khala_studio.training.nets.transformer import Packing  # noqa: E402

pytestmark = pytest.mark.train


VOCABULARY = Vocabulary(
    audio_offset=30, end_of_song=3, superres_marker_base=29, n_codebooks=6, codebook_size=16
)


def tiny_shape(vocab_size: int, output_rows: int, bias: bool = False) -> TransformerConfig:
    return TransformerConfig(2, 32, 4, 2, 8, 48, vocab_size, output_rows, bias=bias)


def tiny_backbone(bias: bool = False) -> BackboneNet:
    torch.manual_seed(0)
    shape = tiny_shape(VOCABULARY.n_coarse_ids, VOCABULARY.n_audio_rows, bias)
    net = BackboneNet(BackboneConfig(shape, VOCABULARY))
    for p in net.parameters():  # large enough that attention and biases matter to the result
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def tiny_superres(factored: bool = True) -> SuperresNet:
    torch.manual_seed(1)
    v = VOCABULARY
    rows = v.audio_offset + v.n_codebooks * v.codebook_size
    shape = tiny_shape(v.n_coarse_ids, v.n_audio_rows) if factored else tiny_shape(rows, rows)
    net = SuperresNet(SuperresConfig(shape, v, factored, 10 if factored else 0, 5 if factored else 0))
    if factored:
        net.set_codec(codec_tables())
    return net


def codec_tables() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    projections = torch.randn(6, 10, 5, generator=generator)
    codebooks = (
        torch.randn(6, 16, 5, generator=generator)
        * torch.tensor([3.0, 1, 0.3, 0.1, 0.03, 0.01])[:, None, None]
    )
    return {"quantizer.projections": projections, "quantizer.codebooks": codebooks}


@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_sequence_is_as_if_it_were_alone(bias):
    net = tiny_backbone(bias)
    a, b = torch.randint(0, 62, (7,)), torch.randint(0, 62, (11,))
    together = net.logits(torch.cat((a, b)), Packing((7, 11)))
    torch.testing.assert_close(together[:7], net.logits(a, Packing((7,))))
    torch.testing.assert_close(together[7:], net.logits(b, Packing((11,))))


@pytest.mark.parametrize("bias", [False, True])
def test_steps_with_a_cache_agree_with_the_whole(bias):
    net = tiny_backbone(bias)
    ids = torch.randint(0, 62, (12,))
    whole = net.logits(ids, Packing((12,)))
    logits, cache = net.step(ids[:5], [])
    torch.testing.assert_close(logits, whole[4])
    for position in range(5, 12):
        logits, cache = net.step(ids[position : position + 1], cache)
        torch.testing.assert_close(logits, whole[position])


@pytest.mark.parametrize("causal", [True, False])
def test_attention_in_chunks_is_the_softmax_of_the_textbook(causal, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 4)
    q, k, v = torch.randn(20, 6, 8), torch.randn(20, 2, 8), torch.randn(20, 2, 8)
    got = attention.attend_packed(q, k, v, (9, 11), causal)
    for part in (slice(0, 9), slice(9, 20)):
        mine = [x[part].transpose(0, 1)[None] for x in (q, k, v)]
        expected = torch.nn.functional.scaled_dot_product_attention(*mine, is_causal=causal, enable_gqa=True)
        torch.testing.assert_close(got[part], expected[0].transpose(0, 1).flatten(1))


def test_rope_turns_halves_not_pairs():
    """As ONNX Runtime with rotary_interleaved=0: component i turns with component i + d/2."""
    x = torch.zeros(1, 1, 4)
    x[0, 0, 0] = 1.0
    cos, sin = attention.rope_tables(torch.tensor([1]), 4, 100.0)
    expected = [np.cos(1.0), 0.0, np.sin(1.0), 0.0]
    np.testing.assert_allclose(attention.rotate(x, cos, sin)[0, 0], expected, atol=1e-6)


def test_the_future_is_not_seen():
    net = tiny_backbone()
    ids = torch.randint(0, 62, (10,))
    other = ids.clone()
    other[7:] = (other[7:] + 1) % 62
    before, after = net.logits(ids, Packing((10,))), net.logits(other, Packing((10,)))
    torch.testing.assert_close(before[:7], after[:7])
    assert (before[7:] - after[7:]).abs().max() > 1e-3


def backbone_pack() -> BackbonePack:
    """Two sequences: prompt 4 and 6 ids, 3 and 2 frames."""
    ids, targets, phones = [], [], []
    for prompt, frames in ((4, 3), (6, 2)):
        rows = torch.randint(0, 16, (frames, 2)) + torch.tensor([0, 16])
        ids += [torch.randint(4, 20, (prompt,)), rows.flatten() + 30]
        nothing = torch.full((prompt - 1,), IGNORE)
        targets += [nothing, rows.flatten(), torch.tensor([32])]
        phones += [nothing, torch.randint(1, prompt, (2 * frames,)), torch.tensor([IGNORE])]
    return BackbonePack(torch.cat(ids), Packing((10, 10)), (4, 6), torch.cat(targets), torch.cat(phones))


def test_dropout_is_for_training_and_keeps_the_mean():
    net, ids = tiny_backbone(), torch.randint(0, 62, (12,))
    plain = net.hidden(net.embed(ids), Packing((12,)), causal=True)
    net.dropout = 0.25
    assert torch.equal(net.hidden(net.embed(ids), Packing((12,)), causal=True), plain)
    net.train()
    torch.manual_seed(7)
    first = net.hidden(net.embed(ids), Packing((12,)), causal=True)
    assert not torch.equal(first, plain)
    torch.manual_seed(7)
    assert torch.equal(net.hidden(net.embed(ids), Packing((12,)), causal=True), first)
    ones, other, scale = net._keep(torch.ones(400, 32))
    assert scale * ones.float().mean() == pytest.approx(1.0, abs=0.03)
    assert not torch.equal(ones, other)


def test_losses_run_over_the_rows_that_are_allowed():
    torch.manual_seed(3)
    net, pack = tiny_backbone(), backbone_pack()
    hidden = net.hidden(net.embed(pack.ids), pack.packing, causal=True)
    first, second = coarse_losses(net, hidden, pack.targets)
    logits = net.lm_head(hidden)
    q0 = (pack.targets >= 0) & ((pack.targets < 16) | (pack.targets == 32))
    allowed = torch.cat((logits[q0][:, :16], logits[q0][:, 32:]), 1).log_softmax(1)
    wanted = pack.targets[q0].clamp(max=16)
    torch.testing.assert_close(first, -allowed.gather(1, wanted[:, None])[:, 0])
    assert (len(first), len(second)) == (3 + 2 + 2, 3 + 2)


def test_guided_heads_learn_where_the_phone_stands():
    torch.manual_seed(4)
    net, pack = tiny_backbone(), backbone_pack()
    aids = BackboneAids(AidsConfig(0.2, 1, 1.0, ((1, 3),)), net.backbone_config)
    optimizer = torch.optim.Adam([*net.parameters(), *aids.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        probe = aids.probe(pack)
        net.hidden(net.embed(pack.ids), pack.packing, causal=True, probe=probe)
        loss = probe.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((probe.phone_loss.item(), probe.guide_losses[0].item()))
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]


def test_aids_with_weight_zero_cost_nothing():
    net, pack = tiny_backbone(), backbone_pack()
    probe = BackboneAids(AidsConfig(0.0, 1, 0.0, ((1, 3),)), net.backbone_config).probe(pack)
    net.hidden(net.embed(pack.ids), pack.packing, causal=True, probe=probe)
    assert probe.loss() == 0.0
    assert probe.phone_loss is None
    assert not probe.guide_losses


@pytest.mark.parametrize("factored", [True, False])
def test_running_sums_are_sums_of_embeddings(factored):
    net = tiny_superres(factored)
    codes = torch.randint(0, 16, (6, 9))
    sums = net.running_sums(codes, [2, 4, 5])
    for layer, got in zip([2, 4, 5], sums, strict=True):
        single = sum(net.embed_layers(codes[k : k + 1], k) for k in range(layer))
        torch.testing.assert_close(got, single, atol=1e-5, rtol=1e-4)


def test_factored_weights_are_stored_in_the_units_of_the_codec():
    """The formulas of the exporter, on the state dictionary, give what the net computes."""
    net = tiny_superres()
    torch.nn.init.normal_(net.residual_head.weight)
    torch.nn.init.normal_(net.norm_cost)
    state, codes, layer = net.state_dict(), torch.randint(0, 16, (6, 9)), 3
    plain = {
        name: torch.from_numpy(a) for name, a in plain_heads({n: t.numpy() for n, t in state.items()}).items()
    }
    vectors = state["quantizer.codebooks"][layer][codes[layer]] @ state["quantizer.projections"][layer].T
    embedded = vectors @ state["latent_proj.weight"].T + state["layer_embed.weight"][layer]
    torch.testing.assert_close(net.embed_layers(codes[layer : layer + 1], layer), embedded)
    hidden = torch.randn(9, 32)
    logits = (
        hidden @ plain["head_proj"][layer] @ state["quantizer.codebooks"][layer].T + plain["head_bias"][layer]
    )
    torch.testing.assert_close(net.layer_logits(hidden, layer), logits, atol=1e-4, rtol=1e-4)
    assert not torch.equal(state["head_proj"], net.head_proj)

    twin = tiny_superres()
    for p in twin.parameters():
        torch.nn.init.zeros_(p)
    twin.load_state_dict(state)
    assert torch.equal(twin.head_proj, net.head_proj)
    assert torch.equal(twin.latent_proj.weight, net.latent_proj.weight)


def test_refinement_sees_all_frames_and_the_layer_asked_for():
    net = tiny_superres().eval()
    for name, p in net.named_parameters():
        torch.nn.init.normal_(p, std=0.3 if "norm" not in name else 1.0)
    prompt, codes = torch.randint(0, 20, (5,)), torch.randint(0, 16, (6, 8))
    alone = [net.refine_losses(RefinePack((prompt,), (codes,), (k,)))[0] for k in (2, 4)]
    shared = net.refine_losses(RefinePack((prompt, prompt), (codes, codes), (2, 4)))
    for one, two in zip(alone, shared, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    changed = codes.clone()
    changed[0, -1] = (changed[0, -1] + 1) % 16
    first_frame = net.refine_losses(RefinePack((prompt,), (changed,), (2,)))[0][0]
    assert (first_frame - alone[0][0]).abs() > 1e-4
    marker = net.embed_prompt(prompt, 2)[-1] - net.embed_prompt(prompt, 3)[-1]
    assert marker.abs().max() > 0


def test_superres_starts_from_the_backbone():
    backbone, net = tiny_backbone(), tiny_superres()
    net.start_from_backbone(backbone.state_dict())
    ids = torch.randint(0, 24, (9,))  # text
    hidden = net.hidden(net.embed(ids), Packing((9,)), causal=True)
    expected = backbone.logits(ids, Packing((9,)))
    torch.testing.assert_close(hidden @ net.coarse_head().T, expected)
    with pytest.raises(ValueError, match=r"layers\.2"):
        net.start_from_backbone({"layers.2.attn.q_proj.weight": torch.zeros(1)})


def test_official_shapes_are_configs():
    for config, parse in ((official_backbone(), backbone_config), (official_superres(), superres_config)):
        assert parse(to_dict(config)) == config
    with torch.device("meta"):
        backbone = BackboneNet(official_backbone())
        superres = SuperresNet(official_superres())
    names = {name: tuple(p.shape) for name, p in backbone.named_parameters()}
    assert names["layers.23.attn.k_proj.weight"] == (512, 2048)
    assert names["layers.0.mlp.gate_proj.bias"] == (5632,)
    assert names["lm_head.weight"] == (130304, 2048)
    assert superres.embed.weight.shape == (193792, 2048)
