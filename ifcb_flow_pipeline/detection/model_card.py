"""The card of a model: what someone must know to use it or to make it again; and what all model files share.

A model travels as one file: a NumPy archive of plain arrays, with the card as JSON text. Reading it never
runs anything that it holds.
"""

import hashlib
import io
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: Version of the file format; a reader refuses a newer one.
FORMAT_VERSION = 1

#: Fewer bins train nothing that could be called normal.
MIN_TRAINING_BINS = 10

#: The largest memory of a model's arrays, in bytes: a hundred times what usual ones have.
_LARGEST_MODEL = 2**28

#: What reading a model's file raises where it is none, or damaged: an encrypted archive is a RuntimeError, a damaged
#: header of an array a TokenError.
DAMAGED = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError,
           TypeError, ValueError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)  # fmt: skip


class ModelError(FlowError, ValueError):
    """A model that cannot be trained, read or used; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """How a forest is grown; the defaults of scikit-learn and ifcb-flow-metric except for contamination.

    ``contamination``: share of the training bins that will lie below the threshold (it moves the threshold,
    never a score), in (0, 0.5]. ``max_samples``: rows per tree, a number of rows, a share in (0, 1] or
    "auto" (256). ``max_features``: columns per tree, likewise. Raises ModelError for a value out of range.
    """

    contamination: float = 0.02
    n_estimators: int = 100
    max_samples: int | float | Literal["auto"] = "auto"
    max_features: int | float = 1.0
    random_seed: int = 42

    def __post_init__(self) -> None:
        if not 0 < self.contamination <= 0.5:
            raise ModelError(f"contamination must be above 0 and at most 0.5, not {self.contamination!r}")
        if not (isinstance(self.n_estimators, int) and self.n_estimators >= 1):
            raise ModelError(f"n_estimators must be a whole number from 1, not {self.n_estimators!r}")
        if self.max_samples != "auto" and not _is_count_or_share(self.max_samples):
            raise ModelError(f"max_samples must be auto, a count or a share up to 1.0, not {self.max_samples!r}")
        if not _is_count_or_share(self.max_features):
            raise ModelError(f"max_features must be a count or a share up to 1.0, not {self.max_features!r}")
        if not (isinstance(self.random_seed, int) and 0 <= self.random_seed < 2**32):
            raise ModelError(f"random_seed must be a whole number from 0 to 2**32 - 1, not {self.random_seed!r}")


def parse_amount(text: str) -> int | float | Literal["auto"]:
    """``auto``, a count (``256``) or a share (``0.5``) as ForestSettings takes them.

    Raises ModelError for anything else.
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ModelError(f"{text!r} is neither auto, nor a count such as 256, nor a share such as 0.5") from None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What someone must know to use a model, or to make it again.

    ``kind`` is ``forest`` (Model), ``flow`` (FlowModel), or ``mcif``, ``mcif-calibrated`` or ``latent``
    (InstrumentForests). ``threshold``: of ``forest`` the anomaly score below which a bin is an anomaly, of the others
    the severity from which one is bad. ``metrics``: what was
    measured with people's labels, and how training went.
    """

    model_id: str
    created: str
    feature_names: tuple[str, ...]
    feature_settings: FeatureSettings
    forest_settings: ForestSettings
    threshold: float
    n_bins: int
    n_bins_by_instrument: Mapping[str, int]
    first_day: str | None
    last_day: str | None
    excluded: Mapping[str, Sequence[str]]
    training_pids_sha256: str
    score_quantiles: Mapping[str, float]
    versions: Mapping[str, str]
    note: str = ""
    kind: str = "forest"
    feature_set: str = "reference"
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_excluded(self) -> int:
        """How many bins were asked for but could not be used."""
        return sum(len(pids) for pids in self.excluded.values())

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be judged."""
        known = {feature.name for feature in CATALOGUE}
        unknown = [name for name in self.feature_names if name not in known]
        if unknown:
            raise ModelError(
                f"model {self.model_id} needs features that this version cannot compute: "
                f"{', '.join(unknown)}; train a new model, or use the version that trained it"
            )
        if settings != self.feature_settings:
            theirs = self.feature_settings
            frames = ""
            if settings.frames != theirs.frames:
                frames = f", and frames {settings.frames or 'as usual'} in place of {theirs.frames or 'the usual ones'}"
            raise ModelError(
                f"model {self.model_id} was trained with triggers={theirs.triggers}, "
                f"aspect ratio {theirs.aspect_ratio}; these features have triggers={settings.triggers}, "
                f"aspect ratio {settings.aspect_ratio}{frames}: train a new model, or make the features the same way"
            )

    def to_json(self) -> str:
        """The card as indented JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read a card. Raises ModelError where the text is none."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["feature_names"] = tuple(values["feature_names"])
            values["feature_settings"] = FeatureSettings(**values["feature_settings"])
            values["forest_settings"] = ForestSettings(**values["forest_settings"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"the model's card cannot be read ({error!r}); train the model anew") from error


def read_arrays(data: bytes) -> dict[str, NDArray]:
    """The arrays of a model file but for its version.

    Raises ModelError, naming the remedy, where it is none, or where its arrays would take more memory than any model's.
    """
    _check_sizes(data)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        version = int(arrays.pop("format_version"))
    except DAMAGED as error:
        raise ModelError(
            "the file is no model of this program; convert a classifier.pkl of ifcb-flow-metric once, with "
            "'ifcb-flow convert-model', or train a new model"
        ) from error
    if version > FORMAT_VERSION:
        raise ModelError(f"the model has format {version}, this version reads up to {FORMAT_VERSION}: update it")
    return arrays


def model_id(kind: str, created: datetime, arrays: Mapping[str, NDArray], *made_of: object) -> str:
    """An id that two different models never share: kind, time, and a digest of the arrays and what made them."""
    digest = hashlib.sha256(repr(made_of).encode())
    for array in arrays.values():
        digest.update(array.tobytes())
    return f"{kind}-{created:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def _check_sizes(data: bytes) -> None:
    """Raise ModelError where the arrays in a file would take more memory than any model does, before they take it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            n_bytes = sum(member.file_size for member in members)
            if n_bytes <= _LARGEST_MODEL:
                n_bytes = sum(_size_of_array(archive, member) for member in members)
    except DAMAGED:
        return  # no file of arrays: the reader says what it is instead
    if n_bytes > _LARGEST_MODEL:
        raise ModelError(f"its arrays would take {n_bytes} bytes, more than any model does: it is not to be trusted")


def _size_of_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return math.prod(shape) * dtype.itemsize


def _is_count_or_share(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return (isinstance(value, int) and value >= 1) or (isinstance(value, float) and 0 < value <= 1)
