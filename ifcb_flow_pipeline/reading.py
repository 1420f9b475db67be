"""The bins of an inventory, read from the archive: one by one, or many at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.store.archive import Archive, BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry, ReadCloud
from ifcb_flow_pipeline.store.deadline import HungError
from ifcb_flow_pipeline.store.file_batches import Batch


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
