"""Files of models from elsewhere: their ids are names, and their sizes have a bound."""

import io
import json
import zipfile

import numpy as np
import pytest

from ifcb_flow_pipeline.detection import model_card
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.store import models
from ifcb_flow_pipeline.store.models import ModelStore, read_model

from .test_models import model_of


def file_of(folder, **changed):
    """A model's file with another card or other arrays."""
    arrays = dict(np.load(io.BytesIO(model_of(1).to_bytes())))
    card = json.loads(arrays["card"].tobytes())
    card |= changed.pop("card", {})
    arrays |= {"card": np.frombuffer(json.dumps(card).encode(), np.uint8)} | changed
    with (folder / "given.npz").open("wb") as file:
        np.savez_compressed(file, **arrays)
    return folder / "given.npz"


@pytest.mark.parametrize(
    "name", ["../outside", "/absolute", "a/b", ".", "", "..", "current", ".hidden", "a\\nb", "x" * 101]
)
def test_an_id_that_is_no_name_is_refused_and_nothing_is_written(tmp_path, name):
    store = ModelStore(tmp_path / "home" / "models")
    with pytest.raises(ModelError, match="cannot be the id"):
        store.add(file_of(tmp_path, card={"model_id": name}))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["given.npz"]


def test_a_file_with_the_id_of_another_model_is_refused(tmp_path):
    store, model = ModelStore(tmp_path / "models"), model_of(1)
    store.save(model)
    before = (store.root / model.card.model_id / "model.npz").read_bytes()
    with pytest.raises(ModelError, match="another kept model has"):
        store.add(file_of(tmp_path, card={"note": "changed"}))
    assert (store.root / model.card.model_id / "model.npz").read_bytes() == before
    assert store.add(file_of(tmp_path)) == model.card.model_id  # the same model may come again


def test_arrays_that_would_fill_the_memory_are_refused_before_they_do(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "_LARGEST_MODEL", 2**20)
    with pytest.raises(ModelError, match="more than any model does"):
        read_model(file_of(tmp_path, surplus=np.zeros(2**18)))


def test_a_shape_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "huge.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scores.npy", header.getvalue())
    with pytest.raises(ModelError, match="more than any model does"):
        read_model(path)


def test_a_file_that_is_too_large_for_a_model_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_LARGEST_FILE", 10)
    with pytest.raises(ModelError, match="no file of a model"):
        read_model(file_of(tmp_path))
