"""What the run was and what it should have been: time and volume against the settings, and the configuration.

Run time and blind time stand in the header and in the rows of the ADC file, and either may be wrong: zero, some times
too long, garbage in the last row. Which of the two counts:

* Where only one has it, that one.
* Where both agree (within 2 %), the header.
* A header whose run ends before its last trigger is wrong: the ADC file counts.
* A run may be quiet at its end. So a header with a longer run than the ADC file counts, unless the run is longer than
  its sample lasts, or the ADC file has fewer images than the header counts, as a cut file has: then the ADC file
  counts.
* Of two blind times that differ, that of the ADC file counts: it grew trigger by trigger.

pyifcb (``metrics/ml_analyzed.py``, issues 51, 57, 59, 61 and 70) takes the ADC file wherever the two differ by more
than 2 %; that is something else only where a clog leaves the end of a run without triggers.

Sources: the syringe pump draws 5 mL in 20 min and the run ends about 2 s before the sample does
(github.com/robertjolson/ifcb-acq); volume from look time as in ifcb-analysis (``IFCB_volume_analyzed.m``) and pyifcb
(``metrics/ml_analyzed.py``).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

from ifcb_flow_pipeline.bins.pid import BinId, Schema

#: Where a time is from; empty where nothing states it.
Source = Literal["header", "adc", ""]

#: Volume that passes the camera per minute of looking; from IFCB7 on.
FLOW_ML_PER_MIN = 0.25

#: IFCB1 to IFCB6: steps of the pump per second, and volume per step.
_V1_STEPS_PER_S, _V1_ML_PER_STEP = 40, 5 / 48_000

#: IFCB1 to IFCB6 write no blind time; at least so much passes per trigger, of IFCB5 less from June 2015 on (pyifcb,
#: issue 67).
V1_BLIND_S = 0.073
_IFCB5_BLIND_S, _IFCB5_SINCE = 0.050, datetime(2015, 6, 1, tzinfo=UTC)

#: A syringe holds so much: no run is longer than this lasts.
_FULL_SYRINGE_ML = 5.0

#: Times agree that differ by no more than this share of the larger (pyifcb), or by this, for short runs and blind
#: times: the last trigger's may be missing, and the two clocks are up to 1.3 s apart.
_AGREEING_SHARE, _AGREEING_S = 0.02, 2.0

#: An ADC file with a smaller share of the images that the header counts is cut.
_CUT_SHARE = 0.98

#: No run is divided by less.
_SHORTEST_S = 1e-3

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


def blind_s_of(bin_id: BinId) -> float:
    """The least time for which an instrument that writes no blind time is blind after a trigger, in s."""
    is_newer = bin_id.instrument == "IFCB5" and bin_id.start_time >= _IFCB5_SINCE
    return _IFCB5_BLIND_S if is_newer else V1_BLIND_S


@dataclass(frozen=True)
class Run:
    """What is known of a run besides its triggers; the properties named as features are these features.

    ``n_rows``, ``n_images``, ``n_triggers``, ``bad_lines``: counts of the ADC file. ``adc_run_s``, ``adc_inhibit_s``:
    run and blind time as its columns have them, where they are believable. ``last_s``, ``due_s``: times of the last
    trigger and of the next one, had there been any. NaN for what the file does not say. ``v1_blind_s``: see
    ``blind_s_of``.
    """

    schema: Schema
    header: Mapping[str, Any] = field(default_factory=dict)
    n_rows: int = 0
    n_images: int = 0
    n_triggers: int = 0
    bad_lines: int = 0
    adc_run_s: float = _NAN
    adc_inhibit_s: float = _NAN
    last_s: float = _NAN
    due_s: float = _NAN
    v1_blind_s: float = V1_BLIND_S

    @cached_property
    def run_time_s(self) -> float:
        """Length of the run, from the better source."""
        return self._stated_run_s if self.run_time_source == "header" else self._rows_run_s

    @property
    def inhibit_s(self) -> float:
        """Blind part of the run, from the better source."""
        return self._stated_inhibit_s if self.inhibit_time_source == "header" else self.adc_inhibit_s

    @cached_property
    def run_time_source(self) -> Source:
        """Whether the header or the ADC file tells the length of the run."""
        if math.isnan(self._rows_run_s):
            return "" if math.isnan(self._stated_run_s) else "header"
        return "adc" if math.isnan(self._stated_run_s) or self._run_is_contradicted else "header"

    @cached_property
    def inhibit_time_source(self) -> Source:
        """Whether the header or the ADC file tells for how long the instrument was blind."""
        stated, counted = self._stated_inhibit_s, self.adc_inhibit_s
        if math.isnan(counted):
            return "" if math.isnan(stated) else "header"
        return "header" if _agree(stated, counted) and (stated > 0 or counted <= 0) else "adc"

    @cached_property
    def _stated_run_s(self) -> float:
        return float(self.header.get("run_time_s", _NAN))

    @property
    def _stated_inhibit_s(self) -> float:
        return float(self.header.get("inhibit_time_s", _NAN))

    @property
    def _rows_run_s(self) -> float:
        """Length of the run as the ADC file has it, or as its triggers let expect."""
        return self.due_s if math.isnan(self.adc_run_s) else self.adc_run_s

    @property
    def _run_is_contradicted(self) -> bool:
        """Whether the ADC file shows that the run cannot have been as long as the header says."""
        stated = self._stated_run_s
        seen = self.last_s if math.isnan(self.adc_run_s) else self.adc_run_s
        if stated <= 0 or (stated < seen and not _agree(stated, seen)):
            return True
        if stated <= self._rows_run_s or _agree(stated, self._rows_run_s):
            return False
        longest = _FULL_SYRINGE_ML * _SECONDS_PER_ML / self.speed_factor
        promised = longest if math.isnan(self.expected_run_s) else self.expected_run_s
        return self._is_cut or (stated > promised and not _agree(stated, promised))

    @property
    def _is_cut(self) -> bool:
        return self.n_images + self.bad_lines < _CUT_SHARE * self.header.get("roi_count", 0)

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
            look_s = self.run_time_s - self.n_triggers * self.v1_blind_s
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
        """Images in the ADC file over those that the header counts, less 1; 0 where damaged lines may be the rest."""
        counted = self.header.get("roi_count", _NAN)
        if self.n_images < counted <= self.n_images + self.bad_lines:
            return 0.0
        return (self.n_images - counted) / max(counted, 1)

    @property
    def run_time_mismatch(self) -> float:
        """By how much the run is longer (shorter: negative) in the ADC file than in the header, of the longer."""
        stated, counted = self._stated_run_s, self.adc_run_s
        longer = max(stated, counted)
        return (counted - stated) / longer if longer > 0 else _NAN

    @property
    def header_adc_mismatch(self) -> float:
        """Which part of the run the header is off by where the ADC file contradicts it, in run or blind time."""
        if math.isnan(self._stated_run_s) or math.isnan(self._rows_run_s):
            return _NAN
        off = blind_off = 0.0
        if self.run_time_source == "adc":
            off = abs(self._stated_run_s - self._rows_run_s) / max(self._stated_run_s, self._rows_run_s, _SHORTEST_S)
        if self.inhibit_time_source == "adc" and not math.isnan(self._stated_inhibit_s):
            blind_off = abs(self._stated_inhibit_s - self.adc_inhibit_s) / max(self.run_time_s, _SHORTEST_S)
        return min(max(off, blind_off), 1.0)

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


def _agree(one: float, other: float) -> bool:
    """Whether two times are the same but for what two clocks and a last trigger make; never where one is unknown."""
    return abs(one - other) <= max(_AGREEING_SHARE * max(one, other), _AGREEING_S)


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
