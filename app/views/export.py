"""The page "Export"."""

import streamlit as st

from app.pages import EXPORT

st.header(EXPORT.title, anchor=False)
st.info("Here tables, tags for the IFCB dashboard and a report of a period will be downloaded.")
