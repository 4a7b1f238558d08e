"""The front end of packs that read phones: style tags at fixed places, then sections, lines, words as phones.

<bos> genre voice tempo key mood instrument kind seconds   (each slot one token, "any" where nothing is asked)
<section:verse> phones <sp> phones ... <line> ... <section:chorus> ... <sing>
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from khala_studio.engine.errors import BadRequest, BrokenPack
from khala_studio.engine.text.lexicon import Lexicon
from khala_studio.engine.text.prompt import Prompt
from khala_studio.engine.text.style import describe_tags, nearest_tempo, parse_style
from khala_studio.engine.text.syllables import CONSONANTS, VOWELS, is_vowel
from khala_studio.engine.text.words import foreign_word, spoken_words, unspoken_symbols
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.lyrics import Lyrics, normalise, parse
from khala_studio.song.request import SongRequest

SLOTS = ("genre", "voice", "tempo", "key", "mood", "instrument", "kind")  # and then "seconds"
PHONES = (*(vowel + stress for vowel in VOWELS for stress in "012"), *CONSONANTS)
DATA_NAME = "tokenizer.json"

# A section that a pack does not know is sung as the one named here, or as the first that it does know.
_STAND_INS = {
    "pre-chorus": "verse",
    "bridge": "verse",
    "chorus": "verse",
    "intro": "verse",
    "outro": "chorus",
}
_MAY_BE_EMPTY = frozenset({"intro", "instrumental", "outro"})
_MAX_STYLE = 2_000  # characters
_FAST = 4.5  # syllables a second; above, hardly anyone can sing, or follow

Word = Sequence[str]  # phones
SungSection = tuple[str, Sequence[Sequence[Word]]]  # its name; lines of words


class PhonemeFrontend:
    """See the module.

    Args:
        data: tokenizer.json (`khala_studio.training.tokenizer.build` writes it).
        tags: what the pack obeys, slot by slot; None is all that there are tokens for.
        sections: the sections that the pack obeys; None likewise.

    Attributes:
        tokens: the text vocabulary; a token's id is its index.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        *,
        tags: Mapping[str, Sequence[str]] | None = None,
        sections: Sequence[str] | None = None,
        max_prompt: int = 2_048,
        max_characters: int = 20_000,
    ) -> None:
        self.tokens: list[str] = list(data["tokens"])
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._lexicon = Lexicon(data["lexicon"], PHONES)
        self._genders: dict[str, str] = dict(data["genders"])
        self._all_tags = {slot: self._tags_of(slot) for slot in (*SLOTS, "seconds", "section")}
        self._tags = {slot: self._obeyed(slot, tags) for slot in SLOTS}
        known = self._all_tags["section"]
        self._sections = tuple(name for name in known if sections is None or name in sections) or known
        self._max_prompt, self._max_characters = max_prompt, max_characters

    @classmethod
    def from_pack(cls, folder: Path, manifest: PackManifest) -> Self:
        """The front end of a pack.

        Raises:
            BrokenPack: its tokenizer.json cannot be read, or contradicts pack.json.
        """
        path = folder / DATA_NAME
        try:
            data = _checked(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise BrokenPack(f"The pack has no {path}, which its front end reads.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise BrokenPack(f"{path} cannot be used: {error}.") from error
        text = manifest.text
        markers = {text.superres_marker_base: "<layer:0>", text.end_of_song: "<eos>"}
        wrong = [token for i, token in markers.items() if data["tokens"][i : i + 1] != [token]]
        if wrong or len(data["tokens"]) != text.vocab_size:
            what = f"has {len(data['tokens'])} tokens, or its {' and '.join(wrong) or 'tokens'} elsewhere"
            raise BrokenPack(f"{path} {what}, than pack.json says ({text.vocab_size} tokens).")
        return cls(
            data,
            tags=manifest.controls.tags,
            sections=manifest.controls.sections,
            max_prompt=text.max_prompt,
            max_characters=text.max_characters,
        )

    def pronounce(self, word: str) -> list[str]:
        """Phones with stress: from the lexicon, else by endings and compounds, else by spelling."""
        return list(self._lexicon.pronounce(word))

    def encode(self, request: SongRequest) -> Prompt:
        """The request as ids, with notes on what the pack will not do.

        Raises:
            BadRequest: nothing to sing, another script than Latin, or more than the pack takes.
        """
        notes: list[str] = []
        style = self._read_style(request.style, notes)
        sections: list[SungSection] = []
        if request.instrumental or (style.get("kind") == "instrumental" and not request.lyrics.strip()):
            style["kind"] = "instrumental"
        else:
            if style.get("kind") == "instrumental":
                notes.append('The style says "instrumental", but there are lyrics: they are sung.')
                del style["kind"]
            sections = self._read_lyrics(request.lyrics, notes)
            self._check_pace(sections, request.seconds, notes)
        ids, _ = self.encode_song(style, sections, request.seconds)
        if len(ids) > self._max_prompt:
            raise BadRequest(self._too_long(style, sections, request.seconds))
        return Prompt(ids, tuple(notes))

    def encode_song(
        self, style: Mapping[str, str], sections: Sequence[SungSection], seconds: float | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """A song whose phones are known, as in training.

        Args:
            style: slot -> tag, missing ones are "any" (and kind "song"); tempo is any number.
            sections: (name, lines of words of phones) in order.
            seconds: its length, to the nearest token; None is any.

        Returns:
            ids [S], and the place in ids of every phone in order [number of phones].

        Raises:
            ValueError: there is no such slot, tag, section or phone.
        """
        ids = [self._id("<bos>"), *self._slot_ids(style, seconds)]
        places: list[int] = []
        for name, lines in sections:
            ids.append(self._id(f"<section:{name}>"))
            for words in lines:
                for n, phones in enumerate(words):
                    if n:
                        ids.append(self._ids["<sp>"])
                    places += range(len(ids), len(ids) + len(phones))
                    ids += [self._id(phone) for phone in phones]
                ids.append(self._ids["<line>"])
        ids.append(self._ids["<sing>"])
        return np.array(ids, np.int64), np.array(places, np.int64)

    def _slot_ids(self, style: Mapping[str, str], seconds: float | None) -> list[int]:
        if unknown := set(style) - set(SLOTS):
            raise ValueError(f"There is no style slot {sorted(unknown)[0]!r}.")
        chosen = {slot: str(style.get(slot, "song" if slot == "kind" else "any")) for slot in SLOTS}
        if chosen["tempo"] != "any":
            chosen["tempo"] = nearest_tempo(float(chosen["tempo"]), self._all_tags["tempo"])
        ids = [self._id(f"<{slot}:{tag}>") for slot, tag in chosen.items()]
        lengths = self._all_tags["seconds"]
        length = "any" if seconds is None else min(lengths, key=lambda tag: abs(int(tag) - seconds))
        return [*ids, self._id(f"<seconds:{length}>")]

    def _read_style(self, text: str, notes: list[str]) -> dict[str, str]:
        if len(text) > _MAX_STYLE:
            raise BadRequest(f"The style is {len(text):,} characters long: use at most {_MAX_STYLE:,}.")
        style = parse_style(text, self._tags, self._genders)
        obeyed = {slot: self._tags[slot] for slot in SLOTS}
        if style.not_understood:
            notes.append(
                f"Not understood in the style, and left out: {_some(style.not_understood)}. "
                f"This pack obeys {describe_tags(obeyed)}."
            )
        if style.passed_over:
            notes.append(
                f"This pack takes one of each kind, so left out of the style: {_some(style.passed_over)}."
            )
        return style.slots

    def _read_lyrics(self, text: str, notes: list[str]) -> list[SungSection]:
        if len(text) > self._max_characters:
            n_lines = text.strip().count("\n") + 1
            raise BadRequest(
                f"The lyrics are {len(text):,} characters in {n_lines:,} lines, and this pack takes "
                f"{self._max_characters:,} characters at most: shorten them, or make several songs."
            )
        lyrics = parse(text)
        if not lyrics.lines:
            what = "The lyrics are only section tags" if normalise(text).strip() else "There are no lyrics"
            raise BadRequest(f"{what}: write some words to sing, or choose instrumental.")
        self._check_script(text, lyrics)
        symbols = [symbol for line in lyrics.lines for symbol in unspoken_symbols(line)]
        if symbols:
            notes.append(
                f"Signs that cannot be sung were left out of the lyrics: {_some(symbols, quote='')}."
            )
        if lyrics.ignored:
            notes.append(
                f"Directions in brackets are not sung, and were left out: {_some(lyrics.ignored, quote='')}."
            )
        sections = self._sung_sections(lyrics, notes)
        if not any(lines for _, lines in sections):
            raise BadRequest(
                "There is no word in the lyrics that can be sung: write some, or choose instrumental."
            )
        return sections

    def _check_script(self, text: str, lyrics: Lyrics) -> None:
        """The pack's language has the Latin alphabet."""
        for sung in lyrics.lines:
            if word := foreign_word(sung):
                raw = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
                number = next((n for n, line in enumerate(raw, 1) if word in normalise(line)), 1)
                raise BadRequest(
                    f'This pack sings English only, and line {number} has "{word[:40]}": '
                    "write the lyrics in English, in Latin letters."
                )

    def _sung_sections(self, lyrics: Lyrics, notes: list[str]) -> list[SungSection]:
        sections: list[SungSection] = []
        for section in lyrics.sections:
            name = self._known_section(section.name)
            if name != section.name and section.lines:
                note = f"This pack knows no {section.name}, so it is sung as a {name}."
                notes += [note] if note not in notes else []
            lines = [words for line in section.lines if (words := self._sing(line, notes))]
            if lines or section.name in _MAY_BE_EMPTY.intersection(self._sections):
                sections.append((name, lines))
        return sections

    def _sing(self, line: str, notes: list[str]) -> list[Word]:
        words: list[Word] = []
        for word in spoken_words(line):
            if phones := self.pronounce(word):
                words.append(phones)
            else:
                notes.append(f'The word "{word[:40]}" cannot be pronounced, and was left out.')
        return words

    def _known_section(self, name: str) -> str:
        while name not in self._sections:
            if name not in _STAND_INS:
                return self._sections[0]
            name = _STAND_INS[name]
        return name

    def _check_pace(self, sections: Sequence[SungSection], seconds: float, notes: list[str]) -> None:
        n_syllables = sum(
            is_vowel(p) for _, lines in sections for words in lines for word in words for p in word
        )
        if n_syllables > _FAST * seconds:
            notes.append(
                f"The lyrics have {n_syllables} syllables for {seconds:g} seconds, faster than anyone sings: "
                f"ask for about {n_syllables / 3:.0f} seconds, or for fewer words."
            )

    def _too_long(self, style: Mapping[str, str], sections: Sequence[SungSection], seconds: float) -> str:
        ids, _ = self.encode_song(style, sections, seconds)
        n_words = sum(len(words) for _, lines in sections for words in lines)
        ends = np.flatnonzero(np.isin(ids, [self._ids["<sp>"], self._ids["<line>"]]))
        fit = int((ends < self._max_prompt - 1).sum())
        return (
            f"The lyrics have {n_words:,} words, and this pack takes about {fit:,} of them: "
            "shorten them, or make several songs."
        )

    def _tags_of(self, slot: str) -> tuple[str, ...]:
        tags = (token[len(slot) + 2 : -1] for token in self.tokens if token.startswith(f"<{slot}:"))
        return tuple(tag for tag in tags if tag != "any")

    def _obeyed(self, slot: str, tags: Mapping[str, Sequence[str]] | None) -> tuple[str, ...]:
        """The slot's tags that the pack declares; of the kinds of song, all if it declares none."""
        known = self._all_tags[slot]
        if tags is None or (slot == "kind" and slot not in tags):
            return known
        return tuple(tag for tag in known if tag in tags.get(slot, ()))

    def _id(self, token: str) -> int:
        if token not in self._ids:
            raise ValueError(f"There is no token {token}.")
        return self._ids[token]


def _checked(data: Any) -> dict[str, Any]:
    """tokenizer.json with all that the class reads.

    Raises:
        ValueError: it lacks something.
    """
    if not isinstance(data, dict) or data.get("format") != 1 or data.get("frontend") != "phonemes":
        raise ValueError("it is no phoneme tokenizer of format 1")
    tokens, genders = data.get("tokens"), data.get("genders")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("its tokens are no list of text")
    any_tags = [f"<{slot}:any>" for slot in (*SLOTS, "seconds")]
    for token in (
        "<bos>",
        "<sing>",
        "<eos>",
        "<line>",
        "<sp>",
        "<layer:0>",
        "<kind:song>",
        *any_tags,
        *PHONES,
    ):
        if tokens.count(token) != 1:
            raise ValueError(f"its tokens have {token} {tokens.count(token)} times, not once")
    if not isinstance(data.get("lexicon"), str) or not isinstance(genders, dict):
        raise ValueError("its lexicon is no text, or its genders no table")
    return data


def _some(items: Sequence[str], most: int = 8, quote: str = '"') -> str:
    """The first few of a list, each once."""
    once = list(dict.fromkeys(items))
    shown = ", ".join(f"{quote}{item[:40]}{quote}" for item in once[:most])
    return f"{shown} and {len(once) - most} more" if len(once) > most else shown
