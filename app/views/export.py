"""The page "Export": tables of a period, decisions for the IFCB dashboard, and a report for the cruise log."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import streamlit as st

from app import address, data, exports
from app.data import Scored, Stores
from app.exports import Choice
from app.pages import EXPORT, scored_stores
from app.theme import LOOKS, verdict_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.handover import dashboard_files
from ifcb_flow_pipeline.store.labels import Label

_DEFAULT_DAYS = 30

_CSV, _PARQUET, _HTML = "text/csv", "application/vnd.apache.parquet", "text/html"


def _page() -> None:
    st.header(EXPORT.title, anchor=False)
    stores = scored_stores()
    scored = data.read_scored(stores)
    for problem in scored.problems:
        st.error(plain(problem))
    if scored.rows.empty:
        st.info("There are no scored bins to export. Score some days.")
        return
    choice = _choice(scored)
    try:
        _tables(stores, scored, choice)
        _decisions(stores, scored, choice)
        _image_labels(stores, choice)
        _report(stores, scored, choice)
    except FlowError as error:
        st.error(sentence(str(error)))


def _choice(scored: Scored) -> Choice:
    oldest, latest = (scored.rows["start_time"].iloc[place].date() for place in (0, -1))
    ends = {"min_value": oldest, "max_value": latest, "width": 140, "help": "UTC day of the start of a run"}
    with st.container(horizontal=True, gap="medium"):
        first = address.day("first", "First day", max(oldest, latest - timedelta(days=_DEFAULT_DAYS - 1)), **ends)
        last = address.day("last", "Last day", latest, **ends)
        instruments = address.several("instrument", "Instruments", scored.instruments, placeholder="all", width=220)
        verdicts = address.several("verdict", "Verdicts", list(LOOKS), called=verdict_name, placeholder="all",
                                   width=220, help="Decisions are exported whatever the verdict.")  # fmt: skip
    return Choice(first, last, instruments, verdicts)


def _tables(stores: Stores, scored: Scored, choice: Choice) -> None:
    st.subheader("Tables", anchor=False)
    rows = choice.of(scored)
    if rows.empty:
        st.info("No bins match. Widen the period, or take all instruments and verdicts.")
        return
    st.markdown(f"**{count(len(rows), 'bin').capitalize()}** of {choice.first} to {choice.last}")
    for name, table in exports.TABLES.items():
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.markdown(f"**{name.capitalize()}**: {plain(table.meaning)}", width="stretch")
            for ending, mime, content in (("csv", _CSV, exports.as_csv), ("parquet", _PARQUET, exports.as_parquet)):
                st.download_button(
                    ending.upper() if ending == "csv" else ending.capitalize(),
                    lambda table=table, content=content: content(exports.stored_rows(stores, table, choice, rows)),
                    choice.name(name, ending),
                    mime,
                    key=f"{name}_{ending}",
                    icon=":material/download:",
                    on_click="ignore",
                )


def _decisions(stores: Stores, scored: Scored, choice: Choice) -> None:
    st.subheader("Decisions", anchor=False)
    labels = exports.decisions_of(data.read_decisions(stores), choice)
    if not labels:
        st.info("Nobody has reviewed a bin of this period yet: review some in Triage, then come back.")
        # A decision that was taken back is told, too.
        if exports.told(stores, labels, scored, choice).send:
            _for_dashboard(stores, labels, scored, choice)
        return
    counts = {word: sum(label.decision == word for label in labels.values()) for word in ("bad", "good", "unsure")}
    st.markdown(
        f"**{count(len(labels), 'decision').capitalize()}**: " + ", ".join(f"{n} {word}" for word, n in counts.items())
    )
    st.download_button("Decisions as CSV", lambda: exports.decisions_csv(labels), choice.name("decisions", "csv"), _CSV,
                       icon=":material/download:", on_click="ignore")  # fmt: skip
    _for_dashboard(stores, labels, scored, choice)


def _image_labels(stores: Stores, choice: Choice) -> None:
    labels = exports.image_labels_of(stores, choice)
    if labels:
        name = f"{count(len(labels), 'label').capitalize()} of images as CSV"
        st.download_button(name, lambda: exports.image_labels_csv(labels), choice.name("image-labels", "csv"), _CSV,
                           icon=":material/download:", on_click="ignore",
                           help="For spreadsheets, and for ifcb-flow train-images with its option labels")  # fmt: skip


def _for_dashboard(stores: Stores, labels: Mapping[str, Label], scored: Scored, choice: Choice) -> None:
    suspected = address.switch("suspected", "Add the model's suspected cause as a tag",
                               help="As qc_flow_CAUSE, on bins marked bad. Nobody has confirmed it.")  # fmt: skip
    told = exports.told(stores, labels, scored, choice, with_suspicion=suspected)
    files = dashboard_files(told.send)
    words = Counter(row.skip for row in told.send)
    st.markdown("**For the IFCB dashboard** (Settings, *Upload metadata*; or the command `ifcb-flow handover`)")
    st.caption(
        f"Skip: {count(words['skip'], 'bin')}, marked bad. Noskip: {count(words['noskip'], 'bin')} that we skipped "
        "before, by the record of `ifcb-flow handover`, and that are not bad any more. Left as they are: "
        f"{count(words[''] + len(told.left), 'bin')}; a skip that others have set stays. What is uploaded by hand is "
        "not recorded."
    )
    if not files:
        st.markdown("There is nothing to be told.")
    for number, file in enumerate(files, start=1):
        part = f" ({number} of {len(files)})" if len(files) > 1 else ""
        st.download_button(f"Dashboard CSV{part}", file.content, choice.name(f"dashboard-{number}", "csv"), _CSV,
                           icon=":material/download:", key=f"dashboard_{number}", on_click="ignore")  # fmt: skip


def _report(stores: Stores, scored: Scored, choice: Choice) -> None:
    st.subheader("Report for the cruise log", anchor=False)
    st.caption(
        "A summary to paste, hours and share lost by cause, episodes, the worst bins with their clouds, and "
        "decisions: one "
        "HTML file with its pictures inside, which opens in any browser without a network, and prints to PDF."
    )
    rows = choice.of(scored)
    if not rows.empty:
        st.code("\n".join(exports.summary(stores, choice, rows, data.read_decisions(stores))), language=None,
                wrap_lines=True)  # fmt: skip
    st.download_button(
        "Report",
        lambda: exports.report(stores, choice, rows, data.read_decisions(stores), datetime.now(tz=UTC)),
        choice.name("report", "html"),
        _HTML,
        icon=":material/summarize:",
        on_click="ignore",
    )


_page()
