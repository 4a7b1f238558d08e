"""How words are spoken: a pronouncing dictionary, endings and compounds of its words, then spelling rules."""

import re
from collections.abc import Sequence

from khala_studio.engine.text.letter_to_sound import letters_to_phones

Phones = tuple[str, ...]

# One printable character a phone; none that JSON escapes, none that separates.
PHONE_LETTERS = "".join(chr(code) for code in range(33, 127) if chr(code) not in '"\\')

# Words of one syllable that a singer leaves unstressed.
FUNCTION_WORDS = frozenset(
    (
        "a an the and or but of in on at to for from with by as if so is am are was were be been do did "
        "does can could will would shall should may might must have has had i me my you your he him his "
        "she her it its we us our they them their this that these those than then not no up"
    ).split()
)
_FIXED: dict[str, Phones] = {
    word: tuple(phones.split())
    for word, phones in {
        "a": "AH0",
        "the": "DH AH0",
        "mm": "M",
        "mmm": "M",
        "hm": "HH M",
        "hmm": "HH M",
        "sh": "SH",
        "shh": "SH",
        "psst": "P S T",
        "brr": "B ER1",
        "oo": "UW1",
        "ooh": "UW1",
        "aah": "AA1",
        "woah": "W OW1",
        "whoah": "W OW1",
        "cuz": "K AH1 Z",
        "coz": "K AH1 Z",
        "cause": "K AH1 Z",
        "'cause": "K AH1 Z",
        "yeah": "Y EH1 AH0",
        "miz": "M IH1 Z",
        "o'clock": "AH0 K L AA1 K",
    }.items()
}
_LETTER_NAMES = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (
            "EY1|B IY1|S IY1|D IY1|IY1|EH1 F|JH IY1|EY1 CH|AY1|JH EY1|K EY1|EH1 L|EH1 M|EH1 N|OW1|P IY1|"
            "K Y UW1|AA1 R|EH1 S|T IY1|Y UW1|V IY1|D AH1 B AH0 L Y UW0|EH1 K S|W AY1|Z IY1"
        ).split("|"),
        strict=True,
    )
)
_CONTRACTIONS = {"'ll": "AH0 L", "'ve": "AH0 V", "'re": "ER0", "n't": "AH0 N T", "'m": "AH0 M"}
_ENDINGS = {
    "ing": "IH0 NG",
    "ings": "IH0 NG Z",
    "in'": "IH0 N",
    "er": "ER0",
    "ers": "ER0 Z",
    "est": "AH0 S T",
    "y": "IY0",
    "able": "AH0 B AH0 L",
    "ly": "L IY0",
    "ness": "N AH0 S",
    "less": "L AH0 S",
    "ful": "F AH0 L",
    "like": "L AY2 K",
    "ward": "W ER0 D",
    "some": "S AH0 M",
}
_PREFIXES = {
    "un": "AH0 N",
    "re": "R IY0",
    "mis": "M IH0 S",
    "non": "N AA0 N",
    "over": "OW2 V ER0",
    "out": "AW2 T",
}
_HISSING = frozenset("S Z SH ZH CH JH".split())
_VOICELESS = frozenset("P T K F TH S SH CH HH".split())
_SHORTEST_PART = 3  # letters of a stem
_SHORTEST_COMPOUND_PART = 4


