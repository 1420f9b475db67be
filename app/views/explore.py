"""The page "Explore": all bins as a chart and a table, found by any column; what is found is decided, tagged, exported.

All choices are in the address.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app import address, charts, columns, data, period, series
from app.charts import Axis
from app.columns import TIME, Condition
from app.data import Scored, Stores
from app.decisions import Target, bulk_panel, label_store
from app.pages import BIN, EXPLORE, go_to, scored_bins
from app.series import Filter, Window
from app.theme import LOOKS, cause_name, decision_name, tag_name, verdict_name
from app.words import count, plain, sentence
from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.review.handover import csv_of
from ifcb_flow_pipeline.store.labels import DECISIONS, TAGS, Label
from ifcb_flow_pipeline.store.tables import STATUSES, status_name

#: Rows of the table; decisions that one press may make.
_MAX_LISTED, _MAX_DECIDED = 500, 20_000

#: Cells of a density, across and up.
_CELLS = (100, 50)

_SEVERITY = "severity"


def _page() -> None:
    _open_the_clicked_bin()
    st.header(EXPLORE.title, anchor=False)
    stores, scored = scored_bins()
    decisions = _decisions(stores)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        window = period.chosen(series.whole(scored))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        instruments = _choice("instrument", "Instruments", scored.instruments)
        verdicts = _choice("verdict", "Verdicts", list(LOOKS), verdict_name)
        causes = _choice("cause", "Suspected causes", list(CAUSE_NAMES), cause_name)
        more = _more(stores, scored)
        conditions = _conditions()
    wanted = Filter(instruments, verdicts, causes, more["status"], more["decision"])
    found = _Found(stores, scored)
    rows = series.select(scored, window, wanted, decisions)
    n_before = len(rows)
    rows = _further(stores, scored, rows, more, decisions)
    rows = columns.matching(rows, conditions, found.values)
    for problem in found.problems[:3]:
        st.error(plain(problem))
    head = st.container(horizontal=True, gap="medium", vertical_alignment="center")
    said = "; ".join(condition.words for condition in conditions)
    head.markdown(
        f"**{count(len(rows), 'bin').capitalize()}** of {n_before:,} in this period" + f": {plain(said)}" * bool(said)
    )
    if not len(rows):
        st.info("No bins match. Widen the period, or clear some filters or conditions.")
        return
    with head:
        sides = _sides(conditions)
    _chart(found, rows, window, conditions, sides)
    _table(found, rows, conditions, decisions)


class _Found:
    """Columns of all bins, read when they are asked for, and what could not be read."""

    def __init__(self, stores: Stores, scored: Scored) -> None:
        self.stores, self.scored = stores, scored
        self.problems: list[str] = []

    def values(self, code: str) -> NDArray[np.floating]:
        values, problems = columns.values(self.stores, self.scored, code)
        self.problems += [problem for problem in problems if problem not in self.problems]
        return values


def _choice(key: str, label: str, options: Sequence[str], called: Any = str) -> tuple[str, ...]:
    return address.several(key, label, options, called=called, placeholder="all", width=150)


def _more(stores: Stores, scored: Scored) -> Mapping[str, tuple[str, ...]]:
    """The choices that are asked for less often."""
    keys = ("decision", "tag", "sample", "status", "model")
    n_chosen = sum(bool(address.given(key)) for key in keys)
    with st.popover(f"More ({n_chosen})" if n_chosen else "More", icon=":material/filter_alt:", width="content"):
        samples = data.read_sample_types(stores, scored)
        return {
            "decision": _choice("decision", "Decisions", [*DECISIONS, series.UNDECIDED], decision_name),
            "tag": _choice("tag", "Tags", list(TAGS), tag_name),
            "sample": _choice("sample", "Sample types", [name for name in samples.categories if name]),
            "status": _choice("status", "Status of the files", list(STATUSES), status_name),
            "model": _choice("model", "Models", sorted(scored.rows["model_id"].cat.categories)),
        }


def _further(
    stores: Stores,
    scored: Scored,
    rows: NDArray[np.intp],
    more: Mapping[str, tuple[str, ...]],
    decisions: Mapping[str, Label],
) -> NDArray[np.intp]:
    """Those of the rows that have one of the tags, sample types and models."""
    if more["tag"]:
        rows = rows[columns.tagged(scored, decisions.values(), more["tag"])[rows]]
    if more["sample"]:
        rows = rows[
            np.isin(np.asarray(data.read_sample_types(stores, scored).codes)[rows], _codes(stores, scored, more))
        ]
    if more["model"]:
        rows = rows[scored.rows["model_id"].iloc[rows].isin(list(more["model"])).to_numpy()]
    return rows


def _codes(stores: Stores, scored: Scored, more: Mapping[str, tuple[str, ...]]) -> list[int]:
    names = list(data.read_sample_types(stores, scored).categories)
    return [names.index(name) for name in more["sample"]]


def _conditions() -> list[Condition]:
    """The conditions of the address, each with its ends to change; and a way to add one."""
    texts = st.query_params.get_all("where")
    found = [condition for text in texts if (condition := Condition.of(text)) is not None]
    for place, condition in enumerate(found):
        _condition(found, place, condition)
    left = [code for code in columns.NUMBERS if code not in {one.code for one in found}]

    def add() -> None:
        code = st.session_state.pop("add_condition", None)
        if code is not None:
            _write([*found, Condition(code)])

    st.selectbox("Add a condition", left, index=None, key="add_condition", format_func=columns.name, width=230,
                 placeholder="Any measurement", on_change=add)  # fmt: skip
    return found


def _condition(found: Sequence[Condition], place: int, condition: Condition) -> None:
    name, code = columns.name(condition.code), condition.code

    def write() -> None:
        low, high = (st.session_state[f"{end} {code}"] for end in ("low", "high"))
        _write([*found[:place], Condition(code, low, high), *found[place + 1 :]])

    def remove() -> None:
        _write([*found[:place], *found[place + 1 :]])

    for end, value, label in (("low", condition.low, f"{name}, from"), ("high", condition.high, "up to")):
        key = f"{end} {code}"
        if key not in st.session_state or st.session_state[key] != value:
            st.session_state[key] = value
        st.number_input(
            label, key=key, value=None, placeholder="any", width=200 if end == "low" else 110, on_change=write
        )
    st.button(f"Remove {name}", key=f"sign remove {code}", icon=":material/close:", help="Remove the condition",
              on_click=remove)  # fmt: skip


def _write(conditions: Sequence[Condition]) -> None:
    address.put(where=[condition.text for condition in conditions])


def _sides(conditions: Sequence[Condition]) -> tuple[str, str]:
    """The columns that are drawn across and up."""
    codes = (TIME, *columns.NUMBERS)
    latest = conditions[-1].code if conditions else _SEVERITY
    y = address.one("y", "Up", codes, latest, called=columns.name, width=230) or latest
    x = address.one("x", "Across", codes, TIME, called=columns.name, width=230) or TIME
    return x, y


def _chart(
    found: _Found, rows: NDArray[np.intp], window: Window, conditions: Sequence[Condition], columns_: tuple[str, str]
) -> None:
    x, y = columns_
    sides = [_values(found, code, rows) for code in (x, y)]
    known = ~(pd.isna(sides[0]) | pd.isna(sides[1]))
    if not known.any():
        st.info("None of these bins has a value of both.")
        return
    rows, sides = rows[known], [values[known] for values in sides]
    shown, density = np.arange(len(rows)), None
    if len(rows) > series.MAX_POINTS:
        density = _density(sides)
        severity = found.scored.rows["severity"].to_numpy()[rows]
        bad = np.flatnonzero(found.scored.rows["verdict"].iloc[rows].eq("bad").to_numpy())
        shown = bad[columns.top(severity[bad], series.MAX_WORST, descending=True)]
    axes = [Axis(columns.name(code), values[shown], code == TIME) for code, values in zip((x, y), sides, strict=True)]
    spec = charts.scatter(found.scored.rows.iloc[rows[shown]], axes[0], axes[1], density)
    # A new selection is a new chart: the old rectangle would lie upon it.
    key = f"scatter {x} {y} {len(rows)} {window.first:%Y%m%d%H%M} {window.last:%Y%m%d%H%M}"

    def react() -> None:
        event = st.session_state[key]
        st.session_state["clicked"] = charts.picked_pid(event)
        ranges = charts.brushed_ranges(event)
        if len(ranges) == len(axes):
            _zoom(x, y, ranges, conditions)

    st.vega_lite_chart(spec, key=key, on_select=react, selection_mode=charts.selections(spec),
                       alt=f"{columns.name(y)} against {columns.name(x)} of {count(len(rows), 'bin')}")  # fmt: skip
    worst = (
        f"Blue cells hold all {len(rows):,} bins; marks are the {len(shown):,} worst bad ones. "
        if density is not None
        else ""
    )
    st.caption(f"{worst}Drag a rectangle to keep the bins inside; select a mark to open its bin.")


def _values(found: _Found, code: str, rows: NDArray[np.intp]) -> Any:
    if code == TIME:
        return found.scored.rows["start_time"].iloc[rows].to_numpy(dtype="datetime64[ms]")
    return found.values(code)[rows]


def _density(sides: Sequence[Any]) -> pd.DataFrame:
    numbers = [side.astype("int64") if side.dtype.kind == "M" else side for side in sides]
    counts, across, up = np.histogram2d(*numbers, bins=_CELLS)
    at_x, at_y = np.nonzero(counts)
    return pd.DataFrame({"x": across[at_x], "x2": across[at_x + 1], "y": up[at_y], "y2": up[at_y + 1],
                         "n": counts[at_x, at_y]})  # fmt: skip


def _zoom(x: str, y: str, ranges: Mapping[str, tuple[float, float]], conditions: Sequence[Condition]) -> None:
    left = [one for one in conditions if one.code not in (x, y)]
    for code, (low, high) in zip((x, y), (ranges["x"], ranges["y"]), strict=True):
        if code == TIME:
            period.zoom(Window(*(datetime.fromtimestamp(end / 1000, UTC) for end in (low, high))))
        else:
            left.append(Condition(code, low, high))
    _write(left)


def _table(
    found: _Found, rows: NDArray[np.intp], conditions: Sequence[Condition], decisions: Mapping[str, Label]
) -> None:
    codes = (TIME, *columns.NUMBERS)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        by = address.one("sort", "Sort by", codes, _SEVERITY, called=columns.name, width=280) or _SEVERITY
        ascending = address.switch("ascending", "Lowest first")
    keys = found.scored.micros[rows].astype(float) if by == TIME else found.values(by)[rows]
    first = rows[columns.top(keys, _MAX_LISTED, descending=not ascending)]
    shown = [by, *(condition.code for condition in conditions), _SEVERITY, address.given("x"), address.given("y")]
    numbers = [code for code in dict.fromkeys(shown) if code in columns.NUMBERS]
    table = _listed(found, first, numbers, decisions)
    event = st.dataframe(table, hide_index=True, key=f"found {len(rows)} {by}", on_select="rerun", height=300,
                         selection_mode="multi-row", column_config=_COLUMNS, alt="The bins that match")  # fmt: skip
    more = f"The first {len(first):,} of {len(rows):,} are listed. " if len(rows) > len(first) else ""
    st.caption(f"{more}What follows applies to the selected rows, or to all bins that match where none is selected.")
    chosen = first[event["selection"]["rows"]] if event["selection"]["rows"] else rows
    _act(found, chosen, numbers, decisions)


def _listed(
    found: _Found, rows: NDArray[np.intp], numbers: Sequence[str], decisions: Mapping[str, Label]
) -> pd.DataFrame:
    """Bins as a table for people."""
    of = found.scored.rows.iloc[rows]
    labels = [decisions.get(pid) for pid in of["pid"]]
    return pd.DataFrame({
        "bin": of["pid"].to_numpy(dtype=object),
        "start (UTC)": of["start_time"].to_numpy(),
        "verdict": [verdict_name(code) for code in of["verdict"]],
        **{columns.name(code): found.values(code)[rows] for code in numbers},
        "suspected cause": [cause_name(code) for code in of["cause"]],
        "decision": ["" if label is None else decision_name(label.decision) for label in labels],
        "tags": ["" if label is None else ", ".join(map(tag_name, label.tags)) for label in labels],
    })  # fmt: skip


_COLUMNS: Mapping[str, Any] = {
    "bin": st.column_config.TextColumn(width=210),
    "start (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", timezone="UTC"),
    columns.name(_SEVERITY): st.column_config.NumberColumn(format="%.0f"),
} | {columns.name(code): st.column_config.NumberColumn(format="%.4g") for code in columns.NUMBERS if code != _SEVERITY}


def _act(found: _Found, chosen: NDArray[np.intp], numbers: Sequence[str], decisions: Mapping[str, Label]) -> None:
    pids = found.scored.rows["pid"].iloc[chosen]
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.subheader(f"{count(len(chosen), 'bin')}", anchor=False, width="content")
        st.download_button("Export as CSV", lambda: csv_of(_listed(found, chosen, numbers, decisions)), "bins.csv",
                           "text/csv", icon=":material/download:", on_click="ignore")  # fmt: skip
        if len(chosen) == 1 and st.button("Open the bin", icon=BIN.icon):
            go_to(BIN, bin=str(pids.iloc[0]))
    if len(chosen) > _MAX_DECIDED:
        st.caption(f"At most {_MAX_DECIDED:,} bins can be marked at once: narrow the selection.")
        return
    bulk_panel(label_store(found.stores), Target(tuple(pids), "These bins"))


def _decisions(stores: Stores) -> Mapping[str, Label]:
    try:
        return data.read_decisions(stores)
    except FlowError as error:
        st.warning(sentence(str(error)))
        return {}


def _open_the_clicked_bin() -> None:
    pid = st.session_state.pop("clicked", None)
    if pid is not None:
        go_to(BIN, bin=pid)


_page()
