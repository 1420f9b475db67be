"""What is said to operators of a bin that is not in order: findings, worst first, and the reasons in one line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from json.encoder import encode_basestring
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, plain_values
from ifcb_flow_pipeline.detection.flow.instrument import Evidence
from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES, SIGNATURES
from ifcb_flow_pipeline.detection.verdict.rules import SURE, Broken
from ifcb_flow_pipeline.features.catalogue import CATALOGUE

#: Findings that are kept of a bin, and of how many the texts make its reasons.
_MOST_FINDINGS, _MOST_REASONS = 6, 3

#: A feature that adds less than this share to a bin's score is not worth a word.
_LEAST_SHARE = 0.05

_MEANINGS = {feature.name: feature.meaning for feature in CATALOGUE} | {
    feature.name: meaning for feature, meaning in LAG_FEATURES.items()
}

#: The unit of features that are shares of something.
_FRACTION = "fraction"

_SUSPICIONS = {code: f" - suspected: {cause.title}" for code, cause in CAUSES.items()}

#: Anything as JSON, texts as they are but for what JSON itself needs.
_json = json.JSONEncoder(ensure_ascii=False).encode

_JSON_CHECKS = {code: encode_basestring(cause.check) for code, cause in CAUSES.items()}


class _Finding(NamedTuple):
    """What is found of a bin: its cause, the text, and all of it as JSON."""

    cause: str
    text: str
    as_json: str


_CHANGED_TEXT = "The settings, or the place of the core after a pause, are not those of the bins before"


@dataclass(frozen=True, slots=True)
class Reported:
    """All that is known of n bins of one instrument that are not in order.

    ``broken``: the rules that they break; ``causes``: what is suspected by the looks, likeliest first; ``changed``
    (n,): see ``config_changed`` of ``bin_scores``.
    """

    metadata: Sequence[FeatureMetadata]
    evidence: Evidence
    causes: Sequence[Sequence[str]]
    broken: Broken
    changed: NDArray[np.bool_]

    @property
    def shares(self) -> NDArray[np.float32]:
        """The share of its score that each feature adds, shape (n, d)."""
        added = self.evidence.added
        return added / np.maximum(added.sum(axis=1, keepdims=True), 1e-9)


@dataclass(frozen=True, slots=True)
class Findings:
    """The texts of n bins, as ``bin_scores`` has them."""

    cause: list[str]
    second_cause: list[str]
    reasons: list[str]
    findings: list[str]

    def columns(self, rows: NDArray[np.int64], verdict: NDArray[np.object_]) -> dict[str, pa.Array]:
        """Columns of n bins with these verdicts (n,), of which these are in ``rows``; of the others nothing is said."""
        place = np.full(len(verdict), len(rows))
        place[rows] = np.arange(len(rows))
        # A bin that is in order has no cause, whatever note there is of it.
        suspect = np.where(verdict == "ok", len(rows), place)
        texts = {
            "cause": ([*self.cause, ""], suspect),
            "second_cause": ([*self.second_cause, ""], suspect),
            "reasons": ([*self.reasons, ""], place),
            "findings": ([*self.findings, "[]"], place),
        }
        return {name: pa.array(column, pa.string()).take(pa.array(at)) for name, (column, at) in texts.items()}


def describe(reported: Reported) -> Findings:
    """What is said of each of the bins."""
    broken = reported.broken.worst_first()
    causes = [_causes(reported, row, numbers) for row, numbers in enumerate(broken)]
    of_features = _feature_findings(reported, causes)
    reasons, texts = [], []
    for row, (numbers, features) in enumerate(zip(broken, of_features, strict=True)):
        findings = _in_order(reported, row, numbers, features) if numbers or reported.changed[row] else features
        reasons.append(_reasons(findings[:_MOST_REASONS]))
        texts.append("[" + ", ".join([finding.as_json for finding in findings[:_MOST_FINDINGS]]) + "]")
    seconds = [found[1] if len(found) > 1 else "" for found in causes]
    return Findings([found[0] for found in causes], seconds, reasons, texts)


def _in_order(reported: Reported, row: int, broken: Sequence[int], features: list[_Finding]) -> list[_Finding]:
    """The findings of a bin, worst first; ``broken``: the rules that it breaks, worst first."""
    rules = [_rule_finding(reported, row, number) for number in broken]
    is_sure = bool(rules) and reported.broken.severity[row, broken[0]] >= SURE
    findings = [*rules, *features] if is_sure else [*features[:1], *rules, *features[1:]]
    if reported.changed[row]:
        findings = [*findings[: int(is_sure)], _changed_finding(), *findings[int(is_sure) :]]
    return findings


def _reasons(findings: Sequence[_Finding]) -> str:
    """The texts of the findings in one line, those of a cause together, and the suspicion once behind them."""
    by_cause: dict[str, list[str]] = {}
    for finding in findings:
        by_cause.setdefault(finding.cause, []).append(finding.text)
    parts = []
    for cause, texts in by_cause.items():
        bare = [text.removesuffix(_SUSPICIONS[cause]) for text in texts]
        parts.append("; ".join(bare) + _SUSPICIONS[cause] * (bare != texts))
    return "; ".join(parts)


def _causes(reported: Reported, row: int, broken: Sequence[int]) -> list[str]:
    """The causes, best first; ``broken``: the rules that the bin breaks, worst first."""
    known = [cause for cause in reported.causes[row] if cause != "unknown"]
    if not broken:
        return known or ["unknown"]
    by_rules = [reported.broken.rules[number].cause for number in broken]
    n_sure = sum(reported.broken.severity[row, number] >= SURE for number in broken)
    if by_rules[0] == "empty" and n_sure:
        # Where hardly anything comes, what little comes tells nothing; the laser is the other thing to look at.
        known = ["laser", *known]
    return list(dict.fromkeys([*by_rules[:n_sure], *known, *by_rules]))


def _rule_finding(reported: Reported, row: int, number: int) -> _Finding:
    rule = reported.broken.rules[number]
    value = float(reported.broken.values[row, number])
    said = rule.text.format(value=_number(value), percent=f"{_number(100 * value)} %")
    text = f"{said}{_SUSPICIONS[rule.cause]}"
    return _other_finding(rule.code, value, rule.cause, 1.0, text, rule.check)


@cache
def _changed_finding() -> _Finding:
    check = CAUSES["config_change"].check
    return _other_finding("config_changed", 1.0, "config_change", 0.0, _CHANGED_TEXT, check)


def _other_finding(rule: str, value: float, cause: str, share: float, text: str, check: str) -> _Finding:
    """What is found by a rule, not by a feature."""
    told = {"rule": rule, "value": value, "cause": cause, "share": share, "text": text, "check": check}
    return _Finding(cause, text, _json(told))


def _feature_findings(reported: Reported, causes: Sequence[Sequence[str]]) -> list[list[_Finding]]:
    """What the features of each bin tell: those that add most to its score, and enough to be worth a word."""
    evidence, all_shares = reported.evidence, reported.shares
    order = np.argsort(-all_shares, axis=1, kind="stable")[:, :_MOST_FINDINGS]
    rows, ranks = np.nonzero(np.take_along_axis(all_shares, order, axis=1) >= _LEAST_SHARE)
    columns = order[rows, ranks]
    z, centre, spread = (array[rows, columns] for array in (evidence.z, evidence.centre, evidence.spread))
    low, high = (evidence.reach[side, rows, columns] * spread for side in (0, 1))
    measured = [
        _plain(values, columns, reported.metadata) for values in (centre + z * spread, centre - low, centre + high)
    ]
    shares = [repr(round(share, 4)) for share in all_shares[rows, columns].tolist()]
    percents = np.array([100.0 if feature.unit == _FRACTION else 1.0 for feature in reported.metadata])[columns]
    texts = (_numbers(values * percents) for values in measured)
    numbers = zip(*texts, *map(_json_numbers, measured), shares, strict=True)
    places = zip(rows.tolist(), columns.tolist(), (z > 0).tolist(), strict=True)
    said = {n: [_Said.of(feature, n) for feature in reported.metadata] for n in np.unique(evidence.n_bins).tolist()}
    n_bins = evidence.n_bins.tolist()
    found: list[list[_Finding]] = [[] for _ in causes]
    for (row, column, is_above), of_feature in zip(places, numbers, strict=True):
        of_column = said[n_bins[row]][column]
        cause = _cause_of(of_column.name, is_above, causes[row])
        found[row].append(of_column.finding(*of_feature, cause))
    return found


def _plain(values: NDArray, columns: NDArray[np.int64], metadata: Sequence[FeatureMetadata]) -> NDArray:
    """Values on the scales of the features in ``columns``, both of shape (k,), in the features' units."""
    scales = np.array([feature.scale for feature in metadata])[columns]
    found = np.empty_like(values)
    for scale in np.unique(scales):
        found[scales == scale] = plain_values(values[scales == scale], scale)
    return found


