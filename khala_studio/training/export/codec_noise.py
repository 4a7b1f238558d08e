"""The noise that the codec's decoder shapes. numpy only.

It is fixed, so that chunks join and the same codes sound the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.codec_geometry import SUBFRAMES

NOISE_PERIOD = 64  # frames after which it repeats: 3 s, too long to be heard as a rhythm under changing gains
STEPS = 32  # integer steps a standard deviation: what eight bits hold


def noise_table(bins: int) -> NDArray[np.int8]:
    """[NOISE_PERIOD * SUBFRAMES, 2, bins] of normal noise times STEPS."""
    noise = np.random.default_rng(0).standard_normal((NOISE_PERIOD * SUBFRAMES, 2, bins))
    return np.clip(np.round(noise * STEPS), -127, 127).astype(np.int8)
