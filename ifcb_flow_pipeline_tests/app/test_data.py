from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from app import data
from app.data import Stores
from ifcb_flow_pipeline.bins.pid import InvalidPidError
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.settings import SettingsError
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS
from ifcb_flow_pipeline_tests.app import stored
from ifcb_flow_pipeline_tests.app.stored import EMPTY, FIRST_DAY, SECOND_WORST, UNREADABLE, WORST, StoredBin

DAYS = [FIRST_DAY + timedelta(days=2 * number) for number in range(20)]
LAST_DAY = FIRST_DAY + timedelta(days=2)


def test_the_default_period_is_the_latest_days_that_have_scores():
    assert data.default_period(DAYS) == (DAYS[6], DAYS[19])
    assert data.default_period(DAYS[:3]) == (DAYS[0], DAYS[2])


def test_the_default_period_reaches_back_to_the_bin_of_a_link():
    assert data.default_period(DAYS, wanted=DAYS[3]) == (DAYS[0], DAYS[3])
    assert data.default_period(DAYS, wanted=DAYS[10]) == (DAYS[6], DAYS[19])


def test_the_default_period_ignores_a_link_to_a_day_without_scores():
    assert data.default_period(DAYS, wanted=DAYS[3] + timedelta(days=1)) == (DAYS[6], DAYS[19])


def test_the_stage_follows_the_pipeline(home: Path):
    stores, bins = Stores(home), stored.bins_of_days(1)
    stages = [stores.stage]
    stored.write_tables(home, bins, [RAW_BINS])
    stages.append(stores.stage)
    stored.write_tables(home, bins, [BIN_FEATURES])
    stages.append(stores.stage)
    stored.write_model(home, "a")
    stages.append(stores.stage)
    stored.write_tables(home, bins, [BIN_SCORES])
    stages.append(stores.stage)
    assert stages == ["no tables", "no features", "no model", "no scores", "scores"]


def test_bins_are_ranked_over_all_days_with_the_unscored_last_and_without_rank(store: Path):
    rows = data.ranked(data.read_scores(Stores(store), FIRST_DAY, LAST_DAY).rows, None)
    assert rows["pid"].tolist()[:2] == [WORST, SECOND_WORST]
    assert rows["pid"].tolist()[-2:] == [UNREADABLE, EMPTY]
    assert rows["rank"].tolist()[:-2] == list(range(1, 23))
    assert rows["rank"].isna().tolist()[-2:] == [True, True]
    assert np.all(np.diff(rows["anomaly_score"].to_numpy()[:-2]) >= 0)


def test_bins_of_one_instrument_are_ranked_among_themselves(store: Path):
    rows = data.ranked(data.read_scores(Stores(store), FIRST_DAY, LAST_DAY).rows, "IFCB101")
    assert set(rows["instrument"]) == {"IFCB101"}
    assert rows["pid"].iloc[0] == SECOND_WORST
    assert rows["rank"].iloc[0] == 1


def test_a_verdict_leaves_its_bins_with_their_rank_in_the_period(store: Path):
    rows = data.ranked(data.read_scores(Stores(store), FIRST_DAY, LAST_DAY).rows, None)
    assert data.of_verdict(rows, "anomaly")["pid"].tolist() == [WORST, SECOND_WORST]
    assert data.of_verdict(rows, "unscored")["pid"].tolist() == [UNREADABLE, EMPTY]
    assert len(data.of_verdict(rows, "all")) == 24


def test_only_days_of_the_period_are_read(store: Path):
    scores = data.read_scores(Stores(store), FIRST_DAY, FIRST_DAY)
    assert {start.date() for start in scores.rows["start_time"]} == {FIRST_DAY}


def test_a_period_without_days_gives_no_rows_but_all_columns(store: Path):
    rows = data.ranked(data.read_scores(Stores(store), date(2020, 1, 1), date(2020, 1, 2)).rows, None)
    assert rows.empty
    assert {"rank", "pid", "anomaly_score", "verdict"} <= set(rows.columns)


def test_a_damaged_day_is_told_and_does_not_hide_the_others(store: Path):
    path = DailyTables(store / "tables").path(BIN_SCORES, FIRST_DAY)
    path.write_bytes(b"no parquet")
    scores = data.read_scores(Stores(store), FIRST_DAY, LAST_DAY)
    assert len(scores.rows) == 16
    assert len(scores.problems) == 1
    assert str(path) in scores.problems[0]


def test_a_day_that_the_pipeline_writes_anew_is_read_anew(store: Path):
    assert len(data.read_scores(Stores(store), FIRST_DAY, FIRST_DAY).rows) == 8
    stored.write_tables(store, stored.bins_of_days(1)[:3], [BIN_SCORES])
    assert len(data.read_scores(Stores(store), FIRST_DAY, FIRST_DAY).rows) == 3


def test_a_bin_has_its_score_its_outcome_and_its_cloud(store: Path):
    record = data.read_bin(Stores(store), WORST)
    assert record.score is not None
    assert record.entry is not None
    assert record.cloud is not None
    assert record.score["anomaly_score"] == -0.8
    assert record.entry.n_images == stored.N_POINTS - stored.N_WITHOUT_IMAGE
    assert set(record.cloud) == {"x_px", "y_px", "has_image"}
    assert len(record.cloud["x_px"]) == stored.N_POINTS
    assert record.outcome == ("ok", "")


def test_an_unreadable_bin_has_no_cloud_but_a_reason(store: Path):
    record = data.read_bin(Stores(store), UNREADABLE)
    assert record.cloud is None
    assert record.outcome == ("unreadable", stored.UNREADABLE_REASON)


def test_a_bin_that_is_read_but_not_yet_scored_has_the_outcome_of_its_reading(home: Path):
    stored.write_clouds(home, [StoredBin(WORST, -0.8, reason="a note")])
    record = data.read_bin(Stores(home), WORST)
    assert record.score is None
    assert record.outcome == ("ok", "a note")


def test_a_bin_that_no_table_has_is_empty(store: Path):
    record = data.read_bin(Stores(store), "D20200101T000000_IFCB101")
    assert (record.score, record.entry, record.cloud, record.outcome) == (None, None, None, ("", ""))


def test_a_text_that_is_no_pid_is_refused(store: Path):
    with pytest.raises(InvalidPidError):
        data.read_bin(Stores(store), "../../etc/passwd")


def test_a_damaged_cloud_file_is_an_error_that_names_it(store: Path):
    path = DailyTables(store / "tables").path(POINT_CLOUDS, FIRST_DAY)
    path.write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="point_clouds"):
        data.read_bin(Stores(store), UNREADABLE)


def test_the_model_in_use_is_known_with_its_time(home: Path):
    assert data.model_in_use(Stores(home)) is None
    stored.write_model(home, "some-model")
    card = data.model_in_use(Stores(home))
    assert card is not None
    assert card.model_id == "some-model"
    assert data.created(card).tzinfo is not None


def test_a_setting_without_meaning_is_an_error(home: Path):
    with pytest.raises(SettingsError, match="IFCB_START_DAY"):
        Stores.of({"IFCB_START_DAY": "soon"})
