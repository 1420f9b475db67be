"""Verdicts on bins by their images: beside the instrument's own bins, never ok without them."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.images.bin_judgement import HISTORY_NUMBERS, NUMBERS, judge_bins
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS
from ifcb_flow_pipeline.detection.images.kinds import CAUSE_OF, KINDS, WORDS
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES

START = datetime(2023, 8, 1, tzinfo=UTC)


def bins(n: int, seed: int = 0, first: int = 0, instrument: str = "IFCB134", **changed: float) -> pa.Table:
    """Rows of healthy bins, one an hour from hour ``first`` on, with some numbers changed in all of them."""
    rng = np.random.default_rng(seed)
    usual = {"touching_fraction": 0.3, "odd_fraction": 0.2, "focus": 0.6, "background": 190.0, "noise": 1.8,
             "spread": 0.8, "window_z": 2.8}  # fmt: skip
    columns: dict[str, object] = {
        name: value * np.exp(rng.normal(0, 0.005 if name == "background" else 0.03, n)) for name, value in usual.items()
    } | {f"p_{kind}": np.abs(rng.normal(0.004, 0.003, n)) for kind in KINDS}
    columns |= {name: np.full(n, value) for name, value in changed.items()}
    times = [START + timedelta(hours=first + i) for i in range(n)]
    return pa.table({
        "pid": [f"D{time:%Y%m%dT%H%M%S}_{instrument}" for time in times], "instrument": [instrument] * n,
        "start_time": pa.array(times, pa.timestamp("us", tz="UTC")), "status": ["ok"] * n, "verdict": ["ok"] * n,
        "n_images": np.full(n, 200), **columns,
    })  # fmt: skip


def judged(new: pa.Table, history: pa.Table) -> list[dict]:
    return judge_bins(new.drop_columns(["verdict"]), history).to_pylist()


def test_every_kind_has_words_and_a_cause_that_there_is():
    assert tuple(FAULTS) == KINDS
    assert set(WORDS) == set(CAUSE_OF) == set(KINDS)
    causes = {cause for number in NUMBERS for cause in (number.up, number.down) if cause}
    assert causes <= set(CAUSES)
    assert set(HISTORY_NUMBERS) <= set(bins(1).column_names)


def test_hardly_any_healthy_bin_of_an_instrument_with_history_is_flagged():
    found = judged(bins(400, seed=1, first=100), bins(100))
    verdicts = [row["verdict"] for row in found]
    assert verdicts.count("ok") >= 0.98 * len(verdicts)
    assert all(row["reasons"] == "" and row["cause"] == "" for row in found if row["verdict"] == "ok")


@pytest.mark.parametrize(
    ("changed", "cause"),
    [({"p_defocus": 0.08}, "defocus"), ({"p_bubble": 0.1}, "bubbles"), ({"background": 170.0}, "dim_flash"),
     ({"p_lines": 0.09}, "camera_link"), ({"window_z": 14.0}, "dirty_window"), ({"p_cut": 0.1}, "cut_boxes")],
)  # fmt: skip
def test_a_fault_of_a_tenth_of_the_images_is_bad_and_named_with_its_range(changed, cause):
    [row] = judged(bins(1, seed=2, first=100, **changed), bins(100))
    assert (row["verdict"], row["cause"]) == ("bad", cause)
    assert row["severity"] >= 50
    [first, *_] = json.loads(row["findings"])
    assert first["feature"] == next(iter(changed))
    assert not first["low"] <= first["value"] <= first["high"]
    assert first["text"] in row["reasons"]
    assert CAUSES[cause].title in row["reasons"]
    assert row["baseline_bins"] == 100


def test_what_is_too_little_in_one_bin_is_found_in_a_run_of_bins():
    found = judged(bins(12, seed=3, first=100, p_defocus=0.024), bins(100))
    assert found[0]["verdict"] != "bad"
    assert found[-1]["verdict"] in ("watch", "bad")
    assert found[-1]["cause"] == "defocus"
    assert "bins in a row" in found[-1]["reasons"]


def test_the_bins_after_a_fault_are_in_order_again():
    faulty, after = bins(3, seed=4, first=100, p_defocus=0.3), bins(6, seed=5, first=103)
    found = judged(pa.concat_tables([faulty, after]), bins(100))
    assert [row["verdict"] for row in found] == ["bad"] * 3 + ["ok"] * 6


@pytest.mark.parametrize("history", [bins(0), bins(15), bins(100, instrument="IFCB124")], ids=["none", "few", "other"])
def test_without_history_no_bin_is_ok_or_bad(history):
    sharp, soft = judged(bins(2, seed=6, first=100), history), judged(bins(1, first=100, p_defocus=0.5), history)
    assert [row["verdict"] for row in sharp] == ["not_judged"] * 2
    assert all(np.isnan(row["severity"]) for row in sharp)
    assert (soft[0]["verdict"], soft[0]["cause"]) == ("watch", "defocus")
    assert "no history yet" in soft[0]["reasons"]


def test_bad_bins_and_bins_without_images_teach_nothing():
    history = bins(100, p_defocus=0.3)
    for column, value in (("verdict", "bad"), ("status", "no_roi")):
        place = history.column_names.index(column)
        taught = history.set_column(place, column, pa.array([value] * 100))
        [row] = judged(bins(1, seed=7, first=100), taught)
        assert row["verdict"] == "not_judged"


def test_a_bin_without_images_is_not_judged_by_them():
    without = bins(1, seed=8, first=100)
    place = without.column_names.index("status")
    [row] = judged(without.set_column(place, "status", pa.array(["no_roi"])), bins(100))
    assert (row["verdict"], row["cause"], row["findings"]) == ("not_judged", "", "[]")


def test_other_particles_alone_are_worth_a_look_and_no_more():
    [row] = judged(bins(1, seed=9, first=100, odd_fraction=0.9), bins(100))
    assert (row["verdict"], row["cause"]) == ("watch", "community")
