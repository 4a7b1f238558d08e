"""The lyrics: said as the engine says them, rhymed, of the right length, and of one split only."""

import numpy as np
import pytest

from khala_studio.engine.text.phonemes import PhonemeFrontend
from khala_studio.training import tokenizer
from khala_studio.training.corpus.lyrics_writer import (
    LyricsWriter,
    fill,
    gerund,
    past,
    plural,
    rhyme_families,
    split_of,
)
from khala_studio.training.corpus.word_banks import BANKS, CHORUS, VERSE
from khala_studio.training.corpus.words import pronouncer, syllables
from tests.training.corpus.fake_singer import tiny_pronouncer

PRONOUNCE = tiny_pronouncer()


def test_the_corpus_says_every_word_as_a_pack_does() -> None:
    lexicon = {"wind": "W AY1 N D", "tear": "T EH1 R", "of": "AH1 V", "garden": "G AA1 R D AH0 N"}
    front = PhonemeFrontend(tokenizer.build(lexicon))
    mine = pronouncer(lexicon)
    words = {word for bank in BANKS.values() for entry in bank for word in entry.split()}
    for word in sorted(words | {"wind", "tear", "of", "somebody's"}):
        assert mine(word) == front.pronounce(word)
    assert mine("of") == ["AH0", "V"]  # unstressed: not as the dictionary says
    assert mine("wind") == ["W", "IH1", "N", "D"]


def test_every_phone_of_a_line_is_in_one_syllable_in_order() -> None:
    words = [["W", "IH1", "N", "D", "OW0"], ["DH", "AH0"], ["R", "IH1", "V", "ER0"]]
    found = syllables(words)
    assert [phone for s in found for phone in s.phones] == [phone for word in words for phone in word]
    assert [s.word for s in found] == [0, 0, 1, 2, 2]
    assert [s.stressed for s in found] == [True, False, False, True, False]
    assert all(s.phones[s.vowel][-1].isdigit() for s in found)


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("section", ["verse", "chorus"])
def test_lines_keep_length_and_split(split: str, section: str) -> None:
    writer = LyricsWriter(PRONOUNCE, split)
    rng = np.random.default_rng(1)
    for _ in range(20):
        for line in writer.couplet(rng, section, 5, 9):
            assert 5 <= writer.count(line) <= 9
            assert split_of(line) == split
            assert "{" not in line
            assert line == line.lower()


def test_couplets_rhyme() -> None:
    writer, families = LyricsWriter(PRONOUNCE, "train"), rhyme_families(PRONOUNCE)
    family_of = {word: number for number, family in enumerate(families) for word in family}
    rng = np.random.default_rng(2)
    ends = [[line.split()[-1] for line in writer.couplet(rng, "chorus", 4, 10)] for _ in range(20)]
    assert all(a != b and family_of[a] == family_of[b] for a, b in ends)


def test_a_seed_writes_the_same_lines() -> None:
    first, again = (
        LyricsWriter(PRONOUNCE, "train").couplet(np.random.default_rng(3), "verse", 5, 9) for _ in "ab"
    )
    assert first == again


def test_every_template_can_be_filled() -> None:
    rng = np.random.default_rng(4)
    for template in VERSE + CHORUS:
        line = fill(template, rng, "river")
        assert "{" not in line
        assert "  " not in line


@pytest.mark.parametrize(
    ("form", "word", "expected"),
    [
        (plural, "star", "stars"),
        (plural, "city", "cities"),
        (plural, "wish", "wishes"),
        (plural, "wolf", "wolves"),
        (gerund, "dance", "dancing"),
        (gerund, "run", "running"),
        (gerund, "sleep", "sleeping"),
        (past, "carry", "carried"),
        (past, "hold", "held"),
        (past, "hope", "hoped"),
        (past, "stop", "stopped"),
    ],
)
def test_word_forms(form, word: str, expected: str) -> None:  # type: ignore[no-untyped-def]
    assert form(word) == expected


def test_articles_fit_the_next_word() -> None:
    assert fill("a orange and a violin", np.random.default_rng(0)) == "an orange and a violin"
