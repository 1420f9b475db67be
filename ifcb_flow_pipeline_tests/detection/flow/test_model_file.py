"""The file of a flow model: what is read is what was written, and what is damaged is refused."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow import model_file
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.model_card import ModelError, read_arrays
from ifcb_flow_pipeline.detection.open_model import model_from_bytes

from ..fleet import FAULTS, Columns, changed, same, table


@pytest.fixture(scope="module")
def arrays(model: FlowModel) -> dict[str, NDArray]:
    return dict(read_arrays(model.to_bytes()))


def test_a_model_travels_as_a_file_and_gives_the_same_verdicts(model: FlowModel, healthy: Columns):
    read = model_from_bytes(model.to_bytes())
    assert isinstance(read, FlowModel)
    assert read.card == model.card
    assert read.metadata == model.metadata
    rows = table(changed(healthy, 50, **FAULTS["air all over the frame"][1]))
    assert same(read.judge(rows), model.judge(rows))


def test_a_model_that_was_read_makes_the_same_file(model: FlowModel):
    data = model.to_bytes()
    assert FlowModel.from_bytes(data).to_bytes() == data


def test_thresholds_and_the_ranking_travel_too(model: FlowModel):
    from dataclasses import replace

    from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker

    ranker = LabelRanker()
    ranker.weights_, ranker.bias_ = np.arange(len(model.ranker.weights_), dtype=float), np.array(0.5)
    read = FlowModel.from_bytes(replace(model, ranker=ranker, thresholds={"IFCB9": 61.5}).to_bytes())
    assert read.thresholds == {"IFCB9": 61.5}
    assert read.ranker.weights_.tolist() == ranker.weights_.tolist()
    assert float(read.ranker.bias_) == 0.5


def test_the_file_names_the_arrays_of_each_instrument_by_its_number(model: FlowModel, arrays: dict[str, NDArray]):
    numbers = {name.split(".")[0] for name in arrays if name[0].isdigit()}
    assert numbers == {str(number) for number in range(len(model.instruments))}
    second = list(model.instruments.values())[1]
    assert np.array_equal(arrays["1.baseline.centre"], second.baseline.centre)
    assert np.array_equal(arrays["1.places.core"], second.baseline.places.core)
    assert np.array_equal(arrays["1.neighbours.scale.raw_score_"], second.neighbours.scale.raw_score_)


def _array_names() -> list[str]:
    parts = {"Baseline": "baseline", "Places": "places", "TailDetector": "tails", "RarityScale": "scale",
             "NeighbourDetector": "neighbours"}  # fmt: skip
    return [f"1.{parts[part.__name__]}.{name}" for part, names in model_file._SHAPES.items()
            if part.__name__ in parts for name in names]  # fmt: skip


@pytest.mark.parametrize("name", [*_array_names(), "ranker.weights_", "ranker.bias_"])
def test_an_array_of_another_shape_is_refused(name: str, arrays: dict[str, NDArray]):
    longer = np.concatenate([np.atleast_1d(arrays[name]), np.atleast_1d(arrays[name])])
    with pytest.raises(ModelError, match=r"damaged.*shape.*train a new model"):
        FlowModel.from_arrays(arrays | {name: longer})


@pytest.mark.parametrize("name", _array_names())
def test_an_array_of_texts_is_refused(name: str, arrays: dict[str, NDArray]):
    with pytest.raises(ModelError, match=r"damaged.*train a new model"):
        FlowModel.from_arrays(arrays | {name: arrays[name].astype("U8")})


@pytest.mark.parametrize("name", [*_array_names(), "ranker.weights_", "card", "parts"])
def test_a_file_without_an_array_is_of_another_version(name: str, arrays: dict[str, NDArray]):
    without = {key: values for key, values in arrays.items() if key != name}
    with pytest.raises(ModelError, match=r"another version of this program.*train a new model"):
        FlowModel.from_arrays(without)


@pytest.mark.parametrize(
    ("name", "spoiled"),
    [
        ("parts", lambda array: array[:-3]),
        ("card", lambda array: array[:-3]),
        ("parts", lambda array: np.frombuffer(array.tobytes().replace(b"metadata", b"metadat4"), dtype=np.uint8)),
        ("parts", lambda array: np.frombuffer(array.tobytes().replace(b'"scale"', b'"scape"'), dtype=np.uint8)),
        ("parts", lambda array: np.frombuffer(b"[" + array.tobytes() + b"]", dtype=np.uint8)),
        ("parts", lambda array: array.astype("U3")),
    ],
)
def test_a_damaged_text_is_refused_with_the_remedy(name: str, spoiled: Callable, arrays: dict[str, NDArray]):
    with pytest.raises(ModelError, match="train a new model"):
        FlowModel.from_arrays(arrays | {name: spoiled(arrays[name])})


def test_an_instrument_without_settings_or_places_is_refused(arrays: dict[str, NDArray]):
    nothing = {f"1.places.{name}": arrays[f"1.places.{name}"][:0] for name in ("start_s", "core", "sd", "is_open")}
    with pytest.raises(ModelError, match="no settings or no deployment"):
        FlowModel.from_arrays(arrays | nothing)


@pytest.mark.parametrize("at", [0, 10, 100, -100, -10])
def test_a_file_that_is_cut_or_changed_is_refused(at: int, model: FlowModel):
    data = bytearray(model.to_bytes())
    with pytest.raises(ModelError):
        FlowModel.from_bytes(bytes(data[: at or None][:-1]) if at < 0 else bytes(data[:at]))


def test_open_places_are_read_as_truths(arrays: dict[str, NDArray]):
    read = FlowModel.from_arrays(arrays)
    assert all(one.baseline.places.is_open.dtype == bool for one in read.instruments.values())
