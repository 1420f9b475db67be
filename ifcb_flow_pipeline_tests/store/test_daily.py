"""The daily tables: what comes back, what a reader sees while others write, and what is refused."""

import dataclasses
import json
import os
import threading
import time
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError, open_parquet, replacing
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, TABLES

from .toys import DAY, PID, PROVENANCE, score_rows

NEXT = DAY + timedelta(days=1)


@pytest.fixture
def tables(tmp_path: Path) -> DailyTables:
    return DailyTables(tmp_path)


def put_parquet(path: Path, rows: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
    return path


# Round trip


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_empty_day_of_every_table_keeps_its_exact_types_and_the_columns_their_meaning(tables, table):
    tables.write(table, DAY, table.schema.empty_table(), PROVENANCE)
    read = tables.read(table, DAY)
    assert read is not None
    assert read.num_rows == 0
    assert read.schema.equals(table.schema)
    stored = pq.read_schema(tables.path(table, DAY))
    for column in table.columns:
        metadata = stored.field(column.name).metadata
        assert metadata[b"unit"].decode() == column.unit
        assert metadata[b"meaning"].decode() == column.meaning


def test_rows_come_back_as_they_were_written(tables):
    rows = score_rows(-0.7, -0.5, float("nan"))
    tables.write(BIN_SCORES, DAY, rows, PROVENANCE)
    read = tables.read(BIN_SCORES, DAY)
    assert read.schema.equals(BIN_SCORES.schema)
    assert str(read.to_pylist()) == str(rows.to_pylist())


def test_narrower_types_are_brought_to_those_of_the_table(tables):
    rows = score_rows(-0.7)
    narrow = rows.set_column(rows.column_names.index("percentile"), "percentile", pa.array([50.0], pa.float32()))
    tables.write(BIN_SCORES, DAY, narrow, PROVENANCE)
    assert tables.read(BIN_SCORES, DAY).schema.equals(BIN_SCORES.schema)


def test_rows_that_lack_a_column_are_not_written(tables):
    with pytest.raises(ValueError, match="names"):
        tables.write(BIN_SCORES, DAY, score_rows(-0.7).drop_columns("verdict"), PROVENANCE)
    assert not tables.path(BIN_SCORES, DAY).exists()


def test_writing_replaces_the_day_and_leaves_the_others(tables):
    for day, score in ((DAY, -0.5), (NEXT, -0.6), (DAY, -0.7)):
        tables.write(BIN_SCORES, day, score_rows(score), PROVENANCE)
    assert tables.read(BIN_SCORES, DAY)["anomaly_score"].to_pylist() == [-0.7]
    assert tables.read(BIN_SCORES, NEXT)["anomaly_score"].to_pylist() == [-0.6]
    assert sorted(path.name for path in tables.root.rglob("*.*")) == ["2023-08-10.parquet", "2023-08-11.parquet"]


def test_a_file_is_where_its_table_and_day_say(tables):
    assert tables.path(RAW_BINS, DAY) == tables.root / "raw_bins" / "2023" / "2023-08-10.parquet"
    assert tables.path(RAW_BINS, date(7, 1, 2)).parts[-2:] == ("0007", "0007-01-02.parquet")


def test_a_day_that_was_not_made_is_none(tables):
    assert tables.read(BIN_SCORES, DAY) is None
    assert tables.provenance(BIN_SCORES, DAY) is None
    assert tables.days(BIN_SCORES) == []


def test_days_are_those_that_were_made_ascending_and_nothing_else(tables):
    days = [date(2023, 12, 31), date(2005, 6, 1), date(2024, 1, 1), date(2023, 2, 28)]
    for day in days:
        tables.write(BIN_SCORES, day, score_rows(), PROVENANCE)
    folder = tables.path(BIN_SCORES, DAY).parent
    for name in (".2023-08-10.parquet.0123.tmp", "2023-08-10.parquet.bak", "notes.txt", "2023-08-10 (1).parquet"):
        (folder / name).write_bytes(b"")
    assert tables.days(BIN_SCORES) == sorted(days)
    assert tables.days(RAW_BINS) == []


def test_some_columns_come_in_the_order_asked_for(tables):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), PROVENANCE)
    wanted = ["verdict", "pid", "anomaly_score"]
    assert tables.read(BIN_SCORES, DAY, wanted).column_names == wanted
    assert tables.read_range(BIN_SCORES, DAY, DAY, wanted).column_names == wanted
    assert tables.read_range(BIN_SCORES, NEXT, NEXT, wanted).column_names == wanted


def test_a_column_that_the_table_does_not_have_is_an_error(tables):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), PROVENANCE)
    for day in (DAY, NEXT):
        with pytest.raises(KeyError, match="sparkle"):
            tables.read_range(BIN_SCORES, day, day, ["pid", "sparkle"])


# Ranges


