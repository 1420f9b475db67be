"""Clouds of synthetic bins as the pipeline stores them, and the identifiers of bins: what the app's tests look at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, Adc
from ifcb_flow_pipeline.bins.pid import format_pid, parse_pid
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance

FIRST_DAY = date(2026, 3, 1)
N_POINTS, N_WITHOUT_IMAGE, SIDE_PX = 300, 25, 80


@dataclass(frozen=True, slots=True)
class StoredBin:
    """A bin of the store; ``score`` seeds its cloud."""

    pid: str
    score: float
    status: str = "ok"
    reason: str = ""


def pid_at(instrument: str, day: int, hour: int) -> str:
    """The pid of an instrument's bin ``day`` days after the first, at this hour."""
    start = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(days=day, hours=hour)
    return format_pid(instrument, start)


def write_clouds(home: Path, bins: Iterable[StoredBin]) -> None:
    """Write a cloud for each bin that is ok, an entry without points for the others."""
    days: dict[date, list[StoredBin]] = {}
    for one in bins:
        days.setdefault(parse_pid(one.pid).day, []).append(one)
    for day, of_day in days.items():
        reads = [_read(one) if one.status == "ok" else CloudEntry(one.pid, one.status, one.reason) for one in of_day]
        CloudTables(DailyTables(home / "tables")).write(day, reads, Provenance("signature"))


def write_images(archive: Path, pid: str) -> None:
    """Write the .roi file of a bin of the store: discs of many sizes on a noisy ground, the last but one a bubble."""
    rng = np.random.default_rng(5)
    down, across = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2 + 0.5
    distance = np.hypot(down, across)
    images = []
    for number in range(N_POINTS - N_WITHOUT_IMAGE):
        grey = 190 + rng.normal(0, 1.5, distance.shape)
        grey[distance < 6 + number % 25] -= 70
        if number == N_POINTS - N_WITHOUT_IMAGE - 2:
            grey = 190 - 150 * np.exp(-(((distance - 26) / 5) ** 2)) + rng.normal(0, 1.5, distance.shape)
        images.append(np.clip(np.rint(grey), 0, 255).astype(np.uint8).tobytes())
    archive.mkdir(parents=True, exist_ok=True)
    (archive / f"{pid}.roi").write_bytes(b"".join(images))


def _read(one: StoredBin) -> BinRead:
    """Triggers four a second, the first of them without image."""
    rng = np.random.default_rng(abs(hash(one.score)) % 2**32)
    columns = {column.name: np.zeros(N_POINTS, dtype=column.dtype) for column in ADC_COLUMNS}
    columns["trigger"] = np.arange(1, N_POINTS + 1, dtype=np.int32)
    columns["t_s"] = (np.arange(1, N_POINTS + 1) / 4).astype(columns["t_s"].dtype)
    columns["x_px"] = rng.normal(900, 30, N_POINTS).astype(np.int16)
    columns["y_px"] = rng.uniform(50, 950, N_POINTS).astype(np.int16)
    for name in ("width_px", "height_px"):
        columns[name][N_WITHOUT_IMAGE:] = SIDE_PX
    for name in ("x_px", "y_px"):
        columns[name][:N_WITHOUT_IMAGE] = 0
    columns["start_byte"][N_WITHOUT_IMAGE:] = np.arange(N_POINTS - N_WITHOUT_IMAGE) * SIDE_PX**2
    header = {"software": "2.3.0.0", "temperature_c": 21.3456, "humidity_pct": 40.0, "run_time_s": 1198.62,
              "sample_type": "normal", "run_fast": False}  # fmt: skip
    return BinRead(one.pid, Adc("v2", columns), "ok", one.reason, header)
