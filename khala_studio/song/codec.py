"""The geometry of the codec. Everything else is derived from it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """A residual vector quantizer of `n_codebooks` layers over `channels` of sound."""

    sample_rate: int = 44_100
    hop: int = 2_048  # samples per frame
    channels: int = 2
    n_codebooks: int = 64
    codebook_size: int = 1_024
    n_coarse: int = 2  # leading layers, written by the backbone

    @property
    def frame_rate(self) -> float:
        """Frames per second: 21.533... for the defaults, so never write 21.5."""
        return self.sample_rate / self.hop

    def frames(self, seconds: float) -> int:
        """The fewest frames that hold `seconds` of sound."""
        # An exact multiple of the hop must not gain a frame from the last bit of a float.
        return math.ceil(round(seconds * self.sample_rate, 3) / self.hop)

    def samples(self, frames: int) -> int:
        """Samples (per channel) in `frames`."""
        return frames * self.hop

    def seconds(self, frames: int) -> float:
        return frames * self.hop / self.sample_rate
