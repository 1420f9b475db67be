"""From the columns of many bins to all of their features, in few calls of compiled code.

The same numbers as bin by bin (``extract``, ``full``), to the last bit: the same kernels compute them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.fallback import with_kernels
from ifcb_flow_pipeline.features import full, geometry
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings, fits_kernels
from ifcb_flow_pipeline.features.run import Run
from ifcb_flow_pipeline.features.stream import SHOWN_COLUMNS, STREAM_COLUMNS, Stream
from ifcb_flow_pipeline.kept import Kept

#: The compiled kernels, which load numba.
_KERNELS = "ifcb_flow_pipeline.features.batch_kernels"

_TYPES = {column.name: column.dtype for column in ADC_COLUMNS if column.name in (*STREAM_COLUMNS, *SHOWN_COLUMNS)}

#: So many rows of bins find room together.
MOST_ROWS = 400_000


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """STREAM_COLUMNS and SHOWN_COLUMNS of several bins, one bin behind the other, in memory that is used again: only
    inside ``room``. Features need none of SHOWN_COLUMNS, which may hold anything then.

    ``starts``: where each bin starts, and where the last ends, shape (bins + 1,). ``by_name``: longer than what they
    hold.
    """

    starts: NDArray[np.int64]
    by_name: Mapping[str, NDArray]

    @classmethod
    @contextmanager
    def room(cls, n_bins: int) -> "Iterator[BatchColumns]":
        """Memory for so many bins with MOST_ROWS rows together, inside. What is not written to costs nothing."""
        columns = _MEMORY.take()
        if columns is None:
            columns = {name: np.empty(MOST_ROWS, dtype) for name, dtype in _TYPES.items()}
        yield cls(np.zeros(n_bins + 1, np.int64), columns)
        # Where something failed, such as a disk that hangs, it may be written to some day.
        _MEMORY.give(columns)

    def of_bin(self, i: int) -> dict[str, NDArray]:
        """The columns of one of the bins: not copies."""
        part = slice(*self.starts[i : i + 2].tolist())
        return {name: column[part] for name, column in self.by_name.items()}


_MEMORY: Kept[dict[str, NDArray]] = Kept()


@dataclass(frozen=True, slots=True)
class BatchFeatures:
    """Features of n bins: ``reference``, shape (n, FEATURE_NAMES), NaN where there are too few points; ``others``,
    shape (n, full.COMPILED); what was found as the files were read, shape (n, full.OF_FILE); and the runs.
    ``n_pixels``: of all images of a bin.
    """

    reference: NDArray[np.float64]
    others: NDArray[np.float64]
    of_file: NDArray[np.float64]
    n_images: Sequence[int]
    n_pixels: Sequence[int]
    runs: Sequence[Run]

    @classmethod
    def of(cls, streams: Sequence[Stream], columns: BatchColumns, settings: FeatureSettings) -> "BatchFeatures | None":
        """Those of the bins whose rows ``columns`` holds, in their order; what is of bins without rows is nothing.

        None where kernels do not do what is asked for.
        """
        if not is_usual(settings):
            return None
        return with_kernels(_KERNELS, lambda kernels: cls._of(kernels, streams, columns, settings))

    @classmethod
    def _of(
        cls, kernels: ModuleType, streams: Sequence[Stream], columns: BatchColumns, settings: FeatureSettings
    ) -> "BatchFeatures":
        n = len(streams)
        found = kernels.Found(
            np.full((n, len(FEATURE_NAMES)), np.nan), np.full((n, len(full.IMAGE_FEATURES)), np.nan),
            np.full((n, len(full.TRIGGER_FEATURES)), np.nan), np.zeros((n, len(full.RUN_TIMES))),
            np.zeros(n, np.int64), np.zeros(n, np.int64),
        )  # fmt: skip
        arrays = kernels.Columns(columns.starts, **columns.by_name)
        kernels.features_of_bins(arrays, float(settings.aspect_ratio), _bins(kernels, streams), found)
        runs = [_run(stream, times) for stream, times in zip(streams, found.run.tolist(), strict=True)]
        kernels.triggers_of_bins(arrays, np.array([float(run.run_time_s) for run in runs]), found)
        of_file = np.array([full.values_of_file(stream.quality) for stream in streams], np.float64)
        others = full.compiled_columns(found.triggers, found.images, runs)
        return cls(found.reference, others, of_file, found.n_images.tolist(), found.n_pixels.tolist(), runs)


def is_usual(settings: FeatureSettings) -> bool:
    """Whether kernels compute all features as they are asked for."""
    # A feature that has no kernel, and was not found as the file was read, wants the rows of its bin.
    return settings.triggers == "images" and fits_kernels(settings.aspect_ratio) and not full.WANT_ROWS


def _bins(kernels: ModuleType, streams: Sequence[Stream]) -> object:
    return kernels.Bins(
        np.array([stream.frame_px for stream in streams], np.int64),
        np.array([int(stream.header.get("blob_grow_y_px", -1)) for stream in streams], np.int64),
        np.array([geometry.is_titled_bottom(stream.header) for stream in streams], np.bool_),
        np.array([stream.schema != "v1" for stream in streams], np.bool_),
    )


def _run(stream: Stream, times: Sequence[float]) -> Run:
    n_triggers, n_images, adc_run_s, adc_inhibit_s, last_s, due_s = times
    return Run(
        stream.schema, stream.header, n_rows=stream.n_rows, n_images=int(n_images), n_triggers=int(n_triggers),
        bad_lines=stream.bad_lines, adc_run_s=adc_run_s, adc_inhibit_s=adc_inhibit_s, last_s=last_s, due_s=due_s,
        v1_blind_s=stream.v1_blind_s,
    )  # fmt: skip
