"""The page without a browser: what is said and shown in each state of the store."""

from datetime import timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.views import ranked_bins
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS
from ifcb_flow_pipeline_tests.app import stored
from ifcb_flow_pipeline_tests.app.stored import EMPTY, FIRST_DAY, SECOND_WORST, UNREADABLE, WORST

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"


def _open(bin_: str | None = None) -> AppTest:
    app = AppTest.from_file(str(MAIN), default_timeout=60)
    if bin_ is not None:
        app.query_params["bin"] = bin_
    return _checked(app.run())


def _checked(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    return app


def _table(app: AppTest) -> list[str]:
    return app.dataframe[0].value["pid"].tolist()


def _said(app: AppTest) -> str:
    elements = [*app.info, *app.warning, *app.error, *app.caption, *app.markdown]
    return "\n".join(element.value for element in elements).replace("\\", "")


def _charts(app: AppTest) -> int:
    return len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart"))


def test_an_empty_store_says_how_to_fill_it(home: Path):
    app = _open()
    assert "Materialize raw_bins" in app.info[0].value
    assert "ifcb-flow demo" in app.info[0].value
    assert not app.dataframe


def test_bins_without_features_say_what_comes_next(home: Path):
    stored.write_tables(home, stored.bins_of_days(1), [RAW_BINS])
    assert "bin_features" in _open().info[0].value


def test_features_without_model_say_what_comes_next(home: Path):
    stored.write_tables(home, stored.bins_of_days(1), [RAW_BINS, BIN_FEATURES])
    assert "Materialize anomaly_model" in _open().info[0].value


def test_a_model_without_scores_says_what_comes_next(home: Path):
    stored.write_tables(home, stored.bins_of_days(1), [RAW_BINS, BIN_FEATURES])
    stored.write_model(home, "some-model")
    assert "Materialize bin_scores" in _open().info[0].value


def test_a_scored_store_opens_with_the_most_anomalous_bin(store: Path):
    app = _open()
    assert _table(app)[:2] == [WORST, SECOND_WORST]
    assert app.query_params["bin"] == WORST
    assert {metric.label: metric.value for metric in app.metric} == {
        "Score": "-0.800",
        "Percentile": "80.0 %",
        "Verdict": "anomaly",
    }
    assert "24 bins" in _said(app)
    assert "2 anomalies" in _said(app)
    assert "2 bins without score" in _said(app)
    assert "300 triggers, 275 images, no unusable ADC lines" in _said(app)
    assert _charts(app) == 2


def test_the_header_values_have_units(store: Path):
    header = _open().dataframe[1].value
    assert dict(zip(header["header"], header["value"], strict=True))["temperature"] == "21.3 °C"


def test_the_model_in_use_is_named_with_its_age(store: Path):
    assert f"Model in use: {stored.MODEL_ID}, trained less than an hour ago on 1,234 bins" in _said(_open())


def test_scores_of_another_model_than_the_one_in_use_are_told(store: Path):
    stored.write_model(store, "newer-model")
    assert "1 other model" in _said(_open())


def test_a_model_in_use_that_is_gone_is_told_and_hides_nothing(store: Path):
    (store / "models" / stored.MODEL_ID / "card.json").unlink()
    app = _open()
    assert "there is no model" in _said(app)
    assert _table(app)[0] == WORST


def test_a_link_opens_its_bin(store: Path):
    app = _open(SECOND_WORST)
    assert app.subheader[0].value.replace("\\", "") == SECOND_WORST
    assert "2 of 302 ADC lines unusable" in _said(app)
    assert app.session_state["ranked_table"]["selection"]["rows"] == [1]


def test_a_link_to_an_old_bin_opens_the_period_of_that_bin(home: Path):
    stored.write_store(home, stored.bins_of_days(20))
    assert FIRST_DAY not in {day.value for day in _open().date_input}
    app = _open(UNREADABLE)
    assert [day.value for day in app.date_input] == [FIRST_DAY, FIRST_DAY]
    assert UNREADABLE in _table(app)


def test_a_link_to_a_bin_that_no_table_has_says_so(store: Path):
    app = _open("D20200101T000000_IFCB101")
    assert "No table has this bin" in _said(app)
    assert _table(app)[0] == WORST


def test_a_link_that_names_no_bin_falls_back_and_cannot_write_markdown(store: Path):
    app = _open("[click](http://evil)<script>")
    assert app.warning[0].value.startswith(r"\[click\]\(http\:\/\/evil\)\<script\>")
    assert app.query_params["bin"] == WORST


def test_an_unreadable_bin_is_shown_with_its_reason_and_without_a_picture(store: Path):
    app = _open(UNREADABLE)
    assert app.warning[0].value.startswith("**unreadable**")
    assert r"\<b\>x\<\/b\>" in app.warning[0].value
    assert "no point cloud" in _said(app)
    assert _charts(app) == 1
    assert not app.metric


def test_an_empty_bin_is_shown_with_its_reason(store: Path):
    assert "the .adc file has no lines" in _said(_open(EMPTY))


def test_the_instrument_filter_shows_its_bins_and_opens_the_worst_of_them(store: Path):
    app = _open()
    _checked(app.selectbox[0].select("IFCB101").run())
    assert all(pid.endswith("IFCB101") for pid in _table(app))
    assert app.query_params["bin"] == SECOND_WORST


def test_a_filter_that_keeps_the_open_bin_leaves_it_open(store: Path):
    app = _open(SECOND_WORST)
    _checked(app.selectbox[0].select("IFCB101").run())
    assert app.query_params["bin"] == SECOND_WORST


def test_an_instrument_without_bins_in_the_period_stays_chosen(store: Path):
    stored.write_tables(store, [one for one in stored.bins_of_days(1) if one.pid.endswith("102")], [BIN_SCORES])
    app = _open()
    _checked(app.selectbox[0].select("IFCB101").run())
    _checked(app.date_input[1].set_value(FIRST_DAY).run())
    assert app.selectbox[0].value == "IFCB101"
    assert "No bin is left by this filter" in _said(app)


def test_the_verdict_filter_shows_anomalies_or_unscored_bins(store: Path):
    app = _open()
    _checked(app.segmented_control[0].set_value("anomaly").run())
    assert _table(app) == [WORST, SECOND_WORST]
    _checked(app.segmented_control[0].set_value("unscored").run())
    assert _table(app) == [UNREADABLE, EMPTY]
    assert app.query_params["bin"] == UNREADABLE


def test_the_period_filter_shows_its_days(store: Path):
    app = _open()
    _checked(app.date_input[0].set_value(FIRST_DAY + timedelta(days=2)).run())
    assert len(_table(app)) == 8
    assert app.query_params["bin"] == SECOND_WORST


def test_a_filter_without_bins_says_how_to_widen_it(store: Path):
    app = _open()
    app.date_input[0].set_value(FIRST_DAY + timedelta(days=2))
    _checked(app.date_input[1].set_value(FIRST_DAY).run())
    assert "No bin is left by this filter" in _said(app)
    assert not app.dataframe
    assert "bin" not in app.query_params


def test_a_bin_of_a_link_that_the_filter_hides_is_said_to_be_outside(store: Path):
    stored.write_tables(store, [one for one in stored.bins_of_days(3) if one.pid != WORST], [BIN_SCORES])
    app = _open(WORST)
    assert "not among those of the filter" in _said(app)
    assert "No score yet" in _said(app)
    assert _charts(app) == 2


def test_point_clouds_that_lack_a_scored_bin_are_told(store: Path):
    DailyTables(store / "tables").path(POINT_CLOUDS, FIRST_DAY + timedelta(days=1)).unlink()
    app = _open(WORST)
    assert "lack this bin" in _said(app)
    assert len(app.metric) == 3


def test_a_longer_list_than_the_table_shows_says_so(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranked_bins, "MAX_TABLE_ROWS", 5)
    app = _open()
    assert len(_table(app)) == 5
    assert "The first 5 of 24 bins" in _said(app)


def test_a_day_that_cannot_be_read_is_told_beside_the_others(store: Path):
    DailyTables(store / "tables").path(BIN_SCORES, FIRST_DAY).write_bytes(b"no parquet")
    app = _open()
    assert "materialize bin_scores of that day again" in app.error[0].value.replace("\\", "")
    assert len(_table(app)) == 16


def test_a_damaged_cloud_file_is_told_where_the_bin_would_be(store: Path):
    DailyTables(store / "tables").path(POINT_CLOUDS, FIRST_DAY + timedelta(days=1)).write_bytes(b"no parquet")
    app = _open()
    assert "cannot be read" in app.error[0].value
    assert len(_table(app)) == 24


def test_a_setting_without_meaning_is_told_in_its_own_words(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IFCB_START_DAY", "soon")
    app = _open()
    assert "IFCB_START_DAY" in app.error[0].value.replace("\\", "")


def test_a_chart_that_draws_only_some_of_the_bins_says_so(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ranked_bins.charts, "MAX_SCORE_MARKS", 5)
    assert "Only the 5 most anomalous are drawn" in _said(_open())
