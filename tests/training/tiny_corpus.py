"""A corpus and codes of nothing but chance, small enough to train on in a test."""

import json
from pathlib import Path
from typing import Any

import numpy as np

FRAMES = 70  # 3.25 s
WORDS = {"la": "L AA1", "lo": "L OW1", "me": "M IY1", "day": "D EY1"}


def write(folder: Path, n_songs: int = 6, seed: int = 0) -> None:
    """songs.jsonl, codes.jsonl and codes.npy [64, ...] in `folder`: one song in three is held out."""
    rng = np.random.default_rng(seed)
    songs, rows, offset = [], [], 0
    for number in range(n_songs):
        song = _song(f"{number:05d}-a", "valid" if number % 3 == 2 else "train", rng)
        songs.append(song)
        for variant in ("mix", "acappella", "instrumental"):
            row = {
                "id": song["id"],
                "variant": variant,
                "split": song["split"],
                "offset": offset,
                "frames": FRAMES,
            }
            rows.append(row)
            offset += FRAMES
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "songs.jsonl").write_text("".join(json.dumps(song) + "\n" for song in songs))
    (folder / "codes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.save(folder / "codes.npy", rng.integers(0, 1024, (64, offset)).astype(np.int16))


def _song(name: str, split: str, rng: np.random.Generator) -> dict[str, Any]:
    """Two lines of three words, half a second a word, in two sections after an intro."""
    lines, words, phones = [], [], []
    for line, begin in enumerate((0.4, 2.0)):
        for i in range(3):
            word = str(rng.choice(list(WORDS)))
            at = begin + 0.4 * i
            first, second = WORDS[word].split()
            phones += [[first, at, at + 0.1, len(words)], [second, at + 0.1, at + 0.35, len(words)]]
            words.append([word, at, at + 0.35, line])
        text = " ".join(word[0] for word in words[-3:])
        lines.append({"text": text, "start": begin, "end": begin + 1.15, "section": line + 1})
    return {
        "id": name, "split": split, "seed": 0, "genre": "pop", "voice": "warm",
        "gender": "female", "bpm": 101.0, "key": "C major", "mood": "happy",
        "instruments": ["piano"], "samples": FRAMES * 2048, "lyrics": "",
        "sections": [{"name": "intro", "start": 0.0, "end": 0.4}, {"name": "verse", "start": 0.4, "end": 1.9},
                     {"name": "chorus", "start": 1.9, "end": 3.2}],
        "lines": lines, "words": words, "phones": phones, "notes": [],
    }  # fmt: skip
