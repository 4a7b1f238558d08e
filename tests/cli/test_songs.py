"""generate, refine, decode and encode with a real pack, from end to end."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from khala_studio.project.store import TakeFolder

FILES = {"codes.npy", "draft.wav", "song.wav", "take.json"}


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_generate_writes_the_take(generate, tmp_path):
    out = tmp_path / "new" / "song"
    code, stdout, err = generate(out, "--style", "pop, female", "--seed", 7)
    assert code == 0, err
    assert names(out) == FILES
    assert stdout == ""
    codes = np.load(out / "codes.npy")
    assert codes.dtype == np.int16
    assert codes.shape[0] == 8
    assert codes.min() >= 0
    for name, subtype in (("draft.wav", "PCM_16"), ("song.wav", "PCM_24")):
        info = soundfile.info(out / name)
        assert (info.samplerate, info.channels, info.subtype) == (8000, 2, subtype)
        assert info.frames == codes.shape[1] * 400
    take = json.loads((out / "take.json").read_text())
    assert take["request"]["seed"] == 7
    assert take["request"]["style"] == "pop, female"
    assert take["complete"] is True
    assert take["pack_id"] == "tiny"
    assert len(take["logprobs"]) == codes.shape[1]
    assert take["timings"].keys() >= {"compose", "sharpen", "decode"}


def test_same_request_same_codes_other_seed_other_codes(generate, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert generate(tmp_path / name, "--seed", seed)[0] == 0
    a, b, c = (np.load(tmp_path / name / "codes.npy") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_several_takes_go_to_folders_and_count_the_seed_up(generate, tmp_path):
    assert generate(tmp_path / "many", "--takes", 2, "--seed", 5)[0] == 0
    assert generate(tmp_path / "one", "--seed", 6)[0] == 0
    assert names(tmp_path / "many") == {"take-1", "take-2"}
    second = np.load(tmp_path / "many" / "take-2" / "codes.npy")
    assert np.array_equal(second, np.load(tmp_path / "one" / "codes.npy"))


def test_nothing_is_overwritten_without_force(generate, tmp_path):
    out = tmp_path / "song"
    (out / "stems").mkdir(parents=True)
    assert generate(out)[0] == 2
    shutil.rmtree(out / "stems")
    (out / "notes.txt").write_text("mine")
    assert generate(out)[0] == 0  # other people's files are no hindrance
    before = (out / "codes.npy").read_bytes()
    code, _, err = generate(out, "--seed", 9)
    assert code == 2
    assert "--force" in err
    assert (out / "codes.npy").read_bytes() == before
    assert generate(out, "--seed", 9, "--force")[0] == 0
    assert (out / "codes.npy").read_bytes() != before
    assert names(out) == FILES | {"notes.txt"}


def test_a_refused_request_leaves_the_old_take_and_no_new_folder(generate, run, pack, tmp_path):
    out = tmp_path / "song"
    assert generate(out)[0] == 0
    empty = tmp_path / "empty.txt"
    empty.write_text("[Verse]\n\n")
    code, _, err = run("generate", empty, "-o", out, "--pack", pack, "--force")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert names(out) == FILES
    assert run("generate", empty, "-o", tmp_path / "x" / "y", "--pack", pack)[0] == 2
    assert not (tmp_path / "x").exists()


def test_depth_then_refine_equals_the_song_at_once(generate, run, pack, tmp_path):
    generate(tmp_path / "whole")
    assert generate(tmp_path / "steps", "--depth", 2)[0] == 0
    folder = tmp_path / "steps"
    assert TakeFolder(folder).load().depth == 2
    assert run("refine", folder, "--pack", pack, "--depth", 5)[0] == 0
    assert TakeFolder(folder).load().depth == 5
    code, _, err = run("refine", folder, "--pack", pack, "--depth", 8)
    assert code == 0, err
    for name in ("codes.npy", "song.wav"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_refine_refuses_another_pack(generate, run, tmp_path, pack):
    generate(tmp_path / "song")
    other = tmp_path / "other"
    shutil.copytree(pack, other)
    manifest = json.loads((other / "pack.json").read_text())
    (other / "pack.json").write_text(json.dumps({**manifest, "version": "9.9.9"}))
    code, _, err = run("refine", tmp_path / "song", "--pack", other)
    assert code == 2
    assert "another version" in err


def test_decode_gives_the_song_and_coarser_ones(generate, run, pack, tmp_path):
    song = tmp_path / "song"
    generate(song)
    out = tmp_path / "out.wav"
    assert run("decode", song / "codes.npy", "-o", out, "--pack", pack)[0] == 0
    ours, _ = soundfile.read(out)
    theirs, _ = soundfile.read(song / "song.wav")
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert run("decode", song / "codes.npy", "-o", out, "--pack", pack)[0] == 2
    assert run("decode", song / "codes.npy", "-o", out, "--pack", pack, "--depth", 2, "--force")[0] == 0
    draft, _ = soundfile.read(song / "draft.wav")
    np.testing.assert_allclose(soundfile.read(out)[0], draft, atol=1e-4)
    assert run("decode", song / "codes.npy", "-o", tmp_path / "x.flac", "--pack", pack)[0] == 0
    assert soundfile.info(tmp_path / "x.flac").format == "FLAC"


@pytest.mark.parametrize(("rate", "channels"), [(8000, 2), (44100, 1)])
def test_encode_takes_any_rate_and_mono(run, pack, tmp_path, rate, channels):
    sound = 0.1 * np.random.default_rng(0).standard_normal((rate, channels))
    soundfile.write(tmp_path / "in.wav", sound, rate)
    code, _, err = run("encode", tmp_path / "in.wav", "-o", tmp_path / "codes.npy", "--pack", pack)
    assert code == 0, err
    codes = np.load(tmp_path / "codes.npy")
    assert codes.shape == (8, 20)
    assert codes.dtype == np.int16
    assert run("decode", tmp_path / "codes.npy", "-o", tmp_path / "out.wav", "--pack", pack)[0] == 0


def test_events_are_json_lines_with_arrays_in_files(generate, tmp_path, monkeypatch):
    out = tmp_path / "song"
    code, stdout, err = generate(out, "--events")
    assert code == 0, err
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert all(line.keys() >= {"event", "time"} for line in lines)
    events = [line["event"] for line in lines]
    assert events[-1] == "Done"
    assert {"StageStarted", "Progress", "TokensReady", "PreviewReady"} <= set(events)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    song = np.load(out / "codes.npy")
    rebuilt = np.full_like(song, -1)
    for line in lines:
        if line["event"] == "TokensReady":
            codes = np.load(line["codes"])
            k, t = line["first_layer"], line["start_frame"]
            rebuilt[k : k + codes.shape[0], t : t + codes.shape[1]] = codes
    assert np.array_equal(rebuilt, song)
    preview = next(line for line in lines if line["event"] == "PreviewReady")
    assert soundfile.info(preview["samples"]).subtype == "FLOAT"
    assert lines[-1]["waveform"] == str(out / "song.wav")
    assert lines[-1]["take"]["depth"] == 8


def test_lyrics_from_standard_input(run, pack, tmp_path, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"hello world\n")))
    assert run("generate", "-", "-o", tmp_path / "a", "--pack", pack, "--seconds", 1)[0] == 0
