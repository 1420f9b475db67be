from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from app import data
from app.data import Stores
from ifcb_flow_pipeline.bins.pid import InvalidPidError
from ifcb_flow_pipeline.store.daily import Provenance, StoreError
from ifcb_flow_pipeline.store.overview import FeatureOverview
from ifcb_flow_pipeline.store.settings import SettingsError
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS
from ifcb_flow_pipeline_tests.app import reviewed, stored
from ifcb_flow_pipeline_tests.app.reviewed import EPISODE, N_BINS, PLAN, UNREADABLE, WORST, pid_of
from ifcb_flow_pipeline_tests.app.stored import FIRST_DAY, StoredBin


def _drop(store: Path, *tables: str) -> Stores:
    for name in tables:
        for file in (store / "tables" / name).rglob("*.parquet"):
            file.unlink()
        for folder in (store / "tables" / name).iterdir():
            folder.rmdir()
    return Stores.of({"IFCB_FLOW_HOME": str(store)})


@pytest.fixture
def stores(store: Path) -> Stores:
    return data.stores()


def test_the_stage_follows_the_pipeline(store: Path):
    assert data.stores().stage == "scores"
    assert _drop(store, "bin_scores").stage == "no scores"
    (store / "models" / "current.json").unlink()
    assert data.stores().stage == "no model"
    assert _drop(store, "bin_features").stage == "no features"
    assert _drop(store, "raw_bins").stage == "no tables"


def test_all_scored_bins_are_read_in_order_of_time(stores: Stores):
    scored = data.read_scored(stores)
    assert len(scored.rows) == N_BINS
    assert (np.diff(scored.micros) >= 0).all()
    assert scored.instruments == list(PLAN)
    assert str(scored.rows["pid"].iloc[scored.of(WORST)]) == WORST
    assert scored.of("D20200101T000000_IFCB101") is None


def test_a_damaged_day_is_told_and_does_not_hide_the_others(stores: Stores):
    path = stores.tables.path(BIN_SCORES, FIRST_DAY)
    path.write_bytes(b"no parquet")
    scored = data.read_scored(stores)
    assert len(scored.rows) == N_BINS - 8
    assert len(scored.problems) == 1
    assert str(path) in scored.problems[0]


def test_a_day_that_the_pipeline_writes_anew_is_read_anew(stores: Stores):
    rows = stores.tables.read(BIN_SCORES, FIRST_DAY)
    assert rows is not None
    assert len(data.read_scored(stores).rows) == N_BINS
    stores.tables.write(BIN_SCORES, FIRST_DAY, rows.slice(0, 3), Provenance("signature"))
    assert len(data.read_scored(stores).rows) == N_BINS - 5


def test_a_bin_has_what_every_table_says_of_it(stores: Stores):
    record = data.read_bin(stores, WORST)
    assert record.inventory is not None
    assert record.features is not None
    assert record.score is not None
    assert record.entry is not None
    assert record.cloud is not None
    assert record.score["severity"] == 95
    assert record.entry.n_images == stored.N_POINTS - stored.N_WITHOUT_IMAGE
    assert set(record.cloud) == set(data.CLOUD_COLUMNS)
    assert record.outcome == ("ok", "")


def test_an_unreadable_bin_has_no_cloud_but_a_reason(stores: Stores):
    record = data.read_bin(stores, UNREADABLE)
    assert record.cloud is None
    assert record.outcome == ("unreadable", reviewed.HOSTILE)


def test_a_bin_that_is_read_but_not_yet_scored_has_the_outcome_of_its_reading(home: Path):
    stored.write_clouds(home, [StoredBin(WORST, -0.8, reason="a note")])
    record = data.read_bin(data.stores(), WORST)
    assert record.score is None
    assert record.outcome == ("ok", "a note")


def test_a_bin_that_no_table_has_is_unknown(stores: Stores):
    assert not data.read_bin(stores, "D20200101T000000_IFCB101").known


def test_a_text_that_is_no_pid_is_refused(stores: Stores):
    with pytest.raises(InvalidPidError):
        data.read_bin(stores, "../../etc/passwd")
    assert data.day_of("../../etc/passwd") is None
    assert data.day_of(None) is None


def test_a_damaged_cloud_file_is_an_error_that_names_it(stores: Stores):
    stores.tables.path(POINT_CLOUDS, FIRST_DAY).write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="point_clouds"):
        data.read_bin(stores, pid_of("IFCB101", 0))


def test_the_bins_before_and_after_are_those_of_the_same_instrument(stores: Stores):
    scored = data.read_scored(stores)
    assert data.neighbours(scored, EPISODE[1]) == (EPISODE[0], EPISODE[2])
    assert data.neighbours(scored, pid_of("IFCB101", 0)) == (None, pid_of("IFCB101", 1))
    assert data.neighbours(scored, pid_of("IFCB102", 19))[1] is None


