"""Bins that are odd together only: the windows they are in, and what is reported of these."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow import neighbour_averages
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.neighbour_averages import NeighbourDetector, NeighbourEvidence, Series

from ..fleet import BLOOM, Columns, changed, plus, table, times

#: As documented. They are not imported: a threshold that moved would move its own test.
LENGTHS = (4, 8)


METADATA = tuple(
    FeatureMetadata(f"feature{i}", role=role) for i, role in enumerate(("position", "spread", "size", "time"))
)

#: Slight changes of the optics: less than about two spreads in any feature.
SLIGHT = {
    "core_tilt": plus(0.0085),
    "dead_time_s": plus(0.002),
    "stray_spread": plus(0.27),
    "core_width_px": times(1.11),
}

#: What a slight loss of focus does to sizes, and to images.
SLIGHT_SIZES = {
    "width_median_px": times(1.045), "height_median_px": times(1.045), "area_median_px2": times(1.075),
    "area_p10_px2": times(1.06),
}  # fmt: skip


def series(z: np.ndarray, deployment: np.ndarray | None = None) -> Series:
    zeros = np.zeros(len(z), np.int64)
    return Series.of(z.astype(np.float32), zeros.astype(np.float32), zeros if deployment is None else deployment)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, len(METADATA)))


DETECTOR = NeighbourDetector(METADATA).fit(series(noise(2000)))

EVERY = np.ones(200, dtype=bool)


def said_of(model: FlowModel, columns: Columns, rows: np.ndarray) -> list[dict]:
    return model.judge(table(columns)).take(pa.array(rows)).to_pylist()


def test_what_no_bin_shows_alone_is_reported_of_all_of_them(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 58)
    alone = [said_of(model, changed(healthy, row, **SLIGHT), np.array([row]))[0]["severity"] for row in rows.tolist()]
    assert sum(severity >= 35 for severity in alone) <= 2
    together = said_of(model, changed(healthy, rows, **SLIGHT), rows)
    told = [row for row in together if "On average over" in row["reasons"]]
    assert len(told) >= 6
    assert {row["verdict"] for row in told} <= {"watch", "bad"}
    assert min(row["severity"] for row in told) > 35
    # No two of them are equally bad.
    assert len({row["severity"] for row in told}) == len({row["anomaly_score"] for row in told}) == len(told)


def test_the_bins_around_a_window_are_as_before(model: FlowModel, healthy: Columns):
    rows, around = np.arange(50, 58), np.r_[30:49, 59:78]
    before = [row["verdict"] for row in said_of(model, healthy, around)]
    assert [row["verdict"] for row in said_of(model, changed(healthy, rows, **SLIGHT), around)] == before


def test_a_gross_bin_makes_its_neighbours_no_worse(model: FlowModel, healthy: Columns):
    around = np.r_[42:50, 51:59]
    before = [row["verdict"] for row in said_of(model, healthy, around)]
    gross = changed(healthy, 50, core_tilt=0.4, core_width_px=times(4.0))
    assert [row["verdict"] for row in said_of(model, gross, around)] == before


def test_a_fault_that_grows_is_found_from_its_first_bins_on(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 60)
    shift = np.concatenate([np.full(4, 6.0), np.linspace(20, 60, 6)])
    found = said_of(model, changed(healthy, rows, core_x_px=lambda values: values + shift), np.arange(46, 60))
    verdicts = [row["verdict"] for row in found]
    assert verdicts == ["ok"] * 4 + ["bad"] * 10
    assert found[4]["cause"] == "sheath_flow"
    assert found[4]["severity"] < found[-1]["severity"]


def test_the_water_may_hide_nothing_that_it_does_not_explain(model: FlowModel, healthy: Columns):
    row = said_of(model, changed(healthy, 50, **BLOOM, core_x_px=plus(60)), np.array([50]))[0]
    assert row["verdict"] == "bad"
    assert row["cause"] == "sheath_flow"


def test_what_wanders_slowly_is_in_no_window():
    wave = 1.5 * np.sin(np.arange(200) / 200 * 2 * np.pi)[:, None]
    assert not DETECTOR.look(series(noise(200, seed=1) + wave), EVERY).rarity.any()


def test_a_step_that_stays_is_in_no_window():
    z = noise(200, seed=1)
    z[100:, 0] += 2.0
    assert DETECTOR.look(series(z), EVERY).rarity.max() < 1.0


def test_hardly_any_healthy_bin_is_in_a_window_that_is_bad():
    rarity = DETECTOR.look(series(noise(4000, seed=3)), np.ones(4000, dtype=bool)).rarity
    assert (rarity >= 2.0).mean() <= 0.003


@pytest.mark.parametrize("length", LENGTHS)
def test_a_window_names_its_bins_and_how_far_they_lie_from_those_around(length: int):
    z = noise(200, seed=1)
    z[100 : 100 + length, 2] += 4.0
    found = DETECTOR.look(series(z), EVERY)
    odd = np.flatnonzero(found.rarity >= 2.0)
    assert len(odd) >= length - 1
    assert set(odd) <= set(range(100, 100 + length))
    its = found.place[odd]
    assert (np.abs(found.z[its]).argmax(axis=1) == 2).all()
    assert found.n_bins[its].max() <= max(LENGTHS)
    # What is told is the mean of the bins: level and distance are in spreads of single ones.
    mean = found.level[its, 2] + found.z[its, 2] * found.spread[its, 2]
    assert mean == pytest.approx(3.5, abs=1.0)


def shifted(by: np.ndarray | float, rows: slice | list[int] = slice(100, 104)) -> NeighbourEvidence:
    """What is found in bins all alike, but for some in which each feature lies so many spreads of means higher."""
    z = np.zeros((200, len(METADATA)))
    z[rows] += np.reshape(by, (-1, 1)) * DETECTOR.spread_[0]
    return DETECTOR.look(series(z), EVERY)


@pytest.mark.parametrize(("by", "is_one"), [(3.2, False), (3.4, True)])
def test_a_window_far_out_in_all_features_is_found(by: float, is_one: bool):
    assert np.flatnonzero(shifted(by).rarity).tolist() == ([100, 101, 102, 103] if is_one else [])


def test_a_window_is_as_rare_as_its_mean_less_what_the_second_look_costs():
    found = shifted(3.5)
    groups = DETECTOR.tails.groups_of(DETECTOR.tails.rarities(found.z), np.ones_like(found.z))
    expected = DETECTOR.scale.rarity(DETECTOR.tails.raw_score(groups)) - 1.5
    assert found.rarity[100:104] == pytest.approx(expected[found.place[100:104]])
    # Less than half a power of ten is none.
    slight = np.concatenate([shifted(by).rarity for by in np.linspace(3.0, 3.5, 11)])
    assert 0.5 <= slight[slight > 0].min() < 0.65


def test_a_bin_is_part_of_a_window_where_it_goes_six_tenths_of_its_way():
    some = shifted(np.array([6.0, 2.6, 6.0, 6.0]))  # a mean of 5.15, of which it goes 0.5
    assert np.flatnonzero(some.rarity).tolist() == [100, 102, 103]
    every = shifted(np.array([6.0, 3.7, 6.0, 6.0]))  # 0.68 of 5.4
    assert np.flatnonzero(every.rarity).tolist() == [100, 101, 102, 103]


def test_means_that_hardly_scatter_are_set_against_four_tenths_of_a_spread():
    assert NeighbourDetector(METADATA).fit(series(0.01 * noise(500))).spread_ == pytest.approx(np.full((2, 4), 0.4))
    wide = neighbour_averages._spreads(3.0 * noise(20_000).astype(np.float32))
    assert wide == pytest.approx(np.full(4, 3.0), rel=0.03)


@pytest.mark.parametrize(("n", "is_enough"), [(45, False), (46, True)])
def test_fifty_windows_teach_how_they_scatter(n: int, is_enough: bool):
    assert np.isfinite(NeighbourDetector(METADATA).fit(series(noise(n))).spread_).all() == is_enough


def test_the_rarest_windows_of_training_may_be_those_of_faults():
    assert DETECTOR.scale.rarity_.max() == pytest.approx(-np.log10(0.05))


def test_windows_end_where_a_deployment_ends():
    z = noise(200, seed=1)
    z[97:105, 2] += 3.5
    assert (DETECTOR.look(series(z), EVERY).rarity[97:105] >= 2.0).any()
    parted = series(z, (np.arange(200) >= 101).astype(np.int64))
    assert not DETECTOR.look(parted, EVERY).rarity[97:105].any()


def test_bins_that_are_odd_alone_are_in_no_window_and_beside_none():
    z = noise(200, seed=1)
    z[100:108] += 30.0
    in_order = EVERY.copy()
    in_order[100:108] = False
    found = DETECTOR.look(series(z), in_order)
    without = DETECTOR.look(series(np.delete(z, slice(100, 108), axis=0)), EVERY[8:])
    assert np.array_equal(np.delete(found.rarity, slice(100, 108)), without.rarity)
    assert not found.rarity[100:108].any()


@pytest.mark.parametrize("n", [0, 1, 19, 20, 40])
def test_too_few_bins_teach_that_no_window_is_odd(n: int):
    untaught = NeighbourDetector(METADATA).fit(series(noise(n)))
    z = noise(200, seed=1)
    z[100:108] += 3.0
    assert not untaught.look(series(z), EVERY).rarity.any()


@given(st.integers(0, 60), st.integers(0, 1000), st.sampled_from(LENGTHS))
def test_windows_are_those_that_one_would_count_by_hand(n: int, seed: int, length: int):
    z = np.clip(np.random.default_rng(seed).standard_normal((n, 2)) * 3, -4, 4).astype(np.float32)
    deployment = np.sort(np.random.default_rng(seed).integers(0, 2, n))
    lost = np.random.default_rng(seed).random(n).astype(np.float32)
    windows = neighbour_averages._windows(Series(z, lost, deployment))[LENGTHS.index(length)]
    expected = [
        first
        for first in range(8, n - length - 8 + 1)
        if len(set(deployment[first - 8 : first + length + 8].tolist())) == 1
    ]
    assert windows.first.tolist() == expected
    for row, first in enumerate(expected):
        inside = z[first : first + length].mean(axis=0)
        sides = np.stack([inside - z[first - 8 : first].mean(axis=0),
                          inside - z[first + length : first + length + 8].mean(axis=0)])  # fmt: skip
        nearer = np.abs(sides).min(axis=0)
        distance = np.minimum(np.abs(sides).mean(axis=0), 1.5 * nearer)
        contrast = np.where(sides.prod(axis=0) > 0, np.sign(sides[0]) * distance, 0.0)
        assert windows.contrast[row] == pytest.approx(contrast, abs=1e-5)
        assert windows.level[row] == pytest.approx(inside - contrast, abs=1e-5)


def test_unknown_features_say_nothing_and_no_bin_too_much():
    z = Series.of(
        np.array([[np.nan, 99.0, -99.0, 1.0]], dtype=np.float32), np.zeros(1, np.float32), np.zeros(1, dtype=np.int64)
    ).z
    assert z.tolist() == [[0.0, 4.0, -4.0, 1.0]]


def window(n: int, rows: list[int], rarity: float) -> NeighbourEvidence:
    """Of n bins, one window of these."""
    place, rarities = np.full(n, -1), np.zeros(n)
    place[rows], rarities[rows] = 0, rarity
    one = np.full((1, 2), rarity, dtype=np.float32)
    return NeighbourEvidence(rarities, place, np.array([len(rows)]), one, one, one, one[:, 0])


def test_of_two_windows_of_a_bin_the_worse_one_counts_wherever_it_is():
    both = window(5, [0, 1, 2], 1.0).or_worse(window(5, [2, 3], 2.0))
    assert both.rarity.tolist() == [1.0, 1.0, 2.0, 2.0, 0.0]
    assert both.n_bins[both.place[[0, 1, 2, 3]]].tolist() == [3, 3, 2, 2]
    assert both.place[4] == -1
    some = NeighbourEvidence.joined([both, window(3, [1], 3.0)]).of(np.array([6, 4, 2, 0]))
    assert some.rarity.tolist() == [3.0, 0.0, 2.0, 1.0]
    assert some.n_bins[some.place[[0, 2, 3]]].tolist() == [1, 2, 3]
    assert some.z[some.place[[0, 2, 3]], 0].tolist() == [3.0, 2.0, 1.0]


def test_bins_between_two_slight_blooms_are_not_odd_for_being_few_and_small(model: FlowModel, healthy: Columns):
    # Each of these bins alone is in order, but in those between boxes are smaller than in those around.
    larger = np.r_[40:48, 56:64]
    water = {
        **dict.fromkeys(("width_median_px", "height_median_px", "width_p95_px"), times(1.08)),
        **dict.fromkeys(("area_median_px2", "area_p10_px2"), times(1.14)),
        **dict.fromkeys(("trigger_rate_hz", "n_triggers"), times(1.3)),
    }
    found = said_of(model, changed(healthy, larger, **water), np.arange(48, 56))
    assert not any("in a row" in row["reasons"] for row in found)


def test_sizes_of_a_window_are_the_waters_unless_images_are_plainly_lost(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 58)
    assert all(row["severity"] < 50 for row in said_of(model, changed(healthy, rows, **SLIGHT_SIZES), rows))
    some = SLIGHT_SIZES | {"no_image_fraction": plus(0.005)}
    assert all(row["severity"] < 50 for row in said_of(model, changed(healthy, rows, **some), rows))


@given(st.integers(0, 1000), st.sampled_from(LENGTHS))
def test_a_window_loses_as_many_more_images_as_its_bins_do(seed: int, length: int):
    z, lost = noise(60, seed), np.random.default_rng(seed).random(60).astype(np.float32) * 0.01
    lost[20 : 20 + length] += 0.2
    found = Series.of(z.astype(np.float32), lost, np.zeros(60, np.int64))
    windows = neighbour_averages._windows(found)[LENGTHS.index(length)]
    at = windows.first.tolist().index(20)
    assert windows.lost[at] == pytest.approx(0.2, abs=0.01)
    assert windows.lost[at] == windows.lost.max()


def test_of_nothing_there_is_no_window():
    nothing = NeighbourEvidence.nothing(3, 2)
    assert nothing.place.tolist() == [-1, -1, -1]
    assert [len(part) for part in (nothing.n_bins, nothing.z, nothing.level, nothing.spread, nothing.lost)] == [0] * 5
    assert nothing.z.shape == (0, 2)
