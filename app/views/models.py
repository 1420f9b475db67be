"""The page "Models": which one is active, what each was trained on, how two differ, what the features mean; and the
buttons that activate, roll back, train and score again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import address, charts, data, runs
from app.data import Stores, stores
from app.pages import BIN, MODELS, go_to, titled
from app.reviewer import known_reviewer
from app.theme import verdict_name
from app.words import as_shown, count, measure_name, plain, sentence
from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError
from ifcb_flow_pipeline.detection.trial.comparison import Comparison, Pair, compare_models
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.review.handover import csv_of
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES

#: Two models are compared on the bins of so many days, the latest that have features.
_COMPARED_DAYS = 28

_MAX_CHANGED = 1000

_PARTS: Mapping[str, str] = {"active": "Active", "compare": "Compare", "features": "Features"}

#: The feature whose distribution is drawn first: where the core of the flow is.
_FIRST_FEATURE = "core_x_px"

_SHARES: Mapping[str, float] = {"1 %": 0.01, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "99 %": 0.99}

#: In words, why bins taught a model nothing; others stand for themselves.
_LEFT_OUT: Mapping[str, str] = {
    "rule": "that break a hard rule", "rejected": "least like the others", "labelled_bad": "that people marked bad",
    "few_bins": "of instruments with too few bins",
    "too_few_points": "with too few points", "no_adc": "without .adc file", "unreadable": "not readable",
}  # fmt: skip


def _page() -> None:
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.header(MODELS.title, anchor=False, width="content")
        part = address.one("part", "Part", list(_PARTS), "active", draw=st.segmented_control, called=_part_name,
                           required=True, label_visibility="collapsed") or "active"  # fmt: skip
    titled(_PARTS[part], MODELS.title)
    try:
        here = stores()
        if part == "features":
            _features(here)
            return
        cards = _cards(here.models)
        if not cards:
            st.info("There is no model yet. Once some weeks have features, train one; or run `ifcb-flow demo`.")
            runs.button(here, "Train a model", runs.training(), key="train", icon=":material/model_training:")
        elif part == "active":
            _active(here, cards)
        else:
            _compare(here, cards)
    except FlowError as error:
        st.error(sentence(str(error)))


def _part_name(code: str) -> str:
    return _PARTS[code]


def _cards(models: ModelStore) -> dict[str, ModelCard]:
    """The cards of all kept models, newest first; what cannot be read is said."""
    found = {}
    for model_id in models.ids():
        try:
            found[model_id] = models.card(model_id)
        except ModelError as error:
            st.error(plain(f"{model_id}: {error}"))
    return dict(sorted(found.items(), key=lambda entry: entry[1].created, reverse=True))


def _active(here: Stores, cards: Mapping[str, ModelCard]) -> None:
    models = here.models
    current = models.current_id()
    ids = list(cards)
    default = current if current in ids else ids[0]
    chosen = address.one("model", "Model", ids, default, width=420,
                         called=lambda name: f"{name} (active)" if name == current else name) or default  # fmt: skip
    _act(here, cards, chosen, current)
    left, right = st.columns([3, 2])
    with left:
        _card(cards[chosen])
    with right:
        _history(models)
    table = pd.DataFrame([
        {
            "state": "active" if model_id == current else "",
            "model": model_id,
            "made (UTC)": card.created[:16].replace("T", " "),
            "bins": card.n_bins,
            "from": card.first_day,
            "to": card.last_day,
            "instruments": ", ".join(sorted(card.n_bins_by_instrument)),
            "features": len(card.feature_names),
        }
        for model_id, card in cards.items()
    ])  # fmt: skip
    st.subheader("All saved models", anchor=False)
    st.dataframe(table, hide_index=True, alt="Saved models, newest first")


def _act(here: Stores, cards: Mapping[str, ModelCard], chosen: str, current: str | None) -> None:
    """Activate, roll back, train and score again: each a press."""
    who = known_reviewer() or "the review app"
    previous = here.models.previous_id()
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if chosen != current:
            runs.button(here, "Activate this model", runs.activating(chosen, who), key="activate",
                        icon=":material/check_circle:", type="primary")  # fmt: skip
        if previous in cards:
            runs.button(here, f"Roll back to {previous}", runs.rolling_back(who), key="roll_back",
                        icon=":material/undo:")  # fmt: skip
        runs.button(here, "Train a new model", runs.training(), key="train", icon=":material/model_training:")
        scored = here.tables.days(BIN_SCORES)[-_COMPARED_DAYS:]
        if scored:
            runs.button(here, f"Score {scored[0]} to {scored[-1]} again", runs.scoring(scored[0], scored[-1]),
                        key="score_again", icon=":material/replay:")  # fmt: skip
    st.caption(
        "A model is compared with the active one before it is activated, and refused if it is worse. Stored "
        "verdicts stay "
        "as they are until their days are scored again."
    )


def _card(card: ModelCard) -> None:
    left_out = ", ".join(
        f"{len(pids):,} {_LEFT_OUT.get(why, why.replace('_', ' '))}" for why, pids in card.excluded.items()
    )
    by_instrument = "; ".join(f"{name}: {count(n, 'bin')}" for name, n in sorted(card.n_bins_by_instrument.items()))
    scale = "anomaly score" if card.kind == "forest" else "severity"
    lines = {
        "Detector": card.kind,
        "Trained": f"{card.created[:16].replace('T', ' ')} UTC, on {count(card.n_bins, 'bin')} of {card.first_day} to "
        f"{card.last_day}",
        "Instruments": by_instrument,
        "Left out": f"{count(card.n_excluded, 'bin')}" + f" ({left_out})" * bool(left_out),
        "Features": f"{len(card.feature_names)} of the {card.feature_set} set; points: "
        f"{card.feature_settings.triggers}, aspect ratio {card.feature_settings.aspect_ratio:g}",
        "Bad from": f"{scale} {card.threshold:.3g}",
        "Measured": ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in _numbers(card.metrics).items()),
        "Note": card.note,
    }
    st.markdown("\n".join(f"- **{name}**: {plain(line)}" for name, line in lines.items() if line))
    with st.expander("Everything on the card", icon=":material/description:"):
        st.json(json.loads(card.to_json()), expanded=1)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{value:.3g}" for name, value in metrics.items() if isinstance(value, int | float)}


def _history(models: ModelStore) -> None:
    changes = models.history()
    if not changes:
        return
    st.subheader("History", anchor=False)
    table = pd.DataFrame([
        {"at (UTC)": one.at, "what": _ACTIONS.get(one.action, one.action), "model": one.model_id,
         "instead of": one.previous or "", "by": one.who, "note": one.note}
        for one in reversed(changes)
    ])  # fmt: skip
    st.dataframe(table, hide_index=True, alt="Changes of the active model, latest first",
                 column_config={"at (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm",
                                                                            timezone="UTC")})  # fmt: skip


_ACTIONS: Mapping[str, str] = {"promote": "activated", "rollback": "rolled back"}


def _compare(here: Stores, cards: Mapping[str, ModelCard]) -> None:
    if len(cards) < 2:
        st.info("There is only one model. Train another; then both can be compared here.")
        runs.button(here, "Train a new model", runs.training(), key="train", icon=":material/model_training:")
        return
    ids = list(cards)
    current = here.models.current_id()
    default = current if current in ids else ids[0]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        first = address.one("first", "Model", ids, default, width=330) or default
        others = [model_id for model_id in ids if model_id != first]
        second = address.one("second", "Against", others, others[0], width=330) or others[0]
        if second != current:
            runs.button(here, "Activate the second", runs.activating(second, known_reviewer() or "the review app"),
                        key="activate", icon=":material/check_circle:")  # fmt: skip
    days = here.tables.days(BIN_FEATURES)
    if not days:
        st.info("There are no features to compare them on. Process some days.")
        return
    last = days[-1]
    changed_ns = here.tables.path(BIN_FEATURES, last).stat().st_mtime_ns
    decisions = {pid: label.decision for pid, label in data.read_decisions(here).items()}
    result = _comparison(here.home, first, second, changed_ns, decisions)
    _compared(result, first, second)


def _compared(result: Comparison, first: str, second: str) -> None:
    with st.container(horizontal=True, gap="large"):
        st.metric("Bins scored by both", f"{result.n_bins:,}", width="content")
        st.metric("Different verdict", f"{len(result.changed):,}", width="content")
        agreement = "unknown" if np.isnan(result.rank_agreement) else f"{result.rank_agreement:.2f}"
        st.metric("Rank correlation", agreement, width="content",
                  help="Spearman's correlation of the anomaly scores: 1 is the same order")  # fmt: skip
        if result.not_judged.champion or result.not_judged.challenger:
            pair = result.not_judged
            st.metric("No verdict", f"{pair.champion:.0%} | {pair.challenger:.0%}", width="content",
                      help="Bins that the first | second model has too little history for")  # fmt: skip
        _shares("Bad bins found", result.labelled_bad, "bad")
        _shares("False alarms", result.labelled_good, "good")
    for reason in result.worse:
        st.warning(f"{plain(second)}: {plain(reason)}")
    table = pd.DataFrame([
        {"bin": one.pid, "first": verdict_name(one.champion), "second": verdict_name(one.challenger),
         "severity (first)": one.champion_severity, "severity (second)": one.challenger_severity}
        for one in result.changed
    ], columns=["bin", "first", "second", "severity (first)", "severity (second)"])  # fmt: skip
    st.caption(
        f"First is {plain(first)}, second {plain(second)}; bins of the latest {_COMPARED_DAYS} days with features, "
        "largest difference first. Select a row to open the bin."
    )
    if table.empty:
        st.success("Both models give every bin the same verdict.", icon=":material/done_all:")
        return
    numbers = {name: st.column_config.NumberColumn(format="%.1f") for name in table.columns if "severity" in name}
    event = st.dataframe(table.head(_MAX_CHANGED), hide_index=True, column_config=numbers, key="changed",
                         on_select="rerun", selection_mode="single-row", alt="Bins that differ")  # fmt: skip
    for row in event["selection"]["rows"]:
        go_to(BIN, bin=result.changed[row].pid)
    st.download_button("All of them as CSV", lambda: csv_of(table), "changed-verdicts.csv", "text/csv",
                       icon=":material/download:", on_click="ignore")  # fmt: skip


def _shares(title: str, pair: Pair, kind: str) -> None:
    if pair.n:
        text = (
            f"Of the {count(pair.n, 'bin')} that people marked {kind}, how many the first | second model flags as bad"
        )
        st.metric(title, f"{pair.champion:.0%} | {pair.challenger:.0%}", width="content", help=text)


@st.cache_data(max_entries=8, show_spinner="Scoring the latest bins with both models ...")
def _comparison(
    home: Path,
    first: str,
    second: str,
    changed_ns: int,  # noqa: ARG001 - part of the key
    decisions: Mapping[str, str],
) -> Comparison:
    tables, models = DailyTables(home / "tables"), ModelStore(home / "models")
    days = tables.days(BIN_FEATURES)[-_COMPARED_DAYS:]
    features = tables.read_range(BIN_FEATURES, days[0], days[-1])
    return compare_models(models.load(first), models.load(second), features, {}, decisions)


def _features(here: Stores) -> None:
    st.caption(
        "What is computed of each bin, what it means, and which faults it helps to find. px\\*: pixels of x "
        "divided by the "
        "aspect ratio."
    )
    # Those of the older tool last: they say little to people.
    ordered = sorted(CATALOGUE, key=lambda one: "reference" in one.sets)
    table = pd.DataFrame([
        {"feature": measure_name(one.name), "meaning": one.meaning, "finds": one.failure_mode,
         "sets": ", ".join(one.sets), "family": one.family, "code": one.name, "source": one.source}
        for one in ordered
    ])  # fmt: skip
    st.dataframe(table, hide_index=True, height=360, alt="All features",
                 column_config={"meaning": st.column_config.TextColumn(width="large"),
                                "finds": st.column_config.TextColumn(width=260)})  # fmt: skip
    names = [one.name for one in ordered]
    name = address.one("feature", "Normal range of", names, _FIRST_FEATURE, called=measure_name,
                       width=360) or _FIRST_FEATURE  # fmt: skip
    values = _values(here, name)
    if not values:
        made = "No bin of the latest days has a value of it: no header, or too few images."
        none = "There are no features yet. Process some days."
        st.info(made if here.tables.days(BIN_FEATURES) else none)
        return
    # The legend takes its room from the plot.
    chart = charts.distributions(values, measure_name(name)) | {"height": 260 + 12 * len(values)}
    st.vega_lite_chart(chart, alt=f"Distribution of {measure_name(name)} by instrument")
    numbers = {share: st.column_config.NumberColumn(format="%.4g") for share in _SHARES}
    st.dataframe(
        _quantiles(values),
        hide_index=True,
        column_config=numbers,
        alt=f"Quantiles of {measure_name(name)} by instrument",
    )


def _values(here: Stores, name: str) -> dict[str, np.ndarray]:
    """A feature of the latest days by instrument."""
    days = here.tables.days(BIN_FEATURES)
    parts = [data.rows_of_day(here, BIN_FEATURES, day) for day in days[-_COMPARED_DAYS:]]
    rows = [(part["instrument"].to_pylist(), part[name].to_numpy()) for part in parts if part is not None]
    found: dict[str, list[float]] = {}
    for instruments, values in rows:
        for instrument, value in zip(instruments, values.tolist(), strict=True):
            if value is not None and np.isfinite(value):
                found.setdefault(instrument, []).append(value)
    return {instrument: as_shown(name, np.array(values)) for instrument, values in sorted(found.items())}


def _quantiles(values: Mapping[str, Sequence[float] | np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame([
        {"instrument": name, "bins": len(of)} | {title: float(np.quantile(of, q)) for title, q in _SHARES.items()}
        for name, of in values.items()
    ])  # fmt: skip


_page()
