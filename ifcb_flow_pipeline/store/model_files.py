"""Files of models of any kind: read within bounds, with errors that name the file, and written in one step."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.store.daily import replacing

_Model = TypeVar("_Model")


def read_model_file(path: Path, kind: str, largest: int, from_bytes: Callable[[bytes], _Model]) -> _Model:
    """What ``from_bytes`` makes of a file of ``largest`` bytes at most; ``kind``: as in "a model".

    Raises ModelError, naming file and remedy.
    """
    try:
        return from_bytes(_content(path, kind, largest))
    except OSError as error:
        raise ModelError(f"cannot read the {kind.partition(' ')[2]} {path}: {error.strerror}") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def write_model_file(path: Path, content: bytes) -> None:
    """Write a model to a file, replacing what was there in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _content(path: Path, kind: str, largest: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ModelError(f"it is no file of {kind}, which has at most {largest} bytes")
    return data
