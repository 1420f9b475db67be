"""The features of a whole bin, compiled: the same definitions as in ``wholebin``, a great deal faster.

What a feature means is declared in the catalogue, and its functions are the reference that tests hold this kernel to:
equal to 1e-9 of their size, for sums are added up in another order. Whole pixels take few distinct values, so that
most quantiles are found by counting.

Import this module only where a kernel is about to run: it loads numba.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import inlined, kernel

# The machine code in the cache knows the values of these: where one changes, this file has to be saved anew.
from ifcb_flow_pipeline.features.geometry import (
    BANDS,
    LATTICE_PX,
    REFIT_SIGMAS,
    STRAY_PX,
    TOUCH_HIGH_PX,
    TOUCH_LOW_PX,
)
from ifcb_flow_pipeline.features.quantiles import IQR_SIGMA, MAD_SIGMA
from ifcb_flow_pipeline.features.repeats import CELL_PX, SAME_PX
from ifcb_flow_pipeline.features.signals import FLIGHT_STEP_US, FLOOR_V, MAX_FLIGHT_STEPS, SMALLEST_V
from ifcb_flow_pipeline.features.stream import DAY_S, MIN_IMAGES, MIN_TRIGGERS
from ifcb_flow_pipeline.features.timing import (
    BELIEVABLE_S,
    CHANGE_EVIDENCE,
    CHANGE_MARGIN_STEPS,
    CHANGE_STEPS,
    DRIFT_BLOCKS,
    DRIFT_EVIDENCE,
    EULER,
    MEDIAN_ERROR,
)
from ifcb_flow_pipeline.features.wholebin import AREA_STEP, FULL_WIDTH, LARGE_PX

NAN = math.nan

#: So many cells are counted in a table of all of them, more in a table of those that occur.
DENSE_CELLS = 1 << 16


class TriggerFeatures(NamedTuple):
    """The features of a bin's triggers, by the names that the catalogue has for them.

    And the run as the ADC file has it: its length and how long the instrument was blind; NaN where it does not say.
    """

    n_triggers: float
    no_image_fraction: float
    multi_image_fraction: float
    images_per_trigger: float
    no_image_burst: float
    time_uniformity: float
    longest_gap_fraction: float
    rate_change: float
    dead_time_s: float
    time_backward_fraction: float
    peak_floor_fraction: float
    trigger_gap_fraction: float
    adc_run_s: float
    adc_inhibit_s: float
    largest_run_s: float


class ImageFeatures(NamedTuple):
    """The features of a bin's images, by the names that the catalogue has for them, and the most repeated box."""

    n_images: int
    core_x_px: float
    core_tilt: float
    core_bend_px: float
    core_width_px: float
    core_asymmetry: float
    cross_low_px: float
    cross_high_px: float
    cross_range_px: float
    stray_fraction: float
    stray_left_fraction: float
    stray_right_fraction: float
    stray_spread: float
    edge_touch_fraction: float
    full_width_fraction: float
    out_of_frame_fraction: float
    repeat_fraction: float
    repeat_anchor_fraction: float
    hot_cell_fraction: float
    width_median_px: float
    width_p95_px: float
    height_median_px: float
    area_p10_px2: float
    area_median_px2: float
    large_fraction: float
    size_spread: float
    drift_x_px: float
    drift_y_px: float
    flight_time_us: float
    flight_spread: float
    peak_median_v: float
    peak_y_slope: float
    lattice_fraction: float
    stuck_x_px: float
    stuck_y_px: float
    stuck_width_px: float
    stuck_height_px: float


class _Counted(NamedTuple):
    """How often each whole number from ``low`` on occurs, shape (span,), and how many numbers there are."""

    low: int
    counts: NDArray[np.int64]
    n: int


class _Sizes(NamedTuple):
    """Features of the sizes of images."""

    width_median: float
    width_p95: float
    height_median: float
    area_p10: float
    area_median: float
    large: float
    spread: float


# Order statistics


