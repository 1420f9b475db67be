"""Images of a bin: read from its .roi file, judged by the image model, cached, and drawn as a sheet to click on.

Belongs here: what pages that show images share. Does not belong here: pages.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app import address, charts, data
from app.data import BinRecord, Scored, Stores
from app.theme import image_fault_name
from app.words import count, plain, two_digits
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, Image, Images, RoiTable
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.window_map import WindowMap
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import IMAGES_PER_BIN, features_of_images, rounded, sampled_rows
from ifcb_flow_pipeline.image_page import PX_PER_UM, Sheet, sheet
from ifcb_flow_pipeline.judged_images import Baseline, JudgedImages, Order
from ifcb_flow_pipeline.store.image_files import ready_model
from ifcb_flow_pipeline.store.image_labels import ImageLabel, ImageLabelStore, Kind, latest
from ifcb_flow_pipeline.store.records import RecordError
from ifcb_flow_pipeline.store.tables import RAW_BINS
from ifcb_flow_pipeline.tried_bin import TriedBin
from ifcb_flow_pipeline.window_maps import map_of_images

#: How wide sheets are drawn; a narrower page makes them smaller.
SHEET_PX = 1080

#: Images of a page of a gallery.
PER_PAGE = 48

#: Bins whose judged images are remembered, and images of each healthy bin that its instrument is known by.
_BINS, _BASELINE_IMAGES = 12, 40

#: Reads the images of rows of a bin.
Read = Callable[[Sequence[int]], Images]


@dataclass(frozen=True, slots=True, eq=False)
class BinImages:
    """The images of a bin that were looked at. ``rows``: of all its images; ``read``: gives their pixels by row;
    ``time_s``: of all rows of the .adc file, since the start of the run.
    """

    pid: str
    judged: JudgedImages
    rows: NDArray[np.intp]
    read: Read
    time_s: NDArray[np.float64]

    @property
    def n_images(self) -> int:
        """How many images the bin has."""
        return len(self.rows)

    @property
    def is_sample(self) -> bool:
        """Whether the bin has more images than were looked at."""
        return len(self.judged) < self.n_images


@dataclass(frozen=True, slots=True)
class NoImages:
    """Why there are no images to show, in a sentence."""

    why: str


def of_record(stores: Stores, scored: Scored, record: BinRecord, *, every: bool = False) -> BinImages | NoImages:
    """The images of a stored bin: a sample spread over the run, or all of them."""
    path = record.inventory["roi_path"] if record.inventory is not None else None
    if record.cloud is None or not path:
        return NoImages("No .roi file in the archive for this bin, so no images.")
    table = _table(record.pid, record.cloud)

    def read(rows: Sequence[int]) -> Images:
        return stores.archive.read_images(path, table, rows)

    healthy = data.healthy_bins(scored, record.pid)
    changed = data.changed_clouds(stores, record.day)
    try:
        judged = _judged(stores.home, record.pid, changed, every, healthy, table, read, stores)
    except OSError as error:
        return NoImages(
            f"The images cannot be read: {path}: {error.strerror or error}. Is IFCB_DATA_DIR set for the review app?"
        )
    every_row = table.rows_with_image()
    if not len(judged):
        damaged = "None of the images can be read: the .roi file is damaged."
        return NoImages(damaged if len(every_row) else "No trigger made an image.")
    return BinImages(record.pid, judged, every_row, read, np.asarray(record.cloud["t_s"], dtype=float))


def of_upload(stores: Stores, tried: TriedBin, roi: bytes) -> BinImages | NoImages:
    """The images of a bin that was handed in: a sample spread over its run."""
    table, pid = tried.roi_table, tried.read.pid

    def read(rows: Sequence[int]) -> Images:
        return tried.images(roi, rows)

    healthy = data.healthy_bins(data.read_scored(stores), pid) if stores.stage == "scores" else ()
    baseline = _baseline(stores.home, parse_pid(pid).instrument, healthy, stores)
    found = read(sampled_rows(table, IMAGES_PER_BIN, pid).tolist())
    if not found.images:
        unread = f"{count(len(found.missing), 'image')} could not be read: the .roi file is damaged or cut off."
        return NoImages(unread if found.missing else "No trigger made an image.")
    judged = JudgedImages.of(found.images, image_model(), baseline)
    return BinImages(pid, judged, table.rows_with_image(), read, np.asarray(tried.read.adc.columns["t_s"], dtype=float))


def _table(pid: str, columns: Mapping[str, NDArray]) -> RoiTable:
    return RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], FIRST_BYTE[parse_pid(pid).schema])


@st.cache_resource(max_entries=1, show_spinner=False)
def image_model() -> ImageModel:
    """The model that judges images: the one that comes with the package."""
    return ready_model()


@st.cache_resource(max_entries=_BINS, show_spinner="Looking at the images ...")
def _judged(
    home: object,  # noqa: ARG001 - part of the key
    pid: str,
    changed_ns: int | None,  # noqa: ARG001 - part of the key
    every: bool,
    healthy: tuple[str, ...],
    _roi_table: RoiTable,
    _read: Read,
    _stores: Stores,
) -> JudgedImages:
    rows = sampled_rows(_roi_table, 0 if every else IMAGES_PER_BIN, pid)
    baseline = _baseline(_stores.home, parse_pid(pid).instrument, healthy, _stores)
    return JudgedImages.of(_read(rows.tolist()).images, image_model(), baseline)


@st.cache_resource(max_entries=32, show_spinner=False)
def _baseline(
    home: object,  # noqa: ARG001 - part of the key
    instrument: str,
    healthy: tuple[str, ...],
    _stores: Stores,
) -> Baseline:
    """What images of an instrument are like, by some of each of these healthy bins."""
    read = [_stored_images(_stores, pid, _BASELINE_IMAGES) for pid in healthy]
    found = [features_of_images(list(one[0].values())) for one in read if one is not None]
    values = np.concatenate([np.empty((0, len(NAMES))), *found])
    return Baseline.of(rounded(values).astype(np.float64), image_model(), instrument)


def _stored_images(stores: Stores, pid: str, most: int) -> tuple[dict[int, Image], Mapping[str, NDArray]] | None:
    """Some images of a stored bin by row, and its cloud; None where it has none that can be read."""
    try:
        inventory, (_, cloud) = data.row_of(stores, RAW_BINS, pid), data.read_cloud(stores, pid)
        if cloud is None or inventory is None or not inventory["roi_path"]:
            return None
        table = _table(pid, cloud)
        rows = sampled_rows(table, most, pid).tolist()
        return stores.archive.read_images(inventory["roi_path"], table, rows).images, cloud
    except (OSError, FlowError):
        return None


def window_of(stores: Stores, pid: str) -> tuple[WindowMap, int] | None:
    """The map of the camera window by the images of a stored bin, and of how many images it is; None without any."""
    return _window(stores.home, pid, data.changed_clouds(stores, parse_pid(pid).day), stores)


@st.cache_resource(max_entries=512, show_spinner="Looking at the images ...")
def _window(
    home: object,  # noqa: ARG001 - part of the key
    pid: str,
    changed_ns: int | None,  # noqa: ARG001 - part of the key
    _stores: Stores,
) -> tuple[WindowMap, int] | None:
    found = _stored_images(_stores, pid, IMAGES_PER_BIN)
    if found is None or not found[0]:
        return None
    images, cloud = found
    return map_of_images(images, cloud["x_px"], cloud["y_px"]), len(images)


def image_of(found: BinImages, row: int) -> JudgedImages:
    """The image of a row by itself, also where it is not among those that were looked at; empty where it cannot be
    read.
    """
    judged = found.judged
    return JudgedImages.of(found.read([row]).images, judged.model, judged.baseline)


def labels_of(stores: Stores, pid: str) -> Mapping[int, Mapping[Kind, ImageLabel]]:
    """People's labels of the images of a bin, by number and kind. Raises RecordError where they cannot be read."""
    return latest(ImageLabelStore(stores.home / "labels.sqlite").of_bin(pid))


