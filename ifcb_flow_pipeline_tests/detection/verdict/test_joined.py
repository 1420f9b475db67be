"""One verdict of positions and images."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.verdict.joined import JOINED_COLUMNS, join_verdicts

NAN = float("nan")


def flow(verdict: str, severity: float = 60.0, cause: str = "", second: str = "") -> pa.Table:
    findings = json.dumps([{"feature": "core_tilt", "cause": cause}] if cause else [])
    return pa.table({
        "pid": ["a"], "severity": [severity], "verdict": [verdict], "cause": [cause], "second_cause": [second],
        "reasons": ["Of flow." if cause else ""], "findings": [findings], "affected_fraction": [0.1],
    })  # fmt: skip


def images(verdict: str, severity: float = 60.0, cause: str = "", second: str = "") -> pa.Table:
    findings = json.dumps([{"feature": "p_defocus", "cause": cause}] if cause else [])
    return pa.table({
        "pid": ["a"], "severity": [severity], "verdict": [verdict], "cause": [cause], "second_cause": [second],
        "reasons": ["Of images." if cause else ""], "findings": [findings], "fault_probability": [0.4],
    })  # fmt: skip


def joined(of_flow: pa.Table, of_images: pa.Table | None) -> dict:
    [row] = join_verdicts(of_flow, of_images).to_pylist()
    return row


@pytest.mark.parametrize("of_images", [None, images("not_judged", NAN), images("ok").slice(0, 0)])
def test_without_a_verdict_of_images_that_of_positions_stands(of_images):
    row = joined(flow("bad", 60.0, "clog"), of_images)
    assert row | {"image_severity": 0} == flow("bad", 60.0, "clog").to_pylist()[0] | {
        "source": "flow", "flow_severity": 60.0, "flow_verdict": "bad", "image_severity": 0,
        "image_verdict": "not_judged",
    }  # fmt: skip
    assert math.isnan(row["image_severity"])


def test_the_worse_of_the_two_gives_verdict_severity_and_cause_and_both_give_reasons():
    row = joined(flow("watch", 40.0, "clog", "air"), images("bad", 80.0, "dim_flash"))
    assert (row["verdict"], row["severity"], row["source"]) == ("bad", 80.0, "both")
    assert (row["cause"], row["second_cause"]) == ("dim_flash", "clog")
    assert row["reasons"] == "Of images. Of flow."
    assert [each["cause"] for each in json.loads(row["findings"])] == ["dim_flash", "clog"]
    assert (row["flow_severity"], row["flow_verdict"], row["image_severity"], row["image_verdict"]) == (
        40.0, "watch", 80.0, "bad",
    )  # fmt: skip
    assert row["affected_fraction"] == 0.4
    assert joined(flow("bad", 90.0, "clog"), images("bad", 80.0, "noise"))["cause"] == "clog"


def test_a_lower_severity_that_is_bad_by_its_threshold_is_worse_than_a_watch():
    row = joined(flow("bad", 40.0, "clog"), images("watch", 45.0, "noise"))
    assert (row["verdict"], row["severity"], row["cause"]) == ("bad", 40.0, "clog")


@pytest.mark.parametrize("of_flow", [flow("ok", 3.0), flow("not_judged", NAN)])
def test_images_alone_can_make_a_bin_bad(of_flow):
    row = joined(of_flow, images("bad", 70.0, "noise"))
    assert (row["verdict"], row["severity"], row["cause"], row["source"]) == ("bad", 70.0, "noise", "images")


@pytest.mark.parametrize(("verdict", "source"), [("ok", "both"), ("bad", "flow"), ("not_judged", "flow")])
def test_images_in_order_make_no_bin_ok_that_is_not(verdict, source):
    row = joined(flow(verdict, NAN if verdict == "not_judged" else 60.0, "clog"), images("ok", 4.0))
    assert (row["verdict"], row["source"]) == (verdict, source)


def test_a_bin_that_cannot_be_read_stays_so():
    row = joined(flow("unreadable", 100.0, "corrupt"), images("bad", 80.0, "noise"))
    assert (row["verdict"], row["source"], row["cause"]) == ("unreadable", "flow", "corrupt")


@pytest.mark.parametrize(("own", "seen"), [("focus", "defocus"), ("air", "bubbles"), ("stain", "dirty_window")])
def test_what_both_tell_is_said_once_as_the_images_have_it(own, seen):
    for worse in (60.0, 95.0):
        row = joined(flow("bad", worse, own, "laser"), images("bad", 80.0, seen))
        assert (row["cause"], row["second_cause"]) == (seen, "laser")


def test_positions_keep_their_own_word_where_images_do_not_show_it():
    row = joined(flow("bad", 95.0, "focus"), images("bad", 80.0, "noise"))
    assert (row["cause"], row["second_cause"]) == ("focus", "noise")


def test_the_columns_are_added_in_their_order_for_any_number_of_bins():
    both = pa.concat_tables([flow("ok"), flow("bad", 60.0, "clog")])
    both = both.set_column(0, "pid", pa.array(["a", "b"]))
    table = join_verdicts(both, images("bad", 80.0, "noise"))
    assert tuple(table.column_names[-5:]) == JOINED_COLUMNS
    assert table["source"].to_pylist() == ["images", "flow"]
    assert np.isnan(table["image_severity"].to_numpy()).tolist() == [False, True]
    assert join_verdicts(both.slice(0, 0), images("ok")).num_rows == 0
