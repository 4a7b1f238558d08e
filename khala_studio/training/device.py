"""Where training runs and in which precision."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compute:
    """A device and whether matrix products run in bf16 (weights, norms and losses stay fp32)."""

    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"


def choose_compute(device: str = "auto", threads: int | None = None, precision: str = "auto") -> Compute:
    """`device`: auto, cpu, cuda; `precision`: auto, bf16, fp32.

    On the CPU bf16 pays only where the processor multiplies it natively (three times fp32 on Zen 4; emulated
    it is slower than fp32).
    """
    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        native = device == "cuda" or _cpu_has_bf16()
        precision = "bf16" if native else "fp32"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    log.info("training on %s in %s, %d threads", device, precision, torch.get_num_threads())
    return Compute(torch.device(device), precision == "bf16")


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
