"""What `bench` reports: one figure, measured in several rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        values: one a round.
    """

    name: str  # in the JSON
    label: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        spread = f"{min(self.values):.4g} .. {max(self.values):.4g}" if len(self.values) > 1 else ""
        return f"{self.label:<44}{self.median:>9.4g} {self.unit:<10}{spread}"
