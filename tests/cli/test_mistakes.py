"""Whatever a user gets wrong: one sentence, exit code 2, no traceback, nothing left behind."""

import errno
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from khala_studio.cli import main
from tests.cli.conftest import ROOT

SENTENCE_END = (".", "…", ")", "?")


@pytest.fixture
def refused(run):
    """Run, expect a refusal, return the sentence."""

    def call(*arguments):
        code, out, err = run(*arguments)
        assert code == 2, err
        assert out == ""
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].rstrip().endswith(SENTENCE_END)
        return lines[0]

    return call


GOOD = {
    "emoji": "hello 🎵 world 🌍\n",
    "typographic": "“hello” — world’s song…\n",
    "full width": "ｈｅｌｌｏ ｗｏｒｌｄ\n",
    "zero width": "hel​lo﻿ world\n",
    "windows lines": "hello\r\nworld\r\n",
    "bell": "hello\x07 world\x1b[31m\n",
}
BAD = {
    "empty": "",
    "spaces": "  \n\t \n \n",
    "only tags": "[Verse 1]\n\n[CHORUS]\n(Bridge)\n",
    "only emoji": "🎵🎵\n",
    "cyrillic": "Привет мир\nпесня моя\n",
    "chinese": "你好世界\n唱一首歌\n",
    "20,000 lines": "hello world\n" * 20_000,
    "one endless word": "a" * 100_000,
    "NUL": "hello\0world\n",
    "control characters": "\x01\x02\x03\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_lyrics_that_work(run, pack, tmp_path, name):
    path = tmp_path / "lyrics.txt"
    path.write_bytes(GOOD[name].encode())
    options = ["--pack", pack, "--seconds", 1, "--depth", 2]
    code, _, err = run("generate", path, "-o", tmp_path / "song", *options)
    assert code == 0, err


@pytest.mark.parametrize("name", BAD)
def test_lyrics_that_cannot_be_sung(refused, pack, tmp_path, name):
    path = tmp_path / "lyrics.txt"
    path.write_bytes(BAD[name].encode())
    refused("generate", path, "-o", tmp_path / "song", "--pack", pack)
    assert not (tmp_path / "song").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(run, pack, tmp_path, encoding):
    path = tmp_path / "lyrics.txt"
    path.write_bytes("hello world é\n".encode(encoding))
    code, _, err = run(
        "generate", path, "-o", tmp_path / "song", "--pack", pack, "--seconds", 1, "--depth", 2
    )
    assert code == 0, err
    assert ("Windows-1252" in err) == (encoding == "cp1252")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x81\x8d\x8f\xff", b"\x7fELF\0\0\0", b"\0" * 100])
def test_lyrics_that_are_no_text(refused, pack, tmp_path, content):
    path = tmp_path / "lyrics.txt"
    path.write_bytes(content)
    refused("generate", path, "-o", tmp_path / "song", "--pack", pack)


def test_lyrics_that_cannot_be_read(refused, pack, tmp_path):
    out = ["-o", tmp_path / "song", "--pack", pack]
    assert "no file" in refused("generate", tmp_path / "none.txt", *out)
    assert "folder" in refused("generate", tmp_path, *out)
    refused("generate", "x" * 5000, *out)
    refused("generate", "a\0b", *out)
    if Path("/dev/zero").exists():
        assert "larger" in refused("generate", "/dev/zero", *out)


@pytest.mark.parametrize(
    "options",
    [
        ["--seconds", "-1"], ["--seconds", "nan"], ["--seconds", "inf"], ["--seconds", "0"],
        ["--seconds", "1e99"],
        ["--seconds", "3500"], ["--seconds", "0.02"], ["--seconds", "long"], ["--minutes", "-1"],
        ["--minutes", "1", "--seconds", "2"], ["--minutes", "nan"],
        ["--seed", "-1"], ["--seed", str(2**63)], ["--seed", "9" * 5000], ["--seed", "1.5"],
        ["--depth", "1"], ["--depth", "65"], ["--depth", "9"], ["--takes", "0"], ["--takes", "101"],
        ["--takes", "2", "--seed", str(2**63 - 1)],
        ["--temperature", "0"], ["--temperature", "nan"], ["--temperature", "1e9"], ["--top-k", "0"],
        ["--top-k", "-5"], ["--stems"], ["--pack", "none-such"], ["--pack", "/none/such"], ["--pack", ""],
        ["--wrong"], ["surplus"], ["-o"], ["-o", ""],
    ],
    ids=lambda options: " ".join(options)[:30],
)  # fmt: skip
def test_wrong_options(refused, lyrics, pack, tmp_path, options):
    refused("generate", lyrics, "-o", tmp_path / "song", "--pack", pack, *options)
    assert not (tmp_path / "song").exists()


def test_outputs_that_cannot_be(refused, lyrics, pack, tmp_path):
    def generate(output):
        return refused("generate", lyrics, "-o", output, "--pack", pack)

    (tmp_path / "file").write_text("mine")
    assert "file" in generate(tmp_path / "file")
    generate(tmp_path / "file" / "below")
    generate(tmp_path / ("n" * 300))
    if Path("/dev/full").exists():
        generate("/dev/full")
    if Path("/proc/self").is_dir():
        generate("/proc/khala")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(refused, lyrics, pack, tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert "permission" in refused("generate", lyrics, "-o", tmp_path / "song", "--pack", pack)
    finally:
        tmp_path.chmod(0o700)


@contextmanager
def small_files(limit):
    """Files cannot grow beyond `limit` bytes: the closest to a full disk that a test can have.

    Not a moment longer than needed: the report of the tests may go to a file too.
    """
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [0, 70_000, 100_000])
def test_a_disk_that_fills_up(run, lyrics, pack, tmp_path, limit):
    """0: nothing fits; 70,000: the codes do, the draft does not; 100,000: only the song does not."""
    out = tmp_path / "song"
    with small_files(limit):
        code, _, err = run("generate", lyrics, "-o", out, "--pack", pack, "--seconds", 2)
    assert code == 2
    assert "Cannot write" in err
    left = {p.name for p in out.iterdir()} if out.exists() else set()
    assert "song.wav" not in left
    assert not [name for name in left if name.endswith(".part")]
    assert bool(left) == (limit > 0)


def test_a_disk_without_room_is_noticed_first(refused, lyrics, pack, tmp_path, monkeypatch):
    monkeypatch.setattr("khala_studio.project.store.free_bytes", lambda path: 1000)
    assert "free" in refused("generate", lyrics, "-o", tmp_path / "song", "--pack", pack)


def test_a_broken_pack(refused, lyrics, pack, tmp_path):
    import shutil

    for name, change in {
        "decoder.onnx": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "superres.onnx": lambda path: path.unlink(),
        "pack.json": lambda path: path.write_text("{}"),
        "tokenizer.json": lambda path: path.write_text("[]"),
    }.items():
        broken = tmp_path / name.replace(".", "-")
        shutil.copytree(pack, broken)
        change(broken / name)
        assert name in refused("generate", lyrics, "-o", tmp_path / "song", "--pack", broken)


def test_decode_refuses_what_are_no_codes(refused, pack, tmp_path):
    out = tmp_path / "out.wav"

    def decode(name, array=None, **options):
        path = tmp_path / name
        if array is not None:
            np.save(path, array, **options)
        return refused("decode", path, "-o", out, "--pack", pack)

    decode("none.npy")
    decode("floats.npy", np.zeros((8, 5), np.float32))
    decode("flat.npy", np.zeros(8, np.int16))
    decode("deep.npy", np.zeros((9, 5), np.int16))
    decode("high.npy", np.full((8, 5), 64, np.int16))
    decode("wide.npy", np.full((8, 5), 65536, np.int64))
    decode("unknown.npy", np.full((8, 5), -1, np.int16))
    decode("nothing.npy", np.zeros((8, 0), np.int16))
    decode("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("codes")
    decode("text.npy")
    # A header that claims 2 TB.
    head = {"descr": "<i2", "fortran_order": False, "shape": (8, 1 << 37)}
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
    decode("huge.npy")
    np.savez(tmp_path / "many.npz", np.zeros((8, 5), np.int16))
    decode("many.npz")
    assert not out.exists()
    np.save(tmp_path / "good.npy", np.zeros((8, 5), np.int16))
    for output in (tmp_path / "out.mp3", tmp_path / "none" / "out.wav", tmp_path):
        refused("decode", tmp_path / "good.npy", "-o", output, "--pack", pack)
    refused("decode", tmp_path / "good.npy", "-o", out, "--pack", pack, "--depth", "9")


def test_encode_refuses_what_is_no_sound(refused, pack, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    import soundfile

    soundfile.write(tmp_path / "six.wav", np.zeros((100, 6)), 8000)
    soundfile.write(tmp_path / "silent.wav", np.zeros((0, 2)), 8000)
    soundfile.write(tmp_path / "nan.wav", np.full((100, 2), np.nan), 8000, subtype="FLOAT")
    for name in ("text.wav", "empty.wav", "six.wav", "silent.wav", "nan.wav", "none.wav", "."):
        refused("encode", tmp_path / name, "-o", tmp_path / "codes.npy", "--pack", pack)
    assert not (tmp_path / "codes.npy").exists()


def test_refine_refuses_what_is_no_take(refused, generate, pack, tmp_path):
    def refine():
        return refused("refine", tmp_path / "song", "--pack", pack)

    refine()
    (tmp_path / "song").mkdir()
    refine()
    assert generate(tmp_path / "song", "--depth", 2, "--force")[0] == 0
    take = tmp_path / "song" / "take.json"
    good = take.read_text()
    for bad in ("", "[]", "{}", "null", good[:-20], good.replace('"seed": 0', '"seed": -1'), "[" * 100_000):
        take.write_text(bad)
        refine()
    take.write_text(good.replace('"format": 1', '"format": 2'))
    assert "format" in refine()
    take.write_text(good)
    np.save(tmp_path / "song" / "codes.npy", np.full((64, 5), 1023, np.int16))
    refine()
    (tmp_path / "song" / "codes.npy").unlink()
    refine()


def test_any_arguments_end_in_a_sentence(capsys, tmp_path, pack, monkeypatch):
    """Random command lines: never an exception, always a known exit code."""
    rng = random.Random(0)
    words = [
        "generate",
        "refine",
        "decode",
        "encode",
        "packs",
        "list",
        "verify",
        "install",
        "remove",
        "train",
    ]
    words += [
        "-o",
        "--seconds",
        "--seed",
        "--takes",
        "--pack",
        "--depth",
        "--style",
        "--events",
        "--force",
        "--stems",
    ]
    words += [
        "-",
        "--",
        "",
        "0",
        "-1",
        "nan",
        "1e400",
        "\0",
        "é",
        "\udcff",
        "x" * 300,
        "💥",
        "%s",
        "../..",
        str(tmp_path),
    ]
    words += [
        str(pack),
        str(tmp_path / "o"),
        str(tmp_path / "none" / "x.npy"),
        "--debug",
        "--top-k",
        "corpus",
    ]
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        for _ in range(150):
            line = [rng.choice(words) for _ in range(rng.randrange(1, 8))]
            if "train" not in line[:1]:
                assert main(line) in (0, 2), line
    assert "made a mistake" not in capsys.readouterr().err


def test_standard_output_that_is_full():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with full.open("w") as stream:
        command = [sys.executable, "-m", "khala_studio.cli", "packs", "list"]
        done = subprocess.run(
            command, stdout=stream, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False
        )
    assert done.returncode == 2
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "Exception" not in done.stderr
