"""The models on disk: each under its own id, with its card beside it, and which one is in use."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ifcb_flow_pipeline.detection.model import ModelCard, ModelError
from ifcb_flow_pipeline.detection.reading import AnyModel, model_from_bytes
from ifcb_flow_pipeline.store.daily import replacing

#: What stands for the model in use wherever a model id is asked for.
CURRENT = "current"


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The models under ``root``: ``<model id>/model.npz`` and ``card.json``, and ``current.json``."""

    root: Path

    def save(self, model: AnyModel) -> None:
        """Keep a model under its id, in place of what is there under it."""
        folder = self.root / model.card.model_id
        write_model(folder / "model.npz", model)
        with replacing(folder / "card.json") as temporary:
            temporary.write_text(model.card.to_json())

    def use(self, model_id: str) -> None:
        """Make a kept model the one in use. Raises ModelError where there is none of that id."""
        self.card(model_id)
        kept = self._existing(model_id, "card.json").parent.name  # never "current"
        with replacing(self.root / "current.json") as temporary:
            temporary.write_text(json.dumps({"model_id": kept}))

    def current_id(self) -> str | None:
        """The id of the model in use; None where there is none yet. Raises ModelError where it cannot be read."""
        path = self.root / "current.json"
        try:
            return str(json.loads(path.read_bytes())["model_id"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{path} cannot be read ({error!r}); take a model into use again") from error

    def ids(self) -> list[str]:
        """The ids of all kept models, in alphabetical order."""
        return sorted(path.parent.name for path in self.root.glob("*/card.json"))

    def card(self, model_id: str = CURRENT) -> ModelCard:
        """The card of a kept model. Raises ModelError, naming the remedy, where there is none."""
        return ModelCard.from_json(self._existing(model_id, "card.json").read_bytes().decode(errors="replace"))

    def load(self, model_id: str = CURRENT) -> AnyModel:
        """A kept model. Raises ModelError, naming the remedy, where there is none or it is damaged."""
        return read_model(self._existing(model_id, "model.npz"))

    def _existing(self, model_id: str, name: str) -> Path:
        if model_id == CURRENT:
            current = self.current_id()
            if current is None:
                raise ModelError("there is no model yet: materialize anomaly_model first")
            model_id = current
        path = self.root / model_id / name
        # An id comes from a person's configuration: it must not lead out of the store.
        if not model_id or os.sep in model_id or model_id.startswith(".") or not path.is_file():
            raise ModelError(f"there is no model {model_id!r}; there are: {', '.join(self.ids()) or 'none'}")
        return path


def read_model(path: Path) -> AnyModel:
    """The model in a file, of either kind. Raises ModelError, naming file and remedy, where it is none."""
    try:
        return model_from_bytes(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def write_model(path: Path, model: AnyModel) -> None:
    """Write a model to a file, replacing what was there in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(model.to_bytes())
