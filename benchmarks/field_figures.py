"""What verdicts are worth on the archives of the field: shares and rankings beside what they must reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import bubbles, detectors, fault_days, field_day, wild_fleets
from benchmarks.field_features import Measured, measured, samples
from benchmarks.metrics import Ranking, Truths, ranking_metrics
from benchmarks.schedule import PLAIN, VARIATION

_BUBBLES = ("air", "bubbles")
_REJECTED = ("bad", "unreadable")
#: A severity may move by so much where bins of other instruments come or go.
_MOVED = 3.0
#: Training bins of the regimes of a short history: of both instruments, in the order of time.
_FIRST = (30, 50, 70)
#: A core that has moved is to be accepted, or held at ``watch``, after this many bins.
_ACCEPTED_AFTER = 24


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: what it is, from how many bins, and the bar (None: there is none), a least or a most."""

    name: str
    value: float
    n: int
    least: float | None = None
    most: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the bar is reached; True without one, or without bins."""
        if not self.n or not np.isfinite(self.value):
            return True
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """Verdicts on n bins: columns of ``bin_scores``, shape (n,) each, and the truths."""

    of: Measured
    rows: pa.Table

    def column(self, name: str) -> NDArray:
        """A column as an array."""
        return np.array(self.rows[name].to_pylist())

    @property
    def verdict(self) -> NDArray:
        """The verdicts."""
        return self.column("verdict")

    @property
    def is_bad(self) -> NDArray[np.bool_]:
        """Bins that are called bad or unreadable."""
        return np.isin(self.verdict, _REJECTED)

    @property
    def is_not_ok(self) -> NDArray[np.bool_]:
        """Bins that are not called ok, those not judged among them."""
        return self.verdict != "ok"

    @property
    def names_bubbles(self) -> NDArray[np.bool_]:
        """Bins that are not ok, with air or bubbles as first or second cause."""
        causes = (np.isin(self.column(name), _BUBBLES) for name in ("cause", "second_cause"))
        return self.is_not_ok & np.logical_or(*causes)

    @property
    def badness(self) -> NDArray[np.float64]:
        """Severities; what is unreadable comes first, what is not judged finds nothing."""
        severity = self.rows["severity"].to_numpy(zero_copy_only=False).astype(np.float64)
        severity = np.where(self.verdict == "not_judged", -np.inf, severity)
        return np.where(np.isnan(severity), np.inf, severity)

    def part(self, rows: NDArray) -> "Said":
        """Those of some bins (mask)."""
        part = Measured(self.of.features.filter(pa.array(rows)), self.of.truths.of_rows(rows))
        return Said(part, self.rows.filter(pa.array(rows)))


def _share(name: str, hits: NDArray, least: float | None = None, most: float | None = None) -> Figure:
    return Figure(name, float(np.mean(hits)) if len(hits) else float("nan"), len(hits), least, most)


def _at_once(everything: Measured) -> Said:
    return Said(everything, detectors.default_model(everything.features).judge(everything.features))


def of_field_day(seed: int, *, small: bool, folder: Path) -> list[Figure]:
    """A day of two instruments: alone, without the word in the header, among strangers, and from its first bins."""
    size = field_day.SMALL if small else None
    day = measured(field_day.archive(seed, size))
    alone = _at_once(day)
    figures = _of_day("day", alone)
    figures += _of_day("day, word replaced", _at_once(measured(field_day.archive(seed, size, word=False))))
    others = measured(field_day.strangers(seed, size))
    real = samples(folder)
    mixed = _at_once(day.and_of(others if real is None else _some_of(real).and_of(others)))
    is_own = np.arange(len(mixed.verdict)) < len(alone.verdict)
    own = mixed.part(is_own)
    figures += _of_day("day among strangers", own)
    figures += [
        _share("day among strangers: verdicts that changed", own.verdict != alone.verdict, most=0.0),
        _share("day among strangers: severity moved by > 3", _moved(own, alone), most=0.0),
        _share("strangers of 1-4 bins called ok", mixed.verdict[~is_own] == "ok", most=0.0),
    ]
    for n_first in _FIRST[:1] if small else _FIRST:
        figures += _of_short_history(day, n_first)
    return [*figures, *_of_affected(alone)]


def _moved(one: Said, other: Said) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        return np.abs(np.nan_to_num(one.badness - other.badness)) > _MOVED


def _some_of(real: Measured) -> Measured:
    """The public bins but for those with bubbles."""
    rows = real.truths.name != "bubbles"
    return Measured(real.features.filter(pa.array(rows)), real.truths.of_rows(rows))


def _of_day(name: str, said: Said) -> list[Figure]:
    truths = said.of.truths
    ranked = ranking_metrics([Ranking(said.badness, truths)])["average_precision"]
    return [
        _share(f"{name}: odd bins bad", said.is_bad[truths.is_fault], least=1.0),
        Figure(f"{name}: AP", ranked.value, ranked.n, least=0.97),
        _share(f"{name}: others not ok", said.is_not_ok[truths.is_healthy], most=0.06),
    ]


def _of_short_history(day: Measured, n_first: int) -> list[Figure]:
    """Verdicts on the rest by the first bins of the day, with these as history and without."""
    order = np.argsort(day.features["start_time"].to_numpy(), kind="stable")
    is_first = np.isin(np.arange(len(order)), order[:n_first])
    train, rest = (day.features.filter(pa.array(rows)) for rows in (is_first, ~is_first))
    model, truths = detectors.default_model(train), day.truths.of_rows(~is_first)
    asked = Measured(rest, truths)
    alone, later = Said(asked, model.judge(rest)), Said(asked, model.judge(rest, train))
    name = f"first {n_first} train"
    return [
        _share(f"{name}: others bad", alone.is_bad[truths.is_healthy], most=0.05),
        _share(f"{name}, as history: others bad", later.is_bad[truths.is_healthy], most=0.05),
        _share(f"{name}: odd bins bad", alone.is_bad[truths.is_fault]),
        _share(f"{name}, as history: odd bins bad", later.is_bad[truths.is_fault]),
    ]


def _of_affected(said: Said) -> list[Figure]:
    """Whether more is said to be lost of a bin that was blind for half of its run than of one blind for 25 s."""
    name, truths = "half blind ranks above 25 s blind", said.of.truths
    half, gap = (truths.name == kind for kind in ("blind_half", "image_gap"))
    pairs = said.badness[half][:, None] > said.badness[gap][None]
    figures = [_share(f"{name}, by severity", pairs.ravel(), least=1.0)]
    if "affected_fraction" in said.rows.column_names:
        affected = said.rows["affected_fraction"].to_numpy(zero_copy_only=False).astype(np.float64)
        pairs = affected[half][:, None] > affected[gap][None]
        off = np.abs(np.nan_to_num(affected) - truths.severity)[truths.is_fault]
        figures += [
            _share(f"{name}, by affected_fraction", pairs.ravel(), least=1.0),
            _share("odd bins whose affected_fraction is within .15 of the truth", off <= 0.15),
        ]
    return figures


def of_bubbles(seed: int, *, small: bool, folder: Path) -> list[Figure]:
    """Simulated bubbles, and the public bins that were filed so."""
    said = _at_once(measured(bubbles.archive(seed, bubbles.SMALL if small else None)))
    truths = said.of.truths
    is_only = truths.is_fault & ~np.isin(truths.instrument, truths.instrument[~truths.is_fault])
    figures = [
        _share("bubbles, simulated: found", said.names_bubbles[truths.is_fault & ~is_only], least=0.9),
        _share("bubbles, simulated, nothing else of the instrument: found", said.names_bubbles[is_only], least=0.9),
        *(
            _share(f"{label} called bubbles", said.names_bubbles[rows], most=0.0)
            for label, rows in (
                ("healthy", truths.kind == PLAIN),
                ("long chains", truths.name == "chains"),
                ("detritus", truths.name == "detritus"),
            )
        ),
        _share("healthy beside bubbles: bad", said.is_bad[~truths.is_fault]),
    ]
    real = samples(folder)
    if real is None:
        return figures
    joined = _at_once(real.and_of(said.of))
    is_real = np.arange(len(joined.verdict)) < len(real.truths.pid)
    for name, judged in (("samples", _at_once(real)), ("samples + simulated", joined.part(is_real))):
        found, is_bubbly = judged.names_bubbles, judged.of.truths.is_fault
        figures += [
            _share(f"bubbles, {name}: found", found[is_bubbly], least=0.8),
            _share(f"{name}: healthy called bubbles", found[~is_bubbly], most=0.0),
        ]
    return figures


def of_days(seed: int, *, small: bool, folder: Path) -> list[Figure]:
    """Faults of days, judged day by day with seven days of history by a model of the first days."""
    del folder
    size = fault_days.SMALL if small else fault_days.DaysSize()
    everything = measured(fault_days.archive(seed, size))
    start = everything.features["start_time"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy()
    is_first = start < start.min() + size.first_days * 86400
    train, rest = (everything.features.filter(pa.array(rows)) for rows in (is_first, ~is_first))
    truths = everything.truths.of_rows(~is_first)
    rows = detectors.day_by_day(detectors.default_model(train), train, rest)
    said = Said(Measured(rest, truths), rows)
    is_repaired, is_moved = truths.name == "repaired", truths.name == "moved"
    bad, lasting = said.is_bad, truths.is_fault
    figures = [
        _share("days: faulty bins found", bad[lasting], least=0.97),
        _share("days: plain bins bad", bad[(truths.kind == PLAIN) & ~is_repaired], most=0.015),
        _share("days: bad within two days of a repair", bad[is_repaired], most=0.03),
        _share("days: second bin after a repair not ok", said.is_not_ok[is_repaired & (truths.place == 1)], most=0.0),
        _share("days: last day of a fault found", bad[lasting & _is_late(truths)]),
        _share("days: moved core bad after a day", bad[is_moved & (truths.place >= _ACCEPTED_AFTER)], most=0.03),
        _share("days: moved core told (not ok) in its first three bins", said.is_not_ok[is_moved & (truths.place < 3)]),
    ]
    return figures + [
        _share(f"days: {name} found", bad[lasting & (truths.name == name)])
        for name in sorted(set(truths.name[lasting].tolist()))
    ]


def _is_late(truths: Truths) -> NDArray[np.bool_]:
    """Bins of the last 24 of their episode, shape (n,)."""
    key = np.char.add(truths.instrument.astype(str), truths.episode.astype(str))
    last = {k: truths.place[key == k].max() for k in np.unique(key[truths.is_fault]).tolist()}
    return np.array([k in last and place > last[k] - 24 for k, place in zip(key.tolist(), truths.place, strict=True)])


def of_strangers(seed: int, *, small: bool, folder: Path) -> list[Figure]:
    """Archives of strangers at once, and instruments that no training has seen."""
    del folder
    size = wild_fleets.SMALL if small else None
    archive = measured(wild_fleets.archive(seed, size))
    model = detectors.default_model(archive.features)
    said = Said(archive, model.judge(archive.features))
    truths = archive.truths
    ranked = ranking_metrics([Ranking(said.badness, truths)])
    water = (truths.kind == VARIATION) & (truths.name != "dilution")
    unseen = measured(wild_fleets.unknown(seed, size))
    judged = Said(unseen, model.judge(unseen.features))
    return [
        Figure("strangers: AUROC", ranked["auroc"].value, ranked["auroc"].n, least=0.99),
        Figure("strangers: AP", ranked["average_precision"].value, ranked["auroc"].n, least=0.95),
        Figure("strangers: recall at 1 %", ranked["recall_1"].value, ranked["auroc"].n, least=0.95),
        _share("strangers: bloom, detritus bad", said.is_bad[water], most=0.05),
        _share("strangers: detritus bad", said.is_bad[truths.name == "detritus"], most=0.05),
        _share("strangers: dilution bad", said.is_bad[truths.name == "dilution"], most=0.05),
        _share("strangers: plain bins bad", said.is_bad[truths.kind == PLAIN]),
        _share("strangers: faults bad", said.is_bad[truths.is_fault]),
        _share("unknown instrument, in order: called ok", judged.verdict[~unseen.truths.is_fault] == "ok", most=0.0),
        _share("unknown instrument, a wreck: called ok", judged.verdict[unseen.truths.is_fault] == "ok", most=0.0),
        _share("unknown instrument, a wreck: bad", judged.is_bad[unseen.truths.is_fault]),
    ]


PARTS = {"field-day": of_field_day, "bubbles": of_bubbles, "days": of_days, "strangers": of_strangers}


def pooled(figures: Sequence[Figure]) -> Figure:
    """The same figure over several seeds: the mean by numbers of bins."""
    known = [figure for figure in figures if figure.n]
    first, n = figures[0], sum(figure.n for figure in known)
    value = sum(figure.value * figure.n for figure in known) / n if n else float("nan")
    return Figure(first.name, value, n, first.least, first.most)
