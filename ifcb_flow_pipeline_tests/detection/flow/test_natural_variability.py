"""What water and work explain: what never counts, what counts less, and what nothing excuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow import natural_variability as nature
from ifcb_flow_pipeline.detection.flow.counting_kernel import counting
from ifcb_flow_pipeline.detection.flow.natural_variability import (
    FEW,
    HARMLESS,
    LARGE,
    MANY,
    RINSED,
    SMALL,
    Explanation,
    after_gaps,
    explain,
    harmless_sides,
    lost_share,
    pauses,
    water_sides,
)
from ifcb_flow_pipeline.detection.flow.training import detector_metadata
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES

#: As documented. They are not imported: a threshold that moved would move its own test.
LOST_Z = 3.0
ALL_GROW = 3.0
BLURRED_LOST = 0.025
BLURRED_LOST_Z = 1.75
BLURRED_Z = 4.5
ALONE = 0.5
BLOOM_RATE_Z = 2.0
DETRITUS_LOST = 0.08
DETRITUS_Z = 2.0
LARGER_BLOOM_RATE_Z = 0.75
LONGER_S = 400.0
LONGER_SPREADS = 8.0
LOST_SHARE = 0.03
NOISE_Z = 4.0
OF_A_FEW = 0.1
TOGETHER = 0.35
UNEVEN_Z = 3.0
USUAL_Z = 3.0
WRECKED = 0.35


METADATA = detector_metadata(FULL_FEATURE_NAMES)
COLUMN = {feature.name: column for column, feature in enumerate(METADATA)}

#: What the water does: sizes, counts and signals, each the way that it goes with more, fewer, larger, smaller ones.
WATER = {(name, sign) for signs in (LARGE, SMALL, MANY, FEW) for name, sign in signs.items()} | {
    (name, sign) for name in ("peak_median_v", "peak_y_slope") for sign in (-1, 1)
}
OPTICS = ("core_x_px", "core_tilt", "cross_low_px", "dead_time_s")


def explained(after_gap: bool = False, lost: float = 0.0, **z: float) -> Explanation:
    """Of one bin with these deviations, in spreads, and none else; ``lost``: share of the triggers."""
    values = np.zeros((1, len(METADATA)), dtype=np.float32)
    for name, value in z.items():
        values[0, COLUMN[name]] = value
    return explain(values, np.array([lost], np.float32), np.array([after_gap]), METADATA)


def factor(name: str, *, fault: bool = False, after_gap: bool = False, lost: float = 0.0, **z: float) -> float:
    found = explained(after_gap, lost, **z)
    return float((found.fault_factor if fault else found.factor)[0, COLUMN[name]])


LOST = {"no_image_fraction": 2 * LOST_Z, "lost": 2 * LOST_SHARE}


@given(st.dictionaries(st.sampled_from(sorted(WATER & {(n, s) for n, s in WATER if n in COLUMN})),
                       st.floats(0.1, 60), min_size=1, max_size=8))  # fmt: skip
def test_what_follows_the_water_never_counts_as_a_fault(changes: dict) -> None:
    z = {name: sign * far for (name, sign), far in changes.items()}
    found = explained(**z)
    followed = [COLUMN[name] for name, value in z.items() if (name, np.sign(value)) in WATER]
    assert not found.fault_factor[0, followed].any()


@pytest.mark.parametrize("name", sorted({n for n, s in LARGE.items() if s > 0} & set(COLUMN)))
def test_larger_particles_count_as_a_fault_where_images_are_lost(name: str) -> None:
    assert factor(name, fault=True, **{name: 5.0}) == 0.0
    plainly = LOST | {"lost": 2 * DETRITUS_LOST}
    assert factor(name, fault=True, **{name: 5.0} | plainly) > 0.0


def test_images_are_lost_where_that_is_rare_and_enough_of_them_are() -> None:
    few, many = 0.9 * LOST_SHARE, 1.1 * LOST_SHARE
    assert explained(lost=many, no_image_fraction=LOST_Z + 0.1).images_lost[0]
    assert not explained(lost=few, no_image_fraction=LOST_Z + 0.1).images_lost[0]
    assert not explained(lost=many, no_image_fraction=LOST_Z - 0.1).images_lost[0]


def test_detritus_loses_some_of_its_own_images() -> None:
    varied = {"no_image_fraction": 9.0, "size_spread": DETRITUS_Z + 0.5}
    some, many = 0.9 * DETRITUS_LOST, 1.1 * DETRITUS_LOST
    assert not explained(lost=some, **varied).images_lost[0]
    assert explained(lost=some, **varied).water[0]
    assert explained(lost=many, **varied).images_lost[0]
    assert not explained(lost=many, **varied).water[0]
    # Out of focus the small ones grow more than they vary, and noise varies, too.
    assert explained(lost=some, **varied | {"area_p10_px2": 8.0}).images_lost[0]
    assert explained(lost=some, **varied | {"peak_floor_fraction": NOISE_Z + 1}).images_lost[0]


@pytest.mark.parametrize(
    ("z", "lost"),
    [
        ({"area_p10_px2": BLURRED_Z - 0.1}, 1.1),
        ({"no_image_fraction": BLURRED_LOST_Z - 0.1}, 1.1),
        ({"size_spread": BLURRED_Z / ALL_GROW + 0.1}, 1.1),
        ({"trigger_rate_hz": BLOOM_RATE_Z + 0.1}, 1.1),
        ({}, 0.9),
    ],
)
def test_out_of_focus_all_boxes_grow_and_some_images_are_lost(z: dict, lost: float) -> None:
    blurred = {"area_p10_px2": BLURRED_Z + 0.1, "no_image_fraction": BLURRED_LOST_Z + 0.1}
    blurred["size_spread"] = BLURRED_Z / ALL_GROW - 0.1
    assert explained(lost=1.1 * BLURRED_LOST, **blurred).images_lost[0]
    assert not explained(lost=lost * BLURRED_LOST, **blurred | z).images_lost[0]


def test_large_particles_reach_the_edges_of_the_frame() -> None:
    for name, sign in nature._REACHING.items():
        for large in ({"size_spread": 3.0}, {"area_median_px2": 3.0}):
            assert factor(name, fault=True, **large | {name: sign * 5.0}) == pytest.approx(ALONE)
        assert factor(name, fault=True, **{name: sign * 5.0}) == 1.0


def test_of_what_water_does_to_triggers_hardly_any_counts() -> None:
    varied = {"size_spread": 4.0, "no_image_fraction": 5.0, "images_per_trigger": -5.0, "lost": 0.05}
    assert factor("no_image_fraction", **varied) == pytest.approx(OF_A_FEW)
    assert factor("images_per_trigger", **varied) == pytest.approx(OF_A_FEW)
    assert factor("no_image_fraction", **varied | {"size_spread": 0.0}) == 1.0
    # Detritus drifts by in patches, and some of each is lost.
    assert factor("no_image_burst", no_image_burst=9.0, **varied) == pytest.approx(OF_A_FEW)
    assert factor("no_image_burst", no_image_burst=9.0, **varied | {"lost": 0.09}) == 1.0


@pytest.mark.parametrize("name", ["repeat_fraction", "repeat_anchor_fraction"])
def test_in_a_bloom_of_one_kind_of_cell_boxes_are_alike_by_chance(name: str) -> None:
    assert factor(name, fault=True, trigger_rate_hz=BLOOM_RATE_Z + 0.1, **{name: 5.0}) == pytest.approx(TOGETHER)
    assert factor(name, fault=True, trigger_rate_hz=BLOOM_RATE_Z - 0.1, **{name: 5.0}) == 1.0


@pytest.mark.parametrize("name", OPTICS)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_where_the_instrument_sees_the_particles_counts_in_full(name: str, sign: float) -> None:
    for also in ({}, {"trigger_rate_hz": 9.0}, {"size_spread": 9.0}, {"after_gap": True}):
        assert factor(name, **also | {name: sign * 5.0}) == 1.0
        assert factor(name, fault=True, **also | {name: sign * 5.0}) == 1.0


@pytest.mark.parametrize("name", sorted(set(HARMLESS) & set(COLUMN)))
def test_what_is_harmless_one_way_counts_the_other_way_only(name: str) -> None:
    sign = HARMLESS[name]
    assert factor(name, **{name: sign * 30.0}) == 0.0
    also = {"time_uniformity": -9.0} if name == "rate_change" else {}
    assert factor(name, **also | {name: -sign * 30.0}) > 0.0


def test_a_bloom_is_a_high_rate_or_a_raised_one_of_larger_particles() -> None:
    def water(**z: float) -> bool:
        return bool(explained(**z).water[0])

    assert water(trigger_rate_hz=BLOOM_RATE_Z + 0.1)
    assert not water(trigger_rate_hz=BLOOM_RATE_Z - 0.1)
    assert water(trigger_rate_hz=LARGER_BLOOM_RATE_Z + 0.1, area_median_px2=DETRITUS_Z + 0.1)
    assert not water(trigger_rate_hz=BLOOM_RATE_Z + 9, peak_floor_fraction=NOISE_Z + 0.1)
    assert not water(trigger_rate_hz=BLOOM_RATE_Z + 9, **LOST)
    assert not water(area_median_px2=DETRITUS_Z - 0.1)
    assert water(area_median_px2=DETRITUS_Z + 0.1)
    assert not water(area_median_px2=DETRITUS_Z + 0.1, **LOST)
    # All of them larger, the smallest too: that may be the optics.
    assert not water(area_median_px2=DETRITUS_Z + 0.1, area_p10_px2=USUAL_Z + 0.1)


def test_many_large_particles_explain_each_other() -> None:
    alone, together = ALONE, TOGETHER
    assert factor("inhibit_fraction", inhibit_fraction=5.0) == pytest.approx(alone)
    assert factor("inhibit_fraction", inhibit_fraction=5.0, trigger_rate_hz=5.0) == pytest.approx(together)
    assert factor("volume_ml", volume_ml=-5.0, trigger_rate_hz=5.0) == pytest.approx(together)
    assert factor("width_median_px", width_median_px=5.0) == pytest.approx(alone)
    assert factor("width_median_px", width_median_px=5.0, trigger_rate_hz=5.0) == pytest.approx(together)
    assert factor("width_median_px", width_median_px=5.0, **LOST) == 1.0
    assert factor("width_p95_px", width_p95_px=5.0, **LOST) == pytest.approx(alone)  # some large ones come anyway
    assert factor("width_median_px", width_median_px=-5.0) == pytest.approx(alone)
    assert factor("inhibit_fraction", inhibit_fraction=-5.0) == pytest.approx(alone)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_rate_that_changes_counts_where_triggers_are_uneven(sign: float) -> None:
    few = OF_A_FEW
    assert factor("rate_change", rate_change=sign * 5) == pytest.approx(few)
    assert factor("rate_change", rate_change=sign * 5, time_uniformity=UNEVEN_Z + 0.1) == 1.0
    assert factor("drift_y_px", drift_y_px=sign * 5) == pytest.approx(ALONE)


def test_bursts_without_images_count_where_images_are_lost() -> None:
    assert factor("no_image_burst", no_image_burst=5.0) == pytest.approx(OF_A_FEW)
    assert factor("no_image_burst", no_image_burst=5.0, no_image_fraction=USUAL_Z + 0.1) == 1.0


def test_a_run_after_a_cleaning_has_more_triggers_and_fewer_images() -> None:
    for name, sign in RINSED.items():
        if name in COLUMN and HARMLESS.get(name) != sign:
            assert factor(name, after_gap=True, **{name: sign * 5.0}) <= TOGETHER + 1e-6
            if name not in {*MANY, "rate_change"}:
                assert factor(name, **{name: sign * 5.0}) == 1.0
    assert explained(after_gap=True).rinsed[0]
    assert not explained(after_gap=False).rinsed[0]


def test_nothing_excuses_a_bin_that_is_wrecked() -> None:
    wrecked = {"no_image_fraction": 30.0, "images_per_trigger": -30.0}
    barely, well = WRECKED * 0.99, WRECKED * 1.01
    assert explained(after_gap=True, lost=barely, **wrecked).rinsed[0]
    found = explained(after_gap=True, lost=well, **wrecked, trigger_rate_hz=9.0, size_spread=9.0)
    assert not found.rinsed[0]
    assert not found.water[0]
    assert found.images_lost[0]
    columns = [COLUMN["no_image_fraction"], COLUMN["images_per_trigger"]]
    assert (found.factor[0, columns] == 1.0).all()
    assert (found.fault_factor[0, columns] == 1.0).all()


@given(st.integers(0, 10_000), st.floats(0, 1), st.booleans())
def test_no_more_counts_than_all_and_faults_count_no_more_than_that(seed: int, lost: float, after_gap: bool) -> None:
    z = 6 * np.random.default_rng(seed).standard_normal((20, len(METADATA))).astype(np.float32)
    z[np.random.default_rng(seed).random(z.shape) < 0.1] = np.nan
    found = explain(z, np.full(20, lost, np.float32), np.full(20, after_gap), METADATA)
    assert ((found.factor >= 0) & (found.factor <= 1)).all()
    assert (found.fault_factor <= found.factor).all()
    assert not (found.water & found.images_lost).any()
    # Each bin by itself.
    one = explain(z[7:8], np.full(1, lost, np.float32), np.full(1, after_gap), METADATA)
    assert np.array_equal(one.factor[0], found.factor[7])


def test_features_that_a_model_lacks_are_as_usual() -> None:
    metadata = tuple(feature for feature in METADATA if feature.role == "position")
    z = np.full((1, len(metadata)), 5.0, np.float32)
    found = explain(z, np.zeros(1, np.float32), np.zeros(1, bool), metadata)
    assert not (found.water.any() or found.images_lost.any())


def test_sides_are_below_and_above() -> None:
    water, harmless = water_sides(METADATA), harmless_sides(METADATA)
    assert water[:, COLUMN["width_median_px"]].tolist() == [True, True]
    assert water[:, COLUMN["multi_image_fraction"]].tolist() == [False, True]
    assert water[:, COLUMN["core_x_px"]].tolist() == [False, False]
    assert water[:, COLUMN["peak_y_slope"]].tolist() == [True, True]
    assert harmless[:, COLUMN["stray_fraction"]].tolist() == [True, False]
    assert harmless[:, COLUMN["images_per_trigger"]].tolist() == [False, True]
    assert harmless[:, COLUMN["core_tilt"]].tolist() == [False, False]


FRACTION = (FeatureMetadata("core_x_px"), FeatureMetadata("no_image_fraction", "fraction", "logit"))


def on_scale(share: float) -> float:
    return 2 * np.arcsin(np.sqrt(share))


def lost_of(usual: float, seen: float) -> float:
    centre = np.array([[900.0, on_scale(usual)]], np.float32)
    spread = np.array([[3.0, 0.05]], np.float32)
    z = np.array([[9.0, (on_scale(seen) - on_scale(usual)) / 0.05]], np.float32)
    return float(lost_share(z, centre + z * spread, spread, FRACTION)[0])


def test_the_lost_share_is_that_of_all_triggers_beyond_the_usual() -> None:
    assert lost_of(0.08, 0.40) == pytest.approx(0.32, abs=1e-3)
    assert lost_of(0.08, 0.08) == pytest.approx(0.0, abs=1e-3)
    assert lost_of(0.4, 0.1) == pytest.approx(-0.3, abs=1e-3)
    assert lost_of(0.0, 1.0) == pytest.approx(1.0, abs=1e-3)


def test_where_it_is_unknown_no_image_is_lost() -> None:
    unknown = np.full((2, 2), np.nan, np.float32)
    assert lost_share(unknown, unknown, unknown, FRACTION).tolist() == [0.0, 0.0]
    assert lost_share(unknown[:, :1], unknown[:, :1], unknown[:, :1], FRACTION[:1]).tolist() == [0.0, 0.0]


def test_a_run_is_late_where_the_pause_is_longer_than_pauses_are() -> None:
    def late(gaps: list[float]) -> list[int]:
        return np.flatnonzero(after_gaps(np.cumsum([0.0, *gaps]))).tolist()

    usual = [1200.0] * 20
    longer = LONGER_S
    assert late([*usual, 1200 + longer - 1, *usual]) == []
    assert late([*usual, 1200 + longer + 1, *usual]) == [21]
    assert late([*usual, 600.0, *usual]) == []
    # Where pauses scatter by minutes, it takes more.
    uneven = [1200.0 + 100 * (-1) ** i for i in range(40)]
    assert late([*uneven, 1200 + longer + 100, *uneven]) == []
    assert late([*uneven, 1400 + LONGER_SPREADS * 200, *uneven]) == [41]
    assert late([]) == late([9e9]) == []
    assert len(after_gaps(np.zeros(0))) == 0


def test_somebody_may_have_worked_on_the_instrument_in_a_pause_of_an_hour_that_is_longer_than_usual() -> None:
    def paused(gaps: list[float]) -> list[int]:
        return np.flatnonzero(pauses(np.cumsum([0.0, *gaps]))).tolist()

    usual = [1200.0] * 20
    assert paused([*usual, 3599.0, *usual]) == []
    assert paused([*usual, 3601.0, *usual]) == [21]
    # An instrument that samples every two hours is not worked on each time.
    assert paused([7200.0] * 20) == []
    assert paused([*[7200.0] * 20, 9000.0]) == [21]
    assert paused([]) == []


def test_many_and_few_large_and_small_are_opposites_and_a_cleaning_brings_many() -> None:
    assert {name for name, sign in MANY.items() if sign < 0} == {"volume_ml", "volume_ratio", "longest_gap_fraction"}
    assert {name: -sign for name, sign in FEW.items()}.items() <= MANY.items()
    assert set(LARGE.values()) == {1}
    assert set(SMALL) <= set(LARGE)
    assert set(SMALL.values()) == {-1}
    fewer = {name for name, sign in RINSED.items() if sign < 0}
    assert fewer == {"volume_ml", "volume_ratio", "images_per_trigger", "rate_change"}


def test_more_images_and_whole_steps_are_harmless_and_less_of_everything_else() -> None:
    assert set(HARMLESS.values()) == {-1, 1}
    assert {name for name, sign in HARMLESS.items() if sign > 0} == {"images_per_trigger", "lattice_fraction"}


@pytest.mark.parametrize("seed", range(5))
def test_what_counts_is_the_least_of_all_that_holds_and_nothing_of_the_waters_unless_images_are_lost(seed: int):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((40, 6)).astype(np.float32)
    z[rng.random(z.shape) < 0.1], z[rng.random(z.shape) < 0.1] = np.nan, 0.0
    where, shares = rng.random((3, 40)) < 0.5, rng.random((3, 2, 6)).astype(np.float32)
    where[0] = True
    water, lost = rng.random((2, 6)) < 0.5, rng.random(40) < 0.5
    factor, fault_factor = counting(z, where, shares, water, lost)
    for i, j in np.ndindex(z.shape):
        side = [side for side, is_there in enumerate((z[i, j] < 0, z[i, j] > 0)) if is_there]
        expected = min([shares[c, s, j] for s in side for c in range(3) if where[c, i]], default=1.0)
        assert factor[i, j] == expected
        assert fault_factor[i, j] == (0.0 if not lost[i] and any(water[s, j] for s in side) else expected)
