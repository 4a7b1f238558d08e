"""`khala-studio train evaluate`: one table about a pack, by the same command for every version.

Held-out songs of the corpus go through the pack's own files, as they are shipped: codec, the two
models' losses, and songs made by the engine. Everything is taken in the corpus' order with fixed seeds;
a time budget decides how many items are used, and the counts are reported.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from khala_studio.engine.errors import EngineError
from khala_studio.engine.sessions import open_pack
from khala_studio.packs.errors import PackError
from khala_studio.song.request import SongRequest
from khala_studio.training.corpus.sources import SourceError
from khala_studio.training.evaluation import held_out, lm_eval, recogniser
from khala_studio.training.evaluation.audio_metrics import Floats
from khala_studio.training.evaluation.budget import Budget
from khala_studio.training.evaluation.codec_eval import evaluate_codec
from khala_studio.training.evaluation.held_out import Corpus, CorpusError, Excerpt
from khala_studio.training.evaluation.obedience import voice_border
from khala_studio.training.evaluation.pack_probe import PackProbe
from khala_studio.training.evaluation.pictures import spectrograms
from khala_studio.training.evaluation.song_eval import Asked, Prompted, SongEvaluation
from khala_studio.training.evaluation.table import Report

# When each part ends, as a share of the budget.
CODEC_ENDS, BACKBONE_ENDS, SUPERRES_ENDS = 0.15, 0.35, 0.45
UNIGRAM_FRAMES = 20_000
PICTURED = ("original", "depth 2", "depth 8", "depth 64")
N_PICTURES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pack", type=Path, default=Path("models/starter"), help="folder of the pack")
    parser.add_argument("--corpus", type=Path, default=Path("train/corpus"), help="made by `train corpus`")
    parser.add_argument("--backbone", type=Path, help="its checkpoint, to see what quantising cost")
    parser.add_argument("--out", type=Path, default=Path("train/evaluate"))
    parser.add_argument("--songs", type=int, default=12, help="songs to make, a cappella and mixes in turn")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest excerpt of a held-out song")
    parser.add_argument("--minutes-budget", type=float, default=8.0, help="stop in time for this")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: one less than there are)")
    parser.add_argument("--cache", type=Path, default=None, help="where the recogniser is kept")


def main(args: argparse.Namespace) -> int:
    """0 when the table was written, 2 when pack, corpus or recogniser can't be had."""
    try:
        run = Evaluation(args)
        run.everything()
    except (CorpusError, EngineError, PackError, SourceError) as error:
        print(error, file=sys.stderr)
        return 2
    run.write()
    return 0


@dataclass(frozen=True, slots=True)
class Clock:
    """Where in the budget a part ends."""

    began: float
    seconds: float

    def until(self, share: float) -> float:
        return self.began + share * self.seconds


