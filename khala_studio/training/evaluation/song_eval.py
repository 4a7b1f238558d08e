"""Songs made by the pack from held-out lyrics: are their words heard, is their style kept, how fast?

Nothing is picked: the prompts are the beginnings of the first held-out songs, the seed of prompt i is
i, and each song is measured at the draft's depth and at full depth, next to the ground truth and the
ground truth that went through the codec. All transcripts go into evaluate.json.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from khala_studio.engine.events import Done, Failed
from khala_studio.engine.pipeline import generate
from khala_studio.engine.stages import Stages
from khala_studio.song.request import SongRequest
from khala_studio.training.evaluation.audio_metrics import SAMPLE_RATE, Floats
from khala_studio.training.evaluation.budget import Budget
from khala_studio.training.evaluation.codec_eval import Codec
from khala_studio.training.evaluation.held_out import Excerpt
from khala_studio.training.evaluation.obedience import Asked, listen, score
from khala_studio.training.evaluation.recogniser import Transcribe, WordErrors, word_errors
from khala_studio.training.evaluation.table import Table

TRUTH, GENERATED = "ground truth", "generated"
MARKS = ("tempo", "tempo octave", "key", "key near", "voice")


@dataclass(frozen=True, slots=True)
class Prompted:
    """A held-out excerpt, its sound, and the request that asks for its like."""

    excerpt: Excerpt
    waveform: Floats  # [2, N], the ground truth
    request: SongRequest
    asked: Asked


@dataclass(slots=True)
class SongReport:
    """Word errors by (kind, source), style marks by (kind, source), and one line a song."""

    words: dict[tuple[str, str], WordErrors] = field(default_factory=dict)
    marks: dict[tuple[str, str], dict[str, list[float]]] = field(default_factory=dict)
    songs: list[dict[str, Any]] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)  # seconds of music a second, whole path
    complete: list[bool] = field(default_factory=list)  # ended by itself

    def to_json(self) -> dict[str, Any]:
        return {
            "n": len(self.songs),
            "real_time_factor": float(np.mean(self.speeds)) if self.speeds else None,
            "ended_by_themselves": sum(self.complete),
            "words": [
                {"kind": kind, "source": source, "wer": e.rate, "recognised": e.recognised, "words": e.words}
                for (kind, source), e in self.words.items()
            ],
            "obedience": [
                {"kind": kind, "source": source, **{m: float(np.mean(v)) for m, v in by_mark.items()}}
                for (kind, source), by_mark in self.marks.items()
            ],
            "songs": self.songs,
        }

    def tables(self) -> list[Table]:
        words = [[kind, source, e.rate, e.recognised, e.words] for (kind, source), e in self.words.items()]
        marks = [
            [kind, source, *(float(np.mean(found[m])) if m in found else None for m in MARKS)]
            for (kind, source), found in self.marks.items()
        ]
        heading = ["", "", "WER", "words found", "words"]
        return [
            Table("Songs: recognised words", heading, words, self._words_note()),
            Table("Songs: style kept", ["", "", *MARKS], marks, STYLE_NOTE),
        ]

    def _words_note(self) -> str:
        speed = f"{np.mean(self.speeds):.2f}" if self.speeds else "-"
        return (
            f"{len(self.songs)} songs from held-out lyrics, fixed seeds, none left out; Whisper base "
            f"listens. "
            f"Chance: the words heard in generated songs against the lyrics of the next song. "
            f"Made at {speed} times real time, all layers; {sum(self.complete)} ended by themselves."
        )


STYLE_NOTE = (
    "Share of songs where an estimator hears what was asked for: tempo within 4 % (octave: half and double "
    "count too), key (near: MIREX part marks), gender by median pitch (of voices alone). The ground "
    "truth is the most that can be reached: there the estimators themselves err."
)


class SongEvaluation:
    """Makes and measures one song at a time; the pack's models stay open in between."""

    def __init__(
        self,
        stages: Stages,
        codec: Codec,
        transcribe: Transcribe,
        voice_border: float,
        keep: Callable[[str, dict[str, Floats]], None],
    ) -> None:
        """`keep` gets every song's name and waveforms by source, for pictures and for listening."""
        self.report = SongReport()
        self._stages, self._codec, self._transcribe = stages, codec, transcribe
        self._voice_border, self._keep = voice_border, keep
        self._heard: list[tuple[str, str, str]] = []  # kind, lyrics, what was heard in the generated song

    def run(self, prompts: Iterable[Prompted], budget: Budget) -> SongReport:
        """All prompts until the budget is spent; then the chance level."""
        for prompt in prompts:
            self._one(prompt)
            if budget.spent():
                break
        self._chance()
        return self.report

    def _one(self, prompt: Prompted) -> None:
        kind, reference = prompt.excerpt.kind, prompt.excerpt.words
        sounds = self._sounds(prompt)
        heard: dict[str, str] = {}
        for source, waveform in sounds.items():
            heard[source] = self._transcribe(waveform)
            errors = word_errors(reference, heard[source])
            key = (kind, source)
            self.report.words[key] = self.report.words.get(key, WordErrors()) + errors
        style = {}
        for source in (s for s in sounds if s == TRUTH or s.startswith(GENERATED)):
            found = listen(sounds[source])
            style[source] = {"bpm": found.bpm, "key": found.key, "pitch": found.pitch}
            by_mark = self.report.marks.setdefault((kind, source), defaultdict(list))
            for mark, value in score(found, prompt.asked, self._voice_border).items():
                by_mark[mark].append(value)
        full = list(sounds)[-1]
        self._heard.append((kind, reference, heard[full]))
        self.report.songs[-1].update(lyrics=reference, heard=heard, estimates=style)
        self._keep(prompt.excerpt.name, sounds)

    def _sounds(self, prompt: Prompted) -> dict[str, Floats]:
        """Ground truth, codec only, and generated: waveforms by source, the full-depth song last."""
        n_coarse = self._stages.manifest.codec.n_coarse
        own = self._codec.encode(prompt.waveform)
        sounds = {TRUTH: prompt.waveform}
        for depth in (len(own), n_coarse):
            sounds[f"codec only, depth {depth}"] = self._codec.decode(own[:depth])
        began = time.perf_counter()
        done = finish(prompt.request, self._stages)
        elapsed = time.perf_counter() - began
        seconds = done.waveform.shape[1] / SAMPLE_RATE
        self.report.speeds.append(seconds / elapsed)
        self.report.complete.append(done.take.complete)
        self.report.songs.append(
            {
                "name": prompt.excerpt.name,
                "kind": prompt.excerpt.kind,
                "request": prompt.request.to_json(),
                "seconds": seconds,
                "wall_seconds": elapsed,
                "timings": done.take.timings,
            }
        )
        sounds[f"{GENERATED}, depth {n_coarse}"] = self._codec.decode(done.take.codes[:n_coarse])
        sounds[f"{GENERATED}, depth {done.take.depth}"] = done.waveform
        return sounds

    def _chance(self) -> None:
        """What recognition scores when the words have nothing to do with the song."""
        for kind in dict.fromkeys(kind for kind, _, _ in self._heard):
            of_kind = [(lyrics, heard) for k, lyrics, heard in self._heard if k == kind]
            total = WordErrors()
            for i, (_, heard) in enumerate(of_kind):
                total += word_errors(of_kind[(i + 1) % len(of_kind)][0], heard)
            if len(of_kind) > 1:
                self.report.words[(kind, "chance")] = total


def finish(request: SongRequest, stages: Stages) -> Done:
    """Run the pipeline to its end. Raises the engine's error if it failed."""
    with closing(generate(request, stages, previews=False)) as events:
        for event in events:
            match event:
                case Done():
                    return event
                case Failed(error):
                    raise error
    raise RuntimeError("The pipeline ended without a song.")
