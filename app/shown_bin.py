"""One bin as the pages for deciding show it: the verdict with its reasons, the cloud, and the images over the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import charts, clouds, data, words
from app.data import Stores
from app.theme import LOOKS, cause_name
from app.words import Finding, plain, sentence
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.stream import Stream
from ifcb_flow_pipeline.store.tables import BIN_SCORES

#: The charts with their axes are 470 px wide. On a tablet, what is done comes before them: buttons are not to be
#: searched for below two charts.
_STYLE = """<style>
.st-key-desk { display: grid; gap: 1rem 2rem; align-items: start;
               grid-template: "about doing" auto "charts doing" 1fr / 470px minmax(300px, 1fr); }
.st-key-desk > :has(> .st-key-desk_about) { grid-area: about; }
.st-key-desk > :has(> .st-key-desk_doing) { grid-area: doing; }
.st-key-desk > :has(> .st-key-desk_charts) { grid-area: charts; }
@media (max-width: 1080px) {
  .st-key-desk { grid-template: "about" auto "doing" auto "charts" auto / minmax(0, 1fr); }
}
</style>"""


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
        return Desk(*(st.container(key=f"desk_{name}") for name in ("about", "doing", "charts")))


def stored_verdict(stores: Stores, pid: str) -> None:
    """The name of a bin and what the model says of it; what cannot be read is said."""
    st.markdown(f"**{plain(pid)}**")
    try:
        score = data.row_of(stores, BIN_SCORES, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    if score is not None:
        verdict(score)


def verdict(score: Mapping[str, Any]) -> None:
    """What the model says of a bin: verdict, severity, causes and reasons. ``score``: its row of ``bin_scores``."""
    look, has_severity = LOOKS[score["verdict"]], score["verdict"] != "not_judged"
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        severity = f", severity {score['severity']:.0f}" if has_severity else ""
        st.badge(f"{look.name}{severity}", icon=look.icon, color=look.badge)
        for code in filter(None, (score["cause"], score["second_cause"])):
            st.badge(plain(cause_name(code)), color="gray")
    if rests_on := words.rests_on(score):
        st.caption(rests_on)
    reasons = words.reasons(score["reasons"])
    if score["reason"] and (not reasons or score["verdict"] != "unreadable"):  # whose reasons say it
        reasons.append(score["reason"])
    if reasons:
        st.markdown("\n".join(f"- {plain(reason)}" for reason in reasons))


def blind_charts(stores: Stores, pid: str) -> None:
    """The charts of a bin without a word of which bin it is or what the model says of it."""
    try:
        entry, cloud = data.read_cloud(stores, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    stream_charts(None if entry is None or cloud is None else data.stream_of(stores, pid, entry, cloud))


def stream_charts(stream: Stream | None) -> None:
    """The cloud in the camera frame, and how the run went; without a stream, that there is none.

    ``stream``: with the columns of ``data.CLOUD_COLUMNS``.
    """
    if stream is None:
        st.info("It has no point cloud: the instrument recorded nothing, or the file cannot be read.")
        return
    if stream.n_images:
        picture = charts.cloud(clouds.points(stream), None, stream.frame_px, width_px=charts.SMALL_CLOUD_PX)
        st.vega_lite_chart(picture, width="content", key="shown_cloud",
                           alt="Positions of the images of this bin in the camera frame")  # fmt: skip
    else:
        st.info("It has no point cloud to show: no trigger gave an image.")
    st.vega_lite_chart(
        charts.course(clouds.course(stream), charts.SMALL_CLOUD_PX), width="content", key="shown_run",
        alt="Images and triggers without image per second, and the position x of the images, over the run",
    )  # fmt: skip


def findings_table(found: Sequence[Finding]) -> pd.DataFrame:
    """The findings of a verdict as a table for people."""
    return pd.DataFrame(
        [(one.what, one.written, one.normal, cause_name(one.cause)) for one in found],
        columns=["measurement", "value", "normal range", "suspected cause"],
    )
