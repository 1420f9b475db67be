"""Holding two sets of features equal, with the tolerance that each number can have.

Nearly all are equal to 1e-9 of their size. Three things cannot be: what is zero but for rounding; the
direction of a cloud that has hardly any (and its sign where both loadings are equally large); and the
ratio to a second axis without length, of which rounding decides the last of sixteen digits.
"""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO

from .clouds import features_of

RELATIVE = 1e-9

#: Rounding of a share of variance, with room for the path that a library takes to it.
SHARE_ROUNDING = 4e-15

#: What counts as zero: positions are up to some 1000 px, the others are of order one.
ABSOLUTE = dict.fromkeys(("skew_x", "skew_y", "kurt_x", "kurt_y"), 1e-10) | {
    "t_y_var": 1e-7,
    "std_x": 1e-9,
    "std_y": 1e-9,
}

#: What counting alone decides: kernels compute these as the reference does, to the last bit.
COUNTED = (
    "median_x", "median_y", "iqr_x", "iqr_y", "ratio_spread", "core_fraction", "duplicate_fraction",
    "max_duplicate_fraction", "cv_x", "cv_y", "left_edge_fraction", "right_edge_fraction", "top_edge_fraction",
    "bottom_edge_fraction", "total_edge_fraction", "roi_trigger_fraction",
)  # fmt: skip

#: Of their size, or of the cloud's: as near as sums in another order come to each other.
KERNEL_RELATIVE = 1e-12


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


def assert_equal_to_reference(actual: Mapping[str, float], cloud: tuple, **bin_facts: float) -> None:
    """Hold features, however they were computed, against the functions of the catalogue.

    What counting decides is equal. The rest is equal to 1e-12 of its size as far as it is defined: positions and
    means are rounded to a sixteenth digit, which in a cloud far from zero and of little spread is no small part
    of the spread; a share of variance and the direction of a round cloud are rounded as ``assert_same_features``
    says.
    """
    expected = features_of(*cloud, **bin_facts)
    assert actual.keys() == expected.keys()
    for name in COUNTED:
        assert actual[name] == expected[name], name
    x, y = (np.array(pixels, dtype=float) for pixels in cloud)
    x /= bin_facts.get("aspect_ratio", DEFAULT_ASPECT_RATIO)
    for axis, values in (("x", x), ("y", y)):
        reach, std = np.abs(values).max(), expected[f"std_{axis}"]
        rounding = 8 * np.finfo(float).eps * reach
        # Relative to the spread; a cloud without any has no moments to be rounded.
        part = rounding / std if std else 0.0
        # The third and fourth moments change by 3 and 4 times the mean's part of the lower moments.
        skew, kurt = abs(expected[f"skew_{axis}"]), expected[f"kurt_{axis}"] + 3
        close(actual, expected, f"mean_{axis}", rounding)
        close(actual, expected, f"std_{axis}", rounding)
        close(actual, expected, f"skew_{axis}", KERNEL_RELATIVE + 3 * part * (1 + skew))
        close(actual, expected, f"kurt_{axis}", KERNEL_RELATIVE + 4 * part * (kurt + skew))
    spread = np.ptp(y)
    close(actual, expected, "t_y_var", 8 * np.finfo(float).eps * np.abs(y).max() * spread)
    shares = [1 / values["eigen_ratio"] for values in (actual, expected)]
    widths = [np.abs(v).max() / np.ptp(v) if np.ptp(v) else 0.0 for v in (x, y)]
    assert shares[0] == pytest.approx(shares[1], rel=KERNEL_RELATIVE, abs=SHARE_ROUNDING * (1 + max(widths)))
    assert_same_direction(actual["angle"], expected["angle"], expected["eigen_ratio"])


def close(actual: Mapping[str, float], expected: Mapping[str, float], name: str, rounding: float) -> None:
    assert actual[name] == pytest.approx(expected[name], rel=KERNEL_RELATIVE, abs=rounding), name
