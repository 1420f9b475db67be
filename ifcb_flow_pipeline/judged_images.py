"""Images of one bin, judged, as people look at them: in which order, which of them, and which look alike.

Belongs here: choosing and ordering judged images. Does not belong here: reading (``store.archive``), what a feature or
a score is (``features.images``, ``detection.images``), pictures (``image_page``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.detection.images.explanations import Reason, explain
from ifcb_flow_pipeline.detection.images.levels import Levels
from ifcb_flow_pipeline.detection.images.model import ImageModel, ImageScores
from ifcb_flow_pipeline.detection.images.model_card import FALSE_ALARMS
from ifcb_flow_pipeline.detection.images.oddness import Known
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.features.images.extract import features_of_images, rounded

Order = Literal["oddness", "fault", "class", "size", "time"]

#: Orders that images can be looked at in; each has the most telling first.
ORDERS: tuple[Order, ...] = ("oddness", "fault", "class", "size", "time")


_BY_CODE: Mapping[str, Order] = {order: order for order in ORDERS}


def order_named(code: str | None) -> Order:
    """The order of this name; by oddness where there is none."""
    return _BY_CODE.get(code or "", "oddness")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What images of one instrument are like: ``levels``, and the oddness that one in a hundred of its healthy images
    exceeds. Of an instrument whose images nobody has looked at, what the model's training knows.
    """

    levels: Levels | None = None
    odd_limit: float = -np.inf

    @classmethod
    def of(cls, healthy: NDArray[np.float64], model: ImageModel, instrument: str) -> "Baseline":
        """By features of images of healthy bins of the instrument, shape (n, len(NAMES)); too few say nothing."""
        levels = model.levels_by(healthy) if len(healthy) else None
        if levels is None:
            return cls(model.levels_of(instrument))
        return cls(levels, float(np.nanquantile(model.oddness.score(healthy)[0], 1 - FALSE_ALARMS)))


@dataclass(frozen=True, slots=True, eq=False)
class JudgedImages:
    """n images of a bin. ``row``: of the .adc file, counted from 0, ascending, shape (n,); ``area_px``: (n,);
    ``values``: their features as tables store them, (n, len(NAMES)); ``scores``: what ``model`` says of them beside
    the ``baseline`` of the instrument.
    """

    row: NDArray[np.int64]
    area_px: NDArray[np.int64]
    values: NDArray[np.float64]
    scores: ImageScores
    model: ImageModel
    baseline: Baseline

    @classmethod
    def of(cls, images: Mapping[int, Image], model: ImageModel, baseline: Baseline) -> "JudgedImages":
        """Judge images, given by row."""
        rows = sorted(images)
        area = np.array([images[row].size for row in rows], np.int64)
        values = rounded(features_of_images([images[row] for row in rows])).astype(np.float64)
        scores = model.judge(values, baseline.levels)
        with np.errstate(invalid="ignore"):
            odd = scores.odd & (scores.oddness > baseline.odd_limit)
        return cls(np.array(rows, np.int64), area, values, replace(scores, odd=odd), model, baseline)

    def __len__(self) -> int:
        return self.row.size

    def place_of(self, row: int) -> int | None:
        """The place of the image of a row among these; None where it is not among them."""
        found = np.searchsorted(self.row, row)
        return int(found) if found < len(self) and self.row[found] == row else None

    def order(self, by: Order) -> NDArray[np.intp]:
        """Places of all images in an order; those without a value come last, those alike in order of the run."""
        unnamed = self.scores.class_name == ""
        keys: Mapping[Order, Sequence[NDArray]] = {
            "oddness": (-np.nan_to_num(self.scores.oddness, nan=-np.inf),),
            "fault": (-np.nan_to_num(self.scores.fault_probability, nan=-np.inf),),
            "class": (-np.nan_to_num(self.scores.oddness, nan=-np.inf), self.scores.class_name, unnamed),
            "size": (-self.area_px,),
            "time": (self.row,),
        }
        return np.lexsort(keys[by])

    def of_kind(self, places: NDArray[np.intp], faults: Sequence[str], classes: Sequence[str]) -> NDArray[np.intp]:
        """Those of these places whose image has one of the faults (or CLEAN), and is of one of the classes (empty: of
        none that is known); no choice takes all.
        """
        keep = np.ones(len(places), dtype=bool)
        if faults:
            keep &= np.isin(self.scores.kind[places], list(faults))
        if classes:
            keep &= np.isin(self.scores.class_name[places], list(classes))
        return places[keep]

    def reasons(self, place: int) -> list[Reason]:
        """What speaks for the fault of an image, strongest first; for its likeliest one where it is not flagged."""
        kind = self.likeliest(place)
        return explain(self.model, self.values[place : place + 1], kind, self.baseline.levels)[0] if kind else []

    def likeliest(self, place: int) -> str:
        """The likeliest fault of an image, flagged or not; empty where it has no features."""
        probability = self.scores.probability[place]
        return "" if np.isnan(probability).any() else self.scores.kinds[int(np.argmax(probability))]

    def nearest_known(self, place: int) -> list[Known]:
        """The known images that an image is most like, nearest first."""
        return self.model.nearest(self.values[place : place + 1])[0]

    def similar_to(self, values: NDArray[np.float64], number: int) -> NDArray[np.intp]:
        """The places of the images that are most like one of these features, shape (len(NAMES),), nearest first."""
        scaler = self.model.oddness.scaler
        with np.errstate(invalid="ignore"):
            distance = ((scaler.transform(self.values) - scaler.transform(values[None])) ** 2).mean(axis=1)
        found = np.argsort(np.nan_to_num(distance, nan=np.inf), kind="stable")
        return found[np.isfinite(distance[found])][:number]

    @property
    def counts(self) -> dict[str, int]:
        """How many images have each fault, CLEAN among them, most frequent first; images without features left out."""
        names, numbers = np.unique(self.scores.kind[self.scores.kind != ""], return_counts=True)
        return {str(names[i]): int(numbers[i]) for i in np.argsort(-numbers, kind="stable")}

    @property
    def classes(self) -> list[str]:
        """The known classes of which there are images, by name."""
        return sorted(set(self.scores.class_name.tolist()) - {""})

    @property
    def n_flagged(self) -> int:
        """How many images have a fault."""
        return int(np.count_nonzero((self.scores.kind != "") & (self.scores.kind != CLEAN)))
