"""The detectors that are compared are those that users can choose."""

import numpy as np
import pytest

from benchmarks import detectors
from ifcb_flow_pipeline_tests.detection import fleet


@pytest.mark.parametrize(("name", "most_above"), [("mcif", 0.1), ("mcif-calibrated", 0.1), ("latent", 1.0)])
def test_forests_are_compared_as_the_command_line_trains_them(name: str, most_above: float):
    bins = fleet.changed(fleet.columns(60), 5, **fleet.FAULTS["a turned camera"][1])
    judge = {detector.name: detector.judge for detector in detectors.ours()}[name]
    badness = judge(fleet.table(bins), fleet.table(bins)).badness
    assert np.isfinite(badness).all()
    assert len(np.unique(badness)) > 60
    assert (badness > badness[5]).mean() < most_above


def test_where_no_forest_can_be_grown_all_bins_are_equally_bad():
    bins = fleet.table(fleet.columns(20))
    judge = {detector.name: detector.judge for detector in detectors.ours()}["mcif"]
    assert not judge(bins, bins).badness.any()
