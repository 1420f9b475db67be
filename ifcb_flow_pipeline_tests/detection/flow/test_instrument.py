"""One instrument's model: how rare its bins are, and what speaks against them."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.bin_table import BinTable, rows_of_instruments, taken
from ifcb_flow_pipeline.detection.flow.baseline import Deviations
from ifcb_flow_pipeline.detection.flow.instrument import (
    Evidence,
    InstrumentModel,
    Screening,
    held,
)
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.neighbour_averages import NeighbourEvidence
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM, severities

from ..fleet import BLOOM, FAULTS, Columns, changed, plus, table, times

#: As documented. They are not imported: a threshold that moved would move its own test.
HELD_FROM = 1.75
MOST_MOVED = 4.5
HELD_TO = 1.95


NAME = "IFCB134"


@pytest.fixture(scope="module")
def instrument(model: FlowModel) -> InstrumentModel:
    return model.instruments[NAME]


def bins_of(model: FlowModel, columns: Columns) -> BinTable:
    rows = table(columns)
    return BinTable.of(taken(rows, rows_of_instruments(rows)[NAME]), model.metadata)


def screened(model: FlowModel, columns: Columns, ranker: LabelRanker | None = None) -> Screening:
    one = model.instruments[NAME]
    bins = bins_of(model, columns)
    return one.screen(bins, one.deviations(bins), ranker or model.ranker)


@given(st.lists(st.floats(0, 500), min_size=2, max_size=20))
def test_what_is_held_is_below_a_bad_bin_in_the_same_order(rarities: list[float]):
    found = held(np.sort(rarities))
    assert (np.diff(found) >= 0).all()
    assert found.max() <= HELD_TO
    assert severities(np.array([HELD_TO]))[0] < BAD_FROM
    below = np.sort(rarities) <= HELD_FROM
    assert np.array_equal(found[below], np.sort(rarities)[below])


def test_held_rarities_go_half_of_their_way_and_near_its_end():
    first, half, far = held(np.array([HELD_FROM, HELD_FROM + 5.0, 1e6]))
    assert first == HELD_FROM
    assert half == pytest.approx((HELD_FROM + HELD_TO) / 2)
    assert far == pytest.approx(HELD_TO, abs=1e-3)


def test_a_fault_is_rare_by_itself_and_the_water_is_held(model: FlowModel, healthy: Columns):
    columns = changed(changed(healthy, 50, **FAULTS["a turned camera"][1]), 60, **BLOOM)
    found = screened(model, columns)
    assert found.fault[50] > 3.0
    assert found.alone[50] == found.fault[50]
    assert found.fault[60] < 2.0
    assert found.fault[60] <= found.alone[60] <= HELD_TO


def test_what_a_bloom_leaves_unexplained_must_be_plain(model: FlowModel, healthy: Columns):
    rarities = []
    for tilt in np.linspace(0.0, 0.04, 120):
        odd = changed(healthy, 40, core_tilt=plus(tilt))
        both = odd, changed(odd, 40, **BLOOM)
        rarities.append([screened(model, columns).fault[40] for columns in both])
    alone, blooming = np.array(rarities).T
    # As rare as one bin in some hundreds, but in water that training hardly had.
    assert ((alone > 2.0) & (blooming < 2.0)).any()
    assert (blooming[alone > 3.5] > 3.0).all()
    assert not ((blooming > HELD_TO) & (blooming < 3.0)).any()


def test_of_healthy_bins_one_in_a_hundred_is_rare_as_that(model: FlowModel, healthy: Columns):
    found = screened(model, healthy)
    assert (found.alone >= 2.0).mean() <= 0.03
    assert (found.fault <= found.alone + 1e-9).all()


def test_what_drifts_within_a_day_is_gross_only_far_beyond_its_drift(model: FlowModel, healthy: Columns):
    one = model.instruments[NAME]
    columns = changed(healthy, 50, **FAULTS["a turned camera"][1])
    columns = changed(changed(columns, 60, core_tilt=plus(0.02)), 70, stray_right_fraction=times(4.0))
    bins = bins_of(model, columns)
    deviations = one.deviations(bins)
    short = replace(deviations, is_short=np.ones(len(bins), bool))
    found = one.screen(bins, short, model.ranker)
    assert found.gross[50] > 4.0
    assert found.fault[60] > 3.0
    assert found.fault[70] > 2.0
    assert (found.gross[[60, 70]] < 2.0).all()


def test_what_is_gross_does_not_wander_and_is_asked_where_the_history_is_short(model: FlowModel, healthy: Columns):
    one = model.instruments[NAME]
    columns = changed(changed(healthy, 50, **FAULTS["a stain on the flow cell"][1]), 60, core_x_px=plus(90))
    bins = bins_of(model, columns)
    deviations = one.deviations(bins)
    assert not one.screen(bins, deviations, model.ranker).gross.any()
    short = replace(deviations, is_short=np.ones(len(bins), bool))
    gross = one.screen(bins, short, model.ranker).gross
    assert gross[50] > 4.0
    assert gross[60] < 2.0  # the place of a core wanders


def test_decisions_move_bins_in_which_something_is_unusual(model: FlowModel, healthy: Columns):
    taught = LabelRanker()
    taught.weights_, taught.bias_ = np.full(len(model.ranker.weights_), 2.0), np.array(0.0)
    columns = changed(healthy, 50, **FAULTS["a turned camera"][1])
    shift = screened(model, columns, taught).fault[50] - screened(model, columns).fault[50]
    assert shift == pytest.approx(0.6, abs=0.05)


def test_a_core_that_lies_elsewhere_counts_up_to_a_limit(model: FlowModel, healthy: Columns):
    near, far = (screened(model, changed(healthy, 50, core_x_px=plus(px))).fault[50] for px in (60.0, 400.0))
    assert far == pytest.approx(near, abs=0.1)
    assert 2.0 < far < MOST_MOVED + 3.0


def test_bins_odder_with_their_neighbours_are_told_from_those_odder_alone():
    neighbours = NeighbourEvidence(
        np.array([0.0, 3.0, 3.0]),
        np.array([-1, 0, 0]),
        np.array([4]),
        *np.zeros((3, 1, 2), np.float32),
        np.zeros(1, np.float32),
    )
    found = Screening(np.array([1.0, 1.0, 5.0]), np.zeros(3), np.zeros(3), neighbours)
    assert found.by_neighbours.tolist() == [False, True, False]
    assert found.rarity.tolist() == pytest.approx([1.0, 3.01, 5.0])
    assert found.of(np.array([2, 1])).rarity.tolist() == pytest.approx([5.0, 3.01])
    nothing = Screening.nothing(2, 3)
    assert nothing.rarity.tolist() == [0.0, 0.0]
    assert nothing.gross.tolist() == [0.0, 0.0]


def test_the_evidence_of_a_bin_is_what_was_seen_and_what_is_usual(model: FlowModel, healthy: Columns):
    one = model.instruments[NAME]
    columns = changed(healthy, 50, core_x_px=plus(60))
    bins = bins_of(model, columns)
    deviations = one.deviations(bins)
    screening = one.screen(bins, deviations, model.ranker)
    found = one.evidence(deviations, screening, np.array([50, 20]))
    core = [feature.name for feature in model.metadata].index("core_x_px")
    assert found.centre[0, core] + found.z[0, core] * found.spread[0, core] == pytest.approx(
        columns["core_x_px"][50], abs=0.01
    )
    assert found.n_bins.tolist() == [1, 1]
    assert found.rarities[0].argmax() == core
    assert found.added[0].argmax() == core
    assert found.added[0].sum() == pytest.approx(
        one.tails.raw_score(one.tails.groups_of(found.rarities[:1], found.explanation.factor[:1]))[0], rel=1e-3
    )
    low, high = found.centre - found.reach[0] * found.spread, found.centre + found.reach[1] * found.spread
    within = (bins.values > low[0]) & (bins.values < high[0])
    assert within[:40].mean() > 0.9
    assert found.sure.tolist() == [True, False]


def test_the_evidence_of_bins_in_a_row_is_of_their_mean(model: FlowModel, healthy: Columns):
    one = model.instruments[NAME]
    rows = np.arange(50, 58)
    slight = {
        "core_tilt": plus(0.0085),
        "dead_time_s": plus(0.002),
        "stray_spread": plus(0.27),
        "core_width_px": times(1.11),
    }
    columns = changed(healthy, rows, **slight)
    bins = bins_of(model, columns)
    deviations = one.deviations(bins)
    screening = one.screen(bins, deviations, model.ranker)
    which = rows[screening.by_neighbours[rows]]
    assert len(which) >= 5
    found = one.evidence(deviations, screening, which)
    assert set(found.n_bins.tolist()) <= {4, 8}
    tilt = [feature.name for feature in model.metadata].index("core_tilt")
    assert (found.z[:, tilt] > 0).all()
    mean = found.centre[:, tilt] + found.z[:, tilt] * found.spread[:, tilt]
    assert mean == pytest.approx(np.full(len(which), np.mean(bins.values[rows, tilt])), abs=0.003)
    assert (found.spread[:, tilt] < deviations.spread[which, tilt]).all()


def test_without_a_model_there_is_no_evidence():
    deviations, screening = Deviations.unknown(3, 5), Screening.nothing(3, 5)
    found = Evidence.nothing(deviations, screening, np.array([0, 2]))
    assert found.z.shape == found.added.shape == (2, 5)
    assert found.reach.shape == (2, 2, 5)
    assert not found.sure.any()
    assert found.n_bins.tolist() == [1, 1]


def test_normal_ranges_leave_out_one_in_fifty_on_each_side_and_one_in_5000_teaches_nothing(
    model: FlowModel, healthy: Columns
):
    one = model.instruments[NAME]
    deviations = one.deviations(bins_of(model, healthy))
    reach = one.evidence(deviations, Screening.nothing(100, len(model.metadata)), np.array([7])).reach[:, 0]
    for side, sign in enumerate((-1, 1)):
        assert one.tails.rarities(sign * reach[side][None]) == pytest.approx(-np.log10(0.02), rel=1e-3)
    teaching = one._teaching_reach()
    column = [feature.name for feature in model.metadata].index("core_tilt")
    for side, sign in enumerate((-1, 1)):
        found = one.tails.rarities(np.full((1, len(model.metadata)), sign * teaching[side, column], np.float32))
        assert found[0, column] == pytest.approx(-np.log10(2e-4), rel=1e-3)


def test_bins_that_teach_may_lie_far_in_what_follows_the_water_and_nowhere_else(model: FlowModel, healthy: Columns):
    one = model.instruments[NAME]
    columns = changed(healthy, 40, width_median_px=times(4.0), trigger_rate_hz=times(6.0))
    columns = changed(changed(columns, 50, core_tilt=0.3), 60, stray_fraction=0.0)
    in_order = one.deviations(bins_of(model, columns)).in_order
    assert in_order[[40, 50, 60]].tolist() == [True, False, True]
    assert in_order.mean() > 0.95


def test_the_rarities_of_groups_are_those_of_the_screening(model: FlowModel, healthy: Columns):
    one = model.instruments[NAME]
    columns = changed(healthy, 50, core_tilt=0.3)
    groups = one.group_rarities(one.deviations(bins_of(model, columns)))
    assert groups.shape == (100, len(one.tails.groups))
    role = next(feature.role for feature in model.metadata if feature.name == "core_tilt")
    assert groups[50].argmax() == one.tails.groups.index(role)


def test_rows_of_a_table_are_judged_by_instrument(model: FlowModel, healthy: Columns):
    rows = rows_of_instruments(table(healthy))["IFCB9"]
    own = BinTable.of(taken(table(healthy), rows), model.metadata)
    assert len(own) == 100
    assert set(table(healthy).take(pa.array(rows))["instrument"].to_pylist()) == {"IFCB9"}
