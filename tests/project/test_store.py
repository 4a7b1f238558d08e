"""A take on disk: what is saved is loaded, and what is damaged is refused."""

import json

import numpy as np
import pytest

from khala_studio.project.errors import StoreError
from khala_studio.project.store import TakeFolder, free_bytes, read_codes, write_codes
from khala_studio.song.codec import CodecSpec
from khala_studio.song.codes import empty_codes
from khala_studio.song.request import Sampling, SongRequest
from khala_studio.song.take import Take


def make_take(n_frames=7, **changes):
    codes = empty_codes(n_frames)
    codes[:3] = np.random.default_rng(0).integers(0, 1024, (3, n_frames))
    fields = {
        "request": SongRequest("hello\nwörld \udc80 ♫", "pop", seed=3, backbone=Sampling(0.8, 20)),
        "codes": codes,
        "n_frames": n_frames,
        "logprobs": np.linspace(-2, -1, n_frames, dtype=np.float32),
        "complete": False,
        "pack_id": "tiny",
        "pack_sha256": "0" * 64,
        "timings": {"compose": 1.5},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Take(**{**fields, **changes})


def test_a_take_comes_back(tmp_path):
    take = make_take()
    folder = TakeFolder.create(tmp_path / "deep" / "down")
    folder.save(take)
    back = TakeFolder(folder.path).load()
    np.testing.assert_array_equal(back.codes, take.codes)
    np.testing.assert_allclose(back.logprobs, take.logprobs, atol=1e-4)
    assert back.request == take.request
    assert (back.complete, back.pack_id, back.timings) == (False, "tiny", {"compose": 1.5})
    assert {p.name for p in folder.path.iterdir()} == {"codes.npy", "take.json"}


def test_json_is_readable_by_anybody(tmp_path):
    folder = TakeFolder.create(tmp_path / "a")
    folder.save(make_take(logprobs=np.full(7, np.nan, np.float32)))
    text = (tmp_path / "a" / "take.json").read_text(encoding="ascii")
    assert "NaN" not in text
    assert json.loads(text)["logprobs"] == [None] * 7
    assert len(text.splitlines()) < 20


def test_a_crash_between_the_two_files_is_survived(tmp_path):
    folder = TakeFolder.create(tmp_path / "a")
    folder.save(make_take(5))
    write_codes(tmp_path / "a" / "codes.npy", make_take(9).codes)
    take = folder.load()
    assert take.n_frames == 9
    assert np.isnan(take.logprobs[5:]).all()
    assert not np.isnan(take.logprobs[:5]).any()


def test_create_refuses_a_take_and_keeps_strangers(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder = TakeFolder.create(tmp_path)
    folder.save(make_take())
    with pytest.raises(StoreError, match="--force"):
        TakeFolder.create(tmp_path)
    again = TakeFolder.create(tmp_path, force=True)
    assert (tmp_path / "take.json").exists()
    again.clear()
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_link_that_leads_nowhere_is_not_overwritten(tmp_path):
    (tmp_path / "song.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(StoreError):
        TakeFolder.create(tmp_path)


def test_clear_does_not_follow_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "keep.txt").write_text("mine")
    folder = TakeFolder.create(tmp_path / "a")
    (tmp_path / "a" / "events").symlink_to(tmp_path / "elsewhere")
    folder.clear()
    assert (tmp_path / "elsewhere" / "keep.txt").exists()


def test_an_unused_folder_goes_and_a_used_one_stays(tmp_path):
    folder = TakeFolder.create(tmp_path / "a" / "b")
    folder.remove_if_unused()
    assert list(tmp_path.iterdir()) == []
    folder = TakeFolder.create(tmp_path / "a" / "b")
    folder.save(make_take())
    folder.remove_if_unused()
    assert (tmp_path / "a" / "b" / "take.json").exists()


def test_codes_are_checked_against_the_codec(tmp_path):
    path = tmp_path / "codes.npy"
    write_codes(path, np.full((4, 5), 99, np.int16))
    assert read_codes(path, CodecSpec(n_codebooks=4)).shape == (4, 5)
    with pytest.raises(StoreError, match="layers"):
        read_codes(path, CodecSpec(n_codebooks=3))
    with pytest.raises(StoreError, match="98"):
        read_codes(path, CodecSpec(codebook_size=99))


def test_free_space_is_known_for_folders_to_come(tmp_path):
    free = free_bytes(tmp_path / "not" / "yet")
    assert free is not None
    assert free > 0
