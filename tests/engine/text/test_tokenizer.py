"""The data of tokenizer.json, and front ends opened from a pack's folder."""

import dataclasses
import io
import json
import tarfile
import time

import pytest

from khala_studio.engine.errors import BrokenPack
from khala_studio.engine.text.frontend import load_frontend
from khala_studio.engine.text.lexicon import Lexicon
from khala_studio.engine.text.phonemes import PHONES
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.request import SongRequest
from khala_studio.training import tokenizer
from tests.engine.text.lexicons import LEXICON
from tests.manifests import manifest_fields

JS = 'export const dictionary = {\n  "\'bout": "B AW1 T",\n  abbey: "AE1 B IY0",\n  "abbey(2)": "AE1 B EY0",\n  aalborg: "AO1 L B AO0 R G # place, danish"\n}\n'  # noqa: E501
WORDS = {"'bout": "B AW1 T", "abbey": "AE1 B IY0", "aalborg": "AO1 L B AO0 R G"}


def manifest_for(data):
    manifest = PackManifest.from_json(manifest_fields())
    text = dataclasses.replace(
        manifest.text,
        vocab_size=len(data["tokens"]),
        audio_offset=len(data["tokens"]),
        end_of_song=data["tokens"].index("<eos>"),
        superres_marker_base=data["tokens"].index("<layer:0>"),
    )
    return dataclasses.replace(manifest, text=text)


@pytest.fixture
def pack(tmp_path):
    tokenizer.write(LEXICON, tmp_path / "tokenizer.json")
    return tmp_path, manifest_for(json.loads((tmp_path / "tokenizer.json").read_bytes()))


def test_a_front_end_is_opened_by_its_name(pack):
    folder, manifest = pack
    frontend = load_frontend(folder, manifest)
    assert len(frontend.encode(SongRequest("hello")).ids) == 16


def test_an_unknown_front_end_is_refused(pack):
    folder, manifest = pack
    other = dataclasses.replace(manifest, text=dataclasses.replace(manifest.text, frontend="runes"))
    with pytest.raises(BrokenPack, match="runes"):
        load_frontend(folder, other)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\x00", b"[]", b"{}", b'{"format": 1, "frontend": "phonemes", "tokens": 3}', b"[" * 100_000],
)
def test_broken_data_is_refused(pack, data):
    folder, manifest = pack
    (folder / "tokenizer.json").write_bytes(data)
    with pytest.raises(BrokenPack, match="tokenizer"):
        load_frontend(folder, manifest)


def test_missing_data_is_refused(pack):
    folder, manifest = pack
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BrokenPack, match="tokenizer"):
        load_frontend(folder, manifest)


@pytest.mark.parametrize("change", ["end_of_song", "superres_marker_base", "vocab_size"])
def test_data_that_contradicts_the_manifest_is_refused(pack, change):
    folder, manifest = pack
    text = dataclasses.replace(manifest.text, **{change: getattr(manifest.text, change) - 1})
    with pytest.raises(BrokenPack, match="pack.json says"):
        load_frontend(folder, dataclasses.replace(manifest, text=text))


def test_dictionaries_are_read_from_npm_and_from_cmu(tmp_path):
    (tmp_path / "index.js").write_text(JS)
    with tarfile.open(tmp_path / "cmu.tgz", "w:gz") as package:
        info = tarfile.TarInfo("package/index.js")
        info.size = len(JS)
        package.addfile(info, io.BytesIO(JS.encode()))
    (tmp_path / "cmudict.dict").write_text(
        ";;; comment\n'bout B AW1 T\nABBEY  AE1 B IY0\nabbey(2) AE1 B EY0\naalborg AO1 L B AO0 R G # place\n"
    )
    for name in ("index.js", "cmu.tgz", "cmudict.dict"):
        words = tokenizer.read_lexicon(tmp_path / name)
        assert {word: phones for word, phones in words.items() if "(" not in word} == WORDS
        assert tokenizer.build(tmp_path / name)["lexicon"] == tokenizer.build(WORDS)["lexicon"]


def test_a_file_without_pronunciations_is_refused(tmp_path):
    (tmp_path / "index.js").write_text("export const dictionary = {}\n")
    with pytest.raises(ValueError, match="no pronunciations"):
        tokenizer.read_lexicon(tmp_path / "index.js")


def test_a_large_lexicon_loads_at_once_and_stays_small(tmp_path):
    words = {f"{a}{b}{c}{d}word": "W ER1 D Z IH0 NG" for a in "abcdefghij" for b in "aeiouxyzkl" for c in "abcdefghijklmnopqrstuvwxyz" for d in "abcdefghijklmnopqrstuvwxyzabcdefghij"}  # fmt: skip  # noqa: E501
    tokenizer.write(words, tmp_path / "tokenizer.json")
    assert (tmp_path / "tokenizer.json").stat().st_size < 25 * len(words)
    start = time.perf_counter()
    data = json.loads((tmp_path / "tokenizer.json").read_bytes())
    lexicon = Lexicon(data["lexicon"], PHONES)
    assert lexicon.lookup("jlzzword") == tuple("W ER1 D Z IH0 NG".split())
    assert time.perf_counter() - start < 1  # 10 ms where nothing else runs
