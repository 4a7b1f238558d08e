"""Lyrics as people type them -> clean text -> sections and lines."""

import re
import unicodedata
from dataclasses import dataclass

SECTION_NAMES = ("intro", "verse", "pre-chorus", "chorus", "bridge", "instrumental", "outro")


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a song."""

    name: str  # one of SECTION_NAMES
    label: str  # the tag as it was typed ("Verse 1"), or "" where there was none
    lines: tuple[str, ...]  # what is sung, without blank lines


@dataclass(frozen=True, slots=True)
class Lyrics:
    """The parts of a song in order."""

    sections: tuple[Section, ...]
    ignored: tuple[str, ...] = ()  # directions in brackets that name no section: "[whispered]", "[x2]"

    @property
    def lines(self) -> tuple[str, ...]:
        """All sung lines, in order."""
        return tuple(line for section in self.sections for line in section.lines)


def normalise(text: str) -> str:
    """Typographic, full-width, invisible and look-alike characters become the plain ones they stand for.

    Lines stay lines, blank ones too, but for those before the first and after the last. Runs of spaces become
    one. Applying it twice changes nothing more.
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").translate(_PLAIN))
    text = "".join(c for c in text if c == "\n" or not _is_invisible(c))
    if _GREEK_OR_CYRILLIC.search(text):
        text = re.sub(r"\w+", _to_latin, text)
    return "\n".join(" ".join(line.split()) for line in text.split("\n")).strip("\n")


def parse(text: str) -> Lyrics:
    """Find the sections of lyrics; `text` need not be normalised.

    A tag is a line such as [Verse 1], (Bridge), CHORUS: or {Refrain}, in any case, in one of a few languages;
    words after a tag in brackets belong to the section. Lines before the first tag are a verse; where there
    is no tag at all, each stanza is one. What stands in square brackets is never sung; what stands in round
    ones is, unless it is a section's name alone on its line.
    """
    parser = _Parser()
    for line in normalise(text).split("\n"):
        parser.read(line)
    return parser.finish()


class _Parser:
    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._ignored: list[str] = []
        self._name, self._label = "verse", ""
        self._lines: list[str] = []
        self._tagged = False  # seen any tag: from then on blank lines part nothing

    def read(self, line: str) -> None:
        tag, rest = _split_tag(line)
        if tag is not None:
            self._close(keep_empty=self._tagged)
            self._tagged = True
            self._name, self._label = tag
        elif not line and not self._tagged:
            self._close(keep_empty=False)
        sung = " ".join(_DIRECTION.sub(self._ignore, rest).split())
        if sung:
            self._lines.append(sung)

    def finish(self) -> Lyrics:
        self._close(keep_empty=self._tagged)
        return Lyrics(tuple(self._sections), tuple(self._ignored))

    def _ignore(self, direction: re.Match[str]) -> str:
        self._ignored.append(direction.group())
        return " "

    def _close(self, keep_empty: bool) -> None:
        if self._lines or keep_empty:
            self._sections.append(Section(self._name, self._label, tuple(self._lines)))
        self._lines = []


# -- section tags ------------------------------------------------------------

# Hyphens stand for spaces, too.
_ALIASES = {
    "intro": "intro introduction introducción introduzione introdução einleitung entrada вступление 前奏",
    "verse": "verse vers verso estrofa strophe strofa couplet kuplet zwrotka куплет 主歌",
    "pre-chorus": "prechorus pre-chorus pre-refrain pre-estribillo pre-coro pre-refrão pre-hook lift",
    "chorus": "chorus refrain refrein refren refrão estribillo coro ritornello hook kehrreim kehrvers "
    "post-chorus final-chorus last-chorus припев 副歌 サビ",
    "bridge": "bridge puente ponte pont brücke bruecke middle-8 middle-eight middle8 бридж мост 桥段",
    "instrumental": "instrumental interlude interludio intermezzo zwischenspiel solo break drop "
    "instrumental-break guitar-solo piano-solo sax-solo saxophone-solo drum-solo проигрыш 间奏",
    "outro": "outro coda ending end schluss ausklang final fin fade-out концовка 尾奏",
}


def _folded(label: str) -> str:
    """Lower case, no accents, hyphens as spaces: how labels are compared."""
    label = unicodedata.normalize("NFD", label.casefold())
    label = "".join(c for c in label if not unicodedata.combining(c))
    return " ".join(label.replace("-", " ").split())


_SECTION_OF = {_folded(alias): name for name, aliases in _ALIASES.items() for alias in aliases.split()}

# In round brackets, and alone on a line, these are more likely backing words: "(break)".
_ALSO_SUNG = frozenset("lift drop break end ending final fin verso coro solo".split())

