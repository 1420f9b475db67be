"""The page "Timeline": severity over years for every instrument, from all bins down to single ones.

Window, filters and what is shown are in the address, so that a link shows the same again.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app import charts, data, series
from app.data import Scored, Stores
from app.pages import BIN, TIMELINE, go_to, scored_bins
from app.series import Filter, Track, Window
from app.theme import LOOKS, cause_name, verdict_name
from app.words import count, number, plain, sentence
from ifcb_flow_pipeline.bins.hdr import HeaderField
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE, Feature
from ifcb_flow_pipeline.store.labels import DECISIONS, Label
from ifcb_flow_pipeline.store.tables import STATUSES

SPANS: Mapping[str, timedelta | None] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
    "all": None,
}
_DEFAULT_SPAN = "year"

#: How the ends of a window are written in the address (UTC).
_MOMENT = "%Y-%m-%dT%H:%M:%S"

#: Rows of the list of the worst bins.
_MAX_LISTED = 200

#: What a selection can be compared with, and how that is called.
_COMPARISONS: Mapping[str, str] = {
    "before": "the period before, as long",
    "year ago": "the same period a year before",
    "others": "the other instruments",
    "everything": "all bins of all time",
    "kept": "the kept selection",
}

#: What the second track can show: features, then settings of the header.
_TRACKS: Mapping[str, Feature | HeaderField] = {
    **{feature.name: feature for feature in CATALOGUE},
    **data.HEADER_SETTINGS,
}


def _page() -> None:
    _open_the_clicked_bin()
    st.header(TIMELINE.title, anchor=False)
    stores, scored = scored_bins()
    decisions = _decisions(stores)
    everything = series.whole(scored)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        window = _window(everything)
        name = st.segmented_control("Show", ["severity", "anomaly score"], key="show", default="severity",
                                    required=True, bind="query-params", width="content")  # fmt: skip
        wanted = _filters(scored)
    rows = series.select(scored, window, wanted, decisions)
    for problem in scored.problems[:3]:
        st.error(plain(problem))
    if not len(rows):
        st.info("No bin is left by this filter. Widen the period, or take some of the filter's choices away.")
        return
    _lanes(stores, scored, rows, window, decisions, name)
    track = _second_track(stores, scored, rows, window)
    _worst_bins(scored, rows)
    _distributions(stores, scored, rows, window, wanted, decisions, track)


def _filters(scored: Scored) -> Filter:
    chosen = sum(bool(st.session_state.get(key)) for key in ("instrument", "verdict", "cause", "status", "decision"))
    with st.popover(f"Filter ({chosen})" if chosen else "Filter", icon=":material/filter_alt:", width="content"):
        return Filter(
            instruments=_choice("instrument", "Instruments", scored.instruments),
            verdicts=_choice("verdict", "Verdicts", list(LOOKS), verdict_name),
            causes=_choice("cause", "Suspected causes", list(CAUSE_NAMES), cause_name),
            statuses=_choice("status", "Status", list(STATUSES)),
            decisions=_choice("decision", "Decisions", [*DECISIONS, series.UNDECIDED]),
        )


def _choice(key: str, label: str, options: Sequence[str], format_func: Any = str) -> tuple[str, ...]:
    chosen = st.multiselect(label, options, key=key, format_func=format_func, placeholder="all", width=280,
                            bind="query-params")  # fmt: skip
    return tuple(chosen)


def _window(everything: Window) -> Window:
    """The window of the address; the widgets that set it are drawn and show it."""
    zoomed = _zoomed()
    if zoomed is None and "span" not in st.query_params:
        st.session_state.setdefault("span", _DEFAULT_SPAN)
    span = st.segmented_control("Period up to the last bin", list(SPANS), key="span", on_change=_forget_zoom,
                                bind="query-params", width="content")  # fmt: skip
    window = zoomed or _latest(everything, SPANS[span or _DEFAULT_SPAN])
    window = window.within(everything)
    for label, icon, other in (
        ("earlier", ":material/chevron_left:", window.moved(-0.5)),
        ("later", ":material/chevron_right:", window.moved(0.5)),
        ("zoom out", ":material/zoom_out:", window.widened(3)),
    ):
        st.button(label, icon=icon, on_click=_zoom, args=(other.within(everything),))
    _days(window, everything)
    return window


def _days(window: Window, everything: Window) -> None:
    # Set anew in each run: whatever changed the window, the dates show it.
    st.session_state["first_day"], st.session_state["last_day"] = window.first.date(), window.last.date()
    for label, key in (("First day", "first_day"), ("Last day", "last_day")):
        st.date_input(label, key=key, format="YYYY-MM-DD", width=135, on_change=_zoom_to_days,
                      min_value=everything.first.date(), max_value=everything.last.date())  # fmt: skip


def _zoom_to_days() -> None:
    first, last = st.session_state["first_day"], st.session_state["last_day"]
    if isinstance(first, date) and isinstance(last, date):
        _zoom(
            Window(
                datetime.combine(min(first, last), time(), UTC),
                datetime.combine(max(first, last), time(23, 59, 59), UTC),
            )
        )


def _zoomed() -> Window | None:
    try:
        first, last = (datetime.fromisoformat(st.query_params[name]).replace(tzinfo=UTC) for name in ("from", "to"))
    except (KeyError, ValueError):
        return None
    return Window(first, last) if first < last else None


def _zoom(window: Window) -> None:
    st.query_params["from"] = f"{window.first:{_MOMENT}}"
    st.query_params["to"] = f"{window.last:{_MOMENT}}"
    st.session_state["span"] = None


def _forget_zoom() -> None:
    st.query_params.pop("from", None)
    st.query_params.pop("to", None)


def _latest(everything: Window, span: timedelta | None) -> Window:
    return everything if span is None else Window(everything.last - span, everything.last)


def _lanes(
    stores: Stores, scored: Scored, rows: NDArray[np.intp], window: Window, decisions: Mapping[str, Label], name: str
) -> None:
    values = scored.rows["anomaly_score" if name == "anomaly score" else "severity"].to_numpy()[rows]
    measure = charts.SEVERITY if name == "severity" else charts.Measure.fitted("anomaly score", values)
    track = series.track(scored, rows, values, window, of_verdicts=True)
    marks = charts.Marks(
        episodes=series.episodes_in(data.read_episodes(stores), window),
        thresholds=series.thresholds(scored, rows) if name == "severity" else pd.DataFrame(),
        models=series.model_changes(scored, rows),
        decided=series.decided_in(scored, rows, decisions),
    )
    _draw(track, measure, window, marks, key="lanes")
    st.caption(_what_is_drawn(track, name))


def _draw(track: Track, measure: charts.Measure, window: Window, marks: charts.Marks, key: str) -> None:
    # A new window is a new chart: the old brush would lie upon it.
    key = f"{key} {window.first:%Y%m%d%H%M} {window.last:%Y%m%d%H%M}"
    instruments = sorted(
        set(track.points["instrument"]) | set([] if track.envelope is None else track.envelope["instrument"])
    )

    def react() -> None:
        event = st.session_state[key]
        st.session_state["clicked"] = charts.picked_pid(event)
        if brushed := charts.brushed_window(event, window):
            _zoom(brushed)

    st.vega_lite_chart(
        charts.lanes(track, measure, window, instruments, marks),
        key=key,
        on_select=react,
        selection_mode=[charts.PICKED, charts.BRUSHED],
        alt=f"{measure.title} of {count(track.n_bins, 'bin')} over time, a lane for each instrument",
    )


def _open_the_clicked_bin() -> None:
    pid = st.session_state.pop("clicked", None)
    if pid is not None:
        go_to(BIN, bin=pid)


def _what_is_drawn(track: Track, name: str) -> str:
    direction = "higher is worse" if name == "severity" else "lower is more anomalous"
    with_value = np.isfinite(track.points["value"].to_numpy(dtype=float))
    floor = "" if with_value.all() else " Grey squares at the foot of a lane are bins that were not judged."
    hint = f"{name.capitalize()}: {direction}.{floor} Drag over a period to zoom in; click a mark to open the bin."
    if track.envelope is None:
        each = "each a mark" if len(track.points) == track.n_bins else "of those not judged one mark a stretch of time"
        return f"{count(track.n_bins, 'bin')}, {each}. {hint}"
    left_out = f" {count(track.n_left_out, 'more bin')} to look at appear when you zoom in." if track.n_left_out else ""
    return (
        f"{count(track.n_bins, 'bin')}: bands hold all of them (light) and nine of ten (dark), the line is the median. "
        f"Marks are the {np.count_nonzero(with_value):,} worst, those of every stretch of time among them."
        f"{left_out} {hint}"
    )


def _second_track(stores: Stores, scored: Scored, rows: NDArray[np.intp], window: Window) -> str | None:
    """A feature or a header value over the same time; its name, None where there is none to show."""
    name = st.selectbox("Second track", list(_TRACKS), index=None, key="track", bind="query-params", width=330,
                        placeholder="choose a feature or a header value", format_func=_track_title)  # fmt: skip
    if name is None:
        return None
    try:
        values, n_days = data.read_feature(stores, scored, rows, name)
    except FlowError as error:
        st.error(sentence(str(error)))
        return None
    if not np.isfinite(values).any():
        st.info(f"No bin of this period has a value of {plain(name)}.")
        return None
    measure = charts.Measure.fitted(_track_title(name), values)
    _draw(series.track(scored, rows, values, window), measure, window, charts.Marks(), key=f"track {name}")
    chosen = (
        f" Read of {n_days:,} evenly chosen days; shorter periods show all." if n_days == data.MAX_FEATURE_DAYS else ""
    )
    st.caption(sentence(_TRACKS[name].meaning) + "." + chosen)
    return name


def _track_title(name: str) -> str:
    unit = f" ({_TRACKS[name].unit})" if _TRACKS[name].unit else ""
    return f"{name.replace('_', ' ')}{unit}, setting" if name in data.HEADER_SETTINGS else f"{name}{unit}"


def _worst_bins(scored: Scored, rows: NDArray[np.intp]) -> None:
    severity = scored.rows["severity"].to_numpy()[rows]
    n = min(_MAX_LISTED, len(rows))
    worst = scored.rows.iloc[rows[np.argpartition(-severity, n - 1)[:n]]].sort_values("severity", ascending=False)
    # A table of so many rows takes the browser as long as the chart: it is made when it is asked for.
    with st.expander(f"The {len(worst):,} worst bins of this period", key="worst_open", on_change="rerun") as place:
        if not place.open:
            return
        table = worst[["pid", "instrument", "start_time", "severity", "verdict", "cause", "status"]]
        table = table.assign(cause=table["cause"].astype(str).map(cause_name))
        event = st.dataframe(table, hide_index=True, key="worst", on_select="rerun", selection_mode="single-row",
                             column_config=_WORST_COLUMNS, alt="The worst bins of this period")  # fmt: skip
        if event["selection"]["rows"]:
            go_to(BIN, bin=str(worst["pid"].iloc[event["selection"]["rows"][0]]))


_WORST_COLUMNS: Mapping[str, Any] = {
    "pid": st.column_config.TextColumn("bin", width=220),
    "start_time": st.column_config.DatetimeColumn("start (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
    "severity": st.column_config.NumberColumn("severity", format="%.0f", help="0 to 100: higher is worse"),
    "cause": st.column_config.TextColumn("suspected cause"),
}


def _distributions(
    stores: Stores,
    scored: Scored,
    rows: NDArray[np.intp],
    window: Window,
    wanted: Filter,
    decisions: Mapping[str, Label],
    track: str | None,
) -> None:
    st.subheader("Compare with another selection", anchor=False)
    other, name = _comparison(window, wanted, track)
    if other is None:
        return
    their_window, their_filter = _other_selection(other, window, wanted, scored)
    theirs = series.select(scored, their_window, their_filter, decisions)
    groups = {"this selection": rows, _COMPARISONS[other]: theirs}
    values = {group: _values(stores, scored, of, name) for group, of in groups.items()}
    if not all(np.isfinite(of).any() for of in values.values()):
        st.info("There is no bin to compare with. Choose another period or another selection.")
        return
    left, right = st.columns([3, 2])
    with left:
        st.vega_lite_chart(charts.distributions(values, _compared_title(name)),
                           alt=f"Distributions of {_compared_title(name)} of two selections")  # fmt: skip
    with right:
        verdict = scored.rows["verdict"].to_numpy()
        st.table(pd.DataFrame({group: _summary(values[group], verdict[of]) for group, of in groups.items()}))


def _comparison(window: Window, wanted: Filter, track: str | None) -> tuple[str | None, str]:
    """With what to compare the selection (None: nothing yet), and by which of its values."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        options = [name for name in _COMPARISONS if name != "kept" or "kept" in st.session_state]
        other = st.selectbox("Compare the bins above with", options, index=None, key="compare", width=330,
                             format_func=lambda name: _COMPARISONS[name], placeholder="choose",
                             bind="query-params")  # fmt: skip
        names = ["severity", "anomaly_score"] if track is None else [track, "severity", "anomaly_score"]
        name = st.selectbox("by their", names, format_func=_compared_title, width=330)
        if st.button("Keep this selection", icon=":material/keep:", help="To compare the next one with it"):
            st.session_state["kept"] = (window, wanted)
            st.toast("Kept. Change period or filters, then compare with the kept selection.")
    return other, name


