"""The backbone: reads the prompt, writes the coarse layers one token at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.nets.config import AidsConfig, BackboneConfig
from khala_studio.training.nets.transformer import Packing, Probe, Transformer

IGNORE = -100  # target of a position that carries no loss (PyTorch's default ignore_index)


class BackboneNet(Transformer):
    """Causal over [prompt | q0 q1 q0 q1 ... | end]. Rows of a sliced head: q0 codes, q1 codes, end."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config.transformer)
        self.backbone_config = config

    def logits(self, ids: Tensor, packing: Packing) -> Tensor:
        """ids [N] -> logits [N, output_rows] at every position."""
        return self.lm_head(self.hidden(self.embed(ids), packing, causal=True))


@dataclass(frozen=True, slots=True)
class BackbonePack:
    """A training batch: packed sequences and what every position has to say.

    Position p predicts what stands at p + 1; so the rows before q0 and q1 of frame t carry frame t's phone.
    """

    ids: Tensor  # [N]
    packing: Packing
    prompts: tuple[int, ...]  # prompt length of every sequence
    targets: Tensor  # [N] row of the sliced head, or IGNORE
    phone_at: Tensor  # [N] position in the own sequence of the phone sung in the predicted frame, or IGNORE

    @property
    def n_tokens(self) -> int:
        return int(self.ids.numel())

    def to(self, device: torch.device) -> BackbonePack:
        moved = (t.to(device, non_blocking=True) for t in (self.ids, self.targets, self.phone_at))
        ids, targets, phone_at = moved
        return BackbonePack(ids, self.packing, self.prompts, targets, phone_at)


class BackboneAids(nn.Module):
    """What helps training and is dropped at export: the phone head and the guidance of attention heads.

    Guidance: the logits of the designated heads over the prompt's positions are trained with cross-entropy
    towards the phone sung in the frame (compare the guided attention of Tachibana et al. 2017; here the
    timings are known, so the target is exact).
    """

    def __init__(self, config: AidsConfig, net: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.group = net.transformer.n_heads // net.transformer.n_kv_heads
        self.phone_head = nn.Linear(net.transformer.hidden, net.vocabulary.audio_offset, bias=False)
        nn.init.normal_(self.phone_head.weight, std=0.02)

    def probe(self, pack: BackbonePack) -> AidsProbe:
        return AidsProbe(self, pack)


class AidsProbe(Probe):
    """Collects the losses of the aids during one forward pass."""

    def __init__(self, aids: BackboneAids, pack: BackbonePack) -> None:
        self.aids, self.pack = aids, pack
        self.phone_loss: Tensor | None = None
        self.guide_losses: list[Tensor] = []
        self._rows = (pack.phone_at != IGNORE).nonzero()[:, 0]  # [M] positions with a phone to sing

    def see(self, block: int, q: Tensor, k: Tensor, x: Tensor) -> None:
        config = self.aids.config
        if not len(self._rows):
            return
        if config.phone_weight and block == config.phone_layer - 1:
            self.phone_loss = self._phone(x)
        if config.guide_weight:
            heads = [head for at, head in config.guide_heads if at == block]
            self.guide_losses += [self._guide(q[:, head], k[:, head // self.aids.group]) for head in heads]

    def _phone(self, x: Tensor) -> Tensor:
        """The phone's own id is the class; the timings say which one it is."""
        pack = self.pack
        lengths = torch.tensor(pack.packing.lengths, device=x.device)
        starts = torch.tensor(pack.packing.starts, device=x.device).repeat_interleave(lengths)
        phones = pack.ids[starts[self._rows] + pack.phone_at[self._rows]]
        return F.cross_entropy(self.aids.phone_head(x[self._rows]).float(), phones)

    def _guide(self, q: Tensor, k: Tensor) -> Tensor:
        """One head: q, k [N, d]. Mean cross-entropy over the positions that sing a phone."""
        pack, sizes = self.pack, list(self.pack.packing.lengths)
        total = q.new_zeros((), dtype=torch.float32)
        sequences = zip(q.split(sizes), k.split(sizes), pack.phone_at.split(sizes), pack.prompts, strict=True)
        for query, key, target, prompt in sequences:
            rows = (target != IGNORE).nonzero()[:, 0]
            scores = (query[rows] @ key[:prompt].T).float() * q.shape[-1] ** -0.5
            total = total + F.cross_entropy(scores, target[rows], reduction="sum")
        return total / len(self._rows)

    def loss(self) -> Tensor | float:
        config = self.aids.config
        total: Tensor | float = 0.0
        if self.phone_loss is not None:
            total = total + config.phone_weight * self.phone_loss
        if self.guide_losses:
            total = total + config.guide_weight * torch.stack(self.guide_losses).mean()
        return total


def coarse_losses(net: BackboneNet, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the q0 rows (with end of song) and of the q1 rows.

    The engine lets q0 and q1 alternate and a song end only before a q0; so each softmax runs over the rows
    that are allowed at its position, [q0 codes | end] or [q1 codes].

    Args:
        hidden: [N, hidden]; targets: [N] rows of the sliced head, or IGNORE.

    Returns:
        losses [M0] and [M1] in nats, in the order of the positions.
    """
    return coarse_cross_entropy(
        net.lm_head.weight, hidden, targets, net.backbone_config.vocabulary.codebook_size
    )


def coarse_cross_entropy(head: Tensor, hidden: Tensor, targets: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """As `coarse_losses`, for a sliced head [2 * size + 1, hidden]."""
    first = ((targets >= 0) & (targets < size)) | (targets == 2 * size)
    second = (targets >= size) & (targets < 2 * size)
    head_first = torch.cat((head[:size], head[2 * size :]))
    logits_first = F.linear(hidden[first], head_first).float()
    logits_second = F.linear(hidden[second], head[size : 2 * size]).float()
    return (
        F.cross_entropy(logits_first, targets[first].clamp(max=size), reduction="none"),
        F.cross_entropy(logits_second, targets[second] - size, reduction="none"),
    )
