"""Bins as they accumulate: what an instrument's running bin looks like so far, and when a fault was certain.

A directory is looked at again and again, by whoever calls; nothing here waits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.archive import Listing, RawBin
from ifcb_flow_pipeline.bins.pid import BinId, parse_pid
from ifcb_flow_pipeline.days import IDENTITY, feature_row, inventory_row, read_bin
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.detection.trial.partial_bins import (
    PARTIAL_SHARES,
    PartialScore,
    certain_after,
    first_triggers,
    judge_running,
    partial_lengths,
    trigger_numbers,
)
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.archive import Archive, BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

#: What a header says only of the whole run; the first part of a run is not to be measured against it.
_OF_THE_WHOLE_RUN = ("run_time_s", "inhibit_time_s", "trigger_count", "roi_count")

#: With so few bins of history, none is taken up by a fault.
_NO_HISTORY = ("bad", "unreadable")

#: So many ended bins of an instrument tell what is usual at the time, as far as they are in order.
HISTORY_BINS = 30

#: How far back the first look goes: at one bin a day, there are HISTORY_BINS in it.
FIRST_LOOK = timedelta(days=HISTORY_BINS)


@dataclass(frozen=True, slots=True)
class LiveScore:
    """What a bin looks like so far. ``certain_after``: of an ended bin that is bad, after how many triggers that was
    certain; None otherwise. ``reason``: why a running bin cannot be read, or what was amiss with the files of an ended
    one, where the reasons of its score do not say so.
    """

    pid: str
    ended: bool
    score: PartialScore
    certain_after: int | None = None
    reason: str = ""

    def line(self) -> str:
        """The bin in a line for people."""
        score = self.score
        severity = "  -" if math.isnan(score.severity) else f"{score.severity:3.0f}"
        state = "ended" if self.ended else "running"
        certain = f" (certain after {self.certain_after} triggers)" if self.certain_after else ""
        verdict = score.verdict.replace("_", " ")
        head = f"{self.pid} {state:7} {score.n_triggers:6} triggers  severity {severity}  {verdict}{certain}"
        why = score.reasons or ("too little history of the instrument" if score.verdict == "not_judged" else "")
        return "  ".join(filter(None, (head, why, self.reason)))


@dataclass(slots=True)
class Watch:
    """Follows the bins of a directory. A bin has ended when there is a later one of its instrument, or when its files
    have been left alone for as long as ``archive.settle``.
    """

    archive: Archive
    model: AnyModel
    _since: date | None = None
    _history: dict[str, list[pa.Table]] = field(default_factory=dict)
    _told: dict[str, tuple[int, bool]] = field(default_factory=dict)
    _ended: set[str] | None = None

    def look(self) -> list[LiveScore]:
        """The bins that have grown, ended or appeared since the last look, in order of time; at the first look, the
        latest of each instrument that has any in the last FIRST_LOOK, or of each where none has.
        """
        listing = self._first_listing() if self._since is None else self.archive.scan(self._since)
        # Without triggers on the disk there is nothing to follow.
        latest = {raw.bin_id.instrument: raw.bin_id.pid for raw in listing.bins if raw.size("adc") is not None}
        if self._ended is None:
            self._ended = set()
            self._remember(listing, set(latest.values()))
        now = self.archive.now()
        found = []
        for raw in listing.bins:
            pid, size = raw.bin_id.pid, raw.size("adc")
            if size is None or pid in self._ended:
                continue
            settled = raw.state(now, self.archive.settle).status != "unsettled"
            ended = settled or latest[raw.bin_id.instrument] != pid
            if self._told.get(pid) != (size, ended):
                self._told[pid] = (size, ended)
                found.append(self._judge(raw, ended))
        self._since = max((raw.bin_id.day for raw in listing.bins), default=self._since)
        return found

    def _first_listing(self) -> Listing:
        """The bins of the last FIRST_LOOK, or all where there are none: of years of bins, the others tell nothing."""
        recent = self.archive.scan(self.archive.now().date() - FIRST_LOOK)
        return recent if recent.bins else self.archive.scan()

    def _judge(self, raw: RawBin, ended: bool) -> LiveScore:
        pid, instrument = raw.bin_id.pid, raw.bin_id.instrument
        before = self._before(instrument)
        entry, columns = _read_columns(self.archive, raw)
        found = scores_of_parts(entry, columns, self.model, before, PARTIAL_SHARES if ended else (1.0,))
        if not ended:
            return LiveScore(pid, False, found[-1], reason=entry.reason if entry.status == "unreadable" else "")
        whole = self._features(raw)
        score = self.model.judge(whole, before).to_pylist()[0]
        if score["verdict"] not in _NO_HISTORY:
            self._keep(instrument, whole)
        (self._ended or set()).add(pid)
        values = (score[name] for name in ("verdict", "severity", "anomaly_score", "cause", "reasons"))
        n_triggers = found[-1].n_triggers if found else 0
        certain = certain_after(found) if score["verdict"] == "bad" else None
        # Of an unreadable bin, the reasons say what was amiss.
        reason = "" if score["verdict"] == "unreadable" else score["reason"] or ""
        return LiveScore(pid, True, PartialScore(n_triggers, *values), certain, reason)

    def _features(self, raw: RawBin) -> pa.Table:
        return whole_features(self.archive, raw, self.model.card.feature_settings)

    def _remember(self, listing: Listing, latest: set[str]) -> None:
        past: dict[str, list[RawBin]] = {}
        for raw in listing.bins:
            if raw.bin_id.pid not in latest:
                past.setdefault(raw.bin_id.instrument, []).append(raw)
        for instrument, bins in past.items():
            self._ended = (self._ended or set()) | {raw.bin_id.pid for raw in bins}
            past_bins = pa.concat_tables([self._features(raw) for raw in bins[-HISTORY_BINS:]])
            verdicts = self.model.judge(past_bins)["verdict"].to_pylist()
            for row, verdict in enumerate(verdicts):
                if verdict not in _NO_HISTORY:
                    self._keep(instrument, past_bins.slice(row, 1))

    def _keep(self, instrument: str, features: pa.Table) -> None:
        kept = self._history.setdefault(instrument, [])
        kept.append(features)
        del kept[:-HISTORY_BINS]

    def _before(self, instrument: str) -> pa.Table | None:
        kept = self._history.get(instrument)
        return pa.concat_tables(kept) if kept else None


def prefix_scores(
    archive: Archive,
    raw: RawBin,
    model: AnyModel,
    history: pa.Table | None = None,
    shares: Sequence[float] = PARTIAL_SHARES,
) -> list[PartialScore]:
    """The verdicts on the first parts of a bin, shortest first, as if it were still running.

    ``history``: rows of ``bin_features`` of the bins before. A bin without triggers has one verdict: waiting.
    """
    return scores_of_parts(*_read_columns(archive, raw), model, history, shares)


def scores_of_parts(
    entry: CloudEntry,
    columns: Mapping[str, NDArray],
    model: AnyModel,
    history: pa.Table | None = None,
    shares: Sequence[float] = PARTIAL_SHARES,
) -> list[PartialScore]:
    """As ``prefix_scores``, of a bin that has been read. ``columns``: of all its lines, at least STREAM_COLUMNS."""
    numbers = trigger_numbers(columns["trigger"]) if columns else np.zeros(0)
    lengths = partial_lengths(int(numbers[-1]) if len(numbers) else 0, shares)
    if not lengths or entry.status != "ok":
        return [PartialScore(0, "waiting", float("nan"), float("nan"), "", "")]
    header = {name: value for name, value in entry.header.items() if name not in _OF_THE_WHOLE_RUN}
    bin_id, rows = parse_pid(entry.pid), []
    for length in lengths:
        part = first_triggers(columns, length)
        counts = {"n_rows": len(part["trigger"]), "n_images": int(has_image(part).sum())}
        rows.append(_row(bin_id, replace(entry, header=header, **counts), part, model.card.feature_settings))
    return judge_running(model, pa.Table.from_pylist(rows, schema=BIN_FEATURES.schema), lengths, history)


def whole_features(archive: Archive, raw: RawBin, settings: FeatureSettings) -> pa.Table:
    """The row of ``bin_features`` of a bin as it lies there now."""
    read = _read(archive, raw)
    entry = read if isinstance(read, CloudEntry) else CloudEntry.of(read)
    columns = read.adc.columns if isinstance(read, BinRead) and read.status == "ok" else None
    row = _row(raw.bin_id, entry, columns, settings, raw.size("roi"))
    return pa.Table.from_pylist([row], schema=BIN_FEATURES.schema)


def _read(archive: Archive, raw: RawBin) -> BinRead | CloudEntry:
    at_once = replace(archive, settle=timedelta())
    return read_bin(at_once, inventory_row(raw, at_once, archive.now()))


def _read_columns(archive: Archive, raw: RawBin) -> tuple[CloudEntry, Mapping[str, NDArray]]:
    """How reading a bin went, and all its lines; no columns where it was not read."""
    read = _read(archive, raw)
    return (read, {}) if isinstance(read, CloudEntry) else (CloudEntry.of(read), read.adc.columns)


def _row(
    bin_id: BinId,
    entry: CloudEntry,
    columns: Mapping[str, Any] | None,
    settings: FeatureSettings,
    roi_bytes: int | None = None,
) -> dict[str, Any]:
    identity = (bin_id.pid, bin_id.instrument, bin_id.start_time)
    return dict(zip(IDENTITY, identity, strict=True)) | feature_row(entry, columns, settings, roi_bytes)
