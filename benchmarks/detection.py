"""How well bad bins are found: ``python -m benchmarks.detection`` prints tables, and writes them as JSON and Markdown.

Every detector gets the same bins: of simulated archives (``fleets``: this package's simulator;
``second_simulator`` and ``third_simulator``: two that share nothing with it), and of real clouds with faults put
into them (``injected``). It is trained as its users would: see REGIMES.
"""

import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from benchmarks import detection_tables, detectors, fleets, injected, metrics, second_simulator, third_simulator
from benchmarks.causes import CAUSES, FEW_POINTS
from benchmarks.detectors import Detector, Verdicts
from benchmarks.kept import SMALL
from benchmarks.metrics import Estimate, Ranking, Truths
from benchmarks.schedule import ASIDE, PLAIN, VARIATION, Fleet
from benchmarks.table import machine
from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of

FIRST_PART = 0.4
FEW_BINS = 80

#: What a detector is trained on, and what it judges: the archive itself, faults included; the same with FEW_BINS of
#: each instrument; the first part of each instrument, and then the rest, our own day by day as the pipeline does; all
#: instruments but one, and then that one.
REGIMES = ("same", "few bins", "later", "unseen instrument")
_SOURCES = ("first", "second", "third", "bare", "real")
_FOUND = ("bad", "unreadable")


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """A fleet with its features: rows of ``bin_features`` and truths in the same order, and what a bin took (s)."""

    name: str
    features: pa.Table
    truths: Truths
    seconds_per_bin: float


@dataclass(slots=True)
class Outcome:
    """What a detector made of all archives in a regime."""

    detector: str
    regime: str
    rankings: list[Ranking] = field(default_factory=list)
    rows: list[pa.Table | None] = field(default_factory=list)
    seconds_per_bin: list[float] = field(default_factory=list)


def features_of(fleet: Fleet) -> Archive:
    """The features of a fleet's bins, in the order of its truths."""
    from ifcb_flow_pipeline.api import Work, archive_features
    from ifcb_flow_pipeline.features.extract import FeatureSettings
    from ifcb_flow_pipeline.store.archive import Archive as BinArchive

    pids = [truth.pid for truth in fleet.truths]
    archive = BinArchive(fleet.root, settle=timedelta())
    started = time.perf_counter()
    features = archive_features(archive, pids, FeatureSettings(), Work(n_jobs=1))
    seconds = (time.perf_counter() - started) / max(len(pids), 1)
    return Archive(fleet.name, features, Truths.of(fleet.truths), seconds)


def compare(archives: Sequence[Archive], compared: Sequence[Detector], regimes: Iterable[str]) -> list[Outcome]:
    """Let every detector judge every archive."""
    outcomes = []
    for regime in regimes:
        for detector in compared:
            outcome = Outcome(detector.name, regime)
            for archive in archives:
                _judge(outcome, detector, archive)
            outcomes.append(outcome)
    return outcomes


def _judge(outcome: Outcome, detector: Detector, archive: Archive) -> None:
    known, asked = split(archive.truths, outcome.regime)
    train, judged = (archive.features.filter(pa.array(rows)) for rows in (known, asked))
    started = time.perf_counter()
    verdicts: Verdicts = detector.judge(train, judged)
    outcome.seconds_per_bin.append((time.perf_counter() - started) / max(int(asked.sum()), 1))
    outcome.rankings.append(Ranking(verdicts.badness, archive.truths.of_rows(asked)))
    outcome.rows.append(verdicts.rows)


def split(truths: Truths, regime: str) -> tuple[np.ndarray, np.ndarray]:
    """Which bins a detector is trained on in a regime, and which it judges; shape (n,) each."""
    everything = np.ones(len(truths.pid), dtype=bool)
    if regime == "unseen instrument":
        unseen = truths.instrument == truths.instrument[-1]
        return ~unseen, unseen
    number, n_bins = np.zeros((2, len(truths.pid)))
    for instrument in np.unique(truths.instrument):
        rows = np.flatnonzero(truths.instrument == instrument)
        number[rows], n_bins[rows] = np.arange(len(rows)), len(rows)
    if regime == "few bins":
        return number < FEW_BINS, number < FEW_BINS
    early = number < np.floor(FIRST_PART * n_bins)
    return (early, ~early) if regime == "later" else (everything, everything)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """All bins that a detector with verdicts judged: truths and columns of ``bin_scores``, shape (n,) each."""

    truths: Truths
    verdict: np.ndarray
    severity: np.ndarray
    causes: list[tuple[str, ...]]
    reasons: list[str]

    @classmethod
    def of(cls, outcome: Outcome) -> "Judged | None":
        """Those of an outcome; None where the detector gives no verdicts."""
        tables = [rows for rows in outcome.rows if rows is not None]
        if not tables:
            return None
        rows = [row for table in tables for row in table.to_pylist()]
        parts = [ranking.truths for ranking in outcome.rankings]
        return cls(
            Truths(*(np.concatenate([getattr(part, name) for part in parts]) for name in Truths.__slots__)),
            np.array([row["verdict"] for row in rows]),
            np.array([row["severity"] for row in rows]),
            [tuple(c for c in (row["cause"], row["second_cause"]) if c) for row in rows],
            [row["reasons"] or "" for row in rows],
        )

    @property
    def is_found(self) -> np.ndarray:
        """Bins called bad or unreadable, shape (n,)."""
        return np.isin(self.verdict, _FOUND)

    def right_cause(self, among: int) -> np.ndarray:
        """Bins with a right cause among the first ones, shape (n,)."""
        names = self.truths.name.tolist()
        return np.array(
            [bool(CAUSES.get(n, frozenset()) & set(c[:among])) for n, c in zip(names, self.causes, strict=True)]
        )


