"""Two score files side by side: a picture and a summary table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.pictures import comparison_picture


class ScoreFileError(FlowError):
    """A file that is no score table; the message names it."""


def compare_scores(paths: Sequence[Path], names: Sequence[str], title: str) -> tuple[str, bytes]:
    """A summary table as text, and a picture (PNG) of the score distributions of these files.

    A score file is a CSV with a column ``anomaly_score``, of this program or of ifcb-flow-metric. Raises
    ScoreFileError, naming the file, where one is not.
    """
    scores = [read_scores(path) for path in paths]
    summary = pd.DataFrame(
        {_label(name, names, i): _summary(s) for i, (name, s) in enumerate(zip(names, scores, strict=True))}
    )
    picture = comparison_picture([_literal(name) for name in names], scores, _literal(title))
    return summary.to_string(na_rep=""), picture


def read_scores(path: Path) -> NDArray[np.float64]:
    """The scores in a score file, shape (bins,), NaN for bins without one."""
    try:
        table = pd.read_csv(path, usecols=["anomaly_score"])
        return table["anomaly_score"].to_numpy(dtype=np.float64)
    except (ValueError, UnicodeDecodeError) as error:
        raise ScoreFileError(f"{path} is no score table, a CSV with a numeric column anomaly_score: {error}") from error


def _label(name: str, names: Sequence[str], position: int) -> str:
    # Two files of the same name must stay two columns.
    return name if list(names).count(name) == 1 else f"{name} ({position + 1})"


def _literal(text: str) -> str:
    # What stands between two dollar signs would be drawn as a formula.
    return text.replace("$", r"\$")


def _summary(scores: NDArray[np.float64]) -> dict[str, str]:
    finite = scores[np.isfinite(scores)]
    counts = {"bins": str(len(scores)), "scored": str(finite.size)}
    if not finite.size:
        return counts
    quantiles = np.quantile(finite, (0.0, 0.25, 0.5, 0.75, 1.0))
    values = {
        "mean": finite.mean(),
        "std": finite.std(),
        **dict(zip(("min", "25%", "median", "75%", "max"), quantiles, strict=True)),
    }
    return counts | {name: f"{value:.4f}" for name, value in values.items()}
