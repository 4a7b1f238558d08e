"""Sound files: whole or not at all."""

import numpy as np
import pytest
import soundfile

from khala_studio.project.errors import StoreError
from khala_studio.project.wav import BLOCK, SoundWriter, read_sound, write_sound


def noise(n, channels=2):
    return np.random.default_rng(0).uniform(-1, 1, (channels, n)).astype(np.float32)


@pytest.mark.parametrize(("subtype", "error"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 0)])
@pytest.mark.parametrize("n", [0, 1, BLOCK, 2 * BLOCK + 17])
def test_what_is_written_is_read(tmp_path, subtype, error, n):
    samples = noise(n)
    write_sound(tmp_path / "a.wav", samples, 44_100, subtype)
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert rate == 44_100
    assert read.shape == (n, 2)
    np.testing.assert_allclose(read.T, samples, atol=error)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_loud_samples_are_clipped_not_wrapped(tmp_path):
    write_sound(tmp_path / "a.wav", np.array([[2.0, -2.0], [0.5, -0.5]], np.float32), 8000, "PCM_16")
    read, _ = soundfile.read(tmp_path / "a.wav")
    np.testing.assert_allclose(read.T, [[1, -1], [0.5, -0.5]], atol=1e-4)


def test_a_later_preview_replaces_an_earlier_one(tmp_path):
    first, second = noise(1000), noise(300) * 0.5
    with SoundWriter(tmp_path / "a.wav", 8000, "FLOAT") as writer:
        writer.write(first)
        writer.write(second, start=500)
        assert writer.length == 1000
        with pytest.raises(ValueError, match="gap"):
            writer.write(second, start=1001)
        writer.write(second)
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(read.T[:, :500], first[:, :500])
    np.testing.assert_array_equal(read.T[:, 500:800], second)
    np.testing.assert_array_equal(read.T[:, 800:1000], first[:, 800:])
    np.testing.assert_array_equal(read.T[:, 1000:], second)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    broken = np.concatenate([noise(10), np.full((2, 3), np.nan, np.float32)], axis=1)
    with pytest.raises(ValueError, match="numbers"):
        write_sound(path, broken, 8000)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_names_that_cannot_be_written(tmp_path):
    for name in ("a.mp3", "a", "none/a.wav"):
        with pytest.raises(StoreError):
            SoundWriter(tmp_path / name, 8000)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(StoreError, match="folder"):
        SoundWriter(tmp_path / "folder.wav", 8000)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.wav"]


def test_reading_resamples_and_doubles_mono(tmp_path):
    t = np.arange(48_000) / 48_000
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * t), 48_000)
    sound = read_sound(tmp_path / "a.wav", 44_100)
    assert sound.shape == (2, 44_100)
    assert sound.dtype == np.float32
    np.testing.assert_array_equal(sound[0], sound[1])
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    np.testing.assert_allclose(sound[0, 2000:-2000], expected[2000:-2000], atol=1e-3)


def test_reading_refuses_what_is_too_long(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000 * 3), 8000)
    with pytest.raises(StoreError, match="longer"):
        read_sound(tmp_path / "a.wav", 8000, max_seconds=2)