def test_the_typical_cloud_is_that_of_healthy_bins_before_the_bin(stores: Stores):
    scored = data.read_scored(stores)
    typical = data.read_typical(stores, scored, pid_of("IFCB101", 19))
    assert typical.sum() == pytest.approx(1.0)
    assert typical[:, 900 // 16 : 1000 // 16].sum() > 0.5


def test_a_feature_is_read_for_the_bins_that_are_asked_for(stores: Stores):
    scored = data.read_scored(stores)
    rows = np.array([scored.of(pid) for pid in EPISODE])
    values, problems = data.read_measure(stores, scored, "mean_x")
    assert values[rows].tolist() == [653, 654, 655]
    assert problems == ()


def test_a_measurement_is_the_same_with_and_without_the_files_of_years_and_where_days_have_no_score(stores: Stores):
    scored = data.read_scored(stores)
    from_days, _ = data.read_measure(stores, scored, "mean_x")
    FeatureOverview(stores.tables).renew()
    st.cache_resource.clear()
    np.testing.assert_array_equal(data.read_measure(stores, scored, "mean_x")[0], from_days)
    stores.tables.path(BIN_SCORES, FIRST_DAY).unlink()
    fewer = data.read_scored(stores)
    values, _ = data.read_measure(stores, fewer, "mean_x")
    np.testing.assert_array_equal(values, from_days[8:])


def test_a_day_of_features_that_cannot_be_read_is_told_and_the_others_are_there(stores: Stores):
    stores.tables.path(BIN_FEATURES, FIRST_DAY).write_bytes(b"no parquet")
    values, problems = data.read_measure(stores, data.read_scored(stores), "mean_x")
    assert np.isnan(values[:8]).all()
    assert np.isfinite(values[8:]).all()
    assert "bin_features" in problems[0]


def test_settings_are_a_track_of_their_own(stores: Stores):
    scored = data.read_scored(stores)
    values, _ = data.read_measure(stores, scored, "flash_delay")
    assert np.isnan(values).all()


def test_the_most_similar_bins_have_the_nearest_features(stores: Stores):
    scored = data.read_scored(stores)
    found = data.read_similar(stores, scored, data.read_bin(stores, pid_of("IFCB101", 10)), 2)
    pids = {str(scored.rows["pid"].iloc[row]) for row in found["row"]}
    assert pids == {pid_of("IFCB101", 9), pid_of("IFCB101", 11)}
    assert found["distance"].gt(0).all()


def test_features_that_never_move_do_not_count_as_distance():
    features = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 6.0], [4.0, 5.0]])
    found = data.distances(features, np.array([1.0, 99.0]))
    assert found[0] == 0
    assert (np.diff(found) > 0).all()
    assert np.isnan(data.distances(np.full((2, 1), np.nan), np.array([1.0]))).all()


def test_a_bin_is_judged_after_each_part_of_its_run_by_the_model_in_use(stores: Stores):
    scores = data.read_accumulated(stores, data.read_bin(stores, WORST))
    assert scores is not None
    lengths = [score.n_triggers for score in scores]
    assert lengths == sorted(lengths)
    assert lengths[-1] == stored.N_POINTS
    assert scores[0].verdict == "waiting"
    assert np.isfinite(scores[-1].severity)


def test_without_a_cloud_or_a_model_nothing_is_said_of_the_parts_of_a_run(stores: Stores):
    assert data.read_accumulated(stores, data.read_bin(stores, UNREADABLE)) is None
    (stores.home / "models" / "current.json").unlink()
    assert data.read_accumulated(stores, data.read_bin(stores, WORST)) is None


def test_bins_of_the_inventory_without_score_are_counted_by_day(stores: Stores):
    last = data.read_scored(stores).rows["start_time"].iloc[-1].date()
    assert data.unscored(stores, last) == {}
    stores.tables.path(BIN_SCORES, last).unlink()
    assert data.unscored(stores, last) == {last.isoformat(): 8}


def test_models_are_known_with_the_time_of_their_training(stores: Stores):
    card = data.model_in_use(stores)
    assert card is not None
    assert data.trained(stores)[card.model_id] == data.created(card)
    assert data.newest_model(stores) != card.model_id  # the second was never promoted


def test_a_model_whose_card_is_damaged_does_not_hide_the_others(stores: Stores):
    card = data.model_in_use(stores)
    assert card is not None
    (stores.home / "models" / card.model_id / "card.json").write_text("{")
    assert len(data.trained(stores)) == 1
    assert data.newest_model(stores) is None


def test_a_setting_without_meaning_is_an_error():
    with pytest.raises(SettingsError, match="IFCB_START_DAY"):
        Stores.of({"IFCB_START_DAY": "soon"})


def test_tables_of_a_day_are_shared_but_read_anew_when_the_day_changes(stores: Stores):
    first = data.rows_of_day(stores, BIN_FEATURES, FIRST_DAY)
    assert data.rows_of_day(stores, BIN_FEATURES, FIRST_DAY) is first
    assert data.rows_of_day(stores, RAW_BINS, FIRST_DAY.replace(year=2020)) is None
    assert first is not None
    stores.tables.write(BIN_FEATURES, FIRST_DAY, first, Provenance("signature"))
    assert data.rows_of_day(stores, BIN_FEATURES, FIRST_DAY) is not first


def test_scored_bins_are_never_copied_into_python_texts(stores: Stores):
    assert isinstance(data.read_scored(stores).rows["pid"].dtype, pd.StringDtype)
