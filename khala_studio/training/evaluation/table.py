"""What was measured -> evaluate.json and a Markdown page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Cell = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading, with a sentence on how to read them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def markdown(self) -> str:
        """Raises ValueError if a row has another number of cells than there are columns."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: a row of {len(row)} cells under {len(self.columns)} columns")
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines.append(_line(self.columns))
        lines.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(self.columns))) + "|")
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines)


@dataclass(slots=True)
class Report:
    """Everything one run measured."""

    facts: dict[str, Any] = field(default_factory=dict)  # goes to evaluate.json as it is
    tables: list[Table] = field(default_factory=list)

    def write(self, folder: Path, heading: str) -> None:
        """`evaluate.json` and `evaluate.md` in `folder`, which is made if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(json_safe(self.facts), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "evaluate.json").write_text(text + "\n", encoding="utf-8")
        page = "\n\n".join([heading, *(table.markdown() for table in self.tables)])
        (folder / "evaluate.md").write_text(page + "\n", encoding="utf-8")


def json_safe(value: Any) -> Any:
    """`value` with nan and infinities as null and floats cut to six significant digits."""
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _line(cells: Sequence[Cell]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(cell: Cell) -> str:
    """Three significant digits at most after the point; a dash for what was not measured."""
    match cell:
        case None:
            return "-"
        case bool():
            return "yes" if cell else "no"
        case float() if not math.isfinite(cell):
            return "-"
        case float():
            return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.3f}"
    return str(cell).replace("|", "\\|").replace("\n", " ")
