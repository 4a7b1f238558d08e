"""Zips from strangers. Whatever is wrong with one, nothing is left behind and nothing outside is touched."""

import hashlib
import json
import shutil
import stat
import struct
import zipfile

import pytest

from khala_studio.packs import install as module
from khala_studio.packs.errors import PackBroken, PackError
from khala_studio.packs.install import install
from khala_studio.packs.store import PackStore, verify
from tests.manifests import CONTENTS, manifest_fields, write_pack


@pytest.fixture
def store(tmp_path):
    return PackStore(tmp_path / "shipped", tmp_path / "installed")


def write_zip(path, files, manifest=None, prefix=""):
    """A zip of `files` and a pack.json (`manifest`; None = a right one for CONTENTS)."""
    manifest = manifest_fields() if manifest is None else manifest
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(prefix + "pack.json", json.dumps(manifest))
        for name, content in files.items():
            bundle.writestr(name if isinstance(name, zipfile.ZipInfo) else prefix + name, content)
    return path


def refused(archive, store, sentence, kind=PackBroken):
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(kind, match=sentence) as caught:
        install(archive, store)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert store.list() == []
    left = set(archive.parent.rglob("*")) - set(before) - {store.installed}
    assert not left
    return text


@pytest.mark.parametrize("prefix", ["", "tiny/", "some/where/"])
def test_installs_a_pack(tmp_path, store, prefix):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS, prefix=prefix)
    assert install(archive, store).id == "tiny"
    folder = store.find("tiny")
    assert folder == store.installed / "tiny"
    assert verify(folder).id == "tiny"
    assert sorted(p.name for p in store.installed.iterdir()) == ["tiny"]
    assert sorted(p.name for p in folder.iterdir()) == sorted([*CONTENTS, "pack.json"])


def test_folder_entries_are_fine(tmp_path, store):
    archive = tmp_path / "pack.zip"
    write_pack(tmp_path / "source" / "tiny")
    shutil.make_archive(str(tmp_path / "pack"), "zip", tmp_path / "source")
    assert any(name.endswith("/") for name in zipfile.ZipFile(archive).namelist())
    assert install(archive, store).id == "tiny"


def test_refuses_to_replace_unless_told(tmp_path, store):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS)
    install(archive, store)
    with pytest.raises(PackError, match="already in"):
        install(archive, store)
    contents = CONTENTS | {"CARD.md": b"a new card"}
    newer = write_zip(tmp_path / "newer.zip", contents, manifest_fields(contents=contents))
    install(newer, store, replace=True)
    assert (store.find("tiny") / "CARD.md").read_bytes() == b"a new card"
    assert sorted(p.name for p in store.installed.iterdir()) == ["tiny"]


def test_a_failed_replacement_keeps_the_old_pack(tmp_path, store):
    install(write_zip(tmp_path / "pack.zip", CONTENTS), store)
    bad = write_zip(tmp_path / "bad.zip", CONTENTS | {"CARD.md": b"# A crad\n"})
    with pytest.raises(PackBroken, match=r"CARD\.md"):
        install(bad, store, replace=True)
    assert verify(store.find("tiny")).id == "tiny"
    assert sorted(p.name for p in store.installed.iterdir()) == ["tiny"]


def test_a_shipped_pack_is_never_replaced(tmp_path, store):
    write_pack(store.shipped / "tiny")
    with pytest.raises(PackError, match="came with the program"):
        install(write_zip(tmp_path / "pack.zip", CONTENTS), store, replace=True)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "../../evil.txt",
        "/tmp/khala-evil.txt",
        "a/../../evil.txt",
        "..\\evil.txt",
        "C:\\evil.txt",
    ],
)
def test_names_that_lead_outside(tmp_path, store, name):
    refused(write_zip(tmp_path / "pack.zip", CONTENTS | {name: b"evil"}), store, "does not list|outside of")
    # And where the manifest lists them as well:
    contents = CONTENTS | {name: b"evil"}
    archive = write_zip(tmp_path / "pack.zip", contents, manifest_fields(contents=contents))
    refused(archive, store, "which no file of a pack may have")


@pytest.mark.parametrize("pack_id", ["../evil", "/evil", "..", ".", "a/b", "x\x00", ".installing-x"])
def test_ids_that_lead_outside(tmp_path, store, pack_id):
    refused(write_zip(tmp_path / "pack.zip", CONTENTS, manifest_fields(pack_id)), store, "id must be")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path, store, kind):
    target = b"/etc/passwd"
    contents = CONTENTS | {"CARD.md": target}
    info = zipfile.ZipInfo("CARD.md")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    files = {name: c for name, c in contents.items() if name != "CARD.md"} | {info: target}
    refused(
        write_zip(tmp_path / "pack.zip", files, manifest_fields(contents=contents)), store, "link or a device"
    )


def test_missing_and_extra_files(tmp_path, store):
    some = {name: c for name, c in CONTENTS.items() if name != "decoder.onnx"}
    refused(write_zip(tmp_path / "pack.zip", some), store, r"lacks decoder\.onnx")
    refused(
        write_zip(tmp_path / "pack.zip", CONTENTS | {"x.py": b""}), store, r"'x\.py', which its pack\.json"
    )


def test_wrong_hash_and_wrong_size(tmp_path, store):
    text = refused(
        write_zip(tmp_path / "pack.zip", CONTENTS | {"decoder.onnx": b"DECODER"}), store, "SHA-256"
    )
    assert "decoder.onnx" in text
    assert hashlib.sha256(b"decoder").hexdigest()[:12] in text
    longer = write_zip(tmp_path / "pack.zip", CONTENTS | {"decoder.onnx": b"decoder!"})
    refused(longer, store, r"decoder\.onnx .* has 8 bytes; pack\.json expects 7")


