"""What is said to operators of a bin that is not in order: findings, worst first, and the reasons in one line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from json.encoder import encode_basestring
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, plain_values
from ifcb_flow_pipeline.detection.flow.instrument import Evidence
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES, SIGNATURES
from ifcb_flow_pipeline.detection.verdict.rules import SURE, Broken
from ifcb_flow_pipeline.detection.verdict.sentences import Measured, join, measured, on_average, topic_of

#: Findings that are kept of a bin, and of how many the texts make its reasons.
_MOST_FINDINGS, _MOST_REASONS = 6, 3

#: A feature that adds less than this share to a bin's score is not worth a word.
_LEAST_SHARE = 0.05

#: Where images scatter this far around it, px, no sample core can be made out, and its shape is none: in healthy bins
#: it is 10 to 30 px, in a frame that is evenly filled some 500 px.
_NO_CORE_PX = 120.0
_OF_CORE = frozenset(("core_tilt", "core_bend_px", "core_asymmetry", "drift_x_px", "drift_y_px"))

#: Anything as JSON, texts as they are but for what JSON itself needs.
_json = json.JSONEncoder(ensure_ascii=False).encode

_JSON_CHECKS = {code: encode_basestring(cause.check) for code, cause in CAUSES.items()}

#: What is found though no single feature or rule tells it, by the code that stands for a rule.
_OTHERWISE = {
    "config_changed": "Settings changed, or the sample core moved in a pause, before this bin",
    "moved": "The sample core lies elsewhere since it jumped without a pause or new settings",
    "together": "No single measurement is outside its normal range, but together they are unusual",
}


class _Finding(NamedTuple):
    """What is found of a bin: its cause, what it is about, the text, and all of it as JSON."""

    cause: str
    topic: str
    text: str
    as_json: str


@dataclass(frozen=True, slots=True)
class Reported:
    """All that is known of n bins of one instrument that are not in order.

    ``broken``: the rules that they break; ``causes``: what is suspected by the looks, likeliest first; ``changed``,
    ``moved`` (n,): new settings or a new place of the core, explained or not (see Deviations).
    """

    metadata: Sequence[FeatureMetadata]
    evidence: Evidence
    causes: Sequence[Sequence[str]]
    broken: Broken
    changed: NDArray[np.bool_]
    moved: NDArray[np.bool_]

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

    def columns(
        self, rows: NDArray[np.int64], verdict: NDArray[np.object_], notes: Mapping[int, str]
    ) -> dict[str, pa.Array]:
        """Columns of n bins with these verdicts (n,), of which these are in ``rows``; of the others nothing is said.

        ``notes``: by the number of a bin, what is said at the end of its reasons.
        """
        place = np.full(len(verdict), len(rows))
        place[rows] = np.arange(len(rows))
        # A bin that is in order has no cause, whatever note there is of it.
        suspect = np.where(verdict == "ok", len(rows), place)
        texts = {
            "cause": ([*self.cause, ""], suspect),
            "second_cause": ([*self.second_cause, ""], suspect),
            "findings": ([*self.findings, "[]"], place),
        }
        columns = {name: pa.array(column, pa.string()).take(pa.array(at)) for name, (column, at) in texts.items()}
        reasons = [*self.reasons, ""]
        with_note = [join([reasons[place[bin_]], note]) for bin_, note in notes.items()]
        place[list(notes)] = len(reasons) + np.arange(len(notes))
        columns["reasons"] = pa.array([*reasons, *with_note], pa.string()).take(pa.array(place))
        return columns


def describe(reported: Reported) -> Findings:
    """What is said of each of the bins."""
    broken = reported.broken.worst_first()
    causes = [_causes(reported, row, numbers) for row, numbers in enumerate(broken)]
    of_features, of_rules = _feature_findings(reported, causes), _rule_findings(reported.broken)
    plain = ~(reported.changed | reported.moved)
    reasons, texts = [], []
    for row, (numbers, features) in enumerate(zip(broken, of_features, strict=True)):
        findings = features
        if numbers or not plain[row]:
            findings = _in_order(reported, row, [(number, of_rules[row, number]) for number in numbers], features)
        if not findings:
            findings = [_together(causes[row][0], int(reported.evidence.n_bins[row]))]
        reasons.append(_reasons(findings[:_MOST_REASONS], causes[row]))
        texts.append("[" + ", ".join([finding.as_json for finding in findings[:_MOST_FINDINGS]]) + "]")
    seconds = [found[1] if len(found) > 1 else "" for found in causes]
    return Findings([found[0] for found in causes], seconds, reasons, texts)


def _in_order(
    reported: Reported, row: int, broken: Sequence[tuple[int, _Finding]], features: list[_Finding]
) -> list[_Finding]:
    """The findings of a bin, worst first, one of a topic; ``broken``: the rules that it breaks, worst first."""
    rules = [finding for _, finding in broken]
    is_sure = bool(rules) and reported.broken.severity[row, broken[0][0]] >= SURE
    findings = [*rules, *features] if is_sure else [*features[:1], *rules, *features[1:]]
    if reported.changed[row] or reported.moved[row]:
        other = _changed_finding() if reported.changed[row] else _moved_finding()
        findings = [*findings[: int(is_sure)], other, *findings[int(is_sure) :]]
    return list({finding.topic: finding for finding in reversed(findings)}.values())[::-1]


def _reasons(findings: Sequence[_Finding], causes: Sequence[str]) -> str:
    """The texts of the findings, then what is suspected, and what to check: sentences in one line."""
    first, *others = [CAUSES[cause] for cause in causes[:2]]
    return join([*(finding.text for finding in findings), first.suspicion(*others), first.check])


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


def _rule_findings(broken: Broken) -> dict[tuple[int, int], _Finding]:
    """What is said of each broken rule, by bin and rule."""
    found = {}
    for number in np.flatnonzero(broken.severity.any(axis=0)).tolist():
        rule, rows = broken.rules[number], np.flatnonzero(broken.severity[:, number])
        values = broken.values[rows, number]
        for row, value, text in zip(rows.tolist(), values.tolist(), rule.sentences(values), strict=True):
            found[row, number] = _other_finding(rule.code, value, rule.cause, 1.0, text, rule.check)
    return found


@cache
def _changed_finding() -> _Finding:
    return _told_otherwise("config_changed", "config_change", _OTHERWISE["config_changed"])


@cache
def _moved_finding() -> _Finding:
    return _told_otherwise("moved", "moved", _OTHERWISE["moved"])


@cache
def _together(cause: str, n_bins: int) -> _Finding:
    return _told_otherwise("together", cause, on_average(_OTHERWISE["together"], n_bins))


def _told_otherwise(code: str, cause: str, text: str) -> _Finding:
    return _other_finding(code, 1.0, cause, 0.0, text, CAUSES[cause].check)


def _other_finding(rule: str, value: float, cause: str, share: float, text: str, check: str) -> _Finding:
    """What is found by a rule, not by a feature."""
    told = {"rule": rule, "value": value, "cause": cause, "share": share, "text": text, "check": check}
    return _Finding(cause, topic_of(rule), text, _json(told))


def _feature_findings(reported: Reported, causes: Sequence[Sequence[str]]) -> list[list[_Finding]]:
    """What the features of each bin tell: those that add most to its score, and enough to be worth a word."""
    evidence, all_shares = reported.evidence, reported.shares
    order = np.argsort(-all_shares, axis=1, kind="stable")[:, :_MOST_FINDINGS]
    rows, ranks = np.nonzero(np.take_along_axis(all_shares, order, axis=1) >= _LEAST_SHARE)
    columns = order[rows, ranks]
    is_seen = ~(_without_core(reported)[rows] & _of_core(reported.metadata)[columns])
    rows, columns = rows[is_seen], columns[is_seen]
    is_above = (evidence.z[rows, columns] > 0).tolist()
    shares = all_shares[rows, columns].tolist()
    told: list[tuple[str, str] | None] = [None] * len(rows)
    for column in np.unique(columns).tolist():
        at = np.flatnonzero(columns == column)
        for place, words in zip(at.tolist(), _words(reported, column, rows[at]), strict=True):
            told[place] = words
    found: list[list[_Finding]] = [[] for _ in range(len(causes))]
    topics = [topic_of(feature.name) for feature in reported.metadata]
    is_told = set()
    for place, row in enumerate(map(int, rows)):
        column, words = columns[place], told[place]
        topic = topics[column]
        if words is not None and (row, topic) not in is_told:
            is_told.add((row, topic))
            cause = _cause_of(reported.metadata[column].name, is_above[place], causes[row])
            found[row].append(_feature_finding(words, topic, cause, shares[place]))
    return found


def _feature_finding(words: tuple[str, str], topic: str, cause: str, share: float) -> _Finding:
    """``words``: the sentence, and the JSON of the finding up to its share."""
    text, begins = words
    # Put together by hand, in a third of the time: it is done some times for every tenth bin of an archive.
    as_json = (
        f'{begins}, "share": {round(share, 4)!r}, "cause": "{cause}", "text": {encode_basestring(text)}, '
        f'"check": {_JSON_CHECKS[cause]}}}'
    )
    return _Finding(cause, topic, text, as_json)


def _words(reported: Reported, column: int, rows: NDArray[np.int64]) -> list[tuple[str, str] | None]:
    """The sentences of one feature of some bins, and how their JSON begins; None inside of the normal range."""
    feature, evidence = reported.metadata[column], reported.evidence
    z, centre, spread = (array[rows, column] for array in (evidence.z, evidence.centre, evidence.spread))
    low, high = (evidence.reach[side, rows, column] * spread for side in (0, 1))
    scaled = np.stack([centre + z * spread, centre - low, centre + high]).astype(np.float64)
    value, lowest, highest = plain_values(scaled, feature.scale)
    n_bins = evidence.n_bins[rows]
    found = measured(feature.name, value, lowest, highest, n_bins)
    begins = f'{{"feature": {encode_basestring(feature.name)}, '
    unit = encode_basestring(feature.unit)
    return [
        (text, f'{begins}{mean}"value": {value}, "low": {low}, "high": {high}, "unit": {unit}') if outside else None
        for text, mean, value, low, high, outside in _rows(found, n_bins)
    ]


def _rows(found: Measured, n_bins: NDArray[np.int64]) -> zip:
    means = [f'"bins": {n}, ' if n > 1 else "" for n in n_bins.tolist()]
    numbers = (_json_numbers(values.astype(np.float32)) for values in (found.value, found.low, found.high))
    return zip(found.texts, means, *numbers, found.is_outside.tolist(), strict=True)


def _without_core(reported: Reported) -> NDArray[np.bool_]:
    """Bins in which no sample core can be made out, shape (n,)."""
    for column, feature in enumerate(reported.metadata):
        if feature.name == "core_width_px":
            evidence = reported.evidence
            width = evidence.centre[:, column] + evidence.z[:, column] * evidence.spread[:, column]
            return plain_values(width, feature.scale) > _NO_CORE_PX
    return np.zeros(len(reported.evidence.z), dtype=bool)


def _of_core(metadata: Sequence[FeatureMetadata]) -> NDArray[np.bool_]:
    return np.array([feature.name in _OF_CORE for feature in metadata], dtype=bool)


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
