"""Lyrics as people paste them."""

import time

import pytest

from khala_studio.song.lyrics import SECTION_NAMES, Lyrics, Section, normalise, parse


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("“Don’t stop”", '"Don\'t stop"'),
        ("don´t rock ʼn′ roll ^", "don't rock 'n' roll '"),
        ("¨hi¨", '"hi"'),
        ("one — two – three‑four | five", "one - two - three-four - five"),
        ("wait…", "wait..."),
        ("ＨＥＬＬＯ，　ｗｏｒｌｄ！１２", "HELLO, world!12"),
        ("「quoted」『so』。【Verse】", "\"quoted\"'so'.[Verse]"),
        ("2×3÷4～5", "2x3/4~5"),
        ("a・b·c", "a b.c"),
        ("no\u00a0break\u2009thin\u3000wide\u2028line", "no break thin wide line"),
        ("zero\u200bwidth\ufeff \u202ebidi\u202c★", "zerowidth bidi"),
        ("nul\0 bell\x07 del\x7f\tend", "nul bell del end"),
        ("Сome bаck hоme", "Come back home"),  # with Cyrillic С, а and о
        ("ΤΗΕ ΕΝΟ", "THE ENO"),  # Greek capitals
        ("привет Ελλάδα", "привет Ελλάδα"),
        ("cafe\u0301", "café"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("a  b \r\n\r\nc\rd", "a b\n\nc\nd"),
        ("\n\n  first\nlast\n\n", "first\nlast"),
        ("", ""),
    ],
)
def test_normalise(typed, plain):
    assert normalise(typed) == plain
    assert normalise(plain) == plain


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("[Verse 1]", "verse"),
        ("[verse]", "verse"),
        ("【Verse 2】", "verse"),
        ("[Verse II]", "verse"),
        ("[Verse 1: Anna & Bert]", "verse"),
        ("Verse:", "verse"),
        ("VERSE 3:", "verse"),
        ("Verse 2", "verse"),
        ("**Verse 2**", "verse"),
        ("# Verse", "verse"),
        ("[Couplet]", "verse"),
        ("[Strophe 1]", "verse"),
        ("[Estrofa]", "verse"),
        ("[Куплет 1]", "verse"),
        ("[主歌]", "verse"),
        ("[CHORUS]", "chorus"),
        ("(Chorus)", "chorus"),
        ("(chorus x2)", "chorus"),
        ("{Chorus}", "chorus"),
        ("[Hook]", "chorus"),
        ("[Refrain]", "chorus"),
        ("[Refrão]", "chorus"),
        ("[Estribillo]", "chorus"),
        ("[Припев]", "chorus"),
        ("[サビ]", "chorus"),
        ("[Pre-Chorus]", "pre-chorus"),
        ("[Prechorus 2]", "pre-chorus"),
        ("Pre chorus:", "pre-chorus"),
        ("(Bridge)", "bridge"),
        ("[Middle 8]", "bridge"),
        ("[Brücke]", "bridge"),
        ("[Intro]", "intro"),
        ("[Outro]", "outro"),
        ("(OUTRO)", "outro"),
        ("[Instrumental]", "instrumental"),
        ("[Guitar Solo]", "instrumental"),
    ],
)
def test_section_tags(tag, name):
    parsed = parse(f"{tag}\nwords")
    assert parsed.sections == (Section(name, parsed.sections[0].label, ("words",)),)
    assert name in SECTION_NAMES
    assert parsed.sections[0].label


@pytest.mark.parametrize(
    "line",
    [
        "(la la la)",
        "(drop)",
        "hold on (hold on)",
        "the chorus of angels",
        "I said: go",
        "verse by verse",
        "Bridge over water",
        "(oh, the bridge)",
        "chorus",
    ],
)
def test_sung_though_it_looks_like_a_tag(line):
    assert parse(line).sections == (Section("verse", "", (line,)),)


def test_sections_keep_their_order_and_labels():
    text = "before\n[Chorus]\none\n\ntwo\n[Solo]\n[Verse 2] three\n"
    assert parse(text).sections == (
        Section("verse", "", ("before",)),
        Section("chorus", "Chorus", ("one", "two")),
        Section("instrumental", "Solo", ()),
        Section("verse", "Verse 2", ("three",)),
    )


def test_stanzas_are_verses_where_there_is_no_tag():
    assert parse("a\nb\n\n\nc").sections == (Section("verse", "", ("a", "b")), Section("verse", "", ("c",)))


def test_directions_in_square_brackets_are_not_sung():
    parsed = parse("[Verse]\nI love you [x2]\n[whispered]\ngoodbye {softly}")
    assert parsed.lines == ("I love you", "goodbye")
    assert parsed.ignored == ("[x2]", "[whispered]", "{softly}")


@pytest.mark.parametrize("text", ["", " \n\t\n", "\0\u200b"])
def test_nothing_gives_nothing(text):
    assert parse(text) == Lyrics(())


def test_tags_alone_give_sections_without_lines():
    parsed = parse("[Verse]\n[Chorus]")
    assert [section.name for section in parsed.sections] == ["verse", "chorus"]
    assert parsed.lines == ()


@pytest.mark.parametrize("unit", ["la la la\n", "[", "*", "(", ":", "а", "#_ ", "[Verse]\n", "9"])
def test_long_lyrics_take_time_in_proportion(unit):
    start = time.perf_counter()
    parse(unit * 20_000)
    assert time.perf_counter() - start < 5
