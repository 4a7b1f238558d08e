"""Waveform -> MDCT, band loudness and quarter tones: what the codec's latent is made of."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.codec_geometry import (
    STEREO,
    SUBFRAMES,
    TONE_WINDOW,
    CodecConfig,
    band_mean,
    tone_bin_ranges,
)


def mdct_matrix(hop: int) -> Tensor:
    """[2 * hop, hop] orthonormal MDCT with a sine window (Princen and Bradley, 1986)."""
    n, k = torch.arange(2 * hop, dtype=torch.int64), torch.arange(hop, dtype=torch.int64)
    turns = ((2 * n + 1 + hop)[:, None] * (2 * k + 1)[None]) % (8 * hop)  # exact integer phase
    window = torch.sin(math.pi * (n.double() + 0.5) / (2 * hop))
    matrix = window[:, None] * math.sqrt(2 / hop) * torch.cos(math.pi / (4 * hop) * turns.double())
    return matrix.float()


class Features(nn.Module):
    """Waveform -> the features that the latent's parts are made of. No trained weights."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        bins = config.subhop
        self.register_buffer("mdct", mdct_matrix(bins), persistent=False)
        self.register_buffer("band_mean", torch.tensor(band_mean(config)).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(TONE_WINDOW), persistent=False)
        self.register_buffer("bin_scale", torch.ones(STEREO, bins))  # rms of each compressed MDCT bin
        self.register_buffer("env_mean", torch.zeros(STEREO, config.env_bands))
        self.register_buffer("tone_mean", torch.zeros(config.tone_bins))

    def spectrum(self, mid_side: Tensor) -> Tensor:
        """[B, 2, N] -> MDCT [B, 2, S, bins]."""
        hop = self.config.subhop
        padded = F.pad(mid_side, (hop // 2, hop + hop // 2))
        frames = padded.unfold(-1, 2 * hop, hop)[:, :, : mid_side.shape[2] // hop]
        return frames @ self.mdct

    def envelope(self, spectrum: Tensor) -> Tensor:
        """MDCT [B, 2, S, bins] -> log band rms [B, 2, S, bands].

        Smoothed over three subframes, mean removed.
        """
        power = (spectrum * spectrum) @ self.band_mean
        edged = torch.cat([power[:, :, :1], power, power[:, :, -1:]], 2)
        power = 0.25 * edged[:, :, :-2] + 0.5 * power + 0.25 * edged[:, :, 2:]
        return 0.5 * torch.log(power + 1e-9) - self.env_mean[:, None]

    def tone(self, mid: Tensor) -> Tensor:
        """Mid [B, N] -> log amplitude of each quarter tone's strongest partial [B, T, tone_bins].

        Mean removed.
        """
        half = TONE_WINDOW // 2
        frames = F.pad(mid, (half - self.config.hop // 2, half)).unfold(-1, TONE_WINDOW, self.config.hop)
        frames = frames[:, : mid.shape[1] // self.config.hop] * self.window
        spectrum = torch.fft.rfft(frames, n=2 * TONE_WINDOW)
        power = spectrum.real**2 + spectrum.imag**2
        peaks = torch.stack([power[..., a:b].amax(-1) for a, b in tone_bin_ranges(self.config)], -1)
        return torch.log(peaks.sqrt() * (4 / TONE_WINDOW) + 1e-5) - self.tone_mean

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        """The three features of a waveform [B, 2, N].

        Returns:
            env [B, T, 4 * 2 * bands], tone [B, T, tone_bins], wave [B, S, 2 * bins] (compressed, unit rms).
        """
        left, right = waveform[:, 0], waveform[:, 1]
        mid_side = torch.stack([left + right, left - right], 1) * 0.5
        spectrum = self.spectrum(mid_side)
        batch, _, subframes, _ = spectrum.shape
        env = self.envelope(spectrum).transpose(1, 2).reshape(batch, subframes // SUBFRAMES, -1)
        wave = spectrum.sign() * (spectrum.abs() + 1e-7).sqrt() / self.bin_scale[:, None]
        wave = wave.transpose(1, 2).reshape(batch, subframes, -1)
        return {"env": env, "tone": self.tone(mid_side[:, 0]), "wave": wave}
