"""One simulated bin: its values in memory, and the healthy generator.

Here: instrument profiles, the conditions of a run, the bin as columns and header values, and the few
operations on rows that keep a bin consistent. Not here: faults (``faults``), file formats (``files``).

Columns follow WHOI's names (pyifcb, ``ifcb/data/adc.py``) in the order of the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import Schema, format_pid
from ifcb_flow_pipeline.simulate import core
from ifcb_flow_pipeline.simulate.core import Boxes, FloatArray

V1_COLUMNS = (
    "trigger", "processing_end_time", "fluor_low", "fluor_high", "scat_low", "scat_high",
    "comparator_pulse", "trigger_open_time", "frame_grab_time", "roi_x", "roi_y", "roi_width",
    "roi_height", "start_byte", "valve_status",
)  # fmt: skip
V2_COLUMNS = (
    "trigger", "adc_time", "pmt_a", "pmt_b", "pmt_c", "pmt_d", "peak_a", "peak_b", "peak_c", "peak_d",
    "time_of_flight", "grab_time_start", "grab_time_end", "roi_x", "roi_y", "roi_width", "roi_height",
    "start_byte", "comparator_out", "start_point", "signal_length", "status", "run_time", "inhibit_time",
)  # fmt: skip
COLUMNS: Mapping[Schema, tuple[str, ...]] = {"v1": V1_COLUMNS, "v2": V2_COLUMNS}
TIME_COLUMN: Mapping[Schema, str] = {"v1": "frame_grab_time", "v2": "adc_time"}
NO_IMAGE_CORNER_PX: Mapping[Schema, int] = {"v1": -11, "v2": 0}

FALSE_TRIGGER_S, FALSE_TRIGGER_FLIGHT_US = 0.0491919, 36754.348
"""v2 runs begin with a trigger without an image, followed by a pause of some seconds."""

PX_PER_FLASH_STEP = -1.7
"""How far a longer flash delay (434 ns a step) moves the cloud: two bins of IFCB134, delays 70 and 120."""


@dataclass(frozen=True, slots=True)
class InstrumentProfile:
    """What stays the same from run to run of one instrument.

    ``x0_px`` is the median x of its ROI centres, ``trigger_factor`` its trigger count relative to the
    archive's mean, ``dead_time_s`` what one trigger takes, ``flash_delay_steps`` counts 434 ns, ``lean``
    (px per px) is the tilt of its camera beside that of the schema, and ``volume_ml`` what a run takes in.
    """

    name: str
    schema: Schema = "v2"
    x0_px: float = 980.0
    duration_s: float = 1200.85
    trigger_factor: float = 1.0
    dead_time_s: float = 0.0822
    flash_delay_steps: int = 70
    lean: float = 0.0
    volume_ml: float = 5.0
    temperature_c: float = 17.0
    humidity_pct: float = 45.0


KNOWN_INSTRUMENTS = (
    InstrumentProfile("IFCB134"),
    InstrumentProfile("IFCB124", x0_px=1025.0, trigger_factor=1.3, dead_time_s=0.0834, temperature_c=14.0),
    InstrumentProfile("IFCB1", "v1", x0_px=400.0, dead_time_s=0.073, temperature_c=23.0, humidity_pct=30.0),
)


def profile_of(name: str, schema: Schema) -> InstrumentProfile:
    """Return the profile of a known instrument, or a plain one of that name."""
    known = {(profile.name, profile.schema): profile for profile in KNOWN_INSTRUMENTS}
    plain = InstrumentProfile(name, schema, x0_px=980.0 if schema == "v2" else 400.0)
    return known.get((name, schema), plain)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What differs from run to run of an instrument.

    ``mean_triggers`` is the expected number of triggers in a whole run. ``seed`` is the archive's seed;
    ``lasting_seed`` is shared by the bins of one episode, for what stays in place over its bins.
    ``size_factor`` scales the boxes of the plankton of the day; ``trigger_threshold_v`` is a setting.
    """

    mean_triggers: float
    x0_px: float
    duration_s: float
    flash_delay_steps: int
    temperature_c: float
    humidity_pct: float
    seed: int = 0
    lasting_seed: int = 0
    size_factor: float = 1.0
    trigger_threshold_v: float = 0.13


