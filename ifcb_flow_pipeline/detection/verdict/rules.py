"""Hard rules beside the model: what makes a bin unusable whatever its instrument is used to.

The rules with their limits, words and sources are in ``rules.yaml`` beside this module.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import Names, optional_numbers
from ifcb_flow_pipeline.detection.verdict import sentences

#: Statuses of bins of which something was read.
READ = ("ok", "empty", "too_few_points")

#: A bin that breaks a rule of this severity is judged by it; a milder one only supports what the cloud looks like.
SURE = 60.0


class RuleError(ValueError):
    """Rules that cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """That a quantity is above or below a limit (the other is None)."""

    quantity: str
    above: float | None = None
    below: float | None = None

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where it holds, shape (n,); nowhere where the quantity is unknown."""
        return values > self.above if self.above is not None else values < np.float64(self.below or 0.0)


@dataclass(frozen=True, slots=True)
class Rule:
    """One hard rule: broken where all conditions hold; words for operators, and where it comes from.

    ``severity`` holds at the limit of the first condition; up to ``worst_value`` it grows to ``worst_severity``.
    ``text_of_one``: said in place of ``text`` where the value is 1.
    """

    code: str
    conditions: tuple[Condition, ...]
    severity: float
    worst_value: float | None
    worst_severity: float
    cause: str
    text: str
    check: str
    source: str
    text_of_one: str = ""

    def sentences(self, values: NDArray[np.float64]) -> list[str]:
        """What is said of bins with these values of the first condition's quantity, shape (k,)."""
        plain, percent = sentences.numbers(values), sentences.numbers(100 * values)
        is_one = (values == 1).tolist() if self.text_of_one else [False] * len(values)
        return [
            (self.text_of_one if one else self.text).format(value=value, percent=f"{share} %")
            for one, value, share in zip(is_one, plain, percent, strict=True)
        ]

    def severities(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The severity for values of the first condition's quantity, shape (n,)."""
        if self.worst_value is None:
            return np.full(len(values), self.severity)
        first = self.conditions[0]
        limit = first.above if first.above is not None else first.below or 0.0
        share = np.clip((values - limit) / (self.worst_value - limit), 0.0, 1.0)
        return self.severity + share * (self.worst_severity - self.severity)


@dataclass(frozen=True, slots=True)
class Broken:
    """Which rows break which rules, and how severely; arrays of shape (n, rules), severity 0 where none is.

    ``values``: of the quantity that the rule's words name.
    """

    rules: tuple[Rule, ...]
    severity: NDArray[np.float32]
    values: NDArray[np.float64]

    def breaks(self, code: str) -> NDArray[np.bool_]:
        """Which rows break the rule of this code, shape (n,)."""
        numbers = [number for number, rule in enumerate(self.rules) if rule.code == code]
        return np.asarray(self.severity[:, numbers].any(axis=1), dtype=bool)

    def codes(self) -> list[str]:
        """The codes of the broken rules of each row, separated by spaces, worst first."""
        texts = [""] * len(self.severity)
        rows = np.flatnonzero(self.severity.any(axis=1))
        for row, numbers in zip(rows.tolist(), self.at(rows).worst_first(), strict=True):
            texts[row] = " ".join([self.rules[number].code for number in numbers])
        return texts

    def at(self, rows: NDArray[np.int64]) -> "Broken":
        """Those of some rows."""
        return Broken(self.rules, self.severity[rows], self.values[rows])

    def worst_first(self) -> list[list[int]]:
        """The numbers of the rules that each row breaks, worst first."""
        found: list[list[int]] = [[] for _ in self.severity]
        rows = np.flatnonzero(self.severity.any(axis=1))
        order = np.argsort(-self.severity[rows], axis=1, kind="stable")
        n_broken = (self.severity[rows] > 0).sum(axis=1)
        for row, numbers, n in zip(rows.tolist(), order.tolist(), n_broken.tolist(), strict=True):
            found[row] = numbers[:n]
        return found


@lru_cache(maxsize=1)
def hard_rules() -> tuple[Rule, ...]:
    """The rules of ``rules.yaml``, in its order."""
    return parse_rules(_text())


def _parsed(text: str) -> Any:
    # The parser in C takes a tenth of the time, which every command that judges waits for.
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text).get_single_data()


@lru_cache(maxsize=1)
def least_spreads() -> Mapping[str, float]:
    """For features of which ``rules.yaml`` states it: the spread between bins that says nothing, on their scale."""
    return {entry["feature"]: float(entry["spread"]) for entry in _parsed(_text())["least_spreads"]}


