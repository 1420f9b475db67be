"""How the triggers lie in time, and what changes while a bin runs.

All of it is made so that more triggers of the same kind leave it as it is in expectation: what chance alone would give
is subtracted, or the number is drawn towards 0 where chance alone explains it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A run time is believed if it is within so many seconds of the time of its row: they differ by up to 1.3 s.
BELIEVABLE_S = 60.0

#: Where run times are ahead of the times of their rows by more than so much, the counter was not set back before the
#: run: its blind times are too much, too. From the median of so many rows (pyifcb, ``metrics/ml_analyzed.py``), half of
#: which are this near to each other.
AHEAD_S, AHEAD_ROWS, AHEAD_SPREAD_S = 10.0, 50, 1.0

#: Blind time grows no faster than time goes by, but for this.
BLIND_SLACK_S = 1.0

#: Where the last good blind time is from before this share of the run, the rest of the run was as blind as that.
BLIND_KNOWN_SHARE = 0.98

#: Moments between which a change of rate is sought, and how many at either end are left out: too few triggers tell.
CHANGE_STEPS, CHANGE_MARGIN_STEPS = 200, 10

#: The evidence of a change of rate (log likelihood ratio) that halves it: chance gives about 3, and 6 in 1 of 20 runs.
CHANGE_EVIDENCE = 6.0

#: Blocks of equally many images between which drift is sought, and the evidence (standard errors) that halves it.
DRIFT_BLOCKS = 8
DRIFT_EVIDENCE = 3.0

#: Triggers without an image, one after the other, are a blind stretch if they are at least so many, last at least so
#: long, and are that improbable at the rate of images of the rest of the run. The shortest that was seen in the field
#: lasted 20 s. Chance alone gives about five in a row in ten thousand triggers of which one in seven has no image; two
#: thirds without an image in 7,500 triggers (simulated noise) gave 23 in a row, within 3.0 s.
BLIND_TRIGGERS, BLIND_S, BLIND_CHANCE = 10, 5.0, 1e-6

#: Standard error of a median over that of a mean, for normal values.
MEDIAN_ERROR = 1.2533

EULER = 0.5772156649


@dataclass(frozen=True, slots=True)
class Events:
    """Times of triggers as shares of the time run, ascending, shape (events,), all in [0, 1].

    The first trigger is left out, and the clock starts at the second: the first is usually a false one as the run
    starts, with a pause after it. Times that are all the same are none. ``duration_s``: what share 1 means.
    """

    share: NDArray[np.float64]
    duration_s: float

    @classmethod
    def of(cls, time_s: NDArray[np.float64], run_s: float) -> "Events":
        """From the times of all triggers, shape (triggers,), and the length of the run (NaN: until the last one)."""
        if len(time_s) < 3:
            return cls(np.zeros(0), float("nan"))
        ordered = np.sort(time_s[1:])
        start, end = ordered[0], max(ordered[-1], run_s) if np.isfinite(run_s) else ordered[-1]
        duration = float(end - start)
        if ordered[0] == ordered[-1] or not duration < np.inf:
            return cls(np.zeros(0), float("nan"))
        return cls((ordered[1:] - start) / duration, duration)


def counted_times(
    run_time_s: NDArray[np.float64], inhibit_time_s: NDArray[np.float64], row_time_s: NDArray[np.float64]
) -> tuple[float, float]:
    """Run and blind time that the counters of the ADC file give; NaN for what they do not. Arrays of shape (rows,).

    The run time is the largest that fits the time of its row, where that is known. Blind times grow from row to row,
    and no faster than run times: what is out of line, such as garbage in the last row or a lost digit, does not count.
    """
    offset = _ahead(run_time_s - row_time_s)
    known = inhibit_time_s[~np.isnan(inhibit_time_s)]
    counted, blind_times = run_time_s - offset, inhibit_time_s - (known[0] if offset and len(known) else 0.0)
    fits = ~np.isnan(counted) & ~(np.abs(counted - row_time_s) > BELIEVABLE_S)
    run = float(counted[fits].max()) if fits.any() else float("nan")
    blind = blind_at = float("nan")
    fits &= (blind_times >= 0) & (blind_times <= counted)
    for at, time in zip(counted[fits].tolist(), blind_times[fits].tolist(), strict=True):
        if not time < blind and not time - blind > at - blind_at + BLIND_SLACK_S:
            blind, blind_at = time, at
    if blind_at < BLIND_KNOWN_SHARE * run:
        blind *= run / blind_at if blind_at > 0 else float("nan")
    return run, blind


def _ahead(ahead_s: NDArray[np.float64]) -> float:
    """By how much the counter is ahead, of how much it is in each row; 0 where it is as it should be."""
    first = np.sort(ahead_s[~np.isnan(ahead_s)][:AHEAD_ROWS])
    n = len(first)
    if not n or first[n // 2] <= AHEAD_S or not first[3 * n // 4] - first[n // 4] <= AHEAD_SPREAD_S:
        return 0.0
    return float(first[n // 2])


def next_due(time_s: NDArray[np.float64]) -> float:
    """When the trigger after the last was due: the mean wait later; times of all triggers, shape (triggers,), >= 1.

    A run ends about then, for the wait that its end cuts off is on average as long as any.
    """
    last = float(time_s.max())
    return last + (last - float(time_s.min())) / max(len(time_s) - 1, 1)


def unevenness(share: NDArray[np.float64]) -> float:
    """Distance of events from being even in time: 0 if even, about 0.3 if half of the run has none.

    The root of the mean squared distance between their distribution and the even one (Cramer-von Mises), less what
    chance gives; negative, and small, where they are more even than chance would have them. Shape (events,), >= 1.
    """
    n = len(share)
    middles = (np.arange(n) + 0.5) / n
    squared = float(np.mean((share - middles) ** 2)) + 1 / (12 * n**2) - 1 / (6 * n)
    return float(np.copysign(np.sqrt(abs(squared)), squared))


def longest_gap(share: NDArray[np.float64]) -> float:
    """The longest share of the run without an event, less the longest that chance gives; shape (events,), >= 1."""
    n = len(share)
    longest = float(np.diff(share, prepend=0.0, append=1.0).max())
    return longest - (np.log(n + 1) + EULER) / (n + 1)


def rate_change(share: NDArray[np.float64]) -> float:
    """Log of the rate after over the rate before the moment that parts the run best; shape (events,), >= 1.

    Drawn towards 0 where chance explains it: with the log likelihood ratio L of two rates against one, by
    L^2 / (L^2 + CHANGE_EVIDENCE^2).
    """
    n = len(share)
    u = np.arange(CHANGE_MARGIN_STEPS, CHANGE_STEPS - CHANGE_MARGIN_STEPS + 1) / CHANGE_STEPS
    before = np.searchsorted(share, u, side="right").astype(np.float64)
    after = n - before
    evidence = _times_log_ratio(before, n * u) + _times_log_ratio(after, n * (1 - u))
    best = int(np.argmax(evidence))
    # Half an event more on each side: where there is none at all, the ratio must stay finite.
    change = np.log((after[best] + 0.5) / (1 - u[best])) - np.log((before[best] + 0.5) / u[best])
    return float(change * _belief(evidence[best], CHANGE_EVIDENCE))


def _times_log_ratio(count: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(count > 0, count * np.log(np.where(count > 0, count, 1) / expected), 0.0)


def _belief(evidence: float, half: float) -> float:
    return evidence**2 / (evidence**2 + half**2)


def drift(values: NDArray[np.float64], sigma: float) -> float:
    """How much the median changes at the moment that parts the run best; values in file order, shape (n,), n >= 8.

    ``sigma`` is their standard deviation. Drawn towards 0 where chance explains it.
    """
    borders = np.arange(DRIFT_BLOCKS + 1) * len(values) // DRIFT_BLOCKS
    medians = [float(np.median(values[borders[i] : borders[i + 1]])) for i in range(DRIFT_BLOCKS)]
    error = MEDIAN_ERROR * max(sigma, 1.0) / np.sqrt(len(values))
    best, best_evidence = 0.0, 0.0
    for k in range(1, DRIFT_BLOCKS):
        change = float(np.mean(medians[k:]) - np.mean(medians[:k]))
        evidence = abs(change) / error * np.sqrt(k * (DRIFT_BLOCKS - k)) / DRIFT_BLOCKS
        if evidence > best_evidence:
            best, best_evidence = change, evidence
    return best * _belief(best_evidence, DRIFT_EVIDENCE)


def persistence(flags: NDArray[np.bool_]) -> float:
    """Correlation between a flag and the next one, in file order; 0 where all flags are equal or there is one."""
    if len(flags) < 2:
        return 0.0
    share = float(np.mean(flags))
    variance = share * (1 - share)
    if variance <= 0:
        return 0.0
    pairs = float(np.mean((flags[1:] - share) * (flags[:-1] - share)))
    return pairs / variance


def blind_stretches(blank: NDArray[np.bool_], time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long each stretch lasts in which triggers go on but no image comes, in s; shape (stretches,).

    From the first trigger without an image to the next one with an image, else to the last trigger. ``blank``: which
    triggers have no image, in file order, and ``time_s`` their times; both of shape (triggers,), >= 1. How probable
    triggers without an image are is told by all triggers, but of such triggers in a row by the first BLIND_TRIGGERS
    alone, and not by the image after these: a blind stretch, however long, hardly makes itself look probable, and
    where chance makes long rows, the share comes out right.
    """
    steps = np.diff(blank.astype(np.int64), prepend=0, append=0)
    first, end = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    length = end - first
    without = int(np.minimum(length, BLIND_TRIGGERS).sum())
    with_image = np.count_nonzero(~blank) - np.count_nonzero((length >= BLIND_TRIGGERS) & (end < len(blank)))
    share = without / max(without + with_image, 1)
    seconds = time_s[np.minimum(end, len(blank) - 1)] - time_s[first]
    is_blind = (length >= BLIND_TRIGGERS) & (seconds >= BLIND_S) & (share**length < BLIND_CHANCE)
    return seconds[is_blind]
