"""The starter's codec: 64 layers of residual vector quantisation of structured frames, 44.1 kHz stereo.

The latent of a frame (2,048 samples) is a concatenation of four parts, each with a closed-form start
(principal components of a feature), so that a short training run refines sound instead of discovering it:

    voice   a small network's summary of what the singer does (phone, pitch, vocal spectrum)
    env     band loudness of mid and side at four subframes, log scale
    tone    amplitudes of partials on a quarter-tone grid, log scale, mid
    wave    MDCT coefficients (hop 512), sign-preserving square root

The decoder sums three synthesis paths: oscillators at the quarter-tone grid, noise shaped by the band
loudness, and an ordinary inverse MDCT. The first two carry the early layers, the last takes over as layers
are added.

Shapes: B batch, T frames, N samples (N = T * hop), S = 4 * T subframes, D latent size, Q layers, K entries.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.export.codec_noise import STEPS, noise_table

SUBFRAMES = 4  # subframes a frame
STEREO = 2
TONE_WINDOW = 8192  # samples of the analysis window of the tone features
PHASE_CYCLE = 1 << 23  # tone phases are integers modulo this: exact at any length of song
HEADROOM = 1.2  # nats by which one subframe of a band may exceed the band's smoothed loudness
MIN_LEVEL = -7.0  # log2 of the residual's rms that stands for "not quantised"


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of the codec. `latent` is the sum of the four parts."""

    sample_rate: int = 44_100
    hop: int = 2_048
    n_codebooks: int = 64
    codebook_size: int = 1_024
    code_rank: int = 24  # codebook vectors live in a subspace of this many dimensions, one subspace a layer
    voice_dims: int = 24
    env_dims: int = 32
    tone_dims: int = 48
    wave_dims: int = 192
    env_bands: int = 32
    tone_bins: int = 149  # quarter tones from 55 Hz to 4 kHz
    voice_width: int = 192
    voice_blocks: int = 3
    frame_width: int = 384
    frame_blocks: int = 2
    subframe_width: int = 256
    subframe_blocks: int = 4
    n_phones: int = 40  # targets of the voice part while it trains: 39 phones and silence
    n_pitches: int = 50  # unvoiced and 49 semitones from MIDI 36

    @property
    def latent(self) -> int:
        return self.voice_dims + self.env_dims + self.tone_dims + self.wave_dims

    @property
    def subhop(self) -> int:
        return self.hop // SUBFRAMES

    @property
    def parts(self) -> dict[str, slice]:
        """Where each part lies in the latent vector."""
        sizes = {
            "voice": self.voice_dims,
            "env": self.env_dims,
            "tone": self.tone_dims,
            "wave": self.wave_dims,
        }
        ends = np.cumsum(list(sizes.values()))
        return {
            name: slice(int(end) - size, int(end))
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def mdct_matrix(hop: int) -> Tensor:
    """[2 * hop, hop] orthonormal MDCT with a sine window (Princen and Bradley, 1986)."""
    n, k = torch.arange(2 * hop, dtype=torch.int64), torch.arange(hop, dtype=torch.int64)
    turns = ((2 * n + 1 + hop)[:, None] * (2 * k + 1)[None]) % (8 * hop)  # exact integer phase
    window = torch.sin(math.pi * (n.double() + 0.5) / (2 * hop))
    matrix = window[:, None] * math.sqrt(2 / hop) * torch.cos(math.pi / (4 * hop) * turns.double())
    return matrix.float()


def band_edges(hop: int, n_bands: int, sample_rate: int) -> list[int]:
    """[n_bands + 1] MDCT bins that part the spectrum into mel-spaced bands of at least one bin."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    low = 2595 * math.log10(1 + 20 / 700)
    hz = [700 * (10 ** ((low + (top - low) * j / n_bands) / 2595) - 1) for j in range(n_bands + 1)]
    edges = [0]
    for j in range(1, n_bands):
        edges.append(max(edges[-1] + 1, round(hz[j] / (sample_rate / 2) * hop)))
    return [*edges, hop]


def band_matrices(hop: int, n_bands: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Mean over each band [hop, bands], and linear interpolation from band centres to bins [bands, hop]."""
    edges = band_edges(hop, n_bands, sample_rate)
    mean, spread = np.zeros((hop, n_bands)), np.zeros((n_bands, hop))
    centres = np.array([(a + b - 1) / 2 for a, b in pairwise(edges)])
    for j, (a, b) in enumerate(pairwise(edges)):
        mean[a:b, j] = 1 / (b - a)
    for i in range(hop):
        spread[:, i] = [np.interp(i, centres, row) for row in np.eye(n_bands)]
    return torch.tensor(mean).float(), torch.tensor(spread).float()


def tone_cycles(config: CodecConfig) -> np.ndarray:
    """Phase advance of each oscillator a sample (quarter tones from 55 Hz).

    Returns:
        [bins] int64, in units of 1 / PHASE_CYCLE turn.
    """
    hz = 55.0 * 2 ** (np.arange(config.tone_bins) / 24)
    return np.round(hz / config.sample_rate * PHASE_CYCLE).astype(np.int64)


def tone_bin_ranges(config: CodecConfig) -> list[tuple[int, int]]:
    """For each quarter tone the bins [a, b) of a 16,384-point spectrum (zero-padded) that belong to it."""
    resolution = config.sample_rate / (2 * TONE_WINDOW)
    hz = 55.0 * 2 ** (np.arange(config.tone_bins) / 24)
    return [(int(f * 2 ** (-1 / 48) / resolution), int(f * 2 ** (1 / 48) / resolution) + 2) for f in hz]


class Block(nn.Module):
    """Depthwise convolution, layer norm, two linear maps, gated residual (ConvNeXt without downsampling)."""

    def __init__(self, width: int, expansion: int, kernel: int, gate: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        with torch.no_grad():
            self.conv.weight.mul_(0.5)
            self.conv.weight[:, 0, kernel // 2] += 0.5
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.gate = nn.Parameter(torch.full((width,), gate))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return x + self.gate * self.down(F.gelu(self.up(self.norm(y)), approximate="tanh"))


class LevelEmbedding(nn.Module):
    """How exact the latent is (log2 rms of what is left to quantise) as a vector added to activations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(16, 64), nn.Linear(64, width)

    def forward(self, level: Tensor) -> Tensor:
        """level [B] -> [B, 1, width]."""
        angles = level[:, None] * torch.exp2(torch.arange(8, device=level.device) * 0.5 - 1.5)
        return self.out(F.silu(self.hidden(torch.cat([angles.sin(), angles.cos()], 1))))[:, None]


class Features(nn.Module):
    """Waveform -> the features that the latent's parts are made of. No trained weights."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        bins = config.subhop
        mean, _ = band_matrices(bins, config.env_bands, config.sample_rate)
        self.register_buffer("mdct", mdct_matrix(bins), persistent=False)
        self.register_buffer("band_mean", mean, persistent=False)
        self.register_buffer("window", torch.hann_window(TONE_WINDOW), persistent=False)
        self.register_buffer("bin_scale", torch.ones(STEREO, bins))  # rms of each compressed MDCT bin
        self.register_buffer("env_mean", torch.zeros(STEREO, config.env_bands))
        self.register_buffer("tone_mean", torch.zeros(config.tone_bins))

    def spectrum(self, mid_side: Tensor) -> Tensor:
        """[B, 2, N] -> MDCT [B, 2, S, bins]."""
        hop = self.config.subhop
        padded = F.pad(mid_side, (hop // 2, hop + hop // 2))
        frames = padded.unfold(-1, 2 * hop, hop)[:, :, : mid_side.shape[2] // hop]
        return frames @ self.mdct

    def envelope(self, spectrum: Tensor) -> Tensor:
        """MDCT [B, 2, S, bins] -> log band rms [B, 2, S, bands].

        Smoothed over three subframes, mean removed.
        """
        power = (spectrum * spectrum) @ self.band_mean
        edged = torch.cat([power[:, :, :1], power, power[:, :, -1:]], 2)
        power = 0.25 * edged[:, :, :-2] + 0.5 * power + 0.25 * edged[:, :, 2:]
        return 0.5 * torch.log(power + 1e-9) - self.env_mean[:, None]

    def tone(self, mid: Tensor) -> Tensor:
        """Mid [B, N] -> log amplitude of each quarter tone's strongest partial [B, T, tone_bins].

        Mean removed.
        """
        half = TONE_WINDOW // 2
        frames = F.pad(mid, (half - self.config.hop // 2, half)).unfold(-1, TONE_WINDOW, self.config.hop)
        frames = frames[:, : mid.shape[1] // self.config.hop] * self.window
        spectrum = torch.fft.rfft(frames, n=2 * TONE_WINDOW)
        power = spectrum.real**2 + spectrum.imag**2
        peaks = torch.stack([power[..., a:b].amax(-1) for a, b in tone_bin_ranges(self.config)], -1)
        return torch.log(peaks.sqrt() * (4 / TONE_WINDOW) + 1e-5) - self.tone_mean

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        """The three features of a waveform [B, 2, N].

        Returns:
            env [B, T, 4 * 2 * bands], tone [B, T, tone_bins], wave [B, S, 2 * bins] (compressed, unit rms).
        """
        left, right = waveform[:, 0], waveform[:, 1]
        mid_side = torch.stack([left + right, left - right], 1) * 0.5
        spectrum = self.spectrum(mid_side)
        batch, _, subframes, _ = spectrum.shape
        env = self.envelope(spectrum).transpose(1, 2).reshape(batch, subframes // SUBFRAMES, -1)
        wave = spectrum.sign() * (spectrum.abs() + 1e-7).sqrt() / self.bin_scale[:, None]
        wave = wave.transpose(1, 2).reshape(batch, subframes, -1)
        return {"env": env, "tone": self.tone(mid_side[:, 0]), "wave": wave}


class VoiceNet(nn.Module):
    """Envelope and tone features -> a summary of the singing voice, taught by what the corpus knows of it."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        n_in = SUBFRAMES * STEREO * config.env_bands + config.tone_bins
        self.enter = nn.Linear(n_in, config.voice_width)
        self.blocks = nn.Sequential(
            *[Block(config.voice_width, 2, 5, 0.3) for _ in range(config.voice_blocks)]
        )
        self.leave = nn.Linear(config.voice_width, config.voice_dims)
        # teachers, used only while this part trains: two phones a frame, the pitch, the vocal stem's bands
        self.phones = nn.Linear(config.voice_dims, 2 * config.n_phones)
        self.pitch = nn.Linear(config.voice_dims, config.n_pitches)
        self.bands = nn.Linear(config.voice_dims, config.env_bands)

    def forward(self, env: Tensor, tone: Tensor) -> Tensor:
        """[B, T, ...] -> [B, T, voice_dims]."""
        return self.leave(self.blocks(self.enter(torch.cat([env * 0.5, tone * 0.5], -1))))


class Encoder(nn.Module):
    """Waveform [B, 2, N] -> latent [B, T, D].

    Its dimensions have the power that the quantiser should give them.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config, self.features, self.voice = config, Features(config), VoiceNet(config)
        env, bins = SUBFRAMES * STEREO * config.env_bands, STEREO * config.subhop
        self.register_buffer("env_basis", torch.zeros(env, config.env_dims))
        self.register_buffer("tone_basis", torch.zeros(config.tone_bins, config.tone_dims))
        self.register_buffer("sub_basis", torch.zeros(bins, config.subframe_width))
        self.register_buffer("wave_basis", torch.zeros(SUBFRAMES * config.subframe_width, config.wave_dims))
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("scale", torch.ones(config.latent))

    def parts(self, waveform: Tensor) -> Tensor:
        """The latent before mean and scale."""
        features = self.features(waveform)
        batch, frames, _ = features["env"].shape
        wave = (features["wave"] @ self.sub_basis).reshape(batch, frames, -1) @ self.wave_basis
        voice = self.voice(features["env"], features["tone"])
        env, tone = features["env"] @ self.env_basis, features["tone"] @ self.tone_basis
        return torch.cat([voice, env, tone, wave], -1)

    def forward(self, waveform: Tensor) -> Tensor:
        return (self.parts(waveform) - self.mean) * self.scale


class Quantizer(nn.Module):
    """Residual vector quantiser.

    Layer k's vectors are `projections[k] @ codebooks[k, c]`: rank-limited, so that 64 layers fit in two
    megabytes. `levels[n]` is log2 of the rms that is left after n layers.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        q, k, r = config.n_codebooks, config.codebook_size, config.code_rank
        self.register_buffer("projections", torch.zeros(q, config.latent, r))
        self.register_buffer("codebooks", torch.zeros(q, k, r))
        self.register_buffer("levels", torch.zeros(q + 1))

    def nearest(self, residual: Tensor, layer: int) -> Tensor:
        """[n, D] -> [n] index of the closest vector of this layer."""
        inner = residual @ self.projections[layer]
        gram = self.projections[layer].T @ self.projections[layer]
        book = self.codebooks[layer]
        half_norm = 0.5 * ((book @ gram) * book).sum(1)
        return torch.cat([(x @ book.T - half_norm).max(1)[1] for x in inner.split(8192)])

    def vectors(self, codes: Tensor, layer: int) -> Tensor:
        return self.codebooks[layer][codes] @ self.projections[layer].T

    def encode(self, latent: Tensor, n_layers: int | None = None) -> Tensor:
        """[n, D] -> [layers, n] int64."""
        residual, codes = latent.float().clone(), []
        for layer in range(n_layers or len(self.codebooks)):
            chosen = self.nearest(residual, layer)
            residual -= self.vectors(chosen, layer)
            codes.append(chosen)
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """[layers, n] -> [n, D]."""
        total = self.vectors(codes[0], 0)
        for layer in range(1, len(codes)):
            total = total + self.vectors(codes[layer], layer)
        return total

    def quantise(self, latent: Tensor, depths: Tensor) -> Tensor:
        """[B, T, D] with depths [B] -> each item quantised by its own number of layers."""
        batch, frames, _ = latent.shape
        residual = latent.reshape(batch * frames, -1).float().clone()
        start, out = residual.clone(), torch.zeros_like(latent, dtype=torch.float32)
        for layer in range(int(depths.max())):
            residual -= self.vectors(self.nearest(residual, layer), layer)
            done = depths == layer + 1
            if done.any():
                out[done] = (start - residual).reshape(batch, frames, -1)[done]
        return out


class Decoder(nn.Module):
    """Latent [B, T, D] of a depth [B] -> waveform [B, 2, N]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        bins, width, wide = config.subhop, config.subframe_width, config.frame_width
        band_mean, spread = band_matrices(bins, config.env_bands, config.sample_rate)
        self.enter = nn.Linear(config.latent, wide)
        self.frame_blocks = nn.Sequential(*[Block(wide, 2, 5, 0.1) for _ in range(config.frame_blocks)])
        self.rise = nn.Linear(wide, SUBFRAMES * width)
        self.subframe_blocks = nn.Sequential(
            *[Block(width, 3, 7, 0.1) for _ in range(config.subframe_blocks)]
        )
        self.wave_head = nn.Linear(width, STEREO * bins)
        # the encoder's bases turned round: the exact waveform needs no learning, only to be let through
        self.register_buffer("wave_basis", torch.zeros(SUBFRAMES * width, config.wave_dims))
        self.register_buffer("sub_basis", torch.zeros(STEREO * bins, width))
        self.register_buffer("inverse_scale", torch.zeros(config.wave_dims))
        shares = torch.zeros(config.n_codebooks + 1, STEREO, config.env_bands)
        self.register_buffer("wave_gain", shares)  # by depth: best gain of that waveform in each band
        self.register_buffer("wave_share", shares.clone())  # and the share of the power that it explains
        self.register_buffer("levels", torch.zeros(config.n_codebooks + 1))  # the quantiser's
        self.env_read = nn.Linear(config.latent, SUBFRAMES * STEREO * config.env_bands)
        self.env_head = nn.Linear(width, STEREO * config.env_bands)
        self.tone_read = nn.Linear(config.latent, config.tone_bins)
        self.tone_head = nn.Linear(2 * width, config.tone_bins)
        self.frame_level, self.subframe_level = LevelEmbedding(wide), LevelEmbedding(width)
        self.env_level, self.tone_level = (
            LevelEmbedding(STEREO * config.env_bands),
            LevelEmbedding(config.tone_bins),
        )
        self.register_buffer("mdct", mdct_matrix(bins), persistent=False)
        self.register_buffer("band_mean", band_mean, persistent=False)
        self.register_buffer("band_spread", spread, persistent=False)
        self.register_buffer("bin_scale", torch.ones(STEREO, bins))
        self.register_buffer("env_mean", torch.zeros(STEREO, config.env_bands))
        self.register_buffer("tone_mean", torch.zeros(config.tone_bins))
        self.register_buffer("noise", torch.from_numpy(noise_table(bins)).float() / STEPS, persistent=False)
        self._register_oscillators()

    def _register_oscillators(self) -> None:
        config = self.config
        cycles = torch.tensor(tone_cycles(config))
        turns = (cycles[:, None] * torch.arange(config.hop)[None]) % PHASE_CYCLE
        angle = turns.double() * (2 * math.pi / PHASE_CYCLE)
        window = torch.hann_window(config.hop).double()
        self.register_buffer("cosines", (angle.cos() * window).float(), persistent=False)  # [bins, hop]
        self.register_buffer("sines", (angle.sin() * window).float(), persistent=False)
        self.register_buffer("cycles", cycles, persistent=False)
        edges = band_edges(config.subhop, config.env_bands, config.sample_rate)
        hz = cycles.numpy() * config.sample_rate / PHASE_CYCLE
        member = np.zeros((config.tone_bins, config.env_bands))
        for i, f in enumerate(hz):
            j = int(np.searchsorted(edges, f / (config.sample_rate / 2) * config.subhop, side="right")) - 1
            member[i, j] = (
                config.subhop / (edges[j + 1] - edges[j]) / 2
            )  # amplitude^2 -> mean MDCT power of the band
        self.register_buffer("tone_bands", torch.tensor(member).float(), persistent=False)
        self.register_buffer("tone_members", torch.tensor((member > 0).T).float(), persistent=False)

    def forward(self, latent: Tensor, depth: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """depth [B]: layers in the latent; start [B]: absolute index of the first frame, for the phases.

        Returns the waveform [B, 2, N] and the compressed MDCT of the wave path [B, 2, S, bins].
        """
        batch, frames, _ = latent.shape
        level, share = self.levels[depth].clamp(min=MIN_LEVEL), self.wave_share[depth]
        hidden = self.frame_blocks(self.enter(latent) + self.frame_level(level))
        hidden = self.rise(hidden).reshape(batch, frames * SUBFRAMES, -1) + self.subframe_level(level)
        hidden = self.subframe_blocks(hidden)
        with torch.autocast(latent.device.type, enabled=False):
            hidden, latent = hidden.float(), latent.float()
            loudness = self.env_read(latent).reshape(batch, frames * SUBFRAMES, STEREO, -1) + self.env_mean
            loudness = loudness.transpose(1, 2).clamp(-10, 3)  # log rms of each band [B, 2, S, bands]
            wave = (self.wave_head(hidden) + self.wave_read(latent)).reshape(
                batch, -1, STEREO, self.config.subhop
            )
            wave = wave.transpose(1, 2)
            exact = self.exact(wave, loudness, depth)
            amplitude = self.partials(latent, hidden, level)
            gain = self.noise_gain(loudness, hidden, level, amplitude)
            amplitude = amplitude * (1 - share[:, :1] @ self.tone_members).sqrt()
            gain = gain * (1 - share @ self.band_spread).sqrt()[:, :, None]
            index = (start[:, None] * SUBFRAMES + torch.arange(exact.shape[2], device=start.device)) % len(
                self.noise
            )
            noise = self.noise[index].transpose(1, 2)
            sound = self.inverse_mdct(exact + noise * gain)
            mid = sound[:, 0] + self.oscillators(amplitude, start)
            return torch.stack([mid + sound[:, 1], mid - sound[:, 1]], 1), wave

    def exact(self, wave: Tensor, loudness: Tensor, depth: Tensor) -> Tensor:
        """Compressed coefficients -> MDCT [B, 2, S, bins], no louder in any band than that is known to be.

        Without that bound the quantiser's error, the same in every frame, would be heard in quiet ones.
        """
        compressed = wave * self.bin_scale[:, None]
        gain = (self.wave_gain[depth] @ self.band_spread)[:, :, None]
        coefficients = compressed * compressed.abs() * gain
        level = 0.5 * torch.log((coefficients * coefficients) @ self.band_mean + 1e-12)
        return coefficients * (torch.exp((loudness + HEADROOM - level).clamp(max=0.0)) @ self.band_spread)

    def wave_read(self, latent: Tensor) -> Tensor:
        """Compressed MDCT coefficients straight from the latent's wave part [B, S, 2 * bins]."""
        batch, frames, _ = latent.shape
        coefficients = latent[..., self.config.parts["wave"]] * self.inverse_scale
        return (coefficients @ self.wave_basis.T).reshape(batch, frames * SUBFRAMES, -1) @ self.sub_basis.T

    def partials(self, latent: Tensor, hidden: Tensor, level: Tensor) -> Tensor:
        """Amplitudes of the oscillators at half frames [B, 2T, bins]; zero but at peaks of the spectrum."""
        batch, frames, _ = latent.shape
        read = self.tone_read(latent).repeat_interleave(2, 1)
        log = (
            read
            + self.tone_head(hidden.reshape(batch, 2 * frames, -1))
            + self.tone_level(level)
            + self.tone_mean
        )
        with torch.no_grad():
            around = F.max_pool1d(log, 3, 1, 1)
            smooth = F.avg_pool1d(log, 13, 1, 6, count_include_pad=False)
            peak = ((log >= around) & (log > smooth + 0.35)).float()
        return torch.exp(log.clamp(max=2.0)) * peak

    def noise_gain(self, loudness: Tensor, hidden: Tensor, level: Tensor, amplitude: Tensor) -> Tensor:
        """Gain of each MDCT bin [B, 2, S, bins]; the partials' power is taken from the mid channel's."""
        tone_power = ((amplitude * amplitude) @ self.tone_bands).repeat_interleave(2, 1)
        power = torch.exp(2 * loudness[:, 0])
        mid = 0.5 * torch.log(F.relu(power - tone_power) + 0.04 * power)
        log = torch.stack([mid, loudness[:, 1]], 1)
        more = (self.env_head(hidden) + self.env_level(level)).reshape(
            len(log), -1, STEREO, self.config.env_bands
        )
        return torch.exp(((log + more.transpose(1, 2)) @ self.band_spread).clamp(-12, 3))

    def inverse_mdct(self, spectrum: Tensor) -> Tensor:
        """[B, 2, S, bins] -> [B, 2, S * bins]."""
        hop, n = self.config.subhop, spectrum.shape[2] * self.config.subhop
        frames = spectrum @ self.mdct.T
        sound = F.pad(frames[..., :hop], (0, 0, 0, 1)) + F.pad(frames[..., hop:], (0, 0, 1, 0))
        return sound.flatten(2)[:, :, hop // 2 : hop // 2 + n]

    def oscillators(self, amplitude: Tensor, start: Tensor) -> Tensor:
        """[B, 2T, bins] -> [B, N]: free-running sinusoids, amplitudes cross-faded between half frames."""
        half = self.config.hop // 2
        index = start[:, None] * 2 + torch.arange(amplitude.shape[1], device=start.device)
        turns = (index[..., None] * (self.cycles * half % PHASE_CYCLE)) % PHASE_CYCLE
        angle = turns.float() * (2 * math.pi / PHASE_CYCLE)
        frames = (amplitude * angle.cos()) @ self.cosines - (amplitude * angle.sin()) @ self.sines
        sound = F.pad(frames[..., :half], (0, 0, 0, 1)) + F.pad(frames[..., half:], (0, 0, 1, 0))
        n = amplitude.shape[1] * half
        return sound.flatten(1)[:, half // 2 : half // 2 + n]


class Codec(nn.Module):
    """Encoder, quantiser and decoder together."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.quantizer, self.decoder = Encoder(config), Quantizer(config), Decoder(config)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """[2, N], N a multiple of hop -> codes [64, T]."""
        return self.quantizer.encode(self.encoder(waveform[None])[0])

    @torch.no_grad()
    def decode(self, codes: Tensor, start_frame: int = 0) -> Tensor:
        """codes [k, T] -> [2, N]."""
        latent = self.quantizer.decode(codes)[None]
        depth, start = (torch.tensor([n], device=codes.device) for n in (len(codes), start_frame))
        return self.decoder(latent, depth, start)[0][0]
