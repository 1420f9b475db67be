"""One bin as the pages for deciding show it: the verdict with its reasons, the cloud, and the images over the run."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from app import data, small_charts
from app.data import Stores
from app.theme import LOOKS, cause_name
from app.words import plain
from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.pid import Schema, parse_pid
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.tables import BIN_SCORES

#: Width of the charts with their axes, in px.
WIDTH = 470

_STYLE = "<style>:has(> .st-key-beside_bin) { min-width: 300px; }</style>"


def beside() -> tuple[DeltaGenerator, DeltaGenerator]:
    """A place for a bin, and one beside it for what is done with it; on a tablet that comes below."""
    st.html(_STYLE)
    with st.container(horizontal=True, gap="medium"):
        return st.container(width=WIDTH), st.container(key="beside_bin")


def verdict_and_charts(stores: Stores, pid: str) -> None:
    """All that is needed to decide about a bin; what cannot be read is said."""
    st.markdown(f"**{plain(pid)}**")
    try:
        score = data.row_of(stores, BIN_SCORES, pid)
    except FlowError as error:
        st.error(plain(str(error)))
        return
    if score is not None:
        verdict(score)
    blind_charts(stores, pid)


def verdict(score: Mapping[str, Any]) -> None:
    """What the model says of a bin: verdict, severity, causes and reasons. ``score``: its row of ``bin_scores``."""
    look = LOOKS[score["verdict"]]
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.badge(f"{look.name}, severity {score['severity']:.0f}", icon=look.icon, color=look.badge)
        for code in filter(None, (score["cause"], score["second_cause"])):
            st.badge(plain(cause_name(code)), color="gray")
    for reason in filter(None, (*score["reasons"].split("; "), score["reason"])):
        st.markdown(f"- {plain(reason)}")


def blind_charts(stores: Stores, pid: str) -> None:
    """The charts of a bin without a word of which bin it is or what the model says of it."""
    try:
        _, cloud = data.read_cloud(stores, pid)
    except FlowError as error:
        st.error(plain(str(error)))
        return
    charts(cloud, parse_pid(pid).schema)


def charts(cloud: Mapping[str, NDArray] | None, schema: Schema) -> None:
    """The cloud in the camera frame, and how many images came when. ``cloud``: see ``data.CLOUD_COLUMNS``."""
    if cloud is None:
        st.info("It has no point cloud: the instrument recorded nothing, or the file cannot be read.")
        return
    cloud = {**cloud, "has_image": has_image(cloud)}
    st.vega_lite_chart(small_charts.cloud_chart(cloud, FRAME_PX[schema]), width="content", key="shown_cloud",
                    alt="Positions of the images of this bin in the camera frame")  # fmt: skip
    st.vega_lite_chart(
        small_charts.run_chart(cloud), width="content", key="shown_run", alt="Images per minute during the run"
    )


def findings_table(findings: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The findings of a verdict (see the column ``findings`` of ``bin_scores``) as a table for people."""
    return pd.DataFrame([
        {
            "what": finding.get("feature") or finding.get("rule", ""),
            "value": _with_unit(finding.get("value"), finding),
            "usually": _usual(finding),
            "speaks for": cause_name(finding.get("cause", "")),
            "check": finding.get("check", ""),
        }
        for finding in findings
    ])  # fmt: skip


def _usual(finding: Mapping[str, Any]) -> str:
    if finding.get("low") is None or finding.get("high") is None:
        return ""
    return f"{finding['low']:.3g} to {_with_unit(finding['high'], finding)}"


def _with_unit(value: Any, finding: Mapping[str, Any]) -> str:
    return "" if value is None else f"{value:.3g} {finding.get('unit', '')}".strip()
