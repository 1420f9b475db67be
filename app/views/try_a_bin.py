"""The page "Try a bin": the verdict on a bin or on images that are handed in, without touching archive or tables."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from app import address, charts, data, images, judged_image, shown_bin, words
from app.data import Stores, stores
from app.images import PER_PAGE, NoImages
from app.pages import TRY_A_BIN
from app.shown_bin import Desk
from app.words import as_shown, measure_name, plain, sentence
from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.image_page import png
from ifcb_flow_pipeline.judged_images import ORDERS, Baseline, JudgedImages, order_named
from ifcb_flow_pipeline.review.upload import UploadedBin, check_files, is_picture, uploaded_bin, uploaded_picture
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.tried_bin import TriedBin, archived_bin

_UPLOADED, _PATH = "upload", "archive"

#: Where files can come from, and what that is called.
_SOURCES = {_UPLOADED: "Files from this computer", _PATH: "A file in the archive"}

#: An image is drawn about so wide.
_WIDE_PX = 420

#: Key of the session's state: the image that was clicked.
_ROI = "try_roi"


def _page() -> None:
    st.header(TRY_A_BIN.title, anchor=False)
    st.caption(
        "Upload a bin's .adc file, with its .hdr and .roi if you have them, and see the verdict that it would "
        "get; or pictures of single images (PNG, JPEG, TIFF). Nothing is saved, and the archive is not touched."
    )
    try:
        here = stores()
        given = _given(here)
        if isinstance(given, UploadedBin):
            _tried(here, given)
        elif given:
            _pictures(given)
    except FlowError as error:
        st.error(sentence(str(error)))


def _given(here: Stores) -> UploadedBin | dict[str, Image] | None:
    """The bin or the pictures that are handed in or named; None where nothing is yet."""
    source = address.one("from", "From", list(_SOURCES), _UPLOADED, draw=st.segmented_control, called=_source_name,
                         required=True, label_visibility="collapsed")  # fmt: skip
    if source == _PATH:
        path = st.text_input("Path of the .adc file in the archive", key="try_path", placeholder=str(here.archive.root))
        return archived_bin(here.archive, path) if path.strip() else None
    files = st.file_uploader("The files of one bin, or pictures", accept_multiple_files=True, key="try_files",
                             help="Named as the instrument names them, D20230810T113059_IFCB134.adc")  # fmt: skip
    check_files([(file.name, file.size) for file in files])
    if any(is_picture(file.name) for file in files):
        return {file.name: uploaded_picture(file.name, file.getvalue()) for file in files}
    return uploaded_bin([(file.name, file.getvalue()) for file in files]) if files else None


def _source_name(code: str) -> str:
    return _SOURCES[code]


def _tried(here: Stores, bin_: UploadedBin) -> None:
    settings = here.settings.features
    tried = TriedBin.of(bin_, settings)
    desk = shown_bin.desk()
    with desk.about:
        _outcome(tried)
    with desk.charts:
        entry, cloud = CloudEntry.of(tried.read), tried.cloud
        shown_bin.stream_charts(None if cloud is None else data.stream_of(here, bin_.pid, entry, cloud))
    model_id = here.models.current_id()
    if model_id is None:
        desk.about.info("There is no model yet, so there is no verdict. Train one in Models.")
    else:
        try:
            _judged(desk, here, tried, data.read_model(here.home, model_id))
        except FlowError as error:
            desk.about.error(sentence(str(error)))
    with desk.doing:
        _header(tried)
    _images(here, tried, bin_.files.get("roi"))
    _features(tried)


def _outcome(tried: TriedBin) -> None:
    st.subheader(plain(tried.read.pid), anchor=False)
    shown_bin.outcome(tried.read.status, tried.read.reason)


def _judged(desk: Desk, here: Stores, tried: TriedBin, model: AnyModel) -> None:
    score = tried.judged(model, here.settings.features, here.tables)
    with desk.about:
        st.markdown(shown_bin.badges(score))
        shown_bin.verdict(score)
        st.caption(f"Model: {plain(score['model_id'])}")
    with desk.doing:
        parts = tried.judged_in_parts(model, here.tables)
        if any(math.isfinite(part.severity) for part in parts):
            st.subheader("Severity during the run", anchor=False)
            st.vega_lite_chart(charts.accumulated(parts, score["threshold"]),
                               alt="Severity of the bin after each part of its run")  # fmt: skip


def _images(here: Stores, tried: TriedBin, roi: bytes | None) -> None:
    """The bin's images as a gallery; a click shows what is said of one."""
    if roi is None or tried.cloud is None:
        return
    st.subheader("Images", anchor=False)
    found = images.of_upload(here, tried, roi)
    if isinstance(found, NoImages):
        st.caption(plain(found.why))
        return
    by = address.one("order", "Images by", list(ORDERS), "oddness", draw=st.segmented_control, required=True,
                     label_visibility="collapsed")  # fmt: skip
    order = order_named(by)
    chosen: int | None = st.session_state.get(_ROI)
    images.draw_sheet(found, found.judged.order(order)[:PER_PAGE], "try_images", _choose, by=order, chosen=chosen,
                      size_px=(images.SHEET_PX, 900))  # fmt: skip
    st.caption(f"{shown_bin.images_summary(found)} Click an image to see why.")
    if chosen is not None and found.judged.place_of(chosen - 1) is not None:
        _one(f"Image {chosen}", found.read([chosen - 1]).images[chosen - 1], images.image_of(found, chosen - 1))


def _choose(roi: int) -> None:
    st.session_state[_ROI] = roi


def _pictures(pictures: Mapping[str, Image]) -> None:
    """What is said of single images."""
    model = images.image_model()
    for name, image in pictures.items():
        _one(name, image, JudgedImages.of({0: image}, model, Baseline()))


def _one(name: str, image: Image, own: JudgedImages) -> None:
    st.subheader(plain(name), anchor=False)
    left, right = st.columns(2, gap="large")
    scale = images.enlarged(image, _WIDE_PX)
    left.image(png(image, scale), width=min(image.shape[1] * scale, _WIDE_PX), alt=name)
    left.caption(images.size_words(image))
    with right:
        judged_image.verdict(own)


def _header(tried: TriedBin) -> None:
    with st.expander("Header", icon=":material/description:"):
        lines = words.header_lines(tried.read.header)
        if lines:
            st.dataframe(lines, hide_index=True, alt="Values of the header file")
        else:
            st.caption("No header values: the .hdr file was not uploaded, is empty or unreadable.")


def _features(tried: TriedBin) -> None:
    row = tried.features.to_pylist()[0]
    table = pd.DataFrame([
        {"feature": measure_name(one.name), "value": float(as_shown(one.name, np.array([row[one.name]]))[0]),
         "meaning": one.meaning}
        for one in CATALOGUE
        if row[one.name] is not None
    ])  # fmt: skip
    with st.expander(f"All {len(table)} features", icon=":material/table_chart:"):
        st.dataframe(table, hide_index=True, alt="Features of the bin",
                     column_config={"value": st.column_config.NumberColumn(format="%.4g"),
                                    "meaning": st.column_config.TextColumn(width="large")})  # fmt: skip


_page()
