"""The page "Ranked bins": which bins to distrust, and one of them in full.

The chosen bin is the ``bin`` of the address, so that a link opens it again.
"""

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import charts, data, words
from app.data import BinRecord, Stores, Verdict
from app.words import count, plain
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.detection.model import ModelError
from ifcb_flow_pipeline.store.daily import StoreError
from ifcb_flow_pipeline.store.settings import SettingsError
from ifcb_flow_pipeline.store.tables import BIN_SCORES, STATUSES

#: Larger tables lose selection and search in the browser.
MAX_TABLE_ROWS = 2000

_MEANINGS = words.meanings(BIN_SCORES)
_COLUMNS: dict[str, Any] = {
    "rank": st.column_config.NumberColumn("rank", help="1 is the most anomalous bin of the period"),
    "pid": st.column_config.TextColumn("bin", help=_MEANINGS["pid"], width=205),
    "anomaly_score": st.column_config.NumberColumn("score", format="%.3f", help=_MEANINGS["anomaly_score"]),
    "percentile": st.column_config.NumberColumn("percentile", format="%.1f %%", help=_MEANINGS["percentile"]),
    "verdict": st.column_config.TextColumn("verdict", help=_MEANINGS["verdict"]),
    "start_time": st.column_config.DatetimeColumn(
        "start (UTC)", format="YYYY-MM-DD HH:mm", timezone="UTC", help=_MEANINGS["start_time"]
    ),
    "instrument": st.column_config.TextColumn("instrument", help=_MEANINGS["instrument"]),
    "status": st.column_config.TextColumn("status", help=_MEANINGS["status"]),
    "reason": st.column_config.TextColumn("reason", help=_MEANINGS["reason"], width="large"),
}

_HEADER_WIDTHS: dict[str, Any] = {
    "header": st.column_config.TextColumn(width=130),
    "value": st.column_config.TextColumn(width=130),
    "meaning": st.column_config.TextColumn(width="large"),
}

# The table takes what room the bin leaves; on a narrow screen the bin comes below it.
_BIN_WIDTH = 550
_STYLE = """<style>
:has(> .st-key-bins) { min-width: 480px; }
.stMainBlockContainer { padding-top: 3rem; }
</style>"""

# Keys of the session's state and of the address.
_CHART, _TABLE, _INSTRUMENT = "score_chart", "ranked_table", "instrument"
_PERIOD, _FILTERS_CHANGED = "default_period", "filters_changed"
_BIN = "bin"

_ALL = "all"

_NEXT_STEP = {
    "no tables": "There are no tables in {home} yet. Materialize raw_bins, point_clouds and bin_features of some "
    "days in the Dagster UI, or run `ifcb-flow demo`. If they are elsewhere, set IFCB_FLOW_HOME.",
    "no features": "There are bins, but no features yet. Materialize point_clouds and bin_features in the Dagster UI.",
    "no model": "There are features, but no model yet. Materialize anomaly_model in the Dagster UI, then bin_scores.",
    "no scores": "There is a model, but there are no scores yet. Materialize bin_scores of some days in the "
    "Dagster UI.",
}


def page() -> None:
    """Draw the page; what cannot be read is said in its own words."""
    st.header("Ranked bins", anchor=False)
    try:
        stores = Stores.of(os.environ)
        stage = stores.stage
        if stage == "scores":
            _ranked_bins(stores)
        else:
            st.info(_NEXT_STEP[stage].format(home=plain(str(stores.home))))
    except (SettingsError, StoreError) as error:
        st.error(plain(str(error)))


def _ranked_bins(stores: Stores) -> None:
    summary = st.container()
    filters = st.columns([2, 2, 2, 3])
    first, last = _period_filter(filters, stores)
    scores = data.read_scores(stores, first, last)
    rows = data.ranked(scores.rows, _instrument_filter(filters[2], scores.rows))
    shown = data.of_verdict(rows, _verdict_filter(filters[3]))
    with summary:
        _summary(first, last, rows)
        _models(stores, rows)
    for problem in scores.problems:
        st.error(plain(problem))
    chosen = _chosen_bin(shown)
    st.html(_STYLE)
    with st.container(horizontal=True, gap="medium"):
        with st.container(key="bins"):
            _bins(shown, chosen)
        with st.container(width=_BIN_WIDTH):
            if chosen is not None:
                _one_bin(stores, chosen, rows, shown)


def _bins(shown: pd.DataFrame, chosen: str | None) -> None:
    if shown.empty:
        st.info("No bin is left by this filter. Widen the period, or choose all instruments and all verdicts.")
        return
    _table(shown, chosen)
    if not shown.dropna(subset=["anomaly_score"]).empty:
        _scores_over_time(shown, chosen)


