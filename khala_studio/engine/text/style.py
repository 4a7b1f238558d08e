"""A style in free words -> the few tags a pack obeys, and the words it does not."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from khala_studio.engine.text.style_words import ALIASES, FILLERS, TEMPO_WORDS, VOICE_WORDS
from khala_studio.song.lyrics import normalise

Tags = Mapping[str, Sequence[str]]  # slot -> its tags, "tempo" as numbers written out

_PITCHES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_SHARPENED = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}

_BPM = re.compile(
    r"\b(\d{2,3})(?:\.\d+)?\s*(?:bpm\b|beats?\b)|\b(?:tempo|bpm)\s*(?:of|:|=)?\s*(\d{2,3})\b", re.IGNORECASE
)
_ACCIDENTAL = r"([#♯♭b]|[\s-]sharp|[\s-]flat)?"
_KEY_WITH_MODE = re.compile(rf"(?<!\w)([A-Ga-g]){_ACCIDENTAL}[\s-]*(major|minor|maj|min)\b\.?", re.IGNORECASE)
_KEY_IN_CHORDS = re.compile(r"(?<!\w)([A-G])([#♯♭b])?m(?!\w)")  # "Am", "F#m"
_KEY_BARE = re.compile(r"\b(?:in|key of|key:?)\s+([A-G])([#♯♭b])?(?!\w)")  # "in C"


@dataclass(slots=True)
class Style:
    """What was understood."""

    slots: dict[str, str] = field(default_factory=dict)  # slot -> one of its tags
    not_understood: list[str] = field(default_factory=list)  # words that name no tag of the pack
    passed_over: list[str] = field(default_factory=list)  # tags of a slot that an earlier word had taken


def parse_style(text: str, tags: Tags, genders: Mapping[str, str] | None = None) -> Style:
    """Find tags in free text such as "calm folk, female voice, 90 bpm, in A minor".

    Args:
        tags: what the pack obeys; nothing else is ever chosen.
        genders: the gender of each named voice.
    """
    text = normalise(text)
    style = Style()
    text = _take_key(text, tags.get("key", ()), style)
    text = _take_bpm(text, tags.get("tempo", ()), style)
    phrases = _phrases(tags)
    characters = set(genders or {})
    for item in re.split(r"[,;./|\n()\[\]:=]+", text.lower()):
        words = re.findall(r"[^\W_]+(?:['&#+][^\W_]+)*", item)
        _read_item(words, phrases, characters, style, genders or {})
    if style.slots.get("genre") == "rock" and "acoustic" not in text.lower():
        _plug_in(tags, style)
    return style


def _plug_in(tags: Tags, style: Style) -> None:
    """A rock song's guitar is electric unless it is called acoustic."""
    if style.slots.get("instrument") == "acoustic guitar" and "electric guitar" in tags["instrument"]:
        style.slots["instrument"] = "electric guitar"


def describe_tags(tags: Tags) -> str:
    """What a pack obeys, in half a sentence."""
    parts = []
    for slot, values in tags.items():
        if slot == "tempo":
            tempos = sorted(int(value) for value in values)
            parts += [f"tempo ({tempos[0]} to {tempos[-1]} bpm)"] if tempos else []
        elif slot == "key":
            parts += ["key (such as A minor)"] if values else []
        elif values:
            parts.append(f"{slot} ({', '.join(values)})")
    return "; ".join(parts)


def nearest_tempo(bpm: float, tempos: Sequence[str]) -> str:
    """The tempo tag nearest to `bpm`."""
    return min(tempos, key=lambda tempo: abs(int(tempo) - bpm))


