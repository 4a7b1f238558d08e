"""The codec's data, losses and trainer, from a corpus of seconds to codes on disk. Needs torch."""

import argparse
import dataclasses
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from khala_studio.training import codec_fit, extract_tokens, train_codec  # noqa: E402
from khala_studio.training.codec_losses import CodecLoss, mel_matrix  # noqa: E402
from khala_studio.training.data_audio import PHONE_INDEX, PHONES, AudioCorpus  # noqa: E402
from khala_studio.training.device import Compute  # noqa: E402
from khala_studio.training.loop import Schedule, TrainLoop  # noqa: E402
from khala_studio.training.nets.codec import Codec  # noqa: E402
from khala_studio.training.train_codec import CodecTrainer, Settings, load_codec  # noqa: E402
from tests.training.tiny_audio import HOP, RATE, SONGS, TINY, whole_song, write_corpus  # noqa: E402

pytestmark = pytest.mark.train

CPU = Compute(torch.device("cpu"), bf16=False)
STEPS = 30  # of the voice part and of the decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("audio") / "corpus")


@pytest.fixture(scope="module")
def corpus(folder):
    return AudioCorpus(folder, "train")


# --- data


def test_targets_say_what_is_sung(corpus):
    """The first song: silence, then "see" on MIDI 57 from 1 s, 60 from 2 s, nothing from 3.5 s to 4 s."""
    song = corpus.songs[0]
    frames = 5 * RATE // HOP
    phones, pitch = corpus.targets(song, 0, frames)
    assert phones.shape == (frames, 2)
    assert pitch.shape == (frames,)
    silence, s, iy = 0, PHONE_INDEX["S"], PHONE_INDEX["IY"]
    for t in range(frames):
        middle = (t + 0.5) * HOP / RATE
        note = next((n for n in song["notes"] if n[0] <= middle < n[0] + n[1]), None)
        assert pitch[t] == (0 if note is None else round(note[2]) - 35)
        for half in range(2):
            time = (t + 0.25 + 0.5 * half) * HOP / RATE
            sung = next((n for n in song["notes"] if n[0] <= time < n[0] + n[1]), None)
            expected = silence if sung is None else s if time < sung[0] + 0.2 else iy
            assert phones[t, half] == expected
    assert set(pitch) == {0, 57 - 35, 60 - 35, 64 - 35}


def test_targets_of_a_crop_are_a_crop_of_the_targets(corpus):
    song = corpus.songs[0]
    phones, pitch = corpus.targets(song, 0, 200)
    some_phones, some_pitch = corpus.targets(song, 40 * HOP, 60)
    assert np.array_equal(some_phones, phones[40:100])
    assert np.array_equal(some_pitch, pitch[40:100])


def test_notes_beyond_the_range_count_as_its_ends(corpus):
    song = corpus.songs[0]  # its last note is MIDI 30, at 7 s
    assert corpus.targets(song, 8 * RATE, 1)[1].tolist() == [1]
    high = {**song, "notes": [[0.0, 1.0, 100]]}
    assert corpus.targets(high, 0, 1)[1].tolist() == [49]


def test_every_phone_has_its_number():
    assert len(PHONES) == len(PHONE_INDEX) == 39
    assert sorted(PHONE_INDEX.values()) == list(range(1, TINY.n_phones))


def test_stems_are_those_of_the_song_and_end_in_silence(folder, corpus):
    song = corpus.songs[1]
    shard = np.load(folder / "audio-000.npy")
    stems = corpus.stems(song, song["samples"] - 1000, 3000)
    assert stems.shape == (4, 2, 3000)
    end = song["offset"] + song["samples"]
    np.testing.assert_allclose(
        stems[:, :, :1000], shard[end - 1000 : end].transpose(1, 2, 0) / 32_767, atol=1e-7
    )
    assert not stems[:, :, 1000:].any()  # not the next song


