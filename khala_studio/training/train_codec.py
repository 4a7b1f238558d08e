"""Train the codec: statistics, the voice part, residual k-means, then the decoder with quantiser dropout.

The encoder and the quantiser are final once k-means is done, long before the decoder is: `train tokens` may run from
that checkpoint while this goes on. Every stage stops on its share of the time budget and resumes from the checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from khala_studio.training.codec_fit import fit_features, fit_quantizer, fit_scale, start_decoder
from khala_studio.training.codec_losses import CodecLoss
from khala_studio.training.data_audio import AudioBatch, AudioCorpus
from khala_studio.training.logs import CurveLog
from khala_studio.training.nets.codec import MIN_LEVEL, SUBFRAMES, Codec, CodecConfig

log = logging.getLogger(__name__)

STAGES = ("features", "voice", "quantizer", "decoder", "done")
VOICE_SHARE = 0.2  # of the time budget
# quantiser dropout: how many layers a training item is decoded from, and how often
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
DEPTH_CHANCE = (0.06, 0.18, 0.06, 0.08, 0.05, 0.12, 0.06, 0.11, 0.05, 0.09, 0.03, 0.11)
FIT_FRAMES = 65_000  # of the k-means: 50 minutes, 63 frames an entry
CROP = 32  # frames of a training crop, 1.5 s


@dataclass
class Settings:
    """What a run is made of; see `add_arguments`."""

    corpus: Path
    out: Path
    minutes: float
    threads: int
    batch: int
    learning_rate: float
    seed: int
    device: torch.device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--corpus", type=Path, default=Path("train/corpus"), help="folder made by `train corpus`"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("train/codec"), help="folder of checkpoint and curves"
    )
    parser.add_argument("--minutes", type=float, default=25.0, help="time budget of the whole training")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: as torch chooses)")
    parser.add_argument("--batch", type=int, default=0, help="crops a step (0: 4 on a CPU, 64 on a GPU)")
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def main(args: argparse.Namespace) -> int:
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
    )
    batch = args.batch or (64 if device.type == "cuda" else 4)
    if args.threads:
        torch.set_num_threads(args.threads)
    settings = Settings(
        args.corpus, args.out, args.minutes, args.threads, batch, args.learning_rate, args.seed, device
    )
    args.out.mkdir(parents=True, exist_ok=True)
    CodecTrainer(settings).run()
    return 0


def load_codec(path: Path, device: str | torch.device = "cpu") -> Codec:
    """A codec from a checkpoint of this module, ready to encode (and to decode, once its decoder is trained)."""
    saved = torch.load(path, map_location=device, weights_only=True)
    codec = Codec(CodecConfig(**saved["config"])).to(device)
    codec.load_state_dict(saved["model"])
    return codec.eval()


class CodecTrainer:
    """Runs the stages in order, each from where the checkpoint left it."""

    def __init__(self, settings: Settings, config: CodecConfig | None = None) -> None:
        self.settings = settings
        self.checkpoint = settings.out / "codec.pt"
        self.corpus = AudioCorpus(settings.corpus, "train")
        self.rng = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        saved = torch.load(self.checkpoint, weights_only=True) if self.checkpoint.exists() else None
        self.codec = Codec(CodecConfig(**saved["config"]) if saved else config or CodecConfig())
        self.stage, self.seconds, self.step, self.optimizer_state = "features", 0.0, 0, None
        if saved:
            self.codec.load_state_dict(saved["model"])
            self.stage, self.seconds, self.step = saved["stage"], saved["seconds"], saved["step"]
            self.optimizer_state = saved["optimizer"]
            self.rng = np.random.default_rng([settings.seed, self.step])
        self.codec.to(settings.device)
        self.curves = CurveLog(settings.out / "codec_curves.csv")

    def run(self) -> None:
        while self.stage != "done":
            log.info("codec: stage %s, %.1f min so far", self.stage, self.seconds / 60)
            getattr(self, f"_{self.stage}")()
            self.stage, self.step, self.optimizer_state = STAGES[STAGES.index(self.stage) + 1], 0, None
            self.save(None)
        log.info("codec: done after %.1f min", self.seconds / 60)

    def save(self, optimizer: torch.optim.Optimizer | None) -> None:
        state = {
            "config": self.codec.config.to_dict(),
            "model": self.codec.state_dict(),
            "stage": self.stage,
            "seconds": self.seconds,
            "step": self.step,
            "optimizer": optimizer.state_dict() if optimizer else None,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        self.checkpoint.with_suffix(".tmp").replace(self.checkpoint)

    def _batch(self, size: int | None = None, frames: int = CROP) -> AudioBatch:
        return self.corpus.batch(self.rng, size or self.settings.batch, frames)

    def _mix(self) -> Tensor:
        return torch.from_numpy(self._batch(8, 64).mix).to(self.settings.device)

    def _features(self) -> None:
        started = time.monotonic()
        fit_features(self.codec, self._mix, rounds=40)
        self.seconds += time.monotonic() - started

    def _voice(self) -> None:
        """Teach the voice part what is sung: phones, pitch and the vocal stem's bands."""
        net = self.codec.encoder.voice
        budget = VOICE_SHARE * self.settings.minutes * 60
        for loop in self._loop(net.parameters(), budget, 2e-3):
            batch = self._batch(12)
            loss, parts = self._voice_loss(batch)
            loop.update(loss, parts)

    def _voice_loss(self, batch: AudioBatch) -> tuple[Tensor, dict[str, float]]:
        net, device = self.codec.encoder.voice, self.settings.device
        with torch.no_grad():
            features = self.codec.encoder.features(torch.from_numpy(batch.mix).to(device))
            vocals = torch.from_numpy(batch.vocals).to(device)
            bands = self._vocal_bands(vocals)
        summary = net(features["env"], features["tone"])
        summary = summary + 0.1 * torch.randn_like(summary)  # what the quantiser will do to it
        phones = torch.from_numpy(batch.phones).to(device).flatten()
        pitch = torch.from_numpy(batch.pitch).to(device).flatten()
        phone_logits = net.phones(summary).reshape(len(phones), -1)
        phone_loss = F.cross_entropy(phone_logits, phones)
        pitch_loss = F.cross_entropy(net.pitch(summary).flatten(0, 1), pitch)
        band_loss = (net.bands(summary) - bands).abs().mean()
        size = 0.01 * summary.square().mean()
        accuracy = (phone_logits.argmax(1) == phones).float().mean().item()
        parts = {
            "phone": phone_loss.item(),
            "pitch": pitch_loss.item(),
            "bands": band_loss.item(),
            "acc": accuracy,
        }
        return phone_loss + 0.7 * pitch_loss + 0.7 * band_loss + size, parts

    def _vocal_bands(self, vocals: Tensor) -> Tensor:
        """Log band rms of the vocal stem's mid [B, T, env_bands], about zero to two."""
        features, config = self.codec.encoder.features, self.codec.config
        mid = (vocals[:, :1] + vocals[:, 1:]) * 0.5
        power = (features.spectrum(mid) ** 2) @ features.band_mean
        log = 0.5 * torch.log(power[:, 0] + 1e-6)
        return log.reshape(len(log), -1, SUBFRAMES, config.env_bands).mean(2) / 3 + 1.5

    def _quantizer(self) -> None:
        started = time.monotonic()
        rounds = FIT_FRAMES // (8 * 64)
        with torch.no_grad():
            latents = fit_scale(self.codec, self._mix, rounds)
        fit_quantizer(self.codec.quantizer, latents.cpu())
        start_decoder(self.codec)
        levels = self.codec.quantizer.levels
        log.info(
            "residual level (log2 rms): %s",
            {n: round(float(levels[n]), 2) for n in (0, 1, 2, 4, 8, 16, 32, 64)},
        )
        self.seconds += time.monotonic() - started

    def _decoder(self) -> None:
        """Train the decoder on latents quantised by a random number of layers."""
        loss_fn = CodecLoss(self.settings.device)
        budget = self.settings.minutes * 60 - self.seconds
        for loop in self._loop(self.codec.decoder.parameters(), budget, self.settings.learning_rate):
            loss, parts = self._decoder_loss(self._batch(), loss_fn)
            loop.update(loss, parts)

    def _decoder_loss(self, batch: AudioBatch, loss_fn: CodecLoss) -> tuple[Tensor, dict[str, float]]:
        codec, device = self.codec, self.settings.device
        mix = torch.from_numpy(batch.mix).to(device)
        depths = torch.from_numpy(self.rng.choice(DEPTHS, len(mix), p=DEPTH_CHANCE)).to(device)
        starts = torch.from_numpy(self.rng.integers(0, 2000, len(mix))).to(device)
        with torch.no_grad():
            latent = codec.quantizer.quantise(codec.encoder(mix), depths)
            level = codec.quantizer.levels[depths].clamp(min=MIN_LEVEL)
            target = codec.encoder.features(mix)["wave"]
        with torch.autocast(device.type, dtype=torch.bfloat16):
            sound, wave = codec.decoder(latent, level, starts)
        target = target.reshape(wave.shape[0], wave.shape[2], 2, -1).transpose(1, 2)
        weight = 0.25 + 0.75 * torch.log2(depths.float()) / 6  # exactness counts where layers carry it
        return loss_fn(sound.float(), mix, wave, target, weight, self.rng)

    def _loop(self, parameters, budget: float, learning_rate: float):  # noqa: ANN001, ANN202
        """Yield a step helper until the budget (seconds, earlier runs of this stage included) is spent."""
        return _Steps(self, list(parameters), budget, learning_rate)


