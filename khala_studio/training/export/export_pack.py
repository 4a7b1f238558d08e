"""`khala-studio train export`: the checkpoints of the three nets become one verified pack."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from khala_studio.engine.sessions import check_graphs
from khala_studio.engine.text.phonemes import SLOTS, PhonemeFrontend
from khala_studio.packs import store
from khala_studio.packs.manifest import PackManifest
from khala_studio.training.export.backbone_graph import BackboneFormat, KvCache, backbone_graph
from khala_studio.training.export.calibrate import measure_kv_scales
from khala_studio.training.export.checkpoints import Checkpoint, read_checkpoint
from khala_studio.training.export.codec_decoder_graph import decoder_graph
from khala_studio.training.export.codec_encoder_graph import encoder_graph
from khala_studio.training.export.pack import write_pack
from khala_studio.training.export.precision_check import backbone_cost, superres_cost
from khala_studio.training.export.songs import Song, held_out_songs
from khala_studio.training.export.superres_graph import (
    SuperresFormat,
    Vocabulary,
    superres_embed_graph,
    superres_graph,
)
from khala_studio.training.export.superres_heads import plain_heads
from khala_studio.training.export.transformer_blocks import TransformerShape, WeightFormat
from khala_studio.training.parity import open_graph

log = logging.getLogger(__name__)

MAX_POSITIONS = 8192
WINDOW, WINDOWS = 4, 12  # frames of a window, and how many windows, that the context is measured on
SEAM = 1e-6  # what two decodings of a frame may differ by and still count as equal
_FORMATS = {
    "fp32": WeightFormat(),
    "fp16": WeightFormat(storage="float16"),
    "int8": WeightFormat("int8"),
    "int8-int4": WeightFormat("int8", storage="int4"),
    "int4": WeightFormat("int4"),
    "int4-128": WeightFormat("int4", block=128),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    train = Path("train")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PACK", help="folder to write")
    parser.add_argument("--codec", type=Path, default=train / "codec/codec.pt")
    parser.add_argument("--backbone", type=Path, default=train / "backbone/backbone.pt")
    parser.add_argument("--superres", type=Path, default=train / "superres/superres.pt")
    parser.add_argument("--tokenizer", type=Path, default=train / "tokenizer.json")
    parser.add_argument("--card", type=Path, help="CARD.md to copy; without it a short one is written")
    parser.add_argument("--replace", action="store_true", help="put the new pack in the place of an old one")
    _add_precisions(parser)
    _add_manifest(parser)


def _add_precisions(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "precision",
        "int8-int4: weights in 4 bits in the file, computed in 8 (for speed over whole sequences).",
    )
    group.add_argument("--backbone-precision", choices=list(_FORMATS), default="int4")
    group.add_argument("--superres-precision", choices=list(_FORMATS), default="int8")
    storages = ("float32", "float16", "int8")
    group.add_argument("--decoder-storage", choices=storages, default="float16")
    group.add_argument("--encoder-storage", choices=storages, default="float16")
    group.add_argument("--table-storage", choices=storages, default="int8", help="embeddings and codebooks")
    group.add_argument("--no-encoder", action="store_true")
    kinds = ("auto", "float32", "float16", "int8")
    group.add_argument(
        "--kv", choices=kinds, default="auto", help="KV cache; auto: int8 if it can be calibrated"
    )
    group.add_argument(
        "--codes", type=Path, default=Path("train/codes"), help="songs to calibrate and measure on"
    )
    group.add_argument("--corpus", type=Path, default=Path("train/corpus"))


def _add_manifest(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pack.json")
    group.add_argument("--id", default="starter")
    group.add_argument("--name", default="Starter")
    group.add_argument("--pack-version", default="0.1.0")
    group.add_argument("--license", default="Apache-2.0")
    group.add_argument(
        "--obeys", nargs="*", choices=SLOTS, default=list(SLOTS), help="kinds of tags that it obeys"
    )
    group.add_argument(
        "--seconds", nargs=3, type=float, default=(5, 30, 40), metavar=("MIN", "DEFAULT", "MAX")
    )
    sampling = ("TEMPERATURE", "TOP_K")
    group.add_argument("--backbone-sampling", nargs=2, type=float, default=(0.9, 50), metavar=sampling)
    group.add_argument("--superres-sampling", nargs=2, type=float, default=(1.0, 10), metavar=sampling)


def _superres(path: Path) -> Checkpoint:
    """With the heads as a graph computes them."""
    trained = read_checkpoint(path)
    return Checkpoint(trained.config, plain_heads(trained.state))


def main(args: argparse.Namespace) -> int:
    try:
        manifest = export(args)
    except (OSError, ValueError) as error:
        log.error("%s", error)
        return 2
    log.info("%s: %.1f MiB, verified", args.out, manifest.total_bytes / 2**20)
    return 0


def export(args: argparse.Namespace) -> PackManifest:
    """Read the checkpoints, build the graphs, write the pack and open it as the engine does.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: a sentence for the user.
    """
    sources = _Sources.read(args)
    songs = _songs(args, sources)
    graphs, notes = _transformer_graphs(args, sources, songs)
    graphs |= _codec_graphs(args, sources.codec)
    context = measure_context(graphs["decoder"], sources.codec.config)
    fields = _fields(args, sources, list(graphs), notes.kv, context)
    extra_files: dict[str, Any] = {"tokenizer.json": args.tokenizer}
    extra_files["CARD.md"] = args.card if args.card else _card(args, notes.costs)
    write_pack(args.out, fields, graphs, extra_files, replace=args.replace)
    check_graphs(args.out)
    return store.verify(args.out)


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the pack is made from."""

    codec: Checkpoint
    backbone: Checkpoint
    superres: Checkpoint
    frontend: PhonemeFrontend

    @classmethod
    def read(cls, args: argparse.Namespace) -> _Sources:
        frontend = PhonemeFrontend(json.loads(args.tokenizer.read_text(encoding="utf-8")))
        backbone = read_checkpoint(args.backbone)
        sources = cls(read_checkpoint(args.codec), backbone, _superres(args.superres), frontend)
        if backbone.config["vocabulary"]["audio_offset"] != len(frontend.tokens):
            raise ValueError(f"{args.backbone} was trained with another tokenizer than {args.tokenizer}.")
        if sources.superres.config["vocabulary"] != backbone.config["vocabulary"]:
            raise ValueError(f"{args.superres} and {args.backbone} have different vocabularies.")
        return sources

    @property
    def vocabulary(self) -> Vocabulary:
        sizes = self.backbone.config["vocabulary"]
        return Vocabulary(**{name: sizes[name] for name in Vocabulary.__slots__})

    @property
    def marker_base(self) -> int:
        return int(self.backbone.config["vocabulary"]["superres_marker_base"])


