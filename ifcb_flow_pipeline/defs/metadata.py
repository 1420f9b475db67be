"""What a person sees of a materialization in the UI."""

import base64
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from ifcb_flow_pipeline.days import status_counts
from ifcb_flow_pipeline.store.tables import Table


def column_schema(table: Table) -> dict[str, Any]:
    """Definition metadata of an asset that is this table: its columns, with unit and meaning."""
    columns = [
        dg.TableColumn(c.name, str(c.type), f"{c.meaning} [{c.unit}]" if c.unit else c.meaning) for c in table.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "table_version": table.version}


def table_metadata(rows: pa.Table, seconds: float) -> dict[str, Any]:
    """Rows, bins by status, and how long it took."""
    return outcome_metadata(rows.column("status").to_pylist(), rows.num_rows, seconds)


def outcome_metadata(statuses: list[str], rows: int, seconds: float) -> dict[str, Any]:
    """Rows, bins by status, and how long it took."""
    counts = status_counts(statuses)
    return {
        "dagster/row_count": rows,
        "bins": len(statuses),
        "bins_by_status": dg.MetadataValue.md(markdown_table(("status", "bins"), counts)),
        "seconds": round(seconds, 3),
    }


def markdown_table(header: tuple[str, str], rows: Mapping[str, Any]) -> str:
    """A two-column table for the UI; a dash where there is nothing."""
    if not rows:
        return "-"
    lines = [
        f"| {header[0]} | {header[1]} |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in rows.items()),
    ]
    return "\n".join(lines)


def picture(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A large picture, which the UI shows in a window of its own without fetching anything."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def thumbnail(address: str, alt: str) -> dg.MarkdownMetadataValue:
    """A small picture, which the UI shows in place; ``address`` is of ``thumbnails``."""
    return dg.MetadataValue.md(f"![{alt}]({address})")


def day_text(days: list[date]) -> str:
    """``2023-08-10`` or ``2023-08-10 to 2023-08-12 (3 days)``."""
    if len(days) == 1:
        return days[0].isoformat()
    return f"{days[0]} to {days[-1]} ({len(days)} days)"
