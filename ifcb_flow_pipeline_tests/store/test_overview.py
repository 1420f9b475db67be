"""The files of years are what the daily tables say, with them and without."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.overview import FeatureOverview, Overview, ScoreOverview, renew_overviews, setting
from ifcb_flow_pipeline_tests.app.reviewed import write_review_store
from ifcb_flow_pipeline_tests.app.stored import FIRST_DAY

YEAR = FIRST_DAY.year


@pytest.fixture
def tables(tmp_path: Path) -> DailyTables:
    return DailyTables(write_review_store(tmp_path) / "tables")


@pytest.mark.parametrize("kind", [ScoreOverview, FeatureOverview])
def test_a_year_is_the_same_from_its_days_from_its_file_and_from_both(tables: DailyTables, kind: type[Overview]):
    overview = kind(tables)
    from_days = overview.read(YEAR).rows
    renew_overviews(tables)
    assert overview.path(YEAR).exists()
    assert overview.read(YEAR).rows.equals(from_days)
    day = tables.read(overview.table, FIRST_DAY)
    provenance = tables.provenance(overview.table, FIRST_DAY)
    assert day is not None
    assert provenance is not None
    tables.write(overview.table, FIRST_DAY, day.slice(1), provenance)
    assert overview.read(YEAR).rows.num_rows == from_days.num_rows - 1
    overview.path(YEAR).write_bytes(b"no parquet")
    assert overview.read(YEAR).rows.num_rows == from_days.num_rows - 1


def test_single_columns_come_with_what_orders_them(tables: DailyTables):
    renew_overviews(tables)
    rows = FeatureOverview(tables).read(YEAR, ["mean_x", "flash_delay"]).rows
    assert rows.column_names == ["start_time", "pid", "mean_x", "flash_delay"]
    assert np.isnan(rows["flash_delay"].to_numpy()).all() or rows["flash_delay"].null_count == rows.num_rows
    assert sorted(zip(rows["start_time"].to_pylist(), rows["pid"].to_pylist(), strict=True)) == list(
        zip(rows["start_time"].to_pylist(), rows["pid"].to_pylist(), strict=True)
    )


def test_a_setting_of_the_header_is_read_from_the_settings_of_each_bin():
    texts = pa.chunked_array([['{"flash_delay": 80, "run_fast": true}', "", None], ['{"flash_delay": "x"}']])
    np.testing.assert_equal(setting(texts, "flash_delay"), [80, np.nan, np.nan, np.nan])
    np.testing.assert_equal(setting(texts, "run_fast"), [1, np.nan, np.nan, np.nan])
