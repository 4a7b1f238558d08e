"""The real stages, on a tiny pack of random graphs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from khala_studio.engine import kv_cache, providers
from khala_studio.engine.errors import (
    BadRequest,
    BrokenPack,
    Cancelled,
    EngineFailure,
    MissingPack,
    OutOfMemory,
)
from khala_studio.engine.events import Done, Failed, Notice, PreviewReady
from khala_studio.engine.onnx_backbone import OnnxBackbone
from khala_studio.engine.pipeline import generate, refine
from khala_studio.engine.runs import in_our_words
from khala_studio.engine.sessions import check_graphs, open_pack
from khala_studio.song.request import SongRequest
from tests.tiny_pack import build_tiny_pack

REQUEST = SongRequest("hello world\nsing a song", seconds=4, seed=1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return build_tiny_pack(tmp_path_factory.mktemp("packs") / "tiny", noise=True)


@pytest.fixture(scope="module")
def stages(pack):
    with open_pack(pack, "cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def song(stages):
    return _done(generate(REQUEST, stages))


def _done(events):
    last = list(events)[-1]
    assert isinstance(last, Done), last
    return last


def _ids(n, seed=0, high=1_000):
    return np.random.default_rng(seed).integers(0, high, n)


def test_a_song_is_made(song):
    take = song.take
    assert take.complete
    assert take.depth == 64
    assert take.codes.min() >= 0
    assert take.codes.max() < 1024
    assert song.waveform.shape == (2, take.n_frames * 2048)
    assert np.isfinite(song.waveform).all()
    assert (take.logprobs < 0).all()


def test_the_same_song_comes_again_also_without_previews(song, stages, pack):
    for again in (generate(REQUEST, stages, previews=False), generate(REQUEST, stages)):
        np.testing.assert_array_equal(_done(again).take.codes, song.take.codes)
    with open_pack(pack, "cpu", threads=1) as other:
        np.testing.assert_array_equal(_done(generate(REQUEST, other)).take.codes, song.take.codes)


@pytest.mark.parametrize("depth", [2, 20])
def test_refining_a_real_take_is_bit_equal(song, stages, depth):
    request = SongRequest(REQUEST.lyrics, seconds=4, seed=1, depth=depth)
    stopped = _done(generate(request, stages, previews=False)).take
    np.testing.assert_array_equal(_done(refine(stopped, stages, 64)).take.codes, song.take.codes)


def test_going_on_with_a_real_draft_is_bit_equal(song, stages):
    from dataclasses import replace

    n = 31
    codes = np.full((64, n), -1, dtype=np.int16)
    codes[:2] = song.take.codes[:2, :n]
    cut = replace(song.take, codes=codes, n_frames=n, logprobs=song.take.logprobs[:n].copy(), complete=False)
    done = _done(refine(cut, stages, 64, previews=False))
    np.testing.assert_array_equal(done.take.codes, song.take.codes)
    np.testing.assert_array_equal(done.take.logprobs, song.take.logprobs)


def test_the_streamed_decode_equals_the_unchunked_one(song, stages):
    """The decoder of this pack has noise whose phase is the absolute frame."""
    whole = stages.decode(song.take.codes, 0)
    np.testing.assert_allclose(song.waveform, whole, atol=1e-4)
    shifted = stages.decode(song.take.codes, 1)
    assert np.abs(shifted - whole).max() > 1e-3


def test_the_caches_growth_changes_no_logit(stages, monkeypatch):
    def logits():
        net = OnnxBackbone(stages._session("backbone"), stages.manifest, stages._runs)
        first = net.feed(_ids(40)).copy()
        return np.stack([first, *(net.feed(_ids(1, seed)).copy() for seed in range(60))])

    ample = logits()
    monkeypatch.setattr(kv_cache, "FIRST_CAPACITY", 16)  # 64, then 128
    np.testing.assert_array_equal(logits(), ample)


@pytest.mark.parametrize("kv_dtype", ["float16", "int8"])
def test_smaller_caches_work(tmp_path, kv_dtype):
    folder = build_tiny_pack(tmp_path / kv_dtype, kv_dtype=kv_dtype, n_codebooks=4, encoder=False)
    with open_pack(folder, "cpu", threads=1) as opened:
        assert _done(generate(SongRequest("hello", seconds=1), opened)).take.depth == 4


def test_the_prompt_and_single_tokens_agree_with_one_long_step(stages):
    def net():
        return OnnxBackbone(stages._session("backbone"), stages.manifest, stages._runs)

    ids = _ids(24)
    together = net().feed(ids).copy()
    stepwise = net()
    stepwise.feed(ids[:20])
    for i in range(20, 24):
        last = stepwise.feed(ids[i : i + 1])
    np.testing.assert_allclose(last, together, atol=1e-4)


def test_sound_becomes_codes_and_a_pack_without_encoder_says_so(stages, tmp_path):
    sound = np.random.default_rng(0).normal(size=(2, 2048 * 30 + 7)).astype(np.float32)
    codes = np.concatenate(list(stages.encode(sound)), axis=1)
    assert codes.shape == (64, 31)
    assert codes.dtype == np.int16
    folder = build_tiny_pack(tmp_path / "deaf", encoder=False, n_codebooks=2)
    with open_pack(folder, "cpu") as deaf, pytest.raises(BadRequest, match="no encoder"):
        deaf.encode(sound)


def test_an_interrupt_ends_a_run_in_flight(stages):
    stages.begin()
    n_frames = 2_000  # an interrupt waits for the node in flight, so that one must not be a second itself
    x = np.zeros((1, n_frames + 2, stages.manifest.superres.hidden), dtype=np.float32)
    caught = []

    def work():
        try:
            for _ in range(1_000):
                stages._predict(x, 2, 2)
        except Exception as error:
            caught.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.2)
    began = time.perf_counter()
    stages.interrupt()
    worker.join(timeout=10)
    assert time.perf_counter() - began < 1
    assert isinstance(caught[0], Cancelled)
    stages.begin()
    assert stages._predict(x[:, :5], 2, 2).shape == (3, 1024)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child process there")
def test_ctrl_c_in_a_long_pass_ends_within_a_second(pack):
    program = f"""
