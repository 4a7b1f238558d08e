"""packs, doctor and bench."""

import json
import shutil
import zipfile

import pytest

from khala_studio import paths, resources
from khala_studio.packs.store import PackStore


@pytest.fixture
def no_shipped_packs(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "shipped_packs", lambda: tmp_path / "shipped")


@pytest.fixture
def archive(pack, tmp_path):
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for file in pack.iterdir():
            bundle.write(file, file.name)
    return path


def test_a_packs_life(run, archive, no_shipped_packs):
    assert "No packs" in run("packs", "list")[1]
    assert run("packs", "install", archive)[0] == 0
    assert run("packs", "install", archive)[0] == 2
    assert run("packs", "install", archive, "--force")[0] == 0
    out = run("packs", "list")[1]
    assert "tiny" in out
    assert "installed" in out
    assert "whole" in run("packs", "verify")[1]
    assert run("packs", "verify", "tiny")[0] == 0
    (paths.packs_folder() / "tiny" / "CARD.md").write_text("other words")
    code, out, _ = run("packs", "verify")
    assert code == 2
    assert "CARD.md" in out
    assert run("packs", "remove", "tiny")[0] == 0
    code, _, err = run("packs", "remove", "tiny")
    assert code == 2
    assert "tiny" in err


def test_wrong_archives_are_refused(run, tmp_path, no_shipped_packs):
    (tmp_path / "text.zip").write_text("no zip")
    for name in ("none.zip", "text.zip", "."):
        code, _, err = run("packs", "install", tmp_path / name)
        assert code == 2, err
        assert len(err.strip().splitlines()) == 1
    assert PackStore.default().list() == []


def test_the_only_pack_is_the_default(run, archive, lyrics, tmp_path, no_shipped_packs):
    run("packs", "install", archive)
    assert run("generate", lyrics, "-o", tmp_path / "a", "--seconds", 1, "--depth", 2)[0] == 0
    assert run("refine", tmp_path / "a", "--depth", 3)[0] == 0


def test_doctor_says_what_works_and_what_to_do(run, archive, no_shipped_packs):
    code, out, _ = run("doctor")
    assert code == 1
    lines = out.splitlines()
    assert all(line.split()[0] in ("ok", "missing", "broken") for line in lines)
    assert any("packs install" in line for line in lines if line.startswith("broken"))
    assert all(" -> " in line for line in lines if not line.startswith("ok"))
    run("packs", "install", archive)
    code, out, _ = run("doctor")
    assert code == 0, out
    for what in (
        "python",
        "numpy",
        "onnxruntime",
        "cpu",
        "gpu",
        "sound files",
        "memory",
        "disk",
        "pack tiny",
    ):
        assert any(what in line for line in out.splitlines()), what
    (paths.packs_folder() / "tiny" / "decoder.onnx").unlink()
    code, out, _ = run("doctor")
    assert code == 1
    assert "decoder.onnx" in out


def test_doctor_goes_on_after_a_check_that_fails(run, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: 1 / 0)
    code, out, _ = run("doctor")
    assert code == 1
    assert "ZeroDivisionError" in out
    assert "onnxruntime" in out


def test_bench_measures_everything(run, pack):
    code, out, err = run("bench", "--pack", pack, "--seconds", 2, "--rounds", 1, "--json")
    assert code == 0, err
    report = json.loads(out)
    figures = {name: figure["median"] for name, figure in report["figures"].items()}
    assert figures.keys() == {
        "open_seconds", "first_preview_warm", "tokens_per_second", "passes_per_second", "decode_x_realtime",
        "first_preview_cold", "song_seconds", "song_music_seconds", "peak_memory_mb",
    }  # fmt: skip
    assert all(value > 0 for value in figures.values())
    assert figures["first_preview_warm"] < figures["first_preview_cold"] < figures["song_seconds"]
    assert 1 < figures["song_music_seconds"] < 3
    assert report["pack"] == "tiny"
    assert report["cores"] >= 1


def test_bench_prints_a_table(run, pack):
    code, out, err = run("bench", "--pack", pack, "--seconds", 1, "--rounds", 2, "--no-song")
    assert code == 0, err
    assert "tokens/s" in out
    assert "peak memory" not in out


def test_bench_against_torch_says_what_is_missing(run, pack, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "khala_studio.training.bench_torch", None)
    code, _, err = run("bench", "--pack", pack, "--against-torch")
    assert code == 2
    assert "train" in err
