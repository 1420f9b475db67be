"""How each fault changes a run: one function per fault, (generator, bin, severity) -> bin.

Severity runs from 0 (barely visible) to 1 (plain). What stays in place over an episode (a spot of dirt, a
direction) comes from ``_lasting``, everything else from the generator. Names, meanings and causes are in
``faults``; damage to files is in ``damage``.

No labelled set of faulty bins is public. The looks follow the operators' descriptions in the field guide
(mrun0205/IFCB_FieldGuide, 8-CommonIssues.md and 7-RoutineChecks.md); the numbers are this project's.
"""

from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.simulate import core
from ifcb_flow_pipeline.simulate.bins import (
    PX_PER_FLASH_STEP,
    SimulatedBin,
    healthy_bin,
    keep_rows,
    with_boxes,
    with_columns,
    with_header,
    without_images,
)
from ifcb_flow_pipeline.simulate.core import Boxes, FloatArray, boxes_around


def air(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Turn 5 to 95 % of the boxes from an onset on into bubbles: anywhere in the frame, and bigger."""
    frame_width, frame_height = core.FRAME_PX[simulated.schema]
    onset_s = simulated.conditions.duration_s * rng.uniform(0, 0.3 * (1 - severity))
    boxes, n = simulated.boxes, simulated.n_rows
    is_bubble = (rng.random(n) < _between(severity, 0.05, 0.95)) & (simulated.time_s >= onset_s)
    growth = np.where(is_bubble, rng.lognormal(_between(severity, 0.3, 0.6), 0.6, n), 1.0)
    x = np.where(is_bubble, rng.uniform(0, frame_width, n), boxes.x_centre)
    y = np.where(is_bubble, rng.uniform(0, frame_height, n), boxes.y_centre)
    bubbly = boxes_around(x, y, boxes.width * growth, boxes.height * growth)
    is_lost = is_bubble & (rng.random(n) < _between(severity, 0.02, 0.35))
    return with_boxes(simulated, simulated.has_image & ~is_lost, bubbly)


def focus_loss(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Spread the stream along the flow by 15 to 250 px, and over the frame across it."""
    _, frame_height = core.FRAME_PX[simulated.schema]
    boxes, n = simulated.boxes, simulated.n_rows
    x = boxes.x_centre + _between(severity, 15, 250) * rng.standard_normal(n)
    is_astray = rng.random(n) < 0.6 * severity
    y = np.where(is_astray, rng.uniform(30, frame_height - 20, n), boxes.y_centre)
    growth = rng.lognormal(0.2 * severity, 0.05 + 0.3 * severity, n)
    spread = boxes_around(x, y, boxes.width * growth, boxes.height * growth)
    dimmed = _signals_times(simulated, rng.lognormal(0, 0.8 * severity, n))
    return with_boxes(dimmed, simulated.has_image, spread)


def flow_speed_shift(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Move the whole cloud by 10 to 150 px; the time of flight changes inversely to the speed."""
    # Flow runs right to left: faster particles are further left when the lamp flashes. A shift of as
    # many px as the way from trigger to flash would mean twice the speed.
    way_px = 400.0
    shift_px = _lasting_sign(simulated) * _between(severity, 10, 150) + rng.normal(0, 2)
    moved = _shifted(simulated, shift_px)
    if "time_of_flight" not in moved.columns:
        return moved
    flight_us = moved.columns["time_of_flight"] / (1 - shift_px / way_px)
    return with_columns(moved, time_of_flight=np.round(np.round(flight_us / core.TICK_US) * core.TICK_US, 5))


def laser_misalignment(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Light only one side of the stream: few triggers, many without an image, weak signals."""
    low, high = core.SHAPES[simulated.schema].y_px
    boxes = simulated.boxes
    # Distance across the flow from the side that stays lit, 0 to 1; rows without a box stand anywhere.
    y = np.where(simulated.has_image, boxes.y_centre, rng.uniform(low, high, simulated.n_rows))
    depth = np.clip((y - low) / (high - low), 0, 1)
    depth = depth if _lasting_sign(simulated) > 0 else 1 - depth
    is_lit = depth < _between(severity, 1.0, 0.45)
    is_seen = rng.random(simulated.n_rows) < _between(severity, 0.8, 0.08)
    weakened = _signals_times(simulated, np.exp(-_between(severity, 0.1, 2.5) * (0.4 + depth)))
    # The first row is the false trigger that every run starts with.
    seen = keep_rows(weakened, (is_lit & is_seen) | (np.arange(simulated.n_rows) == 0))
    return without_images(seen, rng.random(seen.n_rows) < _between(severity, 0.05, 0.8))


def camera_tilt(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Lean the stripe: its x changes by another 0.04 to 0.5 px per px across the flow."""
    boxes, (_, frame_height) = simulated.boxes, core.FRAME_PX[simulated.schema]
    slope = _lasting_sign(simulated) * _between(severity, 0.04, 0.5) + rng.normal(0, 0.005)
    lean_px = slope * (boxes.y_centre - frame_height / 2)
    return with_boxes(simulated, simulated.has_image, replace(boxes, x=boxes.x + lean_px))


def out_of_focus(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Grow the boxes by 4 to 60 % and lose (mostly small) blobs; positions stay."""
    boxes, n = simulated.boxes, simulated.n_rows
    growth = _between(severity, 1.04, 1.6) * rng.lognormal(0, 0.05, n)
    blurred = boxes_around(boxes.x_centre, boxes.y_centre, boxes.width * growth, boxes.height * growth)
    is_small = boxes.width <= core.MEDIAN_WIDTH_PX * core.SHAPES[simulated.schema].size_factor[0]
    lost = rng.random(n) < _between(severity, 0.04, 0.4) * np.where(is_small, 1.4, 0.6)
    return with_boxes(simulated, simulated.has_image & ~lost, blurred)


def stuck_roi(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Add the box of a spot on the flow cell to 3 to 95 % of the frames, give or take a lattice step."""
    shows_spot = rng.random(simulated.n_rows) < _between(severity, 0.03, 0.95)
    shows_spot &= np.diff(simulated.columns["trigger"], prepend=0) != 0
    row_of = np.repeat(np.arange(simulated.n_rows), np.where(shows_spot & simulated.has_image, 2, 1))
    extended = keep_rows(simulated, row_of)
    # A frame that had an image gets a second row; one without gets the spot as its only box.
    is_added = np.diff(row_of, prepend=-1) == 0
    is_spot = is_added | (shows_spot & ~simulated.has_image)[row_of]
    boxes, n = extended.boxes, extended.n_rows
    x, y, width, height = _spot_px(simulated)
    step_px = core.SHAPES[simulated.schema].lattice.pitch
    x_jitter, y_jitter = step_px * rng.choice([-1, 0, 0, 0, 0, 0, 0, 0, 0, 1], (2, n))
    spotted = Boxes(
        np.where(is_spot, x + x_jitter, boxes.x),
        np.where(is_spot, y + y_jitter, boxes.y),
        np.where(is_spot, width, boxes.width),
        np.where(is_spot, height, boxes.height),
    )
    return with_boxes(extended, extended.has_image | is_spot, spotted)


def clog(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Let only 75 to 3 % of the triggers through from some time in the middle of the run on."""
    start_s = simulated.conditions.duration_s * rng.uniform(0.25, 0.7)
    passes = rng.random(simulated.n_rows) < _between(severity, 0.75, 0.03)
    return keep_rows(simulated, (simulated.time_s < start_s) | passes)


def incomplete_run(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """End a run of 1200 s after 1000 down to 90 s, others in proportion; the header says so."""
    conditions = simulated.conditions
    end_s = _between(severity, 1000, 90) * conditions.duration_s / 1200.85 * rng.uniform(0.95, 1.05)
    shortened = replace(simulated, conditions=replace(conditions, duration_s=end_s))
    return keep_rows(shortened, simulated.time_s < end_s - 0.07)


def empty_bin(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Leave a hundred down to no triggers in a full run, hardly any with an image."""
    n_kept = min(round(_between(severity, 100, 0)), simulated.n_rows)
    kept = keep_rows(simulated, np.sort(rng.choice(simulated.n_rows, n_kept, replace=False)))
    return without_images(kept, rng.random(kept.n_rows) < 0.85)


def noise_trigger(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Fill the time with triggers without particles, up to the rate that the instrument can write."""
    conditions = simulated.conditions
    most = 0.95 * conditions.duration_s / simulated.instrument.dead_time_s
    n_noise = max(most - conditions.mean_triggers, 0) * (0.02 + 0.98 * severity**1.5)
    noisy = _again(rng, simulated, mean_triggers=conditions.mean_triggers + n_noise)
    is_noise = rng.random(noisy.n_rows) < n_noise / (conditions.mean_triggers + n_noise)
    at_floor = _signals_times(noisy, np.where(is_noise, 0.0, 1.0))
    return without_images(at_floor, is_noise & (rng.random(noisy.n_rows) < 0.95))


def edge_clipping(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Move 2 to 40 % of the boxes to the left, right or upper frame edge; some span the whole width."""
    frame_width, frame_height = core.FRAME_PX[simulated.schema]
    line_y = _lasting(simulated).uniform(0.1, 0.9) * frame_height
    boxes, n = simulated.boxes, simulated.n_rows
    is_clipped = rng.random(n) < _between(severity, 0.02, 0.4)
    side = np.where(is_clipped, rng.choice(["left", "right", "top", "line"], n), "none")
    x = np.select([side == "left", side == "right", side == "line"], [0, frame_width, 0], boxes.x)
    y = np.select([side == "top", side == "line"], [0, line_y], boxes.y)
    clipped = Boxes(x, y, np.where(side == "line", frame_width, boxes.width), boxes.height)
    # Right-hand boxes start where they still fit.
    clipped = replace(clipped, x=np.minimum(clipped.x, frame_width - clipped.width))
    return with_boxes(simulated, simulated.has_image, clipped)


def volume_error(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Deliver 90 down to 15 % of the sample; the run takes its usual time."""
    delivered = _between(severity, 0.9, 0.15)
    kept = keep_rows(simulated, rng.random(simulated.n_rows) < delivered)
    return with_header(kept, SyringeSampleVolume=round(simulated.instrument.volume_ml * delivered, 2))


def leak(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Raise the humidity in the housing by 3 to 40 %; the cloud stays as it is."""
    conditions = simulated.conditions
    humidity = min(conditions.humidity_pct + _between(severity, 3, 40) + rng.normal(0, 0.3), 99.0)
    wet = replace(simulated, conditions=replace(conditions, humidity_pct=humidity))
    return with_header(wet, humidity=round(humidity, 6))


def config_change(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Set the flash delay 5 to 50 steps longer: the cloud moves left, and the header says why."""
    steps = round(_between(severity, 5, 50))
    moved = _shifted(simulated, steps * PX_PER_FLASH_STEP + rng.normal(0, 0.5))
    delay = simulated.conditions.flash_delay_steps + steps
    conditions = replace(simulated.conditions, flash_delay_steps=delay)
    return with_header(replace(moved, conditions=conditions), flashDelay=delay)


def bloom(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Draw 1.3 to 6 times the triggers, of somewhat other sizes, in the same stripe."""
    more = simulated.conditions.mean_triggers * _between(severity, 1.3, 6)
    crowded = _again(rng, simulated, mean_triggers=more)
    boxes = crowded.boxes
    growth = np.where(rng.random(crowded.n_rows) < 0.5, 1 + 0.25 * severity, 1.0)
    grown = boxes_around(boxes.x_centre, boxes.y_centre, boxes.width * growth, boxes.height)
    return with_boxes(crowded, crowded.has_image, grown)


def detritus(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Stir up 1.1 to 3 times the triggers, 5 to 45 % of them big flakes, some in pieces, in the same stripe."""
    more = simulated.conditions.mean_triggers * _between(severity, 1.1, 3)
    murky = _again(rng, simulated, mean_triggers=more)
    boxes, n = murky.boxes, murky.n_rows
    is_flake = rng.random(n) < _between(severity, 0.05, 0.45)
    growth = np.where(is_flake, rng.lognormal(0.35, 0.35, n), 1.0)
    flakes = boxes_around(boxes.x_centre, boxes.y_centre, boxes.width * growth, boxes.height * growth**0.8)
    is_faint = rng.random(n) < _between(severity, 0.0, 0.06)
    return with_boxes(murky, murky.has_image & ~is_faint, flakes)


def bead_run(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Make 60 to 100 % of the boxes those of calibration beads: all of one small size."""
    boxes, n = simulated.boxes, simulated.n_rows
    is_bead = rng.random(n) < _between(severity, 0.6, 1.0)
    factor = core.SHAPES[simulated.schema].size_factor
    width = np.where(is_bead, 64 * factor[0] * rng.lognormal(0, 0.05, n), boxes.width)
    height = np.where(is_bead, 34 * factor[1] * rng.lognormal(0, 0.05, n), boxes.height)
    beads = boxes_around(boxes.x_centre, boxes.y_centre, width, height)
    run = with_boxes(simulated, simulated.has_image, beads)
    return with_header(run, sampleType="Beads", runBeads=True)


def post_clean(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> SimulatedBin:
    """Draw the run after a cleaning: 1.1 to 2.4 times the triggers, 3 to 25 % more without an image."""
    rinsed = rng.lognormal(np.log(_between(severity, 1.1, 2.4)), 0.15)
    stirred = _again(rng, simulated, mean_triggers=simulated.conditions.mean_triggers * rinsed)
    return without_images(stirred, rng.random(stirred.n_rows) < _between(severity, 0.03, 0.25))


def _between(severity: float, at_0: float, at_1: float) -> float:
    return at_0 + severity * (at_1 - at_0)


def _lasting(simulated: SimulatedBin) -> np.random.Generator:
    """Return the same numbers for all bins of an instrument's episode."""
    return np.random.default_rng([simulated.conditions.lasting_seed, crc32(simulated.instrument.name.encode())])


def _lasting_sign(simulated: SimulatedBin) -> float:
    return 1.0 if _lasting(simulated).random() < 0.5 else -1.0


def _spot_px(simulated: SimulatedBin) -> tuple[float, float, float, float]:
    """Where dirt sits: x, y, width and height of its box, well off the core."""
    rng, (frame_width, frame_height) = _lasting(simulated), core.FRAME_PX[simulated.schema]
    room = (0.1, 0.5) if simulated.instrument.x0_px > frame_width / 2 else (0.5, 0.9)
    return (
        rng.uniform(*room) * frame_width,
        rng.uniform(0.15, 0.8) * frame_height,
        rng.uniform(70, 180),
        rng.uniform(40, 90),
    )


def _again(rng: np.random.Generator, simulated: SimulatedBin, mean_triggers: float) -> SimulatedBin:
    """Return a fresh run of the same instrument with another number of triggers."""
    conditions = replace(simulated.conditions, mean_triggers=mean_triggers)
    fresh = healthy_bin(rng, simulated.instrument, simulated.start_time, conditions)
    return replace(fresh, faults=simulated.faults)


def _shifted(simulated: SimulatedBin, shift_px: float) -> SimulatedBin:
    boxes = simulated.boxes
    return with_boxes(simulated, simulated.has_image, replace(boxes, x=boxes.x + shift_px))


def _signals_times(simulated: SimulatedBin, factor: FloatArray) -> SimulatedBin:
    """Return the bin with its detector signals above the floor multiplied by ``factor`` (n_rows,)."""
    if simulated.schema == "v1":
        names, floor, decimals = ("fluor_low", "fluor_high", "scat_low", "scat_high"), 0.0, 8
    else:
        names, floor, decimals = ("peak_a", "peak_b"), core.PEAK_FLOOR_V, 7
    scaled: dict[str, NDArray[Any]] = {
        name: np.round(floor + (simulated.columns[name] - floor) * factor, decimals) for name in names
    }
    return with_columns(simulated, **scaled)
