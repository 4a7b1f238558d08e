"""A singer without a voice model: a tone on every note, with the times a real one would keep."""

from collections.abc import Sequence

import numpy as np

from khala_studio.training.corpus.phone_times import LEAD, TAIL, plan_phones
from khala_studio.training.corpus.voice import Sung, SungNote, hertz
from khala_studio.training.corpus.words import Pronounce, pronouncer, syllables

RATE = 24000


def tiny_pronouncer() -> Pronounce:
    """Knows a handful of words; the engine's spelling rules do for the others."""
    return pronouncer({"the": "DH AH0", "and": "AH0 N D", "wind": "W AY1 N D", "river": "R IH1 V ER0"})


class FakeSinger:
    """Counts what it is asked to sing in `lines`."""

    def __init__(self) -> None:
        self.lines = 0

    def sing(
        self,
        words: list[list[str]],
        notes: Sequence[SungNote],
        voice: str,
        gender: str,
        rng: np.random.Generator,
    ) -> Sung:
        self.lines += 1
        plan = plan_phones(syllables(words), notes, [0.08 for word in words for _ in word])
        begin = plan[0].start - LEAD
        times = begin + np.arange(int((plan[-1].end + TAIL - begin) * RATE)) / RATE
        audio = np.zeros(len(times))
        for start, length, midi in notes:
            on = (times >= start) & (times < start + length)
            audio[on] += 0.3 * np.sin(2 * np.pi * float(hertz(np.array(midi))) * times[on])
        return Sung(audio.astype(np.float32), -begin, tuple(plan))
