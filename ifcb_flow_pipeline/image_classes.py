"""The classes of images: a classifier taught by a folder of classes, and the images of an archive named by it.

Belongs here: reading, computing and judging put together. Does not belong here: how classes are told
(``detection.images.classifier``), or how tables of them are written (``store.class_files``).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.api import archive_features
from ifcb_flow_pipeline.archive_images import BOX_COLUMNS
from ifcb_flow_pipeline.bins.archive import RawBin
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, Image, RoiTable
from ifcb_flow_pipeline.detection.images.classifier import UNCLASSIFIED, Basis, ClassScores, ImageClassifier
from ifcb_flow_pipeline.detection.images.classifier_training import LabelledImages
from ifcb_flow_pipeline.detection.images.embedding import Backbone
from ifcb_flow_pipeline.detection.images.training import TrainingImage
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.features.images.extract import features_of_images, rounded, sampled_rows
from ifcb_flow_pipeline.store.archive import Archive

#: Images of a folder that are computed together.
_AT_ONCE = 64


def labelled_images(
    images: Iterable[TrainingImage], backbone: Backbone | None, progress: Callable[[int], object] = lambda _: None
) -> LabelledImages:
    """Numbers of images that have a class, to train with. Those too small for features are left out.

    Each is there with copies that are mirrored or turned, for a class stays what it is: eight for the features, four
    for the network's numbers. Raises ModelError where there is none. ``progress`` is told of finished images.
    """
    identity, features, embeddings = [], [], []
    for some in _parts(images):
        pictures = [each.image for each in some]
        identity += [(each.name, each.pid, each.instrument, each.class_name) for each in some]
        features.append(np.stack([_features(copy) for copy in _copies(pictures, 8)], axis=1))
        if backbone is not None:
            embeddings.append(np.stack([backbone.embed(copy) for copy in _copies(pictures, 4)], axis=1))
        progress(len(some))
    if not identity:
        raise ModelError("there are no pictures in folders of classes: one folder for each class is needed")
    values: dict[Basis, NDArray[np.float64]] = {"features": np.concatenate(features)}
    if embeddings:
        values["embedding"] = np.concatenate(embeddings)
    found = LabelledImages(values, *np.array(identity, dtype=str).T)
    return found[~np.isnan(values["features"][:, 0, 0])]


def _parts(images: Iterable[TrainingImage]) -> Iterator[list[TrainingImage]]:
    some: list[TrainingImage] = []
    for each in images:
        some.append(each)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _copies(images: Sequence[Image], n: int) -> Iterator[list[Image]]:
    """The images as they are, and mirrored along either side and both; of eight, all four turned by a quarter, too."""
    for turned in range(n // 4):
        for down, across in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            yield [np.ascontiguousarray(np.rot90(image, turned)[::down, ::across]) for image in images]


def _features(images: Sequence[Image]) -> NDArray[np.float64]:
    return rounded(features_of_images(images)).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class ClassifiedBin:
    """The images of one bin that were looked at: ``row``, their ADC rows, counted from 0, shape (n,), and ``scores``.

    ``status``: ``ok``, ``no_roi``, ``no_images`` or ``unreadable``, with the ``reason``; ``n_images``: of the bin;
    ``volume_ml``: that was looked at, NaN where it is not known.
    """

    pid: str
    status: str
    reason: str
    n_images: int
    volume_ml: float
    row: NDArray[np.int64]
    scores: ClassScores


def classified_bins(
    archive: Archive,
    pids: Sequence[str] | None,
    classifier: ImageClassifier,
    backbone: Backbone | None,
    per_bin: int = 0,
) -> Iterator[ClassifiedBin]:
    """The bins of an archive, all or those named, in order of time. ``per_bin``: images looked at, spread over the run
    (0: all). Never raises on a bad bin. Raises ArchiveError where the directory cannot be listed.
    """
    wanted = None if pids is None else set(pids)
    raws = [raw for raw in archive.scan().bins if wanted is None or raw.bin_id.pid in wanted]
    volumes = _volumes(archive, [raw.bin_id.pid for raw in raws])
    for raw in raws:
        yield _classified(archive, raw, classifier, backbone, per_bin, volumes.get(raw.bin_id.pid, np.nan))


def _volumes(archive: Archive, pids: Sequence[str]) -> dict[str, float]:
    table = archive_features(archive, pids, FeatureSettings())
    found = zip(table.column("pid").to_pylist(), table.column("volume_ml").to_pylist(), strict=True)
    return {pid: np.nan if volume is None else float(volume) for pid, volume in found}


def _classified(
    archive: Archive,
    raw: RawBin,
    classifier: ImageClassifier,
    backbone: Backbone | None,
    per_bin: int,
    volume_ml: float,
) -> ClassifiedBin:
    pid = raw.bin_id.pid

    def without(status: str, reason: str) -> ClassifiedBin:
        return ClassifiedBin(
            pid, status, reason, 0, volume_ml, np.empty(0, np.int64), classifier.judge(numbers_of([], backbone))
        )

    adc, roi = raw.path("adc"), raw.path("roi")
    if adc is None or roi is None or not raw.size("roi"):
        return without("no_roi", "the bin has no .roi file with images")
    read = archive.read_bin(pid, adc, None, BOX_COLUMNS)
    if read.status != "ok":
        return without("no_images" if read.status == "empty" else read.status, read.reason)
    columns = read.adc.columns
    table = RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], FIRST_BYTE[raw.bin_id.schema])
    try:
        images = archive.read_images(roi, table, sampled_rows(table, per_bin, pid).tolist()).images
    except OSError as error:
        return without("unreadable", f"cannot read {roi}: {error.strerror or error}")
    if not images:
        return without("no_images", "no trigger of the bin gave an image that can be read")
    scores = classifier.judge(numbers_of(list(images.values()), backbone))
    n_images = len(table.rows_with_image())
    return ClassifiedBin(pid, "ok", "", n_images, volume_ml, np.array(list(images), np.int64), scores)


def numbers_of(images: Sequence[Image], backbone: Backbone | None) -> dict[Basis, NDArray[np.float64]]:
    """What classifiers take of images: their features, and the network's numbers where it is there."""
    features: dict[Basis, NDArray[np.float64]] = {"features": _features(images)}
    return features if backbone is None else {**features, "embedding": backbone.embed(images)}


