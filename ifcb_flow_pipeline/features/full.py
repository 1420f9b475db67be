"""From one bin to all of its features beyond the reference set, and to what describes it."""

from collections.abc import Mapping, Sequence
from operator import attrgetter, itemgetter
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.fallback import with_kernels
from ifcb_flow_pipeline.features import geometry, repeats
from ifcb_flow_pipeline.features.catalogue import FULL_ONLY, KERNEL_FEATURES
from ifcb_flow_pipeline.features.file_quality import FileQuality
from ifcb_flow_pipeline.features.run import Run, configuration_of, settings_of
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS, Stream

#: The compiled kernels, which load numba.
_KERNELS = "ifcb_flow_pipeline.features.stream_kernels"

#: Names of the columns that describe the most repeated box.
STUCK_COLUMNS = ("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px")

#: Without an ADC file only the header tells anything.
_OF_HEADER = (
    "run_time_s", "run_time_ratio", "volume_ml", "volume_ratio", "inhibit_fraction", "temperature_c", "humidity_pct",
)  # fmt: skip

#: Features that the run tells, apart from its triggers and images.
_OF_RUN = tuple(feature.name for feature in FULL_ONLY if hasattr(Run, feature.name))
_values_of_run = attrgetter(*_OF_RUN)

#: What the rows tell of the run, by the names that ``Run`` has for it.
RUN_TIMES = ("n_triggers", "n_images", "adc_run_s", "adc_inhibit_s", "last_s", "due_s")

#: What kernels give, in their order. All are numbers, the first of each a count.
TRIGGER_FEATURES = ("n_triggers", *KERNEL_FEATURES["triggers"])
IMAGE_FEATURES = ("n_images", *KERNEL_FEATURES["images"], *STUCK_COLUMNS)

#: Features that go through their own functions even where the others come from kernels, and all that does not.
_NOT_COMPILED = tuple(feature for feature in FULL_ONLY if feature.kernel == "none" and feature.name not in _OF_RUN)
COMPILED = (*(feature.name for feature in FULL_ONLY if feature not in _NOT_COMPILED), *STUCK_COLUMNS)

#: Of these, what was found as the file was read; whether there are others, which want the rows of the bin.
OF_FILE = tuple(each.name for each in _NOT_COMPILED if each.name in FileQuality.__dataclass_fields__)
WANT_ROWS = len(OF_FILE) < len(_NOT_COMPILED)


def _places() -> list[int]:
    """Where those of COMPILED stand, in their order, among the values that kernels and the run gave.

    Of two values of one name, such as counts that the run tells too, the last.
    """
    places = {name: place for place, name in enumerate((*TRIGGER_FEATURES, *IMAGE_FEATURES, *_OF_RUN))}
    return [places[name] for name in COMPILED]


_PLACES = _places()
_pick = itemgetter(*_PLACES)

#: STREAM_COLUMNS and the types that files are read as.
_TYPES = {column.name: np.dtype(column.dtype) for column in ADC_COLUMNS if column.name in STREAM_COLUMNS}
_DTYPES = list(_TYPES.values())


def full_features(stream: Stream) -> dict[str, float]:
    """The features of the set ``full`` that are not in ``reference``, and the most repeated box (STUCK_COLUMNS):
    by name.

    NaN where the bin does not tell. Columns as files are read go through compiled kernels, without Python's lock. Any
    others, and features that have no kernel, go through the functions of the catalogue. The two are equal as the
    kernels' module says.
    """
    return features_and_run(stream)[0]


def features_and_run(stream: Stream) -> tuple[dict[str, float], Run]:
    """The same, and the run that it is of."""
    columns = _for_kernels(stream)
    if columns is not None:
        found = with_kernels(_KERNELS, lambda kernels: _by_kernels(kernels, stream, columns))
        if found is not None:
            return found
    return _by_catalogue(stream), stream.run


def header_features(header: Mapping[str, Any]) -> dict[str, float]:
    """What a header alone tells of a bin whose ADC file is missing or cannot be read."""
    run = Run("v2", header)
    return {name: getattr(run, name) for name in _OF_HEADER}


def sources(run: Run) -> dict[str, str]:
    """Whether the header or the ADC file tells the times of the run: ``run_time_source``, ``inhibit_time_source``."""
    return {"run_time_source": run.run_time_source, "inhibit_time_source": run.inhibit_time_source}


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


def _by_kernels(kernels: ModuleType, stream: Stream, columns: list[NDArray]) -> tuple[dict[str, float], Run]:
    header = stream.header
    trigger, t_s, x_px, y_px, width_px, height_px, peak_v, flight_us, run_time_s, inhibit_time_s = columns
    counted = kernels.run_times(trigger, t_s, width_px, height_px, run_time_s, inhibit_time_s)
    run = Run(
        stream.schema, header, n_rows=stream.n_rows, bad_lines=stream.bad_lines, v1_blind_s=stream.v1_blind_s,
        **counted._asdict(),
    )  # fmt: skip
    triggers = kernels.trigger_features(
        trigger, t_s, width_px, height_px, peak_v, inhibit_time_s, float(run.run_time_s)
    )
    images = kernels.image_features(
        x_px, y_px, width_px, height_px, peak_v, flight_us, stream.frame_px, int(header.get("blob_grow_y_px", -1)),
        geometry.is_titled_bottom(header), stream.schema != "v1",
    )  # fmt: skip
    found = compiled_features(triggers, images, run)
    for feature in _NOT_COMPILED:
        found[feature.name] = float(feature.function(stream))
    return found, run


def compiled_features(triggers: Sequence[float], images: Sequence[float], run: Run) -> dict[str, float]:
    """Features by name, and the most repeated box, from what kernels gave, TRIGGER_FEATURES and IMAGE_FEATURES, and
    from the run.
    """
    return dict(zip(COMPILED, _pick((*triggers, *images, *_values_of_run(run))), strict=True))


def compiled_columns(
    triggers: NDArray[np.float64], images: NDArray[np.float64], runs: Sequence[Run]
) -> NDArray[np.float64]:
    """The same of many bins: shape (bins, COMPILED)."""
    of_run = np.array([_values_of_run(run) for run in runs], np.float64).reshape(len(runs), len(_OF_RUN))
    return np.hstack((triggers, images, of_run))[:, _PLACES]


def values_of_file(quality: FileQuality) -> tuple[float, ...]:
    """The features that were found as the file was read, in the order of OF_FILE."""
    return tuple(float(getattr(quality, name)) for name in OF_FILE)


def _for_kernels(stream: Stream) -> list[NDArray] | None:
    """The columns in the order of _TYPES, as the kernels, which check nothing themselves, may be given them.

    None where they are of other types or lengths, or have no rows.
    """
    columns = [stream.columns[name] for name in _TYPES]
    fit = [c.dtype for c in columns] == _DTYPES and {c.shape for c in columns} == {(stream.n_rows,)}
    if not stream.n_rows or not fit:
        return None
    # A kernel is compiled anew for memory that is read-only or not in one piece: a copy is cheaper.
    return [column if column.flags.carray else column.copy() for column in columns]
