"""Every stored table, declared once: column, type, unit, meaning.

All tables have one file per UTC day, but for ``left_out``, which is one file. ``status`` and ``reason`` mean the
same everywhere: the status says how far a bin came (see STATUSES), the reason says why in words for people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.detection.images.kinds import KINDS
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.images import catalogue as image_catalogue
from ifcb_flow_pipeline.features.stream import SHOWN_COLUMNS, STREAM_COLUMNS

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

#: Every status that a bin can have in the tables of images, and what it means; a bin that could not be read has that of
#: its .adc file (STATUSES).
IMAGE_STATUSES: Mapping[str, str] = {
    "ok": "its images were looked at",
    "too_few_images": "too few of its images can be measured to say anything of the bin",
    "no_images": "no trigger gave an image",
    "no_roi": "there is no .roi file (yet)",
    "roi_unsettled": "the .roi file was written moments ago and may still grow",
    "roi_unreadable": "the .roi file cannot be read",
}

#: What they are called, for people.
STATUS_NAMES: Mapping[str, str] = {
    "ok": "read",
    "too_few_points": "too few images to judge",
    "empty": "no triggers recorded",
    "unreadable": ".adc file unreadable",
    "no_adc": ".adc file missing",
    "unsettled": "still being written",
    "misplaced": "in the folder of another date",
    "gone": "files gone from the archive",
    "misnamed": "not named as a bin",
    "no_bin": "corrected .adc file without the raw one",
    "outside": "outside the days of the pipeline",
    "not_found": "not in the archive",
    "too_few_images": "too few images can be measured",
    "no_images": "no images recorded",
    "no_roi": "no .roi file yet",
    "roi_unsettled": ".roi file still being written",
    "roi_unreadable": ".roi file unreadable",
}


def status_name(code: str) -> str:
    """What a status is called; a code that is none of these stands for itself, in words."""
    return STATUS_NAMES.get(code, code.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a stored table."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


@dataclass(frozen=True, eq=False)
class Table:
    """A stored table, equal to itself only. ``version`` rises when columns, their meaning or the form of files change:
    files of other versions are then refused, but for those of the versions in ``also_read``, which are as good as its
    own.
    ``packed``: a day has so many rows that it pays to write each value once.
    """

    name: str
    version: int
    meaning: str
    columns: tuple[Column, ...]
    also_read: frozenset[int] = frozenset()
    packed: bool = False

    def reads(self, version: int) -> bool:
        """Whether this program can use files of this version of the table."""
        return version == self.version or version in self.also_read

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with unit and meaning of each column as field metadata."""
        # Asked for with every file that is read, of which there may be thousands.
        return pa.schema(
            pa.field(c.name, c.type, metadata={"unit": c.unit, "meaning": c.meaning}) for c in self.columns
        )


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
        Column("roi_bytes", pa.int64(), "byte", "size of the .roi file; null, too, while it may still grow"),
        Column("modified", _TIME, "UTC", "when the newest of its files was last written"),
        Column("copies", pa.int32(), "", "further copies of the bin in the archive, not used"),
        Column("complete", pa.bool_(), "", ".adc and .hdr are there and have settled"),
        Column("gone_since", _TIME, "UTC", "since when files of the bin are gone; null where all are there"),
        *_OUTCOME,
    ),
)

POINT_CLOUDS = Table(
    "point_clouds",
    4,
    "All triggers of the day's bins in file order: the columns of the .adc that features are made of, as it has them, "
    "and what people are shown besides: start_byte, missing where the image before ends, and pmt_b, rounded to 8 bits.",
    (
        Column("pid", pa.dictionary(pa.int32(), pa.string()), "", "identifier of the bin"),
        *(
            Column(c.name, pa.from_numpy_dtype(np.dtype(c.dtype)), c.unit, c.meaning)
            for c in ADC_COLUMNS
            if c.name in (*STREAM_COLUMNS, *SHOWN_COLUMNS)
        ),
        Column("has_image", pa.bool_(), "", "width and height are above zero"),
    ),
    also_read=frozenset({2, 3}),
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
    4,
    "One row a bin, worst first, those not judged last: severity, verdict, suspected cause and reasons, by positions "
    "and images together, and the model that gave them.",
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
        Column("model_id", pa.string(), "", "the model that judged the positions"),
        Column(
            "source", pa.string(), "", "what the verdict is of: flow (positions), images, or both; the worse of the two"
        ),
        Column("flow_severity", pa.float64(), "", "severity by the positions alone; NaN where they were not judged"),
        Column("flow_verdict", pa.string(), "", "verdict by the positions alone"),
        Column("image_severity", pa.float64(), "", "severity by the images alone; NaN where they were not judged"),
        Column("image_verdict", pa.string(), "", "verdict by the images alone: ok, watch, bad or not_judged"),
        *_OUTCOME,
    ),
)