@kernel
def _select(values, k):
    """The k-th smallest of all values (0-based), which are put into another order: none before it is larger."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@kernel
def _median(values):
    """As np.median has it. Puts the values, n >= 1, into another order."""
    n = len(values)
    upper = _select(values, n // 2)
    if n % 2:
        return upper * 1.0
    lower = values[0]
    for i in range(1, n // 2):
        lower = max(lower, values[i])
    return (lower + upper) / 2


@kernel
def _quantile(values, fraction):
    """As np.quantile has it. Puts the values, n >= 1, into another order."""
    rank = (len(values) - 1) * fraction
    before = math.floor(rank)
    low = _select(values, before)
    if before + 1 == len(values):
        return low * 1.0
    high = values[before + 1]
    for i in range(before + 2, len(values)):
        high = min(high, values[i])
    return _between(low, high, rank - before)


@inlined
def _between(low, high, weight):
    # As np.quantile has it, to the last bit: it counts from the nearer of the two neighbours.
    if weight >= 0.5:
        return high - (high - low) * (1.0 - weight)
    return low + (high - low) * weight


@kernel
def _count(values):
    low, high = values[0], values[0]
    for value in values:
        low, high = min(low, value), max(high, value)
    counts = np.zeros(high - low + 1, np.int64)
    for value in values:
        counts[value - low] += 1
    return _Counted(low, counts, len(values))


@kernel
def _counted_quantile(counted, fraction):
    """As np.quantile has it of the counted numbers."""
    rank = (counted.n - 1) * fraction
    before = math.floor(rank)
    low = _counted_rank(counted, before)
    if before + 1 == counted.n:
        return low * 1.0
    return _between(low * 1.0, _counted_rank(counted, before + 1) * 1.0, rank - before)


@kernel
def _counted_rank(counted, rank):
    upto = 0
    for i in range(len(counted.counts)):
        upto += counted.counts[i]
        if upto > rank:
            return counted.low + i
    return counted.low + len(counted.counts) - 1


@kernel
def _middle_quantile(counted, share):
    """As ``middle_quantiles`` has it of the counted numbers."""
    wanted, upto = share * counted.n, 0
    last_middle, last_value = 0.0, 0.0
    seen = False
    for i in range(len(counted.counts)):
        count = counted.counts[i]
        if count == 0:
            continue
        middle, value = upto + count / 2, float(counted.low + i)
        if middle >= wanted:
            if not seen:
                return value
            return last_value + (value - last_value) * (wanted - last_middle) / (middle - last_middle)
        upto += count
        last_middle, last_value, seen = middle, value, True
    return last_value


# Triggers


@kernel
def trigger_features(
    trigger: NDArray[np.int32],
    t_s: NDArray[np.float64],
    width_px: NDArray[np.int16],
    height_px: NDArray[np.int16],
    peak_v: NDArray[np.float32],
    run_time_s: NDArray[np.float64],
    inhibit_time_s: NDArray[np.float64],
    run_s: float,
) -> TriggerFeatures:
    """The features of the triggers of a bin, from its rows, n >= 1; ``run_s`` as the header has it, NaN without."""
    n = len(trigger)
    first_rows = np.empty(n, np.int64)
    n_triggers, n_images, without, several = 0, 0, 0, 0
    i = 0
    blank = np.empty(n, np.bool_)
    while i < n:
        first, images = i, 0
        while i < n and trigger[i] == trigger[first]:
            images += (width_px[i] > 0) & (height_px[i] > 0)
            i += 1
        first_rows[n_triggers], blank[n_triggers] = first, images == 0
        n_triggers += 1
        n_images += images
        without += images == 0
        several += images > 1
    first_rows, blank = first_rows[:n_triggers], blank[:n_triggers]
    adc_run, adc_inhibit, largest = _believable_run(t_s, run_time_s, inhibit_time_s)
    time, backward = _times(t_s, first_rows)
    if math.isnan(adc_run):
        adc_run = time.max()
    share = _events(time, adc_run if math.isnan(run_s) else run_s)
    uniformity, gap, change = NAN, NAN, NAN
    if n_triggers >= MIN_TRIGGERS and len(share):
        uniformity, gap, change = _unevenness(share), _longest_gap(share), _rate_change(share)
    return TriggerFeatures(
        n_triggers=float(n_triggers),
        no_image_fraction=without / n_triggers,
        multi_image_fraction=several / n_triggers,
        images_per_trigger=n_images / n_triggers,
        no_image_burst=_persistence(blank, without) if n_triggers >= MIN_TRIGGERS else NAN,
        time_uniformity=uniformity,
        longest_gap_fraction=gap,
        rate_change=change,
        dead_time_s=_dead_time(inhibit_time_s, first_rows),
        time_backward_fraction=backward / (n_triggers - 1) if n_triggers > 1 else NAN,
        peak_floor_fraction=_floor_fraction(peak_v, first_rows),
        trigger_gap_fraction=_gap_fraction(trigger, first_rows),
        adc_run_s=adc_run,
        adc_inhibit_s=adc_inhibit,
        largest_run_s=largest,
    )


@kernel
def _believable_run(t_s, run_time_s, inhibit_time_s):
    """The largest believable run and blind time (NaN if none), and the largest run time there is (NaN: not stated)."""
    run, inhibit, largest = NAN, NAN, NAN
    for i in range(len(t_s)):
        at = run_time_s[i]
        if math.isnan(at):
            continue
        if not at <= largest:
            largest = at
        if abs(at - t_s[i]) <= BELIEVABLE_S:
            if not at <= run:
                run = at
            blind = inhibit_time_s[i]
            if 0 <= blind <= at and not blind <= inhibit:
                inhibit = blind
    return run, inhibit, largest


@kernel
def _times(t_s, first_rows):
    """The time of each trigger with jumps back over midnight undone, and how many steps go back in time."""
    time = np.empty(len(first_rows))
    days, backward = 0.0, 0
    for i in range(len(first_rows)):
        time[i] = t_s[first_rows[i]]
        if i and time[i] - t_s[first_rows[i - 1]] < -DAY_S / 2:
            days += 1.0
        time[i] += DAY_S * days
        backward += i > 0 and time[i] < time[i - 1]
    return time, backward


@kernel
def _events(time, run_s):
    """Shares of the run as ``Events`` has them."""
    if len(time) < 3:
        return np.empty(0)
    ordered = time[1:].copy()
    for i in range(1, len(ordered)):
        if ordered[i] < ordered[i - 1]:
            ordered.sort()
            break
    start, end = ordered[0], ordered[-1]
    if math.isfinite(run_s) and run_s > end:
        end = run_s
    if end - start <= 0:
        return np.empty(0)
    return (ordered[1:] - start) / (end - start)


@kernel
def _unevenness(share):
    n = len(share)
    squared = 0.0
    for i in range(n):
        squared += (share[i] - (i + 0.5) / n) ** 2
    squared = squared / n + 1 / (12 * n * n) - 1 / (6 * n)
    return math.copysign(math.sqrt(abs(squared)), squared)


@kernel
def _longest_gap(share):
    n = len(share)
    longest, last = 0.0, 0.0
    for value in share:
        longest, last = max(longest, value - last), value
    return max(longest, 1.0 - last) - (math.log(n + 1) + EULER) / (n + 1)


@kernel
def _rate_change(share):
    n = len(share)
    before, best, change = 0, -1.0, 0.0
    for step in range(CHANGE_MARGIN_STEPS, CHANGE_STEPS - CHANGE_MARGIN_STEPS + 1):
        u = step / CHANGE_STEPS
        while before < n and share[before] <= u:
            before += 1
        evidence = _times_log_ratio(before, n * u) + _times_log_ratio(n - before, n * (1 - u))
        if evidence > best:
            best = evidence
            change = math.log((n - before + 0.5) / (1 - u)) - math.log((before + 0.5) / u)
    return change * _belief(best, CHANGE_EVIDENCE)


@inlined
def _times_log_ratio(count, expected):
    return count * math.log(count / expected) if count > 0 else 0.0


@inlined
def _belief(evidence, half):
    return evidence**2 / (evidence**2 + half**2)


@kernel
def _persistence(flags, count):
    n = len(flags)
    share = count / n
    variance = share * (1 - share)
    if variance <= 0:
        return 0.0
    pairs = 0.0
    for i in range(1, n):
        pairs += (flags[i] - share) * (flags[i - 1] - share)
    return pairs / (n - 1) / variance


@kernel
def _dead_time(inhibit_time_s, first_rows):
    if len(first_rows) < 2:
        return NAN
    steps = np.empty(len(first_rows) - 1)
    for i in range(len(steps)):
        steps[i] = inhibit_time_s[first_rows[i + 1]] - inhibit_time_s[first_rows[i]]
        if math.isnan(steps[i]):
            return NAN
    return _median(steps)


@kernel
def _floor_fraction(peak_v, first_rows):
    at_floor, stated = 0, 0
    for row in first_rows:
        stated += not math.isnan(peak_v[row])
        at_floor += peak_v[row] <= FLOOR_V
    return at_floor / len(first_rows) if stated else NAN


@kernel
def _gap_fraction(trigger, first_rows):
    if len(first_rows) < 2:
        return NAN
    missing = 0
    for i in range(1, len(first_rows)):
        missing += max(int(trigger[first_rows[i]]) - int(trigger[first_rows[i - 1]]) - 1, 0)
    return missing / (missing + len(first_rows))


# Images


@kernel
def image_features(
    x_px: NDArray[np.int16],
    y_px: NDArray[np.int16],
    width_px: NDArray[np.int16],
    height_px: NDArray[np.int16],
    peak_v: NDArray[np.float32],
    flight_us: NDArray[np.float32],
    frame_px: tuple[int, int],
    margin_px: int,
    titled_bottom: bool,
    on_lattice: bool,
) -> ImageFeatures:
    """The features of the images of a bin, from all its rows; NaN where fewer than MIN_IMAGES have an image.

    ``margin_px``: around blobs, as the header has it, -1 without; ``titled_bottom``: whether the software's title is
    that of builds whose y is the bottom edge; ``on_lattice``: whether boxes lie on a lattice at all (v2).
    """
    rows = np.empty(len(x_px), np.int64)
    n = 0
    for i in range(len(x_px)):
        # Written always, counted where it has an image: a branch here could not be foreseen.
        rows[n] = i
        n += (width_px[i] > 0) & (height_px[i] > 0)
    rows = rows[:n]
    if n < MIN_IMAGES:
        return _too_few(n)
    left, top, width, height = _at(x_px, rows), _at(y_px, rows), _at(width_px, rows), _at(height_px, rows)
    peak = np.empty(n)
    for i in range(n):
        peak[i] = peak_v[rows[i]]
    lattice = _lattice_fraction(left, top, width, height) if on_lattice else NAN
    if on_lattice and _y_is_bottom(top, height, frame_px[1], margin_px, titled_bottom):
        top -= height
    # Twice the centres, which are whole numbers.
    x2, y2 = 2 * left + width, 2 * top + height
    widths, y2s = _count(width), _count(y2)
    width_median = _counted_quantile(widths, 0.5)
    small = np.flatnonzero(width <= width_median)
    core = _core(x2[small], y2[small], frame_px[1])
    x_core, y_core, tilt, bend, sigma = core
    half = frame_px[1] / 2
    off = np.empty(n)
    stray = np.empty(n, np.bool_)
    left_strays, right_strays = 0, 0
    for i in range(n):
        v = (y2[i] / 2 - y_core) / half
        off[i] = x2[i] / 2 - (x_core + tilt * half * v + bend * (v * v))
        stray[i] = abs(off[i]) - max(width[i] - width_median, 0.0) / 2 > STRAY_PX
        left_strays += stray[i] & (off[i] < 0)
        right_strays += stray[i] & (off[i] > 0)
    touching, wide, outside = _edges(left, top, width, height, frame_px)
    repeat, place = _repeats(np.stack((left, top, width, height)))
    cross_low, cross_high = _middle_quantile(y2s, 0.05) / 2, _middle_quantile(y2s, 0.95) / 2
    sizes = _sizes(width, height, widths)
    flight_time, flight_spread = _flight(flight_us[rows])
    y_spread = _count(y2[small])
    y_sigma = (_counted_quantile(y_spread, 0.75) - _counted_quantile(y_spread, 0.25)) / 2 / IQR_SIGMA
    return ImageFeatures(
        n_images=n,
        core_x_px=x_core,
        core_tilt=tilt,
        core_bend_px=bend,
        core_width_px=sigma,
        core_asymmetry=_asymmetry(off, stray, small),
        cross_low_px=cross_low,
        cross_high_px=cross_high,
        cross_range_px=cross_high - cross_low,
        stray_fraction=(left_strays + right_strays) / n,
        stray_left_fraction=left_strays / n,
        stray_right_fraction=right_strays / n,
        stray_spread=_spread_over_frame(x2[stray], y2[stray], frame_px),
        edge_touch_fraction=touching / n,
        full_width_fraction=wide / n,
        out_of_frame_fraction=outside / n,
        repeat_fraction=repeat,
        repeat_anchor_fraction=_repeated_corner(left, top, left + width, top + height),
        hot_cell_fraction=_hot_cell(x2, y2, stray),
        width_median_px=sizes.width_median,
        width_p95_px=sizes.width_p95,
        height_median_px=sizes.height_median,
        area_p10_px2=sizes.area_p10,
        area_median_px2=sizes.area_median,
        large_fraction=sizes.large,
        size_spread=sizes.spread,
        drift_x_px=_drift(off[small], sigma),
        drift_y_px=_drift(y2[small] / 2, y_sigma),
        flight_time_us=flight_time,
        flight_spread=flight_spread,
        peak_median_v=_median(peak.copy()),
        peak_y_slope=_peak_slope(peak, y2, y2s, frame_px[1]),
        lattice_fraction=lattice,
        stuck_x_px=float(place[0]),
        stuck_y_px=float(place[1]),
        stuck_width_px=float(place[2]),
        stuck_height_px=float(place[3]),
    )


@kernel
def _too_few(n):
    return ImageFeatures(
        n_images=n,
        core_x_px=NAN,
        core_tilt=NAN,
        core_bend_px=NAN,
        core_width_px=NAN,
        core_asymmetry=NAN,
        cross_low_px=NAN,
        cross_high_px=NAN,
        cross_range_px=NAN,
        stray_fraction=NAN,
        stray_left_fraction=NAN,
        stray_right_fraction=NAN,
        stray_spread=NAN,
        edge_touch_fraction=NAN,
        full_width_fraction=NAN,
        out_of_frame_fraction=NAN,
        repeat_fraction=NAN,
        repeat_anchor_fraction=NAN,
        hot_cell_fraction=NAN,
        width_median_px=NAN,
        width_p95_px=NAN,
        height_median_px=NAN,
        area_p10_px2=NAN,
        area_median_px2=NAN,
        large_fraction=NAN,
        size_spread=NAN,
        drift_x_px=NAN,
        drift_y_px=NAN,
        flight_time_us=NAN,
        flight_spread=NAN,
        peak_median_v=NAN,
        peak_y_slope=NAN,
        lattice_fraction=NAN,
        stuck_x_px=NAN,
        stuck_y_px=NAN,
        stuck_width_px=NAN,
        stuck_height_px=NAN,
    )


@kernel
def _at(column, rows):
    values = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        values[i] = column[rows[i]]
    return values


@kernel
def _residue(values):
    """The most frequent residue modulo the lattice's pitch; of equally frequent ones the smallest."""
    counts = np.zeros(LATTICE_PX, np.int64)
    for value in values:
        counts[value % LATTICE_PX] += 1
    return np.argmax(counts)


