"""Super-resolution as two graphs: ids -> vectors, and (vectors, layer) -> logits of that layer.

The engine adds up the vectors of the layers it knows; so one pass reads a running sum, whatever the layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from khala_studio.training.export.graph_builder import CONTRIB, GraphBuilder, Storage
from khala_studio.training.export.transformer_blocks import (
    State,
    TransformerShape,
    WeightFormat,
    rotary_tables,
    transformer,
)

_TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Where the audio ids lie: code c of layer k has the id audio_offset + codebook_size * k + c."""

    audio_offset: int
    codebook_size: int = 1024
    n_codebooks: int = 64
    n_coarse: int = 2


@dataclass(frozen=True, slots=True)
class SuperresFormat:
    """Precision of the parts of the two files."""

    body: WeightFormat = field(default_factory=WeightFormat)
    head: Storage = "float32"
    embedding: Storage = "float32"


def superres_graph(
    state: State,
    shape: TransformerShape,
    vocabulary: Vocabulary,
    codebooks: NDArray[np.floating] | None = None,
    format: SuperresFormat | None = None,
    *,
    max_positions: int = 8192,
    parity_outputs: bool = False,
) -> onnx.ModelProto:
    """x [1, S, D], layer [1], n_text [1] -> logits [T, codebook_size], T = S - n_text.

    Args:
        state: layers.*, norm.weight and the head: head_proj [K, D, d] and head_bias [K, C] that end in the
            codec's codebooks, or plain rows lm_head.weight [.. + K * C, D] (and lm_head.bias).
        codebooks: the codec's [K, C, d]; only for the factored head.
        parity_outputs: also put out `hidden` [1, S, D], for tests.
    """
    format = format or SuperresFormat()
    g = GraphBuilder("superres")
    x = g.input("x", "float32", [1, "S", shape.hidden])
    layer = g.input("layer", "int64", [1])
    n_text = g.input("n_text", "int64", [1])
    hidden = transformer(g, shape, state, x, format.body, _FullAttention(g, shape, max_positions))

    frames = g.op("Slice", [hidden, n_text, g.constant([_TO_THE_END]), g.constant([1])])  # [1, T, D]
    logits = _head(g, state, vocabulary, codebooks, frames, layer, format.head)
    if parity_outputs:
        g.output("hidden", "float32", [1, "S", shape.hidden], hidden)
    g.output("logits", "float32", ["T", vocabulary.codebook_size], g.op("Squeeze", [logits, g.constant([0])]))
    return g.model()


class _FullAttention:
    """Makes the bidirectional attention of a layer, rotary embedding included.

    ONNX Runtime's CPU kernel takes its blocked ("flash") path only for 3-D queries, keys and values without
    a mask; otherwise it holds heads * S * S floats.
    """

    def __init__(self, g: GraphBuilder, shape: TransformerShape, max_positions: int) -> None:
        self._g, self._shape = g, shape
        self._rotary = rotary_tables(g, shape, max_positions)

    def __call__(self, layer: int, qkv: str) -> str:
        g, shape = self._g, self._shape
        widths = g.constant([shape.query_width, shape.kv_width, shape.kv_width])
        query, key, value = g.op("Split", [qkv, widths], 3, axis=-1)
        query, key = self._rotate(query), self._rotate(key)
        inputs = [query, self._repeat(key), self._repeat(value)]
        return str(g.op("MultiHeadAttention", inputs, domain=CONTRIB, num_heads=shape.n_heads))

    def _rotate(self, x: str) -> str:
        # One position id means "counted from here".
        inputs = [x, self._g.constant([0]), *self._rotary]
        return str(self._g.op("RotaryEmbedding", inputs, domain=CONTRIB, interleaved=0))

    def _repeat(self, x: str) -> str:
        """[1, S, kv heads * head_dim] -> [1, S, heads * head_dim]: a kv head for each query head of its."""
        g, shape = self._g, self._shape
        repeats = shape.n_heads // shape.n_kv_heads
        if repeats == 1:
            return x
        split = g.op("Reshape", [x, g.constant([0, 0, shape.n_kv_heads, 1, shape.head_dim])])
        repeated = g.op("Expand", [split, g.constant([1, 1, 1, repeats, 1])])
        return str(g.op("Reshape", [repeated, g.constant([0, 0, -1])]))