def test_a_remix_depends_on_the_generator_alone(corpus):
    first, again = (corpus.batch(np.random.default_rng(5), 3, 16) for _ in range(2))
    other = corpus.batch(np.random.default_rng(6), 3, 16)
    for field in dataclasses.fields(first):
        assert np.array_equal(getattr(first, field.name), getattr(again, field.name))
    assert not np.array_equal(first.mix, other.mix)
    assert first.mix.shape == first.vocals.shape == (3, 2, 16 * HOP)
    assert first.mix.dtype == first.vocals.dtype == np.float32
    assert first.phones.shape == (3, 16, 2)
    assert first.pitch.shape == (3, 16)


def test_remixes_are_of_all_kinds_and_targets_go_with_the_voice(corpus):
    batch = corpus.batch(np.random.default_rng(0), 60, 16)
    assert np.abs(batch.mix).max() <= 1.0
    sung = batch.vocals.any((1, 2))
    assert not batch.phones[~sung].any()
    assert not batch.pitch[~sung].any()
    assert batch.pitch[sung].any()
    alone = [np.array_equal(mix, vocals) for mix, vocals in zip(batch.mix, batch.vocals, strict=True)]
    assert 0 < sum(alone & sung) < sung.sum() < 60


def test_splits_are_kept_apart(folder, corpus):
    assert [song["id"] for song in corpus.songs] == ["00000-a", "00001-a", "00000-b"]
    assert [song["id"] for song in AudioCorpus(folder, "valid").songs] == ["00002-a"]
    assert corpus.seconds == pytest.approx(14.5)
    with pytest.raises(FileNotFoundError, match="no songs of the test split"):
        AudioCorpus(folder, "test")


def test_songs_may_be_added_while_the_corpus_is_open(tmp_path):
    folder = write_corpus(tmp_path / "corpus")
    corpus = AudioCorpus(folder, "train")
    more = {**corpus.songs[1], "id": "00003-a"}
    with (folder / "songs.jsonl").open("a") as file:
        file.write(json.dumps(more) + "\n")
    assert len(corpus.songs) == 3
    corpus.reload()
    assert [song["id"] for song in corpus.songs][-1] == "00003-a"
    assert corpus.batch(np.random.default_rng(0), 2, 4).mix.shape == (2, 2, 4 * HOP)


# --- losses


