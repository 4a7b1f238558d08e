"""`khala-studio train superres`: layers 2..63 from the layers before them, starting from the backbone.

Hybrid attention: some steps are the backbone's causal task on the coarse stream, the others refinement with
full attention.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from khala_studio.training.data_codes import LENGTHS, CodesFolder, cut
from khala_studio.training.device import Compute, choose_compute
from khala_studio.training.loop import (
    Intervals,
    Task,
    TrainLoop,
    Values,
    add_loop_arguments,
    schedule_of,
)
from khala_studio.training.nets.backbone import BackbonePack
from khala_studio.training.nets.config import (
    SuperresConfig,
    TransformerConfig,
    Vocabulary,
    superres_config,
    to_dict,
)
from khala_studio.training.nets.superres import RefinePack, SuperresNet
from khala_studio.training.nets.transformer import count_parameters
from khala_studio.training.optim import Optimizer
from khala_studio.training.prompts import Dropout, PromptMaker
from khala_studio.training.train_backbone import BackboneData, drawing_of
from khala_studio.training.vocabulary import open_frontend, vocabulary_of

log = logging.getLogger(__name__)

CHECKPOINT = "superres.pt"
BITS = 1 / math.log(2)
LAYERS_AN_ITEM = 2  # layers asked of one excerpt in a step; they share its running sum
VALID_LAYERS = (2, 3, 5, 8, 16, 32, 63)
N_VALID = 12

Pack = RefinePack | BackbonePack


FIT_PACKS = 60  # that the residual head is first fitted to
RESIDUAL_WEIGHT = 2.0  # of the residual's prediction beside the codes' cross-entropy


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often the causal task takes a step (0: refinement only)."""

    causal_share: float

    def is_causal(self, step: int) -> bool:
        """Evenly spread, and the same in every run."""
        return math.floor((step + 1) * self.causal_share) > math.floor(step * self.causal_share)


def draw_layers(
    rng: np.random.Generator, n_codebooks: int, n_coarse: int = 2, count: int = LAYERS_AN_ITEM
) -> list[int]:
    """Ascending; the first refined layers more often, since they matter most and have most to be learnt."""
    u = rng.random(count)
    return sorted({n_coarse + int((n_codebooks - n_coarse) * x * x) for x in u})


class SuperresData:
    """Draws packs of both tasks; a pack depends on seed, step and progress alone."""

    def __init__(self, coarse: BackboneData, mixture: Mixture) -> None:
        self.coarse, self.mixture = coarse, mixture

    def pack(self, step: int, progress: float) -> Pack:
        if self.mixture.is_causal(step):
            return self.coarse.pack(step, progress)
        return self.refine_pack(step, progress)

    def refine_pack(self, step: int, progress: float) -> RefinePack:
        rng = np.random.default_rng([self.coarse.drawing.seed, 11, step])
        coarse, parts = self.coarse, _Parts()
        while parts.n_tokens < coarse.drawing.tokens:
            excerpt = coarse.folder.draw(rng, progress, coarse.drawing.max_frames)
            prompt = coarse.prompts.make(excerpt, rng, Dropout())
            layers = draw_layers(rng, coarse.vocabulary.n_codebooks, coarse.vocabulary.n_coarse)
            parts.add(prompt.ids, coarse.folder.codes_of(excerpt), layers)
        return parts.pack()


class _Parts:
    """A refinement pack in the making."""

    def __init__(self) -> None:
        self.prompts: list[Tensor] = []
        self.codes: list[Tensor] = []
        self.layers: list[int] = []
        self.n_tokens = 0

    def add(self, prompt: NDArray[np.int64], codes: NDArray[np.int16], layers: Sequence[int]) -> None:
        ids, grid = torch.from_numpy(prompt), torch.from_numpy(codes.astype(np.int64))
        self.prompts += [ids] * len(layers)
        self.codes += [grid] * len(layers)
        self.layers += layers
        self.n_tokens += len(layers) * (len(prompt) + codes.shape[1])

    def pack(self) -> RefinePack:
        return RefinePack(tuple(self.prompts), tuple(self.codes), tuple(self.layers))


def held_out_packs(
    folder: CodesFolder, prompts: PromptMaker, layers: Sequence[int], max_frames: int
) -> list[RefinePack]:
    """Excerpts of held-out recordings, the same in every run; every pack asks for all `layers` of one."""
    rng = np.random.default_rng(2027)
    packs = []
    for i in range(N_VALID):
        recording = folder.recordings[int(rng.integers(len(folder.recordings)))]
        excerpt = cut(recording, LENGTHS[i % 3], rng, max_frames)
        parts = _Parts()
        parts.add(prompts.make(excerpt, rng).ids, folder.codes_of(excerpt), layers)
        packs.append(parts.pack())
    return packs


