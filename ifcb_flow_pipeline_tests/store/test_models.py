"""The models on disk: kept, taken into use, listed, and refused with a remedy."""

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelError
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet, train_model
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.models import CURRENT, Change, ModelStore, read_model, write_model


def model_of(seed: int) -> Model:
    training = TrainingSet(
        pids=[f"bin{i}" for i in range(20)],
        instruments=["IFCB134"] * 20,
        days=[date(2023, 8, 10)] * 20,
        matrix=np.random.default_rng(seed).normal(size=(20, 2)),
        feature_names=("mean_x", "mean_y"),
        feature_settings=FeatureSettings(),
    )
    return train_model(training, ForestSettings(n_estimators=2), datetime(2023, 8, 10, tzinfo=UTC), {})


FIRST, SECOND, THIRD = model_of(1), model_of(2), model_of(3)
AT = datetime(2023, 8, 10, 12, tzinfo=UTC)
FIRST_ID, SECOND_ID = FIRST.card.model_id, SECOND.card.model_id


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def filled(store: ModelStore) -> ModelStore:
    store.save(FIRST)
    store.save(SECOND)
    return store


def test_a_kept_model_is_loaded_as_it_was(filled):
    assert filled.load(FIRST_ID).to_bytes() == FIRST.to_bytes()
    assert filled.card(SECOND_ID) == SECOND.card
    assert filled.ids() == sorted([FIRST_ID, SECOND_ID])


def test_keeping_a_model_does_not_take_it_into_use(filled):
    assert filled.current_id() is None


def test_the_model_in_use_is_the_one_that_was_taken_last(filled):
    for model in (FIRST, SECOND, FIRST):
        filled.promote(model.card.model_id, "ann")
        assert filled.current_id() == model.card.model_id
        assert filled.card() == filled.card(CURRENT) == model.card
        assert filled.load().to_bytes() == model.to_bytes()


def test_taking_the_model_in_use_into_use_changes_nothing(filled):
    filled.promote(SECOND_ID, "ann")
    filled.promote(CURRENT, "ann")
    assert filled.current_id() == SECOND_ID
    assert filled.load().to_bytes() == SECOND.to_bytes()


def test_keeping_a_model_again_changes_nothing(filled):
    filled.promote(FIRST_ID, "ann")
    filled.save(FIRST)
    assert filled.load().to_bytes() == FIRST.to_bytes()
    assert filled.current_id() == FIRST_ID
    assert len(filled.ids()) == 2


def test_a_damaged_model_is_mended_by_keeping_it_again(filled):
    (filled.root / FIRST_ID / "model.npz").write_bytes(b"")
    filled.save(FIRST)
    assert filled.load(FIRST_ID).to_bytes() == FIRST.to_bytes()


def test_an_empty_store_has_no_models_and_says_how_to_get_one(store):
    assert store.ids() == []
    assert store.current_id() is None
    for use in (store.load, store.card):
        with pytest.raises(ModelError, match="no model yet: start the job retrain first"):
            use()


def test_an_unknown_model_is_refused_with_those_that_there_are(filled):
    for use in (filled.load, filled.card, lambda model_id: filled.promote(model_id, "ann")):
        with pytest.raises(ModelError, match="no model 'nonesuch'") as refused:
            use("nonesuch")
        assert FIRST_ID in str(refused.value)
        assert SECOND_ID in str(refused.value)
    assert filled.current_id() is None


def test_an_unknown_model_in_an_empty_store_is_refused(store):
    with pytest.raises(ModelError, match="there are: none"):
        store.load("nonesuch")


