"""The bins of an inventory, read from the archive: one by one, or many at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.store.archive import Archive, BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables, ReadCloud
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.deadline import HungError
from ifcb_flow_pipeline.store.file_batches import Batch
from ifcb_flow_pipeline.store.tables import RAW_BINS


def read_bin(archive: Archive, row: Mapping[str, Any], columns: tuple[str, ...] | None = None) -> BinRead | CloudEntry:
    """Read the bin of a row of ``raw_bins``; an entry that says why where it is not to be read.

    With ``columns`` only these of its ADC. A bin without ADC file still has what its header says.
    """
    if row.get("gone_since") is not None:
        return CloudEntry(row["pid"], "gone", row["reason"])
    if row["status"] == "no_adc" and row["hdr_path"] is not None:
        header = archive.read_header(row["hdr_path"], parse_pid(row["pid"]).schema)
        reason = "; ".join(filter(None, (row["reason"], header.problem)))
        return CloudEntry(
            row["pid"], row["status"], reason, header=header.values, unread=header.unread, header_state=header.state,
            header_problem=header.problem,
        )  # fmt: skip
    if row["status"] != "ok":
        return CloudEntry(row["pid"], row["status"], row["reason"])
    read = archive.read_bin(row["pid"], row["adc_path"], row["hdr_path"], columns)
    reason = "; ".join(filter(None, (row["reason"], read.reason)))
    return replace(read, reason=reason)


def cloud_of(
    tables: DailyTables, archive: Archive, pid: str, columns: tuple[str, ...]
) -> tuple[CloudEntry, Mapping[str, NDArray] | None]:
    """How reading a bin went, and these columns of its cloud, which come from its files where it is no longer kept;
    None where there is none. Raises as ``CloudTables.read_one``.
    """
    day = parse_pid(pid).day
    entry, cloud = CloudTables(tables).read_one(day, pid, columns)
    if not entry.dropped:
        return entry, cloud
    inventory = tables.read(RAW_BINS, day)
    rows = [] if inventory is None else [row for row in inventory.to_pylist() if row["pid"] == pid]
    read = read_bin(archive, rows[0]) if rows else None
    if not isinstance(read, BinRead) or read.status != "ok":
        return entry, None
    return entry, {name: read.adc.columns[name] for name in columns}


def read_bins(archive: Archive, rows: Sequence[Mapping[str, Any]]) -> list[BinRead | ReadCloud | CloudEntry]:
    """The same of many rows, in their order: a ReadCloud of a bin whose ADC file is clean."""
    found: dict[int, ReadCloud] = {}
    try:
        for batch in Batch.of(archive, rows, "v2"):
            with batch.read(shown=True) as many:
                if many is not None:
                    # A header that cannot be read now may be by the time that its bin is read alone.
                    found |= {i: each for i, each in many.clouds().items() if not each.entry.unread}
    except HungError:
        pass  # each of the others has its time by itself
    return [found.get(i) or read_bin(archive, row) for i, row in enumerate(rows)]
