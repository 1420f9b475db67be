"""The report of a period for the cruise log: one HTML file with its pictures inside, that asks nothing of a network.

Everything that comes from names, headers or people is escaped. The page forbids itself scripts and outside content.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import escape

import numpy as np
import pandas as pd

from ifcb_flow_pipeline.detection.verdict.episodes import Episode, State
from ifcb_flow_pipeline.review.losses import Losses, log_lines, losses
from ifcb_flow_pipeline.store.labels import Label

#: Columns of ``rows`` that the report reads.
COLUMNS = ("pid", "instrument", "start_time", "severity", "verdict", "cause", "threshold", "model_id",
           "affected_fraction")  # fmt: skip

_STRIP_PX = (900, 90)

#: What is said behind the last bad bin of an episode.
_END: Mapping[State, str] = {"ongoing": " (ongoing)", "over": "", "unknown": " (no bins since)"}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --line: #8c8c8c66; --bad: #D55E00; --fine: #0072B2; }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 980px; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; }}
tr {{ border-bottom: 1px solid var(--line); }}
td.n, th.n {{ text-align: right; }}
figure {{ display: inline-block; width: 460px; max-width: 100%; margin: 0 1rem 1.5rem 0; vertical-align: top; }}
img {{ max-width: 100%; background: white; }} svg {{ width: 100%; height: auto; }}
.bad {{ fill: var(--bad); }} .fine {{ fill: var(--fine); }} .rule {{ stroke: var(--line); stroke-dasharray: 6 4; }}
text {{ fill: currentColor; font-size: 11px; }} h2 {{ margin-top: 2rem; }} .quiet {{ opacity: .75; }}
@media print {{ figure {{ break-inside: avoid; }} }}
</style></head><body>{body}</body></html>
"""


