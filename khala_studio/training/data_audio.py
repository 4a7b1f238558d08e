"""Crops of the corpus for the codec: stems mixed anew each time, with what the singer does in every frame.

Needs numpy alone. Shards are memory-mapped int16 arrays [N, 4 stems, 2 channels]; see `corpus`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PHONES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
).split()
PHONE_INDEX = {phone: i + 1 for i, phone in enumerate(PHONES)}  # 0 is silence
LOWEST_NOTE = 36  # MIDI; pitch class 0 means that nothing is sung


@dataclass(frozen=True)
class AudioBatch:
    """B crops of T frames, N = T * hop samples."""

    mix: np.ndarray  # float32 [B, 2, N]
    vocals: np.ndarray  # float32 [B, 2, N]
    phones: np.ndarray  # int64 [B, T, 2], at a quarter and three quarters of each frame
    pitch: np.ndarray  # int64 [B, T], 0 = unsung, else MIDI - 35


class AudioCorpus:
    """One split of a corpus folder; songs may be added while it is open (call `reload`)."""

    def __init__(self, folder: Path, split: str, hop: int = 2_048, sample_rate: int = 44_100) -> None:
        self.folder, self.split, self.hop, self.sample_rate = folder, split, hop, sample_rate
        self.songs: list[dict[str, Any]] = []
        self.reload()

    def reload(self) -> None:
        lines = (self.folder / "songs.jsonl").read_text(encoding="utf-8").splitlines()
        self.songs = [song for song in map(json.loads, lines) if song["split"] == self.split]
        if not self.songs:
            raise FileNotFoundError(f"{self.folder} holds no songs of the {self.split} split.")
        weights = np.array([song["samples"] for song in self.songs], float)
        self._weights = weights / weights.sum()

    @property
    def seconds(self) -> float:
        return sum(song["samples"] for song in self.songs) / self.sample_rate

    def stems(self, song: dict[str, Any], start: int, n: int) -> np.ndarray:
        """float32 [4, 2, n] from sample `start` of a song, zeros past its end."""
        shard = np.load(self.folder / song["shard"], mmap_mode="r")
        start_in_shard = song["offset"] + start
        block = (
            np.asarray(shard[start_in_shard : song["offset"] + min(song["samples"], start + n)], np.float32)
            / 32767
        )
        out = np.zeros((4, 2, n), np.float32)
        out[:, :, : len(block)] = block.transpose(1, 2, 0)
        return out

    def batch(self, rng: np.random.Generator, size: int, frames: int) -> AudioBatch:
        items = [self._crop(rng, frames) for _ in range(size)]
        return AudioBatch(*(np.stack(part) for part in zip(*items, strict=True)))

    def _crop(self, rng: np.random.Generator, frames: int) -> tuple[np.ndarray, ...]:
        song = self.songs[rng.choice(len(self.songs), p=self._weights)]
        n = frames * self.hop
        start = int(rng.integers(max(1, song["samples"] - n)))
        mix, vocals = self._remix(rng, self.stems(song, start, n))
        phones, pitch = self.targets(song, start, frames)
        if not vocals.any():
            phones, pitch = np.zeros_like(phones), np.zeros_like(pitch)
        return mix, vocals, phones, pitch

    @staticmethod
    def _remix(rng: np.random.Generator, stems: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """New gains, sometimes without the band or the voice, channels swapped, polarity turned."""
        gains = 10 ** (np.array([rng.uniform(-3, 4), *rng.uniform(-7, 4, 3)]) / 20)
        draw = rng.random()
        if draw < 0.15:
            gains[1:] = 0  # a cappella
        elif draw < 0.28:
            gains[0] = 0  # instrumental
        elif draw < 0.45:
            gains[rng.integers(1, 4)] = 0
        level = 10 ** (rng.uniform(-8, 2) / 20) * rng.choice([-1.0, 1.0])
        stems = stems * (gains * level).astype(np.float32)[:, None, None]
        if rng.random() < 0.5:
            stems = stems[:, ::-1]
        mix = stems.sum(0)
        peak = max(1.0, float(np.abs(mix).max()) / 0.98)
        return mix / peak, stems[0] / peak

    def targets(self, song: dict[str, Any], start: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """What is sung in each frame: phones int64 [T, 2], pitch int64 [T]."""
        seconds = (start + (np.arange(2 * frames) + 0.5) * self.hop / 2) / self.sample_rate
        phones = np.zeros(2 * frames, np.int64)
        for name, begin, end, *_ in song["phones"]:
            a, b = np.searchsorted(seconds, [begin, end])
            phones[a:b] = PHONE_INDEX.get(name.rstrip("012"), 0)
        centres = (start + (np.arange(frames) + 0.5) * self.hop) / self.sample_rate
        pitch = np.zeros(frames, np.int64)
        for begin, duration, midi in song["notes"]:
            a, b = np.searchsorted(centres, [begin, begin + duration])
            pitch[a:b] = int(np.clip(round(midi) - LOWEST_NOTE + 1, 1, 49))
        return phones.reshape(frames, 2), pitch
