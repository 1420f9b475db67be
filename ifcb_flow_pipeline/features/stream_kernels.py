"""The features of a whole bin, compiled: the same definitions as in ``wholebin``, a great deal faster.

What a feature means is declared in the catalogue, and its functions are the reference that tests hold this kernel to:
equal to 1e-9 of their size, for sums are added up in another order. Whole pixels take few distinct values, so that
most quantiles are found by counting.

Import this module only where a kernel is about to run: it loads numba.
"""

import math
from collections import namedtuple
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import inlined, kernel, part
from ifcb_flow_pipeline.features.full import IMAGE_FEATURES, TRIGGER_FEATURES
from ifcb_flow_pipeline.features.geometry import (
    BANDS,
    FEW_OUTSIDE,
    FEW_OUTSIDE_SHARE,
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
    AHEAD_ROWS,
    AHEAD_S,
    AHEAD_SPREAD_S,
    BELIEVABLE_S,
    BLIND_CHANCE,
    BLIND_KNOWN_SHARE,
    BLIND_S,
    BLIND_SLACK_S,
    BLIND_TRIGGERS,
    CHANGE_EVIDENCE,
    CHANGE_MARGIN_STEPS,
    CHANGE_STEPS,
    DRIFT_BLOCKS,
    DRIFT_EVIDENCE,
    EULER,
    MEDIAN_ERROR,
)
from ifcb_flow_pipeline.features.wholebin import (
    AREA_STEP,
    BUBBLE_ASPECT,
    BUBBLE_EVIDENCE,
    BUBBLE_MARGIN_PX,
    BUBBLE_PX,
    FULL_WIDTH,
    LARGE_PX,
    OVAL_ASPECT,
    ROUND_PX,
)

NAN = math.nan

#: Values are counted in so many buckets until not more than so many are left; so many say where the buckets lie.
BUCKETS, FEW, SAMPLED = 256, 16, 32
#: No place is farther to the left or top of the frame, nor is twice a centre; a multiple of all pitches of cells.
LEAST_PX = 1 << 17

#: Of four numbers of 16 bits in one of 64.
HIGHEST_BITS, LOWEST_BITS = np.uint64(0x8000800080008000), np.uint64(0x0001000100010001)
TWO_BITS = np.uint64(0x0003000300030003)

#: The logarithms of usual sizes; that of 0 is not asked for.
LOGARITHMS = np.array([math.nan, *map(math.log, range(1, 2048))])

#: So many cells are counted in a table of all of them, up to so many images; more in one of those that occur.
TABLE_CELLS, TABLE_COUNT = 1 << 16, (1 << 16) - 1


class RunTimes(NamedTuple):
    """The run as the rows have it, by the names that ``Run`` has for it; NaN where they do not say."""

    n_triggers: int
    n_images: int
    adc_run_s: float
    adc_inhibit_s: float
    last_s: float
    due_s: float


#: The features of a bin's triggers. All are numbers.
TriggerFeatures = namedtuple("TriggerFeatures", TRIGGER_FEATURES)

#: The features of a bin's images, and the most repeated box. All are numbers.
ImageFeatures = namedtuple("ImageFeatures", IMAGE_FEATURES)

#: All of these but the first, of a bin with too few images.
_UNKNOWN = (NAN,) * (len(ImageFeatures._fields) - 1)


class _Counted(NamedTuple):
    """How many numbers there are, and how many of these are below each whole number from ``low`` on: shape (span + 1,),
    to one above the largest.
    """

    n: np.int64
    low: np.int64
    below: NDArray[np.int32]


class _Room(NamedTuple):
    """Memory that order statistics write to: touching fresh memory, again and again, takes longer."""

    values: NDArray[np.float64]
    bucket: NDArray[np.int32]
    counts: NDArray[np.int32]


class _Sizes(NamedTuple):
    """Features of the sizes of images."""

    width_median: float
    width_p95: float
    height_median: float
    area_p10: float
    area_median: float
    large: float
    bubbles: float
    spread: float


# Order statistics


@part
def _room(n):
    """Room for the order statistics of up to n values."""
    return _Room(np.empty(n), np.empty(n, np.int32), np.zeros(2 * BUCKETS, np.int32))


@part
def _neighbours(values, k, room):
    """The k-th smallest of n > k values (0-based) and the next one (infinite for the last). All are finite, and
    so are their differences.

    Values are counted in buckets until those in the bucket of the k-th are few. No branch depends on single values,
    which the processor could not foresee; and the buckets lie where most values do, whatever strays there are: some
    of the values say where.
    """
    n, above = len(values), math.inf
    while n > FEW:
        low, high = _range(values, n)
        last = BUCKETS // 4 - 1 if n < 2 * BUCKETS else BUCKETS - 1
        scale = last / (high - low) if high > low else math.inf
        if scale == math.inf:
            # All are equal, or nearer to each other than any measurement.
            return low, low if k + 1 < n else above
        at, before, inside = _bucket_of(k, values, n, (low, scale, last), room)
        k -= before
        if k + 1 == inside:
            for i in range(n):
                above = min(above, values[i] if room.bucket[i] > at else math.inf)
        kept = np.uint64(0)
        for i in range(n):
            room.values[kept] = values[i]
            kept += np.uint64(room.bucket[i] == at)
        values, n = room.values, np.int64(kept)
    for i in range(n):
        _insert(room.values, i, values[i])
    return room.values[k], room.values[k + 1] if k + 1 < n else above