def usual_conditions(instrument: InstrumentProfile, mean_triggers: float = 1000.0) -> Conditions:
    """Return the conditions of an average run of the instrument."""
    return Conditions(
        mean_triggers=mean_triggers,
        x0_px=instrument.x0_px,
        duration_s=instrument.duration_s,
        flash_delay_steps=instrument.flash_delay_steps,
        temperature_c=instrument.temperature_c,
        humidity_pct=instrument.humidity_pct,
    )


@dataclass(frozen=True, slots=True)
class AppliedFault:
    """A fault that was put into a bin, and how strongly (0 barely visible, 1 plain)."""

    name: str
    severity: float


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedBin:
    """A bin in memory.

    ``columns`` holds one array of shape (n_rows,) per ADC column of the schema, in file order; rows with
    ``roi_width`` 0 have no image. ``header`` holds the values that the header states, by name.
    """

    pid: str
    instrument: InstrumentProfile
    start_time: datetime
    conditions: Conditions
    columns: Mapping[str, NDArray[Any]]
    header: Mapping[str, str | float | int | bool] = field(default_factory=dict)
    faults: tuple[AppliedFault, ...] = ()

    @property
    def schema(self) -> Schema:
        """The naming scheme, which decides the columns."""
        return self.instrument.schema

    @property
    def n_rows(self) -> int:
        """Number of ADC rows."""
        return self.columns["trigger"].size

    @property
    def time_s(self) -> FloatArray:
        """Seconds since the start of the run at which each row's frame was taken, shape (n_rows,)."""
        return self.columns[TIME_COLUMN[self.schema]]

    @property
    def has_image(self) -> NDArray[np.bool_]:
        """Which rows have an image, shape (n_rows,)."""
        return self.columns["roi_width"] > 0

    @property
    def boxes(self) -> Boxes:
        """The boxes of all rows as float arrays of shape (n_rows,); rows without an image have size 0."""
        x, y, width, height = (
            self.columns[name].astype(float) for name in ("roi_x", "roi_y", "roi_width", "roi_height")
        )
        return Boxes(x, y, width, height)


def healthy_bin(
    rng: np.random.Generator,
    instrument: InstrumentProfile,
    start_time: datetime,
    conditions: Conditions | None = None,
) -> SimulatedBin:
    """Return a bin of an instrument in order; without ``conditions`` it is an average run."""
    conditions = conditions or usual_conditions(instrument)
    time_s = _draw_trigger_times(rng, instrument, conditions)
    n_rois = _draw_roi_counts(rng, instrument.schema, time_s.size)
    trigger_of_row = np.repeat(np.arange(time_s.size), np.maximum(n_rois, 1))
    scores = core.draw_scores(rng, trigger_of_row.size)
    boxes = _as_seen(core.draw_boxes(rng, scores, instrument.schema, conditions.x0_px), instrument, conditions)
    # The detectors see a trigger once, however many ROIs its frame has.
    first_row = np.searchsorted(trigger_of_row, trigger_of_row)
    make_columns = {"v1": _v1_columns, "v2": _v2_columns}[instrument.schema]
    columns = make_columns(rng, instrument, time_s, scores[:, np.unique(first_row)])
    columns = {name: values[trigger_of_row] for name, values in columns.items()}
    columns["trigger"] = trigger_of_row + 1
    blank = SimulatedBin(
        pid=format_pid(instrument.name, start_time, instrument.schema),
        instrument=instrument,
        start_time=start_time,
        conditions=conditions,
        columns={name: columns.get(name, np.zeros(trigger_of_row.size)) for name in COLUMNS[instrument.schema]},
    )
    return with_boxes(blank, n_rois[trigger_of_row] > 0, boxes)


def _as_seen(boxes: Boxes, instrument: InstrumentProfile, conditions: Conditions) -> Boxes:
    _, frame_height = core.FRAME_PX[instrument.schema]
    lean_px = instrument.lean * (boxes.y_centre - frame_height / 2)
    width, height = boxes.width * conditions.size_factor, boxes.height * conditions.size_factor
    return core.boxes_around(boxes.x_centre + lean_px, boxes.y_centre, width, height)


