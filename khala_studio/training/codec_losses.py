"""Losses of the codec: spectra at many resolutions, tune, loudness, the wave path's own coefficients."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLE_RATE = 44_100
RESOLUTIONS = {2048: 128, 1024: 96, 512: 64, 256: 32, 4096: 160, 128: 16}  # window: mel bands
CHANCE = (0.25, 0.22, 0.2, 0.13, 0.1, 0.1)
EDGE = 1024  # samples at both ends that lack an overlapping MDCT frame


def mel_matrix(n_fft: int, n_bands: int, low: float = 30.0, high: float = 20_000.0) -> Tensor:
    """[n_fft / 2 + 1, n_bands] triangles of unit sum, at least one bin each."""
    hz = np.linspace(0, SAMPLE_RATE / 2, n_fft // 2 + 1)
    mel = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), n_bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    rise = (hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0, np.minimum(rise, fall))
    for j in np.nonzero(weights.sum(0) < 1e-3)[0]:
        weights[np.argmin(np.abs(hz - edges[j + 1])), j] = 1
    return torch.tensor(weights / weights.sum(0)).float()


class CodecLoss:
    """Reconstruction loss; two resolutions drawn a step, left/right or mid/side."""

    def __init__(self, bin_scale: Tensor) -> None:
        """bin_scale [2, bins]: rms of the compressed MDCT. Exactness is worth most where it is loud."""
        device = bin_scale.device
        self.bin_weight = (bin_scale / bin_scale.mean())[:, None]
        self.windows = {n: torch.hann_window(n, device=device) / math.sqrt(n * 0.375) for n in RESOLUTIONS}
        self.mels = {n: mel_matrix(n, bands).to(device) for n, bands in RESOLUTIONS.items()}
        self.tone_window = torch.hann_window(8192, device=device) / math.sqrt(8192 * 0.375)

    def __call__(
        self,
        sound: Tensor,
        target: Tensor,
        wave: Tensor,
        wave_target: Tensor,
        weight: Tensor,
        rng: np.random.Generator,
    ) -> tuple[Tensor, dict[str, float]]:
        """Returns the loss and its parts, to be logged.

        Args:
            sound, target: [B, 2, N].
            wave, wave_target: [B, 2, S, bins], the compressed MDCT of the wave path.
            weight: [B], how much the exact waveform counts.
        """
        sound, target = sound[:, :, EDGE:-EDGE], target[:, :, EDGE:-EDGE]
        if rng.random() < 0.5:
            sound, target = _mid_side(sound), _mid_side(target)
        flat, flat_target = sound.flatten(0, 1), target.flatten(0, 1)
        total, parts = torch.zeros((), device=sound.device), {}
        for n in rng.choice(list(RESOLUTIONS), 2, replace=False, p=CHANCE):
            loss, named = self._spectral(flat, flat_target, int(n), int(rng.integers(int(n) // 2)))
            total = total + 0.5 * loss
            parts |= named
        tonal = self._tonal(sound, target)
        coefficients = ((wave - wave_target)[:, :, 2:-2].abs() * self.bin_weight).mean((1, 2, 3))
        coefficients = (coefficients * weight).mean()
        rms = target.pow(2).mean((1, 2)).sqrt() + 1e-3
        waveform = ((sound - target).abs().mean((1, 2)) / rms * weight).mean()
        total = total + 0.5 * tonal + coefficients + 0.08 * waveform
        return total, parts | {"tonal": tonal.item(), "coef": coefficients.item(), "wave": waveform.item()}

    def _magnitudes(self, x: Tensor, n: int) -> Tensor:
        """[B, N] -> [B, frames, bins] with 50 % overlap by two reshapes (cheaper backward than unfold)."""
        half, k = n // 2, (x.shape[1] - n // 2) // n
        frames = torch.cat([x[:, : k * n].reshape(-1, k, n), x[:, half : half + k * n].reshape(-1, k, n)], 1)
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.windows[n]))
        return spectrum.square().sum(-1).add(1e-10).sqrt()

    def _spectral(self, x: Tensor, target: Tensor, n: int, offset: int) -> tuple[Tensor, dict[str, float]]:
        ours = self._magnitudes(x[:, offset:], n)
        with torch.no_grad():
            theirs = self._magnitudes(target[:, offset:], n)
        mel = (torch.log(ours @ self.mels[n] + 3e-5) - torch.log(theirs @ self.mels[n] + 3e-5)).abs().mean()
        root = (ours.sqrt() - theirs.sqrt()).abs().mean() / (theirs.sqrt().mean() + 1e-3)
        loss = mel + 1.5 * root
        if 512 <= n <= 2048:  # loudness over about 190 ms: keeps noise at the level of what it stands for
            energy = 0.5 * (self._pooled(ours, n) - self._pooled(theirs, n)).abs().mean()
            loss = loss + 0.5 * energy
        return loss, {"mel": mel.item(), "root": root.item()}

    def _pooled(self, magnitudes: Tensor, n: int) -> Tensor:
        pool, half = max(1, 8192 // n), magnitudes.shape[1] // 2
        power = magnitudes.square()[:, : half // pool * pool].reshape(
            len(magnitudes), -1, pool, magnitudes.shape[2]
        )
        return torch.log(power.mean(2) @ self.mels[n] + 1e-8)

    def _tonal(self, x: Tensor, target: Tensor) -> Tensor:
        """L1 of the fine log spectrum 60-4000 Hz of the first channel (left or mid), envelopes removed."""
        return (self._fine(x[:, 0]) - self._fine(target[:, 0])).abs().mean()

    def _fine(self, x: Tensor) -> Tensor:
        frames = x.unfold(-1, 8192, 4096) * self.tone_window
        spectrum = torch.view_as_real(torch.fft.rfft(frames))[..., 11:744, :]
        log = 0.5 * torch.log(spectrum.square().sum(-1) + 1e-6)
        smooth = F.avg_pool1d(log.flatten(0, 1)[:, None], 41, 1, 20, count_include_pad=False)[:, 0]
        return log - smooth.reshape(log.shape)


def _mid_side(x: Tensor) -> Tensor:
    return torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], 1) * 0.5