def test_a_range_holds_the_rows_of_its_days_in_order_of_day(tables):
    for day, score in ((NEXT, -0.3), (DAY, -0.2), (date(2022, 1, 1), -0.1), (date(2024, 1, 1), -0.4)):
        tables.write(BIN_SCORES, day, score_rows(score, score), PROVENANCE)
    read = tables.read_range(BIN_SCORES, DAY, NEXT)
    assert read["anomaly_score"].to_pylist() == [-0.2, -0.2, -0.3, -0.3]
    everything = tables.read_range(BIN_SCORES, date.min, date.max, ["anomaly_score"])
    assert everything["anomaly_score"].to_pylist() == [-0.1, -0.1, -0.2, -0.2, -0.3, -0.3, -0.4, -0.4]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_range_without_days_is_empty_and_typed(tables, table):
    read = tables.read_range(table, DAY, NEXT)
    assert read.num_rows == 0
    assert read.schema.equals(table.schema)
    some = [table.columns[-1].name, table.columns[0].name]
    assert tables.read_range(table, DAY, NEXT, some).schema.equals(
        pa.schema([table.schema.field(name) for name in some])
    )


def test_a_range_whose_days_are_empty_is_empty_and_typed(tables):
    for day in (DAY, NEXT):
        tables.write(BIN_FEATURES, day, BIN_FEATURES.schema.empty_table(), PROVENANCE)
    assert tables.read_range(BIN_FEATURES, DAY, NEXT).schema.equals(BIN_FEATURES.schema)


def test_a_day_that_vanishes_while_a_range_is_read_is_left_out(tables, monkeypatch):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), PROVENANCE)
    monkeypatch.setattr(DailyTables, "days", lambda *_: [DAY, NEXT])
    assert tables.read_range(BIN_SCORES, DAY, NEXT).num_rows == 1


# Provenance


def test_a_file_says_what_it_was_made_of(tables):
    made_of = Provenance("abc", {"model_id": "m", "aspect_ratio": 1.36, "triggers": "images"})
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), made_of)
    assert tables.provenance(BIN_SCORES, DAY) == made_of


def test_provenance_does_not_come_with_the_rows(tables):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), PROVENANCE)
    assert tables.read(BIN_SCORES, DAY).schema.metadata is None


# Refused files


def newer(table):
    return dataclasses.replace(table, version=table.version + 1)


def test_a_file_of_another_version_is_refused_with_both_versions_and_the_remedy(tables):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), PROVENANCE)
    version = BIN_SCORES.version
    said = rf"2023-08-10.parquet has version {version} of bin_scores.* has {version + 1}: process"
    with pytest.raises(StoreError, match=said):
        tables.read(newer(BIN_SCORES), DAY)
    with pytest.raises(StoreError, match="process that day again"):
        tables.read_range(newer(BIN_SCORES), DAY, DAY)
    assert tables.provenance(newer(BIN_SCORES), DAY) is None


def test_a_file_of_another_table_is_refused(tables):
    tables.write(RAW_BINS, DAY, RAW_BINS.schema.empty_table(), PROVENANCE)
    wrong = tables.path(BIN_SCORES, DAY)
    wrong.parent.mkdir(parents=True)
    tables.path(RAW_BINS, DAY).rename(wrong)
    for use in (tables.read, tables.provenance):
        with pytest.raises(StoreError, match=r"raw_bins.*move it away"):
            use(BIN_SCORES, DAY)


@pytest.mark.parametrize("metadata", [None, {b"other": b"program"}, {b"ifcb_flow": b"{"}, {b"ifcb_flow": b"{}"}])
def test_a_file_of_another_program_is_refused(tables, metadata):
    path = put_parquet(tables.path(BIN_SCORES, DAY), score_rows(-0.7).replace_schema_metadata(metadata))
    for use in (tables.read, tables.provenance):
        with pytest.raises(StoreError, match="was not written by this program; move it away") as refused:
            use(BIN_SCORES, DAY)
        assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"garbage" * 100, b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_table_is_refused_with_the_remedy(tables, content):
    path = tables.path(BIN_SCORES, DAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for use in (tables.read, tables.provenance):
        with pytest.raises(StoreError, match=r"(?s)cannot be read.*process that day again") as refused:
            use(BIN_SCORES, DAY)
        assert str(path) in str(refused.value)


def test_a_file_cut_off_anywhere_is_refused(tables):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7, -0.6), PROVENANCE)
    path = tables.path(BIN_SCORES, DAY)
    whole = path.read_bytes()
    for end in range(0, len(whole), 211):
        path.write_bytes(whole[:end])
        with pytest.raises(StoreError):
            tables.read(BIN_SCORES, DAY)


