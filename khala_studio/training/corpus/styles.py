"""The words that describe a song to the model: one table for corpus, tokenizer and the pack's controls.

A tag belongs here only if the corpus can make it audibly true. Each list's order is the order of the token
ids, so append, never insert.
"""

from typing import NamedTuple


class Voice(NamedTuple):
    """One singer of the corpus."""

    name: str  # the character, as people ask for it
    gender: str  # "female" or "male"
    source: str  # Kokoro voice, or a blend such as "af_sarah:0.5+af_heart:0.5"


GENRES = ("pop", "rock", "ballad", "edm", "folk", "jazz", "hiphop", "country")

VOICES = (
    Voice("bright", "female", "af_sarah"),
    Voice("warm", "female", "af_heart"),
    Voice("husky", "female", "af_bella"),
    Voice("clear", "female", "bf_emma"),
    Voice("soft", "female", "af_sarah:0.5+af_heart:0.5"),
    Voice("deep", "male", "bm_george"),
    Voice("strong", "male", "am_fenrir"),
    Voice("light", "male", "am_puck"),
    Voice("smooth", "male", "am_michael"),
    Voice("mellow", "male", "am_fenrir:0.5+am_puck:0.5"),
)
GENDERS = ("female", "male")

MOODS = ("happy", "sad", "calm", "energetic", "dreamy", "dark")

# The instrument one hears in front of the band.
INSTRUMENTS = (
    "piano",
    "electric piano",
    "organ",
    "acoustic guitar",
    "electric guitar",
    "strings",
    "violin",
    "flute",
    "saxophone",
    "trumpet",
    "synth",
    "vibraphone",
)

PITCHES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{pitch} {mode}" for mode in ("major", "minor") for pitch in PITCHES)

TEMPOS = tuple(range(60, 151, 5))  # beats a minute
SECONDS = tuple(range(5, 61, 5))  # asked length, to the nearest

SECTIONS = ("intro", "verse", "pre-chorus", "chorus", "bridge", "instrumental", "outro")

KINDS = ("song", "a cappella", "instrumental")
