"""Champion and challenger over the same bins: what is compared, and what makes a challenger worse."""

import math
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.trial.comparison import compare_models, healthy_rows

N = 40


@dataclass
class Scorer:
    """A model that calls these bins bad; a bin's score is the number in its pid, unless told otherwise."""

    bad: set[str]
    sign: float = 1.0
    unreadable: set[str] = field(default_factory=set)
    not_judged: set[str] = field(default_factory=set)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:  # noqa: ARG002 - as models have it
        pids = features["pid"].to_pylist()
        verdicts = ["unreadable" if pid in self.unreadable else "not_judged" if pid in self.not_judged else
                    "bad" if pid in self.bad else "ok" for pid in pids]  # fmt: skip
        scores = [
            math.nan if pid in self.unreadable | self.not_judged else self.sign * float(pid.split("-")[-1])
            for pid in pids
        ]
        severities = [{"ok": 10.0, "bad": 60.0 + int(pid.split("-")[-1]) % 7, "unreadable": 100.0,
                       "not_judged": math.nan}[verdict]
                      for pid, verdict in zip(pids, verdicts, strict=True)]  # fmt: skip
        columns = {"verdict": verdicts, "anomaly_score": pa.array(scores, pa.float64()), "severity": severities}
        return pa.table(columns)


def rows(prefix: str, n: int = N) -> pa.Table:
    return pa.table({"pid": [f"{prefix}-{i}" for i in range(n)], "status": ["ok"] * n})


def named(prefix: str, numbers) -> set[str]:
    return {f"{prefix}-{i}" for i in numbers}


FAULTS = {fault: rows(fault) for fault in ("air", "stain", "clog")}
ALL_FOUND = {pid for table in FAULTS.values() for pid in table["pid"].to_pylist()}
CHAMPION = Scorer(ALL_FOUND | named("bin", range(2)))


def compare(challenger: Scorer, labels=None, champion: Scorer = CHAMPION):
    return compare_models(champion, challenger, rows("bin"), FAULTS, labels or {})


def test_a_model_is_no_worse_than_itself() -> None:
    found = compare(CHAMPION)
    assert found.worse == ()
    assert found.changed == ()
    assert found.rank_agreement == pytest.approx(1.0)
    assert {fault: (pair.n, pair.champion, pair.challenger) for fault, pair in found.planted.items()} == dict.fromkeys(
        FAULTS, (N, 1.0, 1.0)
    )


def test_ranks_that_are_turned_round_are_reported_and_do_not_make_it_worse() -> None:
    found = compare(Scorer(CHAMPION.bad, sign=-1.0))
    assert found.rank_agreement == pytest.approx(-1.0)
    assert found.worse == ()


def test_bins_without_score_and_models_without_ranks_take_no_part_in_the_agreement() -> None:
    assert compare(Scorer(CHAMPION.bad, unreadable=named("bin", [7, 8]))).rank_agreement == pytest.approx(1.0)
    assert math.isnan(compare(Scorer(CHAMPION.bad, sign=0.0)).rank_agreement)


def test_changed_verdicts_are_listed_with_both_the_largest_difference_first() -> None:
    found = compare(Scorer(ALL_FOUND | named("bin", [1, 5, 13])))
    assert [(c.pid, c.champion, c.challenger) for c in found.changed] == [
        ("bin-13", "ok", "bad"), ("bin-5", "ok", "bad"), ("bin-0", "bad", "ok"),
    ]  # fmt: skip
    assert (found.changed[0].champion_severity, found.changed[0].challenger_severity) == (10.0, 66.0)


def test_bins_that_a_model_does_not_judge_are_counted_and_listed_by_what_the_other_says() -> None:
    found = compare(Scorer(CHAMPION.bad, not_judged=named("bin", [1, 5])))
    assert (found.not_judged.champion, found.not_judged.challenger) == (0.0, 2 / N)
    assert [(c.pid, c.champion, c.challenger) for c in found.changed] == [
        ("bin-1", "bad", "not_judged"), ("bin-5", "ok", "not_judged"),
    ]  # fmt: skip
    assert math.isnan(found.changed[0].challenger_severity)


def test_bad_bins_that_the_model_in_use_did_not_judge_are_no_false_alarms() -> None:
    champion = Scorer(CHAMPION.bad, not_judged=named("bin", range(2, 20)))
    found = compare(Scorer(ALL_FOUND | named("bin", range(20))), champion=champion)
    assert (found.alarms.n, found.worse) == (20, ())


def test_one_that_finds_less_of_what_was_planted_is_worse_and_says_of_which() -> None:
    found = compare(Scorer(CHAMPION.bad - named("air", range(20))))
    assert found.planted["air"].challenger == 0.5
    assert found.worse == (
        "finds 17% fewer of the planted faults",
        "finds 50% of planted air, the active model 100%",
    )