def _compared_title(name: str) -> str:
    return _track_title(name) if name in _TRACKS else name.replace("_", " ")


def _values(stores: Stores, scored: Scored, rows: NDArray[np.intp], name: str) -> NDArray[np.floating]:
    if name in scored.rows:
        return scored.rows[name].to_numpy()[rows]
    return data.read_feature(stores, scored, rows, name)[0]


def _other_selection(other: str, window: Window, wanted: Filter, scored: Scored) -> tuple[Window, Filter]:
    if other == "before":
        return window.moved(-1), wanted
    if other == "year ago":
        year = timedelta(days=365)
        return Window(window.first - year, window.last - year), wanted
    if other == "others":
        names = tuple(name for name in scored.instruments if name not in wanted.instruments)
        return window, Filter(names or ("",), wanted.verdicts, wanted.causes, wanted.statuses, wanted.decisions)
    if other == "everything":
        return series.whole(scored), Filter()
    return st.session_state["kept"]


def _summary(values: NDArray[np.floating], verdict: NDArray) -> dict[str, str]:
    finite = values[np.isfinite(values)]
    low, middle, high = np.quantile(finite, (0.25, 0.5, 0.75))
    return {
        "bins": f"{len(values):,}",
        "with a value": f"{len(finite):,}",
        "median": number(middle),
        "middle half": f"{number(low)} to {number(high)}",
        "bad": f"{100 * np.mean(verdict == 'bad'):.2f} %",
    }


def _decisions(stores: Stores) -> Mapping[str, Label]:
    try:
        return data.read_decisions(stores)
    except FlowError as error:
        st.warning(sentence(str(error)))
        return {}


_page()
