"""A song on paper: key, tempo, chords, sections, lyrics, tunes, and the bands that play it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from khala_studio.training.corpus.genres import GENRES, mood_of
from khala_studio.training.corpus.lyrics_writer import VALID_SHARE, LyricsWriter
from khala_studio.training.corpus.melody import BEATS, SUNG, Note, chord, line_notes
from khala_studio.training.corpus.styles import KEYS, VOICES, Voice
from khala_studio.training.corpus.words import Pronounce, syllables

RANGES = {"male": (45, 64), "female": (55, 71)}  # MIDI
LONGEST_SONG = 38.0  # s
SHORTEST_SONG = 20.0
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 3, 0, 4), (0, 3, 4, 0), (0, 5, 1, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 6), (0, 6, 5, 6), (0, 3, 0, 6), (0, 5, 3, 4)),
}
PLANS = tuple(
    tuple(plan.split())
    for plan in (
        "verse4 chorus2|verse4 chorus4|verse2 chorus2|verse2 chorus2 verse2 chorus2|chorus2 chorus2|verse4|"
        "chorus4|verse2 chorus4|verse2 chorus2 chorus2|verse4 chorus2 chorus2"
    ).split("|")
)  # section and its number of lines; a chorus always has the same words and tune


@dataclass(frozen=True)
class Line:
    """One line of lyrics and its tune; `phones` by word."""

    text: str
    phones: tuple[tuple[str, ...], ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Section:
    """`lines` are numbers into Composition.lines; beats are counted from the start of the song."""

    name: str
    first_beat: int
    bars: int
    lines: tuple[int, ...]
    progression: tuple[int, ...]


@dataclass(frozen=True)
class Composition:
    """What the singer needs; several bands may play it."""

    number: int
    seed: int
    split: str
    short: bool
    voice: Voice
    bpm: int
    pitch: int  # 0 = C
    mode: str
    swing: float
    sections: tuple[Section, ...]
    lines: tuple[Line, ...]

    @property
    def root(self) -> int:
        return 48 + self.pitch

    @property
    def key(self) -> str:
        return KEYS[self.pitch + (0 if self.mode == "major" else 12)]

    @property
    def beats(self) -> int:
        return self.sections[-1].first_beat + 4 * self.sections[-1].bars

    def seconds(self, beat: float) -> float:
        """Time of a beat in a song that begins at 0; off-beats swing."""
        whole, part = divmod(beat, 1.0)
        bent = 2 * self.swing * part if part < 0.5 else self.swing + (part - 0.5) * 2 * (1 - self.swing)
        return (whole + bent) * 60.0 / self.bpm


@dataclass(frozen=True)
class Arrangement:
    """One band for a composition."""

    letter: str
    genre: str
    instrument: str
    dreamy: bool
    mood: str


def split_of_number(number: int) -> str:
    """One song in twenty is held out, and one of the short ones in forty."""
    return "valid" if number % 20 == 3 or number % 40 == 21 else "train"


def tune_split(notes: list[Note]) -> str:
    """The only split this tune may appear in, whatever its key."""
    shape = [(n.start, n.duration, n.midi - notes[0].midi) for n in notes]
    return "valid" if hashlib.sha256(repr(shape).encode()).digest()[0] % VALID_SHARE == 0 else "train"


def compose(number: int, seed: int, pronounce: Pronounce) -> Composition:
    """Song `number` of the corpus with this `seed`."""
    rng = np.random.default_rng([seed, number])
    short, split = number % 4 == 1, split_of_number(number)
    lead = list(GENRES)[rng.integers(len(GENRES))]
    genre = GENRES[lead]
    bpm = 5 * int(rng.integers(genre.slowest // 5, genre.fastest // 5 + 1))
    mode = "minor" if rng.random() < genre.minor else "major"
    swing = genre.swing if rng.random() < 0.7 else 0.5
    pitch = int(rng.integers(12))
    voice = VOICES[rng.integers(len(VOICES))]
    plan = _short_plan(bpm, rng) if short else _long_plan(bpm, rng)
    progressions = {
        name: PROGRESSIONS[mode][rng.integers(len(PROGRESSIONS[mode]))] for name in ("verse", "chorus")
    }
    writer = LyricsWriter(pronounce, split)
    longest = int(np.clip(round(SUNG * 60 / bpm * 2.6), 6, 11))
    lines: list[Line] = []
    first_lines: dict[str, tuple[int, ...]] = {}
    sections: list[Section] = []
    beat = 0
    for name, count, bars in plan:
        progression = progressions["chorus" if name == "chorus" else "verse"]
        numbers: tuple[int, ...] = ()
        if name == "chorus" and name in first_lines:
            numbers = first_lines[name]
        elif count:
            texts = _texts(writer, rng, name, count, max(4, longest - 5), longest)
            numbers = tuple(range(len(lines), len(lines) + count))
            first_lines[name] = numbers
            for i, text in enumerate(texts):
                bar_chords = [chord(48 + pitch, mode, progression[(2 * i + k) % 4]) for k in (0, 1)]
                centre = sum(RANGES[voice.gender]) / 2 + (1.5 if name == "chorus" else -1.0)
                lines.append(
                    _line(writer, text, bar_chords, 48 + pitch, mode, voice.gender, centre, rng, split)
                )
        sections.append(Section(name, beat, bars, numbers, progression))
        beat += 4 * bars
    return Composition(
        number, seed, split, short, voice, bpm, pitch, mode, swing, tuple(sections), tuple(lines)
    )


def _texts(
    writer: LyricsWriter, rng: np.random.Generator, name: str, count: int, shortest: int, longest: int
) -> list[str]:
    if count == 1:
        return [writer.line(rng, name, shortest, longest)]
    return [text for _ in range(count // 2) for text in writer.couplet(rng, name, shortest, longest)]


def _line(
    writer: LyricsWriter,
    text: str,
    chords: list[list[int]],
    root: int,
    mode: str,
    gender: str,
    centre: float,
    rng: np.random.Generator,
    split: str,
) -> Line:
    phones = writer.phones(text)
    while True:
        notes = line_notes(syllables(phones), chords, root, mode, *RANGES[gender], centre, rng)
        if tune_split(notes) == split:
            return Line(text, tuple(map(tuple, phones)), tuple(notes))


def _long_plan(bpm: int, rng: np.random.Generator) -> list[tuple[str, int, int]]:
    """(section, lines, bars) of a whole song of SHORTEST_SONG..LONGEST_SONG seconds."""
    intro = 1 if bpm < 90 else 2
    fitting = []
    for plan in PLANS:
        lines = sum(int(part[-1]) for part in plan)
        if SHORTEST_SONG - 1 <= (4 * intro + BEATS * lines + 4) * 60 / bpm <= LONGEST_SONG - 1.5:
            fitting.append(plan)
    plan = fitting[rng.integers(len(fitting))]
    middle = [(part[:-1], int(part[-1]), int(part[-1]) * BEATS // 4) for part in plan]
    return [("intro", 0, intro), *middle, ("outro", 0, 1)]


def _short_plan(bpm: int, rng: np.random.Generator) -> list[tuple[str, int, int]]:
    """One or two lines and nothing else."""
    lines = 2 if bpm >= 125 else 1
    return [("verse" if rng.random() < 0.5 else "chorus", lines, lines * BEATS // 4)]


def arrangements(song: Composition) -> list[Arrangement]:
    """Two or three different bands that can play the song at its tempo and in its swing."""
    rng = np.random.default_rng([song.seed, song.number, 1])
    able = [
        n
        for n, g in GENRES.items()
        if g.slowest <= song.bpm <= g.fastest and (song.swing == 0.5 or n not in ("edm", "rock"))
    ]
    count = 2 if song.short or rng.random() < 0.6 else 3
    picked = [able[i % len(able)] for i in rng.permutation(len(able))[:count]]
    while len(picked) < count:
        picked.append(able[rng.integers(len(able))])
    found = []
    used: set[str] = set()
    for letter, genre in zip("abc", picked, strict=False):
        choices = [i for i in GENRES[genre].front if i not in used]
        instrument = choices[rng.integers(len(choices))]
        used.add(instrument)
        dreamy = genre in ("ballad", "pop", "folk", "hiphop") and song.bpm <= 105 and rng.random() < 0.2
        mood = mood_of(song.mode, song.bpm, genre, dreamy)
        found.append(Arrangement(letter, genre, instrument, dreamy, mood))
    return found
