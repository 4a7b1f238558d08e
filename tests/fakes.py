"""Stages without weights: the engine's real loops around arithmetic that stands in for the nets.

stages = FakeStages()
events = list(generate(SongRequest("la la la", seconds=5), stages))
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from khala_studio.engine.backbone import compose
from khala_studio.engine.errors import Cancelled
from khala_studio.engine.stages import ComposedFrame, FrameRange
from khala_studio.engine.superres import sharpen
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.request import Sampling, SongRequest

CONTEXT = 3  # frames of context that the fake decoder really uses
HIDDEN = 8


def fake_manifest(n_codebooks: int = 64, codebook_size: int = 16, max_positions: int = 4_096) -> PackManifest:
    """A pack that is only a pack.json. 21.53 frames a second, 64 samples a frame."""
    graph = {"file": "net.onnx", "inputs": {}, "outputs": {}}
    names = ("backbone", "superres_embed", "superres", "decoder")
    return PackManifest.from_json(
        {
            "format": 1,
            "id": "fake",
            "name": "Fake",
            "version": "1",
            "license": "Apache-2.0",
            "languages": ["en"],
            "codec": {
                "sample_rate": 1_378,
                "hop": 64,
                "channels": 2,
                "n_codebooks": n_codebooks,
                "codebook_size": codebook_size,
                "n_coarse": 2,
                "context_frames": CONTEXT,
            },
            "text": {
                "frontend": "phonemes",
                "vocab_size": 400,
                "end_of_song": 3,
                "audio_offset": 400,
                "superres_marker_base": 399,
                "max_prompt": 300,
            },
            "backbone": {
                "n_layers": 1,
                "n_kv_heads": 1,
                "head_dim": 8,
                "kv_dtype": "float32",
                "max_positions": max_positions,
            },
            "superres": {"hidden": HIDDEN},
            "controls": {
                "tags": {},
                "sections": [],
                "length": {"unit": "seconds", "min": 1, "max": 120, "default": 5},
            },
            "sampling": {
                "backbone": {"temperature": 0.9, "top_k": 8},
                "superres": {"temperature": 1.0, "top_k": 4},
            },
            "precision": {},
            "graphs": dict.fromkeys(names, graph),
            "files": {"net.onnx": {"bytes": 0, "sha256": "0" * 64}},
        }
    )


@dataclass(frozen=True)
class FakePrompt:
    ids: np.ndarray
    notes: tuple[str, ...] = ()


class FakeFrontend:
    """One id a letter."""

    def encode(self, request: SongRequest) -> FakePrompt:
        ids = np.array([1, *(5 + ord(c) % 200 for c in request.lyrics), 2], dtype=np.int64)
        return FakePrompt(ids)


class FakeStages:
    """`Stages` of a fake pack.

    Attributes:
        log: what was run, in order: "feed", "pass 2", "decode 0", ...
        before: called with such a word before it is run; may sleep, raise or interrupt.
        notices: as a real pack's.
    """

    def __init__(
        self,
        manifest: PackManifest | None = None,
        *,
        end_bias: float = 0.0,
        before: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`end_bias` is added to the logit of the end of the song."""
        self.manifest = manifest or fake_manifest()
        self.frontend = FakeFrontend()
        self.notices: tuple[str, ...] = ()
        self.log: list[str] = []
        self.before = before
        self._end_bias = end_bias
        self._stopped = False

    def compose(
        self, prompt: np.ndarray, frames: FrameRange, sampling: Sampling, seed: int, known: np.ndarray
    ) -> Generator[ComposedFrame, None, None]:
        net = _FakeBackbone(self)
        return compose(net.feed, self.manifest, prompt, frames, sampling, seed, known)

    def sharpen(
        self, prompt: np.ndarray, codes: np.ndarray, depth: int, sampling: Sampling, seed: int
    ) -> Generator[np.ndarray, None, None]:
        return sharpen(_embed, self._predict, self.manifest, prompt, codes, depth, sampling, seed)

    def decode(self, codes: np.ndarray, start_frame: int) -> np.ndarray:
        """Each frame's sound depends on CONTEXT frames to both sides, with zeros beyond the ends."""
        self.run(f"decode {start_frame}")
        level = ((codes + 1) * 0.5 ** np.arange(len(codes))[:, None]).sum(axis=0)
        padded = np.pad(level, CONTEXT)
        mixed = np.convolve(padded, np.arange(1, 2 * CONTEXT + 2), mode="valid")  # [t]
        phase = start_frame + np.arange(codes.shape[1])
        samples = np.repeat(mixed * np.cos(phase), self.manifest.codec.hop)
        return np.stack([samples, -samples]).astype(np.float32)

    def begin(self) -> None:
        self._stopped = False

    def interrupt(self) -> None:
        self._stopped = True

    def run(self, word: str) -> None:
        """What every model run does first."""
        self.log.append(word)
        self.before(word)
        if self._stopped:
            raise Cancelled

    def _predict(self, x: np.ndarray, layer: int, n_text: int) -> np.ndarray:
        self.run(f"pass {layer}")
        size = self.manifest.codec.codebook_size
        head = np.random.default_rng(layer).normal(size=(x.shape[2], size)).astype(np.float32)
        mean = x[0].mean(axis=0)  # every frame sees all of the song, and the marker
        return (np.tanh(x[0, n_text:] + 3 * mean) @ head).astype(np.float32)


class _FakeBackbone:
    """Logits that depend on every token before, and on the length of no step."""

    def __init__(self, stages: FakeStages) -> None:
        self._stages, self._history = stages, 0

    def feed(self, ids: np.ndarray) -> np.ndarray:
        self._stages.run("feed")
        for token in ids:
            self._history = zlib.crc32(int(token).to_bytes(8, "little"), self._history)
        codec = self._stages.manifest.codec
        n_rows = codec.n_coarse * codec.codebook_size + 1
        logits = np.random.default_rng(self._history).normal(size=n_rows).astype(np.float32)
        logits[-1] += self._stages._end_bias
        return logits


def _embed(ids: np.ndarray) -> np.ndarray:
    angles = ids[:, None] * np.arange(1, HIDDEN + 1) * 0.37
    return np.sin(angles).astype(np.float32)  # [N, D]