def known_labels(stores: Stores, pid: str) -> Mapping[int, Mapping[Kind, ImageLabel]]:
    """The same for pictures that need not have them; what cannot be read is said."""
    try:
        return labels_of(stores, pid)
    except RecordError as error:
        st.warning(plain(str(error)))
        return {}


def said_of(judged: JudgedImages, place: int) -> str:
    """What the model says of an image, in a few words."""
    scores = judged.scores
    if not scores.kind[place]:
        return "too small to judge"
    parts = [image_fault_name(str(scores.kind[place]))]
    if scores.flagged[place]:
        parts[0] += f" {scores.fault_probability[place]:.0%}"
    if scores.odd[place]:
        parts.append("unlike any known image")
    elif class_name := class_words(str(scores.class_name[place])):
        parts.append(f"most like {class_name}")
    return ", ".join(parts)


def class_words(name: str) -> str:
    """What a class is called: as its folder, with spaces."""
    return name.replace("_", " ")


def draw_sheet(
    found: BinImages,
    places: NDArray[np.intp],
    key: str,
    open_image: Callable[[int], None] | None,
    *,
    by: Order = "oddness",
    size_px: tuple[int, int] = (SHEET_PX, 1500),
    chosen: int | None = None,
    labels: Mapping[int, Mapping[Kind, ImageLabel]] | None = None,
    blind: bool = False,
) -> None:
    """Draw images on one picture, in this order; a click gives the number of an image to ``open_image``.

    ``by``: what stands below each; ``chosen``: the image that has a frame; ``blind``: nothing is said of any.
    """
    rows = found.judged.row[places]
    read = found.read(rows.tolist())
    there = [i for i, row in enumerate(rows.tolist()) if row in read.images]
    if not there:
        st.caption("None of these images can be read: the .roi file is damaged.")
        return
    caption_px = 0 if blind else charts.SHEET_CAPTION_PX
    drawn = sheet([read.images[int(rows[i])] for i in there], *size_px, least_cell=30 if blind else 64,
                  caption_px=caption_px)  # fmt: skip
    cells = _cells(found, places[there], drawn, by, chosen, labels or {}, blind=blind)
    address = "data:image/png;base64," + base64.b64encode(drawn.picture).decode()
    spec = charts.sheet(address, (drawn.width, drawn.height), cells, (f"{drawn.bar_um} µm", drawn.px_of(drawn.bar_um)))

    def react() -> None:
        picked = charts.picked_image(st.session_state[key])
        if picked is not None and open_image is not None:
            open_image(picked)

    alt = f"{count(len(there), 'image')}, at one scale"
    with st.container(key=f"sheet_{key}"):
        st.vega_lite_chart(spec, key=key, on_select=react, selection_mode=charts.IMAGE, width="content", alt=alt)
    if len(there) < len(rows):
        st.caption(f"{count(len(rows) - len(there), 'image')} cannot be read: the .roi file is damaged or cut off.")


