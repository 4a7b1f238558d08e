"""Sizes of the networks as frozen values; the official shapes are other values of the same classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """A Llama-style stack: RMSNorm, grouped-query attention, half-rotation RoPE, SwiGLU.

    The official Khala backbone is `official_backbone()`; ours is `starter_backbone(...)`.
    """

    n_layers: int
    hidden: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn: int
    vocab_size: int
    output_rows: int  # rows of lm_head; the sliced head of a backbone has `n_audio_rows` of them
    rope_base: float = 500_000.0
    norm_eps: float = 1e-6
    bias: bool = False

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} heads cannot share {self.n_kv_heads} key-value heads evenly")
        if self.head_dim % 2:
            raise ValueError("head_dim must be even for half-rotation RoPE")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Where the audio ids lie: code c of layer k is `audio_offset + codebook_size * k + c`."""

    audio_offset: int
    end_of_song: int
    superres_marker_base: int
    n_codebooks: int = 64
    codebook_size: int = 1_024
    n_coarse: int = 2

    @property
    def n_audio_rows(self) -> int:
        """Rows of the sliced backbone head: q0 codes, q1 codes, end of song."""
        return self.n_coarse * self.codebook_size + 1

    @property
    def n_coarse_ids(self) -> int:
        """Size of the vocabulary of the backbone: text and the coarse layers."""
        return self.audio_offset + self.n_coarse * self.codebook_size


@dataclass(frozen=True, slots=True)
class BackboneConfig:
    transformer: TransformerConfig
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class AidsConfig:
    """Helps that exist while the backbone trains and are dropped at export; weight 0 turns one off.

    phone_weight: cross-entropy of the phone being sung, read from the hidden state
        after `phone_layer` blocks.
    guide_weight: cross-entropy that pulls the designated heads' attention over the prompt to that phone.
    guide_heads: (block, query head) pairs.
    """

    phone_weight: float = 0.2
    phone_layer: int = 4
    guide_weight: float = 0.2
    guide_heads: tuple[tuple[int, int], ...] = ((2, 0), (3, 0))


@dataclass(frozen=True, slots=True)
class SuperresConfig:
    """The refinement net. `factored`: embeddings and heads of the layers above the coarse ones go through
    the codec's codebooks (`latent_dim` D, `code_dim` d); otherwise each layer has rows, as officially.
    """

    transformer: TransformerConfig
    vocabulary: Vocabulary
    factored: bool = True
    latent_dim: int = 0
    code_dim: int = 0


def starter_transformer(
    vocab_size: int, output_rows: int, n_layers: int = 8, hidden: int = 384
) -> TransformerConfig:
    """The starter's shape: heads of 64, a third as many key-value heads, ffn about 8/3 of the width."""
    n_heads = hidden // 64
    return TransformerConfig(
        n_layers=n_layers,
        hidden=hidden,
        n_heads=n_heads,
        n_kv_heads=max(1, n_heads // 3),
        head_dim=64,
        ffn=hidden * 8 // 3,
        vocab_size=vocab_size,
        output_rows=output_rows,
    )


def official_transformer(vocab_size: int) -> TransformerConfig:
    """Khala v1: 24 layers, hidden 2048, biases on every linear, untied full head."""
    return TransformerConfig(
        n_layers=24,
        hidden=2_048,
        n_heads=32,
        n_kv_heads=8,
        head_dim=64,
        ffn=5_632,
        vocab_size=vocab_size,
        output_rows=vocab_size,
        bias=True,
    )


def official_vocabulary() -> Vocabulary:
    return Vocabulary(audio_offset=128_256, end_of_song=128_001, superres_marker_base=128_255)


def official_backbone() -> BackboneConfig:
    return BackboneConfig(official_transformer(130_304), official_vocabulary())


def official_superres() -> SuperresConfig:
    return SuperresConfig(official_transformer(193_792), official_vocabulary(), factored=False)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain containers only, so that torch loads them with weights_only=True."""
    return asdict(config)


def _build(cls: type[Any], data: Mapping[str, Any], **nested: Any) -> Any:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"{cls.__name__} does not know {', '.join(unknown)}")
    return cls(**{**data, **nested})


def backbone_config(data: Mapping[str, Any]) -> BackboneConfig:
    """The inverse of `to_dict`. Raises ValueError or TypeError on wrong content."""
    return BackboneConfig(
        _build(TransformerConfig, data["transformer"]), _build(Vocabulary, data["vocabulary"])
    )


def superres_config(data: Mapping[str, Any]) -> SuperresConfig:
    return _build(
        SuperresConfig,
        data,
        transformer=_build(TransformerConfig, data["transformer"]),
        vocabulary=_build(Vocabulary, data["vocabulary"]),
    )
