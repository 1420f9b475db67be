"""Every stored table, declared once: column, type, unit, meaning.

All tables have one file per UTC day, but for ``left_out``, which is one file. ``status`` and ``reason`` mean the
same everywhere: the status says how far a bin came (see STATUSES), the reason says why in words for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.features.catalogue import CATALOGUE

#: Every status that a bin can have, and what it means.
STATUSES: Mapping[str, str] = {
    "ok": "read, and what the table holds could be computed",
    "too_few_points": "read, but the cloud has too few points for features",
    "empty": "read, but the instrument recorded no trigger",
    "unreadable": "the .adc file cannot be read, or most of its lines are damaged",
    "no_adc": "other files of the bin are there, the .adc file is not",
    "unsettled": "files were written moments ago and may still grow",
    "misplaced": "lies in a directory of another date; not used",
    "gone": "its files are gone from the archive, and its points were never stored or are damaged",
    "misnamed": "files with the extension of a bin's but not the name of a bin; not used",
    "no_bin": "a corrected .adc file without the raw one that it corrects; not used",
    "outside": "its time is before the first day of the deployment or in the future; not used",
    "not_found": "asked for by its identifier, but not in the archive",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a stored table."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


@lru_cache
def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    # Asked for with every file that is read, of which there may be thousands.
    return pa.schema(pa.field(c.name, c.type, metadata={"unit": c.unit, "meaning": c.meaning}) for c in columns)


@dataclass(frozen=True, slots=True)
class Table:
    """A stored table. ``version`` rises when columns, their meaning or the form of files change: files of other
    versions are then refused, but for those of the versions in ``also_read``, which are as good as its own.
    """

    name: str
    version: int
    meaning: str
    columns: tuple[Column, ...]
    also_read: frozenset[int] = frozenset()

    def reads(self, version: int) -> bool:
        """Whether this program can use files of this version of the table."""
        return version == self.version or version in self.also_read

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with unit and meaning of each column as field metadata."""
        return _schema(self.columns)


_TIME = pa.timestamp("us", tz="UTC")
_IDENTITY = (
    Column("pid", pa.string(), "", "identifier of the bin"),
    Column("instrument", pa.string(), "", "instrument, e.g. IFCB134"),
    Column("start_time", _TIME, "UTC", "start of the run, from the identifier"),
)
_OUTCOME = (
    Column("status", pa.string(), "", "how far the bin came: " + ", ".join(STATUSES)),
    Column("reason", pa.string(), "", "why, in words; empty where there is nothing to say"),
)

RAW_BINS = Table(
    "raw_bins",
    2,
    "The day's inventory of the archive: one row a bin, whatever its state. A bin that was read once keeps its row.",
    (
        *_IDENTITY,
        Column("schema", pa.string(), "", "v1 or v2: naming scheme and ADC columns"),
        Column("adc_path", pa.string(), "", "path in the archive; null where absent"),
        Column("hdr_path", pa.string(), "", "path in the archive; null where absent"),
        Column("roi_path", pa.string(), "", "path in the archive; null where absent"),
        Column("adc_bytes", pa.int64(), "byte", "size of the .adc file"),
        Column("hdr_bytes", pa.int64(), "byte", "size of the .hdr file"),
        Column("roi_bytes", pa.int64(), "byte", "size of the .roi file"),
        Column("modified", _TIME, "UTC", "when the newest of its files was last written"),
        Column("copies", pa.int32(), "", "further copies of the bin in the archive, not used"),
        Column("complete", pa.bool_(), "", ".adc and .hdr are there and have settled"),
        Column("gone_since", _TIME, "UTC", "since when files of the bin are gone; null where all are there"),
        *_OUTCOME,
    ),
)

POINT_CLOUDS = Table(
    "point_clouds",
    3,
    "All triggers of the day's bins in file order; as in the .adc, but that signals of which no feature is made are "
    "rounded to 12 bits.",
    (
        Column("pid", pa.dictionary(pa.int32(), pa.string()), "", "identifier of the bin"),
        *(Column(c.name, pa.from_numpy_dtype(np.dtype(c.dtype)), c.unit, c.meaning) for c in ADC_COLUMNS),
        Column("has_image", pa.bool_(), "", "width and height are above zero"),
    ),
    also_read=frozenset({2}),
)

BIN_FEATURES = Table(
    "bin_features",
    6,
    "One row a bin: its features, or why it has none, and the settings that it was made with.",
    (
        *_IDENTITY,
        *_OUTCOME,
        Column("n_rows", pa.int32(), "", "usable ADC lines"),
        Column("n_images", pa.int32(), "", "ADC lines with an image"),
        Column("n_points", pa.int32(), "", "points of the cloud that the features are of"),
        Column("bad_lines", pa.int32(), "", "ADC lines that could not be used"),
        Column("configuration", pa.string(), "", "short code of the settings that the header states; empty without"),
        Column("settings", pa.string(), "", "these settings as JSON"),
        Column("sample_type", pa.string(), "", "kind of sample as the header has it, such as normal or beads"),
        Column("roi_complete", pa.bool_(), "", "the .roi file holds all images; null where there is no .roi"),
        Column("stuck_x_px", pa.float64(), "px", "left edge of the most repeated box; NaN with too few images"),
        Column("stuck_y_px", pa.float64(), "px", "its top edge"),
        Column("stuck_width_px", pa.float64(), "px", "its width"),
        Column("stuck_height_px", pa.float64(), "px", "its height"),
        Column("run_time_source", pa.string(), "", "what tells the length of the run: header, adc or empty"),
        Column("inhibit_time_source", pa.string(), "", "what tells how long it was blind: header, adc or empty"),
        Column("header_state", pa.string(), "", "ok, missing (or empty), damaged; empty where it was not looked for"),
        Column("header_problem", pa.string(), "", "what is wrong with the header, in words"),
        Column("adc_source", pa.string(), "", "adc, or adcmod for a corrected ADC file from beside the archive"),
        Column("has_roi", pa.bool_(), "", "there is a .roi file"),
        Column("dead_signals", pa.string(), "", "signals with the same number in all rows, separated by spaces"),
        Column(
            "sample_time",
            _TIME,
            "UTC",
            "when the sample was taken, where people corrected the clock (sample_times.csv)",
        ),
        *(Column(f.name, pa.float64(), f.unit, f.meaning) for f in CATALOGUE),
    ),
)

