"""The first parts of a run: how long they are, what is not known of them yet, and when a fault was certain."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.trial.partial_bins import (
    PartialScore,
    as_running,
    certain_after,
    first_triggers,
    judge_running,
    partial_lengths,
    trigger_numbers,
)
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

#: As documented. They are not imported: a threshold that moved would move its own test.
MIN_RUNNING_POINTS = 60


@dataclass
class Told:
    """A model that calls every bin bad, and remembers what it was asked."""

    asked: list[tuple[pa.Table, pa.Table | None]] = field(default_factory=list)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:
        self.asked.append((features, history))
        n = features.num_rows
        columns = {"verdict": ["bad"] * n, "severity": [70.0] * n, "anomaly_score": [-2.8] * n}
        return pa.table(columns | {"cause": ["air"] * n, "reasons": ["strays"] * n})


def row(**values: object) -> dict[str, object]:
    """A row of ``bin_features`` of a bin of 500 points, in which every number is 1."""
    blank = {f.name: 1.0 if pa.types.is_floating(f.type) else None for f in BIN_FEATURES.schema}
    return blank | {"pid": "a", "instrument": "IFCB1", "status": "ok", "n_points": 500, "configuration": ""} | values


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=BIN_FEATURES.schema)


@pytest.mark.parametrize(
    ("n", "lengths"), [(0, ()), (1, (1,)), (10, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)), (100, (5, *range(10, 101, 10)))]
)
def test_parts_are_shares_of_the_triggers_none_twice_and_none_empty(n, lengths):
    assert partial_lengths(n) == lengths


def test_triggers_are_counted_whatever_the_numbers_that_the_instrument_gives_them():
    counter = np.array([1, 1, 2, 5, 5, 5, 1, 2])
    assert trigger_numbers(counter).tolist() == [1, 1, 2, 3, 3, 3, 4, 5]
    assert trigger_numbers(counter[:0]).tolist() == []


def test_all_images_of_a_trigger_stay_together():
    columns = {"trigger": np.array([1, 1, 2, 5, 5, 5]), "x_px": np.arange(6)}
    assert [first_triggers(columns, n)["x_px"].tolist() for n in (1, 2, 3)] == [[0, 1], [0, 1, 2], [0, 1, 2, 3, 4, 5]]


def test_what_only_the_end_of_a_run_shows_is_not_known_before():
    (found,) = as_running(table(row(roi_complete=False, n_images=5))).to_pylist()
    for name in (
        "run_time_s", "run_time_ratio", "volume_ml", "volume_ratio", "n_triggers", "image_count_mismatch",
        "longest_gap_fraction",
    ):  # fmt: skip
        assert np.isnan(found[name]), name
    assert found["roi_complete"] is None
    # By its unevenness a clog shows while the run goes on.
    assert found["core_width_px"] == found["time_uniformity"] == 1.0
    # A header that is still to come is no lost header.
    assert found["configuration"]


def test_each_part_is_judged_alone_with_the_bins_before_and_their_settings():
    model, before = Told(), table(row(pid="b", configuration="c0ffee"))
    judge_running(model, table(row(), row()), (200, 400), before)
    assert [(asked.num_rows, history) for asked, history in model.asked] == [(1, before), (1, before)]
    assert all(asked["configuration"].to_pylist() == ["c0ffee"] for asked, _ in model.asked)


def test_too_few_points_are_waited_for():
    features = table(
        row(n_points=MIN_RUNNING_POINTS - 1), row(n_points=MIN_RUNNING_POINTS), row(status="too_few_points", n_points=9)
    )
    found = judge_running(Told(), features, (70, 80, 10))
    assert [(score.n_triggers, score.verdict) for score in found] == [(70, "waiting"), (80, "bad"), (10, "waiting")]
    assert np.isnan(found[0].severity)
    assert found[1] == PartialScore(80, "bad", 70.0, -2.8, "air", "strays")


@pytest.mark.parametrize(
    ("verdicts", "certain"),
    [("ob bb", 2), ("bbbb", 1), ("bbbo", None), ("oooo", None), ("bobb", 3), ("wwwb", 4), ("", None)],
)
def test_a_fault_is_certain_from_the_part_on_after_which_the_bin_remained_bad(verdicts, certain):
    names = {"b": "bad", "o": "ok", "w": "watch"}
    letters = verdicts.replace(" ", "")
    scores = [PartialScore(i, names[letter], 0.0, 0.0, "", "") for i, letter in enumerate(letters, start=1)]
    assert certain_after(scores) == certain
    assert certain_after(scores[::-1]) == certain