def _head(
    g: GraphBuilder,
    state: State,
    vocabulary: Vocabulary,
    codebooks: NDArray[np.floating] | None,
    frames: str,
    layer: str,
    storage: Storage,
) -> str:
    """frames [1, T, D] -> logits [1, T, codebook_size] with the head of `layer`."""
    if "head_proj" in state:
        if codebooks is None:
            raise ValueError("a head factored through the codec needs the codec's codebooks")
        narrow = g.gather_rows("head_proj", state["head_proj"], layer, storage)  # [1, D, d]
        entries = g.gather_rows("codebooks", codebooks, layer, storage)  # [1, C, d]
        bias = g.gather_rows("head_bias", state["head_bias"], layer, _bias_storage(storage))  # [1, C]
        queries = g.op("MatMul", [frames, narrow])
        return str(g.op("Add", [g.op("MatMul", [queries, _swap(g, entries)]), bias]))

    n_rows = vocabulary.n_codebooks * vocabulary.codebook_size
    weight = state["lm_head.weight"][-n_rows:]  # rows of text ids, where there are any, come first
    weight = weight.reshape(vocabulary.n_codebooks, vocabulary.codebook_size, -1)
    rows = g.gather_rows("lm_head", weight, layer, storage)  # [1, C, D]
    logits = g.op("MatMul", [frames, _swap(g, rows)])
    if "lm_head.bias" not in state:
        return str(logits)
    biases = state["lm_head.bias"][-n_rows:].reshape(-1, vocabulary.codebook_size)
    bias = g.gather_rows("lm_head.bias", biases, layer, _bias_storage(storage))
    return str(g.op("Add", [logits, bias]))


def _bias_storage(storage: Storage) -> Storage:
    """Biases are log-probabilities; a byte each is too coarse for the likely codes."""
    return "float32" if storage == "float32" else "float16"


def _swap(g: GraphBuilder, matrix: str) -> str:
    return str(g.op("Transpose", [matrix], perm=[0, 2, 1]))


# --- embeddings


def superres_embed_graph(
    state: State,
    vocabulary: Vocabulary,
    codebooks: NDArray[np.floating] | None = None,
    projections: NDArray[np.floating] | None = None,
    format: SuperresFormat | None = None,
) -> onnx.ModelProto:
    """ids [N] -> vectors [N, D], for text and for audio of any layer.

    Args:
        state: embed.weight [V, D]. Where it ends after the coarse layers, the rest comes from the codec:
            code c of layer k is latent_proj.weight [D, L] @ projections[k] [L, d] @ codebooks[k, c] [d]
            + layer_embed.weight[k].
    """
    format = format or SuperresFormat()
    g = GraphBuilder("superres_embed")
    ids = g.input("ids", "int64", ["N"])
    table = state["embed.weight"]
    if "latent_proj.weight" not in state:
        vectors = g.gather_rows("embed", table, ids, format.embedding)
    else:
        if codebooks is None or projections is None:
            raise ValueError("embeddings factored through the codec need its codebooks and projections")
        vectors = _factored(g, state, vocabulary, codebooks, projections, ids, format.embedding)
    g.output("vectors", "float32", ["N", table.shape[1]], vectors)
    return g.model()


def _factored(
    g: GraphBuilder,
    state: State,
    vocabulary: Vocabulary,
    codebooks: NDArray[np.floating],
    projections: NDArray[np.floating],
    ids: str,
    storage: Storage,
) -> str:
    first = vocabulary.audio_offset + vocabulary.codebook_size * vocabulary.n_coarse  # the first factored id
    if len(state["embed.weight"]) < first:
        raise ValueError(
            f"embed.weight has {len(state['embed.weight'])} rows, the coarse layers end at {first}"
        )
    in_table = g.op("Less", [ids, g.constant(first)])
    plain = g.gather_rows("embed", state["embed.weight"], g.op("Min", [ids, g.constant(first - 1)]), storage)

    entry = g.op("Sub", [g.op("Max", [ids, g.constant(first)]), g.constant(vocabulary.audio_offset)])  # [N]
    layers = g.op("Div", [entry, g.constant(vocabulary.codebook_size)])
    codes = g.gather_rows("codebooks", codebooks.reshape(-1, codebooks.shape[-1]), entry, storage)  # [N, d]

    latent = np.einsum("hl,kld->kdh", state["latent_proj.weight"], projections)  # [K, d, D]
    wide = _widen(g, codes, layers, latent, storage)
    wide = g.op("Add", [wide, g.gather_rows("layer_embed", state["layer_embed.weight"], layers, storage)])
    return str(g.op("Where", [g.op("Unsqueeze", [in_table, g.constant([1])]), plain, wide]))


def _widen(g: GraphBuilder, codes: str, layers: str, latent: NDArray[np.floating], storage: Storage) -> str:
    """codes [N, d] times the matrix [d, D] of each code's layer -> [N, D].

    In groups that share a matrix: one group where all codes are of one layer, as the engine asks; else each
    code by itself, which is right but gathers a matrix for every code.
    """
    lowest, highest = (g.op(reduce, [layers], keepdims=0) for reduce in ("ReduceMin", "ReduceMax"))
    n_codes = g.op("Shape", [layers])  # [1]
    n_groups = g.op("Where", [g.op("Equal", [lowest, highest]), g.constant([1]), n_codes])
    group_layers = g.op("Slice", [layers, g.constant([0]), n_groups])
    matrices = g.gather_rows("latent", latent, group_layers, storage)  # [groups, d, D]
    ends = [g.constant([-1]), g.constant([latent.shape[1]])]
    grouped = g.op("Reshape", [codes, g.op("Concat", [n_groups, *ends], axis=0)])  # [groups, N / groups, d]
    return str(g.op("Reshape", [g.op("MatMul", [grouped, matrices]), g.constant([-1, latent.shape[2]])]))
