"""What came out of a blind study: how well reviewers and model agree, and which bins to look at again."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ifcb_flow_pipeline.review.agreement import (
    Confusion,
    Kappa,
    Rate,
    by_cause,
    consensus,
    disputed,
    fleiss_kappa,
    kappa_between,
    krippendorff_alpha,
)
from ifcb_flow_pipeline.review.sampling import order_for
from ifcb_flow_pipeline.store.studies import MODEL, Item, Rating

#: Who takes longer for an answer has done something else meanwhile.
LONGEST_ANSWER_S = 60.0

#: Stands for the cause of bins of which the model suspects none.
NO_CAUSE = "none"


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study and its standing ratings, oldest first. Bins are told apart by pid; a repeat is no second bin."""

    items: Sequence[Item]
    ratings: Sequence[Rating]

    @property
    def reviewers(self) -> list[str]:
        """Who has rated anything blindly, in alphabetical order."""
        return sorted({rating.reviewer for rating in self.ratings if rating.round == "blind"})

    @property
    def model(self) -> dict[str, str]:
        """What the model said of each bin: bad, or good for anything milder."""
        return {item.pid: "bad" if item.verdict == "bad" else "good" for item in self._first_showings.values()}

    @property
    def settled(self) -> dict[str, str]:
        """What was decided when disputed bins were looked at again; the latest word counts."""
        pids = {item.id: item.pid for item in self.items}
        return {pids[rating.item]: rating.decision for rating in self.ratings if rating.round == "again"}

    @property
    def agreed(self) -> dict[str, str]:
        """The consensus about each bin, with what was settled on a second look."""
        return consensus([self.said_by(name) for name in self.reviewers], self.settled)

    @property
    def disputed(self) -> list[str]:
        """The bins that are to be looked at again and have not been, by pid."""
        found = disputed([self.said_by(name) for name in self.reviewers], self.model)
        return [pid for pid in found if pid not in self.settled]

    def said_by(self, reviewer: str) -> dict[str, str]:
        """A reviewer's blind judgement of each bin at its first showing."""
        first = self._first_showings
        return {first[item].pid: decision for item, decision in self._blind(reviewer).items() if item in first}

    def marks_by(self, reviewer: str) -> dict[str, int]:
        """A reviewer's ratings from 0, surely good, to 100, surely bad, of the bins at their first showing."""
        first = self._first_showings
        mine = [one for one in self.ratings if one.reviewer == reviewer and one.round == "blind" and one.item in first]
        return {first[one.item].pid: one.mark for one in mine if one.mark is not None}

    def confusion(self, name: str, reference: Mapping[str, str] | None = None) -> Confusion:
        """A reviewer, or MODEL, against the truth: ``reference``, known answers by pid, where it is given; else the
        consensus, for a reviewer that of the others.

        What was settled on a second look is the truth for everyone, but for known answers.
        """
        if reference is not None:
            return Confusion.of(self.model if name == MODEL else self.said_by(name), reference)
        if name == MODEL:
            return Confusion.of(self.model, self.agreed)
        others = [self.said_by(other) for other in self.reviewers if other != name]
        return Confusion.of(self.said_by(name), consensus(others, self.settled))

    def model_on_all_bins(self) -> Confusion:
        """The model against the consensus with each bin counted as often as it stands for others."""
        weights = {item.pid: item.weight for item in self._first_showings.values()}
        return Confusion.weighted(self.model, self.agreed, weights)

    def kappas(self) -> dict[tuple[str, str], Kappa]:
        """Agreement of each pair of reviewers, and of each with the model."""
        said = {name: self.said_by(name) for name in self.reviewers} | {MODEL: self.model}
        names = list(said)
        return {(a, b): kappa_between(said[a], said[b]) for i, a in enumerate(names) for b in names[i + 1 :]}

    def kappa_with_oneself(self, reviewer: str) -> Kappa:
        """Agreement of a reviewer's first and second judgement of the bins that were shown twice."""
        blind = self._blind(reviewer)
        pairs = {item.pid: (item.repeat_of, item.id) for item in self.items
                 if item.repeat_of is not None and item.id is not None}  # fmt: skip
        both = {pid: ids for pid, ids in pairs.items() if blind.keys() >= set(ids)}
        first, second = ({pid: blind[ids[side]] for pid, ids in both.items()} for side in (0, 1))
        return kappa_between(first, second)

    def agreement_of_all(self) -> dict[str, Kappa]:
        """Krippendorff's alpha and Fleiss' kappa of all reviewers."""
        said = [self.said_by(name) for name in self.reviewers]
        return {"Krippendorff's alpha": krippendorff_alpha(said), "Fleiss' kappa": fleiss_kappa(said)}

    def seconds(self, name: str) -> float:
        """The median time of a reviewer's answers, s, pauses counted as LONGEST_ANSWER_S at most; NaN without any."""
        times = [min(one.seconds, LONGEST_ANSWER_S) for one in self.ratings
                 if one.reviewer == name and one.round == "blind" and one.seconds > 0]  # fmt: skip
        return median(times) if times else math.nan

    def by_cause(self) -> dict[str, Counter[str]]:
        """How often reviewers called bins of each of the model's suspected causes good, bad or unsure."""
        causes = {item.pid: item.cause or NO_CAUSE for item in self.items}
        found: dict[str, Counter[str]] = {}
        for name in self.reviewers:
            for cause, counts in by_cause(self.said_by(name), causes).items():
                found.setdefault(cause, Counter()).update(counts)
        return dict(sorted(found.items(), key=lambda entry: -entry[1].total()))

    def confusion_by_cause(self) -> dict[str, Confusion]:
        """The model against the consensus over the bins of each cause that it suspects, the most frequent first."""
        bins: dict[str, dict[str, str]] = {}
        for item in self._first_showings.values():
            bins.setdefault(item.cause or NO_CAUSE, {})[item.pid] = self.model[item.pid]
        agreed = self.agreed
        ordered = sorted(bins.items(), key=lambda entry: -len(entry[1]))
        return {cause: Confusion.of(said, agreed) for cause, said in ordered}

    def causes_named(self) -> dict[tuple[str, str], int]:
        """How often people named which cause of a bin, by the cause that the model suspects: most frequent first."""
        first = self._first_showings
        return dict(
            Counter(
                (first[rating.item].cause or NO_CAUSE, rating.cause)
                for rating in self.ratings
                if rating.cause and rating.item in first
            ).most_common()
        )

    def statistics(self) -> list[dict[str, Any]]:
        """All rates and kappas with their intervals as rows of the CSV export."""
        found = []
        for name in (*self.reviewers, MODEL):
            confusion = self.confusion(name)
            rates = {
                "accuracy": confusion.accuracy,
                "true_positive_rate": confusion.true_positive_rate,
                "false_positive_rate": confusion.false_positive_rate,
            }
            found += [_statistic(name, measure, "consensus", rate) for measure, rate in rates.items()]
        found += [_statistic(first, "kappa", second, kappa) for (first, second), kappa in self.kappas().items()]
        return found + [_statistic(name, "kappa", name, self.kappa_with_oneself(name)) for name in self.reviewers]

    def rows(self) -> list[dict[str, Any]]:
        """Every rating as a row of the CSV export."""
        items = {item.id: item for item in self.items}
        agreed = self.agreed
        return [_row(rating, items[rating.item], agreed) for rating in self.ratings]

    @property
    def _first_showings(self) -> dict[int | None, Item]:
        return {item.id: item for item in self.items if item.repeat_of is None}

    def _blind(self, reviewer: str) -> dict[int, str]:
        """A reviewer's latest blind decision by item."""
        return {rating.item: rating.decision for rating in self.ratings
                if rating.reviewer == reviewer and rating.round == "blind"}  # fmt: skip


