"""Pages of pictures: many images of a bin on one sheet, and the page of its oddest ones."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
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

#: Camera pixels to a micrometre, as ifcb-analysis and the IFCB dashboard have it; instruments differ by a fifth.
PX_PER_UM = 3.4

#: Scales that a sheet may have, largest first: one for all of its images, so that sizes can be compared.
_SCALES = (2.0, 1.5, 1.0, 0.75, 0.5, 1 / 3, 0.25, 1 / 6, 0.125)

#: Between the images of a sheet, in px.
_GAP = 6

#: Lengths that a scale bar may have, in micrometres.
_BARS_UM = (5, 10, 20, 50, 100, 200)


class NoImagesError(FlowError):
    """A bin that has no images to show; the message says why."""


@dataclass(frozen=True, slots=True)
class OddPage:
    """``picture``: PNG; ``lines``: what is said of each image, oddest first; ``n_images``: looked at."""

    pid: str
    picture: bytes
    lines: tuple[str, ...]
    n_images: int


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Many images on one picture, at one scale.

    ``picture``: PNG, clear between the images; ``width``, ``height``: its size in px; ``boxes``: x, y, width and height
    of each image's cell in px from the top left, shape (n, 4), in the order in which the images were given, with
    ``caption_px`` of room below each; ``scale``: px of the sheet to a px of the camera.
    """

    picture: bytes
    width: int
    height: int
    boxes: NDArray[np.int64]
    scale: float

    @property
    def bar_um(self) -> int:
        """The length of a scale bar of about 60 px, in micrometres."""
        return min(_BARS_UM, key=lambda um: abs(self.px_of(um) - 60))

    def px_of(self, um: float) -> float:
        """So many px of the sheet are a length in micrometres."""
        return um * PX_PER_UM * self.scale


def sheet(images: Sequence[Image], width: int, most_height: int, least_cell: int = 0, caption_px: int = 0) -> Sheet:
    """Images in rows, in the order given, at the largest scale at which all fit into ``width`` x ``most_height`` px.

    Where none of the scales is small enough, the sheet is higher. ``least_cell``: the least width of a cell;
    ``caption_px``: room below each image.
    """
    from PIL import Image as Pillow

    sizes = np.array([image.shape[::-1] for image in images], dtype=float).reshape(-1, 2)
    scale, boxes, height = _layout(sizes, width, most_height, least_cell, caption_px)
    canvas = np.zeros((height, width, 2), dtype=np.uint8)
    for image, (x, y, w, h) in zip(images, boxes.tolist(), strict=True):
        drawn_w, drawn_h = (max(1, min(round(side * scale), width)) for side in image.shape[::-1])
        shown = Pillow.fromarray(image).resize((drawn_w, drawn_h), Pillow.Resampling.BOX if scale < 1 else
                                               Pillow.Resampling.NEAREST)  # fmt: skip
        left = x + (w - drawn_w) // 2
        canvas[y + h - drawn_h : y + h, left : left + drawn_w, 0] = np.asarray(shown)
        canvas[y + h - drawn_h : y + h, left : left + drawn_w, 1] = 255
    picture = io.BytesIO()
    Pillow.fromarray(canvas, "LA").save(picture, format="png")
    return Sheet(picture.getvalue(), width, height, boxes, scale)


def png(image: Image, scale: int = 1) -> bytes:
    """One image as a PNG, each of its pixels as ``scale`` x ``scale``."""
    from PIL import Image as Pillow

    picture = io.BytesIO()
    Pillow.fromarray(np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)).save(picture, format="png")
    return picture.getvalue()


def _layout(
    sizes: NDArray[np.float64], width: int, most_height: int, least_cell: int, caption_px: int
) -> tuple[float, NDArray[np.int64], int]:
    """The largest scale at which images of these sizes fit, where they go, and how high the sheet is."""
    for scale in _SCALES[:-1]:
        boxes, height = _shelves(_scaled(sizes, scale), width, least_cell, caption_px)
        if height <= most_height and not (boxes[:, 2] > width).any():
            return scale, boxes, height
    return _SCALES[-1], *_shelves(_scaled(sizes, _SCALES[-1]), width, least_cell, caption_px)


def _scaled(sizes: NDArray[np.float64], scale: float) -> NDArray[np.int64]:
    return np.maximum(np.rint(sizes * scale), 1).astype(np.int64)


def _shelves(sizes: NDArray[np.int64], width: int, least_cell: int, caption_px: int) -> tuple[NDArray[np.int64], int]:
    """Where images of these sizes (width, height) go, row by row, and how high the sheet is."""
    boxes = np.zeros((len(sizes), 4), dtype=np.int64)
    left, top, first, shelf = _GAP, _GAP, 0, 0
    for number, (w, h) in enumerate(sizes.tolist()):
        cell = max(w, least_cell)
        if left + cell + _GAP > width and left > _GAP:
            top, left, first, shelf = top + shelf + caption_px + _GAP, _GAP, number, 0
        if h > shelf:
            # Images of a row stand on one line.
            boxes[first:number, 1] += h - shelf
            shelf = h
        boxes[number] = left, top + shelf - h, cell, h
        left += cell + _GAP
    return boxes, top + shelf + caption_px + _GAP


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
