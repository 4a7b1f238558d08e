"""The phoneme front end: requests -> ids."""

import numpy as np
import pytest

from khala_studio.engine.errors import BadRequest
from khala_studio.engine.text.phonemes import PHONES, PhonemeFrontend
from khala_studio.song.request import SongRequest
from khala_studio.training.tokenizer import build
from tests.engine.text.lexicons import LEXICON

DATA = build(LEXICON)


@pytest.fixture(scope="module")
def frontend():
    return PhonemeFrontend(DATA)


def spelled(frontend, prompt_ids):
    return " ".join(frontend.tokens[i] for i in prompt_ids)


def test_layout(frontend):
    request = SongRequest(
        "[Verse]\nHello world\n[Chorus]\nsing", "jazz, 101 bpm, Am, woman, sad, piano", seconds=12
    )
    prompt = frontend.encode(request)
    assert spelled(frontend, prompt.ids) == (
        "<bos> <genre:jazz> <voice:female> <tempo:100> <key:A minor> <mood:sad> <instrument:piano> "
        "<kind:song> <seconds:10> <section:verse> HH AH0 L OW1 <sp> W ER1 L D <line> "
        "<section:chorus> S IH1 NG <line> <sing>"
    )
    assert prompt.ids.dtype == np.int64
    assert prompt.notes == ()


def test_slots_without_words_are_any(frontend):
    ids = frontend.encode(SongRequest("hello", seconds=30)).ids
    assert spelled(frontend, ids[:9]) == (
        "<bos> <genre:any> <voice:any> <tempo:any> <key:any> <mood:any> <instrument:any> "
        "<kind:song> <seconds:30>"
    )


def test_the_slots_stand_always_at_the_same_places(frontend):
    for style in ("", "pop", "slow jazz in C, deep voice, a cappella"):
        ids = frontend.encode(SongRequest("hello", style)).ids
        slots = [frontend.tokens[i].partition(":")[0] for i in ids[1:9]]
        assert slots == ["<genre", "<voice", "<tempo", "<key", "<mood", "<instrument", "<kind", "<seconds"]


def test_training_and_singing_read_the_same(frontend):
    text = "[Verse]\nHello world\nshe runs\n[Chorus]\nsing the star"
    asked = frontend.encode(SongRequest(text, "rock, 97 bpm, husky voice", seconds=20))
    lines = [[["hello", "world"], ["she", "runs"]], [["sing", "the", "star"]]]
    phones = [[[frontend.pronounce(word) for word in line] for line in section] for section in lines]
    sections = [("verse", phones[0]), ("chorus", phones[1])]
    known, places = frontend.encode_song({"genre": "rock", "voice": "husky", "tempo": "97"}, sections, 20.0)
    np.testing.assert_array_equal(asked.ids, known)
    flat = [phone for section in phones for line in section for word in line for phone in word]
    assert [frontend.tokens[i] for i in known[places]] == flat


@pytest.mark.parametrize(
    ("style", "sections"),
    [
        ({"genre": "polka"}, []),
        ({"colour": "blue"}, []),
        ({}, [("mosh pit", [])]),
        ({}, [("verse", [[["QQ"]]])]),
    ],
)
def test_training_refuses_what_has_no_token(frontend, style, sections):
    with pytest.raises(ValueError, match="no "):
        frontend.encode_song(style, sections, None)


def test_a_song_without_length_is_of_any(frontend):
    ids, places = frontend.encode_song({"kind": "any"}, [], None)
    assert spelled(frontend, ids).endswith("<kind:any> <seconds:any> <sing>")
    assert len(places) == 0


@pytest.mark.parametrize(
    "request_",
    [
        SongRequest("", "jazz", instrumental=True),
        SongRequest("hello", "jazz", instrumental=True),
        SongRequest(" ", "jazz, no vocals"),
    ],
)
def test_instrumental_songs_have_no_words(frontend, request_):
    ids = frontend.encode(request_).ids
    assert spelled(frontend, ids[7:]) == "<kind:instrumental> <seconds:30> <sing>"


def test_lyrics_beat_the_word_instrumental(frontend):
    prompt = frontend.encode(SongRequest("hello", "instrumental"))
    assert "<kind:song>" in spelled(frontend, prompt.ids)
    assert "they are sung" in prompt.notes[0]


