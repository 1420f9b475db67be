"""What is said to people: numbers, ages and texts of unknown origin as Markdown can show them."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.hdr import HEADER_FIELDS, HeaderField
from ifcb_flow_pipeline.detection.verdict.sentences import numbers, sentence_of
from ifcb_flow_pipeline.features.run import SETTINGS
from ifcb_flow_pipeline.review.basis import affected, basis
from ifcb_flow_pipeline.store.tables import Table

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

#: Digits after the point that the instrument's sensors are worth; other units are shown as written.
_DECIMALS: Mapping[str, int] = {"°C": 1, "%": 1, "s": 1, "mL": 2, "V": 3, "°N": 4, "°E": 4}

#: The settings in a header that features know of.
_SETTINGS: Mapping[str, HeaderField] = {field.name: field for field in HEADER_FIELDS if field.name in SETTINGS}

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


def span(length: timedelta) -> str:
    """A length of time as people say it, in its largest unit: ``20 min``, ``4 h``, ``3 days``, ``2 years``."""
    minutes = length.total_seconds() / 60
    if minutes < 90:
        return f"{max(1, round(minutes))} min"
    if minutes < 48 * 60:
        return f"{round(minutes / 60)} h"
    days = round(minutes / 60 / 24)
    return f"{days} days" if days < 730 else f"{round(days / 365.25)} years"


def age(then: datetime, now: datetime) -> str:
    """How long ago something was, as people say it."""
    return "just now" if now - then < timedelta(minutes=1) else f"{span(now - then)} ago"


def times(first: datetime, last: datetime | None, now: datetime) -> str:
    """When something was (UTC), from ``first`` to ``last``: the day in words where it is near, else its date."""
    end = last or first
    if last is None or last - first < timedelta(minutes=1):
        return f"{first:%H:%M} {_day(first, now)}"
    if first.date() == end.date():
        return f"{first:%H:%M} to {end:%H:%M} {_day(first, now)}"
    return f"{first:%H:%M} {_day(first, now)} to {end:%H:%M} {_day(end, now)}"


def _day(moment: datetime, now: datetime) -> str:
    days = (now.date() - moment.date()).days
    return {0: "today", 1: "yesterday"}.get(days, f"on {moment:%Y-%m-%d}")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is unusual about a bin (see ``findings`` of ``bin_scores``); numbers are NaN where there are none.

    ``feature``: its name, or the code of the ``rule`` that is broken; ``n_bins``: of how many bins in a row it is the
    mean. Numbers are as people read them: shares in per cent.
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
        feature = str(found.get("feature") or "")
        value, low, high = (_number(found.get(name)) for name in ("value", "low", "high"))
        unit = str(found.get("unit") or "")
        if feature:
            said = sentence_of(feature)
            value, low, high = said.show(np.array([value, low, high])).tolist()
            # Some are told the other way round: what is left of the whole.
            low, high, unit = min(low, high), max(low, high), said.unit
        return cls(
            feature=feature,
            rule=str(found.get("rule") or ""),
            n_bins=int(found.get("bins") or 1),
            value=value,
            low=low,
            high=high,
            unit=unit,
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
        return f"{two_digits(self.value)} {self.unit}".strip() if math.isfinite(self.value) else ""

    @property
    def normal(self) -> str:
        """The normal range with its unit; nothing where there is none."""
        return f"{two_digits(self.low)} to {two_digits(self.high)} {self.unit}".strip() if self.has_range else ""


def findings(text: str) -> list[Finding]:
    """The findings of a row of ``bin_scores``, worst first; none where the text holds none that can be read."""
    try:
        return [Finding.of(one) for one in json.loads(text or "[]")]
    except (ValueError, TypeError, AttributeError):
        return []


def reasons(text: str) -> list[str]:
    """The sentences of the reasons of a bin; none of them has a full stop inside."""
    return [one if one.endswith(("?", ".")) else f"{one}." for one in text.split(". ") if one]


def two_digits(value: float) -> str:
    """A number as sentences say it: two digits, without exponent."""
    return numbers(np.array([value]))[0]


def number(value: float) -> str:
    """A number to three digits, without exponent where it can be."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def measure_name(code: str) -> str:
    """What a feature or a setting in a header is called, with its unit."""
    if code in _SETTINGS:
        field = _SETTINGS[code]
        return f"{_label(field)} ({field.unit})" if field.unit else _label(field)
    said = sentence_of(code)
    return f"{said.name} ({said.unit})" if said.unit else said.name


def as_shown(code: str, values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Values of a feature or setting as people read them: shares in per cent, angles in degrees."""
    return values if code in _SETTINGS else sentence_of(code).show(np.asarray(values, dtype=float))


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
