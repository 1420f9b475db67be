"""The page "Study"."""

import streamlit as st

from app.pages import STUDY

st.header(STUDY.title, anchor=False)
st.info("Here people will label a sample of bins with the verdict hidden, and see how well they and the model agree.")
