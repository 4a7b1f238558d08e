"""Loss curves: a CSV that grows row by row, and a picture of it."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

Row = dict[str, str]
HEAD = ("step", "seconds")
DRAW_EVERY = 300.0  # s; drawing takes about one


class CurveLog:
    """Appends rows to `path` (a CSV) and draws them beside it as PNG now and then.

    A column that appears later widens the file; cells without a value stay empty. A file that is there is
    continued.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = list(HEAD)
        self._drawn = time.monotonic()
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                self.columns = next(csv.reader(file), None) or self.columns

    def write(self, step: int, seconds: float, values: Mapping[str, float | str]) -> None:
        row: Row = {"step": str(step), "seconds": f"{seconds:.1f}"}
        row |= {name: v if isinstance(v, str) else f"{v:.5g}" for name, v in values.items()}
        new = [name for name in row if name not in self.columns]
        if new or not self.path.exists():
            self._rewrite([*self.columns, *new])
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(row)
        if time.monotonic() - self._drawn > DRAW_EVERY:
            self.draw()

    def rows(self) -> list[Row]:
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, columns: list[str]) -> None:
        rows = self.rows()
        self.columns = columns
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".tmp")
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        part.replace(self.path)

    def draw(self) -> None:
        """Write the PNG. Without matplotlib the CSV has to do."""
        self._drawn = time.monotonic()
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            log.info("curves: matplotlib is not installed, %s is not drawn", self.path.name)
            return
        curves = {name: curve for name in self.columns if name not in HEAD if (curve := self._curve(name))}
        if not curves:
            return
        n_rows = -(-len(curves) // 3)
        figure = Figure(figsize=(12, 2.6 * n_rows), layout="constrained")
        FigureCanvasAgg(figure)
        for place, (name, (x, y)) in enumerate(curves.items(), 1):
            axes = figure.add_subplot(n_rows, 3, place)
            axes.plot(x, y, linewidth=1)
            axes.set_title(name, fontsize=9)
            axes.set_xlabel("minutes", fontsize=8)
            axes.grid(alpha=0.3)
        figure.savefig(self.path.with_suffix(".png"), dpi=90)

    def _curve(self, name: str) -> tuple[list[float], list[float]] | None:
        """Minutes and values of a column, or None if it does not hold numbers."""
        points = [(row["seconds"], row[name]) for row in self.rows() if row.get(name)]
        try:
            return ([float(s) / 60 for s, _ in points], [float(v) for _, v in points]) if points else None
        except ValueError:
            return None