def test_six_in_a_hundred_of_what_was_planted_and_four_in_ten_of_one_kind_are_no_chance() -> None:
    assert compare(Scorer(CHAMPION.bad - named("air", range(7)))).worse == ("finds 6% fewer of the planted faults",)
    champion = Scorer(CHAMPION.bad - named("clog", range(N)))
    assert compare(Scorer(CHAMPION.bad - named("air", range(11))), champion=champion).worse == ()
    assert len(compare(Scorer(CHAMPION.bad - named("air", range(16))), champion=champion).worse) == 1


def test_the_loss_is_that_of_all_planted_bins_whatever_the_number_of_a_kind() -> None:
    faults = {"air": rows("air", 100), "clog": rows("clog", 10)}
    champion = Scorer({pid for table in faults.values() for pid in table["pid"].to_pylist()})
    found = compare_models(champion, Scorer(champion.bad - named("clog", range(2))), rows("bin"), faults, {})
    assert found.worse == ()  # 2 of 110


def test_a_small_loss_may_be_chance() -> None:
    assert compare(Scorer(CHAMPION.bad - named("air", range(5)))).worse == ()


def test_one_kind_of_fault_that_is_lost_is_not_made_up_for_by_the_others() -> None:
    champion = Scorer(CHAMPION.bad - named("clog", range(N)))
    challenger = Scorer(CHAMPION.bad - named("air", range(20)))
    assert compare(challenger, champion=champion).worse == ("finds 50% of planted air, the active model 100%",)


def test_one_that_calls_many_more_bins_bad_is_worse_but_some_it_may() -> None:
    assert compare(Scorer(ALL_FOUND | named("bin", range(5)))).worse == ()
    assert compare(Scorer(ALL_FOUND | named("bin", range(7)))).worse == (
        "calls 13% of the bins bad that the active model does not",
    )
    assert compare(Scorer(ALL_FOUND | named("bin", range(8)))).worse == (
        "calls 16% of the bins bad that the active model does not",
    )


def test_bins_that_people_called_bad_are_no_false_alarms() -> None:
    labels = dict.fromkeys(named("bin", range(2, 8)), "bad")
    assert compare(Scorer(ALL_FOUND | named("bin", range(8))), labels).worse == ()


def test_one_that_contradicts_people_more_often_is_worse() -> None:
    labels = dict.fromkeys(named("bin", range(5)), "bad") | dict.fromkeys(named("bin", range(30, 40)), "good")
    champion = Scorer(ALL_FOUND | named("bin", range(5)))
    assert compare(Scorer(ALL_FOUND), labels, champion).worse == (
        "finds 100% fewer of the 5 bins that people called bad",
    )
    assert compare(Scorer(champion.bad | named("bin", [30])), labels, champion).worse == (
        "calls bad 10% more of the 10 bins that people called good",
    )


def test_one_in_sixteen_of_peoples_decisions_is_no_chance_and_one_in_twenty_five_may_be() -> None:
    for n, worse in ((16, True), (25, False)):
        bad = named("bin", range(n))
        labels = dict.fromkeys(bad, "bad")
        lost = compare(Scorer(ALL_FOUND | named("bin", range(1, n))), labels, Scorer(ALL_FOUND | bad)).worse
        assert lost == ((f"finds 6% fewer of the {n} bins that people called bad",) if worse else ())
        labels = dict.fromkeys(bad, "good")
        more = compare(Scorer(ALL_FOUND | named("bin", [0])), labels, Scorer(ALL_FOUND)).worse
        assert more == ((f"calls bad 6% more of the {n} bins that people called good",) if worse else ())


def test_three_bins_with_ranks_are_needed_for_an_agreement() -> None:
    for n, is_told in ((2, False), (3, True)):
        found = compare_models(CHAMPION, CHAMPION, rows("bin", n), {}, {}).rank_agreement
        assert math.isnan(found) != is_told


def test_a_few_labels_decide_nothing() -> None:
    champion = Scorer(ALL_FOUND | named("bin", range(4)))
    assert compare(Scorer(ALL_FOUND), dict.fromkeys(named("bin", range(4)), "bad"), champion).worse == ()


def test_a_few_planted_bins_decide_nothing() -> None:
    few = {"air": rows("air", 9)}
    assert compare_models(CHAMPION, Scorer(set()), rows("bin"), few, {}).worse == ()
    enough = {"air": rows("air", 10)}
    assert len(compare_models(CHAMPION, Scorer(set()), rows("bin"), enough, {}).worse) == 2


def test_without_bins_there_is_nothing_to_hold_against_a_challenger() -> None:
    nothing = pa.table({"pid": pa.array([], pa.string())})
    found = compare_models(CHAMPION, Scorer(set()), nothing, {}, {})
    assert (found.n_bins, found.worse) == (0, ())


def test_healthy_rows_are_ok_by_status_model_and_people_and_evenly_spread() -> None:
    features = rows("bin", 100)
    scores = Scorer(named("bin", range(10))).judge(features)
    labels = dict.fromkeys(named("bin", range(10, 20)), "bad")
    chosen = healthy_rows(features, scores, labels, 9)["pid"].to_pylist()
    assert chosen == [f"bin-{i}" for i in np.linspace(20, 99, 9).astype(int)]
    assert healthy_rows(features, Scorer(named("bin", range(100))).judge(features), {}, 9).num_rows == 0
