"""Which tables were made without Dagster, for Dagster to record: lines that are only added to, a file a command."""

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ifcb_flow_pipeline.store.private import FILE_MODE, private_folder

_FOLDER = "made_elsewhere"


@dataclass(frozen=True, slots=True)
class Note:
    """That a day of a table was made."""

    table: str
    day: date


class Notes:
    """The notes of one command, in a file of its own under the data folder."""

    def __init__(self, home: Path) -> None:
        self._path = home / _FOLDER / f"{uuid.uuid4().hex}.jsonl"

    def add(self, tables: Iterable[str], day: date) -> None:
        """Note that a day of these tables was made."""
        private_folder(self._path.parent)
        lines = "".join(f"{json.dumps({'table': table, 'day': day.isoformat()})}\n" for table in tables)
        with open(self._path, "a", encoding="utf-8", opener=_private) as file:
            file.write(lines)


def unrecorded(home: Path, done: Mapping[str, int], limit: int) -> tuple[list[Note], dict[str, int]]:
    """The oldest notes that are not recorded yet, ``limit`` at most, and what is recorded with them.

    ``done``: so many notes of each file are recorded. Files that are gone are forgotten.
    """
    notes: list[Note] = []
    now: dict[str, int] = {}
    for path in _files(home):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        # A line without end is being written.
        whole = [line for line in lines if line.endswith("\n")]
        start = done.get(path.name, 0)
        chosen = whole[start : start + limit - len(notes)]
        notes += [_note(line) for line in chosen]
        now[path.name] = start + len(chosen)
    return notes, now


def forget(home: Path, done: Mapping[str, int], before: float) -> None:
    """Remove files all of whose notes are recorded and that were last added to before this time (s since 1970)."""
    for path in _files(home):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before and done.get(path.name, 0) >= path.read_text(encoding="utf-8").count("\n"):
                path.unlink()


def _files(home: Path) -> Sequence[Path]:
    return sorted((home / _FOLDER).glob("*.jsonl"), key=lambda path: (path.stat().st_mtime, path.name))


def _note(line: str) -> Note:
    content = json.loads(line)
    return Note(content["table"], date.fromisoformat(content["day"]))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, FILE_MODE)
