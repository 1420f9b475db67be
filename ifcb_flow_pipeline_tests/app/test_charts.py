import math
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from app import charts, series
from app.series import Track, Window
from app.theme import LOOKS
from app.words import Finding
from ifcb_flow_pipeline.detection.trial.partial_bins import PartialScore
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.store.labels import Label

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=4))
INSTRUMENTS = ["IFCB101", "IFCB102"]


def _points() -> pd.DataFrame:
    verdicts = list(LOOKS)
    return pd.DataFrame({
        "pid": [f"bin{number}" for number in range(5)],
        "instrument": [*INSTRUMENTS * 2, INSTRUMENTS[1]],
        "start_time": pd.date_range(START, periods=5, freq="D"),
        "severity": [5.0, 40.0, 90.0, 100.0, np.nan],
        "value": [5.0, 40.0, 90.0, 100.0, np.nan],
        "verdict": verdicts,
        "cause": ["", "unknown", "air", "", ""],
    })  # fmt: skip


def _lanes(marks: charts.Marks | None = None, measure: charts.Measure = charts.SEVERITY) -> dict:
    return charts.lanes(Track(_points(), None, 4, 0), measure, WINDOW, INSTRUMENTS, marks or charts.Marks())


def _layers(spec: dict, mark: str) -> list[dict]:
    return [layer for layer in spec["layer"] if layer.get("mark", {}).get("type") == mark]


def _rows(layer: dict) -> pd.DataFrame:
    return pd.DataFrame(layer["data"]["values"])


def test_each_bin_is_a_mark_of_its_instruments_lane_with_colour_and_shape_of_its_verdict():
    spec = _lanes()
    (marks,) = _layers(spec, "point")
    rows = _rows(marks).set_index("pid")
    assert rows.loc["bin0", "at"] - rows.loc["bin1", "at"] > 1  # the first instrument is on top
    assert rows.loc["bin2", "tip"]["suspected cause"] == "air bubbles"
    assert rows.loc["bin2", "said"].startswith("bin: bin2; start (UTC): 2026-03-03 00:00; verdict: Bad;")
    for channel in ("color", "shape"):
        assert marks["encoding"][channel]["scale"]["domain"] == list(LOOKS)
        assert len(set(marks["encoding"][channel]["scale"]["range"])) == len(LOOKS)


def test_a_bin_that_was_not_judged_stands_at_the_foot_of_its_lane():
    rows = _rows(_layers(_lanes(), "point")[0]).set_index("pid")
    assert rows.loc["bin4", "at"] == 0.0
    assert rows.loc["bin4", "tip"]["verdict"] == "No verdict"
    assert rows.loc["bin4", "tip"]["severity"] == "none"
    assert rows.loc["bin4", "verdict"] == "not_judged"


@pytest.mark.parametrize(
    ("state", "until"),
    [("ongoing", "ongoing"), ("over", "2026-03-01 00:00"), ("unknown", "not known, no bins since")],
)
def test_an_episode_says_as_much_of_its_end_as_is_known(state, until):
    episode = Episode("IFCB101", "air", "a", "b", START - timedelta(days=1), START, 3, 3, 90.0, "a", state)
    (layer,) = [one for one in _layers(_lanes(charts.Marks(episodes=[episode])), "rule") if "values" in one["data"]]
    assert layer["data"]["values"][0]["tip"]["until (UTC)"] == until


def test_a_value_beyond_the_range_stays_in_its_lane():
    spec = _lanes(measure=charts.Measure("x", 0.0, 50.0))
    at = _rows(_layers(spec, "point")[0]).set_index("pid")["at"]
    assert at["bin3"] == 1.0
    assert at["bin2"] == pytest.approx(at["bin0"] - 0.1 + 1)


def test_time_is_utc_whatever_the_browser_thinks():
    scale = _layers(_lanes(), "point")[0]["encoding"]["x"]["scale"]
    assert scale["type"] == "utc"
    assert [end["utc"] for end in scale["domain"]] == [True, True]


