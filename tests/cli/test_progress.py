"""The line on the terminal."""

import io

import pytest

from khala_studio.cli.progress import ProgressLine, describe, duration
from khala_studio.engine.events import Notice, Progress, Stage, StageStarted


class Terminal(io.StringIO):
    def isatty(self):
        return True


EVENTS = [
    StageStarted(Stage.COMPOSE, 100, "tokens"),
    Progress(Stage.COMPOSE, 50, 100, 320.4, 12.3),
    Notice("The voice of a bird is not known."),
    Progress(Stage.COMPOSE, 100, 100, 320.4, 0.0),
    StageStarted(Stage.SHARPEN, 64, "layers"),
    Progress(Stage.SHARPEN, 8, 64, 4.25, 75.0),
]


def test_a_terminal_gets_one_line_that_is_drawn_over(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    line = ProgressLine(stream)
    for event in EVENTS:
        line.handle(event)
    text = stream.getvalue()
    assert "\rComposing  [############            ] 50/100 tokens  320 tokens/s  12 s left" in text
    assert "8/64 layers  4.2 layers/s  1:15 left" in text
    assert "Composed 100 tokens" in text
    # Nothing of the bar is left before the notice.
    assert text.split("The voice")[0].endswith(" \r")
    assert "bird is not known.\n" in text


def test_a_narrow_terminal_is_not_wrapped(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    line = ProgressLine(stream)
    for event in EVENTS[:2]:
        line.handle(event)
    assert max(map(len, stream.getvalue().split("\r"))) < 30


def test_a_file_gets_a_line_a_stage():
    stream = io.StringIO()
    line = ProgressLine(stream)
    for event in EVENTS:
        line.handle(event)
    line.close()
    assert "\r" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 3


def test_a_closed_terminal_does_not_stop_the_song():
    stream = Terminal()
    stream.close()
    line = ProgressLine(stream)
    for event in EVENTS:
        line.handle(event)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (3600, "1:00:00"),
        (7384, "2:03:04"),
        (float("inf"), "–"),
        (-1, "–"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
    assert text in describe(Progress(Stage.DECODE, 1, 0, 1.0, seconds), "frames")
