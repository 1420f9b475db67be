"""Rows of ``bin_features``: from how reading a bin went, and the columns of its cloud, to what is stored of it.

Bin by bin, or many at once through compiled code: the rows are the same to the last bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, bytes_needed
from ifcb_flow_pipeline.features import full
from ifcb_flow_pipeline.features.batch import BatchColumns, BatchFeatures
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, FULL_FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings, extract_features, status_of
from ifcb_flow_pipeline.features.full import (
    STUCK_COLUMNS,
    description,
    features_and_run,
    header_features,
    no_rows,
    sources,
)
from ifcb_flow_pipeline.features.run import Run, blind_s_of
from ifcb_flow_pipeline.features.stream import Stream
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

IDENTITY = ("pid", "instrument", "start_time")

_FLOATS = frozenset(each.name for each in BIN_FEATURES.schema if pa.types.is_floating(each.type))


class FeatureRows:
    """Columns of ``bin_features`` (or some of them) that are filled row by row, or many rows at once."""

    def __init__(self, schema: pa.Schema, n: int) -> None:
        self.schema = schema
        self.columns: dict[str, Any] = {
            name: np.full(n, np.nan) if name in _FLOATS else [None] * n for name in schema.names
        }

    def put(self, i: int, row: Mapping[str, Any]) -> None:
        """Fill in what a row has of the columns."""
        for name, value in row.items():
            if name in self.columns:
                self.columns[name][i] = value

    def put_numbers(self, places: Sequence[int], names: Sequence[str], values: np.ndarray) -> None:
        """Fill in columns of numbers of many rows; ``values`` has shape (places, names)."""
        for name, column in zip(names, values.T, strict=True):
            self.columns[name][places] = column

    def put_batch(
        self,
        places: Sequence[int],
        inventory: Sequence[Mapping[str, Any]],
        entries: Sequence[CloudEntry],
        columns: BatchColumns,
        settings: FeatureSettings,
    ) -> bool:
        """Fill in the rows of many bins: where they belong, their rows of ``raw_bins``, how reading them went, and
        their clouds, one each. False where kernels do not do what is asked for; then nothing is filled in.
        """
        if not entries:
            return True
        streams = [_stream(entry, columns.of_bin(k), settings) for k, entry in enumerate(entries)]
        found = BatchFeatures.of(streams, columns, settings)
        if found is None:
            return False
        for k, (i, row, entry) in enumerate(zip(places, inventory, entries, strict=True)):
            roi_bytes = row.get("roi_bytes")
            needed = FIRST_BYTE[streams[k].schema] + found.n_pixels[k]
            self.put(
                i,
                {name: row[name] for name in IDENTITY}
                | outcome_row(entry.n_rows, found.n_images[k], entry)
                | files_row(entry)
                | {"roi_complete": None if roi_bytes is None else roi_bytes >= needed, "has_roi": roi_bytes is not None}
                | sources(found.runs[k]),
            )
        self.put_numbers(places, FEATURE_NAMES, found.reference)
        self.put_numbers(places, full.COMPILED, found.others)
        self.put_numbers(places, full.OF_FILE, found.of_file)
        return True

    def table(self) -> pa.Table:
        """All of it."""
        arrays = [pa.array(self.columns[each.name], each.type) for each in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def outcome_row(n_rows: int, n_images: int, entry: CloudEntry) -> dict[str, Any]:
    """What became of a bin whose points are its images."""
    status, why = status_of(n_rows, n_images, "images")
    return {
        "status": status, "reason": "; ".join(filter(None, (why, entry.reason))), "n_rows": n_rows,
        "n_images": n_images, "n_points": n_images, "bad_lines": entry.bad_lines,
    }  # fmt: skip


def feature_row(
    entry: CloudEntry, columns: Mapping[str, Any] | None, settings: FeatureSettings, roi_bytes: int | None = None
) -> dict[str, Any]:
    """The part of a row of ``bin_features`` that says what became of the bin, and what its features are.

    ``columns``: CLOUD_COLUMNS of its cloud, None where it has none; ``roi_bytes``: size of its .roi, None without.
    """
    outcome = reference_row(entry, columns, settings) | files_row(entry) | {"roi_complete": None}
    outcome["has_roi"] = roi_bytes is not None
    if columns is None:
        return (
            dict.fromkeys((*FULL_FEATURE_NAMES, *STUCK_COLUMNS), float("nan")) | outcome | _of_header(entry, settings)
        )
    stream = _stream(entry, columns, settings)
    if roi_bytes is not None:
        needed = bytes_needed(columns["width_px"], columns["height_px"], FIRST_BYTE[stream.schema])
        outcome["roi_complete"] = roi_bytes >= needed
    features, run = features_and_run(stream)
    return outcome | features | sources(run)


def files_row(entry: CloudEntry) -> dict[str, str]:
    """The part of it with what the files say of themselves, and the settings, which a damaged header does not tell."""
    told = description(entry.header)
    if entry.header_state == "damaged":
        told |= {"configuration": "", "settings": ""}
    return told | {
        "header_state": entry.header_state, "header_problem": entry.header_problem, "adc_source": entry.adc_source,
        "dead_signals": entry.file_quality.dead_signals,
    }  # fmt: skip


def reference_row(entry: CloudEntry, columns: Mapping[str, Any] | None, settings: FeatureSettings) -> dict[str, Any]:
    """The same with the reference set only: ``columns`` are BOX_COLUMNS, and the header is not needed."""
    outcome = {"status": entry.status, "reason": entry.reason, "n_rows": entry.n_rows,
               "n_images": entry.n_images, "bad_lines": entry.bad_lines, "n_points": 0}  # fmt: skip
    if columns is None:
        return outcome | dict.fromkeys(FEATURE_NAMES, float("nan"))
    found = extract_features(columns, settings)
    reason = "; ".join(filter(None, (found.reason, entry.reason)))
    outcome |= {"status": found.status, "reason": reason, "n_points": found.n_points}
    return outcome | dict(zip(FEATURE_NAMES, found.values.tolist(), strict=True))


def _of_header(entry: CloudEntry, settings: FeatureSettings) -> dict[str, Any]:
    """What is known of a bin that gave no cloud."""
    if entry.status == "empty":
        features, run = features_and_run(_stream(entry, no_rows(), settings))
        return {**features, **sources(run)}
    # Without rows, the schema changes nothing; misnamed files and what was not found have none.
    return {**header_features(entry.header), **sources(Run("v2", entry.header))}


def _stream(entry: CloudEntry, columns: Mapping[str, Any], settings: FeatureSettings) -> Stream:
    bin_id = parse_pid(entry.pid)
    frame = settings.frame_px(bin_id.instrument, bin_id.schema)
    return Stream(columns, bin_id.schema, entry.header, frame, entry.bad_lines, blind_s_of(bin_id), entry.file_quality)
