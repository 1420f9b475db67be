"""What the water and the day's work explain: blooms, detritus, and the run after a cleaning.

They change how many particles come and how large these are, not where the instrument sees them. So features
that only say "many" or "large" count for less, and for hardly anything where they say it together.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata

#: Up (1) or down (-1) in water with many particles: rates, and what follows from the instrument being busy.
MANY = {
    "trigger_rate_hz": 1, "n_triggers": 1, "inhibit_fraction": 1, "volume_ml": -1, "volume_ratio": -1,
    "multi_image_fraction": 1, "longest_gap_fraction": -1,
}  # fmt: skip

#: Up or down where the particles are large, or of more kinds, and the signals that go with it.
LARGE = {
    "width_median_px": 1, "width_p95_px": 1, "height_median_px": 1, "area_p10_px2": 1, "area_median_px2": 1,
    "large_fraction": 1, "size_spread": 1, "flight_time_us": 1, "flight_spread": 1, "peak_median_v": 1,
    "full_width_fraction": 1, "bubble_fraction": 1,
}  # fmt: skip

#: Some large particles among the others are the water's affair, whether many come or few.
_SOME_LARGE = {"width_p95_px": 1, "large_fraction": 1, "size_spread": 1, "flight_spread": 1}

#: Few particles come in clear water, too.
FEW = {"trigger_rate_hz": -1, "n_triggers": -1, "inhibit_fraction": -1, "volume_ml": 1, "volume_ratio": 1}

#: So are small ones, and what goes with them.
SMALL = {
    "width_median_px": -1, "width_p95_px": -1, "height_median_px": -1, "area_p10_px2": -1, "area_median_px2": -1,
    "size_spread": -1,
}  # fmt: skip

#: What particles of another kind do: dimmer or brighter ones, unlike from the top of the frame to its bottom.
_OTHER_KINDS = ("peak_median_v", "peak_y_slope")

#: What wavers by itself, either way: it supports other signs.
_WAVERING = ("drift_y_px", "stray_spread")

#: A change of the rate is one of the run where it makes the triggers uneven, too, and bursts of triggers without an
#: image are a fault's where there are more of these: else it is one of a few triggers. How much it counts then.
_UNEVEN_Z, _OF_A_FEW = 3.0, 0.1

#: From how many spreads on sizes are larger or more varied, and from how many on the small ones grow, or images are
#: lost, as they are out of focus: else it is the water.
_DETRITUS_Z, USUAL_Z = 2.0, 3.0
LOST_Z = 3.0

#: Out of focus all boxes grow, so that the small ones grow so many times as plainly as sizes become more varied: in
#: simulated bins out of focus 7 times and more, in nearly all with detritus less than 2. Where they grow by so many
#: spreads, fewer lost images tell: so many spreads, and so many more of the triggers. But no more particles come then:
#: where they do, one kind of cell blooms.
ALL_GROW, BLURRED_Z, BLURRED_LOST_Z, BLURRED_LOST = 3.0, 4.5, 1.75, 0.025

#: Images are lost where so many more of the triggers than usual are without one, as a share of all, and that is rare
#: for the instrument. Where sizes vary more than usual it takes more: detritus, large or transparent, loses some of
#: its own. Nothing excuses a bin that has lost so many as to be wrecked.
_LOST, _DETRITUS_LOST, _WRECKED = 0.03, 0.08, 0.35

#: Large boxes reach the frame's edge, which cuts them off the lattice, and their centres scatter.
_REACHING = {"edge_touch_fraction": 1, "lattice_fraction": -1, "core_width_px": 1}

#: What detritus does to triggers: it is large, or transparent, and some of it gives no image; and it drifts by in
#: patches.
_SHAPELESS = {"no_image_fraction": 1, "images_per_trigger": -1, "no_image_burst": 1}

#: In a bloom of one kind of cell, more boxes of the same size lie at the same place by chance.
_ALIKE = {"repeat_fraction": 1, "repeat_anchor_fraction": 1}

#: From how many spreads on triggers at the noise floor say that a high rate is no bloom's.
_NOISE_Z = 4.0

#: What remains of a cleaning: more triggers, and more of them without an image.
RINSED = {
    "trigger_rate_hz": 1, "n_triggers": 1, "inhibit_fraction": 1, "volume_ml": -1, "volume_ratio": -1,
    "no_image_fraction": 1, "images_per_trigger": -1, "peak_floor_fraction": 1, "rate_change": -1,
    "time_uniformity": 1,
}  # fmt: skip

#: Ways in which a feature may go as far as it likes: fewer strays than usual, or a colder housing, is no fault.
HARMLESS = {
    "core_width_px": -1, "stray_fraction": -1, "stray_left_fraction": -1, "stray_right_fraction": -1,
    "stray_spread": -1, "edge_touch_fraction": -1, "full_width_fraction": -1, "out_of_frame_fraction": -1,
    "blind_fraction": -1, "longest_blind_s": -1, "bubble_fraction": -1,
    "repeat_fraction": -1, "repeat_anchor_fraction": -1, "hot_cell_fraction": -1, "no_image_fraction": -1,
    "multi_image_fraction": -1, "images_per_trigger": 1, "no_image_burst": -1, "large_fraction": -1,
    "time_uniformity": -1, "longest_gap_fraction": -1, "time_backward_fraction": -1, "flight_spread": -1,
    "peak_floor_fraction": -1,
    "run_time_mismatch": -1, "temperature_c": -1, "humidity_pct": -1, "temperature_rise_c": -1,
    "humidity_rise_pct": -1, "stuck_persistence": -1, "lattice_fraction": 1,
    "header_adc_mismatch": -1, "dead_signal_fraction": -1, "time_still_fraction": -1, "start_byte_gap_fraction": -1,
    "bad_line_fraction": -1, "trigger_gap_fraction": -1,
}  # fmt: skip

#: How much of a rarity counts that one of these explains: always, and where its other signs are there too.
_ALONE, _TOGETHER = 0.5, 0.35

#: From how many spreads on a rate is that of a bloom, and of one whose particles are larger than usual, too.
_BLOOM_RATE_Z, _LARGER_BLOOM_RATE_Z = 2.0, 0.75

#: A run follows a cleaning where so much more time than usual lies between its start and the last one, and so many
#: times more than such times scatter.
_LONGER_S, _LONGER_SPREADS = 400.0, 8.0

#: In less nobody repairs an instrument, s.
_PAUSE_S = 3600.0


#: Which signs count less, under which condition, and how much they count then.
_COUNTS_LESS = (
    (HARMLESS, "always", 0.0),
    (MANY, "always", _ALONE),
    (FEW, "always", _ALONE),
    (SMALL, "always", _ALONE),
    (_SOME_LARGE, "always", _ALONE),
    (dict.fromkeys(_WAVERING, 1), "always", _ALONE),
    (dict.fromkeys(_WAVERING, -1), "always", _ALONE),
    (LARGE, "no images lost", _ALONE),
    (LARGE, "water", _TOGETHER),
    (_SHAPELESS, "water", _OF_A_FEW),
    (MANY, "bloom", _TOGETHER),
    (_ALIKE, "bloom", _TOGETHER),
    (_REACHING, "large", _ALONE),
    (RINSED, "rinsed", _TOGETHER),
    ({"rate_change": 1}, "even", _OF_A_FEW),
    ({"rate_change": -1}, "even", _OF_A_FEW),
    ({"no_image_burst": 1}, "as usual lost", _OF_A_FEW),
)
_CONDITIONS = tuple(dict.fromkeys(condition for _, condition, _ in _COUNTS_LESS))


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the water and the day's work explain of n bins.

    ``factor`` (n, d): how much of each feature's rarity counts; ``fault_factor`` (n, d): the same without what follows
    the water wherever it goes: sizes, counts and signals, unless images are lost as well. ``water``, ``rinsed`` (n,):
    the signs of a bloom, another community or detritus, and of a run after a cleaning, are there; ``images_lost``
    (n,): more triggers than usual are without an image.
    """

    factor: NDArray[np.float32]
    fault_factor: NDArray[np.float32]
    water: NDArray[np.bool_]
    rinsed: NDArray[np.bool_]
    images_lost: NDArray[np.bool_]


