"""The whole command on a tiny pack of noise and a tiny corpus, with an ear that hears what it is told."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from khala_studio.training import evaluate
from khala_studio.training.evaluation import recogniser
from khala_studio.training.evaluation.pack_probe import PackProbe
from tests.tiny_pack import build_tiny_pack
from tests.training.evaluation.signals import tone
from tests.training.evaluation.tiny_corpus import build_tiny_corpus

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_pack(tmp_path_factory.mktemp("packs") / "tiny", n_codebooks=8, codebook_size=64)


class Ear:
    """Hears two words in everything."""

    def __init__(self, *_: object) -> None: ...

    def __call__(self, waveform: np.ndarray) -> str:
        assert waveform.ndim == 2
        assert waveform.shape[0] == 2
        return "hello world"


def arguments(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_the_command_writes_tables_numbers_pictures_and_sound(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recogniser, "Recogniser", Ear)
    monkeypatch.setattr(recogniser, "fetch", lambda cache: tmp_path)
    corpus, out = build_tiny_corpus(tmp_path / "corpus"), tmp_path / "out"
    options = ("--pack", pack, "--corpus", corpus, "--out", out, "--songs", 2, "--seconds", 4, "--threads", 1)
    assert evaluate.main(arguments(*options)) == 0

    facts = json.loads((out / "evaluate.json").read_text())
    assert facts["pack"]["id"] == "tiny"
    assert set(facts["codec"]["rows"]) >= {"depth 2", "depth 8", "Opus", "MP3"}
    assert facts["models"]["items"] == 2
    assert set(facts["models"]["superres"]) == {"2", "3", "4", "5", "7"}
    # An untrained net is near the even distribution: 6 bits for 64 codes.
    assert facts["models"]["backbone"]["all"]["right"] == pytest.approx(6, abs=2)
    assert [song["kind"] for song in facts["songs"]["songs"]] == ["a cappella", "song"]
    sources = {row["source"] for row in facts["songs"]["words"]}
    assert sources == {
        "ground truth",
        "codec only, depth 8",
        "codec only, depth 2",
        "generated, depth 2",
        "generated, depth 8",
    }
    first = facts["songs"]["songs"][0]
    assert first["heard"]["ground truth"] == "hello world"
    assert first["request"]["seed"] == 0
    page = (out / "evaluate.md").read_text()
    for heading in ("### Codec", "### Backbone", "### Super-resolution", "### Songs: recognised words"):
        assert heading in page
    assert len(list((out / "songs").glob("*.flac"))) == 10
    assert len(list((out / "songs").glob("*.png"))) == 2
    assert list((out / "codec").glob("*.png"))


def test_a_missing_pack_or_corpus_is_exit_code_2(pack: Path, tmp_path: Path) -> None:
    assert evaluate.main(arguments("--pack", pack, "--corpus", tmp_path)) == 2
    corpus = build_tiny_corpus(tmp_path / "corpus")
    assert evaluate.main(arguments("--pack", tmp_path, "--corpus", corpus)) == 2


def test_teacher_forcing_agrees_with_the_engine(pack: Path) -> None:
    """Greedy songs are the least surprising continuation at every step, for both."""
    from khala_studio.engine.sessions import open_pack
    from khala_studio.engine.stages import FrameRange
    from khala_studio.song.codes import empty_codes
    from khala_studio.song.request import Sampling

    with PackProbe(pack, threads=1) as probe, open_pack(pack, "cpu", threads=1) as stages:
        prompt, _ = stages.frontend.encode_song({}, [("verse", [[["HH", "AH0"]]])], 3)
        # All 64 codes may be drawn, at temperature 1: the engine's log-probabilities are the model's own.
        sampling = Sampling(temperature=1.0, top_k=64)
        frames = list(stages.compose(prompt, FrameRange(12, 12), sampling, 0, empty_codes(0, 2)))
        codes = np.stack([frame.codes for frame in frames], axis=1)
        bits = probe.backbone_bits(prompt, codes)
    assert bits.shape == (2, 12)
    expected = [-frame.logprob / np.log(2) for frame in frames]
    np.testing.assert_allclose(bits.mean(axis=0), expected, atol=1e-3)


def test_codes_go_round_through_the_packs_codec(pack: Path) -> None:
    with PackProbe(pack, threads=1) as probe:
        x = tone(220, 2.0)
        codes = probe.encode(x)
        assert codes.dtype == np.int16
        assert codes.shape == (8, -(-x.shape[1] // 2_048))
        assert probe.decode(codes[:2]).shape == (2, codes.shape[1] * 2_048)