def _draw_trigger_times(rng: np.random.Generator, instrument: InstrumentProfile, conditions: Conditions) -> FloatArray:
    """Draw the times of a run's triggers, shape (n_triggers,), s: a wait after each dead time."""
    pause_s = rng.uniform(4, 9) if instrument.schema == "v2" else 0.02
    mean_step_s = (conditions.duration_s - pause_s) / max(conditions.mean_triggers, 1.0)
    mean_wait_s = max(mean_step_s - instrument.dead_time_s, 0.003)
    expected = conditions.duration_s / (mean_wait_s + instrument.dead_time_s)
    enough = int(1.3 * expected) + 40
    # Large cells settle in the syringe: the waiting times get some percent longer during the run.
    settling = rng.normal(0.1, 0.03)
    drift = 1 + settling * (2 * np.arange(enough) / expected - 1)
    waits_s = rng.exponential(mean_wait_s, enough) * drift
    steps_s = instrument.dead_time_s + np.abs(rng.normal(0, 0.002, enough)) + waits_s
    time_s = pause_s + np.cumsum(steps_s) - steps_s[0]
    time_s = time_s[time_s < conditions.duration_s - 0.05]
    if instrument.schema == "v2" and conditions.mean_triggers >= 1:
        time_s = np.concatenate(([FALSE_TRIGGER_S], time_s))
    return time_s


def _draw_roi_counts(rng: np.random.Generator, schema: Schema, n_triggers: int) -> NDArray[np.int64]:
    shape, lot = core.SHAPES[schema], rng.random(n_triggers)
    counts = np.ones(n_triggers, dtype=np.int64)
    counts[lot < shape.no_image_fraction] = 0
    counts[lot > 1 - shape.two_roi_fraction] = 2
    if schema == "v2":
        counts[:1] = 0
    return counts


def _v2_columns(
    rng: np.random.Generator, instrument: InstrumentProfile, time_s: FloatArray, scores: FloatArray
) -> dict[str, NDArray[Any]]:
    n = time_s.size
    flight_us = core.from_scores(scores[4], core.FLIGHT_US_KNOTS)
    flight_us = np.round(np.round(flight_us / core.TICK_US) * core.TICK_US, 5)
    flight_us[:1] = FALSE_TRIGGER_FLIGHT_US
    peak_a = core.from_scores(scores[2], core.PEAK_A_KNOTS)
    peak_b = core.from_scores(scores[3], core.PEAK_B_KNOTS)
    zeros = np.zeros(n, dtype=np.int64)
    dead_s = np.abs(rng.normal(instrument.dead_time_s, 0.0008, n))
    return {
        "adc_time": np.round(time_s, 7),
        "pmt_a": _integrated(rng, peak_a, -0.0035),
        "pmt_b": _integrated(rng, peak_b, 0.001),
        "pmt_c": np.round(-0.004 + rng.normal(0, 0.0003, n), 8),
        "pmt_d": np.round(0.0007 + rng.normal(0, 0.00008, n), 8),
        "peak_a": np.round(peak_a, 7),
        "peak_b": np.round(peak_b, 7),
        "peak_c": np.round(0.0107 + rng.normal(0, 0.00015, n), 8),
        "peak_d": np.round(0.0097 + rng.normal(0, 0.00013, n), 8),
        "time_of_flight": flight_us,
        "grab_time_start": np.round(time_s, 7),
        "grab_time_end": np.round(time_s + np.maximum(rng.normal(0.0425, 0.0015, n), 0.0385), 7),
        **dict.fromkeys(("comparator_out", "start_point", "signal_length", "status"), zeros),
        "run_time": np.round(time_s + rng.uniform(0.022, 0.069, n), 8),
        # The first trigger is not yet counted by the board.
        "inhibit_time": np.round(np.cumsum(dead_s) - dead_s[:1], 8),
    }


def _v1_columns(
    rng: np.random.Generator,
    instrument: InstrumentProfile,
    time_s: FloatArray,
    scores: FloatArray,
) -> dict[str, NDArray[Any]]:
    n = time_s.size
    # The next trigger opens when the last frame is processed, and waits for a particle.
    end_s = time_s + np.maximum(rng.normal(instrument.dead_time_s, 0.004, n), 0.05)
    end_s = np.minimum(end_s, np.append(time_s[1:], np.inf))
    fluorescence = core.from_scores(scores[3], core.PEAK_B_KNOTS)
    scatter = core.from_scores(scores[2], core.PEAK_A_KNOTS)
    return {
        "processing_end_time": np.round(end_s, 6),
        "fluor_low": np.round(-0.05 * fluorescence + rng.normal(0.002, 0.015, n), 8),
        "fluor_high": np.round(-3 * fluorescence + rng.normal(-0.02, 0.02, n), 8),
        "scat_low": np.round(-0.2 * scatter + rng.normal(-0.01, 0.01, n), 8),
        "scat_high": np.round(-4 * scatter + rng.normal(-0.3, 0.1, n), 8),
        "comparator_pulse": np.round(rng.normal(-0.5, 0.1, n), 8),
        "trigger_open_time": np.round(np.append(0.0, end_s[:-1])[:n], 6),
        "frame_grab_time": np.round(time_s, 6),
        "valve_status": np.round(rng.normal(4.0, 0.02, n), 8),
    }


