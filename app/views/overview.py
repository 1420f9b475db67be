"""The page "Overview": which instrument has a problem, what and since when, and what the pipeline waits for."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime

import pandas as pd
import streamlit as st

from app import alerts, charts, data, runs, series, status
from app.data import Scored, Stores
from app.pages import BIN, MODELS, OVERVIEW, TIMELINE, TRIAGE, Entry, go_to, link, scored_bins
from app.series import Filter, Window
from app.status import Check, InstrumentStatus, Place, State
from app.theme import LOOKS, BadgeColour, status_name
from app.words import age, count, plain, sentence, span, times
from ifcb_flow_pipeline.detection.model_card import ModelCard
from ifcb_flow_pipeline.errors import FlowError

#: The badge of an instrument by its state: colour, icon and word.
_BADGES: Mapping[State, tuple[BadgeColour, str, str]] = {
    "fault": ("red", ":material/warning:", "Fault now"),
    "unreadable": ("gray", ":material/help:", "Unreadable"),
    "watch": ("orange", ":material/visibility:", "Watch"),
    "not_judged": ("gray", ":material/pending:", "No verdict"),
    "recent": ("orange", ":material/history:", "Faults in 24 h"),
    "ok": ("blue", ":material/check_circle:", "OK"),
}
_SILENT = (":material/sensors_off:", "No data")

#: The page on which a person acts on a check, what its link is called, and what it opens.
_PLACES: Mapping[Place, tuple[Entry, str, Mapping[str, str]]] = {
    "unreadable bins": (TIMELINE, "Show them", {"verdict": "unreadable", "span": "week"}),
    "bins not judged": (TIMELINE, "Show them", {"verdict": "not_judged", "span": "week"}),
    "bad bins": (TIMELINE, "Show the week", {"span": "week"}),
    "models": (MODELS, "Open Models", {}),
}

#: Bars of a strip at most, and those of the week's chart are drawn for so many instruments at most.
_STRIP_BINS, _WEEK_LANES = 150, 8


def _page() -> None:
    stores, scored = scored_bins()
    _open_the_clicked_bin()
    now, episodes = data.utc_now(), data.read_episodes(stores)
    statuses = [status.instrument_status(scored, name, episodes, now) for name in scored.instruments]
    statuses.sort(key=lambda one: (status.STATES.index(one.state), not one.is_silent, -one.last_start.timestamp()))
    active = [one for one in statuses if not one.is_retired]
    retired = sorted((one for one in statuses if one.is_retired), key=lambda one: one.silence)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.header(OVERVIEW.title, anchor=False, width="content")
        st.caption(f"{now:%Y-%m-%d %H:%M} UTC", width="content")
    if not active:
        longest = span(status.RETIRED)
        st.info(f"No instrument has sent a bin for {longest}. The latest bin is {span(retired[0].silence)} old.")
    alerts.open_and_unacknowledged(stores)
    for one in active:
        _card(stores, scored, one, now)
    _checks(stores, scored, active, active or retired)
    _retired(retired, now, is_open=not active)
    _left_out(stores)
    if active:
        _week(stores, scored, active)


def _card(stores: Stores, scored: Scored, one: InstrumentStatus, now: datetime) -> None:
    with st.container(border=True, gap="xxsmall"):
        colour, icon, word = _BADGES[one.state]
        if one.is_silent:
            colour, icon, word = "red" if one.state == "fault" else "orange", *_SILENT
        st.markdown(f"**{plain(one.instrument)}** :{colour}-badge[{icon} {word}] {plain(status.headline(one, now))}")
        _strip(scored, one)
        with st.container(horizontal=True, gap="xxsmall", vertical_alignment="center"):
            st.caption(" · ".join(_facts(stores, one, now)), width="stretch")
            if one.worst_pid is not None:
                link(BIN, "Worst bin", bin=one.worst_pid)
            link(BIN, "Last bin", icon=":material/last_page:", bin=one.last_pid)
            link(TIMELINE, "Timeline", instrument=one.instrument, span="month")
            if one.week.n_bad:
                link(TRIAGE, "Review", instrument=one.instrument, period="7d")


def _facts(stores: Stores, one: InstrumentStatus, now: datetime) -> list[str]:
    """What else is known of an instrument, in short."""
    facts = [
        f"Last bin {times(one.last_start, None, now)} UTC",
        f"{_share(one.day)} bad in 24 h, {_share(one.week)} in 7 days",
    ]
    if one.week.n_not_judged:
        facts.append(f"{one.week.n_not_judged:,} without a verdict in 7 days")
    temperature, humidity = _housing(stores, one.last_pid)
    housing = [
        f"{temperature:.0f} °C" * math.isfinite(temperature),
        f"{humidity:.0f} % humidity" * math.isfinite(humidity),
    ]
    facts.append(", ".join(filter(None, housing)))
    trained = data.trained(stores).get(one.model_id)
    facts.append(f"model {plain(one.model_id)}" if trained is None else f"model trained {age(trained, now)}")
    return list(filter(None, facts))


def _housing(stores: Stores, pid: str) -> tuple[float, float]:
    try:
        return data.read_housing(stores, pid)
    except FlowError:
        return math.nan, math.nan  # the check of stored days says so


def _strip(scored: Scored, one: InstrumentStatus) -> None:
    rows = scored.rows.iloc[scored.since(one.instrument, one.last_start - status.DAY)[-_STRIP_BINS:]]
    first = rows["start_time"].iloc[0].to_pydatetime()
    window = Window(min(first, one.last_start - status.DAY) - one.rhythm / 2, one.last_start + one.rhythm / 2)
    key = f"strip {one.instrument}"

    def react() -> None:
        st.session_state["clicked"] = charts.picked_pid(st.session_state[key])

    st.vega_lite_chart(
        charts.strip(rows, window, one.rhythm),
        key=key,
        on_select=react,
        selection_mode=charts.PICKED,
        alt=f"The last {count(len(rows), 'bin')} of {one.instrument}: severity of each, coloured by verdict",
    )


def _share(tally: status.Tally) -> str:
    return f"{tally.n_bad:,} of {tally.n_bins - tally.n_not_judged:,}"


def _retired(retired: Sequence[InstrumentStatus], now: datetime, *, is_open: bool) -> None:
    if not retired:
        return
    title = f"{count(len(retired), 'instrument')} without a bin for {span(status.RETIRED)}"
    with st.expander(title, icon=":material/inventory_2:", expanded=is_open):
        for one in retired:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.markdown(
                    f"**{plain(one.instrument)}** last bin {one.last_start:%Y-%m-%d}, {age(one.last_start, now)}: "
                    f"{plain(LOOKS[one.verdict].name)} · {count(one.week.n_bad, 'bad bin')} in its last 7 days",
                    width="stretch",
                )
                link(BIN, "Last bin", icon=":material/last_page:", bin=one.last_pid)
                link(TIMELINE, "Timeline", instrument=one.instrument, span="all")


def _left_out(stores: Stores) -> None:
    """The bins that are in no result, and why."""
    try:
        rows = data.left_out(stores)
    except FlowError as error:
        st.warning(sentence(str(error)))
        return
    if not rows:
        return
    with st.expander(f"{count(len(rows), 'bin')} left out of all results", icon=":material/block:"):
        st.caption("Misplaced, misnamed or outside the days of the pipeline: each with the reason and what to do.")
        table = pd.DataFrame([
            {"bin": row["pid"], "state": status_name(row["status"]), "reason": row["reason"], "folder": row["path"]}
            for row in rows[:_MAX_LEFT_OUT]
        ])  # fmt: skip
        st.dataframe(table, hide_index=True, alt="Bins left out of all results", column_config=_LEFT_OUT_COLUMNS)
        if len(rows) > _MAX_LEFT_OUT:
            st.caption(f"The first {_MAX_LEFT_OUT:,} of {len(rows):,}.")


_MAX_LEFT_OUT = 1000
_LEFT_OUT_COLUMNS = {"reason": st.column_config.TextColumn(width="large")}


def _checks(
    stores: Stores, scored: Scored, active: Sequence[InstrumentStatus], watched: Sequence[InstrumentStatus]
) -> None:
    """What waits for a person, each with what does it; what is well is folded. ``watched``: the active instruments, or
    all where none is.
    """
    card = _model(stores)
    found = [
        status.freshness(active),
        status.readability(watched),
        status.judged(watched),
        status.completeness(_missing(stores, watched)),
        status.drift(scored, watched),
        status.model_age(card, data.utc_now()),
        status.newest_model(card, data.newest_model(stores)),
        status.one_model(watched, card),
        status.damage(scored.problems),
    ]
    failing = [check for check in found if not check.passed]
    if failing:
        st.subheader("To do", anchor=False)
    for number, check in enumerate(failing):
        _failing(stores, check, number)
    with st.expander(f"{count(len(found) - len(failing), 'check')} passed", icon=":material/check_circle:"):
        st.markdown("\n".join(f"- {plain(check.found)}" for check in found if check.passed))


def _failing(stores: Stores, check: Check, number: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f":orange[:material/warning:] **{plain(check.found)}.** {plain(check.remedy)}.", width="stretch")
        if check.place is not None and check.place in _PLACES:
            entry, label, query = _PLACES[check.place]
            link(entry, label, **query)
        if check.days:
            days = [date.fromisoformat(day) for day in check.days]
            runs.button(stores, "Score", runs.scoring(days[0], days[-1]), key=f"score_{number}")


def _model(stores: Stores) -> ModelCard | None:
    try:
        return data.model_in_use(stores)
    except FlowError as error:
        st.warning(sentence(str(error)))
        return None


def _missing(stores: Stores, statuses: Sequence[InstrumentStatus]) -> dict[str, int]:
    try:
        return data.unscored(stores, max(one.last_start for one in statuses).date())
    except FlowError as error:
        st.warning(sentence(str(error)))
        return {}


def _week(stores: Stores, scored: Scored, active: Sequence[InstrumentStatus]) -> None:
    last = max(one.last_start for one in active)
    window = Window(last - status.WEEK, last).within(series.whole(scored))
    names = tuple(sorted(one.instrument for one in active[:_WEEK_LANES]))
    rows = series.select(scored, window, Filter(instruments=names), {})
    st.subheader("The last seven days", anchor=False)
    track = series.track(scored, rows, scored.rows["severity"].to_numpy()[rows], window, of_verdicts=True)
    marks = charts.Marks(
        episodes=series.episodes_in(data.read_episodes(stores), window),
        thresholds=series.thresholds(scored, rows),
        models=series.model_changes(scored, rows),
    )

    def react() -> None:
        st.session_state["clicked"] = charts.picked_pid(st.session_state["week"])

    spec = charts.lanes(track, charts.SEVERITY, window, names, marks)
    st.vega_lite_chart(
        spec,
        key="week",
        on_select=react,
        selection_mode=[name for name in charts.selections(spec) if name != charts.BRUSHED],
        alt="Severity of the bins of the last seven days, a lane for each instrument",
    )
    st.caption(
        "Severity from 0 to 100: higher is worse, bad from the dashed line. Bars are episodes of bad bins. Select a "
        "mark to open its bin."
    )


def _open_the_clicked_bin() -> None:
    pid = st.session_state.pop("clicked", None)
    if pid is not None:
        go_to(BIN, bin=pid)


_page()