@kernel
def _lattice_fraction(left, y, width, height):
    at_left, at_y, at_width, at_height = _residue(left), _residue(y), _residue(width), _residue(height)
    on = 0
    for i in range(len(left)):
        on += (
            (left[i] % LATTICE_PX == at_left)
            & (y[i] % LATTICE_PX == at_y)
            & (width[i] % LATTICE_PX == at_width)
            & (height[i] % LATTICE_PX == at_height)
        )
    return on / len(left)


@kernel
def _y_is_bottom(y, height, frame_height, margin, titled_bottom):
    pitch = LATTICE_PX
    residue = 0
    if margin < 0:
        residue = _residue(height)
        margin, pitch = residue // 2, LATTICE_PX // 2
    if residue % 2 == 0 and (2 * margin) % LATTICE_PX != 0:
        balance = 0
        for value in y:
            balance += ((value - margin) % pitch == 0) * 1 - ((value + margin) % pitch == 0) * 1
        if abs(balance) > len(y) / 2:
            return balance > 0
    over_top, under_bottom = 0, 0
    for i in range(len(y)):
        over_top += y[i] < height[i]
        under_bottom += y[i] + height[i] > frame_height
    if over_top != under_bottom:
        return under_bottom > over_top
    return titled_bottom


@kernel
def _core(x2, y2, frame_height):
    """x, y, tilt, bend and sigma as ``Core`` has them, from twice the centres of the small images."""
    n = len(x2)
    ys = _count(y2)
    middle, half = _counted_quantile(ys, 0.5) / 2, frame_height / 2
    low, span = ys.low / 2, (len(ys.counts) - 1) / 2
    band = np.zeros(n, np.int64)
    if span > 0:
        for i in range(n):
            band[i] = min(int((y2[i] / 2 - low) / span * BANDS), BANDS - 1)
    v = (y2 / 2 - middle) / half
    near = np.ones(n, np.bool_)
    a, b, c = _fit(x2, y2, band, near, middle, half)
    distance = np.empty(n)
    for i in range(n):
        distance[i] = abs(x2[i] / 2 - (a + b * v[i] + c * (v[i] * v[i])))
    limit = max(REFIT_SIGMAS * MAD_SIGMA * _median(distance.copy()), LATTICE_PX * 1.0)
    for i in range(n):
        near[i] = distance[i] <= limit
    a, b, c = _fit(x2, y2, band, near, middle, half)
    for i in range(n):
        distance[i] = abs(x2[i] / 2 - (a + b * v[i] + c * (v[i] * v[i])))
    return a, middle, b / half, c, MAD_SIGMA * _median(distance)


