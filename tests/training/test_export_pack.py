"""`train export`: checkpoints of three tiny nets -> a pack that the engine opens and sings from."""

import argparse
import dataclasses
import json

import numpy as np
import pytest

from khala_studio.engine.events import Done
from khala_studio.engine.pipeline import generate
from khala_studio.engine.sessions import open_pack
from khala_studio.packs.manifest import read_manifest
from khala_studio.song.request import SongRequest
from khala_studio.training import tokenizer
from khala_studio.training.export import export_pack
from khala_studio.training.export.calibrate import measure_kv_scales
from khala_studio.training.export.precision_check import backbone_cost
from khala_studio.training.export.songs import Song
from khala_studio.training.parity import CachedBackbone, open_graph

torch = pytest.importorskip("torch")
from khala_studio.training.codec_geometry import CodecConfig  # noqa: E402
from khala_studio.training.nets.backbone import BackboneNet  # noqa: E402
from khala_studio.training.nets.codec import Codec  # noqa: E402
from khala_studio.training.nets.config import (  # noqa: E402
    BackboneConfig,
    SuperresConfig,
    TransformerConfig,
    to_dict,
)
from khala_studio.training.nets.superres import SuperresNet  # noqa: E402
from khala_studio.training.vocabulary import open_frontend, vocabulary_of  # noqa: E402

pytestmark = pytest.mark.train

