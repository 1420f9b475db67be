"""A simulated bin as the bytes of its three files, in the dialects of the real instruments.

Here: formatting only. Not here: where the files go (``archive``) and how they get damaged (``damage``).

v2 follows McLane's IFCBacquire 2.3: 24 columns without header line, ``key: value`` headers. v1 follows
WHOI's software of 2005: 15 columns with a trailing comma, numbers without a leading zero, a quoted
header table, and a dummy first byte in the ``.roi`` (hence offsets that count from 1).
"""

import io
import re
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import csv

from ifcb_flow_pipeline.simulate.bins import SimulatedBin
from ifcb_flow_pipeline.simulate.scene import MARGIN_PX

_LEADING_ZERO = re.compile(rb"(?<![0-9.])0(?=\.)")


@dataclass(frozen=True, slots=True)
class BinFiles:
    """The contents of a bin's files; None for a file that does not exist."""

    adc: bytes
    hdr: bytes | None
    roi: bytes | None


def adc_bytes(simulated: SimulatedBin) -> bytes:
    """Return the ``.adc`` file: one line per row, empty for a bin without triggers."""
    if simulated.n_rows == 0:
        return b""
    buffer = io.BytesIO()
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    columns = dict(simulated.columns)
    if simulated.schema == "v2":
        csv.write_csv(pa.table(columns), buffer, options)
        return buffer.getvalue()
    nothing = pa.nulls(simulated.n_rows, pa.string())
    csv.write_csv(pa.table({**columns, "after_the_last_comma": nothing}), buffer, options)
    return _LEADING_ZERO.sub(b"", buffer.getvalue())


def hdr_bytes(simulated: SimulatedBin) -> bytes:
    """Return the ``.hdr`` file: ``key: value`` lines (v2) or the quoted table (v1)."""
    lines = _v1_header(simulated) if simulated.schema == "v1" else _v2_header(simulated)
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _v1_header(simulated: SimulatedBin) -> list[str]:
    header = simulated.header
    values = (header["temperature"], header["humidity"], 40, ".5", ".7", 10)
    return [
        '"Imaging FlowCytobot Acquisition Software version 1.0; October 2005"',
        '"SyringeStatus =  0"',
        '"Temp Humidity BinarizeThresh PMT1hv(ssc) PMT2hv(chl) BlobSizeThresh"',
        ",".join(f'" {value}"' for value in values),
    ]


def _v2_header(simulated: SimulatedBin) -> list[str]:
    header, instrument = simulated.header, simulated.instrument
    values = {
        "SoftwareVersion": "2.3.0.0",
        "AnalogFirmware": 45,
        "HousekeepingFirmware": 32,
        "sampleNumber": 1,
        "sampleType": header.get("sampleType", "Normal"),
        **{key: header[key] for key in ("triggerCount", "roiCount", "humidity", "temperature")},
        **{key: header[key] for key in ("runTime", "inhibitTime")},
        "gpsLatitude": 41.325,
        "gpsLongitude": -70.567,
        "ADCFileFormat": "trigger#, ADCtime, PMTA, PMTB, PMTC, PMTD, PeakA, PeakB, PeakC, PeakD, "
        "TimeOfFlight, GrabTimeStart, GrabTimeEnd, RoiX, RoiY, RoiWidth, RoiHeight, StartByte, "
        "ComparatorOut, StartPoint, SignalLength, Status, RunTime, InhibitTime",
        "HumidityAlarmThreshold(%)": 75,
        "FlashlampControlVoltage": 2.5,
        "HKTRIGGERtoFlashlampDelayTime_x434ns_DAC_MCConly": header["flashDelay"],
        "cameraGain": 6,
        "binarizeThreshold": 6,
        "minimumBlobArea": 2000,
        "blobXgrowAmount": MARGIN_PX[0],
        "blobYgrowAmount": MARGIN_PX[1],
        "minimumGapBewtweenAdjacentBlobs": 50,
        "laserState": True,
        "runningCamera": True,
        "pump1State": True,
        "pump2State": False,
        "stirrer": False,
        "PMTAtriggerThreshold_DAQ_MCConly": 0.15,
        "PMTBtriggerThreshold_DAQ_MCConly": header["triggerThreshold"],
        "PMTCtriggerThreshold_DAQ_MCConly": 0.12,
        "PMTDtriggerThreshold_DAQ_MCConly": 0.12,
        "PMTtriggerSelection_DAQ_MCConly": 2,
        "TimeoutForFirstFrame": 30,
        "PMTAhighVoltage": 0.65,
        "PMTBhighVoltage": 0.7,
        "pumpDriveVoltage": 14,
        "syringeSamplingSpeed": 20,
        "syringeOffset": 8586,
        "SyringeSampleVolume": header.get("SyringeSampleVolume", f"{instrument.volume_ml:g}"),
        "sampleVolume2skip": 0,
        "syringeSize": 5,
        "debubbleWithSample": True,
        "runBeads": header.get("runBeads", False),
        "runSampleFast": False,
        "NumberSyringesBetweenBeadsRun": 25,
        "NumberSyringesBetweenCleaningRun": 50,
        "RunFastFactor": 1,
        "imagerID": instrument.name.removeprefix("IFCB"),
        "FileComment": "simulated",
    }
    return [f"{key}: {value}" for key, value in values.items()]
