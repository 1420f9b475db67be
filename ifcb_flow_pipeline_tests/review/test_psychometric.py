"""The psychometric curve: shares by severity worked by hand, and a line found where it was put."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from ifcb_flow_pipeline.review.psychometric import psychometric
from ifcb_flow_pipeline.store.studies import Item, Rating

AT = datetime(2026, 3, 1, tzinfo=UTC)


def item(number: int, severity: float) -> Item:
    return Item(f"bin{number}", "top", 1.0, "bad", severity, "", id=number)


def answer(number: int, decision: str, mark: int | None = None, round_: str = "blind") -> Rating:
    return Rating(number, "Ada", round_, decision, 2.0, AT, mark=mark)


def test_shares_and_mean_ratings_are_those_of_each_step_of_severity():
    items = [item(1, 5.0), item(2, 9.0), item(3, 95.0), item(4, 100.0), item(5, math.nan)]
    ratings = [answer(1, "good", 10), answer(2, "bad"), answer(3, "bad", 80), answer(4, "unsure", 100),
               answer(5, "bad", 3), answer(3, "good", 1, "again")]  # fmt: skip
    low, high = psychometric(items, ratings).steps
    assert (low.low, low.high, low.bad.value, low.bad.n, low.mark) == (0, 10, 0.5, 2, 10.0)
    assert (high.low, high.high, high.bad.value, high.bad.n, high.mark) == (90, 100, 1.0, 1, 90.0)


def test_the_line_is_found_where_answers_turn():
    severities = np.linspace(1, 99, 99)
    items = [item(number, severity) for number, severity in enumerate(severities, 1)]
    ratings = [answer(number, "bad" if severity > 70 else "good") for number, severity in enumerate(severities, 1)]
    found = psychometric(items, ratings)
    assert found.line == pytest.approx(70, abs=3)
    assert found.slope > 0.5
    share = found.share(np.array([20.0, found.line, 95.0]))
    assert share[0] < 0.1
    assert share[1] == pytest.approx(0.5)
    assert share[2] > 0.9


@pytest.mark.parametrize("decisions", [["bad"] * 40, ["good"] * 40, ["bad", "good"] * 9, ["bad"] * 20 + ["good"] * 20])
def test_too_few_answers_answers_of_one_kind_and_a_falling_curve_have_no_line(decisions: list[str]):
    items = [item(number, 2.0 * number) for number in range(1, len(decisions) + 1)]
    ratings = [answer(number, decision) for number, decision in enumerate(decisions, 1)]
    assert math.isnan(psychometric(items, ratings).line)


def test_without_answers_there_is_no_step():
    assert psychometric([item(1, 5.0)], []).steps == ()