@dataclass(frozen=True, slots=True)
class Worst:
    """A bin that the report shows in full: what the model says, and its cloud as a PNG (None: no cloud).

    ``rests_on``: in words, what it was compared with and how much of it is lost.
    """

    pid: str
    severity: float
    verdict: str
    cause: str
    reasons: str
    rests_on: str
    picture: bytes | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a report tells. ``rows``: all bins of the period with COLUMNS. ``labels``: the decisions about them.

    ``cause_names``: what operators call each cause code. ``made``: when the report was made, UTC.
    """

    first: date
    last: date
    made: datetime
    rows: pd.DataFrame
    episodes: Sequence[Episode]
    worst: Sequence[Worst]
    labels: Mapping[str, Label]
    cause_names: Mapping[str, str]

    def html(self) -> str:
        """The report as one HTML document."""
        title = f"IFCB flow report, {self.first} to {self.last}"
        models = ", ".join(sorted(str(name) for name in self.rows["model_id"].unique())) or "none"
        body = [
            f"<h1>{escape(title)}</h1>",
            f"<p class=quiet>{len(self.rows):,} bins (UTC days). Made {self.made:%Y-%m-%d %H:%M} UTC. "
            f"Model: {escape(models)}.</p>",
            "<h2>Summary</h2>",
            self._summary(),
            "<h2>Bins by instrument</h2>",
            self._counts(),
            *(self._strip(str(name)) for name in sorted(self.rows["instrument"].unique())),
            "<h2>Lost by suspected cause</h2>",
            self._causes(),
            "<h2>Episodes</h2>",
            self._episodes(),
            "<h2>Worst bins</h2>",
            "<p class=quiet>The worst of each episode first.</p>",
            *(self._figure(worst) for worst in self.worst),
            "" if self.worst else "<p>None.</p>",
            "<h2>Decisions</h2>",
            self._decisions(),
        ]
        return _PAGE.format(title=escape(title), body="\n".join(body))

    def _counts(self) -> str:
        verdicts = ["bad", "watch", "ok", "unreadable", "not_judged"]
        rows = []
        for name in sorted(self.rows["instrument"].unique()):
            of_instrument = self.rows.loc[self.rows["instrument"] == name]
            counts = of_instrument["verdict"].value_counts()
            decided = [self.labels[pid].decision for pid in of_instrument["pid"] if pid in self.labels]
            rows.append([name, len(of_instrument), *(int(counts.get(verdict, 0)) for verdict in verdicts),
                         decided.count("bad"), decided.count("good")])  # fmt: skip
        names = ["bad", "watch", "OK", "unreadable", "no verdict"]
        return _table(["instrument", "bins", *names, "marked bad", "marked good"], rows)

    @property
    def losses(self) -> list[Losses]:
        """What was lost, by instrument."""
        return losses(self.rows, self.episodes, self.labels)

    def _summary(self) -> str:
        lines = log_lines(self.losses, self.first, self.last, self.cause_names)
        return "".join(f"<p>{escape(line)}</p>" for line in lines) or "<p>None.</p>"

    def _causes(self) -> str:
        rows = [
            [one.instrument, self._cause(loss.cause), f"{loss.hours:.1f}", f"{100 * loss.hours / one.hours:.1f} %",
             loss.n_bins, loss.n_episodes]
            for one in self.losses
            for loss in one.by_cause
        ]  # fmt: skip
        return _table(["instrument", "suspected cause", "hours lost", "share", "bins", "episodes"], rows)

    def _episodes(self) -> str:
        rows = [
            [one.instrument, f"{one.start:%Y-%m-%d %H:%M}", f"{one.end:%Y-%m-%d %H:%M}{_END[one.state]}",
             self._cause(one.cause), one.n_bad, round(one.worst_severity), one.worst_pid]
            for one in self.episodes
            if one.n_bad > 1
        ]  # fmt: skip
        names = ["instrument", "first bad bin (UTC)", "last bad bin", "suspected cause", "bad bins", "worst severity"]
        n_single = len(self.episodes) - len(rows)
        single = f"<p class=quiet>Besides, {n_single:,} single bad bins.</p>" if n_single else ""
        return _table([*names, "worst bin"], rows) + single

    def _decisions(self) -> str:
        chosen = [self.labels[pid] for pid in self.rows["pid"] if pid in self.labels]
        rows = [[one.pid, one.decision, ", ".join(one.tags), one.note, one.reviewer, f"{one.at:%Y-%m-%d %H:%M}"]
                for one in chosen]  # fmt: skip
        return _table(["bin", "decision", "tags", "note", "by", "at (UTC)"], rows)

    def _figure(self, worst: Worst) -> str:
        label = self.labels.get(worst.pid)
        decided = f"marked {label.decision} by {label.reviewer}" if label else "not reviewed"
        picture = "<p class=quiet>No point cloud.</p>"
        if worst.picture is not None:
            alt = f"Point cloud of {worst.pid} in the camera frame"
            picture = f'<img alt="{escape(alt)}" src="data:image/png;base64,{b64encode(worst.picture).decode()}">'
        said = f"severity {worst.severity:.0f}, {worst.verdict}, {self._cause(worst.cause)}; {decided}"
        return (
            f"<figure>{picture}<figcaption><b>{escape(worst.pid)}</b><br>{escape(said)}<br>"
            f"<span class=quiet>{escape(worst.reasons)}<br>{escape(worst.rests_on)}</span></figcaption></figure>"
        )

    def _strip(self, instrument: str) -> str:
        """The severities of an instrument over the period: in each column the worst bin that falls into it."""
        rows = self.rows.loc[self.rows["instrument"] == instrument]
        width, height = _STRIP_PX
        begin, end = pd.Timestamp(self.first, tz="UTC"), pd.Timestamp(self.last, tz="UTC") + timedelta(days=1)
        column = ((rows["start_time"] - begin) / (end - begin) * (width // 3)).astype(int).to_numpy()
        severity = np.zeros(width // 3)
        np.maximum.at(severity, column, rows["severity"].fillna(0).to_numpy(dtype=float))
        bad = np.zeros(width // 3, dtype=bool)
        np.logical_or.at(bad, column, (rows["verdict"] == "bad").to_numpy())
        bars = {True: "", False: ""}
        for i in np.flatnonzero(severity > 0):
            tall = severity[i] / 100 * height
            bars[bool(bad[i])] += f"M{3 * i},{height}v{-tall:.1f}h2.4v{tall:.1f}z"
        rule = height * (1 - float(rows["threshold"].median()) / 100)
        return (
            f'<svg viewBox="0 0 {width} {height + 16}" role="img" aria-label="Worst severity over time of '
            f'{escape(instrument)}"><path class="fine" d="{bars[False]}"/><path class="bad" d="{bars[True]}"/>'
            f'<line class="rule" x1="0" x2="{width}" y1="{rule:.1f}" y2="{rule:.1f}"/>'
            f'<text x="0" y="{height + 13}">{escape(instrument)}, {self.first}</text><text x="{width}" '
            f'y="{height + 13}" text-anchor="end">{self.last}; severity 0 to 100, dashed: threshold</text></svg>'
        )

    def _cause(self, code: str) -> str:
        return self.cause_names.get(code, code) or "none"


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th{_side(value)}>{escape(name)}</th>" for name, value in zip(names, rows[0], strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{_side(value)}>{escape(str(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _side(value: object) -> str:
    return ' class="n"' if isinstance(value, int) else ""
