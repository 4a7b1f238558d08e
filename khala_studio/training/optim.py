"""Muon for the blocks' matrices, AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Named = Iterable[tuple[str, nn.Parameter]]


class Muon:
    """Momentum whose update is made orthogonal by a Newton-Schulz iteration (Jordan et al. 2024).

    Scaled to the root mean square of an AdamW update (Liu et al. 2025), so that both share one learning rate.
    Matrices of one shape are orthogonalised together: on small nets launches cost more than work.
    """

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)
    ITERATIONS = 5

    def __init__(
        self, parameters: Iterable[nn.Parameter], momentum: float = 0.95, weight_decay: float = 0.1
    ) -> None:
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.buffers = [torch.zeros_like(p) for p in self.parameters]
        self._groups: dict[torch.Size, list[int]] = {}
        for i, p in enumerate(self.parameters):
            self._groups.setdefault(p.shape, []).append(i)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for shape, members in self._groups.items():
            members = [i for i in members if self.parameters[i].grad is not None]
            if not members:
                continue
            gradients = [self.parameters[i].grad for i in members]
            for i, gradient in zip(members, gradients, strict=True):
                self.buffers[i].lerp_(gradient, 1 - self.momentum)
            nesterov = [
                g.lerp(self.buffers[i], self.momentum) for i, g in zip(members, gradients, strict=True)
            ]
            updates = orthogonalise(torch.stack(nesterov), self.ITERATIONS, self.COEFFICIENTS)
            scale = 0.2 * max(shape) ** 0.5 * rate
            for i, update in zip(members, updates, strict=True):
                self.parameters[i].mul_(1 - rate * self.weight_decay).add_(update, alpha=-scale)


def orthogonalise(matrices: Tensor, iterations: int, coefficients: tuple[float, float, float]) -> Tensor:
    """[n, a, b] -> the same singular vectors, singular values near 1 (0.7 to 1.2)."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = coefficients
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


RESIDUAL = ("residual_head.weight", "residual_head.bias")
CAREFUL = ("head_proj", "head_bias", "layer_embed.weight", "latent_proj.weight", *RESIDUAL)
CAREFUL_FACTOR = 0.1


class Optimizer:
    """`use_muon` gives the matrices under `layers.` to Muon. Tables, norms and biases do not decay.

    Heads and embeddings that only some steps of super-resolution touch (CAREFUL) learn at a
    tenth of the rate: a full Adam step there moves logits by several nats, and losses rose above uniform.
    """

    def __init__(self, named: Named, learning_rate: float, use_muon: bool, weight_decay: float = 0.1) -> None:
        named = list(named)
        matrices = [p for name, p in named if p.dim() == 2 and name.startswith("layers.")]
        others = [(name, p) for name, p in named if not (p.dim() == 2 and name.startswith("layers."))]
        rest = [p for name, p in others if name not in CAREFUL]
        careful = [p for name, p in others if name in CAREFUL]
        self.learning_rate = learning_rate
        self.muon = Muon(matrices, weight_decay=weight_decay) if use_muon else None
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": 0.0, "factor": 1.0}]
        if careful:
            groups.append({"params": careful, "weight_decay": 0.0, "factor": CAREFUL_FACTOR})
        if not use_muon:
            groups.append({"params": matrices, "weight_decay": weight_decay, "factor": 1.0})
        self.adamw = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True)
        self._rate = 1.0

    def set_rate(self, factor: float) -> None:
        """`factor` of the peak learning rate."""
        self._rate = factor * self.learning_rate
        for group in self.adamw.param_groups:
            group["lr"] = self._rate * group.get("factor", 1.0)

    def step(self) -> None:
        self.adamw.step()
        if self.muon is not None:
            self.muon.step(self._rate)

    def zero_grad(self) -> None:
        self.adamw.zero_grad(set_to_none=True)
        for p in self.muon.parameters if self.muon else []:
            p.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.buffers if self.muon else []}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adamw.load_state_dict(state["adamw"])
        for mine, stored in zip(self.muon.buffers if self.muon else [], state["muon"], strict=True):
            mine.copy_(stored)
