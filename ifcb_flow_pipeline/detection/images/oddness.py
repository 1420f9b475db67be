"""How odd an image is beside the images that are known: for classes and faults that nobody has named.

The parts take ``rows``, standardised features, shape (n, d), and ``classes``, the class of each, shape (n,), to learn
from; their scores have shape (n,), and more is odder. ``Oddness`` puts them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.levels import RELATIVE
from ifcb_flow_pipeline.features.images.catalogue import NAMES

#: Neighbours whose mean distance is taken.
NEIGHBOURS = 5

#: What an image is compared by: nothing that is a matter of the instrument.
COLUMNS: tuple[str, ...] = tuple(name for name in NAMES if name not in RELATIVE)
AT = np.array([NAMES.index(name) for name in COLUMNS])

#: Standardised values are cut off here: one feature alone must not decide.
_LIMIT = 8.0

_Floats = NDArray[np.float64]


class Scaler:
    """Features less their median, over their robust standard deviation; learned: ``centre_``, ``scale_`` (d,)."""

    def fit(self, values: _Floats) -> "Scaler":
        """``values``: shape (n, len(NAMES))."""
        columns = values[:, AT]
        self.centre_ = np.median(columns, axis=0)
        spread = 1.4826 * np.median(np.abs(columns - self.centre_), axis=0)
        # Where most values are equal, such as no pixel touching the border, the plain deviation serves.
        self.scale_ = np.maximum(np.maximum(spread, 0.3 * columns.std(axis=0)), 1e-6)
        return self

    def transform(self, values: _Floats) -> _Floats:
        """Standardised features, shape (n, len(COLUMNS)), within +-8; NaN where an image has none."""
        return np.clip((values[:, AT] - self.centre_) / self.scale_, -_LIMIT, _LIMIT)


class ClassGaussians:
    """Mahalanobis distance from the nearest class, each with its own shrunk covariance (Ledoit and Wolf 2004).

    Learned: ``means_`` (classes, d), ``precisions_`` (classes, d, d).
    """

    def fit(self, rows: _Floats, classes: Sequence[str] | NDArray) -> "ClassGaussians":
        """Fit every class."""
        from sklearn.covariance import ledoit_wolf

        groups = [rows[np.asarray(classes) == name] for name in np.unique(classes)]
        self.means_ = np.array([group.mean(axis=0) for group in groups])
        self.precisions_ = np.array([np.linalg.inv(ledoit_wolf(group)[0]) for group in groups])
        return self

    def score(self, rows: _Floats) -> _Floats:
        """Logarithm of the distance from the nearest class."""
        squared = [
            np.sum(((rows - mean) @ precision) * (rows - mean), axis=1)
            for mean, precision in zip(self.means_, self.precisions_, strict=True)
        ]
        return 0.5 * np.log(np.maximum(np.min(squared, axis=0), 1e-12))


class Neighbours:
    """Mean distance to the nearest known images. Learned: ``known_`` (n, d)."""

    def fit(self, rows: _Floats) -> "Neighbours":
        """Keep the rows."""
        self.known_ = rows
        return self

    def score(self, rows: _Floats, groups: NDArray | None = None, known_groups: NDArray | None = None) -> _Floats:
        """Logarithm of the distance; with groups, known images of an image's own group do not count."""
        return np.log(np.maximum(self.nearest(rows, groups, known_groups)[1].mean(axis=1), 1e-12))

    def nearest(
        self, rows: _Floats, groups: NDArray | None = None, known_groups: NDArray | None = None
    ) -> tuple[NDArray[np.intp], _Floats]:
        """Numbers and distances of the nearest known images, nearest first, each of shape (n, NEIGHBOURS)."""
        squared = np.sum(rows**2, axis=1)[:, None] + np.sum(self.known_**2, axis=1) - 2 * rows @ self.known_.T
        if groups is not None and known_groups is not None:
            squared[groups[:, None] == known_groups[None, :]] = np.inf
        found = np.argpartition(squared, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        distance = np.sqrt(np.maximum(np.take_along_axis(squared, found, axis=1), 0))
        order = np.argsort(distance, axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(distance, order, axis=1)


class ClassSpace:
    """The directions that tell classes apart (linear discriminants, shrunk). Learned: ``directions_`` (d, k)."""

    def fit(self, rows: _Floats, classes: Sequence[str] | NDArray) -> "ClassSpace":
        """Find them."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        found = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(rows, np.asarray(classes))
        self.directions_ = np.asarray(found.scalings_)[:, : len(found.classes_) - 1]
        return self

    def transform(self, rows: _Floats) -> _Floats:
        """Coordinates, shape (n, k), of spread 1 within classes."""
        return rows @ self.directions_


class Space(Protocol):
    """Numbers of images as they are compared. ``fit(values)`` learns from images without NaN; ``transform(values)``
    gives coordinates, shape (n, d), NaN where an image has none.
    """

    def fit(self, values: _Floats) -> Any: ...  # noqa: D102 - said above

    def transform(self, values: _Floats) -> _Floats: ...  # noqa: D102 - said above


class Oddness:
    """The sum of two distances from the known images, each standardised over them: to the nearest ones by all features,
    and to the nearest ones in the space that tells classes apart.

    ``space``: in which images are compared; that of the features unless another is given; ``only_near``: without the
    first of the two distances.
    ``fit(values, classes, names, groups)``: what the space takes, (n, .) without NaN, a class, a name and a group (the
    bin) for each. Images of one group are not compared with each other, for they may show the same cell.
    ``score(values)``: oddness, shape (n,), higher is odder, around 0 for known images, NaN where an image has no
    features; and the class that most of the nearest known images of each have, empty where it has none.
    """

    def __init__(self, space: Space | None = None, only_near: bool = False) -> None:
        self.scaler = Scaler() if space is None else space
        self.only_near = only_near

    def fit(self, values: _Floats, classes: Sequence[str], names: Sequence[str], groups: Sequence[str]) -> "Oddness":
        """Learn what is known."""
        # As a file keeps them, so that a model is the same before and after it is written.
        scaler = self.scaler
        scaler.fit(values)
        known = scaler.transform(values).astype(np.float16).astype(np.float64)
        space = ClassSpace().fit(known, classes)
        self._set(scaler, known, space.directions_, classes, names)
        codes = np.unique(np.asarray(groups), return_inverse=True)[1]
        parts = self._parts(known, codes, codes)
        self.centres_ = parts.mean(axis=1)
        self.spreads_ = np.maximum(parts.std(axis=1), 1e-6)
        return self

    @classmethod
    def of(
        cls,
        scaler: Space,
        known: _Floats,
        directions: _Floats,
        scales: _Floats,
        classes: Sequence[str],
        names: Sequence[str],
    ) -> "Oddness":
        """What was learned before; ``scales``: centres and spreads of the parts, shape (2, parts)."""
        found = cls(scaler, only_near=scales.shape[1] == 1)
        found._set(scaler, known, directions, classes, names)
        found.centres_, found.spreads_ = scales
        return found

    def _set(
        self, scaler: Space, known: _Floats, directions: _Floats, classes: Sequence[str], names: Sequence[str]
    ) -> None:
        self.scaler = scaler
        self.classes, self.names = tuple(map(str, classes)), tuple(map(str, names))
        names_, self._codes = np.unique(np.asarray(self.classes), return_inverse=True)
        self.class_names = tuple(names_.tolist())
        self.space = ClassSpace()
        self.space.directions_ = directions
        self.all = Neighbours().fit(known)
        self.near = Neighbours().fit(self.space.transform(known))

    def _parts(self, rows: _Floats, groups: NDArray | None = None, known: NDArray | None = None) -> _Floats:
        """The distances of standardised images, not yet standardised themselves, shape (parts, n)."""
        near = self.near.score(self.space.transform(rows), groups, known)
        return np.array([near] if self.only_near else [self.all.score(rows, groups, known), near])

    def score(self, values: _Floats) -> tuple[_Floats, NDArray[np.str_]]:
        """Oddness and nearest class of each image, each of shape (n,)."""
        rows = self.scaler.transform(values)
        whole: NDArray[np.bool_] = np.all(np.isfinite(rows), axis=1)
        oddness = np.full(len(rows), np.nan)
        nearest = np.full(len(rows), "", dtype=f"<U{max(map(len, self.class_names))}")
        if whole.any():
            parts = (self._parts(rows[whole]) - self.centres_[:, None]) / self.spreads_[:, None]
            oddness[whole] = parts.sum(axis=0)
            numbers, _ = self.near.nearest(self.space.transform(rows[whole]))
            nearest[whole] = np.array(self.class_names)[_most_frequent(self._codes[numbers])]
        return oddness, nearest

    def nearest(self, values: _Floats) -> tuple[NDArray[np.intp], _Floats]:
        """Numbers and distances of the nearest known images, each of shape (n, NEIGHBOURS); distances are NaN where an
        image has no features.
        """
        rows = self.scaler.transform(values)
        missing: NDArray[np.bool_] = np.any(np.isnan(rows), axis=1)
        numbers, distances = self.near.nearest(self.space.transform(np.where(missing[:, None], 0, rows)))
        return numbers, np.where(missing[:, None], np.nan, distances)


@dataclass(frozen=True, slots=True)
class Known:
    """A known image: its name, its class, and how far away it is (in the space that tells classes apart)."""

    name: str
    class_name: str
    distance: float


def known_images(oddness: Oddness, values: _Floats) -> list[list[Known]]:
    """The known images that each image is most like, nearest first; none where an image has no features."""
    numbers, distances = oddness.nearest(values)
    return [
        [] if np.isnan(row).any() else [
            Known(oddness.names[number], oddness.classes[number], float(distance))
            for number, distance in zip(found, row, strict=True)
        ]
        for found, row in zip(numbers, distances, strict=True)
    ]  # fmt: skip


def _most_frequent(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """The most frequent number of each row of small numbers, of several the first."""
    counts = np.sum(codes[:, :, None] == codes[:, None, :], axis=2)
    return np.take_along_axis(codes, np.argmax(counts, axis=1)[:, None], axis=1)[:, 0]
