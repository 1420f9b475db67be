"""CSV files are what pandas would write, without pandas."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from ifcb_flow_pipeline.review.handover import without_formulas
from ifcb_flow_pipeline.store.csv_files import write_csv

TABLES = {
    "numbers": {"a": [1.0, float("nan"), None, 1e-5, 123456789.123, 1e22], "b": pa.array(range(6), pa.int32())},
    "whole numbers of which one is not known": {"n": pa.array([1, None, 3], pa.int64())},
    "truths": {"known": [True, False], "unknown": [None, True]},
    "texts": {"t": ['a "quoted" one', "with, a comma", "two\nlines", "", None, "=1+1", "-3", "µm", "a\rb"]},
    "times": {"t": pa.array([datetime(2023, 8, 10, 1, 2, 3, tzinfo=UTC), None], pa.timestamp("us", tz="UTC"))},
    "midnights": {"t": pa.array([datetime(2023, 8, 10, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC"))},
    "nothing": {"pid": pa.array([], pa.string()), "x": pa.array([], pa.float64())},
    "names": {"=evil": [1.5], "plain": ["x"]},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_file_is_that_of_pandas_to_the_last_byte(tmp_path: Path, name: str) -> None:
    table = pa.table(TABLES[name])
    write_csv(table, tmp_path / "ours.csv")
    without_formulas(table.to_pandas()).to_csv(tmp_path / "theirs.csv", index=False)
    assert (tmp_path / "ours.csv").read_bytes() == (tmp_path / "theirs.csv").read_bytes()


def test_parts_of_a_table_are_written_as_one(tmp_path: Path) -> None:
    part = pa.table({"n": pa.array([1, 2], pa.int64())})
    write_csv(pa.concat_tables([part, pa.table({"n": pa.array([None], pa.int64())})]), tmp_path / "file.csv")
    assert (tmp_path / "file.csv").read_text() == 'n\n1.0\n2.0\n""\n'
