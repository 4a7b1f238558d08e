"""One generated song: what was asked for and what came of it."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from khala_studio.song.codes import Codes, known_depth
from khala_studio.song.request import SongRequest


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A take may be unfinished: frames not composed yet are not there, layers not known yet are -1.

    Attributes:
        codes: int16 [K, T], layers of the pack's codec by frames.
        n_frames: T.
        logprobs: float32 [T], mean log-probability of the frame's coarse codes; nan = not known.
        complete: the backbone has ended the song; False where it was stopped on the way.
        pack_id, pack_sha256: the pack that made it (`PackManifest.id`, `.sha256`).
        timings: seconds spent, by stage.
        created: when, ISO 8601 in UTC.
    """

    request: SongRequest
    codes: Codes
    n_frames: int
    logprobs: npt.NDArray[np.float32]
    complete: bool
    pack_id: str
    pack_sha256: str
    timings: dict[str, float] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.dtype != np.int16:
            raise ValueError(f"A take's codes are int16 [layers, frames], not {self.codes.dtype}.")
        if self.codes.shape[1] != self.n_frames or self.logprobs.shape != (self.n_frames,):
            raise ValueError(
                f"A take of {self.n_frames} frames has {self.codes.shape[1]} frames of codes "
                f"and {self.logprobs.size} log-probabilities."
            )

    @property
    def depth(self) -> int:
        """How many leading layers are known at every frame."""
        return known_depth(self.codes)

    def to_json(self) -> dict[str, Any]:
        """Everything but the codes, as plain values for `json.dumps` (nan becomes null)."""
        return {
            "request": self.request.to_json(),
            "n_frames": self.n_frames,
            "complete": self.complete,
            "pack_id": self.pack_id,
            "pack_sha256": self.pack_sha256,
            "timings": self.timings,
            "created": self.created,
            "depth": self.depth,
            "logprobs": [round(float(p), 4) if np.isfinite(p) else None for p in self.logprobs],
        }

    @classmethod
    def from_json(cls, data: object, codes: Codes) -> Self:
        """The take that `to_json` and its codes were written from.

        Raises:
            ValueError: they do not make a take; the sentence says why.
        """
        if not isinstance(data, dict):
            raise ValueError("The take is not a JSON object.")
        _check_types(data)
        logprobs = [np.nan if p is None else p for p in data["logprobs"]]
        return cls(
            request=SongRequest.from_json(data["request"]),
            codes=codes,
            n_frames=data["n_frames"],
            logprobs=np.array(logprobs, dtype=np.float32),
            complete=data["complete"],
            pack_id=data["pack_id"],
            pack_sha256=data["pack_sha256"],
            timings=dict(data["timings"]),
            created=data["created"],
        )


_FIELDS: dict[str, type] = {
    "request": dict,
    "n_frames": int,
    "complete": bool,
    "pack_id": str,
    "pack_sha256": str,
    "timings": dict,
    "created": str,
    "logprobs": list,
}


def _check_types(data: dict[str, Any]) -> None:
    for name, kind in _FIELDS.items():
        if not isinstance(data.get(name), kind):
            raise ValueError(f"The take's field {name!r} is missing or not of its type.")
    for numbers in (data["logprobs"], list(data["timings"].values())):
        if not all(n is None or (isinstance(n, int | float) and not isinstance(n, bool)) for n in numbers):
            raise ValueError("The take's log-probabilities and timings must be numbers.")