def _text() -> str:
    return files("ifcb_flow_pipeline.detection.verdict").joinpath("rules.yaml").read_text(encoding="utf-8")


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Rules from YAML text. Raises RuleError where an entry is none."""
    try:
        entries = _parsed(text)["rules"]
        rules = tuple(_rule(entry) for entry in entries)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise RuleError(f"the rules cannot be read: {error!r}") from error
    codes = [rule.code for rule in rules]
    if len(set(codes)) != len(codes):
        raise RuleError(f"two rules have the same code: {sorted(codes)}")
    return rules


def broken_rules(
    features: pa.Table,
    with_header: Collection[str] = (),
    with_signals: Collection[str] = (),
    with_counters: Collection[str] = (),
    with_roi: Collection[str] | None = None,
) -> Broken:
    """Which rules the rows of ``bin_features`` break.

    ``with_header``, ``with_signals``, ``with_counters``, ``with_roi``: instruments most of whose bins have headers,
    signals that are alive, blind times that are counted, or a .roi (those of these rows where it is not given).
    """
    rules = hard_rules()
    known: dict[str, NDArray[np.float64]] = _facts(features, with_header, with_signals)
    known["roi_lost"] = _roi_lost(features, mostly_with_roi(features) if with_roi is None else with_roi).astype(float)
    known["counters_died"] = _counters_died(features, with_counters).astype(float)
    read = Names.of(features, "status").equal(*READ)  # of the others nothing is known
    severity = np.zeros((features.num_rows, len(rules)), dtype=np.float32)
    values = np.full(severity.shape, np.nan)
    for number, rule in enumerate(rules):
        for condition in rule.conditions:
            if condition.quantity not in known:
                known[condition.quantity] = optional_numbers(features, condition.quantity)
        broken = read & np.logical_and.reduce([c.holds(known[c.quantity]) for c in rule.conditions])
        named = known[rule.conditions[0].quantity]
        severity[broken, number] = rule.severities(named[broken])
        values[broken, number] = named[broken]
    return Broken(rules, severity, values)


def _facts(
    features: pa.Table, with_header: Collection[str], with_signals: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    status, sample = Names.of(features, "status"), Names.of(features, "sample_type")
    beads = [name for name in sample.names if "bead" in name.lower()]
    usual = Names.of(features, "instrument").equal(*with_header)
    read = status.equal(*READ)
    state = Names.of(features, "header_state")
    without = Names.of(features, "configuration").equal("") & ~state.equal("damaged")
    return {
        "is_empty": status.equal("empty").astype(float),
        "is_sparse": status.equal("too_few_points").astype(float),
        "is_beads": sample.equal(*beads).astype(float),
        "image_count_off": np.abs(optional_numbers(features, "image_count_mismatch")),
        "signals_died": np.where(
            Names.of(features, "instrument").equal(*with_signals),
            optional_numbers(features, "dead_signal_fraction"),
            0.0,
        ),
        "header_damaged": state.equal("damaged").astype(float),
        "core_shift_px": np.abs(optional_numbers(features, "drift_x_px")),
        "bubble_count": optional_numbers(features, "bubble_fraction") * optional_numbers(features, "n_images"),
        "roi_cut": (~_flags(features, "roi_complete", unknown=True)).astype(float),
        "header_lost": (usual & read & without).astype(float),
    }


def _counters_died(features: pa.Table, with_counters: Collection[str]) -> NDArray[np.bool_]:
    """Which rows are of bins without a counted blind time, though most bins of their instrument have one; (n,)."""
    is_full = Names.of(features, "status").equal("ok")
    is_usual = Names.of(features, "instrument").equal(*with_counters)
    return is_full & is_usual & np.isnan(optional_numbers(features, "dead_time_s"))


def mostly_with_roi(features: pa.Table) -> list[str]:
    """The instruments most of whose bins in the table have a .roi."""
    if "has_roi" not in features.column_names:
        return []
    instrument = Names.of(features, "instrument")
    has = _flags(features, "has_roi", unknown=False)
    n = np.bincount(instrument.codes, minlength=len(instrument.names))
    n_with = np.bincount(instrument.codes, has, minlength=len(instrument.names))
    return [name for name, most in zip(instrument.names, (2 * n_with > n).tolist(), strict=True) if most]


def _roi_lost(features: pa.Table, with_roi: Collection[str]) -> NDArray[np.bool_]:
    """Which rows are of bins without .roi, though most bins of their instrument have one; shape (n,)."""
    if "has_roi" not in features.column_names:
        return np.zeros(features.num_rows, dtype=bool)
    return ~_flags(features, "has_roi", unknown=False) & Names.of(features, "instrument").equal(*with_roi)


def _flags(features: pa.Table, name: str, *, unknown: bool) -> NDArray[np.bool_]:
    """A column of truths, ``unknown`` where null or where the table has no such column; shape (n,)."""
    if name not in features.column_names:
        return np.full(features.num_rows, unknown)
    return pc.fill_null(features.column(name).cast(pa.bool_()), unknown).to_numpy().astype(bool)


def _rule(entry: Mapping[str, Any]) -> Rule:
    conditions = tuple(Condition(**condition) for condition in entry["when"])
    for condition in conditions:
        if (condition.above is None) == (condition.below is None):
            raise RuleError(f"rule {entry['code']}: a condition must have either above or below")
    severity, worst = float(entry["severity"]), entry.get("worst", {})
    return Rule(
        code=entry["code"],
        conditions=conditions,
        severity=severity,
        worst_value=worst.get("value"),
        worst_severity=float(worst.get("severity", severity)),
        cause=entry["cause"],
        text=entry["text"],
        check=entry["check"],
        source=entry["source"],
        text_of_one=entry.get("text_of_one", ""),
    )
