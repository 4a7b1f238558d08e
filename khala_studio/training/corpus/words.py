"""Words of the lyrics as the engine's own front end pronounces them, and their syllables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from khala_studio.engine.text.phonemes import PhonemeFrontend
from khala_studio.engine.text.syllables import syllabify
from khala_studio.training import tokenizer

Pronounce = Callable[[str], list[str]]  # a word -> its phones, vowels with stress digits

STOPS = frozenset("P T K B D G CH JH".split())


@dataclass(frozen=True)
class Syllable:
    """Of a line: the word it belongs to, its phones, and which of them is the vowel."""

    word: int
    phones: tuple[str, ...]
    vowel: int

    @property
    def stressed(self) -> bool:
        return self.phones[self.vowel][-1] in "12"


def pronouncer(lexicon: Mapping[str, str]) -> Pronounce:
    """What a pack made with this lexicon will say: the corpus must not say it in another way."""
    return PhonemeFrontend(tokenizer.build(lexicon)).pronounce


def syllables(words: list[list[str]]) -> list[Syllable]:
    """The syllables of a line, from the phones of its words."""
    found = []
    for number, phones in enumerate(words):
        for onset, nucleus, coda in syllabify(phones):
            span = tuple(phones[onset.start : coda.stop])
            found.append(Syllable(number, span, nucleus.start - onset.start))
    return found
