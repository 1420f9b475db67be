"""Whether scores are still distributed as those of the bins that a model was trained on."""

import numpy as np
from numpy.typing import NDArray


def score_drift(scores: NDArray[np.float64], training_scores: NDArray[np.float64]) -> float:
    """The largest distance between the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1.

    Both arrays have shape (n,), n >= 1, and are finite.
    """
    everything = np.concatenate((scores, training_scores))
    below, below_training = (
        np.searchsorted(np.sort(values), everything, side="right") / len(values) for values in (scores, training_scores)
    )
    return float(np.abs(below - below_training).max())
