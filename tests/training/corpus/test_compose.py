"""Songs on paper: tunes that can be sung, plans that fit, splits that don't meet."""

import itertools

import numpy as np

from khala_studio.training.corpus import styles
from khala_studio.training.corpus.compose import (
    LONGEST_SONG,
    RANGES,
    Composition,
    arrangements,
    compose,
    split_of_number,
    tune_split,
)
from khala_studio.training.corpus.genres import GENRES, mood_of
from khala_studio.training.corpus.lyrics_writer import split_of
from khala_studio.training.corpus.melody import BEATS, MINOR, chord, rhythm, scale
from khala_studio.training.corpus.phone_times import plan_phones
from khala_studio.training.corpus.words import syllables
from tests.training.corpus.fake_singer import tiny_pronouncer

PRONOUNCE = tiny_pronouncer()
SONGS = [compose(number, 5, PRONOUNCE) for number in range(44)]


def _beats(song: Composition) -> list[tuple[float, float]]:
    return [(n.start, n.start + n.duration) for line in song.lines for n in line.notes]


def test_a_number_and_a_seed_are_a_song() -> None:
    assert compose(7, 5, PRONOUNCE) == SONGS[7]
    assert compose(7, 6, PRONOUNCE) != SONGS[7]


def test_tunes_stay_in_the_voice_and_in_the_key() -> None:
    for song in SONGS:
        low, high = RANGES[song.voice.gender]
        for note in (note for line in song.lines for note in line.notes):
            assert low <= note.midi <= high
            assert (note.midi - song.root) % 12 in scale(song.mode)
            assert 0 <= note.start < note.start + note.duration <= BEATS


def test_one_note_a_syllable_and_none_at_once() -> None:
    for line in (line for song in SONGS for line in song.lines):
        assert len(line.notes) == len(syllables([list(word) for word in line.phones]))
        ends = [(n.start, n.start + n.duration) for n in line.notes]
        assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(ends))


def test_lines_end_on_the_chord() -> None:
    song = SONGS[0]
    section = next(s for s in song.sections if s.lines)
    for i, number in enumerate(section.lines):
        last = song.lines[number].notes[-1]
        degree = section.progression[(2 * i + int(last.start // 4)) % 4]
        tones = {m % 12 for m in chord(song.root, song.mode, degree)}
        assert last.midi % 12 in tones


def test_no_line_or_tune_of_a_held_out_song_is_in_training() -> None:
    assert {song.split for song in SONGS} == {"train", "valid"}
    for song in SONGS:
        assert song.split == split_of_number(song.number)
        for line in song.lines:
            assert split_of(line.text) == song.split
            assert tune_split(list(line.notes)) == song.split
    share = sum(split_of_number(n) == "valid" for n in range(400)) / 400
    assert 0.04 <= share <= 0.08


def test_lengths() -> None:
    for song in SONGS:
        seconds = song.seconds(song.beats)
        if song.short:
            assert 3.5 <= seconds <= 9
            assert [s.name for s in song.sections] in (["verse"], ["chorus"])
        else:
            assert 18 <= seconds <= LONGEST_SONG
            assert (song.sections[0].name, song.sections[-1].name) == ("intro", "outro")


def test_a_chorus_comes_back_as_it_was() -> None:
    twice = [[s for s in song.sections if s.name == "chorus"] for song in SONGS]
    twice = [choruses for choruses in twice if len(choruses) == 2]
    assert twice
    assert all(first.lines == second.lines for first, second in twice)


def test_swing_moves_the_off_beat_only() -> None:
    song = next(song for song in SONGS if song.swing > 0.5)
    beat = 60 / song.bpm
    assert song.seconds(3.0) == 3 * beat
    assert np.isclose(song.seconds(3.5), (3 + song.swing) * beat)


def test_bands_can_play_their_song_and_differ() -> None:
    for song in SONGS:
        bands = arrangements(song)
        assert 2 <= len(bands) <= 3
        assert len({(b.genre, b.instrument) for b in bands}) == len(bands)
        for band in bands:
            genre = GENRES[band.genre]
            assert genre.slowest <= song.bpm <= genre.fastest
            assert band.instrument in genre.front
            assert band.mood == mood_of(song.mode, song.bpm, band.genre, band.dreamy)


def test_every_tag_is_one_the_tokenizer_knows() -> None:
    for song in SONGS:
        assert song.bpm in styles.TEMPOS
        assert song.key in styles.KEYS
        assert {section.name for section in song.sections} <= set(styles.SECTIONS)
        for band in arrangements(song):
            assert band.genre in styles.GENRES
            assert band.mood in styles.MOODS
            assert band.instrument in styles.INSTRUMENTS
    assert set(GENRES) == set(styles.GENRES)
    assert {name for genre in GENRES.values() for name in genre.front} == set(styles.INSTRUMENTS)


def test_rhythm_puts_stress_on_the_beat_and_says_when_it_cannot() -> None:
    rng = np.random.default_rng(0)
    stressed = [True, False, True, False]
    starts = [0, *itertools.accumulate(rhythm(stressed, 14, 2, rng, 0) or [])]
    assert starts[2] % 2 == 0
    assert rhythm([True] * 20, 14, 2, rng, 0) is None


def test_minor_chords() -> None:
    assert chord(57, "minor", 0) == [57, 60, 64]
    assert [x - 57 for x in chord(57, "minor", 6, seventh=True)] == [10, 14, 17, 20]
    assert MINOR[2] == 3


def test_phones_do_not_overlap_and_vowels_begin_on_their_notes() -> None:
    for song in SONGS[:12]:
        for line in song.lines:
            sylls = syllables([list(word) for word in line.phones])
            notes = [(song.seconds(n.start), n.duration * 60 / song.bpm, n.midi) for n in line.notes]
            plan = plan_phones(sylls, notes, [0.09] * sum(len(s.phones) for s in sylls))
            assert [p.phone for p in plan] == [phone for word in line.phones for phone in word]
            assert all(p.end > p.start for p in plan)
            assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(plan))
            vowels = [p for p in plan if p.vowel]
            assert np.allclose([p.start for p in vowels], [n[0] for n in notes])
