"""Small files and tables for the tests of this folder."""

import os
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa

from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.daily import Provenance
from ifcb_flow_pipeline.store.tables import BIN_SCORES

DAY = date(2023, 8, 10)
PID = "D20230810T113059_IFCB134"
PROVENANCE = Provenance("5167a7ee", {"reader": "native"})

#: Long ago, as the archive sees it: files of this time have settled.
SETTLED = datetime(2023, 9, 1, tzinfo=UTC).timestamp()


def adc_text(n: int, first: int = 1) -> bytes:
    """The lines of a v2 .adc file: every third trigger without an image."""
    lines = []
    for i in range(first, first + n):
        image = "0,0,0,0" if i % 3 == 0 else f"{10 * i},{5 * i},40,30"
        signals = f"0.0{i % 10},0.02,0.03,0.04,0.05,0.06,0.07,0.08,12.5"
        lines.append(f"{i},{i / 8},{signals},{i / 8},{i / 8 + 0.01},{image},{i * 1200},0,0,0,0,{i / 4},{i / 16}")
    return "".join(f"{line}\n" for line in lines).encode()


def put(path: Path, content: bytes = b"", mtime: float = SETTLED) -> Path:
    """Write a file and the folders above it, last written at ``mtime``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (mtime, mtime))
    return path


def put_bin(folder: Path, pid: str = PID, adc: bytes | None = None, extensions: str = "adc hdr roi") -> None:
    """Write the files of a bin."""
    contents = {"adc": adc_text(4) if adc is None else adc, "hdr": b"temperature: 21.5\n", "roi": b"\x07"}
    for extension in extensions.split():
        put(folder / f"{pid}.{extension}", contents[extension])


def read_of(pid: str = PID, adc: bytes | None = None, status: str = "ok", reason: str = "") -> BinRead:
    """A bin as the archive reads it."""
    schema = "v1" if pid.startswith("IFCB") else "v2"
    parsed = parse_adc(adc_text(4) if adc is None else adc, schema)
    return BinRead(pid, parsed, status, reason, {"temperature_c": 21.5, "sample_type": "beads", "count": 3, "on": True})


def score_rows(*scores: float, pid: str = PID) -> pa.Table:
    """Rows of ``bin_scores``, all of them of one bin, with these scores."""
    rows = [
        {
            "pid": pid,
            "instrument": "IFCB134",
            "start_time": datetime(2023, 8, 10, 11, 30, 59, tzinfo=UTC),
            "anomaly_score": score,
            "percentile": 50.0,
            "is_anomaly": None,
            "verdict": "ok",
            "threshold": -0.6,
            "model_id": "model",
            "status": "ok",
            "reason": "",
        }
        for score in scores
    ]
    return pa.Table.from_pylist(rows, schema=BIN_SCORES.schema.remove_metadata())
