"""The page "Overview": whether each instrument is fine, at a glance, and where to act if not."""

from collections.abc import Mapping, Sequence

import streamlit as st

from app import charts, data, series, status
from app.data import Scored, Stores
from app.pages import BIN, OVERVIEW, TIMELINE, TRIAGE, go_to, link, scored_stores
from app.series import Filter, Window
from app.status import InstrumentStatus, State, Tally
from app.theme import LOOKS, cause_name
from app.words import age, count, plain
from ifcb_flow_pipeline.detection.episodes import Episode
from ifcb_flow_pipeline.detection.model import ModelCard
from ifcb_flow_pipeline.errors import FlowError

#: Cards beside each other.
_COLUMNS = 3

#: What a state is called on a card.
_STATES: Mapping[State, str] = {
    "bad": "a fault is running",
    "unreadable": "its last bins cannot be read",
    "watch": "something unusual within a day",
    "ok": "fine",
}

_WORST_FIRST: Sequence[State] = ("bad", "unreadable", "watch", "ok")


def _page() -> None:
    st.header(OVERVIEW.title, anchor=False)
    stores = scored_stores()
    _open_the_clicked_bin()
    scored = data.read_scored(stores)
    episodes = data.read_episodes(stores)
    if scored.rows.empty:
        st.info("No day with scores can be read. " + plain("; ".join(scored.problems[:3])))
        return
    statuses = [status.instrument_status(scored, name, episodes) for name in scored.instruments]
    statuses.sort(key=lambda one: _WORST_FIRST.index(one.state))
    _cards(statuses)
    _checks(stores, scored, statuses)
    _week(stores, scored, statuses)


def _cards(statuses: Sequence[InstrumentStatus]) -> None:
    for first in range(0, len(statuses), _COLUMNS):
        shown = statuses[first : first + _COLUMNS]
        for column, one in zip(st.columns(max(2, len(shown))), shown, strict=False):
            with column.container(border=True):
                _card(one)


def _card(one: InstrumentStatus) -> None:
    look, now = LOOKS[one.state], status.utc_now()
    st.markdown(f"### {plain(one.instrument)} :{look.badge}-badge[{look.icon} {_STATES[one.state]}]")
    for episode in one.running:
        _running(episode)
    day, week = st.columns(2)
    day.metric("Bad, last 24 h of data", _bad(one.day), help="Of the 24 hours up to the instrument's last bin")
    week.metric("Bad, last 7 days", _bad(one.week), help="Of the 7 days up to the instrument's last bin")
    silent = now - one.last_start > status.STALE
    when = f"{one.last_start:%Y-%m-%d %H:%M} UTC, {age(one.last_start, now)}"
    st.caption((":orange-badge[:material/schedule: no new bins] " if silent else "") + f"Last bin {when}")
    with st.container(horizontal=True, gap="small"):
        link(BIN, "Last bin", bin=one.last_pid)
        link(TIMELINE, "Timeline", instrument=one.instrument, span="month")
        if one.week.n_bad:
            link(TRIAGE, "Decide", instrument=one.instrument)


def _running(episode: Episode) -> None:
    st.markdown(
        f"**{plain(cause_name(episode.cause) or 'unknown cause')}** since {episode.start:%Y-%m-%d %H:%M} UTC: "
        f"{count(episode.n_bad, 'bad bin')}, worst severity {episode.worst_severity:.0f}"
    )
    link(BIN, "Open its worst bin", bin=episode.worst_pid)


def _bad(tally: Tally) -> str:
    return f"{tally.n_bad:,} of {tally.n_bins:,}"


def _checks(stores: Stores, scored: Scored, statuses: Sequence[InstrumentStatus]) -> None:
    now = status.utc_now()
    card = _model(stores)
    found = [
        status.freshness(statuses, now),
        status.readability(statuses),
        status.completeness(_missing(stores, statuses)),
        status.model_age(card, now),
        status.one_model(statuses, card),
        status.damage(scored.problems),
    ]
    failing = [check for check in found if not check.passed]
    for check in failing:
        st.warning(
            f"**Not so: {plain(check.title)}.** {plain(check.found)}. {plain(check.remedy)}", icon=":material/warning:"
        )
    with st.expander(f"{count(len(found) - len(failing), 'check')} passed", icon=":material/check_circle:"):
        for check in found:
            if check.passed:
                st.markdown(f"- {plain(check.title)}: {plain(check.found)}")
    if card is not None:
        trained = f"trained {age(data.created(card), now)} on {count(card.n_bins, 'bin')}"
        days = f"{plain(str(card.first_day))} to {plain(str(card.last_day))}"
        st.caption(f"Model in use: {plain(card.model_id)}, {trained} of {days}.")


def _model(stores: Stores) -> ModelCard | None:
    try:
        return data.model_in_use(stores)
    except FlowError as error:
        st.warning(plain(str(error)))
        return None


def _missing(stores: Stores, statuses: Sequence[InstrumentStatus]) -> dict[str, int]:
    try:
        return data.unscored(stores, max(one.last_start for one in statuses).date())
    except FlowError as error:
        st.warning(plain(str(error)))
        return {}


def _week(stores: Stores, scored: Scored, statuses: Sequence[InstrumentStatus]) -> None:
    last = max(one.last_start for one in statuses)
    window = Window(last - status.WEEK, last).within(series.whole(scored))
    rows = series.select(scored, window, Filter(), {})
    st.subheader("The last seven days of data", anchor=False)
    track = series.track(scored, rows, scored.rows["severity"].to_numpy()[rows], window)
    marks = charts.Marks(
        episodes=series.episodes_in(data.read_episodes(stores), window),
        thresholds=series.thresholds(scored, rows),
        models=series.model_changes(scored, rows),
    )
    instruments = sorted(set(scored.rows["instrument"].iloc[rows]))

    def react() -> None:
        st.session_state["clicked"] = charts.picked_pid(st.session_state["week"])

    st.vega_lite_chart(
        charts.lanes(track, charts.SEVERITY, window, instruments, marks),
        key="week",
        on_select=react,
        selection_mode=charts.PICKED,
        alt="Severity of the bins of the last seven days, a lane for each instrument",
    )
    st.caption(
        "Severity: higher is worse, bad from the dashed line. Bars above are episodes. Click a mark to open the bin."
    )


def _open_the_clicked_bin() -> None:
    pid = st.session_state.pop("clicked", None)
    if pid is not None:
        go_to(BIN, bin=pid)


_page()