def _phrases(tags: Tags) -> dict[tuple[str, ...], tuple[str, str]]:
    """Words in a row -> the slot and tag they stand for; a tag's own name beats other words."""
    phrases: dict[tuple[str, ...], tuple[str, str]] = {}
    for slot, aliases in ALIASES.items():
        for tag, others in aliases.items():
            if tag in tags.get(slot, ()):
                phrases |= {tuple(other.split()): (slot, tag) for other in others.split(", ")}
    if tempos := tags.get("tempo", ()):
        for bpm, others in TEMPO_WORDS.items():
            phrases |= {
                tuple(other.split()): ("tempo", nearest_tempo(bpm, tempos)) for other in others.split(", ")
            }
    for slot, values in tags.items():
        if slot not in {"tempo", "key", "voice"}:
            phrases |= {tuple(value.lower().replace("-", " ").split()): (slot, value) for value in values}
    phrases |= {(value,): ("voice", value) for value in tags.get("voice", ()) if value in {"female", "male"}}
    phrases |= {("character", value): ("voice", value) for value in tags.get("voice", ())}
    return phrases


def _read_item(
    words: list[str],
    phrases: Mapping[tuple[str, ...], tuple[str, str]],
    characters: set[str],
    style: Style,
    genders: Mapping[str, str],
) -> None:
    at = 0
    while at < len(words):
        if _is_voice_character(words, at, characters) and ("character", words[at]) in phrases:
            _choose(*phrases["character", words[at]], words[at], style, genders)
            at += 1
            continue
        for n in range(min(4, len(words) - at), 0, -1):
            if found := phrases.get(tuple(words[at : at + n])):
                _choose(*found, " ".join(words[at : at + n]), style, genders)
                break
        else:
            n = 1
            if words[at] not in FILLERS:
                style.not_understood.append(words[at])
        at += n


def _is_voice_character(words: Sequence[str], at: int, characters: set[str]) -> bool:
    """ "warm" is a voice in "warm female voice" and alone between commas, but not in "warm piano"."""
    if words[at] not in characters:
        return False
    after = [word for word in words[at + 1 :] if word not in characters]
    alone = all(word in FILLERS or word in characters for word in words)
    return alone or bool(after and after[0] in VOICE_WORDS)


def _choose(slot: str, tag: str, words: str, style: Style, genders: Mapping[str, str]) -> None:
    """The first word for a slot wins; but a voice and its gender agree, and a gender beats a voice."""
    taken = style.slots.setdefault(slot, tag)
    if taken == tag or (slot == "voice" and genders.get(taken) == tag):
        return
    if slot == "voice" and genders.get(tag) == taken:
        style.slots[slot] = tag
    elif slot == "voice" and taken in genders and tag not in genders:
        style.slots[slot] = tag
        style.passed_over.append(taken)
    elif not (
        slot == "tempo" and words in " ".join(TEMPO_WORDS.values())
    ):  # "fast, 120 bpm" is no contradiction
        style.passed_over.append(words)


def _take_bpm(text: str, tempos: Sequence[str], style: Style) -> str:
    match = _BPM.search(text)
    if not match:
        return text
    if tempos:
        style.slots["tempo"] = nearest_tempo(float(match[1] or match[2]), tempos)
    else:
        style.not_understood.append(match[0].strip())
    return text[: match.start()] + " " + text[match.end() :]


def _take_key(text: str, keys: Sequence[str], style: Style) -> str:
    for pattern in (_KEY_WITH_MODE, _KEY_IN_CHORDS, _KEY_BARE):
        if match := pattern.search(text):
            groups = [*match.groups(), None][:3]
            minor = pattern is _KEY_IN_CHORDS or (groups[2] or "").lower().startswith("min")
            accidental = _SHARPENED.get((groups[1] or "").strip(" -").lower(), 0)
            pitch = (_PITCHES[str(match[1]).upper()] + accidental) % 12
            key = f"{_NAMES[pitch]} {'minor' if minor else 'major'}"
            if key in keys:
                style.slots["key"] = key
            elif not keys and pattern is _KEY_WITH_MODE:
                style.not_understood.append(match[0].strip())
            else:
                continue
            return text[: match.start()] + " " + text[match.end() :]
    return text
