"""What is said to operators of a bin that is not in order: findings, worst first, and the reasons in one line."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.causes import CAUSES, SIGNATURES
from ifcb_flow_pipeline.detection.recent import RECENT
from ifcb_flow_pipeline.detection.rules import SURE, Broken
from ifcb_flow_pipeline.detection.traits import Trait
from ifcb_flow_pipeline.features.catalogue import CATALOGUE

#: Findings that are kept of a bin, and of how many the texts make its reasons.
_MOST_FINDINGS, _MOST_REASONS = 6, 3

#: A feature that adds less than this share to a bin's score is not worth a word.
_LEAST_SHARE = 0.05

_MEANINGS = {feature.name: feature.meaning for feature in CATALOGUE} | {
    trait.name: meaning for trait, meaning in RECENT.items()
}


_CHANGED = {"rule": "config_changed", "value": 1.0, "cause": "config_change", "share": 0.0,
            "text": "The settings, or the place of the core after a pause, are not those of the bins before",
            "check": CAUSES["config_change"].check}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of n bins that are not in order, on the way to words.

    ``values``, ``low``, ``high``: the features and the instrument's normal range, in their units; ``shares``: of the
    score that each feature adds; ``z``: deviations; all of shape (n, d). ``broken``: their rules; ``causes``: what is
    suspected by the looks, best first; ``changed`` (n,): see ``config_changed`` of ``bin_scores``.
    """

    traits: Sequence[Trait]
    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    shares: NDArray[np.float32]
    z: NDArray[np.float32]
    broken: Broken
    causes: list[list[str]]
    changed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one bin, as ``bin_scores`` has them."""

    cause: str
    second_cause: str
    reasons: str
    findings: str


def words(evidence: Evidence, row: int) -> Words:
    """What is said of one of the bins."""
    broken = evidence.broken.of(row)
    causes = _causes(evidence, row, broken)
    rules = [_rule_finding(evidence, row, number) for number in broken]
    features = [_feature_finding(evidence, row, column, causes) for column in _columns(evidence.shares[row])]
    is_sure = bool(rules) and evidence.broken.severity[row, broken[0]] >= SURE
    findings = [*rules, *features] if is_sure else [*features[:1], *rules, *features[1:]]
    if evidence.changed[row]:
        findings = [*findings[: int(is_sure)], _CHANGED, *findings[int(is_sure) :]]
    findings = findings[:_MOST_FINDINGS]
    reasons = _reasons(findings[:_MOST_REASONS])
    return Words(causes[0], causes[1] if len(causes) > 1 else "", reasons, json.dumps(findings, ensure_ascii=False))


def _reasons(findings: Sequence[Mapping[str, Any]]) -> str:
    """The texts of the findings in one line, those of a cause together, and the suspicion once behind them."""
    parts = []
    for cause in dict.fromkeys(finding["cause"] for finding in findings):
        suspicion = _suspicion(cause)
        texts = [finding["text"] for finding in findings if finding["cause"] == cause]
        is_said = any(text.endswith(suspicion) for text in texts)
        parts.append("; ".join(text.removesuffix(suspicion) for text in texts) + suspicion * is_said)
    return "; ".join(parts)


def _suspicion(cause: str) -> str:
    return f" - suspected: {CAUSES[cause].title}"


def _causes(evidence: Evidence, row: int, broken: Sequence[int]) -> list[str]:
    """The causes, best first; ``broken``: the rules that the bin breaks, worst first."""
    by_rules = [evidence.broken.rules[number].cause for number in broken]
    n_sure = sum(evidence.broken.severity[row, number] >= SURE for number in broken)
    known = [cause for cause in evidence.causes[row] if cause != "unknown"]
    if by_rules[:1] == ["empty"] and n_sure:
        # Where hardly anything comes, what little comes tells nothing; the laser is the other thing to look at.
        known = ["laser", *known]
    return list(dict.fromkeys([*by_rules[:n_sure], *known, *by_rules])) or ["unknown"]


def _columns(shares: NDArray[np.float32]) -> list[int]:
    order = np.argsort(-shares, kind="stable")[:_MOST_FINDINGS]
    return [int(column) for column in order if shares[column] >= _LEAST_SHARE]


def _rule_finding(evidence: Evidence, row: int, number: int) -> dict[str, Any]:
    rule = evidence.broken.rules[number]
    value = float(evidence.broken.values[row, number])
    text = rule.text.format(value=_number(value))
    return {"rule": rule.code, "value": value, "cause": rule.cause, "share": 1.0,
            "text": f"{text}{_suspicion(rule.cause)}", "check": rule.check}  # fmt: skip


def _feature_finding(evidence: Evidence, row: int, column: int, causes: Sequence[str]) -> dict[str, Any]:
    trait = evidence.traits[column]
    value, low, high = (float(array[row, column]) for array in (evidence.values, evidence.low, evidence.high))
    cause = _cause_of(trait.name, float(evidence.z[row, column]), causes)
    unit = "" if trait.unit in ("", "fraction") else f" {trait.unit}"
    meaning = _MEANINGS.get(trait.name, trait.name)
    text = (
        f"{meaning[:1].upper()}{meaning[1:]} is {_number(value)}{unit}, usually {_number(low)} to {_number(high)}{unit}"
        f"{_suspicion(cause)}"
    )
    return {"feature": trait.name, "value": value, "low": low, "high": high, "unit": trait.unit,
            "share": round(float(evidence.shares[row, column]), 4), "cause": cause, "text": text,
            "check": CAUSES[cause].check}  # fmt: skip


def _cause_of(name: str, z: float, causes: Sequence[str]) -> str:
    """The first of the bin's causes that this feature speaks for."""
    for cause in causes:
        for signature in SIGNATURES:
            way: Mapping[str, float] = signature.up if z > 0 else signature.down
            if signature.cause == cause and (way.get(name, 0) > 0 or name in signature.either):
                return cause
    return causes[0]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
