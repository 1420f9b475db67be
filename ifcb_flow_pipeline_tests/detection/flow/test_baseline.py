"""The baseline of one instrument: centres, scatter and wander as simulated, and on how much it rests."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.baseline import (
    Baseline,
    Deviations,
    _first_elsewhere,
    _step_scatter,
)
from ifcb_flow_pipeline.detection.flow.deployments import LONG_GAP_S, STEP_BINS, Starts

from .made_bins import CADENCE_S, CORE, DAY_S, METADATA, SCATTER, SIZE, START_S, TILT, bins_of, noise, wandering

#: As documented. They are not imported: a threshold that moved would move its own test.
LONG_HISTORY_S = 3 * 86_400.0
MEMORY_S = 2 * 86_400.0
OPEN_S = 14 * 86_400.0
SETTLING_BINS = 5
WANDERS = 3.0
WANDERS_LITTLE = 1.0
SHORT_S = 2 * 86_400.0


#: So far a service moves the core, px.
FAR = 80.0

#: So far, in spreads, a bin may lie to teach, in the tests of this file.
REACH = np.full((2, len(METADATA)), 5.0, np.float32)


def fitted(bins: BinTable, keep: NDArray | None = None, metadata: tuple[FeatureMetadata, ...] = METADATA) -> Baseline:
    return Baseline.fit(bins, bins.full if keep is None else keep, metadata)


def later(n: int, seed: int = 9, after: int = 300, **changes: object) -> BinTable:
    """Healthy bins that follow so many others at once."""
    time_s = START_S + CADENCE_S * (after + np.arange(n))
    return bins_of(noise(n, seed), time_s=time_s, **changes)  # type: ignore[arg-type]


def with_values(bins: BinTable, rows: object, column: int, change: float) -> BinTable:
    values = bins.values.copy()
    values[rows, column] += change
    return replace(bins, values=values)


KNOWN = fitted(bins_of(noise(300)))

#: When the first bin after those comes.
AFTER = float(KNOWN.last_s) + CADENCE_S


def steady(**changes: object) -> Baseline:
    """What is known after training, in round numbers: bins scatter by 1 around 0, which is known and stays."""
    zeros = np.zeros(3, np.float32)
    given = {"centre": zeros[None], "scatter": zeros + 1, "least": zeros, "level": zeros, "level_sd": zeros,
             "range_": zeros, "sampling": zeros}  # fmt: skip
    return replace(KNOWN, **(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_scatter_and_wander_are_told_apart_on_a_long_history(ratio: float) -> None:
    seeds = range(6)
    values = [wandering(1500, seed, scatter=2.0, range_=2.0 * ratio, memory_s=MEMORY_S) for seed in seeds]
    found = [fitted(bins_of(np.stack([noise(1500)[:, 0], v, noise(1500)[:, 2]], axis=1))) for v in values]
    assert np.mean([one.scatter[SIZE] for one in found]) == pytest.approx(2.0, rel=0.15)
    if ratio >= 1.0:
        assert np.mean([one.range_[SIZE] for one in found]) == pytest.approx(2.0 * ratio, rel=0.35)
    else:
        assert np.mean([one.range_[SIZE] for one in found]) < 2.0


def test_healthy_bins_deviate_by_one_spread_however_much_their_level_wanders() -> None:
    for seed, range_ in enumerate((0.0, 1.0, 4.0)):
        values = noise(1600, seed)
        values[:, SIZE] = wandering(1600, seed, 1.0, range_, MEMORY_S)
        bins = bins_of(values)
        baseline = fitted(bins.take(np.arange(800)))
        z = baseline.deviations(bins.take(np.arange(800, 1600)), REACH).z
        assert z.std(axis=0) == pytest.approx(np.ones(3), rel=0.2)


def test_a_feature_that_steps_has_a_scatter_of_the_least_there_is() -> None:
    constant = fitted(bins_of(np.zeros((50, 3))))
    assert (constant.scatter > 0).all()
    assert np.isfinite(constant.deviations(bins_of(np.zeros((5, 3))), REACH).z).all()


@pytest.mark.parametrize("hours", [6, 24, 48])
def test_a_short_history_is_taken_to_wander_farther_than_it_shows(hours: int) -> None:
    n = hours * 3600 // int(CADENCE_S)
    baseline = fitted(bins_of(noise(n)))
    young = 1 - (n - 1) * CADENCE_S / LONG_HISTORY_S
    # What is known after some rounds of fitting is near what the first one took.
    assert (baseline.range_[[CORE, SIZE]] >= 0.7 * WANDERS * young * baseline.scatter[[CORE, SIZE]]).all()
    assert baseline.range_[TILT] >= 0.7 * WANDERS_LITTLE * young * baseline.scatter[TILT]
    assert baseline.range_[TILT] < baseline.range_[SIZE]


def test_the_longer_a_history_the_less_of_what_it_does_not_show_is_feared() -> None:
    ranges = [fitted(bins_of(noise(n))).range_[TILT] for n in (15, 60, 120, 200)]
    assert (np.diff(ranges) < 0).all()
    assert ranges[-1] == 0.0  # over LONG_HISTORY_S: it does not wander


def test_what_is_far_after_a_long_history_is_usual_after_a_short_one() -> None:
    n = int(DAY_S // 2 // CADENCE_S)
    short, long = fitted(bins_of(noise(n))), fitted(bins_of(noise(400)))
    z = []
    for baseline, before in ((short, n), (long, 400)):
        bins = bins_of(np.array([[0.0, 5.0, 0.0]]), time_s=[START_S + CADENCE_S * before + DAY_S / 2])
        z.append(baseline.deviations(bins, REACH).z[0, SIZE])
    assert z[0] < 0.85 * z[1]


def test_z_is_the_distance_from_the_centre_in_spreads() -> None:
    bins = later(50)
    found = KNOWN.deviations(bins, REACH)
    assert found.centre() + found.z * found.spread == pytest.approx(bins.values, abs=1e-4)
    assert (found.spread >= KNOWN.scatter * 0.99).all()


def test_no_bin_is_part_of_its_own_baseline() -> None:
    bins = later(40)
    found = KNOWN.deviations(bins, REACH)
    for at in (0, 20, 39):
        other = KNOWN.deviations(with_values(bins, at, SIZE, 3.0), REACH)
        assert other.centre()[: at + 1] == pytest.approx(found.centre()[: at + 1], abs=1e-4)
        assert np.array_equal(found.spread[: at + 1], other.spread[: at + 1])
        assert np.array_equal(found.z[:at], other.z[:at])


def test_creeping_drift_is_followed_and_a_jump_is_not() -> None:
    bins = later(400)
    wander = replace(KNOWN, range_=np.array([1.0, 3.0, 0.0], np.float32))
    values = bins.values.copy()
    values[:, SIZE] += np.linspace(0, 6, 400)
    creeping = wander.deviations(replace(bins, values=values), REACH)
    assert creeping.in_order.mean() > 0.97
    assert abs(np.mean(creeping.z[-50:, SIZE])) < 1.0
    tilted = wander.deviations(with_values(bins, slice(100, 400), TILT, 12.0), REACH)
    assert not tilted.in_order[100:].any()
    assert np.median(tilted.z[-50:, TILT]) == pytest.approx(12.0 / KNOWN.scatter[TILT], rel=0.1)


def test_a_level_wanders_no_farther_than_its_limit() -> None:
    bins = later(3000)
    values = bins.values.copy()
    values[:, SIZE] += np.linspace(0, 60, 3000)
    everything = np.full((2, 3), np.inf, np.float32)
    found = KNOWN.deviations(replace(bins, values=values), everything)
    limit = max(4.0 * KNOWN.scatter[SIZE], 3.0 * KNOWN.range_[SIZE])
    assert found.centre()[:, SIZE].max() <= KNOWN.centre[0, SIZE] + limit * 1.3


@pytest.mark.parametrize(("range_", "limit"), [(0.5, 8.0), (4.0, 12.0)])
def test_a_level_stops_at_four_scatters_or_three_ranges(range_: float, limit: float) -> None:
    known = steady(range_=np.full(3, range_, np.float32), scatter=np.full(3, 2.0, np.float32))
    bins = with_values(later(400), slice(None), SIZE, 100.0)
    reached = known.deviations(bins, np.full((2, 3), np.inf, np.float32)).centre()[:, SIZE].max()
    assert 0.97 * limit <= reached <= limit


def test_until_the_history_spans_days_whatever_wanders_teaches_wherever_it_lies() -> None:
    n = int(SHORT_S / 2 / CADENCE_S)
    baseline = fitted(bins_of(noise(n)))
    bins = with_values(with_values(later(30, after=n), [10, 11], CORE, FAR), [20, 21], TILT, 60.0)
    assert np.flatnonzero(~baseline.deviations(bins, REACH).in_order).tolist() == [20, 21]
    long_ = KNOWN.deviations(with_values(later(30), [10, 11], CORE, FAR), REACH)
    assert np.flatnonzero(~long_.in_order).tolist() == [10, 11]


def test_a_history_is_short_by_the_time_from_its_first_bin_to_the_judged_one() -> None:
    baseline = fitted(bins_of(noise(20)))
    time_s = START_S + SHORT_S + np.array([-DAY_S, -1.0, 0.0, DAY_S])
    found = baseline.deviations(bins_of(noise(4), time_s=time_s), REACH)
    assert found.is_short.tolist() == [True, True, False, False]
    assert not KNOWN.deviations(bins_of(noise(4)), REACH).is_short.any()


def test_baseline_bins_and_days_count_what_the_baseline_rests_on() -> None:
    bins = with_values(later(10), [4, 5], TILT, 50.0)
    found = KNOWN.deviations(bins, REACH)
    assert found.in_order.tolist() == [True] * 4 + [False] * 2 + [True] * 4
    # A faulty bin is none of those that tell what is normal.
    assert found.baseline_bins.tolist() == [300, 301, 302, 303, 304, 304, 304, 305, 306, 307]
    days = (299 + np.array([0, 1, 2, 3, 4, 4, 4, 7, 8, 9])) * CADENCE_S / DAY_S
    assert found.baseline_days == pytest.approx(days)


def test_a_bin_of_the_training_window_does_not_count_for_itself() -> None:
    bins = bins_of(noise(300))
    found = KNOWN.deviations(bins, REACH)
    assert set(found.baseline_bins.tolist()) == {299}
    assert found.baseline_days == pytest.approx(np.full(300, 299 * CADENCE_S / DAY_S))
    before = bins_of(noise(5), time_s=START_S - DAY_S + np.arange(5))
    assert KNOWN.deviations(before, REACH).baseline_bins.tolist() == [300] * 5


def test_an_instrument_of_which_nothing_is_known_has_no_baseline() -> None:
    found = Deviations.unknown(3, 2)
    assert np.isnan(found.z).all()
    assert found.baseline_bins.tolist() == [0, 0, 0]
    assert not (found.changed.any() or found.moved.any() or found.in_order.any())
    assert len(found.of(np.array([1])).z) == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_configuration_is_compared_with_its_own_centre(number: int) -> None:
    names = ["abc"[i % number] for i in range(600)]
    shift = np.array([3.0 * "abc".index(name) for name in names], np.float32)
    values = noise(600)
    values[:, SIZE] += shift
    bins = bins_of(values, configuration=names)
    baseline = fitted(bins.take(np.arange(300)))
    assert baseline.configurations == tuple("abc"[:number])
    assert baseline.config_bins.tolist() == [300 // number] * number
    assert baseline.centre[:, SIZE] == pytest.approx(3.0 * np.arange(number), abs=0.5)
    found = baseline.deviations(bins.take(np.arange(300, 600)), REACH)
    assert baseline.scatter[SIZE] == pytest.approx(1.0, rel=0.25)
    assert np.abs(found.z[:, SIZE]).max() < 5.0
    assert not found.changed.any()


def test_a_configuration_of_few_bins_is_thought_to_be_like_the_others() -> None:
    values = noise(300) + np.float32(50.0)
    values[-2:, SIZE] = 70.0
    baseline = fitted(bins_of(values, configuration=["a"] * 298 + ["b"] * 2))
    # Its two bins against the weight of five of the others, at 50.
    assert baseline.centre[1, SIZE] == pytest.approx(50.0 + 20.0 * 2 / 7, abs=0.15)


def test_a_configuration_without_a_number_has_the_centre_of_all_bins() -> None:
    values = noise(300) + np.float32(7.0)
    values[-10:, SIZE] = np.nan
    baseline = fitted(bins_of(values, configuration=["a"] * 290 + ["b"] * 10))
    assert baseline.centre[1, SIZE] == pytest.approx(7.0, abs=0.3)


@pytest.mark.parametrize(("n", "learnt"), [(1, 0.1), (3, 0.5), (9, 0.9), (20, 400 / 409)])
def test_the_first_bins_of_new_settings_weigh_as_their_number_squared(n: int, learnt: float) -> None:
    bins = bins_of(np.full((n, 3), 15.0), configuration=["new"] * n, time_s=AFTER + CADENCE_S * np.arange(n))
    found = steady(centre=np.full((1, 3), 3.0, np.float32)).deviations(bins, REACH).centre()
    assert found[:, SIZE] == pytest.approx(np.full(n, 3.0 + 12.0 * learnt), rel=1e-3)
    assert found[:, TILT] == pytest.approx(np.full(n, 3.0), abs=1e-4)  # no settings tilt a core


def test_twenty_usable_bins_tell_the_centre_of_new_settings() -> None:
    values = np.repeat(np.r_[1:21, 1000:1020][:, None], 3, axis=1).astype(np.float32)
    bins = bins_of(values, configuration=["new"] * 40, time_s=AFTER + CADENCE_S * np.arange(40))
    learnt = 10.5 * 400 / 409
    assert steady().deviations(bins, REACH).centre()[0, SIZE] == pytest.approx(learnt, rel=1e-3)
    with_others = replace(bins, values=np.r_[np.full((5, 3), 500.0), values[:35]].astype(np.float32))
    with_others.full[:5] = False
    assert steady().deviations(with_others, REACH).centre()[0, SIZE] == pytest.approx(learnt, rel=1e-3)


def test_new_settings_are_reported_once_and_their_centre_is_learnt() -> None:
    bins = with_values(later(60, configuration=["a"] * 20 + ["new"] * 40), slice(20, 60), SIZE, 12.0)
    found = KNOWN.deviations(bins, REACH)
    assert np.flatnonzero(found.changed).tolist() == [20]
    assert np.flatnonzero(found.settling).tolist() == list(range(20, 20 + SETTLING_BINS))
    assert np.abs(found.z[20:, SIZE]).max() < 5.0
    assert np.abs(np.mean(found.z[30:, SIZE])) < 1.0


def test_new_settings_do_not_explain_what_settings_do_not_change() -> None:
    bins = with_values(later(60, configuration=["a"] * 20 + ["new"] * 40), slice(20, 60), TILT, 8.0)
    assert np.median(KNOWN.deviations(bins, REACH).z[30:, TILT]) > 5.0


def test_one_bin_of_new_settings_hardly_tells_their_centre() -> None:
    bins = with_values(later(21, configuration=["a"] * 20 + ["new"]), 20, SIZE, 12.0)
    assert KNOWN.deviations(bins, REACH).z[20, SIZE] > 5.0


def test_alternating_settings_that_training_knew_change_nothing() -> None:
    values = noise(300)
    values[1::2, SIZE] += 9.0
    baseline = fitted(bins_of(values, configuration=["a", "b"] * 150))
    shifted = with_values(later(60, configuration=["a", "b"] * 30), slice(1, None, 2), SIZE, 9.0)
    found = baseline.deviations(shifted, REACH)
    assert not found.changed.any()
    assert not found.settling.any()
    assert not found.deployment.any()
    assert np.abs(found.z[:, SIZE]).max() < 5.0


def test_a_core_that_a_gap_put_elsewhere_is_changed_once_and_never_moved() -> None:
    bins = with_values(later(60), slice(20, 60), CORE, FAR)
    bins = replace(bins, time_s=bins.time_s + np.where(np.arange(60) >= 20, 1.5 * LONG_GAP_S, 0.0))
    found = KNOWN.deviations(bins, REACH)
    assert np.flatnonzero(found.changed).tolist() == [20]
    assert found.settling.sum() == SETTLING_BINS
    assert not found.moved.any()
    assert found.in_order[20:].mean() > 0.9
    assert found.after_gap.tolist() == [False] * 20 + [True] + [False] * 39


def test_a_gap_after_which_the_core_is_where_it_was_is_no_change() -> None:
    bins = later(60)
    bins = replace(bins, time_s=bins.time_s + np.where(np.arange(60) >= 20, 1.5 * LONG_GAP_S, 0.0))
    found = KNOWN.deviations(bins, REACH)
    assert not found.changed.any()
    assert found.deployment[-1] == found.deployment[0] + 1


def test_a_core_within_four_scatters_of_where_it_was_is_there() -> None:
    bins = with_values(later(60), slice(20, 60), CORE, 12.0)
    bins = replace(bins, time_s=bins.time_s + np.where(np.arange(60) >= 20, 1.5 * LONG_GAP_S, 0.0))
    found = KNOWN.deviations(bins, REACH)
    assert not (found.changed.any() or found.settling.any())


def test_a_core_that_jumps_and_stays_is_far_off_at_first_and_then_moved_for_two_weeks() -> None:
    n = int(OPEN_S / CADENCE_S) + 100
    bins = with_values(later(n), slice(20, n), CORE, FAR)
    found = KNOWN.deviations(bins, REACH)
    accepted = 20 + STEP_BINS
    assert found.z[20:accepted, CORE].min() > 10.0
    assert not found.in_order[20:accepted].any()
    assert np.abs(found.z[accepted:, CORE]).max() < 6.0
    open_bins = int(OPEN_S / CADENCE_S)
    assert np.flatnonzero(found.moved).tolist() == list(range(accepted, accepted + open_bins + 1))
    assert not found.changed.any()


def test_a_core_that_is_back_home_is_not_moved() -> None:
    bins = with_values(later(120), slice(20, 60), CORE, FAR)
    found = KNOWN.deviations(bins, REACH)
    assert np.flatnonzero(found.moved).tolist() == list(range(20 + STEP_BINS, 60))
    assert found.in_order[60:].mean() > 0.95


def test_deployments_of_the_training_window_are_known_later() -> None:
    values = noise(300)
    values[150:, CORE] += FAR
    gap = np.where(np.arange(300) >= 150, 1.5 * LONG_GAP_S, 0.0)
    bins = bins_of(values, time_s=START_S + CADENCE_S * np.arange(300) + gap)
    baseline = fitted(bins)
    assert len(baseline.places.start_s) == 2
    assert baseline.places.start_s[1] == bins.time_s[150]
    assert baseline.centre[0, CORE] + baseline.places.core[1] == pytest.approx(FAR, abs=5.0)
    after = with_values(later(30), slice(None), CORE, FAR)
    after = replace(after, time_s=after.time_s + gap[-1])
    found = baseline.deviations(after, REACH)
    assert np.abs(found.z[:, CORE]).max() < 5.0
    assert not (found.changed.any() or found.moved.any())
    assert baseline.deviations(with_values(after, 20, CORE, FAR), REACH).z[20, CORE] > 6.0


@pytest.mark.parametrize("at", [60, 150, 220])
def test_a_service_is_no_wandering(at: int) -> None:
    values = noise(300)
    values[at:, CORE] += FAR
    gap = np.where(np.arange(300) >= at, 1.5 * LONG_GAP_S, 0.0)
    served = fitted(bins_of(values, time_s=START_S + CADENCE_S * np.arange(300) + gap))
    assert served.range_[CORE] == pytest.approx(KNOWN.range_[CORE], rel=0.3)
    assert served.scatter[CORE] == pytest.approx(KNOWN.scatter[CORE], rel=0.1)


def test_bins_that_are_left_out_teach_nothing() -> None:
    values = noise(300)
    values[10:40] += 1000.0
    keep = np.ones(300, bool)
    keep[10:40] = False
    baseline = fitted(bins_of(values), keep)
    assert int(baseline.n_bins) == 270
    assert baseline.centre[0] == pytest.approx(KNOWN.centre[0], abs=0.3)
    assert baseline.scatter == pytest.approx(KNOWN.scatter, rel=0.15)


def test_what_was_known_at_the_end_of_training_is_known_at_first_and_less_with_time() -> None:
    values = noise(600)
    values[:, SIZE] += np.linspace(-4, 4, 600)
    baseline = fitted(bins_of(values))
    soon, late = (
        baseline.deviations(bins_of(noise(1), time_s=[float(baseline.last_s) + after]), REACH)
        for after in (1200.0, 30 * DAY_S)
    )
    assert soon.centre()[0, SIZE] > baseline.centre[0, SIZE] + 2.0
    assert late.centre()[0, SIZE] == pytest.approx(baseline.centre[0, SIZE], abs=0.1)
    assert late.spread[0, SIZE] > 1.3 * soon.spread[0, SIZE]
    assert late.spread[0, SIZE] == pytest.approx(np.hypot(baseline.scatter, baseline.range_)[SIZE], rel=0.05)


@pytest.mark.parametrize("days", [0.0, 1.0, 4.0])
def test_what_is_known_of_a_level_fades_within_two_days(days: float) -> None:
    known = steady(level=np.full(3, 2.0), level_sd=np.full(3, 0.5), range_=np.full(3, 1.5))
    found = known.deviations(bins_of(np.zeros((1, 3)), time_s=[float(known.last_s) + 1.0 + days * DAY_S]), REACH)
    kept = np.exp(-days / 2.0)
    assert found.centre()[0, SIZE] == pytest.approx(2.0 * kept, abs=1e-3)
    assert found.spread[0, SIZE] ** 2 == pytest.approx(1.0 + (0.5 * kept) ** 2 + 1.5**2 * (1 - kept**2), rel=1e-3)


def test_before_training_the_level_is_at_the_centre_as_well_as_that_is_known() -> None:
    known = steady(level=np.full(3, 2.0), range_=np.full(3, 1.5), n_bins=np.array(4))
    found = known.deviations(bins_of(np.zeros((1, 3)), time_s=[START_S - DAY_S]), REACH)
    assert found.centre()[0, SIZE] == pytest.approx(0.0, abs=1e-6)
    assert found.spread[0, SIZE] ** 2 == pytest.approx(1.0 + 1.5**2 + 1 / 4, rel=1e-4)


def test_the_core_is_where_its_deployment_put_it() -> None:
    places = replace(KNOWN.places, core=np.array([30.0], np.float32))
    found = steady(places=places, level=np.full(3, 2.0)).deviations(bins_of(np.zeros((1, 3)), time_s=[AFTER]), REACH)
    assert found.centre()[0, CORE] == pytest.approx(30.0, abs=1e-3)


def test_a_level_is_known_as_well_as_kalmans_equations_say() -> None:
    values = noise(1500)
    values[:, SIZE] = wandering(1500, 1, 1.0, 2.0, MEMORY_S)
    known = fitted(bins_of(values))
    noise_, range_, kept = known.scatter[SIZE] ** 2, known.range_[SIZE] ** 2, np.exp(-CADENCE_S / MEMORY_S) ** 2
    variance = range_
    for _ in range(1000):
        variance = variance * noise_ / (variance + noise_) * kept + range_ * (1 - kept)
    assert known.level_sd[SIZE] ** 2 == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize(
    ("days", "size", "tilt"),
    [
        # At least three scatters, of what faults change one, less the longer the history is; one in any case.
        (0.0, 9.0, 3.0),
        (1.5, 4.5, 1.5),
        (2.7, 4.0, 0.3),
        (3.0, 4.0, 0.0),
        (30.0, 4.0, 0.0),
    ],
)
def test_a_level_wanders_as_far_as_seen_or_as_feared_of_a_short_history(days: float, size: float, tilt: float) -> None:
    known = steady(scatter=np.full(3, 3.0), first_s=np.array(AFTER - days * DAY_S), last_s=np.array(AFTER))
    ranges = known._ranges(np.full(3, 5.0, np.float32))  # 3, 4, 5
    assert ranges[[SIZE, TILT]] == pytest.approx([size, tilt], abs=1e-4)
    if days >= 3.0:
        assert known._ranges(np.full(3, 3.0, np.float32))[[SIZE, TILT]] == pytest.approx([3.0, 0.0])


def test_the_scatter_from_bin_to_bin_leaves_slow_changes_out() -> None:
    found = _step_scatter(noise(3000) + np.linspace(0, 90, 3000, dtype=np.float32)[:, None])
    assert found == pytest.approx(SCATTER, rel=0.06)
    assert np.isnan(_step_scatter(noise(1))).all()


def test_one_deployment_is_known_where_nothing_moved_and_a_jump_in_training_is_an_open_question() -> None:
    assert (KNOWN.places.core.tolist(), KNOWN.places.sd.tolist(), KNOWN.places.is_open.tolist()) == ([0], [0], [False])
    moved = fitted(with_values(bins_of(noise(300)), slice(150, 300), CORE, FAR))
    assert moved.places.is_open.tolist() == [False, True]
    assert moved.places.start_s[1] == START_S + (150 + STEP_BINS) * CADENCE_S


@pytest.mark.parametrize(("hours", "is_known"), [(5.9, True), (6.1, False)])
def test_after_six_hours_a_service_may_lie_between_training_and_the_first_bin(hours: float, is_known: bool) -> None:
    bins = with_values(later(30), slice(None), CORE, FAR)
    time_s = float(KNOWN.last_s) + hours * 3600.0 + CADENCE_S * np.arange(30)
    found = KNOWN.deviations(replace(bins, time_s=time_s), REACH)
    assert (found.z[0, CORE] > 10.0) == is_known
    assert found.changed[0] == (not is_known)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_core_is_elsewhere_from_four_scatters_on(sign: float) -> None:
    def elsewhere(core: list[float], is_jump: bool = False) -> list[bool]:
        places, every = np.array(core, np.float32) * sign, np.ones(len(core), bool)
        starts = Starts(every, places, places, every & is_jump, np.cumsum(every))
        return _first_elsewhere(starts, 2.0).tolist()

    assert elsewhere([7.9]) == [False]
    assert elsewhere([8.1, 0.2, 8.1, 8.1]) == [True, False, False, False]
    assert elsewhere([8.1, 16.3, 0.0]) == [True, True, True]
    assert elsewhere([99.0], is_jump=True) == [False]


SHARE = (FeatureMetadata("no_image_fraction", "fraction", "logit", "mean", "trigger"),
         FeatureMetadata("mean", "px", noise="mean", role="size"))  # fmt: skip


def test_a_bin_of_few_points_scatters_more() -> None:
    rng = np.random.default_rng(1)
    points = rng.choice([100.0, 1600.0], 800)
    values = rng.standard_normal((800, 2)) * np.stack([0.1 * np.ones(800), 40.0 / np.sqrt(points)], axis=1)
    values[:, 0] += 0.6
    baseline = fitted(bins_of(values, n_points=points), metadata=SHARE)
    few, many = (
        baseline.deviations(
            bins_of(np.array([[0.6, 0.0]]), time_s=[float(baseline.last_s) + CADENCE_S], n_points=n),
            np.full((2, 2), 9.0, np.float32),
        ).spread[0]
        for n in (100.0, 1600.0)
    )
    assert 1.5 < few[1] / many[1] < 5.0


def test_a_share_of_few_points_is_never_known_better_than_counting_allows() -> None:
    values = np.tile([0.6, 0.0], (100, 1)) + 1e-3 * np.random.default_rng(0).standard_normal((100, 2))
    baseline = fitted(bins_of(values), metadata=SHARE)
    spread = baseline.deviations(
        bins_of(values[:1], time_s=[float(baseline.last_s) + 1200.0], n_points=25.0), np.full((2, 2), 9.0, np.float32)
    ).spread[0, 0]
    assert spread >= 1 / np.sqrt(25.0)


@pytest.mark.parametrize(
    ("points", "share", "mean"),
    [
        # Of ten expected among 100, one more is a larger step than the error of a share; half of the variance of the
        # mean goes with 1 / points, of which 400 are usual.
        (100.0, (1 + 1 / 11) / 10, np.sqrt(0.5 + 0.5 * 4)),
        (400.0, 0.07, 1.0),
        (4.0, (1 + 1 / 1.4) / 2, np.sqrt(0.5 + 0.5 * 100)),
        (1.0, 1 + 1 / 1.1, np.sqrt(0.5 + 0.5 * 400)),
        (0.0, 1 + 1 / 1.1, np.sqrt(0.5 + 0.5 * 400)),
        (1e9, 0.07, np.sqrt(0.5)),
    ],
)
@pytest.mark.parametrize("usual", [0.1, 0.9])
def test_the_spread_of_a_bin_goes_with_its_points(points: float, share: float, mean: float, usual: float) -> None:
    known = Baseline.fit(bins_of(np.zeros((9, 2))), np.ones(9, bool), SHARE)
    zeros, centre = np.zeros(2, np.float32), np.array([[2 * np.arcsin(np.sqrt(usual)), 0.0]], np.float32)
    known = replace(
        known, scatter=np.array([0.07, 1.0], np.float32), sampling=np.array([0.0, 0.5], np.float32), least=zeros,
        points=np.array(400.0), centre=centre, range_=zeros, level=zeros, level_sd=zeros,
    )  # fmt: skip
    found = known.deviations(bins_of(centre, time_s=[AFTER], n_points=points), np.full((2, 2), 9.0, np.float32))
    assert found.spread[0] == pytest.approx([share, mean], rel=1e-3)
    # However many points there are, bins differ.
    everything = replace(known, sampling=np.array([0.0, 1.0], np.float32))
    many = everything.deviations(bins_of(centre, time_s=[AFTER], n_points=1e9), np.full((2, 2), 9.0, np.float32))
    assert many.spread[0, 1] == pytest.approx(np.sqrt(0.1), rel=1e-3)


def test_an_instrument_that_states_its_settings_mostly_has_headers() -> None:
    half = bins_of(noise(40), configuration=["a", ""] * 20)
    assert fitted(half).mostly_with_header is False
    assert fitted(bins_of(noise(40), configuration=["a", "a", ""] * 13 + ["a"])).mostly_with_header is True
    assert fitted(bins_of(noise(40), configuration=[""] * 40)).mostly_with_header is False


def test_without_a_core_among_the_features_nothing_is_moved() -> None:
    metadata = METADATA[1:]
    baseline = Baseline.fit(bins_of(noise(100)[:, 1:]), np.ones(100, bool), metadata)
    values = noise(50)[:, 1:]
    values[20:] += 20.0
    found = baseline.deviations(bins_of(values, time_s=AFTER + CADENCE_S * np.arange(50)), REACH[:, 1:])
    assert not (found.moved.any() or found.changed.any())
    assert not found.deployment.any()


def test_unknown_values_are_unknown_deviations_and_no_fault() -> None:
    bins = later(30)
    values = bins.values.copy()
    values[5:10, SIZE] = np.nan
    found = KNOWN.deviations(replace(bins, values=values), REACH)
    assert np.isnan(found.z[5:10, SIZE]).all()
    assert np.isfinite(np.delete(found.z, slice(5, 10), axis=0)).all()
    assert found.in_order.mean() > 0.95


def test_one_bin_makes_a_baseline_and_no_bins_have_no_deviations() -> None:
    one = fitted(bins_of(noise(1)))
    assert (one.scatter > 0).all()
    assert one.deviations(bins_of(noise(1)), REACH).baseline_bins.tolist() == [0]
    empty = replace(bins_of(noise(0)), configuration=Names(("a",), np.zeros(0, np.int64)))
    assert KNOWN.deviations(empty, REACH).z.shape == (0, 3)
