"""Results of measurements, as one table: printed, as JSON, as Markdown."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_HEADER = ("workload", "ours", "baseline", "ratio", "limit", "note")


@dataclass(frozen=True, slots=True)
class Row:
    """One workload: seconds of ours, of the baseline and of the limit (None: there is none), by the clock; those of the
    processor beside them, all cores together.
    """

    workload: str
    ours_s: float
    baseline_s: float | None = None
    limit_s: float | None = None
    note: str = ""
    ours_cpu_s: float | None = None
    baseline_cpu_s: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as texts."""
        ratio = f"{self.baseline_s / self.ours_s:.1f} x" if self.baseline_s else "-"
        return (
            self.workload,
            _seconds(self.ours_s, self.ours_cpu_s),
            _seconds(self.baseline_s, self.baseline_cpu_s),
            ratio,
            _seconds(self.limit_s),
            self.note,
        )


def machine() -> str:
    """What the figures were measured on."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def as_text(rows: Sequence[Row]) -> str:
    """The table in aligned columns."""
    lines = [_HEADER, *(row.cells for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def as_markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    lines = [_HEADER, tuple("---" for _ in _HEADER), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write ``results.json`` and ``results.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    (folder / "results.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "results.md").write_text(f"{machine()}\n\n{as_markdown(rows)}\n")


def _seconds(value: float | None, cpu: float | None = None) -> str:
    if value is None:
        return "-"
    by_clock = f"{value:.3f} s" if value < 100 else f"{value:.0f} s"
    return by_clock if cpu is None else f"{by_clock} ({cpu:.3f} CPU)"
