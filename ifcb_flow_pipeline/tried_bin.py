"""One bin that is handed in, judged as the pipeline would judge it, and nothing kept of it.

Belongs here: the same steps as in ``days``, for one bin. Does not belong here: how files look (``review.upload``).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, Images, RoiError, RoiTable, read_image
from ifcb_flow_pipeline.days import feature_row, history_of, score_table
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.detection.trial.partial_bins import PartialScore
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.live import scores_of_parts
from ifcb_flow_pipeline.review.upload import MAX_BYTES, UploadedBin, UploadError, uploaded_bin
from ifcb_flow_pipeline.store.archive import Archive, BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.tables import BIN_FEATURES


@dataclass(frozen=True, slots=True)
class TriedBin:
    """A bin that was handed in: what reading it gave, and its row of ``bin_features`` as a table of one row."""

    read: BinRead
    features: pa.Table

    @classmethod
    def of(cls, bin_: UploadedBin, settings: FeatureSettings) -> "TriedBin":
        """Read the bin and compute its features. A damaged file is no error: its status and reason say so."""
        read = bin_.read()
        bin_id = parse_pid(bin_.pid)
        identity = {"pid": bin_id.pid, "instrument": bin_id.instrument, "start_time": bin_id.start_time}
        columns = read.adc.columns if read.status == "ok" else None
        row = identity | feature_row(CloudEntry.of(read), columns, settings, bin_.roi_bytes)
        return cls(read, pa.Table.from_pylist([row], schema=BIN_FEATURES.schema))

    @property
    def cloud(self) -> Mapping[str, NDArray] | None:
        """The points, with ``has_image``; None where there are none to show."""
        if self.read.status != "ok" or not len(self.read.adc):
            return None
        return {**self.read.adc.columns, "has_image": self.read.adc.has_image}

    def judged(self, model: AnyModel, settings: FeatureSettings, tables: DailyTables) -> dict[str, Any]:
        """The row of ``bin_scores`` that the model gives it, beside the instrument's stored bins of the days before.

        Raises ModelError where the model does not fit the settings, StoreError where the tables cannot be read.
        """
        model.check_usable(settings)
        return score_table(self.features, model, self._history(tables)).to_pylist()[0]

    def judged_in_parts(self, model: AnyModel, tables: DailyTables) -> list[PartialScore]:
        """What the model says of the bin after each part of its run, shortest first. Raises as ``judged``."""
        entry = CloudEntry.of(self.read)
        return scores_of_parts(entry, self.read.adc.columns, model, self._history(tables))

    @property
    def roi_table(self) -> RoiTable:
        """Where the images of the bin lie in its .roi file."""
        columns = self.read.adc.columns
        first_byte = FIRST_BYTE[parse_pid(self.read.pid).schema]
        return RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], first_byte)

    def images(self, roi: bytes, rows: Sequence[int]) -> Images:
        """The images of some rows, from the content of the .roi file."""
        found, table = Images({}, {}), self.roi_table
        for row in rows:
            try:
                found.images[row] = read_image(roi, table, row)
            except RoiError as error:
                found.missing[row] = str(error)
        return found

    def _history(self, tables: DailyTables) -> pa.Table:
        bin_id = parse_pid(self.read.pid)
        return history_of(tables).before(bin_id.day).filter(pc.field("pid") != bin_id.pid)


def archived_bin(archive: Archive, path: str) -> UploadedBin:
    """The bin whose .adc file has this path in the archive, absolute or from the archive's folder.

    Links that lie in the archive are followed, as the pipeline follows them: whoever put them there may do so. Raises
    UploadError for a file that is not there, or whose path leads elsewhere.
    """
    adc = _inside(archive.root, path.strip())
    if adc is None:
        # The same words whatever is wrong: what lies elsewhere on the server is nobody's business.
        raise UploadError(f"there is no .adc file {path.strip()!r} in the archive {archive.root}")
    beside = (adc.with_suffix(f".{extension}") for extension in ("hdr", "roi"))
    return uploaded_bin([(file.name, _content(file)) for file in (adc, *(each for each in beside if each.is_file()))])


def _inside(root: Path, path: str) -> Path | None:
    """The .adc file of this path; None where there is none or the path, written without ``..``, leaves ``root``."""
    try:
        root = root.absolute()
        file = Path(os.path.normpath(root / path))
        return file if file.is_relative_to(root) and file.suffix.lower() == ".adc" and file.is_file() else None
    except (OSError, ValueError):
        return None


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_BYTES[file.suffix.lower().removeprefix(".")]:
            raise UploadError(f"{file.name} is larger than any file of its kind")
        return file.read_bytes()
    except OSError as error:
        raise UploadError(f"cannot read {file.name}: {error.strerror or error}") from error