class Lexicon:
    """A pronouncing dictionary kept as one string, which loads at once and is searched by bisection.

    Args:
        text: lines "word PHONES" sorted by word (code points), one of PHONE_LETTERS a phone, no line twice.
        phones: what each of PHONE_LETTERS stands for, in order.
    """

    def __init__(self, text: str, phones: Sequence[str]) -> None:
        self._text = text
        self._phone_of = dict(zip(PHONE_LETTERS, phones, strict=False))
        self._known: dict[str, Phones] = {}

    def pronounce(self, word: str) -> Phones:
        """Phones with stress. `word` is as `spoken_words` gives it; empty only if it has no letters."""
        word = word.lower()
        if word not in self._known:
            self._known[word] = self._pronounce(word)
        return self._known[word]

    def lookup(self, word: str) -> Phones | None:
        """What the dictionary itself says, or None."""
        low, high = 0, len(self._text)
        while low < high:  # invariant: the word's line, if any, starts in low..high
            start = self._text.rfind("\n", low, (low + high) // 2) + 1 or low
            end = self._text.find("\n", start)
            end = len(self._text) if end < 0 else end
            entry, _, letters = self._text[start:end].partition(" ")
            if entry == word:
                return tuple(self._phone_of[letter] for letter in letters)
            if entry < word:
                low = end + 1
            else:
                high = start
        return None

    def _pronounce(self, word: str) -> Phones:
        if word in _FIXED:
            return _FIXED[word]
        if len(word) == 2 and word[1] == "." and word[0] in _LETTER_NAMES:
            return tuple(_LETTER_NAMES[word[0]].split())
        found = self._derive(word) or self._drawn_out(word) or self._compound(word) or self._spelt(word)
        phones = found or letters_to_phones(word)
        one_syllable = sum(phone[-1].isdigit() for phone in phones) == 1
        if word in FUNCTION_WORDS and one_syllable:
            return tuple(phone.rstrip("12") + "0" if phone[-1] in "12" else phone for phone in phones)
        return phones

    def _derive(self, word: str) -> Phones | None:
        """A word of the dictionary, or one with a common ending or prefix."""
        if found := self.lookup(word):
            return found
        for ending, added in _CONTRACTIONS.items():
            if word.endswith(ending) and (stem := self.lookup(word.removesuffix(ending))):
                return (*stem, *added.split())
        return self._inflected(word) or self._suffixed(word) or self._prefixed(word)

    def _inflected(self, word: str) -> Phones | None:
        if word.endswith("'s"):
            stem = self._derive(word[:-2])
            return stem and (*stem, *_plural(stem))
        if word.endswith("s") and not word.endswith("ss"):
            stem = (
                self._stem(word, "s", ("",))
                or self._stem(word, "es", ("",))
                or self._stem(word, "ies", ("y",))
            )
            return stem and (*stem, *_plural(stem))
        if word.endswith("ed"):
            stem = self._stem(word, "ied", ("y",)) or self._stem(word, "ed", ("e", "", None))
            return stem and (*stem, *_past(stem))
        return None

    def _suffixed(self, word: str) -> Phones | None:
        for ending, added in _ENDINGS.items():
            if not word.endswith(ending):
                continue
            restored = ("", "e", None) if ending[0] in "aeiy" else ("",)
            stem = self._stem(word, ending, restored) or self._stem(word, "i" + ending, ("y",))
            if stem:
                return (*stem, *added.split())
        return None

    def _prefixed(self, word: str) -> Phones | None:
        for prefix, added in _PREFIXES.items():
            rest = word.removeprefix(prefix)
            if rest != word and len(rest) > _SHORTEST_PART and (stem := self.lookup(rest)):
                return (*added.split(), *stem)
        return None

    def _stem(self, word: str, ending: str, restored: tuple[str | None, ...]) -> Phones | None:
        """The dictionary's word before `ending`, with letters put back; None undoes a doubled consonant."""
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < _SHORTEST_PART:
            return None
        for letters in restored:
            doubled = stem[-1] == stem[-2] and stem[-1] not in "aeiou"
            candidate = stem + letters if letters is not None else stem[:-1] if doubled else ""
            if found := self.lookup(candidate):
                return found
        return None

    def _drawn_out(self, word: str) -> Phones | None:
        """ "sooooo" and "looove": a letter written three times or more stands for one, or for two."""
        if not re.search(r"(.)\1\1", word):
            return None
        once = re.sub(r"(.)\1\1+", r"\1", word)
        twice = re.sub(r"(.)\1\1+", r"\1\1", word)
        if once in FUNCTION_WORDS and (stressed := self.lookup(once)):
            return stressed
        if once in _FIXED or not self.lookup(twice):
            return self.pronounce(once)
        return self.pronounce(twice)

    def _compound(self, word: str) -> Phones | None:
        """Two words of the dictionary in one: "starfall". The later the seam, the better."""
        for seam in range(len(word) - _SHORTEST_COMPOUND_PART, _SHORTEST_COMPOUND_PART - 1, -1):
            first, second = self.lookup(word[:seam]), self.lookup(word[seam:])
            if first and second:
                return (*first, *(phone.replace("1", "2") for phone in second))
        return None

    def _spelt(self, word: str) -> Phones | None:
        """Letters that make no syllable are named: "mtv"."""
        if re.search("[aeiouy]", word) or "'" in word:
            return None
        return tuple(phone for letter in word for phone in _LETTER_NAMES.get(letter, "").split()) or None


def _plural(stem: Phones) -> Phones:
    if stem[-1] in _HISSING:
        return ("IH0", "Z")
    return ("S",) if stem[-1] in _VOICELESS else ("Z",)


def _past(stem: Phones) -> Phones:
    if stem[-1] in {"T", "D"}:
        return ("IH0", "D")
    return ("T",) if stem[-1] in _VOICELESS else ("D",)
