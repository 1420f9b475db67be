"""The models on disk: each under its own id, with its card beside it; which one is in use, and which were."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError
from ifcb_flow_pipeline.detection.open_model import AnyModel, model_from_bytes
from ifcb_flow_pipeline.store.daily import replacing
from ifcb_flow_pipeline.store.model_files import read_model_file, write_model_file

#: What stands for the model in use wherever a model id is asked for.
CURRENT = "current"


#: The largest file of a model, in bytes: a hundred times what usual ones have.
_LARGEST_FILE = 2**27

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the model in use.

    ``action``: promote, or rollback to the model that was in use before. ``previous``: the id of the model that it
    replaced; None for the first. ``who`` and ``note`` are for people.
    """

    at: datetime
    action: Literal["promote", "rollback"]
    model_id: str
    previous: str | None
    who: str
    note: str


@dataclass(frozen=True, slots=True)
class KeptModels:
    """Which models of a kind there are under ``root``: ``<model id>/model.npz`` and ``card.json``, ``current.json``,
    which names the model in use, and ``history.jsonl``, a line for each change of it, which is only ever added to.
    """

    root: Path

    #: The job that trains them.
    job: ClassVar[str]

    def card(self, model_id: str = CURRENT) -> object:
        """The card of a kept model. Raises ModelError, naming the remedy, where there is none."""
        raise NotImplementedError

    def promote(self, model_id: str, who: str, note: str = "", at: datetime | None = None) -> None:
        """Make a kept model the one in use (``at``: now). Raises ModelError where there is none of that id."""
        self.card(model_id)
        kept = self._existing(model_id, "card.json").parent.name  # never "current"
        if kept != self._readable_current_id():
            self._change("promote", kept, who, note, at)

    def rollback(self, who: str, note: str = "", at: datetime | None = None) -> str:
        """Make the model the one in use that was so before the present one (``at``: now); returns its id.

        Raises ModelError where there is none, or where it is no longer kept.
        """
        previous = self.previous_id()
        if previous is None:
            raise ModelError("no model was active before this one: activate another by its id")
        self.card(previous)
        self._change("rollback", previous, who, note, at)
        return previous

    def current_id(self) -> str | None:
        """The id of the model in use; None where there is none yet. Raises ModelError where it cannot be read."""
        path = self.root / "current.json"
        try:
            return str(json.loads(path.read_bytes())["model_id"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{path} cannot be read ({error!r}); promote a model again") from error

    def previous_id(self) -> str | None:
        """The id of the model to which a rollback returns; None where there is none.

        A rollback takes back the latest promotion that has not been taken back, so that several in a row go further
        and further back.
        """
        in_use: list[str] = []
        for change in self.history():
            if change.action == "rollback":
                del in_use[-1:]
            # The model before may have come into use without a line, by a version that wrote none.
            for model_id in (change.previous, change.model_id) if change.action == "promote" else (change.model_id,):
                if model_id and in_use[-1:] != [model_id]:
                    in_use.append(model_id)
        current = self.current_id()
        while in_use and in_use[-1] == current:
            in_use.pop()
        return in_use[-1] if in_use else None

    def history(self) -> list[Change]:
        """All changes of the model in use, oldest first. A line that was cut off while it was written is left out."""
        try:
            lines = (self.root / "history.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        return [change for line in lines if (change := _change_of(line)) is not None]

    def ids(self) -> list[str]:
        """The ids of all kept models, in alphabetical order."""
        return sorted(path.parent.name for path in self.root.glob("*/card.json"))

    def _change(
        self, action: Literal["promote", "rollback"], model_id: str, who: str, note: str, at: datetime | None
    ) -> None:
        at = at or datetime.now(tz=UTC)
        change = Change(at, action, model_id, self._readable_current_id(), who, note)
        with replacing(self.root / "current.json") as temporary:
            temporary.write_text(json.dumps({"model_id": model_id}))
        line = json.dumps(asdict(change) | {"at": at.isoformat(timespec="seconds")}, ensure_ascii=False)
        with (self.root / "history.jsonl").open("a+b") as file:
            # A line that a killed process left unfinished must not swallow this one.
            if file.tell() and not _ends_a_line(file):
                line = "\n" + line
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def _readable_current_id(self) -> str | None:
        # A damaged note is mended by a promotion, so it must not stand in its way.
        try:
            return self.current_id()
        except ModelError:
            return None

    def _existing(self, model_id: str, name: str) -> Path:
        if model_id == CURRENT:
            current = self.current_id()
            if current is None:
                raise ModelError(f"there is no model yet: start the job {self.job} first")
            model_id = current
        path = self.root / model_id / name
        # An id comes from a person's configuration: it must not lead out of the store.
        if not model_id or os.sep in model_id or model_id.startswith(".") or not path.is_file():
            raise ModelError(f"there is no model {model_id!r}; there are: {', '.join(self.ids()) or 'none'}")
        return path


@dataclass(frozen=True, slots=True)
class ModelStore(KeptModels):
    """The models that judge features of bins."""

    job = "retrain"

    def save(self, model: AnyModel) -> None:
        """Keep a model under its id, in place of what is there under it."""
        folder = self.root / checked_id(model.card.model_id)
        write_model(folder / "model.npz", model)
        with replacing(folder / "card.json") as temporary:
            temporary.write_text(model.card.to_json())

    def add(self, path: Path) -> str:
        """Keep the model in a file; returns its id.

        Raises ModelError, naming file and remedy, where it is none, or where another model has its id.
        """
        model = read_model(path)
        kept = self.root / checked_id(model.card.model_id) / "model.npz"
        if kept.exists() and kept.read_bytes() != model.to_bytes():
            raise ModelError(f"{path} has the id {model.card.model_id}, which another kept model has: train it again")
        self.save(model)
        return model.card.model_id

    def newest_id(self) -> str | None:
        """The id of the kept model that was made last, in use or not; None where there is none."""
        made = [
            (self.card(kept).created, self._existing(kept, "card.json").stat().st_mtime_ns, kept) for kept in self.ids()
        ]
        return max(made)[2] if made else None

    def card(self, model_id: str = CURRENT) -> ModelCard:
        """The card of a kept model. Raises ModelError, naming the remedy, where there is none."""
        return ModelCard.from_json(self._existing(model_id, "card.json").read_bytes().decode(errors="replace"))

    def load(self, model_id: str = CURRENT) -> AnyModel:
        """A kept model. Raises ModelError, naming the remedy, where there is none or it is damaged."""
        return read_model(self._existing(model_id, "model.npz"))


def read_model(path: Path) -> AnyModel:
    """The model in a file, of any kind. Raises ModelError, naming file and remedy, where it is none."""
    return read_model_file(path, "a model", _LARGEST_FILE, model_from_bytes)


def write_model(path: Path, model: AnyModel) -> None:
    """Write a model to a file, replacing what was there in one step."""
    write_model_file(path, model.to_bytes())


def checked_id(model_id: str) -> str:
    """An id that a model may have. Raises ModelError for what is none."""
    # It comes from the card in a file: it must be a name, and not a way out of the store.
    if model_id == CURRENT or not _ID.fullmatch(model_id):
        raise ModelError(f"{model_id!r} cannot be the id of a model: letters, digits, '-', '_' and '.' can")
    return model_id


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _change_of(line: str) -> Change | None:
    try:
        values: Mapping[str, Any] = json.loads(line)
        return Change(**{**values, "at": datetime.fromisoformat(values["at"])})
    except (ValueError, TypeError, KeyError):
        return None
