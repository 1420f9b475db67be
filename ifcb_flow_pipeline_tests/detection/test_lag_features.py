"""What only the bins before tell: boxes that stay, humidity and heat that rise."""

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.lag_features import below_zero_first, lag_values

from .fleet import FLEET, changed, columns, table

#: As documented. They are not imported: a threshold that moved would move its own test.
DRY_PCT = 20.0


def test_a_box_that_stays_at_its_place_is_seen_over_the_bins_before():
    bins = changed(columns(20, (FLEET[0],)), slice(8, 20), stuck_x_px=400.0, stuck_y_px=300.0, stuck_width_px=80.0)
    bins = changed(bins, slice(8, 20), stuck_height_px=40.0)
    found = lag_values(table(bins))["stuck_persistence"]
    assert np.isnan(found[:3]).all()
    assert found[3:9].tolist() == [0.0] * 6
    assert found[9:14] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    order = np.random.default_rng(0).permutation(20)
    shuffled = lag_values(table(bins).take(pa.array(order)))["stuck_persistence"]
    assert shuffled == pytest.approx(found[order], nan_ok=True)


def test_the_rise_of_humidity_is_that_above_the_bins_before_of_the_same_instrument():
    bins = columns(20)
    bins = changed(bins, slice(None), humidity_pct=np.concatenate([np.full(20, 20.0), np.full(20, 60.0)]))
    bins = changed(bins, slice(10, 20), humidity_pct=np.arange(10) + 21.0)
    found = lag_values(table(bins))["humidity_rise_pct"]
    assert found[[10, 11, 12]].tolist() == [1.0, 2.0, 3.0]
    assert found[23:].tolist() == [0.0] * 17


def test_below_a_dry_level_humidity_does_not_rise_whatever_the_sensor_reads():
    bins = columns(20, (FLEET[0],))
    bins = changed(bins, slice(None), humidity_pct=np.r_[np.full(10, -8.0), np.full(10, DRY_PCT - 1)])
    assert lag_values(table(bins))["humidity_rise_pct"][3:].tolist() == [0.0] * 17
    bins = changed(bins, slice(10, 20), humidity_pct=DRY_PCT + 3)
    assert lag_values(table(bins))["humidity_rise_pct"][10] == 3.0


def test_a_sensor_below_zero_is_seen_once_of_each_instrument_in_the_order_of_time():
    bins = changed(columns(20), slice(None), humidity_pct=30.0)
    bins = changed(bins, slice(5, 20), humidity_pct=-4.2)
    bins = changed(bins, 25, humidity_pct=-0.1)
    bins = changed(bins, 30, humidity_pct=np.nan)
    assert np.flatnonzero(below_zero_first(table(bins))).tolist() == [5, 25]
    order = np.random.default_rng(0).permutation(40)
    shuffled = below_zero_first(table(bins).take(pa.array(order)))
    assert order[shuffled].tolist() in ([5, 25], [25, 5])
    assert not below_zero_first(table(columns(20)).drop_columns(["humidity_pct"])).any()


def test_heat_rises_above_the_median_of_the_bins_before():
    bins = changed(columns(12, (FLEET[0],)), slice(None), temperature_c=np.r_[np.full(10, 15.0), 18.0, 18.0])
    bins = changed(bins, 4, temperature_c=np.nan)
    found = lag_values(table(bins))["temperature_rise_c"]
    assert np.isnan(found[[0, 1, 2, 4]]).all()
    assert found[[3, 5, 9, 10, 11]].tolist() == [0.0, 0.0, 0.0, 3.0, 3.0]


def test_of_no_bins_there_is_nothing_to_tell():
    assert [len(values) for values in lag_values(table(columns(0))).values()] == [0, 0, 0]


def rises(values: list[float]) -> list[float]:
    bins = changed(columns(len(values), (FLEET[0],)), slice(None), temperature_c=np.array(values))
    return lag_values(table(bins))["temperature_rise_c"].tolist()


def test_the_median_is_that_of_three_to_eight_bins_the_lower_one_of_two():
    assert rises([5.0, 1.0, 3.0, 10.0])[3] == 7.0
    assert rises([4.0, 1.0, 3.0, 2.0, 10.0])[4] == 8.0
    # The ninth bin before is none of them.
    assert rises([100.0, 8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0, 10.0])[9] == 6.0


@pytest.mark.parametrize("side", ["stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px"])
def test_a_box_is_the_same_within_a_step_of_the_lattice_in_all_its_sides(side: str):
    box = dict.fromkeys(("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px"), 400.0)
    bins = changed(columns(8, (FLEET[0],)), slice(None), **box)
    for px, persistence in ((8.0, 1.0), (-8.0, 1.0), (9.0, 0.0), (-9.0, 0.0)):
        assert lag_values(table(changed(bins, 7, **{side: 400.0 + px})))["stuck_persistence"][7] == persistence


def test_the_sixth_bin_before_tells_nothing_of_a_box():
    boxes = np.array([400.0, 400.0, 0.0, 100.0, 200.0, 300.0, 500.0, 400.0])
    box = dict.fromkeys(("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px"), boxes)
    found = lag_values(table(changed(columns(8, (FLEET[0],)), slice(None), **box)))["stuck_persistence"]
    assert found[7] == 0.0
