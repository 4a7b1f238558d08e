"""Real prompts and codes for an export: to calibrate on, and to measure what a precision costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from khala_studio.training.data_codes import LENGTHS, CodesFolder, cut
from khala_studio.training.prompts import PromptMaker, SongEncoder


@dataclass(frozen=True, slots=True)
class Song:
    """A prompt and the codes that answer it."""

    prompt: NDArray[np.int64]  # [P] ids
    codes: NDArray[np.int64]  # [K, T]

    def ids(self, audio_offset: int, codebook_size: int, n_coarse: int = 2) -> NDArray[np.int64]:
        """What the backbone reads: the prompt, then the coarse codes of every frame in turn."""
        rows = self.codes[:n_coarse] + codebook_size * np.arange(n_coarse)[:, None]
        return np.concatenate((self.prompt, audio_offset + rows.T.reshape(-1)))


def held_out_songs(
    codes: Path, corpus: Path, frontend: SongEncoder, count: int = 12, max_frames: int = 650
) -> list[Song]:
    """Excerpts of the validation split, of all lengths; the same ones every time."""
    folder, prompts, rng = (
        CodesFolder(codes, corpus, "valid"),
        PromptMaker(frontend),
        np.random.default_rng(0),
    )
    songs = []
    for i in range(count):
        recording = folder.recordings[int(rng.integers(len(folder.recordings)))]
        excerpt = cut(recording, LENGTHS[i % len(LENGTHS)], rng, max_frames)
        songs.append(Song(prompts.make(excerpt, rng).ids, folder.codes_of(excerpt).astype(np.int64)))
    return songs
