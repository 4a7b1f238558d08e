"""Phones -> syllables, by maximal onset: as many consonants as English allows begin the next syllable."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from khala_studio.engine.text.letter_to_sound import letters_to_phones
from khala_studio.engine.text.words import spoken_words

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())

# Consonant clusters that may begin an English syllable; any single consonant but NG may, too.
_ONSETS = frozenset(
    tuple(cluster.split())
    for cluster in (
        "P R|P L|B R|B L|T R|D R|K R|K L|G R|G L|F R|F L|TH R|SH R|S P|S T|S K|S M|S N|S L|S W|"
        "T W|D W|K W|G W|TH W|HH Y|P Y|B Y|F Y|K Y|M Y|V Y|S P R|S P L|S T R|S K R|S K W"
    ).split("|")
)

# From loud to quiet: what carries a syllable that has no vowel ("hmm", "shh").
_SONORITY = ("M", "N", "NG", "L", "R", "W", "Y", "Z", "ZH", "V", "DH", "SH", "S", "HH", "F", "TH")


class Syllable(NamedTuple):
    """One syllable as three runs of indices into the word's phones."""

    onset: range
    nucleus: range  # one phone
    coda: range


def is_vowel(phone: str) -> bool:
    """True for "AA", "AA0", "AA1", "AA2" and the like."""
    return phone.rstrip("012") in VOWELS


def syllabify(phones: Sequence[str]) -> list[Syllable]:
    """Part one word's phones (ARPAbet, with or without stress digits) into syllables.

    Every phone belongs to exactly one syllable, in order. A word without a vowel is one syllable around its
    most sonorous consonant; no phones give no syllables.
    """
    if not phones:
        return []
    nuclei = [i for i, phone in enumerate(phones) if is_vowel(phone)]
    if not nuclei:
        nuclei = [_most_sonorous(phones)]
    starts = [0, *(_onset_start(phones, a, b) for a, b in pairwise(nuclei))]
    ends = [*starts[1:], len(phones)]
    return [
        Syllable(range(start, nucleus), range(nucleus, nucleus + 1), range(nucleus + 1, end))
        for start, nucleus, end in zip(starts, nuclei, ends, strict=True)
    ]


def count_syllables(line: str, pronounce: Callable[[str], Sequence[str]] = letters_to_phones) -> int:
    """Syllables of a line of lyrics; without a lexicon's `pronounce` the spelling rules decide."""
    return sum(len(syllabify(pronounce(word))) for word in spoken_words(line))


def _onset_start(phones: Sequence[str], left: int, right: int) -> int:
    """Where the syllable of the vowel at `right` begins, after the vowel at `left`."""
    start = right
    while start - 1 > left and _may_begin(phones[start - 1 : right]):
        start -= 1
    return start


def _may_begin(consonants: Sequence[str]) -> bool:
    if len(consonants) == 1:
        return consonants[0] != "NG"
    return tuple(consonants) in _ONSETS


def _most_sonorous(phones: Sequence[str]) -> int:
    rank = {phone: i for i, phone in enumerate(_SONORITY)}
    return min(range(len(phones)), key=lambda i: rank.get(phones[i], len(rank)))
