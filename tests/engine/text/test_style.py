"""Free words -> style tags."""

import pytest

from khala_studio.engine.text.style import describe_tags, parse_style
from khala_studio.training.corpus import styles

TAGS = {
    "genre": styles.GENRES,
    "voice": (*styles.GENDERS, *(voice.name for voice in styles.VOICES)),
    "tempo": tuple(map(str, styles.TEMPOS)),
    "key": styles.KEYS,
    "mood": styles.MOODS,
    "instrument": styles.INSTRUMENTS,
    "kind": styles.KINDS,
}
GENDERS = {voice.name: voice.gender for voice in styles.VOICES}


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("", {}),
        ("pop, happy, 120 bpm", {"genre": "pop", "mood": "happy", "tempo": "120"}),
        ("ballad in Am, piano", {"genre": "ballad", "key": "A minor", "instrument": "piano"}),
        ("woman", {"voice": "female"}),
        ("girl singer, rap", {"voice": "female", "genre": "hiphop"}),
        ("a man's voice", {"voice": "male"}),
        ("Hip-Hop", {"genre": "hiphop"}),
        ("fast techno", {"genre": "edm", "tempo": "140"}),
        ("fast techno, 128 BPM", {"genre": "edm", "tempo": "130"}),
        ("tempo: 61", {"tempo": "60"}),
        ("999 bpm", {"tempo": "150"}),
        ("very slow", {"tempo": "60"}),
        ("F# minor", {"key": "Gb minor"}),
        ("A-flat major", {"key": "Ab major"}),
        ("a minor", {"key": "A minor"}),
        ("Bbm", {"key": "Bb minor"}),
        ("key of C", {"key": "C major"}),
        ("rock with guitar", {"genre": "rock", "instrument": "electric guitar"}),
        ("folk with guitar", {"genre": "folk", "instrument": "acoustic guitar"}),
        ("warm female voice", {"voice": "warm"}),
        ("female, warm voice", {"voice": "warm"}),
        ("warm piano, bright", {"instrument": "piano", "voice": "bright"}),
        ("soft strings", {"instrument": "strings", "mood": "calm"}),
        ("acapella", {"kind": "a cappella"}),
        ("genre=jazz; mood=dreamy; voice=deep", {"genre": "jazz", "mood": "dreamy", "voice": "deep"}),
        ("ＪＡＺＺ，　ｓａｄ", {"genre": "jazz", "mood": "sad"}),
    ],
)  # fmt: skip
def test_understood(text, slots):
    assert parse_style(text, TAGS, GENDERS).slots == slots


def test_words_that_name_no_tag_are_returned():
    style = parse_style("a calm song with theremin and lo-fi crackle", TAGS, GENDERS)
    assert style.slots == {"mood": "calm", "kind": "song"}
    assert style.not_understood == ["theremin", "lo", "fi", "crackle"]


def test_one_tag_a_slot_the_first_wins():
    style = parse_style("pop rock, sad, happy", TAGS, GENDERS)
    assert (style.slots["genre"], style.slots["mood"]) == ("pop", "sad")
    assert style.passed_over == ["rock", "happy"]


def test_a_gender_beats_a_voice_of_the_other():
    assert "deep" in GENDERS
    style = parse_style("deep female voice", TAGS, GENDERS)
    assert style.slots["voice"] == "female"
    assert style.passed_over == ["deep"]


def test_only_tags_of_the_pack_are_chosen():
    style = parse_style("techno, sad, Am, 120 bpm, woman", {"genre": ("pop",), "tempo": ("90",)})
    assert style.slots == {"tempo": "90"}
    assert set(style.not_understood) == {"techno", "sad", "am", "woman"}


def test_every_tag_is_understood_by_its_own_name():
    for slot, tags in TAGS.items():
        for tag in tags:
            text = f"{tag} bpm" if slot == "tempo" else tag
            assert parse_style(text, TAGS, GENDERS).slots[slot] == tag


def test_describe_tags():
    text = describe_tags(TAGS)
    assert "60 to 150 bpm" in text
    assert "husky" in text
    assert describe_tags({"genre": (), "tempo": ()}) == ""


def test_a_full_style_is_read_back_as_it_was_meant():
    for n in range(60):
        genre, mood = styles.GENRES[n % 8], styles.MOODS[n % 6]
        voice, key = styles.VOICES[n % 10].name, styles.KEYS[n % 24]
        tempo, instrument = str(styles.TEMPOS[n % 19]), styles.INSTRUMENTS[n % 12]
        style = parse_style(
            f"{genre}, {voice} voice, {tempo} bpm, {key}, {mood}, {instrument}", TAGS, GENDERS
        )
        assert style.slots == {
            "genre": genre,
            "voice": voice,
            "tempo": tempo,
            "key": key,
            "mood": mood,
            "instrument": instrument,
        }
        assert not style.not_understood
        assert not style.passed_over


def test_tempo_and_key_that_a_pack_does_not_follow_are_named_whole():
    style = parse_style("folk, 92 bpm, in A minor", {"genre": ("folk",)})
    assert style.slots == {"genre": "folk"}
    assert sorted(style.not_understood) == ["92 bpm", "A minor"]
