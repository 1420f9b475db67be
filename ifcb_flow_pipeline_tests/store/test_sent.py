"""What was sent to dashboards: kept in order, for each dashboard by itself, and never changed."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ifcb_flow_pipeline.store.backup import back_up, restore
from ifcb_flow_pipeline.store.sent import SENT_FILE, Row, SentStore

AT = datetime(2026, 11, 29, 14, 3, tzinfo=UTC)
ROW = Row("D20260301T000000_IFCB101", 7, "skip", ("qc_flow_air", "qc_flow_withdrawn"), 'bad for "Ada"; really')
HERE, THERE = "https://here.example.org", "https://there.example.org"


def test_rows_are_kept_as_they_are_with_who_got_them_and_what_was_read_back(tmp_path: Path):
    store = SentStore(tmp_path / SENT_FILE)
    assert store.rows(HERE) == []
    first, second = store.add(HERE, [ROW, ROW], AT)
    store.add(THERE, [ROW], AT)
    store.confirm([second], AT)
    assert [(one.id, one.row, one.at, one.confirmed) for one in store.rows(HERE)] == [
        (first, ROW, AT, False), (second, ROW, AT, True),
    ]  # fmt: skip
    assert len(store.rows(THERE)) == 1


@pytest.mark.parametrize("change", ["DELETE FROM sent", "UPDATE sent SET skip = 'noskip'", "DELETE FROM read_back"])
def test_nothing_that_was_sent_is_changed_or_removed(tmp_path: Path, change: str):
    store = SentStore(tmp_path / SENT_FILE)
    store.confirm(store.add(HERE, [ROW], AT), AT)
    with closing(sqlite3.connect(store.path)) as connection, pytest.raises(sqlite3.IntegrityError, match="only added"):
        connection.execute(change)


def test_it_is_in_the_backup(tmp_path: Path):
    SentStore(tmp_path / "home" / SENT_FILE).add(HERE, [ROW], AT)
    back_up(tmp_path / "home", tmp_path / "backup")
    restore(tmp_path / "new", tmp_path / "backup")
    assert [one.row for one in SentStore(tmp_path / "new" / SENT_FILE).rows(HERE)] == [ROW]
