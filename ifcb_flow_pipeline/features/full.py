"""From one bin to all of its features beyond the reference set, and to what describes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features import geometry, repeats
from ifcb_flow_pipeline.features.catalogue import FULL_ONLY
from ifcb_flow_pipeline.features.run import Run, configuration_of, settings_of
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS, Stream

#: Names of the columns that describe the most repeated box.
STUCK_COLUMNS = ("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px")

#: What is computed for a bin: the features, and the most repeated box.
COMPUTED = (*(feature.name for feature in FULL_ONLY), *STUCK_COLUMNS)

#: Without an ADC file only the header tells anything.
_OF_HEADER = (
    "run_time_s", "run_time_ratio", "volume_ml", "volume_ratio", "inhibit_fraction", "temperature_c", "humidity_pct",
)  # fmt: skip

#: Features that the run tells, apart from its triggers and images.
_OF_RUN = tuple(feature.name for feature in FULL_ONLY if hasattr(Run, feature.name))

_TYPES = {
    "trigger": np.int32, "t_s": np.float64, "x_px": np.int16, "y_px": np.int16, "width_px": np.int16,
    "height_px": np.int16, "peak_b": np.float32, "time_of_flight_us": np.float32, "run_time_s": np.float64,
    "inhibit_time_s": np.float64,
}  # fmt: skip


def full_features(stream: Stream) -> dict[str, float]:
    """The features of the set ``full`` that are not in ``reference``, and the most repeated box: by name, COMPUTED.

    NaN where the bin does not tell. Columns as files are read go through compiled kernels, without Python's lock. Any
    others go through the functions of the catalogue. The two are equal as the kernels' module says.
    """
    if stream.n_rows and all(_fits(stream.columns[name], name, stream.n_rows) for name in _TYPES):
        return _by_kernels(stream)
    return _by_catalogue(stream)


def header_features(header: Mapping[str, Any]) -> dict[str, float]:
    """What a header alone tells of a bin whose ADC file is missing or cannot be read."""
    run = Run("v2", header)
    return {name: getattr(run, name) for name in _OF_HEADER}


def no_rows() -> dict[str, NDArray]:
    """The columns of a bin without ADC rows."""
    return {name: np.zeros(0) for name in STREAM_COLUMNS}


def description(header: Mapping[str, Any]) -> dict[str, str]:
    """What a header says of how the bin was made: ``configuration``, ``settings`` and ``sample_type``."""
    settings = settings_of(header)
    return {
        "configuration": configuration_of(settings),
        "settings": settings,
        "sample_type": str(header.get("sample_type", "")),
    }


def _by_catalogue(stream: Stream) -> dict[str, float]:
    found = {feature.name: float(feature.function(stream)) for feature in FULL_ONLY}
    if not stream.enough_images:
        return found | dict.fromkeys(STUCK_COLUMNS, float("nan"))
    place = repeats.repeated_place(stream.left_px, stream.top_px, stream.width_px, stream.height_px)
    return found | dict(zip(STUCK_COLUMNS, place, strict=True))


def _by_kernels(stream: Stream) -> dict[str, float]:
    from ifcb_flow_pipeline.features import stream_kernels as kernels

    header, columns = stream.header, {name: _plain(stream.columns[name]) for name in _TYPES}
    triggers = kernels.trigger_features(
        columns["trigger"], columns["t_s"], columns["width_px"], columns["height_px"], columns["peak_b"],
        columns["run_time_s"], columns["inhibit_time_s"], float(header.get("run_time_s", np.nan)),
    )  # fmt: skip
    images = kernels.image_features(
        columns["x_px"], columns["y_px"], columns["width_px"], columns["height_px"], columns["peak_b"],
        columns["time_of_flight_us"], stream.frame_px, int(header.get("blob_grow_y_px", -1)),
        geometry.is_titled_bottom(header), stream.schema != "v1",
    )  # fmt: skip
    run = Run(
        stream.schema, header, stream.n_rows, images.n_images, int(triggers.n_triggers), stream.bad_lines,
        triggers.adc_run_s, triggers.adc_inhibit_s, triggers.largest_run_s,
    )  # fmt: skip
    known = triggers._asdict() | images._asdict() | {name: getattr(run, name) for name in _OF_RUN}
    return {name: known[name] for name in COMPUTED}


def _fits(column: NDArray, name: str, n_rows: int) -> bool:
    """Whether kernels, which check nothing themselves, may be given this column."""
    return column.dtype == _TYPES[name] and column.shape == (n_rows,)


def _plain(column: NDArray) -> NDArray:
    # A kernel is compiled anew for memory that is read-only or not in one piece: a copy is cheaper.
    return column if column.flags.behaved and column.flags.c_contiguous else column.copy()
