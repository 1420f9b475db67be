"""What a person sees of a materialization in the UI."""

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from ifcb_flow_pipeline.days import status_counts
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.detection.trial.comparison import Comparison
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.store.tables import VERDICTS, Table

#: Rows of a table that people read in the UI; the whole of it is in the stored tables.
_MOST_ROWS = 20


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


def verdict_metadata(scores: pa.Table) -> dict[str, Any]:
    """Bins by verdict, and the numbers of bad ones and of those that were not judged."""
    counts = status_counts(scores.column("verdict").to_pylist())
    by_verdict = {verdict: counts[verdict] for verdict in VERDICTS if verdict in counts}
    return {
        "bad_bins": counts.get("bad", 0),
        "not_judged_bins": counts.get("not_judged", 0),
        "bins_by_verdict": dg.MetadataValue.md(markdown_table(("verdict", "bins"), by_verdict)),
    }


def episode_metadata(episodes: Sequence[Episode]) -> dict[str, Any]:
    """The episodes that are going on, worst first."""
    running = sorted((e for e in episodes if e.ongoing), key=lambda e: -e.worst_severity)
    rows = [
        (
            e.instrument,
            f"{e.start:%Y-%m-%d %H:%M}",
            CAUSE_NAMES.get(e.cause, e.cause),
            f"{e.n_bad} of {e.n_bins}",
            e.worst_pid,
        )
        for e in running[:_MOST_ROWS]
    ]
    header = ("instrument", "since (UTC)", "suspected cause", "bad bins", "worst bin")
    return {"running_episodes": len(running), "episodes": dg.MetadataValue.md(markdown_rows(header, rows))}


def comparison_metadata(comparison: Comparison | None) -> dict[str, Any]:
    """How a challenger did against the model in use; nothing where they could not be compared."""
    if comparison is None:
        return {}
    shares = {f"planted {fault}": pair for fault, pair in comparison.planted.items()} | {
        "bins the active model does not call bad": comparison.alarms,
        "bins people called bad": comparison.labelled_bad,
        "bins people called good": comparison.labelled_good,
    }
    not_judged = comparison.not_judged
    rows = [(what, pair.n, f"{pair.champion:.0%}", f"{pair.challenger:.0%}") for what, pair in shares.items() if pair.n]
    changed = [
        (c.pid, _verdict(c.champion, c.champion_severity), _verdict(c.challenger, c.challenger_severity))
        for c in comparison.changed[:_MOST_ROWS]
    ]
    found = {
        "compared_bins": comparison.n_bins,
        "called_bad": dg.MetadataValue.md(markdown_rows(("of", "bins", "active model", "candidate"), rows)),
        "not_judged": f"active model {not_judged.champion:.0%}, candidate {not_judged.challenger:.0%}",
        "changed_verdicts": len(comparison.changed),
        "changed": dg.MetadataValue.md(markdown_rows(("bin", "active model", "candidate"), changed)),
    }
    # A number that there is not would be no JSON.
    agreement = {} if math.isnan(comparison.rank_agreement) else {"rank_agreement": round(comparison.rank_agreement, 4)}
    return found | agreement


def _verdict(verdict: str, severity: float) -> str:
    return verdict if math.isnan(severity) else f"{verdict} ({severity:.0f})"


def markdown_table(header: tuple[str, str], rows: Mapping[str, Any]) -> str:
    """A two-column table for the UI; a dash where there is nothing."""
    return markdown_rows(header, list(rows.items()))


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table for the UI; a dash where there is nothing."""
    if not rows:
        return "-"
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def review_page(deployment: Deployment, page: str) -> dict[str, Any]:
    """A link to a page of the review app; nothing where its address is not known (IFCB_REVIEW_URL)."""
    address = deployment.settings.review_url
    return {"review_app": dg.MetadataValue.url(f"{address}/{page}")} if address else {}


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
