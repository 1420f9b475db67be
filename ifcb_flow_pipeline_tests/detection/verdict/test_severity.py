"""From a tail probability to a severity and a verdict."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.verdict.severity import (
    VERDICT_COLUMNS,
    VERDICTS,
    rarities_of,
    severities,
    verdict_table,
    verdicts,
)

from ..fleet import columns, table

#: As documented. They are not imported: a threshold that moved would move its own test.
BAD_FROM = 50.0
SEVERITY_PER_DECADE = 25.0
WATCH_FROM = 35.0


def test_severities_mean_what_the_table_of_scores_says():
    assert severities(np.array([0.0, 1.0, 2.0, 3.0, np.nan])).tolist() == [0, 25, 50, 75, 100]
    assert SEVERITY_PER_DECADE * 2 == BAD_FROM


@given(st.lists(st.floats(0, 300), min_size=2, max_size=20, unique=True))
def test_severities_keep_the_order_of_rarities_and_can_be_taken_back(rarities: list[float]):
    ordered = np.sort(np.array(rarities))
    found = severities(ordered)
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found < 100)).all()
    assert rarities_of(found) == pytest.approx(ordered, rel=1e-6, abs=1e-6)


def test_beyond_75_a_severity_nears_100_without_a_corner():
    found = severities(np.array([2.999, 3.0, 3.001, 5.0, 1000.0]))
    assert found[1] - found[0] == pytest.approx(0.025, rel=0.01)
    assert 0 < found[2] - found[1] < 0.026
    assert found[3] == pytest.approx(87.5)
    assert 99.5 < found[4] < 100


def test_a_verdict_is_the_worst_that_holds():
    def verdict(severity: float, threshold: float = BAD_FROM, readable: bool = True, judged: bool = True) -> str:
        arrays = (np.array([each]) for each in (severity, threshold, readable, judged))
        (found,) = verdicts(*arrays)
        assert found in VERDICTS
        return found

    assert verdict(BAD_FROM) == "bad"
    assert verdict(BAD_FROM - 0.1) == verdict(WATCH_FROM) == "watch"
    assert verdict(WATCH_FROM - 0.1) == "ok"
    assert verdict(99.0, judged=False) == "not_judged"
    assert verdict(np.nan, judged=False) == "not_judged"
    assert verdict(0.0, readable=False, judged=False) == "unreadable"
    # A learnt threshold below that of a watch leaves none.
    assert verdict(31.0, threshold=30.0) == "bad"
    assert verdict(29.0, threshold=30.0) == "ok"
    assert verdict(60.0, threshold=70.0) == "watch"


def test_a_table_has_all_columns_in_their_order_and_blanks_where_nothing_is_given():
    features = table(columns(2))
    given_ = {"severity": np.arange(4.0), "verdict": ["ok"] * 4, "anomaly_score": np.zeros(4),
              "percentile": np.zeros(4), "threshold": np.full(4, 50.0), "model_id": ["m"] * 4}  # fmt: skip
    found = verdict_table(features, given_)
    assert found.column_names == list(VERDICT_COLUMNS)
    assert found["severity"].to_pylist() == [0.0, 1.0, 2.0, 3.0]
    assert found["pid"].to_pylist() == features["pid"].to_pylist()
    assert found["cause"].to_pylist() == [""] * 4
    assert found["findings"].to_pylist() == ["[]"] * 4
    assert found["config_changed"].to_pylist() == [False] * 4
    assert found["baseline_bins"].to_pylist() == [None] * 4
    assert found["baseline_bins"].type == pa.int64()
    assert np.isnan(found["affected_fraction"].to_numpy()).all()
