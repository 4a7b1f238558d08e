"""Both trainers on a tiny corpus of chance: data, one falling loss each, exact resume. Needs torch."""

import argparse
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from khala_studio.training import tokenizer, train_backbone, train_superres  # noqa: E402
from khala_studio.training.data_codes import SPEC, CodesFolder, cut  # noqa: E402
from khala_studio.training.device import choose_compute  # noqa: E402
from khala_studio.training.nets.config import to_dict  # noqa: E402
from khala_studio.training.optim import Muon, orthogonalise  # noqa: E402
from khala_studio.training.prompts import NO_PHONE, Dropout, PromptMaker, phones_of_frames  # noqa: E402
from khala_studio.training.vocabulary import open_frontend, vocabulary_of  # noqa: E402
from tests.training import tiny_corpus  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    tiny_corpus.write(folder)
    tokenizer.write(tiny_corpus.WORDS, folder / "tokenizer.json")
    generator = torch.Generator().manual_seed(0)
    tables = {
        "quantizer.projections": torch.randn(64, 10, 5, generator=generator),
        "quantizer.codebooks": torch.randn(64, 1024, 5, generator=generator),
    }
    torch.save({"model": tables, "config": {}}, folder / "codec.pt")
    return folder


def backbone_args(corpus, out, *more):
    return parsed(train_backbone, corpus, out, "--layers", "2", "--hidden", "64", *more)


def parsed(module, corpus, out, *more):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    fixed = ["--codes", corpus, "--corpus", corpus, "--tokenizer", corpus / "tokenizer.json", "--out", out]
    fixed += ["--tokens", 400, "--no-compile", "--threads", 1, "--device", "cpu", "--precision", "fp32"]
    return parser.parse_args([*map(str, fixed), *more])


@pytest.fixture(scope="module")
def backbone(corpus, tmp_path_factory):
    """The checkpoint of a short backbone training."""
    out = tmp_path_factory.mktemp("backbone")
    train_backbone.main(backbone_args(corpus, out, "--steps", "2"))
    return out / train_backbone.CHECKPOINT


def superres_args(corpus, out, backbone, *more):
    return parsed(
        train_superres, corpus, out, "--codec", str(corpus / "codec.pt"), "--init", str(backbone), *more
    )


# --- data


def test_excerpts_hold_their_lines_and_their_phones(corpus):
    folder = CodesFolder(corpus, corpus, "train")
    prompts = PromptMaker(open_frontend(corpus / "tokenizer.json"))
    tokens = open_frontend(corpus / "tokenizer.json").tokens
    recording = next(r for r in folder.recordings if r.kind == "song")
    rng = np.random.default_rng(0)
    for length in ("line", "couplet", "section", "song"):
        excerpt = cut(recording, length, rng, 900)
        prompt = prompts.make(excerpt, rng)
        assert prompt.phone_at.shape == (excerpt.frames,) == folder.codes_of(excerpt).shape[1:]
        for frame in np.flatnonzero(prompt.phone_at != NO_PHONE):
            time = SPEC.seconds(excerpt.start) + (frame + 0.5) / SPEC.frame_rate
            sung = next(p[0] for p in recording.song["phones"] if p[1] <= time < p[2])
            assert tokens[prompt.ids[prompt.phone_at[frame]]] == sung
        text = [tokens[i] for i in prompt.ids]
        assert text.count("<line>") == len(excerpt.lines)
        assert text[0] == "<bos>"
        assert text[3:5] == ["<tempo:100>", "<key:C major>"]
        assert text[-1] == "<sing>"


def test_excerpts_keep_to_the_limit_and_to_the_recording(corpus):
    folder = CodesFolder(corpus, corpus, "train")
    rng = np.random.default_rng(1)
    for _ in range(200):
        excerpt = folder.draw(rng, rng.random(), 40)
        assert 0 < excerpt.frames <= 40
        assert 0 <= excerpt.start < excerpt.stop <= excerpt.recording.frames


def test_dropout_takes_slots_and_words(corpus):
    folder = CodesFolder(corpus, corpus, "train")
    frontend = open_frontend(corpus / "tokenizer.json")
    prompts, rng = PromptMaker(frontend), np.random.default_rng(2)
    excerpt = cut(next(r for r in folder.recordings if r.sung), "song", rng, 900)
    bare = prompts.make(excerpt, rng, Dropout(slot=1.0, text=1.0))
    assert [frontend.tokens[i] for i in bare.ids[1:9]] == [
        f"<{slot}:any>"
        for slot in ("genre", "voice", "tempo", "key", "mood", "instrument", "kind", "seconds")
    ]
    assert len(bare.ids) == 10
    assert (bare.phone_at == NO_PHONE).all()


