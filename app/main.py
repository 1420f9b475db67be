"""The entry of the review app: ``streamlit run app/main.py``. Which pages there are; nothing else."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts the folder of this script on the path; the package ``app`` is found from the folder above.
_PROJECT = str(Path(__file__).resolve().parents[1])
if _PROJECT not in sys.path:
    sys.path.insert(0, _PROJECT)

from app.views import ranked_bins  # noqa: E402

st.set_page_config(page_title="IFCB bins to distrust", page_icon="🔬", layout="wide")
st.navigation(
    [st.Page(ranked_bins.page, title="Ranked bins", icon=":material/format_list_numbered:", default=True)]
).run()
