"""Rows of features as arrays: columns, scales, and the bins of one instrument in the order of time."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.bin_table import BinTable, rows_of_instruments, taken
from ifcb_flow_pipeline.detection.columns import Names, numbers, optional_numbers, times
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, metadata_of, plain_values, scaled_values
from ifcb_flow_pipeline.detection.lag_features import DRY_PCT

from .fleet import FLEET, changed, columns, table

METADATA = metadata_of(["core_x_px", "stray_fraction", "width_median_px", "humidity_pct"])


def test_names_are_numbered_and_what_is_missing_is_empty():
    names = Names.of(pa.table({"a": ["x", None, "y", "x"]}), "a")
    assert names.to_list() == ["x", "", "y", "x"]
    assert names.equal("x", "y").tolist() == [True, False, True, True]
    assert names.numbers_in(["y", "x"]).tolist() == [1, -1, 0, 1]
    absent = Names.of(pa.table({"b": [1, 2]}), "a")
    assert absent.to_list() == ["", ""]
    assert Names.of(pa.table({"a": pa.array([], pa.string())}), "a").to_list() == []


def test_numbers_that_are_none_are_unknown():
    rows = pa.table({"a": [1.0, None, np.inf, np.nan]})
    assert numbers(rows, "a") == pytest.approx([1.0, np.nan, np.nan, np.nan], nan_ok=True)
    assert np.isnan(optional_numbers(rows, "b")).all()
    with pytest.raises(KeyError):
        numbers(rows, "b")


def test_times_are_seconds_and_a_bin_without_one_is_the_first():
    rows = pa.table({"start_time": pa.array([1_500_000, None], pa.timestamp("us", tz="UTC"))})
    assert times(rows).tolist() == [1.5, 0.0]


@given(st.sampled_from(["plain", "log", "logit"]), st.floats(1e-6, 0.999))
def test_scales_can_be_taken_back_and_keep_the_order(scale: str, value: float):
    both = scaled_values(np.array([value, value + 1e-4]), scale)
    assert both[1] > both[0]
    assert plain_values(both, scale)[0] == pytest.approx(value, rel=1e-6)


def test_scales_are_those_that_they_are_said_to_be():
    assert scaled_values(np.array([np.e]), "log")[0] == pytest.approx(1.0)
    assert scaled_values(np.array([0.5, 2.0, -1.0]), "logit").tolist() == pytest.approx([np.pi / 2, np.pi, 0.0])
    assert np.isfinite(scaled_values(np.array([0.0, -3.0]), "log")).all()
    assert plain_values(scaled_values(np.array([0.0]), "log"), "log")[0] == 0.0
    assert plain_values(np.array([-1.0, 9.0]), "logit").tolist() == pytest.approx([0.0, 1.0])
    assert np.isnan(scaled_values(np.array([np.nan]), "log")[0])


def test_shares_of_strays_and_of_damage_are_as_uncertain_as_other_shares():
    stray, bad, core = metadata_of(["stray_fraction", "bad_line_fraction", "core_x_px"])
    assert (stray.scale, stray.noise) == (bad.scale, bad.noise) == ("logit", "mean")
    assert (core.name, core.unit, core.scale, core.role) == ("core_x_px", "px", "plain", "position")
    with pytest.raises(KeyError):
        metadata_of(["nothing"])


def test_features_are_on_their_scales_and_dry_air_is_all_the_same():
    bins = changed(columns(4, FLEET[:1]), [1, 2], humidity_pct=np.array([-8.0, 50.0]))
    found = BinTable.of(table(bins), METADATA)
    assert found.values[:, 0] == pytest.approx(bins["core_x_px"].astype(float))
    assert found.values[:, 1] == pytest.approx(2 * np.arcsin(np.sqrt(bins["stray_fraction"].astype(float))), abs=1e-5)
    assert found.values[:, 2] == pytest.approx(np.log(bins["width_median_px"].astype(float)), abs=1e-5)
    assert found.values[1:3, 3].tolist() == [DRY_PCT, 50.0]
    assert found.n_points.tolist() == bins["n_points"].tolist()


@pytest.mark.parametrize(("told", "kept"), [(9e99, 1e20), (-9e99, -1e20), (1e19, 1e19)])
def test_numbers_beyond_single_precision_are_far_out_and_no_more(told: float, kept: float):
    bins = changed(columns(4, FLEET[:1]), [1], core_x_px=np.array([told]))
    assert BinTable.of(table(bins), METADATA).values[1, 0] == np.float32(kept)


def test_what_was_read_can_be_judged_and_what_has_points_enough_is_full():
    bins = columns(4, FLEET[:1])
    for row, status in enumerate(("ok", "empty", "too_few_points", "no_adc")):
        bins = changed(bins, row, status=status)
    found = BinTable.of(table(bins), METADATA)
    assert found.judged.tolist() == [True, True, True, False]
    assert found.full.tolist() == [True, False, False, False]


def test_the_bins_of_an_instrument_come_in_the_order_of_time():
    rows = table(columns(6))
    order = np.random.default_rng(0).permutation(12)
    mixed = rows.take(pa.array(order))
    found = rows_of_instruments(mixed)
    assert order[found["IFCB9"]].tolist() == list(range(6, 12))
    assert sorted(found) == list(found)
    assert np.array_equal(np.sort(np.concatenate(list(found.values()))), np.arange(12))
    own = BinTable.of(taken(mixed, found["IFCB9"]), METADATA)
    assert (np.diff(own.time_s) > 0).all()
    assert len(own) == 6
    assert own.values[:, 0] == pytest.approx(columns(6)["core_x_px"][6:].astype(float))
    assert rows_of_instruments(mixed.slice(0, 0)) == {}


@pytest.mark.parametrize("chosen", [[2, 3, 4], [0], [], [4, 3, 2], [1, 3, 4], [0, 2, 1, 3], [2, 2, 4]])
def test_rows_are_taken_in_their_order_and_not_copied_where_they_follow_one_another(chosen: list[int]):
    numbers_ = pa.table({"a": np.arange(5)})
    found = taken(numbers_, np.array(chosen, dtype=np.int64))
    assert found["a"].to_pylist() == chosen
    own, theirs = (table_["a"].chunk(0).buffers()[1] for table_ in (found, numbers_))
    is_view = bool(chosen) and chosen == list(range(chosen[0], chosen[0] + len(chosen)))
    assert (own is not None and own.address == theirs.address) == is_view


def test_a_missing_feature_is_named():
    with pytest.raises(KeyError, match="core_x_px"):
        BinTable.of(table(columns(2)).drop_columns(["core_x_px"]), (FeatureMetadata("core_x_px"),))