class SuperresTask:
    """Loss and validation of super-resolution, as the loop wants them."""

    def __init__(self, net: SuperresNet, compute: Compute) -> None:
        self.net, self.compute = net, compute

    def loss(self, pack: Pack) -> tuple[Tensor, Values]:
        if isinstance(pack, BackbonePack):
            return self._causal(pack.to(self.compute.device))
        losses, unexplained = self.net.refine(pack.to(self.compute.device))
        loss = torch.cat(losses).mean()
        by_depth: dict[str, list[float]] = {}
        for layer, values in zip(pack.layers, losses, strict=True):
            band = "train 2-3" if layer < 4 else "train 4-15" if layer < 16 else "train 16-63"
            by_depth.setdefault(band, []).append(float(values.detach().mean()) * BITS)
        values = {band: float(np.mean(bits)) for band, bits in by_depth.items()}
        if unexplained:
            missed = torch.stack(unexplained).mean()
            loss = loss + RESIDUAL_WEIGHT * missed
            values["unexplained"] = float(missed.detach())
        return loss, values

    def _causal(self, pack: BackbonePack) -> tuple[Tensor, Values]:
        first, second = self.net.causal_losses(pack.ids, pack.packing, pack.targets)
        q0, q1 = first.mean(), second.mean()
        return (q0 + q1) / 2, {"causal q0": float(q0.detach()) * BITS, "causal q1": float(q1.detach()) * BITS}

    def bits(self, packs: Sequence[RefinePack]) -> dict[int, float]:
        """Held-out bits a code by layer, each given the true layers below it."""
        found: dict[int, list[Tensor]] = {}
        for pack in packs:
            losses = self.net.refine_losses(pack.to(self.compute.device))
            for layer, values in zip(pack.layers, losses, strict=True):
                found.setdefault(layer, []).append(values)
        return {layer: float(torch.cat(values).mean()) * BITS for layer, values in found.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codes", type=Path, default=Path("train/codes"), help="folder written by `train tokens`"
    )
    parser.add_argument("--corpus", type=Path, default=Path("train/corpus"), help="folder with songs.jsonl")
    parser.add_argument("--tokenizer", type=Path, default=Path("train/tokenizer.json"))
    parser.add_argument(
        "--codec", type=Path, default=Path("train/codec/codec.pt"), help="checkpoint of `train codec`"
    )
    parser.add_argument(
        "--init", type=Path, default=Path("train/backbone/backbone.pt"), help="checkpoint of `train backbone`"
    )
    parser.add_argument("--out", type=Path, default=Path("train/superres"))
    parser.add_argument(
        "--random-init", action="store_true", help="only the shape is the backbone's, not the weights"
    )
    parser.add_argument("--no-hybrid", action="store_true", help="refinement only, no causal steps")
    parser.add_argument("--causal-share", type=float, default=0.25, help="share of the causal steps")
    add_loop_arguments(parser, learning_rate=2e-3)


def main(args: argparse.Namespace) -> int:
    torch.manual_seed(args.seed)
    compute = choose_compute(args.device, args.threads, args.precision)
    frontend = open_frontend(args.tokenizer)
    vocabulary, prompts = vocabulary_of(frontend), PromptMaker(frontend)
    checkpoint = args.out / CHECKPOINT
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    train, valid = (CodesFolder(args.codes, args.corpus, split) for split in ("train", "valid"))
    net = build_net(args, vocabulary, checkpoint, train).to(compute.device)
    log.info("superres: %.1f M parameters", count_parameters(net) / 1e6)
    coarse = BackboneData(train, prompts, vocabulary, drawing_of(args, compute))
    data = SuperresData(coarse, Mixture(0.0 if args.no_hybrid else args.causal_share))
    layers = [layer for layer in VALID_LAYERS if layer < vocabulary.n_codebooks]
    optimizer = Optimizer(net.named_parameters(), args.learning_rate, args.optimizer == "muon")
    intervals = Intervals(validate=args.validate_every)
    config = to_dict(net.superres_config)
    loop = TrainLoop(
        checkpoint, config, {"model": net}, optimizer, schedule_of(args), compute, intervals, args.seed
    )
    net.dropout = args.dropout
    if loop.step == 0 and net.superres_config.factored:
        net.eval()
        with compute.autocast():
            packs = (data.refine_pack(step, 0.5).to(compute.device) for step in range(FIT_PACKS))
            left = net.fit_residual_head(packs)
        log.info("residual head by least squares: %.3f of the power unexplained", left)
    if args.compile:
        net.compile_blocks()
    task = SuperresTask(net, compute)
    held_out = held_out_packs(valid, prompts, layers, args.max_frames)
    unigram = train.unigram_bits([pack.codes[0].numpy() for pack in held_out], layers)

    def validate() -> Values:
        bits = task.bits(held_out)
        gains = {f"gain {layer}": unigram[layer] - value for layer, value in bits.items()}
        return {**{f"valid {layer}": value for layer, value in bits.items()}, **gains}

    loop.run(Task(data.pack, task.loss, validate, lambda pack: pack.n_tokens))
    return 0


def build_net(
    args: argparse.Namespace, vocabulary: Vocabulary, checkpoint: Path, train: CodesFolder
) -> SuperresNet:
    """The shape of the checkpoint to go on from (whose weights the loop loads), else of the backbone."""
    if checkpoint.exists():
        return SuperresNet(superres_config(_load(checkpoint)["config"]))
    backbone, codec = _load(args.init), _load(args.codec)["model"]
    n_codebooks, latent_dim, code_dim = codec["quantizer.projections"].shape
    if n_codebooks != vocabulary.n_codebooks:
        raise ValueError(f"the codec has {n_codebooks} layers, the vocabulary {vocabulary.n_codebooks}")
    shape = TransformerConfig(**backbone["config"]["transformer"])
    net = SuperresNet(SuperresConfig(shape, vocabulary, True, latent_dim, code_dim))
    net.set_codec(codec)
    net.start_from_frequencies(torch.from_numpy(train.frequencies(n_codebooks)))
    if not args.random_init:
        net.start_from_backbone(backbone["model"])
    return net


def _load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_superres(checkpoint: Path) -> SuperresNet:
    """The trained net on the CPU, in eval mode."""
    state = _load(checkpoint)
    net = SuperresNet(superres_config(state["config"]))
    net.load_state_dict(state["model"])
    return net.eval()
