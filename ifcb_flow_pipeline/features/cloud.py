"""A point cloud, and the intermediate results that several features share."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

#: Width over height by which x is divided; the value of ifcb-flow-metric (1360/1000 px).
DEFAULT_ASPECT_RATIO = 1.36


@dataclass(frozen=True)
class PointCloud:
    """The positions of one bin, in file order.

    ``x_px``, ``y_px``: shape (n,), n >= 1, the positions as the file states them. ``n_rows`` counts
    all ADC lines of the bin, ``n_images`` those with an image.
    """

    x_px: NDArray
    y_px: NDArray
    n_rows: int
    n_images: int
    aspect_ratio: float = DEFAULT_ASPECT_RATIO

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """The positions x divided by the aspect ratio, shape (n,)."""
        return self.x_px.astype(np.float64) / self.aspect_ratio

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """The positions y in px, shape (n,)."""
        return self.y_px.astype(np.float64)

    @cached_property
    def quartiles_x(self) -> NDArray[np.float64]:
        """25 %, 50 % and 75 % quantiles of x (linear interpolation)."""
        return np.quantile(self.x, (0.25, 0.5, 0.75))

    @cached_property
    def quartiles_y(self) -> NDArray[np.float64]:
        """25 %, 50 % and 75 % quantiles of y (linear interpolation)."""
        return np.quantile(self.y, (0.25, 0.5, 0.75))

    @cached_property
    def y_counts(self) -> NDArray[np.int64]:
        """How often each distinct y occurs."""
        return np.unique(self.y_px, return_counts=True)[1]

    @cached_property
    def moments_x(self) -> "Moments":
        """Mean and central moments of x."""
        return Moments.of(self.x)

    @cached_property
    def moments_y(self) -> "Moments":
        """Mean and central moments of y."""
        return Moments.of(self.y)

    @cached_property
    def principal(self) -> "PrincipalAxes":
        """The principal axes of the scaled cloud."""
        dx, dy = self.x - self.moments_x.mean, self.y - self.moments_y.mean
        return PrincipalAxes.of(self.moments_x.variance, self.moments_y.variance, float(np.mean(dx * dy)))


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, population variance, skewness and excess kurtosis (both 0 where all values are equal)."""

    mean: float
    variance: float
    skewness: float
    kurtosis: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Moments":
        """The moments of values of shape (n,), n >= 1."""
        # Equal values must give exactly zero spread, which rounding of their mean would spoil.
        if values.min() == values.max():
            return cls(float(values[0]), 0.0, 0.0, 0.0)
        mean = values.mean()
        centred = values - mean
        variance = np.mean(centred**2)
        scaled = centred / np.sqrt(variance)
        return cls(float(mean), float(variance), float(np.mean(scaled**3)), float(np.mean(scaled**4) - 3.0))


@dataclass(frozen=True, slots=True)
class PrincipalAxes:
    """Direction of the first principal component and the two shares of the variance.

    ``angle`` is in radians, in (-pi/4, 3 pi/4]: of the two directions of the axis the one whose component
    of largest size is positive is meant, as scikit-learn >= 1.5 has it. A cloud without any direction
    (no spread, or the same in all directions) has angle 0; without spread the shares are one half each.
    """

    angle: float
    first_share: float
    second_share: float

    @classmethod
    def of(cls, variance_x: float, variance_y: float, covariance: float) -> "PrincipalAxes":
        """From the population variances and the covariance of a cloud."""
        total = variance_x + variance_y
        if total <= 0:
            return cls(0.0, 0.5, 0.5)
        half_difference = (variance_x - variance_y) / 2
        radius = np.hypot(half_difference, covariance)
        largest = total / 2 + radius
        # The product form keeps the small eigenvalue of a thin cloud from drowning in rounding.
        smallest = max((variance_x * variance_y - covariance**2) / largest, 0.0)
        angle = 0.5 * np.arctan2(covariance, half_difference) if radius > 0 else 0.0
        # The half angle has cos >= 0; where |sin| is larger and negative, the other direction is meant.
        if angle < -np.pi / 4:
            angle += np.pi
        return cls(float(angle), float(largest / total), float(smallest / total))