class Evaluation:
    """One run: the parts in turn, each adding to the report."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Raises CorpusError, PackError or SourceError."""
        self.args = args
        self.corpus: Corpus = held_out.read_corpus(args.corpus)
        self.probe = PackProbe(args.pack, args.threads or None)
        if not self.probe.can_encode:
            raise CorpusError("The pack has no encoder, so held-out songs can't be turned into its codes.")
        self.whisper = recogniser.Recogniser(recogniser.fetch(args.cache), args.threads or 1)
        self.clock = Clock(time.monotonic(), args.minutes_budget * 60)  # downloads don't count
        self.report = Report()
        limit = min(args.seconds, self._longest())
        self.excerpts = held_out.excerpts(self.corpus.held_out, limit, args.songs)

    def everything(self) -> None:
        self.codec()
        with open_pack(self.args.pack, provider="cpu", threads=self.args.threads or None) as stages:
            self.language_models(stages)
            self.songs(stages)
        self._facts()

    def codec(self) -> None:
        manifest = self.probe.manifest
        songs = held_out.recordings(self.corpus, self.corpus.held_out[: self.args.songs], manifest.codec.hop)
        budget = Budget(self.clock.until(CODEC_ENDS))
        report = evaluate_codec(self.probe, manifest.codec, songs, budget, self._draw_codec)
        print(f"codec: {len(report.songs)} songs. {report.verdict()}", flush=True)
        self.report.facts["codec"] = report.to_json()
        self.report.tables.append(report.table())

    def language_models(self, stages: Any) -> None:
        """Losses of both models. Left out, and said so, for a front end without `encode_song`."""
        if not hasattr(stages.frontend, "encode_song"):
            print("losses: left out, the pack's front end takes no phones", flush=True)
            return
        report = lm_eval.LmReport()
        unigram = self._unigram()
        report.unigram_frames = unigram.frames
        items = self._items(stages.frontend)
        budget = Budget(self.clock.until(BACKBONE_ENDS), least=2)
        trained = self._trained()
        scored = lm_eval.score_backbone(self.probe, unigram, items, budget, report, trained)
        budget = Budget(self.clock.until(SUPERRES_ENDS), least=2)
        n_coarse = self.probe.manifest.codec.n_coarse
        lm_eval.score_superres(self.probe, unigram, scored, n_coarse, budget, report)
        print(f"losses: {len(scored)} excerpts", flush=True)
        self.report.facts["models"] = report.to_json()
        self.report.tables += report.tables()

    def songs(self, stages: Any) -> None:
        border = voice_border(held_out.notes_by_gender(self.corpus.training))
        evaluation = SongEvaluation(stages, self.probe, self.whisper, border, self._keep_song)
        report = evaluation.run(self._prompts(), Budget(self.clock.until(1.0), least=2))
        print(f"songs: {len(report.songs)}", flush=True)
        self.report.facts["songs"] = {"voice_border_hz": border, **report.to_json()}
        self.report.tables += report.tables()

    def write(self) -> None:
        facts = self.report.facts["pack"]
        heading = (
            "## Measured\n\nBy `khala-studio train evaluate`, on songs that were not trained on. Nobody has "
            f"listened to choose anything. Pack {facts['id']} {facts['version']} ({facts['sha256'][:12]})."
        )
        self.report.write(self.args.out, heading)
        print((self.args.out / "evaluate.md").read_text(encoding="utf-8"))

    # -- what the parts are made of -----------------------------------------------------------------

    def _items(self, frontend: Any) -> Iterator[lm_eval.Item]:
        for excerpt in self.excerpts:
            waveform = held_out.audio(self.corpus, excerpt, self.probe.manifest.codec.hop)
            style = held_out.style_slots(excerpt)
            own, shuffled = lm_eval.prompts(frontend.encode_song, style, excerpt)
            yield lm_eval.Item(excerpt.kind, own, shuffled, self.probe.encode(waveform))

    def _prompts(self) -> Iterator[Prompted]:
        shortest = self.probe.manifest.controls.length
        for seed, excerpt in enumerate(self.excerpts):
            seconds = max(excerpt.seconds, shortest.seconds(shortest.min))
            request = SongRequest(excerpt.lyrics, held_out.style_words(excerpt), seconds=seconds, seed=seed)
            waveform = held_out.audio(self.corpus, excerpt, self.probe.manifest.codec.hop)
            yield Prompted(excerpt, waveform, request, asked_of(excerpt))

    def _trained(self) -> lm_eval.BackboneScorer | None:
        if self.args.backbone is None:
            return None
        from khala_studio.training.evaluation.trained import TrainedBackbone  # needs torch

        return TrainedBackbone.load(self.args.backbone)

    def _unigram(self) -> lm_eval.Unigram:
        """Counted in codes of the training split: its first songs, a cappella and mix in turn."""
        codec = self.probe.manifest.codec
        unigram = lm_eval.Unigram(codec.n_codebooks, codec.codebook_size)
        budget = Budget(self.clock.until(BACKBONE_ENDS / 2 + CODEC_ENDS / 2))
        for number, song in enumerate(self.corpus.training):
            kind = held_out.FULL_MIX if number % 2 else held_out.A_CAPPELLA
            unigram.add(self.probe.encode(held_out.mix(held_out.song_stems(self.corpus, song), kind)))
            if unigram.frames >= UNIGRAM_FRAMES or budget.spent():
                break
        return unigram

    def _longest(self) -> float:
        """Seconds of the longest song that the pack makes."""
        length = self.probe.manifest.controls.length
        return length.seconds(length.max)

    def _draw_codec(self, name: str, decoded: dict[str, Floats]) -> None:
        folder = self.args.out / "codec"
        if len(list(folder.glob("*.png"))) < N_PICTURES or (folder / f"{name}.png").exists():
            shown = {row: decoded[row] for row in PICTURED if row in decoded}
            spectrograms(folder / f"{name}.png", name, shown)

    def _keep_song(self, name: str, sounds: dict[str, Floats]) -> None:
        import soundfile

        folder = self.args.out / "songs"
        spectrograms(folder / f"{name}.png", name, sounds)
        for source, waveform in sounds.items():
            path = folder / f"{name}, {source}.flac".replace(", ", "-").replace(" ", "-")
            soundfile.write(path, np.clip(waveform.T, -1, 1), self.probe.manifest.codec.sample_rate)

    def _facts(self) -> None:
        manifest = self.probe.manifest
        self.report.facts = {
            "pack": {"id": manifest.id, "version": manifest.version, "sha256": manifest.sha256},
            "pack_bytes": manifest.total_bytes,
            "options": {
                "songs": self.args.songs,
                "seconds": self.args.seconds,
                "minutes_budget": self.args.minutes_budget,
            },
            "held_out_songs": len(self.corpus.held_out),
            "wall_seconds": time.monotonic() - self.clock.began,
            **self.report.facts,
            "recogniser": recogniser.licences(),
        }


def asked_of(excerpt: Excerpt) -> Asked:
    """What the prompt of an excerpt asks for, as far as it can be heard.

    With a band the pitch is the bass', so gender is judged in voices alone. A voice alone hardly has a tempo,
    but is asked for it all the same: the ground truth beside it says how much that means.
    """
    song = excerpt.song
    gender = song.get("gender") if excerpt.kind == held_out.A_CAPPELLA else None
    return Asked(song.get("bpm"), song.get("key"), gender)
