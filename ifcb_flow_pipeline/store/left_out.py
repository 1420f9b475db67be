"""The table ``left_out``: what the archive has that is in no day's tables, in one file for all days.

It is made from a look at the archive (``store.survey``), which stats no file twice, and written only where something
has changed. Readers: the check on ``raw_bins``, the command line, the demo.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from logging import Logger
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ifcb_flow_pipeline.bins.left_out import LeftOut
from ifcb_flow_pipeline.store.daily import COMPRESSION, Provenance, StoreError, footer, open_parquet, replacing
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.sums import fill, room
from ifcb_flow_pipeline.store.survey import Budget, Survey, Surveyor
from ifcb_flow_pipeline.store.tables import LEFT_OUT, status_name

#: Rows that are held in memory at once: an archive may begin decades before the first day of a deployment.
_ROWS_AT_ONCE = 50_000

_MADE_OF = b"left_out_made_of"

#: So many are named in a text for people.
NAMED = 10


@dataclass(frozen=True, slots=True)
class LeftOutTable:
    """The file among the tables of ``home``."""

    home: Path

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return self.home / "tables" / f"{LEFT_OUT.name}.parquet"

    def read(self) -> pa.Table | None:
        """All rows; None where the archive has not been looked through yet. Raises StoreError for a damaged file."""
        if not self.path.exists():
            return None
        with open_parquet(LEFT_OUT, self.path) as opened:
            opened.check()
            return opened.file.read().replace_schema_metadata()

    def renew(self, settings: Settings, today: date, budget: Budget, log: Logger | None = None) -> bool:
        """Look at the archive and write what is left out of the days from the first of the deployment to ``today``.

        False, and the file as it was, where there was not enough time to look at everything. Raises ArchiveError or
        LedgerError as the look does.
        """
        surveyor = Surveyor.of(settings)
        found = surveyor.survey((), budget, log=log)
        if not found.complete:
            return False
        made_of = _signature(found, settings.start_day, today)
        if made_of != self._made_of():
            outside = surveyor.outside(days_outside(found, settings.start_day, today), settings.start_day, today)
            self._write(itertools.chain(found.left_out, outside), made_of)
        return True

    def _write(self, left_out: Iterable[LeftOut], made_of: str) -> None:
        schema = LEFT_OUT.schema.with_metadata(footer(LEFT_OUT, Provenance(made_of)) | {_MADE_OF: made_of.encode()})
        rows, n_batches = map(row_of, left_out), 0
        with replacing(self.path) as temporary:
            with pq.ParquetWriter(temporary, schema, compression=COMPRESSION) as writer:
                while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
                    writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                    n_batches += 1
                writer.add_key_value_metadata(room(n_batches))
            fill(temporary)

    def _made_of(self) -> str | None:
        try:
            with open_parquet(LEFT_OUT, self.path) as opened:
                return opened.file.schema_arrow.metadata.get(_MADE_OF, b"").decode()
        except (FileNotFoundError, StoreError):
            return None  # what cannot be read is made anew


def days_outside(found: Survey, first: date, last: date) -> list[date]:
    """The days of the archive that are not among those from ``first`` to ``last``, ascending."""
    return [day for day in found.archive if not first <= day <= last]


def row_of(one: LeftOut) -> dict[str, object]:
    """A row of ``left_out``."""
    return {"pid": _storable(one.pid), "instrument": one.instrument, "start_time": one.start_time,
            "path": _storable(one.path), "status": one.status, "reason": _storable(one.reason)}  # fmt: skip


def summary(rows: pa.Table) -> str:
    """How many are left out and why, in a line; empty where nothing is."""
    counts = Counter(rows["status"].to_pylist())
    kinds = ", ".join(f"{count} {status_name(status)}" for status, count in counts.most_common())
    return f"{rows.num_rows} left out of all tables: {kinds}" if counts else ""


def examples(rows: pa.Table, most: int = NAMED) -> list[str]:
    """The first rows as lines of text, and how many more there are."""
    lines = [f"{row['pid']}  {row['reason'] or status_name(row['status'])}" for row in rows.slice(0, most).to_pylist()]
    return [*lines, f"and {rows.num_rows - most} more"] if rows.num_rows > most else lines


def _signature(found: Survey, first: date, last: date) -> str:
    digest = hashlib.sha256(f"{first}\n".encode())
    for line in _lines(found, days_outside(found, first, last)):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _lines(found: Survey, outside: Sequence[date]) -> Iterator[str]:
    yield from (f"{one}\n" for one in found.left_out)
    yield from (f"{day} {found.archive[day].signature} {found.archive[day].n_bins}\n" for day in outside)


def _storable(text: str) -> str:
    # A name on disk that is no UTF-8 cannot be stored: it is escaped.
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
