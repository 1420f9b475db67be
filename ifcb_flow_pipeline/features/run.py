"""What the run was and what it should have been: time and volume against the settings, and the configuration.

Sources: the syringe pump draws 5 mL in 20 min and the run ends about 2 s before the sample does
(github.com/robertjolson/ifcb-acq); volume from look time as in ifcb-analysis (``IFCB_volume_analyzed.m``) and pyifcb
(``metrics/ml_analyzed.py``).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifcb_flow_pipeline.features.stream import Stream

#: Volume that passes the camera per minute of looking; from IFCB7 on.
FLOW_ML_PER_MIN = 0.25

#: IFCB1 to IFCB6: steps of the pump per second, and volume per step.
_V1_STEPS_PER_S, _V1_ML_PER_STEP = 40, 5 / 48_000

#: IFCB1 to IFCB6 write no blind time; at least so much passes per trigger.
_V1_BLIND_S = 0.073

_SECONDS_PER_ML = 60 / FLOW_ML_PER_MIN
_UNUSED_S = 2.0

#: Header values that are settings, and change what a healthy bin looks like.
SETTINGS = (
    "software", "run_fast", "run_fast_factor", "sample_volume_ml", "skip_volume_ml", "sampling_speed",
    "flash_delay", "flashlamp_v", "camera_gain", "binarize_threshold", "min_blob_area_px2", "blob_grow_x_px",
    "blob_grow_y_px", "pmt_a_v", "pmt_b_v", "pmt_a_threshold_v", "pmt_b_threshold_v", "trigger_selection",
    "pump_drive_v",
)  # fmt: skip

_NAN = float("nan")


def speed_factor(header: Mapping[str, Any]) -> float:
    """How much faster than usual the sample was injected."""
    factor = header.get("run_fast_factor", 1.0) if header.get("run_fast") else 1.0
    return float(factor) if factor > 0 else 1.0


def expected_volume_ml(header: Mapping[str, Any]) -> float:
    """The volume that the settings promise; NaN where they do not say."""
    volume = header.get("sample_volume_ml", _NAN) - header.get("skip_volume_ml", 0.0)
    return float(volume) if volume > 0 else _NAN


def expected_run_s(header: Mapping[str, Any]) -> float:
    """The length of the run that the settings promise; NaN where they do not say."""
    return (expected_volume_ml(header) * _SECONDS_PER_ML - _UNUSED_S) / speed_factor(header)


def volume_ml(stream: "Stream") -> float:
    """The volume that was looked at: that which passed while the instrument was not blind; NaN where unknown."""
    if stream.schema == "v1":
        look_s = stream.run_s - stream.n_triggers * _V1_BLIND_S
        return look_s * _V1_STEPS_PER_S * _V1_ML_PER_STEP
    look_s = stream.run_s - stream.inhibit_s
    return look_s / 60 * FLOW_ML_PER_MIN * speed_factor(stream.header)


def settings_of(header: Mapping[str, Any]) -> str:
    """The settings that a header states, as JSON text with sorted keys; empty without any."""
    settings = {name: header[name] for name in SETTINGS if name in header}
    if not header.get("run_fast"):
        settings.pop("run_fast_factor", None)  # not in force
    return json.dumps(settings, sort_keys=True) if settings else ""


def configuration_of(settings: str) -> str:
    """A short code of settings as ``settings_of`` gives them: equal where they are equal; empty without any."""
    return hashlib.sha256(settings.encode()).hexdigest()[:8] if settings else ""
