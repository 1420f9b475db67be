"""What is said of each measurement: its name, its sentence, and the numbers in it; all in one table.

A sentence stands alone: what was seen first, the number in it, the normal range behind it. Numbers have two digits;
three where two do not tell the value from its range, and in positions, whose zero is anywhere. Shares are read as per
cent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.features.catalogue import CATALOGUE

_Show = Callable[[NDArray[np.float64]], NDArray[np.float64]]

#: Digits of numbers in sentences, and where these do not tell the value from its normal range.
_DIGITS, _MOST_DIGITS = 2, 3

#: Shown numbers nearer to 0 are written as 0, without exponent; a lower end of a range that is so small a part of the
#: upper one is as good as 0.
_NOTHING, _NEXT_TO_NOTHING = 5e-4, 0.01

#: A logarithm, or a number, beyond this is none that anyone could read.
_MOST_LOG, _MOST = 20.0, 1e9


def _plainly(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


def _times(factor: float) -> _Show:
    return lambda values: factor * values


#: A share as it is read.
_percent = _times(100.0)


def _rest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100.0 * (1.0 - values)


def _factor(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(np.clip(values, -_MOST_LOG, _MOST_LOG))


def _degrees(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.degrees(np.arctan(values))


def _size_in_percent(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 100.0 * np.abs(values)


@dataclass(frozen=True, slots=True)
class Sentence:
    """How people read one feature.

    ``name``: for tables and axes. ``above``, ``below``: what is said where the shown number is above its normal range,
    or below it; ``{value}`` is the number with its unit. ``turn``: where it is given, the value from which on ``above``
    is said, whatever the range. ``show``: from the feature's unit to the shown number. ``lowest``, ``highest``: what
    the feature can be, in its own unit. ``topic``: of sentences with the same topic one is enough. ``has_range``: the
    normal range is said, too. ``digits``: how many are said at least.
    """

    name: str
    above: str
    below: str
    unit: str = ""
    show: _Show = _plainly
    lowest: float = -np.inf
    highest: float = np.inf
    turn: float | None = None
    topic: str = ""
    has_range: bool = True
    digits: int = _DIGITS


def _said(name: str, above: str, below: str = "", unit: str = "", show: _Show = _plainly, **other: Any) -> Sentence:
    """A sentence; where it begins with the value and no other is given, one below its range is "only" so much."""
    only = f"Only {above}" if above.startswith("{value}") else above
    return Sentence(name, above, below or only, unit, show, **other)


def _share(name: str, above: str, below: str = "", show: _Show = _percent, **other: Any) -> Sentence:
    """A share, 0 to 1, that is read as per cent."""
    return _said(name, above, below, "%", show, lowest=0.0, highest=1.0, **other)


def _amount(name: str, above: str, below: str = "", unit: str = "", **other: Any) -> Sentence:
    """What cannot be below 0."""
    return _said(name, above, below, unit, lowest=0.0, **other)


_CORE: dict[str, Sentence] = {
    "core_x_px": _amount("core position", "The sample core is at x = {value}", unit="px", digits=_MOST_DIGITS),
    "core_tilt": _said("core tilt", "The sample core is tilted by {value}", unit="degrees", show=_degrees),
    "core_bend_px": _said(
        "core bend", "The sample core curves by {value} from the middle to the edge of the frame", unit="px"
    ),
    "core_width_px": _amount(
        "core spread", "Images scatter {value} around the sample core",
        "Images scatter only {value} around the sample core", "px",
    ),
    "core_asymmetry": _said(
        "core skew", "The sample core is skewed upstream: {value}", "The sample core is skewed downstream: {value}",
        "%", _percent, lowest=-1.0, highest=1.0, turn=0.0,
    ),
    "cross_low_px": _amount(
        "top of the image band", "Images start at y = {value}", unit="px", topic="image band", digits=_MOST_DIGITS
    ),
    "cross_high_px": _amount(
        "bottom of the image band", "Images end at y = {value}", unit="px", topic="image band", digits=_MOST_DIGITS
    ),
    "cross_range_px": _amount(
        "height of the image band", "90 % of images lie in a band {value} high",
        "90 % of images lie in a band only {value} high", "px",
    ),
    "drift_x_px": _said(
        "core shift along the flow", "The sample core moved {value} along the flow during the run", unit="px",
        topic="drift",
    ),
    "drift_y_px": _said(
        "core shift across the flow", "The sample core moved {value} across the flow during the run", unit="px",
        topic="drift",
    ),
}  # fmt: skip

_STRAYS: dict[str, Sentence] = {
    "bubble_fraction": _share("large round images", "{value} of images are large and round, like bubbles"),
    "stray_fraction": _share("images outside the core", "{value} of images lie outside the sample core"),
    "stray_left_fraction": _share(
        "images left of the core", "{value} of images lie downstream (left) of the sample core", topic="stray side"
    ),
    "stray_right_fraction": _share(
        "images right of the core", "{value} of images lie upstream (right) of the sample core", topic="stray side"
    ),
    "stray_spread": _amount(
        "scatter of images outside the core",
        "Images outside the sample core are scattered all over the frame: evenness {value}",
        "Images outside the sample core are bunched in one place: evenness {value}",
    ),
    "edge_touch_fraction": _share("images cut by the frame edge", "{value} of images touch the frame edge"),
    "full_width_fraction": _share(
        "images as wide as the frame", "{value} of images nearly span the frame", topic="frame"
    ),
    "out_of_frame_fraction": _share(
        "images beyond the frame", "{value} of images reach beyond the frame", topic="frame"
    ),
    "repeat_fraction": _share("images repeating at one place", "{value} of images have the same position and size"),
    "repeat_anchor_fraction": _share("images sharing a corner", "{value} of images share one corner position"),
    "hot_cell_fraction": _share(
        "images at one spot", "{value} of images pile up at one spot outside the sample core"
    ),
    "stuck_persistence": _said(
        "same spot in earlier bins", "The most repeated image was at the same spot in {value} of the last 5 bins",
        show=_times(5.0), lowest=0.0, highest=1.0, has_range=False,
    ),
}  # fmt: skip

_TRIGGERS: dict[str, Sentence] = {
    "images_per_trigger": _amount(
        "images per 100 triggers",
        "There are {value} images for every 100 triggers",
        "There are only {value} images for every 100 triggers",
        show=_percent,
        topic="images",
    ),
    "no_image_fraction": _share(
        "triggers with an image", "{value} of triggers produced an image", show=_rest, topic="images"
    ),
    "multi_image_fraction": _share(
        "triggers with several images", "{value} of triggers produced more than one image"
    ),
    "no_image_burst": _said(
        "runs of empty triggers", "Triggers without an image come in bursts: correlation {value}",
        "Triggers without an image come in fewer bursts than normal: correlation {value}", lowest=-1.0, highest=1.0,
    ),
    "blind_fraction": _share(
        "time without images", "For {value} of the run, no trigger produced an image", topic="blind"
    ),
    "longest_blind_s": _amount(
        "longest time without images (s)", "No trigger produced an image for {value} at a stretch", unit="s",
        topic="blind",
    ),
    "trigger_rate_hz": _amount("trigger rate (per s)", "{value} triggers per second"),
    "n_triggers": _amount("triggers", "{value} triggers in the run"),
    "time_uniformity": _amount(
        "evenness over the run", "Triggers were unevenly spread over the run: index {value}",
        "Triggers were more evenly spread over the run than normal: index {value}",
    ),
    "longest_gap_fraction": _share(
        "longest gap", "The longest gap between triggers is {value} of the run longer than chance explains"
    ),
    "rate_change": _said(
        "rate change in the run", "The trigger rate rose to {value} times its level during the run",
        "The trigger rate fell to {value} times its level during the run", show=_factor, turn=0.0,
    ),
    "dead_time_s": _amount(
        "dead time per trigger", "Dead time was {value} per trigger", "Dead time was only {value} per trigger", "ms",
        show=_times(1000.0), topic="dead time",
    ),
    "inhibit_fraction": _share(
        "dead time", "Dead time was {value} of the run", "Dead time was only {value} of the run", topic="dead time"
    ),
}  # fmt: skip

_SIZES: dict[str, Sentence] = {
    "width_median_px": _amount(
        "typical image width", "The typical image is {value} wide", "The typical image is only {value} wide", "px",
        topic="typical side",
    ),
    "height_median_px": _amount(
        "typical image height", "The typical image is {value} high", "The typical image is only {value} high", "px",
        topic="typical side",
    ),
    "width_p95_px": _amount("width of the widest images", "1 in 20 images is wider than {value}", unit="px"),
    "area_median_px2": _amount(
        "typical image area", "The typical image covers {value}", "The typical image covers only {value}", "px²",
        topic="area",
    ),
    "area_p10_px2": _amount("small image area", "1 in 10 images is smaller than {value}", unit="px²", topic="area"),
    "large_fraction": _share("images over 300 px wide", "{value} of images are wider than 300 px"),
    "size_spread": _said(
        "variety of image sizes", "Image sizes vary more than normal: by a factor of {value}",
        "Image sizes vary less than normal: by a factor of {value}", show=_factor, lowest=0.0,
    ),
}  # fmt: skip

_SIGNALS: dict[str, Sentence] = {
    "flight_time_us": _amount(
        "transit time", "Particles took {value} to cross the laser", "Particles took only {value} to cross the laser",
        "µs", topic="transit",
    ),
    "flight_spread": _amount(
        "spread of transit times", "Transit times vary by {value}", "Transit times vary by only {value}", "%",
        show=_percent, topic="transit",
    ),
    "peak_median_v": _amount(
        "fluorescence", "The typical fluorescence peak is {value}", "The typical fluorescence peak is only {value}", "V"
    ),
    "peak_floor_fraction": _share(
        "triggers at noise level", "{value} of triggers have no fluorescence above the noise"
    ),
    "peak_y_slope": _said(
        "fluorescence, bottom against top", "Fluorescence at the bottom of the frame is {value} times that at the top",
        show=_factor,
    ),
}  # fmt: skip

_RUN: dict[str, Sentence] = {
    "run_time_s": _amount(
        "run time", "The run lasted {value}", "The run lasted only {value}", "min", show=_times(1.0 / 60.0),
        topic="run time",
    ),
    "run_time_ratio": _amount(
        "run time against settings", "The run lasted {value} of the time its settings call for",
        "The run lasted only {value} of the time its settings call for", "%", show=_percent, topic="run time",
    ),
    "volume_ml": _amount("volume analysed", "{value} was analysed", unit="mL"),
    "volume_ratio": _amount(
        "volume analysed against drawn", "{value} of the sample drawn was analysed", unit="%", show=_percent
    ),
    "temperature_c": _said(
        "housing temperature", "The temperature in the housing is {value}",
        "The temperature in the housing is only {value}", "°C", lowest=-273.15,
    ),
    "humidity_pct": _said(
        "housing humidity", "The humidity in the housing is {value}", "The humidity in the housing is only {value}",
        "%", lowest=0.0, highest=100.0,
    ),
    "temperature_rise_c": _said(
        "temperature rise", "The temperature in the housing is {value} above the last 8 bins",
        "The temperature in the housing changed by {value} from the last 8 bins", "°C", turn=0.0,
    ),
    "humidity_rise_pct": _said(
        "humidity rise", "The humidity in the housing is {value} above the last 8 bins",
        "The humidity in the housing changed by {value} from the last 8 bins", "%", lowest=-100.0, highest=100.0,
        turn=0.0,
    ),
}  # fmt: skip

_FILES: dict[str, Sentence] = {
    "lattice_fraction": _share(
        "images off the 8 px grid", "{value} of images are off the camera's 8 px grid", show=_rest
    ),
    "trigger_gap_fraction": _share("missing triggers", "{value} of trigger numbers are missing"),
    "time_backward_fraction": _share(
        "clock steps backward", "The clock runs backward in {value} of the .adc lines", has_range=False
    ),
    "header_adc_mismatch": _share(
        "header against .adc file", "Header and .adc file differ by {value} in the times of the run", has_range=False
    ),
    "dead_signal_fraction": _share("flat signals", "{value} of the signals are flat"),
    "time_still_fraction": _share(
        "clock standing still", "The clock stands still in {value} of the .adc lines", has_range=False
    ),
    "start_byte_gap_fraction": _share(
        "positions in the .roi file", "In {value} of the .adc lines the position in the .roi file does not follow on"
    ),
    "bad_line_fraction": _share(
        "damaged .adc lines", "{value} of the lines of the .adc file are damaged", has_range=False
    ),
    "image_count_mismatch": _said(
        "images, file against header", "The .adc file has {value} more images than the header states",
        "The .adc file has {value} fewer images than the header states", "%", _size_in_percent, lowest=-1.0, turn=0.0,
        has_range=False,
    ),
    "run_time_mismatch": _said(
        "run time, file against header", "The run is {value} longer in the .adc file than in the header",
        "The run is {value} shorter in the .adc file than in the header", "%", _size_in_percent, lowest=-1.0, turn=0.0,
        has_range=False,
    ),
}  # fmt: skip

#: What the set of ifcb-flow-metric measures; x is divided by the frame's aspect ratio there.
_REFERENCE: dict[str, Sentence] = {
    "mean_x": _said("mean x", "The mean x of images is {value} (scaled)", unit="px"),
    "mean_y": _said("mean y", "The mean y of images is {value}", unit="px"),
    "std_x": _amount("standard deviation of x", "Images scatter by {value} (scaled) along the flow", unit="px"),
    "std_y": _amount("standard deviation of y", "Images scatter by {value} across the flow", unit="px"),
    "median_x": _said("median x", "The median x of images is {value} (scaled)", unit="px"),
    "median_y": _said("median y", "The median y of images is {value}", unit="px"),
    "iqr_x": _amount("interquartile range of x", "Half of the images lie within {value} (scaled) in x", unit="px"),
    "iqr_y": _amount("interquartile range of y", "Half of the images lie within {value} in y", unit="px"),
    "ratio_spread": _amount("spread of y over x", "The cloud is {value} times as wide in y as in x"),
    "core_fraction": _share("images in the middle of the cloud", "{value} of images lie in the middle of the cloud"),
    "duplicate_fraction": _share("images sharing their y", "{value} of images share their y with another"),
    "max_duplicate_fraction": _share("images at the commonest y", "{value} of images have the commonest y"),
    "cv_x": _amount("unevenness in x", "Images are unevenly spread in x: index {value}"),
    "cv_y": _amount("unevenness in y", "Images are unevenly spread in y: index {value}"),
    "skew_x": _said("skewness of x", "The skewness of the cloud in x is {value}"),
    "skew_y": _said("skewness of y", "The skewness of the cloud in y is {value}"),
    "kurt_x": _said("excess kurtosis of x", "The excess kurtosis of the cloud in x is {value}"),
    "kurt_y": _said("excess kurtosis of y", "The excess kurtosis of the cloud in y is {value}"),
    "angle": _said("direction of the cloud", "The long axis of the cloud points to {value}", "", "degrees", np.degrees),
    "eigen_ratio": _amount("elongation of the cloud", "The variance along the cloud is {value} times that across it"),
    "left_edge_fraction": _share("images at the smallest x", "{value} of images lie at the left end of the cloud"),
    "right_edge_fraction": _share("images at the largest x", "{value} of images lie at the right end of the cloud"),
    "top_edge_fraction": _share("images at the smallest y", "{value} of images lie at the top end of the cloud"),
    "bottom_edge_fraction": _share("images at the largest y", "{value} of images lie at the bottom end of the cloud"),
    "total_edge_fraction": _said(
        "images at the ends of the cloud", "{value} of images lie at the ends of the cloud", unit="%",
        show=_percent, lowest=0.0, highest=4.0,
    ),
    "t_y_var": _amount("variance of the rolling mean of y", "The rolling mean of y varies by {value}", unit="px²"),
    "roi_trigger_fraction": _share("lines with an image", "{value} of the lines of the .adc file have an image"),
}  # fmt: skip

#: How each feature is spoken of.
SENTENCES: Mapping[str, Sentence] = _CORE | _STRAYS | _TRIGGERS | _SIZES | _SIGNALS | _RUN | _FILES | _REFERENCE

#: Which feature says the same as a hard rule.
_RULES_SAY: Mapping[str, str] = {
    "few_triggers": "n_triggers", "incomplete_run": "run_time_ratio", "short_run": "run_time_s",
    "run_time_long": "run_time_ratio", "volume": "volume_ratio", "no_volume": "volume_ml",
    "image_ratio": "images_per_trigger", "humid": "humidity_pct", "hot": "temperature_c",
    "bad_lines": "bad_line_fraction", "image_count": "image_count_mismatch",
    "header_and_adc_differ": "header_adc_mismatch",
    "some_bad_lines": "bad_line_fraction", "blind": "blind_fraction", "core_creeps": "drift_x_px",
    "cloud_everywhere": "stray_fraction", "at_the_edges": "edge_touch_fraction", "bubbles": "bubble_fraction",
    "dead_signals": "dead_signal_fraction", "dead_counters": "dead_time_s", "time_still": "time_still_fraction",
    "image_places": "start_byte_gap_fraction",
    "time_backward": "time_backward_fraction", "repeats": "repeat_fraction",
}  # fmt: skip

#: The sentences that tell why nothing was computed of a bin, by its status, and reasons that only repeat them.
_STATUSES: Mapping[str, str] = {
    "no_adc": "The .adc file is missing, so this bin cannot be scored",
    "not_found": "The bin is not in the archive",
    "misplaced": "The bin is in the folder of another date",
    "misnamed": "The file does not have the name of a bin",
    "outside": "The bin's clock is outside the days of the pipeline",
    "unsettled": "The files of the bin are still being written",
    "unreadable": "The .adc file cannot be read, or most of its lines are damaged",
    "too_few_points": "There are too few images to judge the bin",
    "empty": "No triggers were recorded",
}
_REPEATED = ("", "the .adc file is missing", "the .adc file has no lines")

_MEANINGS = {feature.name: (feature.meaning, feature.unit) for feature in CATALOGUE} | {
    feature.name: (meaning, feature.unit) for feature, meaning in LAG_FEATURES.items()
}


@cache
def sentence_of(feature: str) -> Sentence:
    """How a feature is spoken of; one that has no entry by its meaning in the catalogue, or by its name."""
    if feature in SENTENCES:
        return SENTENCES[feature]
    meaning, unit = _MEANINGS.get(feature, (feature.replace("_", " "), ""))
    begins = f"{meaning[:1].upper()}{meaning[1:]}"
    return (
        _share(meaning, begins + ": {value}") if unit == "fraction" else _said(meaning, begins + ": {value}", "", unit)
    )


def topic_of(code: str) -> str:
    """What a feature, or a hard rule, is about: of sentences about the same thing one is enough."""
    feature = _RULES_SAY.get(code, code)
    return sentence_of(feature).topic or feature


def status_sentence(status: str, reason: str) -> str:
    """Why nothing was computed of a bin, by its ``status`` and ``reason`` in ``bin_features``."""
    said = _STATUSES.get(status, "Nothing could be computed of the bin")
    more = [part for part in reason.split("; ") if part not in _REPEATED]
    return f"{said}: {'; '.join(more)}" if more else said


def join(sentences: Sequence[str]) -> str:
    """Sentences one behind the other, each with its stop."""
    return " ".join([text if text.endswith(("?", ".")) else f"{text}." for text in sentences if text])


def numbers(values: NDArray[np.float64]) -> list[str]:
    """Numbers, shape (k,), with two digits; whole ones below 1000 as they are."""
    is_whole = (values == np.round(values)) & (np.abs(values) < 1000)
    return written(np.where(is_whole, values, rounded(values, _DIGITS)) + 0.0)


def rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Numbers of any shape to so many significant digits; those next to nothing are 0."""
    values = np.asarray(values, dtype=np.float64)
    size = np.abs(values)
    place = np.floor(np.log10(np.where((size > _NOTHING) & np.isfinite(size), size, 1.0))) - (digits - 1)
    step = 10.0 ** np.abs(place)
    found = np.where(place < 0, np.round(values * step) / step, np.round(values / step) * step)
    return np.where(size < _NOTHING, 0.0, found) + 0.0


