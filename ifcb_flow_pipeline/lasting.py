"""Results outlive the files that they were made of: what stays when a day is made again without them.

Raw files are moved to tape, disks drop out, instruments are retired. A bin that was read once keeps its row in the
inventory and its points, and so its features and scores, until somebody removes it with ``forget``. What earlier
models said of a bin is kept, too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables, ReadCloud, StoredCloud, StoredDay
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError
from ifcb_flow_pipeline.store.tables import (
    BIN_FEATURES,
    BIN_IMAGE_SCORES,
    BIN_SCORES,
    IMAGE_FEATURES,
    IMAGE_SCORES,
    PAST_VERDICTS,
    POINT_CLOUDS,
    RAW_BINS,
    Table,
)

_FILES = ("adc", "hdr", "roi")

#: States of bins that were not read.
_NEVER_READ = ("unsettled", "misplaced", "gone")

#: What stands in a column that a row has not; None in those of other types.
_MISSING: Mapping[pa.DataType, Any] = {pa.float64(): float("nan"), pa.string(): ""}


@dataclass(frozen=True, slots=True)
class GoneBin:
    """A bin whose files are gone from the archive, and since when."""

    pid: str
    instrument: str
    day: date
    since: datetime


def with_gone_bins(
    tables: DailyTables, day: date, listed: Sequence[Mapping[str, Any]], now: datetime
) -> list[Mapping[str, Any]]:
    """Rows of ``raw_bins`` of a day: those of the bins that are ``listed``, and those of bins that were read before and
    of which a file is gone, as they were.
    """
    rows = {row["pid"]: row for row in listed}
    for before in _rows_before(tables, day):
        now_listed = rows.get(before["pid"])
        if now_listed is None or _lost_a_file(before, now_listed):
            since = before.get("gone_since") or now
            reason = f"files gone since {since:%Y-%m-%d %H:%M} UTC"
            rows[before["pid"]] = {**before, "complete": False, "gone_since": since, "reason": reason}
    return sorted(rows.values(), key=lambda row: (row["start_time"], row["pid"]))


def read_or_stored(
    read: BinRead | ReadCloud | CloudEntry, stored: StoredDay
) -> BinRead | ReadCloud | StoredCloud | CloudEntry:
    """What to store of a bin: what was read, or where it could not be read now, what was read before."""
    if isinstance(read, ReadCloud) or (isinstance(read, BinRead) and not read.unread):
        return read
    before = stored.by_pid.get(read.pid)
    if before is None or before.status in _NEVER_READ or (before.unread and before.row_group is None):
        return read
    unread = read.unread or (before.unread and read.status != "gone")
    # A bin without points, such as an empty one, has nothing to be lost but its entry.
    kept = stored.cloud(read.pid) if before.row_group is not None else replace(before, unread=unread)
    if isinstance(kept, StoredCloud):
        return replace(kept, entry=replace(kept.entry, unread=unread))
    return kept or read


def with_stored_rows(tables: DailyTables, table: Table, day: date, rows: pa.Table) -> pa.Table:
    """New rows of a day, but for bins that are gone with all their points: these keep the rows that they have.

    Rows of another version keep what both versions have; what they lack is missing.
    """
    outcomes = zip(rows["pid"].to_pylist(), rows["status"].to_pylist(), strict=True)
    gone = {pid for pid, status in outcomes if status == "gone"}
    before = [row for row in (_readable(tables, table, day) if gone else []) if row["pid"] in gone]
    kept = {row["pid"]: _completed(row, table) for row in before if row["status"] not in _NEVER_READ}
    if not kept:
        return rows
    return pa.Table.from_pylist([kept.get(row["pid"], row) for row in rows.to_pylist()], schema=table.schema)


def keep_verdicts(tables: DailyTables, day: date, scores: pa.Table) -> None:
    """Before a day gets new scores: add what another model said of its bins to ``past_verdicts``."""
    rows = _readable(tables, BIN_SCORES, day)
    by = dict(zip(scores["pid"].to_pylist(), scores["model_id"].to_pylist(), strict=True))
    others = [row for row in rows if row["model_id"] != by.get(row["pid"])]
    if not others:
        return
    until = datetime.now(tz=UTC)
    names = PAST_VERDICTS.schema.names
    past = {(row["pid"], row["model_id"]): row for row in _readable(tables, PAST_VERDICTS, day)}
    for row in others:
        past[row["pid"], row["model_id"]] = {name: row.get(name) for name in names} | {"until": until}
    table = pa.Table.from_pylist(list(past.values()), schema=PAST_VERDICTS.schema)
    tables.write(PAST_VERDICTS, day, table, Provenance(""))


def past_verdicts(tables: DailyTables, pid: str) -> list[dict[str, Any]]:
    """What earlier models said of a bin, oldest first: rows of ``past_verdicts``."""
    rows = tables.read(PAST_VERDICTS, parse_pid(pid).day)
    found = [row for row in rows.to_pylist() if row["pid"] == pid] if rows is not None else []
    return sorted(found, key=lambda row: row["until"])


def gone_bins(tables: DailyTables, first: date = date.min, last: date = date.max) -> list[GoneBin]:
    """The bins of these days (both included) whose files are gone, in order of time."""
    found = []
    for day in tables.days(RAW_BINS):
        if not first <= day <= last or tables.provenance(RAW_BINS, day) is None:
            continue
        rows = tables.read(RAW_BINS, day, ["pid", "instrument", "gone_since"])
        found += [
            GoneBin(row["pid"], row["instrument"], day, row["gone_since"])
            for row in (rows.to_pylist() if rows is not None else ())
            if row["gone_since"] is not None
        ]
    return found


def forget(tables: DailyTables, bins: Iterable[GoneBin]) -> int:
    """Remove these bins from all tables but people's decisions, for good; returns how many there were."""
    by_day: dict[date, set[str]] = {}
    for each in bins:
        by_day.setdefault(each.day, set()).add(each.pid)
    for day, pids in by_day.items():
        # From the last table to the first: a bin that is only half removed is still known as gone.
        for table in (PAST_VERDICTS, BIN_SCORES, BIN_IMAGE_SCORES, IMAGE_SCORES, IMAGE_FEATURES, BIN_FEATURES):
            _remove_rows(tables, table, day, pids)
        _remove_clouds(tables, day, pids)
        _remove_rows(tables, RAW_BINS, day, pids)
    return sum(map(len, by_day.values()))