@pytest.mark.parametrize(
    "escape", ["../outside", "..", ".", "", "/outside", "sub/../../outside", "{id}/../{id}", "{id}/"]
)
def test_an_id_never_leads_out_of_the_store_or_around_in_it(filled, escape):
    for folder in (filled.root.parent / "outside", filled.root.parent, filled.root):
        write_model(folder / "model.npz", FIRST)
        (folder / "card.json").write_text(FIRST.card.to_json())
    absolute = str(filled.root.parent / "outside")
    for model_id in (escape.format(id=FIRST_ID), absolute):
        for use in (filled.load, filled.card, lambda model_id: filled.promote(model_id, "ann")):
            with pytest.raises(ModelError, match="there is no model"):
                use(model_id)


def test_a_model_in_use_that_was_removed_is_named(filled):
    filled.promote(FIRST_ID, "ann")
    (filled.root / FIRST_ID / "card.json").unlink()
    (filled.root / FIRST_ID / "model.npz").unlink()
    for use in (filled.load, filled.card):
        with pytest.raises(ModelError, match=f"no model '{FIRST_ID}'; there are: {SECOND_ID}"):
            use()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'"text"'])
def test_a_damaged_note_of_the_model_in_use_is_named_with_the_remedy(filled, content):
    filled.promote(FIRST_ID, "ann")
    (filled.root / "current.json").write_bytes(content)
    for use in (filled.current_id, filled.load, filled.card):
        with pytest.raises(ModelError, match=r"current.json cannot be read.*promote a model again"):
            use()
    filled.promote(SECOND_ID, "ann")
    assert filled.load().card == SECOND.card


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe"])
def test_a_damaged_card_is_refused_with_the_remedy_and_not_taken_into_use(filled, content):
    (filled.root / FIRST_ID / "card.json").write_bytes(content)
    for use in (filled.card, lambda model_id: filled.promote(model_id, "ann")):
        with pytest.raises(ModelError, match=r"card cannot be read.*train the model anew"):
            use(FIRST_ID)
    assert filled.current_id() is None


@pytest.mark.parametrize("content", [b"", b"garbage", FIRST.to_bytes()[:-100]])
def test_a_damaged_model_is_refused_by_file(filled, content):
    path = filled.root / FIRST_ID / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="train a new model") as refused:
        filled.load(FIRST_ID)
    assert str(path) in str(refused.value)


def test_a_card_without_its_model_cannot_be_loaded(filled):
    (filled.root / FIRST_ID / "model.npz").unlink()
    with pytest.raises(ModelError, match="there is no model"):
        filled.load(FIRST_ID)


def test_a_failing_write_leaves_the_model_in_use(filled, monkeypatch):
    filled.promote(FIRST_ID, "ann")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="No space"):
        filled.promote(SECOND_ID, "ann")
    assert filled.current_id() == FIRST_ID
    assert sorted(path.name for path in filled.root.iterdir()) == sorted(
        [FIRST_ID, SECOND_ID, "current.json", "history.jsonl"]
    )
    assert [change.model_id for change in filled.history()] == [FIRST_ID]


def test_cards_are_kept_as_text_for_people(filled):
    text = (filled.root / FIRST_ID / "card.json").read_text(encoding="utf-8")
    assert json.loads(text)["feature_names"] == ["mean_x", "mean_y"]
    assert text.count("\n") > 10


# Promotion and rollback


def test_every_change_of_the_model_in_use_is_written_down_with_who_when_and_why(filled):
    filled.promote(FIRST_ID, "ann", at=AT)
    filled.promote(SECOND_ID, "bob", "sees clogs", AT + timedelta(hours=1))
    filled.rollback("ann", "sees clogs in everything", AT + timedelta(hours=2))
    assert filled.history() == [
        Change(AT, "promote", FIRST_ID, None, "ann", ""),
        Change(AT + timedelta(hours=1), "promote", SECOND_ID, FIRST_ID, "bob", "sees clogs"),
        Change(AT + timedelta(hours=2), "rollback", FIRST_ID, SECOND_ID, "ann", "sees clogs in everything"),
    ]
    assert filled.current_id() == FIRST_ID


