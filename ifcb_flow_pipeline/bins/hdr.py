"""Header files (.hdr): the settings and housekeeping of one run, as text.

Twenty years of instruments write four dialects, and one file may mix them:

1. quoted lines (2005 to about 2017): a title, ``"SyringeStatus =  0"``, a line of column names and a
   line of quoted values, either of which may be missing;
2. ``key: value``, often with a trailing tab, between lines that have no colon (WHOI builds, 1.1.5.x);
3. a "Sample Date" form with ``run time = 1198.6 s   inhibit time = 30.1 s`` and
   ``23.4 temperature, 31.2 humidity``;
4. ``Key: value`` of McLane's IFCBacquire (1.x to 3.x).

So no dialect is guessed: every line is read by its own shape, and what no rule knows is kept as text.
``HEADER_FIELDS`` is the one table of what is read and what it means.
"""

import math
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal

from ifcb_flow_pipeline.bins.pid import Schema

Kind = Literal["text", "sample type", "number", "count", "flag"]
Value = str | float | int | bool

_ACQ = "robertjolson/ifcb-acq source/FileIo.cpp"
_PYIFCB = "joefutrelle/pyifcb ifcb/data/hdr.py"
_MCLANE = "headers of McLane IFCBacquire 1.x to 3.x"


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One entry of the table: a field of `Header` and where it comes from.

    ``name`` is the attribute, ``keys`` the names in the files (any case; the last readable value in the
    file counts), ``kind`` how the text is read, ``unit`` the unit of the value (empty if it has none),
    ``meaning`` and ``source`` are for the reader. On samples of type "alternative" or "beads" the
    value under ``alternative_keys`` or ``beads_keys``, where there is one, replaces the usual one.
    """

    name: str
    keys: tuple[str, ...]
    kind: Kind
    unit: str
    meaning: str
    source: str
    alternative_keys: tuple[str, ...] = ()
    beads_keys: tuple[str, ...] = ()

    def keys_by_sample_type(self) -> dict[str, tuple[str, ...]]:
        """Return the file keys under the sample type for which they hold ("" for the usual ones)."""
        return {"": self.keys, "alternative": self.alternative_keys, "beads": self.beads_keys}


HEADER_FIELDS: Final = (
    HeaderField(
        "software",
        ("softwareVersion",),
        "text",
        "",
        "acquisition software and version, as written; in dialects 1 and 3 the title line",
        _ACQ,
    ),
    HeaderField("temperature_c", ("temperature", "Temp"), "number", "°C", "inside the housing, at the end", _ACQ),
    HeaderField(
        "humidity_pct",
        ("humidity",),
        "number",
        "%",
        "relative humidity inside the housing; slightly negative in dry ones (sensor offset)",
        _ACQ,
    ),
    HeaderField("run_time_s", ("runTime", "run time"), "number", "s", "length of the run", _ACQ),
    HeaderField(
        "inhibit_time_s",
        ("inhibitTime", "inhibit time"),
        "number",
        "s",
        "part of the run during which the instrument was busy and blind",
        _ACQ,
    ),
    HeaderField("trigger_count", ("triggerCount",), "count", "", "triggers in the run", _MCLANE),
    HeaderField("roi_count", ("roiCount",), "count", "", "images in the run", _MCLANE),
    HeaderField(
        "sample_type",
        ("sampleType", "runType"),
        "sample type",
        "",
        "lower case: normal, beads, alternative (ALT in WHOI builds), or as written",
        f"{_ACQ}; {_MCLANE}",
    ),
    HeaderField("run_fast", ("runSampleFast",), "flag", "", "sample injected faster than usual", _ACQ),
    HeaderField("run_fast_factor", ("RunFastFactor",), "number", "", "how much faster, where run_fast is true", _ACQ),
    HeaderField(
        "sample_volume_ml",
        ("SyringeSampleVolume",),
        "number",
        "mL",
        "volume drawn into the syringe for this type of sample",
        "robertjolson/ifcb-acq source/Process.cpp, AcqInit",
        alternative_keys=("altSyringeSampleVolume",),
        beads_keys=("BeadsSampleVolume",),
    ),
    HeaderField(
        "skip_volume_ml",
        ("sampleVolume2skip",),
        "number",
        "mL",
        "part of the drawn volume that is left in the syringe",
        "robertjolson/ifcb-acq source/Process.cpp, AcqInit",
        alternative_keys=("altSampleVolume2skip",),
    ),
    HeaderField(
        "sampling_speed",
        ("syringeSamplingSpeed",),
        "number",
        "",
        "syringe speed in the software's own scale: minutes per syringe in IFCBacquire, "
        "a pump setting (179240 and the like) in WHOI builds and 1.1.5.x",
        f"{_ACQ}; {_MCLANE}",
    ),
    HeaderField(
        "flash_delay",
        ("HKTRIGGERtoFlashlampDelayTime_x434ns_DAC_MCConly",),
        "count",
        "434 ns",
        "wait between trigger and flash; a change moves the whole point cloud along x",
        _ACQ,
    ),
    HeaderField(
        "flashlamp_v",
        ("FlashlampControlVoltage",),
        "number",
        "V",
        "control voltage of the flash lamp; the Alt_ key is for stained samples only, so is not read",
        _ACQ,
    ),
    HeaderField("camera_gain", ("cameraGain",), "number", "", "gain of the camera", _MCLANE),
    HeaderField(
        "binarize_threshold",
        ("binarizeThreshold", "BinarizeThresh", "Binarize_thresh"),
        "count",
        "",
        "grey-level step that counts as an edge when blobs are sought",
        _ACQ,
    ),
    HeaderField(
        "min_blob_area_px2",
        ("minimumBlobArea",),
        "count",
        "px2",
        "smaller blobs are dropped; BlobSizeThresh of dialect 1 is another scale, so is not read",
        _ACQ,
    ),
    HeaderField("blob_grow_x_px", ("blobXgrowAmount",), "count", "px", "margin left and right of a blob", _ACQ),
    HeaderField("blob_grow_y_px", ("blobYgrowAmount",), "count", "px", "margin above and below a blob", _ACQ),
    HeaderField(
        "pmt_a_v",
        ("PMTAhighVoltage", "PMT1hv(ssc)", "PMT1hv"),
        "number",
        "V",
        "control voltage of photomultiplier A (side scattering)",
        f"{_ACQ}; {_PYIFCB}",
        alternative_keys=("altPMTAHighVoltage",),
    ),
    HeaderField(
        "pmt_b_v",
        ("PMTBhighVoltage", "PMT2hv(chl)", "PMT2hv"),
        "number",
        "V",
        "control voltage of photomultiplier B (chlorophyll fluorescence)",
        f"{_ACQ}; {_PYIFCB}",
        alternative_keys=("altPMTBHighVoltage",),
    ),
    HeaderField(
        "pmt_a_threshold_v",
        ("PMTAtriggerThreshold_DAQ_MCConly",),
        "number",
        "V",
        "signal of photomultiplier A that triggers",
        _ACQ,
        alternative_keys=("altPMTATriggerThreshold_DAQ_MCConly",),
    ),
    HeaderField(
        "pmt_b_threshold_v",
        ("PMTBtriggerThreshold_DAQ_MCConly",),
        "number",
        "V",
        "signal of photomultiplier B that triggers",
        _ACQ,
        alternative_keys=("altPMTBTriggerThreshold_DAQ_MCConly",),
    ),
    HeaderField(
        "trigger_selection",
        ("PMTtriggerSelection_DAQ_MCConly",),
        "count",
        "",
        "bit mask of the photomultipliers that trigger: 1 A, 2 B, 3 either",
        "robertjolson/ifcb-acq source/HardwareTab.cpp",
        alternative_keys=("altPMTtriggerSelection_DAQ_MCConly",),
    ),
    HeaderField("pump_drive_v", ("pumpDriveVoltage",), "number", "V", "drive of the sheath pump", _ACQ),
    HeaderField(
        "humidity_alarm_pct",
        ("HumidityAlarmThreshold(%)",),
        "number",
        "%",
        "humidity above which the instrument refuses to start",
        _ACQ,
    ),
    HeaderField("latitude", ("gpsLatitude",), "number", "°N", "position of the GPS fix", _MCLANE),
    HeaderField("longitude", ("gpsLongitude",), "number", "°E", "position of the GPS fix", _MCLANE),
)

_NAMES: Final = tuple(entry.name for entry in HEADER_FIELDS)


@dataclass(frozen=True, slots=True)
class Header:
    """What a header file says.

    Each typed field is described in `HEADER_FIELDS` and is None where the file lacks it or its text is
    not of its kind (NaN and infinite numbers included). ``raw`` holds all pairs of key and text in file
    order, repeats included; ``other_lines`` the lines that have no key.
    """

    software: str | None = None
    temperature_c: float | None = None
    humidity_pct: float | None = None
    run_time_s: float | None = None
    inhibit_time_s: float | None = None
    trigger_count: int | None = None
    roi_count: int | None = None
    sample_type: str | None = None
    run_fast: bool | None = None
    run_fast_factor: float | None = None
    sample_volume_ml: float | None = None
    skip_volume_ml: float | None = None
    sampling_speed: float | None = None
    flash_delay: int | None = None
    flashlamp_v: float | None = None
    camera_gain: float | None = None
    binarize_threshold: int | None = None
    min_blob_area_px2: int | None = None
    blob_grow_x_px: int | None = None
    blob_grow_y_px: int | None = None
    pmt_a_v: float | None = None
    pmt_b_v: float | None = None
    pmt_a_threshold_v: float | None = None
    pmt_b_threshold_v: float | None = None
    trigger_selection: int | None = None
    pump_drive_v: float | None = None
    humidity_alarm_pct: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    raw: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    other_lines: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether no typed field could be read: an empty file, or one that is no header."""
        return not self.to_dict()

    def to_dict(self) -> dict[str, Value]:
        """Return the typed fields that are not None, in the order of the table; fit for JSON."""
        values = ((name, getattr(self, name)) for name in _NAMES)
        return {name: value for name, value in values if value is not None}


