"""Tables as files for other programs, and what the IFCB dashboard is told about people's decisions.

What the dashboard does with an upload of metadata was read in its source (github.com/WHOIGit/ifcbdb,
``dashboard/accession.py``, ``import_metadata``) and seen on a running one: a column named x, y, id, sample or date
rewrites the bin itself, so exactly the columns pid, tag1 ..., comment and skip are written; a column of numbers is
refused as skip, so words are; an empty cell leaves the bin as it is. Tags and comments are only ever added, and the
dashboard does not tell who skipped a bin. So ``noskip`` is written only where the record of what was sent says that
the skip is ours.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.csv_files import harmless
from ifcb_flow_pipeline.store.labels import Label
from ifcb_flow_pipeline.store.sent import Row, Sent

#: The dashboard takes files below 2 MB.
MAX_UPLOAD_BYTES = 1_900_000

#: Longer comments are cut: the dashboard shows them in one line.
MAX_COMMENT = 500

#: What begins the tag of a suspected cause.
CAUSE_TAG = "qc_flow_"

#: The tag of bins that were called bad and are not any more. The tag of the cause stays beside it: an upload cannot
#: remove one.
WITHDRAWN_TAG = "qc_flow_withdrawn"

#: What pandas, through which the dashboard reads the file, takes for an empty cell.
EMPTY_WORDS = frozenset({"null", "nan", "na", "none", "n/a"})

#: Tags that the dashboard keeps as they are.
_TAG = re.compile(r"[a-z0-9_]+", re.ASCII)


class HandoverError(FlowError):
    """Something that cannot be handed to a dashboard, or that a dashboard did not say; the message names it."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A bin that a person has decided about, and the cause that the model suspects (empty: none, or no score)."""

    label: Label
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a dashboard says of a bin. ``comments``: all of them, joined by "; "."""

    skip: bool
    tags: frozenset[str]
    comments: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a dashboard is to be told.

    ``send``: rows to be uploaded. ``unchanged``: rows that are there already. ``not_found``: rows about bins that the
    dashboard does not have. ``left``: bins that are left as they are: not bad, and never called so to the dashboard.
    """

    send: list[Row] = field(default_factory=list)
    unchanged: list[Row] = field(default_factory=list)
    not_found: list[Row] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class UploadFile:
    """A file for the dashboard's upload of metadata, and the rows in it, of which the first is in line 2."""

    content: bytes
    rows: tuple[Row, ...]


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


def read_export(text: str) -> dict[str, Found]:
    """What the dashboard's ``export_metadata`` says of bins, by pid. Raises HandoverError for another text."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    columns = rows.fieldnames or []
    if not {"pid", "comment_summary", "skip"} <= set(columns):
        raise HandoverError("the dashboard's metadata lack pid, comment_summary or skip: is it of another version?")
    # As many columns of tags as the bin with the most tags needs.
    names = [name for name in columns if re.fullmatch(r"tag\d+", name)]
    return {
        row["pid"]: Found(
            row["skip"] == "1", frozenset(filter(None, map(row.get, names))), row["comment_summary"] or ""
        )
        for row in rows
    }


def read_bin(said: Mapping[str, Any]) -> Found:
    """What the dashboard's ``/api/bin/PID`` says of a bin. Raises HandoverError where it is something else."""
    try:
        # A comment is its time, its text and who wrote it.
        comments = "; ".join(str(text) for _, text, *_ in said["comments"])
        return Found(bool(said["skip"]), frozenset(map(str, said["tags"])), comments)
    except (KeyError, TypeError, ValueError) as error:
        raise HandoverError("the dashboard does not tell skip, tags and comments: is it of another version?") from error


def standing(sent: Iterable[Sent], found: Mapping[str, Found] | None = None) -> dict[str, Sent]:
    """The last row about each bin that reached the dashboard, by pid. ``sent``: oldest first.

    A row without confirmation, because the program ended before it could look, counts where ``found`` shows it.
    """
    there = found or {}
    return {one.row.pid: one for one in sent if one.confirmed or _has_come(one.row, there.get(one.row.pid))}


def plan(decided: Iterable[Decided], sent: Iterable[Sent], found: Mapping[str, Found] | None = None) -> Plan:
    """What the dashboard is to be told, in order of time.

    ``decided``: all decisions that count about the bins in question; ``sent``: the record about the same bins. A bin in
    the record without a decision is one whose decision was withdrawn. ``found``: what the dashboard says of them now;
    None where it was not asked, then all rows are to be sent, because the same row twice adds nothing.

    Raises HandoverError for a cause that cannot be a tag.
    """
    last = standing(sent, found)
    decisions = {one.label.pid: one for one in decided}
    result = Plan()
    for pid in sorted({*decisions, *last}, key=lambda pid: (parse_pid(pid).start_time, pid)):
        there = None if found is None else found.get(pid)
        row = _row(pid, decisions.get(pid), last.get(pid), there)
        if row is None:
            result.left.append(pid)
        elif found is None:
            result.send.append(row)
        elif there is None:
            result.not_found.append(row)
        else:
            (result.send if missing(row, there) else result.unchanged).append(row)
    return result