import time
from pathlib import Path
from khala_studio.engine.events import StageStarted, Stage
from khala_studio.engine.pipeline import generate
from khala_studio.engine.runs import in_our_words
from khala_studio.engine.sessions import open_pack
from khala_studio.song.request import SongRequest
request = SongRequest("hello", seconds=60, seed=1)
with open_pack(Path({str(pack)!r}), "cpu", 1) as stages:
    predict = stages._predict
    def again_and_again(*args):  # one pass as long as a large pack's
        for _ in range(10_000):
            logits = predict(*args)
        return logits
    stages._predict = again_and_again
    try:
        for event in generate(request, stages, previews=False):
            if isinstance(event, StageStarted) and event.stage is Stage.SHARPEN:
                print("sharpening", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert child.stdout.readline() == "sharpening\n"
    time.sleep(0.3)
    began = time.perf_counter()
    os.kill(child.pid, signal.SIGINT)
    rest = child.communicate(timeout=20)[0]
    assert rest == "interrupted\n"
    assert time.perf_counter() - began < 3  # closing the interpreter included


def test_sessions_open_in_parallel_and_only_once(pack):
    with open_pack(pack, "cpu", threads=1) as opened:
        opened.open_soon()
        opened.open_all()
        first = opened._session("decoder")
        opened.open_all()
        assert opened._session("decoder") is first


def test_the_graphs_of_a_good_pack_pass(pack):
    check_graphs(pack)


def _broken(pack, tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(pack, folder)
    data = json.loads((folder / "pack.json").read_text())
    change(data, folder)
    (folder / "pack.json").write_text(json.dumps(data))
    return folder


def _rename(graph, side, old, new):
    def change(data, _):
        tensors = data["graphs"][graph][side]
        tensors[new] = tensors.pop(old)

    return change


def _set(graph, side, name, value):
    def change(data, _):
        data["graphs"][graph][side][name] = value

    return change


def _field(section, name, value):
    def change(data, _):
        data[section][name] = value

    return change


def _swap_files(data, folder):
    shutil.copy(folder / "superres.onnx", folder / "decoder.onnx")


def _garbage(data, folder):
    (folder / "superres.onnx").write_bytes(b"\x08\x0bnot a graph")


def _another_noise(data, folder):
    del data["graphs"]["decoder"]["inputs"]["start_frame"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_rename("superres", "inputs", "layer", "level"), r"graphs.superres must have the input 'layer'"),
        (_set("backbone", "inputs", "mask", ["float32", [1]]), "'mask', which this version does not know"),
        (_set("superres_embed", "outputs", "vectors", ["float32", ["N", 7]]), r"float32 \[N, 32\]"),
        (_field("superres", "hidden", 33), r"'vectors' of float32 \[N, 33\]"),
        (_field("backbone", "n_layers", 3), "past_key_2"),
        (_field("backbone", "kv_dtype", "int8"), r"past_key_0' of int8"),
        (_field("codec", "codebook_size", 512), r"\[1, 1025\]"),
        (_another_noise, "decoder.onnx .* 'start_frame' .* pack.json does not list"),
        (_swap_files, r"decoder.onnx is not the graph of this pack: input 'codes'"),
        (_garbage, "superres.onnx cannot be opened"),
    ],
)
def test_a_graph_that_is_not_the_packs_is_refused_in_one_sentence(pack, tmp_path, change, words):
    folder = _broken(pack, tmp_path, change)
    with pytest.raises(BrokenPack, match=words) as caught:
        check_graphs(folder)
    assert "\n" not in caught.value.sentence


