"""`khala-studio train codec`: statistics, the voice part, residual k-means, then the decoder.

The encoder and the quantiser are final once k-means is done, long before the decoder is: `train tokens` may
run from that checkpoint while this goes on. Every stage keeps to its share of the budget and can be resumed.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from khala_studio.training.codec_fit import fit_features, fit_quantizer, fit_scale, fit_wave, start_decoder
from khala_studio.training.codec_geometry import SUBFRAMES, CodecConfig
from khala_studio.training.codec_losses import CodecLoss
from khala_studio.training.data_audio import AudioBatch, AudioCorpus
from khala_studio.training.device import Compute, choose_compute
from khala_studio.training.loop import Intervals, Schedule, Task, TrainLoop, Values
from khala_studio.training.nets.codec import Codec
from khala_studio.training.optim import Optimizer

log = logging.getLogger(__name__)

STAGES = ("features", "voice", "quantizer", "decoder", "done")
VOICE_MINUTES = 0.15  # of the time budget
VOICE_RATE = 2e-3
# quantiser dropout: how many layers a training item is decoded from, and how often
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
DEPTH_CHANCE = (0.06, 0.18, 0.06, 0.08, 0.05, 0.12, 0.06, 0.11, 0.05, 0.09, 0.03, 0.11)
FIT_FRAMES = 65_000  # of the k-means: 50 minutes, 63 frames an entry
CROP = 32  # frames of a training crop, 1.5 s
WAVE_ROUNDS = 6
STATISTICS_ROUNDS = 40  # of 8 crops of 64 frames


@dataclass(frozen=True)
class Settings:
    """What a run is made of; see `add_arguments`."""

    corpus: Path
    out: Path
    minutes: float
    batch: int
    learning_rate: float
    seed: int
    fit_frames: int = FIT_FRAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", type=Path, default=Path("train/corpus"), help="made by `train corpus`")
    parser.add_argument(
        "--out", type=Path, default=Path("train/codec"), help="folder of checkpoints and curves"
    )
    parser.add_argument("--minutes", type=float, default=25.0, help="time budget of the whole training")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--batch", type=int, help="crops a step (default: 4 on the CPU, 64 on a GPU)")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--fit-frames", type=int, default=FIT_FRAMES, help="frames that k-means sees")


def main(args: argparse.Namespace) -> int:
    compute = choose_compute(args.device, args.threads)
    batch = args.batch or (64 if compute.is_cuda else 4)
    settings = Settings(
        args.corpus, args.out, args.minutes, batch, args.learning_rate, args.seed, args.fit_frames
    )
    args.out.mkdir(parents=True, exist_ok=True)
    CodecTrainer(settings, compute).run()
    return 0


def load_codec(path: Path, device: str | torch.device = "cpu") -> Codec:
    """A codec from a checkpoint of this module: able to encode, and to decode once its decoder is trained."""
    saved = torch.load(path, map_location=device, weights_only=True)
    codec = Codec(CodecConfig(**saved["config"])).to(device)
    codec.load_state_dict(saved["model"])
    return codec.eval()


class CodecTrainer:
    """Runs the stages in order, each from where the last run left it.

    Attributes:
        checkpoint: the whole codec after the last finished stage; a stage's own progress lies beside it.
    """

    def __init__(self, settings: Settings, compute: Compute, config: CodecConfig | None = None) -> None:
        self.settings, self.compute = settings, compute
        self.checkpoint = settings.out / "codec.pt"
        self.corpus = AudioCorpus(settings.corpus, "train")
        self.stage, self.seconds = "features", 0.0
        saved = torch.load(self.checkpoint, weights_only=True) if self.checkpoint.exists() else None
        torch.manual_seed(settings.seed)
        self.codec = Codec(CodecConfig(**saved["config"]) if saved else config or CodecConfig())
        if saved:
            self.codec.load_state_dict(saved["model"])
            self.stage, self.seconds = saved["stage"], saved["seconds"]
        self.codec.to(compute.device)

    def run(self) -> None:
        if not self.checkpoint.exists():
            self._forget_stages()
        while self.stage != "done":
            log.info("codec: stage %s, %.1f min so far", self.stage, self.seconds / 60)
            started = time.monotonic()
            self.corpus.reload()  # a corpus may still be growing
            getattr(self, f"_{self.stage}")()
            self.seconds += time.monotonic() - started
            self.stage = STAGES[STAGES.index(self.stage) + 1]
            self._save()
        log.info("codec: done after %.1f min", self.seconds / 60)

    def _forget_stages(self) -> None:
        """Remove what stages of another run left: their weights belong to features that are fitted anew."""
        for name in ("voice", "decoder"):
            (self.settings.out / f"{name}.pt").unlink(missing_ok=True)

    def _save(self) -> None:
        state = {
            "config": self.codec.config.to_dict(),
            "model": self.codec.state_dict(),
            "stage": self.stage,
            "seconds": self.seconds,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def _mixes(self, rounds: int) -> Iterator[Tensor]:
        """Crops [8, 2, N] of 64 frames, the same in every run."""
        rng = np.random.default_rng([self.settings.seed, 0])
        for _ in range(rounds):
            yield torch.from_numpy(self.corpus.batch(rng, 8, 64).mix).to(self.compute.device)

    def _features(self) -> None:
        mixes = self._mixes(STATISTICS_ROUNDS)
        fit_features(self.codec, lambda: next(mixes), STATISTICS_ROUNDS)

    def _voice(self) -> None:
        """Teach the voice part what is sung: phones, pitch and the vocal stem's bands."""
        minutes = VOICE_MINUTES * self.settings.minutes
        task = Task(self._batches(3 * self.settings.batch), self._voice_loss, dict, _size)
        self._train("voice", self.codec.encoder.voice, minutes, VOICE_RATE, task)

    def _quantizer(self) -> None:
        rounds = max(1, self.settings.fit_frames // (8 * 64))
        mixes = self._mixes(rounds)
        latents = fit_scale(self.codec, lambda: next(mixes), rounds)
        fit_quantizer(self.codec.quantizer.cpu(), latents.cpu())
        self.codec.to(self.compute.device)
        start_decoder(self.codec)
        fit_wave(self.codec, self._mixes(WAVE_ROUNDS))
        levels = self.codec.quantizer.levels
        shown = {n: round(float(levels[n]), 2) for n in (0, 1, 2, 4, 8, 16, 32, 64) if n < len(levels)}
        log.info("residual level (log2 rms): %s", shown)

    def _decoder(self) -> None:
        """Train the decoder on latents quantised by a random number of layers."""
        loss = _DecoderLoss(self.codec, self.compute.device)
        minutes = self.settings.minutes - self.seconds / 60
        task = Task(self._batches(self.settings.batch), loss, dict, _size)
        self._train("decoder", self.codec.decoder, minutes, self.settings.learning_rate, task)

    def _train(
        self, name: str, net: nn.Module, minutes: float, rate: float, task: Task[tuple[int, AudioBatch]]
    ) -> None:
        optimizer = Optimizer(net.named_parameters(), rate, use_muon=False)
        loop: TrainLoop[tuple[int, AudioBatch]] = TrainLoop(
            self.settings.out / f"{name}.pt",
            self.codec.config.to_dict(),
            {"model": net},
            optimizer,
            Schedule(minutes, warmup=60),
            self.compute,
            Intervals(),
        )
        self.seconds += loop.seconds  # of this stage in earlier runs
        loop.run(task)

    def _batches(self, size: int) -> Callable[[int, float], tuple[int, AudioBatch]]:
        def batch(step: int, _progress: float) -> tuple[int, AudioBatch]:
            rng = np.random.default_rng([self.settings.seed, 1, step])
            return step, self.corpus.batch(rng, size, CROP)

        return batch

    def _voice_loss(self, item: tuple[int, AudioBatch]) -> tuple[Tensor, Values]:
        batch, net, device = item[1], self.codec.encoder.voice, self.compute.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            features = self.codec.encoder.features(torch.from_numpy(batch.mix).to(device))
            bands = self._vocal_bands(torch.from_numpy(batch.vocals).to(device))
        summary = net(features["env"], features["tone"]).float()
        noisy = summary + 0.1 * torch.randn_like(summary)  # what the quantiser will do to it
        phones = torch.from_numpy(batch.phones).to(device).flatten()
        pitch = torch.from_numpy(batch.pitch).to(device).flatten()
        logits = net.phones(noisy).reshape(len(phones), -1).float()
        phone_loss = F.cross_entropy(logits, phones)
        pitch_loss = F.cross_entropy(net.pitch(noisy).flatten(0, 1).float(), pitch)
        band_loss = (net.bands(noisy).float() - bands).abs().mean()
        values = {
            "phone": phone_loss.item(),
            "pitch": pitch_loss.item(),
            "bands": band_loss.item(),
            "phones right": (logits.argmax(1) == phones).float().mean().item(),
        }
        size = 0.01 * summary.square().mean()
        return phone_loss + 0.7 * pitch_loss + 0.7 * band_loss + size, values

    def _vocal_bands(self, vocals: Tensor) -> Tensor:
        """Log band rms of the vocal stem's mid [B, T, env_bands], about zero to two."""
        features, config = self.codec.encoder.features, self.codec.config
        mid = (vocals[:, :1] + vocals[:, 1:]) * 0.5
        power = (features.spectrum(mid) ** 2) @ features.band_mean
        log_rms = 0.5 * torch.log(power[:, 0] + 1e-6)
        return log_rms.reshape(len(log_rms), -1, SUBFRAMES, config.env_bands).mean(2) / 3 + 1.5


class _DecoderLoss:
    """Quantise by a random depth, decode, compare."""

    def __init__(self, codec: Codec, device: torch.device) -> None:
        self.codec, self.device, self.loss = codec, device, CodecLoss(codec.decoder.bin_scale)

    def __call__(self, item: tuple[int, AudioBatch]) -> tuple[Tensor, Values]:
        step, batch = item
        codec, rng = self.codec, np.random.default_rng([2, step])
        n_layers = codec.config.n_codebooks
        mix = torch.from_numpy(batch.mix).to(self.device)
        drawn = np.minimum(rng.choice(DEPTHS, len(mix), p=DEPTH_CHANCE), n_layers)
        depths = torch.from_numpy(drawn).to(self.device)
        starts = torch.from_numpy(rng.integers(0, 2000, len(mix))).to(self.device)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            latent = codec.quantizer.quantise(codec.encoder(mix), depths)
            target = codec.encoder.features(mix)["wave"]
        sound, wave = codec.decoder(latent, depths, starts)
        target = target.reshape(wave.shape[0], wave.shape[2], 2, -1).transpose(1, 2)
        weight = (torch.log2(depths.float()) - 3).clamp(0, 3) / 3  # exact where layers carry it: from 8 to 64
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(sound.float(), mix, wave.float(), target, weight, rng)


def _size(item: tuple[int, AudioBatch]) -> int:
    """Frames of a batch."""
    return int(item[1].pitch.size)
