"""The page "Triage": the bins that wait for a decision, the worst episode first, decided from the keyboard.

The open bin is the ``bin`` of the address, so that a reload or a link opens it again.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from app import address, data, shown_bin
from app.data import Scored, Stores
from app.decisions import KEYS_OVERVIEW, Target, decide_all, decision_panel, label_store
from app.pages import BIN, TRIAGE, link, scored_stores, titled
from app.reviewer import known_reviewer, signature
from app.theme import LOOKS, cause_name, verdict_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.queue import COLUMNS, Group, following, neighbours, waiting
from ifcb_flow_pipeline.store.labels import Label

#: More lines than this nobody reads; the rest comes up as these are decided.
MAX_GROUPS = 200

#: How far back from the latest bin the queue reaches: what that is called, and days (None: everything).
_PERIODS: Mapping[str, tuple[str, int | None]] = {
    "7d": ("last 7 days", 7),
    "30d": ("last 30 days", 30),
    "365d": ("last year", 365),
    "all": ("all bins", None),
}
_DEFAULT_PERIOD = "30d"

_QUEUE_COLUMNS: dict[str, Any] = {
    "": st.column_config.TextColumn(width=30),
    "from (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC"),
}

_BIN = "bin"

#: What is said of an episode that is not known to be over.
_STATES: Mapping[str, str] = {
    "ongoing": " · :material/sensors: ongoing",
    "unknown": " · :material/sensors_off: no bins since",
    "over": "",
}


def _page() -> None:
    # One line: on a laptop the bin and the buttons are to be seen without scrolling.
    head = st.container(horizontal=True, gap="medium", vertical_alignment="center")
    head.header(TRIAGE.title, anchor=False, width="content")
    stores = scored_stores()
    scored = data.read_scored(stores)
    for problem in scored.problems:
        st.error(plain(problem))
    try:
        decided = data.read_decisions(stores)
    except FlowError as error:
        st.error(sentence(str(error)))
        st.stop()
    with head:
        rows, wanted = _chosen_rows(scored)
    groups = waiting(rows, _settled(decided), wanted, data.utc_now())
    with head:
        _summary(groups, rows, decided)
    if not groups:
        _nothing_waits(stores, rows, decided, wanted)
        return
    group, pid = _open(groups)
    titled(pid, TRIAGE.title)
    _group_head(group, pid)
    stream = shown_bin.stream_of(stores, pid)
    desk = shown_bin.desk()
    with desk.charts:
        shown_bin.cloud(stores, scored, pid, stream)
        shown_bin.around(scored, pid, _choose)
    with desk.about:
        shown_bin.stored_verdict(stores, pid)
    with desk.doing:
        whole = Target(group.pids, "All bins of this group")
        decision_panel(label_store(stores), pid, whole, after=_go_on(group, pid), undone=_reopen)
        _range(stores, rows, group)
    if stream is not None:
        with desk.charts:
            shown_bin.course(stream)
    pictures = st.container()
    _queue(groups, group)
    # Last: they are read and judged while the rest is being drawn.
    with pictures:
        shown_bin.worst_images(stores, pid)


def _nothing_waits(stores: Stores, rows: pd.DataFrame, decided: Mapping[str, Label], wanted: Sequence[str]) -> None:
    why = "" if set(wanted) & set(rows["verdict"]) else " No bin of this choice has one of these verdicts."
    if not wanted:
        why = " Select at least one verdict."
    st.success(f"Nothing to review.{why} Choose a longer period, or include *Watch*.", icon=":material/done_all:")
    # What was decided last may still be undone.
    pid = st.query_params.get(_BIN)
    if pid is not None and pid in decided:
        decision_panel(label_store(stores), pid, undone=_reopen)


def _chosen_rows(scored: Scored) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The bins that may wait, and the verdicts that are asked for."""
    rows = scored.rows
    shown = [verdict_name(name) for name in st.query_params.get_all("verdict") if name in LOOKS] or ["Bad"]
    asked = address.given("period")
    title = f"{', '.join(shown)}, {_period_name(asked if asked is not None and asked in _PERIODS else _DEFAULT_PERIOD)}"
    with st.popover(title, icon=":material/filter_alt:"):
        chosen = address.several("instrument", "Instruments", scored.instruments, placeholder="all", width=280)
        period = address.one("period", "Period", list(_PERIODS), _DEFAULT_PERIOD, called=_period_name, width=280)
        verdicts = address.several("verdict", "Verdicts", [name for name in LOOKS if name != "ok"], ["bad"],
                                   draw=_verdict_pills, called=_verdict_name)  # fmt: skip
        address.switch("unsure_again", "Include bins marked unsure")
    if chosen:
        rows = rows.loc[rows["instrument"].isin(list(chosen))]
    days = _PERIODS[period or _DEFAULT_PERIOD][1]
    if days is not None and len(rows):
        # Rows are in order of time.
        first = rows["start_time"].iloc[-1] - timedelta(days=days)
        rows = rows.iloc[rows["start_time"].searchsorted(first) :]
    return rows.loc[:, list(COLUMNS)], verdicts


def _period_name(code: str) -> str:
    return _PERIODS[code][0]


def _verdict_name(code: str) -> str:
    return f"{LOOKS[code].icon} {LOOKS[code].name}"


def _verdict_pills(label: str, options: Sequence[str], **look: Any) -> Sequence[str]:
    meanings = "; ".join(f"{look.name}: {look.meaning}" for look in LOOKS.values())
    return st.pills(label, options, selection_mode="multi", help=meanings, **look)


def _settled(decided: Mapping[str, Label]) -> Collection[str]:
    """The bins that need no further decision."""
    if address.given("unsure_again") is None:
        return decided.keys()
    return [pid for pid, label in decided.items() if label.decision != "unsure"]


