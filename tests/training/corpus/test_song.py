"""A rendered song: its times are those of its sound, its bands share one voice."""

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

from khala_studio.training.corpus import band, song
from khala_studio.training.corpus.band import BandSection, Hit, Players, accompaniment, chord_hits
from khala_studio.training.corpus.compose import Composition, arrangements, compose
from khala_studio.training.corpus.genres import GENRES
from khala_studio.training.corpus.melody import chord
from khala_studio.training.corpus.mix import RATE
from khala_studio.training.corpus.sources import SOUNDFONT_PLACES
from tests.training.corpus.fake_singer import FakeSinger, tiny_pronouncer

pytestmark = pytest.mark.train

PRONOUNCE = tiny_pronouncer()


def _fake_play(hits: list[Hit], seconds: float, soundfont: Path) -> np.ndarray:
    """A click where a note begins."""
    audio = np.zeros((int(seconds * RATE), 2), np.float32)
    for hit in hits:
        audio[int(hit.start * RATE) : int(hit.start * RATE) + 2000] += hit.velocity / 500
    return audio


@pytest.fixture
def without_soundfont(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song, "play", _fake_play)


def _short() -> Composition:
    return compose(1, 5, PRONOUNCE)


@pytest.mark.usefixtures("without_soundfont")
def test_the_record_tells_when_every_word_and_phone_is_sung() -> None:
    paper, singer = _short(), FakeSinger()
    rendered = song.render(paper, singer, Path("none.sf2"))
    assert singer.lines == len(paper.lines)
    for each in rendered:
        record = each.record
        assert record["samples"] == len(each.audio)
        assert [word[0] for word in record["words"]] == " ".join(line.text for line in paper.lines).split()
        for number, word in enumerate(record["words"]):
            phones = [phone for phone in record["phones"] if phone[3] == number]
            assert [phone[0] for phone in phones] == PRONOUNCE(word[0])
            assert (word[1], word[2]) == (phones[0][1], phones[-1][2])
        spans = [phone[1:3] for phone in record["phones"]]
        assert all(a[1] <= b[0] + 2e-4 for a, b in itertools.pairwise(spans))
        assert record["lines"][0]["section"] == 0
        assert record["lyrics"].splitlines()[0] == f"[{record['sections'][0]['name']}]"
        assert 0 <= spans[0][0] < spans[-1][1] <= record["samples"] / RATE


@pytest.mark.usefixtures("without_soundfont")
def test_the_voice_sounds_when_the_notes_say_so() -> None:
    each = song.render(_short(), FakeSinger(), Path("none.sf2"))[0]
    voice = each.audio[:, 0].astype(float)
    start, length, _ = each.record["notes"][0]
    inside = voice[int((start + 0.02) * RATE) : int((start + length) * RATE)]
    before = voice[: int((start - 0.03) * RATE)]
    assert np.sqrt((inside**2).mean()) > 30 * np.sqrt((before**2).mean() + 1e-9)


@pytest.mark.usefixtures("without_soundfont")
def test_bands_share_the_voice_and_its_times() -> None:
    first, second = song.render(_short(), FakeSinger(), Path("none.sf2"))[:2]
    assert first.record["id"] == "00001-a"
    assert second.record["id"] == "00001-b"
    assert first.record["phones"] == second.record["phones"]
    assert not np.array_equal(first.audio[:, 3], second.audio[:, 3])
    a, b = (each.audio[:, 0].astype(float).ravel() for each in (first, second))
    assert np.corrcoef(a, b)[0, 1] > 0.98


@pytest.mark.usefixtures("without_soundfont")
def test_a_repeated_chorus_is_sung_once_and_heard_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song, "arrangements", lambda paper: arrangements(paper)[:1])  # more only take longer
    paper = next(
        paper
        for paper in (compose(n, 5, PRONOUNCE) for n in range(0, 80, 2))
        if [s.name for s in paper.sections].count("chorus") == 2
    )
    singer = FakeSinger()
    record = song.render(paper, singer, Path("none.sf2"))[0].record
    assert singer.lines == len(paper.lines) < len(record["lines"])


@pytest.mark.usefixtures("without_soundfont")
def test_the_same_song_has_the_same_samples() -> None:
    first, again = (song.render(_short(), FakeSinger(), Path("none.sf2")) for _ in "ab")
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.audio, other.audio)
        assert one.record == other.record


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_plays_all_its_stems(genre: str) -> None:
    verse = BandSection("chorus", 0, tuple(tuple(chord(48, "major", d)) for d in (0, 3, 4, 0)), ((7.0, 8.0),))
    outro = BandSection("outro", 16, (tuple(chord(48, "major", 0)),), ((0.0, 4.0),))
    for instrument in GENRES[genre].front:
        players = Players(genre, instrument, dreamy=False)
        stems = accompaniment(
            [verse, outro], players, 48, "major", lambda beat: beat / 2, np.random.default_rng(0)
        )
        for hits in stems.values():
            assert hits
            assert all(
                0 <= hit.start < hit.end and 0 < hit.velocity <= 127 and 0 <= hit.key <= 127 for hit in hits
            )


def test_an_unknown_chord_style_is_refused() -> None:
    with pytest.raises(ValueError, match="no chord style polka"):
        chord_hits("polka", [48, 52, 55])


def test_the_soundfont_plays_the_same_after_another_song() -> None:
    pytest.importorskip("tinysoundfont")
    font = next((Path(p) for p in SOUNDFONT_PLACES if Path(p).exists()), None)
    if font is None:
        pytest.skip("FluidR3_GM.sf2 is not installed")
    piano = [Hit(0.1, 0.6, 1, 0, 60, 90), Hit(0.3, 0.9, 9, 0, 38, 100)]
    first = band.play(piano, 1.0, font)
    band.play([Hit(0.0, 5.0, 1, 48, 72, 120), Hit(0.0, 1.0, 0, 33, 40, 120)], 0.5, font)
    again = band.play(piano, 1.0, font)
    assert first.shape == (RATE, 2)
    assert np.abs(first[: int(0.099 * RATE)]).max() < 1e-4 < np.abs(first).max()
    assert np.array_equal(first, again)
