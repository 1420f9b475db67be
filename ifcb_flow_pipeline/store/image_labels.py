"""People's labels of single images: which fault an image has, or none, and of which class its particle is.

They are a second kind of entry in the file of decisions, and only ever added to, too: the latest label of an image that
was not withdrawn counts, of each kind by itself, so an image may have a class and a fault.
"""

import csv
import io
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.detection.images.kinds import KINDS
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.store.csv_files import harmless
from ifcb_flow_pipeline.store.labels import MAX_REVIEWER, LabelError, decision_file

Kind = Literal["fault", "class"]

MAX_CLASS = 80

#: Names of classes as folders and other programs take them.
_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", re.ASCII)

_COLUMNS = "pid, roi, kind, label, reviewer, at, id"
_STANDING = "id NOT IN (SELECT label FROM image_withdrawal)"

#: Columns of the labels as CSV.
CSV_COLUMNS = ("pid", "roi", "kind", "label", "reviewer", "at")


@dataclass(frozen=True, slots=True)
class ImageLabel:
    """What one person says of one image.

    ``roi``: number of its row in the .adc file, counted from 1, as the IFCB dashboard has it. ``label``: for the kind
    ``fault`` one of KINDS, or ``clean``; for the kind ``class`` the name of a class. ``at``: when, with time zone.
    ``id``: its number in the store, None before it is kept. Raises LabelError for one that cannot be kept.
    """

    pid: str
    roi: int
    kind: Kind
    label: str
    reviewer: str
    at: datetime
    id: int | None = None

    def __post_init__(self) -> None:
        try:
            parse_pid(self.pid)
        except InvalidPidError as error:
            raise LabelError(str(error)) from error
        if self.roi < 1:
            raise LabelError(f"images are counted from 1; {self.roi} is none")
        if self.kind not in get_args(Kind):
            raise LabelError(f"the kind of a label is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}")
        if self.kind == "fault" and self.label not in (CLEAN, *KINDS):
            raise LabelError(f"the fault is {self.label!r}; it must be {CLEAN} or one of {', '.join(KINDS)}")
        if self.kind == "class" and not (_CLASS.fullmatch(self.label) and len(self.label) <= MAX_CLASS):
            raise LabelError(
                f"the class is {self.label!r}; it must be a letter or digit and up to {MAX_CLASS - 1} more letters, "
                "digits, spaces, dots, dashes or underscores"
            )
        if not 0 < len(self.reviewer.strip()) <= MAX_REVIEWER:
            raise LabelError(f"the reviewer's name must have 1 to {MAX_REVIEWER} characters")
        if self.at.tzinfo is None:
            raise LabelError(f"the time {self.at} of a label must have a time zone")


@dataclass(frozen=True, slots=True)
class ImageLabelStore:
    """The labels of images in the file of decisions ``path``; the first one makes it.

    All methods raise RecordError, naming file and remedy, where the file cannot be used.
    """

    path: Path

    def add(self, label: ImageLabel) -> int:
        """Keep a label; returns its number."""
        values = (label.pid, label.roi, label.kind, label.label, label.reviewer.strip(), label.at.isoformat())
        with decision_file(self.path).adding() as connection:
            (number,) = connection.execute(
                "INSERT INTO image_label (pid, roi, kind, label, reviewer, at) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                values,
            ).fetchone()
            return number

    def withdraw(self, number: int, reviewer: str, at: datetime) -> None:
        """Take a label back: the one before it counts again. Raises LabelError for an unknown number."""
        with decision_file(self.path).adding() as connection:
            if not connection.execute("SELECT 1 FROM image_label WHERE id = ?", (number,)).fetchone():
                raise LabelError(f"{self.path} has no label number {number} of an image")
            connection.execute(
                "INSERT INTO image_withdrawal (label, reviewer, at) VALUES (?, ?, ?)",
                (number, reviewer, at.isoformat()),
            )

    def of_bin(self, pid: str) -> list[ImageLabel]:
        """All labels of the images of a bin that were not withdrawn, oldest first."""
        return self._labels("AND pid = ?", pid)

    def current(self) -> list[ImageLabel]:
        """The label that counts for each image and kind, by bin and image."""
        found = {(one.pid, one.roi, one.kind): one for one in self._labels("")}
        return [found[key] for key in sorted(found)]

    def _labels(self, where: str, *values: object) -> list[ImageLabel]:
        with decision_file(self.path).reading() as connection:
            if connection is None or not _has_labels(connection):
                return []
            query = f"SELECT {_COLUMNS} FROM image_label WHERE {_STANDING} {where} ORDER BY id"  # noqa: S608 - constants
            return [_label(row) for row in connection.execute(query, values)]


def latest(labels: Iterable[ImageLabel]) -> dict[int, dict[Kind, ImageLabel]]:
    """The label that counts of each image of a bin, by its number and by kind. ``labels``: oldest first."""
    found: dict[int, dict[Kind, ImageLabel]] = {}
    for label in labels:
        found.setdefault(label.roi, {})[label.kind] = label
    return found


def labels_csv(labels: Sequence[ImageLabel]) -> str:
    """Labels as CSV with CSV_COLUMNS, for spreadsheets and other programs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for one in labels:
        writer.writerow([one.pid, one.roi, one.kind, one.label, harmless(one.reviewer), one.at.isoformat()])
    return text.getvalue()


def read_image_labels(path: Path) -> list[ImageLabel]:
    """The labels that count, of a file of decisions (.sqlite) or of a CSV file as ``labels_csv`` writes it.

    Raises LabelError or RecordError, naming the file and the line, for what is none.
    """
    if path.suffix == ".sqlite":
        return ImageLabelStore(path).current()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is no CSV file in UTF-8: {error}") from error
    found = {}
    for number, row in enumerate(rows, start=2):
        try:
            one = _of_row(row)
        except (LabelError, ValueError, TypeError, KeyError) as error:
            raise LabelError(f"{path}, line {number}: a label needs {', '.join(CSV_COLUMNS)}: {error}") from None
        found[one.pid, one.roi, one.kind] = one
    return [found[key] for key in sorted(found)]


def _of_row(row: Mapping[str, str]) -> ImageLabel:
    kind = row["kind"].strip().lower()
    if kind not in get_args(Kind):
        raise LabelError(f"the kind of a label is {kind!r}; it must be one of {', '.join(get_args(Kind))}")
    return ImageLabel(row["pid"].strip(), int(row["roi"]), "fault" if kind == "fault" else "class",
                      row["label"].strip(), row["reviewer"], datetime.fromisoformat(row["at"]))  # fmt: skip


def _has_labels(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'image_label'").fetchone() is not None


def _label(row: Iterable) -> ImageLabel:
    pid, roi, kind, label, reviewer, at, number = row
    return ImageLabel(pid, roi, kind, label, reviewer, datetime.fromisoformat(at), number)
