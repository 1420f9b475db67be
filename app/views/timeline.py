"""The page "Timeline": severity over years for every instrument, from all bins down to single ones.

Window, filters and what is shown are in the address, so that a link shows the same again.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app import address, charts, data, period, series, words
from app.data import Scored, Stores
from app.pages import BIN, TIMELINE, go_to, scored_bins
from app.series import Filter, Track, Window
from app.theme import LOOKS, cause_name, decision_name, verdict_name
from app.words import count, measure_name, number, plain, sentence
from ifcb_flow_pipeline.bins.hdr import HeaderField
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE, Feature
from ifcb_flow_pipeline.store.labels import DECISIONS, Label
from ifcb_flow_pipeline.store.tables import STATUSES, status_name

#: Rows of the list of the worst bins.
_MAX_LISTED = 200

#: What the lanes can show, and what that is called.
_SHOWN: Mapping[str, str] = {"severity": "Severity", "anomaly_score": "Anomaly score"}

#: What a selection can be compared with, and how that is called.
_COMPARISONS: Mapping[str, str] = {
    "before": "the period before, as long",
    "year ago": "the same period a year before",
    "others": "the other instruments",
    "everything": "all bins of all time",
    "kept": "the saved selection",
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
        window = period.chosen(everything)
        name = address.one("show", "Show", list(_SHOWN), "severity", draw=st.segmented_control, called=_shown,
                           required=True, width="content") or "severity"  # fmt: skip
        wanted = _filters(scored)
    rows = series.select(scored, window, wanted, decisions)
    for problem in scored.problems[:3]:
        st.error(plain(problem))
    if not len(rows):
        st.info("No bins match. Widen the period or clear some filters.")
        return
    _lanes(stores, scored, rows, window, decisions, name)
    _episodes(stores, scored, rows, window)
    track = _second_track(stores, scored, rows, window)
    _worst_bins(scored, rows)
    _distributions(stores, scored, rows, window, wanted, decisions, track)


def _shown(code: str) -> str:
    return _SHOWN[code]


def _compared(code: str) -> str:
    return _COMPARISONS[code]


def _filters(scored: Scored) -> Filter:
    chosen = sum(bool(address.given(key)) for key in ("instrument", "verdict", "cause", "status", "decision"))
    with st.popover(f"Filter ({chosen})" if chosen else "Filter", icon=":material/filter_alt:", width="content"):
        return Filter(
            instruments=_choice("instrument", "Instruments", scored.instruments),
            verdicts=_choice("verdict", "Verdicts", list(LOOKS), verdict_name),
            causes=_choice("cause", "Suspected causes", list(CAUSE_NAMES), cause_name),
            statuses=_choice("status", "Status of the files", list(STATUSES), status_name),
            decisions=_choice("decision", "Decisions", [*DECISIONS, series.UNDECIDED], decision_name),
        )


def _choice(key: str, label: str, options: Sequence[str], called: Any = str) -> tuple[str, ...]:
    return address.several(key, label, options, called=called, placeholder="all", width=280)


def _lanes(
    stores: Stores, scored: Scored, rows: NDArray[np.intp], window: Window, decisions: Mapping[str, Label], name: str
) -> None:
    values = scored.rows[name].to_numpy()[rows]
    measure = charts.SEVERITY if name == "severity" else charts.Measure.fitted("anomaly score", values)
    track = series.track(scored, rows, values, window, of_verdicts=True)
    marks = charts.Marks(
        episodes=series.episodes_in(data.read_episodes(stores), window),
        thresholds=series.thresholds(scored, rows) if name == "severity" else pd.DataFrame(),
        models=series.model_changes(scored, rows),
        decided=series.decided_in(scored, rows, decisions),
        chosen=address.given("bin"),
    )
    _draw(track, measure, window, marks, key="lanes")
    st.caption(_what_is_drawn(track, name))


def _draw(track: Track, measure: charts.Measure, window: Window, marks: charts.Marks, key: str) -> None:
    # A new window is a new chart: the old brush would lie upon it.
    key = f"{key} {window.first:%Y%m%d%H%M} {window.last:%Y%m%d%H%M}"
    instruments = sorted(
        set(track.points["instrument"]) | set([] if track.envelope is None else track.envelope["instrument"]),
        key=data.by_number,
    )

    def react() -> None:
        event = st.session_state[key]
        st.session_state["clicked"] = charts.picked_pid(event)
        if brushed := charts.brushed_window(event, window):
            period.zoom(brushed)

    spec = charts.lanes(track, measure, window, instruments, marks)
    st.vega_lite_chart(
        spec,
        key=key,
        on_select=react,
        selection_mode=charts.selections(spec),
        alt=f"{measure.title} of {count(track.n_bins, 'bin')} over time, a lane for each instrument",
    )


def _open_the_clicked_bin() -> None:
    pid = st.session_state.pop("clicked", None)
    if pid is not None:
        go_to(BIN, bin=pid)


def _what_is_drawn(track: Track, name: str) -> str:
    direction = "higher is worse" if name == "severity" else "lower is more anomalous"
    with_value = np.isfinite(track.points["value"].to_numpy(dtype=float))
    floor = "" if with_value.all() else " Grey squares at the foot of a lane are bins without a verdict."
    hint = (
        f"{_SHOWN[name]}: {direction}.{floor} Drag over a period to zoom in; select a mark to open its bin, a bar to "
        "open the worst bin of the episode. Signs below a lane are decisions: circle good, cross bad, triangle unsure."
    )
    if track.envelope is None:
        each = "each a mark" if len(track.points) == track.n_bins else "of those without a verdict one mark a stretch"
        return f"{count(track.n_bins, 'bin')}, {each}. {hint}"
    left_out = f" {count(track.n_left_out, 'more bin')} appear when you zoom in." if track.n_left_out else ""
    return (
        f"{count(track.n_bins, 'bin')}: the light band holds all of them, the dark one 90 %, the line is the median. "
        f"Marks are the {np.count_nonzero(with_value):,} worst, with the worst of every stretch of time."
        f"{left_out} {hint}"
    )


def _episodes(stores: Stores, scored: Scored, rows: NDArray[np.intp], window: Window) -> None:
    """The episodes of the window as a list; one that is selected opens its worst bin."""
    instruments = set(scored.rows["instrument"].iloc[rows].unique())
    found = [one for one in series.episodes_in(data.read_episodes(stores), window) if one.instrument in instruments]
    if not found:
        return
    n_single = sum(one.n_bad == 1 for one in found)
    single = f" and {count(n_single, 'single bad bin')}" if n_single else ""
    with st.expander(
        f"{count(len(found) - n_single, 'episode')}{single} in this period", key="episodes_open", on_change="rerun"
    ) as place:
        if not place.open:
            return
        found = sorted(found, key=lambda one: one.start, reverse=True)
        table = pd.DataFrame({
            "instrument": [one.instrument for one in found],
            "suspected cause": [cause_name(one.cause) for one in found],
            "from (UTC)": [one.start for one in found],
            "until (UTC)": [None if one.ongoing else one.end for one in found],
            "bad bins": [one.n_bad for one in found],
            "worst severity": [one.worst_severity for one in found],
        })  # fmt: skip
        event = st.dataframe(table, hide_index=True, key="episodes", on_select="rerun", selection_mode="single-row",
                             column_config=_EPISODE_COLUMNS, alt="Episodes of this period, latest first")  # fmt: skip
        if event["selection"]["rows"]:
            go_to(BIN, bin=found[event["selection"]["rows"][0]].worst_pid)


_TIMES = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC")
_EPISODE_COLUMNS: Mapping[str, Any] = {
    "from (UTC)": _TIMES, "until (UTC)": _TIMES, "worst severity": st.column_config.NumberColumn(format="%.0f"),
}  # fmt: skip


def _second_track(stores: Stores, scored: Scored, rows: NDArray[np.intp], window: Window) -> str | None:
    """A feature or a header value over the same time; its name, None where there is none to show."""
    name = address.one("track", "Second track", list(_TRACKS), called=measure_name, width=330,
                       placeholder="Choose a measurement")  # fmt: skip
    if name is None:
        return None
    everything, problems = data.read_measure(stores, scored, name)
    for problem in problems[:3]:
        st.error(plain(problem))
    values = everything[rows]
    if not np.isfinite(values).any():
        st.info(f"No bin of this period has a value of {plain(measure_name(name))}.")
        return None
    values = words.as_shown(name, values)
    measure = charts.Measure.fitted(measure_name(name), values)
    _draw(series.track(scored, rows, values, window), measure, window, charts.Marks(chosen=address.given("bin")),
          key=f"track {name}")  # fmt: skip
    st.caption(sentence(_TRACKS[name].meaning) + ".")
    return name


def _worst_bins(scored: Scored, rows: NDArray[np.intp]) -> None:
    severity = scored.rows["severity"].to_numpy()[rows]
    n = min(_MAX_LISTED, len(rows))
    worst = scored.rows.iloc[rows[np.argpartition(-severity, n - 1)[:n]]].sort_values("severity", ascending=False)
    # A table of so many rows takes the browser as long as the chart: it is made when it is asked for.
    with st.expander(f"The {len(worst):,} worst bins of this period", key="worst_open", on_change="rerun") as place:
        if not place.open:
            return
        table = worst[["pid", "instrument", "start_time", "severity", "verdict", "cause", "status"]]
        table = table.assign(cause=table["cause"].astype(str).map(cause_name),
                             verdict=table["verdict"].astype(str).map(verdict_name),
                             status=table["status"].astype(str).map(status_name))  # fmt: skip
        event = st.dataframe(table, hide_index=True, key="worst", on_select="rerun", selection_mode="single-row",
                             column_config=_WORST_COLUMNS, alt="The worst bins of this period")  # fmt: skip
        if event["selection"]["rows"]:
            go_to(BIN, bin=str(worst["pid"].iloc[event["selection"]["rows"][0]]))


_WORST_COLUMNS: Mapping[str, Any] = {
    "pid": st.column_config.TextColumn("bin", width=220),
    "start_time": st.column_config.DatetimeColumn("start (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC"),
    "severity": st.column_config.NumberColumn("severity", format="%.0f", help="0 to 100: higher is worse"),
    "cause": st.column_config.TextColumn("suspected cause"),
    "status": st.column_config.TextColumn("files"),
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
        st.info("There is nothing to compare with. Choose another period or another selection.")
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
        other = address.one("compare", "Compare this selection with", options, called=_compared, width=330,
                            placeholder="Choose")  # fmt: skip
        names = [*_SHOWN] if track is None else [track, *_SHOWN]
        name = address.one("by", "on", names, names[0], called=_compared_title, width=330) or names[0]
        if st.button("Save this selection", icon=":material/bookmark:", help="To compare the next one with it"):
            st.session_state["kept"] = (window, wanted)
            st.toast("Saved. Change the period or the filters, then compare with the saved selection.")
    return other, name


def _compared_title(name: str) -> str:
    return measure_name(name) if name in _TRACKS else _SHOWN[name]


def _values(stores: Stores, scored: Scored, rows: NDArray[np.intp], name: str) -> NDArray[np.floating]:
    if name in scored.rows:
        return scored.rows[name].to_numpy()[rows]
    return words.as_shown(name, data.read_measure(stores, scored, name)[0][rows])


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