def test_a_file_with_a_hole_in_its_rows_is_refused_with_the_remedy(tables):
    tables.write(BIN_SCORES, DAY, score_rows(*(i / -1000 for i in range(999))), PROVENANCE)
    path = tables.path(BIN_SCORES, DAY)
    whole = path.read_bytes()
    path.write_bytes(b"PAR1" + bytes(1000) + whole[1004:])
    with pytest.raises(StoreError, match=r"(?s)cannot be read.*process that day again"):
        tables.read(BIN_SCORES, DAY)


def test_a_directory_in_place_of_a_file_is_refused(tables):
    tables.path(BIN_SCORES, DAY).mkdir(parents=True)
    for use in (tables.read, tables.provenance):
        with pytest.raises(StoreError, match="cannot be read"):
            use(BIN_SCORES, DAY)


def test_opening_a_file_that_is_not_there_says_so(tables):
    with pytest.raises(FileNotFoundError), open_parquet(BIN_SCORES, tables.path(BIN_SCORES, DAY)):
        pass


# Whole or not at all


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_failing_writer_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"old")

    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space left"), replacing(path) as temporary:
        fail(temporary)
    assert files(tmp_path) == {"table.parquet": b"old"}


def test_rows_that_cannot_be_stored_leave_the_old_day_and_no_other_file(tables):
    tables.write(BIN_SCORES, DAY, score_rows(-0.7), PROVENANCE)
    folder = tables.path(BIN_SCORES, DAY).parent
    before = files(folder)
    with pytest.raises(TypeError):
        tables.write(BIN_SCORES, DAY, score_rows(-0.6), Provenance("a", {"settings": object()}))
    assert files(folder) == before


def test_the_new_file_is_complete_on_disk_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    path, happened = tmp_path / "table.parquet", []
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda number: happened.append((os.fstat(number).st_size, path.read_bytes())))
    with replacing(path) as temporary:
        temporary.write_bytes(b"new content")
    assert happened == [(11, b"old")]
    assert path.read_bytes() == b"new content"


def test_leftovers_of_killed_writers_go_after_a_day_and_not_before(tmp_path):
    path = tmp_path / "2023-08-10.parquet"
    names = {"old": 86_400 + 60, "young": 86_400 - 600, "now": 0}
    for name, age in names.items():
        leftover = tmp_path / f".2023-08-10.parquet.{name}.tmp"
        leftover.write_bytes(b"")
        os.utime(leftover, (time.time() - age,) * 2)
    others = [tmp_path / ".2023-08-11.parquet.old.tmp", tmp_path / "2023-08-09.parquet", tmp_path / ".hidden.tmp"]
    for other in others:
        other.write_bytes(b"")
        os.utime(other, (0, 0))
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert {leftover.name for leftover in tmp_path.iterdir()} == {
        "2023-08-10.parquet",
        ".2023-08-10.parquet.young.tmp",
        ".2023-08-10.parquet.now.tmp",
        *(other.name for other in others),
    }


def test_a_leftover_that_another_writer_finishes_with_meanwhile_breaks_nothing(tmp_path):
    path = tmp_path / "table.parquet"
    # A link to nowhere: listed, but gone when it is looked at.
    (tmp_path / ".table.parquet.0123.tmp").symlink_to(tmp_path / "gone")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_two_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "table.parquet"
    with replacing(path) as one, replacing(path) as two:
        one.write_bytes(b"one")
        two.write_bytes(b"two")
        assert not path.exists()
    assert files(tmp_path) == {"table.parquet": b"one"}


def test_readers_never_see_a_torn_or_missing_day_while_it_is_rewritten(tables):
    versions = [score_rows(*[score] * 50) for score in (-0.25, -0.75)]
    tables.write(BIN_SCORES, DAY, versions[0], Provenance("0"))
    done, seen, failures = threading.Event(), [], []

    def keep_reading() -> None:
        try:
            while True:
                last_round = done.is_set()
                rows = tables.read(BIN_SCORES, DAY)
                seen.append(tuple(rows["anomaly_score"].to_pylist()))
                assert tables.provenance(BIN_SCORES, DAY).signature in ("0", "1")
                if last_round:
                    return
        except Exception as error:  # noqa: BLE001 - whatever a reader sees is for the test to tell
            failures.append(error)

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(60):
        tables.write(BIN_SCORES, DAY, versions[i % 2], Provenance(str(i % 2)))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert set(seen) <= {(-0.25,) * 50, (-0.75,) * 50}
    assert (-0.75,) * 50 in seen


def test_the_footer_names_the_table_and_its_version(tables):
    tables.write(POINT_CLOUDS, DAY, POINT_CLOUDS.schema.empty_table(), PROVENANCE)
    content = json.loads(pq.read_schema(tables.path(POINT_CLOUDS, DAY)).metadata[b"ifcb_flow"])
    assert (content["table"], content["version"]) == ("point_clouds", POINT_CLOUDS.version)
    assert PID not in str(content)