def test_the_time_of_a_change_is_now_unless_given(filled):
    before = datetime.now(tz=UTC).replace(microsecond=0)
    filled.promote(FIRST_ID, "ann")
    assert before <= filled.history()[0].at <= datetime.now(tz=UTC)


def test_rollbacks_go_further_back_and_then_there_is_nothing_to_return_to(filled):
    filled.save(THIRD)
    for model_id in (FIRST_ID, SECOND_ID, THIRD.card.model_id):
        filled.promote(model_id, "ann")
    assert filled.previous_id() == SECOND_ID
    assert [filled.rollback("ann"), filled.rollback("ann")] == [SECOND_ID, FIRST_ID]
    with pytest.raises(ModelError, match="no model was active before"):
        filled.rollback("ann")
    assert filled.current_id() == FIRST_ID
    filled.promote(THIRD.card.model_id, "ann")
    assert filled.rollback("ann") == FIRST_ID


def test_without_any_promotion_there_is_nothing_to_return_to(filled):
    with pytest.raises(ModelError, match="activate another by its id"):
        filled.rollback("ann")
    assert filled.history() == []


def test_a_rollback_to_a_model_that_was_removed_is_refused_and_changes_nothing(filled):
    filled.promote(FIRST_ID, "ann")
    filled.promote(SECOND_ID, "ann")
    (filled.root / FIRST_ID / "card.json").unlink()
    with pytest.raises(ModelError, match=f"no model '{FIRST_ID}'"):
        filled.rollback("ann")
    assert filled.current_id() == SECOND_ID
    assert len(filled.history()) == 2


def test_a_model_that_came_into_use_before_there_was_a_history_can_be_returned_to(filled):
    (filled.root / "current.json").write_text(json.dumps({"model_id": FIRST_ID}))
    filled.promote(SECOND_ID, "ann")
    assert filled.rollback("ann") == FIRST_ID


def test_a_line_that_was_cut_off_costs_only_itself(filled):
    filled.promote(FIRST_ID, "ann")
    with (filled.root / "history.jsonl").open("a") as file:
        file.write('{"at": "2023-08-1')
    filled.promote(SECOND_ID, "ann")
    assert [change.model_id for change in filled.history()] == [FIRST_ID, SECOND_ID]
    assert filled.rollback("ann") == FIRST_ID


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["first", "second", "third", "rollback"]), max_size=12))
def test_a_rollback_takes_back_the_latest_promotion_that_still_stands(actions):
    with TemporaryDirectory() as folder:
        store, stack = ModelStore(Path(folder)), []
        ids = {}
        for name, model in zip(("first", "second", "third"), (FIRST, SECOND, THIRD), strict=True):
            store.save(model)
            ids[name] = model.card.model_id
        for action in actions:
            if action != "rollback":
                store.promote(ids[action], "ann")
                stack += [ids[action]] if stack[-1:] != [ids[action]] else []
            elif len(stack) > 1:
                stack.pop()
                assert store.rollback("ann") == stack[-1]
            else:
                with pytest.raises(ModelError):
                    store.rollback("ann")
            assert store.current_id() == (stack[-1] if stack else None)


# Files of models


def test_a_model_is_written_to_a_file_and_read_from_it(tmp_path):
    path = tmp_path / "new folder" / "model[1].npz"
    write_model(path, FIRST)
    write_model(path, SECOND)
    assert read_model(path).to_bytes() == SECOND.to_bytes()
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_note_of_any_language_survives(tmp_path):
    noted = dataclasses.replace(FIRST, card=dataclasses.replace(FIRST.card, note="Sønderho ❄"))
    write_model(tmp_path / "model.npz", noted)
    assert read_model(tmp_path / "model.npz").card.note == "Sønderho ❄"


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read the model .*gone.npz: No such file or directory"):
        read_model(tmp_path / "gone.npz")
    with pytest.raises(ModelError, match="Is a directory"):
        read_model(tmp_path)
