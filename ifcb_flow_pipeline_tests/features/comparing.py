"""Holding two sets of features equal, with the tolerance that each number can have.

Nearly all are equal to 1e-9 of their size. Three things cannot be: what is zero but for rounding; the
direction of a cloud that has hardly any (and its sign where both loadings are equally large); and the
ratio to a second axis without length, of which rounding decides the last of sixteen digits.
"""

import math
from collections.abc import Mapping

import pytest

RELATIVE = 1e-9

#: Rounding of a share of variance, with room for the path that a library takes to it.
SHARE_ROUNDING = 4e-15

#: What counts as zero: positions are up to some 1000 px, the others are of order one.
ABSOLUTE = dict.fromkeys(("skew_x", "skew_y", "kurt_x", "kurt_y"), 1e-10) | {
    "t_y_var": 1e-7,
    "std_x": 1e-9,
    "std_y": 1e-9,
}


def assert_same_features(actual: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if name not in ("angle", "eigen_ratio"):
            assert actual[name] == pytest.approx(value, rel=RELATIVE, abs=ABSOLUTE.get(name, 1e-12)), name
    first_share = 1 / expected["eigen_ratio"]
    assert 1 / actual["eigen_ratio"] == pytest.approx(first_share, rel=RELATIVE, abs=SHARE_ROUNDING), "eigen_ratio"
    assert_same_direction(actual["angle"], expected["angle"], expected["eigen_ratio"])


def assert_same_direction(actual: float, expected: float, eigen_ratio: float) -> None:
    """Compare two angles in radians of a cloud whose axes have this ratio of variances."""
    anisotropy = (eigen_ratio - 1) / (eigen_ratio + 1)
    if anisotropy < 1e-6:
        return
    tolerance = RELATIVE + 1e-14 / anisotropy
    on_a_diagonal = abs(abs(math.cos(expected)) - abs(math.sin(expected))) < tolerance
    difference = abs(actual - expected)
    if on_a_diagonal:
        difference = min(difference, abs(difference - math.pi))
    assert difference <= tolerance, f"angle {actual} instead of {expected}"
