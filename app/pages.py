"""Which pages there are, in which section of the menu, and links from one to another."""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from app import data
from app.data import Scored, Stores
from app.words import plain, sentence
from ifcb_flow_pipeline.errors import FlowError


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
BIN = Entry("bin", "Bin", ":material/grain:")
TRIAGE = Entry("triage", "Triage", ":material/rule:")
STUDY = Entry("study", "Study", ":material/school:")
TRY_A_BIN = Entry("try_a_bin", "Try a bin", ":material/upload_file:")
MODELS = Entry("models", "Models", ":material/model_training:")
EXPORT = Entry("export", "Export", ":material/download:")

#: The menu: what each section is for, and its pages.
SECTIONS: Mapping[str, tuple[Entry, ...]] = {
    "Watch": (OVERVIEW, TIMELINE, BIN),
    "Decide": (TRIAGE, STUDY),
    "Tools": (TRY_A_BIN, MODELS, EXPORT),
}


_NEXT_STEP: Mapping[str, str] = {
    "no tables": "There are no tables in {home} yet. Materialize raw_bins, point_clouds and bin_features of some "
    "days in the Dagster UI, or run `ifcb-flow demo`. If they are elsewhere, set IFCB_FLOW_HOME.",
    "no features": "There are bins, but no features yet. Materialize point_clouds and bin_features in the Dagster UI.",
    "no model": "There are features, but no model yet. Materialize anomaly_model in the Dagster UI, then bin_scores.",
    "no scores": "There is a model, but there are no scores yet. Materialize bin_scores of some days in the "
    "Dagster UI.",
}


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
        st.stop()
    return stores


def scored_bins() -> tuple[Stores, Scored]:
    """The stores of this deployment and all scored bins; where none can be read, says why and ends the page."""
    stores = scored_stores()
    scored = data.read_scored(stores)
    if scored.rows.empty:
        st.error("No day with scores can be read. " + plain("; ".join(scored.problems[:3])))
        st.stop()
    return stores, scored


def link(entry: Entry, label: str, icon: str | None = None, **query: str) -> None:
    """A link to a page, with what it should open: ``link(BIN, "Open it", bin=pid)``. The label is plain text."""
    st.page_link(entry.path, label=plain(label), icon=icon or entry.icon, query_params=query)


def go_to(entry: Entry, **query: str) -> None:
    """Leave for a page, with what it should open: for clicks on charts and tables, outside of callbacks."""
    st.switch_page(entry.path, query_params=query)