def test_episodes_thresholds_models_and_decisions_are_drawn_and_others_left_out():
    label = Label("D20260301T000000_IFCB101", "good", (), "", "Ada", START, "triage")
    episode = Episode("IFCB101", "air", "a", "b", START - timedelta(days=1), START, 3, 3, 90.0, "a", "ongoing")
    spec = _lanes(
        charts.Marks(
            episodes=[episode, Episode("IFCB999", "air", "a", "b", START, START, 1, 1, 90.0, "a", "over")],
            thresholds=pd.DataFrame({"instrument": ["IFCB101"], "first": [START], "last": [START], "value": [50.0]}),
            models=pd.DataFrame({"start": [START], "model_id": ["flow"]}),
            decided=[("IFCB101", START, label), ("IFCB999", START, label)],
            chosen="bin1",
        )
    )
    models, thresholds, episodes = _layers(spec, "rule")
    assert _rows(models)["model_id"].tolist() == ["flow"]
    # The name of the episode would lie upon that of the instrument.
    assert [row["named"] for layer in _layers(spec, "text")[1:] for row in layer["data"]["values"]] == ["new model"]
    assert set(charts.selections(spec)) == {charts.PICKED, charts.BRUSHED, charts.EPISODE}
    assert _rows(thresholds)["at"].tolist() == [pytest.approx(charts._LANE + 0.5)]
    # It began before the window: what is drawn begins with the window, what is told is the truth.
    (drawn,) = episodes["data"]["values"]
    assert drawn["start"] == START.timestamp() * 1000
    assert (drawn["tip"]["from (UTC)"], drawn["tip"]["until (UTC)"]) == ("2026-02-28 00:00", "ongoing")
    decided, ring, _ = _layers(spec, "point")
    assert _rows(decided)["tip"].tolist() == [{"bin": label.pid, "decided": "good", "by": "Ada"}]
    assert len(_rows(ring)) == 1


def test_an_envelope_is_drawn_beneath_the_bins():
    envelope = pd.DataFrame({"instrument": ["IFCB101"] * 2, "start": [START] * 2, "segment": [1, 1]} | {
        name: [1.0, 2.0] for name in ("low", "q05", "median", "q95", "high")})  # fmt: skip
    spec = charts.lanes(Track(_points(), envelope, 9, 5), charts.SEVERITY, WINDOW, INSTRUMENTS, charts.Marks())
    _, bands, _ = spec["layer"]
    assert [layer["mark"]["type"] for layer in bands["layer"]] == ["area", "area", "line"]


def test_many_bins_are_drawn_as_pixels_and_few_as_elements_of_the_page():
    many = pd.concat([_points()] * 200)
    spec = charts.lanes(Track(many, None, len(many), 0), charts.SEVERITY, WINDOW, INSTRUMENTS, charts.Marks())
    assert spec["usermeta"]["embedOptions"]["renderer"] == "canvas"
    assert "usermeta" not in _lanes()


def _images(x: list[float], y: list[float]) -> pd.DataFrame:
    n = len(x)
    return pd.DataFrame({"roi": range(1, n + 1), "x": x, "y": y, "minute": [1.0] * n, "area_px2": [9.0] * n,
                         "fluorescence_v": [0.1] * n})  # fmt: skip


@pytest.mark.parametrize("width_px", [charts.CLOUD_PX, charts.SMALL_CLOUD_PX])
def test_the_cloud_lies_in_the_camera_frame_with_y_downwards_and_square_pixels(width_px):
    spec = charts.cloud(_images([900], [500]), "data:,", (1360, 1024), "time", width_px)
    picture, frame, above, beside, marks = spec["layer"]
    assert picture["mark"]["type"] == "image"
    assert _rows(frame)[["x", "y", "x2", "y2"]].values.tolist() == [[0, 0, 1360, 1024]]
    x, y = (marks["encoding"][name]["scale"] for name in "xy")
    assert y["reverse"]
    spans = [scale["domain"][1] - scale["domain"][0] for scale in (x, y)]
    assert spec["width"] / spec["height"] == pytest.approx(spans[0] / spans[1], rel=0.01)
    # The distributions lie outside of the frame.
    assert _rows(above)["y2"].max() < 0
    assert _rows(beside)["x"].min() > 1360
    assert spec["width"] > width_px


def test_positions_outside_the_frame_are_not_cut_off():
    spec = charts.cloud(_images([-11, 1500], [-11, 1100]), None, (1360, 1024), "size")
    marks = spec["layer"][-1]
    for name, low, high in (("x", -11, 1500), ("y", -11, 1100)):
        domain = marks["encoding"][name]["scale"]["domain"]
        assert domain[0] < low
        assert domain[1] > high


