"""The page "Gallery": the images of one bin, in an order and by kind, page by page; a click opens an image's own page.

The bin is the ``bin`` of the address, which holds all choices as well.
"""

from collections.abc import Mapping

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from app import address, data, images, shown_bin
from app.data import Scored
from app.images import PER_PAGE, BinImages, NoImages
from app.pages import BIN, GALLERY, IMAGE, go_to, link, scored_bins, titled
from app.theme import LOOKS, image_fault_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.judged_images import ORDERS, Order, order_named

#: What the orders are called, and what stands below each image then.
ORDER_NAMES: Mapping[Order, tuple[str, str]] = {
    "oddness": ("oddness", "how unlike all known images it is; above 3 or so it is worth a look"),
    "fault": ("fault", "its fault and how likely it is"),
    "class": ("class", "the known class that it is most like"),
    "size": ("size", "its area"),
    "time": ("time", "minutes and seconds into the run"),
}

_CLICKED = "gallery_clicked"


def _page() -> None:
    stores, scored = scored_bins()
    if (roi := st.session_state.pop(_CLICKED, None)) is not None:
        go_to(IMAGE, pid=st.query_params["bin"], roi=str(roi))
    pid = _head(scored)
    try:
        record = data.read_bin(stores, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    every = address.given("every") == "1"
    found = images.of_record(stores, scored, record, every=every)
    if isinstance(found, NoImages):
        st.info(plain(found.why), icon=":material/hide_image:")
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        by = chosen_order()
        places = _chosen(found, by)
        if found.is_sample or every:
            address.switch("every", f"All {found.n_images:,} images", help="Otherwise an even sample over the run")
    if not len(places):
        st.info("No image is of this choice. Take another fault or class.")
        return
    shown = _paged(found, places)
    labels = images.known_labels(stores, pid)
    images.draw_sheet(found, shown, f"gallery {pid}", _open, by=by, chosen=images.chosen(), labels=labels,
                      size_px=(images.SHEET_PX, 1000))  # fmt: skip
    st.caption(f"Below each image: {ORDER_NAMES[by][1]}. Frames: red, a fault; orange, unlike any known image; green, "
               "labelled by a person. Click an image to open it.")  # fmt: skip


def _head(scored: Scored) -> str:
    """The bin of the address, else the latest that is bad, and ways to others."""
    asked = st.query_params.get("bin")
    pid = asked if asked and data.day_of(asked) is not None else shown_bin.latest_bad(scored)
    st.query_params["bin"] = pid
    titled(pid, GALLERY.title)
    before, after = data.neighbours(scored, pid)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(f"Images of {plain(pid)}", anchor=False, width="content")
        if (place := scored.of(pid)) is not None:
            look = LOOKS[str(scored.rows["verdict"].iloc[place])]
            st.markdown(f":{look.badge}-badge[{look.icon} {look.name}]", width="stretch")
        link(BIN, "This bin", bin=pid)
        for label, other, icon in (("Previous bin", before, "left"), ("Next bin", after, "right")):
            st.button(label, key=f"sign {label}", icon=f":material/chevron_{icon}:", disabled=other is None,
                      on_click=_go, args=(other,), help=f"The images of the {label.lower()}")  # fmt: skip
    return pid


def _go(pid: str | None) -> None:
    if pid is not None:
        address.put(bin=pid, page=None, pid=None, roi=None)


def _open(roi: int) -> None:
    st.session_state[_CLICKED] = roi


def chosen_order() -> Order:
    """The order of the address, with a widget to choose it."""
    chosen = address.one("order", "Order by", list(ORDERS), "oddness", draw=st.segmented_control,
                         called=_order_name, required=True, on_change=_first_page)  # fmt: skip
    return order_named(chosen)


def _order_name(code: str) -> str:
    return ORDER_NAMES[order_named(code)][0]


def _first_page() -> None:
    address.put(page=None)


def _chosen(found: BinImages, by: Order) -> NDArray[np.intp]:
    counts = found.judged.counts
    faults = address.several("fault", "Faults", list(counts), placeholder="all", width=220,
                             called=lambda code: f"{image_fault_name(code)} ({counts.get(code, 0)})")  # fmt: skip
    classes = address.several("class", "Most like", found.judged.classes, placeholder="all", width=220,
                              called=images.class_words)  # fmt: skip
    return found.judged.of_kind(found.judged.order(by), faults, classes)


def _paged(found: BinImages, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """The images of the page of the address; which these are, and the way to the others."""
    n_pages = -(-len(places) // PER_PAGE)
    asked = address.given("page") or "1"
    page = min(max(int(asked) if asked.isascii() and asked.isdigit() else 1, 1), n_pages)
    shown = places[(page - 1) * PER_PAGE : page * PER_PAGE]
    first = (page - 1) * PER_PAGE + 1
    looked = f", of {found.n_images:,} in the bin" if found.is_sample else ""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(
            f"**{first} to {first + len(shown) - 1}** of {count(len(places), 'image')}{looked}; "
            f"{found.judged.n_flagged} with a fault",
            width="stretch",
        )
        if n_pages > 1:
            for label, key, to in (("Previous page", "Left", page - 1), ("Next page", "Right", page + 1)):
                st.button(label, key=f"go_{key}", shortcut=key, disabled=not 1 <= to <= n_pages,
                          on_click=address.put, kwargs={"page": str(to) if to > 1 else None})  # fmt: skip
    return shown


_page()
