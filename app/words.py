"""What is said to people: numbers, ages and texts of unknown origin as Markdown can show them."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ifcb_flow_pipeline.bins.hdr import HEADER_FIELDS, HeaderField
from ifcb_flow_pipeline.detection.verdict.sentences import sentence_of
from ifcb_flow_pipeline.review.basis import affected, basis
from ifcb_flow_pipeline.store.tables import Table

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

#: Digits after the point that the instrument's sensors are worth; other units are shown as written.
_DECIMALS: Mapping[str, int] = {"°C": 1, "%": 1, "s": 1, "mL": 2, "V": 3, "°N": 4, "°E": 4}

#: Ends of header field names that only repeat the unit.
_UNIT_ENDINGS = ("_c", "_pct", "_s", "_ml", "_v", "_px", "_px2")


def plain(text: str) -> str:
    """The text such that Markdown shows it as it is: pids, reasons and paths come from files and links."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def sentence(text: str) -> str:
    """A message, which may begin in lower case, as a sentence that Markdown shows as it is."""
    return plain(text[:1].upper() + text[1:])


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: ``no bins``, ``1 bin``, ``1,234 bins``."""
    noun = one if number == 1 else many or f"{one}s"
    return f"{number:,} {noun}" if number else f"no {noun}"


def percent(value: float) -> str:
    """A share in per cent, to a tenth; ``unknown`` where it is NaN."""
    return "unknown" if math.isnan(value) else f"{value:.1f} %"


def rests_on(score: Mapping[str, Any]) -> str:
    """What the verdict of a row of ``bin_scores`` rests on, and how much of the bin is lost, as Markdown shows it."""
    return " ".join(f"{sentence(part)}." for part in (basis(score), affected(score)) if part)


def age(then: datetime, now: datetime) -> str:
    """How long ago something was, as people say it."""
    hours = (now - then).total_seconds() / 3600
    if hours < 1:
        return "less than an hour ago"
    if hours < 48:
        return f"{count(int(hours), 'hour')} ago"
    return f"{count(int(hours / 24), 'day')} ago"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is unusual about a bin (see ``findings`` of ``bin_scores``); numbers are NaN where there are none.

    ``feature``: its name, or the code of the ``rule`` that is broken; ``n_bins``: of how many bins in a row it is the
    mean. Shares are in percent.
    """

    feature: str
    rule: str
    n_bins: int
    value: float
    low: float
    high: float
    unit: str
    cause: str
    text: str
    check: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Finding":
        """One of the JSON list."""
        is_share = found.get("unit") == "fraction"
        times = 100.0 if is_share else 1.0
        value, low, high = (times * _number(found.get(name)) for name in ("value", "low", "high"))
        return cls(
            feature=str(found.get("feature") or ""),
            rule=str(found.get("rule") or ""),
            n_bins=int(found.get("bins") or 1),
            value=value,
            low=low,
            high=high,
            unit="%" if is_share else str(found.get("unit") or ""),
            cause=str(found.get("cause") or ""),
            text=str(found.get("text") or found.get("rule") or ""),
            check=str(found.get("check") or ""),
        )

    @property
    def what(self) -> str:
        """What was measured, in a few words."""
        mean = f", mean of {self.n_bins} bins" if self.n_bins > 1 else ""
        name = sentence_of(self.feature).name if self.feature else self.rule.replace("_", " ")
        return f"{name}{mean}"

    @property
    def has_range(self) -> bool:
        """Whether it is a value against a normal range."""
        return bool(self.feature) and all(map(math.isfinite, (self.value, self.low, self.high)))

    @property
    def written(self) -> str:
        """The value with its unit; nothing where there is none."""
        return f"{number(self.value)} {self.unit}".strip() if math.isfinite(self.value) else ""

    @property
    def normal(self) -> str:
        """The normal range with its unit; nothing where there is none."""
        return f"{number(self.low)} to {number(self.high)} {self.unit}".strip() if self.has_range else ""


def findings(text: str) -> list[Finding]:
    """The findings of a row of ``bin_scores``, worst first; none where the text holds none that can be read."""
    try:
        return [Finding.of(one) for one in json.loads(text or "[]")]
    except (ValueError, TypeError, AttributeError):
        return []


def reasons(text: str) -> list[str]:
    """The sentences of the reasons of a bin; none of them has a full stop inside."""
    return [one if one.endswith(("?", ".")) else f"{one}." for one in text.split(". ") if one]


def number(value: float) -> str:
    """A number to three digits, without exponent where it can be."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def meanings(table: Table) -> dict[str, str]:
    """The meaning of each column of a stored table, by its name."""
    return {column.name: plain(column.meaning) for column in table.columns}


def header_lines(header: Mapping[str, Any]) -> list[dict[str, str]]:
    """The values of a bin's header with unit and meaning, in the order of HEADER_FIELDS; absent ones left out."""
    return [
        {"header": _label(entry), "value": _value(header[entry.name], entry.unit), "meaning": entry.meaning}
        for entry in HEADER_FIELDS
        if entry.name in header
    ]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _label(entry: HeaderField) -> str:
    name = entry.name
    for ending in _UNIT_ENDINGS:
        if entry.unit and name.endswith(ending):
            name = name.removesuffix(ending)
            break
    return name.replace("_", " ")


def _value(value: Any, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = f"{value:.{_DECIMALS[unit]}f}" if unit in _DECIMALS else f"{value:.10g}"
    return f"{value} {unit}".strip()
