"""One bin as the pages for deciding show it: verdict and reasons with their ranges, the cloud over its typical ground,
the bins before and after, and how the run went.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import charts, clouds, data, images, series, words
from app.data import Scored, Stores
from app.images import BinImages, NoImages
from app.pages import GALLERY, IMAGE, go_to, link
from app.series import Filter, Window
from app.theme import LOOKS, cause_name, image_fault_name, is_fault, status_name
from app.words import Finding, count, plain, sentence
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.stream import Stream
from ifcb_flow_pipeline.image_page import png
from ifcb_flow_pipeline.store.tables import BIN_SCORES

#: The charts with their axes are 470 px wide. On a tablet, what is done comes before them: buttons are not to be
#: searched for below two charts.
_STYLE = """<style>
.st-key-desk { display: grid; gap: .5rem 2rem; align-items: start;
               grid-template: "charts about" auto "charts doing" 1fr / 470px minmax(300px, 1fr); }
.st-key-desk > :has(> .st-key-desk_about) { grid-area: about; }
.st-key-desk > :has(> .st-key-desk_doing) { grid-area: doing; }
.st-key-desk > :has(> .st-key-desk_charts) { grid-area: charts; }
@media (max-width: 1080px) {
  .st-key-desk { grid-template: "about" auto "doing" auto "charts" auto / minmax(0, 1fr); }
}
</style>"""

#: Time before and after a bin whose bins are drawn beside it.
NEAR = timedelta(hours=24)

#: Sky blue, which is seen on white and on black, as a picture's pixels have it.
_TYPICAL_RGB = (86, 180, 233)

#: Images that are shown beside a decision, and to those who may not know what the model says.
_WORST, _BLIND = 24, 36

#: Is told the number of an image that was clicked.
OpenImage = Callable[[int], None]

#: Reasons that are seen at once.
_MAX_REASONS = 3


@dataclass(frozen=True, slots=True)
class Desk:
    """Places for what is said about a bin, for what is done with it, and for its charts."""

    about: DeltaGenerator
    doing: DeltaGenerator
    charts: DeltaGenerator


def desk() -> Desk:
    """Make the places: two columns, or one where the page is narrow."""
    st.html(_STYLE)
    with st.container(key="desk"):
        return Desk(*(st.container(key=f"desk_{name}", gap="small") for name in ("about", "doing", "charts")))


def latest_bad(scored: Scored) -> str:
    """The latest bad bin, else the latest of all: what is shown where the address names none."""
    bad = np.flatnonzero(scored.rows["verdict"].eq("bad").to_numpy())
    return str(scored.rows["pid"].iloc[bad[-1] if len(bad) else -1])


def stored_verdict(stores: Stores, pid: str) -> None:
    """The name of a bin and what the model says of it; what cannot be read is said."""
    try:
        score = data.row_of(stores, BIN_SCORES, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    if score is None:
        st.markdown(f"**{plain(pid)}**: not scored yet")
        return
    st.markdown(f"**{plain(pid)}** · {badges(score)}")
    verdict(score)


def badges(score: Mapping[str, Any]) -> str:
    """Verdict, severity and suspected causes of a row of ``bin_scores`` in a line."""
    look = LOOKS[score["verdict"]]
    parts = [f":{look.badge}-badge[{look.icon} {look.name}]"]
    if score["verdict"] in ("ok", "watch", "bad"):
        parts.append(f"severity **{score['severity']:.0f}** of 100")
    causes = [code for code in (score["cause"], score["second_cause"]) if code]
    if causes:
        first, *others = (plain(cause_name(code)) for code in causes)
        parts.append(f"suspected: **{first}**" + "".join(f", or {other}" for other in others))
    if causes and not is_fault(causes[0]):
        parts.append(":gray-badge[no fault]")
    return " · ".join(parts)


def verdict(score: Mapping[str, Any]) -> None:
    """What a verdict rests on, its reasons with their ranges, and what to check. ``score``: row of ``bin_scores``."""
    if rests_on := words.rests_on(score):
        st.caption(rests_on)
    found = words.findings(score["findings"])
    if found:
        reasons(found[:_MAX_REASONS])
        if len(found) > _MAX_REASONS:
            with st.expander(f"{count(len(found) - _MAX_REASONS, 'more measurement')} outside the normal range"):
                reasons(found[_MAX_REASONS:])
        check = CAUSES[score["cause"]].check if score["cause"] in CAUSES else found[0].check
        if check:
            st.markdown(f":material/build: **What to do:** {plain(check)}")
        return
    said = words.reasons(score["reasons"])
    if score["verdict"] == "ok" and not said:
        said = ["Nothing unusual compared with this instrument's healthy bins."]
    if score["reason"] and (not said or score["verdict"] != "unreadable"):  # whose reasons say it
        said.append(score["reason"])
    st.markdown("\n".join(f"- {plain(reason)}" for reason in said))


def reasons(found: Sequence[Finding]) -> None:
    """Sentences, each with its value on the normal range."""
    st.html("".join(f'<div class="reason">{charts.reason(one)}</div>' for one in found))


def outcome(status: str, reason: str) -> None:
    """How reading a bin went, where there is something to say of it."""
    if status not in ("", "ok"):
        said = sentence(status_name(status))
        st.warning(f"**{said}**" + f": {plain(reason)}" * bool(reason), icon=":material/error:")
    elif reason:
        st.info(plain(reason))


def stream_of(stores: Stores, pid: str) -> Stream | None:
    """The cloud of a bin as it is drawn; None where it has none, and what cannot be read is said."""
    try:
        entry, cloud = data.read_cloud(stores, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return None
    return None if entry is None or cloud is None else data.stream_of(stores, pid, entry, cloud)


def blind_charts(stores: Stores, pid: str) -> None:
    """The charts and some images of a bin without a word of which bin it is or what the model says of it."""
    stream_charts(stream_of(stores, pid))


def blind_images(stores: Stores, pid: str) -> None:
    """Images of a bin, spread over its run, without a word about it."""
    found = _images_of(stores, pid)
    if isinstance(found, NoImages):
        return
    every = max(1, len(found.judged) // _BLIND)
    places = np.arange(len(found.judged))[::every][:_BLIND]
    # A key of its own for each bin, which does not say which it is: charts stay in the page's text.
    images.draw_sheet(found, places, "blind_images", None, by="time", size_px=(images.SHEET_PX, 420), blind=True)


def worst_images(stores: Stores, pid: str) -> None:
    """The images of a bin that are likeliest to have a fault; a click opens an image's page."""
    found = _images_of(stores, pid)
    if isinstance(found, NoImages):
        st.caption(plain(found.why))
        return
    key = f"worst {pid}"
    if (roi := st.session_state.pop(f"{key} clicked", None)) is not None:
        go_to(IMAGE, pid=pid, roi=str(roi), order="fault")

    def open_image(roi: int) -> None:
        st.session_state[f"{key} clicked"] = roi

    st.subheader("Images, likeliest faults first", anchor=False)
    places = found.judged.order("fault")[:_WORST]
    images.draw_sheet(found, places, key, open_image, by="fault", size_px=(images.SHEET_PX, 260))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(images_summary(found), width="stretch")
        link(GALLERY, "All images", bin=pid, order="fault")


