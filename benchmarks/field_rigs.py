"""Instruments with firmware 3.0 as met in the field: their geometry, their full headers, and alternating settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.second_run import Rig, Run

#: Settings that the headers of IFCBacquire 3.0.0.0 state beside those that all programs do, as in a public bin.
_SETTINGS: Mapping[str, object] = {
    "HousekeepingFirmware": 31, "DAQ_MCCserialPort_DAC_MCConly": "/dev/ttyS0", "UvModulePresent": False,
    "auxPower1": False, "autoStart": False, "autoShutdown": False, "HumidityAlarmThreshold(%)": 90,
    "FanTemperatureThreshold_DAC_MCConly": 30744, "valveDelay": 781, "FlashlampPulseLength_x434ns_DAC_MCConly": 34,
    "CameraPulseLength_x434ns_DAC_MCConly": 505, "laserState": True, "runningCamera": True, "pump1State": True,
    "pump2State": False, "stirrer": False, "triggerContinuous": False, "ADCdataRateDAQ_MCConly": 240,
    "integratorSettleTime": 8, "altPMTtriggerSelection_DAQ_MCConly": 0, "ADCPGA_DAQ_MCConly": 1,
    "triggerAckTimeout_x34720ns_DAQ_MCConly": 21600, "TimeoutForFirstFrame": 30,
    "pulseStretchTime_x2170ns_DAQ_MCConly": 21, "maximumPulseLength_x2170ns_DAQ_MCConly": 13823, "hasCamera": True,
    "flash": True, "Alt_FlashlampControlVoltage": 3, "altPMTATriggerThreshold_DAQ_MCConly": 0.13,
    "altPMTBTriggerThreshold_DAQ_MCConly": 0.15, "syringeOffset": 100, "NumberSyringesToAutoRun": 14,
    "altSyringeSampleVolume": 5, "primeVolume": 1, "flushVolume": 1, "BleachVolume": 1, "BiocideVolume": 1,
    "stepsToFullSyringe": 318354, "debubbleWithSample": False, "RefillAfterDebubble": True, "runBeads": False,
    "BeadsSampleVolume": 0.4, "NumberSyringesBetweenBeadsRun": 0, "NumberSyringesBetweenCleaningRun": 0,
    "focusMotorSmallStep_ms": 3, "laserMotorSmallStep_ms": 500, "FolderHierarchy": False, "OutputFiles": True,
    "FileComment": "file comment", "triggerThreadCount": 3, "GPSFeed": 0, "TestMode": False,
}  # fmt: skip

#: A photomultiplier's gain goes with about this power of its control voltage (ten dynodes, 0.7 each).
_GAIN_POWER = 7.0
#: Where the board that digitises the signals is at its end, V.
_SATURATION_V = 3.5
#: Signals without light, V.
_DARK_V = {"peak_a": 0.02, "peak_b": 0.011}


@dataclass(frozen=True, slots=True)
class Alternation:
    """Every ``every``-th run has the alternate PMT voltages, V; the header says so unless ``word`` is False."""

    every: int = 2
    normal: tuple[float, float] = (0.45, 0.77)
    alternate: tuple[float, float] = (0.55, 0.80)
    word: bool = True

    def is_alternate(self, number: int) -> bool:
        """Whether run ``number`` (from 0) has the alternate settings."""
        return number % self.every == self.every - 1

    @property
    def gains(self) -> tuple[float, float]:
        """By how much the alternate signals A and B are larger."""
        return tuple((b / a) ** _GAIN_POWER for a, b in zip(self.normal, self.alternate, strict=True))  # type: ignore[return-value]

    def lines(self, number: int) -> dict[str, object]:
        """What the header of run ``number`` states: the same but for one word."""
        kind = "Alternative" if self.word and self.is_alternate(number) else "Normal"
        return {
            "sampleType": kind,
            "PMTAhighVoltage": self.normal[0],
            "PMTBhighVoltage": self.normal[1],
            "altPMTAHighVoltage": self.alternate[0],
            "altPMTBHighVoltage": self.alternate[1],
            "intervalBetweenAlternateHardwareSettings": self.every - 1,
        }

    def of(self, run: Run, number: int) -> Run:
        """Run ``number`` with its signals and its header."""
        gains = self.gains if self.is_alternate(number) else (1.0, 1.0)
        signals = {
            name: amplified(getattr(run, name), dark, gain)
            for (name, dark), gain in zip(_DARK_V.items(), gains, strict=True)
        }
        return replace(run, **signals).header(lines=header_lines() | self.lines(number))


def header_lines() -> dict[str, object]:
    """The settings of a header of firmware 3.0 that do not change."""
    return dict(_SETTINGS)


def amplified(signal: NDArray[np.float64], dark: float, gain: float) -> NDArray[np.float64]:
    """Signals of shape (n,) with another gain, V."""
    return np.minimum(dark + (signal - dark) * gain, _SATURATION_V)


def rig(rng: np.random.Generator, name: str, software: str = "3.0.0.0") -> Rig:
    """An instrument of a geometry of its own."""
    return Rig(
        name=name,
        software=software,
        core_x=float(rng.uniform(480, 1080)),
        slope=float(rng.choice([-1, 1]) * rng.uniform(0.02, 0.09)),
        bow=float(rng.normal(-6, 4)),
        core_sd=float(rng.uniform(11, 22)),
        y_low=float(rng.uniform(110, 260)),
        y_high=float(rng.uniform(860, 930)),
        blank=float(rng.choice([0.004, rng.uniform(0.02, 0.14)])),
        double=float(rng.uniform(0.003, 0.02)),
        strays=float(rng.uniform(0.004, 0.012)),
        busy_s=float(rng.uniform(0.081, 0.088)),
        flight_us=float(rng.uniform(50, 72)),
        magnification=float(rng.uniform(0.92, 1.12)),
        length_s=float(rng.uniform(1198.5, 1201.5)),
        volume_ml=5.0,
        grow=(20, int(rng.choice([1, 2, 5]))),
        flash_delay=int(rng.integers(70, 230)),
    )
