"""A small store with a planted episode, single bad bins and one that cannot be read, for the pages that decide."""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from streamlit.testing.v1 import AppTest

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.detection.model_card import ForestSettings
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet, train_model
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS, Table
from ifcb_flow_pipeline_tests.app.stored import StoredBin, pid_at, write_clouds, write_images

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"

#: Bins every 6 h, one a letter: ok, watch, bad, very Bad, unreadable, not judged.
LETTERS = {"o": ("ok", 5.0), "w": ("watch", 40.0), "b": ("bad", 70.0), "B": ("bad", 95.0), "u": ("unreadable", 100.0),
           "n": ("not_judged", math.nan)}  # fmt: skip
PLAN: Mapping[str, str] = {"IFCB101": "ooobBbooooowoouooooo", "IFCB102": "oooooooooooboooooooo"}
N_BINS = sum(map(len, PLAN.values()))


def pid_of(instrument: str, number: int) -> str:
    """The pid of an instrument's bin, counted from 0."""
    return pid_at(instrument, number // 4, 6 * (number % 4))


#: The bins of the episode, its worst, the single bad bin, and the others of note.
EPISODE = [pid_of("IFCB101", number) for number in (3, 4, 5)]
WORST, SINGLE = EPISODE[1], pid_of("IFCB102", 11)
WATCH, UNREADABLE = pid_of("IFCB101", 11), pid_of("IFCB101", 14)

#: Text as a hostile file could bring it into a reason.
HOSTILE = "=cmd() <b>x</b> [a](http://b) :red[z]"

FINDINGS = (
    '[{"feature": "stray_fraction", "value": 0.6, "low": 0.01, "high": 0.05, "unit": "fraction", "share": 1.0, '
    '"cause": "air", "text": "Images off the core", "check": "debubble"}]'
)


def write_review_store(home: Path, plan: Mapping[str, str] | None = None) -> Path:
    """Inventory, clouds, features, scores and two models, the first of them in use; the worst bin has images."""
    by_day: dict[date, list[dict[str, Any]]] = {}
    models = [_model(seed) for seed in (1, 2)]
    for instrument, letters in (plan or PLAN).items():
        for number, letter in enumerate(letters):
            row = _row(pid_of(instrument, number), letter, number, models[0].card.model_id)
            by_day.setdefault(row["start_time"].date(), []).append(row)
    tables = DailyTables(home / "tables")
    for day, rows in by_day.items():
        for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES):
            tables.write(table, day, _table(table, rows), Provenance("signature"))
    every = [row for rows in by_day.values() for row in rows]
    write_images(home / "archive", WORST)
    write_clouds(home, [StoredBin(row["pid"], -0.4, row["status"], row["reason"]) for row in every])
    for model in models:
        ModelStore(home / "models").save(model)
    ModelStore(home / "models").promote(models[0].card.model_id, "tests", "the first")
    return home


def open_page(name: str, reviewer: str | None = "Ada", **query: str | list[str]) -> AppTest:
    """A page of the app as this reviewer sees it; fails where it raises."""
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    if reviewer is not None:
        app.session_state["reviewer"] = reviewer
    app.run()
    app.switch_page(f"views/{name}.py")
    for key, value in query.items():
        app.query_params[key] = value
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    """The page, which must not have raised."""
    assert not app.exception, app.exception
    return app


def press(app: AppTest, key: str) -> AppTest:
    """Press the button with this key."""
    return checked(app.button(key=key).click().run())


def opened(app: AppTest) -> str:
    """The bin of the address: a test sets a list, the page a text."""
    value = app.query_params["bin"]
    return value if isinstance(value, str) else value[-1]


def said(app: AppTest) -> str:
    """All texts of a page, without the marks that keep Markdown from being read as such."""
    elements = [*app.info, *app.warning, *app.error, *app.success, *app.caption, *app.markdown, *app.subheader]
    return "\n".join(element.value for element in elements).replace("\\", "")


def _row(pid: str, letter: str, number: int, model_id: str) -> dict[str, Any]:
    bin_id = parse_pid(pid)
    verdict, severity = LETTERS[letter]
    bad, judged = verdict in ("bad", "watch"), letter not in "un"
    return {
        "pid": pid, "instrument": bin_id.instrument, "start_time": bin_id.start_time, "schema": "v2", "copies": 0,
        "complete": True, "severity": severity, "verdict": verdict, "cause": "air" if bad else "", "second_cause": "",
        "reasons": "Images off the core" if bad else "", "findings": FINDINGS if bad else "[]", "rules": "",
        "baseline_bins": 299 if judged else 3, "baseline_days": 21.3 if judged else None,
        "affected_fraction": 0.43 if bad else 0.0 if judged else None,
        "anomaly_score": -severity, "percentile": severity, "threshold": 50.0, "configuration": "",
        "config_changed": False, "model_id": model_id, "status": "unreadable" if letter == "u" else "ok",
        "reason": HOSTILE if letter == "u" else "", "n_rows": 300, "n_images": 275, "n_points": 275, "bad_lines": 0,
        "roi_path": f"{pid}.roi" if pid == WORST else None, "mean_x": 650.0 + number, "mean_y": 500.0 - 3 * number,
    }  # fmt: skip


def _table(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(
        [{column.name: row.get(column.name) for column in table.columns} for row in rows], schema=table.schema
    )


def training_set(seed: int) -> TrainingSet:
    """Forty healthy bins of IFCB101, of which two features are known."""
    rng = np.random.default_rng(seed)
    return TrainingSet(
        pids=[f"bin{i}" for i in range(40)],
        instruments=["IFCB101"] * 40,
        days=[date(2026, 2, 1)] * 40,
        matrix=np.column_stack([rng.normal(660, 5, 40), rng.normal(470, 15, 40)]),
        feature_names=("mean_x", "mean_y"),
        feature_settings=FeatureSettings(),
    )


def _model(seed: int) -> Model:
    return train_model(training_set(seed), ForestSettings(n_estimators=5), datetime(2026, 2, seed, tzinfo=UTC), {})