def _summary(groups: Sequence[Group], rows: pd.DataFrame, decided: Mapping[str, Label]) -> None:
    n_waiting = sum(len(group.pids) for group in groups)
    n_decided = len(decided.keys() & set(rows["pid"]))
    places = f" in {count(len(groups), 'group')}" if groups else ""
    st.markdown(
        f"**{count(n_waiting, 'bin').capitalize()}** to review{places} · {count(n_decided, 'bin')} reviewed",
        width="content",
    )
    name = known_reviewer()
    if name is not None:
        signature(name)


def _open(groups: Sequence[Group]) -> tuple[Group, str]:
    """The group and the bin of the address, else the worst bin of the queue."""
    wanted = st.query_params.get(_BIN)
    group = next((group for group in groups if wanted in group.pids), None)
    if group is None or wanted is None:
        if wanted is not None and wanted not in _known_of_session():
            st.caption(
                f":material/info: {plain(wanted)} does not wait here: it has been reviewed, or this choice leaves it "
                "out. Showing the worst bin still open."
            )
        group = groups[0]
        wanted = group.worst_pid
        st.query_params[_BIN] = wanted
    return group, wanted


def _known_of_session() -> set[str]:
    """The bins that were decided or left in this session: nobody needs to be told where they are."""
    return st.session_state.setdefault("triage_left", set())


def _group_head(group: Group, pid: str) -> None:
    place = group.pids.index(pid)
    span = f"{group.start:%Y-%m-%d %H:%M}"
    if group.end > group.start:
        span += (
            f" to {group.end:%H:%M}" if group.end.date() == group.start.date() else f" to {group.end:%Y-%m-%d %H:%M}"
        )
    title = cause_name(group.cause).capitalize() or ("No verdict" if math.isnan(group.worst_severity) else "Unusual")
    still = _STATES[group.state]
    bad = f" · {count(group.n_bad, 'bad bin')} of {group.n_bins:,}" if group.n_bad else ""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.subheader(f"{plain(title)}, {plain(group.instrument)}", anchor=False, width="content")
        st.caption(f"{span} UTC{bad}{still}", width="stretch")
        for label, key, step in (("Earlier", "Left", -1), ("Later", "Right", 1)):
            other = following(group.pids, pid, step)
            st.button(label, key=f"go_{key}", shortcut=key, disabled=other is None, on_click=_choose, args=(other,))
        st.markdown(f"bin {place + 1} of {len(group.pids)}", width="content")
        link(BIN, "All about this bin", bin=pid)


def _range(stores: Stores, rows: pd.DataFrame, group: Group) -> None:
    """Decide about all bins from one to another: what came before and after an episode is often bad too."""
    around = rows.loc[
        (rows["instrument"] == group.instrument)
        & rows["start_time"].between(group.start - timedelta(days=1), group.end + timedelta(days=1))
    ]
    pids = around["pid"].tolist()
    with st.expander("A range of bins", icon=":material/date_range:"):
        st.caption("All bins of the instrument from one to another, whatever the model says of them.")
        names = dict(zip(pids, around["verdict"], strict=True))
        ends = [
            st.selectbox(label, pids, index=pids.index(default), key=f"range_{label}_{group.worst_pid}",
                         format_func=lambda pid: f"{parse_pid(pid).start_time:%m-%d %H:%M} {verdict_name(names[pid])}")
            for label, default in (("First", group.pids[0]), ("Last", group.pids[-1]))
        ]  # fmt: skip
        target = Target(tuple(neighbours(around, *ends)), "The range")
        decide_all(label_store(stores), target, "decide_range", after=_go_on(group, group.pids[0]))


def _queue(groups: Sequence[Group], group: Group) -> None:
    st.subheader("Queue", anchor=False)
    shown = groups[:MAX_GROUPS]
    table = pd.DataFrame({
        "": ["▶" if one == group else "" for one in shown],
        "worst severity": [None if math.isnan(one.worst_severity) else round(one.worst_severity) for one in shown],
        "instrument": [one.instrument for one in shown],
        "suspected cause": [cause_name(one.cause) for one in shown],
        "from (UTC)": [one.start for one in shown],
        "to review": [len(one.pids) for one in shown],
        "state": ["ongoing" if one.state == "ongoing" else "" for one in shown],
    })  # fmt: skip
    worst = [one.worst_pid for one in shown]

    def pick() -> None:
        selection = st.session_state["triage_queue"]["selection"]
        cells = [row for row, _ in selection.get("cells") or []] + list(selection.get("rows") or [])
        if cells and cells[0] < len(worst):
            _choose(worst[cells[0]])

    st.dataframe(
        table,
        hide_index=True,
        key="triage_queue",
        on_select=pick,
        selection_mode=["single-row", "single-cell"],
        column_config=_QUEUE_COLUMNS,
        alt="Groups in the queue, worst first",
    )
    if len(groups) > len(shown):
        st.caption(f"The worst {len(shown)} of {len(groups):,}; the others come up as these are reviewed.")
    st.caption(KEYS_OVERVIEW)


def _choose(pid: str | None) -> None:
    if pid is not None:
        st.query_params[_BIN] = pid


def _go_on(group: Group, pid: str) -> Callable[[Sequence[str]], None]:
    """Opens the next undecided bin of the episode after a decision, else the one before; else the queue's worst."""

    def after(decided: Sequence[str]) -> None:
        _known_of_session().update([pid, *decided])
        place = group.pids.index(pid)
        left = [other for other in (*group.pids[place + 1 :], *reversed(group.pids[:place])) if other not in decided]
        if left:
            _choose(left[0])

    return after


def _reopen(pids: Sequence[str]) -> None:
    _choose(pids[0])


_page()
