"""The page "Models" without a browser: cards, two models compared, and the features."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ifcb_flow_pipeline.detection.model_card import ForestSettings
from ifcb_flow_pipeline.detection.trial import instrument_forests
from ifcb_flow_pipeline.detection.trial.instrument_forests import train_instrument_forests
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline_tests.app import reviewed
from ifcb_flow_pipeline_tests.app.reviewed import EPISODE, checked, open_page, said


@pytest.fixture
def models(home: Path) -> ModelStore:
    reviewed.write_review_store(home)
    return ModelStore(home / "models")


def test_an_empty_store_says_how_a_model_is_made(home: Path):
    assert "train one" in said(open_page("models"))


def test_without_bins_the_features_are_explained_all_the_same(home: Path):
    app = open_page("models", part="features")
    table = app.dataframe[0].value
    assert sorted(table["code"]) == sorted(feature.name for feature in CATALOGUE)
    assert "reference" not in table["sets"].iloc[0]
    assert "no features yet" in said(app)


def test_the_card_of_the_model_in_use_is_open_and_says_how_it_was_made(models: ModelStore):
    app = open_page("models")
    history, table = (app.dataframe[number].value for number in (0, 1))
    assert table.loc[table["model"] == models.current_id(), "state"].tolist() == ["active"]
    text = said(app)
    assert "on 40 bins of 2026-02-01" in text
    assert "IFCB101: 40 bins" in text
    assert "the first" in history["note"].tolist()


def test_a_card_that_cannot_be_read_is_told_and_hides_no_other(models: ModelStore):
    broken = next(name for name in models.ids() if name != models.current_id())
    (models.root / broken / "card.json").write_text("{")
    app = open_page("models")
    assert broken in "\n".join(error.value for error in app.error).replace("\\", "")
    assert app.dataframe[0].value["model"].tolist() == [models.current_id()]


def test_a_model_alone_cannot_be_compared_and_what_to_do_is_said(models: ModelStore):
    other = next(name for name in models.ids() if name != models.current_id())
    (models.root / other / "card.json").unlink()
    assert "only one model" in said(open_page("models", part="compare"))


def test_two_models_are_compared_on_all_bins_and_on_those_that_people_decided(models: ModelStore, home: Path):
    at = datetime.now(tz=UTC)
    LabelStore(home / "labels.sqlite").add([Label(pid, "bad", (), "", "Ada", at, "triage") for pid in EPISODE])
    app = open_page("models", part="compare")
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Bins scored by both"] == str(reviewed.N_BINS)
    changed = app.dataframe[0].value if app.dataframe else []
    assert metrics["Different verdict"] == str(len(changed))
    assert "Bad bins found" in metrics
    assert "False alarms" not in metrics


def test_a_forest_for_each_instrument_is_read_and_compared_with_the_model_in_use(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(instrument_forests, "MIN_INSTRUMENT_BINS", 40)
    chosen = train_instrument_forests(
        "mcif", reviewed.training_set(3), ForestSettings(), datetime(2026, 3, 1, tzinfo=UTC), {}
    )
    models.save(chosen)
    app = open_page("models")
    app.selectbox(key="model").select(chosen.card.model_id)
    text = said(checked(app.run()))
    assert "Detector**: mcif" in text
    assert "Bad from**: severity 42.5" in text
    app = open_page("models", part="compare")
    app.selectbox(key="second").select(chosen.card.model_id)
    app = checked(app.run())
    metrics = {metric.label: metric.value for metric in app.metric}
    assert metrics["Bins scored by both"] == str(reviewed.N_BINS)
    # It knows IFCB101 alone.
    changed = app.dataframe[0].value
    of_the_other = changed[changed["bin"].str.endswith("IFCB102")]
    assert {verdict.replace("_", " ") for verdict in of_the_other["second"]} == {"No verdict"}
    assert of_the_other["severity (second)"].isna().all()


def test_a_feature_is_shown_with_its_meaning_and_what_is_usual_of_each_instrument(models: ModelStore):
    app = open_page("models", part="features", feature="mean_x")
    usual = app.dataframe[1].value
    assert usual["instrument"].tolist() == ["IFCB101", "IFCB102"]
    assert usual["bins"].sum() == reviewed.N_BINS
    # mean_x is 650 for an instrument's first bin and 1 more for each that follows.
    assert usual.loc[1, "median"] == pytest.approx(650 + (len(reviewed.PLAN["IFCB102"]) - 1) / 2)
    checked(app.selectbox(key="feature").select("core_x_px").run())
    assert "No bin of the latest days has a value of it" in said(app)