def _period_filter(columns: Sequence[DeltaGenerator], stores: Stores) -> tuple[date, date]:
    days = data.scored_days(stores)
    if _PERIOD not in st.session_state:
        # Found once a session: a default that moves would take the reader's own choice away.
        st.session_state[_PERIOD] = data.default_period(days, _day_of(st.query_params.get(_BIN)))
    first, last = (
        _day_filter(column, label, default, days)
        for column, label, default in zip(columns, ("First day", "Last day"), st.session_state[_PERIOD], strict=False)
    )
    return first, last


def _day_filter(column: DeltaGenerator, label: str, default: date, days: Sequence[date]) -> date:
    # Days may have been removed since the session began.
    default = min(max(default, days[0]), days[-1])
    day = column.date_input(label, default, min_value=days[0], max_value=days[-1], format="YYYY-MM-DD", key=label,
                            on_change=_filter_changed, help="UTC day of the start of a run")  # fmt: skip
    return day or default


def _instrument_filter(column: DeltaGenerator, rows: pd.DataFrame) -> str | None:
    # An instrument that the period lacks stays chosen: that it has no bins is what the reader asks.
    names = {*rows["instrument"], st.session_state.get(_INSTRUMENT, _ALL)} - {_ALL}
    name = column.selectbox("Instrument", [_ALL, *sorted(names)], key=_INSTRUMENT, on_change=_filter_changed)
    return None if name == _ALL else name


def _verdict_filter(column: DeltaGenerator) -> Verdict:
    return column.segmented_control("Verdict", data.VERDICTS, default=data.VERDICTS[0], key="verdict",
                                    required=True, on_change=_filter_changed, help=_MEANINGS["verdict"])  # fmt: skip


def _summary(first: date, last: date, rows: pd.DataFrame) -> None:
    period = f"{first}" if first == last else f"{first} to {last}"
    anomalies, unscored = (len(data.of_verdict(rows, verdict)) for verdict in ("anomaly", "unscored"))
    st.markdown(
        f"**{period}** (UTC) · **{count(len(rows), 'bin')}** · **{count(anomalies, 'anomaly', 'anomalies')}** · "
        f"**{count(unscored, 'bin')} without score**"
    )


def _models(stores: Stores, rows: pd.DataFrame) -> None:
    try:
        card = data.model_in_use(stores)
    except ModelError as error:
        st.warning(plain(str(error)))
        return
    if card is None:
        st.warning("No model is in use: new bins get no score. Materialize anomaly_model in the Dagster UI.")
        return
    trained = words.age(data.created(card), datetime.now(tz=UTC))
    st.caption(
        f"Model in use: {plain(card.model_id)}, trained {trained} on {count(card.n_bins, 'bin')} of "
        f"{card.first_day} to {card.last_day}; threshold {card.threshold:.3f}"
    )
    others = set(rows["model_id"]) - {card.model_id}
    if others:
        st.caption(
            f":material/warning: Some scores here come from {count(len(others), 'other model')}. Compare them with "
            "care, or materialize bin_scores of these days again."
        )


def _scores_over_time(shown: pd.DataFrame, chosen: str | None) -> None:
    def pick() -> None:
        _choose(charts.picked_pid(st.session_state[_CHART]))

    st.altair_chart(
        charts.score_chart(shown, chosen),
        key=_CHART,
        on_select=pick,
        selection_mode=charts.PICKED,
        alt="Anomaly score of each bin over time",
    )
    n_scored = len(shown.dropna(subset=["anomaly_score"]))
    cut = f" Only the {charts.MAX_SCORE_MARKS:,} most anomalous are drawn." * (n_scored > charts.MAX_SCORE_MARKS)
    st.caption(f"One mark a bin; click one to open it. The ring is the open bin, the dashed line the threshold.{cut}")


def _table(shown: pd.DataFrame, chosen: str | None) -> None:
    rows = shown.head(MAX_TABLE_ROWS)
    pids = rows["pid"].tolist()

    def pick() -> None:
        _choose(charts.picked_row(st.session_state[_TABLE], pids))

    # Whatever opened the bin, its row is the marked one.
    st.session_state[_TABLE] = {"selection": {"rows": [pids.index(chosen)] if chosen in pids else []}}
    st.dataframe(
        rows[list(_COLUMNS)],
        column_config=_COLUMNS,
        hide_index=True,
        key=_TABLE,
        on_select=pick,
        selection_mode=["single-row", "single-cell"],
        alt="Bins, most anomalous first",
    )
    if len(shown) > len(rows):
        st.caption(f"The first {len(rows):,} of {count(len(shown), 'bin')}. A shorter period shows all of its bins.")


