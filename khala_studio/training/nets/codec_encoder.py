"""Waveform -> latent: fixed bases for everything but the voice, which a small network summarises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from khala_studio.training.codec_geometry import STEREO, SUBFRAMES, CodecConfig
from khala_studio.training.nets.codec_blocks import Block
from khala_studio.training.nets.codec_features import Features


class VoiceNet(nn.Module):
    """Envelope and tone features -> a summary of the singing voice, taught by what the corpus knows of it."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        n_in = SUBFRAMES * STEREO * config.env_bands + config.tone_bins
        self.enter = nn.Linear(n_in, config.voice_width)
        self.blocks = nn.Sequential(
            *[Block(config.voice_width, 2, 5, 0.3) for _ in range(config.voice_blocks)]
        )
        self.leave = nn.Linear(config.voice_width, config.voice_dims)
        # teachers, used only while this part trains: two phones a frame, the pitch, the vocal stem's bands
        self.phones = nn.Linear(config.voice_dims, 2 * config.n_phones)
        self.pitch = nn.Linear(config.voice_dims, config.n_pitches)
        self.bands = nn.Linear(config.voice_dims, config.env_bands)

    def forward(self, env: Tensor, tone: Tensor) -> Tensor:
        """[B, T, ...] -> [B, T, voice_dims]."""
        return self.leave(self.blocks(self.enter(torch.cat([env * 0.5, tone * 0.5], -1))))


class Encoder(nn.Module):
    """Waveform [B, 2, N] -> latent [B, T, D].

    Its dimensions have the power that the quantiser should give them.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config, self.features, self.voice = config, Features(config), VoiceNet(config)
        env, bins = SUBFRAMES * STEREO * config.env_bands, STEREO * config.subhop
        self.register_buffer("env_basis", torch.zeros(env, config.env_dims))
        self.register_buffer("tone_basis", torch.zeros(config.tone_bins, config.tone_dims))
        self.register_buffer("sub_basis", torch.zeros(bins, config.subframe_width))
        self.register_buffer("wave_basis", torch.zeros(SUBFRAMES * config.subframe_width, config.wave_dims))
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))

    def parts(self, waveform: Tensor) -> Tensor:
        """The latent before mean and scale."""
        features = self.features(waveform)
        batch, frames, _ = features["env"].shape
        wave = (features["wave"] @ self.sub_basis).reshape(batch, frames, -1) @ self.wave_basis
        voice = self.voice(features["env"], features["tone"])
        env, tone = features["env"] @ self.env_basis, features["tone"] @ self.tone_basis
        return torch.cat([voice, env, tone, wave], -1)

    def forward(self, waveform: Tensor) -> Tensor:
        return (self.parts(waveform) - self.mean) * self.scale