def missing(row: Row, there: Found) -> list[str]:
    """What of a row a dashboard does not show, for people; empty where all of it is there."""
    wrong: list[str] = [row.skip] if row.skip and there.skip != (row.skip == "skip") else []
    wrong += [f"tag {tag}" for tag in row.tags if tag not in there.tags]
    return wrong if _has_comment(row, there) else [*wrong, "comment"]


def dashboard_files(rows: Iterable[Row], max_bytes: int = MAX_UPLOAD_BYTES) -> list[UploadFile]:
    """The rows as CSV files for the dashboard's upload of metadata, each below ``max_bytes``; none without rows."""
    rows = list(rows)
    n_tags = max([1, *(len(row.tags) for row in rows)])
    header = _line(["pid", *(f"tag{i + 1}" for i in range(n_tags)), "comment", "skip"])
    files: list[UploadFile] = []
    content = header
    inside: list[Row] = []
    for row in rows:
        line = _line([row.pid, *row.tags, *[""] * (n_tags - len(row.tags)), row.comment, row.skip])
        if len(content) + len(line) > max_bytes and inside:
            files.append(UploadFile(content, tuple(inside)))
            content, inside = header, []
        content += line
        inside.append(row)
    return [*files, UploadFile(content, tuple(inside))] if inside else []


def _row(pid: str, one: Decided | None, last: Sent | None, there: Found | None) -> Row | None:
    ours = last is not None and last.row.skip == "skip"
    if one is not None and one.label.decision == "bad":
        return _bad(one, last, skipped_by_others=there is not None and there.skip and not ours)
    if last is not None and WITHDRAWN_TAG in last.row.tags:
        # Whoever has skipped it since did so for reasons of their own.
        return replace(last.row, skip="")
    if last is None and not _bears_a_cause(there):
        return None
    # Where it is skipped no longer, another skip may come at any time: that one is not to be lifted.
    lift = ours and (there is None or there.skip)
    comment = _comment(one.label) if one else _cut(f"Withdrawn: {last.row.comment if last else ''}")
    return Row(pid, one.label.id if one else None, "noskip" if lift else "", (WITHDRAWN_TAG,), comment)


def _bad(one: Decided, last: Sent | None, skipped_by_others: bool) -> Row:
    label, comment = one.label, _comment(one.label)
    # The model may suspect another cause by now: the same decision adds nothing all the same.
    tags = last.row.tags if last and last.row.comment == comment else _cause_tags(one.cause)
    return Row(label.pid, label.id, "" if skipped_by_others else "skip", tags, comment)


def _cause_tags(cause: str) -> tuple[str, ...]:
    if cause.lower() in EMPTY_WORDS or (cause and not _TAG.fullmatch(cause)):
        raise HandoverError(
            f"the cause {cause!r} cannot be a tag of the dashboard; an empty text says that there is none"
        )
    return (CAUSE_TAG + cause,) if cause else ()


def _comment(label: Label) -> str:
    # No severity: it changes with each new model, and the dashboard would take the comment for a new one. The minute
    # tells decisions of one day apart.
    note = f": {label.note}" if label.note.strip() else ""
    return _cut(f"Marked {label.decision} by {label.reviewer}, {label.at:%Y-%m-%d %H:%M}{note}")


def _cut(comment: str) -> str:
    return harmless(" ".join(comment.split()))[:MAX_COMMENT].strip()


def _bears_a_cause(there: Found | None) -> bool:
    """Whether a bin bears the tag of a cause that was never withdrawn."""
    tags = [tag for tag in there.tags if tag.startswith(CAUSE_TAG)] if there else []
    return bool(tags) and WITHDRAWN_TAG not in tags


def _has_come(row: Row, there: Found | None) -> bool:
    # A bin that is skipped although its skip was lifted was skipped anew since.
    return there is not None and not missing(replace(row, skip="" if row.skip == "noskip" else row.skip), there)


def _has_comment(row: Row, there: Found) -> bool:
    # As a whole: "Withdrawn: Marked bad by Ada" has "Marked bad by Ada" in it.
    return f"; {row.comment}; " in f"; {there.comments}; "


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
