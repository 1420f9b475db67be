"""The page "Bin"."""

import streamlit as st

from app.pages import BIN

st.header(BIN.title, anchor=False)
