"""Which images of a bin are looked at, and what becomes of damaged ones."""

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, RoiTable
from ifcb_flow_pipeline.features.images.catalogue import CATALOGUE, NAMES
from ifcb_flow_pipeline.features.images.extract import (
    features_of_bin,
    features_of_images,
    rounded,
    sampled_rows,
)


def table_of(start, width, height, first_byte=0):
    return RoiTable(*(np.array(column, np.int64) for column in (start, width, height)), first_byte)


def test_features_of_a_file_are_those_of_its_images():
    rng = np.random.default_rng(1)
    images = [rng.integers(100, 200, shape, np.uint8) for shape in ((12, 20), (30, 9), (5, 5))]
    content = b"\0" + b"".join(image.tobytes() for image in images)
    table = table_of([1, 0, 241, 511], [20, 0, 9, 5], [12, 0, 30, 5], first_byte=1)
    found = features_of_bin(content, table)
    assert found.row.tolist() == [0, 2, 3]
    assert found.status.tolist() == ["ok"] * 3
    assert np.array_equal(found.values, features_of_images(images))


@pytest.mark.parametrize(
    ("start", "width", "height", "status"),
    [
        (0, 10, 10, "impossible"),  # before the first image of a v1 file
        (1, 4096, 10, "impossible"),
        (1, 10, -1, "impossible"),
        (2**62, 10, 10, "cut_off"),
        (1, 2**62, 2**62, "impossible"),
        (-(2**62), 10, 10, "impossible"),
        (401, 10, 10, "cut_off"),
        (1, 4, 100, "too_small"),
        (1, 10, 10, "ok"),
    ],
)
def test_what_is_no_image_is_a_row_that_says_why(start, width, height, status):
    found = features_of_bin(bytes(500), table_of([start], [width], [height], first_byte=1))
    assert found.status.tolist() == [status]
    assert np.isfinite(found.values).all() == (status == "ok")


@pytest.mark.parametrize("n", [0, 1, 199, 200, 201, 5000])
def test_a_sample_is_of_different_rows_spread_evenly_and_the_same_every_time(n):
    width = np.ones(n, np.int64) * 8
    width[::3] = 0
    table = table_of(np.zeros(n, np.int64), width, width)
    rows = sampled_rows(table, 200, "D20220101T221311_IFCB114")
    assert np.array_equal(rows, sampled_rows(table, 200, "D20220101T221311_IFCB114"))
    assert rows.size == min(np.sum(width > 0), 200)
    assert np.all(np.diff(rows) > 0)
    assert (width[rows] > 0).all()
    if rows.size == 200:
        halves = np.sum(rows < n / 2)
        assert abs(halves - 100) <= 2


def test_all_images_are_looked_at_where_all_are_asked_for():
    table = table_of(np.zeros(500, np.int64), np.full(500, 8), np.full(500, 8))
    assert sampled_rows(table, 0).size == 500


def test_stored_values_keep_three_digits():
    values = np.array([0.0, 1.23456, -0.00098765, 54321.0, np.nan, 0.999])
    expected = np.array([0.0, 1.23, -0.000988, 54300.0, np.nan, 0.999], np.float32)
    assert np.array_equal(rounded(values), expected, equal_nan=True)


def test_real_bins_of_every_layout_have_features_of_all_their_images(samples):
    seen = 0
    for roi in sorted((samples / "archive").rglob("*.roi")):
        schema = "v1" if roi.name.startswith("IFCB") else "v2"
        adc = parse_adc(roi.with_suffix(".adc").read_bytes(), schema)
        columns = (adc.columns[name] for name in ("start_byte", "width_px", "height_px"))
        table = RoiTable(*columns, FIRST_BYTE[schema])
        found = features_of_bin(roi.read_bytes(), table)
        assert set(found.status) <= {"ok", "too_small"}
        assert np.isfinite(found.values[found.status == "ok"]).all()
        assert 100 < np.nanmedian(found.values[:, NAMES.index("background")]) < 240
        seen += found.row.size
    assert seen > 300


def test_every_feature_says_what_it_is():
    assert len(set(NAMES)) == len(CATALOGUE)
    for feature in CATALOGUE:
        assert feature.meaning
        assert feature.failure_mode
        assert feature.source
