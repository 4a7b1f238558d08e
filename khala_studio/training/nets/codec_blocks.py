"""What the codec's encoder and decoder are built of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Depthwise convolution, layer norm, two linear maps, gated residual (ConvNeXt without downsampling)."""

    def __init__(self, width: int, expansion: int, kernel: int, gate: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        with torch.no_grad():
            self.conv.weight.mul_(0.5)
            self.conv.weight[:, 0, kernel // 2] += 0.5
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.gate = nn.Parameter(torch.full((width,), gate))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return x + self.gate * self.down(F.gelu(self.up(self.norm(y)), approximate="tanh"))


class LevelEmbedding(nn.Module):
    """How exact the latent is (log2 rms of what is left to quantise) as a vector added to activations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(16, 64), nn.Linear(64, width)

    def forward(self, level: Tensor) -> Tensor:
        """level [B] -> [B, 1, width]."""
        angles = level[:, None] * torch.exp2(torch.arange(8, device=level.device) * 0.5 - 1.5)
        return self.out(F.silu(self.hidden(torch.cat([angles.sin(), angles.cos()], 1))))[:, None]
