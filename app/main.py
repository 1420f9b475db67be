"""The entry of the review app: ``streamlit run app/main.py``. It draws the menu and runs the chosen page."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts the folder of this script on the path; the package ``app`` is found from the folder above.
_PROJECT = str(Path(__file__).resolve().parents[1])
if _PROJECT not in sys.path:
    sys.path.insert(0, _PROJECT)

from app.pages import OVERVIEW, SECTIONS  # noqa: E402 - found only now

#: The header of a page begins where the menu does: room is for charts. What a table's own menu saves has no guard
#: against formulas: the page "Export" hands tables out.
_STYLE = """<style>
.stMainBlockContainer { padding: 4rem 2rem 3rem; }
button[aria-label^="Download as CSV"] { display: none; }
</style>"""

st.set_page_config(page_title="IFCB flow review", page_icon="🔬", layout="wide", initial_sidebar_state=200)
st.html(_STYLE)
st.navigation(
    {
        section: [
            st.Page(entry.path, title=entry.title, icon=entry.icon, url_path=entry.name, default=entry == OVERVIEW)
            for entry in entries
        ]
        for section, entries in SECTIONS.items()
    }
).run()
