"""Deployments: where the core of an instrument may have been put elsewhere, and which settings are new."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow.deployments import (
    Places,
    Starts,
    find_starts,
    settings_new,
)

from .made_bins import CADENCE_S, START_S

#: As documented. They are not imported: a threshold that moved would move its own test.
LAST_BINS = 50
SERVICE_PX = 60.0
LONG_GAP_S = 6 * 3600.0
MOVED_Z = 4.0
STEP_BINS = 15


FAR = 40.0


def home(start_s: float = START_S, core: float = 0.0) -> Places:
    """One deployment, from the first bin on."""
    return Places(np.array([start_s]), *np.array([[core], [0.5]], np.float32), np.zeros(1, bool))


def cores(*parts: tuple[int, float], seed: int = 0) -> NDArray[np.float32]:
    """So many bins at each of these places, scattering by 1."""
    places = np.concatenate([np.full(n, place) for n, place in parts])
    return (places + np.random.default_rng(seed).standard_normal(len(places))).astype(np.float32)


def starts_of(
    core: NDArray,
    gap_at: int | None = None,
    gap_s: float = 1.5 * LONG_GAP_S,
    new_at: int | None = None,
    known: Places | None = None,
    continues: bool = True,
    scatter: float = 1.0,
) -> Starts:
    n = len(core)
    time_s = START_S + CADENCE_S * np.arange(n)
    if gap_at is not None:
        time_s[gap_at:] += gap_s
    return find_starts(core, time_s, np.arange(n) == new_at, known or home(), scatter, continues)


def begins(starts: Starts) -> list[int]:
    return np.flatnonzero(starts.begins).tolist()


def test_a_core_that_stays_where_it_is_begins_no_deployment() -> None:
    starts = starts_of(cores((300, 0.0)))
    assert not starts.begins.any()
    assert not starts.is_jump.any()
    assert not starts.deployment.any()


@pytest.mark.parametrize("place", [0.0, -FAR, FAR])
def test_after_a_long_gap_a_deployment_begins_wherever_the_core_is(place: float) -> None:
    starts = starts_of(cores((60, 0.0), (60, place)), gap_at=60)
    assert begins(starts) == [60]
    assert starts.core[60] == pytest.approx(place, abs=2.0)
    assert 0.1 < starts.sd[60] < 3.0
    assert not starts.is_jump.any()
    assert starts.deployment.tolist() == [0] * 60 + [1] * 60


def test_a_gap_counts_from_its_length_on() -> None:
    core = cores((60, 0.0), (60, 1.0))
    assert begins(starts_of(core, gap_at=60, gap_s=LONG_GAP_S - CADENCE_S - 1)) == []
    assert begins(starts_of(core, gap_at=60, gap_s=LONG_GAP_S + 1)) == [60]


def test_with_new_settings_a_deployment_begins() -> None:
    starts = starts_of(cores((60, 0.0), (60, FAR)), new_at=60)
    assert begins(starts) == [60]
    assert starts.core[60] == pytest.approx(FAR, abs=2.0)
    assert not starts.is_jump.any()


@pytest.mark.parametrize("place", [-FAR, FAR])
def test_a_jump_that_stays_is_accepted_when_it_has_lasted(place: float) -> None:
    starts = starts_of(cores((60, 0.0), (60, place)))
    assert begins(starts) == [60 + STEP_BINS]
    assert np.flatnonzero(starts.is_jump).tolist() == [60 + STEP_BINS]
    assert starts.core[60 + STEP_BINS] == pytest.approx(place, abs=2.0)


def test_a_fault_that_goes_by_begins_no_deployment() -> None:
    for length in (1, 3, STEP_BINS // 2):
        assert begins(starts_of(cores((60, 0.0), (length, FAR), (60, 0.0)))) == []


def test_a_jump_at_the_end_is_a_fault_until_it_has_lasted() -> None:
    for n in range(1, STEP_BINS + 1):
        assert begins(starts_of(cores((60, 0.0), (n, FAR)))) == []
    assert begins(starts_of(cores((60, 0.0), (STEP_BINS + 1, FAR)))) == [60 + STEP_BINS]


@pytest.mark.parametrize("length", [30, 60, 120])
def test_a_slope_is_no_jump(length: int) -> None:
    slope = np.r_[np.zeros(60), np.linspace(0, FAR, length), np.full(60, FAR)]
    found = [begins(starts_of(slope.astype(np.float32) + cores((len(slope), 0.0), seed=seed))) for seed in range(20)]
    assert sum(map(bool, found)) <= 2


def test_a_jump_within_the_scatter_is_none() -> None:
    assert begins(starts_of(cores((60, 0.0), (60, 2.0)))) == []


def test_a_core_that_jumps_back_home_is_home_at_once() -> None:
    starts = starts_of(cores((60, 0.0), (60, FAR), (60, 0.0)))
    assert begins(starts) == [60 + STEP_BINS, 120]
    assert np.flatnonzero(starts.is_jump).tolist() == [60 + STEP_BINS]
    assert starts.core[120] == pytest.approx(0.0, abs=MOVED_Z)


def test_a_core_that_jumps_on_to_a_third_place_is_an_open_question_again() -> None:
    starts = starts_of(cores((60, 0.0), (60, FAR), (60, 2 * FAR)))
    assert np.flatnonzero(starts.is_jump).tolist() == [60 + STEP_BINS, 120 + STEP_BINS]


def test_two_services_within_hours_are_two() -> None:
    starts = starts_of(cores((60, 0.0), (8, FAR), (60, -FAR)), gap_at=60)
    assert begins(starts)[0] == 60
    assert starts.core[60] == pytest.approx(FAR, abs=6.0)
    assert begins(starts)[1:] == [68 + STEP_BINS]
    assert starts.core[68 + STEP_BINS] == pytest.approx(-FAR, abs=3.0)


def test_a_jump_that_a_gap_explains_before_it_has_lasted_is_no_open_question() -> None:
    starts = starts_of(cores((60, 0.0), (60, FAR)), gap_at=70)
    assert begins(starts) == [70]
    assert not starts.is_jump.any()
    assert starts.core[70] == pytest.approx(FAR, abs=2.0)


def test_a_few_bins_after_a_gap_hardly_move_what_was_known() -> None:
    one = starts_of(cores((60, 0.0), (1, FAR)), gap_at=60)
    many = starts_of(cores((60, 0.0), (30, FAR)), gap_at=60)
    assert abs(one.core[60]) < FAR / 5
    assert one.sd[60] > 0.8 * SERVICE_PX
    assert many.sd[60] < 3.0


def test_an_odd_bin_among_the_first_does_not_tell_the_place() -> None:
    core = cores((60, 0.0), (30, FAR))
    core[[60, 63, 66]] = 300.0
    assert starts_of(core, gap_at=60).core[60] == pytest.approx(FAR, abs=3.0)


def test_places_that_training_knew_are_taken_as_they_are() -> None:
    core = cores((60, 0.0), (60, FAR), (60, -FAR))
    time_s = START_S + CADENCE_S * np.arange(180)
    known = Places(
        time_s[[0, 60, 120]], np.array([0, 30, -50], np.float32), np.array([1, 2, 3], np.float32),
        np.array([False, False, True]),
    )  # fmt: skip
    starts = find_starts(core, time_s, np.zeros(180, bool), known, 1.0, continues=True)
    assert begins(starts)[:2] == [60, 120]
    assert starts.core[[60, 120]].tolist() == [30, -50]
    assert starts.sd[[60, 120]].tolist() == [2, 3]
    assert starts.is_jump[[60, 120]].tolist() == [False, True]


def test_the_place_at_a_time_is_that_of_the_deployment_it_is_in() -> None:
    places = Places(np.array([10.0, 20.0]), *np.zeros((2, 2), np.float32), np.zeros(2, bool))
    assert [places.at(time_s) for time_s in (9.9, 10.0, 19.9, 20.0, 1e9)] == [-1, 0, 0, 1, 1]


def test_after_training_a_service_may_lie_before_the_first_bin() -> None:
    core = cores((40, FAR))
    assert begins(starts_of(core)) == []
    starts = starts_of(core, continues=False)
    assert begins(starts) == [0]
    assert starts.core[0] == pytest.approx(FAR, abs=2.0)


def test_bins_without_a_place_are_passed_over() -> None:
    core = cores((60, 0.0), (60, FAR))
    core[::7] = np.nan
    assert begins(starts_of(core, gap_at=60)) == [60]
    (at,) = begins(starts_of(core))
    assert abs(at - (60 + STEP_BINS)) <= 1
    assert begins(starts_of(np.full(60, np.nan, np.float32), gap_at=30)) == []
    assert begins(starts_of(np.zeros(0, np.float32))) == []


def plain(*parts: tuple[int, float]) -> NDArray[np.float32]:
    """So many bins at each of these places, to the pixel."""
    return np.concatenate([np.full(n, place) for n, place in parts]).astype(np.float32)


@pytest.mark.parametrize(("jump", "is_one"), [(6.1, False), (6.5, True)])
def test_a_jump_is_one_from_six_times_the_noise_on(jump: float, is_one: bool) -> None:
    # Bins go to and fro by 1: a noise of 1.048, so that a jump is 6.29 at least.
    core = plain((60, 0.0), (60, jump)) + (np.arange(120) % 2).astype(np.float32)
    assert bool(begins(starts_of(core))) == is_one


@pytest.mark.parametrize("rows", [slice(45, 50), slice(55, 60), slice(60, 65), slice(70, 75)])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_both_places_hold_for_fifteen_bins_but_for_a_quarter_of_the_jump(rows: slice, sign: float) -> None:
    inwards = sign if rows.start < 60 else -sign
    for share, expected in ((0.2, [60 + STEP_BINS]), (0.4, [])):
        core = plain((60, 0.0), (60, sign * FAR))
        core[rows] += inwards * share * FAR
        assert begins(starts_of(core)) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.3, [60, 68 + STEP_BINS]), (0.4, [60])])
def test_two_services_within_hours_are_two_where_a_third_of_the_jump_tells_them_apart(
    share: float, expected: list[int]
) -> None:
    core = plain((60, 0.0), (8, FAR), (60, -FAR))
    core[68:73] += share * 2 * FAR
    assert begins(starts_of(core, gap_at=60)) == expected


def test_a_jump_may_come_after_fifteen_bins() -> None:
    assert begins(starts_of(plain((STEP_BINS, 0.0), (40, FAR)))) == [2 * STEP_BINS]
    assert begins(starts_of(plain((STEP_BINS - 4, 0.0), (40, FAR)))) == []


@pytest.mark.parametrize(("n", "weight"), [(1, 0.1), (3, 0.5), (9, 0.9)])
@pytest.mark.parametrize("before", [0.0, 10.0])
def test_bins_after_a_gap_weigh_as_their_number_squared(n: int, weight: float, before: float) -> None:
    for known in (home(core=before), home(core=99.0, start_s=START_S + 1e9)):
        usual = before if known.start_s[0] == START_S else 0.0
        starts = starts_of(plain((60, usual), (n, FAR)), gap_at=60, known=known, scatter=2.0)
        assert starts.core[60] == pytest.approx(weight * FAR + (1 - weight) * usual, rel=1e-5)
        assert starts.sd[60] == pytest.approx(np.hypot(2 / np.sqrt(n), (1 - weight) * SERVICE_PX), rel=1e-5)


def test_twenty_bins_tell_a_place() -> None:
    core = np.r_[np.zeros(60), 1:21, 1000.0].astype(np.float32)
    assert starts_of(core, gap_at=60).core[60] == pytest.approx(10.5 * 400 / 409, rel=1e-4)


@pytest.mark.parametrize(("place", "is_back"), [(7.9, True), (-7.9, True), (8.1, False), (-8.1, False)])
def test_a_core_is_back_within_four_scatters_of_where_it_was(place: float, is_back: bool) -> None:
    starts = starts_of(plain((60, 0.0), (60, FAR), (60, place)), scatter=2.0)
    assert begins(starts)[1:] == [120 if is_back else 120 + STEP_BINS]
    assert starts.is_jump[begins(starts)[1]] == (not is_back)


def new_at(codes: list[int], known: list[bool]) -> list[int]:
    return np.flatnonzero(settings_new(np.array(codes), np.array(known))).tolist()


def test_settings_are_new_once() -> None:
    assert new_at([0] * 10 + [1] * 10, [True, False]) == [10]


def test_settings_that_alternate_are_new_once_at_most() -> None:
    assert new_at([0, 1] * 40, [True, True]) == []
    assert new_at([0] * 10 + [1, 0] * 40, [True, False]) == [10]
    assert new_at([0] * 10 + [1, 2, 0] * 20, [True, False, False]) == [10, 11]


def test_settings_that_training_knew_are_never_new() -> None:
    assert new_at([0] * 500 + [1], [True, True]) == []


def test_settings_come_back_among_the_last_bins_and_are_new_again_after_more() -> None:
    assert new_at([0, 0, 1] + [0] * (LAST_BINS - 1) + [1], [True, False]) == [2]
    assert new_at([0, 0, 1] + [0] * LAST_BINS + [1], [True, False]) == [2, 3 + LAST_BINS]


def test_the_first_settings_of_all_are_no_change() -> None:
    assert new_at([0, 0, 0, 1], [False, False]) == [3]
    assert new_at([-1, 0, -1, 0], [False]) == []


def test_a_bin_that_states_no_settings_changes_nothing() -> None:
    assert new_at([0, -1, 0, -1], [True]) == []
