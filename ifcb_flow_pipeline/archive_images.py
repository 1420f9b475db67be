"""The images of an archive, judged: a row for each image that is looked at, and the oddest ones of a bin.

Belongs here: reading, computing and judging put together. Does not belong here: what a feature or a score is
(``features.images``, ``detection.images``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
from joblib import Parallel, delayed
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.archive import RawBin
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, RoiTable
from ifcb_flow_pipeline.detection.images.explanations import explain
from ifcb_flow_pipeline.detection.images.levels import Levels
from ifcb_flow_pipeline.detection.images.model import ImageModel, ImageScores
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import (
    IMAGES_PER_BIN,
    ImageFeatures,
    features_of_bin,
    rounded,
    sampled_rows,
)
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.image_files import image_id

#: What must be known of an image to find it in its file, and in the camera frame.
BOX_COLUMNS = ("x_px", "y_px", "width_px", "height_px", "start_byte")

#: An instrument's own bins tell what is usual for it where there are so many: fewer may all have the same fault.
MIN_BINS = 5


@dataclass(frozen=True, slots=True, eq=False)
class BinOfImages:
    """The images of one bin that were looked at. ``status``: ``ok``, ``no_roi``, ``no_images`` or ``unreadable``, with
    the ``reason``; ``boxes``: BOX_COLUMNS of the images; features of images as tables store them.
    """

    pid: str
    instrument: str
    status: str
    reason: str
    boxes: Mapping[str, NDArray]
    features: ImageFeatures


def read_bin_images(archive: Archive, raw: RawBin, per_bin: int = IMAGES_PER_BIN) -> BinOfImages:
    """Features of ``per_bin`` images of a bin, spread over its run (0: of all). Never raises on a bad bin."""
    pid = raw.bin_id.pid
    adc, roi = raw.path("adc"), raw.path("roi")
    if adc is None or roi is None or not raw.size("roi"):
        return _without(raw, "no_roi", "the bin has no .roi file with images")
    read = archive.read_bin(pid, adc, None, BOX_COLUMNS)
    if read.status != "ok":
        return _without(raw, "no_images" if read.status == "empty" else read.status, read.reason)
    columns = read.adc.columns
    table = RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], FIRST_BYTE[raw.bin_id.schema])
    rows = sampled_rows(table, per_bin, pid)
    if not rows.size:
        return _without(raw, "no_images", "no trigger of the bin gave an image")
    try:
        found = features_of_file(archive, roi, table, rows)
    except OSError as error:
        return _without(raw, "unreadable", f"cannot read {roi}: {error.strerror or error}")
    stored = ImageFeatures(found.row, rounded(found.values).astype(np.float64), found.status)
    boxes = {name: columns[name][rows] for name in BOX_COLUMNS}
    return BinOfImages(pid, raw.bin_id.instrument, "ok", "", boxes, stored)


def features_of_file(archive: Archive, roi: str, table: RoiTable, rows: NDArray[np.int64]) -> ImageFeatures:
    """Features of the images of some ADC rows, from a .roi file. Raises OSError where it cannot be read."""
    blocks = archive.image_blocks(roi, table, rows)
    parts = [features_of_bin(block.content, block.table, block.rows) for block in blocks]
    row, values, status = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "values", "status")
    )
    return ImageFeatures(row, values, status)


def read_archive_images(
    archive: Archive,
    pids: Sequence[str] | None = None,
    per_bin: int = IMAGES_PER_BIN,
    n_jobs: int = -1,
    progress: Callable[[int], object] = lambda _: None,
) -> list[BinOfImages]:
    """The images of the bins of a directory, of all or of those named, in order of time. ``progress`` is told of
    finished bins. Raises ArchiveError where the directory cannot be listed.
    """
    wanted = None if pids is None else set(pids)
    raws = [raw for raw in archive.scan().bins if wanted is None or raw.bin_id.pid in wanted]
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    results = cast("Iterable[BinOfImages]", parallel(delayed(read_bin_images)(archive, raw, per_bin) for raw in raws))
    found = []
    for each in results:
        found.append(each)
        progress(1)
    return found


def own_levels(bins: Sequence[BinOfImages], model: ImageModel) -> dict[str, Levels | None]:
    """What is usual for each instrument: by these bins where there are MIN_BINS of it, else by the model's training."""
    found = {}
    for instrument in {each.instrument for each in bins}:
        mine = [each.features.values for each in bins if each.instrument == instrument and len(each.features.row)]
        history = np.concatenate(mine) if len(mine) >= MIN_BINS else None
        found[instrument] = model.levels_of(instrument, history)
    return found


def image_table(bins: Sequence[BinOfImages], model: ImageModel) -> pa.Table:
    """A row for each image: which it is, what the model says of it and why, its features; likeliest faults first."""
    levels = own_levels(bins, model)
    tables = [_rows_of(each, model, levels[each.instrument]) for each in bins if len(each.features.row)]
    if not tables:
        return pa.table({"image": pa.array([], pa.string())})
    table = pa.concat_tables(tables)
    return table.sort_by([("fault_probability", "descending"), ("oddness", "descending"), ("image", "ascending")])


def _rows_of(found: BinOfImages, model: ImageModel, levels: Levels | None) -> pa.Table:
    features = found.features
    scores = model.judge(features.values, levels)
    columns: dict[str, Any] = {
        "image": [image_id(found.pid, row) for row in features.row.tolist()],
        "pid": [found.pid] * len(features.row),
        "instrument": [found.instrument] * len(features.row),
        "status": features.status,
        "fault_probability": _three_digits(scores.fault_probability),
        "fault": scores.kind,
        "oddness": _three_digits(scores.oddness),
        "odd": scores.odd,
        "class": scores.class_name,
        "reasons": reasons_of(features.values, scores, model, levels),
        **{name: found.boxes[name] for name in BOX_COLUMNS},
        **{name: features.values[:, at].astype(np.float32) for at, name in enumerate(NAMES)},
    }
    return pa.table(columns)


def reasons_of(values: NDArray[np.float64], scores: ImageScores, model: ImageModel, levels: Levels | None) -> list[str]:
    """Why each image is flagged, in words; empty where it is not."""
    words = [""] * len(values)
    for kind in np.unique(scores.kind[scores.flagged]):
        at = np.flatnonzero(scores.flagged & (scores.kind == kind))
        for i, reasons in zip(at, explain(model, values[at], str(kind), levels), strict=True):
            words[i] = "; ".join(reason.words for reason in reasons)
    return words


def _three_digits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(values, 3)


def _without(raw: RawBin, status: str, reason: str) -> BinOfImages:
    nothing = ImageFeatures(np.empty(0, np.int64), np.empty((0, len(NAMES))), np.empty(0, "<U10"))
    return BinOfImages(raw.bin_id.pid, raw.bin_id.instrument, status, reason, {}, nothing)
