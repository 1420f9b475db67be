"""The page "Overview"."""

import streamlit as st

from app.pages import OVERVIEW

st.header(OVERVIEW.title, anchor=False)