def _integrated(rng: np.random.Generator, peak: FloatArray, floor: float) -> FloatArray:
    """Integrated signals for peak signals of shape (n,): proportional with a wide scatter, over a floor."""
    signal = np.maximum(peak - 0.018, 0) * 0.038 * rng.lognormal(0, 0.8, peak.size)
    return np.round(signal + floor + rng.normal(0, 0.0006, peak.size), 8)


def with_columns(simulated: SimulatedBin, **columns: NDArray[Any]) -> SimulatedBin:
    """Return the bin with some columns replaced."""
    return replace(simulated, columns={**simulated.columns, **columns})


def with_header(simulated: SimulatedBin, **values: str | float | int | bool) -> SimulatedBin:
    """Return the bin with some header values replaced."""
    return replace(simulated, header={**simulated.header, **values})


def with_boxes(simulated: SimulatedBin, has_image: NDArray[np.bool_], boxes: Boxes) -> SimulatedBin:
    """Return the bin with these boxes on the lattice; rows outside ``has_image`` (n_rows,) lose theirs."""
    snapped, none = core.snap_to_lattice(boxes, simulated.schema), NO_IMAGE_CORNER_PX[simulated.schema]
    return _settled(
        with_columns(
            simulated,
            roi_x=np.where(has_image, snapped.x, none).astype(np.int64),
            roi_y=np.where(has_image, snapped.y, none).astype(np.int64),
            roi_width=np.where(has_image, snapped.width, 0).astype(np.int64),
            roi_height=np.where(has_image, snapped.height, 0).astype(np.int64),
        )
    )


def without_images(simulated: SimulatedBin, blank: NDArray[np.bool_]) -> SimulatedBin:
    """Return the bin whose ``blank`` rows (n_rows,) have lost their image."""
    return with_boxes(simulated, simulated.has_image & ~blank, simulated.boxes)


def keep_rows(simulated: SimulatedBin, keep: NDArray[np.bool_] | NDArray[np.int64]) -> SimulatedBin:
    """Return the bin of the rows ``keep`` (mask or ascending row numbers), with triggers counted afresh."""
    columns = {name: values[keep] for name, values in simulated.columns.items()}
    is_new = np.diff(columns["trigger"], prepend=0) != 0
    columns["trigger"] = np.cumsum(is_new)
    if simulated.schema == "v2":
        # Inhibit time adds up over the triggers that took place.
        dead_s = np.diff(simulated.columns["inhibit_time"], prepend=0.0)[keep]
        columns["inhibit_time"] = np.round(np.cumsum(dead_s * is_new), 8)
    return _settled(replace(simulated, columns=columns))


def _settled(simulated: SimulatedBin) -> SimulatedBin:
    """Return the bin with the values that follow from its rows: image offsets and the header's counts."""
    columns, has_image = simulated.columns, simulated.has_image
    sizes = columns["roi_width"] * columns["roi_height"]
    start_byte = np.cumsum(sizes) - sizes
    # v1 counts from 1; v2 writes 0 where there is no image, v1 the running offset.
    start_byte = start_byte + 1 if simulated.schema == "v1" else np.where(has_image, start_byte, 0)
    conditions = simulated.conditions
    n_triggers = int(columns["trigger"][-1]) if simulated.n_rows else 0
    inhibit_s = columns.get("inhibit_time", np.zeros(simulated.n_rows))
    return with_header(
        with_columns(simulated, start_byte=start_byte),
        triggerCount=n_triggers,
        roiCount=int(has_image.sum()),
        runTime=round(conditions.duration_s, 6),
        inhibitTime=float(inhibit_s[-1]) if simulated.n_rows else 0.0,
        temperature=round(conditions.temperature_c, 6),
        humidity=round(conditions.humidity_pct, 6),
        flashDelay=conditions.flash_delay_steps,
        triggerThreshold=conditions.trigger_threshold_v,
    )
