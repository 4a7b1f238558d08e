"""The backbone as it was trained, in float32: beside the pack's figures it shows what quantising cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from khala_studio.song.codes import layer_ids
from khala_studio.training.evaluation.pack_probe import Codes, TokenIds, surprise
from khala_studio.training.nets.backbone import BackboneNet
from khala_studio.training.nets.transformer import Packing
from khala_studio.training.train_backbone import load_backbone


class TrainedBackbone:
    """A checkpoint of `train backbone`, asked the same question as `PackProbe.backbone_bits`."""

    def __init__(self, net: BackboneNet) -> None:
        self._net = net.float().eval()

    @classmethod
    def load(cls, checkpoint: Path) -> TrainedBackbone:
        return cls(load_backbone(checkpoint))

    @torch.inference_mode()
    def backbone_bits(self, prompt: TokenIds, codes: Codes) -> NDArray[np.float64]:
        """Surprise in bits [n_coarse, T] of every coarse code, among the codes of its layer."""
        vocabulary = self._net.backbone_config.vocabulary
        n_coarse, size = vocabulary.n_coarse, vocabulary.codebook_size
        coarse = layer_ids(codes[:n_coarse], 0, vocabulary.audio_offset, size).T.reshape(-1)
        ids = np.concatenate([prompt, coarse[:-1]])  # position p predicts what stands at p + 1
        logits = self._net.logits(torch.from_numpy(ids), Packing((len(ids),)))[len(prompt) - 1 :].numpy()
        by_layer = [
            surprise(logits[k::n_coarse, k * size : (k + 1) * size], codes[k]) for k in range(n_coarse)
        ]
        return np.stack(by_layer)
