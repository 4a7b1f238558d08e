import json

import pytest

from khala_studio.packs.errors import PackBroken, PackError, PackMissing
from khala_studio.packs.store import PackStore, verify
from tests.manifests import write_pack


@pytest.fixture
def store(tmp_path):
    return PackStore(tmp_path / "shipped", tmp_path / "installed")


def test_empty_machine(store):
    assert store.list() == []
    with pytest.raises(PackMissing, match="no pack 'starter' on this machine; installed: none"):
        store.find("starter")


def test_lists_shipped_packs_first_and_broken_ones_too(store):
    write_pack(store.installed / "another")
    write_pack(store.shipped / "starter")
    write_pack(store.installed / "broken")
    (store.installed / "broken" / "pack.json").write_text("{}")
    (store.installed / "no-pack").mkdir()
    found = store.list()
    assert [(p.folder.name, p.shipped) for p in found] == [
        ("starter", True),
        ("another", False),
        ("broken", False),
    ]
    assert found[0].manifest.id == "starter"
    assert found[2].manifest is None
    assert "format is missing" in found[2].error


def test_finds_by_id_and_by_path(store, tmp_path, monkeypatch):
    write_pack(store.installed / "mine")
    elsewhere = write_pack(tmp_path / "elsewhere" / "other")
    assert store.find("mine") == store.installed / "mine"
    assert store.find(elsewhere) == elsewhere
    assert store.find(str(elsewhere)) == elsewhere
    assert store.find(str(elsewhere / "pack.json")) == elsewhere
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert store.find("other").resolve() == elsewhere
    assert store.find("./other").resolve() == elsewhere


def test_a_shipped_pack_is_not_taken_over(store):
    write_pack(store.installed / "starter")
    write_pack(store.shipped / "starter")
    assert store.find("starter") == store.shipped / "starter"


@pytest.mark.parametrize("name", ["../installed/mine", "nowhere", "", "a b", "/nowhere/at/all"])
def test_missing_packs(store, name):
    write_pack(store.installed / "mine")
    with pytest.raises(PackMissing):
        store.find(name)


def test_verify_accepts_a_whole_pack(tmp_path):
    assert verify(write_pack(tmp_path / "tiny")).id == "tiny"


def test_verify_names_the_missing_file(tmp_path):
    pack = write_pack(tmp_path / "tiny")
    (pack / "decoder.onnx").unlink()
    with pytest.raises(PackBroken, match=r"decoder\.onnx is missing; pack\.json expects a file of 7 bytes"):
        verify(pack)


def test_verify_names_the_file_of_another_size(tmp_path):
    pack = write_pack(tmp_path / "tiny")
    (pack / "decoder.onnx").write_bytes(b"longer than before")
    with pytest.raises(PackBroken, match=r"decoder\.onnx has 18 bytes; pack\.json expects 7"):
        verify(pack)


def test_verify_names_the_file_of_another_hash(tmp_path):
    pack = write_pack(tmp_path / "tiny")
    (pack / "decoder.onnx").write_bytes(b"DECODER")
    with pytest.raises(PackBroken, match=r"decoder\.onnx is not the file .* expected \w{12}"):
        verify(pack)


def test_verify_refuses_a_folder_in_place_of_a_file(tmp_path):
    pack = write_pack(tmp_path / "tiny")
    (pack / "decoder.onnx").unlink()
    (pack / "decoder.onnx").mkdir()
    with pytest.raises(PackBroken, match=r"decoder\.onnx is missing"):
        verify(pack)


def test_remove(store):
    write_pack(store.installed / "mine")
    assert store.remove("mine") == store.installed / "mine"
    assert store.list() == []
    with pytest.raises(PackMissing):
        store.remove("mine")


def test_remove_takes_a_broken_pack_too(store):
    write_pack(store.installed / "mine")
    (store.installed / "mine" / "pack.json").write_text("junk")
    store.remove("mine")
    assert not (store.installed / "mine").exists()


def test_remove_leaves_shipped_packs_and_other_folders(store, tmp_path):
    write_pack(store.shipped / "starter")
    other = write_pack(tmp_path / "other")
    with pytest.raises(PackError, match="came with the program"):
        store.remove("starter")
    for name in ("../other", str(other), "", ".", ".."):
        with pytest.raises(PackMissing):
            store.remove(name)
    assert verify(other)
    assert verify(store.shipped / "starter")


def test_remove_of_a_link_leaves_what_it_points_to(store, tmp_path):
    other = write_pack(tmp_path / "other")
    store.installed.mkdir()
    (store.installed / "linked").symlink_to(other)
    store.remove("linked")
    assert not (store.installed / "linked").is_symlink()
    assert json.loads((other / "pack.json").read_text())["id"] == "other"