def images_summary(found: BinImages) -> str:
    """How many images were looked at, and what is wrong with some."""
    judged = found.judged
    faults = [f"{n} {image_fault_name(kind)}" for kind, n in judged.counts.items() if kind != CLEAN][:3]
    looked = (
        f"{len(judged)} of {count(found.n_images, 'image')} looked at"
        if found.is_sample
        else count(found.n_images, "image")
    )
    return f"{looked}; {judged.n_flagged or 'none'} with a fault" + f" ({', '.join(faults)})" * bool(faults) + "."


def _images_of(stores: Stores, pid: str) -> BinImages | NoImages:
    try:
        return images.of_record(stores, data.read_scored(stores), data.read_bin(stores, pid))
    except FlowError as error:
        return NoImages(str(error))


def image_card(found: BinImages, roi: int) -> None:
    """One image of a bin beside its cloud: the picture, what the model says of it, and the way to its page."""
    read = found.read([roi - 1])
    if roi - 1 not in read.images:
        st.caption(images.no_such_image(found, roi))
        return
    own = images.image_of(found, roi - 1)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        image = read.images[roi - 1]
        st.image(png(image), width=min(image.shape[1], 260), alt=f"Image {roi} of {found.pid}")
        with st.container(gap=None):
            st.markdown(f"**Image {roi}**: {images.said_of(own, 0)}")
            link(IMAGE, "Open the image", pid=found.pid, roi=str(roi))


