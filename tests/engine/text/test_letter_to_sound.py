"""Spelling rules: words nobody has seen before."""

from itertools import pairwise, product
from pathlib import Path

import pytest

from khala_studio.engine.text.letter_to_sound import letters_to_phones
from khala_studio.engine.text.lexicon import Lexicon
from khala_studio.engine.text.phonemes import PHONES
from khala_studio.engine.text.syllables import is_vowel

# A random sample of the CMU Pronouncing Dictionary (names included), drawn after the rules were written.
HELD_OUT = [
    line.split() for line in (Path(__file__).parent / "held_out_words.txt").read_text("utf-8").splitlines()
]

ONSETS = (
    "b bl ch cr d dr f fl g gl h j k kn m n p ph pl qu r s sc sh sp st str t th thr tr v w wh y z".split()
)
ENDINGS = (
    "ackle ame ander ated ation ead eep ellow enity erish ever ick ight ing ipple oast olden ook ose ound"
).split()
INVENTED = [onset + ending for onset, ending in product(ONSETS, ENDINGS)][::3]


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("blicket", "B L IH1 K AH0 T"),
        ("splake", "S P L EY1 K"),
        ("thrain", "TH R EY1 N"),
        ("moonlight", "M UW1 N L AY0 T"),
        ("phlight", "F L AY1 T"),
        ("knave", "N EY1 V"),
        ("wrench", "R EH1 N CH"),
        ("quell", "K W EH1 L"),
        ("station", "S T EY1 SH AH0 N"),
        ("vision", "V IH1 ZH AH0 N"),
        ("gently", "JH EH1 N T L IY0"),
        ("sticky", "S T IH1 K IY0"),
        ("judge", "JH AH1 JH"),
        ("walked", "W AO1 K T"),
        ("x", "Z"),
        ("", ""),
        ("''", ""),
    ],
)
def test_known_spellings(word, phones):
    assert " ".join(letters_to_phones(word)) == phones


def test_invented_words_are_plausible():
    assert len(INVENTED) >= 200
    for word in INVENTED:
        phones = letters_to_phones(word)
        assert set(phones) <= set(PHONES), word
        n_vowels = sum(map(is_vowel, phones))
        assert 1 <= n_vowels <= 4, (word, phones)
        assert sum(phone.endswith("1") for phone in phones) == 1, (word, phones)
        assert 0.4 * len(word) <= len(phones) <= 1.2 * len(word) + 1, (word, phones)
        assert all(a != b for a, b in pairwise(phones)), (word, phones)


def test_phone_error_rate_on_held_out_words():
    """0.16 on the whole dictionary (0.22 with stress)."""
    assert error_rate(letters_to_phones, stress=False) < 0.19
    assert error_rate(letters_to_phones, stress=True) < 0.26


def test_a_lexicon_without_words_falls_back_on_the_rules():
    assert error_rate(Lexicon("", PHONES).pronounce, stress=False) < 0.2


def error_rate(pronounce, stress):
    wrong = total = 0
    for word, *reference in HELD_OUT:
        guess = list(pronounce(word))
        if not stress:
            reference, guess = ([phone.rstrip("012") for phone in phones] for phones in (reference, guess))
        wrong += edits(reference, guess)
        total += len(reference)
    return wrong / total


def edits(a, b):
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]