def test_the_phone_of_a_frame_is_the_one_in_its_middle():
    spans = np.array([[0.0, 0.05], [0.1, 0.2]])
    assert phones_of_frames(spans, 5).tolist() == [0, NO_PHONE, 1, 1, NO_PHONE]


def test_a_pack_predicts_the_next_token(corpus):
    frontend = open_frontend(corpus / "tokenizer.json")
    data = train_backbone.BackboneData(
        CodesFolder(corpus, corpus, "train"),
        PromptMaker(frontend),
        vocabulary_of(frontend),
        train_backbone.Drawing(0, 500, 900),
    )
    pack = data.pack(3, 0.5)
    assert pack.n_tokens == sum(pack.packing.lengths) <= 500
    for start, length, prompt in zip(pack.packing.starts, pack.packing.lengths, pack.prompts, strict=True):
        ids, targets = pack.ids[start : start + length], pack.targets[start : start + length]
        assert (targets[: prompt - 1] == train_backbone.IGNORE).all()
        assert torch.equal(targets[prompt - 1 : -1], ids[prompt:] - len(frontend.tokens))
        assert targets[-1] == 2048
    again = data.pack(3, 0.5)
    assert torch.equal(pack.ids, again.ids)


def test_corruption_changes_what_is_heard_and_nothing_else(corpus):
    frontend, rng = open_frontend(corpus / "tokenizer.json"), np.random.default_rng(0)
    folder = CodesFolder(corpus, corpus, "train")
    codes = folder.codes[:2, :60]
    heard = train_backbone.corrupt(codes, rng, 0.5)
    assert 0 < (heard != codes).mean() < 0.5
    assert set(heard[1]) <= set(codes[1])
    prompt = PromptMaker(frontend).make(folder.draw(rng, 0.0, 60), rng)
    vocabulary = vocabulary_of(frontend)
    right, wrong = (
        train_backbone.pack_items([train_backbone.Item(prompt, codes, h)], vocabulary) for h in (None, heard)
    )
    assert torch.equal(right.targets, wrong.targets)
    assert torch.equal(right.ids[: len(prompt.ids)], wrong.ids[: len(prompt.ids)])
    assert not torch.equal(right.ids, wrong.ids)


def test_the_unigram_is_scored_on_what_the_net_is_scored_on(corpus):
    folder = CodesFolder(corpus, corpus, "train")
    shares = folder.frequencies(2)
    common, rare = int(shares[1].argmax()), int(shares[1].argmin())
    codes = np.array([[0, 0], [common, rare]])
    bits = folder.unigram_bits([codes, codes[:, :1]], [1])
    expected = -(2 * np.log2(shares[1].max()) + np.log2(shares[1].min())) / 3
    assert bits == {1: pytest.approx(expected)}
    assert shares.sum(1) == pytest.approx(1.0)


# --- training


def test_backbone_steps_lower_the_loss_of_a_fixed_batch(corpus):
    frontend = open_frontend(corpus / "tokenizer.json")
    vocabulary = vocabulary_of(frontend)
    torch.manual_seed(0)
    args = backbone_args(corpus, Path("unused"))
    config = train_backbone._config(args, vocabulary, Path("nothing here"))
    net = train_backbone.BackboneNet(config)
    aids = train_backbone.BackboneAids(train_backbone._aids(args, config), config)
    task = train_backbone.BackboneTask(net, aids, choose_compute("cpu", precision="fp32"))
    data = train_backbone.BackboneData(
        CodesFolder(corpus, corpus, "train"),
        PromptMaker(frontend),
        vocabulary,
        train_backbone.Drawing(0, 300, 900),
    )
    pack = data.pack(0, 0.5)
    assert falls(task, pack, [*net.named_parameters()])


