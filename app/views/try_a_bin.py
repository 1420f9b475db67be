"""The page "Try a bin": the verdict on files that are handed in, without touching archive or tables."""

import math

import pandas as pd
import streamlit as st

from app import charts, clouds, data, shown_bin, words
from app.data import Stores, stores
from app.pages import TRY_A_BIN
from app.shown_bin import Desk
from app.words import count, plain, sentence
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.review.upload import UploadedBin, check_files, uploaded_bin
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.tried_bin import TriedBin, archived_bin

_UPLOADED, _PATH = "Files from this computer", "A file in the archive"

#: Images that a mosaic is made of.
_SAMPLE = 150


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
        st.error(sentence(str(error)))


def _bin(here: Stores) -> UploadedBin | None:
    source = st.segmented_control("From", [_UPLOADED, _PATH], default=_UPLOADED, key="try_source", required=True,
                                  label_visibility="collapsed")  # fmt: skip
    if source == _PATH:
        path = st.text_input("Path of the .adc file in the archive", key="try_path", placeholder=str(here.archive.root))
        return archived_bin(here.archive, path) if path.strip() else None
    files = st.file_uploader("The files of one bin", accept_multiple_files=True, key="try_files",
                             help="Named as the instrument names them, D20230810T113059_IFCB134.adc")  # fmt: skip
    check_files([(file.name, file.size) for file in files])
    return uploaded_bin([(file.name, file.getvalue()) for file in files]) if files else None


def _tried(here: Stores, bin_: UploadedBin) -> None:
    settings = here.settings.features
    tried = TriedBin.of(bin_, settings)
    desk = shown_bin.desk()
    with desk.about:
        _outcome(tried)
    with desk.charts:
        entry, cloud = CloudEntry.of(tried.read), tried.cloud
        shown_bin.stream_charts(None if cloud is None else data.stream_of(here, bin_.pid, entry, cloud))
    model_id = here.models.current_id()
    if model_id is None:
        desk.about.info("There is no model yet, so there is no verdict. Materialize anomaly_model in the Dagster UI.")
    else:
        try:
            _judged(desk, here, tried, data.read_model(here.home, model_id))
        except FlowError as error:
            desk.about.error(sentence(str(error)))
    with desk.doing:
        _header(tried)
    _images(tried, bin_.files.get("roi"))
    _features(tried)


def _outcome(tried: TriedBin) -> None:
    st.subheader(plain(tried.read.pid), anchor=False)
    if tried.read.status != "ok":
        st.warning(f"**{plain(tried.read.status)}**: {plain(tried.read.reason)}")
    elif tried.read.reason:
        st.info(plain(tried.read.reason))


def _judged(desk: Desk, here: Stores, tried: TriedBin, model: AnyModel) -> None:
    score = tried.judged(model, here.settings.features, here.tables)
    with desk.about:
        shown_bin.verdict(score)
        st.caption(f"Model: {plain(score['model_id'])}")
    with desk.doing:
        found = words.findings(score["findings"])
        if found:
            st.subheader("Why", anchor=False)
            st.dataframe(shown_bin.findings_table(found), hide_index=True,
                         alt="What is unusual, and the normal range")  # fmt: skip
            checks = dict.fromkeys(finding.check for finding in found if finding.check)
            st.markdown("**What to do**\n" + "\n".join(f"- {sentence(check)}" for check in checks))
        elif score["verdict"] == "ok":
            st.markdown("Nothing is unusual.")
        parts = tried.judged_in_parts(model, here.tables)
        if any(math.isfinite(part.severity) for part in parts):
            st.subheader("Severity as the bin accumulated", anchor=False)
            st.vega_lite_chart(charts.accumulated(parts, score["threshold"]),
                               alt="Severity of the bin after each part of its run")  # fmt: skip


def _images(tried: TriedBin, roi: bytes | None) -> None:
    if roi is None or tried.cloud is None:
        return
    st.subheader("Images", anchor=False)
    found = tried.images(roi, _SAMPLE)
    if found.images:
        picture, n_drawn = clouds.mosaic(list(found.images.values()))
        st.image(picture, width="stretch", alt=f"{n_drawn} images of {tried.read.pid}, largest first")
    if found.missing:
        example = next(iter(found.missing.values()))
        st.caption(f"{count(len(found.missing), 'image')} could not be read, for example: {plain(example)}")


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


_page()