@lru_cache(maxsize=8)
def water_sides(metadata: tuple[FeatureMetadata, ...]) -> NDArray[np.bool_]:
    """Which features follow the water below (row 0) and above (row 1) their centre, shape (2, d)."""
    found = np.zeros((2, len(metadata)), dtype=bool)
    place = {feature.name: column for column, feature in enumerate(metadata)}
    for signs in (LARGE, SMALL, MANY, FEW, dict.fromkeys(_OTHER_KINDS, 1), dict.fromkeys(_OTHER_KINDS, -1)):
        for name, sign in signs.items():
            if name in place:
                found[int(sign > 0), place[name]] = True
    return found


@lru_cache(maxsize=8)
def harmless_sides(metadata: tuple[FeatureMetadata, ...]) -> NDArray[np.bool_]:
    """Which features are harmless below (row 0) and above (row 1) their centre, shape (2, d)."""
    found = np.zeros((2, len(metadata)), dtype=bool)
    for column, feature in enumerate(metadata):
        if feature.name in HARMLESS:
            found[int(HARMLESS[feature.name] > 0), column] = True
    return found


def explain(
    z: NDArray[np.float32],
    lost_share: NDArray[np.float32],
    after_gap: NDArray[np.bool_],
    metadata: tuple[FeatureMetadata, ...],
) -> Explanation:
    """What counts of n bins with deviations ``z`` (n, d); ``lost_share``, ``after_gap`` (n,): see these functions."""
    from ifcb_flow_pipeline.detection.flow.counting_kernel import counting

    place = {feature.name: column for column, feature in enumerate(metadata)}
    usual = np.zeros(len(z), dtype=z.dtype)

    def seen(name: str) -> NDArray[np.float32]:
        # What is not among the features, or unknown, is as usual.
        return np.nan_to_num(z[:, place[name]]) if name in place else usual

    noise = seen("peak_floor_fraction") > _NOISE_Z
    rate, variety = seen("trigger_rate_hz"), seen("size_spread")
    small_ones_grow = seen("area_p10_px2") > np.maximum(ALL_GROW * variety, USUAL_Z)
    lost = seen("no_image_fraction")
    is_varied = (variety > _DETRITUS_Z) & ~small_ones_grow & ~noise
    blurred = small_ones_grow & (seen("area_p10_px2") > BLURRED_Z)
    blurred &= rate < _BLOOM_RATE_Z
    blurred &= (lost > BLURRED_LOST_Z) & (lost_share > BLURRED_LOST)
    images_lost = blurred | ((lost > LOST_Z) & (lost_share > np.where(is_varied, _DETRITUS_LOST, _LOST)))
    larger = (seen("area_median_px2") > _DETRITUS_Z) & ~images_lost
    bloom = ((rate > _BLOOM_RATE_Z) | (larger & (rate > _LARGER_BLOOM_RATE_Z))) & ~noise & ~images_lost
    detritus = is_varied & ~images_lost
    rinsed = after_gap & (lost_share < _WRECKED)
    holds = {
        "always": np.ones(len(z), dtype=bool),
        "no images lost": ~images_lost,
        "water": bloom | detritus | larger,
        "bloom": bloom,
        "large": detritus | larger,
        "rinsed": rinsed,
        "even": seen("time_uniformity") < _UNEVEN_Z,
        "as usual lost": lost < USUAL_Z,
    }
    factor, fault_factor = counting(
        np.ascontiguousarray(z),
        np.array([holds[condition] for condition in _CONDITIONS]),
        _shares(metadata),
        water_sides(metadata),
        images_lost,
    )
    water = bloom | detritus | (larger & ~small_ones_grow)
    return Explanation(factor, fault_factor, water, rinsed, images_lost)


