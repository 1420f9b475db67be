"""How well bad bins are found: ``python -m benchmarks.detection`` prints tables, and writes them as JSON and Markdown.

Every detector gets the same bins of simulated archives (``fleets``: this package's simulator; ``second_simulator``:
one that shares nothing with it) and is trained as its users would: on the archive itself, faults included
("same"), or on its first part ("later": what comes after is judged).
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from benchmarks import detectors, fleets, metrics, second_simulator
from benchmarks.causes import CAUSES, FEW_POINTS
from benchmarks.detectors import Detector, Verdicts
from benchmarks.metrics import Estimate, Ranking, Truths
from benchmarks.schedule import ASIDE, PLAIN, VARIATION, Fleet
from benchmarks.table import machine

FIRST_PART = 0.4
REGIMES = ("same", "later")
_FOUND = ("bad", "unreadable")
_COLUMNS = (
    "detector", "trained on", "AUROC", "average precision", "recall at 1 %", "recall at 0.1 %", "at 1 % of plain bins",
    "ms a bin",
)  # fmt: skip


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
    features: list[pa.Table] = field(default_factory=list)
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
    is_early = _first_part(archive.truths)
    everything = np.ones(len(is_early), dtype=bool)
    known, asked = (is_early, ~is_early) if outcome.regime == "later" else (everything, everything)
    train, judged = (archive.features.filter(pa.array(rows)) for rows in (known, asked))
    started = time.perf_counter()
    verdicts: Verdicts = detector.judge(train, judged)
    outcome.seconds_per_bin.append((time.perf_counter() - started) / max(int(asked.sum()), 1))
    outcome.rankings.append(Ranking(verdicts.badness, archive.truths.of_rows(asked)))
    outcome.rows.append(verdicts.rows)
    outcome.features.append(judged)


def _first_part(truths: Truths) -> np.ndarray:
    early = np.zeros(len(truths.pid), dtype=bool)
    for instrument in np.unique(truths.instrument):
        rows = np.flatnonzero(truths.instrument == instrument)
        early[rows[: int(FIRST_PART * len(rows))]] = True
    return early


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
    bad = np.isin(np.array(rows.column("verdict").to_pylist()), _FOUND)
    starts = np.full(len(bad), -1)
    for instrument in np.unique(truths.instrument):
        numbers = np.flatnonzero(truths.instrument == instrument)
        hits = numbers[bad[numbers]]
        # Up to two bins in between do not end an episode.
        groups = np.split(hits, np.flatnonzero(np.diff(hits) > 3) + 1)
        for group in groups:
            if len(group):
                starts[group[0] : group[-1] + 1] = group[0]
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


def as_markdown(content: dict[str, Any]) -> str:
    """The report as Markdown."""
    bins = sum(archive["bins"] for archive in content["archives"])
    faults = sum(archive["faults"] for archive in content["archives"])
    lines = [
        content["machine"],
        "",
        f"{len(content['archives'])} archives, {bins} bins, {faults} of them faulty; features "
        f"{1000 * content['features_seconds_per_bin']:.1f} ms a bin.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
    ]
    for entry in content["detectors"]:
        values = " | ".join(str(Estimate(**value)) for value in entry["ranking"].values())
        ms = 1000 * entry["seconds_per_bin"]
        lines.append(f"| {entry['detector']} | {entry['regime']} | {values} | {ms:.2f} |")
    for entry in content["detectors"]:
        if "verdicts" in entry or entry["detector"].startswith("reference"):
            lines += _entry_lines(entry)
    return "\n".join(lines) + "\n"


def _entry_lines(entry: dict[str, Any]) -> list[str]:
    lines = ["", f"### {entry['detector']}, trained on: {entry['regime']}", ""]
    lines += [
        "| fault found at 1 % false alarms | all | mild | medium | gross | right cause |",
        "|---|---|---|---|---|---|",
    ]
    for name, bands in entry["by_fault"].items():
        cells = [_short(value) for value in bands.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {_short(entry.get('causes', {}).get(name))} |")
    if "verdicts" in entry:
        lines += ["", "| verdicts | |", "|---|---|"]
        lines += [f"| {name} | {Estimate(**value)} of {value['n']} |" for name, value in entry["verdicts"].items()]
    for title, found in entry.get("cases", {}).items():
        lines += ["", f"{title}:", "", *(f"- {line}" for line in found)]
    return lines


def _short(value: dict[str, Any] | None) -> str:
    if value is None or not value["n"]:
        return "-"
    return f"{value['value']:.2f} of {value['n']}"


def simulated(which: str, seeds: Sequence[int], small: bool) -> list[Fleet]:
    """The archives of a simulator, ``first`` or ``second``."""
    size = fleets.SMALL if small else None
    makers: dict[str, Callable[[int], Fleet]] = {
        "first": lambda seed: fleets.fleet(seed, size),
        "second": lambda seed: second_simulator.archive(seed, size),
    }
    return [makers[which](seed) for seed in seeds]


@click.command()
@click.option("--seeds", default=5, show_default=True, help="How many archives of each simulator.")
@click.option("--first-seed", default=0, show_default=True, help="The seed of the first archive.")
@click.option("--simulator", "simulators", type=click.Choice(["first", "second"]), multiple=True,
              default=("first", "second"), show_default=True)  # fmt: skip
@click.option("--only", "names", multiple=True, help="Only detectors whose name starts so.")
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results"), show_default=True,
              help="Folder for detection-*.json and .md.")  # fmt: skip
def main(
    seeds: int, first_seed: int, simulators: tuple[str, ...], names: tuple[str, ...], small: bool, output: Path
) -> None:
    """Measure, print, and write the tables."""
    compared = [*detectors.ours(), *detectors.reference(), *detectors.pyod()]
    compared = [d for d in compared if not names or d.name.startswith(names)]
    output.mkdir(parents=True, exist_ok=True)
    for simulator in simulators:
        archives = [features_of(fleet) for fleet in simulated(simulator, range(first_seed, first_seed + seeds), small)]
        content = report(compare(archives, compared, REGIMES), archives)
        text = as_markdown(content)
        click.echo(f"## {simulator} simulator\n\n{text}")
        (output / f"detection-{simulator}.json").write_text(json.dumps(content, indent=1) + "\n")
        (output / f"detection-{simulator}.md").write_text(text)


if __name__ == "__main__":
    main()