def _one_bin(stores: Stores, pid: str, rows: pd.DataFrame, shown: pd.DataFrame) -> None:
    st.subheader(plain(pid), anchor=False)
    try:
        record = data.read_bin(stores, pid)
    except StoreError as error:
        st.error(plain(str(error)))
        return
    if record.score is None and record.entry is None:
        st.info(
            f"No table has this bin. If the archive has it, materialize raw_bins and what follows for {record.day} "
            "in the Dagster UI."
        )
        return
    if pid not in set(shown["pid"]):
        st.caption(":material/filter_alt_off: This bin is not among those of the filter above.")
    _verdict(record, rows)
    _outcome(record)
    _cloud(record)
    _header(record)


def _verdict(record: BinRecord, rows: pd.DataFrame) -> None:
    score = record.score
    if score is None:
        st.info(f"No score yet. Materialize bin_scores of {record.day} in the Dagster UI.")
        return
    if score["verdict"] == "unscored":
        return
    columns = st.columns(3)
    columns[0].metric("Score", f"{score['anomaly_score']:.3f}", help=_MEANINGS["anomaly_score"])
    columns[1].metric("Percentile", words.percent(score["percentile"]), help=_MEANINGS["percentile"])
    columns[2].metric("Verdict", score["verdict"], help=_MEANINGS["is_anomaly"])
    rank = rows.loc[rows["pid"].isin([record.pid]), "rank"].tolist()
    n_scored = len(rows) - len(data.of_verdict(rows, "unscored"))
    place = f"Rank {rank[0]:,} of {n_scored:,}; " if rank else ""
    st.caption(f"{place}threshold {score['threshold']:.3f}; model {plain(score['model_id'])}")


def _outcome(record: BinRecord) -> None:
    """Status and reason, where there is anything to say; the score's say more than the cloud's."""
    status, reason = record.outcome
    if status != "ok":
        meaning = STATUSES.get(status, "")
        st.warning(f"**{plain(status)}**: {plain(meaning)}" + f"  \n{plain(reason)}" * bool(reason))
    elif reason:
        st.info(f"**ok**, but: {plain(reason)}")


def _cloud(record: BinRecord) -> None:
    entry = record.entry
    if entry is None:
        st.info(f"The point clouds of {record.day} lack this bin. Materialize point_clouds of that day again.")
        return
    if record.cloud is None:
        st.markdown("It has no point cloud to show.")
        return
    schema = parse_pid(record.pid).schema
    st.altair_chart(
        charts.cloud_chart(record.cloud, FRAME_PX[schema]),
        width="content",
        key="cloud",
        alt=f"Point cloud of {record.pid} in the camera frame",
    )
    st.caption(
        f"{count(entry.n_rows, 'trigger')}, {count(entry.n_images, 'image')}, "
        f"{count(entry.bad_lines, 'unusable ADC line')}. Each mark is the corner of an image, as in the .adc file; "
        "the frame is the camera's."
    )


def _header(record: BinRecord) -> None:
    if record.entry is None:
        return
    lines = words.header_lines(record.entry.header)
    if lines:
        st.dataframe(lines, column_config=_HEADER_WIDTHS, hide_index=True, alt="Values of the header file")
    else:
        st.caption("No header values: the .hdr file is absent, empty or not readable.")


def _chosen_bin(shown: pd.DataFrame) -> str | None:
    """The bin of the address, else the most anomalous; a new filter that lacks the open bin closes it."""
    wanted = st.query_params.get(_BIN)
    filter_is_new = st.session_state.pop(_FILTERS_CHANGED, False)
    if wanted is not None and _day_of(wanted) is None:
        st.warning(f"{plain(wanted)} is no bin identifier; the most anomalous bin is shown instead.")
        wanted = None
    if wanted is None or (filter_is_new and wanted not in set(shown["pid"])):
        wanted = None if shown.empty else str(shown["pid"].iloc[0])
    if wanted is None:
        st.query_params.pop(_BIN, None)
    else:
        st.query_params[_BIN] = wanted
    return wanted


def _choose(pid: str | None) -> None:
    if pid is not None:
        st.query_params[_BIN] = pid


def _filter_changed() -> None:
    st.session_state[_FILTERS_CHANGED] = True


def _day_of(pid: str | None) -> date | None:
    try:
        return parse_pid(pid or "").day
    except InvalidPidError:
        return None
