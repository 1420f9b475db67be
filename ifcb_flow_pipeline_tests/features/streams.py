"""Streams for the tests: bins as instruments see them, and bins as only a damaged file states them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.hdr import parse_hdr
from ifcb_flow_pipeline.bins.pid import Schema, format_pid, parse_pid
from ifcb_flow_pipeline.features.catalogue import FULL_ONLY
from ifcb_flow_pipeline.features.full import STUCK_COLUMNS, full_features
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS, Stream
from ifcb_flow_pipeline.simulate import files_of, simulate_bin

TYPES = {
    "trigger": np.int32, "t_s": np.float64, "x_px": np.int16, "y_px": np.int16, "width_px": np.int16,
    "height_px": np.int16, "peak_b": np.float32, "time_of_flight_us": np.float32, "run_time_s": np.float64,
    "inhibit_time_s": np.float64,
}  # fmt: skip

#: What is computed for a bin.
COMPUTED = (*(feature.name for feature in FULL_ONLY), *STUCK_COLUMNS)

HEADER = {"run_time_s": 1200.0, "sample_volume_ml": 5.0, "skip_volume_ml": 0.0, "blob_grow_y_px": 1}


def stream_of(
    *, schema: Schema = "v2", header: Mapping[str, Any] | None = None, bad_lines: int = 0, **columns: Any
) -> Stream:
    """A stream of the given columns, of the types that files are read in; the others are those of a steady run."""
    n = len(next(iter(columns.values()))) if columns else 0
    t = (np.arange(n) + 0.5) * 1200 / max(n, 1)
    usual = {
        "trigger": np.arange(1, n + 1), "t_s": t, "x_px": np.full(n, 940), "y_px": 135 + 8 * (np.arange(n) * 37 % 95),
        "width_px": np.full(n, 80), "height_px": np.full(n, 42), "peak_b": np.where(np.arange(n) == 1, 0.25, 0.2),
        "time_of_flight_us": np.where(np.arange(n) == 1, 60.9, 58.7), "run_time_s": t + 0.045,
        "inhibit_time_s": 0.083 * np.arange(1, n + 1),
    }  # fmt: skip
    columns = {name: np.asarray(columns.get(name, usual[name])).astype(TYPES[name]) for name in STREAM_COLUMNS}
    return Stream(columns, schema, HEADER if header is None else header, FRAME_PX[schema], bad_lines)


def simulated(
    n: float, fault: str | None = None, severity: float = 0.5, *, number: int = 0, instrument: str = "IFCB134"
) -> Stream:
    """The simulated bin of that number, with about n triggers, as it is read from its files."""
    start = datetime(2023, 8, 1, tzinfo=UTC) + timedelta(minutes=25 * number)
    pid = format_pid(instrument, start, "v1" if instrument == "IFCB1" else "v2")
    files = files_of(simulate_bin(pid, fault=fault, severity=severity, mean_triggers=n))
    schema = parse_pid(pid).schema
    adc = parse_adc(files.adc, schema, STREAM_COLUMNS)
    header = parse_hdr(files.hdr).to_dict() if files.hdr else {}
    return Stream(adc.columns, schema, header, FRAME_PX[schema], adc.bad_lines)


def with_columns(stream: Stream, **columns: Any) -> Stream:
    """The stream with other columns in place of its own."""
    changed = {name: np.asarray(values).astype(TYPES[name]) for name, values in columns.items()}
    return Stream({**stream.columns, **changed}, stream.schema, stream.header, stream.frame_px, stream.bad_lines)


def rows_of(stream: Stream, rows: Any) -> Stream:
    """The stream with these rows only, in this order."""
    columns = {name: values[rows] for name, values in stream.columns.items()}
    return Stream(columns, stream.schema, stream.header, stream.frame_px, stream.bad_lines)


def feature(stream: Stream, name: str) -> float:
    return full_features(stream)[name]


headers = st.sampled_from(
    [
        {},
        HEADER,
        {"software": "Imaging FlowCytobot Acquisition Software version 2.0, build 427", "blob_grow_y_px": 20},
        {"run_time_s": 0.0, "run_fast": True, "run_fast_factor": 0.0, "sample_volume_ml": 5.0},
        {"run_time_s": 300.0, "inhibit_time_s": 30.0, "roi_count": 7, "run_fast": True, "run_fast_factor": 4.0},
    ]
)


#: Shares of rows that belong to the trigger of the row before, to the next one, and to that after it.
_TRIGGERS = [(0.1, 0.9, 0), (0.3, 0.5, 0.2)]

#: What an instrument measures, or does not.
MEASURED = ("peak_b", "time_of_flight_us", "run_time_s", "inhibit_time_s", "t_s")


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Any bin: few or many rows, few or many values, a stripe or chaos, in order or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.one_of(st.integers(0, 40), st.integers(30, 400)))
    kind = draw(st.sampled_from(["stripe", "chaos", "ties", "extreme", "equal", "free"]))
    schema = draw(st.sampled_from(["v2", "v2", "v1"]))
    columns = _boxes(rng, n, kind)
    blank = rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    first, last = draw(st.sampled_from([(0, 0), (0.2, 0.5), (0.9, 1), (0, 1)]))
    blank[int(first * n) : int(last * n)] = True
    for name in ("width_px", "height_px"):
        columns[name] = np.where(blank, 0, columns[name])
    columns["trigger"] = np.cumsum(rng.choice([0, 1, 2], n, p=draw(st.sampled_from(_TRIGGERS))))
    columns |= _times(rng, n, draw(st.sampled_from(["steady", "midnight", "shuffled", "still"])))
    columns["peak_b"] = np.full(n, np.nan) if schema == "v1" else rng.lognormal(-1.7, 1, n) * (rng.random(n) > 0.1)
    columns["time_of_flight_us"] = rng.choice([-999.0, 8.7, 58.695, 60.9, 9.3e9, *rng.uniform(40, 80, 5)], n)
    if schema == "v1":
        columns |= dict.fromkeys(("time_of_flight_us", "run_time_s", "inhibit_time_s"), np.full(n, np.nan))
    for name in draw(st.sets(st.sampled_from(MEASURED), max_size=2)):
        columns[name] = np.full(n, draw(st.sampled_from([0.0, -999.0, 0.2, np.nan])))
    for name in draw(st.sets(st.sampled_from(("peak_b", "time_of_flight_us", "run_time_s", "inhibit_time_s")))):
        columns[name] = np.where(rng.random(n) < 0.05, draw(st.sampled_from([np.nan, 3e38])), columns[name])
    return stream_of(schema=schema, header=draw(headers), bad_lines=draw(st.sampled_from([0, 3])), **columns)


def _boxes(rng: np.random.Generator, n: int, kind: str) -> dict[str, np.ndarray]:
    if kind == "extreme":
        corners = [-(2**15), -1, 0, 1, 2**15 - 1]
        return {
            "x_px": rng.choice([*corners, *rng.integers(-(2**15), 2**15, 5)], n),
            "y_px": rng.choice([*corners, *rng.integers(-(2**15), 2**15, 5)], n),
            "width_px": rng.choice([1, 2, 500, 2**15 - 1], n),
            "height_px": rng.choice([1, 2, 500, 2**15 - 1], n),
        }
    if kind == "equal":
        return {
            "x_px": np.full(n, 500),
            "y_px": np.full(n, 300),
            "width_px": np.full(n, 64),
            "height_px": np.full(n, 34),
        }
    if kind == "ties":
        sizes = {"width_px": 56 + 8 * rng.integers(0, 2, n), "height_px": 26 + 8 * rng.integers(0, 2, n)}
        return {"x_px": 4 + 8 * rng.integers(0, 3, n), "y_px": 7 + 8 * rng.integers(0, 3, n), **sizes}
    width = 8 * rng.lognormal(2.3, 0.4, n).round().clip(7, 160)
    height = 8 * rng.lognormal(1.6, 0.4, n).round().clip(3, 60) + 2
    y = rng.uniform(100, 950, n)
    x = 990 - 0.06 * (y - 512) + rng.normal(0, 12, n)
    if kind == "chaos":
        x, y = rng.uniform(0, 1360, n), rng.uniform(0, 1024, n)
    if kind == "free":
        # Software of other makers puts boxes where it likes.
        width, height = (side + rng.integers(-4, 4, n) for side in (width, height))
        return {"x_px": (x - width / 2).round(), "y_px": y.round(), "width_px": width, "height_px": height}
    return {
        "x_px": 8 * ((x - width / 2) / 8).round() + 4, "y_px": 8 * ((y - height / 2) / 8).round() + 7,
        "width_px": width, "height_px": height,
    }  # fmt: skip


def _times(rng: np.random.Generator, n: int, kind: str) -> dict[str, np.ndarray]:
    t = np.sort(rng.uniform(0, 1200, n))
    if kind == "midnight":
        t = np.where(np.arange(n) > n // 2, t - 86400, t)
    if kind == "shuffled":
        rng.shuffle(t)
    if kind == "still":
        t = np.zeros(n)
    # Single run times are damaged, and single blind times lack a digit.
    run = t + 0.045 + 1e6 * (rng.random(n) < 0.02)
    inhibit = 0.083 * np.arange(n) / rng.choice([1, 10, 0.2], n, p=[0.94, 0.05, 0.01])
    if rng.random() < 0.2:
        # Counters that were not set back before the run.
        run, inhibit = run + 700, inhibit + 90
    return {"t_s": t, "run_time_s": run, "inhibit_time_s": inhibit}
