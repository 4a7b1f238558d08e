"""Latent -> waveform: oscillators on quarter tones, noise shaped by band loudness, and an inverse MDCT.

The first two carry the early layers, the last takes over as layers are added.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.codec_geometry import (
    HEADROOM,
    MIN_LEVEL,
    PHASE_CYCLE,
    STEREO,
    SUBFRAMES,
    CodecConfig,
    band_mean,
    band_spread,
    tone_bands,
    tone_cycles,
    tone_members,
)
from khala_studio.training.export.codec_noise import STEPS, noise_table
from khala_studio.training.nets.codec_blocks import Block, LevelEmbedding
from khala_studio.training.nets.codec_features import mdct_matrix


class Decoder(nn.Module):
    """Latent [B, T, D] of a depth [B] -> waveform [B, 2, N]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        bins, width, wide = config.subhop, config.subframe_width, config.frame_width
        self.enter = nn.Linear(config.latent, wide)
        self.frame_blocks = nn.Sequential(*[Block(wide, 2, 5, 0.1) for _ in range(config.frame_blocks)])
        self.rise = nn.Linear(wide, SUBFRAMES * width)
        self.subframe_blocks = nn.Sequential(
            *[Block(width, 3, 7, 0.1) for _ in range(config.subframe_blocks)]
        )
        self.wave_head = nn.Linear(width, STEREO * bins)
        # the encoder's bases turned round: the exact waveform needs no learning, only to be let through
        self.register_buffer("wave_basis", torch.zeros(SUBFRAMES * width, config.wave_dims))
        self.register_buffer("sub_basis", torch.zeros(STEREO * bins, width))
        self.register_buffer("inverse_scale", torch.zeros(config.wave_dims))
        shares = torch.zeros(config.n_codebooks + 1, STEREO, config.env_bands)
        self.register_buffer("wave_gain", shares)  # by depth: best gain of that waveform in each band
        self.register_buffer("wave_share", shares.clone())  # and the share of the power that it explains
        self.register_buffer("levels", torch.zeros(config.n_codebooks + 1))  # the quantiser's
        self.env_read = nn.Linear(config.latent, SUBFRAMES * STEREO * config.env_bands)
        self.env_head = nn.Linear(width, STEREO * config.env_bands)
        self.tone_read = nn.Linear(config.latent, config.tone_bins)
        self.tone_head = nn.Linear(2 * width, config.tone_bins)
        self.frame_level, self.subframe_level = LevelEmbedding(wide), LevelEmbedding(width)
        self.env_level, self.tone_level = (
            LevelEmbedding(STEREO * config.env_bands),
            LevelEmbedding(config.tone_bins),
        )
        self.register_buffer("mdct", mdct_matrix(bins), persistent=False)
        self.register_buffer("band_mean", torch.tensor(band_mean(config)).float(), persistent=False)
        self.register_buffer("band_spread", torch.tensor(band_spread(config)).float(), persistent=False)
        self.register_buffer("bin_scale", torch.ones(STEREO, bins))
        self.register_buffer("env_mean", torch.zeros(STEREO, config.env_bands))
        self.register_buffer("tone_mean", torch.zeros(config.tone_bins))
        self.register_buffer("noise", torch.from_numpy(noise_table(bins)).float() / STEPS, persistent=False)
        self._register_oscillators()

    def _register_oscillators(self) -> None:
        config = self.config
        cycles = torch.tensor(tone_cycles(config))
        turns = (cycles[:, None] * torch.arange(config.hop)[None]) % PHASE_CYCLE
        angle = turns.double() * (2 * math.pi / PHASE_CYCLE)
        window = torch.hann_window(config.hop).double()
        self.register_buffer("cosines", (angle.cos() * window).float(), persistent=False)  # [bins, hop]
        self.register_buffer("sines", (angle.sin() * window).float(), persistent=False)
        self.register_buffer("cycles", cycles, persistent=False)
        self.register_buffer("tone_bands", torch.tensor(tone_bands(config)).float(), persistent=False)
        self.register_buffer("tone_members", torch.tensor(tone_members(config)).float(), persistent=False)

    def forward(self, latent: Tensor, depth: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """depth [B]: layers in the latent; start [B]: absolute index of the first frame, for the phases.

        Returns the waveform [B, 2, N] and the compressed MDCT of the wave path [B, 2, S, bins].
        """
        batch, frames, _ = latent.shape
        level, share = self.levels[depth].clamp(min=MIN_LEVEL), self.wave_share[depth]
        hidden = self.frame_blocks(self.enter(latent) + self.frame_level(level))
        hidden = self.rise(hidden).reshape(batch, frames * SUBFRAMES, -1) + self.subframe_level(level)
        hidden = self.subframe_blocks(hidden)
        with torch.autocast(latent.device.type, enabled=False):
            hidden, latent = hidden.float(), latent.float()
            loudness = self.env_read(latent).reshape(batch, frames * SUBFRAMES, STEREO, -1) + self.env_mean
            loudness = loudness.transpose(1, 2).clamp(-10, 3)  # log rms of each band [B, 2, S, bands]
            wave = (self.wave_head(hidden) + self.wave_read(latent)).reshape(
                batch, -1, STEREO, self.config.subhop
            )
            wave = wave.transpose(1, 2)
            exact = self.exact(wave, loudness, depth)
            amplitude = self.partials(latent, hidden, level)
            gain = self.noise_gain(loudness, hidden, level, amplitude)
            amplitude = amplitude * (1 - share[:, :1] @ self.tone_members).sqrt()
            gain = gain * (1 - share @ self.band_spread).sqrt()[:, :, None]
            index = (start[:, None] * SUBFRAMES + torch.arange(exact.shape[2], device=start.device)) % len(
                self.noise
            )
            noise = self.noise[index].transpose(1, 2)
            sound = self.inverse_mdct(exact + noise * gain)
            mid = sound[:, 0] + self.oscillators(amplitude, start)
            return torch.stack([mid + sound[:, 1], mid - sound[:, 1]], 1), wave

    def exact(self, wave: Tensor, loudness: Tensor, depth: Tensor) -> Tensor:
        """Compressed coefficients -> MDCT [B, 2, S, bins], no louder in any band than that is known to be.

        Without that bound the quantiser's error, the same in every frame, would be heard in quiet ones.
        """
        compressed = wave * self.bin_scale[:, None]
        gain = (self.wave_gain[depth] @ self.band_spread)[:, :, None]
        coefficients = compressed * compressed.abs() * gain
        level = 0.5 * torch.log((coefficients * coefficients) @ self.band_mean + 1e-12)
        return coefficients * (torch.exp((loudness + HEADROOM - level).clamp(max=0.0)) @ self.band_spread)

    def wave_read(self, latent: Tensor) -> Tensor:
        """Compressed MDCT coefficients straight from the latent's wave part [B, S, 2 * bins]."""
        batch, frames, _ = latent.shape
        coefficients = latent[..., self.config.parts["wave"]] * self.inverse_scale
        return (coefficients @ self.wave_basis.T).reshape(batch, frames * SUBFRAMES, -1) @ self.sub_basis.T

    def partials(self, latent: Tensor, hidden: Tensor, level: Tensor) -> Tensor:
        """Amplitudes of the oscillators at half frames [B, 2T, bins]; zero but at peaks of the spectrum."""
        batch, frames, _ = latent.shape
        read = self.tone_read(latent).repeat_interleave(2, 1)
        log = (
            read
            + self.tone_head(hidden.reshape(batch, 2 * frames, -1))
            + self.tone_level(level)
            + self.tone_mean
        )
        with torch.no_grad():
            around = F.max_pool1d(log, 3, 1, 1)
            smooth = F.avg_pool1d(log, 13, 1, 6, count_include_pad=False)
            peak = ((log >= around) & (log > smooth + 0.35)).float()
        return torch.exp(log.clamp(max=2.0)) * peak

    def noise_gain(self, loudness: Tensor, hidden: Tensor, level: Tensor, amplitude: Tensor) -> Tensor:
        """Gain of each MDCT bin [B, 2, S, bins]; the partials' power is taken from the mid channel's."""
        tone_power = ((amplitude * amplitude) @ self.tone_bands).repeat_interleave(2, 1)
        power = torch.exp(2 * loudness[:, 0])
        mid = 0.5 * torch.log(F.relu(power - tone_power) + 0.04 * power)
        log = torch.stack([mid, loudness[:, 1]], 1)
        more = (self.env_head(hidden) + self.env_level(level)).reshape(
            len(log), -1, STEREO, self.config.env_bands
        )
        return torch.exp(((log + more.transpose(1, 2)) @ self.band_spread).clamp(-12, 3))

    def inverse_mdct(self, spectrum: Tensor) -> Tensor:
        """[B, 2, S, bins] -> [B, 2, S * bins]."""
        hop, n = self.config.subhop, spectrum.shape[2] * self.config.subhop
        frames = spectrum @ self.mdct.T
        sound = F.pad(frames[..., :hop], (0, 0, 0, 1)) + F.pad(frames[..., hop:], (0, 0, 1, 0))
        return sound.flatten(2)[:, :, hop // 2 : hop // 2 + n]

    def oscillators(self, amplitude: Tensor, start: Tensor) -> Tensor:
        """[B, 2T, bins] -> [B, N]: free-running sinusoids, amplitudes cross-faded between half frames."""
        half = self.config.hop // 2
        index = start[:, None] * 2 + torch.arange(amplitude.shape[1], device=start.device)
        turns = (index[..., None] * (self.cycles * half % PHASE_CYCLE)) % PHASE_CYCLE
        angle = turns.float() * (2 * math.pi / PHASE_CYCLE)
        frames = (amplitude * angle.cos()) @ self.cosines - (amplitude * angle.sin()) @ self.sines
        sound = F.pad(frames[..., :half], (0, 0, 0, 1)) + F.pad(frames[..., half:], (0, 0, 1, 0))
        n = amplitude.shape[1] * half
        return sound.flatten(1)[:, half // 2 : half // 2 + n]