CODEC = CodecConfig(
    n_codebooks=6, codebook_size=16, code_rank=4, voice_width=16, voice_blocks=1,
    frame_width=16, frame_blocks=1, subframe_width=16, subframe_blocks=1,
)  # fmt: skip
WORDS = {"hello": "HH AH0 L OW1", "world": "W ER1 L D", "sing": "S IH1 NG"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the checkpoints of untrained nets."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("train")
    tokenizer.write(WORDS, folder / "tokenizer.json")
    vocabulary = vocabulary_of(open_frontend(folder / "tokenizer.json"))
    vocabulary = dataclasses.replace(vocabulary, n_codebooks=6, codebook_size=16)
    body = TransformerConfig(
        n_layers=2, hidden=64, n_heads=4, n_kv_heads=2, head_dim=16, ffn=96,
        vocab_size=vocabulary.n_coarse_ids, output_rows=vocabulary.n_audio_rows,
    )  # fmt: skip
    codec = Codec(CODEC)
    codec.quantizer.projections.normal_()
    codec.quantizer.codebooks.normal_()
    backbone = BackboneNet(BackboneConfig(body, vocabulary))
    sizes = {"latent_dim": CODEC.latent, "code_dim": CODEC.code_rank}
    superres = SuperresNet(SuperresConfig(body, vocabulary, **sizes))
    superres.set_codec(codec.state_dict())
    configs = {
        "codec": CODEC.to_dict(),
        "backbone": to_dict(backbone.backbone_config),
        "superres": to_dict(superres.superres_config),
    }
    for name, net in (("codec", codec), ("backbone", backbone), ("superres", superres)):
        torch.save({"config": configs[name], "model": net.state_dict()}, folder / f"{name}.pt")
    return folder


def run(folder, *more):
    parser = argparse.ArgumentParser()
    export_pack.add_arguments(parser)
    names = ("codec", "backbone", "superres")
    where = [f"--{name}={folder / name}.pt" for name in names] + [f"--tokenizer={folder / 'tokenizer.json'}"]
    nothing = [f"--codes={folder / 'none'}", f"--corpus={folder / 'none'}"]
    return export_pack.main(parser.parse_args([*where, *nothing, *map(str, more)]))


def test_a_pack_that_sings(folder, tmp_path):
    assert run(folder, "-o", tmp_path / "pack", "--id", "mine", "--seconds", 1, 2, 9) == 0
    manifest = read_manifest(tmp_path / "pack")
    assert manifest.id == "mine"
    assert manifest.backbone.kv_dtype == "float32"
    assert manifest.controls.length.default == 2
    assert "pop" in manifest.controls.tags["genre"]
    assert manifest.precision["backbone"] == "int4"
    with open_pack(tmp_path / "pack") as stages:
        *_, done = generate(SongRequest("hello world", seconds=1.0), stages)
    assert isinstance(done, Done), done
    assert done.take.codes.shape[0] == 6
    assert done.take.codes.min() >= 0
    assert np.isfinite(done.waveform).all()


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-int4"])
def test_precisions(folder, tmp_path, precision):
    options = ("--backbone-precision", precision, "--superres-precision", precision, "--no-encoder")
    assert run(folder, "-o", tmp_path / "pack", *options) == 0
    assert read_manifest(tmp_path / "pack").precision["superres"] == precision
    assert not (tmp_path / "pack" / "encoder.onnx").exists()


def test_the_card_is_copied(folder, tmp_path):
    (tmp_path / "MY.md").write_text("# What it is\n")
    assert run(folder, "-o", tmp_path / "pack", "--card", tmp_path / "MY.md", "--no-encoder") == 0
    assert (tmp_path / "pack" / "CARD.md").read_text() == "# What it is\n"


def test_an_existing_pack_stays(folder, tmp_path, caplog):
    (tmp_path / "pack").mkdir()
    assert run(folder, "-o", tmp_path / "pack", "--no-encoder") == 2
    assert "exists already" in caplog.text
    assert list((tmp_path / "pack").iterdir()) == []


def test_wrong_sources_get_a_sentence(folder, tmp_path, caplog):
    assert run(folder, "-o", tmp_path / "a", f"--superres={folder / 'absent.pt'}") == 2
    assert "There is no checkpoint" in caplog.text
    (tmp_path / "odd.pt").write_bytes(b"no checkpoint")
    assert run(folder, "-o", tmp_path / "a", f"--backbone={tmp_path / 'odd.pt'}") == 2
    assert "is no checkpoint" in caplog.text
    other = json.loads((folder / "tokenizer.json").read_text())
    other["tokens"] = [*other["tokens"][:-65], "<section:drop>", *other["tokens"][-65:]]
    (tmp_path / "other.json").write_text(json.dumps(other))
    assert run(folder, "-o", tmp_path / "a", f"--tokenizer={tmp_path / 'other.json'}") == 2
    assert "another tokenizer" in caplog.text
    assert run(folder, "-o", tmp_path / "a", "--kv", "int8") == 2
    assert "calibrated on songs" in caplog.text
    assert not (tmp_path / "a").exists()


def test_the_context_of_a_decoder_is_measured(tmp_path):
    from tests.tiny_pack import CONTEXT_FRAMES, TinyOptions, _codec_state, decoder_graph

    tiny = TinyOptions(n_codebooks=6, codebook_size=16, hop=64, noise=True)
    model = decoder_graph(_codec_state(np.random.default_rng(0), tiny), tiny)
    config = {"hop": 64, "n_codebooks": 6, "codebook_size": 16}
    assert export_pack.measure_context(model, config) == CONTEXT_FRAMES
    with pytest.raises(ValueError, match="more than 2 frames"):
        export_pack.measure_context(model, config, most=2)


def test_the_cost_of_a_precision(folder):
    """The same graph costs nothing; 4 bits cost something; bits are those of the torch net."""
    saved = torch.load(folder / "backbone.pt", weights_only=True)
    state = {name: tensor.numpy() * (3 if tensor.dim() > 1 else 1) for name, tensor in saved["model"].items()}
    shape = export_pack.TransformerShape.of(saved["config"]["transformer"])
    offset = saved["config"]["vocabulary"]["audio_offset"]
    vocabulary = export_pack.Vocabulary(offset, 16, 6)
    rng = np.random.default_rng(0)
    songs = [Song(rng.integers(0, 20, 7 + i), rng.integers(0, 16, (6, 9))) for i in range(3)]
    weights = export_pack.WeightFormat("int4")
    format = export_pack.BackboneFormat(weights, weights)
    exact, four_bits = (
        export_pack.backbone_graph(state, shape, f, parity_outputs=True) for f in (None, format)
    )
    same = backbone_cost(exact, exact, songs, vocabulary)
    assert same.relative == 0
    assert same.bits == same.reference_bits
    cost = backbone_cost(four_bits, exact, songs, vocabulary)
    assert 0.01 < cost.relative < 0.5
    assert cost.reference_bits == same.bits

    song = songs[0]
    runner = CachedBackbone(open_graph(exact), 40)
    logits = torch.from_numpy(runner.feed(song.ids(offset, 16))["all_logits"][0])
    first = torch.nn.functional.cross_entropy(logits[6:-1:2, :16], torch.from_numpy(song.codes[0]))
    second = torch.nn.functional.cross_entropy(logits[7:-1:2, 16:32], torch.from_numpy(song.codes[1]))
    alone = backbone_cost(exact, exact, songs[:1], vocabulary)
    assert alone.bits == pytest.approx(float(first + second) / 2 / np.log(2), abs=1e-4)


def test_scales_cover_what_was_seen(folder):
    saved = torch.load(folder / "backbone.pt", weights_only=True)
    state = {name: tensor.numpy() for name, tensor in saved["model"].items()}
    shape = export_pack.TransformerShape.of(saved["config"]["transformer"])
    ids = np.arange(30)
    scales = measure_kv_scales(state, shape, [ids[:10], ids])
    runner = CachedBackbone(open_graph(export_pack.backbone_graph(state, shape)), 30)
    runner.feed(ids)
    for layer in range(2):
        for part, steps in (("key", scales.key_scales), ("value", scales.value_scales)):
            largest = np.abs(runner.cached(part, layer)).max()
            assert largest < 127 * steps[layer] < 1.2 * largest