_DIRECTION = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}")
_BRACKETED = re.compile(r"\[([^\[\]]*)\]|\{([^{}]*)\}|<([^<>]*)>")
_ROUND_ALONE = re.compile(r"\(([^()]*)\)[:.]?")
_NUMBERED = re.compile(r"(?:verse|chorus|vers|strophe|couplet|estrofa|refrain) \d{1,2}", re.IGNORECASE)
_MARKDOWN = "*_# "
_LONGEST_TAG = 60  # characters; without brackets a longer line is surely sung
# What may follow a section's name inside a tag: a number, "x2", or (square brackets only) ": who sings".
_COUNT = re.compile(
    r"[\s.#-]*(?:\d{1,2}|[ivx]{1,4}|[ab]|one|two|three|four|five)?(?:[\s(]*(?:x ?\d+|\d+ ?x)\)?)?"
)


def _split_tag(line: str) -> tuple[tuple[str, str] | None, str]:
    """The (name, label) that a line opens, and what is left of it to sing."""
    core = line.strip(_MARKDOWN)
    if match := _BRACKETED.match(core):
        label = "".join(match.groups(default="")).strip()
        name = _section_name(re.split(r"[:|]| - ", label, maxsplit=1)[0])
        if name:
            return (name, label), core[match.end() :].strip(_MARKDOWN + ":")
    label = _label_without_brackets(line, core)
    if name := _section_name(label):
        return (name, label), ""
    return None, line


def _label_without_brackets(line: str, core: str) -> str:
    """What may be a tag on a line of its own: (Bridge), Verse:, **Chorus**, # Outro, Verse 2."""
    if len(core) > _LONGEST_TAG:
        return ""
    if match := _ROUND_ALONE.fullmatch(core):
        label = match.group(1).strip()
        return "" if label.casefold() in _ALSO_SUNG else label
    if core.endswith(":"):
        return core.rstrip(":" + _MARKDOWN)
    if line.startswith(("#", "**", "__")) or _NUMBERED.fullmatch(core):
        return core
    return ""


def _section_name(label: str) -> str | None:
    """ "Verse 2" -> "verse"; None if the label names no section."""
    folded = _folded(label)
    if folded in _SECTION_OF:
        return _SECTION_OF[folded]
    for end in range(len(folded) - 1, 0, -1):
        if folded[:end].rstrip() in _SECTION_OF and _COUNT.fullmatch(folded[end:]):
            return _SECTION_OF[folded[:end].rstrip()]
    return None


# -- characters ------------------------------------------------------------


def _plain_table() -> dict[int, str | None]:
    """The lyric clean-up of Khala's own web page, character by character; first full-width ASCII."""
    table: dict[int, str | None] = {
        code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)
    }  # full-width ASCII
    for characters, plain in (
        ("‘’‚‛′‵´ʹʻʼʽˈˊ＇^＾", "'"),
        ("“”„‟″‶¨「」〝〞＂", '"'),
        ("『』", "'"),
        ("‐‑‒–—―−⁃﹘﹣－|｜", "-"),
        ("。．｡", "."),
        ("，、､﹐", ","),
        ("【〖〔", "["),
        ("】〗〕", "]"),
        ("《〈«‹", "<"),
        ("》〉»›", ">"),
        ("…", "..."),
        ("・･", " "),
        ("·", "."),
        ("×", "x"),
        ("÷", "/"),
        ("～〜∼", "~"),
        ("\t\v\f\u0085\u00a0\u1680\u3000\u2028\u2029\u202f\u205f", " "),
        ("".join(map(chr, range(0x2000, 0x200B))), " "),  # en quad .. hair space
        ("".join(map(chr, range(0xFE00, 0xFE10))), None),  # variation selectors
        ("★☆", None),
    ):
        table.update(dict.fromkeys(map(ord, characters), plain))
    return table


_PLAIN = _plain_table()
_LOOK_ALIKES = str.maketrans(
    "аеорсухіАВЕКМНОРСТХІ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxiABEKMHOPCTXI" + "ABEZHIKMNOPTYX",
)
_GREEK_OR_CYRILLIC = re.compile(r"[\u0370-\u04ff]")


def _to_latin(word: re.Match[str]) -> str:
    """Cyrillic and Greek letters that look Latin become Latin, unless the word really is Russian or Greek."""
    latin = word.group().translate(_LOOK_ALIKES)
    return word.group() if _GREEK_OR_CYRILLIC.search(latin) else latin


def _is_invisible(character: str) -> bool:
    """Control, zero-width, bidirectional, surrogate, private and unassigned characters, NUL among them."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}