def test_a_missing_graph_file_is_refused(pack, tmp_path):
    folder = _broken(pack, tmp_path, lambda _, folder: (folder / "decoder.onnx").unlink())
    with open_pack(folder, "cpu", threads=1) as opened:
        *_, last = generate(REQUEST, opened)
    assert isinstance(last, Failed)
    assert isinstance(last.error, BrokenPack)
    assert "decoder.onnx" in last.error.sentence


def test_no_pack_is_a_missing_pack(tmp_path):
    with pytest.raises(MissingPack):
        open_pack(tmp_path)


def test_the_probe_model_runs():
    session = ort.InferenceSession(providers.probe_model(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([-2], dtype=np.float32)})
    assert y.tolist() == [0]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfMemory),
        (RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ... std::bad_alloc"), OutOfMemory),
        (RuntimeError("BFCArena: Failed to allocate memory for requested buffer"), OutOfMemory),
        (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), OutOfMemory),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL : Non-zero status code\nmore lines"), EngineFailure),
        (BadRequest("as it is"), BadRequest),
    ],
)
def test_errors_of_the_runtime_in_our_words(error, kind):
    ours = in_our_words(error)
    assert type(ours) is kind
    assert "\n" not in ours.sentence


def test_threads_leave_a_core_free(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert providers.default_threads() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert providers.default_threads() == 1


def test_falling_back_to_the_processor_is_told(pack, monkeypatch, capfd):
    monkeypatch.setattr(providers, "cuda_works", lambda: False)
    with open_pack(pack, "cuda", threads=1) as opened:
        first = next(generate(REQUEST, opened))
        assert isinstance(first, Notice)
        assert "NVIDIA GPU could not be used" in first.message
    assert capfd.readouterr().err == ""


def test_a_pack_made_for_the_processor_does_not_wait_for_a_gpu(pack, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(providers, "cuda_is_installed", lambda: True)
    monkeypatch.setattr(providers, "cuda_works", lambda: asked.append(1))
    for provider in ("auto", "cpu"):
        with open_pack(pack, provider, threads=1) as opened:
            assert opened.notices == ()
            assert opened.provider == "cpu"
    assert asked == []
    half = build_tiny_pack(tmp_path / "half", kv_dtype="float16", n_codebooks=2, encoder=False)
    with open_pack(half, "auto", threads=1) as opened:
        assert asked == [1]
        assert "slower" in opened.notices[0]


def test_the_first_preview_is_there_within_a_second(pack):
    with open_pack(pack, "cpu", threads=1) as opened:
        opened.open_all()
        began = time.process_time()  # of all threads: other programs on the machine do not count
        events = generate(SongRequest("hello world", seconds=30), opened)
        next(e for e in events if isinstance(e, PreviewReady))
        assert time.process_time() - began < 1
        events.close()
