"""The verdict on a bin that is still running, and after how many triggers a fault was certain.

The first part of a run is judged as a whole run is: by the same features, against the same baseline, with the larger
scatter that few points have. What a run can only show at its end says nothing before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.trial.comparison import Judge

#: The shares of a bin's triggers after which it is judged.
PARTIAL_SHARES = (0.05, *(share / 10 for share in range(1, 11)))

#: With fewer points, the first part of a healthy run often looks odd: their scatter is known of whole runs only.
MIN_RUNNING_POINTS = 60

#: What a run shows only when it has ended: how long it was and what it is to be compared with. The last line of a
#: file that is being written may be half a line.
_ONLY_AT_THE_END = (
    "run_time_s", "run_time_ratio", "volume_ml", "volume_ratio", "image_count_mismatch", "run_time_mismatch",
    "header_adc_mismatch", "n_triggers", "n_images", "bad_lines", "bad_line_fraction", "roi_complete", "has_roi",
)  # fmt: skip

#: Stands for settings that are not known yet: most instruments write the header when the run has ended.
_UNKNOWN_SETTINGS = "running"


@dataclass(frozen=True, slots=True)
class PartialScore:
    """The verdict on the first ``n_triggers`` triggers of a bin.

    ``verdict`` is ``waiting`` where they are too few to say anything; ``severity`` and ``anomaly_score`` are NaN then.
    """

    n_triggers: int
    verdict: str
    severity: float
    anomaly_score: float
    cause: str
    reasons: str


def partial_lengths(n_triggers: int, shares: Sequence[float] = PARTIAL_SHARES) -> tuple[int, ...]:
    """How many triggers the shares of a bin are, ascending, none twice and none empty."""
    return tuple(sorted({round(share * n_triggers) for share in shares} - {0}))


def trigger_numbers(trigger: NDArray) -> NDArray[np.int64]:
    """For each line of a bin, which trigger of the bin it belongs to, from 1; lines of one frame share it.

    ``trigger``: the counter of the ADC file, shape (lines,), which may have gaps or start anew.
    """
    if not len(trigger):
        return np.zeros(0, dtype=np.int64)
    return np.cumsum(np.concatenate(([True], np.diff(trigger) != 0)))


def first_triggers(columns: Mapping[str, NDArray], n_triggers: int) -> dict[str, NDArray]:
    """The lines of a bin's first ``n_triggers`` triggers; ``columns``: as read, each of shape (lines,)."""
    lines = int(np.searchsorted(trigger_numbers(columns["trigger"]), n_triggers, side="right"))
    return {name: values[:lines] for name, values in columns.items()}


def as_running(features: pa.Table) -> pa.Table:
    """BinTable of ``bin_features`` of bins that are still running, without what only the end of a run shows."""
    n = features.num_rows
    for name in set(_ONLY_AT_THE_END) & set(features.column_names):
        kind = features.schema.field(name).type
        missing = pa.array([float("nan")] * n, kind) if pa.types.is_floating(kind) else pa.nulls(n, kind)
        features = features.set_column(features.schema.get_field_index(name), name, missing)
    settings = ["" if value is None else value for value in features["configuration"].to_pylist()]
    known = pa.array([value or _UNKNOWN_SETTINGS for value in settings], pa.string())
    return features.set_column(features.schema.get_field_index("configuration"), "configuration", known)


def judge_running(
    model: Judge, features: pa.Table, n_triggers: Sequence[int], history: pa.Table | None = None
) -> list[PartialScore]:
    """The verdicts on rows of ``bin_features``, each of a bin's first ``n_triggers`` triggers.

    ``history``: rows of ``bin_features`` of the bins before. A bin without a header has the settings of the last of
    its instrument there.
    """
    running = as_running(_with_last_settings(features, history))
    # One by one: a model takes several rows of an instrument for bins that follow one another.
    scores = [model.judge(running.slice(i, 1), history).to_pylist()[0] for i in range(running.num_rows)]
    told = [
        status == "ok" and n_points >= MIN_RUNNING_POINTS
        for status, n_points in zip(features["status"].to_pylist(), features["n_points"].to_pylist(), strict=True)
    ]
    return [_partial_score(*each) for each in zip(n_triggers, told, scores, strict=True)]


def certain_after(scores: Sequence[PartialScore]) -> int | None:
    """After how many triggers a bin was bad and remained so to the end; None where it is not bad at the end."""
    certain = None
    for score in sorted(scores, key=lambda each: -each.n_triggers):
        if score.verdict != "bad":
            break
        certain = score.n_triggers
    return certain


def _partial_score(n_triggers: int, told: bool, score: Mapping) -> PartialScore:
    if not told:
        return PartialScore(n_triggers, "waiting", float("nan"), float("nan"), "", "")
    return PartialScore(
        n_triggers, score["verdict"], score["severity"], score["anomaly_score"], score["cause"], score["reasons"]
    )


def _with_last_settings(features: pa.Table, history: pa.Table | None) -> pa.Table:
    if history is None or not history.num_rows:
        return features
    known = history.select(["instrument", "start_time", "configuration"]).sort_by("start_time").to_pylist()
    last = {row["instrument"]: row["configuration"] for row in known if row["configuration"]}
    settings = [
        own or last.get(instrument, "")
        for own, instrument in zip(
            features["configuration"].to_pylist(), features["instrument"].to_pylist(), strict=True
        )
    ]
    column = pa.array(settings, pa.string())
    return features.set_column(features.schema.get_field_index("configuration"), "configuration", column)
