"""The first and the last bins of a fault, which are not odd alone."""

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
