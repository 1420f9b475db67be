"""What the water and the day's work explain: blooms, detritus, and the run after a cleaning.

They change how many particles come and how large these are, not where the instrument sees them. So features
that only say "many" or "large" count for less, and for hardly anything where they say it together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.rows import Rows
from ifcb_flow_pipeline.detection.traits import Trait

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

#: Few particles come in clear water, too.
FEW = {"trigger_rate_hz": -1, "n_triggers": -1, "inhibit_fraction": -1, "volume_ml": 1}

#: What remains of a cleaning: more triggers, and more of them without an image.
RINSED = {
    "trigger_rate_hz": 1, "n_triggers": 1, "inhibit_fraction": 1, "volume_ml": -1, "volume_ratio": -1,
    "no_image_fraction": 1, "images_per_trigger": -1, "rate_change": -1, "time_uniformity": 1,
}  # fmt: skip

#: How much of a surprise counts that one of these explains: always, and where its other signs are there too.
_ALONE, _TOGETHER = 0.5, 0.35

#: From how many spreads on a rate is that of a bloom.
_BLOOM_RATE_Z = 2.0

#: A run follows a cleaning where the way from the last start is so much longer than usual.
_LONGER = 1.2


@dataclass(frozen=True, slots=True)
class Explained:
    """How much of the surprise of each of d features, below and above its centre, counts in n rows.

    ``bloom``, ``rinsed``: shape (n,), where the signs of these are there.
    """

    bloom: NDArray[np.bool_]
    rinsed: NDArray[np.bool_]
    factor: NDArray[np.float32]


def explained(z: NDArray[np.float32], after_gap: NDArray[np.bool_], traits: Sequence[Trait]) -> Explained:
    """What counts of surprises at deviations ``z`` of shape (n, d); ``after_gap`` (n,): see ``after_gaps``."""
    place = {trait.name: column for column, trait in enumerate(traits)}
    rate = np.nan_to_num(z[:, place["trigger_rate_hz"]]) if "trigger_rate_hz" in place else np.zeros(len(z))
    bloom = rate > _BLOOM_RATE_Z
    factor = np.ones(z.shape, dtype=np.float32)
    for signs, where, share in (
        (MANY, np.ones(len(z), dtype=bool), _ALONE),
        (FEW, np.ones(len(z), dtype=bool), _ALONE),
        (LARGE, bloom, _TOGETHER),
        (MANY, bloom, _TOGETHER),
        (RINSED, after_gap, _TOGETHER),
    ):
        for name, sign in signs.items():
            if name in place:
                column = place[name]
                fits = where & (np.sign(np.nan_to_num(z[:, column])) == sign)
                factor[fits, column] = np.minimum(factor[fits, column], share)
    return Explained(bloom, after_gap, factor)


def after_gaps(rows: Rows) -> NDArray[np.bool_]:
    """Which rows start later after the one before them than is usual for their instrument, shape (n,)."""
    order = np.lexsort((rows.time_s, rows.instrument.codes))
    codes, times = rows.instrument.codes[order], rows.time_s[order]
    follows = np.zeros(len(rows), dtype=bool)
    for code in np.unique(codes):
        at = np.flatnonzero(codes == code)
        gaps = np.diff(times[at])
        if len(gaps):
            follows[at[1:]] = gaps > _LONGER * np.median(gaps)
    found = np.zeros(len(rows), dtype=bool)
    found[order] = follows
    return found


def config_changes(rows: Rows) -> NDArray[np.bool_]:
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
