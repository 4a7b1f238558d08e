"""Original lyric lines from templates and word banks: plain English, rhymed in pairs."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable

import numpy as np

from khala_studio.training.corpus.word_banks import BANKS, CHORUS, PAST_OF, PLURAL_OF, RHYMES, VERSE
from khala_studio.training.corpus.words import Pronounce

VALID_SHARE = 10  # one line (and one melody) in ten belongs to the valid split


def split_of(text: str) -> str:
    """The only split this text may appear in: "train" or "valid"."""
    return "valid" if hashlib.sha256(text.encode()).digest()[0] % VALID_SHARE == 0 else "train"


class LyricsWriter:
    """Writes lines of one split, "train" or "valid"."""

    def __init__(self, pronounce: Pronounce, split: str) -> None:
        self._pronounce = pronounce
        self._split = split
        self._families = rhyme_families(pronounce)

    def couplet(self, rng: np.random.Generator, section: str, shortest: int, longest: int) -> list[str]:
        """Two lines of `shortest`..`longest` syllables whose last words rhyme."""
        family = self._families[rng.integers(len(self._families))]
        ends = [family[i] for i in rng.permutation(len(family))[:2]]
        return [self.line(rng, section, shortest, longest, end) for end in ends]

    def line(
        self, rng: np.random.Generator, section: str, shortest: int, longest: int, end: str | None = None
    ) -> str:
        """One line that ends on `end` (a noun), or on whatever comes when it is None."""
        templates = [t for t in (CHORUS if section == "chorus" else VERSE) if (end is None) != ("{end}" in t)]
        for _ in range(4000):
            text = fill(templates[rng.integers(len(templates))], rng, end)
            if (
                shortest <= self.count(text) <= longest
                and split_of(text) == self._split
                and not _repeats(text)
            ):
                return text
        if end is not None:  # no template takes this word in so few syllables
            return self.line(rng, section, shortest, longest)
        raise RuntimeError(f"no line of {shortest} to {longest} syllables can be written")

    def count(self, line: str) -> int:
        """Syllables of a line."""
        return sum(phone[-1].isdigit() for word in self.phones(line) for phone in word)

    def phones(self, line: str) -> list[list[str]]:
        """Phones of every word of a line."""
        return [self._pronounce(word) for word in line.split()]


def _repeats(text: str) -> bool:
    long = [word for word in text.split() if len(word) > 4]
    return len(set(long)) < len(long)


def fill(template: str, rng: np.random.Generator, end: str | None = None) -> str:
    """Put words into the slots; a slot is {bank}, {bank:s} (plural or he-form), {bank:ing} or {bank:ed}."""

    def word(match: re.Match[str]) -> str:
        bank, form = match.group(1), match.group(2)
        if bank == "end":
            return str(end)
        base = BANKS[bank][rng.integers(len(BANKS[bank]))]
        return FORMS[form](base) if form else base

    text = re.sub(r"\{(\w+)(?::(\w+))?\}", word, template)
    return re.sub(r"\ba (?=[aeiou](?!ni))", "an ", text)


def plural(word: str) -> str:
    """The s-form of a noun or verb: stars, wishes, cities."""
    if word in PLURAL_OF:
        return PLURAL_OF[word]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def gerund(word: str) -> str:
    """The ing-form: burning, dancing, running."""
    if re.search(r"[^e]e$", word):
        return word[:-1] + "ing"
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", word):
        return word + word[-1] + "ing"
    return word + "ing"


def past(word: str) -> str:
    """The simple past."""
    if word in PAST_OF:
        return PAST_OF[word]
    if word.endswith("e"):
        return word + "d"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ied"
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", word):
        return word + word[-1] + "ed"
    return word + "ed"


FORMS: dict[str, Callable[[str], str]] = {"s": plural, "ing": gerund, "ed": past}


@functools.cache
def rhyme_families(pronounce: Pronounce) -> tuple[tuple[str, ...], ...]:
    """Groups of at least two end words that sound alike from the last stressed vowel on."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for word in RHYMES:
        phones = pronounce(word)
        stressed = max((i for i, phone in enumerate(phones) if phone[-1] in "12"), default=0)
        groups.setdefault(tuple(phone.rstrip("012") for phone in phones[stressed:]), []).append(word)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
