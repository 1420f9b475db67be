"""A store of half a million scored bins over twenty years, as the pipeline would have written it: what the review
app is measured on. Seeded; the values are drawn, not computed from bins.
"""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.days import inventory_row
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.overview import renew_overviews
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS

INSTRUMENTS = ("IFCB101", "IFCB102", "IFCB103")
#: The last day: yesterday, so that the overview has active instruments.
LAST_DAY = datetime.now(tz=UTC).date() - timedelta(days=1)

_SEED = 20260301
_MODELS = 8
_EPISODES_PER_YEAR = 25
_CAUSES = ("air", "clog", "stain", "laser", "sheath_flow", "focus", "electronics")
_FIRST_OF_PIDS = datetime(1970, 1, 1, tzinfo=UTC)
_THREADS = 4


@dataclass(frozen=True, slots=True)
class StoreSize:
    """How large the store is; ``days_with_clouds`` are the last ones."""

    n_bins: int = 500_000
    n_days: int = 7_300
    days_with_clouds: int = 4


def write_scored_store(home: Path, size: StoreSize = StoreSize()) -> None:
    """Write ``bin_scores`` and ``bin_features`` of all days, their overviews, and inventory and clouds of the last."""
    tables = DailyTables(home / "tables")
    rows, starts = _scores(size)
    features = _features(rows)

    def write(number: int) -> None:
        day = LAST_DAY - timedelta(days=size.n_days - 1 - number)
        part = rows.slice(starts[number], starts[number + 1] - starts[number])
        tables.write(BIN_SCORES, day, part, Provenance("generated"))
        tables.write(BIN_FEATURES, day, features.slice(starts[number], len(part)), Provenance("generated"))

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(write, range(size.n_days)))
    renew_overviews(tables)
    for number in range(size.n_days - size.days_with_clouds, size.n_days):
        part = rows.slice(starts[number], starts[number + 1] - starts[number])
        _write_clouds(home, tables, LAST_DAY - timedelta(days=size.n_days - 1 - number), part)


