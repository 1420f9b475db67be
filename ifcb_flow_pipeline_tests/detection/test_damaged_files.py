"""Files of models that are damaged or made to do harm: a model comes of them, or a ModelError."""

import io
import json
import random
import warnings
import zipfile
from datetime import UTC, date, datetime

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelError
from ifcb_flow_pipeline.detection.open_model import AnyModel, ForestChoice, model_from_bytes, train_forest
from ifcb_flow_pipeline.detection.reference.model import TrainingSet
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

from .toys import normal_rows

N_MUTATIONS = 60
ODD = (None, -1, 10**400, 0.5, "", "a", [], [[]], {}, {"a": 1}, True)


def forest_of(detector: str) -> bytes:
    n = 120
    training = TrainingSet(
        [f"bin{i}" for i in range(n)], ["IFCB134", "IFCB160"] * (n // 2), [date(2023, 8, 10)] * n, normal_rows(n, 26),
        FEATURE_NAMES[:26], FeatureSettings(),
    )  # fmt: skip
    choice = ForestChoice(detector, FEATURE_NAMES[:26], ForestSettings(n_estimators=2))
    return train_forest(training, choice, datetime(2023, 8, 10, tzinfo=UTC), {}).to_bytes()


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def with_bytes_changed(good: bytes, rng: random.Random) -> bytes:
    data = bytearray(good)
    for _ in range(rng.choice([1, 5, 50])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data if rng.random() > 0.3 else data[: rng.randrange(len(data))])


def with_an_array_changed(good: bytes, rng: random.Random) -> bytes:
    arrays = dict(np.load(io.BytesIO(good)))
    name = rng.choice(list(arrays))
    values = arrays[name]
    number = rng.choice([np.nan, np.inf, -1e300, 0]) if values.dtype.kind == "f" else rng.choice([-1, 2**31 - 1, 0])
    with np.errstate(all="ignore"):
        changed = [
            values.ravel()[: values.size // 2], np.stack([values, values]), values.astype("S8"),
            values.astype(np.float16), np.full_like(values, 0 if values.dtype.kind in "ub" else number),
            np.array(values.sum()), np.zeros((0, 3)),
        ]  # fmt: skip
    return packed(arrays | {name: rng.choice(changed)})


def with_a_text_changed(good: bytes, rng: random.Random) -> bytes:
    """The card, or another text in JSON, with a value in it replaced at any depth."""
    arrays = dict(np.load(io.BytesIO(good)))
    name = rng.choice([name for name in ("card", "parts", "instruments") if name in arrays])
    value = json.loads(arrays[name].tobytes())
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or rng.random() < 0.4:
            place[key] = rng.choice(ODD)
            break
        place = place[key]
    return packed(arrays | {name: np.frombuffer(json.dumps(value).encode(), np.uint8)})


def with_a_header_changed(good: bytes, rng: random.Random) -> bytes:
    """A valid archive in which the header of an array is damaged: its bytes are read as a text of Python."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(content, "w") as target:
        chosen = rng.choice(source.namelist())
        for name in source.namelist():
            data = bytearray(source.read(name))
            if name == chosen:
                for _ in range(rng.choice([1, 2, 5])):
                    data[rng.randrange(min(len(data), 80))] = rng.choice(b"'\"({[\\\n,:9-\0x\xff")
            target.writestr(name, bytes(data))
    return content.getvalue()


MUTATIONS = (with_bytes_changed, with_an_array_changed, with_a_text_changed, with_a_header_changed)


def opened(data: bytes) -> AnyModel | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, about old or odd headers
            return model_from_bytes(data)
    except ModelError:
        return None


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kind", ["flow", "forest", "mcif", "mcif-calibrated", "latent"])
def test_a_damaged_file_is_a_model_or_refused(kind: str, mutation, model: FlowModel) -> None:
    good = model.to_bytes() if kind == "flow" else forest_of(kind)
    assert opened(good) is not None
    rng = random.Random(f"{kind} {mutation.__name__}")
    found = [opened(mutation(good, rng)) for _ in range(N_MUTATIONS)]
    assert None in found