_IMAGE_IDENTITY = (
    Column("pid", pa.string(), "", "identifier of the bin"),
    Column("instrument", pa.string(), "", "instrument, e.g. IFCB134"),
    Column("row", pa.int32(), "", "ADC row of the image, counted from 0; null where the bin has none"),
)

IMAGE_FEATURES = Table(
    "image_features",
    1,
    "A sample of each bin's images, spread evenly over its run, and their features, rounded to three digits. A bin "
    "of which no image was looked at has one row, which says why.",
    (
        *_IMAGE_IDENTITY,
        Column("x_px", pa.int32(), "px", "left edge of the image in the camera frame"),
        Column("y_px", pa.int32(), "px", "its top edge"),
        Column("width_px", pa.int32(), "px", "its width"),
        Column("height_px", pa.int32(), "px", "its height"),
        Column(
            "status",
            pa.string(),
            "",
            "ok, too_small, impossible or cut_off; without an image why: " + ", ".join(IMAGE_STATUSES),
        ),
        Column("reason", pa.string(), "", "why there are no images, in words; empty where there is nothing to say"),
        Column("roi_complete", pa.bool_(), "", "the .roi file holds all images; null where there is none to read"),
        *(Column(f.name, pa.float32(), f.unit, f.meaning) for f in image_catalogue.CATALOGUE),
    ),
    packed=True,
)

WINDOW_MAPS = Table(
    "window_maps",
    1,
    "The camera frame in cells of 8 px, as the day's images show it: a row an instrument, deployment and whether its "
    "bins were in order. Which bins are in it, how far each was from the map before it; and the sums over all cells "
    "that were seen.",
    (
        Column("instrument", pa.string(), "", "instrument, e.g. IFCB134"),
        Column("deployment_start", _TIME, "UTC", "start of the first bin since the window was last cleaned"),
        Column("in_order", pa.bool_(), "", "the bins look as before: they tell what is usual of later ones"),
        Column("last_start", _TIME, "UTC", "start of the last bin in it"),
        Column("pids", pa.list_(pa.string()), "", "the bins in it, in order of time"),
        Column(
            "z",
            pa.list_(pa.float32()),
            "",
            "of each bin, how far its worst cell was from the deployment's map before it, in standard deviations, "
            "HIGHER is dirtier; NaN where there was no such map yet",
        ),
        Column("worst_x_px", pa.list_(pa.int32()), "px", "of each bin, middle of that cell, along the flow"),
        Column("worst_y_px", pa.list_(pa.int32()), "px", "the same across the flow"),
        Column("kinds", pa.list_(pa.string()), "", "of each bin, faint or opaque dirt in that cell; empty without"),
        Column("cell", pa.list_(pa.int32()), "", "numbers of the cells, row by row, 175 to a row"),
        Column("background_sum", pa.list_(pa.float32()), "grey", "background less that around, summed over images"),
        Column("background_squares", pa.list_(pa.float32()), "grey^2", "the same, squared"),
        Column("n_telling", pa.list_(pa.int32()), "", "images that tell of the background of the cell"),
        Column("n_dark", pa.list_(pa.int32()), "", "images in which a quarter of the cell is dark"),
        Column("n_seen", pa.list_(pa.int32()), "", "images that show the cell"),
    ),
    packed=True,
)

