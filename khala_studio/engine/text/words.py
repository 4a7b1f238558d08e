"""A line of lyrics -> the words one sings: in lower case, only a-z and apostrophes, numbers written out.

A letter that is named, as in "U.S.A.", is that letter and a full stop: "u.".
"""

import re
import unicodedata
from collections.abc import Callable

from khala_studio.engine.text import numbers

_ABBREVIATIONS = {
    "mr": "mister",
    "mrs": "missus",
    "ms": "miz",
    "dr": "doctor",
    "jr": "junior",
    "sr": "senior",
    "vs": "versus",
    "mt": "mount",
    "ft": "featuring",
    "feat": "featuring",
    "prof": "professor",
    "etc": "et cetera",
    "w/o": "without",
    "w/": "with",
}
_SIGNS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees", "#": "number"}
# Words that begin with an apostrophe; elsewhere one is a quotation mark.
_ELIDED = frozenset("'bout 'cause 'course 'cuse 'em 'gain 'n 'round 'til 'tis 'twas".split())
_LIGATURES = str.maketrans(
    {
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "th",
        "þ": "th",
        "ı": "i",
        "ħ": "h",
        "ŋ": "ng",
        "Æ": "AE",
        "Œ": "OE",
        "Ø": "O",
        "Ł": "L",
        "Đ": "D",
        "Ð": "TH",
        "Þ": "TH",
        "ẞ": "SS",
    }
)
_PUNCTUATION = frozenset(" \t\n'\"`.,;:!?()[]{}<>-~*_/\\^|¿¡§")

_TOKEN = re.compile(
    r"""
      (?P<sign>[$€£¥])\s?(?P<whole>\d+(?:,\d{3})*)(?:\.(?P<cents>\d{1,2}))?
      (?:\s(?P<scale>hundred|thousand|million|billion)\b)?
    | (?P<hours>\d{1,2}):(?P<minutes>[0-5]\d)(?!\d)
    | (?P<nth>\d+(?:,\d{3})*)(?:st|nd|rd|th)\b
    | '?(?P<decade>\d{2}|\d{4})'?s\b
    | (?P<number>\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
    | (?P<dotted>(?:[a-z]\.){2,}[a-z]?\b|(?:[a-z]\.){2,})
    | (?P<short>\b(?:mrs?|ms|dr|jr|sr|vs|mt|ft|feat|prof|etc)\.|\bw/o?)
    | (?P<saint>\bst\.)(?=\s?(?P<named>[A-Za-z])?)
    | (?P<word>'?[a-z]+(?:'[a-z]+)*'?)
    | (?P<symbol>[&%+=@°]|\#(?=\d))
    """,
    re.VERBOSE | re.IGNORECASE,
)


def spoken_words(line: str) -> list[str]:
    """What one sings for `line`; what is neither letter, digit nor known sign is passed over."""
    words: list[str] = []
    for match in _TOKEN.finditer(_fold(line)):
        words += next(read for kind, read in _READERS.items() if match[kind])(match)
    return words


def foreign_word(line: str) -> str | None:
    """The first word of `line` that is not in Latin letters, or None."""
    for word in re.findall(r"[^\W\d_]+", line):
        if any(c.isalpha() and not c.isascii() for c in _fold(word)):
            return str(word)
    return None


def unspoken_symbols(line: str) -> list[str]:
    """Emoji and other signs that nobody can sing, each once."""
    known = _PUNCTUATION | _SIGNS.keys() | set(numbers.CURRENCY_SIGNS)
    return [c for c in dict.fromkeys(_fold(line)) if not c.isalnum() and c not in known]


def _fold(text: str) -> str:
    """Accented, joined and styled letters become plain ones, digits of any script 0-9."""
    text = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
    return "".join(_plain_digit(c) for c in text if not unicodedata.combining(c))


def _plain_digit(character: str) -> str:
    return character if character.isascii() else str(unicodedata.decimal(character, character))


def _word(match: re.Match[str]) -> list[str]:
    typed = match["word"]
    word = typed.lower()
    if word.startswith("'") and word.rstrip("'") not in _ELIDED:
        word = word[1:]
    if word.endswith("'") and not word.endswith("in'"):
        word = word[:-1]
    if word == "o":
        return ["oh"]
    if len(word) == 1 and (word not in "ai" or typed.endswith("'")):
        return [word + "."]
    return [word]


def _letters(match: re.Match[str]) -> list[str]:
    return [letter + "." for letter in match["dotted"].lower() if letter != "."]


def _saint(match: re.Match[str]) -> list[str]:
    """A saint stands before a name, a street after one or at the end."""
    named = match["named"]
    return ["saint" if named and named.isupper() else "street"]


def _money(match: re.Match[str]) -> list[str]:
    return numbers.money(match["sign"], match["whole"], match["cents"] or "", (match["scale"] or "").lower())


_READERS: dict[str, Callable[[re.Match[str]], list[str]]] = {
    "sign": _money,
    "hours": lambda match: numbers.clock(match["hours"], match["minutes"]),
    "nth": lambda match: numbers.ordinal(match["nth"]),
    "decade": lambda match: numbers.decade(match["decade"]),
    "number": lambda match: numbers.number(match["number"]),
    "dotted": _letters,
    "short": lambda match: _ABBREVIATIONS[match["short"].lower().rstrip(".")].split(),
    "saint": _saint,
    "word": _word,
    "symbol": lambda match: [_SIGNS[match["symbol"]]],
}