def patch_size(archive, name, size):
    """State another unpacked size of `name` in the zip's central directory."""
    data = bytearray(archive.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    struct.pack_into("<I", data, at + 24, size)
    archive.write_bytes(data)


def test_bombs(tmp_path, store, monkeypatch):
    """20 MiB of zeros in a few kB: once honestly stated, once called 7 bytes by the index and pack.json."""
    archive = write_zip(tmp_path / "pack.zip", CONTENTS | {"decoder.onnx": bytes(20 * 2**20)})
    assert archive.stat().st_size < 100_000
    refused(archive, store, r"has 20971520 bytes; pack\.json expects 7")

    patch_size(archive, "decoder.onnx", 7)
    sizes = []  # of what was unpacked, looked at just before it is deleted
    real = shutil.rmtree
    monkeypatch.setattr(
        module.shutil,
        "rmtree",
        lambda folder, **k: (
            sizes.extend(f.stat().st_size for f in folder.rglob("*.onnx")),
            real(folder, **k),
        ),
    )
    refused(archive, store, r"decoder\.onnx|readable zip")
    assert 0 < sum(sizes) < 10_000


def test_copy_stops_past_its_limit(tmp_path):
    source, sink = tmp_path / "source", tmp_path / "sink"
    source.write_bytes(bytes(10))
    with (
        source.open("rb") as a,
        sink.open("wb") as b,
        pytest.raises(PackBroken, match="more than the 9 bytes"),
    ):
        module._copy(a, b, 9, "x")
    assert sink.stat().st_size == 0
    with source.open("rb") as a, sink.open("wb") as b:
        module._copy(a, b, 10, "x")
    assert sink.stat().st_size == 10


def test_a_pack_larger_than_the_disk(tmp_path, store):
    fields = manifest_fields()
    fields["files"]["decoder.onnx"]["bytes"] = 2**35
    archive = write_zip(tmp_path / "pack.zip", CONTENTS, fields)
    refused(archive, store, r"decoder\.onnx .* has 7 bytes")


def test_no_room(tmp_path, store, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    refused(write_zip(tmp_path / "pack.zip", CONTENTS), store, "MiB are free", PackError)


def test_a_huge_pack_json(tmp_path, store):
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("pack.json", b" " * (20 * 2**20))
    refused(archive, store, "larger than")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": NaN}', b"\xff", b"[" * 50_000])
def test_bad_pack_json(tmp_path, store, text):
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("pack.json", text)
    assert refused(archive, store, r"pack\.json").startswith("pack.zip")


@pytest.mark.parametrize("size", [-1, float("nan"), float("inf"), "7", None, 2**64, True, [7]])
def test_wrong_sizes_in_pack_json(tmp_path, store, size):
    fields = manifest_fields()
    fields["files"]["decoder.onnx"]["bytes"] = size
    refused(write_zip(tmp_path / "pack.zip", CONTENTS, fields), store, r"bytes|NaN|Infinity")


def test_two_or_no_pack_json(tmp_path, store):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS | {"deeper/pack.json": b"{}"})
    refused(archive, store, r"2 files named pack\.json")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as bundle:
        bundle.writestr("readme.txt", "hello")
    refused(tmp_path / "none.zip", store, r"0 files named pack\.json")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path, store):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS)
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("decoder.onnx", b"decoder")
    refused(archive, store, r"'decoder\.onnx' more than once")


def test_files_beside_the_packs_folder(tmp_path, store):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS, prefix="tiny/")
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("setup.py", b"")
    refused(archive, store, r"'setup\.py' outside of the pack's folder")


def test_too_many_files(tmp_path, store):
    archive = write_zip(tmp_path / "pack.zip", {f"f{i}": b"" for i in range(1001)})
    refused(archive, store, "1000 at most")


@pytest.mark.parametrize("junk", [b"", b"not a zip", b"PK\x05\x06" + bytes(10)])
def test_no_zip(tmp_path, store, junk):
    archive = tmp_path / "pack.zip"
    archive.write_bytes(junk)
    refused(archive, store, "not a readable zip")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_zip(tmp_path, store, keep):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * keep)])
    refused(archive, store, "not a readable zip")


def test_damaged_bytes(tmp_path, store):
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr("pack.json", json.dumps(manifest_fields()))
        for name, content in CONTENTS.items():
            bundle.writestr(name, content)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(b"backbonebackbone", b"backbonebackbune", 1))
    refused(archive, store, r"not a readable zip|backbone\.onnx")


def test_no_file_and_a_folder(tmp_path, store):
    with pytest.raises(PackError, match="There is no file"):
        install(tmp_path / "nowhere.zip", store)
    with pytest.raises(PackError, match="cannot be installed"):
        install(tmp_path, store)


def test_a_locked_zip(tmp_path, store):
    archive = write_zip(tmp_path / "pack.zip", CONTENTS)
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1  # the bit that says "encrypted"
            at = data.find(signature, at + 4)
    archive.write_bytes(data)
    refused(archive, store, "locked with a password")


def test_rare_packing_is_refused(tmp_path, store):
    archive = tmp_path / "pack.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("pack.json", json.dumps(manifest_fields()))
        for name, content in CONTENTS.items():
            bundle.writestr(name, content, zipfile.ZIP_LZMA)
    refused(archive, store, "not stored or deflated")
