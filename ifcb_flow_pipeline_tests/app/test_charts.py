from pathlib import Path

import numpy as np
import pytest

from app import charts, data
from app.data import Stores
from ifcb_flow_pipeline_tests.app.stored import EMPTY, FIRST_DAY, THRESHOLD, UNREADABLE, WORST


@pytest.fixture
def rows(store: Path):
    return data.ranked(data.read_scores(Stores(store), FIRST_DAY, FIRST_DAY.replace(day=3)).rows, None)


def _values(spec: dict, layer: int) -> list[dict]:
    return spec["datasets"][spec["layer"][layer]["data"]["name"]]


def test_the_score_chart_has_one_mark_for_each_scored_bin_and_a_ring_for_the_chosen_one(rows):
    spec = charts.score_chart(rows, WORST).to_dict()
    rule, line, ring, bins = (_values(spec, layer) for layer in range(4))
    assert {value["pid"] for value in bins} == set(rows["pid"]) - {UNREADABLE, EMPTY}
    assert [value["pid"] for value in ring] == [WORST]
    assert line == ring
    assert [value["threshold"] for value in rule] == [THRESHOLD]


def test_the_score_chart_is_in_utc_whatever_the_browser_thinks(rows):
    layers = charts.score_chart(rows, None).to_dict()["layer"]
    assert layers[1]["encoding"]["x"]["scale"] == {"type": "utc"}
    assert _values(charts.score_chart(rows, None).to_dict(), 1)[0]["start"] == "2026-03-02 12:00"


def test_bins_and_thresholds_are_drawn_inside_the_score_chart(rows):
    low, high = charts.score_chart(rows, None).to_dict()["layer"][1]["encoding"]["y"]["scale"]["domain"]
    scores = rows["anomaly_score"].dropna()
    assert low < min(scores.min(), THRESHOLD)
    assert high > max(scores.max(), THRESHOLD)


def test_of_too_many_bins_the_most_anomalous_are_drawn(rows, monkeypatch):
    monkeypatch.setattr(charts, "MAX_SCORE_MARKS", 5)
    bins = _values(charts.score_chart(rows, None).to_dict(), 1)
    assert [value["pid"] for value in bins] == rows["pid"].tolist()[:5]


def test_each_model_has_its_own_threshold_over_the_time_of_its_bins(rows):
    other = rows.assign(model_id=["b"] * 4 + ["a"] * (len(rows) - 4), threshold=[-0.5] * 4 + [-0.6] * (len(rows) - 4))
    found = charts.thresholds(other)
    assert found["threshold"].tolist() == [-0.6, -0.5]
    assert found["first"].iloc[1] == other["start_time"].iloc[:4].min()
    assert found["last"].iloc[1] == other["start_time"].iloc[:4].max()


def _cloud(x: list[int], y: list[int], has_image: list[bool]) -> dict:
    return {"x_px": np.array(x, np.int16), "y_px": np.array(y, np.int16), "has_image": np.array(has_image)}


def test_the_cloud_shows_all_triggers_with_image_and_without_apart_and_counted():
    spec = charts.cloud_chart(_cloud([0, 900, 910], [0, 500, 600], [False, True, True]), (1360, 1024)).to_dict()
    with_image, without = _values(spec, 1), _values(spec, 2)
    assert [(value["x_px"], value["y_px"]) for value in with_image] == [(900, 500), (910, 600)]
    assert {value["kind"] for value in with_image} == {"image (2)"}
    assert [value["kind"] for value in without] == ["trigger without image (1)"]


def test_the_cloud_lies_in_the_camera_frame_with_y_downwards_and_square_pixels():
    spec = charts.cloud_chart(_cloud([900], [500], [True]), (1360, 1024)).to_dict()
    assert _values(spec, 0) == [{"left": 0, "top": 0, "right": 1360, "bottom": 1024}]
    x, y = (spec["layer"][1]["encoding"][name]["scale"] for name in "xy")
    assert y["reverse"]
    widths = [scale["domain"][1] - scale["domain"][0] for scale in (x, y)]
    assert spec["width"] / spec["height"] == pytest.approx(widths[0] / widths[1], rel=0.01)


def test_positions_outside_the_frame_are_not_cut_off():
    spec = charts.cloud_chart(_cloud([-11, 1500], [-11, 1100], [False, True]), (1360, 1024)).to_dict()
    x, y = (spec["layer"][1]["encoding"][name]["scale"]["domain"] for name in "xy")
    assert x[0] < -11
    assert x[1] > 1500
    assert y[0] < -11
    assert y[1] > 1100


@pytest.mark.parametrize(
    ("event", "pid"),
    [
        ({"selection": {"picked": [{"pid": "a"}]}}, "a"),
        ({"selection": {"picked": []}}, None),
        ({"selection": {"picked": [{}]}}, None),
        ({"selection": {}}, None),
        ({}, None),
    ],
)
def test_a_click_in_the_score_chart_picks_its_bin_or_none(event, pid):
    assert charts.picked_pid(event) == pid


@pytest.mark.parametrize(
    ("event", "pid"),
    [
        ({"selection": {"rows": [1]}}, "b"),
        ({"selection": {"rows": []}}, None),
        ({"selection": {"rows": [7]}}, None),
        ({"selection": {"rows": [], "cells": [[1, "pid"]]}}, "b"),
        ({"selection": {"rows": [0], "cells": [[1, "pid"]]}}, "b"),
        ({}, None),
    ],
)
def test_a_row_of_the_table_picks_its_bin_or_none(event, pid):
    assert charts.picked_row(event, ["a", "b"]) == pid
