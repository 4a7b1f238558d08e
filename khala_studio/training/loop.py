"""The loop both transformers train in: a budget of minutes, schedule, checkpoints, curves, exact resume."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from khala_studio.training.device import Compute
from khala_studio.training.logs import CurveLog
from khala_studio.training.optim import Optimizer

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The budget, and the learning rate along it: warm-up, plateau, straight down to `floor` of the peak."""

    minutes: float
    steps: int | None = None  # a budget of steps instead: then a run does not depend on the clock
    warmup: int = 100
    decay_from: float = 0.3
    floor: float = 0.02

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget that is spent, 0..1."""
        if self.steps is not None:
            return min(1.0, step / max(1, self.steps))
        return min(1.0, seconds / max(1e-9, self.minutes * 60))

    def rate(self, step: int, progress: float) -> float:
        """Factor of the peak learning rate."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        left = min(1.0, (1 - progress) / (1 - self.decay_from))
        return warm * (self.floor + (1 - self.floor) * left)


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between reports, checkpoints and validations."""

    report: float = 20.0
    save: float = 120.0
    validate: float = 300.0


@dataclass(frozen=True, slots=True)
class Task(Generic[Batch]):
    """What the loop trains.

    batch: (step, progress) -> batch; must depend on nothing else, or a resumed run is another run.
    loss: batch -> (loss, values to log); runs under autocast.
    validate: -> values to log.
    size: tokens of a batch.
    """

    batch: Callable[[int, float], Batch]
    loss: Callable[[Batch], tuple[Tensor, Values]]
    validate: Callable[[], Values]
    size: Callable[[Batch], int]


class TrainLoop(Generic[Batch]):
    def __init__(
        self,
        checkpoint: Path,
        config: Mapping[str, Any],
        modules: Mapping[str, nn.Module],  # "model" is exported, the others are not
        optimizer: Optimizer,
        schedule: Schedule,
        compute: Compute,
        intervals: Intervals = Intervals(),
        seed: int = 0,
    ) -> None:
        self.checkpoint, self.config = checkpoint, dict(config)
        self.modules, self.optimizer = modules, optimizer
        self.schedule, self.compute, self.intervals = schedule, compute, intervals
        self.step, self.seconds, self.seed = 0, 0.0, seed
        self.curves = CurveLog(checkpoint.with_suffix(".csv"))
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if checkpoint.exists():
            self._resume()

    @property
    def progress(self) -> float:
        return self.schedule.progress(self.step, self.seconds)

    def run(self, task: Task[Batch]) -> None:
        """Train until the budget is spent; the last checkpoint is written even on Ctrl+C."""
        meter = _Meter()
        clock = _Clock(self.intervals)
        try:
            for batch in self._batches(task):
                values = self._train_step(task, batch)
                self.seconds += clock.lap()
                meter.add(values, task.size(batch))
                if clock.due("report"):
                    self._report(meter)
                if clock.due("save"):
                    self.save()
                if clock.due("validate"):
                    self._validate(task)
        finally:
            self.save()
        self._validate(task)
        self.seconds += clock.lap()
        self.save()
        self.curves.draw()

    def _batches(self, task: Task[Batch]) -> Iterator[Batch]:
        """The next batch is made while this one is trained on."""
        with ThreadPoolExecutor(1) as pool:
            coming: Future[Batch] = pool.submit(task.batch, self.step, self.progress)
            while self.progress < 1.0:
                batch = coming.result()
                # Progress by the clock is a step old here; progress by steps is exact.
                following = self.schedule.progress(self.step + 1, self.seconds)
                coming = pool.submit(task.batch, self.step + 1, following)
                yield batch

    def _train_step(self, task: Task[Batch], batch: Batch) -> Values:
        for module in self.modules.values():
            module.train()
        torch.manual_seed(
            1_000_003 * self.seed + self.step
        )  # dropout: a resumed run draws what it would have drawn
        self.optimizer.set_rate(self.schedule.rate(self.step, self.progress))
        with self.compute.autocast():
            loss, values = task.loss(batch)
        loss.backward()
        parameters = [p for m in self.modules.values() for p in m.parameters()]
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        else:
            log.warning("step %d: the gradient is not finite, the step is left out", self.step)
        self.optimizer.zero_grad()
        self.step += 1
        return {**values, "gradient": float(norm)}

    def _report(self, meter: _Meter) -> None:
        values, speed = meter.take()
        self.curves.write(self.step, self.seconds, {**values, "tokens/s": speed})
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        log.info("step %d  %.1f min  %.0f tokens/s  %s", self.step, self.seconds / 60, speed, shown)

    def _validate(self, task: Task[Batch]) -> None:
        for module in self.modules.values():
            module.eval()
        with torch.no_grad(), self.compute.autocast():
            values = task.validate()
        if values:
            self.curves.write(self.step, self.seconds, values)
            log.info("valid  %s", "  ".join(f"{name} {value:.3f}" for name, value in values.items()))

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "config": self.config,
            **{name: module.state_dict() for name, module in self.modules.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.compute.device, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        log.info("goes on from step %d, %.1f minutes", self.step, self.seconds / 60)


class _Meter:
    """Means of what was logged since the last report, and tokens per second."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._tokens, self._since = 0, time.monotonic()

    def add(self, values: Values, tokens: int) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)
        self._tokens += tokens

    def take(self) -> tuple[dict[str, float], float]:
        now = time.monotonic()
        means = {name: float(np.mean(values)) for name, values in self._sums.items()}
        speed = self._tokens / (now - self._since)
        self._sums, self._tokens, self._since = {}, 0, now
        return means, speed


class _Clock:
    """Says when the next report, checkpoint or validation is due."""

    def __init__(self, intervals: Intervals) -> None:
        self._intervals = intervals
        self._last = time.monotonic()
        self._done = dict.fromkeys(("report", "save", "validate"), self._last)

    def lap(self) -> float:
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        return elapsed

    def due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._done[what] < getattr(self._intervals, what):
            return False
        self._done[what] = now
        return True


def add_loop_arguments(parser: argparse.ArgumentParser, learning_rate: float) -> None:
    """The options that both trainers share."""
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="training time in all, earlier runs counted in"
    )
    parser.add_argument("--steps", type=int, help="a budget of steps instead of minutes")
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--warmup", type=int, default=100, help="steps until the full learning rate")
    parser.add_argument("--tokens", type=int, help="tokens a step (default: 4096 on the CPU, 65536 on a GPU)")
    parser.add_argument("--max-frames", type=int, default=900, help="longest excerpt, in frames of 46 ms")
    parser.add_argument("--dropout", type=float, default=0.1, help="of the blocks' outputs")
    parser.add_argument(
        "--corrupt",
        type=float,
        default=0.15,
        help="up to this share of the codes a causal step hears are wrong",
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--optimizer", default="muon", choices=["muon", "adamw"])
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="fuse with torch.compile"
    )
    parser.add_argument("--validate-every", type=float, default=300.0, help="seconds between validations")
    parser.add_argument("--restart", action="store_true", help="begin anew even if there is a checkpoint")


def schedule_of(args: argparse.Namespace) -> Schedule:
    return Schedule(args.minutes, args.steps, args.warmup)


def tokens_of(args: argparse.Namespace, compute: Compute) -> int:
    return args.tokens or (65_536 if compute.is_cuda else 4_096)
