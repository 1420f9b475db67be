"""The columns by which bins can be found, drawn and sorted: what each is called, and its values of all scored bins.

Codes are what addresses hold; names and units are for people.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app import data
from app.data import Scored, Stores
from app.words import as_shown, measure_name, number
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.store.labels import Label

#: The start of the run, as a column to draw by.
TIME = "start_time"

#: Columns of scores and counts, and what they are called.
_OWN: Mapping[str, str] = {
    "severity": "severity (0 to 100)",
    "affected_fraction": "affected part of the run (%)",
    "baseline_bins": "bins compared with",
    "anomaly_score": "anomaly score",
    "n_images": "images",
    "n_rows": "lines of the .adc file",
    "bad_lines": "damaged lines",
}

#: Columns that are read with the scores; all others come with the features.
_OF_SCORES = ("severity", "affected_fraction", "baseline_bins", "anomaly_score")

#: The measurements that people ask for most come first, those of the older tool last.
_FIRST = ("humidity_pct", "temperature_c", "run_time_s", "volume_ml", "trigger_rate_hz", "images_per_trigger")

#: All columns that are numbers.
NUMBERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *_OWN,
            *_FIRST,
            *(one.name for one in sorted(CATALOGUE, key=lambda one: "reference" in one.sets)),
            *data.HEADER_SETTINGS,
        )
    )
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A column whose values lie between two numbers, both included, in the unit that people read; None: no limit."""

    code: str
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """As an address holds it: ``humidity_pct:60:``."""
        return ":".join((self.code, *("" if end is None else f"{end:.7g}" for end in (self.low, self.high))))

    @classmethod
    def of(cls, text: str) -> "Condition | None":
        """The condition of an address; None where the text is none."""
        code, *ends = text.split(":")
        if code not in NUMBERS or len(ends) != 2:
            return None
        try:
            low, high = (float(end) if end else None for end in ends)
        except ValueError:
            return None
        return cls(code, low, high)

    def holds(self, values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Which values, shape (n,), lie between the ends; a bin without value does in no condition that has one."""
        keep = np.ones(len(values), dtype=bool)
        # Values are stored with seven digits.
        if self.low is not None:
            keep &= values >= np.float32(self.low)
        if self.high is not None:
            keep &= values <= np.float32(self.high)
        return keep

    @property
    def words(self) -> str:
        """For people: ``housing humidity (%) from 60``."""
        low = f" from {number(self.low)}" if self.low is not None else ""
        high = f" up to {number(self.high)}" if self.high is not None else ""
        return name(self.code) + low + high


def name(code: str) -> str:
    """What a column is called, with its unit."""
    if code == TIME:
        return "start of the run (UTC)"
    return _OWN.get(code) or measure_name(code)


def values(stores: Stores, scored: Scored, code: str) -> tuple[NDArray[np.floating], Sequence[str]]:
    """A column of all scored bins as people read it, NaN where it is not known, and what could not be read."""
    if code in _OF_SCORES:
        found = scored.rows[code].to_numpy()
        return (100 * found if code == "affected_fraction" else found), ()
    found, problems = data.read_measure(stores, scored, code)
    return (found if code in _OWN else as_shown(code, found)), problems


def tagged(scored: Scored, labels: Iterable[Label], wanted: Sequence[str]) -> NDArray[np.bool_]:
    """Which scored bins have one of these tags in the decision that counts."""
    pids = [label.pid for label in labels if set(wanted) & set(label.tags)]
    keep = np.zeros(len(scored.rows), dtype=bool)
    at = scored.find(pids)
    keep[at[at >= 0]] = True
    return keep


def matching(
    rows: NDArray[np.intp],
    conditions: Sequence[Condition],
    values_of: Callable[[str], NDArray[np.floating]],
) -> NDArray[np.intp]:
    """Those of ``rows`` for which every condition holds."""
    for condition in conditions:
        rows = rows[condition.holds(values_of(condition.code)[rows])]
    return rows


def top(values_of_rows: NDArray, n: int, *, descending: bool) -> NDArray[np.intp]:
    """The places of the first ``n`` in order, those without value last."""
    keys = np.asarray(values_of_rows, dtype=float)
    keys = np.where(np.isnan(keys), np.inf, -keys if descending else keys)
    if len(keys) > n:
        first = np.argpartition(keys, n - 1)[:n]
        return first[np.argsort(keys[first], kind="stable")]
    return np.argsort(keys, kind="stable")
