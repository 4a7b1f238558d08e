"""Phones -> syllables."""

import pytest

from khala_studio.engine.text.syllables import count_syllables, is_vowel, syllabify


@pytest.mark.parametrize(
    ("phones", "parted"),
    [
        ("HH AH0 L OW1", "HH AH0|L OW1"),
        ("AE1 B S T R AE2 K T", "AE1 B|S T R AE2 K T"),
        ("W IH1 N D OW0", "W IH1 N|D OW0"),
        ("S IH1 NG ER0", "S IH1 NG|ER0"),
        ("M Y UW1 Z IH0 K", "M Y UW1|Z IH0 K"),
        ("S T R EH1 NG K TH S", "S T R EH1 NG K TH S"),
        ("AE1 T L AH0 S", "AE1 T|L AH0 S"),
        ("EH1 K S T R AH0", "EH1 K|S T R AH0"),
        ("IY0 OW1", "IY0|OW1"),
        ("AY1", "AY1"),
        ("HH M", "HH M"),
        ("SH", "SH"),
    ],
)
def test_syllabify(phones, parted):
    phones = phones.split()
    syllables = syllabify(phones)
    assert "|".join(" ".join(phones[i] for run in s for i in run) for s in syllables) == parted
    assert [i for s in syllables for run in s for i in run] == list(range(len(phones)))
    assert all(len(s.nucleus) == 1 for s in syllables)


def test_hum_is_carried_by_its_loudest_consonant():
    assert syllabify(["HH", "M"])[0].nucleus == range(1, 2)
    assert syllabify([]) == []


def test_is_vowel():
    assert is_vowel("ER0")
    assert is_vowel("ER")
    assert not is_vowel("R")


@pytest.mark.parametrize(
    ("line", "count"),
    [("Twinkle, twinkle, little star", 7), ("how I wonder what you are", 7), ("99 (oh)", 4), ("♥", 0)],
)
def test_count_syllables(line, count):
    assert count_syllables(line) == count


def test_count_syllables_with_a_lexicon():
    assert count_syllables("rhythm", {"rhythm": ["R", "IH1", "DH", "AH0", "M"]}.__getitem__) == 2
