"""The graphs of a pack, asked the questions that only an evaluation asks.

The engine makes songs; here the same files say how probable given codes are (teacher forcing), and
encode and decode recordings at any depth, through the engine's own chunking and cache.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from khala_studio.engine.decoder import decode_stream
from khala_studio.engine.encoder import encode_stream
from khala_studio.engine.onnx_backbone import OnnxBackbone
from khala_studio.engine.runs import Runs
from khala_studio.packs.manifest import PackManifest, read_manifest
from khala_studio.song.codes import layer_ids
from khala_studio.training.evaluation.audio_metrics import Floats

Codes = NDArray[np.int16]  # [K, T]
TokenIds = NDArray[np.int64]


class PackProbe:
    """Sessions of one pack, opened when first asked for. Use as a context manager."""

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        """Raises PackMissing or PackBroken."""
        self.folder = folder
        self.manifest: PackManifest = read_manifest(folder)
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.clear()

    @property
    def can_encode(self) -> bool:
        return "encoder" in self.manifest.graphs

    def encode(self, waveform: Floats) -> Codes:
        """[2, N] -> codes [K, ceil(N / hop)], in the engine's chunks."""
        return np.concatenate(list(encode_stream(self._encode, waveform, self.manifest.codec)), axis=1)

    def decode(self, codes: Codes) -> Floats:
        """[k, T] -> [2, T * hop], in the engine's chunks."""
        parts = [samples for _, samples in decode_stream(self._decode, codes, self.manifest.codec)]
        return np.concatenate(parts, axis=1)

    def backbone_bits(self, prompt: TokenIds, codes: Codes) -> NDArray[np.float64]:
        """Surprise of every coarse code in bits, each given the prompt and all codes before it.

        Step by step through the shipped graph, as the engine runs it: quantised weights and cache
        count. The end of the song takes no part in the distribution, nor does the other layer.

        Returns:
            [n_coarse, T]
        """
        spec, offset = self.manifest.codec, self.manifest.text.audio_offset
        n_coarse, size = spec.n_coarse, spec.codebook_size
        ids = layer_ids(codes[:n_coarse], 0, offset, size).T.reshape(-1)
        backbone = OnnxBackbone(self._session("backbone"), self.manifest, Runs())
        bits = np.zeros(len(ids))
        fed = prompt.astype(np.int64)
        for position, wanted in enumerate(ids):
            first = position % n_coarse * size  # row of the layer whose turn it is
            logits = backbone.feed(fed)[first : first + size]
            bits[position] = surprise(logits[None], wanted[None] - offset - first)[0]
            fed = wanted[None]
        return bits.reshape(-1, n_coarse).T

    def superres_bits(self, prompt: TokenIds, codes: Codes, layers: list[int]) -> dict[int, float]:
        """Mean surprise in bits of the codes of some layers, each given the true layers below it.

        Args:
            codes: [K, T], the recording's own.
            layers: ascending, each at least n_coarse.
        """
        spec, text = self.manifest.codec, self.manifest.text
        vectors = self._embed(prompt)  # [S, D]
        running, known = np.zeros((codes.shape[1], vectors.shape[1]), np.float32), 0
        found: dict[int, float] = {}
        for layer in layers:
            for below in range(known, layer):
                ids = layer_ids(codes[below : below + 1], below, text.audio_offset, spec.codebook_size)[0]
                running += self._embed(ids)
            known = layer
            vectors[-1] = self._embed(np.array([text.superres_marker_base - layer]))[0]
            feeds = {
                "x": np.concatenate([vectors, running])[None],
                "layer": np.array([layer], np.int64),
                "n_text": np.array([len(prompt)], np.int64),
            }
            found[layer] = float(surprise(self._run("superres", feeds), codes[layer]).mean())
        return found

    def _embed(self, ids: TokenIds) -> Floats:
        return self._run("superres_embed", {"ids": ids.astype(np.int64)}).astype(np.float32)

    def _encode(self, waveform: Floats) -> Codes:
        feeds = {"waveform": np.ascontiguousarray(waveform, np.float32)}
        return self._run("encoder", feeds).astype(np.int16)

    def _decode(self, codes: Codes, start_frame: int) -> Floats:
        feeds = {"codes": codes.astype(np.int64)}
        if "start_frame" in self.manifest.graphs["decoder"].inputs:
            feeds["start_frame"] = np.array([start_frame], np.int64)
        return self._run("decoder", feeds)

    def _run(self, graph: str, feeds: dict[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        """First output of a graph."""
        return self._session(graph).run(None, feeds)[0]

    def _session(self, graph: str) -> onnxruntime.InferenceSession:
        if graph not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3
            path = self.folder / self.manifest.graphs[graph].file
            providers = ["CPUExecutionProvider"]
            self._sessions[graph] = onnxruntime.InferenceSession(str(path), options, providers=providers)
        return self._sessions[graph]


def surprise(logits: Floats, codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """-log2 of the probability of `codes` [n] under `logits` [n, entries]."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=1)
    normaliser = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    return (normaliser - wide[np.arange(len(wide)), codes.astype(np.int64)]) / np.log(2)
