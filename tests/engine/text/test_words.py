"""Lines -> spoken words."""

import pytest

from khala_studio.engine.text import numbers
from khala_studio.engine.text.words import foreign_word, spoken_words, unspoken_symbols


@pytest.mark.parametrize(
    ("line", "spoken"),
    [
        ("Hold on (hold on), don't!", "hold on hold on don't"),
        ("'quoted words' and 'cause 'em", "quoted words and 'cause 'em"),
        ("runnin' rock 'n' roll", "runnin' rock 'n roll"),
        ("na-na-na oh—oh", "na na na oh oh"),
        ("I'm a B-boy, O my", "i'm a b. boy oh my"),
        ("U.S.A. at 5 a.m.", "u. s. a. at five a. m."),
        ("Mr. and Mrs. O'Neil vs. Dr. No, etc.", "mister and missus o'neil versus doctor no et cetera"),
        ("St. James on Elm St.", "saint james on elm street"),
        ("you & me + 50% @ home", "you and me plus fifty percent at home"),
        (
            "$5.50, €2 million, £1, $0.01",
            "five dollars and fifty cents two million euros one pound zero dollars and one cent",
        ),
        ("3rd of May 1999 in '68", "third of may nineteen ninety nine in sixty eight"),
        ("the 80s and 1990's", "the eighties and nineteen nineties"),
        ("9:00, 10:30, 4:05", "nine o'clock ten thirty four oh five"),
        (
            "1,000,000 3.14 24/7 007 #1",
            "one million three point one four twenty four seven zero zero seven number one",
        ),
        ("café naïve Straße Øre ﬁne ½", "cafe naive strasse ore fine one two"),
        ("𝓱𝓮𝓵𝓵𝓸 ٣", "hello three"),
        ("♥ ☺ ...", ""),
        ("", ""),
    ],
)
def test_spoken_words(line, spoken):
    assert " ".join(spoken_words(line)) == spoken


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "zero"),
        ("13", "thirteen"),
        ("42", "forty two"),
        ("100", "one hundred"),
        ("1,042", "one thousand forty two"),
        ("999999", "nine hundred ninety nine thousand nine hundred ninety nine"),
        (
            "123456789012345",
            "one hundred twenty three trillion four hundred fifty six billion seven hundred eighty nine "
            "million twelve thousand three hundred forty five",
        ),
        (
            "1234567890123456",
            "one two three four five six seven eight nine zero one two three four five six",
        ),
        ("05", "zero five"),
    ],
)
def test_cardinals(digits, words):
    assert " ".join(numbers.cardinal(digits)) == words


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("1", "first"),
        ("2", "second"),
        ("9", "ninth"),
        ("12", "twelfth"),
        ("20", "twentieth"),
        ("33", "thirty third"),
        ("100", "one hundredth"),
    ],
)
def test_ordinals(digits, words):
    assert " ".join(numbers.ordinal(digits)) == words


@pytest.mark.parametrize(
    ("year", "words"),
    [
        ("1984", "nineteen eighty four"),
        ("1900", "nineteen hundred"),
        ("1905", "nineteen oh five"),
        ("2000", "two thousand"),
        ("2007", "two thousand seven"),
        ("2026", "twenty twenty six"),
        ("3000", "three thousand"),
    ],
)
def test_years(year, words):
    assert " ".join(numbers.number(year)) == words


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("hello привет мир", "привет"),
        ("你好 world", "你好"),
        ("γεια", "γεια"),
        ("naïve café ﬁne Łódź", None),
        ("♥ 123", None),
    ],
)
def test_foreign_word(line, word):
    assert foreign_word(line) == word


def test_unspoken_symbols():
    assert unspoken_symbols("I ♥ you 🎵🎵, ok? $5 & 10% [x]") == ["♥", "🎵"]
