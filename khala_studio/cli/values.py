"""Types of arguments. Each says in a sentence what it wants; argparse prints it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

MAX_TAKES = 100
_SHOWN = 40  # characters of a wrong value that are quoted


def number(least: float, most: float, unit: str = "") -> Callable[[str], float]:
    """A finite number from `least` to `most`."""
    wanted = f"a number from {least:g} to {most:g}{unit and ' ' + unit}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:  # false for nan
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {wanted}")
        return value

    return parse


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`."""
    wanted = f"a whole number from {least} to {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # also thousands of digits
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {wanted}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not {wanted}")
        return value

    return parse


def path(text: str) -> Path:
    """A path that the system can take."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    if "\0" in text:
        raise argparse.ArgumentTypeError("a file name cannot hold a NUL character")
    return Path(text)


def text(value: str) -> str:
    """Text of the command line; bytes that are not UTF-8 become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8")


def quoted(value: str) -> str:
    """`value` in quotes, shortened, with control characters made visible."""
    shown = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return repr(shown)
