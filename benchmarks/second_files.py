"""The files of the second simulator, in the manner of four acquisition programs, and how they get damaged."""

import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from benchmarks.second_run import FRAME, Run

_SNAP = 16
_BARE = ("few lines", "no header")
_TICK_US = 2.17


def write(run: Run, path: Path, start: datetime, rng: np.random.Generator) -> None:
    """Write ``path``.adc and ``path``.hdr, damaged as the run says."""
    adc, hdr = _adc(run, rng), _hdr(run, start)
    name, severity = run.damage
    if name == "corrupt_adc":
        adc = _corrupted(adc, severity, rng)
    elif name == "truncated_adc":
        adc = adc[: max(int(len(adc) * (1 - 0.5 * severity)) - int(rng.integers(3, 40)), 10)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".adc").write_bytes(adc)
    if run.rig.software == "no header":
        return
    if name == "missing_hdr":
        # It may be there, and have nothing in it.
        if rng.random() < 0.5:
            path.with_suffix(".hdr").write_bytes(b"")
        return
    path.with_suffix(".hdr").write_bytes(hdr)


def _boxes(run: Run) -> tuple[NDArray[np.int64], ...]:
    """Corner and size as the program reports them, shape (n_rows,) each: grown blobs of 8 px, within the frame."""
    (grow_x, grow_y), has_image = run.rig.grow, run.width > 0
    if run.rig.software in _BARE:
        sides = np.minimum(np.round(run.width), FRAME[0]), np.minimum(np.round(run.height), FRAME[1])
        corners = (np.round(run.x - sides[0] / 2), np.round(run.y - sides[1] / 2))
        left, top = (_within(v, side, frame) for v, side, frame in zip(corners, sides, FRAME, strict=True))
        return tuple(np.where(has_image, v, 0).astype(np.int64) for v in (left, top, *sides))
    width = 8 * np.round((run.width - 2 * grow_x) / 8).clip(1) + 2 * grow_x
    height = 8 * np.round((run.height - 2 * grow_y) / 8).clip(2) + 2 * grow_y
    width, height = np.minimum(width, FRAME[0]), np.minimum(height, FRAME[1])
    left = 8 * np.round((run.x - width / 2 + grow_x) / 8) - grow_x
    top = 8 * np.round((run.y - height / 2 + grow_y) / 8) - grow_y
    left = _within(left, width, FRAME[0])
    top = _within(top, height, FRAME[1])
    # Builds before IFCBacquire 2 give the lower edge.
    y = top + height if run.rig.software in ("build 427", "1.1.5.23") else top
    return tuple(np.where(has_image, v, 0).astype(np.int64) for v in (left, y, width, height))


def _within(first: NDArray, size: NDArray, frame: int) -> NDArray:
    first = np.where(first <= _SNAP, 0, first)
    return np.where(first + size >= frame - _SNAP, frame - size, first)


def _adc(run: Run, rng: np.random.Generator) -> bytes:
    if not run.n:
        return b""
    n, software = run.n, run.rig.software
    x, y, width, height = _boxes(run)
    area = width * height
    offset = np.cumsum(area) - area
    trigger = run.trigger + 1
    if software == "3.0.0.0":
        # Some numbers are skipped.
        trigger = trigger + np.cumsum(np.diff(run.trigger, prepend=-1) * (rng.random(n) < 0.005))
    inhibit = _inhibit(run)
    if software == "3.0.0.0" and n > 100:
        inhibit[rng.integers(10, n, 2)] /= 10
    lag = rng.uniform(1.06, 1.22) if software == "1.1.5.23" else -0.045
    flight = np.full(n, -999.0) if software == "build 427" else np.round(run.flight / _TICK_US) * _TICK_US
    comparator = np.full(n, -999 if software in ("build 427", "1.1.5.23") else 0)
    zeros = np.zeros(n, dtype=np.int64)
    noise = rng.normal(0, 0.0004, (4, n))
    seen = 0.0 if software in _BARE else 1.0
    columns = [
        trigger, np.round(run.time, 6), *(np.round(v, 6) for v in (
            seen * (0.03 * run.peak_a + noise[0]), seen * (0.03 * run.peak_b + noise[1]), seen * (0.004 + noise[2]),
            seen * (0.001 + noise[3]), seen * run.peak_a, seen * run.peak_b, seen * (0.0107 + noise[2]),
            seen * (0.0105 + noise[3]), seen * flight, run.time, run.time + 0.043)),
        x, y, width, height, np.where(width > 0, offset, 0 if software.startswith(("2", "3")) else offset),
        comparator, zeros, zeros, zeros, np.round(run.time - lag, 6), np.round(inhibit, 6),
    ]  # fmt: skip
    buffer = io.BytesIO()
    table = pa.table(columns, names=[str(i) for i in range(len(columns))])
    csv.write_csv(table, buffer, csv.WriteOptions(include_header=False, quoting_style="none"))
    text = buffer.getvalue()
    return text.replace(b"\n", b"\r\n") if software == "1.1.5.23" else text


