"""The pronouncing dictionary, and words it does not have."""

import pytest

from khala_studio.engine.text.lexicon import FUNCTION_WORDS, PHONE_LETTERS, Lexicon
from khala_studio.engine.text.phonemes import PHONES
from khala_studio.training.tokenizer import build
from tests.engine.text.lexicons import LEXICON


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon(build(LEXICON)["lexicon"], PHONES)


def test_every_entry_is_found(lexicon):
    for word in LEXICON:
        if "(" not in word and word != "live":
            assert lexicon.lookup(word) == tuple(LEXICON[word].split())


@pytest.mark.parametrize("word", ["", "aa", "zzz", "lov", "lovel", "live(2)", "\n", "world "])
def test_nothing_else_is_found(lexicon, word):
    assert lexicon.lookup(word) is None


def test_empty_lexicon():
    assert Lexicon("", PHONES).lookup("a") is None


def test_there_is_a_letter_for_every_phone():
    assert len(PHONE_LETTERS) >= len(PHONES) == len(set(PHONES)) == 69


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("hello", "HH AH0 L OW1"),
        ("HELLO", "HH AH0 L OW1"),
        ("live", "L IH1 V"),  # songs mean the verb
        ("i", "AY0"),  # small words bear no stress
        ("the", "DH AH0"),
        ("a", "AH0"),
        ("a.", "EY1"),  # the letter
        ("into", "IH0 N T UW1"),
        ("walks", "W AO1 K S"),
        ("runs", "R AH1 N Z"),
        ("kisses", "K IH1 S IH0 Z"),
        ("tries", "T R AY1 Z"),
        ("star's", "S T AA1 R Z"),
        ("walked", "W AO1 K T"),
        ("wanted", "W AA1 N T IH0 D"),
        ("baked", "B EY1 K T"),
        ("tried", "T R AY1 D"),
        ("running", "R AH1 N IH0 NG"),
        ("baking", "B EY1 K IH0 NG"),
        ("runnin'", "R AH1 N IH0 N"),
        ("sunniest", "S AH1 N IY0 AH0 S T"),
        ("lover", "L AH1 V ER0"),
        ("loveless", "L AH1 V L AH0 S"),
        ("unkissed", "AH0 N K IH1 S T"),
        ("she'll", "SH IY1 AH0 L"),
        ("starfall", "S T AA1 R F AO2 L"),
        ("soooo", "S OW1"),
        ("looove", "L AH1 V"),
        ("soooon", "S UW1 N"),
        ("hmmmm", "HH M"),
        ("mtv", "EH1 M T IY1 V IY1"),
        ("blicket", "B L IH1 K AH0 T"),
    ],
)
def test_pronounce(lexicon, word, phones):
    assert " ".join(lexicon.pronounce(word)) == phones


def test_function_words_of_one_syllable_are_unstressed():
    full = Lexicon(build(LEXICON)["lexicon"], PHONES)
    for word in FUNCTION_WORDS & LEXICON.keys():
        assert not any(phone.endswith("1") for phone in full.pronounce(word)), word
