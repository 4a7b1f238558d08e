"""Checkpoints of training -> plain numpy. The only place of the export that needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained net: the sizes as nested dictionaries, and its weights in float32."""

    config: dict[str, Any]
    state: dict[str, NDArray[Any]]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what a training step saved; nothing but tensors and plain values is unpickled.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no checkpoint of this project.
    """
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. Train it first, or say where it is.")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(saved["config"], {name: _array(t) for name, t in saved["model"].items()})
    except (
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        OSError,
        torch.serialization.pickle.UnpicklingError,
    ):
        raise ValueError(f"{path} is no checkpoint of `khala-studio train`.") from None


def _array(tensor: Any) -> NDArray[Any]:
    return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).contiguous().numpy())
