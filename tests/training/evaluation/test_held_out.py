from pathlib import Path

import numpy as np
import pytest

from khala_studio.training.evaluation import held_out
from khala_studio.training.evaluation.held_out import A_CAPPELLA, FULL_MIX, Corpus, CorpusError
from tests.training.evaluation.tiny_corpus import build_tiny_corpus

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return held_out.read_corpus(build_tiny_corpus(tmp_path_factory.mktemp("evaluation") / "corpus"))


def test_splits_are_kept_apart_and_words_come_once(corpus: Corpus) -> None:
    assert [song["id"] for song in corpus.held_out] == ["00000-a", "00002-a", "00003-a"]
    assert {song["split"] for song in corpus.training} == {"train"}


def test_kinds_take_turns_and_nothing_comes_twice(corpus: Corpus) -> None:
    found = held_out.excerpts(corpus.held_out, 20, 99)
    assert [excerpt.kind for excerpt in found[:3]] == [A_CAPPELLA, FULL_MIX, A_CAPPELLA]
    assert len({excerpt.name for excerpt in found}) == len(found) == 6
    assert held_out.excerpts(corpus.held_out, 20, 2) == found[:2]


def test_an_excerpt_ends_with_a_line(corpus: Corpus) -> None:
    song = corpus.held_out[0]
    whole = held_out.cut(song, FULL_MIX, 20)
    assert whole.seconds == 6
    assert whole.words == "hello world sing a song"
    assert whole.lyrics == "[verse]\nhello world\n\n[chorus]\nsing a song"
    part = held_out.cut(song, FULL_MIX, 4)
    assert part.lines == (0,)
    assert 2.5 < part.seconds <= 3
    assert part.lyrics == "[verse]\nhello world"
    assert held_out.cut(song, FULL_MIX, 0.1).lines == (0,)


def test_audio_is_the_voice_or_the_sum_of_the_stems(corpus: Corpus) -> None:
    song = corpus.held_out[1]
    stems = held_out.song_stems(corpus, song).astype(np.float32) / 32_768
    voice = held_out.audio(corpus, held_out.cut(song, A_CAPPELLA, 20), 2_048)
    mix = held_out.audio(corpus, held_out.cut(song, FULL_MIX, 20), 2_048)
    assert voice.shape == mix.shape == (2, 6 * 44_100 // 2_048 * 2_048)
    np.testing.assert_allclose(voice, stems[: voice.shape[1], 0].T, atol=1e-6)
    np.testing.assert_allclose(mix, stems[: mix.shape[1]].sum(axis=1).T, atol=1e-6)


def test_sections_carry_the_phones_that_were_sung(corpus: Corpus) -> None:
    excerpt = held_out.cut(corpus.held_out[0], FULL_MIX, 20)
    assert held_out.sung_sections(excerpt) == [
        ("verse", [[["HH", "AH0", "L", "OW1"], ["W", "ER1", "L", "D"]]]),
        ("chorus", [[["S", "IH1", "NG"], ["AH0"], ["S", "AO1", "NG"]]]),
    ]
    words = held_out.excerpt_words(excerpt)
    swapped = held_out.sung_sections(excerpt, words[::-1])
    assert swapped[0][1][0][0] == ["S", "AO1", "NG"]


def test_style_is_written_as_users_write_it(corpus: Corpus) -> None:
    song = corpus.held_out[0]
    words = held_out.style_words(held_out.cut(song, FULL_MIX, 20))
    assert words == "pop, female voice, 100 bpm, A minor, happy, piano"
    assert held_out.style_words(held_out.cut(song, A_CAPPELLA, 20)).endswith("happy, a cappella")


def test_a_folder_without_songs_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is no corpus"):
        held_out.read_corpus(tmp_path)
    (tmp_path / "songs.jsonl").write_text("")
    with pytest.raises(CorpusError, match="no song with words"):
        held_out.read_corpus(tmp_path)
