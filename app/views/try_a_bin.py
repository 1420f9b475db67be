"""The page "Try a bin": the verdict on files that are handed in, without touching archive or tables."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import data, shown_bin, words
from app.data import Stores, stores
from app.pages import TRY_A_BIN
from app.words import plain
from ifcb_flow_pipeline.detection.reading import AnyModel
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.review.upload import UploadedBin, check_size, uploaded_bin
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.tried_bin import TriedBin, archived_bin

_UPLOADED, _PATH = "Files from this computer", "A file in the archive"


def _page() -> None:
    st.header(TRY_A_BIN.title, anchor=False)
    st.caption(
        "Hand in the .adc file of a bin, with its .hdr and .roi if at hand, and see what the pipeline would say of it. "
        "Nothing is kept, and the archive is not touched."
    )
    try:
        here = stores()
        bin_ = _bin(here)
        if bin_ is not None:
            _tried(here, bin_)
    except FlowError as error:
        st.error(plain(str(error)))


def _bin(here: Stores) -> UploadedBin | None:
    source = st.segmented_control("From", [_UPLOADED, _PATH], default=_UPLOADED, key="try_source", required=True,
                                  label_visibility="collapsed")  # fmt: skip
    if source == _PATH:
        path = st.text_input("Path of the .adc file in the archive", key="try_path", placeholder=str(here.archive.root))
        return archived_bin(here.archive, path) if path.strip() else None
    files = st.file_uploader("The files of one bin", accept_multiple_files=True, key="try_files",
                             help="Named as the instrument names them, D20230810T113059_IFCB134.adc")  # fmt: skip
    for file in files:
        check_size(file.name, file.size)
    return uploaded_bin([(file.name, file.getvalue()) for file in files]) if files else None


def _tried(here: Stores, bin_: UploadedBin) -> None:
    settings = Settings.from_environment(os.environ).features
    tried = TriedBin.of(bin_, settings)
    left, right = shown_bin.beside()
    with left:
        st.subheader(plain(bin_.pid), anchor=False)
        if tried.read.status != "ok":
            st.warning(f"**{plain(tried.read.status)}**: {plain(tried.read.reason)}")
        elif tried.read.reason:
            st.info(plain(tried.read.reason))
        entry, cloud = CloudEntry.of(tried.read), tried.cloud
        shown_bin.stream_charts(None if cloud is None else data.stream_of(here, bin_.pid, entry, cloud))
    with right:
        model_id = here.models.current_id()
        if model_id is None:
            st.info("There is no model yet, so there is no verdict. Materialize anomaly_model in the Dagster UI.")
        else:
            _judged(tried.judged(_model(here.home, model_id), settings, here.tables))
        _header(tried)
    _features(tried)


def _judged(score: Mapping[str, Any]) -> None:
    st.subheader("Verdict", anchor=False)
    shown_bin.verdict(score)
    findings = json.loads(score["findings"])
    if findings:
        st.dataframe(shown_bin.findings_table(findings), hide_index=True, alt="What is unusual, and the usual range")
    elif score["verdict"] == "ok":
        st.markdown("Nothing is unusual.")
    st.caption(f"Model: {plain(score['model_id'])}")


def _header(tried: TriedBin) -> None:
    with st.expander("Header", icon=":material/description:"):
        lines = words.header_lines(tried.read.header)
        if lines:
            st.dataframe(lines, hide_index=True, alt="Values of the header file")
        else:
            st.caption("No header values: the .hdr file was not handed in, is empty or not readable.")


def _features(tried: TriedBin) -> None:
    row = tried.features.to_pylist()[0]
    table = pd.DataFrame([
        {"feature": feature.name, "value": row[feature.name], "unit": feature.unit, "meaning": feature.meaning}
        for feature in CATALOGUE
    ])  # fmt: skip
    with st.expander(f"All {len(table)} features", icon=":material/table_chart:"):
        st.dataframe(table, hide_index=True, alt="Features of the bin",
                     column_config={"value": st.column_config.NumberColumn(format="%.4g"),
                                    "meaning": st.column_config.TextColumn(width="large")})  # fmt: skip


@st.cache_resource(max_entries=2, show_spinner="Reading the model ...")
def _model(home: Path, model_id: str) -> AnyModel:
    # A kept model never changes under its id.
    from ifcb_flow_pipeline.store.models import ModelStore

    return ModelStore(home / "models").load(model_id)


_page()
