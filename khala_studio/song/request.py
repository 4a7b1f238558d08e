"""What the user asks for: a frozen value, checked when it is made, stored whole with the take."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

SEED_LIMIT = 2**63  # seeds are 0 .. SEED_LIMIT - 1: what JSON readers and numpy agree on
MAX_TEMPERATURE = 10.0
MAX_DEPTH = 64  # layers of the codec that all packs share; a pack with fewer says so itself
MAX_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model's next code is drawn: the `top_k` likeliest, sharpened by `temperature`.

    Raises:
        ValueError: a sentence for the user.
    """

    temperature: float = 1.0
    top_k: int = 50

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature)
        if not 0.0 < self.temperature <= MAX_TEMPERATURE:
            raise ValueError(
                f"The temperature is {self.temperature:g}; choose one above 0 and up to {MAX_TEMPERATURE:g}."
            )
        _check_integer("top-k", self.top_k)
        if self.top_k < 1:
            raise ValueError(f"The top-k is {self.top_k}; choose 1 or more.")


@dataclass(frozen=True, slots=True)
class SongRequest:
    """One song, as asked for. `backbone` and `superres` of None mean the pack's defaults.

    `seconds` is the length asked for, `depth` how many codec layers the song gets (2 is a draft).
    Whether lyrics can be sung by a pack is the pack's text front end to say, not this value.

    Raises:
        ValueError: a sentence for the user.
    """

    lyrics: str
    style: str = ""
    seconds: float = 30.0
    instrumental: bool = False
    seed: int = 0
    backbone: Sampling | None = None
    superres: Sampling | None = None
    depth: int = MAX_DEPTH

    def __post_init__(self) -> None:
        for name, text in (("lyrics", self.lyrics), ("style", self.style)):
            if not isinstance(text, str):
                raise ValueError(f"The {name} must be text.")
        if not isinstance(self.instrumental, bool):
            raise ValueError("Instrumental must be true or false.")
        _check_number("length in seconds", self.seconds)
        if not 0.0 < self.seconds <= MAX_SECONDS:
            raise ValueError(
                f"The length is {self.seconds:g} seconds; choose one above 0 and up to {MAX_SECONDS:g}."
            )
        _check_integer("seed", self.seed)
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"The seed is {self.seed}; choose a whole number from 0 to {SEED_LIMIT - 1}.")
        _check_integer("depth", self.depth)
        if not 2 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"The depth is {self.depth}; choose 2 (a draft) to {MAX_DEPTH} (full sound).")

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The request that `to_json` wrote.

        Raises:
            ValueError: `data` is no request; the sentence says why.
        """
        values = _only_known(data, cls, "request")
        for name in ("backbone", "superres"):
            if values.get(name) is not None:
                values[name] = Sampling(**_only_known(values[name], Sampling, name))
        if "lyrics" not in values:
            raise ValueError("The request has no lyrics.")
        return cls(**values)


def _only_known(data: object, cls: type["SongRequest | Sampling"], what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"The {what} is not a JSON object.")
    known = {field.name for field in fields(cls)}
    for name in data:
        if name not in known:
            raise ValueError(f"The {what} has an unknown field {name!r}.")
    return dict(data)


def _check_number(name: str, value: object) -> None:
    # A whole number too large for a float is not finite either, and isfinite says so by raising.
    try:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        good = False
    if not good:
        raise ValueError(f"The {name} must be a finite number.")


def _check_integer(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"The {name} must be a whole number.")
