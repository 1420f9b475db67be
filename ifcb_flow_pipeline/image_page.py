"""A page of pictures: the oddest images of a bin."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.archive_images import BOX_COLUMNS, own_levels, read_bin_images, reasons_of
from ifcb_flow_pipeline.bins.archive import RawBin
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, Image, RoiTable
from ifcb_flow_pipeline.detection.images.explanations import unusual
from ifcb_flow_pipeline.detection.images.model import ImageModel, ImageScores
from ifcb_flow_pipeline.detection.images.oddness import Known
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.image_files import image_id

#: Pictures in a row of the page.
_ACROSS = 6


class NoImagesError(FlowError):
    """A bin that has no images to show; the message says why."""


@dataclass(frozen=True, slots=True)
class OddPage:
    """``picture``: PNG; ``lines``: what is said of each image, oddest first; ``n_images``: looked at."""

    pid: str
    picture: bytes
    lines: tuple[str, ...]
    n_images: int


def odd_page(archive: Archive, pid: str, model: ImageModel, per_bin: int, number: int) -> OddPage:
    """The ``number`` oddest of ``per_bin`` images of a bin (0: of all). Raises NoImagesError where it has none."""
    raw = _found(archive, pid)
    found = read_bin_images(archive, raw, per_bin)
    if not len(found.features.row):
        raise NoImagesError(f"{raw.bin_id.pid}: {found.reason or 'it has no images'}")
    levels = own_levels([found], model)[found.instrument]
    scores = model.judge(found.features.values, levels)
    order = np.argsort(-np.nan_to_num(scores.oddness, nan=-np.inf), kind="stable")[:number]
    rows = found.features.row[order]
    words = reasons_of(found.features.values, scores, model, levels)
    images = _images(archive, raw, rows)
    strange = unusual(model, found.features.values[order])
    like = model.nearest(found.features.values[order])
    lines = tuple(
        f"{image_id(found.pid, int(found.features.row[i]))}  oddness {scores.oddness[i]:.1f}"
        f"{'  odd' if scores.odd[i] else ''}{_fault(scores, int(i))}"
        f"{_told(words[i] or '; '.join(reason.words for reason in reasons))}{_told(_likeness(known))}"
        for i, reasons, known in zip(order, strange, like, strict=True)
    )
    titles = [f"{row + 1}{_fault(scores, int(i))}" for row, i in zip(rows.tolist(), order, strict=True)]
    pictures = [images.get(row) for row in rows.tolist()]
    return OddPage(found.pid, _drawn(found.pid, pictures, titles), lines, len(found.features.row))


def _told(text: str) -> str:
    return f"  {text}" if text else ""


def _likeness(known: list[Known]) -> str:
    """Of which classes the nearest known images are: ``nearest: 4 Chaetoceros, 1 Octactis``."""
    counts = Counter(each.class_name for each in known)
    return "nearest: " + ", ".join(f"{n} {name}" for name, n in counts.most_common()) if counts else ""


def _fault(scores: ImageScores, i: int) -> str:
    if not scores.flagged[i]:
        return ""
    return f"  {str(scores.kind[i]).replace('_', ' ')} {scores.fault_probability[i]:.2f}"


def _found(archive: Archive, pid: str) -> RawBin:
    for raw in archive.scan().bins:
        if raw.bin_id.pid == pid or raw.bin_id.pid == pid.upper():
            return raw
    raise NoImagesError(f"there is no bin {pid} in {archive.root}")


def _images(archive: Archive, raw: RawBin, rows: NDArray[np.int64]) -> Mapping[int, Image]:
    adc, roi = raw.path("adc"), raw.path("roi")
    if adc is None or roi is None:
        return {}
    columns = archive.read_bin(raw.bin_id.pid, adc, None, BOX_COLUMNS).adc.columns
    table = RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], FIRST_BYTE[raw.bin_id.schema])
    return archive.read_images(roi, table, rows.tolist()).images


def _drawn(pid: str, images: list[Image | None], titles: list[str]) -> bytes:
    """A PNG of images in rows, each in its own scale, with its size in px."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = -(-len(images) // _ACROSS)
    figure = Figure(figsize=(2 * _ACROSS, 2.1 * down + 0.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"Oddest images of {pid}, oddest first: row of the ADC file, fault, size in px", fontsize=10)
    for place, axes in enumerate(figure.subplots(down, _ACROSS, squeeze=False).ravel()):
        axes.set_axis_off()
        if place < len(images) and (image := images[place]) is not None:
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(f"{titles[place]}\n{image.shape[1]} x {image.shape[0]}", fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
