"""A complete pack with tiny random nets, made without torch in about a second.

    pack = build_tiny_pack(tmp_path / "tiny")
    pack = build_tiny_pack(tmp_path / "short", n_codebooks=8, codebook_size=16, hop=64)

All stages are real graphs of the real export code; only the weights are noise. The codec is a small
convolutional one whose chunks join without a seam from `CONTEXT_FRAMES` frames of context on.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from khala_studio.training.export.backbone_graph import BackboneFormat, KvCache, backbone_graph
from khala_studio.training.export.graph_builder import GraphBuilder, Precision
from khala_studio.training.export.pack import write_pack
from khala_studio.training.export.superres_graph import (
    SuperresFormat,
    Vocabulary,
    superres_embed_graph,
    superres_graph,
)
from khala_studio.training.export.transformer_blocks import TransformerShape, WeightFormat
from khala_studio.training.tokenizer import build

CONTEXT_FRAMES = 2  # of the decoder: two convolutions of three frames
NOISE_PERIOD = 64  # frames after which the decoder's noise repeats

LEXICON = {
    "hello": "HH AH0 L OW1",
    "world": "W ER1 L D",
    "sing": "S IH1 NG",
    "a": "AH0",
    "song": "S AO1 NG",
    "the": "DH AH0",
    "light": "L AY1 T",
    "is": "IH1 Z",
    "low": "L OW1",
}


@dataclasses.dataclass(frozen=True)
class TinyOptions:
    """What `build_tiny_pack` can vary."""

    n_layers: int = 2
    hidden: int = 32
    n_heads: int = 2
    n_kv_heads: int = 1
    head_dim: int = 16
    ffn: int = 48
    rope_base: float = 500_000.0
    norm_eps: float = 1e-6
    n_codebooks: int = 64
    codebook_size: int = 1024
    n_coarse: int = 2
    sample_rate: int = 44_100
    hop: int = 2048
    precision: Precision = "fp32"  # of backbone and super-resolution
    kv_dtype: str = "float32"
    max_positions: int = 8192
    noise: bool = False  # the decoder takes `start_frame`
    encoder: bool = True
    min_seconds: float = 1
    max_seconds: float = 60
    default_seconds: float = 5
    id: str = "tiny"
    version: str = "0.0.1"

    @property
    def shape(self) -> TransformerShape:
        return TransformerShape.of(self)

    def vocabulary(self, n_text: int) -> Vocabulary:
        return Vocabulary(n_text, self.codebook_size, self.n_codebooks, self.n_coarse)


def build_tiny_pack(folder: Path, seed: int = 0, **options: Any) -> Path:
    """Write the pack to `folder` (which must not exist yet) and return it; see `TinyOptions`."""
    tiny = TinyOptions(**options)
    rng = np.random.default_rng(seed)
    tokenizer = build(LEXICON)
    vocabulary = tiny.vocabulary(len(tokenizer["tokens"]))
    codec = _codec_state(rng, tiny)
    weights = WeightFormat(tiny.precision)
    scales = [0.05] * tiny.n_layers if tiny.kv_dtype == "int8" else []
    backbone = BackboneFormat(weights, weights, "float16", KvCache(tiny.kv_dtype, scales, scales))
    superres = SuperresFormat(weights, "float16", "float16")

    state = superres_state(rng, tiny, vocabulary)
    graphs = {
        "backbone": backbone_graph(
            backbone_state(rng, tiny, vocabulary), tiny.shape, backbone, max_positions=tiny.max_positions
        ),
        "superres_embed": superres_embed_graph(
            state, vocabulary, codec["quantizer.codebooks"], codec["quantizer.projections"], superres
        ),
        "superres": superres_graph(
            state,
            tiny.shape,
            vocabulary,
            codec["quantizer.codebooks"],
            superres,
            max_positions=tiny.max_positions,
        ),
        "decoder": decoder_graph(codec, tiny),
    }
    if tiny.encoder:
        graphs["encoder"] = encoder_graph(codec, tiny)
    extra_files = {
        "tokenizer.json": json.dumps(tokenizer),
        "CARD.md": "# Tiny\n\nRandom weights, for tests. It sings nothing.\n",
    }
    write_pack(folder, _fields(tiny, tokenizer, list(graphs)), graphs, extra_files)
    return folder


# --- transformers


def backbone_state(
    rng: np.random.Generator, tiny: TinyOptions, vocabulary: Vocabulary
) -> dict[str, np.ndarray]:
    """Random weights under the names of training's state dicts."""
    n_coarse_codes = tiny.n_coarse * tiny.codebook_size
    state = _body_state(rng, tiny)
    state["embed.weight"] = _normal(rng, vocabulary.audio_offset + n_coarse_codes, tiny.hidden)
    # Logits of unit variance: neither one code for ever nor all codes alike.
    state["lm_head.weight"] = _normal(rng, n_coarse_codes + 1, tiny.hidden, scale=tiny.hidden**-0.5)
    return state


