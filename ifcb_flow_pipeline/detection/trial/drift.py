"""Whether bins are still as severe as healthy ones are expected to be."""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.verdict.severity import SEVERITY_PER_DECADE


def severity_drift(severities: NDArray[np.float64]) -> float:
    """By how much severities lie above those of healthy bins: the largest amount, 0 to 1, by which the share of bins
    up to any severity falls short of what is expected (one-sided Kolmogorov-Smirnov).

    ``severities``: shape (n,), n >= 1, finite. Of healthy bins, one in ten is expected from 25 on, one in 100 from 50.
    """
    ordered = np.sort(severities)
    expected = 1.0 - 10.0 ** (-ordered / SEVERITY_PER_DECADE)
    below = np.arange(len(ordered)) / len(ordered)
    return float(max((expected - below).max(), 0.0))