@dataclass(frozen=True, slots=True)
class _Said:
    """How a feature is spoken of: its name, the unit behind a number, the beginning of a sentence, and whose its range
    is; and the beginning of a finding as JSON, and its unit there.
    """

    name: str
    behind: str
    begins: str
    range_of: str
    json_begins: str
    json_unit: str

    @classmethod
    def of(cls, feature: FeatureMetadata, n_bins: int) -> "_Said":
        """``n_bins``: how many bins it is the mean of."""
        meaning = _MEANINGS.get(feature.name, feature.name)
        # People read shares as percentages.
        unit = "%" if feature.unit == _FRACTION else feature.unit
        behind = f" {unit}" if unit else ""
        mean = f", mean of {n_bins} bins in a row" if n_bins > 1 else ""
        begins = f"{meaning[:1].upper()}{meaning[1:]}{mean}: "
        range_of = " by the bins around" if n_bins > 1 else ""
        bins = f'"bins": {n_bins}, ' if n_bins > 1 else ""
        json_begins = f'{{"feature": {encode_basestring(feature.name)}, {bins}"value": '
        return cls(feature.name, behind, begins, range_of, json_begins, encode_basestring(feature.unit))

    def finding(
        self, value: str, low: str, high: str, json_value: str, json_low: str, json_high: str, share: str, cause: str
    ) -> _Finding:
        """What is found where the feature has this value, and is between two others else; all as it is written."""
        usually = f"usually {low} to {high}{self.behind}{self.range_of}"
        text = f"{self.begins}{value}{self.behind}, {usually}{_SUSPICIONS[cause]}"
        # Put together by hand, in a third of the time: it is done some times for every tenth bin of an archive.
        as_json = (
            f'{self.json_begins}{json_value}, "low": {json_low}, "high": {json_high}, "unit": {self.json_unit}, '
            f'"share": {share}, "cause": "{cause}", "text": {encode_basestring(text)}, "check": {_JSON_CHECKS[cause]}}}'
        )
        return _Finding(cause, text, as_json)


def _cause_of(name: str, is_above: bool, causes: Sequence[str]) -> str:
    """The first of the bin's causes that this feature speaks for."""
    speaks_for = _spoken_for(name, is_above)
    for cause in causes:
        if cause in speaks_for:
            return cause
    return causes[0]


@cache
def _spoken_for(name: str, is_above: bool) -> frozenset[str]:
    """The causes that a feature speaks for where it is above its centre, or below it."""
    ways = [(signature, signature.up if is_above else signature.down) for signature in SIGNATURES]
    return frozenset(s.cause for s, way in ways if way.get(name, 0) > 0 or name in s.either)


def _json_numbers(values: NDArray) -> list[str]:
    texts = list(map(repr, values.tolist()))
    for odd in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[odd] = _json(float(values[odd]))
    return texts


def _numbers(values: NDArray) -> list[str]:
    """As ``_number``, of many, most of them below 1000."""
    texts = list(map("{:.3g}".format, values.tolist()))
    for large in np.flatnonzero(~(np.abs(values) < 1000)).tolist():
        texts[large] = _number(float(values[large]))
    return texts


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