@pytest.mark.parametrize(
    ("lyrics", "sentence"),
    [
        ("", "no lyrics"),
        (" \n\t ", "no lyrics"),
        ("\0\u200b", "no lyrics"),
        ("[Verse]\n(Chorus)", "only section tags"),
        ("♥ ♥\n...", "no word"),
        ("hello\nпривет мир", 'line 2 has "привет"'),
        ("[Verse]\n\nhello 世界", 'line 3 has "世界"'),
        ("la\n" * 20_000, "20,000 lines"),
        ("la la la " * 600, "1,800 words"),
    ],
)
def test_lyrics_that_cannot_be_sung(frontend, lyrics, sentence):
    with pytest.raises(BadRequest) as error:
        frontend.encode(SongRequest(lyrics))
    assert sentence in error.value.sentence
    assert "\n" not in error.value.sentence


def test_how_many_words_fit_is_true(frontend):
    with pytest.raises(BadRequest, match="about 679 of them"):
        frontend.encode(SongRequest("la la la " * 600))
    assert len(frontend.encode(SongRequest("la " * 679)).ids) <= 2_048


def test_a_style_that_is_a_novel_is_refused(frontend):
    with pytest.raises(BadRequest, match="style is 9,000"):
        frontend.encode(SongRequest("hello", "sad " * 2_250))


def test_section_tags_may_be_in_any_script(frontend):
    assert "<section:chorus>" in spelled(frontend, frontend.encode(SongRequest("[Припев]\nhello")).ids)


def test_notes_say_what_was_left_out(frontend):
    prompt = frontend.encode(SongRequest("hello ♥ [x2] world", "theremin, pop, rock"))
    notes = "\n".join(prompt.notes)
    assert '"theremin"' in notes
    assert "60 to 150 bpm" in notes
    assert '"rock"' in notes
    assert "♥" in notes
    assert "[x2]" in notes


def test_too_many_words_for_the_seconds_is_a_note(frontend):
    assert frontend.encode(SongRequest("la " * 44, seconds=10)).notes == ()
    (note,) = frontend.encode(SongRequest("la " * 60, seconds=10)).notes
    assert "60 syllables for 10 seconds" in note
    assert "about 20 seconds" in note


def test_only_what_the_pack_declares_is_used():
    small = PhonemeFrontend(
        DATA, tags={"genre": ["pop"], "tempo": ["90", "100"]}, sections=["verse", "intro"]
    )
    prompt = small.encode(SongRequest("[Intro]\n[Chorus]\nhello", "rock, sad, slow, woman"))
    assert spelled(small, prompt.ids[:12]) == (
        "<bos> <genre:any> <voice:any> <tempo:90> <key:any> <mood:any> <instrument:any> "
        "<kind:song> <seconds:30> <section:intro> <section:verse> HH"
    )
    assert any("no chorus" in note for note in prompt.notes)


def test_empty_sections_are_sung_by_the_band_only(frontend):
    ids = frontend.encode(SongRequest("[Intro]\n[Verse]\n[Chorus]\nhello\n[Outro]")).ids
    names = [token for token in spelled(frontend, ids).split() if token.startswith("<section")]
    assert names == ["<section:intro>", "<section:chorus>", "<section:outro>"]


def test_words_of_the_request_do_not_depend_on_punctuation(frontend):
    plain = frontend.encode(SongRequest("hello world")).ids
    for typed in ("“Hello”, world!", "HELLO — WORLD…", "ｈｅｌｌｏ\u3000ｗｏｒｌｄ", "he\u200bllo  world ♪"):
        np.testing.assert_array_equal(frontend.encode(SongRequest(typed)).ids, plain)


def test_vocabulary():
    tokens = DATA["tokens"]
    assert len(tokens) == len(set(tokens)) == 250
    assert tokens[:6] == ["<pad>", "<bos>", "<sing>", "<eos>", "<line>", "<sp>"]
    base = tokens.index("<layer:0>")
    assert base == len(tokens) - 1
    assert [tokens[base - k] for k in range(64)] == [f"<layer:{k}>" for k in range(64)]
    assert set(PHONES) < set(tokens)
