"""The entry of the review app: ``streamlit run app/main.py``. It draws the menu and runs the chosen page."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts the folder of this script on the path; the package ``app`` is found from the folder above.
_PROJECT = str(Path(__file__).resolve().parents[1])
if _PROJECT not in sys.path:
    sys.path.insert(0, _PROJECT)

from app import runs  # noqa: E402 - found only now
from app.pages import FURTHER, OVERVIEW, SECTIONS, titled  # noqa: E402

#: The header of a page begins where the menu does: room is for charts. What a table's own menu saves has no guard
#: against formulas: the page "Export" hands tables out.
_STYLE = """<style>
.stMainBlockContainer { padding: 2.6rem 2rem 3rem; }
[data-testid=stHeader] { background: transparent; height: 2.4rem; min-height: 2.4rem; pointer-events: none; }
[data-testid=stHeader] * { pointer-events: auto; }
[data-testid=stCaptionContainer], [data-testid=stCaptionContainer] p { color: inherit; opacity: .87; }
.st-key-menu [data-testid=stPageLink] a { padding-top: .15rem; padding-bottom: .15rem; }
kbd { color: inherit !important; opacity: .9 !important; }
.mark-rect[class*="_brush"]:has(> path[d="M0,0h0v0h0Z"]) { display: none; }
[data-testid=stSidebarHeader] { height: 2.4rem; padding-bottom: 0; }
[data-testid=stMainBlockContainer] h2 { font-size: 1.6rem; padding: .2rem 0; }
[data-testid=stMainBlockContainer] h3 { font-size: 1.15rem; padding: .3rem 0; }
[class*="st-key-sign-"] button { padding: .25rem .6rem; min-width: 0; }
[class*="st-key-sign-"] button * { gap: 0; margin: 0; }
[class*="st-key-sign-"] button p {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
}
[class*="st-key-sheet"] svg { max-width: 100%; height: auto; }
.reason { margin: 0 0 .55rem; font-size: .95rem; line-height: 1.35; }
.reason img { display: block; max-width: 100%; margin-top: 2px; }
button[aria-label^="Download as CSV"] { display: none; }
@media (max-width: 900px) { .stMainBlockContainer { padding: 2.6rem 1rem 3rem; } }
</style>"""

st.set_page_config(layout="wide", initial_sidebar_state=190)
titled()
st.html(_STYLE)
pages = {
    entry: st.Page(entry.path, title=entry.title, icon=entry.icon, url_path=entry.name, default=entry == OVERVIEW)
    for entries in (*SECTIONS.values(), FURTHER)
    for entry in entries
}
page = st.navigation(list(pages.values()), position="hidden")
# Streamlit's own menu with sections is no list to those who cannot see it.
with st.sidebar.container(key="menu", gap="xxsmall"):
    for section, entries in SECTIONS.items():
        st.caption(section)
        for entry in entries:
            st.page_link(pages[entry])
titled(page.title)
runs.latest()
page.run()
