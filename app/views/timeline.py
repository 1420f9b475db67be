"""The page "Timeline"."""

import streamlit as st

from app.pages import TIMELINE

st.header(TIMELINE.title, anchor=False)