@kernel
def _fit(x2, y2, band, used, middle, half):
    counts = np.zeros(BANDS, np.int64)
    totals = np.zeros(BANDS, np.int64)
    for i in range(len(x2)):
        if used[i]:
            counts[band[i]] += 1
            totals[band[i]] += y2[i]
    starts = np.cumsum(counts) - counts
    sorted_x2 = np.empty(counts.sum(), np.int64)
    place = starts.copy()
    for i in range(len(x2)):
        if used[i]:
            sorted_x2[place[band[i]]] = x2[i]
            place[band[i]] += 1
    filled = np.flatnonzero(counts)
    v, x = np.empty(len(filled)), np.empty(len(filled))
    for k in range(len(filled)):
        band_k = filled[k]
        start = starts[band_k]
        x[k] = _median(sorted_x2[start : start + counts[band_k]]) / 2
        v[k] = (totals[band_k] / 2 / counts[band_k] - middle) / half
    return _parabola(v, x, counts[filled])


@kernel
def _parabola(v, x, weight):
    total, v_sum, x_sum = 0, 0.0, 0.0
    for i in range(len(v)):
        total += weight[i]
        v_sum += weight[i] * v[i]
        x_sum += weight[i] * x[i]
    v_mean, x_mean = v_sum / total, x_sum / total
    if len(v) == 1:
        return x_mean, 0.0, 0.0
    second, third, slope = 0.0, 0.0, 0.0
    for i in range(len(v)):
        d = v[i] - v_mean
        second += weight[i] * d * d
        third += weight[i] * d * d * d
        slope += weight[i] * d * x[i]
    slope /= second
    if len(v) == 2:
        return x_mean - slope * v_mean, slope, 0.0
    skew, spread = third / second, second / total
    bend, norm = 0.0, 0.0
    for i in range(len(v)):
        d = v[i] - v_mean
        q = d * d - skew * d - spread
        bend += weight[i] * q * x[i]
        norm += weight[i] * q * q
    bend /= norm
    a = x_mean - slope * v_mean + bend * (v_mean * v_mean + skew * v_mean - spread)
    return a, slope - bend * skew - 2 * bend * v_mean, bend


