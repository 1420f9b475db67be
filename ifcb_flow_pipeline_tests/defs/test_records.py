"""Dagster's SQLite files stay open while a run goes on, and nothing is lost."""

import sqlite3
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as db
from sqlalchemy.pool import NullPool

from ifcb_flow_pipeline.defs.records import held_open
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, N_A_DAY, Pipeline

FEATURE_STEPS = ("raw_bins", "point_clouds", "bin_features")


def add(path: Path) -> str:
    """Add a row as Dagster does, by a connection of its own; how that is synced."""
    engine = db.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(db.text("PRAGMA journal_mode=WAL"))
        connection.execute(db.text("CREATE TABLE IF NOT EXISTS event (id INTEGER)"))
        connection.execute(db.text("INSERT INTO event VALUES (1)"))
        [synchronous] = connection.execute(db.text("PRAGMA synchronous")).one()
    return {1: "normal", 2: "full"}[synchronous]


def test_files_stay_open_inside_and_are_closed_and_whole_afterwards(tmp_path: Path) -> None:
    path, log = tmp_path / "events.db", tmp_path / "events.db-wal"
    assert add(path) == "full"
    assert not log.exists(), "who closes it last writes the log back"
    with held_open():
        assert [add(path), add(path)] == ["normal", "normal"]
        assert log.stat().st_size
    assert not log.exists()
    assert add(path) == "full"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (4,)


def test_a_file_is_opened_once_and_a_statement_is_compiled_once_for_all_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, hits, really = [], [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *names, **options: opened.append(names) or really(*names, **options))
    table = db.Table("event", db.MetaData(), db.Column("id", db.Integer))

    def insert(number: int) -> None:
        engine = db.create_engine(f"sqlite:///{tmp_path / 'events.db'}", poolclass=NullPool)

        @db.event.listens_for(engine, "after_cursor_execute")
        def _(_connection, _cursor, statement, _values, context, _many):
            if statement.startswith("INSERT"):
                hits.append(context.cache_hit.name)

        with engine.begin() as connection:
            table.create(connection, checkfirst=True)
            connection.execute(table.insert().values(id=number))

    with held_open():
        for number in range(3):
            insert(number)
    assert len(opened) == 1
    assert hits == ["CACHE_MISS", "CACHE_HIT", "CACHE_HIT"]
    with really(tmp_path / "events.db") as connection:
        assert connection.execute("SELECT id FROM event").fetchall() == [(0,), (1,), (2,)]


def test_two_connections_that_are_used_at_once_are_two(tmp_path: Path) -> None:
    with held_open():
        engine = db.create_engine(f"sqlite:///{tmp_path / 'events.db'}", poolclass=NullPool)
        with engine.connect() as first, engine.connect() as second:
            opened = [each.connection.dbapi_connection for each in (first, second)]
    assert len({id(each) for each in opened}) == 2
    for each in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            each.execute("SELECT 1")


def test_a_run_holds_its_records_open_and_all_of_its_events_are_there_afterwards(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "records").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "records")) as instance:
        recorded = Pipeline(pipeline.deployment, instance)
        assert recorded.run("daily_flow", DAYS[0], DAYS[-1], *FEATURE_STEPS).success
        assert not list((tmp_path / "records").rglob("*-wal")), "a file is still open"
        for name in FEATURE_STEPS:
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == {str(day) for day in DAYS}
        assert recorded.metadata("raw_bins", DAYS[1])["dagster/row_count"].value == N_A_DAY