def verdict_metrics(judged: Judged) -> dict[str, Estimate]:
    """Shares of bins called bad, right causes, and what became of runs with hardly a cloud."""
    truths, found = judged.truths, judged.is_found
    rows: dict[str, Estimate] = {
        "recall of verdicts": metrics.share(found[truths.is_fault]),
        "precision of verdicts": metrics.share(truths.is_fault[found & (truths.kind != ASIDE)]),
        "plain bins called bad": metrics.share(found[truths.kind == PLAIN]),
    }
    for name in np.unique(truths.name[truths.kind == VARIATION]).tolist():
        rows[f"{name} called bad"] = metrics.share(found[(truths.kind == VARIATION) & (truths.name == name)])
    rows["bloom or detritus called bad"] = metrics.share(found[np.isin(truths.name, ("bloom", "detritus"))])
    is_hit = truths.is_fault & found
    rows["right cause first"] = metrics.share(judged.right_cause(1)[is_hit])
    rows["right cause among two"] = metrics.share(judged.right_cause(2)[is_hit])
    few = truths.is_fault & np.isin(truths.name, FEW_POINTS)
    rows["near-empty and incomplete: ranked"] = metrics.share(np.isfinite(judged.severity[few]))
    rows["near-empty and incomplete: called bad"] = metrics.share(found[few])
    rows["near-empty and incomplete: right cause first"] = metrics.share(judged.right_cause(1)[few])
    beads = truths.name == "bead_run"
    rows["bead run recognised"] = metrics.share(judged.right_cause(2)[beads])
    return rows


def cause_table(judged: Judged) -> dict[str, Estimate]:
    """Share of found faults with a right cause among the first two, per fault."""
    truths, right = judged.truths, judged.right_cause(2)
    hits = truths.is_fault & judged.is_found
    return {name: metrics.share(right[hits & (truths.name == name)]) for name in np.unique(truths.name[hits]).tolist()}


def onset_metrics(outcome: Outcome) -> dict[str, Estimate]:
    """How many onsets of episodes of three bins or more are found within two bins: of all, and of those found."""
    errors: list[int] = []
    missed = 0
    for ranking, rows in zip(outcome.rankings, outcome.rows, strict=True):
        if rows is None:
            return {}
        found, lost = metrics.onsets(ranking.truths, _episode_starts(ranking.truths, rows))
        errors += found
        missed += lost
    near = np.abs(np.array(errors, dtype=int)) <= 2
    return {
        "onset within 2 bins, of all episodes": metrics.share(np.append(near, np.zeros(missed, dtype=bool))),
        "onset within 2 bins, of episodes found": metrics.share(near),
    }


def _episode_starts(truths: Truths, rows: pa.Table) -> np.ndarray:
    """For each bin, the number of the first bin of the episode of bad bins that it is in, -1 outside."""
    number = {pid: i for i, pid in enumerate(truths.pid.tolist())}
    starts = np.full(len(truths.pid), -1)
    for episode in episodes_of(rows):
        first = number[episode.first_pid]
        starts[first : number[episode.last_pid] + 1] = first
    return starts


def cases(outcome: Outcome, most: int = 40) -> dict[str, list[str]]:
    """The bins that went wrong: missed faults, false alarms and wrong causes, with what was said of them."""
    judged = Judged.of(outcome)
    if judged is None:
        return {}
    truths, found = judged.truths, judged.is_found
    wrong = truths.is_fault & found & ~judged.right_cause(2)

    def lines(chosen: np.ndarray, order: np.ndarray) -> list[str]:
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(order[rows])][:most]
        return [
            f"{truths.pid[i]} {truths.name[i] or 'plain'} {truths.severity[i]:.2f}: severity "
            f"{judged.severity[i]:.0f} {judged.verdict[i]}, {'/'.join(judged.causes[i]) or '-'}: "
            f"{judged.reasons[i][:200]}"
            for i in rows.tolist()
        ]

    return {
        "missed, plainest first": lines(truths.is_fault & ~found, -truths.severity),
        "false alarms, worst first": lines(truths.is_healthy & found, -judged.severity),
        "wrong cause": lines(wrong, -truths.severity),
    }


