"""Two formats everybody knows, at rates near the codec's own, as anchors for its figures.

Sixty-four layers of 10 bits at 21.5 frames a second are 13.8 kbit/s. Opus can go as low; MP3 cannot
(32 kbit/s is its floor at 44.1 kHz), so its row shows what more than twice the rate buys.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from khala_studio.training.evaluation.audio_metrics import SAMPLE_RATE, Floats, align


@dataclass(frozen=True, slots=True)
class Anchor:
    """One format at one setting."""

    name: str
    container: str
    subtype: str
    sample_rate: int
    level: float  # libsndfile's compression level: 0 = best, 1 = smallest
    constant_rate: bool = False


# Levels were chosen once, by measuring the rate they give; the measured rate stands in the table.
ANCHORS = (
    Anchor("Opus", "OGG", "OPUS", 48_000, 0.995),
    Anchor("Opus, more", "OGG", "OPUS", 48_000, 0.95),
    Anchor("MP3", "MP3", "MPEG_LAYER_III", SAMPLE_RATE, 0.99, constant_rate=True),
)


def round_trip(x: Floats, anchor: Anchor) -> tuple[Floats, float]:
    """Encode and decode a stereo recording.

    Args:
        x: [2, N] at 44.1 kHz.

    Returns:
        [2, N], moved back by the delay of the format; and the rate in kbit/s, container included.
    """
    file = io.BytesIO()
    options = {"bitrate_mode": "CONSTANT"} if anchor.constant_rate else {}
    with soundfile.SoundFile(
        file,
        "w",
        anchor.sample_rate,
        x.shape[0],
        format=anchor.container,
        subtype=anchor.subtype,
        compression_level=anchor.level,
        **options,
    ) as out:
        out.write(_resample(np.clip(x.T, -1, 1), SAMPLE_RATE, anchor.sample_rate))
    kbps = len(file.getvalue()) * 8 / (x.shape[1] / SAMPLE_RATE) / 1000
    file.seek(0)
    y, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return align(_resample(y, rate, SAMPLE_RATE).T, x), kbps


def _resample(x: Floats, rate: int, wanted: int) -> Floats:
    """[N, channels] at `rate` -> [M, channels] at `wanted`."""
    return x if rate == wanted else soxr.resample(x, rate, wanted)
