"""The starter's codec: 64 layers of residual vector quantisation of structured frames, 44.1 kHz stereo.

The latent of a frame (2,048 samples) is a concatenation of four parts, each with a closed-form start
(principal components of a feature), so that a short training run refines sound instead of discovering it:

    voice   a small network's summary of what the singer does (phone, pitch, vocal spectrum)
    env     band loudness of mid and side at four subframes, log scale
    tone    amplitudes of partials on a quarter-tone grid, log scale, mid
    wave    MDCT coefficients (hop 512), sign-preserving square root

The decoder sums three synthesis paths: oscillators at the quarter-tone grid, noise shaped by the band
loudness, and an ordinary inverse MDCT. The first two carry the early layers, the last takes over as layers
are added.

Shapes: B batch, T frames, N samples (N = T * hop), S = 4 * T subframes, D latent size, Q layers, K entries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from khala_studio.training.codec_geometry import CodecConfig
from khala_studio.training.nets.codec_decoder import Decoder
from khala_studio.training.nets.codec_encoder import Encoder


class Quantizer(nn.Module):
    """Residual vector quantiser.

    Layer k's vectors are `projections[k] @ codebooks[k, c]`: rank-limited, so that 64 layers fit in two
    megabytes. `levels[n]` is log2 of the rms that is left after n layers.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        q, k, r = config.n_codebooks, config.codebook_size, config.code_rank
        self.register_buffer("projections", torch.zeros(q, config.latent, r))
        self.register_buffer("codebooks", torch.zeros(q, k, r))
        self.register_buffer("levels", torch.zeros(q + 1))

    def nearest(self, residual: Tensor, layer: int) -> Tensor:
        """[n, D] -> [n] index of the closest vector of this layer."""
        inner = residual @ self.projections[layer]
        gram = self.projections[layer].T @ self.projections[layer]
        book = self.codebooks[layer]
        half_norm = 0.5 * ((book @ gram) * book).sum(1)
        return torch.cat([(x @ book.T - half_norm).max(1)[1] for x in inner.split(8192)])

    def vectors(self, codes: Tensor, layer: int) -> Tensor:
        return self.codebooks[layer][codes] @ self.projections[layer].T

    def encode(self, latent: Tensor, n_layers: int | None = None) -> Tensor:
        """[n, D] -> [layers, n] int64."""
        residual, codes = latent.float().clone(), []
        for layer in range(n_layers or len(self.codebooks)):
            chosen = self.nearest(residual, layer)
            residual -= self.vectors(chosen, layer)
            codes.append(chosen)
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """[layers, n] -> [n, D]."""
        total = self.vectors(codes[0], 0)
        for layer in range(1, len(codes)):
            total = total + self.vectors(codes[layer], layer)
        return total

    def quantise(self, latent: Tensor, depths: Tensor) -> Tensor:
        """[B, T, D] with depths [B] -> each item quantised by its own number of layers."""
        batch, frames, _ = latent.shape
        residual = latent.reshape(batch * frames, -1).float().clone()
        start, out = residual.clone(), torch.zeros_like(latent, dtype=torch.float32)
        for layer in range(int(depths.max())):
            residual -= self.vectors(self.nearest(residual, layer), layer)
            done = depths == layer + 1
            if done.any():
                out[done] = (start - residual).reshape(batch, frames, -1)[done]
        return out


class Codec(nn.Module):
    """Encoder, quantiser and decoder together."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.quantizer, self.decoder = Encoder(config), Quantizer(config), Decoder(config)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """[2, N], N a multiple of hop -> codes [64, T]."""
        return self.quantizer.encode(self.encoder(waveform[None])[0])

    @torch.no_grad()
    def decode(self, codes: Tensor, start_frame: int = 0) -> Tensor:
        """codes [k, T] -> [2, N]."""
        latent = self.quantizer.decode(codes)[None]
        depth, start = (torch.tensor([n], device=codes.device) for n in (len(codes), start_frame))
        return self.decoder(latent, depth, start)[0][0]
