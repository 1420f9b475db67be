"""The page "Triage": which bins wait for a decision."""

import streamlit as st

from app.pages import TRIAGE

st.header(TRIAGE.title, anchor=False)
st.info("Here undecided bins will be queued by severity, episode by episode, to be decided as good, bad or unsure.")
