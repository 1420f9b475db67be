"""Rows of ``bin_features`` of a small fleet, drawn feature by feature: healthy ones, and what a fault does to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import plain_values, scaled_values
from ifcb_flow_pipeline.features.catalogue import CATALOGUE, FULL_FEATURE_NAMES

CREATED = datetime(2024, 6, 1, tzinfo=UTC)
START = datetime(2024, 3, 1, tzinfo=UTC)
CADENCE = timedelta(minutes=24)

#: What a healthy instrument shows: the usual value, and the spread between bins on the feature's scale.
USUAL: Mapping[str, tuple[float, float]] = {
    "core_x_px": (980, 3), "core_tilt": (-0.05, 0.004), "core_bend_px": (-20, 3), "core_width_px": (17, 0.05),
    "core_asymmetry": (0.0, 0.03), "cross_low_px": (290, 8), "cross_high_px": (880, 8), "cross_range_px": (590, 0.02),
    "stray_fraction": (0.015, 0.03), "stray_left_fraction": (0.01, 0.03), "stray_right_fraction": (0.005, 0.03),
    "stray_spread": (0.7, 0.1), "edge_touch_fraction": (0.001, 0.03), "full_width_fraction": (0.0, 0.0),
    "out_of_frame_fraction": (0.0, 0.0), "repeat_fraction": (0.01, 0.03), "repeat_anchor_fraction": (0.03, 0.03),
    "hot_cell_fraction": (0.0, 0.0), "no_image_fraction": (0.08, 0.03), "multi_image_fraction": (0.01, 0.03),
    "images_per_trigger": (0.93, 0.01), "trigger_rate_hz": (0.8, 0.3), "no_image_burst": (0.0, 0.03),
    "width_median_px": (82, 0.03), "width_p95_px": (185, 0.05), "height_median_px": (43, 0.03),
    "area_p10_px2": (2500, 0.04), "area_median_px2": (3500, 0.05), "large_fraction": (0.008, 0.03),
    "size_spread": (0.33, 0.06), "time_uniformity": (0.0, 0.01), "longest_gap_fraction": (0.0, 0.002),
    "rate_change": (0.0, 0.06), "drift_x_px": (0.0, 0.7), "drift_y_px": (0.0, 15), "dead_time_s": (0.083, 0.0001),
    "time_backward_fraction": (0.0, 0.0), "flight_time_us": (58, 0.005), "flight_spread": (0.105, 0.04),
    "peak_median_v": (0.17, 0.05), "peak_floor_fraction": (0.11, 0.03), "peak_y_slope": (0.0, 0.2),
    "run_time_s": (1200, 0.5), "run_time_ratio": (1.0, 0.0005), "volume_ml": (4.65, 0.03),
    "volume_ratio": (0.93, 0.006), "inhibit_fraction": (0.07, 0.03), "image_count_mismatch": (0.0, 0.0),
    "run_time_mismatch": (-0.001, 0.0003), "n_triggers": (960, 0.3), "temperature_c": (17, 0.4),
    "humidity_pct": (24, 0.3), "lattice_fraction": (1.0, 0.0), "bad_line_fraction": (0.0, 0.0),
    "trigger_gap_fraction": (0.0, 0.0), "blind_fraction": (0.0, 0.0), "longest_blind_s": (0.0, 0.0),
    "bubble_fraction": (0.001, 0.02), "header_adc_mismatch": (0.001, 0.0), "dead_signal_fraction": (0.0, 0.0),
    "time_still_fraction": (0.0, 0.0), "start_byte_gap_fraction": (0.0, 0.0),
}  # fmt: skip

_SCALES = {feature.name: feature.scale for feature in CATALOGUE}

_BOX = ("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px")

Columns = dict[str, Any]


@dataclass(frozen=True)
class Instrument:
    """How an instrument's bins differ from the usual ones: values in place of those of USUAL, and its name."""

    name: str
    usual: Mapping[str, float] = field(default_factory=dict)