IMAGE_SCORES = Table(
    "image_scores",
    1,
    "One row for each image with features: the probability of each fault, how odd it is, and what it is most like.",
    (
        *_IMAGE_IDENTITY,
        Column("fault_probability", pa.float32(), "fraction", "0 to 1: that it has any fault; HIGHER is worse"),
        Column("fault", pa.string(), "", "the likeliest fault where the image is flagged, else clean"),
        Column("oddness", pa.float32(), "", "distance from the images that the model knows; HIGHER is odder"),
        Column("odd", pa.bool_(), "", "odder than 99 of 100 images that the model knows"),
        Column("class_name", pa.string(), "", "the known class that it is most like; empty where it is odd"),
        Column("reasons", pa.string(), "", "why it is flagged, in words; of the likeliest few of a bin only"),
        *(Column(f"p_{kind}", pa.float32(), "fraction", f"0 to 1: probability of {kind}") for kind in KINDS),
    ),
    packed=True,
)

BIN_IMAGE_SCORES = Table(
    "bin_image_scores",
    1,
    "One row a bin by its images: mean probability of each fault, light, focus, window, and the verdict against the "
    "instrument's own history.",
    (
        *_IDENTITY,
        Column("n_images", pa.int32(), "", "images that were looked at and have features"),
        Column("severity", pa.float64(), "", "0 to 100: HIGHER is worse; NaN where the images were not judged"),
        Column("verdict", pa.string(), "", "ok, watch, bad or not_judged, by the images alone"),
        Column("cause", pa.string(), "", "code of the suspected cause; empty where the verdict is ok or not_judged"),
        Column("second_cause", pa.string(), "", "code of the next likely cause; empty where there is none"),
        Column("reasons", pa.string(), "", "what is unusual and what to check, in words, worst first"),
        Column("findings", pa.string(), "", "the same as a JSON list, as in bin_scores"),
        Column("baseline_bins", pa.int64(), "", "bins of the instrument that it was compared with"),
        Column("fault_probability", pa.float64(), "fraction", "mean over the images, of any fault; HIGHER is worse"),
        Column("flagged_fraction", pa.float64(), "fraction", "images that are flagged as faulty"),
        Column("odd_fraction", pa.float64(), "fraction", "images that are like none that the model knows"),
        Column("touching_fraction", pa.float64(), "fraction", "images whose particle touches the border of the box"),
        Column("focus", pa.float64(), "", "median sharpness of edges for their contrast; LOWER is softer"),
        Column("fine_detail", pa.float64(), "", "median detail at half over quarter resolution; LOWER is softer"),
        Column("background", pa.float64(), "grey", "median brightness of the background"),
        Column("noise", pa.float64(), "grey", "median noise"),
        Column("spread", pa.float64(), "", "how different the images are; beads have the LOWEST"),
        Column("window_z", pa.float64(), "", "how far the window's worst cell is from its map; HIGHER is dirtier"),
        Column("window_x_px", pa.float64(), "px", "middle of that cell, along the flow; NaN without"),
        Column("window_y_px", pa.float64(), "px", "the same across the flow"),
        Column("window_kind", pa.string(), "", "faint or opaque; empty without"),
        *(Column(f"p_{kind}", pa.float64(), "fraction", f"mean probability of {kind}; HIGHER is worse")
          for kind in KINDS),
        Column("class_shares", pa.string(), "", "share of each known class among the images, as JSON"),
        Column("levels_known", pa.bool_(), "", "it is known what is usual for the instrument's light and noise"),
        Column("roi_complete", pa.bool_(), "", "the .roi file holds all images; null where there is none to read"),
        Column("image_model_id", pa.string(), "", "the image model that judged the images"),
        Column("status", pa.string(), "", "how far the images came: " + ", ".join(IMAGE_STATUSES)),
        Column("reason", pa.string(), "", "why, in words; empty where there is nothing to say"),
    ),
)  # fmt: skip

PAST_VERDICTS = Table(
    "past_verdicts",
    1,
    "Verdicts of the models that scored the day's bins before the one in bin_scores: one row for each bin and model.",
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

#: The tables of images, in the order in which they are made.
IMAGE_TABLES: tuple[Table, ...] = (IMAGE_FEATURES, WINDOW_MAPS, IMAGE_SCORES, BIN_IMAGE_SCORES)

#: All daily tables, in the order in which they are made.
TABLES: tuple[Table, ...] = (RAW_BINS, POINT_CLOUDS, BIN_FEATURES, *IMAGE_TABLES, BIN_SCORES)
