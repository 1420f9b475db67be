"""Reading the tables of images: the images of a bin with what is said of them, and maps of windows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.detection.images.levels import Levels
from ifcb_flow_pipeline.detection.images.window_map import SHAPE, WindowMap
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.tables import BIN_IMAGE_SCORES, IMAGE_FEATURES, IMAGE_SCORES, WINDOW_MAPS

#: The columns of ``window_maps`` with the sums over cells, in the order of ``WindowMap.cells``.
_SUMS = ("background_sum", "background_squares", "n_telling", "n_dark", "n_seen")
_TYPES = (np.float32, np.float32, np.int32, np.int32, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class LookedAt:
    """The images of one bin that were looked at: rows of ``image_features`` that have a ``row``, in its order, with the
    columns of ``image_scores`` beside them, null where an image has no features.

    ``levels``: what was usual for the instrument when they were judged, None where nobody knew; ``model_id``: the image
    model that judged them, empty where none has yet.
    """

    rows: pa.Table
    levels: Levels | None
    model_id: str


def images_of(tables: DailyTables, pid: str) -> LookedAt | None:
    """The images of a bin that were looked at, none where it has no .roi; None where nobody has looked yet.

    Raises StoreError for a file that cannot be used.
    """
    day, is_own = parse_pid(pid).day, pc.field("pid") == pid
    features = tables.read(IMAGE_FEATURES, day)
    if features is None:
        return None
    rows = features.filter(is_own & pc.field("row").is_valid())
    found = tables.read_with_provenance(IMAGE_SCORES, day)
    scores, made_of = (IMAGE_SCORES.schema.empty_table(), {}) if found is None else (found[0], found[1].made_of)
    scores = scores.filter(is_own).drop_columns(["pid", "instrument"])
    levels = made_of.get("levels", {}).get(parse_pid(pid).instrument)
    joined = rows.join(scores, "row").sort_by("row")
    return LookedAt(joined, Levels(**levels) if levels else None, made_of.get("model_id", ""))


def bin_row(tables: DailyTables, pid: str) -> dict[str, Any] | None:
    """The bin's row of ``bin_image_scores``; None where its images have not been judged yet."""
    rows = tables.read(BIN_IMAGE_SCORES, parse_pid(pid).day)
    found = [] if rows is None else rows.filter(pc.field("pid") == pid).to_pylist()
    return found[0] if found else None


def window_maps(tables: DailyTables, instrument: str, first: date, last: date) -> pa.Table:
    """The rows of ``window_maps`` of an instrument, of the days from ``first`` to ``last`` (both included) that have
    some; ``map_of`` makes a map of a row.
    """
    rows = tables.read_range(WINDOW_MAPS, first, last)
    return rows.filter(pc.field("instrument") == instrument).sort_by("last_start")


def map_of(row: Mapping[str, Any]) -> WindowMap:
    """The map that a row of ``window_maps`` holds."""
    found = WindowMap.empty()
    cells = found.cells.reshape(len(_SUMS), -1)
    for number, name in enumerate(_SUMS):
        cells[number, row["cell"]] = row[name]
    return found


def map_columns(window: WindowMap) -> dict[str, list]:
    """A map as the columns of ``window_maps`` that hold it: only the cells that were seen."""
    sums = window.cells.reshape(len(_SUMS), SHAPE[0] * SHAPE[1])
    cell = np.flatnonzero(sums.any(axis=0))
    # Of grey values summed over images, tenths are of no account.
    rounded = [np.round(sums[0, cell], 1), *np.round(sums[1:, cell])]
    columns = {name: values.astype(kind).tolist() for name, values, kind in zip(_SUMS, rounded, _TYPES, strict=True)}
    return {"cell": cell.tolist(), **columns}
