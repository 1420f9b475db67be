"""What the water and the day's work explain: blooms, detritus, and the run after a cleaning.

They change how many particles come and how large these are, not where the instrument sees them. So features
that only say "many" or "large" count for less, and for hardly anything where they say it together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
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
    "full_width_fraction": 1,
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

#: What wavers by itself, either way: it supports other signs.
_WAVERING = ("drift_y_px", "stray_spread")

#: A change of the rate is one of the run where it makes the triggers uneven, too, and bursts of triggers without an
#: image are a fault's where there are more of these: else it is one of a few triggers. How much it counts then.
_UNEVEN_Z, _OF_A_FEW = 3.0, 0.1

#: From how many spreads on sizes are larger or more varied, and from how many on the small ones grow, or images are
#: lost, as they are out of focus: else it is the water.
_DETRITUS_Z, _USUAL_Z = 2.0, 3.0

#: From how many spreads on images are lost where sizes are no more varied than usual: detritus loses some, too. Means
#: of bins must show it as plainly as bins with detritus do: else their sizes are the water's.
_SOME_LOST_Z = 1.5

#: What detritus does to triggers: it is large, or transparent, and some of it gives no image.
_SHAPELESS = {"no_image_fraction": 1, "images_per_trigger": -1}

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
    "repeat_fraction": -1, "repeat_anchor_fraction": -1, "hot_cell_fraction": -1, "no_image_fraction": -1,
    "multi_image_fraction": -1, "images_per_trigger": 1, "no_image_burst": -1, "large_fraction": -1,
    "time_uniformity": -1, "longest_gap_fraction": -1, "time_backward_fraction": -1, "flight_spread": -1,
    "peak_floor_fraction": -1,
    "run_time_mismatch": -1, "temperature_c": -1, "humidity_pct": -1, "temperature_rise_c": -1,
    "humidity_rise_pct": -1, "stuck_persistence": -1, "lattice_fraction": 1,
    "bad_line_fraction": -1, "trigger_gap_fraction": -1,
}  # fmt: skip

#: How much of a rarity counts that one of these explains: always, and where its other signs are there too.
_ALONE, _TOGETHER = 0.5, 0.35

#: How much it counts that particles are few or small where bins around have more and larger ones: these may bloom.
_BETWEEN = 0.2

#: From how many spreads on a rate is that of a bloom, and of one whose particles are larger than usual, too.
_BLOOM_RATE_Z, _LARGER_BLOOM_RATE_Z = 2.0, 0.75

#: A run follows a cleaning where so much more time than usual lies between its start and the last one, and so many
#: times more than such times scatter.
_LONGER_S, _LONGER_SPREADS = 400.0, 8.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much of the rarity of each of d features, below and above its centre, counts in n rows.

    ``bloom``, ``rinsed``: shape (n,), where the signs of these are there; ``blurred``: where they may be those of an
    objective out of focus, as images are lost and not by detritus.
    """

    bloom: NDArray[np.bool_]
    rinsed: NDArray[np.bool_]
    blurred: NDArray[np.bool_]
    factor: NDArray[np.float32]


