"""Which pages there are, in which section of the menu, their titles, and ways from one to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import streamlit as st

from app import address, data
from app.data import Scored, Stores
from app.words import plain, sentence
from ifcb_flow_pipeline.errors import FlowError

_ICON = str(Path(__file__).with_name("favicon.svg"))


@dataclass(frozen=True, slots=True)
class Entry:
    """A page of the menu. ``name`` is its module in ``app/views`` and its part of the address."""

    name: str
    title: str
    icon: str

    @property
    def path(self) -> str:
        """Its file, as Streamlit's links name it: from the folder of ``main.py``."""
        return f"views/{self.name}.py"


OVERVIEW = Entry("overview", "Overview", ":material/dashboard:")
TIMELINE = Entry("timeline", "Timeline", ":material/timeline:")
EXPLORE = Entry("explore", "Explore", ":material/filter_alt:")
BIN = Entry("bin", "Bin", ":material/grain:")
GALLERY = Entry("gallery", "Gallery", ":material/photo_library:")
IMAGE = Entry("image", "Image", ":material/image:")
WINDOW = Entry("window", "Window", ":material/blur_on:")
TRIAGE = Entry("triage", "Triage", ":material/rule:")
STUDY = Entry("study", "Study", ":material/school:")
TRY_A_BIN = Entry("try_a_bin", "Try a bin", ":material/upload_file:")
MODELS = Entry("models", "Models", ":material/model_training:")
EXPORT = Entry("export", "Export", ":material/download:")

#: The menu: what each section is for, and its pages.
SECTIONS: Mapping[str, tuple[Entry, ...]] = {
    "Watch": (OVERVIEW, TIMELINE, EXPLORE, BIN, GALLERY, WINDOW),
    "Decide": (TRIAGE, STUDY),
    "Tools": (TRY_A_BIN, MODELS, EXPORT),
}

#: Pages that only others lead to.
FURTHER: tuple[Entry, ...] = (IMAGE,)

#: What is to be done where the pipeline has not come as far as scores.
_NEXT_STEP: Mapping[str, str] = {
    "no tables": "There are no results in {home} yet. Process some days of your archive, or run `ifcb-flow demo`. If "
    "the results are elsewhere, set IFCB_FLOW_HOME.",
    "no features": "The archive has been listed, but no bin has been read yet. Process some days.",
    "no model": "There are features, but no model yet. Train one; then score the days.",
    "no scores": "There is a model, but no day has been scored yet. Score some days.",
}


def titled(*parts: str) -> None:
    """The title of the browser's tab, most telling part first, and its icon."""
    st.set_page_config(page_title=" · ".join([*filter(None, parts), "IFCB flow"]), page_icon=_ICON)


def scored_stores() -> Stores:
    """The stores of this deployment; where they hold no scores, says what to do next and ends the page."""
    try:
        stores = data.stores()
        stage = stores.stage
    except FlowError as error:
        st.error(sentence(str(error)))
        st.stop()
    if stage != "scores":
        st.info(_NEXT_STEP[stage].format(home=plain(str(stores.home))), icon=":material/arrow_forward:")
        link = stores.in_dagster("jobs/retrain" if stage == "no model" else "assets")
        if link is not None:
            st.link_button("Open Dagster", link, icon=":material/open_in_new:")
        st.stop()
    return stores


def scored_bins() -> tuple[Stores, Scored]:
    """The stores of this deployment and all scored bins; where none can be read, says why and ends the page."""
    stores = scored_stores()
    scored = data.read_scored(stores)
    if scored.rows.empty:
        st.error("No scored day can be read. " + plain("; ".join(scored.problems[:3])))
        st.stop()
    return stores, scored


def link(
    entry: Entry,
    label: str,
    icon: str | None = None,
    **query: str | Sequence[str],
) -> None:
    """A link to a page, with what it should open: ``link(BIN, "Open it", bin=pid)``. The label is plain text."""
    st.page_link(entry.path, label=plain(label), icon=icon or entry.icon, query_params=dict(query))


def link_on(entry: Entry, label: str, bin: str) -> None:  # noqa: A002 - as the address has it
    """A link to a page that shows a bin, with all that the address holds: Streamlit's Back leads to the page that is
    left with what the link says.
    """
    st.page_link(entry.path, label=plain(label), icon=entry.icon, query_params={**address.kept(), "bin": bin})


def go_to(entry: Entry, **query: str) -> None:
    """Leave for a page, with what it should open: for clicks on charts and tables, outside of callbacks.

    Streamlit writes the new choices into the address of the page that is left before it writes the name of the other
    page. So what the address holds goes along: Back then leads to the same view.
    """
    st.switch_page(entry.path, query_params=address.kept() | query)


def day_in_dagster(stores: Stores, day: date, table: str) -> str | None:
    """The page of Dagster on which a day of a table is processed; None where its address is not known."""
    return stores.in_dagster(f"assets/{table}?view=partitions&partition={day}")