def _inhibit(run: Run) -> NDArray[np.float64]:
    is_first = np.diff(run.trigger, prepend=-1) != 0
    return np.cumsum(run.busy * is_first) - run.busy[:1]


def _hdr(run: Run, start: datetime) -> bytes:
    settings, software, rig = run.settings, run.rig.software, run.rig
    is_new = software.startswith(("2", "3"))
    inhibit = float(_inhibit(run)[-1]) if run.n else 0.0
    common = {
        "FlashlampControlVoltage": 2.6,
        "HKTRIGGERtoFlashlampDelayTime_x434ns_DAC_MCConly": settings["flash_delay"],
        "binarizeThreshold": 8,
        "minimumBlobArea": 2000,
        "blobXgrowAmount": rig.grow[0],
        "blobYgrowAmount": rig.grow[1],
        "minimumGapBewtweenAdjacentBlobs": 50,
        "PMTAtriggerThreshold_DAQ_MCConly": 0.15,
        "PMTBtriggerThreshold_DAQ_MCConly": settings["threshold"],
        "PMTtriggerSelection_DAQ_MCConly": 2,
        "PMTAhighVoltage": 0.55,
        "PMTBhighVoltage": 0.65,
        "pumpDriveVoltage": 24,
        "SyringeSampleVolume": f"{settings['volume']:g}",
        "sampleVolume2skip": 0,
        "syringeSize": 5,
        "HumidityAlarmThreshold(%)": 80,
        "RunFastFactor": 5,
    }
    measured = {
        "runTime": f"{run.length_s:.6f}",
        "inhibitTime": f"{inhibit:.6f}",
        "temperature": f"{settings['temperature']:.6f}",
        "humidity": f"{settings['humidity']:.6f}",
    }
    if software in _BARE:
        return _lines(measured, "\n", "")
    if is_new:
        counts = {"triggerCount": int(run.trigger[-1]) + 1 if run.n else 0, "roiCount": int((run.width > 0).sum())}
        kind = "Beads" if settings["kind"] == "beads" else "Normal"
        top = {"SoftwareVersion": software, "AnalogFirmware": 45, "sampleNumber": 1, "sampleType": kind}
        tail = {"syringeSamplingSpeed": 20, "runSampleFast": False, "cameraGain": 6, "imagerID": rig.name[4:]}
        stated = {**top, **counts, **measured, **common, **tail}
        return _lines({**stated, **settings.get("lines", {})}, "\n", "")
    kind = "BEADS" if settings["kind"] == "beads" else "NORMAL"
    title = {"softwareVersion": f"Imaging FlowCytobot Acquisition Software version {_title(software)}"}
    tail = {"sampleTime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "syringeSamplingSpeed": 179240, "runSampleFast": 0}
    text = {**tail, **common, "runType": kind, **measured}
    return _lines(title, "\r\n", "") + b"Analog firmware version 36\r\n" + _lines(text, "\r\n", "\t")


def _title(software: str) -> str:
    return "2.0, build 427; May 2010" if software == "build 427" else software


def _lines(values: Mapping[str, object], end: str, after: str) -> bytes:
    return "".join(f"{key}: {value}{after}{end}" for key, value in values.items()).encode("ascii")


def _corrupted(adc: bytes, severity: float, rng: np.random.Generator) -> bytes:
    """Lines twice, lines that run into each other, or clocks of the analog board that go wild."""
    lines = adc.split(b"\n")
    if len(lines) < 20:
        return adc + b"?\n"
    how, n = rng.integers(3), max(int(0.2 * severity * len(lines)), 2)
    first = int(rng.integers(2, max(len(lines) - n - 2, 3)))
    if how == 0:
        return b"\n".join(lines[: first + n] + lines[first : first + n] + lines[first + n :])
    if how == 1:
        chosen = set(rng.choice(len(lines) - 2, n, replace=False).tolist())
        return b"".join(line + (b"" if i in chosen else b"\n") for i, line in enumerate(lines[:-1]))
    fields = lines[-2].split(b",")
    fields[22], fields[23] = b"1198764.5", b"998001.25"
    return b"\n".join([*lines[:-2], b",".join(fields), b""])
