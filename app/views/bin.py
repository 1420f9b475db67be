"""The page "Bin": everything about one bin, and why it is suspect. The bin is the ``bin`` of the address."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import address, charts, data, images, runs, shown_bin, words
from app.data import BinRecord, Scored, Stores
from app.decisions import KEYS_OVERVIEW, decision_panel, label_store
from app.images import BinImages, NoImages
from app.pages import BIN, GALLERY, TIMELINE, go_to, link, scored_bins, titled
from app.series import Window
from app.theme import cause_name, verdict_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.detection.trial.partial_bins import certain_after
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.stream import Stream
from ifcb_flow_pipeline.judged_images import ORDERS, order_named

#: Time before and after a bin that its link to the timeline shows.
_NEAR = timedelta(hours=36)

_SIMILAR = 8

#: Images that are shown here; the gallery has all.
_SHOWN = 36


def _page() -> None:
    stores, scored = scored_bins()
    _open_the_clicked_bin()
    pid = _wanted_bin(scored)
    try:
        record = data.read_bin(stores, pid)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    if not record.known:
        _unknown(stores, record)
        return
    stream = _stream(stores, record)
    desk = shown_bin.desk()
    # The cloud comes first: it is what a click waits for.
    with desk.charts:
        _cloud(stores, scored, record, stream)
    with desk.about:
        _verdict(stores, record)
    with desk.doing:
        _decision(stores, record.pid)
        _elsewhere(stores, record)
    if stream is not None:
        _run(record, stream)
    accumulated = st.container()
    pictures = st.container()
    _similar(stores, scored, record)
    _header(record)
    # Last: a model that is read for the first time takes seconds.
    found = images.of_record(stores, scored, record)
    with pictures:
        _images(found, stores)
    if stream is not None:
        with accumulated:
            _accumulated(stores, record)


def _unknown(stores: Stores, record: BinRecord) -> None:
    """What is said of a bin that no table has: why it was left out, or how to process its day."""
    for row in data.left_out(stores, record.pid):
        st.warning(f"**Left out of all results**: {plain(row['reason'])}. It lies in {plain(row['path'])}.")
        return
    st.info(f"This bin has not been processed. If the archive has it, process {record.day}.")
    runs.button(stores, f"Process {record.day}", runs.processing(record.day, record.day), key="process_day")


def _wanted_bin(scored: Scored) -> str:
    """The bin of the address, else the latest bad one; above it, the way to its neighbours and to any other."""
    asked = st.query_params.get("bin")
    pid = asked if data.day_of(asked) is not None and asked else shown_bin.latest_bad(scored)
    st.query_params["bin"] = pid
    titled(pid, BIN.title)
    before, after = data.neighbours(scored, pid)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.header(plain(pid), anchor=False, width="content")
        place = scored.of(pid)
        if place is not None:
            row = scored.rows.iloc[place]
            st.markdown(shown_bin.badges(row.to_dict()), width="stretch")
        st.button("Previous bin", key="sign previous", icon=":material/chevron_left:", shortcut="Left",
                  disabled=before is None, on_click=_open, args=(before,), help="The bin before")  # fmt: skip
        st.button("Next bin", key="sign next", icon=":material/chevron_right:", shortcut="Right",
                  disabled=after is None, on_click=_open, args=(after,), help="The bin after")  # fmt: skip
        with st.popover("Go to", icon=":material/search:"):
            st.session_state["asked"] = ""
            st.text_input("Bin ID, such as D20230810T113059_IFCB134", key="asked", on_change=_open_asked, width=330)
            st.caption(KEYS_OVERVIEW)
    if asked is not None and asked != pid:
        st.warning(f'"{plain(asked)}" is not a bin ID. The latest bad bin is shown instead.')
    refused = st.session_state.pop("refused", None)
    if refused is not None:
        st.warning(f'"{plain(refused)}" is not a bin ID. Bin IDs look like D20230810T113059_IFCB134.')
    return pid


def _open(pid: str | None) -> None:
    if pid is not None:
        address.put(bin=pid, roi=None)


def _open_asked() -> None:
    asked = str(st.session_state["asked"]).strip()
    if data.day_of(asked) is not None:
        _open(asked)
    else:
        st.session_state["refused"] = asked


def _open_the_clicked_bin() -> None:
    _open(st.session_state.pop("clicked", None))


def _verdict(stores: Stores, record: BinRecord) -> None:
    score, (status, reason) = record.score, record.outcome
    if score is None:
        st.info("This bin has not been scored yet.")
        runs.button(stores, f"Score {record.day}", runs.scoring(record.day, record.day), key="score_day")
        shown_bin.outcome(status, reason)
        return
    shown_bin.verdict(score)
    if score["config_changed"]:
        st.caption(":material/settings: The settings were changed before this bin.")
    if score["verdict"] not in ("unreadable", "bad") or status == "ok":  # whose reasons say it
        shown_bin.outcome(status, reason)


def _stream(stores: Stores, record: BinRecord) -> Stream | None:
    if record.entry is None or record.cloud is None:
        return None
    return data.stream_of(stores, record.pid, record.entry, record.cloud)


@st.fragment
def _cloud(stores: Stores, scored: Scored, record: BinRecord, stream: Stream | None) -> None:
    if record.entry is None:
        st.info(f"The point clouds of {record.day} lack this bin.")
        runs.button(stores, f"Process {record.day}", runs.processing(record.day, record.day), key="process_clouds")
        return
    place = st.container()
    shown_bin.around(scored, record.pid, _clicked)
    colouring = address.one("colour", "Colour by", list(charts.COLOURINGS), "time", draw=st.segmented_control,
                            required=True) or "time"  # fmt: skip
    with place:
        has_typical = shown_bin.cloud(stores, scored, record.pid, stream, colouring, images.chosen(), _show_image)
        if stream is not None and (roi := images.chosen()) is not None:
            found = images.of_record(stores, scored, record)
            if isinstance(found, BinImages):
                shown_bin.image_card(found, roi)
    if stream is None:
        return
    n_without = int(np.count_nonzero(~stream.has_image))
    without = f" {count(n_without, 'trigger')} without an image: counted in *Over the run* below." if n_without else ""
    shading = " Blue shading: where images of this instrument's healthy bins usually lie." if has_typical else ""
    st.caption(
        f"{count(record.entry.n_rows, 'trigger')}, {count(stream.n_images, 'image')}. Marks: centres of images in the "
        f"camera frame; click one to see the image.{shading}{without}"
    )


def _clicked(pid: str | None) -> None:
    st.session_state["clicked"] = pid


@st.fragment
def _decision(stores: Stores, pid: str) -> None:
    decision_panel(label_store(stores), pid)


def _elsewhere(stores: Stores, record: BinRecord) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Link", icon=":material/link:"):
            st.code(f"{(st.context.url or '').partition('?')[0]}?bin={record.pid}", language=None, wrap_lines=True)
        if stores.settings.dashboard_url:
            st.link_button("IFCB dashboard", f"{stores.settings.dashboard_url}/bin?bin={record.pid}",
                           icon=":material/open_in_new:")  # fmt: skip
        start = data.start_of(record.pid)
        near = Window(start - _NEAR, start + _NEAR)
        link(
            TIMELINE,
            "Timeline",
            **{"from": f"{near.first:%Y-%m-%dT%H:%M}", "to": f"{near.last:%Y-%m-%dT%H:%M}"},
        )


def _details(record: BinRecord) -> None:
    """The numbers of the detector, for those who ask."""
    score = record.score
    if score is None:
        return
    with st.expander("Details of the score"):
        has_score = score["anomaly_score"] is not None and np.isfinite(score["anomaly_score"])
        number = f"anomaly score {score['anomaly_score']:.3f} (lower is more anomalous)" if has_score else "no score"
        st.markdown(f"Model {plain(score['model_id'])}: {number}; bad from severity {score['threshold']:.0f}.")
        found = [finding for finding in words.findings(score["findings"]) if finding.has_range]
        if found:
            st.dataframe(shown_bin.findings_table(found), hide_index=True, alt="Measurements and normal ranges")


def _run(record: BinRecord, stream: Stream) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("Over the run", anchor=False)
        shown_bin.course(stream)
        st.caption(
            "Above: images, and triggers without an image, per second. Below: the middle x of the images (line) "
            "and 90 % "
            "of them (band)."
        )
    with right:
        _details(record)


def _accumulated(stores: Stores, record: BinRecord) -> None:
    st.subheader("Severity during the run", anchor=False)
    try:
        scores = data.read_accumulated(stores, record)
    except FlowError as error:
        st.warning(sentence(str(error)))
        return
    if scores is None:
        st.caption("No model is active, so parts of the run cannot be scored.")
        return
    if not any(np.isfinite(score.severity) for score in scores):
        not_judged = any(score.verdict == "not_judged" for score in scores)
        st.caption("The instrument has too little history to score parts of the run." if not_judged
                   else "Too few triggers to score parts of the run.")  # fmt: skip
        return
    threshold = BAD_FROM if record.score is None else record.score["threshold"]
    st.vega_lite_chart(charts.accumulated(scores, threshold), alt="Severity of the bin after each part of its run")
    n_triggers = certain_after(scores)
    certain = "" if n_triggers is None else f"Bad from {count(n_triggers, 'trigger')} to the end. "
    st.caption(
        f"{certain}Each point: the verdict that the active model would have given by then. Bad from the dashed line."
    )


def _images(found: BinImages | NoImages, stores: Stores) -> None:
    """The images of the bin in an order; a click shows where one lies in the cloud."""
    st.subheader("Images", anchor=False)
    if isinstance(found, NoImages):
        st.caption(plain(found.why))
        return
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        by = address.one("order", "Images by", list(ORDERS), "oddness", draw=st.segmented_control, required=True,
                         label_visibility="collapsed")  # fmt: skip
        st.caption(shown_bin.images_summary(found), width="stretch")
        link(GALLERY, "All images", bin=found.pid, order=by or "oddness")
    order = order_named(by)
    places, labels = found.judged.order(order)[:_SHOWN], images.known_labels(stores, found.pid)
    images.draw_sheet(found, places, f"images {found.pid}", _show_image, by=order, chosen=images.chosen(),
                      labels=labels, size_px=(images.SHEET_PX, 420))  # fmt: skip


def _show_image(roi: int) -> None:
    address.put(roi=str(roi))


@st.fragment
def _similar(stores: Stores, scored: Scored, record: BinRecord) -> None:
    st.subheader("Similar bins", anchor=False)
    if not address.switch("similar", "Find similar bins",
                          help="Among the days around it and the instrument's latest episodes"):  # fmt: skip
        return
    try:
        found = data.read_similar(stores, scored, record, _SIMILAR)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    if found.empty:
        st.caption("Nothing to compare with: this bin or all others lack features.")
        return
    table = scored.rows.iloc[found["row"]][["pid", "start_time", "severity", "verdict", "cause"]]
    table = table.assign(
        cause=[cause_name(cause) for cause in table["cause"]],
        verdict=[verdict_name(verdict) for verdict in table["verdict"]],
        distance=found["distance"].to_numpy(),
    )
    event = st.dataframe(table, hide_index=True, key="similar_bins", on_select="rerun", selection_mode="single-row",
                         column_config=_SIMILAR_COLUMNS, alt="The most similar bins of the instrument")  # fmt: skip
    if event["selection"]["rows"]:
        go_to(BIN, bin=str(table["pid"].iloc[event["selection"]["rows"][0]]))


_SIMILAR_COLUMNS: Mapping[str, Any] = {
    "pid": st.column_config.TextColumn("bin", width=220),
    "start_time": st.column_config.DatetimeColumn("start (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
    "severity": st.column_config.NumberColumn("severity", format="%.0f"),
    "cause": st.column_config.TextColumn("suspected cause"),
    "distance": st.column_config.NumberColumn("distance", format="%.2f", help="Root mean square over all features, in "
                                              "robust standard deviations: 0 is the same, about 1.4 two healthy bins"),
}  # fmt: skip


@st.fragment
def _header(record: BinRecord) -> None:
    lines: Sequence[Mapping[str, str]] = words.header_lines(record.entry.header) if record.entry is not None else []
    if not lines:
        st.caption("No header values: the .hdr file is missing, empty or unreadable.")
        return
    # The table takes the browser as long as a chart: it is made when it is asked for.
    with st.expander("Header", key="header_open", on_change="rerun") as place:
        if place.open:
            st.dataframe(
                pd.DataFrame(lines), hide_index=True, column_config=_HEADER_COLUMNS, alt="Values of the header file"
            )


_HEADER_COLUMNS: Mapping[str, Any] = {
    "header": st.column_config.TextColumn(width=170),
    "value": st.column_config.TextColumn(width=170),
    "meaning": st.column_config.TextColumn(width="large"),
}

_page()
