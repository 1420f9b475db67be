"""What comes out of a small study whose numbers are worked by hand."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ifcb_flow_pipeline.review.agreement import Confusion
from ifcb_flow_pipeline.review.results import MODEL, StudyResult, left_for
from ifcb_flow_pipeline.store.studies import Item, Rating

AT = datetime(2026, 3, 1, tzinfo=UTC)
MODEL_SAYS = {"a": ("bad", "air"), "b": ("bad", "clog"), "c": ("ok", ""), "d": ("watch", "air")}
ITEMS = [Item(pid, "top", 2.0, verdict, 50.0, cause, id=i + 1) for i, (pid, (verdict, cause)) in
         enumerate(MODEL_SAYS.items())] + [Item("a", "top", 0.0, "bad", 50.0, "air", repeat_of=1, id=5),
                                           Item("c", "top", 0.0, "ok", 50.0, "", repeat_of=3, id=6)]  # fmt: skip
WORDS = {"b": "bad", "g": "good", "u": "unsure"}


def said(reviewer: str, letters: str, round_: str = "blind") -> list[Rating]:
    """Ratings of the items 1, 2, ... : one letter each, a point for none."""
    return [
        Rating(i + 1, reviewer, round_, WORDS[letter], 2.0, AT) for i, letter in enumerate(letters) if letter != "."
    ]


#: a and c: all agree. b: two to one. d: Cy is unsure. Ada calls a differently when it comes again.
RATINGS = [*said("Ada", "bbgggg"), *said("Bo", "bbggbg"), *said("Cy", "bgguu.")]
RESULT = StudyResult(ITEMS, RATINGS)


def test_only_first_showings_are_a_reviewers_judgement_of_a_bin():
    assert RESULT.reviewers == ["Ada", "Bo", "Cy"]
    assert RESULT.said_by("Ada") == {"a": "bad", "b": "bad", "c": "good", "d": "good"}


def test_the_model_calls_bad_only_what_it_calls_bad():
    assert RESULT.model == {"a": "bad", "b": "bad", "c": "good", "d": "good"}


def test_consensus_and_the_model_against_it():
    assert RESULT.agreed == {"a": "bad", "b": "bad", "c": "good", "d": "good"}
    assert RESULT.confusion(MODEL) == Confusion(2, 0, 2, 0)
    assert RESULT.model_on_all_bins() == Confusion(4.0, 0, 4.0, 0)


def test_a_reviewer_is_held_against_the_others_only():
    # Of b the other two say good and bad: no consensus without Ada.
    assert RESULT.confusion("Ada") == Confusion(1, 0, 2, 0)
    assert RESULT.confusion("Cy") == Confusion(1, 0, 1, 1, unsure=1)


def test_a_reviewer_alone_has_no_truth_to_be_held_against():
    assert StudyResult(ITEMS, said("Ada", "bbgg")).confusion("Ada") == Confusion(0, 0, 0, 0)


def test_kappas_of_all_pairs_with_the_model_among_them():
    kappas = RESULT.kappas()
    assert set(kappas) == {("Ada", "Bo"), ("Ada", "Cy"), ("Ada", MODEL), ("Bo", "Cy"), ("Bo", MODEL), ("Cy", MODEL)}
    assert kappas["Ada", "Bo"].value == 1.0
    # Ada b b g, Cy b g g: observed 2/3, by chance 2/3*1/3 + 1/3*2/3 = 4/9.
    assert kappas["Ada", "Cy"].value == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))


def test_the_model_is_held_against_the_consensus_cause_by_cause():
    found = RESULT.confusion_by_cause()
    # air: a is bad and called so, d is not; clog: b.
    assert found == {"air": Confusion(1, 0, 1, 0), "clog": Confusion(1, 0, 0, 0), "none": Confusion(0, 0, 1, 0)}
    assert next(iter(found)) == "air"


def test_named_causes_stand_beside_the_suspected_ones_and_repeats_count_once():
    named = [replace(rating, cause="stain") for rating in said("Ada", "b...b.")] + [
        replace(said("Bo", "..b")[0], cause="air")
    ]
    assert StudyResult(ITEMS, named).causes_named() == {("air", "stain"): 1, ("none", "air"): 1}


def test_statistics_hold_every_rate_and_kappa_with_its_interval():
    rows = RESULT.statistics()
    assert len(rows) == 4 * 3 + 6 + 3
    (found,) = [row for row in rows if (row["who"], row["measure"]) == (MODEL, "true_positive_rate")]
    assert (found["value"], found["n"]) == (1.0, 2)
    assert 0 < found["low"] < 1 == found["high"]


def test_agreement_with_oneself_is_over_the_bins_shown_twice():
    assert RESULT.kappa_with_oneself("Bo").value == 1.0
    assert RESULT.kappa_with_oneself("Ada").value == 0.0
    assert RESULT.kappa_with_oneself("Cy").n == 0


def test_disputed_bins_are_looked_at_again_and_then_settled():
    assert RESULT.disputed == ["b", "d"]
    again = StudyResult(ITEMS, [*RATINGS, *said("Ada", ".g", "again")])
    assert again.disputed == ["d"]
    assert again.agreed["b"] == "good"
    assert again.confusion(MODEL) == Confusion(1, 1, 2, 0)
    # A second look changes no blind judgement.
    assert again.said_by("Ada") == RESULT.said_by("Ada")


def test_judgements_by_the_models_cause():
    counts = RESULT.by_cause()
    assert counts["air"] == Counter(bad=3, good=2, unsure=1)
    assert counts["clog"] == Counter(bad=2, good=1)
    assert counts["none"] == Counter(good=3)


def test_the_export_has_every_rating_with_what_the_model_said():
    rows = RESULT.rows()
    assert len(rows) == len(RATINGS)
    assert rows[0] == {"pid": "a", "reviewer": "Ada", "round": "blind", "decision": "bad", "cause": "", "note": "",
                       "seconds": 2.0, "at": "2026-03-01T00:00:00+00:00", "shown_again": False, "stratum": "top",
                       "model_verdict": "bad", "model_severity": 50.0, "model_cause": "air",
                       "consensus": "bad", "rating": None}  # fmt: skip
    assert [row["shown_again"] for row in rows[:6]] == [False] * 4 + [True] * 2


def test_what_is_left_comes_in_the_reviewers_own_order_and_shrinks():
    order = [item.id for item in left_for("Ada", ITEMS, [])]
    assert sorted(order, key=lambda number: number or 0) == [1, 2, 3, 4, 5, 6]
    assert [item.id for item in left_for("Ada", ITEMS, RATINGS)] == []
    assert [item.id for item in left_for("Ada", ITEMS, said("Bo", "bb"))] == order
    rated = Rating(order[0] or 0, "Ada", "blind", "bad", 1.0, AT)
    assert [item.id for item in left_for("Ada", ITEMS, [rated])] == order[1:]
