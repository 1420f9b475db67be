"""From one bin to all of its features beyond the reference set, and to what describes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features import repeats, run
from ifcb_flow_pipeline.features.catalogue import FULL_ONLY
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS, Stream

#: Names of the columns that describe the most repeated box.
STUCK_COLUMNS = ("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px")

#: Without an ADC file only the header tells anything.
_OF_HEADER = frozenset({"run_time_s", "run_time_ratio", "volume_ml", "volume_ratio", "inhibit_fraction",
                        "temperature_c", "humidity_pct"})  # fmt: skip


def full_features(stream: Stream) -> dict[str, float]:
    """The features of the set ``full`` that are not in ``reference``, by name; NaN where the bin does not tell."""
    return {feature.name: float(feature.function(stream)) for feature in FULL_ONLY}


def header_features(stream: Stream) -> dict[str, float]:
    """The same for a bin whose ADC file cannot be read: only what the header alone tells is not NaN."""
    found = full_features(stream)
    return {name: value if name in _OF_HEADER else float("nan") for name, value in found.items()}


def no_rows() -> dict[str, NDArray]:
    """The columns of a bin without ADC rows."""
    return {name: np.zeros(0) for name in STREAM_COLUMNS}


def stuck_box(stream: Stream) -> dict[str, float]:
    """The most repeated box of a bin, by the names of STUCK_COLUMNS; NaN where there are too few images."""
    if not stream.enough_images:
        return dict.fromkeys(STUCK_COLUMNS, float("nan"))
    boxes = np.column_stack((stream.left_px, stream.top_px, stream.width_px, stream.height_px))
    return dict(zip(STUCK_COLUMNS, repeats.most_frequent(boxes).tolist(), strict=True))


def description(header: Mapping[str, Any]) -> dict[str, str]:
    """What a header says of how the bin was made: ``configuration``, ``settings`` and ``sample_type``."""
    settings = run.settings_of(header)
    return {
        "configuration": run.configuration_of(settings),
        "settings": settings,
        "sample_type": str(header.get("sample_type", "")),
    }
