"""Every single damage to a stored file is noticed when it is read, and says what to do."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ifcb_flow_pipeline.store import clouds as clouds_module
from ifcb_flow_pipeline.store import sums
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, DamagedError, Provenance
from ifcb_flow_pipeline.store.survey import Budget, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_SCORES, POINT_CLOUDS

from .toys import DAY, PID, read_of, score_rows

NEXT_PID = "D20230810T115200_IFCB134"


@pytest.fixture
def tables(tmp_path) -> DailyTables:
    tables = DailyTables(tmp_path / "tables")
    tables.write(BIN_SCORES, DAY, score_rows(-0.4, -0.5), Provenance("one"))
    CloudTables(tables).write(DAY, [read_of(PID), read_of(NEXT_PID)], Provenance("one"))
    return tables


def test_any_damaged_byte_of_a_table_is_noticed(tables):
    path = tables.path(BIN_SCORES, DAY)
    good = path.read_bytes()
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        with pytest.raises(DamagedError, match="process that day again"):
            tables.read(BIN_SCORES, DAY)


@pytest.mark.parametrize("width", [1, 512])
def test_any_damage_to_clouds_is_noticed(tables, width):
    clouds, path = CloudTables(tables), tables.path(POINT_CLOUDS, DAY)
    good = path.read_bytes()
    for place in range(0, len(good) - 8, 97):
        zeros = bytes(len(good[place : place + width]))
        damaged = good[:place] + zeros + good[place + width :]
        if damaged == good:
            continue
        path.write_bytes(damaged)
        with pytest.raises(DamagedError, match="process that day again"):
            list(clouds.read_all(DAY, ["x_px", "trigger"]))


def test_a_bin_is_read_although_one_of_another_row_group_is_damaged(tables, monkeypatch):
    monkeypatch.setattr(clouds_module, "_ROWS_A_GROUP", 1)
    CloudTables(tables).write(DAY, [read_of(PID), read_of(NEXT_PID)], Provenance("one"))
    clouds, path = CloudTables(tables), tables.path(POINT_CLOUDS, DAY)
    good = path.read_bytes()
    start = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    path.write_bytes(good[: start + 10] + b"\x55\xaa" + good[start + 12 :])
    assert clouds.read_one(DAY, PID, ["x_px"])[0].pid == PID
    with pytest.raises(DamagedError):
        clouds.read_one(DAY, NEXT_PID, ["x_px"])
    with clouds.stored(DAY) as stored:
        assert stored.cloud(PID) is not None
        assert stored.cloud(NEXT_PID) is None


def test_a_file_without_rows_has_checksums_too(tables):
    tables.write(BIN_SCORES, DAY, score_rows(), Provenance("none"))
    assert tables.read(BIN_SCORES, DAY) == score_rows().cast(BIN_SCORES.schema).replace_schema_metadata()


def test_a_file_of_before_there_were_checksums_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pa.OSFile(str(path)) as source:
        assert sums.checked_footer(source) is None


def test_the_nightly_look_finds_a_damage_that_nobody_has_met_within_a_month(tables, tmp_path, monkeypatch):
    (tmp_path / "archive").mkdir()
    path = tables.path(BIN_SCORES, DAY)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    surveyor = Surveyor(Archive(tmp_path / "archive"), tables, tmp_path / "ledger.sqlite")
    found = set()
    for night in range(30):
        moment = datetime(2033, 1, 1, tzinfo=UTC) + timedelta(days=night)
        monkeypatch.setattr(Archive, "now", lambda _, moment=moment: moment)
        survey = surveyor.survey((BIN_SCORES,), Budget(), thorough=True)
        found.add(survey.made_of["bin_scores"][DAY])
    assert found == {"one", None}
