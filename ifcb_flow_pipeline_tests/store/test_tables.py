"""The declarations of the stored tables: complete, unambiguous, and documented."""

import pyarrow as pa
import pytest

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.detection.verdict import joined, severity
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.images.catalogue import CATALOGUE as IMAGE_CATALOGUE
from ifcb_flow_pipeline.features.stream import SHOWN_COLUMNS, STREAM_COLUMNS
from ifcb_flow_pipeline.store.tables import (
    BIN_FEATURES,
    BIN_IMAGE_SCORES,
    BIN_SCORES,
    IMAGE_SCORES,
    JUDGED,
    POINT_CLOUDS,
    RAW_BINS,
    STATUSES,
    TABLES,
    VERDICTS,
)

EVERY_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
#: Columns that are no quantities: texts, flags, counts and pure numbers.
WITHOUT_UNIT = {
    "anomaly_score",
    "severity",
    "threshold",
    "copies",
    "trigger",
    "n_rows",
    "n_images",
    "n_points",
    "bad_lines",
    "baseline_bins",
    "flow_severity",
    "image_severity",
    "row",
    "oddness",
    "focus",
    "fine_detail",
    "spread",
    "window_z",
}


def test_tables_have_names_of_their_own():
    assert len({table.name for table in TABLES}) == len(TABLES) == 8


@EVERY_TABLE
def test_columns_have_names_of_their_own_in_small_letters(table):
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.isidentifier()
        assert name == name.lower()


@EVERY_TABLE
def test_every_table_and_column_says_what_it_means(table):
    assert table.version >= 1
    assert table.meaning.endswith(".")
    for column in table.columns:
        assert len(column.meaning) >= 5, column.name
        assert column.meaning == column.meaning.strip()
    assert len({column.meaning for column in table.columns}) >= len(table.columns) - 2  # paths share theirs


@EVERY_TABLE
def test_every_quantity_has_a_unit(table):
    dimensionless = WITHOUT_UNIT | {feature.name for feature in (*CATALOGUE, *IMAGE_CATALOGUE) if not feature.unit}
    for column in table.columns:
        number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if (number or pa.types.is_timestamp(column.type)) and column.name not in dimensionless:
            assert column.unit, column.name


@EVERY_TABLE
def test_the_schema_carries_type_unit_and_meaning(table):
    assert table.schema.names == [column.name for column in table.columns]
    for column, field in zip(table.columns, table.schema, strict=True):
        assert field.type == column.type
        assert field.metadata == {b"unit": column.unit.encode(), b"meaning": column.meaning.encode()}


@EVERY_TABLE
def test_every_table_of_bins_has_status_and_reason(table):
    names = table.schema.names
    if table in (POINT_CLOUDS, IMAGE_SCORES):
        assert not {"status", "reason"} & set(names)
        assert names[0] == "pid"
    elif table in (RAW_BINS, BIN_FEATURES, BIN_SCORES, BIN_IMAGE_SCORES):
        assert {"pid", "instrument", "start_time", "status", "reason"} <= set(names)


def test_statuses_are_documented_in_the_column_that_holds_them():
    for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES):
        (status,) = (column for column in table.columns if column.name == "status")
        for name, meaning in STATUSES.items():
            assert name in status.meaning
            assert len(meaning) > 10


def test_the_scores_have_the_columns_of_a_verdict_in_their_order_and_document_every_verdict():
    assert set(BIN_SCORES.schema.names) == {*severity.VERDICT_COLUMNS, *joined.JOINED_COLUMNS}
    assert set(VERDICTS) == set(severity.VERDICTS)
    meanings = {column.name: column.meaning for column in BIN_SCORES.columns}
    assert all(name in meanings["verdict"] for name in VERDICTS)
    assert set(JUDGED) == set(VERDICTS) - {"unreadable", "not_judged"}


def test_the_direction_of_scores_is_documented():
    meanings = {column.name: column.meaning for column in BIN_SCORES.columns}
    assert "LOWER is more anomalous" in meanings["anomaly_score"]
    assert "HIGHER is more anomalous" in meanings["percentile"]


def test_the_features_table_holds_every_feature_of_the_catalogue_in_order():
    names = BIN_FEATURES.schema.names
    assert names[-len(CATALOGUE) :] == [feature.name for feature in CATALOGUE]


def test_the_clouds_table_holds_every_column_that_features_are_made_of_or_that_is_shown_in_its_type():
    types = {column.name: column.dtype for column in ADC_COLUMNS}
    for name in (*STREAM_COLUMNS, *SHOWN_COLUMNS):
        assert POINT_CLOUDS.schema.field(name).type.to_pandas_dtype() is types[name]
