"""What the page "Export" hands out: stored tables, decisions and reports of a period, as the content of files."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app import data
from app.data import Scored, Stores
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.pictures import cloud_picture
from ifcb_flow_pipeline.review.basis import affected, basis
from ifcb_flow_pipeline.review.handover import Decided, Plan, csv_of, label_rows, plan
from ifcb_flow_pipeline.review.losses import log_lines, losses
from ifcb_flow_pipeline.review.report import COLUMNS, Report, Worst
from ifcb_flow_pipeline.store.image_labels import ImageLabel, ImageLabelStore, labels_csv
from ifcb_flow_pipeline.store.labels import Label
from ifcb_flow_pipeline.store.sent import SENT_FILE, SentStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS, Table

#: The stored tables that are handed out, and what they are called.
TABLES: Mapping[str, Table] = {"scores": BIN_SCORES, "features": BIN_FEATURES, "inventory": RAW_BINS}

#: Bins that a report shows with their cloud.
N_WORST = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """Which bins: of the days from ``first`` to ``last``, both included, of these instruments and with these verdicts
    (empty: all).
    """

    first: date
    last: date
    instruments: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[datetime, datetime]:
        """The first moment, and the first one after the last day."""
        begin, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (self.first, self.last))
        return begin, end + timedelta(days=1)

    def name(self, what: str, ending: str) -> str:
        """A name for a file of these bins."""
        return f"ifcb-{what}-{self.first}-to-{self.last}.{ending}"

    def has(self, pid: str) -> bool:
        """Whether a bin is of these days and instruments, whatever its verdict."""
        bin_id = parse_pid(pid)
        wanted = self.instruments or (bin_id.instrument,)
        return self.first <= bin_id.day <= self.last and bin_id.instrument in wanted

    def of(self, scored: Scored) -> pd.DataFrame:
        """The scored bins of this choice, in order of time."""
        rows = scored.rows
        begin, past = self.ends
        times = rows["start_time"]
        rows = rows.loc[(times >= begin) & (times < past)]
        for column, wanted in (("instrument", self.instruments), ("verdict", self.verdicts)):
            if wanted:
                rows = rows.loc[rows[column].isin(list(wanted))]
        return rows


def stored_rows(stores: Stores, table: Table, choice: Choice, chosen: pd.DataFrame) -> pa.Table:
    """The rows of a stored table of the days of the choice: with chosen verdicts those of ``chosen`` only, because
    other tables know no verdict. Raises StoreError for a file that cannot be used.
    """
    rows = stores.tables.read_range(table, choice.first, choice.last)
    if table is BIN_SCORES:
        # Each day is worst first: the whole period shall be, too. Bins without severity come last.
        rows = rows.sort_by([("severity", "descending"), ("anomaly_score", "ascending"), ("pid", "ascending")])
    if choice.instruments:
        rows = rows.filter(pc.field("instrument").isin(list(choice.instruments)))
    if choice.verdicts:
        rows = rows.filter(pc.field("pid").isin(pa.array(chosen["pid"].astype(str), pa.string())))
    return rows


def as_csv(rows: pa.Table) -> bytes:
    """A stored table as CSV."""
    return csv_of(rows.to_pandas())


def as_parquet(rows: pa.Table) -> bytes:
    """A stored table as Parquet."""
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def decisions_of(labels: Mapping[str, Label], choice: Choice) -> dict[str, Label]:
    """The decisions about bins of the days and instruments of the choice, whatever their verdict."""
    return {pid: label for pid, label in labels.items() if choice.has(pid)}


def decisions_csv(labels: Mapping[str, Label]) -> bytes:
    """Decisions as CSV for people and spreadsheets."""
    return csv_of(label_rows(labels))


def image_labels_of(stores: Stores, choice: Choice) -> list[ImageLabel]:
    """People's labels of the images of these days and instruments that count. Raises RecordError."""
    return [one for one in ImageLabelStore(stores.home / "labels.sqlite").current() if choice.has(one.pid)]


def image_labels_csv(labels: Sequence[ImageLabel]) -> bytes:
    """Labels of images as CSV."""
    return labels_csv(labels).encode()


def told(
    stores: Stores, labels: Mapping[str, Label], scored: Scored, choice: Choice, *, with_suspicion: bool = False
) -> Plan:
    """What the IFCB dashboard is to be told of the bins of the choice: of ``labels``, and of what was sent before.

    ``with_suspicion`` adds what the model suspects of bins that are bad, as a tag. Raises RecordError where the record
    of what was sent cannot be read.
    """
    url = stores.settings.dashboard_url
    sent = SentStore(stores.home / SENT_FILE).rows(url) if url else []
    decisions = decided(labels, scored) if with_suspicion else map(Decided, labels.values())
    return plan(decisions, [one for one in sent if choice.has(one.row.pid)])


def decided(labels: Mapping[str, Label], scored: Scored) -> list[Decided]:
    """Decisions with the causes that the model suspects."""
    places = {pid: scored.of(pid) for pid in labels}
    return [
        Decided(label, "" if (place := places[pid]) is None else str(scored.rows["cause"].iloc[place]))
        for pid, label in labels.items()
    ]


def report(stores: Stores, choice: Choice, rows: pd.DataFrame, labels: Mapping[str, Label], made: datetime) -> bytes:
    """The report of the choice, with the clouds of its worst bins. ``rows``: as ``Choice.of`` gives them.

    Raises StoreError for a file that cannot be used.
    """
    episodes = _episodes(stores, choice)
    worst = _worst(stores, _worst_pids(rows, episodes))
    of_period = decisions_of(labels, choice)
    whole = Report(choice.first, choice.last, made, rows.loc[:, list(COLUMNS)], episodes, worst, of_period, CAUSE_NAMES)
    return whole.html().encode()


def summary(stores: Stores, choice: Choice, rows: pd.DataFrame, labels: Mapping[str, Label]) -> list[str]:
    """Lines for a cruise log: what was lost of the choice, an instrument a line."""
    found = losses(rows, _episodes(stores, choice), decisions_of(labels, choice))
    return log_lines(found, choice.first, choice.last, CAUSE_NAMES)


def _episodes(stores: Stores, choice: Choice) -> list[Episode]:
    first, past = choice.ends
    return [
        episode
        for episode in data.read_episodes(stores)
        if episode.end >= first
        and episode.start < past
        and episode.instrument in (choice.instruments or (episode.instrument,))
    ]


def _worst_pids(rows: pd.DataFrame, episodes: Sequence[Episode]) -> list[str]:
    """The worst bin of each episode, so that each fault is seen, then the worst of the others; at most N_WORST."""
    odd = rows.loc[rows["verdict"].isin(["bad", "watch"])]
    pids = odd.sort_values("severity", ascending=False, kind="stable")["pid"].astype(str).tolist()
    of_episodes = {episode.worst_pid for episode in episodes}
    return [*(pid for pid in pids if pid in of_episodes), *(pid for pid in pids if pid not in of_episodes)][:N_WORST]


def _worst(stores: Stores, pids: Sequence[str]) -> list[Worst]:
    found = []
    for pid in pids:
        score = data.row_of(stores, BIN_SCORES, pid)
        if score is not None:
            _, cloud = data.read_cloud(stores, pid)
            picture = None if cloud is None else cloud_picture(cloud, parse_pid(pid).schema, pid)
            rests_on = "; ".join(filter(None, (basis(score), affected(score))))
            about = (score["severity"], score["verdict"], score["cause"], score["reasons"], rests_on)
            found.append(Worst(pid, *about, picture))
    return found
