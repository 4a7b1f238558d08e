"""Ctrl-C, SIGTERM, kill -9, a closed pipe: what is left, and that refine finishes it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from khala_studio.project.store import TakeFolder

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
    pytest.mark.timeout(300),
]
PATIENCE = 120  # seconds until a process has started on a busy machine


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def await_event(process, name):
    for line in process.stdout:
        if json.loads(line)["event"] == name:
            return
    raise AssertionError(process.stderr.read())


def stop(process, number):
    began = time.monotonic()
    process.send_signal(number)
    code = process.wait(PATIENCE)
    return code, time.monotonic() - began


@pytest.fixture
def soon():
    """One second, and more on a machine that is busy with other things."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return 1 + 4 * (time.monotonic() - began)


@pytest.fixture(scope="module")
def whole(pack, tmp_path_factory):
    """The song that was never stopped."""
    from khala_studio.cli import main
    from tests.cli.conftest import LYRICS

    folder = tmp_path_factory.mktemp("whole")
    (folder / "lyrics.txt").write_text(LYRICS)
    arguments = ["generate", folder / "lyrics.txt", "-o", folder / "song", "--pack", pack, "--seconds", 4]
    assert main([str(a) for a in arguments]) == 0
    return folder / "song"


@pytest.mark.parametrize(
    ("event", "number", "slow"),
    [("TokensReady", signal.SIGINT, "compose"), ("Progress", signal.SIGTERM, "sharpen")],
)
def test_a_stopped_song_is_kept_and_refine_ends_it(
    start, run, pack, lyrics, tmp_path, whole, soon, event, number, slow
):
    out = tmp_path / "song"
    process = start("generate", lyrics, "-o", out, "--pack", pack, "--seconds", 4, "--events", **{slow: 0.1})
    if slow == "sharpen":
        wait_for(lambda: "sharpen" in process.stdout.readline())
    await_event(process, event)
    code, seconds = stop(process, number)
    err = process.stderr.read()
    assert code == 130, err
    assert seconds < soon
    assert "khala-studio refine" in err
    assert "Traceback" not in err
    take = TakeFolder(out).load()
    assert take.complete == (slow == "sharpen")
    assert take.depth < 8
    assert not (out / "song.wav").exists()

    assert run("refine", out, "--pack", pack)[0] == 0
    assert np.array_equal(np.load(out / "codes.npy"), np.load(whole / "codes.npy"))
    assert (out / "song.wav").read_bytes() == (whole / "song.wav").read_bytes()
    assert (out / "draft.wav").stat().st_size == (whole / "draft.wav").stat().st_size


def test_kill_9_loses_little(start, run, pack, lyrics, tmp_path, whole):
    out = tmp_path / "song"
    process = start("generate", lyrics, "-o", out, "--pack", pack, "--seconds", 4, compose=0.05)
    wait_for(lambda: (out / "take.json").exists())
    process.kill()
    process.wait()
    take = TakeFolder(out).load()
    assert not take.complete
    assert take.n_frames > 0
    assert run("refine", out, "--pack", pack)[0] == 0
    assert np.array_equal(np.load(out / "codes.npy"), np.load(whole / "codes.npy"))
    assert {p.name for p in out.iterdir()} == {"codes.npy", "draft.wav", "song.wav", "take.json"}


def test_a_second_signal_ends_at_once(start, pack, lyrics, tmp_path, soon):
    # One step takes ten seconds: the first signal waits for its grace, the second does not.
    process = start("generate", lyrics, "-o", tmp_path / "song", "--pack", pack, "--events", sharpen=10)
    wait_for(lambda: "sharpen" in process.stdout.readline())
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    code, seconds = stop(process, signal.SIGINT)
    assert code == 130
    assert seconds < soon - 0.5


def test_an_engine_that_does_not_hear_is_left_behind(start, pack, lyrics, tmp_path, soon):
    out = tmp_path / "song"
    process = start("generate", lyrics, "-o", out, "--pack", pack, "--events", sharpen=10)
    wait_for(lambda: "sharpen" in process.stdout.readline())
    time.sleep(0.2)
    code, seconds = stop(process, signal.SIGINT)
    assert code == 130
    assert seconds < soon
    assert TakeFolder(out).load().depth >= 2


def test_a_reader_of_events_that_goes_away_stops_the_song(start, pack, lyrics, tmp_path):
    out = tmp_path / "song"
    process = start("generate", lyrics, "-o", out, "--pack", pack, "--events", compose=0.05)
    await_event(process, "TokensReady")
    process.stdout.close()
    assert process.wait(PATIENCE) == 130
    assert "Traceback" not in process.stderr.read()
    assert TakeFolder(out).load().n_frames > 0


def test_stopped_before_the_first_note_leaves_nothing(start, pack, tmp_path):
    out = tmp_path / "song"
    read, write = os.pipe()
    process = start("generate", "-", "-o", out, "--pack", pack, stdin=read)
    time.sleep(1)  # it waits for lyrics that do not come
    code, _ = stop(process, signal.SIGINT)
    os.close(read)
    os.close(write)
    assert code in (130, -signal.SIGINT)  # the latter while Python itself still started
    assert not out.exists()
