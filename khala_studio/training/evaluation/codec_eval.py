"""The codec on held-out songs, depth by depth, with familiar formats beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from khala_studio.song.codec import CodecSpec
from khala_studio.training.evaluation.anchors import ANCHORS, round_trip
from khala_studio.training.evaluation.audio_metrics import AudioMetrics, Floats, compare
from khala_studio.training.evaluation.budget import Budget
from khala_studio.training.evaluation.pack_probe import Codes
from khala_studio.training.evaluation.table import Table

DEPTHS = (2, 4, 8, 16, 32, 64)
COMPARED = (2, 8, 16, 32, 64)  # each of these must be closer to the original than the one before

COLUMNS = {
    "mel": "log-mel",
    "mr_stft": "MR-STFT",
    "tonal": "tonal",
    "si_sdr": "SI-SDR dB",
    "air_db": "8-16 kHz dB",
    "width_db": "width dB",
}


class Codec(Protocol):
    def encode(self, waveform: Floats) -> Codes: ...

    def decode(self, codes: Codes) -> Floats: ...


@dataclass(slots=True)
class CodecReport:
    """Figures by row, one row a depth or an anchor."""

    figures: dict[str, list[AudioMetrics]] = field(default_factory=dict)
    kbps: dict[str, list[float]] = field(default_factory=dict)
    songs: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of audio

    def add(self, row: str, metrics: AudioMetrics, kbps: float) -> None:
        self.figures.setdefault(row, []).append(metrics)
        self.kbps.setdefault(row, []).append(kbps)

    def mean(self, row: str, name: str) -> float:
        """Mean over songs; nan where no song gave a number."""
        values = np.array([getattr(metrics, name) for metrics in self.figures[row]])
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def to_json(self) -> dict[str, Any]:
        rows = {
            row: {"kbps": float(np.mean(self.kbps[row])), **{n: self.mean(row, n) for n in all_names()}}
            for row in self.figures
        }
        return {"songs": self.songs, "seconds": self.seconds, "rows": rows, "closer": self.closer()}

    def closer(self) -> dict[str, dict[str, bool]]:
        """For every compared depth: is it closer to the original than the one before, by both measures?"""
        rows = [depth_row(d) for d in COMPARED if depth_row(d) in self.figures]
        return {
            after: {
                "log-mel": self.mean(after, "mel") < self.mean(before, "mel"),
                "tonal": self.mean(after, "tonal") > self.mean(before, "tonal"),
            }
            for before, after in pairwise(rows)
        }

    def table(self) -> Table:
        rows = [
            [row, float(np.mean(self.kbps[row])), *(self.mean(row, name) for name in COLUMNS)]
            for row in self.figures
        ]
        width = self.mean(next(iter(self.figures)), "width_original_db")
        note = (
            f"Mean of {len(self.songs)} held-out songs ({self.seconds:.0f} s), full mixes. Lower is closer "
            f"for log-mel and MR-STFT, higher for tonal (1 = the same harmonics) and SI-SDR. "
            f"Width of the originals: {width:.1f} dB. {self.verdict()}"
        )
        return Table("Codec", ["", "kbit/s", *COLUMNS.values()], rows, note)

    def verdict(self) -> str:
        """One sentence: is every depth closer than the one before?"""
        failed = [
            f"{row} by {measure}"
            for row, by in self.closer().items()
            for measure, good in by.items()
            if not good
        ]
        if failed:
            return f"NOT closer than the depth before: {', '.join(failed)}."
        return "Every depth is closer to the original than the one before, by log-mel and by tonal."


def evaluate_codec(
    codec: Codec,
    spec: CodecSpec,
    recordings: Iterable[tuple[str, Floats]],
    budget: Budget,
    draw: Callable[[str, dict[str, Floats]], None] | None = None,
) -> CodecReport:
    """Encode and decode recordings until the budget is spent.

    Args:
        recordings: (name, [2, N]), N a multiple of the hop.
        draw: gets each song's name and its waveforms by row, for pictures.
    """
    report = CodecReport()
    for name, x in recordings:
        decoded = {"original": x}
        codes = codec.encode(x)
        for depth in (d for d in DEPTHS if d <= len(codes)):
            row = depth_row(depth)
            decoded[row] = codec.decode(codes[:depth])
            report.add(row, compare(decoded[row], x), bit_rate(spec, depth))
        for anchor in ANCHORS:
            y, kbps = round_trip(x, anchor)
            report.add(anchor.name, compare(y, x), kbps)
        report.songs.append(name)
        report.seconds += x.shape[1] / spec.sample_rate
        if draw:
            draw(name, decoded)
        if budget.spent():
            break
    return report


def bit_rate(spec: CodecSpec, depth: int) -> float:
    """kbit/s of `depth` layers."""
    return float(depth * np.log2(spec.codebook_size) * spec.frame_rate / 1000)


def depth_row(depth: int) -> str:
    return f"depth {depth}"


def all_names() -> tuple[str, ...]:
    return tuple(AudioMetrics.__dataclass_fields__)