BIN_SCORES = Table(
    "bin_scores",
    3,
    "One row a bin, worst first, those not judged last: severity, verdict, suspected cause and reasons, and the model "
    "that gave them.",
    (
        *_IDENTITY,
        Column(
            "severity",
            pa.float64(),
            "",
            "0 to 100: HIGHER is worse; 99 of 100 healthy bins are below 50; unreadable bins have 100; bins that were "
            "not judged have none (NaN) and stand last",
        ),
        Column("verdict", pa.string(), "", "ok, watch, bad, unreadable or not_judged"),
        Column("cause", pa.string(), "", "code of the suspected cause; empty where the verdict is ok or not_judged"),
        Column("second_cause", pa.string(), "", "code of the next likely cause; empty where there is none"),
        Column("reasons", pa.string(), "", "what is unusual and what to check, in words, worst first"),
        Column(
            "findings",
            pa.string(),
            "",
            "the same as a JSON list: feature, value, low, high, unit, share, cause, text, check; and bins, where the "
            "value is the mean of so many",
        ),
        Column("rules", pa.string(), "", "codes of the hard rules that the bin breaks, separated by spaces"),
        Column(
            "anomaly_score",
            pa.float64(),
            "",
            "score of the detector: LOWER is more anomalous; NaN without features, or where the bin was not judged",
        ),
        Column(
            "percentile",
            pa.float64(),
            "%",
            "healthy bins that look more normal: HIGHER is more anomalous; NaN where anomaly_score is",
        ),
        Column("threshold", pa.float64(), "", "severity from which a bin of its instrument is bad"),
        Column("configuration", pa.string(), "", "short code of the settings that the header states"),
        Column("config_changed", pa.bool_(), "", "the settings differ from those of the instrument's bin before it"),
        Column(
            "baseline_bins",
            pa.int64(),
            "",
            "healthy bins of the instrument, in training and in the days before, that the bin was compared with; null "
            "where the model keeps no baseline",
        ),
        Column("baseline_days", pa.float64(), "day", "time from the first to the last of these; NaN as above"),
        Column(
            "affected_fraction",
            pa.float64(),
            "fraction",
            "0 to 1: share of the run, or of its images, that is not to be used, by the suspected cause; 0 where the "
            "verdict is ok, NaN where it is not known or the bin was not judged",
        ),
        Column("model_id", pa.string(), "", "the model that gave the verdict"),
        *_OUTCOME,
    ),
)

PAST_VERDICTS = Table(
    "past_verdicts",
    1,
    "What models said that scored the day's bins before the model in bin_scores did: one row a bin and model.",
    (
        Column("pid", pa.string(), "", "identifier of the bin"),
        Column("model_id", pa.string(), "", "the model that gave the verdict"),
        Column("severity", pa.float64(), "", "0 to 100, HIGHER is worse"),
        Column("verdict", pa.string(), "", "ok, watch, bad or unreadable"),
        Column("until", _TIME, "UTC", "when another model scored the bin"),
    ),
)

LEFT_OUT = Table(
    "left_out",
    1,
    "What the archive has that is in no day's tables: one row a bin that is misplaced, misnamed or outside, or a "
    "corrected .adc file without its bin, with the remedy.",
    (
        Column("pid", pa.string(), "", "identifier of the bin; of misnamed files their name without extension"),
        Column("instrument", pa.string(), "", "instrument; null where the name does not begin with an identifier"),
        Column("start_time", _TIME, "UTC", "start of the run, from the identifier; null where there is none"),
        Column("path", pa.string(), "", "where it lies in the archive: the directory, of misnamed files the first"),
        *_OUTCOME,
    ),
)

#: Every verdict, mildest first, then those that say nothing about the data, and what each asks of people.
VERDICTS: Mapping[str, str] = {
    "ok": "looks like this instrument's healthy bins",
    "watch": "unusual: check when there is time",
    "bad": "check now; do not use unless a person marks it good",
    "unreadable": "the file is missing, empty or damaged; no severity",
    "not_judged": "the instrument has too few bins of its own to compare it with",
}

#: The verdicts that say something about the data of a bin; all others count neither as healthy nor as bad.
JUDGED = ("ok", "watch", "bad")

TABLES: tuple[Table, ...] = (RAW_BINS, POINT_CLOUDS, BIN_FEATURES, BIN_SCORES)
