"""The codec's decoder as a graph: codes [k, T] of any depth k -> waveform.

Phases are integer products: exact at any length of song.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from khala_studio.training.codec_geometry import (
    HEADROOM,
    MIN_LEVEL,
    PHASE_CYCLE,
    STEREO,
    SUBFRAMES,
    band_mean,
    band_spread,
    tone_bands,
    tone_cycles,
    tone_members,
)
from khala_studio.training.export.codec_graph_parts import CodecGraph, State
from khala_studio.training.export.codec_noise import STEPS, noise_table
from khala_studio.training.export.graph_builder import Storage


def decoder_graph(config: Mapping[str, int], state: State, storage: Storage = "float32") -> onnx.ModelProto:
    """codes [K, T], start_frame [1] -> waveform [2, T * hop].

    Args:
        config: CodecConfig as a dict.
        state: the codec's state dict as numpy arrays.
        storage: how the decoder's matrices lie in the file.
    """
    c = _DecoderGraph("decoder", config, state, storage)
    return c.build()


class _DecoderGraph(CodecGraph):
    def build(self) -> onnx.ModelProto:
        g = self.g
        self.codes = g.input("codes", "int64", ["K", "T"])
        self.start = g.input("start_frame", "int64", [1])
        shape = self.op("Shape", self.codes)
        self.depth, self.frames = self.slice(shape, 0, 1, 0), self.slice(shape, 1, 2, 0)
        latent, level = self._latent(), self._level()
        hidden = self._hidden(latent, level)
        loudness = self._loudness(latent)  # [S, 2, bands]
        amplitude = self._partials(latent, hidden, level)  # [2T, bins]
        gain = self._noise_gain(loudness, hidden, level, amplitude)  # [S, 2, subhop]
        spectrum = self.op("Mul", self._noise(), gain)
        if self.array("decoder.wave_gain").any():  # else no depth lets the exact waveform through
            share = self._by_depth("wave_share")  # [2, bands]
            mid_share = self.slice(share, 0, 1, 0)
            amplitude = self.op("Mul", amplitude, self._left_over(mid_share, tone_members(self.config)))
            spectrum = self.op("Mul", spectrum, self._left_over(share, band_spread(self.config)))
            spectrum = self.op("Add", spectrum, self._exact(latent, hidden, loudness))
        mid, side = self._inverse_mdct(spectrum)
        mid = self.op("Add", mid, self._oscillators(amplitude))
        left, right = self.op("Add", mid, side), self.op("Sub", mid, side)
        both = [self.op("Unsqueeze", channel, self.ints(0)) for channel in (left, right)]
        g.output("waveform", "float32", [2, "N"], g.op("Concat", both, axis=0))
        return g.model()

    def _latent(self) -> str:
        """Sum of the codebook vectors of all layers given: [1, T, D]."""
        size = self.config.codebook_size
        first = self.g.constant(np.arange(self.layers) * size)
        offsets = self.op(
            "Unsqueeze", self.op("Slice", first, self.ints(0), self.depth, self.ints(0)), self.ints(1)
        )
        ids = self.op("Transpose", self.op("Add", self.codes, offsets), perm=[1, 0])  # [T, K]
        books = self.array("quantizer.codebooks").reshape(-1, self.rank)
        entries = self.g.gather_rows("codebooks", books, ids, "int8")  # [T, K, rank]
        flat = self.op("Reshape", entries, self.op("Concat", self.ints(0), self.ints(-1), axis=0))
        basis = self.array("quantizer.projections").transpose(0, 2, 1)  # [layers, rank, D]
        basis = self.g.initialiser("projections", basis, "float16")
        basis = self.op("Slice", basis, self.ints(0), self.depth, self.ints(0))
        latent = self.op("MatMul", flat, self.reshape(basis, -1, self.latent))
        return str(self.op("Unsqueeze", latent, self.ints(0)))

    def _by_depth(self, name: str) -> str:
        """[2, bands] of the decoder's table at the depth given."""
        table = self.g.initialiser(name, self.array(f"decoder.{name}"))
        return str(self.op("Squeeze", self.op("Gather", table, self.depth, axis=0), self.ints(0)))

    def _left_over(self, share: str, members: NDArray[Any]) -> str:
        """Amplitude that the exact waveform leaves to another path: sqrt(1 - share) spread over `members`."""
        spread = self.op("MatMul", share, self.g.constant(members, "float32"))
        return str(self.op("Sqrt", self.op("Sub", self.number(1), spread)))

    def _wave_read(self, latent: str) -> str:
        """See nets.codec_decoder.Decoder.wave_read: [1, S, 2 * subhop]."""
        place = self.config.parts["wave"]
        part = self.slice(latent, place.start, place.stop, 2)
        part = self.op("Mul", part, self.g.initialiser("inverse_scale", self.array("decoder.inverse_scale")))
        part = self.matrix(part, "decoder.wave_basis", self.array("decoder.wave_basis").T, self.basis_storage)
        part = self.reshape(part, 1, -1, self.config.subframe_width)
        return self.matrix(part, "decoder.sub_basis", self.array("decoder.sub_basis").T, self.basis_storage)

    def _level(self) -> str:
        levels = np.maximum(self.array("decoder.levels"), MIN_LEVEL)
        return str(self.op("Gather", self.g.constant(levels, "float32"), self.depth, axis=0))  # [1]

    def _level_embedding(self, level: str, name: str) -> str:
        """See nets.codec_blocks.LevelEmbedding: [1, width]."""
        rates = self.g.constant(np.exp2(np.arange(8) * 0.5 - 1.5)[None], "float32")
        angles = self.op("Mul", self.op("Unsqueeze", level, self.ints(1)), rates)
        features = self.op("Concat", self.op("Sin", angles), self.op("Cos", angles), axis=1)
        hidden = self.linear(features, f"{name}.hidden")
        hidden = self.op("Mul", hidden, self.op("Sigmoid", hidden))
        return self.linear(hidden, f"{name}.out")

    def _hidden(self, latent: str, level: str) -> str:
        """[1, S, subframe width]."""
        x = self.linear(latent, "decoder.enter")
        x = self.op("Add", x, self._level_embedding(level, "decoder.frame_level"))
        for i in range(self.config.frame_blocks):
            x = self.block(x, f"decoder.frame_blocks.{i}")
        x = self.reshape(self.linear(x, "decoder.rise"), 1, -1, self.config.subframe_width)
        x = self.op("Add", x, self._level_embedding(level, "decoder.subframe_level"))
        for i in range(self.config.subframe_blocks):
            x = self.block(x, f"decoder.subframe_blocks.{i}")
        return str(x)

    def _partials(self, latent: str, hidden: str, level: str) -> str:
        """See nets.codec_decoder.Decoder.partials: [2T, bins]."""
        bins = self.config.tone_bins
        read = self.reshape(self.linear(latent, "decoder.tone_read"), -1, 1, bins)
        head = self.linear(self.reshape(hidden, -1, 2, 2 * self.config.subframe_width), "decoder.tone_head")
        log = self.reshape(self.op("Add", read, head), -1, bins)
        log = self.op("Add", log, self._level_embedding(level, "decoder.tone_level"))
        log = self.op("Add", log, self.g.initialiser("tone_mean", self.array("decoder.tone_mean")))
        line = self.op("Unsqueeze", log, self.ints(1))
        around = self.op("MaxPool", line, kernel_shape=[3], pads=[1, 1])
        smooth = self.op("AveragePool", line, kernel_shape=[13], pads=[6, 6], count_include_pad=0)
        threshold = self.op("Add", smooth, self.number(0.35))
        peak = self.op("And", self.op("GreaterOrEqual", line, around), self.op("Greater", line, threshold))
        peak = self.op("Squeeze", self.g.cast(peak, "float32"), self.ints(1))
        return str(self.op("Mul", self.op("Exp", self.op("Min", log, self.number(2.0))), peak))

    def _loudness(self, latent: str) -> str:
        """Log rms of each band that the latent tells: [S, 2, bands]."""
        read = self.reshape(self.linear(latent, "decoder.env_read"), -1, STEREO, self.bands)
        read = self.op("Add", read, self.g.initialiser("env_mean", self.array("decoder.env_mean")))
        return str(self.op("Clip", read, self.number(-10), self.number(3)))

    def _exact(self, latent: str, hidden: str, loudness: str) -> str:
        """See nets.codec_decoder.Decoder.exact: [S, 2, subhop]."""
        wave = self.op("Add", self.linear(hidden, "decoder.wave_head"), self._wave_read(latent))
        wave = self.reshape(wave, -1, STEREO, self.subhop)
        wave = self.op("Mul", wave, self.g.initialiser("bin_scale", self.array("decoder.bin_scale")))
        gain = self.op("MatMul", self._by_depth("wave_gain"), "band_spread")
        coefficients = self.op("Mul", self.op("Mul", wave, self.op("Abs", wave)), gain)
        mean = self.g.initialiser("band_mean", band_mean(self.config))
        power = self.op("MatMul", self.op("Mul", coefficients, coefficients), mean)
        level = self.op("Mul", self.op("Log", self.op("Add", power, self.number(1e-12))), self.number(0.5))
        loudest = self.op("Add", loudness, self.number(HEADROOM))
        bound = self.op("Exp", self.op("Min", self.op("Sub", loudest, level), self.number(0)))
        return str(self.op("Mul", coefficients, self.op("MatMul", bound, "band_spread")))

    def _noise_gain(self, loudness: str, hidden: str, level: str, amplitude: str) -> str:
        """See nets.codec_decoder.Decoder.noise_gain: [S, 2, subhop]."""
        powers = self.g.initialiser("tone_bands", tone_bands(self.config))
        tone_power = self.op("MatMul", self.op("Mul", amplitude, amplitude), powers)  # [2T, bands]
        tone_power = self.reshape(tone_power, -1, 1, 1, self.bands)
        tone_power = self.reshape(self.op("Expand", tone_power, self.ints(1, 2, 1, 1)), -1, 1, self.bands)
        power = self.op("Exp", self.op("Mul", self.slice(loudness, 0, 1, 1), self.number(2)))
        rest = self.op("Relu", self.op("Sub", power, tone_power))
        rest = self.op("Log", self.op("Add", rest, self.op("Mul", power, self.number(0.04))))
        mid = self.op("Mul", rest, self.number(0.5))
        log = self.op("Concat", mid, self.slice(loudness, 1, 2, 1), axis=1)
        head = self.linear(hidden, "decoder.env_head")
        head = self.op("Add", head, self._level_embedding(level, "decoder.env_level"))
        log = self.op("Add", log, self.reshape(head, -1, STEREO, self.bands))
        log = self.op("MatMul", log, self.g.initialiser("band_spread", band_spread(self.config)))
        return str(self.op("Exp", self.op("Clip", log, self.number(-12), self.number(3))))

    def _positions(self, per_frame: int) -> str:
        """Absolute indices of the parts of the frames given: [T * per_frame] int64."""
        n = self.op("Mul", self.frames, self.ints(per_frame))
        scalar = self.op("Squeeze", n, self.ints(0))
        steps = self.g.op("Range", [self.g.constant(0), scalar, self.g.constant(1)])
        return str(self.op("Add", steps, self.op("Mul", self.start, self.ints(per_frame))))

    def _noise(self) -> str:
        """The decoder's fixed noise at the subframes given: [S, 2, subhop]."""
        values = noise_table(self.subhop)
        table = self.g.initialiser("noise", values)
        index = self.op("Mod", self._positions(SUBFRAMES), self.ints(len(values)))
        noise = self.g.cast(self.op("Gather", table, index, axis=0), "float32")
        return str(self.op("Mul", noise, self.number(1 / STEPS)))

    def _inverse_mdct(self, spectrum: str) -> tuple[str, str]:
        """[S, 2, subhop] -> mid [N], side [N]."""
        hop = self.subhop
        frames = self.op("MatMul", self.op("Transpose", spectrum, perm=[1, 0, 2]), self._transposed_mdct())
        head, tail = self.slice(frames, 0, hop, 2), self.slice(frames, hop, 2 * hop, 2)
        sound = self.op("Add", self.pad(head, 0, 0, 0, 0, 1, 0), self.pad(tail, 0, 1, 0, 0, 0, 0))
        sound = self.reshape(sound, STEREO, -1)
        sound = self.slice(sound, hop // 2, -hop // 2, 1)
        mid, side = self.slice(sound, 0, 1, 0), self.slice(sound, 1, 2, 0)
        return self.op("Squeeze", mid, self.ints(0)), self.op("Squeeze", side, self.ints(0))

    def _transposed_mdct(self) -> str:
        return str(self.op("Transpose", self.mdct(), perm=[1, 0]))

    def _oscillators(self, amplitude: str) -> str:
        """[2T, bins] -> [N]; see nets.codec_decoder.Decoder.oscillators."""
        hop, half, cycles = self.hop, self.hop // 2, tone_cycles(self.config)
        index = self.op("Unsqueeze", self._positions(2), self.ints(1))
        step = self.g.constant((cycles * half % PHASE_CYCLE)[None])
        turns = self.op("Mod", self.op("Mul", index, step), self.ints(PHASE_CYCLE))
        angle = self.op("Mul", self.g.cast(turns, "float32"), self.number(2 * math.pi / PHASE_CYCLE))
        inside = self.op("Mul", self.g.constant(cycles[:, None]), self.g.constant(np.arange(hop)[None]))
        inside = self.g.cast(self.op("Mod", inside, self.ints(PHASE_CYCLE)), "float32")
        inside = self.op("Mul", inside, self.number(2 * math.pi / PHASE_CYCLE))  # [bins, hop]
        window = self.g.constant(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(hop) / hop), "float32")
        cosines = self.op("Mul", self.op("Cos", inside), window)
        sines = self.op("Mul", self.op("Sin", inside), window)
        real = self.op("MatMul", self.op("Mul", amplitude, self.op("Cos", angle)), cosines)
        imaginary = self.op("MatMul", self.op("Mul", amplitude, self.op("Sin", angle)), sines)
        frames = self.op("Sub", real, imaginary)  # [2T, hop]
        head, tail = self.slice(frames, 0, half, 1), self.slice(frames, half, hop, 1)
        sound = self.op("Add", self.pad(head, 0, 0, 1, 0), self.pad(tail, 1, 0, 0, 0))
        return self.slice(self.reshape(sound, -1), half // 2, -half // 2, 0)