@pytest.mark.parametrize("causal", [False, True])
def test_superres_steps_lower_the_loss_of_a_fixed_batch(corpus, backbone, causal):
    args = superres_args(corpus, Path("unused"), backbone)
    frontend = open_frontend(corpus / "tokenizer.json")
    vocabulary = vocabulary_of(frontend)
    folder = CodesFolder(corpus, corpus, "train")
    net = train_superres.build_net(args, vocabulary, Path("nothing here"), folder)
    task = train_superres.SuperresTask(net, choose_compute("cpu", precision="fp32"))
    coarse = train_backbone.BackboneData(
        CodesFolder(corpus, corpus, "train"),
        PromptMaker(frontend),
        vocabulary,
        train_backbone.Drawing(0, 300, 900),
    )
    pack = train_superres.SuperresData(coarse, train_superres.Mixture(float(causal))).pack(0, 0.5)
    assert isinstance(pack, train_superres.BackbonePack) == causal
    assert falls(task, pack, [*net.named_parameters()])


def falls(task, pack, named):
    """Ten steps of the real optimiser on one batch."""
    optimizer = train_backbone.Optimizer(named, 3e-3, use_muon=True)
    losses = []
    for _ in range(10):
        loss, _ = task.loss(pack)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_resumed_backbone_goes_on_exactly(corpus, tmp_path, optimizer, monkeypatch):
    options = ["--steps", "4", "--warmup", "1", "--optimizer", optimizer]
    train_backbone.main(backbone_args(corpus, tmp_path / "whole", *options))
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train_backbone.main(backbone_args(corpus, tmp_path / "parts", *options))
    monkeypatch.undo()
    assert load(tmp_path / "parts/backbone.pt")["step"] == 2
    train_backbone.main(backbone_args(corpus, tmp_path / "parts", *options))
    whole, parts = load(tmp_path / "whole/backbone.pt"), load(tmp_path / "parts/backbone.pt")
    assert parts["step"] == 4
    assert all(torch.equal(whole["model"][name], parts["model"][name]) for name in whole["model"])


@pytest.mark.parametrize("options", [[], ["--no-hybrid"], ["--random-init"]])
def test_a_resumed_superres_goes_on_exactly(corpus, backbone, tmp_path, options, monkeypatch):
    options = [*options, "--steps", "3", "--warmup", "1", "--causal-share", "0.5"]
    train_superres.main(superres_args(corpus, tmp_path / "whole", backbone, *options))
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        train_superres.main(superres_args(corpus, tmp_path / "parts", backbone, *options))
    monkeypatch.undo()
    train_superres.main(superres_args(corpus, tmp_path / "parts", backbone, *options))
    whole, parts = load(tmp_path / "whole/superres.pt"), load(tmp_path / "parts/superres.pt")
    assert parts["step"] == 3
    assert all(torch.equal(whole["model"][name], parts["model"][name]) for name in whole["model"])


def stop_after(monkeypatch, steps):
    """Ctrl+C when so many steps are done."""
    real = train_backbone.TrainLoop._train_step

    def step(loop, task, batch):
        if loop.step == steps:
            raise KeyboardInterrupt
        return real(loop, task, batch)

    monkeypatch.setattr(train_backbone.TrainLoop, "_train_step", step)


def load(path):
    return torch.load(path, weights_only=True)


def test_checkpoints_load_and_curves_are_written(corpus, backbone, tmp_path):
    net = train_backbone.load_backbone(backbone)
    assert to_dict(net.backbone_config) == load(backbone)["config"]
    curves = backbone.with_suffix(".csv").read_text().splitlines()
    assert "words are worth" in curves[0]
    assert len(curves) >= 2
    train_superres.main(superres_args(corpus, tmp_path, backbone, "--steps", "1"))
    superres = train_superres.load_superres(tmp_path / train_superres.CHECKPOINT)
    assert superres.embed.weight.shape == net.embed.weight.shape


def test_hybrid_takes_the_share_it_is_given():
    mixture = train_superres.Mixture(0.25)
    assert [mixture.is_causal(step) for step in range(8)] == [False, False, False, True] * 2
    assert not any(train_superres.Mixture(0.0).is_causal(step) for step in range(100))


def test_layers_are_drawn_low_more_often_than_high():
    rng = np.random.default_rng(0)
    drawn = [layer for _ in range(2000) for layer in train_superres.draw_layers(rng, 64)]
    assert min(drawn) == 2
    assert max(drawn) == 63
    assert sum(layer < 18 for layer in drawn) > 0.45 * len(drawn)


def test_muon_updates_are_orthogonal():
    torch.manual_seed(0)
    update = orthogonalise(torch.randn(2, 48, 16), Muon.ITERATIONS, Muon.COEFFICIENTS)
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.5
    assert singular.max() < 1.4
