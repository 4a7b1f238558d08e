"""A few seconds of stems with a known singer, and a codec small enough to be fitted to them in a test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from khala_studio.training import codec_fit
from khala_studio.training.codec_geometry import CodecConfig
from khala_studio.training.data_audio import AudioCorpus
from khala_studio.training.nets.codec import Codec

RATE, HOP = 44_100, 2_048
TINY = CodecConfig(
    n_codebooks=6, codebook_size=32, code_rank=8,
    voice_dims=4, env_dims=6, tone_dims=6, wave_dims=16,
    env_bands=8, tone_bins=73,  # three octaves from 55 Hz
    voice_width=16, voice_blocks=1, frame_width=24, subframe_width=16,
)  # fmt: skip
# id, split, seconds, notes [start, duration, midi] of the voice
SONGS = (
    ("00000-a", "train", 10.0, [[1.0, 1.0, 57], [2.0, 1.5, 60], [4.0, 2.0, 64.4], [7.0, 2.5, 30]]),
    ("00001-a", "train", 3.5, []),
    ("00000-b", "train", 1.0, [[0.2, 0.6, 57]]),
    ("00002-a", "valid", 3.3, [[0.0, 3.3, 55]]),
)


def write_corpus(folder: Path) -> Path:
    """songs.jsonl and one shard; the second song is an instrumental, no length is a multiple of the hop."""
    folder.mkdir(parents=True)
    songs: list[dict[str, Any]] = []
    blocks: list[np.ndarray] = []
    for name, split, seconds, notes in SONGS:
        stems = _stems(round(seconds * RATE), notes, len(songs))
        offset = sum(map(len, blocks))
        song = {"id": name, "split": split, "shard": "audio-000.npy", "offset": offset, "samples": len(stems)}
        songs.append({**song, "phones": _phones(notes), "notes": notes})
        blocks.append(stems)
    np.save(folder / "audio-000.npy", np.concatenate(blocks))
    (folder / "songs.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs))
    return folder


def _phones(notes: list[list[float]]) -> list[list[Any]]:
    """Every note sung on "see"."""
    sung = [(start, start + 0.2, start + duration, i) for i, (start, duration, _) in enumerate(notes)]
    return [p for a, b, c, i in sung for p in (["S", a, b, i], ["IY1", b, c, i])]


def _stems(n: int, notes: list[list[float]], seed: int) -> np.ndarray:
    """int16 [n, 4, 2]"""
    rng, t = np.random.default_rng(seed), np.arange(n) / RATE
    stems = np.zeros((4, 2, n))
    for start, duration, midi in notes:
        on = (t >= start) & (t < start + duration)
        phase = 2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * t
        stems[0] += on * sum(0.2 / k * np.sin(k * phase) for k in range(1, 6))
    stems[1] = 0.3 * rng.standard_normal((2, n)) * np.exp(-12 * (t % 0.5))
    stems[2] = 0.2 * np.sin(2 * np.pi * 55 * (1 + seed) * t)
    stems[3] = 0.1 * np.sin(2 * np.pi * np.array([[262.0], [330.0]]) * t) * (1 + np.sin(2 * np.pi * t))
    return (stems / 2 * 32_767).round().astype(np.int16).transpose(2, 0, 1)


def fitted_codec(folder: Path) -> Codec:
    """The closed-form start, all of it, on a corpus; the decoder is not trained."""
    torch.manual_seed(0)
    codec, corpus, rng = Codec(TINY), AudioCorpus(folder, "train"), np.random.default_rng(0)

    def batches() -> torch.Tensor:
        return torch.from_numpy(corpus.batch(rng, 6, 32).mix)

    codec_fit.fit_features(codec, batches, 2)
    codec_fit.fit_quantizer(codec.quantizer, codec_fit.fit_scale(codec, batches, 3))
    codec_fit.start_decoder(codec)
    codec_fit.fit_wave(codec, [batches()])
    return codec.eval()


def whole_song(folder: Path, split: str = "train") -> np.ndarray:
    """float32 [2, N], N a multiple of the hop: the mix of the split's first song."""
    corpus = AudioCorpus(folder, split)
    song = corpus.songs[0]
    return corpus.stems(song, 0, song["samples"] // HOP * HOP).sum(0)
