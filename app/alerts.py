"""What people were alerted of and what lasts, on the overview: that somebody takes care of it is said here."""

from datetime import UTC, datetime

import streamlit as st

from app import data
from app.data import Stores
from app.reviewer import known_reviewer
from app.words import plain, sentence, times
from ifcb_flow_pipeline.alerts import open_alerts
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.alerting import Thread
from ifcb_flow_pipeline.store.alert_log import ALERTS_FILE, AlertStore


def open_and_unacknowledged(stores: Stores) -> None:
    """A line for each alert that lasts and that nobody has acknowledged, with a button; nothing where there is none."""
    store = AlertStore(stores.home / ALERTS_FILE)
    try:
        waiting = [thread for thread in open_alerts(store) if not thread.acknowledged]
    except FlowError as error:
        st.warning(sentence(str(error)))
        return
    for thread in waiting:
        _line(store, thread)


def _line(store: AlertStore, thread: Thread) -> None:
    first = thread.opened.message
    who = known_reviewer()

    def acknowledge() -> None:
        store.acknowledge([thread.opened.id], who or "", datetime.now(tz=UTC))

    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        since = times(first.since, None, data.utc_now())
        st.markdown(f":red[:material/notifications:] **Alert: {plain(first.title)}**, since {since}", width="stretch")
        st.button(
            "Acknowledge",
            key=f"acknowledge_{thread.opened.id}",
            on_click=acknowledge,
            disabled=who is None,
            help="Ends reminders about this" if who else "Give your name first, on any bin's page",
        )