@lru_cache(maxsize=8)
def _shares(metadata: tuple[FeatureMetadata, ...]) -> NDArray[np.float32]:
    """How much of each feature counts under each of _CONDITIONS, below and above its centre: (conditions, 2, d)."""
    place = {feature.name: column for column, feature in enumerate(metadata)}
    found = np.ones((len(_CONDITIONS), 2, len(metadata)), dtype=np.float32)
    for signs, condition, share in _COUNTS_LESS:
        for name, sign in signs.items():
            if name in place:
                at = _CONDITIONS.index(condition), int(sign > 0), place[name]
                found[at] = min(found[at], np.float32(share))
    return found


def lost_share(
    z: NDArray[np.float32],
    values: NDArray[np.float32],
    spread: NDArray[np.float32],
    metadata: tuple[FeatureMetadata, ...],
) -> NDArray[np.float32]:
    """How many more of the triggers than usual are without an image, as a share of all of them, shape (n,).

    ``z``: deviations (n, d) of ``values`` in units of ``spread``, both on the features' scales. 0 where unknown.
    """
    for column, feature in enumerate(metadata):
        if feature.name == "no_image_fraction":
            seen = values[:, column]
            usual = seen - z[:, column] * spread[:, column]
            shares = (np.sin(np.clip(value, 0.0, np.pi) / 2.0) ** 2 for value in (seen, usual))
            return np.nan_to_num(next(shares) - next(shares)).astype(np.float32)
    return np.zeros(len(z), dtype=np.float32)


def after_gaps(time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which bins of one instrument, in the order of time, start later after the one before than usual; shape (n,)."""
    found = np.zeros(len(time_s), dtype=bool)
    gaps = np.diff(time_s)
    if len(gaps):
        longer = gaps - np.median(gaps)
        found[1:] = longer > max(_LONGER_S, _LONGER_SPREADS * float(np.median(np.abs(longer))))
    return found


def pauses(time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Before which bins, in the order of time, there was a pause in which somebody may have worked on the instrument.

    Shape (n,).
    """
    return after_gaps(time_s) & (np.diff(time_s, prepend=time_s[:1]) > _PAUSE_S)
