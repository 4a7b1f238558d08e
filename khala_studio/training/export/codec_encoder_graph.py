"""The codec's encoder as a graph: waveform -> codes of all layers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from khala_studio.training.codec_geometry import STEREO, SUBFRAMES, TONE_WINDOW, band_mean, tone_bin_ranges
from khala_studio.training.export.codec_graph_parts import CodecGraph, State
from khala_studio.training.export.graph_builder import Storage

INT64_MAX = np.iinfo(np.int64).max


def encoder_graph(config: Mapping[str, int], state: State, storage: Storage = "float32") -> onnx.ModelProto:
    """waveform [2, N], N a multiple of hop -> codes [n_codebooks, N / hop]."""
    return _EncoderGraph("encoder", config, state, storage).build()


class _EncoderGraph(CodecGraph):
    def build(self) -> onnx.ModelProto:
        g = self.g
        waveform = g.input("waveform", "float32", [2, "N"])
        left, right = self.slice(waveform, 0, 1, 0), self.slice(waveform, 1, 2, 0)
        sides = [self.op("Mul", self.op(kind, left, right), self.number(0.5)) for kind in ("Add", "Sub")]
        mid_side = g.op("Concat", sides, axis=0)
        spectrum = self._spectrum(mid_side)  # [2, S, subhop]
        env, tone = self._envelope(spectrum), self._tone(sides[0])
        parts = [self._voice(env, tone)]
        parts.append(self.matrix(env, "env_basis", self.array("encoder.env_basis"), "float16"))
        parts.append(self.matrix(tone, "tone_basis", self.array("encoder.tone_basis"), "float16"))
        parts.append(self._wave(spectrum))
        latent = self.op(
            "Sub", g.op("Concat", parts, axis=-1), g.initialiser("mean", self.array("encoder.mean"))
        )
        latent = self.op("Mul", latent, g.initialiser("scale", self.array("encoder.scale")))
        g.output("codes", "int64", [self.layers, "T"], self._quantise(self.reshape(latent, -1, self.latent)))
        return g.model()

    def _spectrum(self, mid_side: str) -> str:
        hop = self.subhop
        padded = self.pad(mid_side, 0, hop // 2, 0, hop // 2)
        blocks = self.reshape(padded, STEREO, -1, hop)  # S + 1 blocks; a frame is two of them
        frames = self.op("Concat", self.slice(blocks, 0, -1, 1), self.slice(blocks, 1, INT64_MAX, 1), axis=-1)
        return str(self.op("MatMul", frames, self.mdct()))

    def _envelope(self, spectrum: str) -> str:
        mean = band_mean(self.config)
        power = self.matrix(self.op("Mul", spectrum, spectrum), "band_mean", mean, "float32")  # [2, S, bands]
        before = self.op("Concat", self.slice(power, 0, 1, 1), self.slice(power, 0, -1, 1), axis=1)
        after = self.op(
            "Concat", self.slice(power, 1, INT64_MAX, 1), self.slice(power, -1, INT64_MAX, 1), axis=1
        )
        sides = self.op("Mul", self.op("Add", before, after), self.number(0.25))
        power = self.op("Add", sides, self.op("Mul", power, self.number(0.5)))
        log = self.op("Mul", self.op("Log", self.op("Add", power, self.number(1e-9))), self.number(0.5))
        mean_log = self.array("encoder.features.env_mean")[:, None]
        log = self.op("Sub", log, self.g.initialiser("env_mean", mean_log))
        log = self.op("Transpose", log, perm=[1, 0, 2])  # [S, 2, bands]
        return self.reshape(log, 1, -1, SUBFRAMES * STEREO * self.bands)

    def _tone(self, mid: str) -> str:
        hop, turns = self.hop, TONE_WINDOW // self.hop
        padded = self.pad(mid, 0, TONE_WINDOW // 2 - hop // 2, 0, TONE_WINDOW // 2 - hop // 2)
        blocks = self.reshape(padded, -1, hop)  # [T + 3, hop]
        shifted = [
            self.slice(blocks, i, i - turns + 1 if i < turns - 1 else INT64_MAX, 0) for i in range(turns)
        ]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(TONE_WINDOW) / TONE_WINDOW)
        frames = self.op(
            "Mul", self.g.op("Concat", shifted, axis=1), self.g.initialiser("tone_window", window)
        )
        frames = self.op("Unsqueeze", frames, self.ints(2))
        spectrum = self.op("DFT", frames, self.g.constant(2 * TONE_WINDOW), onesided=1)
        power = self.op("ReduceSum", self.op("Mul", spectrum, spectrum), self.ints(2), keepdims=0)
        peaks = self.op(
            "ReduceMax", self.op("Gather", power, self._tone_bins(), axis=1), self.ints(2), keepdims=0
        )
        level = self.op("Mul", self.op("Sqrt", peaks), self.number(4 / TONE_WINDOW))
        log = self.op("Log", self.op("Add", level, self.number(1e-5)))
        log = self.op("Sub", log, self.g.initialiser("tone_mean", self.array("encoder.features.tone_mean")))
        return str(self.op("Unsqueeze", log, self.ints(0)))

    def _tone_bins(self) -> str:
        """[bins, widest]: spectrum bins of each quarter tone, the last one repeated."""
        ranges = tone_bin_ranges(self.config)
        widest = max(b - a for a, b in ranges)
        return self.g.initialiser(
            "tone_bins", np.array([[min(a + j, b - 1) for j in range(widest)] for a, b in ranges])
        )

    def _voice(self, env: str, tone: str) -> str:
        x = self.op("Mul", self.op("Concat", env, tone, axis=-1), self.number(0.5))
        x = self.linear(x, "encoder.voice.enter")
        for i in range(self.config.voice_blocks):
            x = self.block(x, f"encoder.voice.blocks.{i}")
        return self.linear(x, "encoder.voice.leave")

    def _wave(self, spectrum: str) -> str:
        root = self.op("Sqrt", self.op("Add", self.op("Abs", spectrum), self.number(1e-7)))
        wave = self.op("Mul", self.op("Sign", spectrum), root)
        scale = self.array("encoder.features.bin_scale")[:, None]
        wave = self.op("Div", wave, self.g.initialiser("bin_scale", scale))
        wave = self.reshape(self.op("Transpose", wave, perm=[1, 0, 2]), 1, -1, STEREO * self.subhop)
        wave = self.matrix(wave, "sub_basis", self.array("encoder.sub_basis"), "float16")
        wave = self.reshape(wave, 1, -1, SUBFRAMES * self.config.subframe_width)
        return self.matrix(wave, "wave_basis", self.array("encoder.wave_basis"), "float16")

    def _quantise(self, residual: str) -> str:
        """[T, D] -> [layers, T]: nearest vector of each layer in turn."""
        books = self.array("quantizer.codebooks")
        projections = self.array("quantizer.projections")
        size = self.config.codebook_size
        # stored exactly as the decoder stores them, so that a pack keeps one copy
        all_entries = self.g.initialiser("codebooks", books.reshape(-1, self.rank), "int8")
        all_bases = self.g.initialiser("projections", projections.transpose(0, 2, 1), "float16")
        codes = []
        for layer, (book, projection) in enumerate(zip(books, projections, strict=True)):
            entries = self.slice(all_entries, layer * size, (layer + 1) * size, 0)  # [K, rank]
            basis_rows = self.op(
                "Squeeze", self.slice(all_bases, layer, layer + 1, 0), self.ints(0)
            )  # [rank, D]
            basis = self._transpose(basis_rows)
            gram = projection.T @ projection
            half_norm = 0.5 * ((book @ gram) * book).sum(1)
            inner = self.op("MatMul", residual, basis)
            scores = self.op("MatMul", inner, self.op("Transpose", entries, perm=[1, 0]))
            scores = self.op("Sub", scores, self.g.constant(half_norm, "float32"))
            chosen = self.op("ArgMax", scores, axis=1, keepdims=0)
            codes.append(self.op("Unsqueeze", chosen, self.ints(0)))
            if layer + 1 < len(books):
                vector = self.op("MatMul", self.op("Gather", entries, chosen, axis=0), basis_rows)
                residual = self.op("Sub", residual, vector)
        return str(self.g.op("Concat", codes, axis=0))

    def _transpose(self, x: str) -> str:
        return str(self.op("Transpose", x, perm=[1, 0]))