def superres_state(
    rng: np.random.Generator, tiny: TinyOptions, vocabulary: Vocabulary, latent: int = 12, d: int = 4
) -> dict[str, np.ndarray]:
    state = _body_state(rng, tiny)
    n_rows = vocabulary.audio_offset + tiny.n_coarse * tiny.codebook_size
    state["embed.weight"] = _normal(rng, n_rows, tiny.hidden)
    state["latent_proj.weight"] = _normal(rng, tiny.hidden, latent)
    state["layer_embed.weight"] = _normal(rng, tiny.n_codebooks, tiny.hidden)
    state["head_proj"] = _normal(rng, tiny.n_codebooks, tiny.hidden, d, scale=tiny.hidden**-0.5)
    state["head_bias"] = _normal(rng, tiny.n_codebooks, tiny.codebook_size)
    return state


def _body_state(rng: np.random.Generator, tiny: TinyOptions) -> dict[str, np.ndarray]:
    query, kv, hidden, ffn = (
        tiny.n_heads * tiny.head_dim,
        tiny.n_kv_heads * tiny.head_dim,
        tiny.hidden,
        tiny.ffn,
    )
    state = {"norm.weight": _normal(rng, hidden, scale=0.1) + 1}
    for layer in range(tiny.n_layers):
        shapes = {
            "attn.q_proj": (query, hidden),
            "attn.k_proj": (kv, hidden),
            "attn.v_proj": (kv, hidden),
            "attn.o_proj": (hidden, query),
            "mlp.gate_proj": (ffn, hidden),
            "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn),
        }
        for name, (n_out, n_in) in shapes.items():
            state[f"layers.{layer}.{name}.weight"] = _normal(rng, n_out, n_in, scale=n_in**-0.5)
        for name in ("input_norm", "post_attn_norm"):
            state[f"layers.{layer}.{name}.weight"] = _normal(rng, hidden, scale=0.1) + 1
    return state


def _normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


# --- codec


def _codec_state(
    rng: np.random.Generator, tiny: TinyOptions, latent: int = 12, d: int = 4
) -> dict[str, np.ndarray]:
    fade = 0.93 ** np.arange(tiny.n_codebooks)[:, None, None]  # later layers add less
    return {
        "quantizer.projections": _normal(rng, tiny.n_codebooks, latent, d, scale=d**-0.5),
        "quantizer.codebooks": (_normal(rng, tiny.n_codebooks, tiny.codebook_size, d) * fade).astype(
            np.float32
        ),
        "conv1": _normal(rng, 16, latent, 3, scale=0.1),
        "conv2": _normal(rng, 16, 16, 3, scale=0.2),
        "synthesis": _normal(rng, 2 * tiny.hop, 16, scale=0.05),
        "analysis": _normal(rng, latent, 2 * tiny.hop, scale=0.1),
        "noise": _normal(rng, NOISE_PERIOD, 2, 1, scale=0.02),
    }


def decoder_graph(codec: dict[str, np.ndarray], tiny: TinyOptions) -> onnx.ModelProto:
    """codes [K, T] (and start_frame [1]) -> waveform [2, T * hop]."""
    g = GraphBuilder("decoder")
    codes = g.input("codes", "int64", ["K", "T"])
    codebooks = codec["quantizer.codebooks"]
    depth, n_frames = (
        g.op("Slice", [g.op("Shape", [codes]), g.constant([i]), g.constant([i + 1])]) for i in (0, 1)
    )
    offsets = g.op("Mul", [g.op("Range", _scalars(g, depth)), g.constant(tiny.codebook_size)])
    entries = g.op("Add", [codes, g.op("Unsqueeze", [offsets, g.constant([1])])])
    vectors = g.gather_rows("codebooks", codebooks.reshape(-1, codebooks.shape[2]), entries, "float16")
    projections = g.initialiser("projections", codec["quantizer.projections"].transpose(0, 2, 1))  # [K, d, L]
    known = g.op("Slice", [projections, g.constant([0]), depth])
    latent = g.op("ReduceSum", [g.op("MatMul", [vectors, known]), g.constant([0])], keepdims=1)  # [1, T, L]

    x = g.op("Transpose", [latent], perm=[0, 2, 1])
    for name in ("conv1", "conv2"):
        x = g.op("Tanh", [g.op("Conv", [x, g.initialiser(name, codec[name])], pads=[1, 1])])
    frames = g.op("Transpose", [x], perm=[0, 2, 1])  # [1, T, 16]
    samples = g.linear(frames, codec["synthesis"], name="synthesis", storage="float16")
    samples = g.op("Reshape", [samples, g.constant([-1, 2, tiny.hop])])  # [T, 2, hop]
    if tiny.noise:
        start = g.input("start_frame", "int64", [1])
        index = g.op("Add", [start, g.op("Range", _scalars(g, n_frames))])
        phase = g.op("Mod", [index, g.constant(NOISE_PERIOD)])
        samples = g.op("Add", [samples, g.gather_rows("noise", codec["noise"], phase)])
    waveform = g.op("Reshape", [g.op("Transpose", [samples], perm=[1, 0, 2]), g.constant([2, -1])])
    g.output("waveform", "float32", [2, f"T*{tiny.hop}"], waveform)
    return g.model()