def stream_charts(stream: Stream | None) -> None:
    """The cloud in the camera frame, and how the run went; without a stream, that there is none.

    ``stream``: with the columns of ``data.CLOUD_COLUMNS``.
    """
    if stream is None:
        st.info("No point cloud: the instrument recorded nothing, or the .adc file is missing or unreadable.")
        return
    _cloud(stream, None, "time", "Positions of the images of this bin in the camera frame")
    course(stream)


def course(stream: Stream) -> None:
    """How the run went."""
    st.vega_lite_chart(
        charts.course(clouds.course(stream), charts.SMALL_CLOUD_PX), width="content", key="shown_run",
        alt="Images and triggers without image per second, and the position x of the images, over the run",
    )  # fmt: skip


def cloud(
    stores: Stores,
    scored: Scored,
    pid: str,
    stream: Stream | None,
    colouring: str = "time",
    chosen: int | None = None,
    open_image: OpenImage | None = None,
) -> bool:
    """The cloud of a bin over the typical one of its instrument; whether there is a typical one. ``chosen``: the image
    with a ring; a click gives the number of another to ``open_image``.
    """
    if stream is None:
        st.info("No point cloud: the instrument recorded nothing, or the .adc file is missing or unreadable.")
        return False
    typical = data.read_typical(stores, scored, pid)
    picture = clouds.density_address(typical, _TYPICAL_RGB) if typical.any() else None
    alt = f"Point cloud of {pid}: {count(stream.n_images, 'image')} in the camera frame, and their distributions"
    _cloud(stream, picture, colouring, alt, chosen, open_image)
    return picture is not None


def _cloud(
    stream: Stream,
    typical: str | None,
    colouring: str,
    alt: str,
    chosen: int | None = None,
    open_image: OpenImage | None = None,
) -> None:
    if not stream.n_images:
        st.info("No point cloud: no trigger produced an image.")
        return
    spec = charts.cloud(clouds.points(stream), typical, stream.frame_px, colouring, charts.SMALL_CLOUD_PX, chosen)
    if open_image is None:
        st.vega_lite_chart(spec, width="content", key="cloud", alt=alt)
        return

    def react() -> None:
        picked = charts.picked_image(st.session_state["cloud_of_images"])
        if picked is not None:
            open_image(picked)

    st.vega_lite_chart(spec, width="content", key="cloud_of_images", alt=alt, on_select=react,
                       selection_mode=charts.IMAGE)  # fmt: skip


def around(scored: Scored, pid: str, open_bin: Callable[[str | None], None]) -> None:
    """The bins before and after as a strip, this one marked; a click opens another."""
    bin_id = parse_pid(pid)
    window = Window(bin_id.start_time - NEAR, bin_id.start_time + NEAR).within(series.whole(scored))
    rows = series.select(scored, window, Filter(instruments=(bin_id.instrument,)), {})
    if not len(rows):
        return
    key = f"around {pid}"

    def react() -> None:
        open_bin(charts.picked_pid(st.session_state[key]))

    found = scored.rows.iloc[rows]
    rhythm = found["start_time"].diff().median()
    rhythm = NEAR / 24 if pd.isna(rhythm) else rhythm.to_pytimedelta()
    shown = Window(window.first - rhythm / 2, window.last + rhythm / 2)
    st.vega_lite_chart(
        charts.strip(found, shown, rhythm, pid, width_px=charts.SMALL_CLOUD_PX + 100),
        key=key,
        on_select=react,
        selection_mode=charts.PICKED,
        alt=f"Severity of {count(len(rows), 'bin')} before and after",
    )


def findings_table(found: Sequence[Finding]) -> pd.DataFrame:
    """The findings of a verdict as a table for people."""
    return pd.DataFrame(
        [(one.what, one.written, one.normal, cause_name(one.cause)) for one in found],
        columns=["measurement", "value", "normal range", "suspected cause"],
    )