@kernel
def _asymmetry(off, stray, small):
    kept = np.empty(len(small))
    n = 0
    for i in small:
        kept[n] = off[i]
        n += not stray[i]
    kept = kept[:n]
    if n == 0:
        return 0.0
    low, median, high = _quantile(kept, 0.05), _quantile(kept, 0.5), _quantile(kept, 0.95)
    return (high + low - 2 * median) / (high - low) if high > low else 0.0


@kernel
def _spread_over_frame(x2, y2, frame_px):
    if len(x2) < 3:
        return NAN
    along_x = _mean_difference(x2) / 2 / (frame_px[0] / 3)
    along_y = _mean_difference(y2) / 2 / (frame_px[1] / 3)
    return math.sqrt(along_x * along_y)


@kernel
def _mean_difference(values):
    n = len(values)
    ordered = np.sort(values)
    total = 0
    for i in range(n):
        total += (2 * i - n + 1) * ordered[i]
    return 2.0 * total / (n * (n - 1))


@kernel
def _edges(left, top, width, height, frame_px):
    """How many boxes touch an edge of the frame, are as wide as it, and reach beyond it."""
    touching, wide, outside = 0, 0, 0
    for i in range(len(left)):
        right, bottom = left[i] + width[i], top[i] + height[i]
        touching += _touches(left[i], right, frame_px[0]) | _touches(top[i], bottom, frame_px[1])
        wide += width[i] >= FULL_WIDTH * frame_px[0]
        outside += (left[i] < 0) | (top[i] < 0) | (right > frame_px[0]) | (bottom > frame_px[1])
    return touching, wide, outside