@pytest.mark.parametrize(("n_fft", "n_bands"), [(128, 16), (2048, 128), (4096, 160)])
def test_mel_bands_are_means(n_fft, n_bands):
    weights = mel_matrix(n_fft, n_bands)
    assert weights.shape == (n_fft // 2 + 1, n_bands)
    torch.testing.assert_close(weights.sum(0), torch.ones(n_bands))
    centres = (weights * torch.arange(n_fft // 2 + 1)[:, None]).sum(0)
    assert (centres.diff() >= 0).all()


def test_loss_grows_with_the_error(folder):
    song = torch.from_numpy(whole_song(folder))[None, :, 20 * HOP : 36 * HOP]
    wave = torch.randn(1, 2, 64, TINY.subhop, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(song.shape, generator=torch.Generator().manual_seed(1))
    loss = CodecLoss(torch.ones(2, TINY.subhop))

    def measure(sound, coefficients=wave, weight=1.0):
        return float(
            loss(sound, song, coefficients, wave, torch.tensor([weight]), np.random.default_rng(3))[0]
        )

    assert measure(song) == pytest.approx(0.0, abs=1e-6)
    errors = [measure(song + level * noise) for level in (0.001, 0.01, 0.1)]
    assert 0.01 < errors[0] < errors[1] < errors[2]
    assert measure(song, wave + 0.5) == pytest.approx(0.5, rel=1e-3)
    assert measure(song, wave + 0.5, weight=0.25) == pytest.approx(0.125, rel=1e-3)


# --- trainer


def settings(folder, out, **more):
    values = dict(minutes=1e-6, batch=2, learning_rate=3e-3, seed=1, fit_frames=1024)
    return Settings(corpus=folder, out=out, **{**values, **more})


@pytest.fixture
def short(monkeypatch):
    shorten(monkeypatch)


def shorten(monkeypatch):
    """A few steps instead of minutes, so that no result depends on the clock; few crops."""
    monkeypatch.setattr(
        train_codec, "Schedule", lambda minutes, warmup: Schedule(minutes, steps=STEPS, warmup=3)
    )
    monkeypatch.setattr(train_codec, "CROP", 10)
    few_crops(monkeypatch)


def few_crops(monkeypatch):
    monkeypatch.setattr(train_codec, "STATISTICS_ROUNDS", 1)
    monkeypatch.setattr(train_codec, "WAVE_ROUNDS", 1)
    monkeypatch.setattr(codec_fit, "GOOD_SHARE", 0.0, raising=False)  # a tiny codec's waveform is never good


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A whole training in one process stage by stage: (folder, {stage: codec.pt as that stage found it})."""
    out = tmp_path_factory.mktemp("codec")
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        real = CodecTrainer._save

        def save(trainer):
            real(trainer)
            found[trainer.stage] = trainer.checkpoint.read_bytes()

        patch.setattr(CodecTrainer, "_save", save)
        CodecTrainer(settings(folder, out), CPU, TINY).run()
    return out, found


def load(path):
    return torch.load(path, weights_only=True)


def test_training_ends_done(run):
    out, found = run
    assert list(found) == ["voice", "quantizer", "decoder", "done"]
    saved = load(out / "codec.pt")
    assert saved["stage"] == "done"
    assert saved["config"] == TINY.to_dict()
    assert saved["seconds"] > 0
    assert all(torch.isfinite(value).all() for value in saved["model"].values())
    assert load(out / "voice.pt")["step"] == load(out / "decoder.pt")["step"] == STEPS


def test_every_stage_teaches_its_own_part(run, tmp_path):
    """Encoder and quantiser are final once k-means is done: tokens may be made while the decoder trains."""
    stages = ("voice", "quantizer", "decoder", "done")
    states = {}
    for stage in stages:
        (tmp_path / stage).write_bytes(run[1][stage])
        states[stage] = load(tmp_path / stage)["model"]
    changed = [
        {name for name in states[a] if not torch.equal(states[a][name], states[b][name])}
        for a, b in pairwise(stages)
    ]
    assert changed[0] == {name for name in states["voice"] if name.startswith("encoder.voice.")}
    assert {"encoder.mean", "encoder.scale", "quantizer.codebooks"} <= changed[1]
    assert not any(name.startswith("encoder.voice.") for name in changed[1])
    assert changed[2] == {f"decoder.{name}" for name, _ in Codec(TINY).decoder.named_parameters()}


def test_training_lowers_the_losses_of_fixed_batches(run, corpus, folder, tmp_path, short):
    (tmp_path / "before.pt").write_bytes(run[1]["decoder"])
    before, after = load_codec(tmp_path / "before.pt"), load_codec(run[0] / "codec.pt")
    batches = [(n, corpus.batch(np.random.default_rng([9, n]), 4, 10)) for n in range(3)]
    with torch.no_grad():
        decoder = [
            sum(train_codec._DecoderLoss(codec, CPU.device)(item)[0].item() for item in batches)
            for codec in (before, after)
        ]
    assert decoder[1] < 0.98 * decoder[0]

    (tmp_path / "voice").mkdir()
    (tmp_path / "voice/codec.pt").write_bytes(run[1]["voice"])
    untaught = CodecTrainer(settings(folder, tmp_path / "voice"), CPU)
    taught = CodecTrainer(settings(folder, run[0]), CPU)
    with torch.no_grad():
        voice = [sum(t._voice_loss(item)[0].item() for item in batches) for t in (untaught, taught)]
    assert voice[1] < 0.98 * voice[0]


def test_a_training_resumed_after_every_stage_goes_on_exactly(run, folder, tmp_path, short, monkeypatch):
    trainers = 0
    for stage, following in pairwise(train_codec.STAGES):
        trainer = CodecTrainer(settings(folder, tmp_path), CPU, TINY)
        trainers += 1
        assert trainer.stage == stage
        with monkeypatch.context() as patch:
            if following != "done":
                patch.setattr(trainer, f"_{following}", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    trainer.run()
            else:
                trainer.run()
    assert trainers == 4
    whole, parts = load(run[0] / "codec.pt")["model"], load(tmp_path / "codec.pt")["model"]
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert CodecTrainer(settings(folder, tmp_path), CPU).stage == "done"


def interrupt():
    raise KeyboardInterrupt


def test_a_decoder_interrupted_goes_on_exactly(run, folder, tmp_path, short, monkeypatch):
    (tmp_path / "codec.pt").write_bytes(run[1]["decoder"])
    real = TrainLoop._train_step

    def step(loop, task, batch):
        if loop.step == 5:
            raise KeyboardInterrupt
        return real(loop, task, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainLoop, "_train_step", step)
        with pytest.raises(KeyboardInterrupt):
            CodecTrainer(settings(folder, tmp_path), CPU).run()
    interrupted = load(tmp_path / "decoder.pt")
    assert interrupted["step"] == 5
    assert load(tmp_path / "codec.pt")["stage"] == "decoder"
    torch.save({**interrupted, "seconds": 1000.0}, tmp_path / "decoder.pt")
    CodecTrainer(settings(folder, tmp_path), CPU).run()
    assert load(tmp_path / "codec.pt")["seconds"] > 1000
    whole, parts = load(run[0] / "codec.pt")["model"], load(tmp_path / "codec.pt")["model"]
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_a_new_run_forgets_the_stages_of_another(folder, tmp_path, monkeypatch):
    for name in ("voice.pt", "decoder.pt"):
        (tmp_path / name).write_bytes(b"of another codec")
    trainer = CodecTrainer(settings(folder, tmp_path), CPU, TINY)
    monkeypatch.setattr(trainer, "_features", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert list(tmp_path.iterdir()) == []


def test_a_budget_of_no_time_still_ends(folder, tmp_path, monkeypatch):
    """The clock's own schedule: each training takes one step and leaves."""
    few_crops(monkeypatch)
    CodecTrainer(settings(folder, tmp_path, batch=1, fit_frames=512), CPU, TINY).run()
    assert load(tmp_path / "codec.pt")["stage"] == "done"
    assert load(tmp_path / "voice.pt")["step"] == load(tmp_path / "decoder.pt")["step"] == 1


def test_command_leaves_a_finished_codec_alone(run, folder, tmp_path):
    parser = argparse.ArgumentParser()
    train_codec.add_arguments(parser)
    (tmp_path / "codec.pt").write_bytes(run[1]["done"])
    args = ["--corpus", folder, "--out", tmp_path, "--device", "cpu", "--threads", 1]
    assert train_codec.main(parser.parse_args([*map(str, args)])) == 0
    assert (tmp_path / "codec.pt").read_bytes() == run[1]["done"]


def test_every_weight_of_the_decoder_learns(run, corpus, tmp_path):
    (tmp_path / "codec.pt").write_bytes(run[1]["decoder"])
    codec = load_codec(tmp_path / "codec.pt")
    item = (0, corpus.batch(np.random.default_rng(0), 4, 10))
    loss, values = train_codec._DecoderLoss(codec, CPU.device)(item)
    loss.backward()
    assert [n for n, p in codec.decoder.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert {"mel", "root", "tonal", "coef", "wave"} == set(values)


# --- codes


def tokens_args(folder, codec, out):
    parser = argparse.ArgumentParser()
    extract_tokens.add_arguments(parser)
    return parser.parse_args(["--corpus", str(folder), "--codec", str(codec), "--out", str(out)])


@pytest.fixture(scope="module")
def codes_folder(run, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("codes") / "new"
    assert extract_tokens.main(tokens_args(folder, run[0] / "codec.pt", out)) == 0
    return out


def test_codes_cover_the_corpus(run, folder, codes_folder):
    codes = np.load(codes_folder / "codes.npy")
    rows = [json.loads(line) for line in (codes_folder / "codes.jsonl").read_text().splitlines()]
    assert codes.dtype == np.int16
    assert 0 <= codes.min() <= codes.max() < TINY.codebook_size
    kinds = {
        "00000-a": ("mix", "acappella", "instrumental"),
        "00001-a": ("mix", "instrumental"),  # nobody sings
        "00000-b": ("mix",),  # another arrangement: its singer is encoded already
        "00002-a": ("mix", "acappella", "instrumental"),
    }
    expected = []
    for name, split, seconds, _ in SONGS:
        expected += [(name, kind, split, -(-round(seconds * RATE) // HOP)) for kind in kinds[name]]
    assert [(row["id"], row["variant"], row["split"], row["frames"]) for row in rows] == expected
    ends = np.cumsum([row["frames"] for row in rows])
    assert [row["offset"] for row in rows] == [0, *ends[:-1]]
    assert codes.shape == (TINY.n_codebooks, ends[-1])

    codec = load_codec(run[0] / "codec.pt")
    stems_of = {"mix": [0, 1, 2, 3], "acappella": [0], "instrumental": [1, 2, 3]}
    for row in rows:
        corpus = AudioCorpus(folder, row["split"])
        song = next(song for song in corpus.songs if song["id"] == row["id"])
        sound = corpus.stems(song, 0, row["frames"] * HOP)[stems_of[row["variant"]]].sum(0)
        mine = codec.encode(torch.from_numpy(np.ascontiguousarray(sound))).numpy()
        stored = codes[:, row["offset"] : row["offset"] + row["frames"]]
        assert (stored == mine).mean() > 0.995  # the order of summing stems is the only difference


def test_codes_are_kept_while_the_encoder_stays(run, folder, codes_folder, tmp_path, monkeypatch):
    out = tmp_path / "codes"
    shutil.copytree(codes_folder, out)
    monkeypatch.setattr(extract_tokens, "song_codes", lambda *_: interrupt())
    assert extract_tokens.main(tokens_args(folder, run[0] / "codec.pt", out)) == 0
    for name in ("codes.npy", "codes.jsonl"):
        assert (out / name).read_bytes() == (codes_folder / name).read_bytes()
    saved = load(run[0] / "codec.pt")
    saved["model"]["encoder.mean"] += 0.01
    torch.save(saved, tmp_path / "other.pt")
    with pytest.raises(KeyboardInterrupt):  # encodes anew
        extract_tokens.main(tokens_args(folder, tmp_path / "other.pt", out))


def test_songs_that_came_later_are_encoded_alone(run, tmp_path, monkeypatch):
    folder, out = write_corpus(tmp_path / "corpus"), tmp_path / "codes"
    lines = (folder / "songs.jsonl").read_text().splitlines(keepends=True)
    (folder / "songs.jsonl").write_text("".join(lines[1:]))  # all but the first
    extract_tokens.main(tokens_args(folder, run[0] / "codec.pt", out))
    (folder / "songs.jsonl").write_text("".join([*lines[1:], lines[0]]))
    encoded = []
    real = extract_tokens.song_codes

    def song_codes(codec, corpus, song, *rest):
        encoded.append(song["id"])
        return real(codec, corpus, song, *rest)

    monkeypatch.setattr(extract_tokens, "song_codes", song_codes)
    extract_tokens.main(tokens_args(folder, run[0] / "codec.pt", out))
    assert encoded == ["00000-a"]
    rows = [json.loads(line) for line in (out / "codes.jsonl").read_text().splitlines()]
    assert sum(row["frames"] for row in rows) == np.load(out / "codes.npy").shape[1]
    assert [row["id"] for row in rows][-4:] == ["00000-a", "00002-a", "00002-a", "00002-a"]


def test_another_song_of_the_same_id_is_encoded_anew(run, codes_folder, tmp_path, monkeypatch):
    folder, out = write_corpus(tmp_path / "corpus"), tmp_path / "codes"
    shutil.copytree(codes_folder, out)
    lines = (folder / "songs.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    first["notes"][0][2] += 1
    (folder / "songs.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    encoded = []
    real = extract_tokens.song_codes

    def song_codes(codec, corpus, song, *rest):
        encoded.append(song["id"])
        return real(codec, corpus, song, *rest)

    monkeypatch.setattr(extract_tokens, "song_codes", song_codes)
    extract_tokens.main(tokens_args(folder, run[0] / "codec.pt", out))
    assert encoded == [first["id"]]
