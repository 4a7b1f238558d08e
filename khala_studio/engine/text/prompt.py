"""What a text front end hands to the models."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A request in the model's vocabulary."""

    ids: npt.NDArray[np.int64]  # [S]
    notes: tuple[str, ...] = ()  # sentences for the user on what was not understood or will not come out
