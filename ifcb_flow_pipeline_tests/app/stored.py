"""A small store as the pipeline writes it, from synthetic values: what the app's tests look at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, Adc
from ifcb_flow_pipeline.bins.pid import format_pid, parse_pid
from ifcb_flow_pipeline.detection.model import ForestSettings, ModelCard
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS, Table

FIRST_DAY = date(2026, 3, 1)
INSTRUMENTS = ("IFCB101", "IFCB102")
THRESHOLD = -0.6
MODEL_ID = "iforest-20260303T000000Z-0123abcd"
#: Text as a hostile file name could bring it into a reason.
UNREADABLE_REASON = "line 3 has '<b>x</b> [a](http://b) $1$ :red[z]' for x_px"
N_POINTS, N_WITHOUT_IMAGE = 300, 25


@dataclass(frozen=True, slots=True)
class StoredBin:
    """A bin of the store: without score where it is not ok."""

    pid: str
    score: float
    status: str = "ok"
    reason: str = ""

    @property
    def verdict(self) -> str:
        if np.isnan(self.score):
            return "unscored"
        return "anomaly" if self.score < THRESHOLD else "ok"

    def row(self, table: Table) -> dict[str, Any]:
        bin_id = parse_pid(self.pid)
        scored = not np.isnan(self.score)
        values = {
            "pid": self.pid,
            "instrument": bin_id.instrument,
            "start_time": bin_id.start_time,
            "anomaly_score": self.score,
            "percentile": 100 * -self.score,
            "is_anomaly": self.score < THRESHOLD if scored else None,
            "verdict": self.verdict,
            "threshold": THRESHOLD,
            "model_id": MODEL_ID,
            "status": self.status,
            "reason": self.reason,
        }
        return {column.name: values.get(column.name) for column in table.columns}


def pid_at(instrument: str, day: int, hour: int) -> str:
    """The pid of an instrument's bin ``day`` days after the first, at this hour."""
    start = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(days=day, hours=hour)
    return format_pid(instrument, start)


WORST = pid_at("IFCB102", 1, 12)
SECOND_WORST = pid_at("IFCB101", 2, 6)
UNREADABLE = pid_at("IFCB101", 0, 18)
EMPTY = pid_at("IFCB102", 2, 18)


def bins_of_days(n_days: int) -> list[StoredBin]:
    """Four bins a day of both instruments, from the first day on: two anomalies, one unreadable, one empty."""
    special = {
        WORST: StoredBin(WORST, -0.8),
        SECOND_WORST: StoredBin(SECOND_WORST, -0.7, reason="2 of 302 ADC lines unusable"),
        UNREADABLE: StoredBin(UNREADABLE, np.nan, "unreadable", UNREADABLE_REASON),
        EMPTY: StoredBin(EMPTY, np.nan, "empty", "the .adc file has no lines"),
    }
    pids = [pid_at(name, day, hour) for day in range(n_days) for name in INSTRUMENTS for hour in (0, 6, 12, 18)]
    return [special.get(pid) or StoredBin(pid, -0.4 - 0.0001 * number) for number, pid in enumerate(pids)]


def write_store(home: Path, bins: Sequence[StoredBin]) -> Path:
    """Write inventory, clouds, features, scores and a model in use."""
    write_tables(home, bins, (RAW_BINS, BIN_FEATURES, BIN_SCORES))
    write_clouds(home, bins)
    write_model(home, MODEL_ID)
    return home


def write_tables(home: Path, bins: Iterable[StoredBin], tables: Iterable[Table]) -> None:
    """Write the rows of these bins into the daily tables."""
    for day, of_day in _by_day(bins).items():
        for table in tables:
            rows = pa.Table.from_pylist([one.row(table) for one in of_day], schema=table.schema)
            DailyTables(home / "tables").write(table, day, rows, Provenance("signature"))


def write_clouds(home: Path, bins: Iterable[StoredBin]) -> None:
    """Write a cloud for each bin that is ok, an entry without points for the others."""
    for day, of_day in _by_day(bins).items():
        reads = [_read(one) if one.status == "ok" else CloudEntry(one.pid, one.status, one.reason) for one in of_day]
        CloudTables(DailyTables(home / "tables")).write(day, reads, Provenance("signature"))


def write_model(home: Path, model_id: str) -> None:
    """Write a model's card, created now, and put it to use."""
    card = ModelCard(
        model_id=model_id,
        created=datetime.now(tz=UTC).isoformat(),
        feature_names=("mean_x",),
        feature_settings=FeatureSettings(),
        forest_settings=ForestSettings(),
        threshold=THRESHOLD,
        n_bins=1234,
        n_bins_by_instrument={"IFCB101": 1234},
        first_day="2026-02-01",
        last_day="2026-02-28",
        excluded={},
        training_pids_sha256="0" * 64,
        score_quantiles={},
        versions={},
    )
    folder = home / "models" / model_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(card.to_json())
    ModelStore(home / "models").promote(model_id, "tests")


def _by_day(bins: Iterable[StoredBin]) -> dict[date, list[StoredBin]]:
    days: dict[date, list[StoredBin]] = {}
    for one in bins:
        days.setdefault(parse_pid(one.pid).day, []).append(one)
    return days


def _read(one: StoredBin) -> BinRead:
    rng = np.random.default_rng(abs(hash(one.score)) % 2**32)
    columns = {column.name: np.zeros(N_POINTS, dtype=column.dtype) for column in ADC_COLUMNS}
    columns["trigger"] = np.arange(1, N_POINTS + 1, dtype=np.int32)
    columns["x_px"] = rng.normal(900, 30, N_POINTS).astype(np.int16)
    columns["y_px"] = rng.uniform(50, 950, N_POINTS).astype(np.int16)
    for name in ("width_px", "height_px"):
        columns[name][N_WITHOUT_IMAGE:] = 80
    for name in ("x_px", "y_px"):
        columns[name][:N_WITHOUT_IMAGE] = 0
    header = {"software": "2.3.0.0", "temperature_c": 21.3456, "humidity_pct": 40.0, "run_time_s": 1198.62,
              "sample_type": "normal", "run_fast": False}  # fmt: skip
    return BinRead(one.pid, Adc("v2", columns), "ok", one.reason, header)