@dataclass(frozen=True, slots=True)
class _Notes:
    """What was decided and measured on the way."""

    kv: str
    costs: dict[str, str]


def _songs(args: argparse.Namespace, sources: _Sources) -> list[Song]:
    if (args.codes / "codes.npy").exists() and (args.corpus / "songs.jsonl").exists():
        return held_out_songs(args.codes, args.corpus, sources.frontend)
    if args.kv == "int8":
        raise ValueError(f"An int8 KV cache is calibrated on songs, and there are none in {args.codes}.")
    return []


def _transformer_graphs(
    args: argparse.Namespace, sources: _Sources, songs: Sequence[Song]
) -> tuple[dict[str, onnx.ModelProto], _Notes]:
    vocabulary, books = sources.vocabulary, sources.codec.state
    tables = books["quantizer.codebooks"], books["quantizer.projections"]
    state, shape = sources.backbone.state, TransformerShape.of(sources.backbone.config["transformer"])
    cache = _cache(args, sources, shape, songs)
    weights = _FORMATS[args.backbone_precision]
    format = BackboneFormat(weights, weights, args.table_storage, cache)

    refiner, refiner_shape = (
        sources.superres.state,
        TransformerShape.of(sources.superres.config["transformer"]),
    )
    refine = SuperresFormat(_FORMATS[args.superres_precision], args.table_storage, args.table_storage)
    graphs = {
        "backbone": backbone_graph(state, shape, format, max_positions=MAX_POSITIONS),
        "superres_embed": superres_embed_graph(refiner, vocabulary, *tables, refine),
        "superres": superres_graph(
            refiner, refiner_shape, vocabulary, tables[0], refine, max_positions=MAX_POSITIONS
        ),
    }
    costs = {}
    if songs:
        with_all, exact = (backbone_graph(state, shape, f, parity_outputs=True) for f in (format, None))
        costs["backbone"] = str(backbone_cost(with_all, exact, songs, vocabulary))
        exact = superres_graph(refiner, refiner_shape, vocabulary, tables[0])
        embed = superres_embed_graph(refiner, vocabulary, *tables)
        cost = superres_cost(graphs["superres"], exact, embed, songs, vocabulary, sources.marker_base)
        costs["superres"] = str(cost)
    for stage, cost in costs.items():
        log.info("%s: %s", stage, cost)
    return graphs, _Notes(cache.dtype, costs)


def _cache(
    args: argparse.Namespace, sources: _Sources, shape: TransformerShape, songs: Sequence[Song]
) -> KvCache:
    if args.kv in ("float32", "float16") or not songs:
        return KvCache("float16" if args.kv == "float16" else "float32")
    v = sources.vocabulary
    ids = [song.ids(v.audio_offset, v.codebook_size, v.n_coarse) for song in songs]
    return measure_kv_scales(sources.backbone.state, shape, ids)


