"""The page "Models"."""

import streamlit as st

from app.pages import MODELS

st.header(MODELS.title, anchor=False)
st.info("Here the models will be described and compared, and the features explained.")
