"""Songs -> codes, for the two transformers: every song as a mix, a cappella and instrumental."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from khala_studio.training.data_audio import AudioCorpus
from khala_studio.training.nets.codec import Codec
from khala_studio.training.train_codec import load_codec

log = logging.getLogger(__name__)

VARIANTS = ("mix", "acappella", "instrumental")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("train/corpus"))
    parser.add_argument(
        "--codec", type=Path, default=Path("train/codec/codec.pt"), help="checkpoint of `train codec`"
    )
    parser.add_argument("--out", type=Path, default=Path("train/codes"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: as torch chooses)")


def main(args: argparse.Namespace) -> int:
    if args.threads:
        torch.set_num_threads(args.threads)
    codec = load_codec(args.codec, "cuda" if torch.cuda.is_available() else "cpu")
    args.out.mkdir(parents=True, exist_ok=True)
    blocks: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    offset = 0
    for split in ("train", "valid"):
        corpus = AudioCorpus(args.corpus, split)
        sung: set[str] = set()
        for index, song in enumerate(corpus.songs):
            vocals = song["id"].rsplit("-", 1)[
                0
            ]  # arrangements of a song share its vocals: alone, once is enough
            variants = VARIANTS[:1] if vocals in sung else VARIANTS
            sung.add(vocals)
            for variant, codes in song_codes(codec, corpus, song, variants).items():
                rows.append(
                    {
                        "id": song["id"],
                        "variant": variant,
                        "split": split,
                        "offset": offset,
                        "frames": codes.shape[1],
                    }
                )
                blocks.append(codes)
                offset += codes.shape[1]
            if index % 50 == 0:
                log.info("tokens: %s %d of %d songs", split, index, len(corpus.songs))
    _write(args.out, np.concatenate(blocks, 1), rows)
    log.info(
        "tokens: %d items, %.1f hours", len(rows), offset * codec.config.hop / codec.config.sample_rate / 3600
    )
    return 0


def song_codes(
    codec: Codec, corpus: AudioCorpus, song: dict[str, Any], wanted: Sequence[str] = VARIANTS
) -> dict[str, np.ndarray]:
    """Variant -> codes int16 [64, T], T covering the whole song; variants without sound are left out."""
    hop = codec.config.hop
    stems = corpus.stems(song, 0, -(-song["samples"] // hop) * hop)
    sounds = {"mix": stems.sum(0), "acappella": stems[0], "instrumental": stems[1:].sum(0)}
    device = codec.encoder.mean.device
    return {
        name: codec.encode(torch.from_numpy(np.ascontiguousarray(sound)).to(device))
        .cpu()
        .numpy()
        .astype(np.int16)
        for name, sound in sounds.items()
        if name in wanted and sound.any()
    }


def _write(folder: Path, codes: np.ndarray, rows: list[dict[str, Any]]) -> None:
    np.save(folder / "codes.tmp.npy", codes)
    (folder / "codes.tmp.npy").replace(folder / "codes.npy")
    (folder / "codes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
