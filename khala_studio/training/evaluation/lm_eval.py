"""How well the two transformers know held-out songs: bits a code, with baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.evaluation.budget import Budget
from khala_studio.training.evaluation.held_out import (
    PHONES,
    Excerpt,
    SungSections,
    excerpt_words,
    sung_sections,
)
from khala_studio.training.evaluation.pack_probe import Codes, TokenIds
from khala_studio.training.evaluation.table import Table

LAYERS = (2, 3, 4, 5, 7, 10, 15, 23, 31, 47, 63)  # scored layers of super-resolution, counted from 0
SHUFFLE_SEED = 2026

# The front end's `encode_song`: style, sections, seconds -> ids and the positions of phones among them.
EncodeSong = Callable[[dict[str, str], SungSections, float | None], tuple[TokenIds, Any]]


class BackboneScorer(Protocol):
    def backbone_bits(self, prompt: TokenIds, codes: Codes) -> NDArray[np.float64]: ...


class SuperresScorer(Protocol):
    def superres_bits(self, prompt: TokenIds, codes: Codes, layers: list[int]) -> dict[int, float]: ...


@dataclass(frozen=True, slots=True)
class Item:
    """One held-out excerpt as the models see it."""

    kind: str
    prompt: TokenIds  # [S]
    shuffled: TokenIds  # [S], the same words in another order
    codes: Codes  # [K, T]


@dataclass(slots=True)
class LmReport:
    """Bits a code, one number an item unless said otherwise."""

    kinds: list[str] = field(default_factory=list)
    right: list[NDArray[np.float64]] = field(default_factory=list)  # [n_coarse] each
    shuffled: list[NDArray[np.float64]] = field(default_factory=list)
    trained: list[float] = field(default_factory=list)  # right words, before quantising; may be empty
    backbone_unigram: list[NDArray[np.float64]] = field(default_factory=list)
    superres: dict[int, list[float]] = field(default_factory=dict)  # by layer
    superres_unigram: dict[int, list[float]] = field(default_factory=dict)
    unigram_frames: int = 0  # of the training split, that the unigrams were counted in

    def lyrics_rows(self) -> list[list[Any]]:
        rows = []
        for kind in (*dict.fromkeys(self.kinds), "all"):
            chosen = [i for i, k in enumerate(self.kinds) if kind in (k, "all")]
            right, shuffled = (np.array([v[i].mean() for i in chosen]) for v in (self.right, self.shuffled))
            unigram = np.mean([self.backbone_unigram[i].mean() for i in chosen])
            gain = shuffled - right
            better = f"{int((gain > 0).sum())} of {len(chosen)}"
            rows.append([kind, unigram, shuffled.mean(), right.mean(), gain.mean(), better])
        return [[cell if isinstance(cell, str) else float(cell) for cell in row] for row in rows]

    def to_json(self) -> dict[str, Any]:
        names = ("unigram", "shuffled", "right", "gain", "better")
        by_layer = {
            layer: {"bits": float(np.mean(bits)), "unigram": float(np.mean(self.superres_unigram[layer]))}
            for layer, bits in self.superres.items()
        }
        return {
            "items": len(self.right),
            "unigram_frames": self.unigram_frames,
            "backbone": {row[0]: dict(zip(names, row[1:], strict=True)) for row in self.lyrics_rows()},
            "backbone_as_trained": float(np.mean(self.trained)) if self.trained else None,
            "backbone_by_layer": np.mean(self.right, axis=0).tolist() if self.right else [],
            "superres_items": max((len(v) for v in self.superres.values()), default=0),
            "superres": by_layer,
        }

    def tables(self) -> list[Table]:
        backbone = Table(
            "Backbone",
            ["bits a code", "unigram", "shuffled words", "right words", "words are worth", "right is better"],
            self.lyrics_rows(),
            f"{len(self.right)} held-out excerpts, teacher-forced through the shipped graph, step by step"
            f"{f' ({np.mean(self.trained):.3f} bits before quantising)' if self.trained else ''}. "
            f"Shuffled: the same words of the same excerpt in another order. Unigram: counts of "
            f"{self.unigram_frames} training frames.",
        )
        rows = [
            [layer, float(np.mean(self.superres_unigram[layer])), float(np.mean(bits)),
             float(np.mean(self.superres_unigram[layer]) - np.mean(bits))]
            for layer, bits in self.superres.items()
        ]  # fmt: skip
        items = max((len(v) for v in self.superres.values()), default=0)
        superres = Table(
            "Super-resolution",
            ["layer (from 0)", "unigram, bits", "super-resolution, bits", "gain"],
            rows,
            f"{items} of these excerpts, each layer given the true ones below it.",
        )
        return [backbone, superres]


class Unigram:
    """Frequencies of codes by layer, with one count added to each so that nothing is impossible."""

    def __init__(self, n_codebooks: int, codebook_size: int) -> None:
        self.counts = np.ones((n_codebooks, codebook_size))
        self.frames = 0

    def add(self, codes: Codes) -> None:
        """[K, T]"""
        for layer, row in enumerate(codes):
            self.counts[layer] += np.bincount(row, minlength=self.counts.shape[1])
        self.frames += codes.shape[1]

    def bits(self, layer: int, codes: NDArray[np.int16]) -> float:
        """Mean surprise of `codes` [T] of a layer."""
        share = self.counts[layer] / self.counts[layer].sum()
        return float(-np.log2(share[codes]).mean())


def score_backbone(
    scorer: BackboneScorer,
    unigram: Unigram,
    items: Iterable[Item],
    budget: Budget,
    report: LmReport,
    trained: BackboneScorer | None = None,
) -> list[Item]:
    """Fill the backbone's part of `report`; the items that were scored.

    Args:
        trained: the same net before export, if it is at hand.
    """
    scored: list[Item] = []
    for item in items:
        right = scorer.backbone_bits(item.prompt, item.codes).mean(axis=1)  # [n_coarse]
        report.kinds.append(item.kind)
        report.right.append(right)
        report.shuffled.append(scorer.backbone_bits(item.shuffled, item.codes).mean(axis=1))
        report.backbone_unigram.append(np.array([unigram.bits(k, item.codes[k]) for k in range(len(right))]))
        if trained:
            report.trained.append(float(trained.backbone_bits(item.prompt, item.codes).mean()))
        scored.append(item)
        if budget.spent():
            break
    return scored


def score_superres(
    scorer: SuperresScorer,
    unigram: Unigram,
    items: Iterable[Item],
    n_coarse: int,
    budget: Budget,
    report: LmReport,
) -> None:
    """Fill the part of super-resolution in `report`."""
    for item in items:
        layers = [layer for layer in LAYERS if n_coarse <= layer < len(item.codes)]
        for layer, bits in scorer.superres_bits(item.prompt, item.codes, layers).items():
            report.superres.setdefault(layer, []).append(bits)
            report.superres_unigram.setdefault(layer, []).append(unigram.bits(layer, item.codes[layer]))
        if budget.spent():
            break


def shuffled_words(excerpt: Excerpt) -> list[PHONES]:
    """The excerpt's words in a random order that is the same in every run, none of it left as it was.

    A rotation by half follows the permutation where that left every word in place (one or two words).
    """
    words = excerpt_words(excerpt)
    order = np.random.default_rng([SHUFFLE_SEED, len(words)]).permutation(len(words))
    mixed = [words[i] for i in order]
    return mixed if mixed != words else words[len(words) // 2 :] + words[: len(words) // 2]


def prompts(encode_song: EncodeSong, style: dict[str, str], excerpt: Excerpt) -> tuple[TokenIds, TokenIds]:
    """The prompt of an excerpt with its own words, and with shuffled ones."""
    own, _ = encode_song(style, sung_sections(excerpt), excerpt.seconds)
    other, _ = encode_song(style, sung_sections(excerpt, shuffled_words(excerpt)), excerpt.seconds)
    return np.asarray(own, np.int64), np.asarray(other, np.int64)