def _scores(size: StoreSize) -> tuple[pa.Table, list[int]]:
    """The rows of ``bin_scores`` in order of day, and the row at which each day begins (and the last ends)."""
    rng = np.random.default_rng(_SEED)
    n, k = size.n_bins, len(INSTRUMENTS)
    instrument = np.arange(n) % k
    step = size.n_days * 86_400 / n
    first = (LAST_DAY - timedelta(days=size.n_days - 1) - _FIRST_OF_PIDS.date()).days * 86_400
    second = (first + np.arange(n) * step).astype(np.int64)
    cause = _episodes(rng, n, size.n_days)
    bad = cause >= 0
    rare = rng.random(n)
    severity = np.where(bad, rng.uniform(52, 100, n), np.minimum(-25 * np.log10(np.maximum(rare, 1e-4)), 49))
    unreadable = rng.random(n) < 0.002
    severity[unreadable] = 100
    verdict = np.select([unreadable, bad, severity >= 35], [3, 2, 1], 0)
    model = (np.arange(n) * _MODELS) // n
    cause_codes = np.where(unreadable, 0, np.where(bad, cause + 1, np.where(verdict == 1, len(_CAUSES) + 1, 0)))
    columns = {
        "pid": _pids(second, instrument),
        "instrument": _words(instrument, INSTRUMENTS),
        "start_time": pa.array(second * 1_000_000, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "severity": pa.array(severity),
        "verdict": _words(verdict, ("ok", "watch", "bad", "unreadable")),
        "cause": _words(cause_codes, ("", *_CAUSES, "unknown")),
        "second_cause": _words(np.zeros(n, int), ("",)),
        "reasons": _words(bad, ("", "stray images: 41 % (normal 0.5 to 4 %)")),
        "findings": _words(bad, ("[]", json.dumps([_FINDING]))),
        "rules": _words(np.zeros(n, int), ("",)),
        "anomaly_score": pa.array(np.where(unreadable, np.nan, -0.38 - severity / 300 + rng.normal(0, 0.01, n))),
        "percentile": pa.array(np.where(unreadable, np.nan, 100 * (1 - rare))),
        "threshold": pa.array(np.full(n, 50.0)),
        "configuration": _words(np.zeros(n, int), ("5c1d",)),
        "config_changed": pa.array(np.zeros(n, bool)),
        "baseline_bins": pa.array(np.where(unreadable, 0, 300)),
        "baseline_days": pa.array(np.where(unreadable, np.nan, 21.0)),
        "affected_fraction": pa.array(np.where(bad, 0.4, np.where(verdict == 0, 0.0, np.nan))),
        "model_id": _words(model, tuple(f"flow-{2006 + 2 * number}0101T000000Z" for number in range(_MODELS))),
        "source": _words(np.zeros(n, int), ("flow",)),
        "image_severity": pa.array(np.full(n, np.nan)),
        "image_verdict": _words(np.zeros(n, int), ("not_judged",)),
        "status": _words(unreadable, ("ok", "unreadable")),
        "reason": _words(unreadable, ("", "line 3 has 17 cells")),
    }
    columns |= {"flow_severity": columns["severity"], "flow_verdict": columns["verdict"]}
    starts = np.searchsorted(second, first + 86_400 * np.arange(size.n_days + 1))
    return pa.table({column.name: columns[column.name] for column in BIN_SCORES.columns}), starts.tolist()


def _features(scores: pa.Table) -> pa.Table:
    """Rows of ``bin_features`` of the same bins: temperature, humidity and positions drawn, all else as of one bin."""
    rng = np.random.default_rng(_SEED)
    n = scores.num_rows
    drawn = {
        "temperature_c": pa.array(rng.normal(22, 3, n)),
        "humidity_pct": pa.array(np.clip(rng.normal(40, 8, n), 0, 100)),
        "core_x_px": pa.array(rng.normal(900, 20, n)),
        "stray_fraction": pa.array(rng.beta(2, 60, n)),
        "sample_type": _words(rng.random(n) < 0.01, ("normal", "beads")),
        "settings": _words(np.arange(n) * _MODELS // n, tuple(f'{{"flash_delay": {70 + i}}}' for i in range(_MODELS))),
    }
    shared = ("pid", "instrument", "start_time", "status", "reason")
    columns = {name: scores[name] for name in shared} | drawn
    return pa.table(
        [columns.get(field.name, _constant(field.type, n)) for field in BIN_FEATURES.schema], BIN_FEATURES.schema
    )


def _constant(kind: pa.DataType, n: int) -> pa.Array:
    value = "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 1
    return pa.repeat(pa.scalar(value, kind), n)


_FINDING: Mapping[str, object] = {
    "feature": "stray_fraction",
    "value": 0.41,
    "low": 0.005,
    "high": 0.04,
    "unit": "",
    "share": 0.8,
    "cause": "air",
    "text": "stray images: 41 % (normal 0.5 to 4 %)",
    "check": "look for bubbles in the flow cell; debubble",
}


def _episodes(rng: np.random.Generator, n: int, n_days: int) -> np.ndarray:
    """The cause of each bin, -1 where it is healthy: an episode is a run of bins of one instrument."""
    cause = np.full(n, -1)
    k = len(INSTRUMENTS)
    n_episodes = max(2, _EPISODES_PER_YEAR * n_days // 365)
    for _ in range(n_episodes):
        at, length, code = rng.integers(0, (n, 60, len(_CAUSES)))
        cause[at : at + k * (1 + length) : k] = code
    cause[n - 12 * k :: k] = 0  # one that is still running
    return cause


def _pids(second: np.ndarray, instrument: np.ndarray) -> pa.Array:
    text = np.datetime_as_string(second.astype("datetime64[s]"), unit="s")
    text = np.char.replace(np.char.replace(text, "-", ""), ":", "")
    names = np.array(INSTRUMENTS)[instrument]
    return pa.array(np.char.add(np.char.add("D", text), np.char.add("_", names)))


def _words(codes: np.ndarray, words: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(words)).cast(pa.string())


def _write_clouds(home: Path, tables: DailyTables, day: date, scores: pa.Table) -> None:
    """Bins of the archive, inventory and clouds of a day: some of the first dozen for all of them."""
    archive = Archive(home / "archive", settle=timedelta())
    folder = archive.root / f"D{day:%Y%m%d}"
    for pid in scores["pid"].to_pylist():
        write_bin(simulate_bin(pid, mean_triggers=5_000), folder)
    listing = archive.scan(day, day)
    now = archive.now()
    inventory = pa.Table.from_pylist([inventory_row(raw, archive, now) for raw in listing.bins], RAW_BINS.schema)
    tables.write(RAW_BINS, day, inventory, Provenance("generated"))
    reads = [archive.read_bin(row["pid"], row["adc_path"], row["hdr_path"]) for row in inventory.to_pylist()]
    CloudTables(tables).write(day, reads, Provenance("generated"))
