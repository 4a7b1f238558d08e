import os

import pytest

from khala_studio.packs import verified
from khala_studio.packs.errors import PackBroken
from khala_studio.packs.verified import ensure_verified
from tests.manifests import write_pack


@pytest.fixture
def hashed(monkeypatch):
    """The folders that were hashed, in order."""
    seen = []
    real = verified.verify
    monkeypatch.setattr(verified, "verify", lambda folder: (seen.append(folder), real(folder))[1])
    return seen


def test_hashes_once_until_a_file_changes(tmp_path, hashed):
    pack, cache = write_pack(tmp_path / "tiny"), tmp_path / "cache"
    assert ensure_verified(pack, cache).id == "tiny"
    assert ensure_verified(pack, cache).id == "tiny"
    assert len(hashed) == 1
    os.utime(pack / "CARD.md", ns=(1, 1))
    ensure_verified(pack, cache)
    assert len(hashed) == 2


def test_a_changed_file_of_the_same_size_is_refused_every_time(tmp_path, hashed):
    pack, cache = write_pack(tmp_path / "tiny"), tmp_path / "cache"
    ensure_verified(pack, cache)
    (pack / "decoder.onnx").write_bytes(b"DECODER")
    for _ in range(2):
        with pytest.raises(PackBroken, match="decoder"):
            ensure_verified(pack, cache)
    assert len(hashed) == 3


@pytest.mark.parametrize("junk", [b"", b"junk", b"[1]", b'{"x": NaN}', b"[" * 100_000])
def test_a_broken_note_is_forgotten(tmp_path, hashed, junk):
    pack, cache = write_pack(tmp_path / "tiny"), tmp_path / "cache"
    cache.mkdir()
    (cache / "verified-packs.json").write_bytes(junk)
    ensure_verified(pack, cache)
    ensure_verified(pack, cache)
    assert len(hashed) == 1


def test_works_without_a_place_for_the_note(tmp_path, hashed):
    pack, cache = write_pack(tmp_path / "tiny"), tmp_path / "cache"
    cache.write_text("a file where the folder should be")
    ensure_verified(pack, cache)
    ensure_verified(pack, cache)
    assert len(hashed) == 2


def test_two_packs_keep_their_notes(tmp_path, hashed):
    one, two, cache = write_pack(tmp_path / "one"), write_pack(tmp_path / "two"), tmp_path / "cache"
    for pack in (one, two, one, two):
        ensure_verified(pack, cache)
    assert hashed == [one, two]
    assert [p.name for p in cache.iterdir()] == ["verified-packs.json"]