def encoder_graph(codec: dict[str, np.ndarray], tiny: TinyOptions) -> onnx.ModelProto:
    """waveform [2, N] -> codes [K, N / hop]: linear analysis, then each layer's nearest entry."""
    g = GraphBuilder("encoder")
    waveform = g.input("waveform", "float32", [2, "N"])
    frames = g.op("Reshape", [waveform, g.constant([2, -1, tiny.hop])])
    frames = g.op("Reshape", [g.op("Transpose", [frames], perm=[1, 0, 2]), g.constant([-1, 2 * tiny.hop])])
    residual = g.linear(frames, codec["analysis"], name="analysis", storage="float16")  # [T, L]
    codes = []
    for layer in range(tiny.n_codebooks):
        entries = codec["quantizer.codebooks"][layer] @ codec["quantizer.projections"][layer].T  # [C, L]
        half_energy = g.initialiser(f"half_energy.{layer}", 0.5 * (entries**2).sum(axis=1))
        table = g.initialiser(f"entries.{layer}", entries, "float16")
        scores = g.op("MatMul", [residual, g.op("Transpose", [table], perm=[1, 0])])
        nearest = g.op("ArgMax", [g.op("Sub", [scores, half_energy])], axis=1, keepdims=0)  # [T]
        residual = g.op("Sub", [residual, g.op("Gather", [table, nearest])])
        codes.append(g.op("Unsqueeze", [nearest, g.constant([0])]))
    g.output("codes", "int64", [tiny.n_codebooks, "T"], g.op("Concat", codes, axis=0))
    return g.model()


def _scalars(g: GraphBuilder, stop: str) -> list[str]:
    """The inputs of Range(0, stop [1], 1)."""
    return [g.constant(0), g.op("Squeeze", [stop]), g.constant(1)]


# --- pack.json


def _fields(tiny: TinyOptions, tokenizer: dict[str, Any], graphs: list[str]) -> dict[str, Any]:
    tokens = tokenizer["tokens"]
    codec = {
        name: getattr(tiny, name)
        for name in ("sample_rate", "hop", "n_codebooks", "codebook_size", "n_coarse")
    }
    length = {"unit": "seconds", "min_fraction": 0.6, "max_fraction": 1.1}
    return {
        "format": 1,
        "id": tiny.id,
        "name": "Tiny",
        "version": tiny.version,
        "license": "Apache-2.0",
        "languages": ["en"],
        "codec": {**codec, "channels": 2, "context_frames": CONTEXT_FRAMES},
        "text": {
            "frontend": "phonemes",
            "vocab_size": len(tokens),
            "end_of_song": tokens.index("<eos>"),
            "audio_offset": len(tokens),
            "superres_marker_base": tokens.index("<layer:0>"),
            "max_prompt": 2048,
            "max_characters": 20_000,
        },
        "backbone": {
            "n_layers": tiny.n_layers,
            "n_kv_heads": tiny.n_kv_heads,
            "head_dim": tiny.head_dim,
            "kv_dtype": tiny.kv_dtype,
            "max_positions": tiny.max_positions,
        },
        "superres": {"hidden": tiny.hidden},
        "controls": {
            "tags": {"genre": ["pop", "rock"], "voice": ["female", "male"]},
            "sections": ["verse", "chorus"],
            "length": {
                **length,
                "min": tiny.min_seconds,
                "max": tiny.max_seconds,
                "default": tiny.default_seconds,
            },
        },
        "sampling": {
            "backbone": {"temperature": 0.9, "top_k": 50},
            "superres": {"temperature": 1.0, "top_k": 10},
        },
        "precision": {
            graph: tiny.precision if graph in ("backbone", "superres") else "fp32"
            for graph in graphs
            if graph != "superres_embed"
        },
    }
