"""How much of a bin is lost, by its likeliest cause."""

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.verdict import affected as module
from ifcb_flow_pipeline.detection.verdict.affected import Losses, affected
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES

from ..fleet import FLEET, changed, columns, table


def share(cause: str, **values: float) -> float:
    rows = table(changed(columns(1, FLEET[:1]), 0, **values))
    return float(affected(Losses.of(rows), [cause])[0])


@pytest.mark.parametrize(
    ("cause", "values", "expected"),
    [
        ("air", {"bubble_fraction": 0.1, "stray_fraction": 0.5, "blind_fraction": 0.0}, 0.45),
        ("air", {"bubble_fraction": 0.6, "stray_fraction": 0.5, "blind_fraction": 0.0}, 0.6),
        ("clog", {"longest_gap_fraction": 0.2, "blind_fraction": 0.3}, 0.3),
        ("stain", {"repeat_fraction": 0.2, "repeat_anchor_fraction": 0.25, "hot_cell_fraction": 0.0}, 0.25),
        ("electronics", {"blind_fraction": 0.4, "no_image_fraction": 0.45, "edge_touch_fraction": 0.0}, 0.4),
        ("laser", {"no_image_fraction": 0.45}, 0.35),
        ("laser", {"no_image_fraction": 0.02}, 0.0),
        ("corrupt", {"bad_line_fraction": 0.04}, 0.04),
        ("incomplete_run", {"run_time_ratio": 0.3}, 0.7),
        ("incomplete_run", {"run_time_ratio": 1.4}, 0.0),
        ("incomplete_run", {"run_time_ratio": -0.4}, 1.0),
    ],
)
def test_the_share_is_the_largest_of_what_tells_it_less_what_is_usual(cause: str, values: dict, expected: float):
    assert share(cause, **values) == pytest.approx(expected)


@pytest.mark.parametrize("cause", ["alignment", "focus", "sheath_flow", "empty", "unknown"])
def test_a_fault_of_all_images_affects_the_whole_bin(cause: str):
    assert share(cause) == 1.0


@pytest.mark.parametrize("cause", module._HARMLESS)
def test_what_concerns_no_image_affects_none(cause: str):
    assert share(cause, no_image_fraction=0.9, stray_fraction=0.9) == 0.0
    assert cause in CAUSES


def test_what_is_unknown_is_the_whole_bin():
    assert share("laser", no_image_fraction=np.nan) == 1.0
    assert share("clog", longest_gap_fraction=np.nan, blind_fraction=0.2) == pytest.approx(0.2)
    no_columns = table(columns(2, FLEET[:1])).select(["pid"])
    assert affected(Losses.of(no_columns), ["laser", "leak"]).tolist() == [1.0, 0.0]


def test_each_bin_has_its_own_cause_and_some_bins_are_taken_in_their_order():
    rows = table(changed(columns(3, FLEET[:1]), slice(None), no_image_fraction=np.array([0.2, 0.3, 0.4])))
    losses = Losses.of(rows)
    assert affected(losses, ["laser", "focus", "leak"]).tolist() == pytest.approx([0.1, 1.0, 0.0])
    assert affected(losses.at(np.array([2, 0])), ["laser", "laser"]).tolist() == pytest.approx([0.3, 0.1])
    assert affected(losses.at(np.array([], dtype=int)), []).tolist() == []
