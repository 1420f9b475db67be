"""What grows with instruments and years, on simulated listings and tables: ``python -m benchmarks.scaling``.

Measured: listing and comparing the days of up to 100 instruments; what `ifcb-flow api` and alerts read each time; the
columns of all scored bins that the review app holds. CPU seconds, as others may use the machine.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.archive import FoundFile, list_bins, signatures
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.defs.planning import DayState, plan
from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of
from ifcb_flow_pipeline.review.alerting import Rules, Watched, decide
from ifcb_flow_pipeline.review.instruments import LISTED_COLUMNS, SCORED_COLUMNS, instrument_states
from ifcb_flow_pipeline.store.alert_log import AlertLog
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.overview import OVERVIEW_SCHEMA, ScoreOverview, days_of_year
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS

_BINS_A_DAY = 72
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SETTLE = timedelta(seconds=120)


@click.command()
@click.option("--rows", type=int, default=10_000_000, show_default=True, help="Rows of the score table.")
@click.option("--days", type=int, default=30, show_default=True, help="Days that are listed, of the year.")
def main(rows: int, days: int) -> None:
    """Measure and print."""
    for n_instruments in (1, 10, 100):
        _listing(n_instruments, days)
    for n_instruments in (1, 10, 100):
        _month(n_instruments)
    for part in sorted({rows // 10, rows}):
        _all_scores(part)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the CPU seconds of this process that it took."""
    started = time.process_time()
    found = call()
    return found, time.process_time() - started


def _listing(n_instruments: int, n_days: int) -> None:
    """The files of days, as a walk finds them, to bins and signatures; and what a sensor decides about a year."""
    files, made = timed(
        lambda: [file for n in range(n_days) for file in _files(_NOW - timedelta(days=n + 1), n_instruments)]
    )
    listing, listed = timed(lambda: list_bins(iter(files)))
    signed_days, signed = timed(lambda: {day: signatures(listing.of_day(day), _NOW, _SETTLE) for day in listing.days})
    a_year = 365 / n_days
    states = {
        _NOW.date() - timedelta(days=n): DayState(f"{n}", f"{n}", f"{n}", f"{n}", f"{n}") for n in range(365 * 20)
    }
    _, planned = timed(lambda: plan(states, with_scores=True))
    print(f"{n_instruments:3} instruments: {len(listing.bins) * a_year:10,.0f} bins a year; listing a year "
          f"{listed * a_year:6.1f} CPU s, signatures {signed * a_year:5.1f}, plan of 20 years {planned:.3f} "
          f"({len(signed_days)} days measured, {made:.1f} s to simulate)")  # fmt: skip


def _files(day: datetime, n_instruments: int) -> Iterator[FoundFile]:
    changed = int(day.timestamp()) * 1_000_000_000
    for number in range(n_instruments):
        for each in range(_BINS_A_DAY):
            pid = format_pid(f"IFCB{100 + number}", day + timedelta(minutes=20 * each))
            for extension, size in (("adc", 200_000), ("hdr", 3_000), ("roi", 5_000_000)):
                yield FoundFile(f"D{day:%Y}/D{day:%Y%m%d}", f"{pid}.{extension}", size, changed)


def _scores(n_instruments: int, n_days: int) -> pa.Table:
    """Scored bins, ten days a fault of six bins each instrument."""
    n = n_days * _BINS_A_DAY
    starts = np.tile(np.arange(n) * 20 * 60 * 1_000_000, n_instruments)
    first = int((_NOW - timedelta(days=n_days)).timestamp()) * 1_000_000
    names = np.repeat([f"IFCB{100 + number}" for number in range(n_instruments)], n)
    bad = (np.arange(n * n_instruments) % (10 * _BINS_A_DAY)) < 6
    schema = BIN_SCORES.schema.remove_metadata()
    columns = {
        "pid": pa.array([f"{name}_{i}" for i, name in enumerate(names)]),
        "instrument": pa.array(names),
        "start_time": pa.array(starts + first).cast(schema.field("start_time").type),
        "severity": pa.array(np.where(bad, 90.0, 5.0)).cast(schema.field("severity").type),
        "verdict": pa.array(np.where(bad, "bad", "ok")),
        "cause": pa.array(np.where(bad, "air", "")),
        "model_id": pa.array(["m"] * len(names)),
    }
    return pa.table({name: columns[name] for name in SCORED_COLUMNS})


