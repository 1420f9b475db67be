"""Rows of ``bin_features`` for many bins of an archive at once, most of them in few calls of compiled code.

Bins whose ADC files are clean go through ``store.file_batches``; every other bin, and all of them where kernels do not
work, goes the way of one by one. Both give the same rows, to the last bit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.feature_rows import (
    IDENTITY,
    FeatureRows,
    feature_row,
    outcome_row,
    reference_row,
)
from ifcb_flow_pipeline.features.batch import is_usual
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import BOX_COLUMNS, FeatureSettings, fits_kernels
from ifcb_flow_pipeline.reading import read_bin
from ifcb_flow_pipeline.store.archive import Archive, BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.store.deadline import HungError
from ifcb_flow_pipeline.store.file_batches import Batch
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

#: The columns of ``bin_features`` that a row of the reference set has.
REFERENCE_COLUMNS = (*IDENTITY, "status", "reason", "n_rows", "n_images", "n_points", "bad_lines", *FEATURE_NAMES)
_REFERENCE_SCHEMA = pa.schema(map(BIN_FEATURES.schema.field, REFERENCE_COLUMNS))


def reference_table(archive: Archive, inventory: Sequence[Mapping[str, Any]], settings: FeatureSettings) -> pa.Table:
    """Rows of ``bin_features``, REFERENCE_COLUMNS only, for rows of ``raw_bins``, in their order. No header is read."""
    rows, done = FeatureRows(_REFERENCE_SCHEMA, len(inventory)), set()
    if settings.triggers == "images" and fits_kernels(settings.aspect_ratio):
        for schema in ("v1", "v2"):
            done |= _until_hung(
                lambda batch: _put_reference(batch, settings, rows), Batch.of(archive, inventory, schema)
            )
    for i in sorted(set(range(len(inventory))) - done):
        row = inventory[i]
        entry, columns = entry_and_columns(read_bin(archive, {**row, "hdr_path": None}, BOX_COLUMNS))
        rows.put(i, _identity(row) | reference_row(entry, columns, settings))
    return rows.table()


def feature_table(archive: Archive, inventory: Sequence[Mapping[str, Any]], settings: FeatureSettings) -> pa.Table:
    """Rows of ``bin_features`` for rows of ``raw_bins``, in their order."""
    rows, done = FeatureRows(BIN_FEATURES.schema, len(inventory)), set()
    if is_usual(settings):
        done = _until_hung(lambda batch: _put_all(batch, settings, rows), Batch.of(archive, inventory, "v2"))
    for i in sorted(set(range(len(inventory))) - done):
        row = inventory[i]
        entry, columns = entry_and_columns(read_bin(archive, row))
        rows.put(i, _identity(row) | feature_row(entry, columns, settings, row.get("roi_bytes")))
    return rows.table()


def entry_and_columns(read: BinRead | CloudEntry) -> tuple[CloudEntry, Mapping[str, NDArray] | None]:
    """How reading a bin went, and its columns; None where it has none to compute features of."""
    entry = read if isinstance(read, CloudEntry) else CloudEntry.of(read)
    return entry, read.adc.columns if isinstance(read, BinRead) and read.status == "ok" else None


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in IDENTITY}


def _until_hung(put: Callable[[Batch], set[int]], batches: Iterable[Batch]) -> set[int]:
    """What ``put`` has done of the batches; of those after a disk has hung, nothing."""
    done: set[int] = set()
    try:
        for batch in batches:
            done |= put(batch)
    except HungError:
        pass  # each of the others has its time by itself
    return done


def _put_reference(batch: Batch, settings: FeatureSettings, rows: FeatureRows) -> set[int]:
    """Fill in the rows of the bins that the kernels take; their numbers."""
    found = batch.reference_features(settings.aspect_ratio)
    if found is None:
        return set()
    values, counts = found
    outcomes = counts.tolist()
    taken = [k for k, (n_rows, _) in enumerate(outcomes) if n_rows]
    places, inventory = [*batch.rows], [*batch.rows.values()]
    for k in taken:
        entry = CloudEntry(inventory[k]["pid"], "ok", inventory[k]["reason"])
        n_rows, n_images = outcomes[k]
        rows.put(places[k], _identity(inventory[k]) | outcome_row(n_rows, n_images, entry))
    rows.put_numbers([places[k] for k in taken], FEATURE_NAMES, values[taken])
    return {places[k] for k in taken}


def _put_all(batch: Batch, settings: FeatureSettings, rows: FeatureRows) -> set[int]:
    """The same with all features."""
    with batch.read(shown=False) as many:
        if many is None:
            return set()
        places = [*many.rows]
        done = rows.put_batch(places, [*many.rows.values()], many.entries, many.columns, settings)
        return set(places) if done else set()