@pytest.mark.parametrize("colouring", list(charts.COLOURINGS))
def test_a_cloud_is_coloured_by_what_is_asked_for(colouring):
    marks = charts.cloud(_images([1], [1]), None, (1360, 1024), colouring)["layer"][-1]
    assert marks["encoding"]["color"]["field"] == charts.COLOURINGS[colouring][0]


def test_the_image_that_is_chosen_has_a_ring_and_a_click_gives_its_number():
    images = _images([1, 900], [1, 500])
    marks, ring = charts.cloud(images, None, (1360, 1024), chosen=2)["layer"][-2:]
    assert _rows(ring)[["x", "y"]].values.tolist() == [[900, 500]]
    assert _rows(marks)["roi"].tolist() == [1, 2]
    assert marks["params"][0]["select"]["fields"] == ["roi"]
    assert charts.picked_image({"selection": {charts.IMAGE: [{"roi": 2}]}}) == 2
    assert charts.picked_image({"selection": {charts.IMAGE: []}}) is None
    assert charts.picked_image({}) is None


def test_a_sheet_has_a_cell_to_click_for_each_image_its_caption_and_a_scale_bar():
    cells = pd.DataFrame({"x": [6, 80], "y": [6, 6], "x2": [60, 120], "y2": [40, 40], "roi": [7, 9],
                          "caption": ["bubble 93%", "no fault"], "look": ["fault", "plain"],
                          "tip": [{"image": "7"}, {"image": "9"}]})  # fmt: skip
    spec = charts.sheet("data:,", (200, 60), cells, ("20 µm", 68.0))
    picture, captions, bar, words, boxes = spec["layer"]
    assert _rows(picture)[["x2", "y2"]].values.tolist() == [[200, 60]]
    assert _rows(captions)["caption"].tolist() == ["bubble 93%", "no fault"]
    assert _rows(bar)["x2"].item() - _rows(bar)["x"].item() == 68
    assert _rows(words)["words"].item() == "20 µm"
    assert _rows(boxes)[["roi", "said"]].values.tolist() == [[7, "image: 7"], [9, "image: 9"]]
    assert charts.selections(spec) == [charts.IMAGE]


def test_parts_of_a_run_that_waited_are_no_marks():
    scores = [
        PartialScore(10, "waiting", np.nan, np.nan, "", ""),
        PartialScore(100, "ok", 20.0, -0.4, "", ""),
        PartialScore(200, "bad", 80.0, -0.7, "air", "strays"),
    ]
    spec = charts.accumulated(scores, 50.0)
    marks = _rows(spec["layer"][-1])
    assert marks["n_triggers"].tolist() == [100, 200]
    assert _rows(spec["layer"][1])["severity"].tolist() == [50.0]


def test_a_stretch_without_image_has_no_place():
    rows = pd.DataFrame({"minute": [1.0], "images": [0.0], "without_image": [1.0], "x_low": [np.nan],
                         "x_median": [np.nan], "x_high": [np.nan]})  # fmt: skip
    _, position = charts.course(rows)["vconcat"]
    assert [value["x_median"] for value in position["layer"][1]["data"]["values"]] == [None]


@pytest.mark.parametrize(("value", "place"), [(0.5, "M210 "), (1e9, "M403 "), (-1e9, "M17 ")])
def test_a_value_stands_on_its_normal_range_and_one_far_off_at_the_edge(value: float, place: str):
    found = Finding("core_x_px", "", 1, value, 0.0, 1.0, "px", "air", "Said & <b>", "")
    drawn = charts.reason(found)
    assert drawn.startswith("<b>Said &amp; &lt;b&gt;</b>")
    picture = b64decode(re.findall('base64,([^"]+)', drawn)[0]).decode()
    assert place in picture
    assert "normally 0 to 1 px" in drawn


def test_a_reason_without_a_range_is_its_sentence_alone():
    found = Finding("", "empty", 1, math.nan, math.nan, math.nan, "", "", "None came", "")
    assert charts.reason(found) == "<b>None came</b>"


def test_any_number_of_groups_has_a_curve_and_a_median_each():
    groups = {f"group{number}": np.array([1.0, 2.0, np.nan, 3.0 + number]) for number in range(9)}
    spec = charts.distributions(groups, "value")
    curves, middles = (_rows(layer) for layer in spec["layer"])
    assert curves["group"].nunique() == 9
    assert middles["value"].tolist() == [2.0] * 9