def _month(n_instruments: int) -> None:
    scores = _scores(n_instruments, 31)
    none = pa.Table.from_pylist([], RAW_BINS.schema).select(list(LISTED_COLUMNS))
    watched, read = timed(lambda: Watched(instrument_states(none, scores), episodes_of(scores, _NOW)))
    decided, took = timed(lambda: decide(watched, AlertLog(), Rules(), _NOW))
    print(f"{n_instruments:3} instruments: last month {scores.num_rows:9,} bins; states, episodes {read:6.3f} CPU s, "
          f"alerts {took:.3f} ({len(decided.messages)} messages)")  # fmt: skip


def _all_scores(n_rows: int) -> None:
    """All scored bins of 20 years: written as files of years, read in the columns that the review app holds."""
    with tempfile.TemporaryDirectory() as name:
        overview = ScoreOverview(DailyTables(Path(name)))
        years = range(2006, 2026)
        written = 0.0
        for year in years:
            _, took = timed(lambda year=year: _write_year(overview, year, n_rows // len(years)))
            written += took
        size = sum(path.stat().st_size for path in Path(name).rglob("*.parquet"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        columns = ["pid", "instrument", "start_time", "severity", "verdict", "cause"]
        parts, read = timed(lambda: [overview.read(year, columns).rows for year in years])
        table = pa.concat_tables(parts).unify_dictionaries()
        held = table.nbytes
        episodes, found = timed(lambda: episodes_of(table, _NOW))
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        print(f"{n_rows:11,} scored bins: {size / 1e6:7.0f} MB on disk, read {read:5.1f} CPU s, {held / 1e9:.2f} GB, "
              f"{len(episodes):,} episodes {found:5.1f} CPU s, peak {peak:.1f} GB more; all years written in "
              f"{written:5.1f}")  # fmt: skip


def _write_year(overview: ScoreOverview, year: int, n_rows: int) -> None:
    first = date(year, 1, 1)
    for number in range(365):
        path = overview.tables.path(BIN_SCORES, first + timedelta(days=number))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # a day's file that is as it was is not opened
    chance = np.random.default_rng(year)
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    times = start + np.sort(chance.integers(0, 365 * 86_400, n_rows)) * 1_000_000
    names = np.array([f"IFCB{100 + number}" for number in range(20)])
    bad = chance.random(n_rows) < 0.02
    columns = {
        "pid": pa.array([f"D{year}{number:010}_IFCB100" for number in range(n_rows)]),
        "instrument": pa.array(names[chance.integers(0, 20, n_rows)]),
        "start_time": pa.array(times),
        "severity": pa.array(np.where(bad, 90.0, 5.0)),
        "verdict": pa.array(np.where(bad, "bad", "ok")),
        "cause": pa.array(np.where(bad, "air", "")),
    }
    empty = {field.name: pa.nulls(n_rows, field.type) for field in OVERVIEW_SCHEMA if field.name not in columns}
    rows = pa.table([
        columns[field.name].cast(field.type.value_type).dictionary_encode().cast(field.type)
        if field.name in columns and pa.types.is_dictionary(field.type)
        else columns[field.name].cast(field.type) if field.name in columns else empty[field.name]
        for field in OVERVIEW_SCHEMA
    ], schema=OVERVIEW_SCHEMA)  # fmt: skip
    overview._write(year, rows, days_of_year(overview.tables, BIN_SCORES, year))


if __name__ == "__main__":
    main()
