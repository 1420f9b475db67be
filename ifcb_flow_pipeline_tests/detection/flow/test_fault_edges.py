"""The first and the last bins of a fault, which are not odd alone."""

from math import erfc, log10, sqrt

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.flow.fault_edges import fault_edges
from ifcb_flow_pipeline.detection.flow.neighbour_averages import Series

#: As documented. They are not imported: a threshold that moved would move its own test.
LEAST_SHARE = 0.4
MOST = 2.5
NEXT = 8


def series(z: np.ndarray, deployment: np.ndarray | None = None) -> Series:
    zeros = np.zeros(len(z), np.int64)
    lost = np.arange(len(z), dtype=np.float32)
    return Series.of(z.astype(np.float32), lost, zeros if deployment is None else deployment)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 4))


def fault(z: np.ndarray, at: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which bins are in order, which are a fault in the first feature, and which way that is."""
    is_fault = np.zeros(len(z), dtype=bool)
    is_fault[at] = True
    return ~is_fault, is_fault, first_feature(z[at])


def first_feature(z: np.ndarray) -> np.ndarray:
    """The way of the first feature of faulty bins."""
    way = np.zeros(z.shape, dtype=np.float32)
    way[:, 0] = np.sign(z[:, 0])
    return way


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_bins_before_and_after_a_fault_that_go_its_way_belong_to_it(sign: float):
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = sign * 4.0
    z[[96, 97, 98, 99, 106, 107, 108], 0] = sign * 2.2
    found = fault_edges(series(z), *fault(z, slice(100, 106)))
    assert np.flatnonzero(found.rarity).tolist() == [96, 97, 98, 99, 106, 107, 108]
    assert found.n_bins[found.place[[96, 108]]].tolist() == [10, 9]
    assert (np.sign(found.z[found.place[[96, 108]], 0]) == sign).all()
    # The mean of the bins that belong to it, with those of the fault.
    assert found.lost[found.place[[96, 108]]].tolist() == pytest.approx(
        [np.mean(range(96, 106)), np.mean(range(100, 109))]
    )


def test_bins_beside_a_fault_that_go_another_way_do_not_belong_to_it():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[95:100, 0] = -3.0
    z[106:112, 1] = 3.0
    assert not fault_edges(series(z), *fault(z, slice(100, 106))).rarity.any()


def test_a_bin_between_that_does_not_belong_ends_it():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[[94, 95, 97, 98, 99], 0] = 2.5
    z[96, 0] = 0.0
    found = fault_edges(series(z), *fault(z, slice(100, 106)))
    assert np.flatnonzero(found.rarity).tolist() == [97, 98, 99]


def test_what_all_bins_do_is_no_sign_of_the_fault():
    z = 0.3 * noise(200, seed=1)
    z[:, 0] += 2.0
    z[100:106, 0] = 4.0
    assert not fault_edges(series(z), *fault(z, slice(100, 106))).rarity.any()


def test_a_fault_does_not_begin_in_another_deployment_or_without_bins_to_compare_with():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[96:100, 0] = 2.5
    parted = series(z, (np.arange(200) >= 100).astype(np.int64))
    assert not fault_edges(parted, *fault(z, slice(100, 106))).rarity.any()
    alone = slice(90, 112)
    assert not fault_edges(series(z[alone]), *fault(z[alone], slice(10, 16))).rarity.any()


@pytest.mark.parametrize("seed", range(6))
def test_the_onset_of_a_fault_that_grows_is_found_within_two_bins(seed: int):
    z = 0.6 * noise(200, seed)
    growing = np.linspace(1.6, 3.6, 5)
    z[95:100, 0] = growing
    z[100:106, 0] = 4.0
    found = fault_edges(series(z), *fault(z, slice(100, 106)))
    first = np.flatnonzero(found.rarity)[0]
    assert 95 <= first <= 97
    assert np.flatnonzero(found.rarity).tolist() == list(range(first, 100))


def test_no_more_bins_than_are_next_to_a_fault_belong_to_it():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[85:100, 0] = 2.5
    found = fault_edges(series(z), *fault(z, slice(100, 106)))
    assert np.flatnonzero(found.rarity).tolist() == list(range(100 - NEXT, 100))
    assert found.rarity.max() <= MOST


def test_a_bin_that_goes_too_little_of_the_way_does_not_belong():
    z = 0.1 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[97:100, 0] = 0.9 * LEAST_SHARE * 4.0
    assert not fault_edges(series(z), *fault(z, slice(100, 106))).rarity.any()
    z[97:100, 0] = 1.3 * LEAST_SHARE * 4.0
    assert np.flatnonzero(fault_edges(series(z), *fault(z, slice(100, 106))).rarity).tolist() == [97, 98, 99]


def test_one_bin_that_hardly_stands_out_is_not_enough():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[99, 0] = 1.7
    assert not fault_edges(series(z), *fault(z, slice(100, 106))).rarity.any()


def test_where_others_scatter_far_it_takes_more():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = 4.0
    z[98:100, 0] = 2.2
    assert fault_edges(series(z), *fault(z, slice(100, 106))).rarity[98:100].all()
    others = np.r_[60:90, 116:146]
    z[others, 0] = 1.9 * np.sign(noise(60, seed=2)[:, 0])
    assert not fault_edges(series(z), *fault(z, slice(100, 106))).rarity.any()


def test_bins_at_the_ends_of_a_series_have_no_others_beyond():
    z = 0.3 * noise(60, seed=1)
    z[:4, 0] = z[56:, 0] = 4.0
    z[4:6, 0] = z[54:56, 0] = 2.4
    ok, is_fault, _ = fault(z, slice(0, 4))
    is_fault[56:], ok[56:] = True, False
    found = fault_edges(series(z), ok, is_fault, first_feature(z[is_fault]))
    assert np.flatnonzero(found.rarity).tolist() == [4, 5, 54, 55]


def test_of_two_faults_a_bin_belongs_to_the_one_that_it_tells_more_of():
    z = 0.3 * noise(200, seed=1)
    z[100:106, 0] = z[110:116, 0] = 4.0
    z[106:110, 0] = 2.5
    ok, is_fault, _ = fault(z, slice(100, 106))
    is_fault[110:116], ok[110:116] = True, False
    found = fault_edges(series(z), ok, is_fault, first_feature(z[is_fault]))
    assert np.flatnonzero(found.rarity).tolist() == [106, 107, 108, 109]
    assert len(np.unique(found.place[106:110])) == 1


def around(beside: dict[int, float], usual: float = 0.0, scatter: float = 0.3, faulty: float = 4.0) -> np.ndarray:
    """200 bins that go to and fro by ``scatter``, a fault from 100 to 112, and bins beside it at so many spreads."""
    z = np.zeros((200, 4))
    z[:, 0] = usual + scatter * np.resize([1.0, 0.0, -1.0], 200)
    z[100:112, 0] = faulty
    for row, value in beside.items():
        z[row, 0] = value
    return z


def rarity_of(z: np.ndarray, row: int) -> float:
    return float(fault_edges(series(z), *fault(z, slice(100, 112))).rarity[row])


def tail(t: float) -> float:
    """-log10 of the share of a normal distribution beyond."""
    return -log10(0.5 * erfc(t / sqrt(2)))


@pytest.mark.parametrize(("row", "step"), [(99, -1), (112, 1)])
def test_bins_beside_a_fault_are_as_rare_as_all_of_them_less_what_it_costs_to_look(row: int, step: int):
    one, two, three = (around(dict.fromkeys(range(row, row + n * step, step), 1.7)) for n in (1, 2, 3))
    # Bins scatter by 0.7 at least, and it is two powers of ten and a half that they must exceed, and have at most.
    assert rarity_of(one, row) == 0.0
    assert rarity_of(two, row) == pytest.approx(2 * tail(1.7 / 0.7) - 2.5, rel=1e-4)
    assert rarity_of(three, row + 2 * step) == 2.5
    # Three standard deviations say all that a bin can say.
    assert rarity_of(around({row: 2.15}), row) == pytest.approx(tail(3.0) - 2.5, rel=1e-4)
    assert rarity_of(around({row: 3.5}), row) == pytest.approx(tail(3.0) - 2.5, rel=1e-4)
    assert rarity_of(around({row: 2.05}), row) == pytest.approx(tail(2.05 / 0.7) - 2.5, rel=1e-4)


def test_what_is_usual_nearby_and_how_that_scatters_is_what_bins_are_set_against():
    beside = {98: 2.6, 99: 2.6}
    wide = around(beside, scatter=1.0)
    assert rarity_of(wide, 99) == pytest.approx(2 * tail(2.6 * 0.6745) - 2.5, rel=1e-4)
    shifted = around(beside, usual=1.0)
    assert rarity_of(shifted, 99) == pytest.approx(2 * tail(1.6 / 0.7) - 2.5, rel=1e-4)
    # What lies on the other side is no reason to belong to it.
    assert rarity_of(around({98: 1.7, 99: 1.7}, usual=-1.0), 99) < 2 * tail(1.7 / 0.7) - 2.5
    # Farther off than 40 bins nothing is looked at, nor within 8 bins.
    beyond = around(beside)
    beyond[:60, 0], beyond[152:, 0], beyond[92:98, 0] = 9.0, 9.0, -9.0
    assert rarity_of(beyond, 99) == rarity_of(around(beside), 99) > 0.0


@pytest.mark.parametrize(("value", "belongs"), [(0.88, False), (0.92, True)])
def test_a_bin_belongs_to_a_slight_fault_from_1_28_standard_deviations_on(value: float, belongs: bool):
    z = around(dict.fromkeys(range(95, 100), value), faulty=2.0)
    assert (rarity_of(z, 99) > 0.0) == belongs


@pytest.mark.parametrize(("n", "is_enough"), [(11, False), (12, True)])
def test_it_takes_twelve_other_bins_to_tell_what_is_usual(n: int, is_enough: bool):
    z = around({98: 2.2, 99: 2.2})
    own = slice(92 - n, 112)
    assert fault_edges(series(z[own]), *fault(z[own], slice(8 + n, 20 + n))).rarity.any() == is_enough


@pytest.mark.parametrize(("rows", "mean"), [([98, 99], slice(98, 108)), ([112, 113], slice(104, 114))])
def test_with_the_bins_beside_a_fault_go_the_nearest_eight_of_it(rows: list[int], mean: slice):
    z = around(dict.fromkeys(rows, 2.2))
    z[100:112, 1] = np.arange(12)
    found = fault_edges(series(z), *fault(z, slice(100, 112)))
    at = found.place[rows[0]]
    assert found.n_bins[at] == 10
    assert found.z[at] * found.spread[at] == pytest.approx(np.clip(z[mean], -4, 4).mean(axis=0), abs=1e-5)
    assert found.spread[at] == pytest.approx(np.full(4, 1 / np.sqrt(10)))
    assert not found.level.any()
