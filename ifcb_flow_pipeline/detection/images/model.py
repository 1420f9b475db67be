"""Judging images: which named fault each has, and how odd it is; for an archive of any instrument."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.levels import Levels, model_rows
from ifcb_flow_pipeline.detection.images.model_card import FALSE_ALARMS, ImageModelCard
from ifcb_flow_pipeline.detection.images.oddness import Known, Oddness, known_images
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN, FaultRecogniser


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """What a model says of n images.

    ``probability``: of each fault in ``kinds``, shape (n, kinds); ``fault_probability``: of any, (n,), higher is worse;
    ``kind``: the most probable fault where the image is ``flagged``, else ``clean``, empty where an image has no
    features, (n,). ``oddness``: (n,), higher is odder, NaN without features; ``odd``: beyond the model's threshold.
    ``class_name``: the known class that the image is most like, (n,); a class only where it is not odd.
    """

    kinds: tuple[str, ...]
    probability: NDArray[np.float64]
    fault_probability: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    kind: NDArray[np.str_]
    oddness: NDArray[np.float64]
    odd: NDArray[np.bool_]
    class_name: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class ImageModel:
    """A recogniser of named faults and a measure of oddness, with what is usual for the instruments it has seen.

    ``levels``: by instrument. ``usual``: 5 % and 95 % quantiles of each feature over the clean training images, shape
    (len(NAMES), 2).
    """

    card: ImageModelCard
    recogniser: FaultRecogniser
    oddness: Oddness
    levels: Mapping[str, Levels]
    usual: NDArray[np.float64]

    def levels_of(self, instrument: str, history: NDArray[np.float64] | None = None) -> Levels | None:
        """What is usual for an instrument: by its own ``history``, features of images of shape (n, len(NAMES)), most of
        them healthy; else by the images that the model was trained on; None where it has seen none.
        """
        own = None if history is None else Levels.of(history)
        return own or self.levels.get(instrument)

    def levels_by(self, history: NDArray[np.float64]) -> Levels | None:
        """What is usual for an instrument by its own images that are known to be healthy, with the limit that one in a
        hundred of them exceeds; None where they are too few. Of a history with faults in it, ``levels_of`` takes the
        medians only, which they do not move.
        """
        own = Levels.of(history)
        if own is None:
            return None
        fault = 1 - self.recogniser.predict(model_rows(history, own))[:, 0]
        return replace(own, limit=float(np.nanquantile(fault, 1 - FALSE_ALARMS)))

    def judge(self, values: NDArray[np.float64], levels: Levels | None = None) -> ImageScores:
        """Judge images by their features, shape (n, len(NAMES)), as ``features.images.extract`` gives them.

        ``levels``: what is usual for their instrument (``levels_of``). Without them dim and bright images, and most
        faint noise, cannot be told from another instrument's habits.
        """
        rows = model_rows(values, levels)
        known = ~np.isnan(values[:, 0])
        probability = self.recogniser.predict(rows)
        fault = 1 - probability[:, 0]
        with np.errstate(invalid="ignore"):
            flagged = fault > self.threshold(levels)
        best = np.argmax(np.nan_to_num(probability[:, 1:]), axis=1)
        kinds = np.array(self.recogniser.kinds_[1:])
        oddness, nearest = self.oddness.score(values)
        with np.errstate(invalid="ignore"):
            odd = oddness > self.card.odd_threshold
        return ImageScores(
            kinds=self.recogniser.kinds_[1:],
            probability=probability[:, 1:],
            fault_probability=fault,
            flagged=flagged,
            kind=np.where(known, np.where(flagged, kinds[best], CLEAN), ""),
            oddness=oddness,
            odd=odd,
            class_name=np.where(known & ~odd, nearest, ""),
        )

    def threshold(self, levels: Levels | None) -> float:
        """The probability of a fault beyond which an image is flagged: the model's, or the instrument's own limit where
        that is higher.
        """
        return max(self.card.fault_threshold(levels is not None), levels.limit if levels else 0.0)

    def nearest(self, values: NDArray[np.float64]) -> list[list[Known]]:
        """The five known images that each image is most like, nearest first; none where an image has no features."""
        return known_images(self.oddness, values)
