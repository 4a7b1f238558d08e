"""The models of a pack as the pipeline sees them. Tests pass fakes."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from khala_studio.engine.events import Samples
from khala_studio.packs.manifest import PackManifest
from khala_studio.song.codes import Codes, TokenIds
from khala_studio.song.request import Sampling, SongRequest


class Prompt(Protocol):
    """What a text front end makes of a request."""

    @property
    def ids(self) -> TokenIds: ...  # [S] vocabulary ids
    @property
    def notes(self) -> tuple[str, ...]: ...  # sentences on what was not understood


class Frontend(Protocol):
    """Lyrics and style -> prompt; raises `BadRequest`."""

    def encode(self, request: SongRequest) -> Prompt: ...


@dataclass(frozen=True, slots=True)
class FrameRange:
    """How long a song may become: it never ends before `least` frames and always at `most`."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class ComposedFrame:
    """One frame of the coarse layers."""

    codes: Codes  # [n_coarse]
    logprob: float  # mean over the frame's codes


class Stages(Protocol):
    """The models, opened. `compose` and `sharpen` free what they hold when closed."""

    @property
    def manifest(self) -> PackManifest: ...

    @property
    def frontend(self) -> Frontend: ...

    @property
    def notices(self) -> Sequence[str]:
        """What the user should know of the opened pack, e.g. that it runs on the CPU."""
        ...

    def compose(
        self, prompt: TokenIds, frames: FrameRange, sampling: Sampling, seed: int, known: Codes
    ) -> Generator[ComposedFrame, None, None]:
        """All frames of the song in turn; the first ones are `known` [n_coarse, t], forced."""
        ...

    def sharpen(
        self, prompt: TokenIds, codes: Codes, depth: int, sampling: Sampling, seed: int
    ) -> Generator[npt.NDArray[np.int16], None, None]:
        """Layers len(codes)..depth-1 in turn, each [T]; `codes` [k, T] are the known ones."""
        ...

    def decode(self, codes: Codes, start_frame: int) -> Samples:
        """[k, t] codes -> [2, t * hop] samples of one window; may be called from another thread."""
        ...

    def begin(self) -> None:
        """A job starts: forget an earlier `interrupt`."""
        ...

    def interrupt(self) -> None:
        """End what runs now, from any thread or a signal handler; the job then sees `Cancelled`."""
        ...