def report(outcomes: Sequence[Outcome], archives: Sequence[Archive]) -> dict[str, Any]:
    """Everything measured, as plain values."""
    content: dict[str, Any] = {
        "machine": machine(),
        "archives": [
            {"name": a.name, "bins": len(a.truths.pid), "faults": int(a.truths.is_fault.sum())} for a in archives
        ],
        "features_seconds_per_bin": float(np.mean([archive.seconds_per_bin for archive in archives])),
        "detectors": [],
    }
    for outcome in outcomes:
        judged = Judged.of(outcome)
        entry: dict[str, Any] = {
            "detector": outcome.detector,
            "regime": outcome.regime,
            "seconds_per_bin": float(np.mean(outcome.seconds_per_bin)),
            "ranking": _plain(metrics.ranking_metrics(outcome.rankings)),
            "by_fault": {k: _plain(v) for k, v in metrics.recall_by_fault(outcome.rankings).items()},
        }
        if judged is not None:
            entry["verdicts"] = _plain(verdict_metrics(judged) | onset_metrics(outcome))
            entry["causes"] = _plain(cause_table(judged))
            entry["cases"] = cases(outcome)
        content["detectors"].append(entry)
    return content


def _plain(estimates: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def fleet(source: str, seed: int, samples: Path, *, small: bool = False) -> Fleet | None:
    """The archive of a source and a seed; None where the real bins are not there."""
    size = SMALL if small else None
    if source == "real":
        return injected.archive(samples, seed, small=small)
    if source == "first":
        return fleets.fleet(seed, size)
    if source == "third":
        return third_simulator.archive(seed, size)
    return second_simulator.archive(seed, size, bare=source == "bare")


def measured(task: tuple[str, int, Path, bool, tuple[str, ...]]) -> tuple[list[Archive], list[Outcome]]:
    """What detectors, those whose names start so, make of the archive of a source and a seed; nothing without one."""
    source, seed, samples, small, names = task
    found = fleet(source, seed, samples, small=small)
    if found is None:
        return [], []
    compared = [*detectors.ours(), *detectors.reference(), *detectors.pyod()]
    archive = features_of(found)
    return [archive], compare([archive], [d for d in compared if not names or d.name.startswith(names)], REGIMES)


def joined(parts: Sequence[list[Outcome]]) -> list[Outcome]:
    """The outcomes over all archives from those of each."""
    whole: dict[tuple[str, str], Outcome] = {}
    for part in parts:
        for outcome in part:
            one = whole.setdefault((outcome.detector, outcome.regime), Outcome(outcome.detector, outcome.regime))
            one.rankings += outcome.rankings
            one.rows += outcome.rows
            one.seconds_per_bin += outcome.seconds_per_bin
    return list(whole.values())


@click.command()
@click.option("--seeds", default=5, show_default=True, help="How many archives of each source.")
@click.option("--first-seed", default=0, show_default=True, help="The seed of the first archive.")
@click.option("--source", "sources", type=click.Choice(_SOURCES), multiple=True, default=_SOURCES, show_default=True)
@click.option("--only", "names", multiple=True, help="Only detectors whose name starts so.")
@click.option("--samples", type=click.Path(path_type=Path), default=Path("../shared/ifcb-samples"), show_default=True,
              help="Folder of public bins for the source real; left out where it is not there.")  # fmt: skip
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Archives at a time.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results"), show_default=True,
              help="Folder for detection.md, and detection-*.json and .md of each source.")  # fmt: skip
def main(
    seeds: int,
    first_seed: int,
    sources: tuple[str, ...],
    names: tuple[str, ...],
    samples: Path,
    small: bool,
    jobs: int,
    output: Path,
) -> None:
    """Measure, print, and write the tables."""
    output.mkdir(parents=True, exist_ok=True)
    contents = {}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for source in sources:
            tasks = [(source, seed, samples, small, names) for seed in range(first_seed, first_seed + seeds)]
            parts = list(map(measured, tasks) if jobs == 1 else pool.map(measured, tasks))
            archives = [archive for found, _ in parts for archive in found]
            if not archives:
                click.echo(f"{source}: no sample bins in {samples}")
                continue
            content = contents[source] = report(joined([outcomes for _, outcomes in parts]), archives)
            (output / f"detection-{source}.json").write_text(json.dumps(content, indent=1) + "\n")
            (output / f"detection-{source}.md").write_text(detection_tables.of_source(content))
            click.echo(f"{source}: {len(archives)} archives")
    summary = detection_tables.of_all(contents)
    (output / "detection.md").write_text(summary)
    click.echo(summary)


if __name__ == "__main__":
    main()