def _cells(
    found: BinImages,
    places: NDArray[np.intp],
    drawn: Sheet,
    by: Order,
    chosen: int | None,
    labels: Mapping[int, Mapping[Kind, ImageLabel]],
    *,
    blind: bool,
) -> pd.DataFrame:
    judged = found.judged
    x, y, width, height = drawn.boxes.T
    rois = (judged.row[places] + 1).tolist()
    return pd.DataFrame({
        "x": x, "y": y, "x2": x + width, "y2": y + height, "roi": rois,
        "caption": "" if blind else [caption(found, place, by) for place in places.tolist()],
        "look": ["chosen" if roi == chosen else "plain" if blind else "labelled" if roi in labels
                 else _look(judged, place) for roi, place in zip(rois, places.tolist(), strict=True)],
        "tip": [{} if blind else _tip(found, place, labels.get(roi, {}))
                for roi, place in zip(rois, places.tolist(), strict=True)],
    })  # fmt: skip


def _look(judged: JudgedImages, place: int) -> str:
    if judged.scores.flagged[place]:
        return "fault"
    return "odd" if judged.scores.odd[place] else "plain"


def caption(found: BinImages, place: int, by: Order) -> str:
    """What stands below an image in a gallery of an order."""
    scores, row = found.judged.scores, int(found.judged.row[place])
    if by == "time":
        return clock(found.time_s[row])
    if by == "size":
        return f"{found.judged.area_px[place]:,} px"
    if not scores.kind[place]:
        return "too small"
    if by == "class":
        return class_words(str(scores.class_name[place])) or "none known"
    if by == "fault":
        share = f" {scores.fault_probability[place]:.0%}" if scores.flagged[place] else ""
        return f"{image_fault_name(str(scores.kind[place]))}{share}"
    return f"{scores.oddness[place]:.1f}"


def clock(seconds: float) -> str:
    """A time since the start of a run: ``12:05`` minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _tip(found: BinImages, place: int, labelled: Mapping[Kind, ImageLabel]) -> dict[str, str]:
    tip = {"image": f"{int(found.judged.row[place]) + 1}", "model": said_of(found.judged, place)}
    if np.isfinite(found.judged.scores.oddness[place]):
        tip["oddness"] = f"{found.judged.scores.oddness[place]:.1f}"
    tip["into the run"] = f"{clock(found.time_s[int(found.judged.row[place])])} min"
    if labelled:
        tip["labelled"] = ", ".join(label_words(one) for one in labelled.values())
    return tip


def chosen() -> int | None:
    """The number of the image that the address names; None where it names none."""
    text = address.given("roi") or ""
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 10**9 else None


def enlarged(image: Image, wide_px: int) -> int:
    """How many times as large as it is an image is drawn to be about so wide."""
    height, width = image.shape
    return max(1, min(6, wide_px // max(width, 1), wide_px // max(height, 1)))


def size_words(image: Image) -> str:
    """The size of an image, in px and about in µm."""
    height, width = image.shape
    return f"{width} x {height} px, about {two_digits(width / PX_PER_UM)} x {two_digits(height / PX_PER_UM)} µm"


def no_such_image(found: BinImages, roi: int) -> str:
    """Why an image that was asked for cannot be shown, as Markdown shows it."""
    if roi > len(found.time_s):
        return f"Row {roi} is beyond the end of the .adc file, which has {count(len(found.time_s), 'row')}."
    if roi - 1 not in set(found.rows.tolist()):
        return f"Trigger {roi} made no image."
    return f"Image {roi} cannot be read: the .roi file is damaged or cut off."


def label_words(label: ImageLabel) -> str:
    """What a label says."""
    return image_fault_name(label.label) if label.kind == "fault" else class_words(label.label)
