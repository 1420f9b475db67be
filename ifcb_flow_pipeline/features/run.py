"""What the run was and what it should have been: time and volume against the settings, and the configuration.

Sources: the syringe pump draws 5 mL in 20 min and the run ends about 2 s before the sample does
(github.com/robertjolson/ifcb-acq); volume from look time as in ifcb-analysis (``IFCB_volume_analyzed.m``) and pyifcb
(``metrics/ml_analyzed.py``).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ifcb_flow_pipeline.bins.pid import Schema

#: Volume that passes the camera per minute of looking; from IFCB7 on.
FLOW_ML_PER_MIN = 0.25

#: IFCB1 to IFCB6: steps of the pump per second, and volume per step.
_V1_STEPS_PER_S, _V1_ML_PER_STEP = 40, 5 / 48_000

#: IFCB1 to IFCB6 write no blind time; at least so much passes per trigger.
_V1_BLIND_S = 0.073

_SECONDS_PER_ML = 60 / FLOW_ML_PER_MIN
_UNUSED_S = 2.0

_NAN = float("nan")

#: Header values that are settings, and change what a healthy bin looks like.
SETTINGS = (
    "software", "run_fast", "run_fast_factor", "sample_volume_ml", "skip_volume_ml", "sampling_speed",
    "flash_delay", "flashlamp_v", "camera_gain", "binarize_threshold", "min_blob_area_px2", "blob_grow_x_px",
    "blob_grow_y_px", "pmt_a_v", "pmt_b_v", "pmt_a_threshold_v", "pmt_b_threshold_v", "trigger_selection",
    "pump_drive_v",
)  # fmt: skip
_SETTINGS_OF_USUAL_RUNS = tuple(name for name in SETTINGS if name != "run_fast_factor")


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run besides its triggers; the properties named as features are these features.

    ``n_rows``, ``n_images``, ``n_triggers``, ``bad_lines``: counts of the ADC file. ``adc_run_s``, ``adc_inhibit_s``:
    run and blind time as it has them, where they are believable, ``largest_run_s`` whether believable or not; NaN where
    it does not say.
    """

    schema: Schema
    header: Mapping[str, Any] = field(default_factory=dict)
    n_rows: int = 0
    n_images: int = 0
    n_triggers: int = 0
    bad_lines: int = 0
    adc_run_s: float = _NAN
    adc_inhibit_s: float = _NAN
    largest_run_s: float = _NAN

    @property
    def run_time_s(self) -> float:
        """Length of the run: as the header has it, else as the ADC file has it."""
        return float(self.header.get("run_time_s", self.adc_run_s))

    @property
    def inhibit_s(self) -> float:
        """Blind part of the run: as the header has it, else as the ADC file has it."""
        return float(self.header.get("inhibit_time_s", self.adc_inhibit_s))

    @property
    def speed_factor(self) -> float:
        """How much faster than usual the sample was injected."""
        factor = self.header.get("run_fast_factor", 1.0) if self.header.get("run_fast") else 1.0
        return float(factor) if factor > 0 else 1.0

    @property
    def expected_volume_ml(self) -> float:
        """The volume that the settings promise."""
        volume = self.header.get("sample_volume_ml", _NAN) - self.header.get("skip_volume_ml", 0.0)
        return float(volume) if volume > 0 else _NAN

    @property
    def expected_run_s(self) -> float:
        """The length of the run that the settings promise."""
        expected = (self.expected_volume_ml * _SECONDS_PER_ML - _UNUSED_S) / self.speed_factor
        return expected if expected > 0 else _NAN

    @property
    def run_time_ratio(self) -> float:
        """Length of the run over that which the settings promise."""
        return self.run_time_s / self.expected_run_s

    @property
    def volume_ml(self) -> float:
        """The volume that was looked at: that which passed while the instrument was not blind."""
        if self.schema == "v1":
            look_s = self.run_time_s - self.n_triggers * _V1_BLIND_S
            return look_s * _V1_STEPS_PER_S * _V1_ML_PER_STEP
        return (self.run_time_s - self.inhibit_s) / 60 * FLOW_ML_PER_MIN * self.speed_factor

    @property
    def volume_ratio(self) -> float:
        """The volume that was looked at over that which the settings promise."""
        return self.volume_ml / self.expected_volume_ml

    @property
    def inhibit_fraction(self) -> float:
        """Blind part of the run."""
        return self.inhibit_s / self.run_time_s if self.run_time_s > 0 else _NAN

    @property
    def trigger_rate_hz(self) -> float:
        """Triggers per second of the run."""
        return self.n_triggers / self.run_time_s if self.run_time_s > 0 else _NAN

    @property
    def image_count_mismatch(self) -> float:
        """Images in the ADC file over those that the header counts, less 1."""
        counted = self.header.get("roi_count", _NAN)
        return (self.n_images - counted) / max(counted, 1)

    @property
    def run_time_mismatch(self) -> float:
        """Largest run time in the ADC file over that of the header, less 1."""
        stated = self.header.get("run_time_s", _NAN)
        return self.largest_run_s / stated - 1 if stated > 0 else _NAN

    @property
    def bad_line_fraction(self) -> float:
        """ADC lines that cannot be used."""
        lines = self.n_rows + self.bad_lines
        return self.bad_lines / lines if lines else _NAN

    @property
    def temperature_c(self) -> float:
        """Temperature inside the housing."""
        return float(self.header.get("temperature_c", _NAN))

    @property
    def humidity_pct(self) -> float:
        """Relative humidity inside the housing."""
        return float(self.header.get("humidity_pct", _NAN))


def settings_of(header: Mapping[str, Any]) -> str:
    """The settings that a header states, as JSON text with sorted keys; empty without any."""
    in_force = SETTINGS if header.get("run_fast") else _SETTINGS_OF_USUAL_RUNS
    return _as_json(tuple((name, header[name]) for name in in_force if name in header))


# The same again and again, bin after bin.
@lru_cache(256)
def _as_json(settings: tuple[tuple[str, Any], ...]) -> str:
    return json.dumps(dict(settings), sort_keys=True) if settings else ""


@lru_cache(256)
def configuration_of(settings: str) -> str:
    """A short code of settings as ``settings_of`` gives them: equal where they are equal; empty without any."""
    return hashlib.sha256(settings.encode()).hexdigest()[:8] if settings else ""