@inlined
def _touches(low, high, size):
    return ((low >= 0) & (low <= TOUCH_LOW_PX)) | ((high <= size) & (high >= size - TOUCH_HIGH_PX))


@kernel
def _repeats(sides):
    """Share and place as ``repeat_share`` and ``repeated_place`` have them; sides of shape (sides, images)."""
    keys, n_cells = _cell_keys(sides)
    first, first_share = _of_half(sides, keys, n_cells, 0)
    second, second_share = _of_half(sides, keys, n_cells, 1)
    return (first_share + second_share) / 2, (second if second_share > first_share else first)


@kernel
def _cell_keys(sides):
    """The cell of SAME_PX of each image as one number, in the order of the cells' numbers, and how many there may be."""
    keys, n_cells = np.zeros(sides.shape[1], np.int64), 1
    for side in sides:
        low, high = side.min() // SAME_PX, side.max() // SAME_PX
        span = high - low + 1
        for i in range(len(keys)):
            keys[i] = keys[i] * span + (side[i] // SAME_PX - low)
        n_cells *= span
    return keys, n_cells


@kernel
def _of_half(sides, keys, n_cells, start):
    """The most frequent place of every other image from ``start`` on, and its share among the others."""
    n_sides, n = sides.shape
    most = _most_frequent(keys[start::2], n_cells)
    members = np.empty((n + 1) // 2, np.int64)
    count = 0
    for i in range(start, n, 2):
        members[count] = i
        count += keys[i] == most
    members = members[:count]
    place = np.empty(n_sides, np.int64)
    for side in range(n_sides):
        place[side] = _select(sides[side][members], (count - 1) // 2)
    near = 0
    for i in range(1 - start, n, 2):
        same = True
        for side in range(n_sides):
            same &= abs(sides[side, i] - place[side]) <= SAME_PX
        near += same
    return place, near / ((n + start) // 2)


@kernel
def _most_frequent(keys, n_cells):
    """The most frequent of keys, n >= 1, from 0 to n_cells - 1; of equally frequent ones the smallest."""
    if n_cells <= DENSE_CELLS:
        return _most_frequent_dense(keys, n_cells)
    size = 16
    while 3 * size < 4 * len(keys):
        size *= 2
    held, counts = np.empty(size, np.int64), np.zeros(size, np.int32)
    best, most = keys[0], 0
    for key in keys:
        mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> np.uint64(32)) & (size - 1)
        while counts[slot] != 0 and held[slot] != key:
            slot = (slot + 1) & (size - 1)
        held[slot] = key
        counts[slot] += 1
        # A key that is the smallest in the end was compared when it reached its full count.
        if counts[slot] > most or (counts[slot] == most and key < best):
            best, most = key, counts[slot]
    return best


@kernel
def _most_frequent_dense(keys, n_cells):
    counts = np.zeros(n_cells, np.int32)
    best, most = keys[0], 0
    for key in keys:
        counts[key] += 1
        if counts[key] > most or (counts[key] == most and key < best):
            best, most = key, counts[key]
    return best


@kernel
def _repeated_corner(left, top, right, bottom):
    share = 0.0
    for x in (left, right):
        for y in (top, bottom):
            share = max(share, _repeats(np.stack((x, y)))[0])
    return share


@kernel
def _hot_cell(x2, y2, counted):
    x, y = x2 // (2 * CELL_PX), y2 // (2 * CELL_PX)
    span = y.max() - y.min() + 1
    cells = (x - x.min()) * span + y - y.min()
    n_cells = (x.max() - x.min() + 1) * span
    n, total = len(cells), 0.0
    for start in (0, 1):
        here = cells[start::2][counted[start::2]]
        if not len(here):
            continue
        hottest = _most_frequent(here, n_cells)
        inside = 0
        for i in range(1 - start, n, 2):
            inside += counted[i] & (cells[i] == hottest)
        total += inside / ((n + start) // 2)
    return total / 2


@kernel
def _sizes(width, height, widths):
    n = len(width)
    heights = _count(height)
    log_width, log_height = _logs(widths), _logs(heights)
    steps = np.empty(n, np.int64)
    large = 0
    for i in range(n):
        log_area = log_width[width[i] - widths.low] + log_height[height[i] - heights.low]
        steps[i] = math.floor(log_area / AREA_STEP)
        large += width[i] > LARGE_PX
    areas = _count(steps)
    spread = (_middle_quantile(areas, 0.75) - _middle_quantile(areas, 0.25)) * AREA_STEP / IQR_SIGMA
    return _Sizes(
        _middle_quantile(widths, 0.5),
        _middle_quantile(widths, 0.95),
        _middle_quantile(heights, 0.5),
        math.exp((_middle_quantile(areas, 0.1) + 0.5) * AREA_STEP),
        math.exp((_middle_quantile(areas, 0.5) + 0.5) * AREA_STEP),
        large / n,
        spread,
    )


@kernel
def _logs(counted):
    """The logarithms of the counted numbers, at their places."""
    logs = np.zeros(len(counted.counts))
    for i in range(len(logs)):
        if counted.counts[i]:
            logs[i] = math.log(counted.low + i)
    return logs


@kernel
def _drift(values, sigma):
    n = len(values)
    medians = np.empty(DRIFT_BLOCKS)
    for i in range(DRIFT_BLOCKS):
        medians[i] = _median(values[i * n // DRIFT_BLOCKS : (i + 1) * n // DRIFT_BLOCKS].copy())
    error = MEDIAN_ERROR * max(sigma, 1.0) / math.sqrt(n)
    best, best_evidence = 0.0, 0.0
    for k in range(1, DRIFT_BLOCKS):
        change = medians[k:].mean() - medians[:k].mean()
        evidence = abs(change) / error * math.sqrt(k * (DRIFT_BLOCKS - k)) / DRIFT_BLOCKS
        if evidence > best_evidence:
            best, best_evidence = change, evidence
    return best * _belief(best_evidence, DRIFT_EVIDENCE)


@kernel
def _flight(flight_us):
    counts = np.zeros(MAX_FLIGHT_STEPS + 1, np.int64)
    n = 0
    for value in flight_us:
        if value > 0:
            steps = np.rint(np.float64(value) / FLIGHT_STEP_US)
            if 1 <= steps <= MAX_FLIGHT_STEPS:
                counts[int(steps)] += 1
                n += 1
    if n == 0:
        return NAN, NAN
    counted = _Counted(0, counts, n)
    median = _middle_quantile(counted, 0.5)
    spread = (_middle_quantile(counted, 0.75) - _middle_quantile(counted, 0.25)) / IQR_SIGMA / median
    return median * FLIGHT_STEP_US, spread


@kernel
def _peak_slope(peak, y2, y2s, frame_height):
    first, last = _counted_quantile(y2s, 1 / 3), _counted_quantile(y2s, 2 / 3)
    upper, lower = peak[y2 <= first], peak[y2 >= last]
    n, n_upper, n_lower = len(peak), len(upper), len(lower)
    # In order of y, the upper third are the first numbers and the lower third the last.
    top = _counted_rank(y2s, (n_upper - 1) // 2) + _counted_rank(y2s, n_upper // 2)
    bottom = _counted_rank(y2s, n - n_lower + (n_lower - 1) // 2) + _counted_rank(y2s, n - n_lower + n_lower // 2)
    distance = (bottom - top) / 4
    if distance <= 0:
        return NAN
    return (_log_median(lower) - _log_median(upper)) / distance * frame_height


@kernel
def _log_median(peak_v):
    """The median of the logarithms."""
    values = np.maximum(peak_v, SMALLEST_V)
    n = len(values)
    upper = _select(values, n // 2)
    if n % 2:
        return math.log(upper)
    lower = values[0]
    for i in range(1, n // 2):
        lower = max(lower, values[i])
    return (math.log(lower) + math.log(upper)) / 2
