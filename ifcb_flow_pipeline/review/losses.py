"""How much of a period was lost, by instrument and suspected cause, and how a cruise log says it.

A bin stands for the usual time between two bins of its instrument. Of a bad bin as much is lost as its verdict says, of
an unreadable one all; what people marked counts first: nothing of a bin marked good, all of one marked bad without
the model's saying so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.store.labels import Label

#: The usual time between two bins where there is only one: IFCBs take one every 20 to 25 minutes.
_ONE_BIN_HOURS = 25 / 60

#: The cause of bins that cannot be read.
_UNREADABLE = "corrupt"

#: So many causes are named in a line of a log; the others are summed.
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Loss:
    """What one cause took of an instrument's period: ``hours``, in ``n_bins`` bins and ``n_episodes`` episodes."""

    cause: str
    hours: float
    n_bins: int
    n_episodes: int


@dataclass(frozen=True, slots=True)
class Losses:
    """An instrument's period: its bins, the hours that they stand for, and what was lost of these, largest first."""

    instrument: str
    n_bins: int
    hours: float
    by_cause: tuple[Loss, ...]

    @property
    def lost_hours(self) -> float:
        """Hours lost to all causes."""
        return sum(loss.hours for loss in self.by_cause)

    @property
    def lost_share(self) -> float:
        """Share of the hours that is lost, 0 to 1."""
        return self.lost_hours / self.hours if self.hours else 0.0


def losses(rows: pd.DataFrame, episodes: Sequence[Episode], labels: Mapping[str, Label]) -> list[Losses]:
    """The losses of each instrument. ``rows``: pid, instrument, start_time, verdict, cause, affected_fraction of all
    bins of the period; ``episodes``: of the same; ``labels``: the decisions that count.
    """
    found = []
    for instrument in sorted(rows["instrument"].astype(str).unique()):
        own = rows.loc[rows["instrument"].astype(str) == instrument].sort_values("start_time")
        hours = _hours_of_a_bin(own["start_time"])
        lost, causes = _lost(own, labels), _causes(own, labels)
        by_cause = [
            Loss(cause, hours * float(lost[causes == cause].sum()), int((lost[causes == cause] > 0).sum()),
                 sum(one.instrument == instrument and one.cause == cause and one.n_bad > 1 for one in episodes))
            for cause in np.unique(causes[lost > 0]).tolist()
        ]  # fmt: skip
        by_cause.sort(key=lambda loss: -loss.hours)
        found.append(Losses(instrument, len(own), hours * len(own), tuple(by_cause)))
    return found


def log_lines(found: Sequence[Losses], first: date, last: date, cause_names: Mapping[str, str]) -> list[str]:
    """The losses as lines for a cruise log, one an instrument."""
    return [f"{first} to {last}, {one.instrument}: {_line(one, cause_names)}" for one in found]


def _line(one: Losses, cause_names: Mapping[str, str]) -> str:
    begins = f"{one.n_bins:,} bins ({_hours(one.hours)})"
    if not one.by_cause:
        return f"{begins}; nothing lost."
    parts = [f"{cause_names.get(loss.cause, loss.cause) or 'cause unknown'} {_hours(loss.hours)} ({_how(loss)})"
             for loss in one.by_cause[:_NAMED]]  # fmt: skip
    rest = one.by_cause[_NAMED:]
    if rest:
        parts.append(f"other causes {_hours(sum(loss.hours for loss in rest))}")
    return f"{begins}; lost {_hours(one.lost_hours)} ({100 * one.lost_share:.1f} %): {', '.join(parts)}."


def _how(loss: Loss) -> str:
    bins = "1 bin" if loss.n_bins == 1 else f"{loss.n_bins:,} bins"
    episodes = "1 episode" if loss.n_episodes == 1 else f"{loss.n_episodes} episodes"
    return f"{bins}, {episodes}" if loss.n_episodes else bins


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def _hours_of_a_bin(starts: pd.Series) -> float:
    usual = starts.diff().median()
    return _ONE_BIN_HOURS if pd.isna(usual) or not usual else usual.total_seconds() / 3600


def _lost(rows: pd.DataFrame, labels: Mapping[str, Label]) -> np.ndarray:
    """The lost share of each bin, 0 to 1."""
    verdict = rows["verdict"].astype(str).to_numpy()
    said = rows["affected_fraction"].to_numpy(dtype=float)
    lost = np.where(verdict == "bad", np.where(np.isnan(said), 1.0, said), np.where(verdict == "unreadable", 1.0, 0.0))
    for place, pid in enumerate(rows["pid"]):
        if pid in labels:
            marked = labels[pid].decision
            lost[place] = 0.0 if marked == "good" else 1.0 if marked == "bad" and not lost[place] else lost[place]
    return lost


def _causes(rows: pd.DataFrame, labels: Mapping[str, Label]) -> np.ndarray:
    causes = rows["cause"].astype(str).to_numpy().astype(object)
    causes[(rows["verdict"] == "unreadable").to_numpy() & (causes == "")] = _UNREADABLE
    marked = np.array([pid in labels and labels[pid].decision == "bad" for pid in rows["pid"]], dtype=bool)
    causes[marked & (causes == "")] = "unknown"
    return causes.astype(str)