def parse_hdr(data: bytes) -> Header:
    """Read a header file of any dialect.

    No content raises: undecodable bytes are replaced, unknown keys go to ``raw``, lines without a key to
    ``other_lines``, and an empty file gives an empty header.
    """
    lines, held = _read_lines(data)
    values: dict[str, Any] = _in_force(held)
    pairs = tuple(pair for each in held for pair in each.pairs)
    other_lines = tuple(_unquoted(line) for line, each in zip(lines, held, strict=True) if not each.pairs)
    return Header(**values, raw=pairs, other_lines=other_lines)


#: How whole a header is: ``missing`` also where it is empty or cannot be opened; ``damaged`` where part of it is lost.
HeaderState = Literal["ok", "missing", "damaged"]

#: What every header of instruments from IFCB7 on states that names its software, and where it has a key for that.
#: Newer software writes run times first and settings last, older software the other way round.
_ALWAYS: Final = {"run_time_s": "runTime", "inhibit_time_s": "inhibitTime"}
_ALWAYS_BY_KEY: Final = _ALWAYS | {"sample_volume_ml": "SyringeSampleVolume"}
_SOFTWARE_KEY = b"softwareversion"


@dataclass(frozen=True, slots=True)
class HeaderRead:
    """What a header file gave: its typed values, how whole it is, and in words what is wrong with it.

    ``unread``: it could not be read now, for a reason that may pass; it is to be read again.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    state: HeaderState = "missing"
    problem: str = ""
    unread: bool = False


def read_hdr(data: bytes, schema: Schema) -> HeaderRead:
    """The typed values of a header (see ``header_values``), and whether it is whole.

    A header is damaged if its last line does not end (the instruments end all of them), if it holds NUL bytes, if
    nothing in it can be read, or if it lacks what all headers of its kind state.
    """
    if not data.strip():
        return HeaderRead({}, "missing", "the .hdr file is empty")
    values = header_values(data)
    problem = _damage(data, values, schema)
    return (
        HeaderRead(values, "damaged", f"the .hdr file is damaged: {problem}") if problem else HeaderRead(values, "ok")
    )


def _damage(data: bytes, values: Mapping[str, Value], schema: Schema) -> str:
    if b"\0" in data:
        return "it holds NUL bytes"
    if not values:
        return "nothing in it can be read"
    if not data.endswith((b"\n", b"\r")):
        return "its last line is cut off"
    if schema == "v1" or "software" not in values:
        return ""
    always = _ALWAYS_BY_KEY if data[:256].lower().startswith(_SOFTWARE_KEY) else _ALWAYS
    lacking = [key for name, key in always.items() if name not in values]
    return f"it lacks {' and '.join(lacking)}" if lacking else ""


def header_values(data: bytes) -> dict[str, Value]:
    """What ``parse_hdr(data).to_dict()`` has, in half of the time."""
    return _in_force(_read_lines(data)[1])


def _in_force(held: list["_Line"]) -> dict[str, Value]:
    """The typed fields that hold for the sample, in the order of the table."""
    found = dict(chain.from_iterable(map(_values_of_line, held)))
    # A version under a key of its own wins over title lines.
    title = found.pop(_TITLE_NAME, None)
    if title is not None:
        found.setdefault(("software", ""), title)
    in_force = str(found.get(("sample_type", ""), ""))
    values = {name: value for (name, sample_type), value in found.items() if not sample_type}
    if in_force:
        values |= {name: value for (name, sample_type), value in found.items() if sample_type == in_force}
    return {name: values[name] for name in _NAMES if name in values}


def _values(key: str, text: str) -> tuple[tuple[tuple[str, str], Value], ...]:
    """What a pair says: each value under the name of its entry and the sample type for which it holds."""
    found = []
    for entry, sample_type in _ENTRIES_BY_KEY.get(key.lower(), ()):
        value = _PARSERS[entry.kind](text.removesuffix(entry.unit).strip())
        if value is not None:
            found.append(((entry.name, sample_type), value))
    return tuple(found)


# Lines to pairs

_Pairs = list[tuple[str, str]]

_TITLE = "Imaging FlowCytobot"
_TITLE_NAME = ("title", "")  # under which a title line's values hold it, beside the names of fields
_LONGEST_LINE = 4096  # real lines have at most some 300 characters; longer ones are damage, kept as text
_TABLE_START = ["temp", "humidity"]
_TABLE_START_LINE = re.compile(r'["\s]*temp', re.IGNORECASE)  # nearly all lines are none, and told so at once
_HOUSEKEEPING = re.compile(r"([+-]?[\d.]\S*)\s+(temperature|humidity)", re.IGNORECASE)
# Between a value and the next key in a line of several ``key = value``.
_GAP = re.compile(r"\t|\s\s|(?<= s)\s")


def _read_lines(data: bytes) -> tuple[list[str], list["_Line"]]:
    """The lines of a file, and what each holds; the two lines of a table are one."""
    text = data.removeprefix(BOM_UTF8).decode(errors="replace").replace("\r", "\n")
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    held = [_read_line(line) if len(line) <= _LONGEST_LINE else _Line.without_key(line) for line in lines]
    # From the last one on, so that those before stay where they are.
    for position in _table_starts(lines, held)[::-1]:
        held[position : position + 2] = [_Line.of(_table_pairs(lines[position : position + 2]))]
        del lines[position + 1]
    return lines, held


def _table_starts(lines: list[str], held: list["_Line"]) -> list[int]:
    starts: list[int] = []
    for position, each in enumerate(held):
        if each.may_start_table and starts[-1:] != [position - 1] and _table_pairs(lines[position : position + 2]):
            starts.append(position)
    return starts


@dataclass(frozen=True, slots=True)
class _Line:
    """What one line holds: its pairs and what they say; and whether it may start a table."""

    pairs: tuple[tuple[str, str], ...]
    values: tuple[tuple[tuple[str, str], Value], ...]
    may_start_table: bool = False

    @classmethod
    def of(cls, pairs: _Pairs, may_start_table: bool = False) -> "_Line":
        return cls(tuple(pairs), tuple(value for pair in pairs for value in _values(*pair)), may_start_table)

    @classmethod
    def without_key(cls, line: str, may_start_table: bool = False) -> "_Line":
        title = _unquoted(line)
        return cls((), ((_TITLE_NAME, title),) if title.startswith(_TITLE) else (), may_start_table)


_values_of_line = attrgetter("values")

# The headers of an instrument have the same lines again and again, but for a few: what a line holds is remembered.
_REMEMBERED = 4096


@lru_cache(_REMEMBERED)
def _read_line(line: str) -> _Line:
    pairs, may_start_table = _find_pairs(line), _TABLE_START_LINE.match(line) is not None
    return _Line.of(pairs, may_start_table) if pairs else _Line.without_key(line, may_start_table)


def _table_pairs(lines: list[str]) -> _Pairs:
    """Pair a line of column names with its line of values (dialect 1); empty if these are none."""
    if len(lines) < 2:
        return []
    columns = _unquoted(lines[0]).split()
    if [column.lower() for column in columns[:2]] != _TABLE_START:
        return []
    cells = [cell.strip(' "') for cell in lines[1].split(",")]
    if _number(cells[0]) is None:
        return []
    return list(zip(columns, cells, strict=False))


def _find_pairs(line: str) -> _Pairs:
    """Find the pairs of one line; none if it has no key."""
    line = _unquoted(line)
    key, colon, text = line.partition(":")
    if colon:
        return [(key.strip(), text.strip())] if key.strip() else []
    if "=" in line:
        return _equation_pairs(line)
    parts = [part.strip() for part in line.split(",") if part.strip()]
    measured = [match for match in map(_HOUSEKEEPING.fullmatch, parts) if match]
    return [(match[2], match[1]) for match in measured] if len(measured) == len(parts) else []


def _equation_pairs(line: str) -> _Pairs:
    """Split one ``key = value``, or several in one line."""
    key, *rest = line.split("=")
    pairs: _Pairs = []
    for piece in rest[:-1]:
        value, *next_key = _GAP.split(piece.strip(), maxsplit=1)
        if not next_key:  # an equals sign inside a value: the line is one pair
            key, _, value = line.partition("=")
            return [(key.strip(), value.strip())] if key.strip() else []
        pairs.append((key.strip(), value.strip()))
        key = next_key[0]
    pairs.append((key.strip(), rest[-1].strip()))
    return pairs if all(key for key, _ in pairs) else []


def _unquoted(line: str) -> str:
    return line.strip('"').strip()


# Texts to values

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LARGEST_COUNT = 2**53  # beyond it a float no longer holds every whole number
_FLAGS: Final[Mapping[str, bool]] = MappingProxyType({"true": True, "1": True, "false": False, "0": False})


def _text(text: str) -> str | None:
    return text or None


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _count(text: str) -> int | None:
    value = _number(text)
    if value is None or not value.is_integer() or abs(value) > _LARGEST_COUNT:
        return None
    return int(value)


def _flag(text: str) -> bool | None:
    return _FLAGS.get(text.lower())


def _sample_type(text: str) -> str | None:
    # 1.1.5.23 writes runType twice; the first is a bare setting (1) and names no type.
    if not text or _number(text) is not None:
        return None
    return "alternative" if text.lower() == "alt" else text.lower()


_PARSERS: Final[Mapping[Kind, Callable[[str], Value | None]]] = MappingProxyType(
    {"text": _text, "sample type": _sample_type, "number": _number, "count": _count, "flag": _flag}
)


def _entries_by_key() -> dict[str, list[tuple[HeaderField, str]]]:
    """Find the entries that a file key (lower case) feeds, with the sample type for which it holds."""
    entries: dict[str, list[tuple[HeaderField, str]]] = {}
    for entry in HEADER_FIELDS:
        for sample_type, keys in entry.keys_by_sample_type().items():
            for key in keys:
                entries.setdefault(key.lower(), []).append((entry, sample_type))
    return entries


_ENTRIES_BY_KEY: Final = MappingProxyType(_entries_by_key())