def _remove_rows(tables: DailyTables, table: Table, day: date, pids: Collection[str]) -> None:
    made_of = tables.provenance(table, day)
    rows = tables.read(table, day) if made_of else None
    if rows is not None and made_of is not None:
        left = rows.filter(pa.array([pid not in pids for pid in rows["pid"].to_pylist()], type=pa.bool_()))
        tables.write(table, day, left, made_of)


def _remove_clouds(tables: DailyTables, day: date, pids: Collection[str]) -> None:
    made_of = tables.provenance(POINT_CLOUDS, day)
    if made_of is None:
        return
    clouds = CloudTables(tables)
    with clouds.stored(day) as stored:
        left = (stored.cloud(pid) or entry for pid, entry in stored.by_pid.items() if pid not in pids)
        clouds.write(day, left, made_of)


def _rows_before(tables: DailyTables, day: date) -> list[dict[str, Any]]:
    """Rows of the inventory of bins that were read, or that are gone already, as they were."""
    with CloudTables(tables).stored(day) as stored:
        read = {entry.pid: entry.status for entry in stored.by_pid.values() if entry.status not in _NEVER_READ}
    if not read:
        # Points that were deleted to save room, or that are damaged, leave what was made of them.
        made = [row for table in (BIN_SCORES, BIN_FEATURES) for row in _readable(tables, table, day)]
        read = {row["pid"]: row["status"] for row in made if row["status"] not in _NEVER_READ}
    rows = {row["pid"]: row for row in _readable(tables, RAW_BINS, day)}
    # Where the inventory is damaged or was never written, the points still tell which bins there were.
    rows |= {pid: _row_of(pid, status) for pid, status in read.items() if pid not in rows}
    return [row for pid, row in rows.items() if pid in read or row.get("gone_since") is not None]


def _row_of(pid: str, status: str) -> dict[str, Any]:
    bin_id = parse_pid(pid)
    row = dict.fromkeys(RAW_BINS.schema.names)
    return row | {
        "pid": pid, "instrument": bin_id.instrument, "start_time": bin_id.start_time, "schema": bin_id.schema,
        "copies": 0, "complete": False, "status": status, "reason": "",
    }  # fmt: skip


def _lost_a_file(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether files that a bin had are gone, while those that are left are what they were."""
    lost = [name for name in _FILES if before.get(f"{name}_path") is not None and now[f"{name}_path"] is None]
    left = [name for name in _FILES if now[f"{name}_path"] is not None]
    return bool(lost) and all(before.get(f"{name}_bytes") in (None, now[f"{name}_bytes"]) for name in left)


def _completed(row: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """A row of any version with the columns of this one."""
    lacking = {c.name: _MISSING.get(c.type) for c in table.columns if c.name not in row}
    return {name: row.get(name, lacking.get(name)) for name in table.schema.names}


def _readable(tables: DailyTables, table: Table, day: date) -> list[dict[str, Any]]:
    # A damaged file has nothing to keep; that it is damaged is told where it is needed.
    try:
        return tables.read_any(table, day)
    except StoreError:
        return []
