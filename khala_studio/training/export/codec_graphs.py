"""The codec as two graphs: waveform -> codes, and codes [k, T] of any depth k -> waveform.

Bases that a formula gives (MDCT, windows, oscillators) are written as that formula; ONNX Runtime evaluates it
once, when it opens the file, so they cost no bytes. Phases are integer products: exact at any length of song.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from khala_studio.training.export.codec_noise import STEPS, noise_table
from khala_studio.training.export.graph_builder import GraphBuilder, Storage

State = Mapping[str, NDArray[Any]]

SUBFRAMES = 4
STEREO = 2
TONE_WINDOW = 8192
PHASE_CYCLE = 1 << 23
HEADROOM = 1.2
MIN_LEVEL = -7.0
INT64_MAX = np.iinfo(np.int64).max


class _Codec:
    """What both graphs need: the builder, the sizes and the weights."""

    def __init__(self, name: str, config: Mapping[str, int], state: State, storage: Storage) -> None:
        self.g, self.config, self.state, self.storage = GraphBuilder(name), config, state, storage
        # bases carry the waveform: sixteen bits where the networks around them may have eight
        self.basis_storage: Storage = "float32" if storage == "float32" else "float16"
        self.hop, self.subhop, self.bands = config["hop"], config["hop"] // SUBFRAMES, config["env_bands"]
        self.rank, self.layers = config["code_rank"], config["n_codebooks"]
        self.latent = sum(config[f"{part}_dims"] for part in ("voice", "env", "tone", "wave"))

    def array(self, name: str) -> NDArray[Any]:
        return np.asarray(self.state[name])

    def op(self, type: str, *inputs: str, **attributes: Any) -> Any:
        return self.g.op(type, list(inputs), **attributes)

    def ints(self, *values: int) -> str:
        return self.g.constant(list(values))

    def number(self, value: float) -> str:
        return self.g.constant(value, "float32")

    def reshape(self, x: str, *shape: int) -> str:
        return str(self.op("Reshape", x, self.ints(*shape)))

    def slice(self, x: str, start: int, end: int, axis: int) -> str:
        return str(self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis)))

    def pad(self, x: str, *pads: int) -> str:
        """`pads` as ONNX has them: all begins, then all ends."""
        return str(self.op("Pad", x, self.ints(*pads)))

    def linear(self, x: str, name: str) -> str:
        bias = self.array(f"{name}.bias")
        return self.g.linear(x, self.array(f"{name}.weight"), bias, name=name, storage=self.storage)

    def matrix(self, x: str, name: str, values: NDArray[Any], storage: Storage | None = None) -> str:
        """x @ values."""
        return str(self.op("MatMul", x, self.g.initialiser(name, values, storage or self.storage)))

    def block(self, x: str, name: str) -> str:
        """x [1, T, width]; see nets.codec.Block. The gate is folded into the last matrix."""
        convolved = self.op("Transpose", x, perm=[0, 2, 1])
        weight = self.array(f"{name}.conv.weight")
        kernel = self.g.initialiser(f"{name}.conv", weight)
        half = weight.shape[2] // 2
        convolved = self.op("Conv", convolved, kernel, group=len(weight), pads=[half, half])
        y = self.op("Transpose", convolved, perm=[0, 2, 1])
        scale = self.g.initialiser(f"{name}.norm.weight", self.array(f"{name}.norm.weight"))
        shift = self.g.initialiser(f"{name}.norm.bias", self.array(f"{name}.norm.bias"))
        y = self.op("LayerNormalization", y, scale, shift, axis=-1, epsilon=1e-5)
        y = self.op("Gelu", self.linear(y, f"{name}.up"), approximate="tanh")
        gate = self.array(f"{name}.gate")
        weight = self.array(f"{name}.down.weight") * gate[:, None]
        bias = self.array(f"{name}.down.bias") * gate
        y = self.g.linear(y, weight, bias, name=f"{name}.down", storage=self.storage)
        return str(self.op("Add", x, y))

    def mdct(self) -> str:
        """[2 * hop, hop] from its formula; see nets.codec.mdct_matrix."""
        hop = self.subhop
        n = self.g.constant((2 * np.arange(2 * hop) + 1 + hop)[:, None])
        k = self.g.constant((2 * np.arange(hop) + 1)[None])
        turns = self.op("Mod", self.op("Mul", n, k), self.ints(8 * hop))
        angle = self.op("Mul", self.g.cast(turns, "float32"), self.number(math.pi / (4 * hop)))
        window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)) * math.sqrt(2 / hop)
        return str(self.op("Mul", self.op("Cos", angle), self.g.constant(window[:, None], "float32")))


def _band_mean(edges: list[int], n_bins: int) -> NDArray[np.float64]:
    """[bins, bands]: mean over each band."""
    mean = np.zeros((n_bins, len(edges) - 1))
    for j, (a, b) in enumerate(pairwise(edges)):
        mean[a:b, j] = 1 / (b - a)
    return mean


def decoder_graph(config: Mapping[str, int], state: State, storage: Storage = "float32") -> onnx.ModelProto:
    """codes [K, T], start_frame [1] -> waveform [2, T * hop].

    Args:
        config: CodecConfig as a dict.
        state: the codec's state dict as numpy arrays.
        storage: how the decoder's matrices lie in the file.
    """
    c = _DecoderGraph("decoder", config, state, storage)
    return c.build()


class _DecoderGraph(_Codec):
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
            amplitude = self.op("Mul", amplitude, self._left_over(mid_share, self._tone_members()))
            spectrum = self.op("Mul", spectrum, self._left_over(share, self._band_spread()))
            spectrum = self.op("Add", spectrum, self._exact(latent, hidden, loudness))
        mid, side = self._inverse_mdct(spectrum)
        mid = self.op("Add", mid, self._oscillators(amplitude))
        left, right = self.op("Add", mid, side), self.op("Sub", mid, side)
        both = [self.op("Unsqueeze", channel, self.ints(0)) for channel in (left, right)]
        g.output("waveform", "float32", [2, "N"], g.op("Concat", both, axis=0))
        return g.model()

    def _latent(self) -> str:
        """Sum of the codebook vectors of all layers given: [1, T, D]."""
        size = self.config["codebook_size"]
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

    def _tone_members(self) -> NDArray[Any]:
        return (self._tone_bands() > 0).T.astype(np.float32)

    def _wave_read(self, latent: str) -> str:
        """See nets.codec.Decoder.wave_read: [1, S, 2 * subhop]."""
        first = self.latent - self.config["wave_dims"]
        part = self.slice(latent, first, self.latent, 2)
        part = self.op("Mul", part, self.g.initialiser("inverse_scale", self.array("decoder.inverse_scale")))
        part = self.matrix(part, "decoder.wave_basis", self.array("decoder.wave_basis").T, self.basis_storage)
        part = self.reshape(part, 1, -1, self.config["subframe_width"])
        return self.matrix(part, "decoder.sub_basis", self.array("decoder.sub_basis").T, self.basis_storage)

    def _level(self) -> str:
        levels = np.maximum(self.array("decoder.levels"), MIN_LEVEL)
        return str(self.op("Gather", self.g.constant(levels, "float32"), self.depth, axis=0))  # [1]

    def _level_embedding(self, level: str, name: str) -> str:
        """See nets.codec.LevelEmbedding: [1, width]."""
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
        for i in range(self.config["frame_blocks"]):
            x = self.block(x, f"decoder.frame_blocks.{i}")
        x = self.reshape(self.linear(x, "decoder.rise"), 1, -1, self.config["subframe_width"])
        x = self.op("Add", x, self._level_embedding(level, "decoder.subframe_level"))
        for i in range(self.config["subframe_blocks"]):
            x = self.block(x, f"decoder.subframe_blocks.{i}")
        return str(x)

    def _partials(self, latent: str, hidden: str, level: str) -> str:
        """See nets.codec.Decoder.partials: [2T, bins]."""
        bins = self.config["tone_bins"]
        read = self.reshape(self.linear(latent, "decoder.tone_read"), -1, 1, bins)
        head = self.linear(
            self.reshape(hidden, -1, 2, 2 * self.config["subframe_width"]), "decoder.tone_head"
        )
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
        """See nets.codec.Decoder.exact: [S, 2, subhop]."""
        wave = self.op("Add", self.linear(hidden, "decoder.wave_head"), self._wave_read(latent))
        wave = self.reshape(wave, -1, STEREO, self.subhop)
        wave = self.op("Mul", wave, self.g.initialiser("bin_scale", self.array("decoder.bin_scale")))
        gain = self.op("MatMul", self._by_depth("wave_gain"), "band_spread")
        coefficients = self.op("Mul", self.op("Mul", wave, self.op("Abs", wave)), gain)
        mean = self.g.initialiser("band_mean", self._band_mean())
        power = self.op("MatMul", self.op("Mul", coefficients, coefficients), mean)
        level = self.op("Mul", self.op("Log", self.op("Add", power, self.number(1e-12))), self.number(0.5))
        loudest = self.op("Add", loudness, self.number(HEADROOM))
        bound = self.op("Exp", self.op("Min", self.op("Sub", loudest, level), self.number(0)))
        return str(self.op("Mul", coefficients, self.op("MatMul", bound, "band_spread")))

    def _noise_gain(self, loudness: str, hidden: str, level: str, amplitude: str) -> str:
        """See nets.codec.Decoder.noise_gain: [S, 2, subhop]."""
        tone_bands = self.g.initialiser("tone_bands", self._tone_bands())
        tone_power = self.op("MatMul", self.op("Mul", amplitude, amplitude), tone_bands)  # [2T, bands]
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
        log = self.op("MatMul", log, self.g.initialiser("band_spread", self._band_spread()))
        return str(self.op("Exp", self.op("Clip", log, self.number(-12), self.number(3))))

    def _band_mean(self) -> NDArray[np.float64]:
        return _band_mean(self._band_edges(), self.subhop)

    def _band_spread(self) -> NDArray[np.float64]:
        edges = np.array(self._band_edges())
        centres = (edges[:-1] + edges[1:] - 1) / 2
        bins = np.arange(self.subhop)
        return np.stack([np.interp(bins, centres, row) for row in np.eye(self.bands)])

    def _band_edges(self) -> list[int]:
        """As nets.codec.band_edges (mel-spaced from 20 Hz, at least one bin each)."""
        nyquist = self.config["sample_rate"] / 2
        low, top = (2595 * math.log10(1 + f / 700) for f in (20, nyquist))
        edges = [0]
        for j in range(1, self.bands):
            hz = 700 * (10 ** ((low + (top - low) * j / self.bands) / 2595) - 1)
            edges.append(max(edges[-1] + 1, round(hz / nyquist * self.subhop)))
        return [*edges, self.subhop]

    def _tone_bands(self) -> NDArray[np.float64]:
        edges, rate = self._band_edges(), self.config["sample_rate"]
        member = np.zeros((self.config["tone_bins"], self.bands))
        for i, cycles in enumerate(self._cycles()):
            place = cycles * rate / PHASE_CYCLE / (rate / 2) * self.subhop
            j = int(np.searchsorted(edges, place, side="right")) - 1
            member[i, j] = self.subhop / (edges[j + 1] - edges[j]) / 2
        return member

    def _cycles(self) -> NDArray[np.int64]:
        hz = 55.0 * 2 ** (np.arange(self.config["tone_bins"]) / 24)
        return np.round(hz / self.config["sample_rate"] * PHASE_CYCLE).astype(np.int64)

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
        """[2T, bins] -> [N]; see nets.codec.Decoder.oscillators."""
        hop, half, cycles = self.hop, self.hop // 2, self._cycles()
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


def encoder_graph(config: Mapping[str, int], state: State, storage: Storage = "float32") -> onnx.ModelProto:
    """waveform [2, N], N a multiple of hop -> codes [n_codebooks, N / hop]."""
    return _EncoderGraph("encoder", config, state, storage).build()


class _EncoderGraph(_Codec):
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
        mean = _band_mean(_DecoderGraph._band_edges(self), self.subhop)  # type: ignore[arg-type]
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
        resolution = self.config["sample_rate"] / (2 * TONE_WINDOW)
        hz = 55.0 * 2 ** (np.arange(self.config["tone_bins"]) / 24)
        ranges = [(int(f * 2 ** (-1 / 48) / resolution), int(f * 2 ** (1 / 48) / resolution) + 2) for f in hz]
        widest = max(b - a for a, b in ranges)
        return self.g.initialiser(
            "tone_bins", np.array([[min(a + j, b - 1) for j in range(widest)] for a, b in ranges])
        )

    def _voice(self, env: str, tone: str) -> str:
        x = self.op("Mul", self.op("Concat", env, tone, axis=-1), self.number(0.5))
        x = self.linear(x, "encoder.voice.enter")
        for i in range(self.config["voice_blocks"]):
            x = self.block(x, f"encoder.voice.blocks.{i}")
        return self.linear(x, "encoder.voice.leave")

    def _wave(self, spectrum: str) -> str:
        root = self.op("Sqrt", self.op("Add", self.op("Abs", spectrum), self.number(1e-7)))
        wave = self.op("Mul", self.op("Sign", spectrum), root)
        scale = self.array("encoder.features.bin_scale")[:, None]
        wave = self.op("Div", wave, self.g.initialiser("bin_scale", scale))
        wave = self.reshape(self.op("Transpose", wave, perm=[1, 0, 2]), 1, -1, STEREO * self.subhop)
        wave = self.matrix(wave, "sub_basis", self.array("encoder.sub_basis"), "float16")
        wave = self.reshape(wave, 1, -1, SUBFRAMES * self.config["subframe_width"])
        return self.matrix(wave, "wave_basis", self.array("encoder.wave_basis"), "float16")

    def _quantise(self, residual: str) -> str:
        """[T, D] -> [layers, T]: nearest vector of each layer in turn."""
        books = self.array("quantizer.codebooks")
        projections = self.array("quantizer.projections")
        size = self.config["codebook_size"]
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
