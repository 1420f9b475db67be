"""The page "Bin": everything about one bin, and why it is suspect. The bin is the ``bin`` of the address."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import charts, clouds, data, series, words
from app.data import BinRecord, Scored, Stores
from app.decisions import KEYS, UNDO_KEY, decision_panel, label_store
from app.pages import BIN, TIMELINE, go_to, link, scored_bins
from app.series import Filter, Window
from app.theme import LOOKS, cause_name
from app.words import Finding, count, plain, sentence
from ifcb_flow_pipeline.detection.trial.partial_bins import certain_after
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.stream import Stream
from ifcb_flow_pipeline.store.tables import JUDGED, STATUSES

#: Time before and after a bin whose bins are drawn beside it.
_NEAR = timedelta(hours=36)

#: The charts with their axes are 555 px wide; what is said of a bin stands beside both, on a tablet between them.
_STYLE = """<style>
.st-key-seen { display: grid; gap: 0 2rem; align-items: start;
               grid-template: "cloud why" auto "course why" 1fr / 555px minmax(300px, 1fr); }
.st-key-seen > :has(> .st-key-seen_cloud) { grid-area: cloud; }
.st-key-seen > :has(> .st-key-seen_why) { grid-area: why; }
.st-key-seen > :has(> .st-key-seen_course) { grid-area: course; }
@media (max-width: 1150px) {
  .st-key-seen { grid-template: "cloud" auto "why" auto "course" auto / minmax(0, 1fr); }
}
</style>"""

_SIMILAR = 8

#: Images that a mosaic is made of.
_SAMPLE = 150

#: Sky blue, which is seen on white and on black, as a picture's pixels have it.
_TYPICAL_RGB = (86, 180, 233)


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
        st.info(
            f"No table has this bin. If the archive has it, materialize raw_bins and what follows for {record.day} in "
            "the Dagster UI."
        )
        return
    verdict = st.container()
    stream = _stream(stores, record)
    cloud, why, course = _places()
    # The cloud comes first: it is what a click waits for.
    with cloud:
        _cloud(stores, scored, record, stream)
    with verdict:
        _verdict(record)
    with why:
        _findings(record)
        _decision(stores, record.pid)
        _elsewhere(stores, record)
    if stream is not None:
        with course:
            _course(stream)
    accumulated = st.container()
    _in_time(scored, record)
    _images(stores, record, stream)
    _similar(stores, scored, record)
    _header(record)
    # Last: a model that is read for the first time takes seconds.
    if stream is not None:
        with accumulated:
            _accumulated(stores, record)


def _places() -> Sequence[DeltaGenerator]:
    """Places for the cloud, for what is said of it, and for the course of the run."""
    st.html(_STYLE)
    with st.container(key="seen"):
        return [st.container(key=f"seen_{name}") for name in ("cloud", "why", "course")]


def _wanted_bin(scored: Scored) -> str:
    """The bin of the address, else the latest bad one; above it, the way to its neighbours and to any other."""
    asked = st.query_params.get("bin")
    pid = asked if data.day_of(asked) is not None and asked else _latest_bad(scored)
    st.query_params["bin"] = pid
    before, after = data.neighbours(scored, pid)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.header(plain(pid), anchor=False, width="content")
        st.button("previous", icon=":material/chevron_left:", shortcut="Left", disabled=before is None,
                  on_click=_open, args=(before,), help="Its bin before it")  # fmt: skip
        st.button("next", icon=":material/chevron_right:", icon_position="right", shortcut="Right",
                  disabled=after is None, on_click=_open, args=(after,), help="Its bin after it")  # fmt: skip
        st.session_state["asked"] = ""
        st.text_input("Go to a bin", key="asked", placeholder="D20230810T113059_IFCB134", on_change=_open_asked,
                      width=250, label_visibility="collapsed")  # fmt: skip
    if asked is not None and asked != pid:
        st.warning(f"{plain(asked)} is no bin identifier; the latest bad bin is shown instead.")
    refused = st.session_state.pop("refused", None)
    if refused is not None:
        st.warning(f"{plain(refused)} is no bin identifier; it must look like D20230810T113059_IFCB134.")
    return pid


def _latest_bad(scored: Scored) -> str:
    bad = np.flatnonzero(scored.rows["verdict"].eq("bad").to_numpy())
    return str(scored.rows["pid"].iloc[bad[-1] if len(bad) else -1])


def _open(pid: str | None) -> None:
    if pid is not None:
        st.query_params["bin"] = pid


def _open_asked() -> None:
    asked = str(st.session_state["asked"]).strip()
    if data.day_of(asked) is not None:
        _open(asked)
    else:
        st.session_state["refused"] = asked


def _open_the_clicked_bin() -> None:
    _open(st.session_state.pop("clicked", None))


def _verdict(record: BinRecord) -> None:
    score, (status, reason) = record.score, record.outcome
    if score is None:
        st.info(f"No score yet. Materialize bin_scores of {record.day} in the Dagster UI.")
    else:
        look = LOOKS.get(score["verdict"], LOOKS["unreadable"])
        parts = [f":{look.badge}-badge[{look.icon} {look.name}]"]
        parts += [f"severity **{score['severity']:.0f}** of 100"] if score["verdict"] != "not_judged" else []
        causes = [plain(cause_name(score[name])) for name in ("cause", "second_cause") if score[name]]
        parts += [f"suspected: **{causes[0]}**" + "".join(f", or {other}" for other in causes[1:])] if causes else []
        parts += ["the settings were changed before this bin"] * bool(score["config_changed"])
        st.markdown(" · ".join(parts))
        if rests_on := words.rests_on(score):
            st.caption(rests_on)
    if status != "ok":
        st.warning(f"**{plain(status)}**: {plain(STATUSES.get(status, ''))}" + f"  \n{plain(reason)}" * bool(reason))
    elif reason:
        st.info(f"**ok**, but: {plain(reason)}")


def _stream(stores: Stores, record: BinRecord) -> Stream | None:
    if record.entry is None or record.cloud is None:
        return None
    return data.stream_of(stores, record.pid, record.entry, record.cloud)


def _cloud(stores: Stores, scored: Scored, record: BinRecord, stream: Stream | None) -> None:
    if record.entry is None:
        st.info(f"The point clouds of {record.day} lack this bin. Materialize point_clouds of that day again.")
        return
    if stream is None or record.cloud is None or not stream.n_images:
        st.markdown("It has no point cloud to show: no trigger gave an image.")
        return
    _drawn_cloud(stores, scored, record, stream)
    st.caption(
        f"{count(record.entry.n_rows, 'trigger')}, {count(stream.n_images, 'image')}, "
        f"{count(record.entry.bad_lines, 'unusable ADC line')}. Marks are the centres of images in the camera frame; "
        "blue ground is where those of the instrument's healthy bins lie. "
        f"{count(int(np.count_nonzero(~stream.has_image)), 'trigger')} without image "
        "have no place in the frame and are drawn below, over time."
    )


@st.fragment
def _drawn_cloud(stores: Stores, scored: Scored, record: BinRecord, stream: Stream) -> None:
    assert record.cloud is not None  # noqa: S101 - for the type checker
    colouring = st.segmented_control("Colour by", list(charts.COLOURINGS), default="time", required=True, key="colour",
                                     label_visibility="collapsed", bind="query-params")  # fmt: skip
    typical = data.read_typical(stores, scored, record.pid)
    images = clouds.points(stream)
    picture = clouds.density_address(typical, _TYPICAL_RGB) if typical.any() else None
    st.vega_lite_chart(
        charts.cloud(images, picture, stream.frame_px, colouring),
        key="cloud",
        width="content",
        alt=f"Point cloud of {record.pid}: {stream.n_images} images in the camera frame, and their distributions",
    )


def _findings(record: BinRecord) -> None:
    st.subheader("Why", anchor=False)
    found = words.findings(record.score["findings"]) if record.score is not None else []
    if not found:
        reasons = record.score["reasons"] if record.score is not None else ""
        judged = record.score is None or record.score["verdict"] in JUDGED
        st.markdown(plain(reasons) or ("Nothing unusual was found." if judged else "There is nothing to say about it."))
        return
    _reasons(found[:_MAX_REASONS])
    if len(found) > _MAX_REASONS:
        with st.expander(f"{len(found) - _MAX_REASONS} more"):
            _reasons(found[_MAX_REASONS:_MAX_FINDINGS])
    measured = [finding for finding in found if finding.has_range][:_MAX_FINDINGS]
    if measured:
        _ranges(measured)


def _reasons(found: Sequence[Finding]) -> None:
    told = {""}
    for finding in found:
        to_do = "" if finding.check in told else f"  \n:gray[{plain(finding.check)}]"
        told.add(finding.check)
        st.markdown(f"- **{plain(finding.text)}**{to_do}")


def _ranges(measured: Sequence[Finding]) -> None:
    rows = pd.DataFrame([(one.what, one.value, one.low, one.high, one.written) for one in measured],
                        columns=["name", "value", "low", "high", "written"])  # fmt: skip
    st.vega_lite_chart(charts.ranges(rows), alt="Values of this bin against the normal ranges of its instrument")
    with st.expander("The numbers"):
        numbers = [(plain(one.what), plain(one.written), plain(one.normal)) for one in measured]
        st.table(pd.DataFrame(numbers, columns=["feature", "this bin", "normal for the instrument"]))


#: Reasons that are seen at once, and findings that are shown at all.
_MAX_REASONS, _MAX_FINDINGS = 3, 8


@st.fragment
def _decision(stores: Stores, pid: str) -> None:
    st.subheader("Decide", anchor=False)
    decision_panel(label_store(stores), pid)
    st.caption("Keys: " + ", ".join(f"{key} {decision}" for decision, key in KEYS.items()) + f"; {UNDO_KEY} undoes.")


def _elsewhere(stores: Stores, record: BinRecord) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Link to this bin", icon=":material/link:"):
            st.code(f"{(st.context.url or '').partition('?')[0]}?bin={record.pid}", language=None, wrap_lines=True)
        if stores.settings.dashboard_url:
            st.link_button("IFCB dashboard", f"{stores.settings.dashboard_url}/bin?bin={record.pid}",
                           icon=":material/open_in_new:")  # fmt: skip
        near = _near(record)
        link(
            TIMELINE,
            "These days on the timeline",
            **{"from": f"{near.first:%Y-%m-%dT%H:%M}", "to": f"{near.last:%Y-%m-%dT%H:%M}"},
        )
    if record.score is not None:
        score = record.score
        has_score = score["anomaly_score"] is not None and np.isfinite(score["anomaly_score"])
        number = f"anomaly score {score['anomaly_score']:.3f} (lower is more anomalous)" if has_score else "no score"
        st.caption(f"Judged by model {plain(score['model_id'])}; {number}, bad from severity {score['threshold']:.0f}.")


def _course(stream: Stream) -> None:
    st.subheader("Over the run", anchor=False)
    st.vega_lite_chart(
        charts.course(clouds.course(stream)),
        width="content",
        alt="Images and triggers without image per second, and the position x of the images, over the run",
    )
    st.caption(
        "Above: how many images, and triggers without image, came per second. Below: median x of the images (line) and "
        "the middle nine of ten (band)."
    )


def _accumulated(stores: Stores, record: BinRecord) -> None:
    st.subheader("Severity as the bin accumulated", anchor=False)
    try:
        scores = data.read_accumulated(stores, record)
    except FlowError as error:
        st.warning(sentence(str(error)))
        return
    if scores is None:
        st.caption("There is no model in use that could judge the parts of the run.")
        return
    if not any(np.isfinite(score.severity) for score in scores):
        not_judged = any(score.verdict == "not_judged" for score in scores)
        st.caption("The instrument has too little history to judge any part of the run." if not_judged
                   else "Too few triggers came to judge any part of the run.")  # fmt: skip
        return
    threshold = BAD_FROM if record.score is None else record.score["threshold"]
    st.vega_lite_chart(charts.accumulated(scores, threshold), alt="Severity of the bin after each part of its run")
    n_triggers = certain_after(scores)
    certain = "" if n_triggers is None else f"From {count(n_triggers, 'trigger')} on it was bad and remained so. "
    st.caption(
        f"{certain}What the model in use says of the run so far, by what a run shows before its end: higher is worse, "
        "bad from the dashed line."
    )


def _near(record: BinRecord) -> Window:
    start = data.start_of(record.pid)
    return Window(start - _NEAR, start + _NEAR)


def _in_time(scored: Scored, record: BinRecord) -> None:
    window = _near(record)
    rows = series.select(scored, window, Filter(instruments=(record.instrument,)), {})
    if not len(rows):
        return
    st.subheader("Before and after", anchor=False)
    track = series.track(scored, rows, scored.rows["severity"].to_numpy()[rows], window, of_verdicts=True)
    marks = charts.Marks(chosen=record.pid, thresholds=series.thresholds(scored, rows))
    key = f"near {record.pid}"

    def react() -> None:
        st.session_state["clicked"] = charts.picked_pid(st.session_state[key])

    st.vega_lite_chart(
        charts.lanes(track, charts.SEVERITY, window, [record.instrument], marks),
        key=key,
        on_select=react,
        selection_mode=charts.PICKED,
        alt="Severity of the bins before and after",
    )
    st.caption("The ring is this bin. Click another to open it.")


def _images(stores: Stores, record: BinRecord, stream: Stream | None) -> None:
    if stream is None or record.cloud is None or not stream.n_images:
        return
    st.subheader("Images", anchor=False)
    rows = np.flatnonzero(stream.has_image)
    sample = rows[np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int)]
    found = data.read_images(stores, record, sample.tolist())
    if isinstance(found, str):
        st.caption(plain(found))
        return
    if not found.images:
        st.caption(f"None of the images can be read, for example: {plain(next(iter(found.missing.values()), ''))}")
        return
    picture, n_drawn = clouds.mosaic(list(found.images.values()))
    st.image(picture, width="stretch", alt=f"{n_drawn} of the {len(rows)} images of {record.pid}, largest first")
    missing = f" {count(len(found.missing), 'image')} could not be read." if found.missing else ""
    st.caption(f"{n_drawn} of {count(len(rows), 'image')}, chosen evenly over the run, all at the same scale.{missing}")


@st.fragment
def _similar(stores: Stores, scored: Scored, record: BinRecord) -> None:
    st.subheader("Similar bins", anchor=False)
    if not st.toggle(
        "Look for them", key="similar", help="Among the days around it and the instrument's latest episodes"
    ):
        return
    try:
        found = data.read_similar(stores, scored, record, _SIMILAR)
    except FlowError as error:
        st.error(sentence(str(error)))
        return
    if found.empty:
        st.caption("There is none to compare it with: the bin has no features, or no other bin has.")
        return
    table = scored.rows.iloc[found["row"]][["pid", "start_time", "severity", "verdict", "cause"]]
    table = table.assign(cause=[cause_name(cause) for cause in table["cause"]], distance=found["distance"].to_numpy())
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
        st.caption("No header values: the .hdr file is absent, empty or not readable.")
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
