"""The page "Try a bin"."""

import streamlit as st

from app.pages import TRY_A_BIN

st.header(TRY_A_BIN.title, anchor=False)
st.info("Here the files of a bin will be judged without being part of the archive.")
