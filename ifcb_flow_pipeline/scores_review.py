"""A CSV file of scores in the review app: tables of its bins in a folder of their own, without a model or Dagster.

Belongs here: reading such a file, and making what the app reads of it. The file may be ours (``ifcb-flow score``), or
one of ifcb-flow-metric, which has but ``pid`` and ``anomaly_score``.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_name
from ifcb_flow_pipeline.days import write_clouds, write_features, write_inventory
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, VERDICTS

#: Of scores without verdicts, so many of the most anomalous are to be looked at: a choice of what to show, no verdict.
WATCHED_SHARE = 0.05

#: The mark of a folder that such tables are in.
_MARK = "made-of-scores.txt"

#: The severity from which a bin is bad where the file does not say.
_THRESHOLD = 50.0


class ScoresError(FlowError):
    """A file of scores that cannot be opened; the message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class FileOfScores:
    """Rows of ``bin_scores`` of a file; columns that the file lacks are empty."""

    rows: tuple[Mapping[str, Any], ...]


def read_scores(path: Path) -> FileOfScores:
    """Read a CSV file with ``pid``, and ``severity`` or ``anomaly_score`` (lower is more anomalous); other columns of
    ``bin_scores`` are taken over. Without severities, bins are ranked: the most anomalous has 100.

    Raises ScoresError, naming file and line, for what is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ScoresError(f"{path} is no CSV file in UTF-8: {error}") from error
    names = set(lines[0]) if lines else set()
    if "pid" not in names or not names & {"severity", "anomaly_score"}:
        raise ScoresError(f"{path} needs bins with the columns pid, and severity or anomaly_score")
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=2):
        try:
            row = _row(line)
        except (InvalidPidError, ValueError) as error:
            raise ScoresError(f"{path}, line {number}: {error}") from error
        rows[row["pid"]] = row
    found = list(rows.values())
    if "severity" not in names:
        _rank(found)
    for row in found:
        row["verdict"] = row["verdict"] if row["verdict"] in VERDICTS else _verdict(row["severity"])
    return FileOfScores(tuple(found))


def make_tables(scores: FileOfScores, archive: Archive, settings: Settings) -> int:
    """Make what the app reads, of the days of these bins, in the settings' folder; returns how many of the bins the
    archive has. Raises ScoresError where the folder is a deployment's.
    """
    _take(settings.home)
    tables = DailyTables(settings.home / "tables")
    days: dict[Any, list[Mapping[str, Any]]] = {}
    for row in scores.rows:
        days.setdefault(row["start_time"].date(), []).append(row)
    listing = archive.scan_days(days)
    wanted, n_found = {row["pid"] for row in scores.rows}, 0
    for day, rows in sorted(days.items()):
        n_found += sum(raw.bin_id.pid in wanted for raw in listing.of_day(day))
        write_inventory(tables, archive, listing, day)
        write_clouds(tables, archive, day)
        write_features(tables, settings.features, day)
        made = tables.provenance(BIN_FEATURES, day) or Provenance("scores")
        ordered = sorted(rows, key=lambda row: -np.nan_to_num(row["severity"], nan=-1.0))
        tables.write(BIN_SCORES, day, pa.Table.from_pylist(list(ordered), schema=BIN_SCORES.schema), made)
    return n_found


def _take(home: Path) -> None:
    """Make the folder, or see that it is one of these."""
    mark = home / _MARK
    if home.exists() and any(home.iterdir()) and not mark.exists():
        raise ScoresError(f"{home} has other things in it: name a new folder with --home")
    private_folder(home)
    mark.write_text("Tables of a file of scores, made by `ifcb-flow review`, and people's decisions about its bins.\n")


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``bin_scores`` of a line."""
    bin_id = parse_name((line["pid"] or "").strip())
    row: dict[str, Any] = {}
    for column in BIN_SCORES.columns:
        row[column.name] = _value(column.type, (line.get(column.name) or "").strip(), column.name)
    row |= {"pid": bin_id.pid, "instrument": bin_id.instrument, "start_time": bin_id.start_time}
    row["threshold"] = _THRESHOLD if math.isnan(row["threshold"]) else row["threshold"]
    row["model_id"] = row["model_id"] or "a file of scores"
    row["status"] = row["status"] or ("ok" if not math.isnan(row["anomaly_score"]) or row["verdict"] else "unreadable")
    row["findings"] = row["findings"] or "[]"
    return row


def _value(kind: pa.DataType, text: str, name: str) -> Any:
    if pa.types.is_string(kind):
        return text
    if pa.types.is_boolean(kind):
        return text.lower() == "true"
    if not pa.types.is_floating(kind) and not pa.types.is_integer(kind):
        return None
    try:
        number = float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is no number") from None
    if pa.types.is_integer(kind):
        return int(number) if math.isfinite(number) else None
    return number


def _rank(rows: Sequence[dict[str, Any]]) -> None:
    """Severities by the order of scores: 100 for the most anomalous; those without score have none."""
    scores = np.array([row["anomaly_score"] for row in rows], dtype=float)
    known = np.flatnonzero(np.isfinite(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    for place, at in enumerate(order.tolist(), start=1):
        share = place / len(order)
        # The watched ones fill the upper half, so that the threshold means the same as elsewhere.
        low, high = (0.0, _THRESHOLD) if share <= 1 - WATCHED_SHARE else (_THRESHOLD, 100.0)
        begin, end = (0.0, 1 - WATCHED_SHARE) if share <= 1 - WATCHED_SHARE else (1 - WATCHED_SHARE, 1.0)
        rows[at]["severity"] = low + (high - low) * (share - begin) / (end - begin)
        rows[at]["verdict"] = "watch" if share > 1 - WATCHED_SHARE else "ok"


def _verdict(severity: float) -> str:
    if math.isnan(severity):
        return "not_judged"
    return "bad" if severity >= _THRESHOLD else "ok"
