"""From evidence to a decision: severity, verdict and suspected causes of each bin."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, plain_values
from ifcb_flow_pipeline.detection.flow.baseline import Deviations
from ifcb_flow_pipeline.detection.flow.instrument import Evidence, Screening, held
from ifcb_flow_pipeline.detection.verdict.affected import Losses, affected
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES, likeness, suspected
from ifcb_flow_pipeline.detection.verdict.rules import SURE, Broken
from ifcb_flow_pipeline.detection.verdict.severity import WATCH_FROM, rarities_of, severities, verdicts

#: With fewer healthy bins of its own an instrument is not judged, but by hard rules: half a morning does not show what
#: is normal for 85 features.
MIN_BASELINE_BINS = 20

#: While the history is short, only rules and gross deviations say bad. Gross: one in 10 to this power, by what does not
#: wander within a day.
_GROSS = 4.0

#: The rarity with which the first bin of new settings, or a core that moved without a reason, is reported: a watch.
_REPORTED = 1.44

#: From which rarity on a bin is looked at for its cause by what it looks like.
_LOOKED_AT = 1.4

#: Boxes at the edge of the frame are most of those off the core from this share on; and fewer of all are no matter.
_MOST, _FEW = 0.6, 0.02

#: Air shows itself by boxes off the core, or by large round ones: so many spreads more of them than usual.
_SHOWS_Z = 2.0

#: A core that creeps so far within the run, px, is not turned and not out of the laser: it is back in the next bin.
_CREEPS_PX = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided of n bins of one instrument; arrays of shape (n,).

    ``rarity``: -log10 of the share of healthy bins as odd, NaN where not judged; ``severity``: 0 to 100, HIGHER is
    worse, NaN where not judged; ``verdict``: of VERDICTS. ``which`` (k,): bins of which something is reported;
    ``causes``: of these, likeliest first.
    """

    rarity: NDArray[np.float64]
    severity: NDArray[np.float64]
    verdict: NDArray[np.object_]
    affected_fraction: NDArray[np.float64]
    which: NDArray[np.int64]
    causes: list[list[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of n bins of one instrument before it is decided; arrays of shape (n,).

    ``readable``: something was read of the bin; ``losses``: what tells how much of it is lost; ``threshold``: the
    severity from which a bin of the instrument is bad.
    """

    readable: NDArray[np.bool_]
    deviations: Deviations
    screening: Screening
    broken: Broken
    losses: Losses
    threshold: float

    @property
    def has_baseline(self) -> NDArray[np.bool_]:
        """Which bins the instrument's own history can judge."""
        return self.deviations.baseline_bins >= MIN_BASELINE_BINS

    @property
    def has_short_history(self) -> NDArray[np.bool_]:
        """Of which bins the history is so short that by it only gross deviations are bad."""
        return self.deviations.is_short

    def rarity(self) -> NDArray[np.float64]:
        """How rare the bins are by what they look like."""
        is_held = self.has_short_history & (self.screening.gross < _GROSS)
        rarity = np.where(is_held, held(self.screening.rarity), self.screening.rarity)
        return np.where(self.has_baseline, rarity, 0.0)

    def by_rules(self) -> NDArray[np.float64]:
        """The rarity that stands for the rules that the bins break, and for what is reported of them anyway."""
        by_rules = rarities_of(self.broken.severity.max(axis=1, initial=0.0))
        reported = self.has_baseline & (self.deviations.changed | self.deviations.moved)
        return np.where(reported, np.maximum(by_rules, _REPORTED), by_rules)

    def worth_a_look(self) -> NDArray[np.int64]:
        """The bins of which something is reported: all that may not be in order, or break a rule."""
        severity = severities(np.maximum(self.rarity(), self.by_rules()))
        is_odd = severity >= min(WATCH_FROM, self.threshold)
        return np.flatnonzero(self.readable & (is_odd | self.broken.severity.any(axis=1)))


def decide(case: Case, which: NDArray[np.int64], evidence: Evidence, metadata: Sequence[FeatureMetadata]) -> Decision:
    """Severity, verdict and causes of all bins; ``evidence``: of those in ``which``, that are worth a look."""
    rarity, by_rules = case.rarity(), case.by_rules()
    is_rare = rarity[which] >= _LOOKED_AT
    # What a bin looks like names no cause where it looks as usual: then its rules alone do.
    looks = _causes(case, which, evidence, metadata)
    causes = [found if rare else ["unknown"] for found, rare in zip(looks, is_rare.tolist(), strict=True)]
    harmless = np.array([not CAUSES[found[0]].is_fault for found in causes], dtype=bool)
    rarity[which] = np.where(is_rare & harmless, np.minimum(rarity[which], held(rarity[which])), rarity[which])
    either = np.maximum(rarity, by_rules)
    judged = case.readable & (case.has_baseline | (case.broken.severity.max(axis=1, initial=0.0) >= WATCH_FROM))
    either = np.where(judged, either, np.nan)
    severity = severities(either)
    # Bubbles are what is suspected where nothing else is odd, and the other cause where something is.
    for row in np.flatnonzero(case.broken.breaks("bubbles")[which]).tolist():
        others = [cause for cause in causes[row] if cause not in ("air", "unknown")]
        n_before = int(case.screening.fault[which[row]] >= _LOOKED_AT and causes[row][0] != "air")
        causes[row] = [*others[:n_before], "air", *others[n_before:]]
    # What is reported anyway speaks for itself where the bin looks as usual.
    for row, (at, rare) in enumerate(zip(which.tolist(), is_rare.tolist(), strict=True)):
        if not rare and case.deviations.moved[at]:
            causes[row] = ["moved"]
        elif not rare and case.deviations.changed[at]:
            causes[row] = ["config_change"]
    verdict = verdicts(severity, np.full(len(severity), case.threshold), case.readable, judged)
    severity = np.where(case.readable & ~judged, np.nan, severity)
    return Decision(either, severity, verdict, _affected(case, verdict, which, causes), which, causes)


def _causes(
    case: Case, which: NDArray[np.int64], evidence: Evidence, metadata: Sequence[FeatureMetadata]
) -> list[list[str]]:
    """The causes that each of these bins looks like, likeliest first."""
    explanation = evidence.explanation
    by_water = case.screening.fault[which] < _LOOKED_AT
    creeps = np.abs(_value(evidence, metadata, "drift_x_px")) > _CREEPS_PX
    possible = {
        "config_change": (case.deviations.changed | case.deviations.settling)[which],
        "moved": np.zeros(len(which), dtype=bool),  # its place is known: it explains nothing else
        # Nothing excuses lost images: blind triggers rearm sooner, so that more of them come.
        "post_clean": explanation.rinsed & ~evidence.sure,
        "bloom": by_water & (evidence.n_bins == 1),
        "community": by_water & (evidence.n_bins == 1),
        # Larger boxes alone are the water's: out of focus, the small particles are lost.
        "focus": explanation.images_lost,
        "air": _shows_air(evidence, metadata) & ~_at_edges(evidence, metadata),
        "alignment": ~creeps,
        "laser": ~creeps,
    }
    # Beside a fault, what the water does as well does not tell which one it is.
    counted = np.where(by_water[:, None], np.float32(1.0), explanation.fault_factor)
    return suspected(likeness(evidence.rarities, counted, evidence.z, metadata), possible)


def _affected(
    case: Case, verdict: NDArray[np.object_], which: NDArray[np.int64], causes: list[list[str]]
) -> NDArray[np.float64]:
    """The share of each bin that is not to be used, shape (n,); NaN where that is not judged."""
    found = np.where(np.isin(verdict, ("not_judged", "unreadable")), np.nan, 0.0)
    odd = np.flatnonzero(np.isin(verdict[which], ("bad", "watch")))
    # What breaks a rule is told by the rule's cause.
    rules = case.broken.at(which[odd]).worst_first()
    named = [
        case.broken.rules[numbers[0]].cause
        if numbers and case.broken.severity[row, numbers[0]] >= SURE
        else causes[at][0]
        for at, row, numbers in zip(odd.tolist(), which[odd].tolist(), rules, strict=True)
    ]
    found[which[odd]] = affected(case.losses.at(which[odd]), named)
    return found


def _shows_air(evidence: Evidence, metadata: Sequence[FeatureMetadata]) -> NDArray[np.bool_]:
    """Whether more boxes than usual lie off the core, or are large and round: else there is no air, shape (k,)."""
    told_by = [i for i, feature in enumerate(metadata) if feature.name in ("stray_fraction", "bubble_fraction")]
    shows: NDArray[np.bool_] = np.nan_to_num(evidence.z[:, told_by]) > _SHOWS_Z
    return np.logical_or.reduce(shows, axis=1)


def _at_edges(evidence: Evidence, metadata: Sequence[FeatureMetadata]) -> NDArray[np.bool_]:
    """Whether most boxes off the core touch the edge of the frame: air is anywhere."""
    edge, stray = (_value(evidence, metadata, name) for name in ("edge_touch_fraction", "stray_fraction"))
    return edge > _MOST * np.maximum(stray, _FEW)


def _value(evidence: Evidence, metadata: Sequence[FeatureMetadata], name: str) -> NDArray[np.float64]:
    """A feature of the bins in its unit, shape (k,); 0 where it is unknown, or no feature of the model."""
    for column, feature in enumerate(metadata):
        if feature.name == name:
            values = evidence.centre[:, column] + evidence.z[:, column] * evidence.spread[:, column]
            return np.nan_to_num(plain_values(values.astype(np.float64), feature.scale))
    return np.zeros(len(evidence.z))
