"""What alerts are decided on: an instrument with a bin every 20 minutes."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.detection.verdict.episodes import episodes_of
from ifcb_flow_pipeline.review.alerting import Watched
from ifcb_flow_pipeline.review.instruments import LISTED_COLUMNS, SCORED_COLUMNS, instrument_states
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS
from ifcb_flow_pipeline_tests.web.rows import scored

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(minutes=20)
VERDICT = {"b": ("bad", 80.0), "o": ("ok", 5.0), "u": ("unreadable", 100.0), "w": ("watch", 30.0)}


def watched(
    letters: str, now: datetime, causes: str = "", instrument: str = "IFCB1", start: datetime = START
) -> Watched:
    """An instrument with a bin every 20 minutes, a letter each; ``causes``: a, c for air and clog, a letter a bin."""
    named = {"a": "air", "c": "clog"}
    rows = [
        scored(format_pid(instrument, start + i * STEP), VERDICT[letter][1], VERDICT[letter][0],
               named.get(causes[i] if i < len(causes) else "a", "") if letter == "b" else "", -0.4)
        for i, letter in enumerate(letters)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, BIN_SCORES.schema).select(list(SCORED_COLUMNS))
    none = pa.Table.from_pylist([], RAW_BINS.schema).select(list(LISTED_COLUMNS))
    return Watched(instrument_states(none, table), episodes_of(table, now))
