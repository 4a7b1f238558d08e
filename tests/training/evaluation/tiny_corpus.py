"""A corpus folder of a few short "songs": tones for a voice, drums for a band."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.evaluation.signals import RATE, drums, tone

LINES = (
    ("hello world", "sing a song"),
    ("the light is low", "hello light"),
    ("a low song", "sing the world"),
)
PHONES = {
    "hello": ["HH", "AH0", "L", "OW1"],
    "world": ["W", "ER1", "L", "D"],
    "sing": ["S", "IH1", "NG"],
    "a": ["AH0"],
    "song": ["S", "AO1", "NG"],
    "the": ["DH", "AH0"],
    "light": ["L", "AY1", "T"],
    "is": ["IH1", "Z"],
    "low": ["L", "OW1"],
}
SECONDS = 6.0


def build_tiny_corpus(folder: Path) -> Path:
    """Three held-out songs of 6 s, one of them in two arrangements, and two of the training split."""
    folder.mkdir()
    songs, blocks = [], []
    first, second, third = LINES
    plan = [("valid", first, "a"), ("valid", first, "b"), ("valid", second, "a"), ("valid", third, "a")]
    plan += [("train", second, "a"), ("train", third, "a")]
    for number, (split, lines, letter) in enumerate(plan):
        stems = _stems(220 * 2 ** (number / 12))
        offset = sum(len(block) for block in blocks)
        songs.append(_song(f"{number:05d}-{letter}", split, lines, offset, len(stems), number))
        blocks.append(stems)
    np.save(folder / "audio-000.npy", np.concatenate(blocks))
    (folder / "songs.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs))
    return folder


def _stems(frequency: float) -> np.ndarray:
    """int16 [N, 4, 2]"""
    stems = np.zeros((int(SECONDS * RATE), 4, 2), np.float32)
    stems[:, 0] = tone(frequency, SECONDS).T
    stems[:, 1] = 0.5 * drums(100, SECONDS).T
    return (32_767 * stems).astype(np.int16)


def _song(
    name: str, split: str, lines: tuple[str, ...], offset: int, samples: int, seed: int
) -> dict[str, Any]:
    """Two sections of one line each; every line takes 2 s, the words equal shares of it."""
    sections = [("verse", 0.3, 2.6), ("chorus", 2.8, 6.0)]
    words: list[Any] = []
    phones: list[Any] = []
    for i, line in enumerate(lines):
        of_line = line.split()
        for j, word in enumerate(of_line):
            start = 0.5 + 2.5 * i + 2 * j / len(of_line)
            phones += [[phone, start, start + 0.1, len(words)] for phone in PHONES[word]]
            words.append([word, start, start + 2 / len(of_line), i])
    return {
        "id": name, "split": split, "seed": seed, "genre": "pop", "voice": "female", "gender": "female",
        "bpm": 100, "key": "A minor", "mood": "happy", "instruments": ["piano"], "short": False,
        "shard": "audio-000.npy", "offset": offset, "samples": samples, "lyrics": "",
        "sections": [dict(zip(("name", "start", "end"), section, strict=True)) for section in sections],
        "lines": [{"text": text, "start": 0.5 + 2.5 * i, "end": 2.5 + 2.5 * i, "section": i}
                  for i, text in enumerate(lines)],
        "words": words, "phones": phones, "notes": [[0.5, 2.0, 57 + 12 * (split == "train")]],
    }  # fmt: skip
