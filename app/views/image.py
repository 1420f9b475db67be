"""The page "Image": one image at the camera's resolution, what the model says of it and why, which images are like it.

It is labelled here. Bin and number are the ``pid`` and ``roi`` of the address; order and filters are those of the
gallery that led here, and "next" follows them.
"""

import streamlit as st

from app import address, charts, clouds, data, image_labels, images, judged_image
from app.data import BinRecord, Stores
from app.images import BinImages, NoImages
from app.pages import BIN, GALLERY, IMAGE, link, link_on, scored_bins, titled
from app.words import count, plain, sentence
from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.image_page import png
from ifcb_flow_pipeline.judged_images import JudgedImages, order_named
from ifcb_flow_pipeline.store.image_files import image_id

_SIMILAR = 12

_STYLE = """<style>
.st-key-look { display: grid; gap: .5rem 2rem; align-items: start; grid-template-columns: 500px minmax(300px, 1fr); }
@media (max-width: 1080px) { .st-key-look { grid-template-columns: minmax(0, 1fr); } }
</style>"""

#: An image is drawn up to so wide, each of its pixels as a whole number of the screen's.
_WIDE_PX = 500


def _page() -> None:
    stores, scored = scored_bins()
    pid, roi = address.given("pid") or address.given("bin"), images.chosen()
    if pid is None or data.day_of(pid) is None or roi is None:
        st.header(IMAGE.title, anchor=False)
        st.info("No image is chosen. Open a gallery and click on an image.")
        link(GALLERY, "Gallery")
        return
    try:
        record = data.read_bin(stores, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    titled(image_id(pid, roi - 1), IMAGE.title)
    found = images.of_record(stores, scored, record, every=address.given("every") == "1")
    _head(found, pid, roi)
    if isinstance(found, NoImages):
        st.info(plain(found.why), icon=":material/hide_image:")
        return
    read = found.read([roi - 1])
    if roi - 1 not in read.images:
        st.warning(images.no_such_image(found, roi))
        return
    own = images.image_of(found, roi - 1)
    st.html(_STYLE)
    with st.container(key="look"):
        left, right = (st.container(key=f"look_{name}", gap="small") for name in ("picture", "words"))
    with left:
        _picture(read.images[roi - 1], found, pid, roi)
        _place(stores, record, roi)
    with right:
        judged_image.verdict(own)
        image_labels.panel(stores, pid, roi, found.judged.model, lambda: _step(found, roi, 1))
    _similar(found, own, roi)


def _head(found: BinImages | NoImages, pid: str, roi: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(f"Image {roi}", anchor=False, width="content")
        st.markdown(f"of {plain(pid)}", width="stretch")
        link_on(GALLERY, "Gallery", pid)
        link_on(BIN, "In its bin", pid)
        if isinstance(found, BinImages):
            for label, key, step in (("Previous", "Left", -1), ("Next", "Right", 1)):
                st.button(label, key=f"go_{key}", shortcut=key, disabled=_beside(found, roi, step) is None,
                          on_click=_step, args=(found, roi, step), help=f"{label} image of the gallery")  # fmt: skip


def _beside(found: BinImages, roi: int, step: int) -> int | None:
    """The image before or after one in the gallery's order; of one that it does not show, its first."""
    in_order = found.judged.order(order_named(address.given("order")))
    places = found.judged.of_kind(in_order, _given("fault"), _given("class"))
    rois = (found.judged.row[places] + 1).tolist()
    if roi not in rois:
        return rois[0] if rois else None
    at = rois.index(roi) + step
    return rois[at] if 0 <= at < len(rois) else None


def _given(name: str) -> list[str]:
    return [value for value in st.query_params.get_all(name) if value]


def _step(found: BinImages, roi: int, step: int) -> None:
    if (other := _beside(found, roi, step)) is not None:
        address.put(roi=str(other))


def _open(roi: int) -> None:
    address.put(roi=str(roi))


def _picture(image: Image, found: BinImages, pid: str, roi: int) -> None:
    scale = images.enlarged(image, _WIDE_PX)
    st.image(png(image, scale), width=min(image.shape[1] * scale, _WIDE_PX), alt=f"Image {roi} of {pid}")
    larger = f"; shown {scale} times as large" if scale > 1 else ""
    st.caption(f"{images.size_words(image)}; {images.clock(found.time_s[roi - 1])} min into the run{larger}.")
    st.download_button("Save the image", png(image), f"{image_id(pid, roi - 1)}.png", "image/png",
                       icon=":material/download:", on_click="ignore")  # fmt: skip


def _place(stores: Stores, record: BinRecord, roi: int) -> None:
    """Where in the camera frame the image lies, among the others; a click opens another."""
    if record.entry is None or record.cloud is None:
        return
    stream = data.stream_of(stores, record.pid, record.entry, record.cloud)
    spec = charts.cloud(clouds.points(stream), None, stream.frame_px, "time", charts.SMALL_CLOUD_PX, roi)

    def react() -> None:
        picked = charts.picked_image(st.session_state["image_place"])
        if picked is not None:
            _open(picked)

    st.vega_lite_chart(spec, key="image_place", width="content", on_select=react, selection_mode=charts.IMAGE,
                       alt=f"Where image {roi} lies in the camera frame, among the others of the bin")  # fmt: skip
    st.caption("The ring: this image in the camera frame. Click a mark to open another.")


def _similar(found: BinImages, own: JudgedImages, roi: int) -> None:
    place = found.judged.place_of(roi - 1)
    st.subheader("Similar images in this bin", anchor=False)
    places = found.judged.similar_to(own.values[0], _SIMILAR + 1)
    places = places[places != place][:_SIMILAR] if place is not None else places[:_SIMILAR]
    if not len(places):
        st.caption("None can be compared.")
        return
    images.draw_sheet(found, places, f"similar {found.pid}", _open, size_px=(images.SHEET_PX, 420))
    looked = f" among the {len(found.judged)} that were looked at" if found.is_sample else ""
    st.caption(f"The {count(len(places), 'image')} with the most similar features{looked}.")


_page()