def _codec_graphs(args: argparse.Namespace, codec: Checkpoint) -> dict[str, onnx.ModelProto]:
    graphs = {"decoder": decoder_graph(codec.config, codec.state, args.decoder_storage)}
    if not args.no_encoder:
        graphs["encoder"] = encoder_graph(codec.config, codec.state, args.encoder_storage)
    return graphs


def measure_context(decoder: onnx.ModelProto, config: dict[str, Any], most: int = 24) -> int:
    """How many frames beside a window the decoder must see to decode the window as in the whole song.

    The most that any of several windows of random codes asks for, at depth 2 and at full depth: what lies at
    the edge of the receptive field shows in few of them.

    Raises:
        ValueError: more than `most`.
    """
    session = open_graph(decoder)
    shape = (config["n_codebooks"], 2 * most + WINDOW)
    draws = [
        np.random.default_rng(seed).integers(0, config["codebook_size"], shape) for seed in range(WINDOWS)
    ]
    return max(
        _context(session, codes[:depth], config["hop"], most) for codes in draws for depth in (2, len(codes))
    )


def _context(session: Any, codes: np.ndarray, hop: int, most: int) -> int:
    def decode(first: int, stop: int) -> np.ndarray:
        feed = {"codes": codes[:, first:stop], "start_frame": np.array([first])}
        return session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})[0]

    whole = decode(0, codes.shape[1])[:, most * hop : (most + WINDOW) * hop]
    for context in range(most):
        part = decode(most - context, most + WINDOW + context)
        if np.abs(part[:, context * hop : (context + WINDOW) * hop] - whole).max() < SEAM:
            return context
    raise ValueError(f"The decoder needs more than {most} frames of context to decode without a seam.")


def _fields(
    args: argparse.Namespace, sources: _Sources, graphs: Sequence[str], kv_dtype: str, context: int
) -> dict[str, Any]:
    """pack.json without graphs and files."""
    codec, vocabulary = sources.codec.config, sources.backbone.config["vocabulary"]
    shape = TransformerShape.of(sources.backbone.config["transformer"])
    tokens = sources.frontend.tokens
    geometry = {name: codec[name] for name in ("sample_rate", "hop", "n_codebooks", "codebook_size")}
    least, default, most = args.seconds
    precision = {"backbone": args.backbone_precision, "superres": args.superres_precision}
    return {
        "format": 1,
        "id": args.id,
        "name": args.name,
        "version": args.pack_version,
        "license": args.license,
        "languages": ["en"],
        "codec": {**geometry, "channels": 2, "n_coarse": vocabulary["n_coarse"], "context_frames": context},
        "text": {
            "frontend": "phonemes",
            "vocab_size": len(tokens),
            **{name: vocabulary[name] for name in ("end_of_song", "audio_offset", "superres_marker_base")},
            "max_prompt": 2048,
            "max_characters": 20_000,
        },
        "backbone": {
            **{name: getattr(shape, name) for name in ("n_layers", "n_kv_heads", "head_dim")},
            "kv_dtype": kv_dtype,
            "max_positions": MAX_POSITIONS,
        },
        "superres": {"hidden": sources.superres.config["transformer"]["hidden"]},
        "controls": {
            "tags": {slot: tags_of(tokens, slot) for slot in args.obeys},
            "sections": tags_of(tokens, "section"),
            "length": {
                "unit": "seconds",
                "min": least,
                "max": most,
                "default": default,
                "min_fraction": 0.6,
                "max_fraction": 1.1,
            },
        },
        "sampling": {
            stage: {"temperature": temperature, "top_k": int(top_k)}
            for stage, (temperature, top_k) in (
                ("backbone", args.backbone_sampling),
                ("superres", args.superres_sampling),
            )
        },
        "precision": {**precision, **{name: "fp32" for name in ("decoder", "encoder") if name in graphs}},
    }


def tags_of(tokens: Sequence[str], slot: str) -> list[str]:
    """`<genre:pop>` and the like -> pop, ...; without "any"."""
    start = f"<{slot}:"
    tags = [token[len(start) : -1] for token in tokens if token.startswith(start)]
    return [tag for tag in tags if tag != "any"]


def _card(args: argparse.Namespace, costs: dict[str, str]) -> str:
    lines = [
        f"# {args.name} {args.pack_version}",
        "",
        f"Licence: {args.license}. Made by `khala-studio train export`.",
        "",
        f"Precision: backbone {args.backbone_precision}, super-resolution {args.superres_precision}.",
    ]
    if costs:
        lines += ["", "What the precision costs, on held-out songs:", ""]
        lines += [f"- {stage}: {cost}" for stage, cost in costs.items()]
    return "\n".join(lines) + "\n"
