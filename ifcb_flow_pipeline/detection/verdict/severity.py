"""From a tail probability to a severity and a verdict, and the table in which models give them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: Severity per power of ten of a tail probability: one in 100 is 50, one in 1000 is 75.
SEVERITY_PER_DECADE = 25.0

#: Up to so many powers of ten a severity goes with them. Beyond, it nears 100 and never gets there, so that of two
#: bins that are both plainly bad the worse one is still told; so many powers more take it half of the way.
_LINEAR_TO, _HALF_WAY = 3.0, 2.0

#: From which severity a bin is bad where nothing else was learnt, and from which one should look at it.
BAD_FROM, WATCH_FROM = 50.0, 35.0

#: What a bin can be called, worst first.
VERDICTS = ("unreadable", "bad", "watch", "ok", "not_judged")

_COPIED = ("pid", "instrument", "start_time", "status", "reason")

#: The columns of a verdict in their order; those of ``bin_scores``.
VERDICT_COLUMNS = (
    "pid", "instrument", "start_time", "severity", "verdict", "cause", "second_cause", "reasons", "findings", "rules",
    "anomaly_score", "percentile", "threshold", "configuration", "config_changed", "baseline_bins", "baseline_days",
    "affected_fraction", "model_id", "status", "reason",
)  # fmt: skip


def severities(rarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Severities, 0 to 100, for -log10 of tail probabilities of shape (n,); 100 only where that is NaN."""
    linear = SEVERITY_PER_DECADE * np.clip(rarity, 0.0, _LINEAR_TO)
    beyond = np.maximum(rarity - _LINEAR_TO, 0.0)
    rest = 100.0 - SEVERITY_PER_DECADE * _LINEAR_TO
    return np.nan_to_num(linear + rest * beyond / (beyond + _HALF_WAY), nan=100.0)


def rarities_of(severity: NDArray) -> NDArray[np.float64]:
    """The inverse of ``severities`` for severities from 0 to below 100, shape (n,)."""
    rest = 100.0 - SEVERITY_PER_DECADE * _LINEAR_TO
    beyond = np.maximum(np.asarray(severity, dtype=np.float64) - SEVERITY_PER_DECADE * _LINEAR_TO, 0.0)
    return np.minimum(severity / SEVERITY_PER_DECADE, _LINEAR_TO) + _HALF_WAY * beyond / (rest - beyond)


def verdicts(
    severity: NDArray[np.float64],
    threshold: NDArray[np.float64],
    readable: NDArray[np.bool_],
    judged: NDArray[np.bool_],
) -> NDArray[np.object_]:
    """One of VERDICTS for each of n bins: ``bad`` with a severity from the threshold on.

    ``judged``: the instrument's history, or a rule, can judge the bin.
    """
    watch = np.minimum(WATCH_FROM, threshold)
    cases = [~readable, ~judged, severity >= threshold, severity >= watch]
    return np.select(cases, ["unreadable", "not_judged", "bad", "watch"], "ok").astype(object)


def verdict_table(features: pa.Table, columns: Mapping[str, NDArray | pa.Array | Sequence[Any]]) -> pa.Table:
    """A table of VERDICT_COLUMNS, row by row for ``features``; texts that are not given are empty."""
    n = features.num_rows
    blank: dict[str, Any] = {name: [""] * n for name in ("cause", "second_cause", "reasons", "rules", "configuration")}
    blank |= {"findings": ["[]"] * n, "config_changed": [False] * n}
    blank |= {"baseline_bins": pa.nulls(n, pa.int64())} | {
        name: pa.array(np.full(n, np.nan)) for name in ("baseline_days", "affected_fraction")
    }
    given = blank | dict(columns) | {name: features.column(name) for name in _COPIED}
    return pa.table({name: given[name] for name in VERDICT_COLUMNS})
