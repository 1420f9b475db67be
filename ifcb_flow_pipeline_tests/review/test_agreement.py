"""Statistics of judgements against tables worked by hand, published numbers and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from ifcb_flow_pipeline.review.agreement import (
    Confusion,
    by_cause,
    cohen_kappa,
    consensus,
    disputed,
    fleiss_kappa,
    kappa_between,
    krippendorff_alpha,
    wilson,
)


def people(text: str) -> dict[str, str]:
    """``"bgu"``: bad, good and unsure about the bins 0, 1 and 2; a point is no judgement."""
    words = {"b": "bad", "g": "good", "u": "unsure"}
    return {str(i): words[letter] for i, letter in enumerate(text) if letter != "."}


def test_the_rates_of_a_published_rater():
    # A rater of the AnomaGUI study: 138 false alarms and 18 misses on 228 positives and 321 negatives.
    confusion = Confusion(true_bad=210, false_bad=138, true_good=183, false_good=18)
    assert confusion.accuracy.value == pytest.approx(0.716, abs=5e-4)
    assert confusion.true_positive_rate.value == pytest.approx(0.921, abs=5e-4)
    assert confusion.false_positive_rate.value == pytest.approx(0.430, abs=5e-4)
    assert (confusion.true_positive_rate.n, confusion.false_positive_rate.n) == (228, 321)


def test_the_confusion_of_a_small_table_worked_by_hand():
    confusion = Confusion.of(judged=people("bbggbu."), truth=people("bgbggbb"))
    assert confusion == Confusion(true_bad=1, false_bad=2, true_good=1, false_good=1, unsure=1)
    assert confusion.accuracy.value == pytest.approx(2 / 5)


def test_a_bin_without_known_truth_counts_nowhere():
    assert Confusion.of(people("bb"), people("bu")) == Confusion(1, 0, 0, 0, 0)


def test_weights_count_a_bin_as_often_as_it_stands_for_others():
    confusion = Confusion.weighted(people("bbg"), people("bgg"), {"2": 98.0})
    assert confusion.accuracy.value == pytest.approx(0.99)
    assert confusion.false_positive_rate.value == pytest.approx(1 / 99)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (5, 10), (210, 228), (1, 1), (7, 1000)])
def test_wilson_intervals_are_those_of_scipy(hits, n):
    rate, theirs = wilson(hits, n), binomtest(hits, n).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == pytest.approx((theirs.low, theirs.high))
    assert rate.low <= rate.value <= rate.high


def test_a_rate_of_nothing_is_unknown():
    assert math.isnan(wilson(0, 0).value)
    assert math.isnan(Confusion(0, 0, 0, 0).accuracy.low)


def test_kappa_of_a_table_worked_by_hand():
    # 20 both yes, 15 both no, 5 and 10 apart: observed 0.7, by chance 0.5.
    first = ["b"] * 25 + ["g"] * 25
    second = ["b"] * 20 + ["g"] * 5 + ["b"] * 10 + ["g"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.choice(["good", "bad", "unsure"], size=(2, rng.integers(2, 60))).tolist()
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second), nan_ok=True)


def test_kappa_without_bins_or_with_one_answer_throughout_is_unknown():
    assert math.isnan(cohen_kappa([], []))
    assert math.isnan(cohen_kappa(["bad"] * 3, ["bad"] * 3))
    assert math.isnan(kappa_between(people("bb"), people("bb")).low)


def test_kappa_between_two_people_leaves_out_what_one_of_them_did_not_judge():
    kappa = kappa_between(people("bgbgu.b"), people("bgbggbu"))
    assert kappa.n == 4
    assert kappa.value == 1.0


def test_the_interval_of_kappa_holds_the_agreement_of_most_simulated_pairs_of_people():
    # Two people who each call a bin by its truth with a probability of 0.9, half of the bins bad.
    expected, held = 2 * (0.9**2 + 0.1**2) - 1, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth = rng.random(400) < 0.5
        first, second = (np.where(rng.random(400) < 0.9, truth, ~truth) for _ in range(2))
        said = [{str(i): "bad" if bad else "good" for i, bad in enumerate(person)} for person in (first, second)]
        kappa = kappa_between(*said)
        assert kappa.high - kappa.low < 0.25
        held += kappa.low < expected < kappa.high
    # 28.5 of 30 are expected; fewer than 25 come by chance once in a hundred times.
    assert held >= 25


def test_consensus_is_what_most_say_and_none_where_votes_are_even():
    assert consensus([people("bgbu"), people("bgg."), people("bbu.")]) == {"0": "bad", "1": "good"}


def test_what_was_settled_counts_instead_of_the_votes():
    votes = [people("bg"), people("bb")]
    assert consensus(votes, {"0": "good", "1": "bad"}) == {"0": "good", "1": "bad"}
    assert consensus(votes, {"0": "unsure"}) == {}


def test_disputed_are_bins_that_people_or_the_model_see_differently():
    # 0: all agree. 1: two to one. 2: someone is unsure. 3: the model differs. 4: three to one agree enough.
    votes = [people("bbbgb"), people("bbbgb"), people("bgugb"), people("bbbgg")]
    votes[3].pop("1")
    assert disputed(votes, people("bbbbb")) == ["1", "2", "3"]
    assert disputed([], people("b")) == []


def test_judgements_are_counted_by_suspected_cause():
    counts = by_cause(people("bbgu"), {"0": "air", "1": "clog", "2": "air", "3": "air"})
    assert list(counts) == ["air", "clog"]
    assert counts["air"] == {"bad": 1, "good": 1, "unsure": 1}


def test_alpha_of_an_example_worked_by_hand():
    # Three bins, two people: both bad, both good, apart. Unlike pairs: 2 of 6 observed, 2 * 3 * 3 / (6 * 5) expected.
    alpha = krippendorff_alpha([people("bgb"), people("bgg")])
    assert alpha.value == pytest.approx(1 - (2 / 6) / (2 * 3 * 3 / 30))
    assert alpha.n == 3


def test_alpha_takes_bins_that_not_all_judged_and_leaves_out_those_of_one():
    assert krippendorff_alpha([people("bgbb."), people("bg.b."), people(".gb.g")]).value == 1.0
    assert krippendorff_alpha([people("bgbb."), people("bg.b."), people(".gb.g")]).n == 4
    assert math.isnan(krippendorff_alpha([people("bg")]).value)
    assert math.isnan(krippendorff_alpha([]).value)


def test_fleiss_kappa_of_an_example_worked_by_hand():
    # Three people, four bins with 3, 2, 1 and 0 times bad: bad half of the time, agreement within bins 2/3 on average.
    kappa = fleiss_kappa([people("bbbg"), people("bbgg"), people("bggg")])
    assert kappa.value == pytest.approx((2 / 3 - 0.5) / 0.5)
    assert math.isnan(fleiss_kappa([people("bg")]).value)


def test_the_most_ambiguous_bins_come_first():
    votes = [people("bbbg"), people("bbgg"), people("bggb"), people("bgub")]
    assert disputed(votes, people("bbbb"))[:2] == ["1", "2"]