def written(values: NDArray[np.float64]) -> list[str]:
    """Rounded numbers, shape (k,), as texts without exponent."""
    return list(map("{:,.12g}".format, values.tolist()))


@dataclass(frozen=True, slots=True)
class Measured:
    """k values of one feature, with their normal ranges, as they are said; arrays of shape (k,).

    ``value``, ``low``, ``high``: in the feature's unit, within what it can be. ``texts``: the sentences. ``is_outside``
    tells which values lie outside their range as it is written; of the others nothing is to be said.
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    is_outside: NDArray[np.bool_]
    texts: list[str]


def measured(
    feature: str, value: NDArray, low: NDArray, high: NDArray, n_bins: NDArray[np.int64] | None = None
) -> Measured:
    """What is said of k values of a feature that are normally between ``low`` and ``high``, all in its unit, (k,).

    ``n_bins``: of how many bins in a row each is the mean; of one where it is not given.
    """
    said = sentence_of(feature)
    stated = np.clip(np.stack([value, low, high]).astype(np.float64), said.lowest, said.highest)
    shown = np.clip(said.show(stated), -_MOST, _MOST)
    compared = _compared(said, shown if said.has_range else stated)
    coarse, fine = (rounded(compared, digits) for digits in (said.digits, _MOST_DIGITS))
    is_coarse, is_fine = _is_outside(coarse), _is_outside(fine)
    numbers = np.where(is_coarse, coarse, _far_end_coarse(fine, coarse))
    first = rounded(shown[0], said.digits)
    is_told = is_coarse | is_fine if said.has_range else _is_outside(compared) & (first != 0)
    is_above = numbers[0] > numbers[2] if said.turn is None else stated[0] >= said.turn
    begins = np.where(is_above, said.above, said.below).tolist()
    behind = f" {said.unit}" if said.unit else ""
    values = written(numbers[0] if said.has_range else first)
    texts = [begin.replace("{value}", f"{text}{behind}") for begin, text in zip(begins, values, strict=True)]
    if said.has_range:
        texts = [f"{text} ({range_}{behind})" for text, range_ in zip(texts, _normal(numbers[1:]), strict=True)]
    if n_bins is not None:
        texts = [on_average(text, n) for text, n in zip(texts, n_bins.tolist(), strict=True)]
    return Measured(stated[0], stated[1], stated[2], is_told, texts)


def _compared(said: Sentence, shown: NDArray[np.float64]) -> NDArray[np.float64]:
    """A value, and the lower and upper end of its range, shape (3, k): an end next to the least there is, is that."""
    ends = np.sort(shown[1:], axis=0)
    if said.has_range and 0.0 in (said.show(np.array([said.lowest, said.highest]))):
        ends[0] = np.where(ends[0] <= _NEXT_TO_NOTHING * ends[1], 0.0, ends[0])
    return np.concatenate([shown[:1], ends])


def _far_end_coarse(fine: NDArray[np.float64], coarse: NDArray[np.float64]) -> NDArray[np.float64]:
    """The finer numbers, shape (3, k), but for the end of the range that is far from the value."""
    value, low, high = fine
    numbers = np.array(fine)
    numbers[1] = np.where((value > high) & (coarse[1] < high), coarse[1], low)
    numbers[2] = np.where((value < low) & (coarse[2] > low), coarse[2], high)
    return numbers


def _is_outside(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (numbers[0] < numbers[1]) | (numbers[0] > numbers[2])


def _normal(ends: NDArray[np.float64]) -> list[str]:
    """Normal ranges in words, of ends of shape (2, k)."""
    low, high = written(ends[0]), written(ends[1])
    forms = ("normally {0} to {1}", "normally up to {1}", "normally {1}")
    which = np.select([ends[0] == ends[1], (ends[0] == 0) & (ends[1] > 0)], [2, 1], 0).tolist()
    return [forms[form].format(a, b) for form, a, b in zip(which, low, high, strict=True)]


def on_average(text: str, n_bins: int) -> str:
    """A sentence of so many bins in a row."""
    return f"On average over {n_bins} bins, {text[:1].lower()}{text[1:]}" if n_bins > 1 else text
