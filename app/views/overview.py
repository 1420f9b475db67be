"""The page "Overview": whether each instrument is fine, at a glance, and where to act if not."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import streamlit as st

from app import charts, data, series, status
from app.data import Scored, Stores
from app.pages import BIN, MODELS, OVERVIEW, TIMELINE, TRIAGE, Entry, go_to, link, scored_bins
from app.series import Filter, Window
from app.status import Check, InstrumentStatus, Place, State, Tally
from app.theme import LOOKS, cause_name
from app.words import age, count, plain, sentence
from ifcb_flow_pipeline.detection.model_card import ModelCard
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.errors import FlowError

#: Cards beside each other.
_COLUMNS = 3

#: What a state is called on a card.
_STATES: Mapping[State, str] = {
    "bad": "a fault is running",
    "unreadable": "its last bins cannot be read",
    "watch": "look at it",
    "not_judged": "no verdict: too little history",
    "ok": "fine",
}

#: The page on which a person acts on a check, what its link is called, and what it opens.
_PLACES: Mapping[Place, tuple[Entry, str, Mapping[str, str]]] = {
    "unreadable bins": (TIMELINE, "Show them", {"verdict": "unreadable", "span": "week"}),
    "bins not judged": (TIMELINE, "Show them", {"verdict": "not_judged", "span": "week"}),
    "bad bins": (TIMELINE, "Show the week", {"span": "week"}),
    "models": (MODELS, "To the models", {}),
}

_WORST_FIRST: Sequence[State] = ("bad", "unreadable", "watch", "not_judged", "ok")


def _page() -> None:
    st.header(OVERVIEW.title, anchor=False)
    stores, scored = scored_bins()
    _open_the_clicked_bin()
    episodes = data.read_episodes(stores)
    statuses = [status.instrument_status(scored, name, episodes) for name in scored.instruments]
    statuses.sort(key=lambda one: _WORST_FIRST.index(one.state))
    _cards(stores, statuses)
    _checks(stores, scored, statuses)
    _week(stores, scored, statuses)


def _cards(stores: Stores, statuses: Sequence[InstrumentStatus]) -> None:
    trained = data.trained(stores)
    for first in range(0, len(statuses), _COLUMNS):
        shown = statuses[first : first + _COLUMNS]
        for column, one in zip(st.columns(max(2, len(shown))), shown, strict=False):
            with column.container(border=True):
                _card(one, trained.get(one.model_id))


def _card(one: InstrumentStatus, trained: datetime | None) -> None:
    look, now = LOOKS[one.state], data.utc_now()
    st.markdown(f"### {plain(one.instrument)} :{look.badge}-badge[{look.icon} {_STATES[one.state]}]")
    for episode in (*one.running, *one.unknown):
        _episode(episode)
    with st.container(horizontal=True, gap="medium"):
        for label, tally, span in (("Bad in 24 hours", one.day, "24 hours"), ("Bad in 7 days", one.week, "7 days")):
            st.metric(label, _bad(tally), help=f"Of the {span} up to the instrument's last bin", width="content")
        if one.week.n_not_judged:
            st.metric("Not judged in 7 days", f"{one.week.n_not_judged:,}", help=LOOKS["not_judged"].meaning,
                      width="content")  # fmt: skip
    silent = now - one.last_start > status.STALE
    when = f"{one.last_start:%Y-%m-%d %H:%M} UTC, {age(one.last_start, now)}"
    model = f"judged by {plain(one.model_id)}" + ("" if trained is None else f", trained {age(trained, now)}")
    st.caption((":orange-badge[:material/schedule: no new bins] " if silent else "") + f"Last bin {when}, {model}")
    with st.container(horizontal=True, gap="small"):
        link(BIN, "Last bin", bin=one.last_pid)
        link(TIMELINE, "Timeline", instrument=one.instrument, span="month")
        if one.week.n_bad:
            link(TRIAGE, "Decide", instrument=one.instrument)


def _episode(episode: Episode) -> None:
    until = "" if episode.ongoing else f", last seen {episode.end:%Y-%m-%d %H:%M}, no bins since to tell"
    st.markdown(
        f"**{plain(cause_name(episode.cause) or 'unknown cause')}** since {episode.start:%Y-%m-%d %H:%M} UTC{until}: "
        f"{count(episode.n_bad, 'bad bin')}, worst severity {episode.worst_severity:.0f}"
    )
    link(BIN, "Open its worst bin", bin=episode.worst_pid)


def _bad(tally: Tally) -> str:
    return f"{tally.n_bad:,} of {tally.n_bins - tally.n_not_judged:,}"


def _checks(stores: Stores, scored: Scored, statuses: Sequence[InstrumentStatus]) -> None:
    now, card = data.utc_now(), _model(stores)
    found = [
        status.freshness(statuses, now),
        status.readability(statuses),
        status.judged(statuses),
        status.completeness(_missing(stores, statuses)),
        status.drift(scored, statuses),
        status.model_age(card, now),
        status.newest_model(card, data.newest_model(stores)),
        status.one_model(statuses, card),
        status.damage(scored.problems),
    ]
    failing = [check for check in found if not check.passed]
    for check in failing:
        _failing(check)
    with st.expander(f"{count(len(found) - len(failing), 'check')} passed", icon=":material/check_circle:"):
        for check in found:
            if check.passed:
                st.markdown(f"- {plain(check.title)}: {plain(check.found)}")
    if card is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            trained = f"trained {age(data.created(card), now)} on {count(card.n_bins, 'bin')}"
            days = f"{plain(str(card.first_day))} to {plain(str(card.last_day))}"
            st.caption(f"Model in use: {plain(card.model_id)}, {trained} of {days}.", width="content")
            link(MODELS, "Models")


def _failing(check: Check) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(
            f"**Not so: {plain(check.title)}.** {plain(check.found)}. {plain(check.remedy)}",
            icon=":material/warning:",
            width="stretch",
        )
        if check.place is not None:
            entry, label, query = _PLACES[check.place]
            link(entry, label, **query)


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


def _week(stores: Stores, scored: Scored, statuses: Sequence[InstrumentStatus]) -> None:
    last = max(one.last_start for one in statuses)
    window = Window(last - status.WEEK, last).within(series.whole(scored))
    rows = series.select(scored, window, Filter(), {})
    st.subheader("The last seven days of data", anchor=False)
    track = series.track(scored, rows, scored.rows["severity"].to_numpy()[rows], window, of_verdicts=True)
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