@pytest.mark.parametrize(
    ("low", "high", "marked"),
    [(983.0, 1073.0, (1000.0, 1050.0)), (0.0, 9.0, (0.0, 5.0)), (-0.2, 0.19, (-0.2, 0.0, 0.2)),
     (0.41, 0.59, (0.45, 0.5, 0.55)), (12_345.0, 98_765.0, (50_000.0, 100_000.0))],
)  # fmt: skip
def test_the_axis_of_a_measure_names_a_few_round_values(low, high, marked):
    assert charts.Measure.fitted("x", np.array([low, high])).marked == pytest.approx(marked)


def test_a_measure_of_equal_values_has_a_range():
    measure = charts.Measure.fitted("x", np.array([5.0, 5.0, np.nan]))
    assert measure.low < 5 < measure.high


@pytest.mark.parametrize(
    ("event", "pid"),
    [
        ({"selection": {"picked": [{"pid": "a"}]}}, "a"),
        ({"selection": {"picked": []}}, None),
        ({"selection": {"picked": [{"pid": 3}]}}, None),
        ({"selection": {}}, None),
        ({}, None),
    ],
)
def test_a_click_picks_its_bin_or_none(event, pid):
    assert charts.picked_pid(event) == pid


def test_a_brush_is_a_window_whichever_way_it_was_drawn_and_a_narrow_one_is_a_click():
    later, sooner = ((START + timedelta(hours=hours)).timestamp() * 1000 for hours in (48, 24))
    brushed = charts.brushed_window({"selection": {"brushed": {"start": [later, sooner]}}}, WINDOW)
    assert brushed == Window(START + timedelta(hours=24), START + timedelta(hours=48))
    assert charts.brushed_window({"selection": {"brushed": {"start": [sooner, sooner + 1]}}}, WINDOW) is None
    assert charts.brushed_window({"selection": {"brushed": {}}}, WINDOW) is None


def test_curves_have_no_more_steps_than_are_seen():
    assert len(series.quantile_curve(np.arange(100_000.0))) == 200


def test_a_strip_has_a_bar_for_each_bin_with_its_verdict_in_words():
    points = _points().assign(model_id="flow")
    spec = charts.strip(points, WINDOW, timedelta(days=1), chosen="bin2")
    bars, mark = spec["layer"]
    rows = _rows(bars).set_index("pid")
    assert len(_rows(mark)) == 1
    assert rows.loc["bin2", "top"] == 90.0
    assert rows.loc["bin3", "top"] == rows.loc["bin4", "top"] < 50  # unreadable and without verdict: no severity
    assert rows.loc["bin2", "said"].endswith("verdict: Bad; severity: 90; suspected cause: air bubbles")
    assert charts.selections(spec) == [charts.PICKED]


def test_a_scatter_has_a_mark_for_each_bin_and_cells_where_there_are_too_many():
    points = _points()
    axes = charts.Axis("start", points["start_time"], is_time=True), charts.Axis("humidity (%)", points["value"])
    spec = charts.scatter(points, *axes, None)
    assert len(_rows(spec["layer"][0])) == 5
    assert set(charts.selections(spec)) == {charts.PICKED, charts.BRUSHED}
    cells = pd.DataFrame({"x": [0.0], "x2": [1.0], "y": [0.0], "y2": [1.0], "n": [9.0]})
    dense = charts.scatter(points, *axes, cells)
    assert dense["layer"][0]["mark"]["type"] == "rect"
    assert set(charts.selections(dense)) == {charts.PICKED, charts.BRUSHED}


def test_a_rectangle_is_a_range_on_both_axes_and_a_click_is_none():
    event = {"selection": {charts.BRUSHED: {"x": [3.0, 1.0], "y": [5.0, 8.0]}}}
    assert charts.brushed_ranges(event) == {"x": (1.0, 3.0), "y": (5.0, 8.0)}
    assert charts.brushed_ranges({"selection": {charts.BRUSHED: {"x": [1.0, 1.0], "y": [5.0, 8.0]}}}) == {
        "y": (5.0, 8.0)
    }
    assert charts.brushed_ranges({"selection": {}}) == {}


def test_the_name_of_an_episode_is_left_out_where_it_would_run_into_the_next():
    starts = [START + timedelta(hours=hours) for hours in (30, 31, 60)]
    episodes = [
        Episode("IFCB101", "air", "a", "b", one, one + timedelta(hours=1), 3, 3, 90.0, "a", "over") for one in starts
    ]
    (_, names) = _layers(_lanes(charts.Marks(episodes=episodes)), "text")
    assert len(_rows(names)) == 2
