"""Tables as files for other programs: spreadsheets, and the IFCB dashboard's upload of metadata.

What the dashboard does with such a file was read in its source (github.com/WHOIGit/ifcbdb,
``dashboard/accession.py``, ``import_metadata``): a column named x, y, id, sample or date rewrites the bin itself, so
exactly the columns pid, tag1 ..., comment and skip are written; a column of numbers is refused as skip, so words are.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ifcb_flow_pipeline.store.csv_files import harmless
from ifcb_flow_pipeline.store.labels import Label

#: The dashboard takes files below 2 MB.
MAX_UPLOAD_BYTES = 1_900_000

#: Longer comments are cut: the dashboard shows them in one line.
MAX_COMMENT = 500

#: What begins the tag of a suspected cause.
CAUSE_TAG = "qc_flow_"

_SKIP = {"bad": "skip", "good": "noskip"}


@dataclass(frozen=True, slots=True)
class Decided:
    """A bin that a person has decided about, and what the model suspects of it (empty: nothing)."""

    label: Label
    cause: str = ""


def csv_of(rows: pd.DataFrame) -> bytes:
    """The rows as CSV in UTF-8, texts harmless in spreadsheets, times in ISO 8601."""
    return without_formulas(rows).to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ").encode()


def without_formulas(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with all texts and names of columns harmless in spreadsheets."""
    safe = rows.rename(columns=lambda name: harmless(str(name)))
    for name in safe.columns:
        if not (pd.api.types.is_numeric_dtype(safe[name]) or pd.api.types.is_datetime64_any_dtype(safe[name])):
            safe[name] = [harmless(value) if isinstance(value, str) else value for value in safe[name]]
    return safe


def dashboard_files(
    decided: Iterable[Decided], max_bytes: int = MAX_UPLOAD_BYTES, *, with_suspicion: bool = False
) -> list[bytes]:
    """The decisions as CSV files that the dashboard's metadata upload accepts, each below ``max_bytes``.

    They carry what people decided; ``with_suspicion`` adds what the model suspects of bins that are bad, as a tag.

    Bad bins are to be skipped, good ones not; bins that a person is unsure about are left out, because the dashboard
    knows no third word. Without any other bin there is no file.
    """
    rows = [_row(one, with_suspicion=with_suspicion) for one in decided if one.label.decision in _SKIP]
    n_tags = max([1, *(len(tags) for _, tags, _, _ in rows)])
    header = _line(["pid", *(f"tag{i + 1}" for i in range(n_tags)), "comment", "skip"])
    files: list[bytes] = []
    content = header
    for pid, tags, comment, skip in rows:
        line = _line([pid, *tags, *[""] * (n_tags - len(tags)), comment, skip])
        if len(content) + len(line) > max_bytes and content != header:
            files.append(content)
            content = header
        content += line
    return [*files, content] if rows else []


def _row(one: Decided, *, with_suspicion: bool) -> tuple[str, Sequence[str], str, str]:
    label = one.label
    suspected = [CAUSE_TAG + one.cause] if with_suspicion and label.decision == "bad" and one.cause else []
    note = " ".join(label.note.split())
    comment = f"Marked {label.decision} by {label.reviewer}, {label.at:%Y-%m-%d}" + f": {note}" * bool(note)
    return label.pid, [*label.tags, *suspected], harmless(comment)[:MAX_COMMENT], _SKIP[label.decision]


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def label_rows(labels: Mapping[str, Label]) -> pd.DataFrame:
    """The decision that counts for each bin as a table, in order of pid."""
    columns = ["pid", "decision", "tags", "note", "reviewer", "decided_at", "source"]
    rows = [
        (one.pid, one.decision, " ".join(one.tags), one.note, one.reviewer, pd.Timestamp(one.at), one.source)
        for _, one in sorted(labels.items())
    ]
    return pd.DataFrame(rows, columns=columns)
