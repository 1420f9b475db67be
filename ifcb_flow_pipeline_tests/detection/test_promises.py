"""What is promised of verdicts, on small archives: judged at once, and day by day with a week of history."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.flow.baseline import _OPEN_S
from ifcb_flow_pipeline.detection.flow.deployments import STEP_BINS
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS

from . import fleet
from .fleet import BLOOM, CADENCE, FAULTS, FLEET, Columns, Instrument, changed, columns, plus, same, table, times

#: One instrument, trained on five days; and the bins of a day.
ONE = FLEET[:1]
TRAINED, DAY = 300, 60

#: What tells nothing but the model.
OF_MODEL = ("model_id",)


def trained(bins: Columns) -> FlowModel:
    return train_flow_model(table(bins), TrainingSettings(), {}, fleet.CREATED, {})


@pytest.fixture(scope="module")
def known() -> FlowModel:
    return trained(columns(TRAINED, ONE))


def later(n: int, seed: int = 1) -> Columns:
    """Healthy bins from right after the training window."""
    return columns(n, ONE, seed=seed, start=fleet.START + TRAINED * CADENCE)


def joined(*parts: Columns) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def at_once(model: FlowModel, bins: Columns) -> pa.Table:
    return model.judge(table(bins))


def day_by_day(model: FlowModel, bins: Columns) -> pa.Table:
    rows = table(bins)
    day = np.array([start.date() for start in bins["start_time"]])
    parts = []
    for one in np.unique(day):
        before = (day < one) & (day >= one - timedelta(days=7))
        parts.append(model.judge(rows.filter(pa.array(day == one)), rows.filter(pa.array(before))))
    return pa.concat_tables(parts)


WAYS = pytest.mark.parametrize("judged", [at_once, day_by_day])


def verdicts(found: pa.Table) -> np.ndarray:
    return np.array(found["verdict"].to_pylist())


@WAYS
@pytest.mark.parametrize(
    "name", ["air all over the frame", "a clog half-way", "a stain on the flow cell", "a turned camera",
             "an objective out of focus", "a misaligned laser"],
)  # fmt: skip
def test_a_fault_of_ten_days_stays_bad_to_its_last_bin_and_the_second_bin_after_it_is_ok(
    name: str, judged, known: FlowModel
):
    first, end = 2 * DAY, 12 * DAY
    bins = changed(later(end + DAY), slice(first, end), **FAULTS[name][1])
    found = verdicts(judged(known, bins))
    assert (found[first:end] == "bad").mean() >= 0.99
    assert found[end - 1] == "bad"
    assert found[end + 1] == "ok"
    assert (np.delete(found, slice(first, end)) == "bad").mean() <= 0.03
    assert (found[end : end + DAY] == "bad").mean() <= 0.03


@WAYS
def test_a_core_that_jumps_and_stays_is_bad_at_first_and_then_an_open_question_for_two_weeks(judged, known: FlowModel):
    weeks = int(_OPEN_S / CADENCE.total_seconds())
    bins = changed(later(weeks + 4 * DAY), slice(DAY, None), core_x_px=plus(60))
    found = judged(known, bins)
    verdict, cause = verdicts(found), np.array(found["cause"].to_pylist())
    accepted = DAY + STEP_BINS
    assert (verdict[DAY:accepted] == "bad").all()
    is_open = slice(accepted, accepted + 6 * DAY)
    assert (verdict[is_open] == "watch").mean() > 0.95
    assert (cause[is_open] == "moved").mean() > 0.95
    assert (verdict[accepted:] == "bad").mean() <= 0.03
    if judged is at_once:
        assert (verdict[accepted + weeks + 1 :] == "ok").mean() > 0.8


@WAYS
def test_settings_that_alternate_are_no_change(judged):
    def alternating(bins: Columns) -> Columns:
        odd = slice(1, None, 2)
        return changed(bins, odd, configuration="other", peak_median_v=times(2.0), flight_time_us=times(1.05))

    model = trained(alternating(columns(TRAINED, ONE)))
    found = judged(model, alternating(later(4 * DAY)))
    assert not any(found["config_changed"].to_pylist())
    assert (verdicts(found) == "bad").mean() <= 0.03
    # Each is compared with its own history.
    mixed = changed(alternating(later(4 * DAY)), 101, peak_median_v=0.17, peak_floor_fraction=0.5)
    assert judged(model, mixed)["severity"][101].as_py() > 50


@WAYS
def test_settings_that_begin_to_alternate_are_reported_once(judged, known: FlowModel):
    bins = changed(later(4 * DAY), slice(DAY + 1, None, 2), configuration="other")
    found = judged(known, bins)
    assert np.flatnonzero(found["config_changed"].to_pylist()).tolist() == [DAY + 1]
    assert (verdicts(found) == "bad").mean() <= 0.03


def wandering(bins: Columns, by: np.ndarray) -> Columns:
    """The bins with what wanders on healthy instruments, ``by`` (n,) so many times as far as it does within days."""
    return changed(
        bins, slice(None), cross_high_px=plus(20 * by), peak_median_v=times(1 + 0.2 * by), temperature_c=plus(3 * by),
        core_x_px=plus(6 * by), no_image_fraction=plus(0.03 * by),
    )  # fmt: skip


@WAYS
def test_creeping_drift_is_followed_as_far_as_the_instrument_is_known_to_wander(judged):
    cycles = np.sin(np.arange(TRAINED) / TRAINED * 4 * np.pi)
    model = trained(wandering(columns(TRAINED, ONE), cycles))
    n = 10 * DAY
    found = verdicts(judged(model, wandering(later(n), np.linspace(0.0, 2.0, n))))
    assert (found == "bad").mean() <= 0.03
    assert (found[-DAY:] == "ok").mean() > 0.75


@pytest.mark.parametrize("level", [3.4, -4.2, -8.3])
def test_humidity_below_zero_is_never_a_leak(level: float):
    def dry(bins: Columns) -> Columns:
        wobble = np.random.default_rng(0).normal(0, 1.5, len(bins["pid"]))
        return changed(bins, slice(None), humidity_pct=level + wobble)

    model = trained(dry(columns(TRAINED, ONE)))
    found = model.judge(table(dry(later(2 * DAY))))
    assert "leak" not in {*found["cause"].to_pylist(), *found["second_cause"].to_pylist()}
    assert (verdicts(found) == "bad").mean() <= 0.03
    # Nor where it comes down to that from a usual one.
    falling = changed(later(DAY), slice(None), humidity_pct=np.linspace(24, level, DAY))
    assert "leak" not in trained(columns(TRAINED, ONE)).judge(table(falling))["cause"].to_pylist()


def test_bins_of_other_instruments_change_nothing_bit_by_bit(known: FlowModel):
    others = columns(TRAINED, (Instrument("IFCB5", {"core_x_px": 500.0}), Instrument("IFCB6")), seed=5)
    strange = changed(others, slice(0, 200), core_tilt=0.4, stray_fraction=0.5, humidity_pct=90.0)
    own = changed(later(3 * DAY), 70, **FAULTS["air all over the frame"][1])
    alone = known.judge(table(own)).drop_columns(list(OF_MODEL))
    together = trained(joined(columns(TRAINED, ONE), strange))
    # In training, in the same table, and in the history.
    one = together.judge(table(own)).drop_columns(list(OF_MODEL))
    two = together.judge(table(joined(strange, own))).slice(2 * TRAINED).drop_columns(list(OF_MODEL))
    three = together.judge(table(own), table(strange)).drop_columns(list(OF_MODEL))
    assert [same(alone, found) for found in (one, two, three)] == [True, True, True]


@WAYS
def test_an_unknown_instrument_is_never_ok(judged, known: FlowModel):
    bins = columns(3 * DAY, (Instrument("IFCB99"),), seed=3, start=fleet.START + TRAINED * CADENCE)
    found = judged(known, changed(bins, 30, **FAULTS["heat"][1]))
    expected = ["not_judged"] * (3 * DAY)
    expected[30] = "bad"
    assert verdicts(found).tolist() == expected


def test_with_few_bins_of_its_own_an_instrument_is_judged_when_they_are_enough():
    n = MIN_BASELINE_BINS - 5
    model = trained(joined(columns(TRAINED, ONE), columns(n, (Instrument("IFCB7"),), seed=2)))
    bins = columns(40, (Instrument("IFCB7"),), seed=4, start=fleet.START + n * CADENCE)
    found = model.judge(table(bins))
    enough = found["baseline_bins"].to_numpy() >= MIN_BASELINE_BINS
    assert (verdicts(found)[~enough] == "not_judged").all()
    assert "not_judged" not in verdicts(found)[enough]
    assert 1 <= (~enough).sum() < 20
    assert (verdicts(found) == "bad").sum() == 0


def test_on_half_a_day_of_history_only_what_is_gross_is_bad():
    model = trained(columns(DAY // 2, ONE))
    bins = columns(2 * DAY, ONE, seed=1, start=fleet.START + DAY // 2 * CADENCE)
    drift = np.linspace(0, 1, 2 * DAY)
    drifting = changed(
        bins, slice(None), cross_high_px=plus(-48 * drift), core_tilt=plus(0.02 * drift), temperature_c=plus(3 * drift),
        peak_y_slope=plus(0.4 * drift),
    )  # fmt: skip
    assert (verdicts(model.judge(table(drifting)))[:DAY] == "bad").mean() <= 0.03
    gross = changed(changed(bins, 20, stray_fraction=0.6), 30, repeat_fraction=0.3, hot_cell_fraction=0.3)
    assert verdicts(model.judge(table(gross)))[[20, 30]].tolist() == ["bad", "bad"]


@WAYS
def test_weeks_of_bloom_are_never_bad(judged, known: FlowModel):
    bins = changed(later(8 * DAY), slice(2 * DAY, 6 * DAY), **BLOOM)
    found = judged(known, bins)
    assert (verdicts(found) == "bad").mean() <= 0.03
    causes = [cause for cause in found["cause"].to_pylist()[2 * DAY : 6 * DAY] if cause]
    assert np.mean([cause in ("bloom", "community") for cause in causes]) > 0.8


def test_how_faulty_bins_are_makes_no_difference_to_those_after_the_repair(known: FlowModel):
    rows = slice(DAY, 3 * DAY)
    one, other = (changed(later(4 * DAY), rows, core_tilt=tilt) for tilt in (0.3, 0.9))
    found = [known.judge(table(bins)).slice(3 * DAY + 8) for bins in (one, other)]
    assert same(*found)