def abundance_table(bins: Iterable[ClassifiedBin]) -> pa.Table:
    """A row for each bin and class, UNCLASSIFIED and bins without images included: ``pid``, ``status``, ``class``,
    ``n_named``, images named so; ``n_estimated``, of all images of the bin, where only some were looked at; ``per_ml``,
    that over the volume; ``volume_ml``, ``n_looked_at``, ``n_images``, ``basis``.
    """
    rows = [row for each in bins for row in _abundances(each)]
    types = {"n_named": pa.int64(), "n_looked_at": pa.int64(), "n_images": pa.int64(), "n_estimated": pa.float64(),
             "per_ml": pa.float64(), "volume_ml": pa.float64()}  # fmt: skip
    names = (
        "pid",
        "status",
        "class",
        "n_named",
        "n_estimated",
        "per_ml",
        "volume_ml",
        "n_looked_at",
        "n_images",
        "basis",
    )
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, pa.string())) for name in names]))


def _abundances(found: ClassifiedBin) -> Iterator[dict[str, object]]:
    looked_at = len(found.row)
    known_volume = found.volume_ml > 0
    for name in (*found.scores.classes, UNCLASSIFIED) if looked_at else ("",):
        n = int(np.sum(found.scores.name == name))
        estimated = n * found.n_images / looked_at if looked_at else None
        yield {
            "pid": found.pid,
            "status": found.status,
            "class": name,
            "n_named": n,
            "n_estimated": estimated,
            "per_ml": estimated / found.volume_ml if known_volume and estimated is not None else None,
            "volume_ml": found.volume_ml if known_volume else None,
            "n_looked_at": looked_at,
            "n_images": found.n_images,
            "basis": found.scores.basis,
        }
