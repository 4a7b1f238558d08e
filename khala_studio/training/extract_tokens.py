"""Songs -> codes, for the two transformers: every song as a mix, a cappella and instrumental."""

from __future__ import annotations

import argparse
import hashlib
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
    known = _Known(args.out, _fingerprint(codec))
    blocks: list[np.ndarray] = []
    rows: list[dict[str, Any]] = []
    offset = 0
    corpora = {
        split: AudioCorpus(args.corpus, split) for split in ("train", "valid")
    }  # both, before the work
    for split, corpus in corpora.items():
        sung: set[str] = set()
        for index, song in enumerate(corpus.songs):
            # arrangements of a song share its vocals: alone, once is enough
            vocals = song["id"].rsplit("-", 1)[0]
            variants = VARIANTS[:1] if vocals in sung else VARIANTS
            sung.add(vocals)
            found = known.of(song) or song_codes(codec, corpus, song, variants)
            for variant, codes in found.items():
                frames = codes.shape[1]
                row = {
                    "id": song["id"],
                    "variant": variant,
                    "split": split,
                    "offset": offset,
                    "frames": frames,
                    "song": _identity(song),
                }
                rows.append(row)
                blocks.append(codes)
                offset += frames
            if index % 50 == 0:
                log.info("tokens: %s %d of %d songs", split, index, len(corpus.songs))
    _write(args.out, np.concatenate(blocks, 1), rows, _fingerprint(codec))
    log.info(
        "tokens: %d items, %.1f hours", len(rows), offset * codec.config.hop / codec.config.sample_rate / 3600
    )
    return 0


class _Known:
    """Codes of an earlier run with the same encoder, so that a corpus that grew is not encoded anew."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        note = folder / "codec.txt"
        if note.exists() and note.read_text(encoding="utf-8") == fingerprint:
            self._codes = np.load(folder / "codes.npy")
            for line in (folder / "codes.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self._rows.setdefault(row["id"], []).append(row)

    def of(self, song: dict[str, Any]) -> dict[str, np.ndarray]:
        """Variant -> codes; nothing of another song that had the same id."""
        return {
            row["variant"]: self._codes[:, row["offset"] : row["offset"] + row["frames"]]
            for row in self._rows.get(song["id"], [])
            if row.get("song") == _identity(song)
        }


def _identity(song: dict[str, Any]) -> str:
    """Of what a song is, wherever in the corpus it lies."""
    said = {name: value for name, value in song.items() if name not in ("shard", "offset")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _fingerprint(codec: Codec) -> str:
    """Of all that decides the codes."""
    digest = hashlib.sha256()
    for module in (codec.encoder, codec.quantizer):
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


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


def _write(folder: Path, codes: np.ndarray, rows: list[dict[str, Any]], fingerprint: str) -> None:
    note = folder / "codec.txt"
    note.unlink(missing_ok=True)
    np.save(folder / "codes.tmp.npy", codes)
    (folder / "codes.tmp.npy").replace(folder / "codes.npy")
    (folder / "codes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    note.write_text(fingerprint, encoding="utf-8")
