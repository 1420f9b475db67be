"""How much of each feature's rarity counts, bin by bin: compiled. Import this module only where it is about to run."""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.fallback import kernel


@kernel
def counting(
    z: NDArray[np.float32],
    where: NDArray[np.bool_],
    shares: NDArray[np.float32],
    water: NDArray[np.bool_],
    images_lost: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How much counts of n bins with deviations ``z`` (n, d), NaN where unknown; and the same without the water's.

    ``where`` (c, n): which bins a condition holds for, the first one for all; ``shares`` (c, 2, d): how much of a
    feature counts then, at most, below and above its centre; ``water`` (2, d): what follows the water there, and counts
    nothing unless ``images_lost`` (n,).
    """
    n, d = z.shape
    factor, fault_factor = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    nothing, all_ = np.float32(0.0), np.float32(1.0)
    for i in range(n):
        for j in range(d):
            value = z[i, j]
            factor[i, j] = shares[0, 1, j] if value > 0.0 else (shares[0, 0, j] if value < 0.0 else all_)
        for c in range(1, len(where)):
            if where[c, i]:
                for j in range(d):
                    value = z[i, j]
                    share = shares[c, 1, j] if value > 0.0 else (shares[c, 0, j] if value < 0.0 else all_)
                    factor[i, j] = min(factor[i, j], share)
        for j in range(d):
            value = z[i, j]
            is_water = (water[1, j] and value > 0.0) or (water[0, j] and value < 0.0)
            fault_factor[i, j] = nothing if is_water and not images_lost[i] else factor[i, j]
    return factor, fault_factor
