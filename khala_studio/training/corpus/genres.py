"""What each genre and each front instrument plays. Patterns are 16 steps a bar, "x" is a hit."""

from __future__ import annotations

from dataclasses import dataclass

DRUM_KEYS = dict(kick=36, snare=38, hat=42, open=46, ride=51, clap=39, rim=37, shaker=70)


@dataclass(frozen=True)
class Genre:
    """How a band plays. Programs are General MIDI numbers from 0; `front` says who may lead."""

    slowest: int
    fastest: int
    drums: dict[str, str]
    kit: int
    bass: str  # a pattern of BASS
    bass_program: int
    behind: tuple[int, str]  # program and style of the second chord part
    front: tuple[str, ...]
    minor: float = 0.25  # share of songs in a minor key
    swing: float = 0.5  # place of the off-beat in the beat, when this genre leads
    sevenths: bool = False


GENRES = {
    "pop": Genre(
        80,
        125,
        dict(kick="x.....x.x.......", snare="....x.......x...", hat="x.x.x.x.x.x.x.x."),
        0,
        "eighth",
        33,
        (89, "pad"),
        ("piano", "electric piano", "synth", "acoustic guitar", "strings"),
    ),
    "rock": Genre(
        95,
        140,
        dict(kick="x.x.....x.x.....", snare="....x.......x..x", hat="x.x.x.x.x.x.x.x."),
        16,
        "eighth",
        34,
        (29, "chug"),
        ("electric guitar", "organ", "piano"),
    ),
    "ballad": Genre(
        65,
        85,
        dict(kick="x.......x.x.....", rim="....x.......x...", hat="x...x...x...x..."),
        0,
        "half",
        32,
        (48, "pad"),
        ("piano", "electric piano", "acoustic guitar", "flute", "violin", "saxophone"),
    ),
    "edm": Genre(
        110,
        130,
        dict(
            kick="x...x...x...x...", clap="....x.......x...", open="..x...x...x...x.", hat="xxxxxxxxxxxxxxxx"
        ),
        24,
        "offbeat",
        38,
        (90, "pluck"),
        ("synth", "piano", "electric piano"),
    ),
    "folk": Genre(
        75,
        115,
        dict(kick="x.......x.......", shaker="..x...x...x...x."),
        0,
        "half",
        32,
        (24, "arp"),
        ("acoustic guitar", "violin", "flute"),
    ),
    "jazz": Genre(
        85,
        130,
        dict(ride="x...x.x.x...x.x.", hat="....x.......x...", kick="x.......x......."),
        32,
        "walk",
        32,
        (26, "comp"),
        ("piano", "saxophone", "trumpet", "vibraphone"),
        swing=0.62,
        sevenths=True,
    ),
    "hiphop": Genre(
        75,
        100,
        dict(kick="x..x......x.....", snare="....x.......x...", hat="x.xxx.x.x.x.xxx."),
        25,
        "sub",
        38,
        (88, "pad"),
        ("electric piano", "vibraphone", "synth", "flute"),
        minor=0.8,
    ),
    "country": Genre(
        85,
        130,
        dict(
            kick="x.......x.......",
            snare="....x.......x...",
            hat="x.x.x.x.x.x.x.x.",
            shaker="x.xxx.xxx.xxx.xx",
        ),
        0,
        "root-fifth",
        33,
        (27, "pluck"),
        ("acoustic guitar", "electric guitar", "violin", "piano"),
        minor=0.1,
    ),
}

# Beat, beats held, step above the root of: 0 root, 1 third, 2 fifth, 3 sixth.
BASS: dict[str, tuple[tuple[float, float, int], ...]] = {
    "eighth": tuple((i / 2, 0.5, 0) for i in range(8)),
    "half": ((0, 2, 0), (2, 2, 2)),
    "offbeat": tuple((i + 0.5, 0.45, 0) for i in range(4)),
    "walk": ((0, 1, 0), (1, 1, 1), (2, 1, 2), (3, 1, 3)),
    "sub": ((0, 1.4, 0), (1.75, 0.5, 0), (2.5, 1.4, 0)),
    "root-fifth": ((0, 1, 0), (2, 1, 2)),
    "held": ((0, 3.5, 0),),
}

PROGRAMS = {
    "piano": 0,
    "electric piano": 4,
    "organ": 16,
    "acoustic guitar": 25,
    "electric guitar": 27,
    "strings": 48,
    "violin": 40,
    "flute": 73,
    "saxophone": 66,
    "trumpet": 56,
    "synth": 81,
    "vibraphone": 11,
}
MELODIC = frozenset(("violin", "flute", "saxophone", "trumpet"))  # these play no chords

_STYLES = {
    "piano": "block",
    "electric piano": "block",
    "organ": "pad",
    "acoustic guitar": "strum",
    "electric guitar": "pluck",
    "strings": "pad",
    "synth": "stab",
    "vibraphone": "arp",
}
_GENRE_STYLES = {
    ("ballad", "piano"): "arp",
    ("ballad", "electric piano"): "arp",
    ("folk", "acoustic guitar"): "strum",
    ("jazz", "piano"): "comp",
    ("jazz", "vibraphone"): "comp",
    ("rock", "electric guitar"): "block",
    ("ballad", "acoustic guitar"): "arp",
}


def chord_style(genre: str, instrument: str, dreamy: bool) -> str:
    """How a chord instrument plays: a style of band.chord_hits."""
    if dreamy and instrument in ("piano", "electric piano", "acoustic guitar", "vibraphone"):
        return "arp"
    return _GENRE_STYLES.get((genre, instrument), _STYLES[instrument])


def front_program(genre: str, instrument: str) -> int:
    """General MIDI program of the front instrument; a rock guitar is overdriven."""
    return 29 if (genre, instrument) == ("rock", "electric guitar") else PROGRAMS[instrument]


def mood_of(mode: str, bpm: int, genre: str, dreamy: bool) -> str:
    """The mood one hears, from mode, tempo and genre (`dreamy` = played with pads and long reverb)."""
    if dreamy:
        return "dreamy"
    if mode == "minor":
        return "sad" if bpm < 95 else "dark"
    if genre in ("rock", "edm") and bpm >= 110:
        return "energetic"
    return "calm" if bpm < 90 else "happy"
