"""`khala-studio train backbone`: prompt -> coarse codes, as a causal language model."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from khala_studio.training.data_codes import LENGTHS, CodesFolder, Excerpt, cut
from khala_studio.training.device import Compute, choose_compute
from khala_studio.training.loop import (
    Intervals,
    Task,
    TrainLoop,
    Values,
    add_loop_arguments,
    schedule_of,
    tokens_of,
)
from khala_studio.training.nets.backbone import (
    IGNORE,
    BackboneAids,
    BackboneNet,
    BackbonePack,
    coarse_losses,
)
from khala_studio.training.nets.config import (
    AidsConfig,
    BackboneConfig,
    Vocabulary,
    backbone_config,
    starter_transformer,
    to_dict,
)
from khala_studio.training.nets.transformer import Packing, count_parameters
from khala_studio.training.optim import Optimizer
from khala_studio.training.prompts import NO_PHONE, Dropout, PromptMaker, SungPrompt
from khala_studio.training.vocabulary import open_frontend, vocabulary_of

log = logging.getLogger(__name__)

CHECKPOINT = "backbone.pt"
Q0_WEIGHT, Q1_WEIGHT = 1.2, 0.8  # layer 0 carries the words and the tune
BITS = 1 / math.log(2)
N_VALID = 48  # excerpts of held-out recordings


@dataclass(frozen=True, slots=True)
class Item:
    """One sequence: a prompt and the coarse codes [2, T] that answer it.

    heard: what the net reads of its own past instead of `codes`, as good as it may be when it composes.
    """

    prompt: SungPrompt
    codes: NDArray[np.int16]
    heard: NDArray[np.int16] | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.prompt.ids) + self.codes.size


def pack_items(items: Sequence[Item], vocabulary: Vocabulary) -> BackbonePack:
    """Sequences [prompt | q0 q1 q0 q1 ...]; the last position predicts the end of the song."""
    size = vocabulary.codebook_size
    ids, targets, phone_at = [], [], []
    for item in items:
        n_prompt, frames = len(item.prompt.ids), item.codes.shape[1]
        rows = _rows(item.codes, size)
        heard = rows if item.heard is None else _rows(item.heard, size)
        ids += [item.prompt.ids, heard + vocabulary.audio_offset]
        before = np.full(n_prompt - 1, IGNORE)  # position p predicts what stands at p + 1
        targets += [before, rows, [2 * size]]
        phones = np.where(item.prompt.phone_at == NO_PHONE, IGNORE, item.prompt.phone_at)
        phone_at += [before, phones.repeat(2)[: 2 * frames], [IGNORE]]
    as_tensor = lambda parts: torch.from_numpy(np.concatenate(parts).astype(np.int64))  # noqa: E731
    return BackbonePack(
        as_tensor(ids),
        Packing(tuple(item.n_tokens for item in items)),
        tuple(len(item.prompt.ids) for item in items),
        as_tensor(targets),
        as_tensor(phone_at),
    )


def _rows(codes: NDArray[np.int16], size: int) -> NDArray[np.int64]:
    """[2, T] -> rows of the sliced head [2T], q0 and q1 in turn."""
    return (codes.astype(np.int64) + size * np.arange(2)[:, None]).T.reshape(-1)


def corrupt(codes: NDArray[np.int16], rng: np.random.Generator, most: float) -> NDArray[np.int16]:
    """Replace a share (0 to `most`, drawn) of codes [2, T] by others of the same layer and excerpt.

    Whoever cannot rely on the past has to read the words; and composing makes mistakes that training data
    do not hold.
    """
    wrong = rng.random(codes.shape) < rng.uniform(0.0, most)
    elsewhere = rng.integers(codes.shape[1], size=codes.shape)
    return np.where(wrong, np.take_along_axis(codes, elsewhere, axis=1), codes)


@dataclass(frozen=True, slots=True)
class Drawing:
    """How training packs are drawn."""

    seed: int
    tokens: int  # a pack
    max_frames: int
    corrupt: float = 0.0


class BackboneData:
    """Draws training packs; a pack depends on seed, step and progress alone."""

    def __init__(
        self, folder: CodesFolder, prompts: PromptMaker, vocabulary: Vocabulary, drawing: Drawing
    ) -> None:
        self.folder, self.prompts, self.vocabulary = folder, prompts, vocabulary
        self.drawing = drawing

    def item(self, excerpt: Excerpt, rng: np.random.Generator, dropout: Dropout) -> Item:
        codes = self.folder.codes_of(excerpt)[:2]
        prompt = self.prompts.make(excerpt, rng, dropout)
        return Item(prompt, codes, corrupt(codes, rng, self.drawing.corrupt))

    def pack(self, step: int, progress: float) -> BackbonePack:
        """About `tokens` tokens: sequences until the next one would not fit."""
        rng = np.random.default_rng([self.drawing.seed, 10, step])
        items: list[Item] = []
        total = 0
        while True:
            item = self.item(self.folder.draw(rng, progress, self.drawing.max_frames), rng, Dropout())
            total += item.n_tokens
            if items and total > self.drawing.tokens:
                return pack_items(items, self.vocabulary)
            items.append(item)


def held_out_items(
    folder: CodesFolder, prompts: PromptMaker, max_frames: int, count: int = N_VALID
) -> list[Item]:
    """The same excerpts in every run: lines, couplets and sections of sung recordings, complete prompts."""
    rng = np.random.default_rng(2026)
    sung = [r for r in folder.recordings if r.sung] or folder.recordings
    items = []
    for i in range(count):
        recording = sung[int(rng.integers(len(sung)))]
        excerpt = cut(recording, LENGTHS[i % 3], rng, max_frames)
        items.append(Item(prompts.make(excerpt, rng), folder.codes_of(excerpt)[:2]))
    return items


def with_other_words(items: Sequence[Item]) -> list[Item]:
    """Every item with the words of the one next in prompt length: the same style, other lyrics."""
    order = np.argsort([len(item.prompt.ids) for item in items], kind="stable")
    donors = dict(zip(order, np.roll(order, -1), strict=True))
    return [
        Item(item.prompt.with_words_of(items[donors[i]].prompt), item.codes) for i, item in enumerate(items)
    ]


class BackboneTask:
    """Loss and validation of the backbone, as the loop wants them."""

    def __init__(self, net: BackboneNet, aids: BackboneAids, compute: Compute) -> None:
        self.net, self.aids, self.compute = net, aids, compute

    def loss(self, pack: BackbonePack) -> tuple[Tensor, Values]:
        pack = pack.to(self.compute.device)
        probe = self.aids.probe(pack)
        hidden = self.net.hidden(self.net.embed(pack.ids), pack.packing, causal=True, probe=probe)
        first, second = coarse_losses(self.net, hidden, pack.targets)
        q0, q1 = first.mean(), second.mean()
        loss = (Q0_WEIGHT * q0 + Q1_WEIGHT * q1) / 2 + probe.loss()
        values = {"train q0": q0.detach() * BITS, "train q1": q1.detach() * BITS}
        if probe.phone_loss is not None:
            values["phone"] = probe.phone_loss.detach() * BITS
        for (block, head), guide in zip(self.aids.config.guide_heads, probe.guide_losses, strict=False):
            values[f"guide {block}.{head}"] = guide.detach() * BITS
        return loss, {name: float(value) for name, value in values.items()}

    def bits(self, items: Sequence[Item], tokens: int) -> tuple[float, float, float]:
        """Held-out bits a code of q0, of q1, and the share of frames whose phone the guided heads find."""
        losses: list[list[Tensor]] = [[], []]
        found: list[float] = []
        for pack in _packs(items, tokens, self.net.backbone_config.vocabulary):
            pack = pack.to(self.compute.device)
            finder = _PhoneFinder(self.aids, pack)
            hidden = self.net.hidden(self.net.embed(pack.ids), pack.packing, causal=True, probe=finder)
            first, second = coarse_losses(self.net, hidden, pack.targets)
            losses[0].append(first)
            losses[1].append(second)
            found += finder.found
        q0, q1 = (float(torch.cat(parts).mean()) * BITS for parts in losses)
        return q0, q1, float(np.mean(found)) if found else float("nan")


class _PhoneFinder:
    """Probe of validation: does the first guided head look hardest at the phone being sung?"""

    def __init__(self, aids: BackboneAids, pack: BackbonePack) -> None:
        self.aids, self.pack = aids, pack
        self.found: list[float] = []

    def see(self, block: int, q: Tensor, k: Tensor, x: Tensor) -> None:
        heads = [head for at, head in self.aids.config.guide_heads if at == block]
        if not heads or self.found:
            return
        head, sizes = heads[0], list(self.pack.packing.lengths)
        query, key = q[:, head], k[:, head // self.aids.group]
        for a, b, target, prompt in zip(
            query.split(sizes),
            key.split(sizes),
            self.pack.phone_at.split(sizes),
            self.pack.prompts,
            strict=True,
        ):
            rows = (target != IGNORE).nonzero()[:, 0]
            hits = (a[rows] @ b[:prompt].T).argmax(-1) == target[rows]
            self.found += hits.float().tolist()


def _packs(items: Sequence[Item], tokens: int, vocabulary: Vocabulary) -> Iterator[BackbonePack]:
    group: list[Item] = []
    for item in items:
        if group and sum(i.n_tokens for i in group) + item.n_tokens > tokens:
            yield pack_items(group, vocabulary)
            group = []
        group.append(item)
    if group:
        yield pack_items(group, vocabulary)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codes", type=Path, default=Path("train/codes"), help="folder written by `train tokens`"
    )
    parser.add_argument("--corpus", type=Path, default=Path("train/corpus"), help="folder with songs.jsonl")
    parser.add_argument("--tokenizer", type=Path, default=Path("train/tokenizer.json"))
    parser.add_argument("--out", type=Path, default=Path("train/backbone"))
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=384, help="width, a multiple of 64")
    parser.add_argument(
        "--phone-weight", type=float, default=AidsConfig().phone_weight, help="0: without that aid"
    )
    parser.add_argument(
        "--guide-weight", type=float, default=AidsConfig().guide_weight, help="0: without that aid"
    )
    add_loop_arguments(parser, learning_rate=3e-3)


def main(args: argparse.Namespace) -> int:
    torch.manual_seed(args.seed)
    compute = choose_compute(args.device, args.threads, args.precision)
    frontend = open_frontend(args.tokenizer)
    vocabulary, prompts = vocabulary_of(frontend), PromptMaker(frontend)
    checkpoint = args.out / CHECKPOINT
    if args.restart:
        checkpoint.unlink(missing_ok=True)
    config = _config(args, vocabulary, checkpoint)
    net, aids = (
        BackboneNet(config).to(compute.device),
        BackboneAids(_aids(args, config), config).to(compute.device),
    )
    log.info("backbone: %.1f M parameters", count_parameters(net) / 1e6)

    train = CodesFolder(args.codes, args.corpus, "train")
    data = BackboneData(train, prompts, vocabulary, drawing_of(args, compute))
    held_out = held_out_items(CodesFolder(args.codes, args.corpus, "valid"), prompts, args.max_frames)
    unigram = train.unigram_bits([item.codes for item in held_out], (0, 1))
    log.info("unigram: q0 %.3f, q1 %.3f bits a code", unigram[0], unigram[1])

    named = [*net.named_parameters(), *((f"aids.{name}", p) for name, p in aids.named_parameters())]
    optimizer = Optimizer(named, args.learning_rate, args.optimizer == "muon")
    modules = {"model": net, "aids": aids}
    intervals = Intervals(validate=args.validate_every)
    loop = TrainLoop(
        checkpoint, to_dict(config), modules, optimizer, schedule_of(args), compute, intervals, args.seed
    )
    net.dropout = args.dropout
    if args.compile:
        net.compile_blocks()
    task = BackboneTask(net, aids, compute)
    shuffled = with_other_words(held_out)

    def validate() -> Values:
        q0, q1, found = task.bits(held_out, data.drawing.tokens)
        q0_shuffled, q1_shuffled, _ = task.bits(shuffled, data.drawing.tokens)
        return {
            "valid q0": q0, "valid q1": q1,
            "valid q0 shuffled words": q0_shuffled, "valid q1 shuffled words": q1_shuffled,
            "words are worth": (q0_shuffled + q1_shuffled - q0 - q1) / 2, "phones found": found,
            "unigram q0": unigram[0], "unigram q1": unigram[1],
        }  # fmt: skip

    loop.run(Task(data.pack, task.loss, validate, lambda pack: pack.n_tokens))
    return 0


def drawing_of(args: argparse.Namespace, compute: Compute) -> Drawing:
    return Drawing(args.seed, tokens_of(args, compute), args.max_frames, args.corrupt)


def _config(args: argparse.Namespace, vocabulary: Vocabulary, checkpoint: Path) -> BackboneConfig:
    """Of the checkpoint to go on from, else from the arguments."""
    if checkpoint.exists():
        return backbone_config(torch.load(checkpoint, map_location="cpu", weights_only=True)["config"])
    shape = starter_transformer(vocabulary.n_coarse_ids, vocabulary.n_audio_rows, args.layers, args.hidden)
    return BackboneConfig(shape, vocabulary)


def _aids(args: argparse.Namespace, config: BackboneConfig) -> AidsConfig:
    """The phone is read half-way up; attention is guided in two heads just below."""
    middle = config.transformer.n_layers // 2
    heads = tuple((block, 0) for block in (middle - 2, middle - 1) if block >= 0)
    return AidsConfig(args.phone_weight, middle, args.guide_weight, heads)


def load_backbone(checkpoint: Path) -> BackboneNet:
    """The trained net on the CPU, in eval mode."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    net = BackboneNet(backbone_config(state["config"]))
    net.load_state_dict(state["model"])
    return net.eval()
