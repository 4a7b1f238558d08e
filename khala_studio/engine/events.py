"""What happens while a song is made: one small class an event, one union."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from khala_studio.engine.errors import EngineError
from khala_studio.song.codes import Codes
from khala_studio.song.take import Take

Samples = npt.NDArray[np.float32]  # [2, N]
Floats = npt.NDArray[np.float32]


class Stage(StrEnum):
    """The stages that a user sees go by."""

    COMPOSE = "compose"
    SHARPEN = "sharpen"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins; `total` of `unit` ("tokens", "layers", "frames") lie before it."""

    stage: Stage
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is, a few times a second at most."""

    stage: Stage
    done: int
    total: int
    rate: float  # units of the stage per second
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should read; the work goes on."""

    message: str


@dataclass(frozen=True, slots=True, eq=False)
class TokensReady:
    """New codes: layers first_layer.. of frames start_frame.. ."""

    first_layer: int
    start_frame: int
    codes: Codes  # [k, t]
    logprobs: Floats | None  # [t] mean log-probability of the frame's coarse codes; None for finer layers


@dataclass(frozen=True, slots=True, eq=False)
class PreviewReady:
    """Sound to be heard now; a later one of the same place replaces it."""

    start_sample: int
    samples: Samples  # [2, n]
    depth: int  # layers it was decoded from


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """The song at the asked depth; the last event."""

    take: Take
    waveform: Samples  # [2, N]


@dataclass(frozen=True, slots=True)
class Failed:
    """The work ended early; the last event. A cancelled one carries `Cancelled`."""

    error: EngineError


Event = StageStarted | Progress | Notice | TokensReady | PreviewReady | Done | Failed