def left_for(reviewer: str, items: Sequence[Item], ratings: Sequence[Rating]) -> list[Item]:
    """The items that a reviewer has not rated blindly yet, in the order in which they are shown."""
    by_id: Mapping[int, Item] = {item.id: item for item in items if item.id is not None}
    rated = {rating.item for rating in ratings if rating.reviewer == reviewer and rating.round == "blind"}
    return [by_id[number] for number in order_for(reviewer, list(by_id)) if number not in rated]


def _statistic(who: str, measure: str, against: str, value: Rate | Kappa) -> dict[str, Any]:
    return {"who": who, "measure": measure, "against": against, "value": value.value, "low": value.low,
            "high": value.high, "n": value.n}  # fmt: skip


def _row(rating: Rating, item: Item, agreed: Mapping[str, str]) -> dict[str, Any]:
    return {
        "pid": item.pid,
        "reviewer": rating.reviewer,
        "round": rating.round,
        "decision": rating.decision,
        "rating": rating.mark,
        "cause": rating.cause,
        "note": rating.note,
        "seconds": round(rating.seconds, 1),
        "at": rating.at.isoformat(timespec="seconds"),
        "shown_again": item.repeat_of is not None,
        "stratum": item.stratum,
        "model_verdict": item.verdict,
        "model_severity": round(item.severity, 2),
        "model_cause": item.cause,
        "consensus": agreed.get(item.pid, ""),
    }