class _Steps:
    """Iterator over optimiser steps on a time budget: cosine schedule by time, clipping, curves, checkpoints."""

    def __init__(
        self, trainer: CodecTrainer, parameters: list[Tensor], budget: float, learning_rate: float
    ) -> None:
        self.trainer, self.parameters, self.learning_rate = trainer, parameters, learning_rate
        self.optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.8, 0.99), weight_decay=1e-3)
        self.spent = 0.0
        if trainer.optimizer_state:
            self.optimizer.load_state_dict(trainer.optimizer_state)
            self.spent = float(self.optimizer.param_groups[0].get("spent", 0.0))
        self.budget = budget + self.spent if trainer.stage == "decoder" else budget
        self.since_report = self.since_save = time.monotonic()
        self.sums: dict[str, list[float]] = {}

    def __iter__(self) -> _Steps:
        self.clock = time.monotonic()
        return self

    def __next__(self) -> _Steps:
        now = time.monotonic()
        self.spent += now - self.clock
        self.trainer.seconds += now - self.clock
        self.clock = now
        if self.spent >= self.budget:
            raise StopIteration
        done = self.spent / self.budget
        warm = min(1.0, (self.trainer.step + 1) / 60)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * warm * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * done)))
            group["spent"] = self.spent
        return self

    def update(self, loss: Tensor, parts: dict[str, float]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.trainer.step += 1
        for name, value in (parts | {"loss": loss.item()}).items():
            self.sums.setdefault(name, []).append(value)
        now = time.monotonic()
        if now - self.since_report > 20:
            self._report(now)
        if now - self.since_save > 120:
            self.trainer.save(self.optimizer)
            self.since_save = now

    def _report(self, now: float) -> None:
        means = {name: float(np.mean(values)) for name, values in self.sums.items()}
        named = {f"{self.trainer.stage}.{name}": value for name, value in means.items()}
        self.trainer.curves.write(self.trainer.step, self.trainer.seconds, named)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
        log.info(
            "%s step %d, %.0f of %.0f s: %s",
            self.trainer.stage,
            self.trainer.step,
            self.spent,
            self.budget,
            shown,
        )
        self.sums, self.since_report = {}, now