FLEET = (Instrument("IFCB134"), Instrument("IFCB9", {"core_x_px": 420, "core_tilt": 0.02, "dead_time_s": 0.098}))


def columns(n: int, instruments: Sequence[Instrument] = FLEET, seed: int = 0, start: datetime = START) -> Columns:
    """Columns of n healthy bins of each instrument, one after the other in time; instrument by instrument."""
    rng = np.random.default_rng([seed, 4])
    parts = [_of_instrument(instrument, n, rng, start) for instrument in instruments]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def table(columns: Columns) -> pa.Table:
    """The columns as a table of ``bin_features``; NaN stays NaN."""
    return pa.table(columns).set_column(
        list(columns).index("start_time"), "start_time", pa.array(columns["start_time"], pa.timestamp("us", tz="UTC"))
    )


def changed(columns: Columns, rows: NDArray | slice | Sequence[int] | int, **values: Any) -> Columns:
    """A copy in which these rows have these values; a function gets the old ones."""
    found = {name: column.copy() for name, column in columns.items()}
    for name, value in values.items():
        found[name][rows] = value(found[name][rows]) if callable(value) else value
    return found


def same(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables hold the same, number by number; an unknown one is as another unknown one."""
    return one.schema.equals(other.schema) and all(
        a == b or (a != a and b != b)
        for name in one.column_names
        for a, b in zip(one[name].to_pylist(), other[name].to_pylist(), strict=True)
    )


def times(factor: float) -> Any:
    """Values so many times as large."""
    return lambda values: values * factor


def plus(amount: float) -> Any:
    """Values larger by so much."""
    return lambda values: values + amount


#: What faults do, by a name to read and the cause that should be suspected.
FAULTS: Mapping[str, tuple[str, Columns]] = {
    "air all over the frame": ("air", {
        "stray_fraction": 0.3, "stray_left_fraction": 0.2, "stray_right_fraction": 0.1, "stray_spread": 1.3,
        "edge_touch_fraction": 0.05, "width_p95_px": times(2.0), "large_fraction": 0.1, "size_spread": times(1.8)}),
    "a clog half-way": ("clog", {"time_uniformity": 0.3, "rate_change": -1.5, "longest_gap_fraction": 0.05}),
    "a stain on the flow cell": ("stain", {
        "repeat_fraction": 0.15, "repeat_anchor_fraction": 0.2, "hot_cell_fraction": 0.15,
        "multi_image_fraction": 0.25, "images_per_trigger": 1.2}),
    "a misaligned laser": ("laser", {
        "no_image_fraction": 0.4, "images_per_trigger": 0.6, "trigger_rate_hz": times(0.2), "n_triggers": times(0.2),
        "peak_median_v": times(0.4), "cross_range_px": times(0.7), "cross_low_px": plus(100)}),
    "an objective out of focus": ("focus", {
        "width_median_px": times(1.3), "height_median_px": times(1.3), "area_median_px2": times(1.6),
        "area_p10_px2": times(1.6), "no_image_fraction": 0.2, "images_per_trigger": 0.81}),
    "another flow speed": ("sheath_flow", {"core_x_px": plus(60), "flight_time_us": times(1.15)}),
    "a core that is wide": ("sheath_flow", {
        "core_width_px": times(3.0), "stray_fraction": 0.15, "cross_low_px": plus(-80), "cross_range_px": times(1.2)}),
    "a turned camera": ("alignment", {"core_tilt": 0.3}),
    "noise that triggers": ("electronics", {
        "no_image_fraction": 0.6, "images_per_trigger": 0.4, "trigger_rate_hz": times(8.0), "n_triggers": times(8.0),
        "peak_floor_fraction": 0.6, "no_image_burst": 0.3}),
    "boxes cut off at the edges": ("electronics", {
        "edge_touch_fraction": 0.2, "stray_fraction": 0.22, "stray_left_fraction": 0.11, "stray_right_fraction": 0.11,
        "lattice_fraction": 0.8}),
    "blind for a third of the run": ("electronics", {
        "blind_fraction": 0.33, "longest_blind_s": 400.0, "no_image_fraction": 0.4, "images_per_trigger": 0.6,
        "no_image_burst": 0.5}),
    "a core that creeps within the run": ("sheath_flow", {
        "drift_x_px": 150.0, "core_width_px": times(2.0), "core_x_px": plus(70)}),
    "a run that was stopped": ("incomplete_run", {
        "run_time_s": 400.0, "run_time_ratio": 0.33, "volume_ml": 1.5, "volume_ratio": 0.31,
        "n_triggers": times(0.33)}),
    "more volume than was drawn": ("volume", {"volume_ratio": 1.4}),
    "humid air": ("leak", {"humidity_pct": 80.0}),
    "heat": ("overheating", {"temperature_c": 42.0}),
    "damaged lines": ("corrupt", {"bad_lines": 40, "bad_line_fraction": 0.04}),
    "a clock that jumps back": ("corrupt", {"time_backward_fraction": 0.001}),
    "a header that is lost": ("corrupt", {"configuration": ""}),
    "hardly any image": ("empty", {
        "status": "too_few_points", "n_images": 7, "n_points": 7, "n_triggers": 60.0, "no_image_fraction": 0.9,
        "images_per_trigger": 0.1, "trigger_rate_hz": 0.05,
        **dict.fromkeys(("core_x_px", "core_tilt", "core_width_px", "stray_fraction", "width_median_px"), np.nan)}),
}  # fmt: skip

#: What the water does: many particles; large and shapeless ones; and what a cleaning leaves, after a pause.
BLOOM: Columns = {
    "trigger_rate_hz": times(5.0), "n_triggers": times(5.0), "inhibit_fraction": 0.33, "volume_ml": 3.4,
    "volume_ratio": 0.68, "multi_image_fraction": 0.03, "width_median_px": times(1.15), "area_median_px2": times(1.3),
    "large_fraction": 0.02,
}  # fmt: skip
DETRITUS: Columns = {
    "trigger_rate_hz": times(2.0), "n_triggers": times(2.0), "size_spread": times(1.8), "large_fraction": 0.03,
    "width_p95_px": times(1.3), "no_image_fraction": 0.13, "images_per_trigger": 0.88,
}  # fmt: skip


def _of_instrument(instrument: Instrument, n: int, rng: np.random.Generator, start: datetime) -> Columns:
    starts = [start + i * CADENCE for i in range(n)]
    n_points = rng.lognormal(np.log(900), 0.25, n).round()
    found: Columns = {
        "pid": np.array([f"D{time:%Y%m%dT%H%M%S}_{instrument.name}" for time in starts], dtype=object),
        "instrument": np.array([instrument.name] * n, dtype=object),
        "start_time": np.array(starts, dtype=object),
        "status": np.array(["ok"] * n, dtype=object),
        "reason": np.array([""] * n, dtype=object),
        "configuration": np.array(["a1b2c3"] * n, dtype=object),
        "sample_type": np.array(["normal"] * n, dtype=object),
        "bad_lines": np.zeros(n),
        "n_images": n_points,
        "n_points": n_points,
    }
    for name in FULL_FEATURE_NAMES:
        usual, spread = USUAL.get(name, (1.0, 0.1))
        scale = _SCALES[name]
        centre = scaled_values(np.array([instrument.usual.get(name, usual)]), scale)
        found[name] = plain_values(centre + spread * rng.standard_normal(n), scale)
    # Rates and counts go together, and what follows from them.
    found["n_triggers"] = found["trigger_rate_hz"] * found["run_time_s"]
    for name in _BOX:
        found[name] = rng.uniform(0, 1000, n)
    return found