@inlined
def _bucket_of(k, values, n, buckets, room):
    """Put n values into buckets: which of them has the k-th, how many values lie before it, and how many in it."""
    low, scale, last = buckets
    for i in range(n):
        place = (values[i] - low) * scale
        place = place if place > 0 else 0.0
        room.bucket[i] = np.int32(place if place < last else last * 1.0)
    # Every other value has counts of its own: adding to the same number twice at once takes longer.
    counts = room.counts
    counts[: 2 * (last + 1)] = 0
    for i in range(n):
        counts[np.uint32(2 * room.bucket[i] + (i & 1))] += 1
    at, before, inside = 0, 0, counts[0] + counts[1]
    while before + inside <= k:
        before += inside
        at += 1
        inside = counts[2 * at] + counts[2 * at + 1]
    return at, before, inside


@inlined
def _insert(ordered, n, value):
    """Insert a value among n sorted ones."""
    while n > 0 and ordered[n - 1] > value:
        ordered[n] = ordered[n - 1]
        n -= 1
    ordered[n] = value


@part
def _range(values, n):
    """The smallest and the largest of some of n values; of all of them where these are equal."""
    low, high = values[0], values[0]
    for i in range(0, n, n // SAMPLED + 1):
        low, high = min(low, values[i]), max(high, values[i])
    if low == high:
        for i in range(n):
            low, high = min(low, values[i]), max(high, values[i])
    return low, high


@part
def _median(values, room):
    """As np.median has it, n >= 1."""
    n = len(values)
    lower, upper = _neighbours(values, (n - 1) // 2, room)
    return lower if n % 2 else (lower + upper) / 2


@part
def _quantile(values, fraction, room):
    """As np.quantile has it, n >= 1."""
    rank = (len(values) - 1) * fraction
    before = math.floor(rank)
    low, high = _neighbours(values, before, room)
    return low if before + 1 == len(values) else _between(low, high, rank - before)


@inlined
def _between(low, high, weight):
    # As np.quantile has it, to the last bit: it counts from the nearer of the two neighbours.
    if weight >= 0.5:
        return high - (high - low) * (1.0 - weight)
    return low + (high - low) * weight


@part
def _low_high(values):
    """The smallest and the largest of n >= 1 values."""
    low, high = values[0], values[0]
    for i in range(len(values)):
        # So, and not with min and max, several are compared at once.
        low = values[i] if values[i] < low else low
        high = values[i] if values[i] > high else high
    return low, high


@part
def _count(values):
    low, high = _low_high(values)
    counts = np.zeros(np.int64(high) - low + 1, np.int32)
    for i in range(len(values)):
        counts[np.uint32(values[i] - low)] += 1
    return _counted(low, counts)


@part
def _counted(low, counts):
    below = np.empty(len(counts) + 1, np.int32)
    upto = np.int32(0)
    for i in range(len(counts)):
        below[i] = upto
        upto += counts[i]
    below[-1] = upto
    return _Counted(np.int64(upto), np.int64(low), below)


@part
def _place(counted, rank):
    """At which place of the counted numbers, 0 for ``low``, the one of that rank is: rank < n."""
    first, size = 0, len(counted.below) - 1
    while size > 1:
        half = size // 2
        first = first + half if counted.below[first + half] <= rank else first
        size -= half
    return first


@part
def _counted_quantile(counted, fraction):
    """As np.quantile has it of the counted numbers."""
    rank = (counted.n - 1) * fraction
    before = math.floor(rank)
    low = _counted_rank(counted, before)
    if before + 1 == counted.n:
        return low * 1.0
    return _between(low * 1.0, _counted_rank(counted, before + 1) * 1.0, rank - before)


@part
def _counted_rank(counted, rank):
    return counted.low + _place(counted, rank)


@part
def _middle_quantile(counted, share):
    """As ``middle_quantiles`` has it of the counted numbers."""
    wanted, below = share * counted.n, counted.below
    first = last = _place(counted, math.floor(wanted))
    if _middle(below, first) >= wanted:
        first = _place(counted, below[first] - 1) if below[first] > 0 else first
    else:
        last = _place(counted, below[last + 1]) if below[last + 1] < counted.n else last
    if first == last:
        return float(counted.low + first)
    low, high = float(counted.low + first), float(counted.low + last)
    return low + (high - low) * (wanted - _middle(below, first)) / (_middle(below, last) - _middle(below, first))


@inlined
def _middle(below, place):
    return (below[place] + below[place + 1]) / 2


@part
def _median_deviation(counted, quarters):
    """The median distance of halves of the counted numbers from what is given in quarters, as np.median has it."""
    lower, upper = _deviation(counted, quarters, (counted.n - 1) // 2), _deviation(counted, quarters, counted.n // 2)
    return (lower + upper) / 8


@part
def _deviation(counted, quarters, rank):
    """The distance of that rank in quarters, of those from what lies within the range of the numbers."""
    within, beyond = -1, 2 * (len(counted.below) - 2)
    while beyond - within > 1:
        distance = (within + beyond) // 2
        if _n_between(counted, (quarters - distance + 1) // 2, (quarters + distance) // 2) > rank:
            beyond = distance
        else:
            within = distance
    return beyond


@inlined
def _n_between(counted, first, last):
    """How many of the counted numbers there are from the first to the last."""
    end, below = len(counted.below) - 1, counted.below
    return below[min(max(last + 1 - counted.low, 0), end)] - below[min(max(first - counted.low, 0), end)]


# Triggers


@kernel
def run_times(
    trigger: NDArray[np.int32],
    t_s: NDArray[np.float64],
    width_px: NDArray[np.int16],
    height_px: NDArray[np.int16],
    run_time_s: NDArray[np.float64],
    inhibit_time_s: NDArray[np.float64],
) -> RunTimes:
    """What the rows of a bin, n >= 1, tell of its run."""
    n = len(trigger)
    first_rows = np.empty(n, np.int32)
    n_triggers, n_images = 0, 0
    for i in range(n):
        if i == 0 or trigger[i] != trigger[i - 1]:
            first_rows[n_triggers] = i
            n_triggers += 1
        n_images += (width_px[i] > 0) & (height_px[i] > 0)
    run, blind = _counted_times(t_s, run_time_s, inhibit_time_s)
    time, _ = _times(t_s, first_rows[:n_triggers])
    first, last = _low_high(time)
    due = last + (last - first) / max(n_triggers - 1, 1)
    return RunTimes(n_triggers, n_images, run, blind, last, due)


@kernel
def trigger_features(
    trigger: NDArray[np.int32],
    t_s: NDArray[np.float64],
    width_px: NDArray[np.int16],
    height_px: NDArray[np.int16],
    peak_v: NDArray[np.float32],
    inhibit_time_s: NDArray[np.float64],
    run_s: float,
) -> TriggerFeatures:
    """The features of the triggers of a bin, from its rows, n >= 1; ``run_s``: length of the run, NaN if unknown."""
    n = len(trigger)
    first_rows = np.empty(n, np.int32)
    n_triggers, n_images, without, several = 0, 0, 0, 0
    in_a_row, longest, counted_without, counted_with = 0, 0, 0, 0
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
        # Of those in a row without an image the first tell how usual that is, as in ``blind_stretches``.
        tells = in_a_row < BLIND_TRIGGERS
        counted_without += tells & (images == 0)
        counted_with += tells & (images > 0)
        in_a_row = (in_a_row + 1) * (images == 0)
        longest = max(longest, in_a_row)
    first_rows, blank = first_rows[:n_triggers], blank[:n_triggers]
    time, steps_back = _times(t_s, first_rows)
    share = _events(time, run_s)
    first, last = _low_high(time)
    # Choices within the call would be too many for numba.
    backward = NAN if n_triggers < 2 or first == last else steps_back / (n_triggers - 1)
    burst = _persistence(blank, without) if n_triggers >= MIN_TRIGGERS else NAN
    blind, longest_blind = NAN, NAN
    if n_triggers >= MIN_TRIGGERS and n_images and last > first:
        blind, longest_blind = 0.0, 0.0
        if longest >= BLIND_TRIGGERS:
            blind, longest_blind = _blind(blank, time, counted_without / (counted_without + counted_with))
            blind = min(blind / (last - first), 1.0)
    uniformity, gap, change = NAN, NAN, NAN
    if n_triggers >= MIN_TRIGGERS and len(share):
        uniformity, gap, change = _unevenness(share), _longest_gap(share), _rate_change(share)
    return TriggerFeatures(
        n_triggers=float(n_triggers),
        no_image_fraction=without / n_triggers,
        multi_image_fraction=several / n_triggers,
        images_per_trigger=n_images / n_triggers,
        no_image_burst=burst,
        blind_fraction=blind,
        longest_blind_s=longest_blind,
        time_uniformity=uniformity,
        longest_gap_fraction=gap,
        rate_change=change,
        dead_time_s=_dead_time(inhibit_time_s, first_rows),
        time_backward_fraction=backward,
        peak_floor_fraction=_floor_fraction(peak_v, first_rows),
        trigger_gap_fraction=_gap_fraction(trigger, first_rows),
    )


@part
def _is_stated(column):
    """Whether a column holds anything, as ``Stream.stated`` has it."""
    known = NAN
    for value in column:
        if math.isnan(value):
            continue
        if not math.isnan(known) and value != known:
            return True
        known = value
    return len(column) == 1


@part
def _counted_times(t_s, run_time_s, inhibit_time_s):  # noqa: C901 - calls cost more than branches
    """Run and blind time as ``timing.counted_times`` has them."""
    run, blind, blind_at = NAN, NAN, NAN
    if not _is_stated(run_time_s):
        return run, blind
    knows_blind, knows_time = _is_stated(inhibit_time_s), _is_stated(t_s)
    offset, start = _ahead(t_s, run_time_s) if knows_time else 0.0, 0.0
    if offset != 0.0 and knows_blind:
        start = _first_known(inhibit_time_s)
    for i in range(len(t_s)):
        counted = run_time_s[i] - offset
        if math.isnan(counted) or (knows_time and abs(counted - t_s[i]) > BELIEVABLE_S):
            continue
        if not counted <= run:
            run = counted
        inhibit = inhibit_time_s[i] - start
        if not knows_blind or not 0 <= inhibit <= counted or inhibit < blind:
            continue
        if not inhibit - blind > counted - blind_at + BLIND_SLACK_S:
            blind, blind_at = inhibit, counted
    if blind_at < BLIND_KNOWN_SHARE * run:
        blind *= run / blind_at if blind_at > 0 else NAN
    return run, blind


@part
def _ahead(t_s, run_time_s):
    """By how much the counter is ahead; 0 where it is as it should be."""
    ahead = np.empty(AHEAD_ROWS)
    n = 0
    for i in range(len(t_s)):
        if n < AHEAD_ROWS and not math.isnan(run_time_s[i] - t_s[i]):
            ahead[n] = run_time_s[i] - t_s[i]
            n += 1
    first = np.sort(ahead[:n])
    if n == 0 or first[n // 2] <= AHEAD_S or not first[3 * n // 4] - first[n // 4] <= AHEAD_SPREAD_S:
        return 0.0
    return first[n // 2]


@part
def _first_known(column):
    for value in column:
        if not math.isnan(value):
            return value
    return 0.0


@part
def _times(t_s, first_rows):
    """The time of each trigger with jumps back over midnight undone, and how many steps go back in time."""
    n, jumps, backward = len(first_rows), 0, 0
    time = np.empty(n)
    for i in range(n):
        time[i] = t_s[first_rows[i]]
    for i in range(1, n):
        jumps += time[i] - time[i - 1] < -DAY_S / 2
    if jumps:
        days, before = 0.0, time[0]
        for i in range(1, n):
            days += time[i] - before < -DAY_S / 2
            before = time[i]
            time[i] += DAY_S * days
    for i in range(1, n):
        backward += time[i] < time[i - 1]
    return time, backward


@part
def _events(time, run_s):
    """Shares of the run as ``Events`` has them."""
    if len(time) < 3:
        return np.empty(0)
    ordered = time[1:].copy()
    _sort(ordered)
    start, end = ordered[0], ordered[-1]
    if math.isfinite(run_s) and run_s > end:
        end = run_s
    if ordered[0] == ordered[-1] or not end - start < math.inf:
        return np.empty(0)
    return (ordered[1:] - start) / (end - start)


@part
def _sort(values):
    """Sort in place, as Shell does: at once where they are sorted, as triggers nearly always are."""
    gap, is_sorted = len(values), True
    for i in range(1, len(values)):
        is_sorted &= values[i - 1] <= values[i]
    while gap > 1 and not is_sorted:
        gap = max(gap * 5 // 11, 1)
        for i in range(gap, len(values)):
            value, place = values[i], i
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value


@part
def _unevenness(share):
    n = len(share)
    # Two sums, for each has to wait until it has been added to.
    squared, squared_between = 0.0, 0.0
    for i in range(0, n - 1, 2):
        squared += (share[i] - (i + 0.5) / n) ** 2
        squared_between += (share[i + 1] - (i + 1.5) / n) ** 2
    if n % 2:
        squared += (share[n - 1] - (n - 0.5) / n) ** 2
    squared += squared_between
    squared = squared / n + 1 / (12 * n * n) - 1 / (6 * n)
    return math.copysign(math.sqrt(abs(squared)), squared)


@part
def _longest_gap(share):
    n = len(share)
    longest, last = 0.0, 0.0
    for value in share:
        longest, last = max(longest, value - last), value
    return max(longest, 1.0 - last) - (math.log(n + 1) + EULER) / (n + 1)


@part
def _rate_change(share):
    n = len(share)
    before, best, best_u, best_before = 0, -1.0, 0.5, 0
    for step in range(CHANGE_MARGIN_STEPS, CHANGE_STEPS - CHANGE_MARGIN_STEPS + 1):
        u = step / CHANGE_STEPS
        while before < n and share[before] <= u:
            before += 1
        evidence = _times_log_ratio(before, n * u) + _times_log_ratio(n - before, n * (1 - u))
        if evidence > best:
            best, best_u, best_before = evidence, u, before
    change = math.log((n - best_before + 0.5) / (1 - best_u)) - math.log((best_before + 0.5) / best_u)
    return change * _belief(best, CHANGE_EVIDENCE)


@inlined
def _times_log_ratio(count, expected):
    return count * math.log(count / expected) if count > 0 else 0.0


@inlined
def _belief(evidence, half):
    return evidence**2 / (evidence**2 + half**2)


@part
def _persistence(flags, count):
    n = len(flags)
    share = count / n
    variance = share * (1 - share)
    if variance <= 0:
        return 0.0
    pairs = 0
    for i in range(1, n):
        pairs += flags[i] & flags[i - 1]
    # The mean of (flag - share) * (next flag - share), of whole numbers that are counted.
    covariance = (pairs - share * (2 * count - flags[0] - flags[-1])) / (n - 1) + share * share
    return covariance / variance


@part
def _blind(blank, time, share):
    """How long all the blind stretches are together, and the longest; ``share``: of triggers without an image."""
    total, longest, first, n = 0.0, 0.0, 0, len(blank)
    for i in range(n + 1):
        if i < n and blank[i]:
            continue
        # Triggers from the first on, up to this one, have no image.
        seconds = time[min(i, n - 1)] - time[first] if first < i else 0.0
        if i - first >= BLIND_TRIGGERS and seconds >= BLIND_S and share ** (i - first) < BLIND_CHANCE:
            total, longest = total + seconds, max(longest, seconds)
        first = i + 1
    return total, longest


@part
def _dead_time(inhibit_time_s, first_rows):
    if len(first_rows) < 2 or not _is_stated(inhibit_time_s):
        return NAN
    steps = np.empty(len(first_rows))
    n = 0
    for i in range(1, len(first_rows)):
        steps[n] = inhibit_time_s[first_rows[i]] - inhibit_time_s[first_rows[i - 1]]
        n += abs(steps[n]) < DAY_S
    return _median(steps[:n], _room(n)) if n else NAN


@part
def _floor_fraction(peak_v, first_rows):
    at_floor, stated = 0, 0
    if not _is_stated(peak_v):
        return NAN
    for row in first_rows:
        stated += not math.isnan(peak_v[row])
        at_floor += peak_v[row] <= FLOOR_V
    return at_floor / stated if stated else NAN


@part
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
    left, top, width, height, peak, flight = _with_image(x_px, y_px, width_px, height_px, peak_v, flight_us)
    n = len(left)
    if n < MIN_IMAGES:
        return ImageFeatures(n, *_UNKNOWN)
    has_peaks = _is_stated(peak_v)
    lattice = _lattice_fraction(left, top, width, height) if on_lattice else NAN
    if on_lattice and _y_is_bottom(top, height, frame_px[1], margin_px, titled_bottom):
        for i in range(n):
            top[i] -= height[i]
    x2, y2 = _twice_centres(left, width), _twice_centres(top, height)
    widths, y2s = _count(width), _count(y2)
    width_median = _counted_quantile(widths, 0.5)
    small = width <= width_median
    x2_small, y2_small = _chosen(x2, small), _chosen(y2, small)
    room, y2s_small = _room(n), _count(y2_small)
    core = _core(x2_small, y2_small, y2s_small, frame_px[1], room)
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
    strays = np.flatnonzero(stray)
    touching, wide, outside = _edges(left, top, width, height, frame_px)
    box = _halved(left), _halved(top), _halved(width), _halved(height)
    repeat, place = _repeated_box(box, room)
    cross_low, cross_high = _middle_quantile(y2s, 0.05) / 2, _middle_quantile(y2s, 0.95) / 2
    sizes = _sizes(width, height, widths)
    flight_time, flight_spread = _flight(flight) if _is_stated(flight_us) else (NAN, NAN)
    peak_median, peak_slope = NAN, NAN
    if has_peaks:
        known = ~np.isnan(peak)
        n_known = np.count_nonzero(known)
        if n_known == n:
            peak_median, peak_slope = _median(peak, room), _peak_slope(peak, y2, y2s, frame_px[1], room)
        elif n_known >= MIN_IMAGES:
            peak, y2_known = _chosen(peak, known), _chosen(y2, known)
            peak_median = _median(peak, room)
            peak_slope = _peak_slope(peak, y2_known, _count(y2_known), frame_px[1], room)
    y_sigma = (_counted_quantile(y2s_small, 0.75) - _counted_quantile(y2s_small, 0.25)) / 2 / IQR_SIGMA
    return ImageFeatures(
        n_images=n,
        core_x_px=x_core,
        core_tilt=tilt,
        core_bend_px=bend,
        core_width_px=sigma,
        core_asymmetry=_asymmetry(_chosen(off, small & ~stray), room),
        cross_low_px=cross_low,
        cross_high_px=cross_high,
        cross_range_px=cross_high - cross_low,
        stray_fraction=(left_strays + right_strays) / n,
        stray_left_fraction=left_strays / n,
        stray_right_fraction=right_strays / n,
        stray_spread=_spread_over_frame(x2[strays], y2[strays], frame_px),
        edge_touch_fraction=touching / n,
        full_width_fraction=wide / n,
        out_of_frame_fraction=outside / n,
        repeat_fraction=repeat,
        repeat_anchor_fraction=_repeated_corner(box),
        hot_cell_fraction=_hot_cell(x2, y2, strays),
        width_median_px=sizes.width_median,
        width_p95_px=sizes.width_p95,
        height_median_px=sizes.height_median,
        area_p10_px2=sizes.area_p10,
        area_median_px2=sizes.area_median,
        large_fraction=sizes.large,
        size_spread=sizes.spread,
        bubble_fraction=sizes.bubbles,
        drift_x_px=_drift(_chosen(off, small), sigma, room),
        drift_y_px=_drift(y2_small / 2, y_sigma, room),
        flight_time_us=flight_time,
        flight_spread=flight_spread,
        peak_median_v=peak_median,
        peak_y_slope=peak_slope,
        lattice_fraction=lattice,
        stuck_x_px=float(place[0]),
        stuck_y_px=float(place[1]),
        stuck_width_px=float(place[2]),
        stuck_height_px=float(place[3]),
    )


@part
def _with_image(x_px, y_px, width_px, height_px, peak_v, flight_us):
    """The columns at the rows that have an image."""
    size = len(x_px)
    # Half as wide as numbers are by default: all columns of a bin are to stay in the nearer caches.
    left, top, width, height = (
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
    )
    peak, flight = np.empty(size), np.empty(size, np.float32)
    n = np.uint64(0)
    for i in range(size):
        # Written always, counted where it has an image: a branch here could not be foreseen.
        left[n], top[n], width[n], height[n] = x_px[i], y_px[i], width_px[i], height_px[i]
        peak[n], flight[n] = peak_v[i], flight_us[i]
        n += np.uint64((width_px[i] > 0) & (height_px[i] > 0))
    return left[:n], top[:n], width[:n], height[:n], peak[:n], flight[:n]


@part
def _chosen(values, chosen):
    """The values that are chosen."""
    found = np.empty_like(values)
    n = np.uint64(0)
    for i in range(len(values)):
        found[n] = values[i]
        n += np.uint64(chosen[i])
    return found[:n]


@part
def _twice_centres(low, size):
    """Twice the centres of boxes along one side, which are whole numbers."""
    centres = np.empty(len(low), np.int32)
    for i in range(len(low)):
        centres[i] = 2 * low[i] + size[i]
    return centres


@part
def _residue(values):
    """The most frequent residue modulo the lattice's pitch; of equally frequent ones the smallest."""
    first, same = values[0] & LATTICE_PX - 1, 0
    for i in range(len(values)):
        same += values[i] & LATTICE_PX - 1 == first
    # Nearly always most are those of the first: then the others need not be counted.
    if 2 * same > len(values):
        return first
    counts = np.zeros(LATTICE_PX, np.int64)
    for i in range(len(values)):
        counts[values[i] & LATTICE_PX - 1] += 1
    return np.argmax(counts)


@part
def _lattice_fraction(left, y, width, height):
    at_left, at_y, at_width, at_height = _residue(left), _residue(y), _residue(width), _residue(height)
    on = 0
    for i in range(len(left)):
        on += (
            (left[i] & LATTICE_PX - 1 == at_left)
            & (y[i] & LATTICE_PX - 1 == at_y)
            & (width[i] & LATTICE_PX - 1 == at_width)
            & (height[i] & LATTICE_PX - 1 == at_height)
        )
    return on / len(left)


@part
def _y_is_bottom(y, height, frame_height, margin, titled_bottom):
    pitch = LATTICE_PX
    residue = 0
    if margin < 0:
        residue = _residue(height)
        margin, pitch = residue // 2, LATTICE_PX // 2
    if residue % 2 == 0 and (2 * margin) % LATTICE_PX != 0:
        balance = 0
        for i in range(len(y)):
            balance += ((y[i] - margin) & pitch - 1 == 0) * 1 - ((y[i] + margin) & pitch - 1 == 0) * 1
        if abs(balance) > len(y) / 2:
            return balance > 0
    over_top, under_bottom = 0, 0
    for i in range(len(y)):
        over_top += y[i] < height[i]
        under_bottom += y[i] + height[i] > frame_height
    if abs(under_bottom - over_top) > max(FEW_OUTSIDE, FEW_OUTSIDE_SHARE * len(y)):
        return under_bottom > over_top
    return titled_bottom


@part
def _core(x2, y2, ys, frame_height, room):
    """x, y, tilt, bend and sigma as ``Core`` has them, from twice the centres of small images; ``ys``: y2 counted."""
    n = len(x2)
    middle, half = _counted_quantile(ys, 0.5) / 2, frame_height / 2
    low, span = ys.low / 2, (len(ys.below) - 2) / 2
    band = np.zeros(n, np.int32)
    if span > 0:
        for i in range(n):
            band[i] = np.int32(min((y2[i] / 2 - low) / span * BANDS, BANDS - 1.0))
    v = (y2 / 2 - middle) / half
    xs = _count(x2)
    straight = _counted_quantile(xs, 0.5) / 2
    distance, median = np.abs(x2 / 2 - straight), _median_deviation(xs, int(4 * straight))
    a, b, c = straight, 0.0, 0.0
    for _ in range(2):
        limit = max(REFIT_SIGMAS * MAD_SIGMA * median, LATTICE_PX * 1.0)
        a, b, c = _fit(x2, y2, band, distance <= limit, (middle, half))
        for i in range(n):
            distance[i] = abs(x2[i] / 2 - (a + b * v[i] + c * (v[i] * v[i])))
        median = _median(distance, room)
    return a, middle, b / half, c, MAD_SIGMA * median


@part
def _fit(x2, y2, band, used, frame):
    middle, half = frame
    low, high = np.int32(2**31 - 1), np.int32(-(2**31))
    for i in range(len(x2)):
        low = x2[i] if used[i] and x2[i] < low else low
        high = x2[i] if used[i] and x2[i] > high else high
    # The bands lie one behind the other.
    width = np.int64(high) - low + 1
    counts, totals = np.zeros(BANDS * width, np.int32), np.zeros(BANDS, np.int64)
    for i in range(len(x2)):
        if used[i]:
            counts[np.uint64(band[i] * width + (x2[i] - low))] += 1
            totals[np.uint32(band[i])] += y2[i]
    xs = _counted(0, counts)
    v, x, weight, filled = np.empty(BANDS), np.empty(BANDS), np.empty(BANDS, np.int64), 0
    for k in range(BANDS):
        first, count = xs.below[k * width], xs.below[(k + 1) * width] - xs.below[k * width]
        if count:
            pair = _counted_rank(xs, first + (count - 1) // 2) + _counted_rank(xs, first + count // 2)
            x[filled] = (pair - 2 * k * width + 2 * np.int64(low)) / 4
            v[filled] = (totals[k] / 2 / count - middle) / half
            weight[filled] = count
            filled += 1
    return _parabola(v[:filled], x[:filled], weight[:filled])


@part
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


@part
def _asymmetry(off, room):
    if len(off) == 0:
        return 0.0
    low, median, high = _quantile(off, 0.05, room), _quantile(off, 0.5, room), _quantile(off, 0.95, room)
    return (high + low - 2 * median) / (high - low) if high > low else 0.0


@part
def _spread_over_frame(x2, y2, frame_px):
    if len(x2) < 3:
        return NAN
    along_x = _mean_difference(_count(x2)) / 2 / (frame_px[0] / 3)
    along_y = _mean_difference(_count(y2)) / 2 / (frame_px[1] / 3)
    return math.sqrt(along_x * along_y)


@part
def _mean_difference(counted):
    n, below, total = counted.n, counted.below, 0
    for i in range(len(below) - 1):
        # Each has its rank, those that are equal one after the other.
        total += (below[i + 1] - below[i]) * (below[i] + below[i + 1] - n) * (counted.low + i)
    return 2.0 * total / (n * (n - 1))


@part
def _edges(left, top, width, height, frame_px):
    """How many boxes touch an edge of the frame, are as wide as it, and reach beyond it."""
    touching, wide, outside = 0, 0, 0
    (columns, lines), widest = frame_px, math.ceil(FULL_WIDTH * frame_px[0])
    for i in range(len(left)):
        right, bottom = left[i] + width[i], top[i] + height[i]
        touching += _touches(left[i], right, columns) | _touches(top[i], bottom, lines)
        wide += width[i] >= widest
        outside += (left[i] < 0) | (top[i] < 0) | (right > columns) | (bottom > lines)
    return touching, wide, outside


@inlined
def _touches(low, high, size):
    return ((low >= 0) & (low <= TOUCH_LOW_PX)) | ((high <= size) & (high >= size - TOUCH_HIGH_PX))


@inlined
def _cell(px, pitch):
    """Which cell of a grid of this pitch a place is in, none of them negative; 15 bits for those of SAME_PX."""
    return np.int32(np.uint32(px + LEAST_PX) // np.uint32(pitch))


@part
def _halved(values):
    """Every other value from the first on, then those between them."""
    n = len(values)
    first = (n + 1) // 2
    halved = np.empty(n, values.dtype)
    for i in range(first):
        halved[i] = values[2 * i]
    for i in range(n - first):
        halved[first + i] = values[2 * i + 1]
    return halved


@part
def _same_cells(edge):
    """The cells of SAME_PX in which boxes start, or end, along one side."""
    cells = np.empty(len(edge), np.int32)
    for i in range(len(edge)):
        cells[i] = _cell(edge[i], SAME_PX)
    return cells


@part
def _repeated_box(box, room):
    """Share and place as ``repeat_share`` and ``repeated_place`` have them of boxes: their sides, halved."""
    left, top, width, height = box
    n = len(left)
    keys = np.empty(n, np.int64)
    for i in range(n):
        # 16 bits each, the highest of them free: keys are in the order of the cells.
        x, y = np.int64(_cell(left[i], SAME_PX)), np.int64(_cell(top[i], SAME_PX))
        w, h = np.int64(_cell(width[i], SAME_PX)), np.int64(_cell(height[i], SAME_PX))
        keys[i] = ((x << 16 | y) << 16 | w) << 16 | h
    halves = keys[: (n + 1) // 2], keys[(n + 1) // 2 :]
    total, best_share, best = 0.0, -1.0, keys[0]
    for half, other in (halves, halves[::-1]):
        most = _most_frequent(half)
        share = _near_boxes(other, most) / len(other)
        total += share
        if share > best_share:
            best_share, best = share, most
    members = np.flatnonzero(keys == best)
    middle = (len(members) - 1) // 2
    place = np.empty(4)
    for side, px in enumerate(box):
        place[side], _ = _neighbours(px[members] * 1.0, middle, room)
    return total / 2, place


@part
def _near_boxes(keys, key):
    """How many keys of boxes are those of the same cells or of neighbouring ones."""
    near = 0
    for other in keys:
        # Four differences at once, each 1 too large and with the highest bit set: 0, 1 or 2 besides it if it is near.
        steps = ((np.uint64(other) | HIGHEST_BITS) + LOWEST_BITS - np.uint64(key)) ^ HIGHEST_BITS
        far = (steps & ~TWO_BITS) | (steps & steps >> np.uint64(1) & LOWEST_BITS)
        near += far == 0
    return near


@part
def _most_frequent(keys):
    """The most frequent of keys, n >= 1; of equally frequent ones the smallest."""
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


@part
def _repeated_corner(box):
    """Share as ``repeat_share`` has it of the corner of boxes that repeats most; their sides, halved."""
    left, top, width, height = box
    xs = _same_cells(left), _same_cells(left + width)
    ys = _same_cells(top), _same_cells(top + height)
    # No box ends before it starts.
    (x_low, _), (_, x_high) = _low_high(xs[0]), _low_high(xs[1])
    (y_low, _), (_, y_high) = _low_high(ys[0]), _low_high(ys[1])
    columns, lines = np.int64(x_high) - x_low + 1, np.int64(y_high) - y_low + 1
    # A frame has fewer cells, and a bin fewer images; a damaged file may state others.
    fits = columns * lines <= TABLE_CELLS and len(left) <= TABLE_COUNT
    table = np.zeros(columns * lines if fits else 0, np.uint16)
    share = 0.0
    for x in xs:
        for y in ys:
            share = max(share, _corner_share(x, y, (x_low, y_low, lines), table))
    return share


@part
def _corner_share(x, y, grid, table):
    """The share of corners of one kind, from their cells; ``table`` is left as it was: zeros, one a cell or none."""
    x_low, y_low, lines = grid
    n, total = len(x), 0.0
    keys = np.empty(n, np.uint32)
    for i in range(n):
        keys[i] = (x[i] - x_low) * lines + (y[i] - y_low)
    first = slice(0, (n + 1) // 2)
    second = slice((n + 1) // 2, n)
    for half, other in ((first, second), (second, first)):
        most = _most_frequent_in(table, keys[half]) if len(table) else _most_frequent(keys[half].astype(np.int64))
        near = _n_near(x[other], y[other], most // lines + x_low, most % lines + y_low)
        total += near / len(x[other])
    return total / 2


@part
def _n_near(x, y, x_cell, y_cell):
    """How many corners are in that cell or in one beside it."""
    near = 0
    for i in range(len(x)):
        near += (abs(x[i] - x_cell) <= 1) & (abs(y[i] - y_cell) <= 1)
    return near


@part
def _most_frequent_in(table, keys):
    """The most frequent of keys, all of them places in the table; of equally frequent ones the smallest."""
    best = np.uint32(0)
    for key in keys:
        count = np.uint32(table[key]) + np.uint32(1)
        table[key] = count
        # Count and key in one number: which is best goes either way too often for branches.
        candidate = np.uint32(count << 16) | np.uint32(TABLE_CELLS - 1 - key)
        best = candidate if candidate > best else best
    table[:] = 0
    return TABLE_CELLS - 1 - np.int64(best & np.uint32(TABLE_CELLS - 1))


@part
def _hot_cell(x2, y2, counted):
    """As ``hot_cell_share`` has it, from twice the centres and the images that are counted, as numbers."""
    total = 0.0
    for start in (0, 1):
        here = _cells_of_half(x2, y2, counted, start)
        if len(here):
            hottest, inside = _most_frequent(here), 0
            for cell in _cells_of_half(x2, y2, counted, 1 - start):
                inside += cell == hottest
            total += inside / ((len(x2) + start) // 2)
    return total / 2


@part
def _cells_of_half(x2, y2, counted, start):
    """The cells of every other image, of those that are counted."""
    cells = np.empty(len(counted), np.int64)
    n = 0
    for i in counted:
        cells[n] = np.int64(_cell(x2[i], 2 * CELL_PX)) << 16 | np.int64(_cell(y2[i], 2 * CELL_PX))
        n += i & 1 == start
    return cells[:n]


@part
def _sizes(width, height, widths):
    n = len(width)
    heights = _count(height)
    log_area, steps = np.empty(n), np.empty(n, np.int32)
    for i in range(n):
        log_area[i] = _log(width[i]) + _log(height[i])
    # Round ones and ovals of the size of bubbles, then of any size that shows their shape.
    large, n_round, n_oval, some_round, some_oval = 0, 0, 0, 0, 0
    for i in range(n):
        steps[i] = np.int32(np.floor(log_area[i] / AREA_STEP))
        large += width[i] > LARGE_PX
        smaller = min(width[i], height[i])
        if smaller >= ROUND_PX:
            inner = width[i] - BUBBLE_MARGIN_PX
            shorter, longer = min(inner, height[i]), max(inner, height[i])
            is_round = longer <= BUBBLE_ASPECT * shorter
            is_oval = longer <= OVAL_ASPECT * shorter and not is_round
            some_round += is_round
            some_oval += is_oval
            n_round += is_round and smaller >= BUBBLE_PX
            n_oval += is_oval and smaller >= BUBBLE_PX
    shown = _are_round(n_round, n_oval) or _are_round(some_round, some_oval)
    areas = _count(steps)
    spread = (_middle_quantile(areas, 0.75) - _middle_quantile(areas, 0.25)) * AREA_STEP / IQR_SIGMA
    return _Sizes(
        _middle_quantile(widths, 0.5),
        _middle_quantile(widths, 0.95),
        _middle_quantile(heights, 0.5),
        math.exp((_middle_quantile(areas, 0.1) + 0.5) * AREA_STEP),
        math.exp((_middle_quantile(areas, 0.5) + 0.5) * AREA_STEP),
        large / n,
        max(n_round - n_oval / 2, 0.0) / n if shown else 0.0,
        spread,
    )


@inlined
def _are_round(n_round, n_oval):
    """Whether so many more are round than oval that there are bubbles."""
    return n_round - n_oval > BUBBLE_EVIDENCE * math.sqrt(n_round + n_oval)


@inlined
def _log(size):
    return LOGARITHMS[np.uint32(size)] if size < len(LOGARITHMS) else math.log(size)


@part
def _mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


@part
def _drift(values, sigma, room):
    n = len(values)
    medians = np.empty(DRIFT_BLOCKS)
    for i in range(DRIFT_BLOCKS):
        medians[i] = _median(values[i * n // DRIFT_BLOCKS : (i + 1) * n // DRIFT_BLOCKS], room)
    error = MEDIAN_ERROR * max(sigma, 1.0) / math.sqrt(n)
    best, best_evidence = 0.0, 0.0
    for k in range(1, DRIFT_BLOCKS):
        change = _mean(medians[k:]) - _mean(medians[:k])
        evidence = abs(change) / error * math.sqrt(k * (DRIFT_BLOCKS - k)) / DRIFT_BLOCKS
        if evidence > best_evidence:
            best, best_evidence = change, evidence
    return best * _belief(best_evidence, DRIFT_EVIDENCE)


@part
def _flight(flight_us):
    steps = np.empty(len(flight_us), np.int32)
    for i in range(len(flight_us)):
        rounded = np.rint(np.float64(flight_us[i]) / FLIGHT_STEP_US)
        steps[i] = np.int32(rounded if (flight_us[i] > 0) & (rounded <= MAX_FLIGHT_STEPS) else 0.0)
    counts = np.zeros(MAX_FLIGHT_STEPS + 1, np.int32)
    for i in range(len(steps)):
        counts[np.uint32(steps[i])] += 1
    # None, or too few or too many to be one.
    counts[0] = 0
    counted = _counted(0, counts)
    if counted.n == 0:
        return NAN, NAN
    median = _middle_quantile(counted, 0.5)
    spread = (_middle_quantile(counted, 0.75) - _middle_quantile(counted, 0.25)) / IQR_SIGMA / median
    return median * FLIGHT_STEP_US, spread


@part
def _peak_slope(peak, y2, y2s, frame_height, room):
    n = len(peak)
    upper = _chosen(peak, y2 <= math.floor(_counted_quantile(y2s, 1 / 3)))
    lower = _chosen(peak, y2 >= math.ceil(_counted_quantile(y2s, 2 / 3)))
    n_upper, n_lower = len(upper), len(lower)
    # In order of y, the upper third are the first numbers and the lower third the last.
    top = _counted_rank(y2s, (n_upper - 1) // 2) + _counted_rank(y2s, n_upper // 2)
    bottom = _counted_rank(y2s, n - n_lower + (n_lower - 1) // 2) + _counted_rank(y2s, n - n_lower + n_lower // 2)
    distance = (bottom - top) / 4
    if distance <= 0:
        return NAN
    return (_log_median(lower, room) - _log_median(upper, room)) / distance * frame_height


@part
def _log_median(peak, room):
    """The median of the logarithms."""
    n = len(peak)
    lower, upper = _neighbours(peak, (n - 1) // 2, room)
    lower, upper = max(lower, SMALLEST_V), max(upper, SMALLEST_V)
    return math.log(lower) if n % 2 else (math.log(lower) + math.log(upper)) / 2