def explain(
    z: NDArray[np.float32],
    after_gap: NDArray[np.bool_],
    metadata: Sequence[FeatureMetadata],
    of_means: NDArray[np.bool_] | None = None,
) -> Explanation:
    """What counts of rarities at deviations ``z`` of shape (n, d).

    ``after_gap`` (n,): see ``after_gaps``; ``of_means`` (n,): the row is the mean of some bins and deviates from that
    of the bins around; no row where None.
    """
    place = {feature.name: column for column, feature in enumerate(metadata)}
    usual = np.zeros(len(z), dtype=z.dtype)

    def seen(name: str) -> NDArray[np.float32]:
        # What is not among the features, or unknown, is as usual.
        return np.nan_to_num(z[:, place[name]]) if name in place else usual

    always = np.ones(len(z), dtype=bool)
    between = np.zeros(len(z), dtype=bool) if of_means is None else of_means
    noise = seen("peak_floor_fraction") > _NOISE_Z
    rate = seen("trigger_rate_hz")
    variety, smallest = seen("size_spread"), seen("area_p10_px2")
    small_ones_grow = smallest > np.maximum(variety, _USUAL_Z)
    lost = seen("no_image_fraction")
    images_lost = lost > np.where((variety > _DETRITUS_Z) | between, _USUAL_Z, _SOME_LOST_Z)
    larger = (seen("area_median_px2") > _DETRITUS_Z) & ~images_lost
    bloom = ((rate > _BLOOM_RATE_Z) | (larger & (rate > _LARGER_BLOOM_RATE_Z))) & ~noise
    detritus = (variety > _DETRITUS_Z) & ~small_ones_grow & ~noise
    factor = np.ones(z.shape[::-1], dtype=np.float32)
    # Of the bins of a column 1 where it is on a side, else 0: to choose by numbers is faster than by truths.
    above, below = (z.T > 0).astype(np.float32), (z.T < 0).astype(np.float32)
    for signs, where, share in (
        (HARMLESS, always, 0.0),
        (MANY, always, _ALONE),
        (FEW, always, _ALONE),
        (SMALL, always, _ALONE),
        (FEW, between, _BETWEEN),
        (SMALL, between, _BETWEEN),
        (_SOME_LARGE, always, _ALONE),
        (LARGE, ~images_lost, _ALONE),
        (LARGE, bloom | detritus | larger, _TOGETHER),
        (MANY, bloom, _TOGETHER),
        (_SHAPELESS, detritus, _TOGETHER),
        (RINSED, after_gap, _TOGETHER),
        (dict.fromkeys(_WAVERING, 1), always, _ALONE),
        (dict.fromkeys(_WAVERING, -1), always, _ALONE),
        ({"rate_change": 1}, seen("time_uniformity") < _UNEVEN_Z, _OF_A_FEW),
        ({"rate_change": -1}, seen("time_uniformity") < _UNEVEN_Z, _OF_A_FEW),
        ({"no_image_burst": 1}, lost < _USUAL_Z, _OF_A_FEW),
    ):
        for name, sign in signs.items():
            if name in place:
                column = place[name]
                fits = where * (above if sign > 0 else below)[column]
                np.minimum(factor[column], np.maximum(1.0 - fits, share), out=factor[column])
    return Explanation(bloom | detritus | larger, after_gap, images_lost & ~detritus, factor.T)


def after_gaps(rows: BinTable) -> NDArray[np.bool_]:
    """Which rows start later after the one before them than is usual for their instrument, shape (n,)."""
    order = np.lexsort((rows.time_s, rows.instrument.codes))
    codes, times = rows.instrument.codes[order], rows.time_s[order]
    follows = np.zeros(len(rows), dtype=bool)
    for code in np.unique(codes):
        at = np.flatnonzero(codes == code)
        gaps = np.diff(times[at])
        if len(gaps):
            longer = gaps - np.median(gaps)
            follows[at[1:]] = longer > max(_LONGER_S, _LONGER_SPREADS * np.median(np.abs(longer)))
    found = np.zeros(len(rows), dtype=bool)
    found[order] = follows
    return found


def config_changes(rows: BinTable) -> NDArray[np.bool_]:
    """Which rows state other settings than the row before them that states any, of the same instrument; shape (n,)."""
    stated = np.array([bool(name) for name in rows.configuration.names], dtype=bool)
    found = np.zeros(len(rows), dtype=bool)
    if not len(rows):
        return found
    order = np.lexsort((rows.time_s, rows.instrument.codes))
    order = order[stated[rows.configuration.codes[order]]]
    instrument, configuration = rows.instrument.codes[order], rows.configuration.codes[order]
    found[order[1:]] = (instrument[1:] == instrument[:-1]) & (configuration[1:] != configuration[:-1])
    return found


def mostly_with_header(rows: BinTable) -> frozenset[str]:
    """The instruments most of whose rows, and three at least, state settings."""
    stated = np.array([bool(name) for name in rows.configuration.names], dtype=bool)[rows.configuration.codes]
    n = np.bincount(rows.instrument.codes, minlength=len(rows.instrument.names))
    n_stated = np.bincount(rows.instrument.codes, stated, minlength=len(rows.instrument.names))
    mostly = (n_stated >= 3) & (2 * n_stated > n)
    return frozenset(name for name, yes in zip(rows.instrument.names, mostly, strict=True) if yes)
